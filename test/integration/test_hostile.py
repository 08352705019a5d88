#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Clients that send rubbish, too much, too slowly or nothing: they lose their connection at most, and nobody else notices."""
import os
import random
import resource
import select
import signal
import socket
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import case  # noqa: E402
from grid import Grid, sanitized  # noqa: E402
from waiting import PATIENCE_S, cpu_seconds, idle, own_memory_bytes, wait_until  # noqa: E402
from wire import Closed, Connection, encode, frame, request, varint  # noqa: E402

MIB = 1 << 20
SMALL_ANSWER = {"data": b"\0" * 8}


def status_of(node):
    return node.call("status")["node_status"]


class Hostile(unittest.TestCase):
    def check_works(self, node):
        """Somebody else's connection goes on as if nothing had happened."""
        for i in range(20):
            answer = node.call("read", address=i, length=8)
            self.assertEqual((answer["status"], answer["read"]), ("OK", SMALL_ANSWER))


class Rubbish(Hostile):
    def setUp(self):
        self.grid = self.enterContext(Grid(segment_size="8MiB"))
        self.other = self.enterContext(Connection(self.grid.port()))

    def test_random_bytes(self):
        chance = random.Random(4711)
        for i in range(200):
            with Connection(self.grid.port(), hello=i % 2 == 0) as node:
                try:
                    node.raw(chance.randbytes(chance.randrange(1, 5000)))
                    node.socket.shutdown(socket.SHUT_WR)
                except OSError:
                    pass  # closed while we were sending
                for answer in node.until_closed():
                    self.assertNotEqual(answer["status"], "OK", answer)
        self.check_works(self.other)

    def test_http_request(self):
        with Connection(self.grid.port(), hello=False) as node:
            node.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            node.socket.shutdown(socket.SHUT_WR)
            for answer in node.until_closed():
                self.assertNotEqual(answer["status"], "OK")
        self.check_works(self.other)

    def test_true_messages_with_some_bytes_changed(self):
        chance = random.Random(815)
        whole = b"".join(request(op, i + 1, **fields) for i, (op, fields) in enumerate((
            ("read", {"address": 5, "length": 100}), ("status", {}), ("compare_and_swap", {"address": 4 * MIB, "expected": 1, "desired": 2}),
            ("multi", {"reads": [{"address": 9, "length": 9}]}), ("hello", {"protocol_version": 1, "grid": "x"}))))
        for _ in range(500):
            data = bytearray(whole)
            for _ in range(chance.randrange(1, 4)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            with Connection(self.grid.port()) as node:
                node.raw(data)
                node.socket.shutdown(socket.SHUT_WR)
                node.until_closed()
        with Connection(self.grid.port()) as node:
            self.assertEqual(node.call("read", address=5, length=100)["status"], "OK")

    def test_frame_over_the_limit_closes_the_connection_before_it_is_sent(self):
        largest = self.other.hello["max_message"]
        broken = status_of(self.other)["connections_broken"]
        for announced in (largest + (1 << 20), 1 << 31, 1 << 32, (1 << 63) - 1, (1 << 64) - 1):
            with Connection(self.grid.port()) as node:
                node.raw(varint(announced))
                for answer in node.until_closed():
                    self.assertNotEqual(answer["status"], "OK", announced)
        self.assertEqual(status_of(self.other)["connections_broken"], broken + 5)
        self.check_works(self.other)

    def test_length_that_overflows_closes_the_connection(self):
        for prefix in (b"\xff" * 9 + b"\x7f", b"\xff" * 10, b"\x80" * 20, b"\xff" * 9 + b"\x02"):
            with Connection(self.grid.port()) as node:
                node.raw(prefix)
                for answer in node.until_closed():
                    self.assertNotEqual(answer["status"], "OK", prefix)
        self.check_works(self.other)

    def test_requests_before_a_bad_frame_are_answered(self):
        with Connection(self.grid.port()) as node:
            node.raw(request("read", 7, address=0, length=8) + request("status", 8) + b"\xff" * 11)
            answers = {answer["id"]: answer["status"] for answer in node.until_closed()}
            self.assertEqual((answers[7], answers[8]), ("OK", "OK"))

    def test_more_data_than_the_limit_in_ranges_that_overlap(self):
        reads = [{"address": 0, "length": 4 * MIB}] * 1024
        answer = self.other.call("multi", reads=reads)
        self.assertEqual(answer["status"], "INVALID_ARGUMENT")
        lengths = [{"address": 0, "length": (1 << 64) - 1}, {"address": 0, "length": 2}]  # their sum is 1 modulo 2^64
        self.assertIn(self.other.call("multi", reads=lengths)["status"], ("INVALID_ARGUMENT", "OUT_OF_RANGE"))
        self.check_works(self.other)

    def test_message_of_tiny_parts_takes_no_more_memory_than_others(self):
        before = own_memory_bytes(self.grid.servers[0].pid)
        for unit in (b"\x0a\x00", b"\x12\x00", b"\x7a\x00"):  # an empty Read, an empty Write, a field that nobody knows
            parts = unit * (2 * MIB)
            self.other.raw(frame(b"\x08\x07\x6a" + varint(len(parts)) + parts))
            answer = self.other.receive()
            self.assertEqual((answer["id"], answer["status"]), (7, "INVALID_ARGUMENT"))
            if not sanitized():
                self.assertLess(own_memory_bytes(self.grid.servers[0].pid) - before, 32 * MIB)
        self.check_works(self.other)

    def test_resets_in_the_middle_of_everything(self):
        for i in range(200):
            node = Connection(self.grid.port())
            if i % 4 == 0:
                node.raw(request("write", 1, address=4 * MIB, data=b"x" * MIB)[:1000 + i])
            elif i % 4 == 1:
                node.raw(b"".join(request("read", j + 1, address=0, length=4 * MIB) for j in range(8)))
            elif i % 4 == 2:
                node.raw(b"".join(request("write", j + 1, address=4 * MIB + j, data=b"y" * 65000) for j in range(8)))
            else:
                node.raw(b"\x85")
            node.reset()
        self.check_works(self.other)
        settled = {"connections": 1, "buffered_in": 0, "jobs_waiting": 0}
        wait_until(lambda: settled.items() <= status_of(self.other).items(), what="the end of the other connections")


class Watch:
    """The longest time between two ticks, until stop()."""

    def __init__(self):
        self.last, self.longest, self.stopped = time.monotonic(), 0.0, False

    def tick(self):
        if not self.stopped:
            now = time.monotonic()
            self.last, self.longest = now, max(self.longest, now - self.last)

    def stop(self):
        self.tick()
        self.stopped = True


class Slow(Hostile):
    def test_a_byte_at_a_time(self):
        with Grid() as grid, Connection(grid.port(), hello=False) as node:
            for op, fields in (("hello", {"protocol_version": 1}), ("write", {"address": 3, "data": b"slowly"}), ("read", {"address": 3, "length": 6})):
                for byte in request(op, 1, **fields):
                    node.raw(bytes([byte]))
                answer = node.receive()
                self.assertEqual(answer["status"], "OK")
            self.assertEqual(answer["read"]["data"], b"slowly")

    def test_half_frames_of_many_clients_disturb_nobody_and_are_closed_in_the_end(self):
        count = 500
        with Grid(server='stall_timeout = "3s"') as grid, Connection(grid.port()) as other:
            half = request("write", 1, address=0, data=b"z" * 1000)[:500]
            nodes = [self.enterContext(Connection(grid.port())) for _ in range(count)]
            for node in nodes:
                node.raw(half)
            wait_until(lambda: status_of(other)["buffered_in"] > 0 or status_of(other)["connections"] == 1, what="half frames at the server")
            self.check_works(other)
            for node in nodes:
                for answer in node.until_closed():
                    self.assertNotEqual(answer["status"], "OK")
            self.check_works(other)
            settled = {"connections": 1, "buffered_in": 0}
            wait_until(lambda: settled.items() <= status_of(other).items(), what="the end of the connections")
            status = status_of(other)
            self.assertEqual(status["write"]["count"], 0)
            self.assertGreaterEqual(status["connections_broken"], count)

    def test_half_frames_that_announce_much_take_no_more_memory_than_was_sent(self):
        with Grid(server='stall_timeout = "1h"') as grid, Connection(grid.port()) as other:
            before = own_memory_bytes(grid.servers[0].pid)
            for _ in range(500):
                self.enterContext(Connection(grid.port())).raw(request("write", 1, address=0, data=b"z" * MIB)[:100])
            wait_until(lambda: status_of(other)["buffered_in"] >= 500 * 50, what="the half frames at the server")
            if not sanitized():
                self.assertLess(own_memory_bytes(grid.servers[0].pid) - before, 64 * MIB)
            self.check_works(other)

    def test_answers_that_nobody_reads_take_bounded_memory(self):
        with Grid(segment_size="8MiB", server='stall_timeout = "1h" max_buffers = "32MiB"') as grid, Connection(grid.port()) as other:
            before = own_memory_bytes(grid.servers[0].pid)
            wanted = b"".join(request("read", i + 1, address=0, length=4 * MIB) for i in range(200))
            for _ in range(60):
                node = self.enterContext(Connection(grid.port(), receive_buffer=4096))
                node.raw(wanted)
            wait_until(lambda: status_of(other)["buffered_out"] > 0, what="answers that nobody reads")
            largest = 0
            for _ in range(200):
                self.check_works(other)
                largest = max(largest, own_memory_bytes(grid.servers[0].pid) - before)
            if not sanitized():
                self.assertLess(largest, 64 * MIB)
            read = status_of(other)["read"]
            self.assertLess(read["count"] - read["errors"], 200 * 20 + 2000, "the requests wait in the stream, or are refused")

    def test_client_that_reads_late_gets_everything(self):
        count = 40
        with Grid(segment_size="8MiB", server='max_buffers = "8MiB" stall_timeout = "1h"') as grid, Connection(grid.port(), receive_buffer=4096) as node:
            with Connection(grid.port()) as other:
                node.raw(b"".join(request("read", i + 1, address=i, length=MIB) for i in range(count)))
                wait_until(lambda: status_of(other)["buffered_out"] > 0, what="answers that wait")
            left = set(range(1, count + 1))
            while left:
                answer = node.receive()
                self.assertEqual((answer["status"], len(answer["read"]["data"])), ("OK", MIB))
                left.remove(answer["id"])

    def in_good_time(self, attempt, seconds, what):
        """Repeat attempt(watch) until it comes to its end. It may be cut off where this process did nothing for so many seconds: if the machine held it up."""
        def once():
            watch = Watch()
            try:
                attempt(watch)
            except (Closed, ConnectionError):
                watch.tick()
                if watch.longest < seconds:
                    raise
                return False
            return True
        wait_until(once, what=what)

    def test_idle_connections_are_closed_and_busy_ones_are_not(self):
        with Grid(server='idle_timeout = "1s"') as grid:
            def attempt(watch):
                with Connection(grid.port()) as busy, Connection(grid.port()) as still:
                    closed = select.poll()
                    closed.register(still.socket, select.POLLIN)
                    while not closed.poll(1):
                        watch.tick()
                        self.check_works(busy)
                    self.assertEqual(still.until_closed(), [])
                    watch.tick()
                    self.check_works(busy)
            self.in_good_time(attempt, 0.9, "the end of the idle connection, and of no other")

    def test_server_that_was_stopped_does_not_blame_its_clients(self):
        with Grid(server='idle_timeout = "2s" stall_timeout = "2s"') as grid:
            half = request("write", 1, address=0, data=b"h" * 1000)

            def attempt(watch):
                with Connection(grid.port()) as first, Connection(grid.port()) as second:
                    second.raw(half[:500])
                    self.check_works(first)
                    grid.servers[0].kill(signal.SIGSTOP)
                    try:
                        watch.stop()  # what comes now is not for the clients to answer for
                        first.send("read", 1, address=0, length=8)
                        second.raw(half[500:])
                        idle(3.2)  # longer than either time-out
                    finally:
                        grid.servers[0].kill(signal.SIGCONT)
                    statuses = [first.receive()["status"], second.receive()["status"]]
                    self.assertEqual(statuses, ["OK", "OK"])
            self.in_good_time(attempt, 1.9, "the end of a stop")

    def test_connection_that_waits_for_room_is_not_idle(self):
        with Grid(segment_size="8MiB", server='max_buffers = "5MiB" idle_timeout = "1s"') as grid:
            write = request("write", 1, address=0, data=b"w" * 4 * MIB)

            def attempt(watch):
                with Connection(grid.port()) as first, Connection(grid.port()) as other:
                    first.raw(write[:3 * MIB])
                    while status_of(other)["buffered_in"] < 3 * MIB:
                        watch.tick()
                    with Connection(grid.port()) as second:
                        second.raw(write)  # there is no room for it before the first is closed
                        self.assertEqual(second.receive()["status"], "OK")
                    self.assertEqual(first.until_closed(), [])
            self.in_good_time(attempt, 0.9, "a connection that waited for room")

    def test_those_that_wait_for_room_take_turns(self):
        count, rounds = 16, 500
        with Grid(server='max_message = "4KiB" max_buffers = "70000" inline_max = 0') as grid:
            nodes = [self.enterContext(Connection(grid.port())) for _ in range(count)]
            grid.servers[0].kill(signal.SIGSTOP)  # until all have sent much more than there is room for
            for node in nodes:
                node.raw(b"".join(request("fetch_add", i + 1, address=0, delta=1) for i in range(rounds)))
            grid.servers[0].kill(signal.SIGCONT)
            for node in nodes:
                # What an addition found tells how many of all connections came before it. Who is served before others is done long before them.
                last = max(node.receive()["fetch_add"]["before"] for _ in range(rounds))
                self.assertGreater(last, 0.4 * count * rounds)


class Many(Hostile):
    def setUp(self):
        self.limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, self.limits)

    def need_descriptors(self, count):
        if self.limits[1] != resource.RLIM_INFINITY and self.limits[1] < count:
            self.skipTest(f"needs {count} file descriptors, the hard limit is {self.limits[1]}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, self.limits[1]))

    def open_many(self, port, count):
        """Many connections whose Hello is sent and not awaited."""
        nodes = []
        for _ in range(count):
            node = socket.socket()
            self.addCleanup(node.close)
            node.settimeout(PATIENCE_S)
            node.connect(("127.0.0.1", port))
            nodes.append(node)
            try:
                node.sendall(request("hello", 1, protocol_version=1))
            except OSError:
                pass  # refused already
        return nodes

    def welcomed(self, nodes):
        """Those whose Hello is answered OK; the others must have been closed."""
        welcome = []
        for node in nodes:
            try:
                data = node.recv(4096)
                # The status is the second field of the answer: 10 01 says OK.
                if data.find(b"\x10\x01", 0, 8) > 0:
                    welcome.append(node)
                elif data:
                    self.assertEqual(node.recv(4096), b"")
            except ConnectionResetError:
                pass
        return welcome

    def test_5000_connections_where_4096_are_allowed(self):
        self.need_descriptors(5200)
        with Grid() as grid, Connection(grid.port()) as first:
            nodes = self.open_many(grid.port(), 5000)
            welcome = self.welcomed(nodes)
            self.assertEqual(len(welcome), 4095)
            status = status_of(first)
            self.assertEqual((status["connections"], status["connections_refused"]), (4096, 5000 - 4095))
            for node in welcome[::500]:
                node.sendall(request("read", 2, address=0, length=8))
                self.assertIn(b"\0" * 8, node.recv(4096))
            self.check_works(first)
            for node in nodes:
                node.close()
            wait_until(lambda: status_of(first)["connections"] == 1, what="the end of the connections")
            with Connection(grid.port()) as late:
                self.check_works(late)

    def test_1000_idle_connections_take_little_memory(self):
        self.need_descriptors(1200)
        with Grid(segment_size="64MiB") as grid, Connection(grid.port()) as first:
            self.assertEqual(len(self.welcomed(self.open_many(grid.port(), 1000))), 1000)
            self.check_works(first)
            own = own_memory_bytes(grid.servers[0].pid)
            print(f"own memory with 1000 idle connections: {own >> 10} KiB", flush=True)
            if not sanitized():
                self.assertLess(own, 32 * MIB)

    def test_memory_comes_back_after_1000_busy_connections(self):
        self.need_descriptors(1200)
        with Grid(segment_size="8MiB") as grid, Connection(grid.port()) as first:
            nodes = self.welcomed(self.open_many(grid.port(), 1000))
            data = request("write", 2, address=MIB, data=b"w" * 20000)
            for node in nodes:
                node.sendall(data)
            for node in nodes:
                self.assertTrue(node.recv(100))
            own = own_memory_bytes(grid.servers[0].pid)
            print(f"own memory with 1000 connections after work: {own >> 10} KiB", flush=True)
            if not sanitized():
                self.assertLess(own, 32 * MIB)
            self.check_works(first)

    def test_out_of_file_descriptors(self):
        few = 64
        launcher = ["sh", "-c", f'ulimit -n {few}; exec "$@"', "sh"]
        with Grid(launcher=launcher) as grid, Connection(grid.port()) as first:
            begin = time.monotonic()
            nodes = self.open_many(grid.port(), 200)

            def all_met():
                status = status_of(first)
                return status["connections_refused"] > 0 and status["connections"] + status["connections_refused"] == 1 + len(nodes)
            wait_until(all_met, what="an answer to all connections")
            self.check_works(first)
            used, seconds = cpu_seconds(grid.servers[0].pid), 1
            idle(seconds)
            used = cpu_seconds(grid.servers[0].pid) - used
            self.assertLess(used, 0.3 * seconds, "processor time in a second of being out of descriptors")
            complaints = [line for line in grid.servers[0].log().splitlines() if "descriptor" in line or "Too many open files" in line]
            self.assertTrue(1 <= len(complaints) <= 3 + time.monotonic() - begin, complaints)
            for node in nodes:
                node.close()
            wait_until(lambda: status_of(first)["connections"] == 1, what="the end of the connections")
            with Connection(grid.port()) as late:
                self.check_works(late)


if __name__ == "__main__":
    case.main()
