#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""usage: read_snapshot.py [--check] FILE                     SHA-256 of the whole array
       read_snapshot.py [--check] FILE ADDRESS LENGTH      bytes of a range, to standard output

Reads a snapshot. Written from docs/snapshot-format.md and the protobuf library's own code for proto/snapshot.proto, which stands in
$SNAPSHOT_PB2 (a folder, made by `protoc --python_out`), and the program zstd for chunks that are compressed.
--check: all checksums, too; slow in Python.
"""
import hashlib
import os
import struct
import subprocess
import sys

from google.protobuf.message import DecodeError

sys.path.insert(0, os.environ.get("SNAPSHOT_PB2", "."))
import snapshot_pb2 as pb  # noqa: E402

WINDOW, PAGE, HEADER, TRAILER = 262144, 4096, 4096, 64
TABLE = []
for number in range(256):
    for _ in range(8):
        number = number >> 1 ^ (0x82F63B78 if number & 1 else 0)
    TABLE.append(number)


class Damaged(Exception):
    pass


def need(condition, what):
    if not condition:
        raise Damaged(what)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


class Snapshot:
    def __init__(self, path, check=False):
        self.file, self.check = open(path, "rb"), check
        self.size = self.file.seek(0, os.SEEK_END)
        need(self.size >= HEADER + TRAILER, "too short")
        begin, end = self.at(0, HEADER), self.at(self.size - TRAILER, TRAILER)
        need(begin[:8] == b"MCSNAP1\n" and end[:8] == b"MCSEND1\n", "not a snapshot, or cut")
        version, header_crc, index, index_bytes, index_crc, nodes, size, k, zero, crc = struct.unpack("<8x2I2Q2I2Q2I", end)
        need(version == 1, f"format {version} is not known")
        need(size == self.size and index + index_bytes == size - TRAILER and zero == 0, "trailer")
        if check:
            need(crc32c(end[:60]) == crc and crc32c(begin) == header_crc, "checksum of trailer or header")
            need(crc32c(self.at(index, index_bytes)) == index_crc, "checksum of the index")
        self.header = self.record(8)[0].header
        need((self.header.segment_size, self.header.nodes) == (k, nodes), "header and trailer differ")
        self.k, self.bytes = k, k * nodes
        self.offset = {}  # of the record with each window's chunk
        self.index = self.record(index)[0].index
        for offset, block_crc in zip(self.index.offset, self.index.crc32c):
            record, length = self.record(offset)
            need(not check or crc32c(self.at(offset, length)) == block_crc, f"checksum of the index block at {offset}")
            self.offset.update(zip(record.index_block.address, zip(record.index_block.offset, record.index_block.crc32c)))
        need(len(self.offset) == self.index.chunks, "number of chunks")

    def at(self, offset, length):
        self.file.seek(offset)
        data = self.file.read(length)
        need(len(data) == length, f"the file ends before {offset + length}")
        return data

    def record(self, offset):
        """The record at offset, and its bytes, with the length before it."""
        length = shift = used = 0
        while True:
            byte = self.at(offset + used, 1)[0]
            length |= (byte & 0x7F) << shift
            shift, used = shift + 7, used + 1
            if byte < 0x80:
                break
            need(used < 10, f"length at {offset}")
        return pb.Record.FromString(self.at(offset + used, length)), used + length

    def window(self, address):
        """All bytes of the window that begins at address."""
        length = min(WINDOW, self.k - address % self.k)
        if address not in self.offset:
            return bytes(length)
        offset, crc = self.offset[address]
        chunk = self.record(offset)[0].chunk
        need(chunk.address == address and chunk.crc32c == crc, f"chunk at {offset} is another one")
        data, stored = chunk.data, [i for i in range(64) if chunk.pages >> i & 1]
        if chunk.compression == pb.COMPRESSION_ZSTD:
            need(not self.check or crc32c(data) == chunk.data_crc32c, f"checksum of the compressed chunk at {offset}")
            data = subprocess.run(["zstd", "-dcq"], input=data, stdout=subprocess.PIPE, check=True).stdout
        need(len(data) == PAGE * len(stored), f"length of the chunk at {offset}")
        need(not self.check or crc32c(struct.pack("<2Q", address, chunk.pages) + data) == crc, f"checksum of the chunk at {offset}")
        out = bytearray(length)
        for number, page in enumerate(stored):
            out[page * PAGE:(page + 1) * PAGE] = data[number * PAGE:(number + 1) * PAGE]
        return bytes(out)

    def read(self, address, length):
        """The bytes of a range, piece by piece."""
        need(0 <= address <= address + length <= self.bytes, "outside the array")
        while length > 0:
            first = address - address % self.k % WINDOW
            piece = self.window(first)[address - first:][:length]
            yield piece
            address, length = address + len(piece), length - len(piece)


def main(arguments):
    check = arguments[:1] == ["--check"]
    path, *wanted = arguments[check:] or [None]
    if not path or len(wanted) not in (0, 2):
        sys.exit(__doc__)
    snapshot = Snapshot(path, check)
    address, length = map(int, wanted) if wanted else (0, snapshot.bytes)
    digest = hashlib.sha256()
    for piece in snapshot.read(address, length):
        if wanted:
            sys.stdout.buffer.write(piece)
        digest.update(piece)
    if not wanted:
        print(digest.hexdigest())


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (Damaged, DecodeError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"read_snapshot: {error}")
