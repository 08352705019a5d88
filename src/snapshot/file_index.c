/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a file, and its index. Nothing is believed before it is checked: offsets and lengths against the file, counts against each other, addresses against
 * the grid. Memory follows the size of the file, never a number that stands in it. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "snapshot/reader.h"
#include "wire/varint.h"

#define SPARE_SLOTS 2u

enum mcomp_status reader_start(struct snapshot_reader *reader, const char *path, struct err *err)
{
    struct stat st;
    *reader = (struct snapshot_reader){.fd = -1, .window = UINT64_MAX, .expected = SNAPSHOT_PAGE_BYTES};
    /* Not blocking, in case it is a pipe. */
    reader->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (reader->fd < 0)
        return err_sys(err, errno, "cannot open %s", path);
    enum mcomp_status status = MCOMP_OK;
    reader->path = strdup(path);
    reader->raw = malloc(FORMAT_CHUNK_RECORD_BYTES_MAX);
    if (!reader->path || !reader->raw)
        status = err_set(err, MCOMP_RESOURCE_EXHAUSTED, "no memory to read %s", path);
    else if (fstat(reader->fd, &st) != 0)
        status = err_sys(err, errno, "cannot look at %s", path);
    else if (!S_ISREG(st.st_mode))
        status = err_set(err, MCOMP_INVALID_ARGUMENT, "%s is not a regular file", path);
    else
        reader->file_bytes = (uint64_t)st.st_size;
    if (status != MCOMP_OK)
        reader_end(reader);
    return status;
}

void reader_end(struct snapshot_reader *reader)
{
    if (reader->fd >= 0)
        close(reader->fd);
    for (size_t i = 0; i < reader->slots; i++)
        mcomp__snapshot__v1__record__free_unpacked(reader->block[i].record, NULL);
    free(reader->block);
    if (reader->header)
        mcomp__snapshot__v1__header__free_unpacked(reader->header, NULL);
    mcomp__snapshot__v1__record__free_unpacked(reader->index, NULL);
    chunk_opener_close(&reader->opener);
    free(reader->raw);
    free(reader->path);
    *reader = (struct snapshot_reader){.fd = -1};
}

enum mcomp_status reader_read_raw(struct snapshot_reader *reader, uint64_t offset, uint64_t bytes, uint8_t **out, struct err *err)
{
    size_t got;
    *out = malloc(bytes > 0 ? bytes : 1);
    if (!*out)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "no memory to read %" PRIu64 " bytes of %s", bytes, reader->path);
    enum mcomp_status status = format_pread(reader->fd, reader->path, *out, bytes, offset, &got, err);
    if (status == MCOMP_OK && got < bytes)
        status = err_set(err, MCOMP_DATA_LOSS, "the file ends at byte %" PRIu64 " and should have %" PRIu64 " more", offset + got, bytes - got);
    if (status != MCOMP_OK) {
        free(*out);
        *out = NULL;
    }
    return status;
}

/* ---- trailer and header ---- */

enum mcomp_status reader_read_trailer(struct snapshot_reader *reader, struct err *err)
{
    uint8_t raw[SNAPSHOT_TRAILER_BYTES];
    struct format_trailer trailer;
    size_t got;
    if (reader->file_bytes < SNAPSHOT_HEADER_BYTES + SNAPSHOT_TRAILER_BYTES)
        return err_set(err, MCOMP_DATA_LOSS, "the file has %" PRIu64 " bytes, and no snapshot is shorter than %u", reader->file_bytes,
                       SNAPSHOT_HEADER_BYTES + SNAPSHOT_TRAILER_BYTES);
    enum mcomp_status status = format_pread(reader->fd, reader->path, raw, sizeof raw, reader->file_bytes - sizeof raw, &got, err);
    if (status != MCOMP_OK)
        return status;
    if (got < sizeof raw)
        return err_set(err, MCOMP_DATA_LOSS, "the file became shorter while it was being read");
    status = format_trailer_get(&trailer, raw, err);
    if (status != MCOMP_OK)
        return status;
    uint64_t end = reader->file_bytes - SNAPSHOT_TRAILER_BYTES;
    if (trailer.file_bytes != reader->file_bytes)
        return err_set(err, MCOMP_DATA_LOSS, "the file has %" PRIu64 " bytes, and its trailer says %" PRIu64, reader->file_bytes, trailer.file_bytes);
    if (trailer.index_offset < SNAPSHOT_HEADER_BYTES || trailer.index_offset > end || trailer.index_bytes != end - trailer.index_offset ||
        trailer.index_bytes > format_index_bytes_max(reader->file_bytes))
        return err_set(err, MCOMP_DATA_LOSS, "the trailer says that the index has %" PRIu64 " bytes at %" PRIu64 ", which cannot be", trailer.index_bytes,
                       trailer.index_offset);
    reader->trailer = trailer;
    reader->segment_size = trailer.segment_size;
    reader->nodes = trailer.nodes;
    return MCOMP_OK;
}

enum mcomp_status reader_read_header(struct snapshot_reader *reader, struct err *err)
{
    uint8_t raw[SNAPSHOT_HEADER_BYTES];
    size_t got;
    enum mcomp_status status = format_pread(reader->fd, reader->path, raw, sizeof raw, 0, &got, err);
    if (status != MCOMP_OK)
        return status;
    if (got < sizeof raw)
        return err_set(err, MCOMP_DATA_LOSS, "not a snapshot, or cut: the file has %zu bytes, and a header alone has %u", got, SNAPSHOT_HEADER_BYTES);
    const struct format_trailer *trailer = &reader->trailer;
    uint32_t crc = crc32c(0, raw, sizeof raw);
    if (trailer->format_version && crc != trailer->header_crc)
        return err_set(err, MCOMP_DATA_LOSS, "the header is damaged: CRC-32C of bytes 0 to %u is %08" PRIx32 " and should be %08" PRIx32,
                       SNAPSHOT_HEADER_BYTES - 1, crc, trailer->header_crc);
    status = format_header_get(&reader->header, raw, err);
    if (status != MCOMP_OK)
        return status;
    if (trailer->format_version && (reader->header->segment_size != trailer->segment_size || reader->header->nodes != trailer->nodes)) {
        mcomp__snapshot__v1__header__free_unpacked(reader->header, NULL);
        reader->header = NULL;
        return err_set(err, MCOMP_DATA_LOSS, "header and trailer differ in segment_size or nodes");
    }
    reader->segment_size = reader->header->segment_size;
    reader->nodes = reader->header->nodes;
    return MCOMP_OK;
}

/* ---- index and index blocks ---- */

/** Is address the first of a window of this grid? */
static bool window_ok(uint64_t address, uint64_t segment_size, uint32_t nodes)
{
    return address / segment_size < nodes && chunk_window_of(segment_size, address) == address;
}

static bool index_ok(const struct snapshot_reader *reader, const Index *index)
{
    size_t count = index->n_offset;
    if (index->n_first_address != count || index->n_last_address != count || index->n_crc32c != count)
        return false;
    if (index->chunks < count || index->chunks > count * FORMAT_BLOCK_CHUNKS)
        return false;
    for (size_t i = 0; i < count; i++) {
        uint64_t first = index->first_address[i], last = index->last_address[i];
        if (!window_ok(first, reader->segment_size, reader->nodes) || !window_ok(last, reader->segment_size, reader->nodes))
            return false;
        if (first > last || first / reader->segment_size != last / reader->segment_size || (i > 0 && index->last_address[i - 1] >= first))
            return false;
        if (index->offset[i] < SNAPSHOT_HEADER_BYTES || index->offset[i] >= reader->trailer.index_offset)
            return false;
    }
    return true;
}

enum mcomp_status reader_read_index(struct snapshot_reader *reader, struct err *err)
{
    const struct format_trailer *trailer = &reader->trailer;
    uint8_t *raw;
    enum mcomp_status status = reader_read_raw(reader, trailer->index_offset, trailer->index_bytes, &raw, err);
    if (status != MCOMP_OK)
        return status;
    uint32_t crc = crc32c(0, raw, trailer->index_bytes);
    if (crc != trailer->index_crc)
        status = err_set(err, MCOMP_DATA_LOSS, "the index is damaged: its CRC-32C is %08" PRIx32 " and should be %08" PRIx32, crc, trailer->index_crc);
    else
        reader->index = format_record_unpack(FORMAT_INDEX, raw, trailer->index_bytes);
    free(raw);
    if (status != MCOMP_OK)
        return status;
    if (!reader->index || !index_ok(reader, reader->index->index)) {
        mcomp__snapshot__v1__record__free_unpacked(reader->index, NULL);
        reader->index = NULL;
        return err_set(err, MCOMP_DATA_LOSS, "the index is malformed, although its checksum holds");
    }
    reader->slots = reader->nodes + SPARE_SLOTS;
    reader->block = calloc(reader->slots, sizeof *reader->block);
    if (reader->block)
        return MCOMP_OK;
    reader->slots = 0;
    return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "no memory for the index of %s", reader->path);
}

bool reader_block_ok(const IndexBlock *block, uint64_t segment_size, uint32_t nodes, uint64_t end)
{
    size_t count = block->n_address;
    if (count == 0 || count > FORMAT_BLOCK_CHUNKS || block->n_offset != count || block->n_crc32c != count)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (segment_size && (!window_ok(block->address[i], segment_size, nodes) || block->address[i] / segment_size != block->node))
            return false;
        if (block->offset[i] < SNAPSHOT_HEADER_BYTES || block->offset[i] >= end)
            return false;
        if (i > 0 && (block->address[i] <= block->address[i - 1] || block->offset[i] <= block->offset[i - 1]))
            return false;
    }
    return true;
}

/** Read block `number` and check it. */
static enum mcomp_status read_block(struct snapshot_reader *reader, size_t number, Record **record, struct err *err)
{
    const Index *index = reader_index(reader);
    uint64_t offset = index->offset[number], left = reader->trailer.index_offset - offset, length;
    uint8_t raw[FORMAT_BLOCK_RECORD_BYTES_MAX];
    size_t got;
    int cut;
    enum mcomp_status status = format_pread(reader->fd, reader->path, raw, left < sizeof raw ? left : sizeof raw, offset, &got, err);
    if (status != MCOMP_OK)
        return status;
    const uint8_t *at = varint_get(raw, raw + got, &length, &cut);
    if (!at || length > (uint64_t)(raw + got - at))
        return err_set(err, MCOMP_DATA_LOSS, "its length is damaged");
    size_t bytes = (size_t)(at - raw) + length;
    uint32_t crc = crc32c(0, raw, bytes);
    if (crc != index->crc32c[number])
        return err_set(err, MCOMP_DATA_LOSS, "its CRC-32C is %08" PRIx32 " and should be %08" PRIx32, crc, index->crc32c[number]);
    *record = format_record_unpack(FORMAT_BLOCK, raw, bytes);
    const IndexBlock *block = *record ? (*record)->index_block : NULL;
    if (block && reader_block_ok(block, reader->segment_size, reader->nodes, offset) && block->address[0] == index->first_address[number] &&
        block->address[block->n_address - 1] == index->last_address[number])
        return MCOMP_OK;
    mcomp__snapshot__v1__record__free_unpacked(*record, NULL);
    *record = NULL;
    return err_set(err, MCOMP_DATA_LOSS, "it is malformed, although its checksum holds");
}

static enum mcomp_status block_lost(struct snapshot_reader *reader, size_t number, enum mcomp_status status, struct err *err)
{
    const Index *index = reader_index(reader);
    uint64_t first = index->first_address[number], last = index->last_address[number];
    return err_wrap(err, status, "index block at byte %" PRIu64 " of %s (addresses %" PRIu64 " to %" PRIu64 " are lost)", index->offset[number],
                    reader->path, first, last + chunk_window_bytes(reader->segment_size, last) - 1);
}

enum mcomp_status reader_load_block(struct snapshot_reader *reader, size_t number, const IndexBlock **block, struct err *err)
{
    size_t oldest = 0;
    for (size_t n = 0; n < reader->slots; n++) {
        size_t i = (reader->last_slot + n) % reader->slots;
        struct reader_block *slot = &reader->block[i];
        if (slot->record && slot->number == number) {
            slot->used = ++reader->uses;
            reader->last_slot = i;
            *block = slot->record->index_block;
            return MCOMP_OK;
        }
        if (slot->used < reader->block[oldest].used)
            oldest = i;
    }
    struct reader_block *slot = &reader->block[oldest];
    Record *record = NULL;
    enum mcomp_status status = read_block(reader, number, &record, err);
    if (status != MCOMP_OK)
        return block_lost(reader, number, status, err);
    mcomp__snapshot__v1__record__free_unpacked(slot->record, NULL);
    *slot = (struct reader_block){.record = record, .number = number, .used = ++reader->uses};
    reader->last_slot = oldest;
    *block = record->index_block;
    return MCOMP_OK;
}

size_t reader_find_block(const struct snapshot_reader *reader, uint64_t address)
{
    const Index *index = reader_index(reader);
    size_t low = 0, high = index->n_offset;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (index->last_address[middle] < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

enum mcomp_status reader_find_chunk(struct snapshot_reader *reader, uint64_t window, struct reader_entry *entry, bool *found, struct err *err)
{
    const IndexBlock *block;
    size_t number = reader_find_block(reader, window);
    *found = number < reader_index(reader)->n_offset;
    if (!*found)
        return MCOMP_OK;
    enum mcomp_status status = reader_load_block(reader, number, &block, err);
    if (status != MCOMP_OK)
        return status;
    size_t low = 0, high = block->n_address - 1; /* the last one is not below window */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (block->address[middle] < window)
            low = middle + 1;
        else
            high = middle;
    }
    *entry = (struct reader_entry){.address = block->address[low], .offset = block->offset[low], .crc = block->crc32c[low]};
    return MCOMP_OK;
}
