#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The operation log: what is in it, in which form, and that what it drops is counted."""
import os
import re
import resource
import signal
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import case  # noqa: E402
from grid import Grid  # noqa: E402
from waiting import wait_until  # noqa: E402
from wire import Connection, request  # noqa: E402

LINE = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z client=(?P<client>\S+) op=(?P<op>[\w-]+) addr=0x(?P<addr>[0-9a-f]+) len=(?P<len>\d+) "
                  r"status=(?P<status>[A-Z_]+)$")


class OperationLog(unittest.TestCase):
    def lines(self, grid):
        with open(grid.path("ops.log"), encoding="utf-8") as file:
            text = file.read()
        self.assertTrue(text == "" or text.endswith("\n"))
        return [LINE.match(line).groupdict() for line in text.splitlines()]

    def some_operations(self, grid):
        with Connection(grid.port()) as node:
            client = "%s:%d" % node.socket.getsockname()
            node.call("write", address=0x1f00, data=b"secret payload")
            node.call("read", address=0x1f00, length=6)
            node.call("fetch_add", address=16, delta=1)
            node.call("compare_and_swap", address=24, expected=0, desired=1)
            node.call("write", address=1 << 20, data=b"outside")
        return client

    def test_writes_are_logged_and_reads_are_not(self):
        with Grid(oplog='file = "ops.log"') as grid:
            client = self.some_operations(grid)
            grid.stop()
            lines = self.lines(grid)
            self.assertEqual([(x["op"], int(x["addr"], 16), int(x["len"]), x["status"]) for x in lines],
                             [("write", 0x1f00, 14, "OK"), ("add", 16, 8, "OK"), ("cas", 24, 8, "OK"), ("write", 1 << 20, 7, "OUT_OF_RANGE")])
            self.assertEqual({x["client"] for x in lines}, {client})

    def test_reads_are_logged_when_asked(self):
        with Grid(oplog='file = "ops.log" reads = true') as grid:
            self.some_operations(grid)
            grid.stop()
            self.assertIn(("read", "1f00", "6"), [(x["op"], x["addr"], x["len"]) for x in self.lines(grid)])

    def test_each_range_of_a_request_with_several_has_a_line(self):
        for reads in ("false", "true"):
            with self.subTest(reads=reads), Grid(oplog=f'file = "ops.log" reads = {reads}') as grid:
                with Connection(grid.port()) as node:
                    node.call("multi", reads=[{"address": 9, "length": 4}], writes=[{"address": 100, "data": b"ab"}, {"address": 300, "data": b"cde"}])
                grid.stop()
                lines = [(x["op"], int(x["addr"], 16), int(x["len"])) for x in self.lines(grid)]
                expected = [("multi-write", 100, 2), ("multi-write", 300, 3)]
                self.assertEqual(lines, ([("multi-read", 9, 4)] if reads == "true" else []) + expected)

    def test_every_line_is_written_or_counted_as_dropped(self):
        count, batch = case.scale(60000), 500
        with Grid(oplog='file = "ops.log"') as grid:
            with Connection(grid.port()) as node:
                for first in range(0, count, batch):
                    ids = range(first, min(first + batch, count))
                    node.raw(b"".join(request("write", i + 1, address=8 * (i % 1000), data=b"12345678") for i in ids))
                    for _ in ids:
                        self.assertEqual(node.receive()["status"], "OK")

                def settled():
                    status = node.call("status")["node_status"]
                    return status if status["oplog_lines"] + status["oplog_dropped"] == count else None
                status = wait_until(settled, what=f"{count} lines written or dropped")
            grid.stop()
            self.assertEqual(len(self.lines(grid)), status["oplog_lines"])

    def test_log_that_is_stuck_slows_nothing_and_its_drops_are_counted(self):
        count, batch = 40000, 500
        with Grid(oplog='file = "ops.log"', start=False) as grid:
            os.mkfifo(grid.path("ops.log"))  # takes 64 KiB, and no more before somebody reads it
            reader = os.open(grid.path("ops.log"), os.O_RDONLY | os.O_NONBLOCK)
            self.addCleanup(os.close, reader)
            grid.start()
            with Connection(grid.port()) as node:
                for first in range(0, count, batch):
                    node.raw(request("write", 1, address=0, data=b"12345678") * batch)
                    for _ in range(batch):
                        self.assertEqual(node.receive()["status"], "OK")
                dropped = node.call("status")["node_status"]["oplog_dropped"]
            self.assertGreater(dropped, 0)
            os.set_blocking(reader, True)
            grid.servers[0].kill(signal.SIGTERM)
            with open(reader, encoding="utf-8", closefd=False) as file:
                lines = file.read().splitlines()
            self.assertEqual(len(lines), count - dropped)
            for line in lines:
                self.assertRegex(line, LINE)

    def test_full_device_costs_lines_and_nothing_else(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        with Grid(oplog='file = "/dev/full"') as grid, Connection(grid.port()) as node:
            for i in range(100):
                self.assertEqual(node.call("write", address=i, data=b"x")["status"], "OK")
            wait_until(lambda: node.call("status")["node_status"]["oplog_dropped"] == 100, what="100 lines counted as dropped")
            self.assertIn("No space left", grid.servers[0].log())

    def test_file_that_takes_half_a_line_goes_on_with_a_whole_one(self):
        with Grid(oplog='file = "ops.log"') as grid, Connection(grid.port()) as node:
            def write_until(condition, what):
                def step():
                    self.assertEqual(node.call("write", address=8, data=b"x")["status"], "OK")
                    return condition(node.call("status")["node_status"])
                return wait_until(step, what=what)
            write_until(lambda status: status["oplog_lines"] > 0, "the first line")
            limits = resource.prlimit(grid.servers[0].pid, resource.RLIMIT_FSIZE)
            resource.prlimit(grid.servers[0].pid, resource.RLIMIT_FSIZE, (5000, limits[1]))
            lost = write_until(lambda status: status["oplog_dropped"], "lines counted as dropped")
            self.assertEqual(os.path.getsize(grid.path("ops.log")), 5000)
            resource.prlimit(grid.servers[0].pid, resource.RLIMIT_FSIZE, limits)
            before = node.call("status")["node_status"]["oplog_lines"]
            write_until(lambda status: status["oplog_lines"] > before, "a line after the limit was lifted")
            grid.stop()
            with open(grid.path("ops.log"), encoding="utf-8") as file:
                odd = [line for line in file.read().splitlines() if not LINE.match(line)]
            self.assertGreater(lost, 0)
            self.assertLessEqual(len(odd), 1, "the one that was cut")

    def test_folder_that_does_not_exist_is_said_at_start(self):
        with Grid(oplog='file = "nowhere/ops.log"', start=False) as grid:
            done = grid.run()
            self.assertEqual(done.returncode, 1)
            self.assertIn("nowhere/ops.log", done.stderr)


if __name__ == "__main__":
    case.main()
