#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many threads and processes on the same bytes: no torn read, no lost step of a counter."""
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import case  # noqa: E402
from grid import Grid, program  # noqa: E402

K = 8 << 20
PROCESSES = 2


def run_hammers(grid, *arguments, processes=PROCESSES):
    """The same load from several processes at once. Returns what they print."""
    started = [subprocess.Popen([program("hammer"), arguments[0], grid.config, *[str(a) for a in arguments[1:]]], text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(processes)]
    ended = [(process, *process.communicate()) for process in started]
    for process, _, error in ended:
        if process.returncode != 0:
            raise AssertionError(f"hammer {arguments} ended with {process.returncode}: {error}")
    return [out for _, out, _ in ended]


class Concurrency(unittest.TestCase):
    def setUp(self):
        self.grid = self.enterContext(Grid(nodes=2, segment_size=f"{K}B", server="io_threads = 2"))

    def counter(self, address):
        return int.from_bytes(self.grid.mcomp("read", address, 8).stdout, "little")

    def test_no_read_is_torn(self):
        for length, operations in ((16, 3000), (100, 3000), (4096 + 17, 2000), (65536, 500), (300001, 100), (1 << 20, 40)):
            with self.subTest(length=length):
                run_hammers(self.grid, "torn", 4093, length, 2, 3, case.scale(operations))

    def test_no_read_is_torn_where_writes_overlap(self):
        for length, operations in ((64, 3000), (8192, 1000), (262144, 100)):
            with self.subTest(length=length):
                run_hammers(self.grid, "overlap", 1 << 20, length, 2, 2, case.scale(operations))

    def test_several_ranges_in_one_request_are_one_instant(self):
        for length, operations in ((16, 2000), (5000, 1000), (200000, 100)):
            with self.subTest(length=length):
                run_hammers(self.grid, "pair", K + 77, K + (4 << 20), length, 2, 2, case.scale(operations))

    def test_counters_are_exact(self):
        # Addresses: aligned, across a page, at the very end of the segment.
        for load, address, operations in (("count", 64, 2000), ("count", K - 8, 1000), ("count-async", 4092, 20000), ("count-cas", K + 4093, 300)):
            with self.subTest(load=load, address=address):
                threads, delta, steps = 4, 3, case.scale(operations)
                run_hammers(self.grid, load, address, threads, steps, delta)
                self.assertEqual(self.counter(address), PROCESSES * threads * steps * delta)


if __name__ == "__main__":
    case.main()
