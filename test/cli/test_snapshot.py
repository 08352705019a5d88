#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""mcomp snapshot: on files alone, whole and damaged, and on a grid that takes snapshots."""
import base64
import json
import os
import random
import shutil
import signal
import socket
import tempfile
import threading
import unittest

from cli import TOP, Terminal, run
import case
from grid import Grid
from snapshots import SCHEMA, Exchange, File, directory, files, late
from waiting import wait_until
from wire import decode, encode, frame, take_varint

GOLDEN = os.path.join(TOP, "test", "golden", "snapshot-v1.mcsnap")
GOLDEN_NAME = "demo-00001200-20260203T101112Z.mcsnap"
GOLDEN_K, GOLDEN_NODES = 274432, 3
HEADER_BYTES = 4096
PAGE = 4096
K = 1 << 20


class OnFiles(unittest.TestCase):
    """No configuration, no grid."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="mcomp-test-")
        self.addCleanup(shutil.rmtree, self.folder)

    def snapshot(self, *arguments, code=0):
        done = run("snapshot", *arguments, config="/nonexistent/mcomp.cfg")
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    def json(self, *arguments, code=0):
        return json.loads(self.snapshot(*arguments, "--json", code=code).stdout)

    def damaged(self, at, name="damaged.mcsnap"):
        """A copy of the golden file with one byte changed."""
        with open(GOLDEN, "rb") as file:
            data = bytearray(file.read())
        data[at] ^= 0x40
        path = os.path.join(self.folder, name)
        with open(path, "wb") as file:
            file.write(data)
        return path

    def image(self, path=GOLDEN):
        return base64.b64decode(self.json("read", path, 0, "all")["data_base64"])

    def test_show(self):
        shown = self.json("show", GOLDEN)
        self.assertEqual((shown["grid"], shown["nodes"], shown["segment_size"], shown["round"]), ("demo", GOLDEN_NODES, GOLDEN_K, 0x1200))
        self.assertEqual((shown["file_bytes"], shown["chunks"]), (os.path.getsize(GOLDEN), len(File(GOLDEN).chunks)))
        self.assertEqual(shown["pages_stored"] + shown["pages_zero"], GOLDEN_NODES * GOLDEN_K // PAGE)
        self.assertEqual(shown["pages_stored"], sum(chunk["pages"].bit_count() for chunk in File(GOLDEN).chunks))
        text = self.snapshot("show", GOLDEN).stdout
        for words in ("demo: 3 nodes of 268 KiB", "00001200, led by node 0", "2026-02-03 10:11:12", f"{shown['chunks']} chunks",
                      f" {shown['pages_zero']} zero,",
                      "mcomp test"):
            self.assertIn(words, text)

    def test_verify_of_a_sound_file(self):
        self.assertIn("is sound", self.snapshot("verify", GOLDEN).stdout)
        report = self.json("verify", GOLDEN)
        self.assertEqual((report["sound"], report["problems"], report["bytes_lost"]), (True, [], 0))
        self.assertEqual(report["chunks"], len(File(GOLDEN).chunks))

    def test_verify_names_what_is_bad_and_what_is_lost(self):
        path = self.damaged(HEADER_BYTES + 100) # inside the first chunk, of the window at address 0
        done = self.snapshot("verify", path, code=1)
        self.assertRegex(done.stdout, r"^bytes 4096 to \d+ of the file: .*\n  lost: addresses 0x0 to 0x3ffff \(256 KiB\)\n$")
        self.assertRegex(done.stderr, r"is damaged: 1 problem, 256 KiB of the grid lost\n$")
        report = self.json("verify", path, code=1)
        self.assertEqual((report["sound"], report["bytes_lost"], len(report["problems"])), (False, 1 << 18, 1))
        self.assertEqual((report["problems"][0]["offset"], report["problems"][0]["address"]), (HEADER_BYTES, 0))

    def test_verify_finds_a_changed_byte_anywhere(self):
        size = os.path.getsize(GOLDEN)
        for at in (0, 7, 9, 200, HEADER_BYTES - 1, HEADER_BYTES, size - 200, size - 64, size - 1):
            self.assertFalse(self.json("verify", self.damaged(at), code=1)["sound"], at)

    def test_verify_of_a_cut_file(self):
        path = self.damaged(HEADER_BYTES + 100)
        os.truncate(path, HEADER_BYTES + 50)
        self.assertFalse(self.json("verify", path, code=1)["sound"])

    def test_verify_of_no_file_is_a_failure_of_another_kind(self):
        done = self.snapshot("verify", os.path.join(self.folder, "none"), "--json", code=1)
        self.assertEqual(json.loads(done.stdout)["error"]["status"], "NOT_FOUND")

    def test_verify_on_a_terminal(self):
        seen = Terminal("snapshot", "verify", GOLDEN, stderr=True).finish()
        self.assertIn("is sound", seen)

    def test_read(self):
        image = self.image()
        self.assertEqual(len(image), GOLDEN_NODES * GOLDEN_K)
        for chunk in File(GOLDEN).chunks:
            page = chunk["address"] + (chunk["pages"] & -chunk["pages"]).bit_length() * PAGE - PAGE
            self.assertNotEqual(image[page:page + PAGE], bytes(PAGE))
        part = self.json("read", GOLDEN, 100, 5000)
        self.assertEqual((part["address"], part["length"], base64.b64decode(part["data_base64"])), (100, 5000, image[100:5100]))

    def test_read_in_a_pipe_gives_bytes_and_on_a_terminal_a_dump_with_borders(self):
        at = GOLDEN_K - 16
        self.assertEqual(self.snapshot("read", GOLDEN, 0, 0).stdout, "")
        by_option = self.snapshot("read", GOLDEN, at, 32, "--hex").stdout
        self.assertIn("-------- node 1 --------\n", by_option)
        self.assertTrue(by_option.startswith(f"{at:08x}  "))
        self.assertEqual(Terminal("snapshot", "read", GOLDEN, at, 32, env={"NO_COLOR": "1"}).finish(), by_option)
        self.assertEqual(len(self.snapshot("read", GOLDEN, at, 32, "--raw").stdout), 32)

    def test_read_outside_the_array_and_of_what_is_lost(self):
        self.assertIn("do not fit", self.snapshot("read", GOLDEN, GOLDEN_NODES * GOLDEN_K - 4, 5, code=1).stderr)
        path = self.damaged(HEADER_BYTES + 100)
        report = self.json("read", path, 0, "all", code=1)
        self.assertEqual((report["data_base64"], report["error"]["status"]), ("", "DATA_LOSS"))
        self.assertIn("byte 4096", report["error"]["text"])
        self.assertEqual(self.snapshot("read", path, 0, 10, "--raw", code=1).stdout, "")

    def test_read_with_two_forms_is_wrong_usage(self):
        self.snapshot("read", GOLDEN, 0, 1, "--hex", "--raw", code=2)

    def test_diff_of_equal_files(self):
        self.assertEqual(self.snapshot("diff", GOLDEN, GOLDEN).stdout, "no byte differs\n")
        self.assertEqual(self.json("diff", GOLDEN, GOLDEN), {"same": True, "ranges": 0, "bytes": 0, "left_bytes": GOLDEN_NODES * GOLDEN_K,
                                                             "right_bytes": GOLDEN_NODES * GOLDEN_K})

    def test_diff_with_a_file_that_cannot_be_read(self):
        self.snapshot("diff", GOLDEN, os.path.join(self.folder, "none"), code=1)
        self.snapshot("diff", GOLDEN, self.damaged(HEADER_BYTES + 100), code=1)

    def test_list_of_a_folder(self):
        shutil.copy(GOLDEN, os.path.join(self.folder, GOLDEN_NAME))
        self.damaged(os.path.getsize(GOLDEN) - 1, GOLDEN_NAME.replace("1200", "1300"))
        listed = self.json("list", "--directory", self.folder, "--grid", "demo")
        self.assertEqual([(file["round"], file["sound"], file["header"] is None) for file in listed], [(0x1300, False, True), (0x1200, True, False)])
        self.assertEqual((listed[1]["file"], listed[1]["bytes"], listed[1]["problem"]), (GOLDEN_NAME, os.path.getsize(GOLDEN), ""))
        lines = self.snapshot("list", "--directory", self.folder, "--grid", "demo").stdout.splitlines()
        self.assertRegex(lines[1], r"^00001300 .* damaged$")
        self.assertRegex(lines[2], rf"^00001200 .*804 KiB .* {GOLDEN_NAME}$")
        self.assertIn(listed[0]["problem"], lines[3])
        self.assertEqual(self.json("list", "--directory", self.folder, "--grid", "other"), [])

    def test_list_of_no_folder_and_without_one(self):
        self.assertIn("No such file", self.snapshot("list", "--directory", os.path.join(self.folder, "none"), "--grid", "demo", code=1).stderr)
        self.snapshot("list", "--grid", "demo", code=2)
        self.assertIn("/nonexistent/mcomp.cfg", self.snapshot("list", code=1).stderr)


class OnAGrid(unittest.TestCase):
    def start(self, **options):
        return self.enterContext(Grid(snapd=True, **{"nodes": 3, "segment_size": K, **options}))

    def ask(self, grid, *arguments):
        """Again while a round fails for want of time."""
        done = run("snapshot", *arguments, config=grid.config)
        while done.returncode != 0 and late(done.stderr):
            done = run("snapshot", *arguments, config=grid.config)
        return done

    def json(self, grid, *arguments, code=0):
        done = self.ask(grid, *arguments, "--json")
        self.assertEqual(done.returncode, code, done.stderr)
        return json.loads(done.stdout)

    def test_what_was_written_is_read_back_from_the_file(self):
        grid = self.start()
        data = random.Random(1).randbytes(K + 1000)
        grid.mcomp("write", K - 500, stdin=data)
        taken = self.json(grid, "now")
        path = os.path.join(directory(grid), taken["file"])
        self.assertEqual((taken["leader"], taken["file_bytes"], taken["header"]["grid"]), (0, os.path.getsize(path), grid.name))
        image = base64.b64decode(self.json(grid, "read", path, 0, "all")["data_base64"])
        self.assertEqual(image, bytes(K - 500) + data + bytes(K - 500))
        self.assertEqual(image, grid.mcomp("read", 0, "all").stdout)
        # another one, and what lies between them
        grid.mcomp("write", 2 * K + 10, stdin=b"between")
        text = self.ask(grid, "now")
        self.assertEqual(text.returncode, 0, text.stderr)
        name = text.stdout.split(":")[0]
        self.assertRegex(text.stdout, r"^\S+\.mcsnap: .* in .*, writers paused for .* at most \(in the snapshot folder of node 0\)\n$")
        done = run("snapshot", "diff", path, os.path.join(directory(grid), name), "--json", config=grid.config)
        self.assertEqual(done.returncode, 3)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        old = image[2 * K + 10:2 * K + 17]
        changed = [2 * K + 10 + i for i in range(7) if old[i] != b"between"[i]]
        self.assertEqual([a for line in lines[:-1] for a in range(line["address"], line["address"] + line["length"])], changed)
        self.assertEqual((lines[-1]["same"], lines[-1]["bytes"]), (False, len(changed)))
        # list and status tell of both
        self.assertEqual([file["file"] for file in self.json(grid, "list")], [name, taken["file"]])
        rounds = [file["round"] for file in self.json(grid, "list")]
        self.assertEqual(rounds[1], taken["header"]["round"])
        table = run("snapshot", "list", config=grid.config).stdout.splitlines()
        self.assertRegex(table[1], rf"^{rounds[0]:08x} .* {name}$")
        status = self.json(grid, "status")
        self.assertEqual((status["leader"], status["phase"], status["rounds_done"], status["last_file"], status["last_error"]), (0, "idle", 2, name, ""))
        self.assertEqual(status["last"]["round"], self.json(grid, "show", os.path.join(directory(grid), name))["round"])
        text = run("snapshot", "status", config=grid.config).stdout
        self.assertIn(f"node 0 leads, no round runs; 2 rounds done, {status['rounds_failed']} failed", text)
        self.assertIn(f"\nlast round {rounds[0]:08x}: {name}, cut ", text)

    def test_status_before_the_first_round(self):
        status = self.json(self.start(nodes=1), "status")
        self.assertEqual((status["phase"], status["rounds_done"], status["last"], status["last_file"]), ("idle", 0, None, ""))

    def snapshots_of(self, grid):
        """What `mcomp status --json` has of each node's snapshot process."""
        return [node["snapshot"] for node in json.loads(grid.mcomp("status", "--json").stdout)]

    def test_status_of_the_grid_has_the_figures_of_rounds(self):
        grid = self.start(segment_size=2 * K, snapshot='interval = 0 rate_limit = "1MiB"')
        before = self.snapshots_of(grid)
        self.assertEqual([(node["state"], node["leader"], node["last"], node["part"]) for node in before], [("up", 0, None, None)] * 3)

        def attempt():
            with Exchange(grid) as exchange:
                number = exchange.send("take_snapshot")
                running = wait_until(lambda: self.snapshots_of(grid)[0]["phase"] != "freeze" and self.snapshots_of(grid), what="a round")
                grid.mcomp("write", 6 * K - 1, "--text", "x")  # as a rule not captured yet
                answer = exchange.receive()
                self.assertEqual(answer["id"], number)
            return answer["status"] == "OK" and running[0]["phase"] == "collect" and answer["take_snapshot"]["header"].get("pages_preserved", 0) == 1
        wait_until(attempt, what="a round with a page that was preserved")
        nodes = self.snapshots_of(grid)
        last, parts = nodes[0]["last"], [node["part"] for node in nodes]
        self.assertEqual([node["last"] for node in nodes[1:]], [None, None])  # they did not lead
        self.assertEqual({part["round"] for part in parts}, {last["round"]})
        self.assertEqual(last["longest_pause_ns"], max(part["pause_ns"] for part in parts))
        self.assertEqual([part["pages_preserved"] for part in parts], [0, 0, 1])
        self.assertEqual([part["bytes_preserved"] for part in parts], [0, 0, 4096])
        self.assertEqual((last["pages_preserved"], last["bytes_preserved"]), (1, 4096))
        self.assertEqual([(part["bytes_captured"], part["complete"]) for part in parts], [(2 * K, True)] * 3)
        self.assertTrue(all(0 < part["capture_ns"] <= last["collect_ns"] for part in parts))
        self.assertTrue(0 < last["freeze_ns"] <= last["cut_ns"] <= last["collect_ns"] == last["duration_ns"])
        self.assertEqual(last["collect_bytes_per_s"], int(6 * K * 10**9 / (last["collect_ns"] - last["cut_ns"])))
        self.assertEqual(nodes[0]["last_bytes"], os.path.getsize(os.path.join(directory(grid), nodes[0]["last_file"])))
        self.assertGreater(nodes[0]["last_commit_ns"], 0)
        log = grid.snapds[0].log()
        self.assertIn(f" pages_preserved=1 bytes_preserved=4096 bytes={nodes[0]['last_bytes']} ", log)
        self.assertIn(f" commit_ns={nodes[0]['last_commit_ns']} ", log)
        grid.kill_snapd(1, signal.SIGTERM)
        nodes = self.snapshots_of(grid)
        self.assertEqual([node["state"] for node in nodes], ["up", "unreachable", "up"])
        self.assertIn("node 1", nodes[1]["error"])
        with Grid() as without:
            self.assertEqual(self.snapshots_of(without), [None])

    def test_progress_and_an_interrupt(self):
        grid = self.start(segment_size=16 * K, snapshot='interval = 0 rate_limit = "1MiB"') # slow: as a rule the round is still running when we look

        def attempt():
            terminal = Terminal("snapshot", "now", config=grid.config, stdout=False, stderr=True, columns=120)
            seen, piece = "", b"begin"
            while piece and "collect" not in seen:
                piece = terminal.read()
                seen += piece.decode()
            running = self.json(grid, "status")
            shown = run("snapshot", "status", config=grid.config).stdout
            terminal.process.send_signal(signal.SIGINT)
            seen += terminal.finish()
            if terminal.process.returncode == 0 or late(seen):
                return False  # the round was through, or failed for want of time
            self.assertEqual(terminal.process.returncode, 130, seen)
            self.assertRegex(seen, r"collect \d+ \d+ \d+ % .* of 48 MiB")
            self.assertIn("mcomp: snapshot now: interrupted", seen)
            if running["phase"] != "collect" or "phase collect" not in shown:
                return False  # a round had failed, and was begun anew
            self.assertEqual((len(running["nodes"]), running["bytes_total"]), (3, 48 * K))
            self.assertIn(" written, ", shown)
            return True
        wait_until(attempt, what="a round that collects, and an interrupt")

    def test_a_node_without_snapshot_process_fails_the_round_and_is_named(self):
        grid = self.start(nodes=2)
        self.json(grid, "now")
        grid.kill_snapd(1, signal.SIGTERM)
        error = self.json(grid, "now", code=4)["error"]
        self.assertEqual(error["status"], "UNAVAILABLE")
        self.assertIn("node 1", error["text"])
        self.assertIn("node 1", self.json(grid, "status")["last_error"])
        self.assertEqual(len(files(directory(grid))[0]), 1)

    def test_the_next_node_leads_when_the_first_is_gone(self):
        grid = self.start(snapshot='interval = 0 takeover = "200ms"')
        grid.kill_snapd(0, signal.SIGTERM)

        def leads():
            done = run("snapshot", "status", "--json", config=grid.config)
            return done.returncode == 0 and json.loads(done.stdout)["leader"] == 1
        wait_until(leads, what="a leader other than node 0")

        def listed():  # on a slow machine node 2 may take the lead for a moment
            done = run("snapshot", "list", "--json", config=grid.config)
            return done.returncode == 0 and json.loads(done.stdout) == []
        wait_until(listed, what="a list of the leader")
        grid.kill_snapd(1, signal.SIGTERM)
        grid.kill_snapd(2, signal.SIGTERM)
        for action in ("now", "status", "list"):
            error = self.json(grid, action, code=4)["error"]
            self.assertIn(f"node 0 at 127.0.0.1:{grid.snapshot_port(0)}", error["text"])

    def test_a_process_that_is_silent_is_given_up(self):
        grid = self.start(nodes=1)
        grid.snapds[0].kill(signal.SIGSTOP)
        try:
            for action in ("now", "status", "list"):
                error = self.json(grid, action, "--timeout", "100ms", code=4)["error"]
                self.assertEqual(error["status"], "DEADLINE_EXCEEDED", action)
        finally:
            grid.snapds[0].kill(signal.SIGCONT)

    def test_another_grids_process_says_so(self):
        grid = self.start(nodes=1)
        grid.write_config(name=grid.name + "-other")
        done = run("snapshot", "status", config=grid.config)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f'this is the grid "{grid.name}"', done.stderr)

    def test_without_snapshot_addresses_it_is_said_what_is_missing(self):
        with Grid(start=False) as grid:
            done = run("snapshot", "now", config=grid.config)
            self.assertEqual(done.returncode, 1)
            self.assertIn("has no snapshot_address", done.stderr)


class NoSnapshotProcess(unittest.TestCase):
    """Something else listens at the snapshot address."""

    def answer(self, data):
        """What `snapshot status` says to a peer that answers with data and closes."""
        with socket.create_server(("127.0.0.1", 0)) as listener, tempfile.TemporaryDirectory(prefix="mcomp-test-") as folder:
            path = os.path.join(folder, "mcomp.cfg")
            with open(path, "w", encoding="utf-8") as file:
                file.write('grid = "demo" segment_size = "1MiB" nodes = 1\n'
                           f'node 0 {{ address = "127.0.0.1:1" snapshot_address = "127.0.0.1:{listener.getsockname()[1]}" }}\n')
            pid = os.fork()
            if pid == 0:
                peer = listener.accept()[0]
                peer.recv(4096)
                peer.sendall(data)
                os._exit(0)
            try:
                return run("snapshot", "status", config=path)
            finally:
                os.waitpid(pid, 0)

    def test_what_makes_no_sense_is_refused(self):
        for data, code, text in ((b"", 4, "closed the connection"),
                                 (b"\xff" * 20, 1, "does not speak the exchange"),
                                 (b"\x81\x80\x80\x08", 1, "does not speak the exchange"),  # a frame of 16 MiB
                                 (b"\x02\xff\xff", 1, "malformed"),
                                 (b"\x04\x08\x01\x10", 4, "closed the connection"),
                                 (b"\x04\x08\x07\x10\x01", 4, "closed the connection"),  # the answer to another request
                                 (b"\x04\x08\x01\x10\x01", 1, "not one to this question"),  # OK without a result
                                 (b"\x04\x08\x01\x10\x0f", 4, "")):  # UNAVAILABLE
            done = self.answer(data)
            self.assertEqual((done.returncode, done.stdout), (code, ""), data)
            self.assertIn("snapshot process of node 0 at 127.0.0.1:", done.stderr)
            self.assertIn(text, done.stderr)


class Actors:
    """Snapshot processes that say what a test wants: answers[node](op) gives the fields of a Response; None instead of a function: nobody listens."""

    def __init__(self, *answers):
        self.answers = answers
        self.asked = [] # (node, operation)

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="mcomp-test-")
        self.config = os.path.join(self.folder, "mcomp.cfg")
        self.listeners = [socket.create_server(("127.0.0.1", 0)) for _ in self.answers]
        lines = ['grid = "demo"', 'segment_size = "1MiB"', f"nodes = {len(self.answers)}"]
        for node, listener in enumerate(self.listeners):
            port = listener.getsockname()[1]
            lines.append(f'node {node} {{ address = "127.0.0.1:{node + 1}" snapshot_address = "127.0.0.1:{port}" }}')
            if self.answers[node]:
                threading.Thread(target=self.listen, args=(node, listener), daemon=True).start()
            else:
                listener.close()
        with open(self.config, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        return self

    def __exit__(self, *_):
        for listener in self.listeners:
            try:
                listener.shutdown(socket.SHUT_RDWR)
            except OSError: # closed before
                pass
            listener.close()
        shutil.rmtree(self.folder)

    def listen(self, node, listener):
        while True:
            try:
                peer = listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve, args=(node, peer), daemon=True).start()

    def serve(self, node, peer):
        data = b""
        with peer:
            while piece := peer.recv(4096):
                data += piece
                size, at = take_varint(data, 0)
                if size is None or len(data) - at < size:
                    continue
                request = decode("Request", data[at:at + size], SCHEMA)
                data = data[at + size:]
                op = next(name for name in ("round_query", "take_snapshot", "list") if request.get(name) is not None)
                self.asked.append((node, op))
                peer.sendall(frame(encode("Response", {"id": request["id"], "status": OK, **self.answers[node](op)}, SCHEMA)))


OK, ABORTED = 1, 11


def round_of(node, leader):
    return {"round_status": {"node": node, "leader": leader, "phase": 1}}


def taken(leader):
    return {"take_snapshot": {"file": "x.mcsnap", "leader": leader, "header": {"grid": "demo", "nodes": 2, "segment_size": K, "round": 0x101}}}


class LeadershipMoves(unittest.TestCase):
    def test_the_node_that_the_first_one_names_is_asked(self):
        with Actors(lambda op: round_of(0, 2), lambda op: round_of(1, 2), lambda op: round_of(2, 2)) as actors:
            status = json.loads(run("snapshot", "status", "--json", config=actors.config).stdout)
            self.assertEqual((status["node"], status["leader"]), (2, 2))
            self.assertEqual(actors.asked, [(0, "round_query"), (2, "round_query")])

    def test_a_round_that_runs_is_reckoned_up(self):
        running = {"node": 0, "leader": 0, "phase": 4, "round": 0x100, "elapsed_ns": 10 ** 9, "node_bytes": [K // 2, K], "bytes_written": K,
                   "rounds_failed": 3, "last_error": "the disk is full"}
        with Actors(lambda op: {"round_status": running}, None) as actors:
            status = json.loads(run("snapshot", "status", "--json", config=actors.config).stdout)
            self.assertEqual((status["phase"], status["bytes_done"], status["bytes_total"], status["bytes_per_s"]), ("collect", 3 * K // 2, 2 * K, 3 * K // 2))
            self.assertEqual([(node["node"], node["bytes"], node["of"]) for node in status["nodes"]], [(0, K // 2, K), (1, K, K)])
            self.assertEqual((status["left_ns"] // 10 ** 6, status["rounds_failed"], status["last_error"]), (333, 3, "the disk is full"))
            text = run("snapshot", "status", config=actors.config).stdout
            for words in ("round 00000100: phase collect, running for 1 s\n", "\n   0   50 %  512 KiB\n   1  100 %    1 MiB\n",
                          "1.5 MiB of 2 MiB, 1 MiB written, 1.5 MiB/s, 333 ms left\n", "last error: the disk is full\n"):
                self.assertIn(words, text)
            self.assertIn("###############...............", Terminal("snapshot", "status", config=actors.config, env={"NO_COLOR": "1"}).finish())

    def test_who_does_not_lead_any_more_names_the_one_that_takes_the_snapshot(self):
        def former(op):
            return round_of(0, 0) if op == "round_query" else {"status": ABORTED, "message": "node 1 leads", "take_snapshot": {"leader": 1}}

        def leader(op):
            return {"list": {"file": [{"name": "x.mcsnap", "bytes": 4711}]}} if op == "list" else taken(1)
        with Actors(former, leader) as actors:
            done = run("snapshot", "now", "--json", config=actors.config)
            self.assertEqual(done.returncode, 0, done.stderr)
            report = json.loads(done.stdout)
            self.assertEqual((report["file"], report["leader"], report["file_bytes"], report["header"]["round"]), ("x.mcsnap", 1, 4711, 0x101))
            self.assertEqual([asked for asked in actors.asked if asked[1] == "take_snapshot"], [(0, "take_snapshot"), (1, "take_snapshot")])

    def test_two_nodes_that_name_each_other_do_not_keep_us_for_ever(self):
        def names(other):
            return lambda op: round_of(1 - other, 1 - other) if op == "round_query" else {"status": ABORTED, "message": f"node {other} leads",
                                                                                          "take_snapshot": {"leader": other}}
        with Actors(names(1), names(0)) as actors:
            done = run("snapshot", "now", config=actors.config)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertRegex(done.stderr, "node [01] leads")

    def test_a_leader_that_cannot_be_reached_is_named(self):
        with Actors(None, lambda op: round_of(1, 0)) as actors:
            done = run("snapshot", "now", config=actors.config)
            self.assertEqual((done.returncode, done.stdout), (4, ""))
            self.assertIn("the leader cannot be reached (another node takes over after a while): snapshot process of node 0", done.stderr)

    def test_nobody_leads(self):
        with Actors(lambda op: round_of(0, 1), lambda op: round_of(1, 0)) as actors:
            done = run("snapshot", "status", config=actors.config)
            self.assertEqual(done.returncode, 4)
            self.assertIn("no snapshot process leads at the moment", done.stderr)


if __name__ == "__main__":
    case.main()
