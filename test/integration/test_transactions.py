#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Transactions message by message: every rule that can be seen from outside, clients that keep none, and deaths in the middle."""
import itertools
import os
import random
import signal
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import case  # noqa: E402
from grid import Grid  # noqa: E402
from snapshots import FROZEN, Exchange, late  # noqa: E402
from txn import Session, add, compare, read, said, word, write  # noqa: E402
from waiting import wait_until  # noqa: E402
from wire import Closed, Connection  # noqa: E402

K = 1 << 20
NOBODY = {"session": 0, "lane": 0, "generation": 1, "sequence": 1}  # at a node that does not run


def status_of(connection):
    return connection.call("status")["node_status"]


def value_at(connection, address, **options):
    answer = connection.call("read", address=address, length=8, **options)
    return int.from_bytes(answer["read"]["data"], "little") if answer["status"] == "OK" else answer["status"]


class Lonely(unittest.TestCase):
    """Two nodes, of which only node 0 runs: what is prepared with node 1 among its participants stays so until it is decided here."""

    segment_size = "1MiB"

    def setUp(self):
        self.grid = self.enterContext(Grid(nodes=2, segment_size=self.segment_size, start=False))
        self.grid.start(0)
        self.node = self.connect()
        self.session = Session(self.node)

    def connect(self):
        return self.enterContext(Connection(self.grid.port()))

    def hold(self, sequence, session=None, lane=0, **items):
        session = session or self.session
        return session.prepare(sequence, [(0, session.id(sequence, lane)), (1, NOBODY)], lane=lane, **items)

    def check(self, answer, wanted):
        self.assertEqual(said(answer), wanted, answer)


class Table(Lonely):
    """Each message in each state of the record."""

    def test_session_that_is_not_there(self):
        for wrong in ({"generation": self.session.generation + 1}, {"session": 77777}, {"session": 5}):
            wrong = {**self.session.id(1), **wrong}
            self.check(self.node.call("execute", id=wrong, items={"writes": [write(0, b"x")]}), "NO_SESSION")
            self.check(self.node.call("prepare", id=wrong, items={}, participants=[{"node": 0, "id": wrong}]), "NO_SESSION")
            self.check(self.node.call("decide", id=wrong, commit=True), "NO_SESSION")
            self.check(self.node.call("decide", id=wrong), "NO_SESSION")
            self.check(self.node.call("resolve", id=wrong), "NO_SESSION")
        self.assertEqual(value_at(self.node, 0), 0)

    def test_nothing_on_record(self):
        self.check(self.session.decide(1, True), "MISUSE")
        self.check(self.session.decide(1, False), "ABORTED TOLD")
        self.check(self.session.prepare(1, writes=[write(0, b"x")]), "ABORTED TOLD")
        self.check(self.session.execute(1, writes=[write(0, b"x")]), "ABORTED TOLD")
        self.check(self.session.resolve(2), "ABORTED FORCED")
        self.check(self.session.prepare(2, writes=[write(0, b"x")]), "ABORTED FORCED")
        self.check(self.session.decide(2, False), "ABORTED FORCED")
        self.check(self.session.decide(2, True), "MISUSE")
        self.assertEqual(value_at(self.node, 0), 0)

    def test_prepared(self):
        items = {"reads": [read(0)], "adds": [add(8, 5)], "writes": [write(0, b"new"), write(100, b"")]}
        self.node.call("write", address=0, data=word(11) + word(22))
        for _ in range(2):
            answer = self.hold(1, **items)
            self.check(answer, "PREPARED")
            self.assertEqual(answer["transaction"]["answer"], word(11) + word(22))
        self.check(self.session.execute(1, **items), "MISUSE")
        self.check(self.hold(2, **items), "MISUSE")
        self.check(self.session.execute(2, **items), "MISUSE")
        self.check(self.session.decide(2, True), "MISUSE")
        self.check(self.session.decide(2, False), "MISUSE")
        self.check(self.session.resolve(2), "MISUSE")
        self.check(self.session.resolve(1), "PREPARED")
        self.assertEqual(self.session.resolve(1)["transaction"]["answer"], b"")
        self.assertEqual(self.session.resolve(1, want_answer=True)["transaction"]["answer"], word(11) + word(22))
        self.assertEqual(self.session.close()["status"], "FAILED_PRECONDITION")
        answer = self.session.decide(1, True, want_answer=True)
        self.check(answer, "COMMITTED")
        self.assertEqual(answer["transaction"]["answer"], word(11) + word(22))
        self.assertEqual(value_at(self.node, 8), 27)
        self.assertEqual(self.node.call("read", address=0, length=3)["read"]["data"], b"new")

    def test_committed(self):
        for prepared in (False, True):
            sequence = 1 + prepared
            items = {"adds": [add(0, 1)]}
            if prepared:
                self.check(self.hold(sequence, **items), "PREPARED")
                self.check(self.session.decide(sequence, True), "COMMITTED")
            else:
                self.check(self.session.execute(sequence, **items), "COMMITTED")
            for _ in range(2):
                self.check(self.session.execute(sequence, **items), "COMMITTED")
                self.check(self.hold(sequence, **items), "COMMITTED")
                self.check(self.session.decide(sequence, True), "COMMITTED")
                self.check(self.session.decide(sequence, False), "MISUSE")
                self.check(self.session.resolve(sequence), "COMMITTED")
            self.assertEqual(self.session.execute(sequence, **items)["transaction"]["answer"], word(sequence - 1))
            self.assertEqual(value_at(self.node, 0), sequence)
        for message in (self.session.execute(1, **items), self.hold(1, **items), self.session.decide(1, True), self.session.decide(1, False),
                        self.session.resolve(1)):
            self.check(message, "STALE")
        self.assertEqual(value_at(self.node, 0), 2)

    def test_aborted(self):
        self.check(self.hold(1, writes=[write(0, word(1))]), "PREPARED")
        self.check(self.session.decide(1, False), "ABORTED TOLD")
        for _ in range(2):
            self.check(self.hold(1, writes=[write(0, word(1))]), "ABORTED TOLD")
            self.check(self.session.execute(1, writes=[write(0, word(1))]), "ABORTED TOLD")
            self.check(self.session.decide(1, False), "ABORTED TOLD")
            self.check(self.session.decide(1, True), "MISUSE")
            self.check(self.session.resolve(1), "ABORTED TOLD")
        self.assertEqual(value_at(self.node, 0), 0)

    def test_compares(self):
        self.node.call("write", address=0, data=word(1) + word(2) + word(3))
        items = {"compares": [compare(0, word(1)), compare(8, word(9)), compare(16, word(9)), compare(40, b""), compare(200, bytes(64) + b"x")],
                 "writes": [write(0, b"never")]}
        for answer in (self.session.execute(1, **items), self.hold(1, lane=3, **items), self.node.call("execute", items=items)):
            self.check(answer, "ABORTED COMPARE")
            self.assertEqual(answer["transaction"]["failed_compares"], [1, 2, 4])
            self.assertEqual(answer["transaction"]["found"], [word(2), word(3), b""])
        for answer in (self.session.execute(1, **items), self.hold(1, lane=3, **items), self.session.resolve(1)):
            self.check(answer, "ABORTED COMPARE")
            self.assertEqual(answer["transaction"]["failed_compares"], [1])
            self.assertEqual(answer["transaction"]["found"], [b""])
        self.assertEqual(value_at(self.node, 0), 1)

    def test_lanes_and_sessions_know_nothing_of_each_other(self):
        other = Session(self.connect())
        for session in (self.session, other):
            for lane in range(session.lanes):
                self.check(session.execute(lane + 1, lane, adds=[add(512, 1)]), "COMMITTED")
        self.assertEqual(value_at(self.node, 512), 32)

    def test_large_answers_are_repeated(self):
        size = 300000
        data = os.urandom(size)
        self.node.call("write", address=4096, data=data)
        items = {"reads": [read(4096, size)], "writes": [write(4096, bytes(size))]}
        self.assertEqual(self.session.execute(1, **items)["transaction"]["answer"], data)
        self.assertEqual(self.session.execute(1, **items)["transaction"]["answer"], data)
        self.assertEqual(self.session.resolve(1, want_answer=True)["transaction"]["answer"], data)
        self.assertEqual(self.session.execute(1)["transaction"]["answer"], data)  # whatever the repetition asks for
        self.assertEqual(self.node.call("read", address=4096, length=size)["read"]["data"], bytes(size))

    def test_one_without_a_session_is_done_each_time(self):
        for i in range(3):
            answer = self.node.call("execute", items={"adds": [add(0, 1)]})
            self.check(answer, "COMMITTED")
            self.assertEqual(answer["transaction"]["answer"], word(i))
        self.assertEqual(status_of(self.node)["transactions_committed"], 3)

    def test_the_same_client_has_the_same_session(self):
        again = Session(self.connect(), self.session.client)
        self.assertEqual((again.number, again.generation), (self.session.number, self.session.generation))
        self.check(again.execute(1, adds=[add(0, 1)]), "COMMITTED")
        self.assertEqual(again.close()["status"], "OK")
        self.assertEqual(again.close()["status"], "OK")
        self.check(self.session.execute(1, adds=[add(0, 1)]), "NO_SESSION")
        anew = Session(self.node, self.session.client)
        self.assertNotEqual(anew.generation, self.session.generation)
        self.check(anew.execute(1, adds=[add(0, 1)]), "COMMITTED")


class Refused(Lonely):
    """What can never succeed: a status, and nothing on record."""

    def refuse(self, wanted, text, **request):
        fields = {"id": self.session.id(1), "items": {}, **request}
        prepare = {**fields, "participants": fields.get("participants", [{"node": 0, "id": fields["id"]}])}
        calls = [("prepare", prepare)]
        if "participants" not in fields:
            calls.append(("execute", fields))
        for op, values in calls:
            answer = self.node.call(op, **{name: value for name, value in values.items() if value is not None})
            self.assertEqual(answer["status"], wanted, answer)
            self.assertIn(text, answer["message"])
        self.check(self.session.decide(1, True), "MISUSE")  # nothing was recorded

    def test_ids(self):
        good = self.session.id(1)
        self.refuse("INVALID_ARGUMENT", "lane 16", id={**good, "lane": 16})
        self.refuse("INVALID_ARGUMENT", "generation 0", id={**good, "generation": 0})
        self.refuse("INVALID_ARGUMENT", "sequence 0", id={**good, "sequence": 0})
        self.refuse("INVALID_ARGUMENT", str(2 ** 56), id={**good, "sequence": 2 ** 56})
        for op in ("decide", "resolve", "prepare"):
            self.assertIn("it has no id", self.node.call(op)["message"])
            self.assertEqual(self.node.call(op, id={**good, "lane": 99})["status"], "INVALID_ARGUMENT")
        for client in (b"", bytes(15), bytes(17)):
            self.assertEqual(self.node.call("open_session", client=client)["status"], "INVALID_ARGUMENT")

    def test_participants(self):
        me = {"node": 0, "id": self.session.id(1)}
        other = {"node": 1, "id": NOBODY}
        self.refuse("INVALID_ARGUMENT", "0 participants", participants=[])
        self.refuse("INVALID_ARGUMENT", "not among", participants=[other])
        self.refuse("INVALID_ARGUMENT", "twice", participants=[me, me])
        self.refuse("INVALID_ARGUMENT", "node 2", participants=[me, {"node": 2, "id": NOBODY}])
        self.refuse("INVALID_ARGUMENT", "another lane", participants=[other, {"node": 0, "id": self.session.id(2)}])
        self.refuse("INVALID_ARGUMENT", "generation 0", participants=[me, {"node": 1}])
        self.refuse("INVALID_ARGUMENT", "300 participants", participants=[me] * 300)

    def test_ranges(self):
        self.refuse("WRONG_NODE", "node 1", items={"writes": [write(K, b"x")]})
        self.refuse("WRONG_NODE", "split", items={"compares": [compare(K - 4, word(0))]})
        self.refuse("WRONG_NODE", "split", items={"adds": [add(K - 1, 1)]})
        self.refuse("OUT_OF_RANGE", "leaves the grid", items={"reads": [read(2 * K, 1)]})
        self.refuse("OUT_OF_RANGE", "leaves the grid", items={"reads": [read(2 ** 64 - 1, 2 ** 64 - 1)]})
        largest = self.node.hello["max_message"]
        self.refuse("INVALID_ARGUMENT", "max_message", items={"reads": [read(0, largest), read(0, 1)]})
        self.refuse("INVALID_ARGUMENT", "overlap at 0x4", items={"writes": [write(0, word(1)), write(4, b"x")]})
        self.refuse("INVALID_ARGUMENT", "overlap", items={"writes": [write(16, word(1))], "adds": [add(9, 1)]})
        self.refuse("INVALID_ARGUMENT", "overlap", items={"adds": [add(0, 1), add(0, 1)]})
        self.refuse("INVALID_ARGUMENT", "1025 ranges", items={"reads": [read(0, 0)] * 1000, "compares": [compare(0, b"")] * 25})
        answer = self.node.call("execute", items={"writes": [write(K, b"x")]})
        self.assertEqual((answer["wrong_node"]["node"], answer["wrong_node"]["address"]), (1, f"127.0.0.1:{self.grid.port(1)}"))

    def test_as_much_as_is_allowed(self):
        many = {"writes": [write(8 * i, word(i)) for i in range(512)], "reads": [read(8 * i) for i in range(256)],
                "compares": [compare(8 * i, word(0)) for i in range(256)]}
        self.check(self.session.execute(1, **many), "COMMITTED")
        answer = self.session.execute(2, **many)
        self.check(answer, "ABORTED COMPARE")
        self.assertEqual(answer["transaction"]["failed_compares"], list(range(1, 256)))
        self.assertEqual(answer["transaction"]["found"], [word(i) for i in range(1, 256)])
        empty = {"writes": [write(2 * K, b""), write(0, b"")], "reads": [read(K, 0)], "compares": [compare(7, b"")]}
        self.check(self.session.execute(3, **empty), "COMMITTED")
        self.check(self.session.execute(4), "COMMITTED")


class Waiting(Lonely):
    """Who meets a prepared transaction waits for its decision, and only who meets it."""

    REQUESTS = (("read", {"address": 60, "length": 8}), ("write", {"address": 64, "data": b"x"}), ("fetch_add", {"address": 120, "delta": 1}),
                ("compare_and_swap", {"address": 64, "expected": 1, "desired": 2}), ("multi", {"reads": [read(64)], "writes": [write(0, b"x")]}),
                ("execute", {"items": {"adds": [add(72, 1)]}}))

    def hold_line(self, sequence=1):
        self.check(self.hold(sequence, writes=[write(64, word(5))]), "PREPARED")

    def test_the_same_line(self):
        for sequence, (op, fields) in enumerate(self.REQUESTS, 1):
            self.hold_line(sequence)
            other = self.connect()
            number = other.send(op, **fields)
            wait_until(lambda: status_of(self.node)["jobs_waiting"] == 1, what="a request that waits")
            self.assertIn(value_at(self.node, 0), (0, ord("x")))  # another line
            self.check(self.session.decide(sequence, sequence % 2 == 1), "COMMITTED" if sequence % 2 else "ABORTED TOLD")
            answer = other.receive()
            self.assertEqual((answer["id"], answer["status"]), (number, "OK"))

    def test_other_lines_go_on(self):
        self.hold_line()
        for address in (0, 56, 128, 4096):
            self.assertEqual(value_at(self.node, address), 0)
            self.assertEqual(self.node.call("write", address=address, data=word(0))["status"], "OK")
            self.check(self.session.execute(1, lane=1 + address % 7, adds=[add(address, 0)]) if address < 4096 else
                       self.hold(2, lane=9, writes=[write(address, b"y")]), "COMMITTED" if address < 4096 else "PREPARED")

    def test_transactions_that_are_prepared_do_not_wait(self):
        self.hold_line()
        for lane, items in enumerate(({"reads": [read(64)]}, {"compares": [compare(100, b"\0")]}, {"adds": [add(127 - 8, 1)]}), 1):
            self.check(self.hold(1, lane=lane, **items), "ABORTED BUSY")
        self.check(self.hold(1, lane=5, reads=[read(1024)]), "PREPARED")  # readers are not in each other's way
        self.check(self.hold(1, lane=6, compares=[compare(1024, b"\0")]), "PREPARED")
        self.check(self.hold(1, lane=7, writes=[write(1024, b"x")]), "ABORTED BUSY")
        self.assertEqual(value_at(self.node, 1024), 0)  # nor in that of plain reads

    def test_deadlines(self):
        self.hold_line()
        for op, fields in self.REQUESTS:
            self.assertEqual(self.node.call(op, timeout_ms=20, **fields)["status"], "DEADLINE_EXCEEDED", op)
        self.check(self.session.execute(1, lane=1, timeout_ms=20, writes=[write(64, word(9))]), "DEADLINE_EXCEEDED")
        self.check(self.session.decide(1, True), "COMMITTED")
        self.check(self.session.execute(1, lane=1, writes=[write(64, word(9))]), "ABORTED FORCED")  # what was given up never comes
        self.assertEqual(value_at(self.node, 64), 5)

    def test_server_that_stops_answers_those_who_wait(self):
        self.hold_line()
        numbers = {self.node.send(op, **fields) for op, fields in self.REQUESTS}
        numbers.add(self.node.send("execute", id=self.session.id(1, 1), items={"adds": [add(72, 1)]}))
        watcher = self.connect()
        wait_until(lambda: status_of(watcher)["jobs_waiting"] == len(numbers), what="requests that wait")
        self.assertEqual(self.grid.kill(0, signal.SIGTERM), 0)
        answers = self.node.until_closed()
        self.assertEqual({answer["id"] for answer in answers}, numbers)
        self.assertEqual({answer["status"] for answer in answers}, {"UNAVAILABLE"})

    def test_list(self):
        for lane in range(5):
            self.check(self.hold(7, lane=lane, writes=[write(64 * lane, b"x")]), "PREPARED")
        answer = self.node.call("list_transactions")["list_transactions"]
        self.assertEqual(answer["total"], 5)
        self.assertEqual([one["id"] for one in answer["transactions"]], [self.session.id(7, lane) for lane in range(5)])
        self.assertEqual([one["nodes"] for one in answer["transactions"]], [[0, 1]] * 5)
        state = wait_until(lambda: (now := status_of(self.node))["in_doubt"] == 5 and now, what="transactions in doubt")
        self.assertEqual(state["prepared"], 5)
        self.assertGreater(state["prepared_oldest_ms"], 0)


class Deaths(Lonely):
    def test_prepared_transactions_outlive_the_server(self):
        for lane, decision in enumerate((True, False, None)):
            self.check(self.hold(3, lane=lane, reads=[read(4096)], writes=[write(256 * lane, word(lane + 1))]), "PREPARED")
        for _ in range(3):
            self.grid.kill(0)
            self.grid.restart(0)
            self.session.connection = self.node = self.connect()
            self.assertEqual(value_at(self.node, 256, timeout_ms=20), "DEADLINE_EXCEEDED")
            self.assertEqual(self.node.call("write", timeout_ms=20, address=4096, data=b"x")["status"], "DEADLINE_EXCEEDED")
            self.assertEqual(value_at(self.node, 4096), 0)
            self.assertEqual(status_of(self.node)["prepared"], 3)
        self.check(self.session.decide(3, True, lane=0), "COMMITTED")
        self.check(self.session.decide(3, False, lane=1), "ABORTED TOLD")
        self.grid.kill(0)
        self.grid.restart(0)
        self.session.connection = self.node = self.connect()
        self.check(self.session.resolve(3, lane=0, want_answer=True), "COMMITTED")
        self.check(self.session.resolve(3, lane=1), "ABORTED TOLD")
        self.check(self.hold(3, lane=2), "PREPARED")
        self.assertEqual((value_at(self.node, 0), value_at(self.node, 256)), (1, 0))
        self.assertEqual(value_at(self.node, 512, timeout_ms=20), "DEADLINE_EXCEEDED")

    def test_executed_once_in_spite_of_deaths(self):
        for i in range(1, 6):
            self.check(self.session.execute(i, adds=[add(0, 1)]), "COMMITTED")
            self.grid.kill(0)
            self.grid.restart(0)
            self.session.connection = self.node = self.connect()
            answer = self.session.execute(i, adds=[add(0, 1)])
            self.check(answer, "COMMITTED")
            self.assertEqual(answer["transaction"]["answer"], word(i - 1))
        self.assertEqual(value_at(self.node, 0), 5)

    def test_reset_forgets_sessions(self):
        self.check(self.hold(1, writes=[write(0, b"x")]), "PREPARED")
        self.grid.kill(0)
        self.assertEqual(self.grid.run("--reset").returncode, 0)
        self.grid.restart(0)
        self.session.connection = self.node = self.connect()
        self.check(self.session.decide(1, True), "NO_SESSION")
        self.assertEqual(value_at(self.node, 0), 0)


class Abandoned(unittest.TestCase):
    """What clients leave behind is brought to an end by the nodes."""

    NODES = 3

    def setUp(self):
        self.grid = self.enterContext(Grid(nodes=self.NODES, segment_size="1MiB"))
        self.watch = [self.enterContext(Connection(self.grid.port(node))) for node in range(self.NODES)]

    def sessions(self):
        """A client with a session at each node."""
        client = os.urandom(16)
        return [Session(self.enterContext(Connection(self.grid.port(node))), client) for node in range(self.NODES)]

    def prepare(self, sessions, nodes, sequence=1, lane=0):
        """Add 1 to a word of each node. True when all of these have voted to commit: on a slow machine those that were asked first may give up before."""
        ids = [(node, session.id(sequence, lane)) for node, session in enumerate(sessions)]
        answers = [said(sessions[node].prepare(sequence, ids, lane, adds=[add(node * K + 64 * lane, 1)])) for node in nodes]
        self.assertEqual(set(answers) - {"PREPARED", "COMMITTED", "ABORTED FORCED"}, set())
        return "ABORTED FORCED" not in answers

    def prepare_all(self, sessions):
        """The same at all nodes, again until all have voted to commit. Returns the sequence."""
        for sequence in itertools.count(1):
            if self.prepare(sessions, range(self.NODES), sequence):
                return sequence
            for session in sessions:
                session.decide(sequence, False)

    def values(self, lane=0):
        return [value_at(self.watch[node], node * K + 64 * lane) for node in range(self.NODES)]

    def check_nothing_is_left(self):
        for node in self.watch:
            wait_until(lambda: status_of(node)["prepared"] == 0, what="the end of prepared transactions")

    def test_all_had_voted(self):
        sessions = self.sessions()
        self.prepare_all(sessions)
        for session in sessions:
            session.connection.close()
        self.check_nothing_is_left()
        self.assertEqual(self.values(), [1] * self.NODES)

    def test_one_was_never_asked(self):
        sessions = self.sessions()
        self.prepare(sessions, (0, 2))
        for session in sessions:
            session.connection.close()
        self.check_nothing_is_left()
        self.assertEqual(self.values(), [0] * self.NODES)
        sessions[1].connection = self.watch[1]
        ids = [(node, session.id(1)) for node, session in enumerate(sessions)]
        self.assertIn(said(sessions[1].prepare(1, ids, adds=[add(K, 1)])), ("ABORTED FORCED", "NO_SESSION"))  # never to commit
        self.assertEqual(self.values(), [0] * self.NODES)

    def test_client_that_only_stays_silent(self):
        sessions = self.sessions()
        sequence = self.prepare_all(sessions)
        self.check_nothing_is_left()
        self.assertEqual(self.values(), [1] * self.NODES)
        self.assertEqual([said(session.decide(sequence, True)) for session in sessions], ["COMMITTED"] * self.NODES)

    def test_one_had_committed(self):
        sessions = self.sessions()
        sequence = self.prepare_all(sessions)
        self.assertEqual(said(sessions[1].decide(sequence, True)), "COMMITTED")
        for session in sessions:
            session.connection.close()
        self.check_nothing_is_left()
        self.assertEqual(self.values(), [1] * self.NODES)

    def test_servers_that_are_dead_meanwhile(self):
        sessions = self.sessions()
        voted = [self.prepare(sessions, range(self.NODES), lane=lane) for lane in range(3)]
        self.grid.kill(1)
        for session in sessions:
            session.connection.close()
        self.grid.kill(2)
        self.grid.restart(2)
        self.watch[2] = self.enterContext(Connection(self.grid.port(2)))
        self.grid.restart(1)
        self.watch[1] = self.enterContext(Connection(self.grid.port(1)))
        self.check_nothing_is_left()
        for lane in range(3):
            self.assertEqual(self.values(lane), [int(voted[lane])] * self.NODES)

    def test_sessions_are_collected(self):
        sessions = self.sessions()
        sequence = self.prepare_all(sessions)
        for session in sessions:
            self.assertEqual(said(session.decide(sequence, True)), "COMMITTED")
            session.connection.close()
        for node in self.watch:
            wait_until(lambda: status_of(node)["sessions"] == 0, what="the end of sessions")
            self.assertEqual(status_of(node)["sessions_collected"], 1)

    def test_many_clients_that_never_decide(self):
        clients = [self.sessions() for _ in range(case.scale(60, 4))]
        for i, sessions in enumerate(clients):
            for lane in range(sessions[0].lanes):
                ids = [(node, session.id(1, lane)) for node, session in enumerate(sessions)]
                for node in range(self.NODES) if i % 2 else (0,):
                    answer = sessions[node].prepare(1, ids, lane, adds=[add(node * K + 64 * (16 * i + lane), 1)])
                    self.assertIn(said(answer), ("PREPARED", "COMMITTED", "ABORTED FORCED"))
        for sessions in clients:
            for session in sessions:
                session.connection.close()
        self.check_nothing_is_left()
        for i in range(16 * len(clients)):
            values = self.values(i)
            self.assertIn(values, ([0] * self.NODES, [i // 16 % 2] * self.NODES))  # before its last vote it may have been given up
        self.assertEqual(self.values(0), [0] * self.NODES)


class Storm(unittest.TestCase):
    """Clients that move amounts between nodes, keep the rules, and leave in the middle; servers that are killed: nothing is lost, nothing is made."""

    NODES, ACCOUNTS = 3, 4
    LEAVE = 0.001  # so seldom that the sessions of those who left do not run out before they are collected

    def client(self, seed):
        """Transfers until it is over."""
        chance = random.Random(seed)
        while not self.over.is_set():
            connections = []
            try:
                for node in range(self.NODES):
                    connections.append(Connection(self.grid.port(node)))
                self.visit(chance, [Session(connection) for connection in connections])
            except (Closed, OSError):
                pass  # the server is gone, or the client is: what it had begun is not its business any more
            except AssertionError as error:
                if "UNAVAILABLE" not in str(error) and "RESOURCE_EXHAUSTED" not in str(error):
                    self.wrong.append(error)
                    raise
            finally:
                for connection in connections:
                    connection.close()

    def visit(self, chance, sessions):
        """Some transfers, one after the other; the last may stop in the middle."""
        for sequence in range(1, 2000):
            one, two = chance.sample(range(self.NODES), 2)
            amount = chance.randrange(1, 1000)
            ids = [(node, sessions[node].id(sequence)) for node in (one, two)]
            votes = []
            for node, change in ((one, -amount), (two, amount)):
                votes.append(said(sessions[node].prepare(sequence, ids, adds=[add(node * K + 64 * chance.randrange(self.ACCOUNTS), change)])))
                if chance.random() < self.LEAVE:
                    return
            commit = not [vote for vote in votes if vote not in ("PREPARED", "COMMITTED")]
            for node in (one, two):
                wanted = ("COMMITTED",) if commit else ("ABORTED TOLD", "ABORTED FORCED", "ABORTED BUSY", "ABORTED")
                self.check(sessions[node].decide(sequence, commit), wanted)
                if chance.random() < self.LEAVE:
                    return
            self.moved += commit
            if self.over.is_set():
                return

    def check(self, answer, wanted):
        if answer["status"] == "OK" and said(answer) not in wanted:
            self.wrong.append(answer)

    def test_sum(self):
        self.moved, self.wrong = 0, []
        self.grid = self.enterContext(Grid(nodes=self.NODES, segment_size="1MiB"))
        self.over, between = threading.Event(), case.scale(500, 30)
        clients = [threading.Thread(target=self.client, args=(seed,)) for seed in range(6)]
        for client in clients:
            client.start()
        try:
            for kills in range(6):
                moved = self.moved + between
                wait_until(lambda: self.moved >= moved or self.wrong, what="some transfers")
                if kills < 5:
                    self.grid.kill(kills % self.NODES)
                    self.grid.restart(kills % self.NODES)
        finally:
            self.over.set()
            for client in clients:
                client.join()
        self.assertEqual(self.wrong, [])
        nodes = [self.enterContext(Connection(self.grid.port(node))) for node in range(self.NODES)]
        for node in nodes:
            wait_until(lambda: status_of(node)["prepared"] == 0, what="the end of prepared transactions")
        total = sum(value_at(nodes[node], node * K + 64 * account) for node in range(self.NODES) for account in range(self.ACCOUNTS))
        self.assertEqual(total % 2 ** 64, 0)


class Ten(Lonely):
    """A client that prepares as much as it can get, and never decides."""

    segment_size = "64MiB"

    def test_ten_thousand_prepared(self):
        node, held = self.node, case.scale(10000, 500)
        sessions = []
        for i in range(held):
            if i % 16 == 0:
                sessions.append(Session(node))
            self.check(self.hold(1, sessions[i // 16], i % 16, writes=[write(64 * i, b"x")]), "PREPARED")
        state = status_of(node)
        self.assertEqual(state["prepared"], held)
        self.assertEqual(node.call("list_transactions")["list_transactions"]["total"], held)
        self.assertEqual(len(node.call("list_transactions")["list_transactions"]["transactions"]), 100)
        self.assertEqual(value_at(node, 31 * K), 0)  # others go on
        self.check(node.call("execute", items={"writes": [write(31 * K, word(1))]}), "COMMITTED")
        self.grid.kill(0)
        self.grid.restart(0)
        node = self.connect()
        self.assertEqual(status_of(node)["prepared"], held)
        for session in sessions:
            session.connection = node
        for i in range(held):
            self.check(sessions[i // 16].decide(1, False, lane=i % 16), "ABORTED TOLD")
        self.assertEqual(status_of(node)["prepared"], 0)
        self.assertEqual(node.call("read", address=0, length=64 * held)["read"]["data"], bytes(64 * held))


class Exhausted(Lonely):
    def test_sessions(self):
        most = status_of(self.node)["sessions_max"]
        sessions = [self.session] + [Session(self.node) for _ in range(most - 1)]
        answer = self.node.call("open_session", client=os.urandom(16))
        self.assertEqual(answer["status"], "RESOURCE_EXHAUSTED", answer)
        again = Session(self.node, sessions[5].client)  # but who has one keeps it
        self.assertEqual(again.generation, sessions[5].generation)
        self.assertEqual(sessions[7].close()["status"], "OK")
        self.check(Session(self.node).execute(1, adds=[add(0, 1)]), "COMMITTED")
        self.check(sessions[7].execute(1, adds=[add(0, 1)]), "NO_SESSION")

    def test_records(self):
        """Records that do not fit: the transaction aborts, and the next one finds room."""
        data, lane = os.urandom(100000), 0
        large = {"reads": [read(8, K - 8)], "writes": [write(0, b"x")]}
        self.check(self.session.execute(1, lane=15, **large), "ABORTED MEMORY")
        self.check(self.session.execute(1, lane=15, **large), "ABORTED MEMORY")
        while said(answer := self.hold(1, lane=lane, writes=[write(lane * 100032, data)])) == "PREPARED":
            lane += 1
        self.check(answer, "ABORTED MEMORY")
        self.assertGreater(lane, 0)
        self.check(self.node.call("execute", items={"reads": [read(lane * 100032, 8)]}), "COMMITTED")
        self.check(self.session.decide(1, True, lane=0), "COMMITTED")
        self.check(self.session.execute(2, lane=0, adds=[add(K - 8, 1)]), "COMMITTED")  # its record takes the place of the long one
        self.check(self.hold(2, lane=lane, writes=[write(lane * 100032, data)]), "PREPARED")
        self.assertEqual(self.node.call("read", address=0, length=100000)["read"]["data"], data)


class Frozen(unittest.TestCase):
    """A snapshot's freeze: nothing new is prepared, what is prepared is decided first, and nobody waits for ever."""

    LEASE_MS = 10000

    def freeze(self, leader, number):
        """Freeze node 0 for a round; True when it says so."""
        answer = leader.call("freeze", round=number, lease_ms=self.LEASE_MS, segment_size=K, nodes=2)
        if late(answer):
            return False
        self.assertEqual(answer["status"], "OK", answer)
        return answer["freeze"]["outcome"] == FROZEN

    def while_frozen(self, one, first, second):
        """What is sent to a frozen node and what it answers."""
        new = [(0, first.id(2)), (1, second.id(2))]
        yield said(first.prepare(2, new, adds=[add(0, 1)])), "ABORTED FROZEN"
        yield said(first.prepare(2, new, adds=[add(0, 1)])), "ABORTED FROZEN"
        yield said(first.resolve(1, lane=1)), "ABORTED FORCED"
        yield said(first.resolve(3)), "ABORTED FORCED"
        yield one.call("execute", timeout_ms=20, items={"adds": [add(0, 1)]})["status"], "DEADLINE_EXCEEDED"
        yield said(one.call("execute", items={"reads": [read(0)]})), "COMMITTED"
        yield said(first.execute(4, timeout_ms=20, adds=[add(0, 1)])), "DEADLINE_EXCEEDED"
        yield said(first.execute(4, adds=[add(0, 1)])), "ABORTED FORCED"

    def attempt(self, grid, number):
        """One round. False when the machine was so slow that the lease ran out, or the first participant lost its patience with the second."""
        leases = grid.servers[0].log().count("op=lease")
        with Connection(grid.port(0)) as one, Connection(grid.port(1)) as two, Exchange(grid, 0) as leader:
            first, second = Session(one), Session(two)
            before = value_at(one, 0)
            ids = [(0, first.id(1)), (1, second.id(1))]
            self.assertEqual(said(first.prepare(1, ids, adds=[add(0, 1)])), "PREPARED")
            voted = said(second.prepare(1, ids, adds=[add(K, 1)])) in ("PREPARED", "COMMITTED")
            if not self.freeze(leader, number) or not voted:  # answered when the participants have agreed without their client
                return False
            now, checks = value_at(one, 0), list(self.while_frozen(one, first, second))
            one.send("execute", id=first.id(5), items={"adds": [add(0, 1)]})
            leader.send("unfreeze", round=number)
            self.assertEqual(said(one.receive()), "COMMITTED")
            if grid.servers[0].log().count("op=lease") != leases:
                return False
            self.assertEqual(now, before + 1)
            for answer, wanted in checks:
                self.assertEqual(answer, wanted)
            self.assertEqual(said(first.execute(4, adds=[add(0, 1)])), "STALE")
            self.assertEqual(value_at(one, 0), before + 2)
            return True

    def test_freeze(self):
        with Grid(nodes=2, snapd=True) as grid:
            for number in itertools.count(1):
                if self.attempt(grid, number << 8):
                    break


if __name__ == "__main__":
    case.main()
