#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Transactions through the library and the command line, with real servers that are killed meanwhile: sums are exact, and no lock stays."""
import json
import os
import random
import re
import struct
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import case  # noqa: E402
from grid import Grid, program, sanitized  # noqa: E402
from waiting import wait_until  # noqa: E402

K = 1 << 20
NODES = 3
THREADS = 8
OPERATIONS = case.scale(4000 if not sanitized() else 400, least=100)
KILLS = case.scale(12, least=2)
ACCOUNTS, LINE = 64, 64


def words(grid, node):
    """The number at the beginning of each account's line."""
    data = grid.mcomp("read", node * K, ACCOUNTS * LINE, "--raw").stdout
    return [struct.unpack_from("<Q", data, i * LINE)[0] for i in range(ACCOUNTS)]


def prepared(grid):
    return json.loads(grid.mcomp("txn", "list", "--json").stdout)


class Transfers(unittest.TestCase):
    def test_sums_are_exact_when_servers_are_killed(self):
        seed = int(os.environ.get("MCOMP_TEST_SEED") or random.SystemRandom().randrange(1, 1 << 40))
        chance = random.Random(seed)
        with Grid(nodes=NODES, segment_size="1MiB") as grid:
            clients = subprocess.Popen([program("transfers"), grid.config, str(THREADS), str(OPERATIONS), str(seed)], stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, text=True)
            kills = 0
            try:
                while kills < KILLS and clients.poll() is None:
                    node = chance.randrange(NODES)
                    seen = operations(grid, node)
                    wait_until(lambda: clients.poll() is not None or operations(grid, node) > seen + 50)
                    grid.kill(node)
                    grid.start(node)
                    kills += 1
                out, err = clients.communicate()
            finally:
                if clients.poll() is None:
                    clients.kill()
                    clients.communicate()
            self.assertEqual(clients.returncode, 0, err)
            done = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", out)}
            print(f"MCOMP_TEST_SEED={seed}, {kills} kills: {out.strip()}", flush=True)
            self.assertGreater(done["transfers"], 0)
            self.assertGreater(kills, 0)
            wait_until(lambda: prepared(grid) == [])
            accounts = [words(grid, node) for node in range(NODES)]
            self.assertEqual(sum(sum(node[1:]) for node in accounts) % (1 << 64), 0, "money was made or lost")
            adds = sum(node[0] for node in accounts)
            self.assertGreaterEqual(adds, done["adds"], "an add that was acknowledged is lost")
            self.assertLessEqual(adds, done["adds"] + done["unknown"], "an add happened twice")

    def test_command_line_transfers_between_nodes(self):
        with Grid(nodes=2, segment_size="1MiB") as grid:
            self.assertEqual(grid.mcomp("txn", f"add 0x1000 -5, add {K} 5").stdout.decode(), f"add 0x1000 0\nadd {K:#x} 0\n")
            self.assertEqual(grid.mcomp("txn", stdin=b"read 0x1000 8\n\nread 1MiB 8\n").stdout.decode(),
                             f"read 0x1000 fb ff ff ff ff ff ff ff\nread {K:#x} 05 00 00 00 00 00 00 00\n")
            failed = grid.mcomp("txn", f"compare 0x1000 00; write {K} 07", check=False)
            self.assertEqual(failed.returncode, 3)
            self.assertEqual(failed.stdout, b"")
            self.assertIn(b"compare 0x1000 (item 1) found fb; nothing was changed", failed.stderr)
            wait_until(lambda: prepared(grid) == [])
            told = json.loads(grid.mcomp("txn", "--json", f"compare 0x1000 fb, compare {K} 06, read 0 2", check=False).stdout)
            self.assertEqual(told["outcome"], "compare failed")
            self.assertEqual(told["items"][1], {"item": "compare", "address": K, "length": 1, "result": "differed", "found": "05"})
            self.assertEqual(told["error"]["status"], "ABORTED")
            told = json.loads(grid.mcomp("txn", "--json", f"compare {K} 05, read 0x1000 2, add 8 -1").stdout)
            self.assertEqual((told["outcome"], told["attempts"]), ("committed", 1))
            self.assertEqual([item.get("data") or item.get("before") or item.get("result") for item in told["items"]], ["held", "fbff", "0"])


def operations(grid, node):
    """Answered by this node, as it says itself; 0 while it is away."""
    status = json.loads(grid.mcomp("status", "--json", check=False).stdout)
    return status[node].get("operations", 0)


if __name__ == "__main__":
    case.main()
