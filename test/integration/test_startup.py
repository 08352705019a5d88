#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How a server starts, refuses to start, ends, and takes signals."""
import os
import re
import signal
import socket
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import case  # noqa: E402
from grid import SHARED_MEMORY, Grid, program  # noqa: E402
from waiting import wait_until  # noqa: E402
from wire import Closed, Connection, request  # noqa: E402

MIB = 1 << 20
LOG_LINE = re.compile(r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (debug|info|warn|error) +role=mcompd-\d+ mod=\w+ op=[\w-]+( [\w.-]+=\S+)* msg="([^"\\]|\\.)*"$')

# Runs the rest of the command line with the listening socket argv[1] as descriptor 3, as a service manager does.
ACTIVATE = ("import os, sys\n"
            "os.dup2(int(sys.argv[1]), 3)\n"
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')\n"
            "os.execv(sys.argv[2], sys.argv[2:])\n")


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


class Refusals(unittest.TestCase):
    def refused(self, grid, *arguments, says=(), node=0, code=1, launcher=()):
        done = grid.run(*arguments, node=node, launcher=launcher)
        self.assertEqual(done.returncode, code, done.stderr)
        for text in says:
            self.assertIn(text, done.stderr)
        return done.stderr

    def test_node_that_the_map_does_not_have(self):
        with Grid(nodes=3, start=False) as grid:
            self.refused(grid, node=3, says=["3", "2"])
            self.refused(grid, node="two", code=2)
            self.refused(grid, node=-1, code=2)

    def test_unknown_option_and_help(self):
        with Grid(start=False) as grid:
            self.refused(grid, "--nonsense", code=2)
            shown = subprocess.run([program("mcompd"), "--help"], capture_output=True, text=True, check=True)
            for option in ("--config", "--node", "--reset", "--log", "--log-level", "--version"):
                self.assertIn(option, shown.stdout)
            shown = subprocess.run([program("mcompd"), "--version"], capture_output=True, text=True, check=True)
            self.assertRegex(shown.stdout, r"^mcompd \d+\.\d+\.\d+")

    def test_config_that_is_missing_wrong_or_unreadable_names_file_and_line(self):
        with Grid(start=False) as grid:
            grid.write_config(server="io_threads = 1\n nonsense = 3")
            self.refused(grid, says=[grid.config + ":", "nonsense"])
            grid.write_config(segment_size="1000B")
            self.refused(grid, says=[grid.config + ":2"])
            grid.write_config()
            os.rename(grid.config, grid.config + ".away")
            self.refused(grid, says=[grid.config, "No such file"])
            os.mkdir(grid.config)
            self.refused(grid, says=[grid.config])
            os.rmdir(grid.config)
            os.rename(grid.config + ".away", grid.config)

    def test_port_in_use(self):
        with Grid(nodes=2) as grid, socket.socket() as taken:
            grid.kill(0, signal.SIGTERM)
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", grid.port(0)))
            taken.listen()
            self.refused(grid, says=[f"127.0.0.1:{grid.port(0)}", "in use"])

    def test_second_server_of_a_node_is_refused_and_the_first_goes_on(self):
        with Grid() as grid:
            with Connection(grid.port()) as node:
                node.call("write", address=0, data=b"mine")
                text = self.refused(grid)
                self.assertTrue(str(grid.servers[0].pid) in text or "in use" in text, text)
                self.refused(grid, "--reset", says=[str(grid.servers[0].pid)])
                self.assertEqual(node.call("read", address=0, length=4)["read"]["data"], b"mine")

    def test_segment_of_another_size_is_refused_until_reset(self):
        with Grid() as grid:
            grid.mcomp("write", 0, stdin=b"old")
            grid.stop()
            grid.write_config(segment_size="2MiB")
            self.refused(grid, says=["--reset", "1", "2"])
            grid.write_config()
            grid.restart()
            self.assertEqual(grid.mcomp("read", 0, 3).stdout, b"old")
            grid.stop()
            grid.write_config(segment_size="2MiB")
            self.assertEqual(grid.run("--reset").returncode, 0)
            grid.restart()
            self.assertEqual(grid.mcomp("read", 2 * MIB - 3, 3).stdout, b"\0\0\0")

    def objects(self, name):
        """The segments of a grid, without the objects that hold preserved pages."""
        return [os.path.join(SHARED_MEMORY, entry) for entry in os.listdir(SHARED_MEMORY) if name in entry and not entry.endswith(".preserved")]

    def test_segment_with_a_damaged_header_is_refused_until_reset(self):
        with Grid() as grid:
            grid.stop()
            path, = self.objects(grid.name)
            with open(path, "r+b") as file:
                head = file.read(64)
                file.seek(0)
                file.write(bytes(64))
            self.refused(grid, says=["--reset"])
            with open(path, "r+b") as file:  # one changed byte at a time, in what identifies the format
                for at in (0, 8):
                    file.seek(0)
                    file.write(head)
                    file.seek(at)
                    file.write(bytes([head[at] ^ 0xff]))
                    file.flush()
                    self.refused(grid, says=["--reset"])
            self.assertEqual(grid.run("--reset").returncode, 0)
            grid.restart()

    def test_segment_that_was_cut_short_is_refused_until_reset(self):
        with Grid() as grid:
            grid.stop()
            path, = self.objects(grid.name)
            size = os.path.getsize(path)
            for left in (size - 4096, 4096, 100):
                os.truncate(path, left)
                self.refused(grid, says=["--reset"])
            os.truncate(path, 0)
            self.assertEqual(grid.run("--reset").returncode, 0)
            grid.restart()

    def test_segment_of_another_grid_is_refused_until_reset(self):
        with Grid() as grid, Grid() as other:
            grid.stop()
            other.stop()
            ours, = self.objects(grid.name)
            theirs, = self.objects(other.name)
            with open(theirs, "rb") as file:
                content = file.read()
            with open(ours, "r+b") as file:
                file.write(content)
            self.refused(grid, says=["--reset"])

    def test_segment_of_another_number_of_nodes_is_refused(self):
        with Grid(nodes=2) as grid:
            grid.stop()
            grid.nodes = 1
            grid.write_config()
            self.refused(grid, says=["--reset"])
            grid.nodes = 2
            grid.write_config()

    def test_too_little_shared_memory_is_said_at_once(self):
        inside = f"mount -t tmpfs -o size=8m tmpfs {SHARED_MEMORY} && exec \"$@\""
        launcher = ["unshare", "--mount", "sh", "-c", inside, "sh"]
        probe = subprocess.run([*launcher, "true"], capture_output=True, check=False) if os.geteuid() == 0 else None
        if probe is None or probe.returncode != 0:
            self.skipTest("needs root and mount namespaces")
        with Grid(segment_size="64MiB", start=False) as grid:
            text = self.refused(grid, launcher=launcher, says=[SHARED_MEMORY])
            self.assertRegex(text, r"\d+(\.\d+)? ?[KMG]i?B", "how much is missing")
            self.assertIn("RESOURCE_EXHAUSTED", text)

    def test_log_file_that_cannot_be_written(self):
        with Grid(start=False) as grid:
            self.refused(grid, "--log", "/nonexistent/mcompd.log", says=["/nonexistent/mcompd.log"])


class Life(unittest.TestCase):
    def test_log_has_one_form_and_says_ready(self):
        with Grid() as grid:
            grid.mcomp("read", 0, 1)
            grid.stop()
            lines = grid.servers[0].log().splitlines()
            self.assertTrue([line for line in lines if " op=ready " in line], lines)
            for line in lines:
                self.assertRegex(line, LOG_LINE)

    def test_sigterm_says_stopping_and_ends_with_0(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(signal=number), Grid() as grid, Connection(grid.port()) as node:
                grid.servers[0].kill(number)
                grid.servers[0].wait_notice("STOPPING=1")
                self.assertEqual(grid.servers[0].wait(), 0)
                self.assertEqual(node.until_closed(), [])

    def test_sigterm_finishes_what_is_in_flight(self):
        size, count = 256 << 10, 40
        with Grid(segment_size="16MiB") as grid, Connection(grid.port()) as node:
            ids = {node.send("write", address=i * size, data=bytes([i + 1]) * size): i for i in range(count)}
            answers = [node.receive()]
            grid.servers[0].kill(signal.SIGTERM)
            try:
                while True:
                    answers.append(node.receive())
            except Closed as closed:
                self.assertEqual(closed.partial, b"", "the stream ends between two responses")
            self.assertEqual(grid.servers[0].wait(), 0)
            self.assertEqual(len({answer["id"] for answer in answers}), len(answers))
            self.assertLessEqual({answer["status"] for answer in answers}, {"OK", "UNAVAILABLE"})
            grid.restart()
            done = {ids[answer["id"]] for answer in answers if answer["status"] == "OK"}
            refused = {ids[answer["id"]] for answer in answers if answer["status"] == "UNAVAILABLE"}
            with Connection(grid.port()) as again:
                for i in range(count):
                    data = again.call("read", address=i * size, length=size)["read"]["data"]
                    new, old = data == bytes([i + 1]) * size, data == bytes(size)
                    self.assertTrue(new if i in done else old if i in refused else new or old, i)

    def test_sigterm_answers_all_that_was_received(self):
        count = 100

        def attempt():
            with Grid(segment_size="8MiB") as grid, Connection(grid.port(), receive_buffer=4096) as node:
                node.raw(b"".join(request("read", i + 1, address=i, length=128 << 10) for i in range(count)))
                with Connection(grid.port()) as other:
                    wait_until(lambda: other.call("status")["node_status"]["buffered_out"] > 0, what="answers that the client does not take")
                begin = time.monotonic()
                grid.servers[0].kill(signal.SIGTERM)
                grid.servers[0].wait_notice("STOPPING=1")
                answers = node.until_closed()
                late = time.monotonic() - begin >= 5  # the server does not wait for clients for longer
                self.assertEqual(grid.servers[0].wait(), 0)
                self.assertLessEqual({answer["status"] for answer in answers}, {"OK"})
                missing = set(range(1, count + 1)) - {answer["id"] for answer in answers}
                self.assertTrue(late or not missing, missing)
                return not missing
        wait_until(attempt, what="all answers")

    def test_sigterm_does_not_wait_for_a_client_that_never_reads(self):
        with Grid(segment_size="8MiB", server='stall_timeout = "2s"') as grid, Connection(grid.port(), receive_buffer=4096) as node:
            node.raw(b"".join(request("read", i + 1, address=0, length=4 * MIB) for i in range(8)))
            with Connection(grid.port()) as other:
                wait_until(lambda: other.call("status")["node_status"]["read"]["count"] > 0, what="a read")
            grid.servers[0].kill(signal.SIGTERM)
            self.assertEqual(grid.servers[0].wait(), 0)

    def test_sighup_reopens_log_and_operation_log(self):
        with Grid(oplog='file = "ops.log"', start=False) as grid:
            log, ops = grid.path("mcompd.log"), grid.path("ops.log")
            grid.arguments = ["--log", log]
            grid.start()
            with Connection(grid.port()) as node:
                node.call("write", address=1, data=b"a")
                wait_until(lambda: "addr=0x1 " in read(ops), what="the line of the first write")
                os.rename(log, log + ".1")
                os.rename(ops, ops + ".1")
                grid.servers[0].kill(signal.SIGHUP)
                wait_until(lambda: os.path.exists(log) and os.path.exists(ops), what="new log files")
                node.call("write", address=2, data=b"b")
                wait_until(lambda: "addr=0x2 " in read(ops), what="the line of the second write")
            grid.stop()
            self.assertIn("op=ready", read(log + ".1"))
            self.assertTrue(read(log), "what is said after SIGHUP is in the new file")
            self.assertNotIn("addr=0x2 ", read(ops + ".1"))

    def test_sighup_without_log_files_changes_nothing(self):
        with Grid() as grid, Connection(grid.port()) as node:
            grid.servers[0].kill(signal.SIGHUP)
            self.assertEqual(node.call("write", address=0, data=b"x")["status"], "OK")

    def test_listening_socket_is_taken_from_the_service_manager(self):
        with Grid(start=False) as grid, socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))  # not the port of the configuration: what is handed over counts
            listening.listen()
            grid.launcher = [sys.executable, "-c", ACTIVATE, str(listening.fileno())]
            server = grid.launch(pass_fds=(listening.fileno(),))
            grid.servers[0] = server
            server.wait_notice("READY=1")
            with Connection(listening.getsockname()[1]) as node:
                self.assertEqual(node.call("write", address=0, data=b"x")["status"], "OK")

    def test_reset_without_a_segment_is_no_error(self):
        with Grid(start=False) as grid:
            self.assertEqual(grid.run("--reset").returncode, 0)


if __name__ == "__main__":
    case.main()
