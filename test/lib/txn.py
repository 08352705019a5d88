# SPDX-License-Identifier: Apache-2.0
"""Raw transactions: a client that keeps the rules only as far as a test tells it to."""
import os

OUTCOME = {1: "COMMITTED", 2: "PREPARED", 3: "ABORTED", 4: "NO_SESSION", 5: "STALE", 6: "MISUSE"}
REASON = {0: "", 1: "BUSY", 2: "COMPARE", 3: "FROZEN", 4: "MEMORY", 5: "TOLD", 6: "FORCED"}


def word(value):
    """A 64-bit word as the grid has it."""
    return (value % 2 ** 64).to_bytes(8, "little")


def compare(address, expected):
    return {"address": address, "expected": expected}


def read(address, length=8):
    return {"address": address, "length": length}


def write(address, data):
    return {"address": address, "data": data}


def add(address, delta):
    return {"address": address, "delta": delta % 2 ** 64}


def said(answer):
    """An answer in short: "COMMITTED", "ABORTED BUSY", or the status when it is not OK."""
    if answer["status"] != "OK":
        return answer["status"]
    result = answer["transaction"]
    return " ".join(filter(None, (OUTCOME[result["outcome"]], REASON[result["reason"]])))


class Session:
    """A session at the node of one connection."""

    def __init__(self, connection, client=None):
        self.connection = connection
        self.client = client or os.urandom(16)
        answer = connection.call("open_session", client=self.client)
        if answer["status"] != "OK":
            raise AssertionError(f"no session: {answer}")
        self.number, self.generation = answer["open_session"]["session"], answer["open_session"]["generation"]
        self.lanes = answer["open_session"]["lanes"]

    def id(self, sequence, lane=0):
        return {"session": self.number, "lane": lane, "generation": self.generation, "sequence": sequence}

    def execute(self, sequence, lane=0, timeout_ms=0, **items):
        return self.connection.call("execute", timeout_ms, id=self.id(sequence, lane), items=items)

    def prepare(self, sequence, participants=None, lane=0, timeout_ms=0, node=0, **items):
        """participants: [(node, id)]; by default this node alone."""
        here = participants or [(node, self.id(sequence, lane))]
        return self.connection.call("prepare", timeout_ms, id=self.id(sequence, lane), items=items,
                                    participants=[{"node": number, "id": there} for number, there in here])

    def decide(self, sequence, commit, lane=0, want_answer=False):
        return self.connection.call("decide", id=self.id(sequence, lane), commit=commit, want_answer=want_answer)

    def resolve(self, sequence, lane=0, want_answer=False):
        return self.connection.call("resolve", id=self.id(sequence, lane), want_answer=want_answer)

    def close(self):
        return self.connection.call("close_session", session=self.number, generation=self.generation)
