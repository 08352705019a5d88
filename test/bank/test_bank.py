#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every snapshot shows the state that the whole grid had at one instant, under load and whatever is killed. And the checker that says so can say no."""
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import bank  # noqa: E402
import case  # noqa: E402
from grid import sanitized  # noqa: E402
from waiting import wait_until  # noqa: E402

SEED = int(os.environ.get("MCOMP_TEST_SEED") or "1")
CLIENTS = 8 if sanitized() else 16
FLIPPED_BYTES = 5


def flip(path, at):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def some_operations(load):
    """Let each client do a few, so that two rounds differ on every node."""
    before = load.operations()
    wait_until(lambda: load.operations() >= before + 4 * CLIENTS, what="some operations")


class Bank(unittest.TestCase):
    def refused(self, verdict, *says):
        self.assertTrue(verdict.startswith("torn: "), verdict)
        for text in says:
            self.assertIn(text, verdict)

    def torn_files(self, campaign):
        """Two sound files of different rounds, put together to ones that are not."""
        load, (first, last) = campaign.clients, campaign.kept
        for left, right in ((first, last), (last, first)):
            for node in range(campaign.grid.nodes):
                torn = load.splice("torn.mcsnap", left, right, "node", node)
                for verdict in (load.check(torn), load.check_alone(torn)):
                    self.refused(verdict, " is there")
                os.unlink(torn)
        # each client at an instant of its own: nothing in the file tells, only that no instant fits all
        for left, right in ((first, last), (last, first)):
            torn = load.splice("torn.mcsnap", left, right, "client", 1)
            self.assertTrue(load.check_alone(torn).startswith("sound "), load.check_alone(torn))
            self.refused(load.check(torn), "there is no such instant")
            os.unlink(torn)
        self.assertTrue(load.check(first).startswith("sound "), "a file put together of one is sound")
        self.assertTrue(load.check(load.splice("same.mcsnap", last, last, "node", 0)).startswith("sound "))
        self.refused(load.check(first, asked_ns=1 << 62), "before the snapshot was asked for is not in it")
        self.refused(load.check(last, cut_ns=1), "after the cut is in the file")

    def test_transfers_between_nodes(self):
        campaign = bank.run(clients=CLIENTS, rounds=case.scale(200, 10), seed=SEED, least_between=2 * CLIENTS, after=self.torn_files,
                            until=lambda campaign: campaign.open > 0)
        self.assertGreater(campaign.open, 0, "no snapshot came between a debit and its credit: the load is too low to prove anything")

    def test_two_rounds_in_a_row_put_together(self):
        """As a cut that is not one would do it: nodes cut one after the other, as late as it takes to do a few operations."""
        seen = []

        def after(campaign):
            load = campaign.clients
            some_operations(load)
            campaign.round(keep=True)
            for node in range(3):
                torn = load.splice("torn.mcsnap", *campaign.kept[-2:], "node", node)
                seen.append(load.check(torn))
                os.unlink(torn)
        bank.run(clients=CLIENTS, rounds=1, seed=SEED, after=after)
        for verdict in seen:
            self.refused(verdict)

    def test_stamped_pages(self):
        campaign = bank.run(kind="pages", clients=CLIENTS, rounds=case.scale(80, 6), seed=SEED, segment_size=2 * bank.MIB, after=self.mixed_pages,
                            until=lambda campaign: campaign.cuts_seen > 0)
        self.assertGreater(campaign.cuts_seen, 0)

    def mixed_pages(self, campaign):
        load = campaign.clients
        campaign.round(keep=True)
        sound = campaign.kept[-1]
        self.assertTrue(load.check(sound).startswith("sound "))
        for at in range(os.path.getsize(sound) // 2, os.path.getsize(sound) // 2 + FLIPPED_BYTES):
            flip(sound, at)
            self.refused(load.check(sound), "CRC-32C")
            flip(sound, at)
        some_operations(load)
        campaign.round(keep=True)
        self.refused(load.check(load.splice("torn.mcsnap", *campaign.kept[-2:], "node", 1)))

    def test_while_servers_and_snapshot_processes_are_killed(self):
        rounds = case.scale(200, 16)
        campaign = bank.run(clients=CLIENTS // 4, rounds=rounds, kill_every=8, seed=SEED, segment_size=2 * bank.MIB)
        self.assertEqual(campaign.kills, rounds // 8)
        self.assertGreaterEqual(campaign.snapshots, rounds)

    def test_pages_while_servers_and_snapshot_processes_are_killed(self):
        bank.run(kind="pages", clients=CLIENTS // 4, rounds=case.scale(60, 6), kill_every=8, seed=SEED, segment_size=2 * bank.MIB)

    def test_while_servers_and_snapshot_processes_are_stopped(self):
        rounds = case.scale(30, 6)
        campaign = bank.run(clients=CLIENTS // 4, rounds=rounds, stop_every=3, seed=SEED, segment_size=2 * bank.MIB)
        self.assertEqual(campaign.stops, rounds // 3)


if __name__ == "__main__":
    case.main()
