#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Clients that break the rules of transactions in order to do harm: nothing stays locked for ever, and no more memory is used than is allowed."""
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from grid import Grid, sanitized  # noqa: E402
from txn import Session, read, said, word, write  # noqa: E402
from waiting import own_memory_bytes, wait_until  # noqa: E402
from wire import Connection, request  # noqa: E402

K = MIB = 1 << 20


class Circle(unittest.TestCase):
    """Two transactions, each of which names, as its other half, the next one of the lane that the other is prepared in."""

    def setUp(self):
        self.grid = self.enterContext(Grid(nodes=2, segment_size="1MiB"))
        self.nodes = [self.enterContext(Connection(self.grid.port(node))) for node in range(2)]

    def prepare(self, sessions):
        ids = [session.id(1) for session in sessions]
        nexts = [session.id(2) for session in sessions]
        votes = [said(sessions[node].prepare(1, [(node, ids[node]), (1 - node, nexts[1 - node])], node=node, writes=[write(node * K, word(7))]))
                 for node in range(2)]
        self.assertLessEqual(set(votes), {"PREPARED", "ABORTED FORCED"}, votes)
        return set(votes) == {"PREPARED"}

    def test_neither_waits_for_the_other(self):
        formed = False
        while not formed:  # who is asked last may be asked for its outcome first, if the machine is slow
            client = os.urandom(16)
            formed = self.prepare([Session(connection, client) for connection in self.nodes])
        for node, connection in enumerate(self.nodes):
            wait_until(lambda: connection.call("status")["node_status"]["prepared"] == 0, what="the end of what was prepared")
            self.assertEqual(connection.call("read", address=node * K, length=8)["read"]["data"], word(0))
            self.assertEqual(connection.call("write", address=node * K, data=word(1))["status"], "OK")


class Memory(unittest.TestCase):
    def test_records_that_others_keep_are_not_in_the_way_of_reading(self):
        """What changes nothing needs no record: there is an answer even where none of its size can be kept, and again for a copy."""
        with Grid() as grid, Connection(grid.port()) as node:
            session = Session(node)
            node.call("write", address=0, data=word(7))
            for sequence in (1, 1, 2):
                answer = session.execute(sequence, reads=[read(0, K)])
                self.assertEqual(said(answer), "COMMITTED")
                self.assertEqual(answer["transaction"]["answer"], word(7) + bytes(K - 8))
            self.assertEqual(said(session.resolve(2)), "ABORTED FORCED")
            self.assertEqual(said(session.execute(2, reads=[read(0, K)])), "ABORTED FORCED")
            compares = [{"address": 0, "expected": word(8)}]
            self.assertEqual(said(session.execute(3, compares=compares, reads=[read(8, K - 8)])), "ABORTED COMPARE")

    def test_recorded_answers_that_nobody_reads(self):
        with Grid(segment_size="64MiB", server='stall_timeout = "1h" max_buffers = "16MiB"') as grid, Connection(grid.port()) as other:
            session = Session(other)
            self.assertEqual(said(session.execute(1, reads=[read(0, 3000000)])), "COMMITTED")
            before = own_memory_bytes(grid.servers[0].pid)
            wanted = b"".join(request("resolve", i + 1, id=session.id(1), want_answer=True) for i in range(50))
            for _ in range(20):
                self.enterContext(Connection(grid.port(), receive_buffer=4096)).raw(wanted)
            wait_until(lambda: other.call("status")["node_status"]["buffered_out"] > 0, what="answers that nobody reads")
            largest = 0
            for i in range(200):
                self.assertEqual(other.call("write", address=0, data=word(i))["status"], "OK")
                largest = max(largest, own_memory_bytes(grid.servers[0].pid) - before)
            if not sanitized():
                self.assertLess(largest, 64 * MIB)


if __name__ == "__main__":
    unittest.main()
