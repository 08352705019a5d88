#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The size of a segment is what the formula of docs/operations.md gives."""
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import case  # noqa: E402
from grid import Grid  # noqa: E402

KIB, MIB = 1 << 10, 1 << 20


def up(value, unit):
    return (value + unit - 1) // unit * unit


def formula(k, max_message, threads):
    page = 4096
    before = page + up(64 * up(k, 65536) // 65536, page) + up(8 * k // page, page) + up(4 * k // page, page)
    before += min(max(k // 8 // (64 * KIB) * 64 * KIB, MIB), 32 * MIB)
    return up(before, 2 * MIB if k >= 2 * MIB else page) + k + threads * up(16416 + min(max_message, k), page)


class Sizes(unittest.TestCase):
    def test_sizes_are_those_of_the_formula(self):
        for k, server, max_message, threads in (
                (64 * MIB, "", 4 * MIB, 3), (4 * KIB, "", 4 * MIB, 3), (2 * MIB - 4096, "max_message = 64KiB", 64 * KIB, 3),
                (9 * MIB + 4096, "io_threads = 2 workers = 5 max_message = 12345", 12345, 7)):
            with self.subTest(k=k, server=server), Grid(segment_size=f"{k}", server=server) as grid:
                self.assertEqual(os.stat(f"/dev/shm/mcomp.{grid.name}.0").st_size, formula(k, max_message, threads))

    def test_the_page_s_example(self):
        self.assertEqual(formula(64 * MIB, 4 * MIB, 3), 90238976)


if __name__ == "__main__":
    case.main()
