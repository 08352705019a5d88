#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A process that is stopped (SIGSTOP): it has all its connections, and answers nothing. It costs rounds, which say whose fault it was, and nothing else."""
import itertools
import os
import random
import signal
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import case  # noqa: E402
from grid import Grid  # noqa: E402
from snapshots import FROZEN, Exchange, File, begin_collection, directory, files, late, status, take  # noqa: E402
from waiting import wait_until  # noqa: E402
from wire import Connection  # noqa: E402

K = 2 << 20


class Stopped(unittest.TestCase):
    def setUp(self):
        self.grid = self.enterContext(Grid(nodes=3, segment_size=K, snapd=True, snapshot='interval = 0 rate_limit = "1MiB"'))
        self.image = bytearray(random.Random(2).randbytes(3 * K))
        for node in range(3):
            with Connection(self.grid.port(node)) as connection:
                for at in range(node * K, (node + 1) * K, K // 4):
                    self.assertEqual(connection.call("write", address=at, data=bytes(self.image[at:at + K // 4]))["status"], "OK")

    def stop(self, process):
        process.kill(signal.SIGSTOP)
        self.addCleanup(process.kill, signal.SIGCONT)  # before the grid's own cleanup, which waits for its end

    def write(self, node, data):
        """A write to the beginning of a node, which succeeds."""
        with Connection(self.grid.port(node)) as connection:
            self.assertEqual(connection.call("write", address=node * K, data=data)["status"], "OK")
        self.image[node * K:node * K + len(data)] = data

    def fails_on(self, node):
        """A round fails, and says that this node is why. On a slow machine another may have been late before."""
        def attempt():
            with Exchange(self.grid) as exchange:
                answer = exchange.call("take_snapshot")
            self.assertNotEqual(answer["status"], "OK", answer)
            self.assertTrue(late(answer), answer["message"])
            self.assertEqual(status(self.grid)["last_error"], answer["message"])
            return answer["status"] == "UNAVAILABLE" and answer["message"].startswith(f"node {node}: ")
        wait_until(attempt, what=f"a round that fails for node {node}")

    def begin_collection(self, exchange):
        wait_until(lambda: begin_collection(self.grid, exchange), what="a round that collects")

    def works_again(self):
        answer = wait_until(lambda: [answer for answer in [take(self.grid)] if answer["status"] == "OK"], what="a round with all nodes")[0]
        file = File(os.path.join(directory(self.grid), answer["take_snapshot"]["file"]))
        self.assertEqual(file.image(), bytes(self.image))

    def test_a_server(self):
        with Connection(self.grid.port(1)) as connection:
            self.stop(self.grid.servers[1])
            held = connection.send("write", address=K + 100, data=b"waits for its server, and for nothing else")
            self.fails_on(1)
            self.write(0, b"goes on")
            self.write(2, b"goes on")
            self.assertEqual(files(directory(self.grid)), ([], []))
            self.grid.servers[1].kill(signal.SIGCONT)
            answer = connection.receive()
            self.assertEqual((answer["id"], answer["status"]), (held, "OK"))
        self.image[K + 100:K + 142] = b"waits for its server, and for nothing else"
        self.works_again()

    def test_a_snapshot_process(self):
        self.stop(self.grid.snapds[2])
        self.fails_on(2)
        for node in range(3):
            self.write(node, b"goes on")
        self.grid.snapds[2].kill(signal.SIGCONT)
        self.works_again()

    def test_a_server_within_the_collection(self):
        """Nobody needs it: its memory is there, and does not change."""
        with Exchange(self.grid) as exchange:
            self.begin_collection(exchange)
            self.stop(self.grid.servers[1])
            answer = exchange.receive()
            self.grid.servers[1].kill(signal.SIGCONT)
        if answer["status"] == "OK":
            self.assertEqual(File(os.path.join(directory(self.grid), answer["take_snapshot"]["file"])).image(), bytes(self.image))
        else:
            self.assertIn("node ", answer["message"])
        self.works_again()

    def test_the_leader(self):
        """Stopped with all nodes frozen: they go on by themselves. Woken, it finds that its round is over."""
        numbers = itertools.count(5)

        def frozen_and_let_go():
            number = next(numbers) << 8 | 1
            answer = leader.call("freeze", round=number, lease_ms=500, segment_size=K, nodes=3)
            if late(answer) or answer["freeze"]["outcome"] != FROZEN:
                return False
            self.write(1, b"after the lease")  # the leader says nothing more
            answer = leader.call("cut", round=number)
            if late(answer):
                return False
            self.assertFalse(answer["cut"]["done"])
            return True
        with Exchange(self.grid, 1) as leader:
            wait_until(frozen_and_let_go, what="a lease that runs out")
        with Exchange(self.grid) as exchange:
            self.begin_collection(exchange)
            self.stop(self.grid.snapds[0])
            before = bytes(self.image)
            for node in range(3):
                self.write(node, b"goes on")
            self.grid.snapds[0].kill(signal.SIGCONT)
            answer = exchange.receive()
        if not late(answer):  # the captures wait for seconds
            self.assertEqual(answer["status"], "OK", answer["message"])
            self.assertEqual(File(os.path.join(directory(self.grid), answer["take_snapshot"]["file"])).image(), before)
        self.works_again()


if __name__ == "__main__":
    case.main()
