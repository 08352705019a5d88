#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A leader that the others cannot reach, though it runs: packets are lost, and nobody is told. In network namespaces."""
import os
import random
import sys
import unittest

LIB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib")
sys.path[:0] = [LIB, os.path.join(LIB, "..", "bank")]
import bank  # noqa: E402
import case  # noqa: E402
import network  # noqa: E402
from snapshots import Exchange, File, begin_collection, directory, files, late, status, take  # noqa: E402
from waiting import wait_until  # noqa: E402
from wire import Connection  # noqa: E402

K = 1 << 20
WHY_NOT = network.enter()


def fill(grid):
    """Write something to all nodes. Returns the array."""
    k = grid.segment_size
    image = random.Random(1).randbytes(grid.nodes * k)
    for node in range(grid.nodes):
        with Connection(grid.port(node)) as connection:
            for at in range(node * k, (node + 1) * k, K // 4):
                assert connection.call("write", address=at, data=image[at:at + K // 4])["status"] == "OK"
    return image


@unittest.skipIf(WHY_NOT, WHY_NOT)
class Partition(unittest.TestCase):
    def assert_file(self, grid, answer, image):
        self.assertEqual(answer["status"], "OK", answer["message"])
        self.assertEqual(File(os.path.join(directory(grid), answer["take_snapshot"]["file"])).image(), image)

    def assert_writers_go_on(self, grid):
        for node in range(grid.nodes):
            with Connection(grid.port(node)) as connection:
                answer = connection.call("fetch_add", address=node * grid.segment_size, delta=0)
                self.assertEqual(answer["status"], "OK", answer)

    def leaders(self, grid):
        return [status(grid, node)["leader"] for node in range(grid.nodes)]

    def test_a_leader_cut_off_from_the_others(self):
        with network.NetworkGrid(nodes=3, segment_size=K, snapd=True, snapshot='interval = 0 takeover = "400ms"') as grid:
            image = fill(grid)
            wait_until(lambda: self.leaders(grid) == [0, 0, 0], what="one leader")
            self.assert_file(grid, take(grid), image)
            before = files(directory(grid))
            grid.network.unplug(0)
            wait_until(lambda: self.leaders(grid) == [0, 1, 1], what="the take-over")
            for leader, missing in ((0, ("node 1: ", "node 2: ")), (1, ("node 0: ",))):
                def fails(leader=leader, missing=missing):  # at first for another node, maybe, or it does not lead for a moment: if the machine is slow
                    with Exchange(grid, leader) as exchange:
                        answer = exchange.call("take_snapshot")
                    self.assertNotEqual(answer["status"], "OK", answer)
                    return answer["status"] == "UNAVAILABLE" and answer["message"].startswith(missing)
                wait_until(fails, what=f"a round of node {leader} that fails")
                self.assert_writers_go_on(grid)
            self.assertEqual(files(directory(grid)), before, "earlier files stay, and nothing is added")
            grid.network.plug(0)
            wait_until(lambda: self.leaders(grid) == [0, 0, 0], what="one leader again")
            self.assert_file(grid, wait_until(lambda: [answer for answer in [take(grid)] if answer["status"] == "OK"], what="a round")[0], image)
            wait_until(lambda: "op=yield" in grid.snapds[1].log(), what="op=yield")
            self.assertNotIn("op=takeover", grid.snapds[0].log())
            for name in files(directory(grid))[0]:
                self.assertEqual(File(os.path.join(directory(grid), name)).image(), image)

    def test_a_leader_cut_off_within_a_round(self):
        # The rate makes the collection last; the nodes are found silent after ten seconds, their captures give way to the next round after five.
        with network.NetworkGrid(nodes=2, segment_size=4 * K, snapd=True, snapshot='interval = 0 rate_limit = "1MiB"') as grid:
            image = fill(grid)

            def attempt():
                complete = files(directory(grid))[0]
                with Exchange(grid) as exchange:
                    if not begin_collection(grid, exchange):
                        return False
                    grid.network.unplug(0)
                    self.assert_writers_go_on(grid)
                    answer = exchange.receive()
                    grid.network.plug(0)
                if answer["status"] == "OK" or "node 1: " not in answer["message"]:
                    self.assertTrue(answer["status"] == "OK" or late(answer), answer)
                    return False  # it was through before, or node 0 was late itself
                self.assertEqual(answer["status"], "UNAVAILABLE", answer)
                self.assertEqual(files(directory(grid)), (complete, []))
                return True
            wait_until(attempt, what="a leader cut off within a round")
            self.assert_file(grid, wait_until(lambda: [answer for answer in [take(grid)] if answer["status"] == "OK"], what="a round")[0], image)

    def test_two_leaders_at_work(self):
        """Nobody reaches node 0, which reaches everybody: it goes on to lead, and so does node 1, whose rounds take writers and nodes from those of node 0.
        Files are rarer for it, and as good as ever."""
        options = "interval = 50ms takeover = 400ms keep = 10000"
        with network.NetworkGrid(nodes=3, segment_size=K, snapd=True, snapshot=options) as grid, bank.Clients(grid, "accounts", 1, 6) as load:
            wait_until(lambda: self.leaders(grid) == [0, 0, 0], what="one leader")
            for node in (1, 2):
                grid.network.lose(node, 0, grid.snapshot_port(0))
            wait_until(lambda: status(grid, 1)["leader"] == 1, what="the take-over")
            self.assertEqual(status(grid, 0)["leader"], 0)
            done, failed = status(grid, 0)["rounds_done"], status(grid, 1)["rounds_failed"]
            wanted = case.scale(3)
            wait_until(lambda: status(grid, 0)["rounds_done"] >= done + wanted and status(grid, 1)["rounds_failed"] >= failed + wanted,
                       what="rounds of both leaders")
            self.assertEqual(status(grid, 1)["rounds_done"], 0)
            for node in (1, 2):
                grid.network.lose_nothing(node, 0, grid.snapshot_port(0))
            wait_until(lambda: self.leaders(grid) == [0, 0, 0], what="one leader again")
            done = status(grid, 0)["rounds_done"]
            wait_until(lambda: status(grid, 0)["rounds_done"] >= done + 2, what="rounds of one leader")
            grid.kill_snapd(0, 15)
            complete, temporary = files(directory(grid))
            self.assertEqual(temporary, [])
            for name in complete:
                self.assertTrue(load.check(os.path.join(directory(grid), name)).startswith("sound "), load.check(os.path.join(directory(grid), name)))
            load.stop()


if __name__ == "__main__":
    if WHY_NOT:
        print(f"SKIPPED, all of it: {WHY_NOT}", file=sys.stderr)
    case.main()
