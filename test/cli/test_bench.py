#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench: that it measures what it says, on a real grid. How fast anything is, is not tested here."""
import json
import signal
import subprocess
import unittest

from cli import Terminal, run, start
import case
from grid import Grid, program
from waiting import PATIENCE_S, wait_for_end, wait_until

FIELDS = {"op", "size", "depth", "connections", "threads", "synchronous", "address", "span", "seconds", "operations", "operations_per_second", "bytes",
          "bytes_per_second", "latency_ns", "errors", "errors_by_status", "interrupted"}
LATENCIES = ("p50", "p90", "p99", "p99_9", "max")


class Bench(unittest.TestCase):
    def bench(self, grid, *options, seconds=0.1):
        """A run of so many seconds, and longer ones if the machine is too slow for a single operation in that time. Returns the report."""
        while True:
            done = run("bench", "--json", "--seconds", seconds, *options, config=grid.config)
            self.assertEqual(done.returncode, 0, done.stderr)
            report = json.loads(done.stdout)
            if report["operations"] > 0 or seconds > PATIENCE_S / 4:
                return report
            seconds *= 4

    def check(self, report):
        self.assertEqual(set(report), FIELDS)
        self.assertGreater(report["operations"], 0)
        self.assertEqual((report["errors"], report["errors_by_status"], report["interrupted"]), (0, {}, False))
        self.assertEqual(report["bytes"], report["operations"] * report["size"])
        self.assertAlmostEqual(report["operations_per_second"] * report["seconds"], report["operations"], delta=1)
        latency = [report["latency_ns"][name] for name in LATENCIES]
        self.assertEqual(latency, sorted(latency))
        self.assertGreater(latency[0], 0)

    def test_every_operation_synchronous_and_not(self):
        with Grid(nodes=2) as grid:
            for op in ("read", "write", "add", "mixed", "txn", "txn2", "mcas"):
                for load in ((), ("--depth", 4, "--connections", 3, "--threads", 2), ("--depth", 7)):
                    report = self.bench(grid, "--op", op, *load)
                    self.check(report)
                    self.assertEqual((report["op"], report["size"], report["synchronous"]), (op, 8 if op == "add" else 64, not load))
            counts = json.loads(grid.mcomp("status", "--json").stdout)
            for node in counts:
                for kind in ("read", "write", "transaction"):
                    self.assertGreater(node[kind]["count"], 0, "all nodes take part")

    def test_no_addition_is_lost_and_none_falls_outside_the_range(self):
        with Grid(nodes=2, segment_size="64KiB") as grid:
            counted, words, rounds = 0, [0], 0
            while 0 in words and rounds < 10:  # until each of the four places has had its turn
                rounds += 1
                counted += self.bench(grid, "--op", "add", "--depth", 8, "--connections", 2, "--address", "0xfff0", "--span", 32, seconds=1)["operations"]
                data = grid.mcomp("read", 0, "all").stdout
                words = [int.from_bytes(data[at:at + 8], "little") for at in range(0xfff0, 0x10010, 8)]
            self.assertNotIn(0, words)
            self.assertGreaterEqual(sum(words), counted, "what was counted happened, and that of the short warm-up besides")
            added = sum(n["transactions_committed"] for n in json.loads(grid.mcomp("status", "--json").stdout))
            self.assertEqual(sum(words), added)
            self.assertEqual(data[:0xfff0] + data[0x10010:], bytes((128 << 10) - 32))

    def test_one_address_only(self):
        with Grid() as grid:
            report = self.bench(grid, "--op", "write", "--address", 4096, "--span", 64, "--depth", 3)
            self.assertEqual((report["address"], report["span"]), (4096, 64))
            data = grid.mcomp("read", 0, "all").stdout
            self.assertNotEqual(data[4096:4160], bytes(64))
            self.assertEqual(data[:4096] + data[4160:], bytes((1 << 20) - 64))

    def test_sizes_over_the_borders_and_over_max_message(self):
        with Grid(nodes=3, segment_size="64KiB", server='max_message = "16KiB"') as grid:
            for size in (1, 100, 50000, "192KiB"):
                self.check(self.bench(grid, "--op", "mixed", "--size", size, "--depth", 2))

    def test_range_that_does_not_fit_the_grid(self):
        with Grid() as grid:
            self.assertEqual(run("bench", "--span", "2MiB", config=grid.config).returncode, 1)
            self.assertEqual(run("bench", "--address", (1 << 20) - 8, config=grid.config).returncode, 1)
            done = run("bench", "--address", (1 << 20) - 8, "--json", config=grid.config)
            self.assertEqual((done.returncode, json.loads(done.stdout)["error"]["status"]), (1, "OUT_OF_RANGE"))

    def test_descriptors_are_taken_as_needed_and_too_few_are_said_at_once(self):
        with Grid(nodes=2, segment_size="64KiB") as grid:
            for hard, code in ((400, 0), (100, 1)):
                done = subprocess.run(["sh", "-c", f'ulimit -Sn 64; ulimit -Hn {hard}; exec "$@"', "sh", program("mcomp"), "-c", grid.config, "bench",
                                       "--connections", "50", "--seconds", "0.1"], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
                self.assertEqual(done.returncode, code, done.stderr)
            self.assertIn("50 connections to 2 nodes need 233 file descriptors, and 100 are allowed", done.stderr)

    def test_text_tells_the_same(self):
        with Grid() as grid:
            said = run("bench", "--seconds", "0.1", "--depth", 2, config=grid.config).stdout
            for word in ("read of 64 B", "depth 2", "operations ", "latency ", "p50", "p99.9", "errors      0"):
                self.assertIn(word, said)

    def test_time_left_is_shown_on_a_terminal_and_removed(self):
        with Grid() as grid:
            terminal = Terminal("bench", "--seconds", "0.1", config=grid.config, stdout=False, stderr=True)
            self.assertRegex(terminal.finish(), r"^(\rbench  1 s left\x1b\[K)+.*\r\x1b\[K$")
            self.assertEqual(terminal.process.returncode, 0)

    def test_node_that_dies_is_reported(self):
        def attempt(seconds):
            with Grid(nodes=2) as grid:
                process = start("bench", "--json", "--timeout", "200ms", "--op", "write", "--depth", 4, "--seconds", seconds, config=grid.config)
                wait_until(lambda: json.loads(grid.mcomp("status", "--json").stdout)[1]["write"]["count"] > 0 or process.poll() is not None,
                           what="the first writes")
                grid.kill(1)
                output, said = process.communicate()
                report = json.loads(output)
                if report.get("errors", 0) == 0:
                    return False  # it was over before, or has not even begun
                self.assertEqual(process.returncode, 1, said)
                self.assertEqual(sum(report["errors_by_status"].values()), report["errors"])
                return True
        for seconds in (6, 20, 60):
            if attempt(seconds):
                return
        self.fail("no error is reported")

    def test_ctrl_c_reports_what_was_measured(self):
        for load in ((), ("--depth", 4, "--connections", 2, "--threads", 2)):
            with self.subTest(load=load), Grid() as grid:
                process = start("bench", "--json", "--seconds", 600, *load, config=grid.config)
                wait_until(lambda g=grid: json.loads(g.mcomp("status", "--json").stdout)[0]["read"]["count"] > 10, what="the first reads")
                process.send_signal(signal.SIGINT)
                self.assertEqual(wait_for_end(process), 130)
                self.assertTrue(json.loads(process.stdout.read())["interrupted"])
                process.stdout.close()
                process.stderr.close()


if __name__ == "__main__":
    case.main()
