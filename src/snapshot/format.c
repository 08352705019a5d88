/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/format.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/le.h"
#include "wire/varint.h"

bool format_shape_ok(uint64_t segment_size, uint64_t nodes)
{
    return segment_size > 0 && segment_size % SNAPSHOT_PAGE_BYTES == 0 && nodes >= 1 && nodes <= GRID_NODES_MAX &&
           segment_size <= (uint64_t)INT64_MAX / nodes;
}

/* ---- the trailer ---- */

enum { /* offsets in the trailer; what is not named is zero */
    TRAILER_VERSION = 8,
    TRAILER_HEADER_CRC = 12,
    TRAILER_INDEX_OFFSET = 16,
    TRAILER_INDEX_BYTES = 24,
    TRAILER_INDEX_CRC = 32,
    TRAILER_NODES = 36,
    TRAILER_FILE_BYTES = 40,
    TRAILER_SEGMENT_SIZE = 48,
    TRAILER_CRC = 60
};

static void put32(uint8_t *out, uint32_t value)
{
    memcpy(out, &value, sizeof value);
}

static uint32_t get32(const uint8_t *in)
{
    uint32_t value;
    memcpy(&value, in, sizeof value);
    return value;
}

void format_trailer_put(uint8_t out[SNAPSHOT_TRAILER_BYTES], const struct format_trailer *trailer)
{
    memset(out, 0, SNAPSHOT_TRAILER_BYTES);
    memcpy(out, FORMAT_TRAILER_MAGIC, FORMAT_MAGIC_BYTES);
    put32(out + TRAILER_VERSION, trailer->format_version);
    put32(out + TRAILER_HEADER_CRC, trailer->header_crc);
    le64_put(out + TRAILER_INDEX_OFFSET, trailer->index_offset);
    le64_put(out + TRAILER_INDEX_BYTES, trailer->index_bytes);
    put32(out + TRAILER_INDEX_CRC, trailer->index_crc);
    put32(out + TRAILER_NODES, trailer->nodes);
    le64_put(out + TRAILER_FILE_BYTES, trailer->file_bytes);
    le64_put(out + TRAILER_SEGMENT_SIZE, trailer->segment_size);
    put32(out + TRAILER_CRC, crc32c(0, out, TRAILER_CRC));
}

enum mcomp_status format_trailer_get(struct format_trailer *trailer, const uint8_t in[SNAPSHOT_TRAILER_BYTES], struct err *err)
{
    if (memcmp(in, FORMAT_TRAILER_MAGIC, FORMAT_MAGIC_BYTES) != 0)
        return err_set(err, MCOMP_DATA_LOSS, "the file does not end with a trailer: it was cut, or was never completed");
    uint32_t crc = crc32c(0, in, TRAILER_CRC);
    if (crc != get32(in + TRAILER_CRC))
        return err_set(err, MCOMP_DATA_LOSS, "the trailer is damaged: its CRC-32C is %08" PRIx32 " and should be %08" PRIx32, crc, get32(in + TRAILER_CRC));
    *trailer = (struct format_trailer){.format_version = get32(in + TRAILER_VERSION),
                                       .header_crc = get32(in + TRAILER_HEADER_CRC),
                                       .index_offset = le64_get(in + TRAILER_INDEX_OFFSET),
                                       .index_bytes = le64_get(in + TRAILER_INDEX_BYTES),
                                       .index_crc = get32(in + TRAILER_INDEX_CRC),
                                       .nodes = get32(in + TRAILER_NODES),
                                       .file_bytes = le64_get(in + TRAILER_FILE_BYTES),
                                       .segment_size = le64_get(in + TRAILER_SEGMENT_SIZE)};
    if (trailer->format_version > FORMAT_VERSION)
        return err_set(err, MCOMP_UNIMPLEMENTED, "the file has format %" PRIu32 ", and this version of mcomp reads formats up to %u",
                       trailer->format_version, FORMAT_VERSION);
    uint8_t canonical[SNAPSHOT_TRAILER_BYTES];
    format_trailer_put(canonical, trailer);
    if (trailer->format_version == 0 || memcmp(in, canonical, sizeof canonical) != 0 || !format_shape_ok(trailer->segment_size, trailer->nodes))
        return err_set(err, MCOMP_DATA_LOSS, "the trailer is not one of format %u", FORMAT_VERSION);
    return MCOMP_OK;
}

/* ---- the header ---- */

bool format_grid_name_ok(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t bytes = strnlen(name, GRID_NAME_BYTES_MAX + 1);
    return bytes >= 1 && bytes <= GRID_NAME_BYTES_MAX && name[0] != '.' && strspn(name, allowed) == bytes;
}

static bool printable(const char *text)
{
    size_t bytes = 0;
    for (; text[bytes]; bytes++) {
        if (text[bytes] < 0x20 || text[bytes] > 0x7e || bytes == FORMAT_WRITTEN_BY_BYTES_MAX)
            return false;
    }
    return true;
}

/** Which field of the header is out of its bounds; NULL: none is. */
static const char *header_fault(const Header *header)
{
    if (!format_grid_name_ok(header->grid))
        return "the grid's name";
    if (!format_shape_ok(header->segment_size, header->nodes))
        return "segment_size or nodes";
    if (header->page_bytes != SNAPSHOT_PAGE_BYTES)
        return "page_bytes";
    if (header->chunk_bytes != SNAPSHOT_CHUNK_BYTES)
        return "chunk_bytes";
    return printable(header->written_by) ? NULL : "written_by";
}

enum mcomp_status format_header_put(uint8_t out[SNAPSHOT_HEADER_BYTES], const Header *header, struct err *err)
{
    static uint8_t zeros[SNAPSHOT_HEADER_BYTES];
    const char *fault = header_fault(header);
    if (fault)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "header of a snapshot: %s is out of its bounds", fault);
    Header padded = *header;
    Record record = MCOMP__SNAPSHOT__V1__RECORD__INIT;
    record.kind_case = MCOMP__SNAPSHOT__V1__RECORD__KIND_HEADER;
    record.header = &padded;
    /* Whatever the other fields are, padding is so long that all lengths take two bytes: the size grows with it one by one. */
    size_t room = SNAPSHOT_HEADER_BYTES - FORMAT_MAGIC_BYTES - 2;
    padded.padding = (ProtobufCBinaryData){.len = room / 2, .data = zeros};
    padded.padding.len += room - mcomp__snapshot__v1__record__get_packed_size(&record);
    MC_ASSERT(padded.padding.len < sizeof zeros && mcomp__snapshot__v1__record__get_packed_size(&record) == room);
    memcpy(out, FORMAT_MAGIC, FORMAT_MAGIC_BYTES);
    uint8_t *at = varint_put(out + FORMAT_MAGIC_BYTES, room);
    mcomp__snapshot__v1__record__pack(&record, at);
    return MCOMP_OK;
}

enum mcomp_status format_header_get(Header **header, const uint8_t in[SNAPSHOT_HEADER_BYTES], struct err *err)
{
    if (memcmp(in, FORMAT_MAGIC, FORMAT_MAGIC_BYTES) != 0)
        return err_set(err, MCOMP_DATA_LOSS, "not a snapshot, or its first bytes are damaged: it does not begin with \"MCSNAP1\"");
    Record *record = format_record_unpack(FORMAT_HEADER, in + FORMAT_MAGIC_BYTES, SNAPSHOT_HEADER_BYTES - FORMAT_MAGIC_BYTES);
    if (!record)
        return err_set(err, MCOMP_DATA_LOSS, "the header is damaged: bytes 8 to %u are not its record", SNAPSHOT_HEADER_BYTES - 1);
    *header = record->header;
    record->header = NULL;
    record->kind_case = MCOMP__SNAPSHOT__V1__RECORD__KIND__NOT_SET;
    mcomp__snapshot__v1__record__free_unpacked(record, NULL);
    enum mcomp_status status = MCOMP_OK;
    const char *fault = header_fault(*header);
    if ((*header)->format_version > FORMAT_VERSION)
        status = err_set(err, MCOMP_UNIMPLEMENTED, "the file has format %" PRIu32 ", and this version of mcomp reads formats up to %u",
                         (*header)->format_version, FORMAT_VERSION);
    else if (fault || (*header)->format_version == 0)
        status = err_set(err, MCOMP_DATA_LOSS, "the header is damaged: %s is out of its bounds", fault ? fault : "format_version");
    if (status != MCOMP_OK) {
        mcomp__snapshot__v1__header__free_unpacked(*header, NULL);
        *header = NULL;
    }
    return status;
}

/* ---- chunks: by hand, since the generated code would copy the data once more ---- */

enum { /* number << 3 | wire type */
    TAG_ADDRESS = 1 << 3,
    TAG_PAGES = 2 << 3 | 1,
    TAG_CRC = 3 << 3 | 5,
    TAG_COMPRESSION = 4 << 3,
    TAG_DATA_CRC = 5 << 3 | 5,
    TAG_DATA = 6 << 3 | 2
};

static uint8_t *fixed32_put(uint8_t *out, uint8_t tag, uint32_t value)
{
    if (value == 0)
        return out;
    *out++ = tag;
    put32(out, value);
    return out + 4;
}

size_t format_chunk_head_put(uint8_t out[FORMAT_CHUNK_HEAD_BYTES_MAX], const Chunk *chunk)
{
    uint8_t fields[FORMAT_CHUNK_HEAD_BYTES_MAX];
    uint8_t *at = fields;
    if (chunk->address) {
        *at++ = TAG_ADDRESS;
        at = varint_put(at, chunk->address);
    }
    *at++ = TAG_PAGES;
    le64_put(at, chunk->pages);
    at = fixed32_put(at + 8, TAG_CRC, chunk->crc32c);
    *at++ = TAG_COMPRESSION;
    at = varint_put(at, (uint32_t)chunk->compression);
    at = fixed32_put(at, TAG_DATA_CRC, chunk->data_crc32c);
    *at++ = TAG_DATA;
    at = varint_put(at, chunk->data.len);
    size_t bytes = (size_t)(at - fields);
    uint64_t inner = bytes + chunk->data.len;
    at = varint_put(out, 1 + varint_size(inner) + inner);
    *at++ = FORMAT_CHUNK;
    at = varint_put(at, inner);
    memcpy(at, fields, bytes);
    return (size_t)(at - out) + bytes;
}

struct cursor {
    const uint8_t *at, *end;
};

static bool take_varint(struct cursor *in, uint64_t *value)
{
    int cut;
    const uint8_t *at = varint_get(in->at, in->end, value, &cut);
    if (!at)
        return false;
    in->at = at;
    return true;
}

/** The tag, if it is the next byte. */
static bool take_tag(struct cursor *in, uint8_t tag)
{
    if (in->at == in->end || *in->at != tag)
        return false;
    in->at++;
    return true;
}

/** A value of fixed width behind its tag; zero when the tag is not there. false: cut. */
static bool take_fixed(struct cursor *in, uint8_t tag, void *value, size_t bytes)
{
    if (!take_tag(in, tag))
        return true;
    if ((size_t)(in->end - in->at) < bytes)
        return false;
    memcpy(value, in->at, bytes);
    in->at += bytes;
    return true;
}

bool format_chunk_head_get(Chunk *chunk, uint64_t *record_bytes, const uint8_t *in, size_t bytes)
{
    struct cursor cursor = {.at = in, .end = in + bytes};
    uint64_t outer, inner, compression, length;
    uint8_t again[FORMAT_CHUNK_HEAD_BYTES_MAX];
    mcomp__snapshot__v1__chunk__init(chunk);
    if (!take_varint(&cursor, &outer) || !take_tag(&cursor, FORMAT_CHUNK) || !take_varint(&cursor, &inner))
        return false;
    if (take_tag(&cursor, TAG_ADDRESS) && !take_varint(&cursor, &chunk->address))
        return false;
    if (!take_fixed(&cursor, TAG_PAGES, &chunk->pages, 8) || !take_fixed(&cursor, TAG_CRC, &chunk->crc32c, 4) ||
        !take_tag(&cursor, TAG_COMPRESSION) || !take_varint(&cursor, &compression) || !take_fixed(&cursor, TAG_DATA_CRC, &chunk->data_crc32c, 4) ||
        !take_tag(&cursor, TAG_DATA) || !take_varint(&cursor, &length))
        return false;
    if (length == 0 || length > SNAPSHOT_CHUNK_BYTES || compression > MCOMP__SNAPSHOT__V1__COMPRESSION__COMPRESSION_ZSTD)
        return false;
    chunk->compression = (Mcomp__Snapshot__V1__Compression)compression;
    chunk->data = (ProtobufCBinaryData){.len = (size_t)length, .data = (uint8_t *)cursor.at};
    /* Lengths that contradict each other, fields out of order and long-winded numbers give other bytes when they are written again. */
    size_t head = (size_t)(cursor.at - in);
    if (format_chunk_head_put(again, chunk) != head || memcmp(again, in, head) != 0)
        return false;
    *record_bytes = head + length;
    return true;
}

/* ---- other records ---- */

enum mcomp_status format_record_pack(uint8_t **out, size_t *bytes, Record *record, struct err *err)
{
    size_t length = mcomp__snapshot__v1__record__get_packed_size(record);
    *out = malloc(VARINT_BYTES_MAX + length);
    if (!*out)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "no memory for the index of a snapshot (%zu bytes)", length);
    uint8_t *at = varint_put(*out, length);
    mcomp__snapshot__v1__record__pack(record, at);
    *bytes = (size_t)(at - *out) + length;
    return MCOMP_OK;
}

Record *format_record_unpack(enum format_record kind, const uint8_t *in, size_t bytes)
{
    int cut;
    uint64_t length;
    const uint8_t *at = varint_get(in, in + bytes, &length, &cut);
    if (!at || length != (uint64_t)(in + bytes - at) || length == 0 || *at != kind)
        return NULL;
    Record *record = mcomp__snapshot__v1__record__unpack(NULL, length, at);
    if (record && (unsigned)record->kind_case != (unsigned)kind >> 3) {
        mcomp__snapshot__v1__record__free_unpacked(record, NULL);
        return NULL;
    }
    return record;
}

enum mcomp_status format_pread(int fd, const char *path, void *buf, size_t bytes, uint64_t offset, size_t *got, struct err *err)
{
    *got = 0;
    while (*got < bytes) {
        ssize_t n = pread(fd, (uint8_t *)buf + *got, bytes - *got, (off_t)(offset + *got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, errno, "cannot read %s", path);
        if (n == 0)
            break;
        *got += (size_t)n;
    }
    return MCOMP_OK;
}
