#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A stock protobuf library, with code generated from our .proto, talks to a node."""
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import case  # noqa: E402
from grid import Grid  # noqa: E402
from waiting import PATIENCE_S  # noqa: E402

PROTO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "proto")


def missing():
    if shutil.which("protoc") is None:
        return "protoc is not installed"
    if importlib.util.find_spec("google") is None or importlib.util.find_spec("google.protobuf") is None:
        return "the protobuf library for Python is not installed"
    return None


@unittest.skipIf(missing(), missing())
class StockProtobuf(unittest.TestCase):
    def setUp(self):
        code = self.enterContext(tempfile.TemporaryDirectory())
        subprocess.run(["protoc", f"--proto_path={PROTO}", f"--python_out={code}", "mcomp.proto"], check=True)
        sys.path.insert(0, code)
        self.addCleanup(sys.path.remove, code)
        self.pb = __import__("mcomp_pb2")
        from google.protobuf.internal import decoder, encoder
        self.put_varint, self.get_varint = encoder._VarintBytes, decoder._DecodeVarint
        self.grid = self.enterContext(Grid(nodes=2))
        self.socket = self.enterContext(socket.create_connection(("127.0.0.1", self.grid.port(1)), timeout=PATIENCE_S))
        self.stream = self.enterContext(self.socket.makefile("rb"))

    def call(self, request):
        body = request.SerializeToString()
        self.socket.sendall(self.put_varint(len(body)) + body)
        prefix = b""
        while not prefix or prefix[-1] >= 0x80:
            byte = self.stream.read(1)
            self.assertTrue(byte, "the server closed the connection")
            prefix += byte
        response = self.pb.Response()
        response.ParseFromString(self.stream.read(self.get_varint(prefix, 0)[0]))
        self.assertEqual(response.id, request.id)
        return response

    def ask(self, number, **op):
        return self.call(self.pb.Request(id=number, **op))

    def test_every_operation(self):
        pb, k = self.pb, 1 << 20
        hello = self.ask(1, hello=pb.Hello(protocol_version=1, grid=self.grid.name, segment_size=k, nodes=2, node_plus_one=2, client="stock"))
        self.assertEqual((hello.status, hello.hello.node, hello.WhichOneof("result")), (pb.STATUS_OK, 1, "hello"))
        written = self.ask(2**64 - 1, write=pb.Write(address=k + 3, data=b"stock protobuf"))
        self.assertEqual((written.status, written.WhichOneof("result")), (pb.STATUS_OK, "write"))
        self.assertEqual(self.ask(2, read=pb.Read(address=k + 3, length=14)).read.data, b"stock protobuf")
        self.assertEqual(self.ask(3, fetch_add=pb.FetchAdd(address=k + 100, delta=2**64 - 1)).fetch_add.before, 0)
        swap = self.ask(4, compare_and_swap=pb.CompareAndSwap(address=k + 100, expected=2**64 - 1, desired=9))
        self.assertEqual((swap.compare_and_swap.swapped, swap.compare_and_swap.found), (True, 2**64 - 1))
        multi = self.ask(5, multi=pb.Multi(reads=[pb.Read(address=k + 100, length=1), pb.Read(address=k + 3, length=5)],
                                           writes=[pb.Write(address=k + 3, data=b"STOCK")]))
        self.assertEqual(list(multi.multi.data), [b"\x09", b"stock"])
        wrong = self.ask(6, read=pb.Read(address=0, length=1))
        self.assertEqual((wrong.status, wrong.wrong_node.node), (pb.STATUS_WRONG_NODE, 0))
        self.assertTrue(wrong.message)
        status = self.ask(7, status=pb.StatusQuery())
        self.assertEqual((status.node_status.write.count, status.node_status.grid), (1, self.grid.name))
        self.assertEqual(self.ask(8, read=pb.Read(address=k, length=k)).read.data[3:17], b"STOCK protobuf")

    def test_responses_hold_no_unknown_fields(self):
        response = self.ask(1, hello=self.pb.Hello(protocol_version=1))
        again = self.pb.Response()
        again.CopyFrom(response)
        again.DiscardUnknownFields()
        self.assertEqual(again.SerializeToString(), response.SerializeToString())


if __name__ == "__main__":
    case.main()
