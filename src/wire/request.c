/* SPDX-License-Identifier: Apache-2.0 */
/** Requests: encoders for the client, the decoder for the server. */
#include "base/crc32c.h"
#include "base/le.h"
#include "wire/fields.h"
#include "wire/txn_fields.h"
#include "wire/wire.h"

/* ---- encoding ---- */

static size_t envelope_size(uint64_t id, uint32_t timeout_ms)
{
    return field_size(id) + field_size(timeout_ms);
}

/** Prefix, id, time-out, and the header of the operation, of which op_bytes follow. */
static uint8_t *put_envelope(uint8_t *out, uint64_t id, uint32_t timeout_ms, uint8_t op_tag, uint64_t op_bytes)
{
    out = varint_put(out, envelope_size(id, timeout_ms) + 1 + varint_size(op_bytes) + op_bytes);
    out = field_put(out, TAG_ID, id);
    out = field_put(out, TAG_TIMEOUT, timeout_ms);
    return length_put(out, op_tag, op_bytes);
}

uint8_t *wire_put_read(uint8_t *out, uint64_t id, uint32_t timeout_ms, uint64_t address, uint64_t length)
{
    out = put_envelope(out, id, timeout_ms, TAG_READ, field_size(address) + field_size(length));
    out = field_put(out, TAG_VARINT_1, address);
    return field_put(out, TAG_VARINT_2, length);
}

uint8_t *wire_put_write_header(uint8_t *out, uint64_t id, uint32_t timeout_ms, uint64_t address, uint64_t data_bytes)
{
    uint64_t op_bytes = field_size(address) + bytes_field_header_size(data_bytes) + data_bytes;
    out = put_envelope(out, id, timeout_ms, TAG_WRITE, op_bytes);
    out = field_put(out, TAG_VARINT_1, address);
    return data_bytes ? length_put(out, TAG_BYTES_2, data_bytes) : out;
}

uint8_t *wire_put_fetch_add(uint8_t *out, uint64_t id, uint32_t timeout_ms, uint64_t address, uint64_t delta)
{
    out = put_envelope(out, id, timeout_ms, TAG_FETCH_ADD, field_size(address) + field_size(delta));
    out = field_put(out, TAG_VARINT_1, address);
    return field_put(out, TAG_VARINT_2, delta);
}

uint8_t *wire_put_compare_and_swap(uint8_t *out, uint64_t id, uint32_t timeout_ms, uint64_t address, uint64_t expected,
                                   uint64_t desired)
{
    uint64_t op_bytes = field_size(address) + field_size(expected) + field_size(desired);
    out = put_envelope(out, id, timeout_ms, TAG_COMPARE_AND_SWAP, op_bytes);
    out = field_put(out, TAG_VARINT_1, address);
    out = field_put(out, TAG_VARINT_2, expected);
    return field_put(out, TAG_VARINT_3, desired);
}

uint32_t wire_restore_crc(uint64_t address, uint64_t zeros, const void *data, uint64_t data_bytes)
{
    uint8_t head[16];
    le64_put(head, address);
    le64_put(head + 8, zeros);
    return crc32c(crc32c(0, head, sizeof head), data, data_bytes);
}

uint8_t *wire_put_restore_data_header(uint8_t *out, uint64_t id, uint32_t timeout_ms, const struct wire_restore_data *restore, uint64_t data_bytes)
{
    uint64_t op_bytes = field_size(restore->restore_id) + field_size(restore->address) + field_size(restore->zeros) + field_size(restore->crc32c) +
                        bytes_field_header_size(data_bytes) + data_bytes;
    out = varint_put(out, envelope_size(id, timeout_ms) + 2 + varint_size(op_bytes) + op_bytes);
    out = field_put(out, TAG_ID, id);
    out = field_put(out, TAG_TIMEOUT, timeout_ms);
    *out++ = TAG_RESTORE_DATA_LOW;
    out = length_put(out, TAG_RESTORE_DATA_HIGH, op_bytes);
    out = field_put(out, TAG_VARINT_1, restore->restore_id);
    out = field_put(out, TAG_VARINT_2, restore->address);
    out = field_put(out, TAG_VARINT_3, restore->zeros);
    out = field_put(out, TAG_VARINT_4, restore->crc32c);
    return data_bytes ? length_put(out, TAG_BYTES_5, data_bytes) : out;
}

/* ---- decoding ---- */

/** RestoreData: scalars 1 to 4 and bytes 5. false: some other shape. */
static bool decode_restore_data(struct wire_request *request, struct field_cursor *in)
{
    uint64_t scalar[5] = {0};
    request->op = WIRE_OP_RESTORE_DATA;
    request->length = 0;
    while (in->at < in->end) {
        uint8_t tag = *in->at++;
        if (tag == TAG_BYTES_5) {
            struct field_cursor data;
            if (!cursor_bytes(in, &data))
                return false;
            request->data = data.at;
            request->length = (uint64_t)(data.end - data.at);
            continue;
        }
        unsigned number = tag >> 3;
        if ((tag & 7) != 0 || number == 0 || number > 4 || !cursor_varint(in, &scalar[number]))
            return false;
    }
    request->operand = scalar[1];
    request->address = scalar[2];
    request->desired = scalar[3];
    request->crc32c = (uint32_t)scalar[4];
    return scalar[4] <= UINT32_MAX;
}

/** The operations of the fast decoder but RestoreData consist of scalars 1, 2, 3 and, for Write, of bytes 2. false: some other shape. */
static bool decode_operation(struct wire_request *request, enum wire_op op, struct field_cursor *in)
{
    uint64_t scalar[4] = {0};
    request->op = op;
    request->data = NULL;
    request->length = ATOMIC_WORD_BYTES;
    while (in->at < in->end) {
        uint8_t tag = *in->at++;
        if (op == WIRE_OP_WRITE && tag == TAG_BYTES_2) {
            struct field_cursor data;
            if (!cursor_bytes(in, &data))
                return false;
            request->data = data.at;
            request->length = (uint64_t)(data.end - data.at);
            continue;
        }
        unsigned number = tag >> 3;
        unsigned highest = op == WIRE_OP_WRITE ? 1 : op == WIRE_OP_COMPARE_AND_SWAP ? 3 : 2;
        if ((tag & 7) != 0 || number == 0 || number > highest || !cursor_varint(in, &scalar[number]))
            return false;
    }
    request->address = scalar[1];
    request->operand = scalar[2];
    request->desired = scalar[3];
    if (op == WIRE_OP_READ)
        request->length = scalar[2];
    if (op == WIRE_OP_WRITE && !request->data)
        request->length = 0;
    return true;
}

/** false: not the plain shape (which does not mean malformed). */
static bool decode_fast(struct wire_request *request, const uint8_t *body, size_t bytes, struct arena *arena)
{
    struct field_cursor in = {body, body + bytes};
    while (in.at < in.end) {
        uint8_t tag = *in.at++;
        if (tag == TAG_ID) {
            if (!cursor_varint(&in, &request->id))
                return false;
            continue;
        }
        if (tag == TAG_TIMEOUT) {
            uint64_t timeout_ms;
            if (!cursor_varint(&in, &timeout_ms) || timeout_ms > UINT32_MAX)
                return false;
            request->timeout_ms = (uint32_t)timeout_ms;
            continue;
        }
        struct field_cursor op_bytes;
        if (tag == TAG_RESTORE_DATA_LOW && in.at < in.end && *in.at == TAG_RESTORE_DATA_HIGH) {
            in.at++;
            if (request->op != WIRE_OP_NONE || !cursor_bytes(&in, &op_bytes) || !decode_restore_data(request, &op_bytes))
                return false;
            continue;
        }
        enum wire_op op = in.at < in.end && *in.at == TAG_TXN_HIGH ? txn_op_of_tag(tag) : WIRE_OP_NONE;
        if (op != WIRE_OP_NONE) {
            in.at++;
            if (request->op != WIRE_OP_NONE || !cursor_bytes(&in, &op_bytes) || !txn_decode(request, op, op_bytes, arena))
                return false;
            continue;
        }
        op = op_of_tag(tag);
        if (op == WIRE_OP_NONE || request->op != WIRE_OP_NONE || !cursor_bytes(&in, &op_bytes) ||
            !decode_operation(request, op, &op_bytes))
            return false;
    }
    return request->op != WIRE_OP_NONE;
}

/** The id of a message that is otherwise not understood, so that the answer can name it. */
static uint64_t salvage_id(const uint8_t *body, size_t bytes)
{
    struct field_cursor in = {body, body + bytes};
    uint64_t id = 0;
    if (bytes && *in.at++ == TAG_ID && !cursor_varint(&in, &id))
        id = 0;
    return id;
}

bool wire_request_decode(struct wire_request *request, const uint8_t *body, size_t bytes, struct arena *arena)
{
    *request = (struct wire_request){0};
    if (decode_fast(request, body, bytes, arena))
        return true;
    return wire_request_decode_generated(request, body, bytes, arena);
}

/** The operation of an unpacked request, if it is one whose parts have places of their own in struct wire_request. */
static bool take_plain(struct wire_request *request, const Mcomp__V1__Request *full)
{
    switch (full->op_case) {
    case MCOMP__V1__REQUEST__OP_READ:
        request->op = WIRE_OP_READ;
        request->address = full->read->address;
        request->length = full->read->length;
        return true;
    case MCOMP__V1__REQUEST__OP_WRITE:
        request->op = WIRE_OP_WRITE;
        request->address = full->write->address;
        request->length = full->write->data.len;
        request->data = full->write->data.data;
        return true;
    case MCOMP__V1__REQUEST__OP_FETCH_ADD:
        request->op = WIRE_OP_FETCH_ADD;
        request->address = full->fetch_add->address;
        request->operand = full->fetch_add->delta;
        return true;
    case MCOMP__V1__REQUEST__OP_COMPARE_AND_SWAP:
        request->op = WIRE_OP_COMPARE_AND_SWAP;
        request->address = full->compare_and_swap->address;
        request->operand = full->compare_and_swap->expected;
        request->desired = full->compare_and_swap->desired;
        return true;
    case MCOMP__V1__REQUEST__OP_RESTORE_DATA:
        request->op = WIRE_OP_RESTORE_DATA;
        request->operand = full->restore_data->restore_id;
        request->address = full->restore_data->address;
        request->desired = full->restore_data->zeros;
        request->crc32c = full->restore_data->crc32c;
        request->length = full->restore_data->data.len;
        request->data = full->restore_data->data.data;
        return true;
    default:
        return false;
    }
}

/** What stays as generated code made it; NONE: nothing that this version knows. */
static enum wire_op full_op(const Mcomp__V1__Request *full)
{
    switch (full->op_case) {
    case MCOMP__V1__REQUEST__OP_HELLO:
        return WIRE_OP_HELLO;
    case MCOMP__V1__REQUEST__OP_MULTI:
        return WIRE_OP_MULTI;
    case MCOMP__V1__REQUEST__OP_STATUS:
        return WIRE_OP_STATUS;
    case MCOMP__V1__REQUEST__OP_RESTORE_BEGIN:
        return WIRE_OP_RESTORE_BEGIN;
    case MCOMP__V1__REQUEST__OP_RESTORE_END:
        return WIRE_OP_RESTORE_END;
    case MCOMP__V1__REQUEST__OP_OPEN_SESSION:
        return WIRE_OP_OPEN_SESSION;
    case MCOMP__V1__REQUEST__OP_CLOSE_SESSION:
        return WIRE_OP_CLOSE_SESSION;
    case MCOMP__V1__REQUEST__OP_LIST_TRANSACTIONS:
        return WIRE_OP_LIST_TRANSACTIONS;
    default:
        return WIRE_OP_NONE;
    }
}

/** The operation of an unpacked request. false: no memory. */
static bool take_operation(struct wire_request *request, Mcomp__V1__Request *full, struct arena *arena)
{
    if (take_plain(request, full))
        return true;
    if (txn_is_one(full))
        return txn_take(request, full, arena);
    request->op = full_op(full);
    request->length = 0; /* of what has no range */
    request->full = request->op == WIRE_OP_NONE ? NULL : full;
    return true;
}

bool wire_request_decode_generated(struct wire_request *request, const uint8_t *body, size_t bytes, struct arena *arena)
{
    *request = (struct wire_request){0};
    arena_limit(arena, bytes + WIRE_DECODED_EXTRA_BYTES);
    Mcomp__V1__Request *full = mcomp__v1__request__unpack(&arena->allocator, bytes, body);
    if (full) {
        request->id = full->id;
        request->timeout_ms = full->timeout_ms;
        request->length = ATOMIC_WORD_BYTES;
    } else {
        request->id = salvage_id(body, bytes);
    }
    bool ok = full && take_operation(request, full, arena);
    arena_limit(arena, SIZE_MAX);
    return ok;
}
