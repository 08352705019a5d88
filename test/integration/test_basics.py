#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every operation, through the command line and on the wire, on one node and across the borders of nodes."""
import json
import os
import socket
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import case  # noqa: E402
from grid import Grid  # noqa: E402
from waiting import wait_until, with_growing_time_outs  # noqa: E402
from wire import Connection, frame, encode, request, varint  # noqa: E402

K = 1 << 20
WORD = 1 << 64


class CommandLine(unittest.TestCase):
    def test_text_written_over_the_border_is_read_back(self):
        with Grid(nodes=3) as grid:
            grid.mcomp("write", K - 2, stdin=b"hello")
            self.assertEqual(grid.mcomp("read", K - 2, 5).stdout, b"hello")
            self.assertEqual(grid.mcomp("read", 0, 3).stdout, b"\0\0\0")

    def test_range_over_all_nodes_comes_back_byte_for_byte(self):
        data = os.urandom(2 * K + 4099)
        with Grid(nodes=3) as grid:
            grid.mcomp("write", K // 2, stdin=data)
            self.assertEqual(grid.mcomp("read", K // 2, len(data)).stdout, data)
            self.assertEqual(grid.mcomp("read", "512KiB", 16).stdout, data[:16])

    def test_file_is_loaded_and_saved(self):
        data = os.urandom(2 * K + 1)
        with Grid(nodes=3) as grid:
            with open(grid.path("in"), "wb") as file:
                file.write(data)
            grid.mcomp("load", grid.path("in"), "0x101")
            grid.mcomp("save", "0x101", len(data), grid.path("out"))
            with open(grid.path("out"), "rb") as file:
                self.assertEqual(file.read(), data)

    def test_add_prints_the_value_before_and_cas_exits_3_when_it_does_not_swap(self):
        with Grid(nodes=2) as grid:
            self.assertEqual(grid.mcomp("add", K + 8, 5).stdout.split(), [b"0"])
            self.assertEqual(grid.mcomp("add", K + 8, -1).stdout.split(), [b"5"])
            self.assertEqual(grid.mcomp("cas", K + 8, 4, 40).stdout.split(), [b"4"])
            failed = grid.mcomp("cas", K + 8, 4, 41, check=False)
            self.assertEqual((failed.returncode, failed.stdout.split()), (3, [b"40"]))
            self.assertEqual(grid.mcomp("read", K + 8, 8).stdout, (40).to_bytes(8, "little"))

    def test_range_outside_the_grid_is_an_error_that_names_the_end(self):
        with Grid(nodes=2) as grid:
            self.assertEqual(grid.mcomp("read", 2 * K - 1, 1).stdout, b"\0")
            for arguments in (("read", 2 * K - 1, 2), ("read", 2 * K, 1), ("read", WORD - 1, 2)):
                failed = grid.mcomp(*arguments, check=False)
                self.assertEqual((failed.returncode, failed.stdout), (1, b""), arguments)
                self.assertTrue(failed.stderr)

    def test_status_tells_of_every_node_and_exits_4_when_one_is_down(self):
        with Grid(nodes=3) as grid:
            grid.mcomp("write", 0, stdin=b"x")
            status = json.loads(grid.mcomp("status", "--json").stdout)
            text = grid.mcomp("status").stdout.decode()
            for node in range(3):
                self.assertIn(f"127.0.0.1:{grid.port(node)}", text)
                self.assertIn(f"127.0.0.1:{grid.port(node)}", json.dumps(status))
            grid.kill(1)

            def half(time_out):
                done = grid.mcomp("--timeout", time_out, "status", check=False)
                self.assertEqual(done.returncode, 4)
                self.assertIn(f"127.0.0.1:{grid.port(2)}", done.stdout.decode())
                self.assertIn("2 of 3 nodes up", done.stdout.decode())
            with_growing_time_outs(half)
            down = grid.mcomp("--timeout", "500ms", "read", K, 1, check=False)
            self.assertEqual(down.returncode, 4)
            self.assertEqual(grid.mcomp("read", 0, 1).stdout, b"x")

    def test_wrong_usage_exits_2(self):
        with Grid(start=False) as grid:
            for arguments in (("nonsense",), ("read",), ("read", "0"), ("read", "zero", "1"), ("add", "0", "1.5"), ("read", "0", "1", "2")):
                self.assertEqual(grid.mcomp(*arguments, check=False).returncode, 2, arguments)

    def test_bench_reports_operations_and_no_errors(self):
        with Grid(nodes=2) as grid:
            for op in ("read", "write", "add", "mixed"):
                for seconds in (0.2, 1, 5, 20):  # a slow machine may need long for a single one
                    arguments = ("--op", op, "--size", 8, "--depth", 4, "--connections", 2, "--seconds", seconds, "--json")
                    report = json.loads(grid.mcomp("bench", *arguments).stdout)
                    if report["operations"] > 0:
                        break
                self.assertEqual((report["op"], report["errors"], report["bytes"]), (op, 0, 8 * report["operations"]))
                self.assertGreater(report["operations"], 0)
                times = [report["latency_ns"][name] for name in ("p50", "p90", "p99", "p99_9", "max")]
                self.assertEqual(times, sorted(times))


class Wire(unittest.TestCase):
    def setUp(self):
        self.grid = self.enterContext(Grid(nodes=3))
        self.node = self.enterContext(Connection(self.grid.port(1)))

    def status_of(self, op, **fields):
        return self.node.call(op, **fields)["status"]

    def test_hello_tells_what_the_node_is(self):
        hello = self.node.hello
        self.assertEqual((hello["grid"], hello["segment_size"], hello["nodes"], hello["node"]), (self.grid.name, K, 3, 1))
        self.assertEqual(hello["protocol_version"], 1)
        self.assertGreater(hello["max_in_flight"], 0)
        self.assertGreaterEqual(hello["max_message"], 4096)
        self.assertNotEqual(hello["segment_id"], 0)
        self.assertIn("mcomp", hello["server"])

    def test_bytes_at_both_ends_of_the_segment(self):
        for address in (K, 2 * K - 5):
            self.assertEqual(self.status_of("write", address=address, data=b"12345"), "OK")
            self.assertEqual(self.node.call("read", address=address, length=5)["read"]["data"], b"12345")

    def test_another_nodes_byte_is_answered_with_the_node_that_has_it(self):
        for address, length, owner in ((0, 1, 0), (K - 1, 1, 0), (K - 1, 2, 0), (2 * K - 1, 2, 2), (2 * K, 1, 2), (3 * K - 1, 1, 2)):
            answer = self.node.call("read", address=address, length=length)
            self.assertEqual(answer["status"], "WRONG_NODE", (address, length))
            self.assertEqual(answer["wrong_node"], {"node": owner, "address": f"127.0.0.1:{self.grid.port(owner)}"})
        self.assertEqual(self.status_of("write", address=2 * K - 1, data=b"ab"), "WRONG_NODE")
        self.assertEqual(self.node.call("read", address=2 * K - 1, length=1)["read"]["data"], b"\0", "a refused write changes nothing")
        for op in ("fetch_add", "compare_and_swap"):
            self.assertEqual(self.status_of(op, address=0), "WRONG_NODE")
            self.assertIn(self.status_of(op, address=2 * K - 4), ("WRONG_NODE", "INVALID_ARGUMENT"))

    def test_bytes_outside_the_grid_are_out_of_range(self):
        for address, length in ((3 * K, 1), (3 * K - 1, 2), (WORD - 1, 1), (WORD - 1, 4096), (K, WORD - 1), (K, WORD - K), (3 * K, WORD - 3 * K)):
            self.assertIn(self.status_of("read", address=address, length=length), ("OUT_OF_RANGE", "INVALID_ARGUMENT"), (address, length))
        self.assertEqual(self.status_of("read", address=3 * K, length=1), "OUT_OF_RANGE")
        self.assertEqual(self.status_of("write", address=WORD - 2, data=b"abcd"), "OUT_OF_RANGE")
        self.assertEqual(self.status_of("fetch_add", address=3 * K), "OUT_OF_RANGE")
        self.assertEqual(self.status_of("fetch_add", address=WORD - 8), "OUT_OF_RANGE")

    def test_zero_length_moves_nothing(self):
        answer = self.node.call("read", address=K + 7, length=0)
        self.assertEqual((answer["status"], answer["read"]["data"]), ("OK", b""))
        answer = self.node.call("write", address=K + 7, data=b"")
        self.assertEqual((answer["status"], answer["write"]), ("OK", {}))

    def test_largest_message_passes_and_one_byte_more_does_not(self):
        largest = self.node.hello["max_message"]
        self.assertEqual(self.status_of("read", address=K, length=min(largest, K)), "OK")
        with Grid(server='max_message = "64KiB"') as grid, Connection(grid.port()) as node:
            self.assertEqual(node.hello["max_message"], 65536)
            data = os.urandom(65536)
            self.assertEqual(node.call("write", address=3, data=data)["status"], "OK")
            self.assertEqual(node.call("read", address=3, length=65536)["read"]["data"], data)
            self.assertEqual(node.call("read", address=3, length=65537)["status"], "INVALID_ARGUMENT")
            self.assertEqual(node.call("write", address=3, data=data + b"x")["status"], "INVALID_ARGUMENT")
            self.assertEqual(node.call("read", address=3, length=8)["read"]["data"], data[:8])

    def test_fetch_add_wraps_and_needs_no_alignment(self):
        address = K + 4093
        for delta, before in ((5, 0), (WORD - 6, 5), (2, WORD - 1), (0, 1)):
            answer = self.node.call("fetch_add", address=address, delta=delta)
            self.assertEqual((answer["status"], answer["fetch_add"]["before"]), ("OK", before))
        self.assertEqual(self.node.call("read", address=address, length=8)["read"]["data"], (1).to_bytes(8, "little"))

    def test_compare_and_swap_says_what_it_found(self):
        for expected, desired, swapped, found in ((0, 7, True, 0), (0, 8, False, 7), (7, WORD - 1, True, 7), (WORD - 1, 0, True, WORD - 1)):
            answer = self.node.call("compare_and_swap", address=K + 13, expected=expected, desired=desired)
            self.assertEqual((answer["status"], answer["compare_and_swap"]), ("OK", {"swapped": swapped, "found": found}))

    def test_multi_reads_the_state_before_its_writes(self):
        self.node.call("write", address=K, data=b"abcdefgh")
        answer = self.node.call("multi", reads=[{"address": K + 2, "length": 4}, {"address": K, "length": 0}, {"address": K, "length": 8}],
                                writes=[{"address": K, "data": b"AB"}, {"address": K + 2, "data": b"CD"}, {"address": K + 6, "data": b"G"}])
        self.assertEqual((answer["status"], answer["multi"]["data"]), ("OK", [b"cdef", b"", b"abcdefgh"]))
        self.assertEqual(self.node.call("read", address=K, length=8)["read"]["data"], b"ABCDefGh")

    def test_multi_with_one_bad_range_does_nothing(self):
        for bad, status in (({"address": 0, "data": b"x"}, "WRONG_NODE"), ({"address": 3 * K, "data": b"x"}, "OUT_OF_RANGE"),
                            ({"address": K + 1, "data": b"x"}, "INVALID_ARGUMENT")):
            answer = self.node.call("multi", writes=[{"address": K, "data": b"ab"}, bad])
            self.assertEqual(answer["status"], status, bad)
        self.assertEqual(self.node.call("read", address=K, length=2)["read"]["data"], b"\0\0")
        self.assertEqual(self.status_of("multi"), "OK")

    def test_multi_of_1024_ranges_passes_and_1025_do_not(self):
        writes = [{"address": K + 16 * i, "data": b"%04d" % i} for i in range(1025)]
        self.assertEqual(self.status_of("multi", writes=writes[:1024]), "OK")
        reads = [{"address": w["address"], "length": 4} for w in writes]
        self.assertEqual(self.node.call("multi", reads=reads[:1024])["multi"]["data"], [w["data"] for w in writes[:1024]])
        for fields in ({"writes": writes}, {"reads": reads}, {"reads": reads[:1], "writes": writes[:1024]}):
            self.assertEqual(self.status_of("multi", **fields), "INVALID_ARGUMENT")

    def test_thousand_requests_in_flight_are_all_answered_once(self):
        ids = {self.node.send("write", address=K + 8 * i, data=i.to_bytes(8, "little")): i for i in range(1000)}
        left = set(ids)
        for _ in range(1000):
            answer = self.node.receive()
            self.assertEqual(answer["status"], "OK")
            left.remove(answer["id"])
        reads = {self.node.send("read", number=WORD - 1 - i, address=K + 8 * i, length=8): i for i in range(1000)}
        for _ in range(1000):
            answer = self.node.receive()
            self.assertEqual(answer["read"]["data"], reads.pop(answer["id"]).to_bytes(8, "little"))

    def test_long_and_short_requests_in_flight_do_not_disturb_each_other(self):
        data = os.urandom(K // 2)
        self.node.call("write", address=K, data=data)
        wanted = {}
        for i in range(60):
            length = (1, 4096, K // 2)[i % 3]
            wanted[self.node.send("read", address=K + i, length=length - i if length > 60 else 1)] = (i, length - i if length > 60 else 1)
        while wanted:
            answer = self.node.receive()
            at, length = wanted.pop(answer["id"])
            self.assertEqual(answer["read"]["data"], data[at:at + length])

    def test_read_leaves_its_range_free_for_writers(self):
        for length in (8, 16 << 10, 200 << 10, K):  # copied; sent from the segment; over the border of stripes; the whole segment
            self.assertEqual(self.node.call("read", address=K, length=length)["status"], "OK")
            self.assertEqual(self.node.call("write", address=K, data=b"f" * length)["status"], "OK")

    def test_request_that_waited_for_longer_than_its_deadline_is_not_begun(self):
        with Grid(segment_size="4MiB", server="workers = 1") as grid, Connection(grid.port()) as node:
            def attempt():
                # Some ms of work for the worker, received at once with the request that has 1 ms; if not at once, there is nothing to wait for.
                long = [request("multi", i, reads=[{"address": 0, "length": 2048}] * 1024) for i in range(1, 31)]
                node.call("write", address=0, data=bytes(4))
                node.raw(b"".join(long) + request("write", 31, timeout_ms=1, address=0, data=b"late" * 20000))
                answers = {answer["id"]: answer["status"] for answer in (node.receive() for _ in range(31))}
                last = answers.pop(31)
                self.assertEqual(answers, {i: "OK" for i in range(1, 31)})
                self.assertIn(last, ("OK", "DEADLINE_EXCEEDED"))
                self.assertEqual(node.call("read", address=0, length=4)["read"]["data"], b"late" if last == "OK" else bytes(4))
                return last != "OK"
            wait_until(attempt, what="a request that waited for too long")

    def test_what_came_before_the_end_of_sending_is_answered(self):
        with Connection(self.grid.port(1), receive_buffer=4096) as node:
            lengths = (8, 4096, 20 << 10, 200 << 10)  # inline, direct, by workers; more than the socket takes at once
            node.raw(b"".join(request("read", i + 1, address=K, length=lengths[i % 4]) for i in range(200)))
            node.raw(b"".join(request("write", i + 1, address=K, data=b"h" * lengths[i % 4]) for i in range(200, 220)))
            node.socket.shutdown(socket.SHUT_WR)
            answers = node.until_closed()
            self.assertEqual({answer["id"] for answer in answers}, set(range(1, 221)))
            self.assertEqual({answer["status"] for answer in answers}, {"OK"})
        with Connection(self.grid.port(1)) as node:  # short requests that are long work: in flight when the end is seen
            node.raw(b"".join(request("multi", i + 1, reads=[{"address": K, "length": 1000}] * 1024) for i in range(40)))
            node.socket.shutdown(socket.SHUT_WR)
            self.assertEqual({answer["id"] for answer in node.until_closed()}, set(range(1, 41)))

    def test_very_long_read_is_left_to_the_workers(self):
        with Grid(segment_size="16MiB", server='max_message = "16MiB"') as grid, Connection(grid.port()) as node:
            node.call("write", address=5 * K, data=b"long")
            jobs = node.call("status")["node_status"]["jobs_handed_to_workers"]
            for length, more in ((4 * K, 0), (4 * K + 1, 1), (16 * K, 2)):  # others wait while a read is sent from the segment
                data = node.call("read", address=0, length=length)["read"]["data"]
                self.assertEqual(data, (bytes(5 * K) + b"long" + bytes(11 * K))[:length])
                self.assertEqual(node.call("status")["node_status"]["jobs_handed_to_workers"], jobs + more)

    def test_deadline_zero_means_none_and_a_long_one_is_met(self):
        self.assertEqual(self.status_of("read", timeout_ms=0, address=K, length=8), "OK")
        self.assertEqual(self.status_of("read", timeout_ms=600000, address=K, length=8), "OK")

    def test_status_counts_what_was_done(self):
        self.node.call("write", address=K, data=b"x" * 100)
        self.node.call("write", address=0, data=b"x")
        self.node.call("read", address=K, length=40)
        self.node.call("fetch_add", address=K, delta=1)
        self.node.call("compare_and_swap", address=K, expected=1, desired=1)
        self.node.call("multi", reads=[{"address": K, "length": 10}], writes=[{"address": K + 10, "data": b"y" * 20}])
        status = self.node.call("status")["node_status"]
        self.assertEqual(status["write"], {"count": 2, "errors": 1, "bytes": 100})
        self.assertEqual(status["read"], {"count": 1, "errors": 0, "bytes": 40})
        self.assertEqual((status["fetch_add"]["count"], status["compare_and_swap"]["count"]), (1, 1))
        self.assertEqual(status["multi"], {"count": 1, "errors": 0, "bytes": 30})
        self.assertEqual((status["connections"], status["attach_count"], status["writes_finished_at_start"]), (1, 1, 0))
        self.assertEqual((status["node"], status["nodes"], status["segment_size"]), (1, 3, K))
        self.assertEqual(status["process_id"], self.grid.servers[1].pid)
        self.assertGreater(status["bytes_in"], 100)
        self.assertGreater(status["bytes_out"], 50)


class Session(unittest.TestCase):
    """What may be said before, in and instead of Hello."""

    def setUp(self):
        self.grid = self.enterContext(Grid(nodes=3))

    def hello(self, **fields):
        with Connection(self.grid.port(2), hello=False) as node:
            return node.call("hello", **fields)

    def test_what_agrees_is_welcome(self):
        self.assertEqual(self.hello(protocol_version=1)["status"], "OK")
        self.assertEqual(self.hello(protocol_version=7)["hello"]["protocol_version"], 1)
        self.assertEqual(self.hello(protocol_version=1, grid=self.grid.name, segment_size=K, nodes=3, node_plus_one=3, client="x")["status"], "OK")

    def test_each_claim_that_differs_is_refused_and_both_values_are_named(self):
        for claim, ours in (({"grid": "other"}, self.grid.name), ({"segment_size": 2 * K}, str(K)), ({"nodes": 4}, "3"), ({"node_plus_one": 2}, "2")):
            answer = self.hello(protocol_version=1, **claim)
            self.assertEqual(answer["status"], "FAILED_PRECONDITION", claim)
            self.assertIn(ours, answer["message"])
            value = next(iter(claim.values()))
            self.assertIn(str(value - 1 if "node_plus_one" in claim else value), answer["message"])
            self.assertLessEqual(len(answer["message"].encode()), 512)

    def test_version_zero_is_refused(self):
        self.assertEqual(self.hello(protocol_version=0)["status"], "FAILED_PRECONDITION")

    def test_before_hello_only_status_is_answered(self):
        with Connection(self.grid.port(2), hello=False) as node:
            self.assertEqual(node.call("read", address=2 * K, length=1)["status"], "FAILED_PRECONDITION")
            self.assertEqual(node.call("write", address=2 * K, data=b"x")["status"], "FAILED_PRECONDITION")
            self.assertEqual(node.call("status")["node_status"]["node"], 2)
            self.assertEqual(node.call("hello", protocol_version=1)["status"], "OK")
            self.assertEqual(node.call("read", address=2 * K, length=1)["read"]["data"], b"\0")

    def test_unknown_operation_is_unimplemented_and_the_connection_lives(self):
        with Connection(self.grid.port(2)) as node:
            for body in (b"\x08\x05", b"\x08\x05\xfa\x01\x00"):  # no operation; an operation of number 31
                node.raw(frame(body))
                answer = node.receive()
                self.assertEqual((answer["id"], answer["status"]), (5, "UNIMPLEMENTED"))
            node.raw(frame(b""))
            self.assertEqual(node.receive()["status"], "UNIMPLEMENTED")
            self.assertEqual(node.call("read", address=2 * K, length=1)["status"], "OK")

    def test_malformed_body_is_an_invalid_argument_and_the_connection_lives(self):
        with Connection(self.grid.port(2)) as node:
            for body in (b"\x08\x09\x4a\x05\x08", b"\x08\x09\xff", b"\x08\x09\x4b\x00", b"\x08" + b"\xff" * 11, b"\x07"):
                node.raw(frame(body))
                self.assertEqual(node.receive()["status"], "INVALID_ARGUMENT", body)
            self.assertEqual(node.call("read", address=2 * K, length=1)["status"], "OK")

    def test_unusual_encodings_of_the_same_message_are_understood(self):
        read = encode("Read", {"address": 2 * K, "length": 3})
        padded = b"\x08\x83\x80\x00"  # id 3 in a varint longer than needed
        for body in (b"\x4a" + varint(len(read)) + read + b"\x08\x03",                 # the operation before the id
                     padded + b"\x4a" + varint(len(read)) + read,
                     b"\x08\x07\x08\x03\x4a" + varint(len(read)) + read,               # id twice: the last one counts
                     b"\x08\x03\x4a" + varint(len(read)) + read + b"\xa2\x06\x02hi"):  # a field of a later version
            with Connection(self.grid.port(2)) as node:
                node.raw(frame(body))
                answer = node.receive()
                self.assertEqual((answer["id"], answer["status"], answer["read"]["data"]), (3, "OK", b"\0\0\0"), body)


if __name__ == "__main__":
    case.main()
