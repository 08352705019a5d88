#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""load and save: large files, progress on a terminal, and what is left when they are interrupted."""
import hashlib
import json
import os
import signal
import unittest

from cli import Terminal, run, start
import case
from grid import Grid, sanitized
from waiting import wait_for_end, wait_until

MIB = 1 << 20


def fill(path, length):
    """A file of bytes that repeat at no power of two."""
    block = b"".join(hashlib.sha256(i.to_bytes(4, "little")).digest() for i in range(31250))
    with open(path, "wb") as file:
        left = length
        while left > 0:
            file.write(block[:left])
            left -= len(block)


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class RoundTrip(unittest.TestCase):
    def test_100_mb_come_back_the_same(self):
        length = 10_000_000 if sanitized() else 100_000_000
        with Grid(nodes=3, segment_size="40MiB") as grid:
            fill(grid.path("in"), length)
            report = json.loads(run("--json", "load", grid.path("in"), "0x101", config=grid.config).stdout)
            self.assertEqual((report["address"], report["length"]), (0x101, length))
            self.assertEqual(run("save", "0x101", length, grid.path("out"), config=grid.config).stdout, "")
            self.assertEqual(sha256(grid.path("out")), sha256(grid.path("in")))
            piped = start("save", "0x101", length, "-", config=grid.config)
            self.assertEqual(hashlib.file_digest(piped.stdout, "sha256").hexdigest(), sha256(grid.path("in")))
            self.assertEqual((piped.wait(), piped.stderr.read()), (0, b""))
            piped.stdout.close()
            piped.stderr.close()

    def test_a_pipe_can_be_loaded(self):
        with Grid(nodes=2, segment_size="4MiB", server='max_message = "64KiB"') as grid:
            data = os.urandom(5 * MIB + 3)
            self.assertEqual(run("load", "-", 7, config=grid.config, stdin=data).stderr, "")
            self.assertEqual(grid.mcomp("read", 7, len(data)).stdout, data)

    def test_nothing_is_moved_and_a_file_of_nothing_is_made(self):
        with Grid() as grid:
            self.assertEqual(run("load", "/dev/null", MIB, config=grid.config).returncode, 0)
            self.assertEqual(run("save", 0, 0, grid.path("out"), config=grid.config).returncode, 0)
            self.assertEqual(os.path.getsize(grid.path("out")), 0)


class Refusals(unittest.TestCase):
    def test_file_larger_than_the_space_is_refused_before_a_byte_is_written(self):
        with Grid() as grid:
            fill(grid.path("in"), 100)
            for arguments in (("load", grid.path("in"), MIB - 99), ("write", MIB - 99, "--file", grid.path("in"))):
                done = run(*arguments, config=grid.config)
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                self.assertIn("100 bytes", done.stderr)
                self.assertIn("at most 99 bytes", done.stderr)
                self.assertEqual(grid.mcomp("read", MIB - 99, 99).stdout, bytes(99))

    def test_pipe_longer_than_the_space_fills_it_and_fails(self):
        with Grid() as grid:
            done = run("load", "-", MIB - 99, config=grid.config, stdin=b"x" * 100)
            self.assertEqual(done.returncode, 1)
            self.assertIn("longer than the 99 bytes", done.stderr)
            self.assertIn("done      0xfff9d to 0xfffff (99 B)", done.stderr)
            self.assertEqual(grid.mcomp("read", MIB - 99, 99).stdout, b"x" * 99)
            self.assertEqual(run("load", "-", MIB - 100, config=grid.config, stdin=b"x" * 100).returncode, 0)

    def test_files_that_cannot_be(self):
        with Grid() as grid:
            for arguments, text in ((("load", "/nonexistent", 0), "No such file"), (("load", grid.directory, 0), "Is a directory"),
                                    (("save", 0, 1, "/nonexistent/file"), "No such file"), (("save", 0, 1, grid.directory), "Is a directory"),
                                    (("save", 0, 1, "/dev/full"), "No space left")):
                done = run(*arguments, config=grid.config)
                self.assertEqual((done.returncode, done.stdout), (1, ""), arguments)
                self.assertIn(text, done.stderr)

    def test_failed_save_leaves_the_older_file(self):
        with Grid(nodes=2) as grid:
            fill(grid.path("out"), 10)
            before, files = sha256(grid.path("out")), set(os.listdir(grid.directory))
            grid.kill(1)
            self.assertEqual(run("--timeout", "300ms", "save", 0, "all", grid.path("out"), config=grid.config).returncode, 4)
            self.assertEqual((sha256(grid.path("out")), set(os.listdir(grid.directory))), (before, files))


class Interrupted(unittest.TestCase):
    def test_load_says_what_was_written(self):
        """The input stands still after 3 MiB, and Ctrl-C comes when they are in the grid."""
        def attempt(number):
            with Grid(nodes=2, segment_size="4MiB") as grid:
                process = start("load", "-", 0, config=grid.config, stdin=-1)
                process.stdin.write(b"a" * (3 * MIB + 5))
                process.stdin.flush()
                wait_until(lambda: grid.mcomp("read", 3 * MIB - 1, 1).stdout == b"a", what="3 MiB in the grid")
                process.send_signal(number)
                self.assertEqual(wait_for_end(process), 130)
                said = process.stderr.read().decode()
                for pipe in (process.stdin, process.stdout, process.stderr):
                    pipe.close()
                if "unknown" in said:
                    return False  # the grid had it, and the answers took longer than they are waited for after a signal
                self.assertEqual(said, "mcomp: load: interrupted\n  done      0x0 to 0x2fffff (3 MiB)\n")
                return True
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number):
                wait_until(lambda signal_number=number: attempt(signal_number), what="an interrupt when all was answered")

    def test_load_into_a_node_that_hangs_ends_at_the_second_signal(self):
        def attempt():
            with Grid(nodes=2) as grid:
                fill(grid.path("in"), 2 * MIB)
                grid.servers[1].process.send_signal(signal.SIGSTOP)
                try:
                    process = start("load", grid.path("in"), 0, config=grid.config)
                    wait_until(lambda: grid.mcomp("read", MIB - 1, 1).stdout != b"\0", what="the first MiB in the grid")
                    process.send_signal(signal.SIGINT)
                    process.send_signal(signal.SIGTERM)
                    self.assertEqual(wait_for_end(process), 130)
                    said = process.stderr.read().decode()
                    process.stdout.close()
                    process.stderr.close()
                finally:
                    grid.servers[1].process.send_signal(signal.SIGCONT)
                self.assertTrue(said.startswith("mcomp: load: interrupted\n"), said)
                self.assertNotIn("done      0x100000", said.replace("not done ", ""))
                return "\n  done      0x0 to 0xfffff (1 MiB)\n" in said  # else the grid had it, and the load had not heard of it
        wait_until(attempt, what="an interrupt when the first MiB was answered")

    def test_save_removes_its_temporary_file(self):
        with Grid(nodes=2) as grid:
            files = set(os.listdir(grid.directory))
            grid.servers[1].process.send_signal(signal.SIGSTOP)
            try:
                process = start("save", 0, "all", grid.path("out"), config=grid.config)
                wait_until(lambda: any(os.path.getsize(grid.path(name)) >= MIB for name in set(os.listdir(grid.directory)) - files),
                           what="a temporary file with the first MiB")
                process.send_signal(signal.SIGINT)
                process.send_signal(signal.SIGTERM)
                self.assertEqual(wait_for_end(process), 130)
                self.assertIn(b"mcomp: save: interrupted\n", process.stderr.read())
                self.assertEqual(set(os.listdir(grid.directory)), files)
                process.stdout.close()
                process.stderr.close()
            finally:
                grid.servers[1].process.send_signal(signal.SIGCONT)

    def test_temporary_file_goes_although_nobody_reads_our_messages(self):
        with Grid(nodes=2) as grid:
            files = set(os.listdir(grid.directory))
            grid.kill(1)
            reader, writer = os.pipe()
            os.close(reader)
            process = start("--timeout", "300ms", "save", 0, "all", grid.path("out"), config=grid.config, stderr=writer)
            os.close(writer)
            process.stdout.close()
            self.assertEqual(wait_for_end(process), 4)
            self.assertEqual(set(os.listdir(grid.directory)), files)

    def test_read_that_nobody_reads_ends(self):
        with Grid(segment_size="64MiB") as grid:
            process = start("read", 0, "all", config=grid.config)
            self.assertEqual(len(process.stdout.read(1)), 1)
            process.send_signal(signal.SIGINT)
            self.assertEqual(wait_for_end(process), 130)
            process.stdout.close()
            process.stderr.close()


class Progress(unittest.TestCase):
    def test_shown_on_a_terminal_and_removed_at_the_end(self):
        """The input stands still until the line is there."""
        with Grid(segment_size="4MiB") as grid:
            terminal = Terminal("load", "-", 0, config=grid.config, stdout=False, stderr=True, stdin=-1)
            terminal.process.stdin.write(bytes(2 * MIB))
            terminal.process.stdin.flush()
            seen = b""
            while b"load 2 MiB" not in seen:
                piece = terminal.read()
                self.assertTrue(piece, seen)
                seen += piece
            terminal.process.stdin.close()
            self.assertTrue(terminal.finish().endswith("\r\x1b[K"))
            self.assertEqual(terminal.process.returncode, 0)

    def test_one_line_on_a_terminal_tells_what_was_done(self):
        with Grid() as grid:
            for arguments in (("write", 0, "--text", "hello"), ("load", grid.config, 0)):
                self.assertRegex(Terminal(*arguments, config=grid.config).finish(), r"^\S+ \S+ written at 0x0 in .*/s\n$")
            self.assertRegex(Terminal("save", 16, 5, grid.path("out"), config=grid.config).finish(), r'^5 B from 0x10 saved to ".*/out" in .*/s\n$')

    def test_nothing_in_a_pipe(self):
        with Grid(segment_size="4MiB") as grid:
            fill(grid.path("in"), 4 * MIB)
            for arguments in (("load", grid.path("in"), 0), ("save", 0, "all", grid.path("out"))):
                done = run(*arguments, config=grid.config)
                self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))


if __name__ == "__main__":
    case.main()
