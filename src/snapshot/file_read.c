/* SPDX-License-Identifier: Apache-2.0 */
/* Reading at random. The chunk read last stays unpacked, so that small reads one behind the other check it once. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/reader.h"

_Static_assert(SNAPSHOT_ROOM_BYTES == FORMAT_CHUNK_RECORD_BYTES_MAX, "room for a chunk's record, or for its pages");

static enum mcomp_status open_parts(struct snapshot_reader *reader, struct err *err)
{
    enum mcomp_status status = reader_read_trailer(reader, err);
    if (status == MCOMP_DATA_LOSS) {
        /* A file of a later format, or none of ours, is told best by its beginning. */
        struct err header_err;
        enum mcomp_status header_status = reader_read_header(reader, &header_err);
        if (header_status != MCOMP_OK)
            return err_set(err, header_status, "%s", header_err.text);
    }
    if (status == MCOMP_OK)
        status = reader_read_header(reader, err);
    if (status == MCOMP_OK)
        status = reader_read_index(reader, err);
    return status;
}

enum mcomp_status snapshot_reader_open(struct snapshot_reader **out, const char *path, struct err *err)
{
    *out = NULL;
    struct snapshot_reader *reader = malloc(sizeof *reader);
    if (!reader)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "no memory to read %s", path);
    enum mcomp_status status = reader_start(reader, path, err);
    if (status != MCOMP_OK) {
        free(reader);
        return status;
    }
    status = open_parts(reader, err);
    if (status != MCOMP_OK) {
        reader_end(reader);
        free(reader);
        return err_wrap(err, status, "%s", path);
    }
    *out = reader;
    return MCOMP_OK;
}

enum mcomp_status snapshot_reader_open_fitting(struct snapshot_reader **reader, const char *path, uint64_t grid_bytes, struct err *err)
{
    enum mcomp_status code = snapshot_reader_open(reader, path, err);
    if (code != MCOMP_OK)
        return err_wrap(err, code, "restore from %s", path);
    uint64_t array = snapshot_reader_grid_bytes(*reader);
    if (array <= grid_bytes)
        return MCOMP_OK;
    snapshot_reader_close(*reader);
    *reader = NULL;
    return err_set(err, MCOMP_OUT_OF_RANGE,
                   "restore from %s: its array of %" PRIu64 " bytes does not fit into this grid of %" PRIu64
                   ": raise segment_size or nodes in mcomp.cfg",
                   path, array, grid_bytes);
}

uint64_t snapshot_reader_identity(const struct snapshot_reader *reader)
{
    return (uint64_t)reader->trailer.header_crc << 32 | reader->trailer.index_crc;
}

void snapshot_reader_close(struct snapshot_reader *reader)
{
    if (!reader)
        return;
    reader_end(reader);
    free(reader);
}

const Header *snapshot_reader_header(const struct snapshot_reader *reader)
{
    return reader->header;
}

uint64_t snapshot_reader_grid_bytes(const struct snapshot_reader *reader)
{
    return reader->segment_size * reader->nodes;
}

/* ---- one chunk ---- */

/** Have bytes [offset, offset+want) in raw, of which *got are there. */
static enum mcomp_status fill(struct snapshot_reader *reader, uint64_t offset, size_t want, size_t *got, struct err *err)
{
    size_t more = 0;
    if (want <= *got)
        return MCOMP_OK;
    enum mcomp_status status = format_pread(reader->fd, reader->path, reader->raw + *got, want - *got, offset + *got, &more, err);
    *got += more;
    return status;
}

enum mcomp_status reader_load_record(struct snapshot_reader *reader, uint64_t offset, uint64_t end, Chunk *chunk, uint64_t *record_bytes,
                                     struct err *err)
{
    uint64_t left = end - offset;
    size_t got = 0, want = reader->expected;
    *record_bytes = 0;
    reader->window = UINT64_MAX;
    enum mcomp_status status = fill(reader, offset, left < want ? left : want, &got, err);
    if (status != MCOMP_OK && got == 0) /* else what is there may be enough: the disk's bad spot may lie behind the record */
        return status;
    if (!format_chunk_head_get(chunk, record_bytes, reader->raw, got))
        return err_set(err, MCOMP_DATA_LOSS, "no chunk begins there");
    if (*record_bytes > left)
        return err_set(err, MCOMP_DATA_LOSS, "it should have %" PRIu64 " bytes, and there are %" PRIu64, *record_bytes, left);
    status = fill(reader, offset, (size_t)*record_bytes, &got, err);
    if (status != MCOMP_OK)
        return status;
    if (got < *record_bytes)
        return err_set(err, MCOMP_DATA_LOSS, "the file became shorter while it was being read");
    status = chunk_open(&reader->opener, chunk, reader->segment_size, reader->nodes, &reader->window_data, err);
    if (status == MCOMP_INVALID_ARGUMENT)
        status = err_wrap(err, MCOMP_DATA_LOSS, "malformed");
    if (status != MCOMP_OK)
        return status;
    reader->expected = (size_t)*record_bytes > FORMAT_CHUNK_HEAD_BYTES_MAX ? (size_t)*record_bytes : FORMAT_CHUNK_HEAD_BYTES_MAX;
    reader->window = chunk->address;
    reader->window_pages = chunk->pages;
    return MCOMP_OK;
}

static enum mcomp_status load_entry(struct snapshot_reader *reader, const struct reader_entry *entry, struct err *err)
{
    Chunk chunk;
    uint64_t record_bytes;
    enum mcomp_status status = reader_load_record(reader, entry->offset, reader->trailer.index_offset, &chunk, &record_bytes, err);
    if (status == MCOMP_OK && (chunk.address != entry->address || chunk.crc32c != entry->crc)) {
        reader->window = UINT64_MAX;
        status = err_set(err, MCOMP_DATA_LOSS, "it is another one than the index says");
    }
    if (status != MCOMP_OK)
        return err_wrap(err, status, "chunk at byte %" PRIu64 " of %s (addresses %" PRIu64 " to %" PRIu64 " are lost)", entry->offset, reader->path,
                        entry->address, entry->address + chunk_window_bytes(reader->segment_size, entry->address) - 1);
    return MCOMP_OK;
}

/** Copy bytes [from, from+bytes) of the window that is unpacked. */
static void copy_out(const struct snapshot_reader *reader, uint32_t from, uint32_t bytes, uint8_t *out)
{
    while (bytes > 0) {
        uint32_t page = from / SNAPSHOT_PAGE_BYTES, in_page = from % SNAPSHOT_PAGE_BYTES;
        uint32_t now = SNAPSHOT_PAGE_BYTES - in_page < bytes ? SNAPSHOT_PAGE_BYTES - in_page : bytes;
        uint64_t below = reader->window_pages & ((1ull << page) - 1);
        if (reader->window_pages >> page & 1)
            memcpy(out, reader->window_data + (size_t)__builtin_popcountll(below) * SNAPSHOT_PAGE_BYTES + in_page, now);
        else
            memset(out, 0, now);
        from += now;
        out += now;
        bytes -= now;
    }
}

/* ---- the interface ---- */

enum mcomp_status snapshot_reader_read(struct snapshot_reader *reader, uint64_t address, uint64_t length, void *buf, struct err *err)
{
    uint64_t size = snapshot_reader_grid_bytes(reader);
    uint8_t *out = buf;
    if (address > size || length > size - address)
        return err_set(err, MCOMP_OUT_OF_RANGE, "%" PRIu64 " bytes at address %" PRIu64 " of a snapshot of %" PRIu64 " bytes", length, address, size);
    while (length > 0) {
        uint64_t window = chunk_window_of(reader->segment_size, address);
        uint32_t from = (uint32_t)(address - window);
        uint64_t now = chunk_window_bytes(reader->segment_size, window) - from;
        now = now < length ? now : length;
        struct reader_entry entry = {.address = window};
        bool found = true;
        enum mcomp_status status = MCOMP_OK;
        if (reader->window != window) {
            status = reader_find_chunk(reader, window, &entry, &found, err);
            found = found && entry.address == window;
            if (status == MCOMP_OK && found)
                status = load_entry(reader, &entry, err);
        }
        if (status != MCOMP_OK)
            return status;
        if (found)
            copy_out(reader, from, (uint32_t)now, out);
        else
            memset(out, 0, now);
        address += now;
        out += now;
        length -= now;
    }
    return MCOMP_OK;
}

enum mcomp_status snapshot_reader_pages(struct snapshot_reader *reader, uint64_t window, uint8_t room[SNAPSHOT_ROOM_BYTES], uint64_t *pages,
                                        const uint8_t **data, struct err *err)
{
    struct reader_entry entry;
    bool found;
    *pages = 0;
    *data = room;
    enum mcomp_status status = reader_find_chunk(reader, window, &entry, &found, err);
    if (status != MCOMP_OK || !found || entry.address != window)
        return status;
    uint8_t *own = reader->raw;
    reader->raw = room;
    status = load_entry(reader, &entry, err);
    reader->raw = own;
    reader->window = UINT64_MAX; /* its data is the caller's */
    if (status != MCOMP_OK)
        return status;
    *pages = reader->window_pages;
    if (reader->window_data == reader->opener.unpacked)
        memcpy(room, reader->window_data, (size_t)__builtin_popcountll(*pages) * SNAPSHOT_PAGE_BYTES);
    else
        *data = reader->window_data;
    return MCOMP_OK;
}

enum mcomp_status snapshot_reader_next(struct snapshot_reader *reader, uint64_t address, uint64_t *found, struct err *err)
{
    struct reader_entry entry;
    bool any;
    *found = UINT64_MAX;
    if (address >= snapshot_reader_grid_bytes(reader))
        return MCOMP_OK;
    enum mcomp_status status = reader_find_chunk(reader, chunk_window_of(reader->segment_size, address), &entry, &any, err);
    if (status == MCOMP_OK && any)
        *found = entry.address;
    return status;
}
