/* SPDX-License-Identifier: Apache-2.0 */
/* Verifying. The records are walked in file order; each must be sound in itself and be where the index has it. Behind a damaged one the walk goes
 * on at the next sound one, found by trying each byte: a chunk's first bytes are canonical and its checksum holds, which no other bytes have by
 * chance. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "snapshot/reader.h"
#include "wire/varint.h"

#define SCAN_BYTES (64u << 10)
#define SCAN_OVERLAP FORMAT_CHUNK_HEAD_BYTES_MAX
#define PREFIX_BYTES_MAX 3u /* of the length of a chunk or a block */
#define PROGRESS_BYTES (1u << 20)

_Static_assert(FORMAT_CHUNK_RECORD_BYTES_MAX < 1u << 21 && FORMAT_BLOCK_RECORD_BYTES_MAX < 1u << 21, "three bytes hold their lengths");

struct verify {
    struct snapshot_reader reader;
    void (*report)(void *arg, const struct snapshot_problem *problem);
    void (*progress)(void *arg, uint64_t done, uint64_t bytes);
    void *arg;
    uint64_t end;           /* of the records, as far as it is known */
    bool index_met;         /* without a trailer: the walk came to the index */
    uint64_t chunks, pages; /* sound */
    uint64_t problems;
    uint64_t progress_at;
    char first[sizeof((struct snapshot_problem *)0)->text]; /* text of the first problem */
    uint64_t node_end[GRID_NODES_MAX]; /* end of the node's last sound chunk; 0: none */
    uint8_t *scan; /* owned, SCAN_BYTES */
};

/** What stands at a place of the file. */
struct found {
    bool sound;
    uint64_t bytes;   /* 0: unknown */
    uint64_t address; /* of a chunk, as far as it can be believed; else UINT64_MAX */
    struct err err;   /* what is wrong, unless sound */
};

static void problem(struct verify *verify, uint64_t offset, uint64_t bytes, uint64_t address, uint64_t length, const char *text)
{
    struct snapshot_problem is = {.offset = offset, .bytes = bytes, .address = length ? address : 0, .length = length};
    snprintf(is.text, sizeof is.text, "%s", text);
    if (verify->problems++ == 0)
        memcpy(verify->first, is.text, sizeof verify->first);
    verify->report(verify->arg, &is);
}

static uint64_t window_end(const struct verify *verify, uint64_t window)
{
    return window + chunk_window_bytes(verify->reader.segment_size, window);
}

/* ---- what is lost ---- */

/** Tells of runs of lost windows that follow each other. */
struct loss {
    uint64_t offset, bytes;
    const char *text;
    uint64_t begin, end; /* equal: nothing yet */
    bool told;
};

static void loss_tell(struct verify *verify, struct loss *loss)
{
    if (loss->begin == loss->end)
        return;
    problem(verify, loss->offset, loss->bytes, loss->begin, loss->end - loss->begin, loss->text);
    loss->told = true;
}

static void loss_add(struct verify *verify, struct loss *loss, uint64_t begin, uint64_t end)
{
    if (begin != loss->end || loss->begin == loss->end) {
        loss_tell(verify, loss);
        loss->begin = begin;
    }
    loss->end = end;
}

/** The chunks of index block `number` that stand in the bad range; all of them if the block itself does. */
static void loss_of_block(struct verify *verify, struct loss *loss, size_t number)
{
    struct snapshot_reader *reader = &verify->reader;
    const Index *index = reader_index(reader);
    const IndexBlock *block;
    uint64_t segment_size = reader->segment_size, own = index->offset[number], limit = loss->offset + loss->bytes;
    bool same_node = number > 0 && index->first_address[number - 1] / segment_size == index->first_address[number] / segment_size;
    uint64_t before = same_node ? index->offset[number - 1] : 0;
    if (own < loss->offset || before >= limit)
        return;
    if (own < limit) {
        loss_add(verify, loss, index->first_address[number], window_end(verify, index->last_address[number]));
        return;
    }
    struct err ignored; /* a block that cannot be read is a problem of its own, which names all of its chunks */
    if (reader_load_block(reader, number, &block, &ignored) != MCOMP_OK)
        return;
    for (size_t i = 0; i < block->n_address; i++) {
        if (block->offset[i] >= loss->offset && block->offset[i] < limit)
            loss_add(verify, loss, block->address[i], window_end(verify, block->address[i]));
    }
}

/** Bytes [offset, offset+bytes) are bad. address: of the chunk that they are, if that could be read, else UINT64_MAX; the index knows better. */
static void bad_range(struct verify *verify, uint64_t offset, uint64_t bytes, uint64_t address, const char *text)
{
    struct snapshot_reader *reader = &verify->reader;
    struct loss loss = {.offset = offset, .bytes = bytes, .text = text};
    if (reader->index) {
        for (size_t i = 0; i < reader_index(reader)->n_offset; i++)
            loss_of_block(verify, &loss, i);
    } else if (address != UINT64_MAX && reader->segment_size && address / reader->segment_size < reader->nodes) {
        loss_add(verify, &loss, address, window_end(verify, address));
    }
    loss_tell(verify, &loss);
    if (!loss.told)
        problem(verify, offset, bytes, 0, 0, text);
}

/* ---- one record ---- */

static enum mcomp_status check_against_index(struct verify *verify, const Chunk *chunk, uint64_t offset, struct err *err)
{
    struct reader_entry entry;
    bool any;
    if (!verify->reader.index)
        return MCOMP_OK;
    enum mcomp_status status = reader_find_chunk(&verify->reader, chunk->address, &entry, &any, err);
    if (status == MCOMP_RESOURCE_EXHAUSTED)
        return status;
    if (status != MCOMP_OK) /* its block is damaged, which is told there */
        return MCOMP_OK;
    if (any && entry.address == chunk->address && entry.offset == offset && entry.crc == chunk->crc32c)
        return MCOMP_OK;
    return err_set(err, MCOMP_DATA_LOSS, "a chunk of address %" PRIu64 " that the index does not have there", chunk->address);
}

static void check_chunk(struct verify *verify, uint64_t offset, struct found *found)
{
    struct snapshot_reader *reader = &verify->reader;
    Chunk chunk;
    enum mcomp_status status = reader_load_record(reader, offset, verify->end, &chunk, &found->bytes, &found->err);
    if (found->bytes > verify->end - offset)
        found->bytes = 0;
    if (found->bytes > 0)
        found->address = chunk.address;
    if (status == MCOMP_OK)
        status = check_against_index(verify, &chunk, offset, &found->err);
    found->sound = status == MCOMP_OK;
}

/** Length of the record that begins with in[0 … bytes) and is of that kind, with its prefix; 0: there is none. */
static uint64_t record_length(enum format_record kind, const uint8_t *in, size_t bytes)
{
    int cut;
    uint64_t outer, inner;
    const uint8_t *at = varint_get(in, in + bytes, &outer, &cut);
    if (!at || at == in + bytes || *at != kind)
        return 0;
    size_t prefix = (size_t)(at - in);
    at = varint_get(at + 1, in + bytes, &inner, &cut);
    if (!at || inner > UINT32_MAX || outer != 1 + varint_size(inner) + inner || prefix != varint_size(outer))
        return 0;
    return prefix + outer;
}

/** An index block, in[0 … bytes), that stands at offset. */
static bool block_sound(struct verify *verify, uint64_t offset, const uint8_t *in, size_t bytes, struct err *err)
{
    struct snapshot_reader *reader = &verify->reader;
    Record *record = format_record_unpack(FORMAT_BLOCK, in, bytes);
    bool sound = record && reader_block_ok(record->index_block, reader->segment_size, reader->nodes, offset);
    if (sound && reader->index) {
        const Index *index = reader_index(reader);
        size_t number = reader_find_block(reader, record->index_block->address[0]);
        sound = number < index->n_offset && index->offset[number] == offset && index->crc32c[number] == crc32c(0, in, bytes);
    }
    mcomp__snapshot__v1__record__free_unpacked(record, NULL);
    if (!sound)
        (void)err_set(err, MCOMP_DATA_LOSS, "a damaged index block");
    return sound;
}

/** Is there a block, or without a trailer the index? */
static void check_other(struct verify *verify, uint64_t offset, struct found *found)
{
    struct snapshot_reader *reader = &verify->reader;
    uint8_t head[32], *raw;
    size_t got;
    struct err err;
    if (format_pread(reader->fd, reader->path, head, sizeof head, offset, &got, &err) != MCOMP_OK)
        return;
    uint64_t block_bytes = record_length(FORMAT_BLOCK, head, got), index_bytes = record_length(FORMAT_INDEX, head, got);
    uint64_t bytes = block_bytes ? block_bytes : index_bytes;
    uint64_t most = block_bytes ? FORMAT_BLOCK_RECORD_BYTES_MAX : reader->trailer.format_version ? 0 : format_index_bytes_max(reader->file_bytes);
    if (bytes == 0 || bytes > verify->end - offset || bytes > most)
        return;
    if (reader_read_raw(reader, offset, bytes, &raw, &err) != MCOMP_OK)
        return;
    found->bytes = bytes;
    if (block_bytes) {
        found->sound = block_sound(verify, offset, raw, bytes, &found->err);
    } else {
        Record *record = format_record_unpack(FORMAT_INDEX, raw, bytes);
        found->sound = verify->index_met = record != NULL;
        mcomp__snapshot__v1__record__free_unpacked(record, NULL);
    }
    free(raw);
}

static void check_record(struct verify *verify, uint64_t offset, struct found *found)
{
    *found = (struct found){.address = UINT64_MAX};
    check_chunk(verify, offset, found);
    if (found->sound || found->bytes > 0 || found->err.code == MCOMP_RESOURCE_EXHAUSTED)
        return;
    check_other(verify, offset, found);
    if (found->bytes == 0 && found->err.code == MCOMP_DATA_LOSS)
        (void)err_set(&found->err, MCOMP_DATA_LOSS, "no sound record of the file begins there");
}

/* ---- the way to the next sound record ---- */

/** Could in[0 … bytes) begin a record that ends before `left` bytes are over? Cheap, and seldom wrong. */
static bool plausible(const struct verify *verify, const uint8_t *in, size_t bytes, uint64_t left)
{
    Chunk chunk;
    uint64_t length;
    if (format_chunk_head_get(&chunk, &length, in, bytes))
        return length <= left;
    length = record_length(FORMAT_BLOCK, in, bytes);
    if (length == 0 && verify->reader.trailer.format_version == 0)
        length = record_length(FORMAT_INDEX, in, bytes);
    return length > 0 && length <= left;
}

/** The first place in [offset, offset+bytes), which are in verify->scan, where a sound record begins; UINT64_MAX: none. */
static uint64_t scan(struct verify *verify, uint64_t offset, size_t bytes)
{
    for (size_t tag = 1; tag < bytes; tag++) {
        uint8_t byte = verify->scan[tag];
        if (byte != FORMAT_CHUNK && byte != FORMAT_BLOCK && byte != FORMAT_INDEX)
            continue;
        for (size_t prefix = PREFIX_BYTES_MAX < tag ? PREFIX_BYTES_MAX : tag; prefix > 0; prefix--) {
            size_t begin = tag - prefix;
            struct found found;
            if (!plausible(verify, verify->scan + begin, bytes - begin, verify->end - offset - begin))
                continue;
            check_record(verify, offset + begin, &found);
            if (found.sound)
                return offset + begin;
        }
    }
    return UINT64_MAX;
}

static void tell_progress(struct verify *verify, uint64_t done)
{
    if (!verify->progress || (done < verify->progress_at + PROGRESS_BYTES && done < verify->reader.file_bytes))
        return;
    verify->progress_at = done;
    verify->progress(verify->arg, done, verify->reader.file_bytes);
}

/** Where the next sound record begins, at from or later; verify->end if nowhere. Bytes that the disk does not give are passed over. */
static uint64_t resynchronise(struct verify *verify, uint64_t from)
{
    struct snapshot_reader *reader = &verify->reader;
    while (from < verify->end) {
        uint64_t left = verify->end - from;
        size_t want = left < SCAN_BYTES ? (size_t)left : SCAN_BYTES, got;
        struct err ignored;
        enum mcomp_status status = format_pread(reader->fd, reader->path, verify->scan, want, from, &got, &ignored);
        uint64_t place = scan(verify, from, got);
        if (place != UINT64_MAX)
            return place;
        if (status != MCOMP_OK)
            from = (from + got) / SNAPSHOT_PAGE_BYTES * SNAPSHOT_PAGE_BYTES + SNAPSHOT_PAGE_BYTES;
        else if (got < SCAN_BYTES)
            break;
        else
            from += got - SCAN_OVERLAP;
        tell_progress(verify, from);
    }
    return verify->end;
}

/* ---- the whole file ---- */

static void note_sound(struct verify *verify, const struct found *found)
{
    const struct snapshot_reader *reader = &verify->reader;
    if (found->address == UINT64_MAX)
        return;
    verify->chunks++;
    verify->pages += (uint64_t)__builtin_popcountll(reader->window_pages);
    if (reader->segment_size)
        verify->node_end[found->address / reader->segment_size] = window_end(verify, found->address);
}

/** Walk over the records. Returns where the walk ended: verify->end, or behind the index. */
static enum mcomp_status walk(struct verify *verify, uint64_t *at, struct err *err)
{
    uint64_t offset = SNAPSHOT_HEADER_BYTES;
    while (offset < verify->end && !verify->index_met) {
        struct found found;
        tell_progress(verify, offset);
        check_record(verify, offset, &found);
        if (!found.sound && found.err.code == MCOMP_RESOURCE_EXHAUSTED)
            return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "%s", found.err.text);
        if (found.sound) {
            note_sound(verify, &found);
            offset += found.bytes;
        } else if (found.bytes > 0) {
            bad_range(verify, offset, found.bytes, found.address, found.err.text);
            offset += found.bytes;
        } else {
            uint64_t next = resynchronise(verify, offset + 1);
            verify->index_met = false; /* it is met when the walk gets there */
            bad_range(verify, offset, next - offset, UINT64_MAX, found.err.text);
            offset = next;
        }
    }
    *at = offset;
    return MCOMP_OK;
}

/** The file has no trailer, or a damaged one. `at`: where the walk ended. */
static void tell_trailer(struct verify *verify, uint64_t at, const char *text)
{
    const struct snapshot_reader *reader = &verify->reader;
    if (verify->index_met) {
        problem(verify, at, reader->file_bytes - at, 0, 0, text);
        return;
    }
    struct loss loss = {.offset = reader->file_bytes, .text = text};
    for (uint32_t node = 0; node < reader->nodes; node++) {
        uint64_t begin = verify->node_end[node] ? verify->node_end[node] : node * reader->segment_size;
        loss_add(verify, &loss, begin, (node + 1) * reader->segment_size);
    }
    loss_tell(verify, &loss);
    if (!loss.told)
        problem(verify, reader->file_bytes, 0, 0, 0, text);
}

/** What can only be said when all records were seen, and all were sound. */
static void check_counts(struct verify *verify)
{
    const struct snapshot_reader *reader = &verify->reader;
    char text[160];
    if (verify->problems > 0)
        return;
    if (reader_index(reader)->chunks != verify->chunks) {
        snprintf(text, sizeof text, "the index counts %" PRIu64 " chunks, and the file has %" PRIu64, reader_index(reader)->chunks, verify->chunks);
        problem(verify, reader->trailer.index_offset, reader->trailer.index_bytes, 0, 0, text);
    }
    if (reader->header->pages_stored != verify->pages) {
        snprintf(text, sizeof text, "the header counts %" PRIu64 " pages, and the file has %" PRIu64, reader->header->pages_stored, verify->pages);
        problem(verify, 0, SNAPSHOT_HEADER_BYTES, 0, 0, text);
    }
}

/** Errors: whatever keeps the file from being looked at. What is wrong with it is reported. */
static enum mcomp_status verify_file(struct verify *verify, struct err *err)
{
    struct snapshot_reader *reader = &verify->reader;
    struct err trailer_err, header_err, index_err;
    enum mcomp_status trailer = reader_read_trailer(reader, &trailer_err);
    enum mcomp_status header = reader_read_header(reader, &header_err);
    enum mcomp_status index = MCOMP_OK;
    if (trailer == MCOMP_UNIMPLEMENTED || header == MCOMP_UNIMPLEMENTED)
        return err_set(err, MCOMP_UNIMPLEMENTED, "%s", trailer == MCOMP_UNIMPLEMENTED ? trailer_err.text : header_err.text);
    if (trailer == MCOMP_OK)
        index = reader_read_index(reader, &index_err);
    if (index == MCOMP_RESOURCE_EXHAUSTED)
        return err_set(err, index, "%s", index_err.text);
    verify->end = trailer == MCOMP_OK ? reader->trailer.index_offset : reader->file_bytes;
    if (header != MCOMP_OK)
        problem(verify, 0, reader->file_bytes < SNAPSHOT_HEADER_BYTES ? reader->file_bytes : SNAPSHOT_HEADER_BYTES, 0, 0, header_err.text);
    uint64_t at = SNAPSHOT_HEADER_BYTES;
    enum mcomp_status status = walk(verify, &at, err);
    if (status != MCOMP_OK)
        return status;
    if (trailer != MCOMP_OK)
        tell_trailer(verify, at, trailer_err.text);
    else if (index != MCOMP_OK)
        problem(verify, reader->trailer.index_offset, reader->trailer.index_bytes, 0, 0, index_err.text);
    else
        check_counts(verify);
    tell_progress(verify, reader->file_bytes);
    return MCOMP_OK;
}

enum mcomp_status snapshot_verify(const char *path, void (*report)(void *arg, const struct snapshot_problem *problem),
                                  void (*progress)(void *arg, uint64_t done, uint64_t bytes), void *arg, uint64_t *chunks, struct err *err)
{
    *chunks = 0;
    struct verify *verify = calloc(1, sizeof *verify);
    uint8_t *room = malloc(SCAN_BYTES);
    enum mcomp_status status = MCOMP_OK;
    if (!verify || !room)
        status = err_set(err, MCOMP_RESOURCE_EXHAUSTED, "no memory to verify %s", path);
    if (status == MCOMP_OK)
        status = reader_start(&verify->reader, path, err);
    if (status == MCOMP_OK) {
        verify->report = report;
        verify->progress = progress;
        verify->arg = arg;
        verify->scan = room;
        status = verify_file(verify, err);
        if (status != MCOMP_OK)
            status = err_wrap(err, status, "%s", path);
        else if (verify->problems > 0)
            status = err_set(err, MCOMP_DATA_LOSS, "%s is damaged: %s", path, verify->first);
        *chunks = verify->chunks;
        reader_end(&verify->reader);
    }
    free(room);
    free(verify);
    return status;
}
