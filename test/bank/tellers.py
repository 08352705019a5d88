# SPDX-License-Identifier: Apache-2.0
"""The bank of transactions: clients transfer between thousands of accounts and are killed, servers are killed and started again, and the sum is exact in
each snapshot and at the end (see teller.h). `bank.py --transactions` runs it."""
import json
import os
import random
import re
import struct
import subprocess
import time

from grid import PROGRAMS, Grid, program
from snapshots import Exchange, directory
from waiting import PATIENCE_S, idle, wait_for_end, wait_until

PROGRAMS["bank"] = "test/bank/bank"
PROGRAMS["teller"] = "test/bank/teller"
PER_PROCESS = 1  # a node keeps the session of a client that was killed for a minute, and has 126: the fewer die at once, the more often may one
BALANCE = 1000
SERVER_EVERY = 5  # rounds; in each of the others clients are killed
K = (1 << 20) + 3 * 4096


class Teller:
    """A process of clients. Its counts go on when another takes its place."""

    def __init__(self, grid, number, accounts, clients):
        self.grid, self.number, self.accounts, self.clients = grid, number, accounts, clients
        self.path = grid.path(f"teller-{number}.counts")
        with open(self.path, "wb") as file:
            file.write(bytes(16))
        self.process = None

    def start(self, seed):
        self.process = subprocess.Popen([program("teller"), "run", self.grid.config, str(self.accounts), str(self.clients), str(seed), self.path],
                                        stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def kill(self):
        """By kill -9; fails when it has ended by itself."""
        if self.process.poll() is not None:
            self.stop()
        self.process.kill()
        self.process.communicate()

    def stop(self):
        """End it in order."""
        self.process.stdin.close()
        code, error = wait_for_end(self.process), self.process.stderr.read()
        self.process.stderr.close()
        if code != 0:
            raise AssertionError(f"clients ended with {code}: {error}")

    def counts(self):
        """Transfers acknowledged and begun. What was begun is read last."""
        with open(self.path, "rb") as file:
            done = struct.unpack("<8xQ", file.read(16))[0]
            file.seek(0)
            return done, struct.unpack("<Q8x", file.read(16))[0]


class Campaign:
    """Rounds on a grid whose clients are at work and die."""

    def __init__(self, grid, accounts, clients, seed):
        self.grid, self.accounts, self.chance = grid, accounts, random.Random(seed)
        self.snapshots = self.attempts = self.client_kills = self.server_kills = self.resolved = 0
        self.round_s = 0.05  # how long the last one took
        self.last = time.monotonic()  # when it was through
        self.kept = []
        self.tellers = [Teller(grid, i, accounts, min(PER_PROCESS, clients - i * PER_PROCESS)) for i in range(-(-clients // PER_PROCESS))]

    def __enter__(self):
        for teller in self.tellers:
            teller.start(self.seed())
        return self

    def __exit__(self, *_):
        for teller in self.tellers:
            if teller.process and teller.process.poll() is None:
                teller.process.kill()
                teller.process.communicate()

    def seed(self):
        return self.chance.randrange(1, 1 << 40)

    def done(self):
        return sum(teller.counts()[0] for teller in self.tellers)

    def begun(self):
        return sum(teller.counts()[1] for teller in self.tellers)

    def wait_for_transfers(self, count):
        """Until so many more were acknowledged. Clients that end by themselves are a fault."""
        wanted = self.done() + count

        def arrived():
            for teller in self.tellers:
                if teller.process.poll() is not None:
                    teller.stop()
            return self.done() >= wanted
        wait_until(arrived, what="some transfers")

    def fault(self, node):
        """Kill this node's server, or clients if it is None; each comes back at once."""
        if node is not None:
            self.grid.kill(node)
            self.server_kills += 1
            idle(self.chance.random() ** 2)  # some transactions are in doubt for a while
            self.grid.restart(node)
        else:
            teller = self.chance.choice(self.tellers)
            teller.kill()
            self.client_kills += 1
            teller.start(self.seed())

    def status(self):
        """What each node says of itself."""
        return json.loads(self.grid.mcomp("status", "--json").stdout)

    def audit_file(self, path):
        return audit("audit-file", path, self.accounts, self.grid.segment_size, self.grid.nodes)

    def faults_of(self, found, least, most):
        """What is wrong with what an auditor found, in words; empty: nothing."""
        wrong = []
        wanted = BALANCE * self.accounts * self.grid.nodes
        if found["balance"] != wanted:
            wrong.append(f"the balances add up to {found['balance']}, they did to {wanted}")
        if found["strangers"]:
            wrong.append(f"{found['strangers']} accounts have lost their number")
        if found["moves"] % 2 or not 2 * least <= found["moves"] <= 2 * most:
            wrong.append(f"{found['moves']} moves; {least} transfers were acknowledged, {most} begun, of two moves each")
        return wrong

    def round(self, keep=False):
        """A snapshot, and a fault at a random instant of it. Its file, if it comes to one, must have the exact sum."""
        node = self.chance.randrange(self.grid.nodes) if self.attempts % SERVER_EVERY == SERVER_EVERY - 1 else None
        if node is not None:
            self.resolved += self.status()[node]["transactions_resolved"]
        least = self.done()
        with Exchange(self.grid) as exchange:
            exchange.send("take_snapshot")
            idle(self.chance.random() ** 2 * min(1, self.round_s))
            self.fault(node)
            answer = exchange.receive()
        self.attempts += 1
        if answer["status"] != "OK":
            if answer["status"] not in ("UNAVAILABLE", "ABORTED") or time.monotonic() > self.last + PATIENCE_S:
                raise AssertionError(f"a round fails with {answer['status']}: {answer['message']}")
            return
        self.last = time.monotonic()
        self.round_s = answer["take_snapshot"]["header"]["duration_ns"] / 1e9
        path = os.path.join(directory(self.grid), answer["take_snapshot"]["file"])
        wrong = self.faults_of(self.audit_file(path), least, self.begun())
        if wrong:
            raise AssertionError(f"snapshot {self.snapshots + 1}: {'; '.join(wrong)}")
        self.snapshots += 1
        if keep:
            self.kept.append(path)
        else:
            os.unlink(path)

    def finish(self):
        """End the clients. No transaction and no lock may remain, and the sum is exact. Returns the number of transfers. `resolved` is then how many parts
        of transactions nodes have finished among themselves, but for what servers did between the last question and their death."""
        for teller in self.tellers:
            teller.process.stdin.close()
        for teller in self.tellers:
            teller.stop()
        wait_until(lambda: json.loads(self.grid.mcomp("txn", "list", "--json").stdout) == [], PATIENCE_S, "the end of all transactions")
        state = self.status()
        self.resolved += sum(node["transactions_resolved"] for node in state)
        if [node.get("prepared") for node in state] != [0] * self.grid.nodes:
            raise AssertionError(f"mcomp status tells of prepared transactions: {state}")
        found = audit("audit", self.grid.config, self.accounts)
        wrong = self.faults_of(found, self.done(), self.begun())
        if wrong:
            raise AssertionError(f"at the end: {'; '.join(wrong)}")
        return found["moves"] // 2


def audit(*arguments):
    """What an auditor finds, as numbers."""
    done = subprocess.run([program("teller"), *[str(argument) for argument in arguments]], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"the auditor ended with {done.returncode}: {done.stderr}")
    return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", done.stdout)}


def run(nodes=3, clients=64, accounts=1000, segment_size=K, rounds=100, seed=1, least_between=0, after=None):
    """A whole run: until `rounds` snapshots were taken. accounts: of each node. least_between: transfers from one round to the next. after(campaign):
    further tests, with the clients at work; the first and the last file are there then. Prints one line."""
    begin = time.monotonic()
    with Grid(nodes=nodes, segment_size=segment_size, snapd=True, snapshot="interval = 0 keep = 10000") as grid:
        subprocess.run([program("teller"), "open", grid.config, str(accounts)], check=True)
        with Campaign(grid, accounts, clients, seed) as campaign:
            while campaign.snapshots < rounds or not campaign.server_kills:
                campaign.wait_for_transfers(least_between)
                campaign.round(keep=campaign.snapshots in (0, rounds - 1))
            if after:
                after(campaign)
            transfers = campaign.finish()
        print(f"bank: kind=transactions nodes={nodes} accounts={accounts * nodes} clients={clients} seed={seed} transfers={transfers} "
              f"client_kills={campaign.client_kills} server_kills={campaign.server_kills} resolved={campaign.resolved} "
              f"snapshots={campaign.snapshots} rounds={campaign.attempts} sum=exact seconds={time.monotonic() - begin:.1f}", flush=True)
        return campaign
