#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Snapshot processes and their rounds, on real grids. A round may fail on a machine that is slow; then it is tried again."""
import datetime
import itertools
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import case  # noqa: E402
from grid import Grid, program, sanitized  # noqa: E402
from snapshots import BUSY, COLLECT, FROZEN, IDLE, OLD, SCHEMA, ZSTD  # noqa: E402
from snapshots import Exchange, File, begin_collection, directory, encode_chunk, files, late, status, take, take_on  # noqa: E402
from waiting import PATIENCE_S, idle, own_memory_bytes, wait_until  # noqa: E402
from wire import Closed, Connection, decode, encode, frame, take_varint, varint  # noqa: E402

MIB = 1 << 20
K = 2 * MIB + 3 * 4096  # the last window of a segment is not a full one
BUSY_SNAPSHOT = "interval = 0 preserve_limit = 1GiB"
SLOW_SNAPSHOT = 'interval = 0 rate_limit = "1MiB"'  # a round lasts for seconds: long enough to do something in it, if not at once then later


def fill(grid, node, seed, share=1.0):
    """Write made-up bytes to the beginning of a node. Returns the node's whole image."""
    size = int(grid_size(grid) * share) // 8 * 8
    data = random.Random(seed).randbytes(size)
    with Connection(grid.port(node)) as connection:
        base = node * grid_size(grid)
        for at in range(0, size, MIB // 4):
            answer = connection.call("write", address=base + at, data=data[at:at + MIB // 4])
            assert answer["status"] == "OK", answer
    return data + bytes(grid_size(grid) - size)


def grid_size(grid):
    return int(grid.segment_size)


def snapshot_of(test, grid, node=0):
    """Take a snapshot and read its file."""
    answer = take(grid, node)
    test.assertEqual(answer["status"], "OK", answer["message"])
    file = File(os.path.join(directory(grid), answer["take_snapshot"]["file"]))
    header = dict(file.header)
    del header["padding"]
    test.assertEqual({**answer["take_snapshot"]["header"], "format_version": 1, "padding": b""}, {**header, "padding": b""})
    return file


def assert_later_files_show(test, grid, image, seen):
    """The files of rounds that began after round `seen` all show this image, and no number was used twice. Returns how many there are."""
    rounds = []
    for name in files(directory(grid))[0]:
        file = File(os.path.join(directory(grid), name))
        rounds.append(file.header["round"])
        if rounds[-1] > seen:
            test.assertTrue(file.image() == image, name)
    test.assertEqual(len(set(rounds)), len(rounds), "no number is used twice")
    return sum(number > seen for number in rounds)


def wait_for_a_later_round(grid, what):
    """Wait for a snapshot by a round that has not begun yet. One that runs already may owe nothing to what was done just now."""
    seen = status(grid)["round"]

    def done():
        state = status(grid)
        return "last" in state and state["last"]["round"] > seen
    wait_until(done, what=what)


class Rounds(unittest.TestCase):
    def test_a_snapshot_shows_what_was_written(self):
        with Grid(nodes=3, segment_size=K, snapd=True) as grid:
            image = fill(grid, 0, 1) + fill(grid, 1, 2, 0.3) + bytes(K)
            file = snapshot_of(self, grid)
            self.assertEqual(file.image(), image)
            self.assertEqual((file.header["segment_size"], file.header["nodes"], file.header["grid"]), (K, 3, grid.name))
            self.assertTrue(all(chunk["address"] < 2 * K for chunk in file.chunks), "what is zero is not stored")
            stored = sum(chunk["pages"].bit_count() for chunk in file.chunks)
            self.assertEqual(file.header["pages_stored"], stored)
            self.assertLess(0, file.header["freeze_ns"])
            self.assertLessEqual(file.header["freeze_ns"], file.header["cut_ns"])
            self.assertLessEqual(file.header["cut_ns"], file.header["collect_ns"])
            self.assertGreater(file.header["longest_pause_ns"], 0)
            # the next one shows what came after it
            with Connection(grid.port(2)) as connection:
                connection.call("write", address=3 * K - 5, data=b"after")
            self.assertEqual(snapshot_of(self, grid).image(), image[:-5] + b"after")
            self.assertEqual(file.image(), image)

    def test_compressed_chunks(self):
        with Grid(nodes=1, segment_size=K, snapd=True, snapshot="interval = 0 compression = zstd") as grid:
            with Connection(grid.port()) as connection:
                connection.call("write", address=0, data=b"all the same " * 20000)
            file = snapshot_of(self, grid)
            self.assertEqual([chunk["compression"] for chunk in file.chunks], [ZSTD])
            self.assertLess(len(file.data), 20000)

    def test_by_the_clock_the_newest_are_kept(self):
        with Grid(nodes=2, segment_size=K, snapd=True, snapshot='interval = "20ms" keep = 2') as grid:
            state = wait_until(lambda: [state for state in [status(grid)] if state["rounds_done"] >= 5 and not state["last_error"]], what="five rounds")[0]
            self.assertEqual((state["node"], state["leader"]), (0, 0))
            self.assertEqual(state["last"]["segment_size"], K)
            for node in range(2):
                grid.kill_snapd(node, signal.SIGTERM)
            complete, temporary = files(directory(grid))
            self.assertEqual((len(complete), temporary), (2, []))
            self.assertEqual(File(os.path.join(directory(grid), complete[-1])).image(), bytes(2 * K))

    def test_who_does_not_lead_names_the_leader(self):
        with Grid(nodes=2, segment_size=K, snapd=True) as grid:
            answer = take(grid, 1)
            self.assertEqual(answer["status"], "ABORTED")
            self.assertEqual(answer["take_snapshot"], {"file": "", "leader": 0})
            self.assertIn("node 0 leads", answer["message"])
            self.assertEqual(status(grid, 1)["leader"], 0)

    def test_list(self):
        with Grid(nodes=1, segment_size=K, snapd=True) as grid:
            with Exchange(grid) as exchange:
                self.assertEqual(exchange.call("list")["list"]["file"], [])
                names = [take_on(exchange)["take_snapshot"]["file"] for _ in range(3)]
                with open(os.path.join(directory(grid), names[1]), "r+b") as file:
                    file.truncate(5000)
                listed = exchange.call("list")["list"]["file"]
            self.assertEqual([file["name"] for file in listed], names[::-1])
            self.assertEqual([bool(file["problem"]) for file in listed], [False, True, False])
            self.assertEqual(["header" in file for file in listed], [True, False, True])
            self.assertEqual(listed[0]["bytes"], os.path.getsize(os.path.join(directory(grid), names[2])))
            self.assertGreater(listed[0]["header"]["round"], listed[2]["header"]["round"])

    def test_a_request_is_answered_by_a_round_that_began_after_it(self):
        with Grid(nodes=1, segment_size=4 * MIB, snapd=True, snapshot=SLOW_SNAPSHOT) as grid:
            def attempt(word):
                before = status(grid)["rounds_done"]
                with Exchange(grid) as first, Exchange(grid) as second, Exchange(grid) as third:
                    if not begin_collection(grid, first):
                        return False
                    with Connection(grid.port()) as connection:
                        connection.call("write", address=0, data=word)
                    second.send("take_snapshot")
                    third.send("take_snapshot")
                    seen = status(grid)  # when all had asked
                    answers = [exchange.receive() for exchange in (first, second, third)]
                if any(late(answer) for answer in answers):
                    return False
                rounds = [answer["take_snapshot"]["header"]["round"] for answer in answers]
                self.assertLess(rounds[0], rounds[1])
                for answer in answers[1:]:
                    self.assertTrue(File(os.path.join(directory(grid), answer["take_snapshot"]["file"])).image().startswith(word))
                if (seen["phase"], seen["round"]) != (COLLECT, rounds[0]) or seen["node_bytes"][0] > 2 * MIB:
                    return False  # not all asked early enough to be served by one round
                self.assertEqual(rounds[1], rounds[2])
                self.assertEqual(status(grid)["rounds_done"], before + 2)
                return True
            words = itertools.count()
            wait_until(lambda: attempt(b"acknowledged before the second request, %d" % next(words)), what="two requests within a round")

    def test_progress_is_shown(self):
        with Grid(nodes=2, segment_size=4 * MIB, snapd=True, snapshot=SLOW_SNAPSHOT) as grid:
            def attempt():
                with Exchange(grid) as exchange:
                    if not begin_collection(grid, exchange):
                        return False
                    seen = wait_until(lambda: [state for state in [status(grid)] if state["phase"] != COLLECT or min(state["node_bytes"]) > 0],
                                      what="a part of each node")[0]
                    answer = exchange.receive()
                if seen["phase"] != COLLECT or max(seen["node_bytes"]) == 4 * MIB or late(answer):
                    return False
                self.assertEqual(answer["status"], "OK", answer["message"])
                self.assertEqual(len(seen["node_bytes"]), 2)
                self.assertLess(max(seen["node_bytes"]), 4 * MIB)
                self.assertGreater(seen["elapsed_ns"], 0)
                after = status(grid)
                self.assertEqual((after["phase"], after["round"], after["node_bytes"]), (IDLE, seen["round"], []))
                return True
            wait_until(attempt, what="a round that is seen half done")

    def test_a_long_capture_that_goes_on_gives_way_to_nobody(self):
        # Eight seconds: longer than a capture may stand still before another leader may take over.
        with Grid(nodes=1, segment_size=8 * MIB, snapd=True, snapshot=SLOW_SNAPSHOT) as grid:
            def attempt():
                failed = status(grid)["rounds_failed"]
                with Exchange(grid) as exchange, Exchange(grid) as rival:
                    if not begin_collection(grid, exchange):
                        return False
                    state = wait_until(lambda: [state for state in [status(grid)] if state["phase"] != COLLECT or sum(state["node_bytes"]) >= 6 * MIB],
                                       what="6 MiB")[0]
                    if state["phase"] != COLLECT:
                        return False
                    answer = rival.call("freeze", round=state["round"] + (9 << 8) + 1, lease_ms=500, segment_size=8 * MIB, nodes=1)
                    taken = exchange.receive()
                if late(answer) or late(taken) or answer["freeze"]["outcome"] != BUSY:
                    return False  # the capture did stand still, or was over
                self.assertEqual(answer["freeze"], {"outcome": BUSY, "max_round": state["round"]})
                self.assertEqual((taken["status"], taken["take_snapshot"]["header"]["round"]), ("OK", state["round"]), taken["message"])
                return status(grid)["rounds_failed"] == failed
            wait_until(attempt, what="a long capture, and a rival that is refused")

    def test_writers_go_on_and_the_file_does_not_see_them(self):
        with Grid(nodes=2, segment_size=4 * MIB, snapd=True, snapshot=BUSY_SNAPSHOT + " rate_limit = 4MiB") as grid:
            def attempt():
                image = fill(grid, 0, 1) + fill(grid, 1, 2)
                with Exchange(grid) as exchange, Connection(grid.port(0)) as left, Connection(grid.port(1)) as right:
                    if not begin_collection(grid, exchange):
                        return False
                    for page in range(1023, 0, -1):
                        left.call("write", address=page * 4096 + 77, data=b"new" * 100)
                        right.call("write", address=4 * MIB + page * 4096 + 77, data=b"new" * 100)
                    answer = exchange.receive()
                if late(answer):
                    return False
                self.assertEqual(answer["status"], "OK", answer["message"])
                self.assertEqual(File(os.path.join(directory(grid), answer["take_snapshot"]["file"])).image(), image)
                return answer["take_snapshot"]["header"]["pages_preserved"] > 0
            wait_until(attempt, what="a snapshot with pages that were preserved")

    def test_memory_is_bounded(self):
        if sanitized():
            self.skipTest("memory of an instrumented build")
        with Grid(nodes=3, segment_size=64 * MIB, snapd=True, server='max_message = "256KiB"') as grid:
            for node in range(3):
                fill(grid, node, node)
            for _ in range(3):
                self.assertEqual(take(grid)["status"], "OK")
                for node in range(3):
                    self.assertLess(own_memory_bytes(grid.snapds[node].pid), 64 * MIB)


class Failures(unittest.TestCase):
    def assert_fails(self, grid, *says, code="UNAVAILABLE"):
        answer = take(grid)
        self.assertEqual(answer["status"], code, answer["message"])
        for text in says:
            self.assertIn(text, answer["message"])

    def test_a_node_without_a_snapshot_process(self):
        with Grid(nodes=3, segment_size=K, snapd=True) as grid:
            grid.kill_snapd(2, signal.SIGTERM)
            self.assert_fails(grid, "node 2", f"127.0.0.1:{grid.snapshot_port(2)}", "Connection refused")
            grid.start_snapd(2)
            self.assertEqual(take(grid)["status"], "OK")

    def test_a_node_without_a_server(self):
        with Grid(nodes=2, segment_size=K, snapd=True) as grid:
            image = fill(grid, 0, 1) + fill(grid, 1, 2)
            grid.kill(1)
            self.assert_fails(grid, "node 1", "server")
            grid.restart(1)
            self.assertEqual(snapshot_of(self, grid).image(), image)

    def test_a_node_that_has_never_run(self):
        with Grid(nodes=2, segment_size=K, snapd=True, start=False) as grid:
            grid.start_snapd()
            self.assert_fails(grid, "there is no segment")
            grid.start()
            self.assertEqual(take(grid)["status"], "OK")
            # and one whose memory was deleted and made anew
            grid.kill(1, signal.SIGTERM)
            self.assertEqual(grid.run("--reset", node=1).returncode, 0)
            self.assert_fails(grid, "node 1")
            grid.start(1)
            self.assertEqual(take(grid)["status"], "OK")

    def test_snapshot_processes_that_are_killed(self):
        with Grid(nodes=3, segment_size=K, snapd=True, snapshot='interval = "10ms" keep = 1000') as grid:
            image = fill(grid, 0, 1) + fill(grid, 1, 2) + fill(grid, 2, 3)
            seen = status(grid)["round"]
            generator = random.Random(4)
            for kill in range(case.scale(30, 6)):
                victim = generator.randrange(3)
                # at a random moment of a random round: ask so many times, and then not again
                for _ in range(generator.randrange(12)):
                    status(grid)
                grid.kill_snapd(victim)
                with Connection(grid.port(victim)) as connection:
                    answer = connection.call("write", address=victim * K, data=image[victim * K:victim * K + 8])
                self.assertEqual(answer["status"], "OK", "the server is unharmed")
                grid.start_snapd(victim)
                wait_for_a_later_round(grid, f"a round after kill {kill} (of node {victim})")
            for node in range(3):
                grid.kill_snapd(node, signal.SIGTERM)
            self.assertEqual(files(directory(grid))[1], [])
            self.assertGreaterEqual(assert_later_files_show(self, grid, image, seen), case.scale(30, 6))

    def test_servers_that_are_killed(self):
        with Grid(nodes=2, segment_size=K, snapd=True, snapshot='interval = "10ms" keep = 1000') as grid:
            image = fill(grid, 0, 1) + fill(grid, 1, 2)
            seen = status(grid)["round"]
            generator = random.Random(5)
            for kill in range(case.scale(15, 2)):
                for _ in range(generator.randrange(12)):
                    status(grid)
                victim = generator.randrange(2)
                grid.kill(victim)
                grid.restart(victim)
                wait_for_a_later_round(grid, f"a round after kill {kill}")
            self.assertGreaterEqual(assert_later_files_show(self, grid, image, seen), case.scale(15, 2))

    def test_the_next_node_takes_over_and_yields(self):
        with Grid(nodes=2, segment_size=K, snapd=True, snapshot='interval = 0 takeover = "200ms"') as grid:
            grid.kill_snapd(0)
            wait_until(lambda: status(grid, 1)["leader"] == 1, what="the take-over")
            answer = take(grid, 1)  # it leads, and has not got all nodes
            self.assertEqual(answer["status"], "UNAVAILABLE", answer["message"])
            self.assertIn("node 0", answer["message"])
            grid.start_snapd(0)
            wait_until(lambda: status(grid, 1)["leader"] == 0, what="node 0 to lead again")
            self.assertEqual(take(grid, 0)["status"], "OK")
            for told in ("op=takeover", "op=yield"):
                wait_until(lambda line=told: line in grid.snapds[1].log(), what=told)

    def test_a_stopped_process_costs_rounds_and_nothing_else(self):
        with Grid(nodes=2, segment_size=K, snapd=True) as grid:
            grid.snapds[1].kill(signal.SIGSTOP)
            with Exchange(grid) as exchange:
                wait_until(lambda: re.search("node 1: .*in time", exchange.call("take_snapshot")["message"]), what="a round that fails for node 1")
            with Connection(grid.port(0)) as connection:
                self.assertEqual(connection.call("write", address=0, data=b"x")["status"], "OK")
            grid.snapds[1].kill(signal.SIGCONT)
            self.assertEqual(take(grid)["status"], "OK")

    def test_disk_full(self):
        if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0:
            self.skipTest("may not mount a small file system")
        with Grid(nodes=2, segment_size=K, snapd=True, start=False) as grid:
            grid.start()
            grid.start_snapd(1)
            folder = directory(grid)
            os.mkdir(folder)
            mount = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o size=6m none "{folder}" && exec "$@"', "sh"]
            grid.snapds[0] = grid.launch_snapd(0, launcher=mount)
            grid.snapds[0].wait_notice("READY=1")
            seen = f"/proc/{grid.snapds[0].pid}/root{folder}"
            image = fill(grid, 0, 1) + fill(grid, 1, 2)
            first = take(grid)
            self.assertEqual(first["status"], "OK", first["message"])
            for _ in range(2):
                self.assert_fails(grid, "No space left on device", code="RESOURCE_EXHAUSTED")
                complete, temporary = files(seen)
                self.assertEqual((complete, temporary), ([first["take_snapshot"]["file"]], []))
            self.assertEqual(File(os.path.join(seen, complete[0])).image(), image)
            self.assertIn("No space left", status(grid)["last_error"])

    def test_a_file_that_may_not_grow(self):
        with Grid(nodes=1, segment_size=K, snapd=True, start=False) as grid:
            grid.start()
            fill(grid, 0, 1)
            grid.snapds[0] = grid.launch_snapd(0, launcher=["prlimit", "--fsize=1000000"])
            grid.snapds[0].wait_notice("READY=1")
            answer = take(grid)
            self.assertNotEqual(answer["status"], "OK")
            self.assertIn("File too large", answer["message"])
            self.assertEqual(files(directory(grid)), ([], []))

    def test_a_folder_that_cannot_be_written(self):
        with Grid(nodes=1, segment_size=K, snapd=True) as grid:
            with open(directory(grid), "w", encoding="utf-8") as file:
                file.write("a file where the folder should be")
            answer = take(grid)
            self.assertNotEqual(answer["status"], "OK")
            self.assertIn(directory(grid), answer["message"])
            os.unlink(directory(grid))
            self.assertEqual(take(grid)["status"], "OK")

    def test_repeated_failure_is_told_once(self):
        with Grid(nodes=2, segment_size=K, snapd=True, snapshot='interval = "10ms"') as grid:
            grid.kill_snapd(1, signal.SIGTERM)
            wait_until(lambda: status(grid)["rounds_failed"] >= 4, what="four failed rounds")
            grid.start_snapd(1)
            done = status(grid)["rounds_done"]
            wait_until(lambda: status(grid)["rounds_done"] > done, what="a round with all nodes")
            log = grid.snapds[0].log()
            self.assertIn("the rounds before had failed", log)
            # The first failure after a success is told, and then one in a minute.
            told = [(int(count), datetime.datetime.fromisoformat(when)) for when, count in re.findall(r"^(\S+) .* op=failed .*failures=(\d+)", log, re.M)]
            self.assertEqual((told[0][0], len(told)), (1, log.count("op=failed")), log)
            for (_, before), (failures, when) in itertools.pairwise(told):
                self.assertTrue(failures == 1 or when - before > datetime.timedelta(seconds=59), log)

    def test_ending_within_a_round(self):
        def attempt(who):
            with Grid(nodes=2, segment_size=8 * MIB, snapd=True, snapshot=SLOW_SNAPSHOT) as grid, Exchange(grid) as exchange:
                if not begin_collection(grid, exchange):
                    return False
                temporary = files(directory(grid))[1]
                self.assertEqual(grid.kill_snapd(who, signal.SIGTERM), 0)
                answer = exchange.receive()
                if answer["status"] == "OK" or late(answer):
                    return False  # the round was through before
                self.assertEqual((answer["status"], len(temporary)), ("UNAVAILABLE", 1), answer["message"])
                self.assertEqual(files(directory(grid)), ([], []))
                return True
        for who in (0, 1):
            wait_until(lambda node=who: attempt(node), what="the end within a round")

    def test_what_a_crash_left_is_swept(self):
        with Grid(nodes=1, segment_size=8 * MIB, snapd=True, snapshot=SLOW_SNAPSHOT) as grid:
            def attempt():
                with Exchange(grid) as exchange:
                    begin_collection(grid, exchange)
                    grid.kill_snapd(0)
                complete, temporary = files(directory(grid))
                grid.start_snapd(0)
                self.assertEqual(files(directory(grid)), (complete, []))
                if not temporary:
                    return False  # the round was through before
                self.assertEqual(len(temporary), 1)
                self.assertIn("removed 1 file", grid.snapds[0].log())
                return True
            wait_until(attempt, what="a crash within a round")


class FakeNode:
    """A snapshot process for one connection at a time, in a thread. It has one page of data and does what is right, except that `pull` makes the
    answers to Pull: pull(request) returns the frames to send, or None to close the connection."""

    def __init__(self, grid, node, pull):
        self.pull = pull
        self.connection = None
        self.listening = socket.create_server(("127.0.0.1", grid.snapshot_port(node)), reuse_port=False)
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listening.shutdown(socket.SHUT_RDWR)
        try:
            if self.connection:
                self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # closed already
        self.thread.join()
        self.listening.close()

    def serve(self):
        while True:
            try:
                self.connection, _ = self.listening.accept()
            except OSError:
                return
            with self.connection:
                try:
                    self.talk(self.connection)
                except ConnectionError:
                    pass  # the leader has heard enough, or it ends

    def answers(self, request):
        if "pull" in request:
            return self.pull(request)
        body = {"id": request["id"], "status": 1}
        if "freeze" in request:
            body["freeze"] = {"outcome": FROZEN, "max_round": request["freeze"]["round"]}
        elif "cut" in request:
            body["cut"] = {"done": True, "pause_ns": 5}
        return [frame(encode("Response", body, SCHEMA))]

    def talk(self, connection):
        buffer = b""
        while True:
            data = connection.recv(65536)
            if not data:
                return
            buffer += data
            while True:
                size, at = take_varint(buffer, 0)
                if size is None or len(buffer) - at < size:
                    break
                request = decode("Request", buffer[at:at + size], SCHEMA)
                buffer = buffer[at + size:]
                answers = self.answers(request)
                if answers is None:
                    return
                for answer in answers:
                    connection.sendall(answer)


def pull_answer(request, chunks, next_offset=4096, complete=True):
    result = b"\x08" + varint(next_offset) + b"".join(b"\x12" + varint(len(chunk)) + chunk for chunk in chunks) + (b"\x18\x01" if complete else b"")
    return [frame(b"\x08" + varint(request["id"]) + b"\x10\x01\x5a" + varint(len(result)) + result)]


class Nonsense(unittest.TestCase):
    """Node 1 of a grid of single pages is one that errs, or lies."""
    page = bytes(range(256)) * 16

    def rounds(self, pull, *says, code=None):
        with Grid(nodes=2, segment_size=4096, snapd=True, start=False) as grid:
            grid.start(0)
            grid.start_snapd(0)
            with FakeNode(grid, 1, pull):
                answer = take(grid)
            if not says:
                self.assertEqual(answer["status"], "OK", answer["message"])
                return File(os.path.join(directory(grid), answer["take_snapshot"]["file"]))
            self.assertEqual(answer["status"], code or "INTERNAL", answer["message"])
            for text in ("node 1: ", *says):
                self.assertIn(text, answer["message"])
            self.assertEqual(files(directory(grid)), ([], []))
            return None

    def test_a_node_that_does_what_is_right(self):
        file = self.rounds(lambda request: pull_answer(request, [encode_chunk(4096, 1, self.page)]))
        self.assertEqual(file.image(), bytes(4096) + self.page)

    def test_bytes_that_changed_on_the_way(self):
        self.rounds(lambda request: pull_answer(request, [encode_chunk(4096, 1, self.page, crc=1)]), "CRC-32C", code="DATA_LOSS")

    def test_pages_of_another_node(self):
        self.rounds(lambda request: pull_answer(request, [encode_chunk(0, 1, self.page)]), "it sent pages of address 0")
        self.rounds(lambda request: pull_answer(request, [encode_chunk(8192, 1, self.page)]), "it sent pages of address 8192")

    def test_pages_that_the_window_does_not_have(self):
        self.rounds(lambda request: pull_answer(request, [encode_chunk(4096, 3, self.page * 2)]), "its window has 1", code="INVALID_ARGUMENT")

    def test_the_same_window_twice(self):
        self.rounds(lambda request: pull_answer(request, [encode_chunk(4096, 1, self.page)] * 2), "4096", code="INVALID_ARGUMENT")

    def test_more_or_less_than_was_asked_for(self):
        for next_offset in (0, 2048, 8192, 1 << 60):
            self.rounds(lambda request, at=next_offset: pull_answer(request, [], next_offset=at), f"up to offset {next_offset}")

    def test_a_last_part_that_is_not_said_to_be_valid(self):
        self.rounds(lambda request: pull_answer(request, [encode_chunk(4096, 1, self.page)], complete=False), "valid to its end")

    def test_answers_that_are_none(self):
        self.rounds(lambda request: [b"\xff" * 10], "not a varint", code="UNAVAILABLE")
        self.rounds(lambda request: [varint(1 << 30)], "over the limit", code="UNAVAILABLE")
        self.rounds(lambda request: [frame(b"\x08\x63\x10\x01")], "no answer to anything", code="UNAVAILABLE")
        self.rounds(lambda request: [frame(b"\x08" + varint(request["id"]) + b"\x10\x01")], "something else than was asked for")
        self.rounds(lambda request: [frame(b"\x08" + varint(request["id"]) + b"\x10\x01\x5a\x02\x12\x05")], "something else than was asked for")

    def test_a_connection_that_ends(self):
        self.rounds(lambda request: None, "closed the connection", code="UNAVAILABLE")


class Requests(unittest.TestCase):
    def test_what_is_wrong_is_told(self):
        k = K
        cases = [
            ("freeze", {"round": 256, "lease_ms": 500, "segment_size": k, "nodes": 3}, "FAILED_PRECONDITION", "same mcomp.cfg"),
            ("freeze", {"round": 256, "lease_ms": 500, "segment_size": k + 4096, "nodes": 1}, "FAILED_PRECONDITION", "same mcomp.cfg"),
            ("freeze", {"round": 256, "lease_ms": 0, "segment_size": k, "nodes": 1}, "INVALID_ARGUMENT", "lease"),
            ("freeze", {"round": 256, "lease_ms": 10001, "segment_size": k, "nodes": 1}, "INVALID_ARGUMENT", "lease"),
            ("freeze", {"round": 0, "lease_ms": 500, "segment_size": k, "nodes": 1}, "INVALID_ARGUMENT", "round 0"),
            ("pull", {"round": 256, "offset": 1, "max_bytes": 262144}, "INVALID_ARGUMENT", "multiple"),
            ("pull", {"round": 256, "offset": 0, "max_bytes": 0}, "INVALID_ARGUMENT", "at most 1048576"),
            ("pull", {"round": 256, "offset": 0, "max_bytes": 262145}, "INVALID_ARGUMENT", "multiple"),
            ("pull", {"round": 256, "offset": 0, "max_bytes": 2 * MIB}, "INVALID_ARGUMENT", "at most 1048576"),
            ("pull", {"round": 256, "offset": 1 << 40, "max_bytes": 262144}, "INVALID_ARGUMENT", "outside"),
            ("pull", {"round": 256, "offset": 0, "max_bytes": 262144}, "ABORTED", "takes no part"),
        ]
        with Grid(nodes=1, segment_size=K, snapd=True) as grid, Exchange(grid) as exchange:
            for op, fields, code, says in cases:
                answer = exchange.call(op, **fields)
                self.assertEqual(answer["status"], code, (op, fields, answer))
                self.assertIn(says, answer["message"])
            self.assertEqual(exchange.call("take_snapshot", grid="another")["status"], "FAILED_PRECONDITION")
            exchange.raw(frame(b"\x08\x63\x12" + varint(len(grid.name)) + grid.name.encode()))  # asks for nothing
            answer = exchange.receive()
            self.assertEqual((answer["id"], answer["status"]), (99, "UNIMPLEMENTED"))
            exchange.raw(frame(b"\xff\xff\xff"))
            answer = exchange.receive()
            self.assertEqual((answer["id"], answer["status"]), (0, "INVALID_ARGUMENT"))
            self.assertEqual(take_on(exchange)["status"], "OK", "the stream is still in step")

    def test_frames_that_are_none_end_only_their_connection(self):
        with Grid(nodes=1, segment_size=K, snapd=True) as grid, Exchange(grid) as good:
            for data in (b"\xff" * 10, varint(2000), varint(1 << 40)):
                with Exchange(grid) as bad:
                    bad.raw(data)
                    self.assertEqual(bad.receive()["status"], "INVALID_ARGUMENT")
                    with self.assertRaises(Closed):
                        bad.receive()
            with Exchange(grid) as half:
                half.raw(b"\x20half")
                self.assertEqual(take_on(good)["status"], "OK")

    def test_a_leader_that_goes_away_leaves_writers_free(self):
        with Grid(nodes=1, segment_size=K, snapd=True) as grid, Connection(grid.port()) as connection:
            def freeze(number, lease_ms):
                answer = leader.call("freeze", round=number, lease_ms=lease_ms, segment_size=K, nodes=1)
                return None if late(answer) else answer["freeze"]

            numbers = itertools.count(7)
            while True:
                number = next(numbers) << 8
                before = grid.servers[0].log().count("op=lease")
                with Exchange(grid) as leader:
                    answer = freeze(number, 10000)
                    if not answer or answer["outcome"] == BUSY:
                        continue
                    self.assertEqual(answer, {"outcome": FROZEN, "max_round": number})
                    held = connection.send("write", address=0, data=b"held")
                    reads = connection.send("read", address=0, length=4)
                    answered = [connection.receive()["id"]]
                answered.append(connection.receive()["id"])
                self.assertEqual(set(answered), {reads, held})
                if grid.servers[0].log().count("op=lease") == before:
                    break  # it was not because the lease of ten seconds ran out
            self.assertEqual(answered, [reads, held], "readers are not held")
            with Exchange(grid) as leader:
                answer = wait_until(lambda: freeze(number, 500), what="an answer of the server")
                self.assertEqual(answer, {"outcome": OLD, "max_round": number})
            self.assertGreater(snapshot_of(self, grid).header["round"], number)

    def test_many_requests_on_one_connection(self):
        with Grid(nodes=1, segment_size=K, snapd=True) as grid, Exchange(grid) as exchange:
            sent = [exchange.send(op) for _ in range(100) for op in ("round_query", "list", "end")]
            self.assertEqual(sorted(exchange.receive()["id"] for _ in sent), sent)

    def test_more_connections_than_are_served(self):
        with Grid(nodes=1, segment_size=K, snapd=True) as grid:
            held = [Exchange(grid) for _ in range(256)]
            try:
                for exchange in held:
                    self.assertEqual(exchange.call("round_query")["status"], "OK")
                more = [Exchange(grid) for _ in range(10)]
                held += more
                self.assertEqual(more[-1].receive()["status"], "RESOURCE_EXHAUSTED")
                with self.assertRaises(Closed):
                    more[-1].receive()
                self.assertEqual(held[0].call("round_query")["status"], "OK")
            finally:
                for exchange in held:
                    exchange.close()

            def served():
                with Exchange(grid) as exchange:
                    try:
                        return exchange.call("round_query")["status"] == "OK"
                    except (AssertionError, Closed, ConnectionError):
                        return False
            wait_until(served, what="a free place")
            self.assertEqual(take(grid)["status"], "OK")

    def test_clients_that_leave_do_not_keep_a_round_wanted(self):
        with Grid(nodes=2, segment_size=K, snapd=True) as grid:
            grid.kill_snapd(1, signal.SIGTERM)
            with Exchange(grid) as exchange:
                exchange.send("take_snapshot")
            wait_until(lambda: status(grid)["phase"] == IDLE, what="the end of the round")
            failed = status(grid)["rounds_failed"]
            idle(3)  # a round that is wanted would be tried again after half a second to one and a half
            self.assertLessEqual(status(grid)["rounds_failed"], failed + 1)
            grid.start_snapd(1)
            self.assertEqual(take(grid)["status"], "OK")


class Process(unittest.TestCase):
    def test_options(self):
        with Grid(snapd=True, start=False) as grid:
            for arguments, code in ((["--help"], 0), (["--version"], 0), (["--nonsense"], 2), (["--node", "x"], 2)):
                done = subprocess.run([program("mcomp-snapd"), *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE_S)
                self.assertEqual(done.returncode, code, done.stderr)
            self.assertNotIn("--reset", grid.run("--help", name="mcomp-snapd").stdout)

    def test_a_grid_without_snapshot_addresses(self):
        with Grid(nodes=2, start=False) as grid:
            done = grid.run(name="mcomp-snapd")
            self.assertEqual(done.returncode, 1)
            self.assertIn("node 0 has no snapshot_address", done.stderr)

    def test_two_processes_for_one_node(self):
        with Grid(nodes=1, segment_size=K, snapd=True) as grid:
            done = grid.run(name="mcomp-snapd")
            self.assertEqual(done.returncode, 1)
            self.assertIn("another process listens there", done.stderr)

    def test_log_is_reopened(self):
        with Grid(nodes=1, segment_size=K, snapd=True, start=False) as grid:
            grid.start()
            log = grid.path("snapd.log")
            grid.start_snapd(0, arguments=["--log", log, "--log-level", "debug"])
            os.rename(log, log + ".1")
            grid.snapds[0].kill(signal.SIGHUP)
            wait_until(lambda: os.path.exists(log), what="a new log")
            self.assertEqual(take(grid)["status"], "OK")
            with open(log, encoding="utf-8") as file:
                text = file.read()
            self.assertIn("role=mcomp-snapd-0 mod=round op=done", text)
            self.assertIn("writers paused for", text)

    def test_socket_activation(self):
        activate = ("import os, sys\n"
                    "os.dup2(int(sys.argv[1]), 3)\n"
                    "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')\n"
                    "os.execv(sys.argv[2], sys.argv[2:])\n")
        with Grid(nodes=1, segment_size=K, snapd=True, start=False) as grid, socket.socket() as listening:
            grid.start()
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(("127.0.0.1", grid.snapshot_port()))
            listening.listen()
            grid.snapds[0] = grid.launch_snapd(0, launcher=[sys.executable, "-c", activate, str(listening.fileno())], pass_fds=[listening.fileno()])
            self.assertEqual(take(grid)["status"], "OK")  # before it is ready: the socket is there


if __name__ == "__main__":
    case.main()
