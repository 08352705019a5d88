#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What commands print, in pipes, on terminals and as JSON, on a real grid."""
import base64
import json
import unittest

from cli import Terminal, run, start
import case
from grid import Grid
from waiting import idle

K = 1 << 20
ESCAPE = "\x1b["


class Words(unittest.TestCase):
    def setUp(self):
        self.grid = self.enterContext(Grid(nodes=3))

    def mcomp(self, *arguments, code=0, stdin=b""):
        done = run(*arguments, config=self.grid.config, stdin=stdin)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout

    def test_add_prints_the_value_before(self):
        self.assertEqual([self.mcomp("add", 64, delta) for delta in ("5", "-7", "0x10", "0")], ["0\n", "5\n", f"{(1 << 64) - 2}\n", "14\n"])
        self.assertEqual(json.loads(self.mcomp("--json", "add", 64, -15)), {"address": 64, "before": "14", "after": str((1 << 64) - 1)})

    def test_cas_prints_the_value_found_and_exits_3_unless_it_swapped(self):
        self.assertEqual(self.mcomp("cas", 8, 0, -1), "0\n")
        self.assertEqual(self.mcomp("cas", 8, 0, 1, code=3), f"{(1 << 64) - 1}\n")
        self.assertEqual(json.loads(self.mcomp("cas", 8, 7, 1, "--json", code=3)), {"address": 8, "swapped": False, "found": str((1 << 64) - 1)})
        self.assertEqual(json.loads(self.mcomp("cas", 8, "0xffffffffffffffff", 1, "--json"))["swapped"], True)
        self.assertEqual(self.mcomp("read", 8, 8), "\x01" + 7 * "\0")

    def test_number_that_spans_nodes_is_refused(self):
        for command in (("add", K - 4, 1), ("cas", K - 4, 0, 1)):
            self.assertEqual(self.mcomp(*command, code=1), "")

    def test_write_is_silent_in_a_pipe(self):
        with open(self.grid.config, "rb") as file:
            content = file.read()
        for options, data in ((("--text", "grüße"), "grüße".encode()), (("--hex", "00 ff 0A"), b"\0\xff\n"), (("--text", ""), b""),
                              (("--file", self.grid.config), content)):
            self.assertEqual(self.mcomp("write", K - 2, *options, stdin=b"not this"), "")
            self.assertEqual(base64.b64decode(json.loads(self.mcomp("--json", "read", K - 2, len(data)))["data_base64"]), data)
        report = json.loads(self.mcomp("write", 0, "--json", stdin=b"12345"))
        self.assertEqual((report["address"], report["length"]), (0, 5))

    def test_write_that_does_not_fit_is_refused_before_a_byte_is_written(self):
        done = run("write", 3 * K - 4, "--text", "12345", config=self.grid.config)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("at most 4 bytes", done.stderr)
        self.assertEqual(self.mcomp("read", 3 * K - 4, 4), 4 * "\0")

    def test_read_of_all_ends_with_the_grid(self):
        self.mcomp("write", 3 * K - 3, stdin=b"end")
        self.assertEqual(self.mcomp("read", 3 * K - 3, "all"), "end")
        self.assertEqual(self.mcomp("read", 3 * K, "all"), "")
        self.assertEqual(json.loads(self.mcomp("--json", "read", "1.5MiB", "all"))["length"], 3 * K // 2)

    def test_addresses_have_units(self):
        self.mcomp("write", "0x100000", stdin=b"unit")
        for address in ("1MiB", "1024k", str(K), "1024 KiB"):
            self.assertEqual(self.mcomp("read", address, "0x4"), "unit")


class HexDump(unittest.TestCase):
    def test_forced_in_a_pipe(self):
        with Grid(nodes=2) as grid:
            grid.mcomp("write", K - 2, stdin=b"hello")
            self.assertEqual(run("read", K - 2, 5, "--hex", config=grid.config).stdout,
                             "000ffffe                                             68 65  |              he|\n"
                             "-------- node 1 --------\n"
                             "00100000  6c 6c 6f                                          |llo             |\n"
                             "00100003\n")
            self.assertEqual(run("read", 16, "64KiB", "--hex", config=grid.config).stdout,
                             "00000010  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n*\n00010010\n")

    def test_shown_on_a_terminal_in_colour_and_not_with_no_color(self):
        with Grid(nodes=2) as grid:
            grid.mcomp("write", K - 2, stdin=b"hello")
            coloured = Terminal("read", K - 2, 5, config=grid.config).finish()
            self.assertIn(ESCAPE, coloured)
            self.assertIn("node 1", coloured)
            for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": None}):
                plain = Terminal("read", K - 2, 5, config=grid.config, env=env).finish()
                self.assertEqual(plain, run("read", K - 2, 5, "--hex", config=grid.config).stdout)
            self.assertIn(ESCAPE, Terminal("read", K - 2, 5, config=grid.config, env={"NO_COLOR": ""}).finish())
            self.assertEqual(Terminal("read", K - 2, 5, "--raw", config=grid.config).finish(), "hello")


class StatusTable(unittest.TestCase):
    def test_wide_and_narrow_terminals(self):
        with Grid(nodes=2) as grid:
            wide = Terminal("status", config=grid.config, columns=200, env={"NO_COLOR": "1"}).finish()
            narrow = Terminal("status", config=grid.config, columns=60, env={"NO_COLOR": "1"}).finish()
            self.assertIn("MULTI", wide)
            self.assertNotIn("MULTI", narrow)
            for text in (wide, narrow):
                self.assertIn("2 of 2 nodes up, 2 MiB", text)
            for line in narrow.splitlines()[:3]:
                self.assertLessEqual(len(line), 60)
            self.assertIn(ESCAPE, Terminal("status", config=grid.config).finish())
            self.assertNotIn(ESCAPE, run("status", config=grid.config).stdout)

    def test_json_tells_everything_and_counts(self):
        with Grid(nodes=2) as grid:
            grid.mcomp("write", K - 2, stdin=b"hello")
            grid.mcomp("add", 0, 1)
            first, second = json.loads(run("status", "--json", config=grid.config).stdout)
            self.assertEqual((first["node"], first["state"], first["segment_size"]), (0, "up", K))
            self.assertEqual((first["write"], second["write"]), ({"count": 1, "errors": 0, "bytes": 2}, {"count": 1, "errors": 0, "bytes": 3}))
            self.assertEqual((first["transaction"]["count"], first["operations"], second["operations"]), (1, 2, 1))
            self.assertEqual((first["prepared"], first["transactions_committed"], second["transactions_committed"]), (0, 1, 0))
            self.assertGreater(first["round_trip_ns"], 0)
            self.assertEqual(first["process_id"], grid.servers[0].pid)
            self.assertIsInstance(first["segment_id"], str)
            indented = Terminal("status", "--json", config=grid.config).finish()
            self.assertEqual(len(json.loads(indented)), 2)
            self.assertGreater(indented.count("\n"), 10)


class Pipes(unittest.TestCase):
    def test_closed_pipe_ends_a_read_as_it_ends_cat(self):
        with Grid(segment_size="64MiB") as grid:
            for form in ("--raw", "--hex", "--json"):
                process = start("read", 0, "all", form, config=grid.config)
                if form == "--hex": # zeros collapse to one line: let the pipe close before there is anything to write
                    process.stdout.close()
                else:
                    self.assertEqual(len(process.stdout.read(10)), 10)
                    process.stdout.close()
                self.assertEqual(process.stderr.read(), b"", form)
                process.stderr.close()
                self.assertEqual(process.wait(), -13, form)

    def test_slow_reader_costs_no_time_out(self):
        """The pipe stands full for longer than the time-out of the calls under way."""
        def attempt(grid, seconds):
            process = start("--timeout", f"{seconds}s", "read", 0, "all", config=grid.config)
            got = len(process.stdout.read(1 << 16))
            idle(1.5 * seconds)
            got += len(process.stdout.read())
            ended = (process.stderr.read(), process.wait(), got)
            process.stdout.close()
            process.stderr.close()
            return ended
        with Grid(segment_size="64MiB") as grid:
            for seconds in (2, 8, 30, 90):  # a slow machine may need the more for the calls themselves
                ended = attempt(grid, seconds)
                if ended[1] == 0:
                    break
            self.assertEqual(ended, (b"", 0, 64 << 20))

    def test_full_disk_is_an_error(self):
        with Grid() as grid:
            for arguments in (("read", 0, 1), ("read", 0, "all"), ("--json", "read", 0, 100), ("add", 0, 0), ("status",)):
                with open("/dev/full", "wb") as full:
                    process = start(*arguments, config=grid.config, stdout=full)
                    self.assertIn(b"No space left on device", process.communicate()[1], arguments)
                    self.assertEqual(process.returncode, 1, arguments)


if __name__ == "__main__":
    case.main()
