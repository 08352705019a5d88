/* SPDX-License-Identifier: Apache-2.0 */
/** Responses: encoders for the server, the decoder for the client. */
#include "wire/fields.h"
#include "wire/txn_fields.h"
#include "wire/wire.h"

#include <string.h>

#define STATUS_OK_ON_WIRE 1u /* MCOMP__V1__STATUS__STATUS_OK */

/* ---- encoding ---- */

/** Prefix, id, status OK, and the header of the result, of which result_bytes follow. */
static uint8_t *put_ok(uint8_t *out, uint64_t id, uint8_t result_tag, uint64_t result_bytes)
{
    out = varint_put(out, field_size(id) + 2 + 1 + varint_size(result_bytes) + result_bytes);
    out = field_put(out, TAG_ID, id);
    *out++ = TAG_STATUS;
    *out++ = STATUS_OK_ON_WIRE;
    return length_put(out, result_tag, result_bytes);
}

uint8_t *wire_put_read_result_header(uint8_t *out, uint64_t id, uint64_t data_bytes)
{
    out = put_ok(out, id, TAG_READ, bytes_field_header_size(data_bytes) + data_bytes);
    return data_bytes ? length_put(out, TAG_BYTES_1, data_bytes) : out;
}

uint8_t *wire_put_write_result(uint8_t *out, uint64_t id)
{
    return put_ok(out, id, TAG_WRITE, 0);
}

uint8_t *wire_put_fetch_add_result(uint8_t *out, uint64_t id, uint64_t before)
{
    out = put_ok(out, id, TAG_FETCH_ADD, field_size(before));
    return field_put(out, TAG_VARINT_1, before);
}

uint8_t *wire_put_compare_and_swap_result(uint8_t *out, uint64_t id, bool swapped, uint64_t found)
{
    out = put_ok(out, id, TAG_COMPARE_AND_SWAP, field_size(swapped) + field_size(found));
    out = field_put(out, TAG_VARINT_1, swapped);
    return field_put(out, TAG_VARINT_2, found);
}

/* ---- decoding ---- */

/** false: some other shape than the plain one. */
static bool decode_result(struct wire_response *response, enum wire_op result, struct field_cursor *in)
{
    uint64_t scalar[3] = {0};
    response->result = result;
    while (in->at < in->end) {
        uint8_t tag = *in->at++;
        if (result == WIRE_OP_READ && tag == TAG_BYTES_1) {
            struct field_cursor data;
            if (!cursor_bytes(in, &data))
                return false;
            response->data = data.at;
            response->data_bytes = (uint64_t)(data.end - data.at);
            continue;
        }
        unsigned number = tag >> 3;
        unsigned highest = result == WIRE_OP_FETCH_ADD ? 1 : result == WIRE_OP_COMPARE_AND_SWAP ? 2 : 0;
        if ((tag & 7) != 0 || number == 0 || number > highest || !cursor_varint(in, &scalar[number]))
            return false;
    }
    if (result == WIRE_OP_FETCH_ADD)
        response->value = scalar[1];
    if (result == WIRE_OP_COMPARE_AND_SWAP) {
        response->swapped = scalar[1] != 0;
        response->value = scalar[2];
    }
    return true;
}

static bool decode_fast(struct wire_response *response, const uint8_t *body, size_t bytes, struct arena *arena)
{
    struct field_cursor in = {body, body + bytes};
    uint64_t status = 0;
    while (in.at < in.end) {
        uint8_t tag = *in.at++;
        struct field_cursor inner;
        if (tag == TAG_ID) {
            if (!cursor_varint(&in, &response->id))
                return false;
        } else if (tag == TAG_STATUS) {
            if (!cursor_varint(&in, &status) || status > INT32_MAX)
                return false;
        } else if (tag == TAG_MESSAGE) {
            if (!cursor_bytes(&in, &inner))
                return false;
            response->message_bytes = strnlen((const char *)inner.at, (size_t)(inner.end - inner.at));
            response->message = response->message_bytes ? (const char *)inner.at : NULL;
        } else if (tag == TAG_TXN_RESULT_LOW && in.at < in.end && *in.at == TAG_TXN_HIGH) {
            in.at++;
            if (response->result != WIRE_OP_NONE || !cursor_bytes(&in, &inner) || !txn_decode_result(response, inner, arena))
                return false;
        } else {
            enum wire_op result = op_of_tag(tag);
            if (result == WIRE_OP_NONE || response->result != WIRE_OP_NONE || !cursor_bytes(&in, &inner) ||
                !decode_result(response, result, &inner))
                return false;
        }
    }
    response->status = wire_status_get(status);
    return true;
}

bool wire_response_decode(struct wire_response *response, const uint8_t *body, size_t bytes, struct arena *arena)
{
    *response = (struct wire_response){0};
    if (decode_fast(response, body, bytes, arena))
        return true;
    return wire_response_decode_generated(response, body, bytes, arena);
}

/** false: no memory. */
static bool take_result(struct wire_response *response, Mcomp__V1__Response *full, struct arena *arena)
{
    switch (full->result_case) {
    case MCOMP__V1__RESPONSE__RESULT_READ:
        response->result = WIRE_OP_READ;
        response->data = full->read->data.data;
        response->data_bytes = full->read->data.len;
        break;
    case MCOMP__V1__RESPONSE__RESULT_WRITE:
        response->result = WIRE_OP_WRITE;
        break;
    case MCOMP__V1__RESPONSE__RESULT_FETCH_ADD:
        response->result = WIRE_OP_FETCH_ADD;
        response->value = full->fetch_add->before;
        break;
    case MCOMP__V1__RESPONSE__RESULT_COMPARE_AND_SWAP:
        response->result = WIRE_OP_COMPARE_AND_SWAP;
        response->value = full->compare_and_swap->found;
        response->swapped = full->compare_and_swap->swapped;
        break;
    case MCOMP__V1__RESPONSE__RESULT_HELLO:
        response->result = WIRE_OP_HELLO;
        break;
    case MCOMP__V1__RESPONSE__RESULT_MULTI:
        response->result = WIRE_OP_MULTI;
        break;
    case MCOMP__V1__RESPONSE__RESULT_NODE_STATUS:
        response->result = WIRE_OP_STATUS;
        break;
    case MCOMP__V1__RESPONSE__RESULT_RESTORE_BEGIN:
        response->result = WIRE_OP_RESTORE_BEGIN;
        break;
    case MCOMP__V1__RESPONSE__RESULT_RESTORE_DATA:
        response->result = WIRE_OP_RESTORE_DATA;
        break;
    case MCOMP__V1__RESPONSE__RESULT_RESTORE_END:
        response->result = WIRE_OP_RESTORE_END;
        break;
    case MCOMP__V1__RESPONSE__RESULT_OPEN_SESSION:
        response->result = WIRE_OP_OPEN_SESSION;
        break;
    case MCOMP__V1__RESPONSE__RESULT_CLOSE_SESSION:
        response->result = WIRE_OP_CLOSE_SESSION;
        break;
    case MCOMP__V1__RESPONSE__RESULT_LIST_TRANSACTIONS:
        response->result = WIRE_OP_LIST_TRANSACTIONS;
        break;
    case MCOMP__V1__RESPONSE__RESULT_TRANSACTION:
        return txn_take_result(response, full->transaction, arena);
    default: /* WrongNode, or nothing */
        break;
    }
    bool plain = response->result == WIRE_OP_READ || response->result == WIRE_OP_WRITE ||
                 response->result == WIRE_OP_FETCH_ADD || response->result == WIRE_OP_COMPARE_AND_SWAP;
    response->full = plain || full->result_case == MCOMP__V1__RESPONSE__RESULT__NOT_SET ? NULL : full;
    return true;
}

bool wire_response_decode_generated(struct wire_response *response, const uint8_t *body, size_t bytes, struct arena *arena)
{
    *response = (struct wire_response){0};
    arena_limit(arena, bytes + WIRE_DECODED_EXTRA_BYTES);
    Mcomp__V1__Response *full = mcomp__v1__response__unpack(&arena->allocator, bytes, body);
    bool ok = full && take_result(response, full, arena);
    arena_limit(arena, SIZE_MAX);
    if (!ok)
        return false;
    response->id = full->id;
    response->status = wire_status_get((uint64_t)(uint32_t)full->status);
    if (full->message && full->message[0]) {
        response->message = full->message;
        response->message_bytes = strlen(full->message);
    }
    return true;
}

bool wire_response_peek_read(const uint8_t *body, size_t available, size_t bytes, uint64_t *id, size_t *data_at,
                             uint64_t *data_bytes)
{
    struct field_cursor in = {body, body + available};
    uint64_t status, result_bytes, length;
    *id = 0;
    if (in.at < in.end && *in.at == TAG_ID) {
        in.at++;
        if (!cursor_varint(&in, id))
            return false;
    }
    if (in.end - in.at < 2 || *in.at++ != TAG_STATUS || !cursor_varint(&in, &status) || status != STATUS_OK_ON_WIRE)
        return false;
    if (in.at == in.end || *in.at++ != TAG_READ || !cursor_varint(&in, &result_bytes) ||
        result_bytes != bytes - (uint64_t)(in.at - body))
        return false;
    if (in.at == in.end || *in.at++ != TAG_BYTES_1 || !cursor_varint(&in, &length) ||
        length != bytes - (uint64_t)(in.at - body))
        return false;
    *data_at = (size_t)(in.at - body);
    *data_bytes = length;
    return true;
}
