#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Help, wrong usage and configurations: everything that needs no grid."""
import json
import os
import subprocess
import tempfile
import unittest

from cli import TOP, command_line, environment, run, start
import case

COMMANDS = ("status", "read", "write", "add", "cas", "txn list", "txn", "load", "save", "bench", "config check", "snapshot now", "snapshot status",
            "snapshot list", "snapshot show", "snapshot verify", "snapshot read", "snapshot diff", "snapshot restore")
GOOD = """grid = "demo"
segment_size = "1MiB"
nodes = 2
node 0 { address = "127.0.0.1:1" }
node 1 { address = "[::1]:2"  snapshot_address = "localhost:3" }
"""


class Folder(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="mcomp-test-")
        self.addCleanup(self.folder.cleanup)

    def write(self, text, name="mcomp.cfg"):
        path = os.path.join(self.folder.name, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path


class Help(unittest.TestCase):
    def test_overview_names_every_command(self):
        for arguments in (("--help",), ("-h",), ("help",), ("help", "help")):
            done = run(*arguments)
            self.assertEqual((done.returncode, done.stderr), (0, ""), arguments)
            for command in COMMANDS:
                self.assertIn(f"\n  {command} ", done.stdout)

    def test_each_command_has_help_with_examples_in_80_columns(self):
        for command in COMMANDS:
            words = command.split()
            by_help, by_option = run("help", *words), run(*words, "--help")
            self.assertEqual((by_help.returncode, by_help.stderr), (0, ""), command)
            self.assertEqual(by_help.stdout, by_option.stdout)
            self.assertEqual(by_help.stdout, run("--help", *words).stdout)
            self.assertTrue(by_help.stdout.startswith(f"usage: mcomp {command}"), command)
            self.assertIn("\nExamples:\n  ", by_help.stdout)
            self.assertIn("mcomp ", by_help.stdout.split("Examples:")[1])
            for line in by_help.stdout.splitlines():
                self.assertLessEqual(len(line), 80, line)

    def test_help_is_given_although_operands_are_missing(self):
        self.assertEqual(run("read", "0", "--help").returncode, 0)

    def test_help_of_a_group_lists_its_actions(self):
        for arguments in (("help", "config"), ("config", "--help"), ("--help", "config")):
            done = run(*arguments)
            self.assertEqual(done.returncode, 0, arguments)
            self.assertIn("config check", done.stdout)

    def test_version(self):
        for option in ("--version", "-V"):
            self.assertRegex(run(option).stdout, r"^mcomp \d+\.\d+\.\d+ \(libmcomp \d+\.\d+\.\d+\)\n$")


class WrongUsage(Folder):
    def refused(self, *arguments, text):
        done = run(*arguments, cwd=self.folder.name)
        self.assertEqual((done.returncode, done.stdout), (2, ""), arguments)
        self.assertIn(text, done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1)
        self.assertTrue(done.stderr.startswith("mcomp: "))

    def test_unknown_commands_get_a_suggestion(self):
        self.refused("reda", "0", "1", text="""unknown command "reda": did you mean 'read'?""")
        self.refused("stauts", text="'status'")
        self.refused("config", "chekc", text="'config check'")
        self.refused("hlep", text="'help'")
        self.refused("help", "wirte", text="'write'")
        self.refused("nothing-like-it", text="'mcomp --help' lists the commands")
        self.refused("-5", text="unknown option -5")

    def test_missing_command_or_action(self):
        self.refused(text="a command is missing")
        self.refused("config", text="config needs an action")

    def test_unknown_and_repeated_options(self):
        self.refused("read", "--hxe", "0", "1", text="""unknown option "--hxe": did you mean --hex?""")
        self.refused("--jsn", "status", text="did you mean --json?")
        self.refused("read", "--js", "0", "1", text="unknown option")
        self.refused("--json", "read", "--json", "0", "1", text="--json is given twice")
        self.refused("-c", "a", "status", "--config", "b", text="--config is given twice")
        self.refused("status", "--version", text="unknown option")

    def test_missing_superfluous_and_wrong_operands(self):
        self.refused("read", text="ADDR is missing")
        self.refused("read", "0", text="LEN is missing")
        self.refused("read", "0", "1", "2", text='"2" is one operand too many')
        self.refused("read", "zero", "1", text='ADDR: "zero" is not a size')
        self.refused("read", "-1", "1", text='ADDR: "-1" is not a size')
        self.refused("read", "0", "20EiB", text="too large")
        self.refused("add", "0", "1.5", text='DELTA: "1.5" is not an integer')
        self.refused("cas", "0", "1", text="NEW is missing")
        self.refused("status", "1", text="one operand too many")

    def test_items_of_a_transaction(self):
        self.refused("txn", "compare 0 05, swap 8 1", text='item 2: unknown item "swap": compare ADDR HEX')
        self.refused("txn", "write 0", text="item 1: write needs bytes")
        self.refused("txn", "write 0 0g", text="item 1: no pair of hexadecimal digits")
        self.refused("txn", "read 0 8; read 16", text="item 2: read takes an address and a length")
        self.refused("txn", "read 0 0", text="item 1: read of 0 bytes")
        self.refused("txn", "add 0 1 2", text="item 1: add takes an address and a number")
        self.refused("txn", "add 0 1.5", text='"1.5" is not an integer')
        self.refused("txn", "read", text="item 1: read needs an address")
        self.refused("txn", " , ;", text="there are no items")
        self.refused("txn", "--attempts", "0", "read 0 1", text="--attempts")

    def test_options_that_exclude_each_other(self):
        self.refused("read", "--hex", "--raw", "0", "1", text="exclude each other")
        self.refused("--json", "read", "--hex", "0", "1", text="exclude each other")
        self.refused("write", "0", "--text", "a", "--hex", "00", text="exclude each other")
        self.refused("write", "0", "--hex", "0", text="no pair of hexadecimal digits at character 1")
        self.refused("save", "0", "1", "-", "--json", text="both want standard output")

    def test_bench_settings_that_do_not_fit(self):
        self.refused("bench", "--op", "erase", text='"erase" is not one of read|write|add|mixed')
        self.refused("bench", "--depth", "0", text="from 1 to 65536")
        self.refused("bench", "--threads", "2", text="--connections 2 or more")
        self.refused("bench", "--seconds", "0", text="more than 0")
        self.refused("bench", "--size", "0", text="from 1 byte")
        self.refused("bench", "--size", "2", "--span", "1", text="from 1 byte to the span")
        self.refused("bench", "--op", "add", "--address", "4", text="a multiple of 8")
        self.refused("bench", "--size", "1GiB", "--depth", "5", text="more than 4 GiB of buffers")

    def test_timeout_needs_a_unit(self):
        self.refused("--timeout", "5", "status", text='--timeout: "5" is not a time')


class Config(Folder):
    def test_good_file_is_explained(self):
        path = self.write(GOOD)
        for arguments in (("-c", path, "config", "check"), ("config", "check", path), ("config", "check", "--config", path)):
            done = run(*arguments)
            self.assertEqual((done.returncode, done.stderr), (0, ""), arguments)
            self.assertIn("2 MiB", done.stdout)
            self.assertIn("[::1]:2", done.stdout)

    def test_good_file_as_json(self):
        path = self.write(GOOD)
        done = run("config", "check", path, "--json")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        config = json.loads(done.stdout)
        self.assertEqual((config["valid"], config["grid"], config["segment_size"], config["grid_size"]), (True, "demo", 1 << 20, 2 << 20))
        self.assertEqual(config["nodes"], [{"node": 0, "address": "127.0.0.1:1", "snapshot_address": None},
                                           {"node": 1, "address": "[::1]:2", "snapshot_address": "localhost:3"}])
        self.assertEqual((config["server"]["max_connections"], config["snapshot"]["interval_ns"]), (4096, 60 * 10 ** 9))

    def test_all_problems_are_named_with_file_and_line(self):
        path = self.write('grid = "demo"\nsegment_size = "1000"\nnodes = 2\nnode 0 { address = "127.0.0.1" }\ncolour = "red"\n')
        done = run("config", "check", path)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        for line in (2, 4, 5):
            self.assertIn(f"{path}:{line}: ", done.stderr)
        as_json = run("--json", "config", "check", path)
        self.assertEqual(as_json.returncode, 1)
        report = json.loads(as_json.stdout)
        self.assertFalse(report["valid"])
        self.assertEqual("\n".join(report["problems"]) + "\n", done.stderr)

    def test_missing_file(self):
        for arguments in (("config", "check"), ("status",), ("read", "0", "1"), ("load", "/dev/null", "0")):
            done = run("-c", "/nonexistent/mcomp.cfg", *arguments)
            self.assertEqual((done.returncode, done.stdout), (1, ""), arguments)
            self.assertIn("/nonexistent/mcomp.cfg", done.stderr)

    def test_file_comes_from_the_environment_or_the_folder(self):
        path = self.write(GOOD)
        self.assertIn("demo", run("config", "check", cwd=self.folder.name).stdout)
        other = self.write(GOOD.replace("demo", "other"), "other.cfg")
        self.assertIn("other", run("config", "check", env={"MCOMP_CONFIG": other}, cwd=self.folder.name).stdout)
        self.assertIn("demo", run("-c", path, "config", "check", env={"MCOMP_CONFIG": other}).stdout)

    def test_file_of_the_project_is_right(self):
        self.assertEqual(run("config", "check", os.path.join(TOP, "mcomp.cfg")).returncode, 0)

    def test_file_is_named_once(self):
        self.assertEqual(run("-c", "a", "config", "check", "b").returncode, 2)


class Output(Folder):
    def test_full_disk_is_an_error(self):
        with open("/dev/full", "wb") as full:
            process = start("--help", stdout=full)
            self.assertEqual(process.communicate()[1], b"mcomp: cannot write standard output: No space left on device\n")
            self.assertEqual(process.returncode, 1)

    def test_closed_standard_output_is_an_error(self):
        done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *command_line(("--help",))], capture_output=True, env=environment(), check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"cannot write standard output: Bad file descriptor", done.stderr)

    def test_closed_pipe_ends_it_quietly(self):
        reader, writer = os.pipe()
        os.close(reader)
        process = start("--help", stdout=writer)
        os.close(writer)
        self.assertEqual(process.communicate()[1], b"")
        self.assertEqual(process.returncode, -13)


if __name__ == "__main__":
    case.main()
