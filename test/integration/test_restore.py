#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Servers that start from a snapshot file."""
import os
import random
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import case  # noqa: E402
from grid import Grid  # noqa: E402
from snapshots import directory, take  # noqa: E402
from wire import Connection  # noqa: E402

MIB = 1 << 20
K = MIB + 5 * 4096
CHUNK = 256 << 10


def write(grid, address, data):
    """Through whichever nodes own the bytes."""
    grid.mcomp("write", address, stdin=data)


def image(grid):
    return grid.mcomp("read", 0, "all", "--raw").stdout


class Restore(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="mcomp-test-")
        self.addCleanup(shutil.rmtree, self.folder)

    def snapshot(self, grid, name):
        """Take one and put it where it outlives the grid."""
        answer = take(grid)
        self.assertEqual(answer["status"], "OK", answer["message"])
        return shutil.copy(os.path.join(directory(grid), answer["take_snapshot"]["file"]), os.path.join(self.folder, name))

    def filled(self, grid):
        data = random.Random(7).randbytes(2 * K + 100)
        write(grid, 50, data)
        return bytes(50) + data + bytes(3 * K - len(data) - 50)

    def test_a_lost_grid_comes_back(self):
        with Grid(nodes=3, segment_size=K, snapd=True) as grid:
            expected = self.filled(grid)
            file = self.snapshot(grid, "lost")
            write(grid, 0, b"after the snapshot")
            for node in range(3):
                grid.kill_snapd(node)
                grid.kill(node)
                self.assertEqual(grid.run("--reset", node=node).returncode, 0)
            grid.arguments = [f"--restore={file}"]
            grid.start()
            self.assertEqual(image(grid), expected)
            # what is there already is replaced too, and a plain restart afterwards keeps what was written since
            write(grid, 3 * K - 4, b"junk")
            grid.stop()
            grid.start()
            self.assertEqual(image(grid), expected)
            write(grid, 3 * K - 4, b"kept")
            grid.stop()
            grid.arguments = []
            grid.start()
            self.assertEqual(image(grid), expected[:-4] + b"kept")

    def test_another_shape(self):
        with Grid(nodes=3, segment_size=K, snapd=True) as grid:
            expected = self.filled(grid)
            file = self.snapshot(grid, "shape")
        with Grid(nodes=5, segment_size=K - 4096, arguments=[f"--restore={file}"]) as other:
            self.assertEqual(image(other), expected + bytes(5 * (K - 4096) - 3 * K))
        with Grid(nodes=2, segment_size=K, start=False) as small:
            done = small.run(f"--restore={file}")
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"its array of {3 * K} bytes does not fit into this grid of {2 * K}", done.stderr)
            self.assertNotIn("op=create", done.stderr, "nothing is touched")

    def test_half_a_restore_is_served_to_nobody(self):
        with Grid(nodes=3, segment_size=K, snapd=True) as grid:
            expected = self.filled(grid)
            file = self.snapshot(grid, "half")
            damaged = file + ".damaged"
            with open(file, "rb") as source:
                content = bytearray(source.read())
            for at in range(CHUNK, len(content) - CHUNK // 2, CHUNK // 2):  # every chunk
                content[at] ^= 1
            with open(damaged, "wb") as target:
                target.write(content)
            grid.stop()
            done = grid.run(f"--restore={damaged}", node=1)
            self.assertEqual(done.returncode, 1)
            self.assertIn("DATA_LOSS", done.stderr)
            grid.start(1)
            self.assertIn("the restore of a snapshot did not come to its end", grid.servers[1].log())
            with Connection(grid.port(1)) as node:
                refused = node.call("read", address=K, length=1)
                self.assertEqual((refused["status"], "did not come to its end" in refused["message"]), ("UNAVAILABLE", True), refused)
            grid.stop()
            grid.arguments = [f"--restore={file}"]
            grid.start()
            self.assertEqual(image(grid), expected)

    def test_wrong_use(self):
        with Grid(start=False) as grid:
            both = grid.run("--reset", "--restore=x")
            self.assertEqual((both.returncode, "give one of them" in both.stderr), (2, True), both.stderr)
            missing = grid.run("--restore=/nowhere/x.mcsnap")
            self.assertEqual((missing.returncode, "/nowhere/x.mcsnap" in missing.stderr), (1, True), missing.stderr)
            os.makedirs(grid.path("folder"))
            folder = grid.run(f"--restore={grid.path('folder')}")
            self.assertEqual(folder.returncode, 1, folder.stderr)


if __name__ == "__main__":
    case.main()
