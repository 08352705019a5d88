#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Somebody sets the time of day. Nothing but what is shown to people may follow: schedules, leases and leaders go by clocks that nobody can set, and which
file is the newest, by its round."""
import itertools
import json
import os
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import case  # noqa: E402
from grid import PROGRAMS, Grid, program  # noqa: E402
from snapshots import FROZEN, Exchange, directory, files, late, status, take  # noqa: E402
from waiting import PATIENCE_S, wait_until  # noqa: E402
from wire import Connection  # noqa: E402

PROGRAMS["clock_shift"] = "test/integration/libclock_shift.so"
K = 64 << 10
HOUR_NS = 3600 * 10 ** 9
DAY_NS = 24 * HOUR_NS
LEASE_MS = 10000


class ClockGrid(Grid):
    """Its daemons see the time of day that the test wants."""

    def __enter__(self):
        self.clock = tempfile.NamedTemporaryFile(prefix="mcomp-test-clock-")
        self.set_clock(0)
        options = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        self.environment = {"LD_PRELOAD": program("clock_shift"), "MCOMP_TEST_CLOCK": self.clock.name, "ASAN_OPTIONS": options}
        return super().__enter__()

    def _clean(self, failed):
        self.clock.close()
        return super()._clean(failed)

    def launch_snapd(self, node=0, arguments=(), launcher=(), pass_fds=(), environment=None):
        return super().launch_snapd(node, arguments, launcher, pass_fds, {**self.environment, **(environment or {})})

    def set_clock(self, shift_ns):
        """From now on the time of day is so much later than it is."""
        os.pwrite(self.clock.fileno(), shift_ns.to_bytes(8, "little", signed=True), 0)


class Clock(unittest.TestCase):
    def snapshot(self, grid):
        answer = take(grid)
        self.assertEqual(answer["status"], "OK", answer["message"])
        return answer["take_snapshot"]

    def test_the_newest_file_is_that_of_the_highest_round(self):
        with ClockGrid(nodes=2, segment_size=K, snapd=True, snapshot="interval = 0 keep = 3") as grid:
            taken = []
            # back by a day, a month, to the beginning of time, and to the future
            for shift_ns in (0, -DAY_NS, -31 * DAY_NS, -time.time_ns() + HOUR_NS, 3650 * DAY_NS, -2 * DAY_NS, -3 * DAY_NS):
                grid.set_clock(shift_ns)
                done = self.snapshot(grid)
                self.assertLess(abs(done["header"]["cut_utc_ns"] - time.time_ns() - shift_ns), HOUR_NS, "the test's own clock is the one that is seen")
                taken.append(done)
                newest = [one["file"] for one in taken[::-1][:3]]
                wait_until(lambda names=newest: sorted(names) == files(directory(grid))[0], what="the removal of old files")
                if len(taken) == 4:  # a process that starts long before all that it did
                    grid.kill_snapd(0)
                    grid.start_snapd(0)
                self.assert_listed(grid, newest)
            times = [one["file"].rpartition("-")[2] for one in taken]
            self.assertNotEqual(times, sorted(times))
            self.assertTrue(times[3].startswith("19700101T"), times)
            rounds = [one["header"]["round"] for one in taken]
            self.assertEqual(rounds, sorted(set(rounds)))
            for one in taken:
                self.assertLess(one["header"]["duration_ns"], PATIENCE_S * 10 ** 9)

    def assert_listed(self, grid, names):
        with Exchange(grid) as exchange:
            self.assertEqual([file["name"] for file in exchange.call("list")["list"]["file"]], names)
        for where in ([], ["--directory", directory(grid), "--grid", grid.name]):
            listed = json.loads(grid.mcomp("snapshot", "list", *where, "--json").stdout)
            self.assertEqual([file["file"] for file in listed], names)

    def test_no_round_comes_before_its_time(self):
        with ClockGrid(nodes=2, segment_size=K, snapd=True, snapshot='interval = "1h" keep = 100') as grid, Connection(grid.port()) as connection:
            for count, shift_ns in enumerate((DAY_NS, -400 * DAY_NS, 0, 3650 * DAY_NS), 1):
                grid.set_clock(shift_ns)
                self.snapshot(grid)
                self.assertEqual(status(grid)["rounds_done"], count, "none but those that were asked for")
                self.assertEqual(connection.call("read", address=0, length=1)["status"], "OK", "the connection has not been idle for years")

    def test_rounds_go_on(self):
        with ClockGrid(nodes=2, segment_size=K, snapd=True, snapshot='interval = "20ms" keep = 3') as grid:
            for shift_ns in (-400 * DAY_NS, 400 * DAY_NS, -1000 * DAY_NS):
                grid.set_clock(shift_ns)
                done = status(grid)["rounds_done"]
                wait_until(lambda before=done: status(grid)["rounds_done"] >= before + 3, what="three rounds")

    def test_a_lease_does_not_run_out_by_the_clock(self):
        with ClockGrid(nodes=1, segment_size=K, snapd=True) as grid, Connection(grid.port()) as connection:
            for attempt in range(1, 100):
                grid.set_clock(0)
                begin = time.monotonic()
                with Exchange(grid) as leader:
                    number = attempt << 8
                    answer = leader.call("freeze", round=number, lease_ms=LEASE_MS, segment_size=K, nodes=1)
                    if late(answer) or answer["freeze"]["outcome"] != FROZEN:
                        continue  # so soon after the one before
                    held = connection.send("write", address=0, data=b"held")
                    grid.set_clock(DAY_NS)
                    reads = connection.send("read", address=0, length=4)
                    answers = [connection.receive()["id"]]
                    answer = leader.call("cut", round=number)
                    answers.append(connection.receive()["id"])
                    leader.call("end", round=number)
                if late(answer):
                    continue  # the server did not answer in time
                if answer["cut"]["done"]:
                    self.assertEqual(answers, [reads, held], "readers are not held")
                    return
                self.assertGreaterEqual(time.monotonic() - begin, LEASE_MS / 1000, "the lease ran out before its time")
            self.fail("this machine is too slow for a lease of ten seconds")

    def test_a_lease_runs_out_though_the_clock_goes_back(self):
        with ClockGrid(nodes=1, segment_size=K, snapd=True) as grid, Connection(grid.port()) as connection, Exchange(grid) as leader:
            rounds = itertools.count(1)

            def frozen_and_let_go():
                number = next(rounds) << 8
                grid.set_clock(0)
                answer = leader.call("freeze", round=number, lease_ms=300, segment_size=K, nodes=1)
                if late(answer) or answer["freeze"]["outcome"] != FROZEN:
                    return False
                grid.set_clock(-DAY_NS)
                self.assertEqual(connection.call("write", address=0, data=b"let go")["status"], "OK")
                answer = leader.call("cut", round=number)
                if late(answer):
                    return False
                self.assertFalse(answer["cut"]["done"])
                return True
            wait_until(frozen_and_let_go, what="a lease that runs out")

    def test_leaders(self):
        with ClockGrid(nodes=2, segment_size=K, snapd=True, snapshot='interval = 0 takeover = "10min"') as grid:
            grid.set_clock(DAY_NS)
            self.snapshot(grid)
            self.assertEqual(status(grid, 1)["leader"], 0)
            self.assertNotIn("op=takeover", grid.snapds[1].log(), "a day is longer than ten minutes, but it has not passed")
        with ClockGrid(nodes=2, segment_size=K, snapd=True, snapshot='interval = 0 takeover = "200ms"') as grid:
            grid.set_clock(-DAY_NS)
            grid.kill_snapd(0)
            wait_until(lambda: status(grid, 1)["leader"] == 1, what="the take-over")
            grid.set_clock(-2 * DAY_NS)
            grid.start_snapd(0)
            wait_until(lambda: status(grid, 1)["leader"] == 0, what="node 0 to lead again")
            self.snapshot(grid)


if __name__ == "__main__":
    case.main()
