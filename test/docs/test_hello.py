#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The programs that README.md shows or names work."""
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import case  # noqa: E402
from grid import Grid  # noqa: E402
from waiting import PATIENCE_S  # noqa: E402

HELLO = os.path.join(os.environ.get("MCOMP_BUILD", "build/release"), "test", "docs", "docs_hello")
TRANSFER = os.path.join(os.path.dirname(HELLO), "docs_transfer")


class Hello(unittest.TestCase):
    def hello(self, config):
        return subprocess.run([HELLO], env=dict(os.environ, MCOMP_CONFIG=config), capture_output=True, text=True, timeout=PATIENCE_S, check=False)

    def test_it_writes_reads_and_counts(self):
        with Grid(nodes=2) as grid:
            for visitor in (1, 2):
                done = self.hello(grid.config)
                self.assertEqual((done.returncode, done.stdout, done.stderr), (0, f"hello, visitor {visitor}\n", ""))
            self.assertEqual(grid.mcomp("read", (1 << 20) - 2, 5).stdout, b"hello")

    def test_it_transfers(self):
        with Grid(nodes=3) as grid:
            for times in (1, 2):
                done = subprocess.run([TRANSFER], env=dict(os.environ, MCOMP_CONFIG=grid.config), capture_output=True, text=True, timeout=PATIENCE_S,
                                      check=False)
                self.assertEqual((done.returncode, done.stdout, done.stderr), (0, f"{-10 * times} and {10 * times}\n", ""))

    def test_without_a_configuration_it_says_so_and_fails(self):
        done = self.hello("/nowhere/mcomp.cfg")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("/nowhere/mcomp.cfg: cannot open the configuration", done.stderr)


if __name__ == "__main__":
    case.main()
