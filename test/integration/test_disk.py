#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Disks that are full or may not be written, and files that are damaged anywhere: what is wrong is said, and what was good before stays as it was."""
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import case  # noqa: E402
from grid import Grid, program  # noqa: E402
from snapshots import CHUNK, HEADER_BYTES, TRAILER_BYTES, directory, files, status, take  # noqa: E402
from wire import Connection, take_varint  # noqa: E402

K = 2 * CHUNK + 3 * 4096
MAY_MOUNT = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0
KINDS = {0x0a: "header", 0x12: "chunk", 0x1a: "block", 0x22: "index"}


def write(grid, address, data):
    with Connection(grid.port(address // grid.segment_size)) as connection:
        answer = connection.call("write", address=address, data=data)
        assert answer["status"] == "OK", answer


def sums(folder):
    """The checksum of each file in a folder."""
    found = {}
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as file:
            found[name] = hashlib.sha256(file.read()).hexdigest()
    return found


def regions(data):
    """The parts of a snapshot file: (what, its node or None, first byte, end)."""
    found, at = [("magic", None, 0, 8)], 8
    while at < len(data) - TRAILER_BYTES:
        size, begin = take_varint(data, at)
        kind = KINDS[data[begin]]
        node = None
        if kind in ("chunk", "block"):  # whose first field is an address, or a node; zeros are not there
            _, body = take_varint(data, begin + 1)
            first = take_varint(data, body + 1)[0] if data[body] == 0x08 else 0
            node = first // K if kind == "chunk" else first
        found.append((kind, node, at, begin + size))
        at = begin + size
    return found + [("trailer", None, at, len(data))]


class Disk(unittest.TestCase):
    """The snapshots' folder of the only node is another file system, which its snapshot process alone sees."""

    def setUp(self):
        if not MAY_MOUNT:
            self.skipTest("may not mount file systems")
        self.grid = self.enterContext(Grid(nodes=1, segment_size=K, snapd=True, start=False))
        self.grid.start()
        self.folder = directory(self.grid)
        os.mkdir(self.folder)
        write(self.grid, 100, random.Random(3).randbytes(K - 100))

    def start(self, mount):
        """Start the snapshot process behind a mount. self.seen: the folder as it sees it."""
        self.grid.snapds[0] = self.grid.launch_snapd(0, launcher=["unshare", "-m", "sh", "-c", mount + ' && exec "$@"', "sh"])
        self.grid.snapds[0].wait_notice("READY=1")
        self.seen = f"/proc/{self.grid.snapds[0].pid}/root{self.folder}"

    def remount(self, how):
        subprocess.run(["nsenter", "-t", str(self.grid.snapds[0].pid), "-m", "mount", "-o", f"remount,{how}", self.folder], check=True)

    def taken(self):
        answer = take(self.grid)
        self.assertEqual(answer["status"], "OK", answer["message"])
        path = os.path.join(self.seen, answer["take_snapshot"]["file"])
        done = subprocess.run([program("mcomp"), "snapshot", "verify", path], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)

    def fails(self, *says, code):
        before = sums(self.seen)
        for _ in range(2):
            answer = take(self.grid)
            self.assertEqual(answer["status"], code, answer["message"])
            for text in says:
                self.assertIn(text, answer["message"])
                self.assertIn(text, status(self.grid)["last_error"])
            self.assertEqual(sums(self.seen), before, "earlier files are what they were, and nothing is left of the new one")
            write(self.grid, 0, b"written meanwhile")

    def test_a_disk_that_is_full_until_somebody_makes_room(self):
        self.start(f'mount -t tmpfs -o size=4m none "{self.folder}"')
        self.taken()
        filler = os.path.join(self.seen, "somebody's")
        with open(filler, "wb") as file:
            file.write(bytes((4 << 20) - sum(os.path.getsize(os.path.join(self.seen, name)) for name in files(self.seen)[0]) - (300 << 10)))
        self.fails("No space left on device", code="RESOURCE_EXHAUSTED")
        os.unlink(filler)
        self.taken()

    def test_a_folder_that_becomes_read_only(self):
        self.start(f'mount --bind "{self.folder}" "{self.folder}"')
        self.taken()
        self.remount("bind,ro")
        self.fails("Read-only file system", self.folder, code="FAILED_PRECONDITION")
        self.assertEqual(len(files(self.seen)[0]), 1)
        self.remount("bind,rw")
        self.taken()

    def test_a_disk_without_room_for_another_name(self):
        self.start(f'mount -t tmpfs -o size=16m,nr_inodes=3 none "{self.folder}"')
        self.taken()
        with open(os.path.join(self.seen, "somebody's"), "wb"):
            pass
        self.fails("No space left on device", code="RESOURCE_EXHAUSTED")
        os.unlink(os.path.join(self.seen, "somebody's"))
        self.taken()


class Damage(unittest.TestCase):
    """One file of two nodes, with a flaw in each of its regions in turn."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="mcomp-test-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        with Grid(nodes=2, segment_size=K, snapd=True) as grid:
            write(grid, 5, random.Random(4).randbytes(CHUNK + 10000))
            write(grid, K + 4096, random.Random(5).randbytes(CHUNK))
            answer = take(grid)
            assert answer["status"] == "OK", answer
            with open(os.path.join(directory(grid), answer["take_snapshot"]["file"]), "rb") as file:
                cls.data = file.read()
        cls.regions = regions(cls.data)

    def damaged(self, change):
        """Path of a file with the bytes that change(bytearray) makes."""
        data = bytearray(self.data)
        change(data)
        path = os.path.join(self.folder, "damaged.mcsnap")
        with open(path, "wb") as file:
            file.write(data)
        return path

    def verify(self, path):
        done = subprocess.run([program("mcomp"), "snapshot", "verify", path, "--json"], capture_output=True, text=True, check=False)
        return done.returncode, json.loads(done.stdout)

    def assert_verify_tells(self, path, begin, end, what):
        code, report = self.verify(path)
        self.assertEqual((code, report["sound"]), (1, False), what)
        self.assertTrue(report["problems"], what)
        self.assertTrue(any(problem["offset"] < end and begin <= problem["offset"] + problem["bytes"] for problem in report["problems"]),
                        f"{what}, bytes {begin} to {end}: {report['problems']}")
        self.assertTrue(all(problem["text"] for problem in report["problems"]))

    def assert_restore_tells(self, path, node, what, grid):
        with open(path, "rb") as file:
            before = file.read()
        server = grid.launch(node, [f"--restore={path}"])
        with self.assertRaisesRegex(AssertionError, "ended with 1 before", msg=what):
            server.wait_notice("READY=1")
        self.assertIn("code=DATA_LOSS", server.log(), what)
        self.assertIn(path, server.log(), what)
        with open(path, "rb") as file:
            self.assertEqual(file.read(), before, "the file itself is not touched")

    def test_a_bit_in_each_region(self):
        self.assertEqual({kind for kind, *_ in self.regions}, {"magic", "header", "chunk", "block", "index", "trailer"})
        self.assertEqual({node for kind, node, *_ in self.regions if kind == "chunk"}, {0, 1})
        with Grid(nodes=2, segment_size=K, start=False) as grid:
            for kind, node, begin, end in self.regions:
                for at in {begin, (begin + end) // 2, end - 1}:
                    what = f"{kind} at {begin}, byte {at}"

                    def flip(data, at=at):
                        data[at] ^= 0x10
                    path = self.damaged(flip)
                    self.assert_verify_tells(path, begin, end, what)
                    self.assert_restore_tells(path, 1 if node is None else node, what, grid)

    def test_a_file_that_ends_in_each_region(self):
        with Grid(nodes=2, segment_size=K, start=False) as grid:
            for kind, _, begin, end in self.regions:
                for length in {begin, (begin + end) // 2, end - 1}:
                    what = f"{kind}, cut to {length} bytes"

                    def cut(data, length=length):
                        del data[length:]
                    path = self.damaged(cut)
                    code, report = self.verify(path)
                    self.assertEqual((code, report["sound"]), (1, False), what)
                    self.assert_restore_tells(path, 0, what, grid)

    def test_a_running_grid_is_not_touched(self):
        before = random.Random(7).randbytes(2 * K)
        with Grid(nodes=2, segment_size=K) as grid:
            grid.mcomp("write", 0, stdin=before)
            for kind, _, begin, end in self.regions:
                def flip(data, at=(begin + end) // 2):
                    data[at] ^= 1
                path = self.damaged(flip)
                done = grid.mcomp("snapshot", "restore", path, "--yes", check=False)
                self.assertEqual(done.returncode, 1, f"{kind}: {done.stderr}")
                self.assertIn("damaged", done.stderr.decode(), kind)
                self.assertEqual(grid.mcomp("read", 0, "all", "--raw").stdout, before, kind)

    def test_a_grid_that_was_to_be_restored_from_a_damaged_file(self):
        """What was wrong before a byte was changed leaves the memory as it is; later, the memory is served to nobody until a restore is complete."""
        before = random.Random(6).randbytes(CHUNK)
        sound = os.path.join(self.folder, "sound.mcsnap")
        with open(sound, "wb") as file:
            file.write(self.data)
        with Grid(nodes=2, segment_size=K) as grid:
            write(grid, K, before)
            grid.stop()
            for at in (3, HEADER_BYTES - 1, len(self.data) - 1):  # magic, header, trailer
                def flip(data, at=at):
                    data[at] ^= 1
                self.assert_restore_tells(self.damaged(flip), 1, f"byte {at}", grid)
            grid.start()
            with Connection(grid.port(1)) as connection:
                self.assertEqual(connection.call("read", address=K, length=CHUNK)["read"]["data"], before)
            grid.kill(1, signal.SIGTERM)
            last = [(begin + end) // 2 for kind, node, begin, end in self.regions if (kind, node) == ("chunk", 1)][-1]

            def flip_data(data):
                data[last] ^= 1
            self.assert_restore_tells(self.damaged(flip_data), 1, "a page of node 1", grid)
            grid.start(1)
            with Connection(grid.port(1)) as connection:
                refused = connection.call("read", address=K, length=1)
            self.assertEqual((refused["status"], "did not come to its end" in refused["message"]), ("UNAVAILABLE", True), refused)
            grid.stop()
            grid.arguments = [f"--restore={sound}"]
            grid.start()
            self.assertEqual(grid.mcomp("read", K + 4096, CHUNK, "--raw").stdout, random.Random(5).randbytes(CHUNK))


if __name__ == "__main__":
    case.main()
