#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Snapshot files into grids that run."""
import itertools
import json
import os
import pty
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import case  # noqa: E402
from grid import Grid, program  # noqa: E402
from snapshots import FROZEN, Exchange, crc32c, directory, late, take  # noqa: E402
from waiting import PATIENCE, wait_for_end, wait_until, with_growing_time_outs  # noqa: E402
from wire import Connection  # noqa: E402

MIB = 1 << 20
K = MIB + 5 * 4096
PAGE = 4096
SERVES, BEGUN, PART, COMPLETE = range(4)
PHASE_COMPLETE, PHASE_SERVE = 1, 2
UNREACHABLE = 4


def image(grid):
    return grid.mcomp("read", 0, "all", "--raw").stdout


def states(grid):
    """The restore state of each node."""
    found = []
    for node in range(grid.nodes):
        with Connection(grid.port(node), hello=False) as connection:
            found.append(connection.call("status")["node_status"]["restore_state"])
    return found


def identity(file):
    """What tells a file from others: see snapshot-format.md, the trailer."""
    with open(file, "rb") as content:
        trailer = content.read()[-64:]
    return struct.unpack_from("<I", trailer, 12)[0] << 32 | struct.unpack_from("<I", trailer, 32)[0]


class Restorer:
    """A client that restores by hand: any step, right or wrong."""

    def __init__(self, grid, number, file=0):
        self.nodes = [Connection(grid.port(node)) for node in range(grid.nodes)]
        self.k, self.number, self.file = grid.segment_size, number, file

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for node in self.nodes:
            node.close()

    def begin(self, node):
        return self.nodes[node].call("restore_begin", restore_id=self.number, file=self.file, round=7)

    def data(self, node, address, data=b"", zeros=0, crc=None):
        if crc is None:
            crc = crc32c(address.to_bytes(8, "little") + zeros.to_bytes(8, "little") + data)
        return self.nodes[node].call("restore_data", restore_id=self.number, address=address, zeros=zeros, crc32c=crc, data=data)

    def end(self, node, phase):
        return self.nodes[node].call("restore_end", restore_id=self.number, phase=phase)


class Running(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="mcomp-test-")
        self.addCleanup(shutil.rmtree, self.folder)

    def status(self, answer, status, text=""):
        self.assertEqual(answer["status"], status, answer)
        self.assertIn(text, answer["message"])

    def filled(self, grid):
        """Fill the grid, take a snapshot, change the grid. Returns the file and what it holds."""
        data = random.Random(7).randbytes(2 * K + 100)
        grid.mcomp("write", 50, stdin=data)
        answer = take(grid)
        self.assertEqual(answer["status"], "OK", answer["message"])
        file = shutil.copy(os.path.join(directory(grid), answer["take_snapshot"]["file"]), os.path.join(self.folder, "file.mcsnap"))
        grid.mcomp("write", 0, stdin=b"x" * grid.nodes * grid.segment_size)
        return file, bytes(50) + data + bytes(3 * K - len(data) - 50)

    def restore(self, grid, file, *arguments, check=True):
        return grid.mcomp("snapshot", "restore", "--yes", file, *arguments, check=check)


class Whole(Running):
    def test_all_bytes_are_replaced(self):
        with Grid(nodes=3, segment_size=K, snapd=True) as grid:
            file, expected = self.filled(grid)
            answer = json.loads(self.restore(grid, file, "--json").stdout)
            self.assertEqual(image(grid), expected)
            self.assertEqual((answer["file"], answer["nodes"], answer["bytes"], answer["finished_earlier_run"]), (file, 3, 3 * K, False))
            self.assertEqual(answer["stored_bytes"] + answer["zeroed_bytes"], 3 * K)
            self.assertGreater(answer["zeroed_bytes"], K // 2, "zeros are not sent")
            self.assertEqual(states(grid), [SERVES] * 3)
            # and it is an ordinary grid again
            grid.mcomp("write", 2 * K, "--text", "after")
            self.assertEqual(take(grid)["status"], "OK")
            self.assertIn(b"restored 3", self.restore(grid, file).stdout)
            self.assertEqual(image(grid), expected)

    def test_another_shape(self):
        with Grid(nodes=3, segment_size=K, snapd=True) as grid:
            file, expected = self.filled(grid)
        for nodes, size in ((5, K - 4096), (2, 2 * K), (1, 4 * K + 4096)):
            with Grid(nodes=nodes, segment_size=size) as other:
                other.mcomp("write", 0, stdin=b"x" * nodes * size)
                self.restore(other, file)
                self.assertEqual(image(other), expected + bytes(nodes * size - 3 * K))
        with Grid(nodes=2, segment_size=K) as small:
            small.mcomp("write", 0, "--text", "mine")
            done = self.restore(small, file, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"its array of {3 * K} bytes does not fit into this grid of {2 * K}".encode(), done.stderr)
            self.assertEqual((states(small), image(small)), ([SERVES] * 2, b"mine" + bytes(2 * K - 4)))

    def test_compressed_and_sparse(self):
        with Grid(nodes=2, segment_size=8 * MIB, snapd=True, snapshot='interval = 0 compression = "zstd"', server='max_message = "10000"') as grid:
            for address in range(0, 16 * MIB, 700 * 1024):
                grid.mcomp("write", address, "--text", "compress me " * 300)
            expected = image(grid)
            answer = take(grid)
            self.assertEqual(answer["status"], "OK", answer["message"])
            grid.mcomp("write", 0, stdin=b"x" * 16 * MIB)
            self.restore(grid, os.path.join(directory(grid), answer["take_snapshot"]["file"]))
            self.assertEqual(image(grid), expected)

    def test_a_damaged_file_changes_nothing(self):
        with Grid(nodes=3, segment_size=K, snapd=True) as grid:
            file, _ = self.filled(grid)
            before = image(grid)
            with open(file, "rb") as source:
                content = bytearray(source.read())
            content[len(content) // 2] ^= 1
            with open(file, "wb") as target:
                target.write(content)
            done = self.restore(grid, file, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"is damaged", done.stderr)
            self.assertIn(b"nothing was changed", done.stderr)
            self.assertEqual((states(grid), image(grid)), ([SERVES] * 3, before))

    def test_a_node_that_is_down_changes_nothing(self):
        with Grid(nodes=3, segment_size=K, snapd=True) as grid:
            file, expected = self.filled(grid)
            grid.kill(2)
            done = self.restore(grid, file, "--timeout", "300ms", check=False)
            self.assertEqual((done.returncode, b"nothing was changed" in done.stderr), (UNREACHABLE, True), done.stderr)
            grid.restart(2)
            self.assertEqual(image(grid), b"x" * 3 * K)
            self.restore(grid, file)
            self.assertEqual(image(grid), expected)

    def test_it_asks(self):
        with Grid(nodes=3, segment_size=K, snapd=True) as grid:
            file, expected = self.filled(grid)
            done = grid.mcomp("snapshot", "restore", file, check=False)
            self.assertEqual((done.returncode, b"say --yes" in done.stderr), (2, True), done.stderr)
            for answer, code, after in ((b"n\n", 1, b"x" * 3 * K), (b"y\n", 0, expected)):
                master, terminal = pty.openpty()
                with subprocess.Popen([program("mcomp"), "-c", grid.config, "--timeout", PATIENCE, "snapshot", "restore", file], stdin=terminal,
                                      stdout=terminal, stderr=terminal) as process:
                    os.close(terminal)
                    shown = b""
                    while b"[y/N]" not in shown:
                        shown += os.read(master, 4096)
                    os.write(master, answer)
                    try:
                        while os.read(master, 4096):
                            pass
                    except OSError:
                        pass  # the other side is closed
                    self.assertEqual(wait_for_end(process), code)
                os.close(master)
                self.assertEqual(image(grid), after)


class Others(Running):
    """Those who use the grid meanwhile."""

    def test_a_read_shows_one_state(self):
        with Grid(nodes=2, segment_size=2 * MIB, snapd=True) as grid:
            grid.mcomp("write", 0, stdin=b"a" * 4 * MIB)
            answer = take(grid)
            self.assertEqual(answer["status"], "OK", answer["message"])
            file = os.path.join(directory(grid), answer["take_snapshot"]["file"])
            grid.mcomp("write", 0, stdin=b"b" * 4 * MIB)
            seen, over = {"OK": 0, "UNAVAILABLE": 0}, threading.Event()
            faults = []

            def read():
                with Connection(grid.port(1)) as node:
                    while not over.is_set():
                        answer = node.call("read", address=2 * MIB, length=2 * MIB)
                        seen[answer["status"]] += 1
                        data = answer.get("read", {"data": b""})["data"]
                        if data.strip(data[:1]) or (data and data[:1] not in b"ab"):
                            faults.append(data[:1])

            reader = threading.Thread(target=read)
            reader.start()
            try:
                rounds = 0
                while rounds < case.scale(20, 3) or min(seen.values()) == 0:
                    self.restore(grid, file)
                    grid.mcomp("write", 0, stdin=b"b" * 4 * MIB)
                    rounds += 1
            finally:
                over.set()
                reader.join()
            self.assertEqual(faults, [])

    def test_what_is_refused_meanwhile(self):
        with Grid(nodes=2, segment_size=K, snapd=True) as grid, Connection(grid.port(1)) as other:
            grid.mcomp("write", K, "--text", "mine")
            with Restorer(grid, 5) as restorer:
                self.status(restorer.begin(1), "OK")
                self.assertEqual(states(grid), [SERVES, BEGUN])
                for op, fields in (("read", {"address": K, "length": 8}), ("write", {"address": K, "data": b"y"}), ("fetch_add", {"address": K}),
                                   ("compare_and_swap", {"address": K}), ("multi", {"reads": [{"address": K, "length": 1}]}),
                                   ("read", {"address": K, "length": MIB}), ("write", {"address": K, "data": b"y" * MIB})):
                    self.status(other.call(op, **fields), "UNAVAILABLE", "is being restored from the snapshot of round 00000007")

                def refused(time_out):
                    done = grid.mcomp("--timeout", time_out, "read", K, 4, check=False)
                    self.assertEqual((done.returncode, b"mcompd --reset" in done.stderr), (UNREACHABLE, True), done.stderr)
                with_growing_time_outs(refused)
                answer = take(grid)
                self.assertNotEqual(answer["status"], "OK")
                self.assertIn("being restored from a snapshot", answer["message"])
                shown = grid.mcomp("status", check=False)
                self.assertEqual((shown.returncode, b"restoring" in shown.stdout, b"node 1 serves nobody" in shown.stderr), (1, True, True), shown)
            # nothing was changed, and nobody is there any more who would
            wait_until(lambda: states(grid) == [SERVES, SERVES], what="the end of a restore whose client has gone")
            self.assertEqual(grid.mcomp("read", K, 4, "--raw").stdout, b"mine")
            self.assertEqual(take(grid)["status"], "OK")

    def test_a_snapshot_that_is_being_taken_comes_first(self):
        with Grid(nodes=1, segment_size=K, snapd=True) as grid, Exchange(grid) as leader:
            numbers = itertools.count(1)

            def attempt():
                number = next(numbers) << 8
                with Restorer(grid, 5) as restorer:
                    answer = leader.call("freeze", round=number, lease_ms=10000, segment_size=K, nodes=1)
                    if late(answer) or answer["freeze"]["outcome"] != FROZEN:
                        return False
                    begins = [restorer.begin(0)]
                    answer = leader.call("cut", round=number)
                    if late(answer) or not answer["cut"]["done"]:
                        return False  # the lease of ten seconds ran out
                    begins.append(restorer.begin(0))
                    end = leader.call("end", round=number)
                    self.assertEqual(end["status"], "OK", end)
                    for begin in begins:
                        self.status(begin, "UNAVAILABLE", "a snapshot is being taken")
                    wait_until(lambda: restorer.begin(0)["status"] == "OK", what="the end of the snapshot")
                    answer = leader.call("freeze", round=next(numbers) << 8, lease_ms=10000, segment_size=K, nodes=1)
                    if late(answer):
                        return False
                    self.status(answer, "FAILED_PRECONDITION", "being restored")
                    return True
            wait_until(attempt, what="a snapshot, and a restore after it")

    def test_two_at_once(self):
        with Grid(nodes=3, segment_size=K, snapd=True) as grid:
            file, expected = self.filled(grid)
            with Restorer(grid, 5) as first:
                self.status(first.begin(0), "OK")
                self.status(first.data(0, 0, b"z" * PAGE), "OK")

                def refused(time_out):
                    done = self.restore(grid, file, "--timeout", time_out, check=False)
                    self.assertEqual((done.returncode, b"another restore is under way" in done.stderr, b"nothing was changed" in done.stderr),
                                     (UNREACHABLE, True, True), done.stderr)
                with_growing_time_outs(refused)
                self.assertEqual(states(grid), [PART, SERVES, SERVES])
            self.restore(grid, file)
            self.assertEqual((states(grid), image(grid)), ([SERVES] * 3, expected))


class Interrupted(Running):
    def test_a_server_killed_in_the_middle(self):
        with Grid(nodes=3, segment_size=K, snapd=True) as grid:
            file, expected = self.filled(grid)
            with Restorer(grid, 5) as restorer:
                for node in range(3):
                    self.status(restorer.begin(node), "OK")
                self.status(restorer.data(1, K + PAGE, b"z" * PAGE, 3 * PAGE), "OK")
                for node in (1, 2):
                    grid.kill(node)
                    grid.restart(node)
                self.assertEqual(states(grid), [BEGUN, PART, SERVES], "what changed nothing leaves nothing")
                self.assertIn("did not come to its end", grid.servers[1].log())
                for node in (1, 2):
                    restorer.nodes[node].close()
                    restorer.nodes[node] = Connection(grid.port(node))
                    for answer in (restorer.data(node, node * K, b"z" * PAGE), restorer.end(node, PHASE_COMPLETE), restorer.end(node, PHASE_SERVE)):
                        self.status(answer, "FAILED_PRECONDITION")
                self.status(restorer.nodes[1].call("read", address=K, length=1), "UNAVAILABLE", "mcompd --restore=FILE")
                self.assertEqual(restorer.nodes[2].call("read", address=2 * K, length=1)["read"]["data"], b"x")
            self.restore(grid, file)
            self.assertEqual((states(grid), image(grid)), ([SERVES] * 3, expected))

    def test_the_ways_out(self):
        with Grid(nodes=1, segment_size=3 * K, snapd=True) as grid:
            file, expected = self.filled(grid)
            for way in ("restore", "reset"):
                with Restorer(grid, 5) as restorer:
                    self.status(restorer.begin(0), "OK")
                    self.status(restorer.data(0, 0, zeros=PAGE), "OK")
                self.assertEqual(states(grid), [PART])
                grid.stop()
                if way == "restore":
                    grid.arguments = [f"--restore={file}"]
                else:
                    grid.arguments = []
                    self.assertEqual(grid.run("--reset").returncode, 0)
                grid.start()
                self.assertEqual((states(grid), image(grid)), ([SERVES], expected if way == "restore" else bytes(3 * K)))

    def kill_in_the_middle(self, grid, file, kill):
        """Start the command again and again, until kill(process) was called while a node's bytes were changing. Returns its output."""
        with Connection(grid.port(0), hello=False) as watched:
            while True:
                with subprocess.Popen([program("mcomp"), "-c", grid.config, "--timeout", PATIENCE, "snapshot", "restore", "--yes", file],
                                      stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
                    while process.poll() is None:
                        if watched.call("status")["node_status"]["restore_state"] == PART:
                            kill(process)
                            said = process.communicate()[1]
                            if process.returncode != 0:
                                return process.returncode, said
                            break

    def test_the_command_killed_in_the_middle(self):
        with Grid(nodes=2, segment_size="16MiB", snapd=True) as grid:
            data = random.Random(1).randbytes(32 * MIB)
            grid.mcomp("write", 0, stdin=data)
            answer = take(grid)
            self.assertEqual(answer["status"], "OK", answer["message"])
            file = os.path.join(directory(grid), answer["take_snapshot"]["file"])
            for number, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)):
                ended, said = self.kill_in_the_middle(grid, file, lambda process, number=number: process.send_signal(number))
                self.assertEqual(ended, code, said)
                for node in range(2):
                    with Connection(grid.port(node)) as connection:
                        state = states(grid)[node]
                        answer = connection.call("read", address=node * 16 * MIB, length=1)
                        self.assertEqual(answer["status"], "OK" if state == SERVES else "UNAVAILABLE")
                if number == signal.SIGINT:
                    self.assertIn(b"run the same command again", said)
                self.restore(grid, file)
                self.assertEqual(image(grid), data)

    def test_a_server_killed_under_the_command(self):
        with Grid(nodes=2, segment_size="16MiB", snapd=True) as grid:
            data = random.Random(1).randbytes(32 * MIB)
            grid.mcomp("write", 0, stdin=data)
            answer = take(grid)
            self.assertEqual(answer["status"], "OK", answer["message"])
            file = os.path.join(directory(grid), answer["take_snapshot"]["file"])

            def kill(_):
                grid.kill(1)
                grid.restart(1)

            _, said = self.kill_in_the_middle(grid, file, kill)
            self.assertIn(b"run the same command again", said)
            self.restore(grid, file)
            self.assertEqual((states(grid), image(grid)), ([SERVES] * 2, data))

    def test_an_end_that_did_not_reach_all_nodes(self):
        with Grid(nodes=3, segment_size=K, snapd=True) as grid:
            file, expected = self.filled(grid)
            with Restorer(grid, 77, identity(file)) as restorer:
                for node in range(3):
                    self.status(restorer.begin(node), "OK")
                for node in range(3):
                    for at in range(node * K, (node + 1) * K, 256 << 10):
                        self.status(restorer.data(node, at, expected[at:min(at + (256 << 10), (node + 1) * K)]), "OK")
                self.status(restorer.end(0, PHASE_SERVE), "FAILED_PRECONDITION", "not complete")
                for node in range(3):
                    self.status(restorer.end(node, PHASE_COMPLETE), "OK")
                    self.status(restorer.end(node, PHASE_COMPLETE), "OK")
                    self.status(restorer.data(node, node * K, zeros=PAGE), "FAILED_PRECONDITION")
                    self.status(restorer.begin(node), "FAILED_PRECONDITION")
                self.assertEqual(states(grid), [COMPLETE] * 3)
                self.status(restorer.end(0, PHASE_SERVE), "OK")
                self.status(restorer.end(0, PHASE_SERVE), "OK")
            grid.kill(1)
            grid.restart(1)
            self.assertEqual(states(grid), [SERVES, COMPLETE, COMPLETE])
            grid.mcomp("write", 0, "--text", "since")
            with Connection(grid.port(1)) as node:
                self.status(node.call("read", address=K, length=1), "UNAVAILABLE", "with the same file again")
            answer = json.loads(self.restore(grid, file, "--json").stdout)
            self.assertEqual((answer["finished_earlier_run"], answer["bytes"]), (True, 0))
            self.assertEqual((states(grid), image(grid)), ([SERVES] * 3, b"since" + expected[5:]), "what was written since is kept")
            # once all serve, it is a restore like any other
            self.assertFalse(json.loads(self.restore(grid, file, "--json").stdout)["finished_earlier_run"])
            self.assertEqual(image(grid), expected)


class Hostile(Running):
    def test_steps_that_make_no_sense(self):
        with Grid(nodes=2, segment_size=K) as grid:
            grid.mcomp("write", 0, stdin=b"m" * 2 * K)
            with Restorer(grid, 5) as restorer:
                self.status(restorer.data(1, K, b"z" * PAGE), "FAILED_PRECONDITION", "is not under way here")
                for phase in (PHASE_COMPLETE, PHASE_SERVE):
                    self.status(restorer.end(1, phase), "FAILED_PRECONDITION")
                self.assertEqual(states(grid), [SERVES] * 2)
                self.status(restorer.begin(1), "OK")
                self.status(restorer.begin(1), "OK")
                with Restorer(grid, 6) as other:
                    self.status(other.data(1, K, b"z" * PAGE), "FAILED_PRECONDITION")
                self.status(restorer.data(1, 0, b"z" * PAGE), "WRONG_NODE")
                self.status(restorer.data(1, 2 * K - PAGE, b"z" * PAGE, PAGE), "OUT_OF_RANGE")
                self.status(restorer.data(1, 1 << 62, zeros=PAGE), "OUT_OF_RANGE")
                self.status(restorer.data(1, K + 1, b"z" * PAGE), "INVALID_ARGUMENT", "whole pages")
                self.status(restorer.data(1, K, b"z"), "INVALID_ARGUMENT", "whole pages")
                self.status(restorer.data(1, K, zeros=(16 << 20) + PAGE), "INVALID_ARGUMENT", "zeros are more than")
                self.status(restorer.data(1, K, b"z" * PAGE, crc=1), "DATA_LOSS", "changed on its way")
                self.status(restorer.data(1, K), "OK")
                self.status(restorer.end(1, 0), "INVALID_ARGUMENT")
                self.status(restorer.end(1, PHASE_COMPLETE), "FAILED_PRECONDITION", f"{K // PAGE} of {K // PAGE} pages")
            with Restorer(grid, 5) as nobody:
                nobody.number = 0
                for answer in (nobody.begin(0), nobody.data(0, 0, zeros=PAGE), nobody.end(0, PHASE_SERVE)):
                    self.status(answer, "INVALID_ARGUMENT", "restore_id 0")
            with Connection(grid.port(0), hello=False) as early:
                self.status(early.call("restore_begin", restore_id=1), "FAILED_PRECONDITION", "Hello")

    def test_pages_count_once(self):
        with Grid(nodes=1, segment_size=65 * PAGE) as grid, Restorer(grid, 5) as restorer:
            self.status(restorer.begin(0), "OK")
            for _ in range(3):
                self.status(restorer.data(0, PAGE, b"z" * PAGE, 63 * PAGE), "OK")
                self.status(restorer.end(0, PHASE_COMPLETE), "FAILED_PRECONDITION", "1 of 65 pages")
            self.status(restorer.data(0, 0, zeros=PAGE), "OK")
            self.status(restorer.end(0, PHASE_COMPLETE), "OK")
            self.status(restorer.end(0, PHASE_SERVE), "OK")
            self.assertEqual(image(grid), bytes(PAGE) + b"z" * PAGE + bytes(63 * PAGE))

    def test_random_messages_leave_a_grid_that_can_be_restored(self):
        chance = random.Random(4712)
        with Grid(nodes=3, segment_size=K, snapd=True) as grid:
            file, expected = self.filled(grid)
            for _ in range(case.scale(30, 5)):
                with Restorer(grid, chance.randrange(1, 4)) as restorer:
                    for _ in range(20):
                        node, step = chance.randrange(3), chance.randrange(4)
                        if step == 0:
                            restorer.begin(node)
                        elif step == 1:
                            restorer.end(node, chance.randrange(3))
                        else:
                            restorer.data(node, chance.randrange(0, 3 * K, PAGE), bytes(chance.randrange(3) * PAGE), chance.randrange(300) * PAGE)
            self.restore(grid, file)
            self.assertEqual((states(grid), image(grid)), ([SERVES] * 3, expected))


if __name__ == "__main__":
    case.main()
