/* SPDX-License-Identifier: Apache-2.0 */
/** Holds the codec of wire/ against generated code on one message body; used by unit tests and by the fuzzer. Aborts on a difference. */
#ifndef TEST_LIB_WIRE_COMPARE_H
#define TEST_LIB_WIRE_COMPARE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/wire.h"

#define WIRE_SAME(left, right) ((left) == (right) ? (void)0 : abort())

static inline void wire_same_bytes(const void *left, uint64_t left_bytes, const void *right, uint64_t right_bytes)
{
    WIRE_SAME(left_bytes, right_bytes);
    WIRE_SAME(left_bytes == 0 || memcmp(left, right, left_bytes) == 0, 1);
}

static inline void wire_same_id(const struct wire_txn_id *left, const struct wire_txn_id *right)
{
    WIRE_SAME(left->session, right->session);
    WIRE_SAME(left->lane, right->lane);
    WIRE_SAME(left->generation, right->generation);
    WIRE_SAME(left->sequence, right->sequence);
}

static inline void wire_same_ranges(const struct wire_bytes *left, uint32_t left_count, const struct wire_bytes *right, uint32_t right_count)
{
    WIRE_SAME(left_count, right_count);
    for (uint32_t i = 0; i < left_count; i++) {
        WIRE_SAME(left[i].address, right[i].address);
        wire_same_bytes(left[i].data, left[i].length, right[i].data, right[i].length);
    }
}

static inline void wire_same_txn(const struct wire_txn *left, const struct wire_txn *right)
{
    WIRE_SAME(left == NULL, right == NULL);
    if (!left)
        return;
    WIRE_SAME(left->has_id, right->has_id);
    wire_same_id(&left->id, &right->id);
    WIRE_SAME(left->commit, right->commit);
    WIRE_SAME(left->want_answer, right->want_answer);
    wire_same_ranges(left->compares, left->compare_count, right->compares, right->compare_count);
    wire_same_ranges(left->writes, left->write_count, right->writes, right->write_count);
    WIRE_SAME(left->read_count, right->read_count);
    for (uint32_t i = 0; i < left->read_count; i++)
        WIRE_SAME(left->reads[i].address == right->reads[i].address && left->reads[i].length == right->reads[i].length, 1);
    WIRE_SAME(left->add_count, right->add_count);
    for (uint32_t i = 0; i < left->add_count; i++)
        WIRE_SAME(left->adds[i].address == right->adds[i].address && left->adds[i].delta == right->adds[i].delta, 1);
    WIRE_SAME(left->participant_count, right->participant_count);
    for (uint32_t i = 0; i < left->participant_count; i++) {
        WIRE_SAME(left->participants[i].node, right->participants[i].node);
        WIRE_SAME(left->participants[i].has_id, right->participants[i].has_id);
        wire_same_id(&left->participants[i].id, &right->participants[i].id);
    }
}

static inline void wire_same_txn_result(const struct wire_txn_result *left, const struct wire_txn_result *right)
{
    WIRE_SAME(left == NULL, right == NULL);
    if (!left)
        return;
    WIRE_SAME(left->outcome, right->outcome);
    WIRE_SAME(left->reason, right->reason);
    WIRE_SAME(left->failed_count, right->failed_count);
    for (uint32_t i = 0; i < left->failed_count; i++)
        WIRE_SAME(left->failed[i], right->failed[i]);
    WIRE_SAME(left->found_count, right->found_count);
    for (uint32_t i = 0; i < left->found_count; i++)
        wire_same_bytes(left->found[i].data, left->found[i].bytes, right->found[i].data, right->found[i].bytes);
    wire_same_bytes(left->answer.data, left->answer.bytes, right->answer.data, right->answer.bytes);
}

/** Both decoders accept or refuse the body alike, and find the same in it. */
static inline void wire_compare_request(const uint8_t *body, size_t bytes, struct arena *arena)
{
    struct wire_request fast, slow;
    bool fast_ok = wire_request_decode(&fast, body, bytes, arena);
    bool slow_ok = wire_request_decode_generated(&slow, body, bytes, arena);
    WIRE_SAME(fast_ok, slow_ok);
    WIRE_SAME(fast.id, slow.id);
    if (!fast_ok)
        return;
    WIRE_SAME(fast.timeout_ms, slow.timeout_ms);
    WIRE_SAME(fast.op, slow.op);
    WIRE_SAME(fast.full == NULL, slow.full == NULL);
    wire_same_txn(fast.txn, slow.txn);
    if (fast.op == WIRE_OP_READ || fast.op == WIRE_OP_WRITE || fast.op == WIRE_OP_FETCH_ADD || fast.op == WIRE_OP_COMPARE_AND_SWAP) {
        WIRE_SAME(fast.address, slow.address);
        WIRE_SAME(fast.length, slow.length);
    }
    if (fast.op == WIRE_OP_WRITE)
        wire_same_bytes(fast.data, fast.length, slow.data, slow.length);
    if (fast.op == WIRE_OP_FETCH_ADD || fast.op == WIRE_OP_COMPARE_AND_SWAP)
        WIRE_SAME(fast.operand, slow.operand);
    if (fast.op == WIRE_OP_COMPARE_AND_SWAP)
        WIRE_SAME(fast.desired, slow.desired);
    if (fast.op == WIRE_OP_RESTORE_DATA) {
        WIRE_SAME(fast.address, slow.address);
        WIRE_SAME(fast.operand, slow.operand);
        WIRE_SAME(fast.desired, slow.desired);
        WIRE_SAME(fast.crc32c, slow.crc32c);
        wire_same_bytes(fast.data, fast.length, slow.data, slow.length);
    }
}

static inline void wire_compare_response(const uint8_t *body, size_t bytes, struct arena *arena)
{
    struct wire_response fast, slow;
    bool fast_ok = wire_response_decode(&fast, body, bytes, arena);
    bool slow_ok = wire_response_decode_generated(&slow, body, bytes, arena);
    WIRE_SAME(fast_ok, slow_ok);
    if (!fast_ok)
        return;
    WIRE_SAME(fast.id, slow.id);
    WIRE_SAME(fast.status, slow.status);
    WIRE_SAME(fast.result, slow.result);
    WIRE_SAME(fast.value, slow.value);
    WIRE_SAME(fast.swapped, slow.swapped);
    WIRE_SAME(fast.full == NULL, slow.full == NULL);
    wire_same_bytes(fast.message, fast.message_bytes, slow.message, slow.message_bytes);
    wire_same_bytes(fast.data, fast.data_bytes, slow.data, slow.data_bytes);
    wire_same_txn_result(fast.txn, slow.txn);
}

#endif
