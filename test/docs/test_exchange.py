#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The exchange in docs/protocol.md is what a node really says: the client's bytes go to a server, and what comes back is compared."""
import os
import re
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import case  # noqa: E402
import wire  # noqa: E402
from grid import Grid  # noqa: E402

PAGE = os.path.join(HERE, "..", "..", "docs", "protocol.md")
SHOWN = b"docs-exchange"
NAME = b"docs-%08d" % (os.getpid() % 10**8)  # as long, and no other test's


def exchanges():
    """[(client's bytes, server's bytes)] from the page's fenced block."""
    with open(PAGE, encoding="utf-8") as file:
        block = re.search(r"^## A real exchange$.*?^```text\n(.*?)^```$", file.read(), re.S | re.M).group(1)
    for paragraph in block.strip().split("\n\n"):
        sides = {"C": b"", "S": b""}
        for line in paragraph.split("\n")[1:]:
            sides[line[0]] += bytes.fromhex(line[1:])
        yield sides["C"].replace(SHOWN, NAME), sides["S"].replace(SHOWN, NAME)


def body(frame):
    size, at = wire.take_varint(frame, 0)
    if size != len(frame) - at:
        raise wire.Malformed(f"a frame announces {size} bytes and has {len(frame) - at}")
    return frame[at:]


class Exchange(unittest.TestCase):
    def receive_frame(self, connection):
        data = b""
        while True:
            size, at = wire.take_varint(data, 0)
            if size is not None and len(data) - at >= size:
                return data
            data += connection.socket.recv(65536) or self.fail("the server closed the connection")

    def test_the_exchange_is_real(self):
        seen = 0
        with Grid(nodes=2, segment_size="64KiB", name=NAME.decode()) as grid, wire.Connection(grid.port(0), hello=False) as connection:
            for sent, expected in exchanges():
                connection.raw(sent)
                got = self.receive_frame(connection)
                wanted = wire.decode("Response", body(expected))
                if "hello" in wanted:  # the one answer that differs from run to run
                    answer = wire.decode("Response", body(got))
                    self.assertNotEqual(answer["hello"].pop("segment_id"), 0)
                    self.assertNotEqual(wanted["hello"].pop("segment_id"), 0)
                    self.assertEqual(answer, wanted)
                else:
                    self.assertEqual(got.hex(" "), expected.hex(" "))
                seen += 1
        self.assertEqual(seen, 7)


if __name__ == "__main__":
    case.main()
