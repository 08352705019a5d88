#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 of a server under write load: every acknowledged write is there afterwards, and nothing is torn."""
import os
import random
import re
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import case  # noqa: E402
from grid import Grid, program, sanitized  # noqa: E402
from wire import Connection  # noqa: E402

ROUNDS = case.scale(100, least=5)
ACKNOWLEDGED_MAX = 60 if sanitized() else 500  # of one round, before the kill
WRITERS = (6, 4)  # threads of each process
LANE_BYTES = 4 << 20
NEVER = 1 << 62


class Hammer:
    """A process of writers that knows what must stand in the grid."""

    def __init__(self, grid, base, threads, seed):
        # A call that lasts this long after the server died ends the round of its thread; slow builds need the time for calls that succeed.
        timeout_ms = 2000 if sanitized() else 200
        self.process = subprocess.Popen([program("hammer"), "records", grid.config, str(base), str(threads), str(seed), str(timeout_ms)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def say(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the writers ended with {self.process.wait()}: {self.process.stderr.read()}")
        return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", line)}

    def finish(self):
        error = self.process.communicate()[1]
        if self.process.returncode != 0:
            raise AssertionError(f"the writers ended with {self.process.returncode}: {error}")


class Restart(unittest.TestCase):
    def test_acknowledged_writes_survive_and_none_is_torn(self):
        seed = int(os.environ.get("MCOMP_TEST_SEED") or random.SystemRandom().randrange(1, 1 << 40))
        print(f"MCOMP_TEST_SEED={seed}, {ROUNDS} rounds", flush=True)
        chance = random.Random(seed)
        total = {"acknowledged": 0, "open": 0, "maybe": 0, "there": 0, "finished": 0}
        with Grid(segment_size="64MiB") as grid, Hammer(grid, 12345, WRITERS[0], seed) as first, \
                Hammer(grid, 12345 + WRITERS[0] * LANE_BYTES, WRITERS[1], seed + 1) as second:
            rounds = 0
            # On a slow machine calls may time out before much is acknowledged, and a server may die between two requests: go on until enough was seen.
            while rounds < ROUNDS or total["acknowledged"] <= rounds or total["maybe"] == 0:
                if rounds == ROUNDS:
                    print(f"going on after {rounds} rounds: {total}", flush=True)
                rounds += 1
                grid.servers[0].killed = True
                second.say(f"round {NEVER} 0")
                first.say(f"round {chance.randrange(1, ACKNOWLEDGED_MAX)} {grid.servers[0].pid}")
                answers = [first.answer()]
                grid.kill(0)  # a second kill, in case all calls failed before so many were acknowledged
                answers.append(second.answer())
                grid.restart(0)
                for hammer in (first, second):
                    hammer.say("verify")
                    answers.append(hammer.answer())
                with Connection(grid.port()) as node:
                    total["finished"] += node.call("status")["node_status"]["writes_finished_at_start"]
                for counts in answers:
                    for key, value in counts.items():
                        total[key] += value
            for hammer in (first, second):
                hammer.finish()
            with Connection(grid.port()) as node:
                self.assertEqual(node.call("status")["node_status"]["attach_count"], rounds + 1)
        print("rounds={} acknowledged={acknowledged} unanswered={open} unknown={maybe} of_these_done={there} finished_by_the_next_server={finished}"
              .format(rounds, **total), flush=True)

    def test_segment_keeps_its_identity_and_forgets_it_on_reset(self):
        with Grid() as grid:
            with Connection(grid.port()) as node:
                before = node.hello["segment_id"]
                node.call("write", address=5, data=b"kept")
            grid.kill(0)
            grid.restart(0)
            with Connection(grid.port()) as node:
                self.assertEqual(node.hello["segment_id"], before)
                self.assertEqual(node.call("read", address=5, length=4)["read"]["data"], b"kept")
            grid.stop()
            self.assertEqual(grid.run("--reset").returncode, 0)
            grid.restart(0)
            with Connection(grid.port()) as node:
                self.assertNotEqual(node.hello["segment_id"], before)
                self.assertEqual(node.call("read", address=5, length=4)["read"]["data"], b"\0" * 4)
                self.assertEqual(node.call("status")["node_status"]["attach_count"], 1)


if __name__ == "__main__":
    case.main()
