/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a snapshot file: no crash, no leak, no hang, no memory beyond the file's size; a file that verify finds sound can be read. Each input
 * is tried twice: as it is, and with all checksums made right, or nothing behind them would ever be reached. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/le.h"
#include "snapshot/format.h"

#define WINDOWS_READ 64u

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static int file = -1;
static char path[64];

static void store(const uint8_t *bytes, size_t count)
{
    if (file < 0) {
        file = memfd_create("fuzz", 0);
        MC_ASSERT(file >= 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    }
    MC_ASSERT(ftruncate(file, 0) == 0 && pwrite(file, bytes, count, 0) == (ssize_t)count);
}

static void count_problem(void *arg, const struct snapshot_problem *problem)
{
    MC_ASSERT(problem->text[0] && memchr(problem->text, 0, sizeof problem->text));
    MC_ASSERT(problem->length > 0 || problem->address == 0);
    ++*(size_t *)arg;
}

static void no_range(void *arg, uint64_t address, uint64_t length)
{
    (void)arg;
    MC_ASSERT(address == UINT64_MAX && length == 0); /* a file does not differ from itself */
}

/** Read the first windows that have a chunk. Returns whether all could be. */
static bool read_some(struct snapshot_reader *reader)
{
    static uint8_t buf[SNAPSHOT_CHUNK_BYTES];
    struct err err;
    uint64_t found, address = 0;
    for (unsigned i = 0; i < WINDOWS_READ; i++) {
        enum mcomp_status status = snapshot_reader_next(reader, address, &found, &err);
        if (status == MCOMP_OK && found == UINT64_MAX)
            break;
        uint32_t bytes = status == MCOMP_OK ? chunk_window_bytes(snapshot_reader_header(reader)->segment_size, found) : 0;
        if (status == MCOMP_OK)
            status = snapshot_reader_read(reader, found, bytes, buf, &err);
        if (status != MCOMP_OK) {
            MC_ASSERT(status == MCOMP_DATA_LOSS && err.code == status);
            return false;
        }
        MC_ASSERT(found + bytes > address);
        address = found + bytes;
    }
    return true;
}

static void exercise(void)
{
    struct snapshot_reader *reader;
    struct err err;
    size_t problems = 0;
    uint64_t chunks;
    uint8_t byte;
    enum mcomp_status verified = snapshot_verify(path, count_problem, NULL, &problems, &chunks, &err);
    MC_ASSERT(verified == MCOMP_UNIMPLEMENTED || (verified == MCOMP_OK) == (problems == 0));
    enum mcomp_status status = snapshot_reader_open(&reader, path, &err);
    MC_ASSERT(status == MCOMP_OK || (verified != MCOMP_OK && !reader));
    if (status != MCOMP_OK)
        return;
    uint64_t size = snapshot_reader_grid_bytes(reader);
    MC_ASSERT(size > 0 && size <= INT64_MAX);
    (void)snapshot_reader_read(reader, size - 1, 1, &byte, &err);
    bool readable = read_some(reader);
    MC_ASSERT(verified != MCOMP_OK || readable);
    status = snapshot_diff(reader, reader, no_range, NULL, &err);
    MC_ASSERT(status == MCOMP_OK || verified != MCOMP_OK);
    snapshot_reader_close(reader);
}

/* ---- right checksums ---- */

static void put32(uint8_t *out, uint32_t value)
{
    memcpy(out, &value, sizeof value);
}

/** Make the chunk's checksums right. Returns the one that the index has; 0 when there is no chunk. */
static uint32_t repair_chunk(uint8_t *bytes, size_t count, uint64_t offset)
{
    Chunk chunk;
    uint64_t length;
    struct chunk_opener opener = {0};
    const uint8_t *pages;
    uint8_t head[FORMAT_CHUNK_HEAD_BYTES_MAX], key[16];
    if (offset >= count || !format_chunk_head_get(&chunk, &length, bytes + offset, count - offset) || length > count - offset)
        return 0;
    size_t head_bytes = (size_t)length - chunk.data.len;
    if (chunk.compression != MCOMP__SNAPSHOT__V1__COMPRESSION__COMPRESSION_NONE)
        chunk.data_crc32c = crc32c(0, chunk.data.data, chunk.data.len);
    struct err err; /* what is unpacked is checked last, so the pages are there if the checksum is all that is wrong */
    enum mcomp_status status = chunk_open(&opener, &chunk, 0, 0, &pages, &err);
    if (status == MCOMP_OK || status == MCOMP_DATA_LOSS) {
        le64_put(key, chunk.address);
        le64_put(key + 8, chunk.pages);
        size_t stored = (size_t)__builtin_popcountll(chunk.pages) * SNAPSHOT_PAGE_BYTES;
        const uint8_t *from = opener.unpacked ? opener.unpacked : chunk.data.data;
        if (opener.unpacked || chunk.data.len == stored)
            chunk.crc32c = crc32c(crc32c(0, key, sizeof key), from, stored);
    }
    if (format_chunk_head_put(head, &chunk) == head_bytes)
        memcpy(bytes + offset, head, head_bytes);
    chunk_opener_close(&opener);
    return chunk.crc32c;
}

/** Length of the record at offset, with its prefix, if it is a short one; else 0. */
static size_t short_record(const uint8_t *bytes, size_t count, uint64_t offset)
{
    if (offset + 3 > count || (bytes[offset] & 0x80 && bytes[offset + 1] & 0x80))
        return 0;
    size_t length = bytes[offset] & 0x80 ? 2 + (bytes[offset] & 0x7fu) + ((size_t)bytes[offset + 1] << 7) : 1 + (size_t)bytes[offset];
    return length <= count - offset ? length : 0;
}

/** Returns the checksum of the block's record; 0 when there is none. */
static uint32_t repair_block(uint8_t *bytes, size_t count, uint64_t offset)
{
    size_t length = offset < count ? short_record(bytes, count, offset) : 0, packed_bytes;
    Record *record = length ? format_record_unpack(FORMAT_BLOCK, bytes + offset, length) : NULL;
    if (!record)
        return length ? crc32c(0, bytes + offset, length) : 0;
    IndexBlock *block = record->index_block;
    for (size_t i = 0; i < block->n_crc32c && i < block->n_offset && i < FORMAT_BLOCK_CHUNKS; i++)
        block->crc32c[i] = repair_chunk(bytes, count, block->offset[i]);
    uint8_t *packed;
    MC_ASSERT(format_record_pack(&packed, &packed_bytes, record, NULL) == MCOMP_OK);
    if (packed_bytes == length)
        memcpy(bytes + offset, packed, length);
    free(packed);
    mcomp__snapshot__v1__record__free_unpacked(record, NULL);
    return crc32c(0, bytes + offset, length);
}

/** Make all checksums right that there are, and the lengths in the trailer. false: it has none, not even a wrong one. */
static bool repair(uint8_t *bytes, size_t count)
{
    if (count < SNAPSHOT_HEADER_BYTES + SNAPSHOT_TRAILER_BYTES)
        return false;
    uint8_t *end = bytes + count - SNAPSHOT_TRAILER_BYTES;
    size_t records_end = count - SNAPSHOT_TRAILER_BYTES;
    uint64_t index_offset = le64_get(end + 16);
    if (index_offset < SNAPSHOT_HEADER_BYTES || index_offset > records_end)
        return false;
    size_t index_bytes = records_end - index_offset, packed_bytes;
    Record *record = format_record_unpack(FORMAT_INDEX, bytes + index_offset, index_bytes);
    if (record) {
        Index *index = record->index;
        for (size_t i = 0; i < index->n_crc32c && i < index->n_offset; i++)
            index->crc32c[i] = repair_block(bytes, (size_t)index_offset, index->offset[i]);
        uint8_t *packed;
        MC_ASSERT(format_record_pack(&packed, &packed_bytes, record, NULL) == MCOMP_OK);
        if (packed_bytes == index_bytes)
            memcpy(bytes + index_offset, packed, packed_bytes);
        free(packed);
        mcomp__snapshot__v1__record__free_unpacked(record, NULL);
    }
    struct format_trailer trailer = {.format_version = 1, .index_offset = index_offset, .index_bytes = index_bytes, .file_bytes = count};
    trailer.header_crc = crc32c(0, bytes, SNAPSHOT_HEADER_BYTES);
    trailer.index_crc = crc32c(0, bytes + index_offset, index_bytes);
    memcpy(&trailer.nodes, end + 36, sizeof trailer.nodes);
    trailer.segment_size = le64_get(end + 48);
    format_trailer_put(end, &trailer);
    put32(end + 60, crc32c(0, end, 60));
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    store(bytes, count);
    exercise();
    uint8_t *copy = malloc(count + 1);
    MC_ASSERT(copy);
    memcpy(copy, bytes, count);
    if (repair(copy, count)) {
        store(copy, count);
        exercise();
    }
    free(copy);
    return 0;
}
