#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Nodes that are not there: exit code 4, what can be shown is shown, and nothing waits for longer than the time-out."""
import json
import subprocess
import unittest

from cli import RUN_S, command_line, environment, run
import case
from grid import Grid
from waiting import with_growing_time_outs

TIMEOUT = ("--timeout", "300ms")


class NobodyThere(unittest.TestCase):
    """Ports that are held and on which nobody listens."""

    def test_status_shows_all_nodes_and_exits_4(self):
        with Grid(nodes=16, start=False) as grid:
            done = run(*TIMEOUT, "status", config=grid.config)
            self.assertEqual(done.returncode, 4)
            self.assertEqual(done.stdout.count("unreachable"), 16)
            for node in range(16):
                self.assertIn(f"127.0.0.1:{grid.port(node)}", done.stdout)
                self.assertIn(f"127.0.0.1:{grid.port(node)}", done.stderr)
            self.assertIn("0 of 16 nodes up", done.stdout)

    def test_status_as_json(self):
        with Grid(nodes=2, start=False) as grid:
            done = run(*TIMEOUT, "status", "--json", config=grid.config)
            self.assertEqual(done.returncode, 4)
            nodes = json.loads(done.stdout)
            self.assertEqual([(n["node"], n["state"], n["error"]["node"]) for n in nodes], [(0, "unreachable", 0), (1, "unreachable", 1)])
            self.assertIn(nodes[0]["error"]["status"], ("UNAVAILABLE", "DEADLINE_EXCEEDED"))

    def test_every_command_exits_4(self):
        with Grid(start=False) as grid:
            for arguments in (("read", 0, 1), ("write", 0), ("add", 0, 1), ("cas", 0, 1, 2), ("load", grid.config, 0), ("save", 0, 1, grid.path("out")),
                              ("bench", "--seconds", "0.1"), ("bench", "--seconds", "0.1", "--depth", "2")):
                done = run(*TIMEOUT, *arguments, config=grid.config, stdin=b"x")
                self.assertEqual((done.returncode, done.stdout), (4, ""), arguments)
                self.assertTrue(done.stderr.startswith(f"mcomp: {arguments[0]}: "), done.stderr)
                self.assertIn(f"127.0.0.1:{grid.port()}", done.stderr, arguments)

    def test_what_was_not_done_is_said(self):
        with Grid(start=False) as grid:
            for arguments in (("write", 0x10), ("add", 0x10, 1), ("cas", 0x10, 1, 2), ("load", "-", 0x10)):
                done = run(*TIMEOUT, *arguments, config=grid.config, stdin=b"12345678")
                self.assertIn("nothing was changed", done.stderr, arguments)
                as_json = json.loads(run(*TIMEOUT, "--json", *arguments, config=grid.config, stdin=b"12345678").stdout)
                self.assertEqual(as_json["error"]["spans"], [{"address": 0x10, "length": 8, "outcome": "not done"}], arguments)

    def test_read_as_json_is_a_whole_document(self):
        with Grid(start=False) as grid:
            report = json.loads(run(*TIMEOUT, "--json", "read", 0, 100, config=grid.config).stdout)
            self.assertEqual((report["address"], report["length"], report["data_base64"], report["error"]["node"]), (0, 100, "", 0))


class SomeThere(unittest.TestCase):
    def test_status_tells_of_those_that_are_up(self):
        with Grid(nodes=3) as grid:
            grid.kill(1)

            def check(time_out):
                done = run("--timeout", time_out, "status", config=grid.config)
                self.assertEqual(done.returncode, 4)
                self.assertEqual([line.split()[1] for line in done.stdout.splitlines()[1:4]], ["up", "unreachable", "up"])
                self.assertIn("2 of 3 nodes up", done.stdout)
                nodes = json.loads(run("--timeout", time_out, "--json", "status", config=grid.config).stdout)
                states = [(n["state"], "error" in n, "uptime_ms" in n) for n in nodes]
                self.assertEqual(states, [("up", False, True), ("unreachable", True, False), ("up", False, True)])
            with_growing_time_outs(check)

    def test_write_over_a_node_that_is_down_says_what_became_of_each_part(self):
        with Grid(nodes=3, segment_size="64KiB") as grid:
            grid.kill(1)

            def check(time_out):
                done = run("--timeout", time_out, "write", 0, config=grid.config, stdin=bytes(3 << 16))
                self.assertEqual(done.returncode, 4)
                self.assertIn("done      0x0 to 0xffff (64 KiB)", done.stderr)
                self.assertIn("not done  0x10000 to 0x1ffff (64 KiB)", done.stderr)
            with_growing_time_outs(check)

    def test_load_over_a_node_that_is_down_tells_of_pieces_behind_it_too(self):
        with Grid(nodes=3, segment_size="4MiB") as grid:
            grid.kill(1)

            def check(time_out):
                done = run("--timeout", time_out, "load", "-", 0, config=grid.config, stdin=bytes(12 << 20))
                self.assertEqual(done.returncode, 4)
                self.assertEqual(done.stderr.splitlines()[1:], ["  done      0x0 to 0x3fffff (4 MiB)", "  not done  0x400000 to 0x7fffff (4 MiB)",
                                                                "  done      0x800000 to 0xbfffff (4 MiB)"])
            with_growing_time_outs(check)

    def test_messages_never_go_to_a_node(self):
        """Where standard descriptors are closed, sockets must not take their places."""
        with Grid(nodes=3) as grid:
            grid.kill(1)
            subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command_line((*TIMEOUT, "status"), grid.config)], env=environment(), check=False,
                           timeout=RUN_S)

            def check(time_out):
                nodes = json.loads(run("--timeout", time_out, "--json", "status", config=grid.config).stdout)
                self.assertEqual([nodes[i].get("connections_broken") for i in (0, 2)], [0, 0])
            with_growing_time_outs(check)

    def test_other_configuration_is_a_mismatch(self):
        with Grid() as grid:
            grid.write_config(segment_size="2MiB")
            done = run("status", config=grid.config)
            self.assertEqual(done.returncode, 1)
            self.assertIn("mismatch", done.stdout)
            self.assertIn("2097152", done.stderr)
            self.assertEqual(run("read", 0, 1, config=grid.config).returncode, 1)
            grid.write_config()


if __name__ == "__main__":
    case.main()
