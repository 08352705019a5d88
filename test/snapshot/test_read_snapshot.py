#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The page of Python that was written from docs/snapshot-format.md reads our files, and finds the same bytes."""
import hashlib
import importlib.util
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
import case  # noqa: E402

PROTO = os.path.join(HERE, "..", "..", "proto")
GOLDEN = os.path.join(HERE, "..", "golden", "snapshot-v1.mcsnap")
MAKE = os.path.join(os.environ.get("MCOMP_BUILD", ""), "test", "snapshot", "make_snapshot")


def missing():
    if shutil.which("protoc") is None:
        return "protoc is not installed"
    if importlib.util.find_spec("google") is None or importlib.util.find_spec("google.protobuf") is None:
        return "the protobuf library for Python is not installed"
    return None


def noise(count, seed):
    """The numbers of fill_random() in test/unit/snapshot/file_fixture.c."""
    x, out = seed + 88172645463325252, bytearray()
    for _ in range(count):
        x ^= x << 13 & 0xFFFFFFFFFFFFFFFF
        x ^= x >> 7
        x ^= x << 17 & 0xFFFFFFFFFFFFFFFF
        out.append(x >> 24 & 0xFF | 1)
    return bytes(out)


def golden_array():
    """What the golden file holds; the same as in test/unit/snapshot/test_golden.c."""
    k = 262144 + 3 * 4096
    array = bytearray(3 * k)
    array[4096:8192] = noise(4096, 1)
    array[63 * 4096:64 * 4096] = b"g" * 4096
    array[66 * 4096:67 * 4096] = noise(4096, 2)
    array[2 * k] = 1
    array[3 * k - 1] = 255
    return bytes(array)


@unittest.skipIf(missing(), missing())
class ReadSnapshot(unittest.TestCase):
    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory())
        subprocess.run(["protoc", f"--proto_path={PROTO}", f"--python_out={self.folder}", "snapshot.proto"], check=True)

    def read(self, *arguments, fails=False):
        done = subprocess.run([sys.executable, os.path.join(HERE, "read_snapshot.py"), *map(str, arguments)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env={**os.environ, "SNAPSHOT_PB2": self.folder, "PYTHONDONTWRITEBYTECODE": "1"}, check=False)
        self.assertEqual(done.returncode, 1 if fails else 0, done.stderr.decode())
        self.assertNotIn(b"Traceback", done.stderr)
        return done.stdout

    def make(self, k, nodes, seed, compress):
        name = f"{seed}.mcsnap"
        subprocess.run([MAKE, self.folder, name, str(k), str(nodes), str(seed), str(int(compress))], check=True)
        path = os.path.join(self.folder, name)
        with open(path + ".array", "rb") as file:
            return path, file.read()

    @unittest.skipUnless(shutil.which("zstd"), "the program zstd is not installed")
    def test_golden_file_with_all_checksums(self):
        array = golden_array()
        self.assertEqual(self.read("--check", GOLDEN).decode().strip(), hashlib.sha256(array).hexdigest())
        for address, length in ((0, 5), (4095, 2), (262144 + 2 * 4096 - 7, 100), (len(array) - 3, 3), (len(array), 0)):
            self.assertEqual(self.read(GOLDEN, address, length), array[address:address + length])
        self.read(GOLDEN, len(array), 1, fails=True)

    def test_example_in_the_page_is_what_stands_in_the_golden_file(self):
        with open(os.path.join(HERE, "..", "..", "docs", "snapshot-format.md"), encoding="utf-8") as file:
            offset, block = re.search(r"at byte (\d+) of .*?```\n(.*?)```", file.read(), re.S).groups()
        example = bytes.fromhex(" ".join(re.match(r"(?:[0-9a-f]{2} )+", line).group() for line in block.splitlines()))
        self.assertEqual(len(example), 1 + example[0])
        with open(GOLDEN, "rb") as file:
            file.seek(int(offset))
            self.assertEqual(file.read(len(example)), example)

    def test_files_of_several_shapes(self):
        shapes = [(4096, 1), (3 << 18, 3), ((5 << 18) + 7 * 4096, 4), (3 * 4096, 100)]
        pick = random.Random(1)
        for seed, (k, nodes) in enumerate(shapes, 1):
            path, array = self.make(k, nodes, seed, compress=False)
            self.assertEqual(self.read(path).decode().strip(), hashlib.sha256(array).hexdigest())
            for _ in range(3):
                address = pick.randrange(len(array))
                length = pick.randrange(min(len(array) - address, 300000) + 1)
                self.assertEqual(self.read(path, address, length), array[address:address + length])

    @unittest.skipUnless(shutil.which("zstd"), "the program zstd is not installed")
    def test_compressed_file(self):
        path, array = self.make((2 << 18) + 4096, 3, 77, compress=True)
        self.assertLess(os.path.getsize(path), 0.8 * sum(1 for page in range(0, len(array), 4096) if any(array[page:page + 4096])) * 4096)
        self.assertEqual(self.read(path).decode().strip(), hashlib.sha256(array).hexdigest())

    def test_damage_is_found_by_the_checksums(self):
        path, _ = self.make(2 * 4096, 2, 5, compress=False)
        with open(path, "rb") as file:
            sound = file.read()
        self.read("--check", path)
        places = [3, 40, 3000, 4100, 4140, len(sound) - 100, len(sound) - 70, len(sound) - 50, len(sound) - 1]
        for place in places:
            with open(path, "wb") as file:
                file.write(sound[:place] + bytes([sound[place] ^ 0x21]) + sound[place + 1:])
            self.read("--check", path, fails=True)
        with open(path, "wb") as file:
            file.write(sound[:-1])
        self.read(path, fails=True)


if __name__ == "__main__":
    case.main()
