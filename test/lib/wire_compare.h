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
}

#endif
