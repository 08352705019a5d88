/* SPDX-License-Identifier: Apache-2.0 */
#include "snapd/exchange.h"

#include <stdlib.h>
#include <string.h>

#include "snapshot/format.h"
#include "wire/varint.h"

typedef Mcomp__Snapshot__V1__Response Response;

/* ---- status numbers ---- */

Mcomp__Snapshot__V1__Status exchange_status_put(enum mcomp_status status)
{
    switch (status) {
    case MCOMP_OK: return MCOMP__SNAPSHOT__V1__STATUS__STATUS_OK;
    case MCOMP_INVALID_ARGUMENT:
    case MCOMP_OUT_OF_RANGE: return MCOMP__SNAPSHOT__V1__STATUS__STATUS_INVALID_ARGUMENT;
    case MCOMP_NOT_FOUND: return MCOMP__SNAPSHOT__V1__STATUS__STATUS_NOT_FOUND;
    case MCOMP_RESOURCE_EXHAUSTED: return MCOMP__SNAPSHOT__V1__STATUS__STATUS_RESOURCE_EXHAUSTED;
    case MCOMP_FAILED_PRECONDITION:
    case MCOMP_PERMISSION_DENIED:
    case MCOMP_ALREADY_EXISTS: return MCOMP__SNAPSHOT__V1__STATUS__STATUS_FAILED_PRECONDITION;
    case MCOMP_ABORTED: return MCOMP__SNAPSHOT__V1__STATUS__STATUS_ABORTED;
    case MCOMP_UNIMPLEMENTED: return MCOMP__SNAPSHOT__V1__STATUS__STATUS_UNIMPLEMENTED;
    case MCOMP_UNAVAILABLE:
    case MCOMP_DEADLINE_EXCEEDED: return MCOMP__SNAPSHOT__V1__STATUS__STATUS_UNAVAILABLE;
    case MCOMP_DATA_LOSS: return MCOMP__SNAPSHOT__V1__STATUS__STATUS_DATA_LOSS;
    default: return MCOMP__SNAPSHOT__V1__STATUS__STATUS_INTERNAL;
    }
}

enum mcomp_status exchange_status_get(uint64_t number)
{
    return number >= 1 && number <= (uint64_t)MCOMP_UNAUTHENTICATED + 1 ? (enum mcomp_status)(number - 1) : MCOMP_UNKNOWN;
}

/* ---- answers, written ---- */

struct outgoing *exchange_result(uint64_t id, Response *response)
{
    response->id = id;
    response->status = MCOMP__SNAPSHOT__V1__STATUS__STATUS_OK;
    return outgoing_message(&response->base);
}

struct outgoing *exchange_answer(uint64_t id, enum mcomp_status status, const char *text)
{
    char cut[EXCHANGE_TEXT_BYTES_MAX + 1];
    Response response = MCOMP__SNAPSHOT__V1__RESPONSE__INIT;
    response.id = id;
    response.status = exchange_status_put(status);
    size_t bytes = strnlen(text, EXCHANGE_TEXT_BYTES_MAX);
    while (bytes > 0 && ((uint8_t)text[bytes] & 0xc0) == 0x80)
        bytes--; /* not within a character */
    memcpy(cut, text, bytes);
    cut[bytes] = '\0';
    response.message = cut;
    return outgoing_message(&response.base);
}

/* ---- reading fields ---- */

struct cursor {
    const uint8_t *at, *end;
};

struct field {
    uint32_t number;
    unsigned type;       /* of the wire: 0 varint, 1 eight bytes, 2 length-delimited, 5 four bytes */
    uint64_t value;      /* of the first, second and last */
    const uint8_t *data; /* of type 2 */
    size_t bytes;
};

enum { TYPE_VARINT = 0, TYPE_64 = 1, TYPE_BYTES = 2, TYPE_32 = 5 };

static bool take_varint(struct cursor *in, uint64_t *value)
{
    int cut;
    const uint8_t *at = varint_get(in->at, in->end, value, &cut);
    if (!at)
        return false;
    in->at = at;
    return true;
}

static bool take_fixed(struct cursor *in, uint64_t *value, size_t bytes)
{
    if ((size_t)(in->end - in->at) < bytes)
        return false;
    *value = 0;
    memcpy(value, in->at, bytes); /* little-endian, as the machine */
    in->at += bytes;
    return true;
}

/** The next field; only called when there is one. false: malformed. Groups, which proto3 does not have, are. */
static bool take_field(struct cursor *in, struct field *field)
{
    uint64_t tag, length;
    if (!take_varint(in, &tag) || tag >> 3 == 0 || tag > UINT32_MAX)
        return false;
    field->number = (uint32_t)(tag >> 3);
    field->type = tag & 7;
    switch (field->type) {
    case TYPE_VARINT: return take_varint(in, &field->value);
    case TYPE_64: return take_fixed(in, &field->value, 8);
    case TYPE_32: return take_fixed(in, &field->value, 4);
    case TYPE_BYTES:
        if (!take_varint(in, &length) || length > (uint64_t)(in->end - in->at))
            return false;
        field->data = in->at;
        field->bytes = (size_t)length;
        in->at += length;
        return true;
    default: return false;
    }
}

static bool is(const struct field *field, uint32_t number, unsigned type)
{
    return field->number == number && field->type == type;
}

/* ---- answers, read ---- */

/** Is this field one of Response.result? Others are from a later version, and passed over. */
static bool is_result(const struct field *field)
{
    switch (field->number) {
    case MCOMP__SNAPSHOT__V1__RESPONSE__RESULT_FREEZE:
    case MCOMP__SNAPSHOT__V1__RESPONSE__RESULT_CUT:
    case MCOMP__SNAPSHOT__V1__RESPONSE__RESULT_PULL:
    case MCOMP__SNAPSHOT__V1__RESPONSE__RESULT_TAKE_SNAPSHOT:
    case MCOMP__SNAPSHOT__V1__RESPONSE__RESULT_ROUND_STATUS:
    case MCOMP__SNAPSHOT__V1__RESPONSE__RESULT_LIST: return field->type == TYPE_BYTES;
    default: return false;
    }
}

bool exchange_response_decode(struct exchange_response *response, const uint8_t *body, size_t bytes)
{
    struct cursor in = {body, body + bytes};
    struct field field;
    uint64_t status = 0;
    *response = (struct exchange_response){.text = ""};
    while (in.at < in.end) {
        if (!take_field(&in, &field))
            return false;
        if (is(&field, 1, TYPE_VARINT)) {
            response->id = field.value;
        } else if (is(&field, 2, TYPE_VARINT)) {
            status = field.value;
        } else if (is(&field, 3, TYPE_BYTES)) {
            response->text = (const char *)field.data;
            response->text_bytes = field.bytes;
        } else if (is_result(&field)) {
            response->result = field.number;
            response->data = field.data;
            response->bytes = field.bytes;
        }
    }
    response->status = exchange_status_get(status);
    return true;
}

/* ---- PullResult, written: [head] ([room for the chunk's head][pages])… [tail], each part at the end of its room ---- */

#define HEAD_BYTES 64u /* prefix of the frame, Response and PullResult up to the first chunk */
#define TAIL_BYTES 16u
#define CHUNK_BYTES (FORMAT_CHUNK_HEAD_BYTES_MAX + SNAPSHOT_CHUNK_BYTES)

enum { /* number << 3 | wire type */
    TAG_ID = 1 << 3,
    TAG_STATUS = 2 << 3,
    TAG_PULL = 11 << 3 | 2,
    TAG_NEXT_OFFSET = 1 << 3,
    TAG_COMPLETE = 3 << 3,
    TAG_PRESERVED = 4 << 3
};

static uint8_t *put_number(uint8_t *out, uint8_t tag, uint64_t value)
{
    if (!value)
        return out;
    *out++ = tag;
    return varint_put(out, value);
}

struct outgoing *exchange_pull_begin(uint32_t windows)
{
    MC_ASSERT(windows >= 1 && windows <= EXCHANGE_PULL_CHUNKS);
    struct outgoing *out = outgoing_make(HEAD_BYTES + TAIL_BYTES + (size_t)windows * CHUNK_BYTES);
    if (out)
        outgoing_add(out, out->memory + HEAD_BYTES, 0); /* the head, once it is known */
    return out;
}

/** Where the room of the next chunk begins: pages of one that is not full leave theirs. */
static uint8_t *next_room(const struct outgoing *out)
{
    const struct iovec *last = &out->part[out->parts - 1];
    return (uint8_t *)last->iov_base + last->iov_len;
}

uint8_t *exchange_pull_room(const struct outgoing *out)
{
    return next_room(out) + FORMAT_CHUNK_HEAD_BYTES_MAX;
}

void exchange_pull_add(struct outgoing *out, const Mcomp__Snapshot__V1__Chunk *chunk)
{
    MC_ASSERT(chunk->data.data == exchange_pull_room(out) && out->parts <= EXCHANGE_PULL_CHUNKS);
    uint8_t record[FORMAT_CHUNK_HEAD_BYTES_MAX];
    size_t bytes = format_chunk_head_put(record, chunk);
    /* A record's chunk has the same number as PullResult's; only the record's own length goes. */
    uint64_t length;
    int cut;
    const uint8_t *field = varint_get(record, record + bytes, &length, &cut);
    size_t head = (size_t)(record + bytes - field);
    uint8_t *at = chunk->data.data - head;
    memcpy(at, field, head);
    outgoing_add(out, at, head + chunk->data.len);
}

void exchange_pull_end(struct outgoing *out, uint64_t id, const struct exchange_pull *pull)
{
    uint8_t *tail = next_room(out);
    uint8_t *end = put_number(tail, TAG_COMPLETE, pull->complete);
    end = put_number(end, TAG_PRESERVED, pull->pages_preserved);
    outgoing_add(out, tail, (size_t)(end - tail));

    uint8_t offset[1 + VARINT_BYTES_MAX], fields[HEAD_BYTES], head[HEAD_BYTES];
    size_t offset_bytes = (size_t)(put_number(offset, TAG_NEXT_OFFSET, pull->next_offset) - offset);
    uint64_t inner = offset_bytes + out->bytes;
    uint8_t *at = put_number(fields, TAG_ID, id);
    at = put_number(at, TAG_STATUS, MCOMP__SNAPSHOT__V1__STATUS__STATUS_OK);
    *at++ = TAG_PULL;
    at = varint_put(at, inner);
    memcpy(at, offset, offset_bytes);
    size_t fields_bytes = (size_t)(at - fields) + offset_bytes;
    at = varint_put(head, fields_bytes - offset_bytes + inner);
    memcpy(at, fields, fields_bytes);
    size_t head_bytes = (size_t)(at - head) + fields_bytes;
    uint8_t *begin = out->memory + HEAD_BYTES - head_bytes;
    memcpy(begin, head, head_bytes);
    out->part[0] = (struct iovec){.iov_base = begin, .iov_len = head_bytes};
    out->bytes += head_bytes;
}

/* ---- PullResult, read ---- */

static bool decode_chunk(Mcomp__Snapshot__V1__Chunk *chunk, const uint8_t *data, size_t bytes)
{
    struct cursor in = {data, data + bytes};
    struct field field;
    mcomp__snapshot__v1__chunk__init(chunk);
    while (in.at < in.end) {
        if (!take_field(&in, &field))
            return false;
        if (is(&field, 1, TYPE_VARINT))
            chunk->address = field.value;
        else if (is(&field, 2, TYPE_64))
            chunk->pages = field.value;
        else if (is(&field, 3, TYPE_32))
            chunk->crc32c = (uint32_t)field.value;
        else if (is(&field, 4, TYPE_VARINT) && field.value <= INT32_MAX)
            chunk->compression = (Mcomp__Snapshot__V1__Compression)field.value;
        else if (is(&field, 5, TYPE_32))
            chunk->data_crc32c = (uint32_t)field.value;
        else if (is(&field, 6, TYPE_BYTES))
            chunk->data = (ProtobufCBinaryData){.len = field.bytes, .data = (uint8_t *)field.data};
    }
    return true;
}

bool exchange_pull_decode(struct exchange_pull *pull, const uint8_t *data, size_t bytes)
{
    struct cursor in = {data, data + bytes};
    struct field field;
    pull->next_offset = pull->pages_preserved = 0;
    pull->complete = false;
    pull->chunks = 0;
    while (in.at < in.end) {
        if (!take_field(&in, &field))
            return false;
        if (is(&field, 1, TYPE_VARINT)) {
            pull->next_offset = field.value;
        } else if (is(&field, 2, TYPE_BYTES)) {
            if (pull->chunks == EXCHANGE_PULL_CHUNKS || !decode_chunk(&pull->chunk[pull->chunks++], field.data, field.bytes))
                return false;
        } else if (is(&field, 3, TYPE_VARINT)) {
            pull->complete = field.value != 0;
        } else if (is(&field, 4, TYPE_VARINT)) {
            pull->pages_preserved = field.value;
        }
    }
    return true;
}
