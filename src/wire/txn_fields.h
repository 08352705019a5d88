/* SPDX-License-Identifier: Apache-2.0 */
/** The part of the codec that knows minitransactions. Private to wire/. */
#ifndef WIRE_TXN_FIELDS_H
#define WIRE_TXN_FIELDS_H

#include "wire/fields.h"
#include "wire/wire.h"

/* Fields 26 to 29 of Request, 26 of Response: tags of two bytes, of which the second is the same for all. */
enum {
    TAG_TXN_EXECUTE_LOW = WIRE_TAG_BYTES(26),
    TAG_TXN_PREPARE_LOW = WIRE_TAG_BYTES(27),
    TAG_TXN_DECIDE_LOW = WIRE_TAG_BYTES(28),
    TAG_TXN_RESOLVE_LOW = WIRE_TAG_BYTES(29),
    TAG_TXN_RESULT_LOW = WIRE_TAG_BYTES(26),
    TAG_TXN_HIGH = 1,
    TAG_TXN_BYTES = 2
};

/** The first byte of the operation's tag; one of the four. */
static inline uint8_t txn_tag_of_op(enum wire_op op)
{
    return (uint8_t)(TAG_TXN_EXECUTE_LOW + 8 * (int)(op - WIRE_OP_EXECUTE));
}

/** The operation of a tag whose second byte is TAG_TXN_HIGH; WIRE_OP_NONE: none of these. */
static inline enum wire_op txn_op_of_tag(uint8_t low)
{
    if (low < TAG_TXN_EXECUTE_LOW || low > TAG_TXN_RESOLVE_LOW || (low & 7) != 2)
        return WIRE_OP_NONE;
    return (enum wire_op)(WIRE_OP_EXECUTE + (low - TAG_TXN_EXECUTE_LOW) / 8);
}

/** Decode the operation's bytes into request->op and ->txn. false: not the plain shape, or no memory. */
bool txn_decode(struct wire_request *request, enum wire_op op, struct field_cursor in, struct arena *arena);
/** Has the unpacked request one of the four? */
static inline bool txn_is_one(const Mcomp__V1__Request *full)
{
    return full->op_case == MCOMP__V1__REQUEST__OP_EXECUTE || full->op_case == MCOMP__V1__REQUEST__OP_PREPARE ||
           full->op_case == MCOMP__V1__REQUEST__OP_DECIDE || full->op_case == MCOMP__V1__REQUEST__OP_RESOLVE;
}
/** The same as txn_decode() from such a request. false: no memory. */
bool txn_take(struct wire_request *request, const Mcomp__V1__Request *full, struct arena *arena);

/** Decode a TransactionResult into response->result and ->txn. */
bool txn_decode_result(struct wire_response *response, struct field_cursor in, struct arena *arena);
bool txn_take_result(struct wire_response *response, const Mcomp__V1__TransactionResult *full, struct arena *arena);

#endif
