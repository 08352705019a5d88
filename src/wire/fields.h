/* SPDX-License-Identifier: Apache-2.0 */
/** Field tags of the hot messages, and fields as proto3 writes them. Private to wire/. */
#ifndef WIRE_FIELDS_H
#define WIRE_FIELDS_H

#include <stdbool.h>

#include "wire/varint.h"
#include "wire/wire.h"

/* Field number and wire type in one byte: 0 varint, 2 length-delimited. */
#define WIRE_TAG_VARINT(field) (uint8_t)((field) << 3)
#define WIRE_TAG_BYTES(field) (uint8_t)((field) << 3 | 2)

enum {
    TAG_ID = WIRE_TAG_VARINT(1),
    TAG_TIMEOUT = WIRE_TAG_VARINT(2), /* Request */
    TAG_STATUS = WIRE_TAG_VARINT(2),  /* Response */
    TAG_MESSAGE = WIRE_TAG_BYTES(3),  /* Response */
    TAG_READ = WIRE_TAG_BYTES(9),
    TAG_WRITE = WIRE_TAG_BYTES(10),
    TAG_FETCH_ADD = WIRE_TAG_BYTES(11),
    TAG_COMPARE_AND_SWAP = WIRE_TAG_BYTES(12),
    TAG_RESTORE_DATA_LOW = 0x8a, /* bytes field 17: a tag of two bytes */
    TAG_RESTORE_DATA_HIGH = 0x01,
    /* inside the operations and results */
    TAG_VARINT_1 = WIRE_TAG_VARINT(1),
    TAG_VARINT_2 = WIRE_TAG_VARINT(2),
    TAG_VARINT_3 = WIRE_TAG_VARINT(3),
    TAG_VARINT_4 = WIRE_TAG_VARINT(4),
    TAG_BYTES_1 = WIRE_TAG_BYTES(1),
    TAG_BYTES_2 = WIRE_TAG_BYTES(2),
    TAG_BYTES_3 = WIRE_TAG_BYTES(3),
    TAG_BYTES_4 = WIRE_TAG_BYTES(4),
    TAG_BYTES_5 = WIRE_TAG_BYTES(5)
};

/** The operation that a tag of one byte stands for, in a Request as in a Response; WIRE_OP_NONE: none with a codec of our own. */
static inline enum wire_op op_of_tag(uint8_t tag)
{
    switch (tag) {
    case TAG_READ:
        return WIRE_OP_READ;
    case TAG_WRITE:
        return WIRE_OP_WRITE;
    case TAG_FETCH_ADD:
        return WIRE_OP_FETCH_ADD;
    case TAG_COMPARE_AND_SWAP:
        return WIRE_OP_COMPARE_AND_SWAP;
    default:
        return WIRE_OP_NONE;
    }
}

/** A scalar field takes no bytes when it is zero, as proto3 has it. */
static inline size_t field_size(uint64_t value)
{
    return value ? 1 + varint_size(value) : 0;
}

static inline uint8_t *field_put(uint8_t *out, uint8_t tag, uint64_t value)
{
    if (!value)
        return out;
    *out++ = tag;
    return varint_put(out, value);
}

/** Header of a length-delimited field; empty bytes fields take no bytes, sub-messages of a oneof always do. */
static inline size_t bytes_field_header_size(uint64_t length)
{
    return length ? 1 + varint_size(length) : 0;
}

static inline uint8_t *length_put(uint8_t *out, uint8_t tag, uint64_t length)
{
    *out++ = tag;
    return varint_put(out, length);
}

/** Walks over the fields of one message. */
struct field_cursor {
    const uint8_t *at, *end;
};

/** The next value of a varint field; false if it is not all there. */
static inline bool cursor_varint(struct field_cursor *cursor, uint64_t *value)
{
    int cut;
    const uint8_t *next = varint_get(cursor->at, cursor->end, value, &cut);
    if (!next)
        return false;
    cursor->at = next;
    return true;
}

/** The bytes of a length-delimited field as a cursor of their own; false if they are not all there. */
static inline bool cursor_bytes(struct field_cursor *cursor, struct field_cursor *inner)
{
    uint64_t length;
    if (!cursor_varint(cursor, &length) || length > (uint64_t)(cursor->end - cursor->at))
        return false;
    inner->at = cursor->at;
    inner->end = cursor->at += length;
    return true;
}

#endif
