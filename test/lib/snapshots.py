# SPDX-License-Identifier: Apache-2.0
"""A client of the exchange of snapshot.proto, and a reader of snapshot files; like wire.py they share no code with the project."""
import os
import re
import select
import socket
import time

from waiting import PATIENCE_S, wait_until
from wire import STATUS_NAME, Closed, decode, encode, frame, take_varint, varint

PAGE = 4096
CHUNK = 262144
HEADER_BYTES = 4096
TRAILER_BYTES = 64
NONE, ZSTD = 1, 2
IDLE, FREEZE, CUT, COLLECT, COMMIT = 1, 2, 3, 4, 5
FROZEN, OLD, BUSY = 1, 2, 3
SUFFIX = ".mcsnap"
# What a round says that ended because somebody in it was slow, or because one before it did.
LATE = re.compile(r"not frozen in time|answer to the cut in time|its lease ran out|another round holds it|stopped sending its part|came about in time|"
                  r"did not answer in \d+ ms|takes no part in round|was ended, or took too long|ended while its pages were")

SCHEMA = {
    "Record": {1: ("header", "Header"), 2: ("chunk", "Chunk"), 3: ("index_block", "IndexBlock"), 4: ("index", "Index")},
    "Header": {1: ("format_version", "uint"), 2: ("grid", "string"), 3: ("segment_size", "uint"), 4: ("nodes", "uint"), 5: ("page_bytes", "uint"),
               6: ("chunk_bytes", "uint"), 7: ("round", "uint"), 8: ("cut_utc_ns", "uint"), 9: ("longest_pause_ns", "uint"),
               10: ("duration_ns", "uint"), 11: ("freeze_ns", "uint"), 12: ("cut_ns", "uint"), 13: ("collect_ns", "uint"),
               14: ("pages_stored", "uint"), 15: ("pages_preserved", "uint"), 16: ("written_by", "string"), 127: ("padding", "bytes")},
    "Chunk": {1: ("address", "uint"), 2: ("pages", "fixed64"), 3: ("crc32c", "fixed32"), 4: ("compression", "uint"), 5: ("data_crc32c", "fixed32"),
              6: ("data", "bytes")},
    "IndexBlock": {1: ("node", "uint"), 2: ("address", "*uint"), 3: ("offset", "*uint"), 4: ("crc32c", "*fixed32")},
    "Index": {1: ("first_address", "*uint"), 2: ("last_address", "*uint"), 3: ("offset", "*uint"), 4: ("crc32c", "*fixed32"), 5: ("chunks", "uint")},
    "Request": {1: ("id", "uint"), 2: ("grid", "string"), 8: ("freeze", "Freeze"), 9: ("cut", "Cut"), 10: ("unfreeze", "Unfreeze"),
                11: ("pull", "Pull"), 12: ("end", "End"), 16: ("take_snapshot", "TakeSnapshot"), 17: ("round_query", "RoundQuery"),
                18: ("list", "List")},
    "Response": {1: ("id", "uint"), 2: ("status", "uint"), 3: ("message", "string"), 8: ("freeze", "FreezeResult"), 9: ("cut", "CutResult"),
                 11: ("pull", "PullResult"), 16: ("take_snapshot", "TakeSnapshotResult"), 17: ("round_status", "RoundStatus"),
                 18: ("list", "ListResult")},
    "Freeze": {1: ("round", "uint"), 2: ("lease_ms", "uint"), 3: ("segment_size", "uint"), 4: ("nodes", "uint")},
    "FreezeResult": {1: ("outcome", "uint"), 2: ("max_round", "uint")},
    "Cut": {1: ("round", "uint")},
    "CutResult": {1: ("done", "bool"), 2: ("pause_ns", "uint")},
    "Unfreeze": {1: ("round", "uint")},
    "Pull": {1: ("round", "uint"), 2: ("offset", "uint"), 3: ("max_bytes", "uint")},
    "PullResult": {1: ("next_offset", "uint"), 2: ("chunk", "*Chunk"), 3: ("complete", "bool"), 4: ("pages_preserved", "uint")},
    "End": {1: ("round", "uint")},
    "TakeSnapshot": {},
    "TakeSnapshotResult": {1: ("file", "string"), 2: ("header", "Header"), 3: ("leader", "uint")},
    "RoundQuery": {},
    "RoundStatus": {1: ("node", "uint"), 2: ("leader", "uint"), 3: ("phase", "uint"), 4: ("round", "uint"), 5: ("elapsed_ns", "uint"),
                    6: ("node_bytes", "*uint"), 7: ("bytes_written", "uint"), 8: ("rounds_done", "uint"), 9: ("rounds_failed", "uint"),
                    10: ("last_error", "string"), 11: ("last_file", "string"), 12: ("last", "Header"), 13: ("last_bytes", "uint"),
                    14: ("last_commit_ns", "uint"), 15: ("part", "NodeRound")},
    "NodeRound": {1: ("round", "uint"), 2: ("pause_ns", "uint"), 3: ("pages_preserved", "uint"), 4: ("bytes_captured", "uint"),
                  5: ("capture_ns", "uint"), 6: ("complete", "bool")},
    "List": {},
    "ListResult": {1: ("file", "*File")},
    "File": {1: ("name", "string"), 2: ("bytes", "uint"), 3: ("header", "Header"), 4: ("problem", "string")},
}


def _crc_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82f63b78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC_TABLE = _crc_table()


def crc32c(data):
    """CRC-32C, Castagnoli."""
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 0xff]
    return crc ^ 0xffffffff


def encode_chunk(address, pages, data, crc=None, compression=NONE):
    """A Chunk's body; crc: instead of the right one."""
    if crc is None:
        crc = crc32c(address.to_bytes(8, "little") + pages.to_bytes(8, "little") + data)
    return (b"\x08" + varint(address) + b"\x11" + pages.to_bytes(8, "little") + b"\x1d" + crc.to_bytes(4, "little") + b"\x20" + varint(compression) +
            b"\x32" + varint(len(data)) + data)


class Exchange:
    """A connection to a snapshot process. Every wait on it is bounded by timeout_s."""

    def __init__(self, grid, node=0, timeout_s=PATIENCE_S):
        self.grid = grid.name
        self.socket = socket.create_connection((grid.snapshot_host(node), grid.snapshot_port(node)), timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.next_id = 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def raw(self, data):
        """Send bytes as they are."""
        self.socket.sendall(data)

    def send(self, op, grid=None, **fields):
        """Send one request and return its id."""
        number, self.next_id = self.next_id, self.next_id + 1
        self.raw(frame(encode("Request", {"id": number, "grid": self.grid if grid is None else grid, op: fields}, SCHEMA)))
        return number

    def receive(self):
        """The next response, with the status as a name. Raises Closed at the end of the stream."""
        while True:
            size, at = take_varint(self.buffer, 0)
            if size is not None and len(self.buffer) - at >= size:
                answer = decode("Response", bytes(self.buffer[at:at + size]), SCHEMA)
                del self.buffer[:at + size]
                answer["status"] = STATUS_NAME[answer["status"]]
                return answer
            try:
                data = self.socket.recv(1 << 20)
            except (ConnectionResetError, BrokenPipeError) as error:
                raise Closed(str(error), bytes(self.buffer)) from error
            if not data:
                raise Closed("end of stream", bytes(self.buffer))
            self.buffer += data

    def call(self, op, **fields):
        """Send one request and wait for its response, the only one under way."""
        number = self.send(op, **fields)
        answer = self.receive()
        assert answer["id"] == number, answer
        return answer


def late(answer):
    """Did a round fail for want of time, as it may on a machine that is slow? The text of an error may be given as well."""
    return bool(LATE.search(answer if isinstance(answer, str) else answer["status"] != "OK" and answer["message"] or ""))


def take_on(exchange):
    """Ask for a snapshot, and again while rounds fail for want of time. Returns the whole answer."""
    end = time.monotonic() + PATIENCE_S
    while True:
        answer = exchange.call("take_snapshot")
        if not late(answer) or time.monotonic() > end:
            return answer


def take(grid, node=0):
    """take_on() a connection of its own."""
    with Exchange(grid, node) as exchange:
        return take_on(exchange)


def status(grid, node=0):
    """What a snapshot process says about its rounds."""
    with Exchange(grid, node) as exchange:
        return exchange.call("round_query")["round_status"]


def begin_collection(grid, exchange, node=0):
    """Ask for a snapshot, and again if its round fails for want of time, until one is collecting. False: it was through before that was seen."""
    answered = select.poll()
    answered.register(exchange.socket, select.POLLIN)
    while True:
        exchange.send("take_snapshot")
        wait_until(lambda: status(grid, node)["phase"] == COLLECT or answered.poll(0), what="the collection")
        if not answered.poll(0):
            return True
        if not late(exchange.receive()):
            return False


class File:
    """A snapshot file, read from its beginning to its end."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = file.read()
        assert self.data[:8] == b"MCSNAP1\n" and self.data[-64:-56] == b"MCSEND1\n", "no complete snapshot"
        self.chunks = []
        at, end = 8, len(self.data) - TRAILER_BYTES
        while at < end:
            size, begin = take_varint(self.data, at)
            record = decode("Record", self.data[begin:begin + size], SCHEMA)
            at = begin + size
            if "header" in record:
                self.header = record["header"]
            elif "chunk" in record:
                self.chunks.append(record["chunk"])
        assert at == end, "the last record ends where the trailer begins"

    def image(self):
        """The grid's bytes; only of a file without compression."""
        out = bytearray(self.header["segment_size"] * self.header["nodes"])
        for chunk in self.chunks:
            assert chunk["compression"] == NONE
            at = 0
            for page in range(CHUNK // PAGE):
                if chunk["pages"] >> page & 1:
                    address = chunk["address"] + page * PAGE
                    out[address:address + PAGE] = chunk["data"][at:at + PAGE]
                    at += PAGE
            assert at == len(chunk["data"])
        return bytes(out)


def directory(grid):
    """Where the grid's snapshots are by default."""
    return grid.path("snapshots")


def files(folder):
    """Names of complete files and of temporary ones, each sorted."""
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [name for name in names if name.endswith(SUFFIX)], [name for name in names if name.endswith(".tmp")]
