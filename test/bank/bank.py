#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The bank: a grid under load of a known kind, snapshots of it, and a check of each (see bank.h).

usage: bank.py --transactions [--rounds N] [--clients N] [--nodes N] [--segment-size BYTES] [--seed N]
       bank.py [--pages] [--kill N] [--stop N] [--rounds N] [--clients N] [--nodes N] [--segment-size BYTES] [--seed N]

Prints one line with what was done. --kill N: in every N-th round a server or a snapshot process is killed and started again.
--stop N: one is stopped and let go on. --transactions: see tellers.py; clients are killed, and servers, in every round.
"""
import argparse
import os
import random
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from grid import Grid, program  # noqa: E402
from snapshots import COLLECT, IDLE, Exchange, directory, status, take  # noqa: E402
from waiting import PATIENCE_S, idle, wait_until  # noqa: E402
from wire import Closed, Connection  # noqa: E402
import tellers  # noqa: E402

MIB = 1 << 20
ROUNDS_MORE = 20  # what there is to be seen in a round is up to the machine
LEASE_S = 0.5


class Clients:
    """A process of clients at work, which checks snapshots too."""

    def __init__(self, grid, kind, seed, count):
        self.grid, self.kind, self.seed, self.count = grid, kind, seed, count
        self.process = subprocess.Popen([program("bank"), "run", grid.config, kind, str(seed), str(count)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def ask(self, command):
        """One command, and the line that answers it."""
        try:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # its end is told below
        line = self.process.stdout.readline().strip()
        if not line:
            raise AssertionError(f"the clients ended with {self.process.wait()}: {self.process.stderr.read()}")
        return line

    def operations(self):
        """How many were acknowledged so far."""
        return numbers(self.ask("count"))["operations"]

    def check(self, path, asked_ns=0, cut_ns=0):
        """What the checker says of a file: "sound …" or "torn: …"."""
        return self.ask(f"check {asked_ns} {cut_ns} {path}")

    def check_alone(self, path):
        """The same without knowledge of when operations began and ended."""
        done = subprocess.run([program("bank"), "check", *self.shape(), path], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    def splice(self, out, left, right, what, number):
        """Make a file of two: `out` is a name in the grid's own folder. Returns its path."""
        subprocess.run([program("bank"), "splice", *self.shape(), out, left, right, what, str(number)], cwd=self.grid.directory, check=True)
        return self.grid.path(out)

    def shape(self):
        return [str(self.grid.segment_size), str(self.grid.nodes), self.kind, str(self.seed), str(self.count)]

    def stop(self):
        """End the clients, which compare what stands in the grid with what they wrote. Returns the number of operations."""
        done = numbers(self.ask("stop"))["operations"]
        error = self.process.communicate()[1]
        if self.process.returncode != 0:
            raise AssertionError(f"the clients ended with {self.process.returncode}: {error}")
        return done


def numbers(line):
    """The numbers of a line of the form "word key=1 other=2"."""
    return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", line)}


class Campaign:
    """Rounds on a grid whose clients are at work. Every file is checked and then removed, unless it is to be kept."""

    def __init__(self, grid, clients, seed):
        self.grid, self.clients, self.chance = grid, clients, random.Random(seed)
        self.snapshots = self.attempts = self.kills = self.stops = self.open = self.cuts_seen = 0
        self.round_s = 0.05  # how long the last one took
        self.kept = []

    def path(self, answer):
        return os.path.join(directory(self.grid), answer["take_snapshot"]["file"])

    def accept(self, answer, asked_ns, cut_ns=0, keep=False):
        """A round is done: its file must be of one instant."""
        path = self.path(answer)
        verdict = self.clients.check(path, asked_ns, cut_ns)
        if not verdict.startswith("sound "):
            raise AssertionError(f"{os.path.basename(path)}, the snapshot number {self.snapshots + 1}: {verdict}")
        self.snapshots += 1
        self.open += numbers(verdict)["open"]
        if keep:
            self.kept.append(path)
        else:
            os.unlink(path)

    def round(self, keep=False):
        """Rounds until one is done."""
        end = time.monotonic() + PATIENCE_S
        while True:
            asked_ns = time.monotonic_ns()
            answer = take(self.grid)
            self.attempts += 1
            if answer["status"] == "OK":
                self.round_s = (time.monotonic_ns() - asked_ns) / 1e9
                self.accept(answer, asked_ns, keep=keep)
                return
            if answer["status"] not in ("UNAVAILABLE", "ABORTED") or time.monotonic() > end:
                raise AssertionError(f"no snapshot: {answer['status']}: {answer['message']}")

    def round_seen_to_be_cut(self):
        """A round whose file may hold nothing begun after it was told that the cut is done. One that fails is followed by another, of which less is known."""
        asked_ns = time.monotonic_ns()
        before = status(self.grid)["round"]
        with Exchange(self.grid) as exchange:
            exchange.send("take_snapshot")
            seen = wait_until(lambda: [state["round"] for state in [status(self.grid)] if state["round"] > before and state["phase"] in (COLLECT, IDLE)],
                              PATIENCE_S, "the cut")[0]
            cut_ns = time.monotonic_ns()
            answer = exchange.receive()
        self.attempts += 1
        if answer["status"] != "OK":
            self.round()
            return
        was_seen = answer["take_snapshot"]["header"]["round"] == seen
        self.accept(answer, asked_ns, cut_ns if was_seen else 0)
        self.cuts_seen += was_seen

    def round_with(self, fault):
        """Something happens at a random instant of a round, and is over before the answer comes. Then a round without it."""
        asked_ns = time.monotonic_ns()
        with Exchange(self.grid) as exchange:
            exchange.send("take_snapshot")
            idle(self.chance.random() ** 3 * self.round_s)  # a random instant, more often an early one: freeze and cut are short
            fault()
            try:
                answer = exchange.receive()
            except Closed:
                answer = None  # it was the leader
        self.attempts += 1
        if answer and answer["status"] == "OK":
            self.accept(answer, asked_ns)
        elif answer and answer["status"] not in ("UNAVAILABLE", "ABORTED"):
            raise AssertionError(f"{fault.__name__} makes a round fail with {answer['status']}: {answer['message']}")
        self.round()

    def kill_one(self):
        """Each server and each snapshot process has its turn; the leader is the snapshot process of node 0."""
        self.kills += 1
        node = self.kills // 2 % self.grid.nodes
        if self.kills % 2 == 0:
            self.grid.kill(node)
            self.grid.restart(node)
        else:
            self.grid.kill_snapd(node)
            self.grid.start_snapd(node)

    def stop_one(self):
        """Stop a process and let it go on when all nodes that have a server have taken a write: whatever stops, nobody else waits for ever."""
        self.stops += 1
        node = self.stops // 2 % self.grid.nodes
        is_server = self.stops % 2 == 0
        process = (self.grid.servers if is_server else self.grid.snapds)[node]
        process.kill(signal.SIGSTOP)
        try:
            for other in range(self.grid.nodes):
                if is_server and other == node:
                    continue
                with Connection(self.grid.port(other)) as connection:
                    answer = connection.call("fetch_add", address=other * self.grid.segment_size, delta=0)
                    assert answer["status"] == "OK", answer
            idle(self.chance.choice((0, LEASE_S + 0.1)))  # shorter or longer than a lease: what it comes back to is another world
        finally:
            process.kill(signal.SIGCONT)


def run(kind="accounts", nodes=3, clients=16, segment_size=MIB + 3 * 4096, rounds=100, kill_every=0, stop_every=0, seed=1, least_between=0, snapshot="",
        after=None, until=lambda campaign: True):
    """A whole run. kill_every, stop_every: 0 never. least_between: operations from one round to the next. until(campaign): whether enough was seen, else it
    goes on for up to ROUNDS_MORE times as many rounds. after(campaign): further tests, before the clients stop; the first and the last file are there then.
    Prints one line."""
    options = f"interval = 0 keep = 10000 preserve_limit = 1GiB {snapshot}"
    begin = time.monotonic()
    with Grid(nodes=nodes, segment_size=segment_size, snapd=True, snapshot=options) as grid, Clients(grid, kind, seed, clients) as load:
        campaign = Campaign(grid, load, seed)
        for i in range(rounds * ROUNDS_MORE):
            if i >= rounds and until(campaign):
                break
            before = load.operations()
            wait_until(lambda at=before: load.operations() >= at + least_between, PATIENCE_S, "some operations")
            if kill_every and i % kill_every == kill_every - 1:
                campaign.round_with(campaign.kill_one)
            elif stop_every and i % stop_every == stop_every - 1:
                campaign.round_with(campaign.stop_one)
            elif kind == "pages" and not kill_every:
                campaign.round_seen_to_be_cut()
            else:
                campaign.round(keep=i in (0, rounds - 1))
        if after:
            after(campaign)
        operations = load.stop()
        print(f"bank: kind={kind} nodes={nodes} clients={clients} seed={seed} operations={operations} transfers={operations // 2 if kind == 'accounts' else 0} "
              f"snapshots={campaign.snapshots} rounds={campaign.attempts} open_transfers_seen={campaign.open} kills={campaign.kills} stops={campaign.stops} "
              f"seconds={time.monotonic() - begin:.1f}", flush=True)
        return campaign


def main():
    parser = argparse.ArgumentParser(description="Rounds of a grid whose clients are at work, and a check of every snapshot.")
    parser.add_argument("--transactions", action="store_true", help="transfer by transactions, and kill clients and servers")
    parser.add_argument("--pages", action="store_true", help="stamp whole pages, in place of transfers between accounts")
    parser.add_argument("--kill", type=int, default=0, metavar="N", help="kill a process in every N-th round; default 0: never")
    parser.add_argument("--stop", type=int, default=0, metavar="N", help="stop a process for a while in every N-th round; default 0: never")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--clients", type=int, help="default 16; 64 of --transactions")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--segment-size", type=int, default=MIB + 3 * 4096, help="bytes")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 1 << 40))
    given = parser.parse_args()
    if given.transactions:
        tellers.run(nodes=given.nodes, clients=given.clients or 64, segment_size=given.segment_size, rounds=given.rounds, seed=given.seed)
        return
    run("pages" if given.pages else "accounts", given.nodes, given.clients or 16, given.segment_size, given.rounds, given.kill, given.stop, given.seed)


if __name__ == "__main__":
    main()
