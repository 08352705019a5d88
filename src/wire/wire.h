/* SPDX-License-Identifier: Apache-2.0 */
/** Frames and messages of mcomp.proto in the form that loops work with.
 *
 *  The generated protobuf-c code defines what is right. Read, Write, FetchAdd and CompareAndSwap, and their results, also have a codec
 *  of their own here, because generated code took longer than the rest of the server for them (docs/performance.md), and so have the messages about
 *  minitransactions (txn.h), and RestoreData, whose data it would copy; whatever does not have the plain shape goes to the generated code, and a
 *  fuzz target holds the two against each other. */
#ifndef WIRE_WIRE_H
#define WIRE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"
#include "mcomp.pb-c.h"
#include "wire/arena.h"
#include "wire/txn.h"

/* ---- frames ---- */

enum wire_frame { WIRE_FRAME_WHOLE, WIRE_FRAME_PART, WIRE_FRAME_BAD };

/** What stands at [bytes, bytes+available): a whole frame, the beginning of one, or no frame at all (the length is malformed or over limit).
 *  *header and *body are set (bytes of prefix and message) for WHOLE, and for PART once the prefix is there; else 0; for BAD, *body is the
 *  length announced, or 0 when the prefix is malformed. */
enum wire_frame wire_frame_peek(const uint8_t *bytes, size_t available, uint64_t limit, size_t *header, uint64_t *body);

/** What a decoded message may take besides its own bytes. Generated code makes up to 70 bytes of each byte of a message that consists of tiny parts:
 *  enough for any message of FRAME_OVERHEAD_BYTES and for MULTI_RANGES_MAX ranges with all their data; what needs more is malformed. */
#define WIRE_DECODED_EXTRA_BYTES ((size_t)128 * FRAME_OVERHEAD_BYTES)

/* ---- requests ---- */

enum wire_op {
    WIRE_OP_NONE, /* no operation that this version knows */
    WIRE_OP_HELLO,
    WIRE_OP_READ,
    WIRE_OP_WRITE,
    WIRE_OP_FETCH_ADD,
    WIRE_OP_COMPARE_AND_SWAP,
    WIRE_OP_MULTI,
    WIRE_OP_STATUS,
    WIRE_OP_RESTORE_BEGIN,
    WIRE_OP_RESTORE_DATA,
    WIRE_OP_RESTORE_END,
    WIRE_OP_OPEN_SESSION,
    WIRE_OP_CLOSE_SESSION,
    WIRE_OP_EXECUTE, /* this and the next three in the order of their field numbers */
    WIRE_OP_PREPARE,
    WIRE_OP_DECIDE,
    WIRE_OP_RESOLVE,
    WIRE_OP_LIST_TRANSACTIONS,
    WIRE_OP_COUNT
};

/** One decoded request. data and full are borrowed from the frame and the arena. */
struct wire_request {
    uint64_t id;
    uint32_t timeout_ms;
    enum wire_op op;
    uint64_t address;
    uint64_t length;       /* READ: wanted; WRITE, RESTORE_DATA: of data; FETCH_ADD, COMPARE_AND_SWAP: 8 */
    const uint8_t *data;   /* WRITE, RESTORE_DATA */
    uint64_t operand;      /* FETCH_ADD: delta; COMPARE_AND_SWAP: expected; RESTORE_DATA: restore_id */
    uint64_t desired;      /* COMPARE_AND_SWAP; RESTORE_DATA: zeros */
    uint32_t crc32c;       /* RESTORE_DATA */
    struct wire_txn *txn;     /* EXECUTE, PREPARE, DECIDE, RESOLVE; NULL else */
    Mcomp__V1__Request *full; /* HELLO, MULTI, STATUS, RESTORE_BEGIN, RESTORE_END, OPEN_SESSION, CLOSE_SESSION, LIST_TRANSACTIONS; NULL else */
};

/** Decode the message of a frame. false: malformed, far too many parts, or out of memory; then id is set when it could be read, else 0. */
bool wire_request_decode(struct wire_request *request, const uint8_t *body, size_t bytes, struct arena *arena);

/** The same by generated code alone; the reference for tests and for shapes that the fast decoder leaves. */
bool wire_request_decode_generated(struct wire_request *request, const uint8_t *body, size_t bytes, struct arena *arena);

/* Encoders write one frame, prefix included, and return its end. Where data follows, they write all that stands before the data, which the
 * caller puts right behind. Room needed: WIRE_HEADER_BYTES, unless said otherwise. timeout_ms 0 = none. */
#define WIRE_HEADER_BYTES 96u

uint8_t *wire_put_read(uint8_t *out, uint64_t id, uint32_t timeout_ms, uint64_t address, uint64_t length);
uint8_t *wire_put_write_header(uint8_t *out, uint64_t id, uint32_t timeout_ms, uint64_t address, uint64_t data_bytes);
uint8_t *wire_put_fetch_add(uint8_t *out, uint64_t id, uint32_t timeout_ms, uint64_t address, uint64_t delta);
uint8_t *wire_put_compare_and_swap(uint8_t *out, uint64_t id, uint32_t timeout_ms, uint64_t address, uint64_t expected, uint64_t desired);

/** The fields of a RestoreData but its data. */
struct wire_restore_data {
    uint64_t restore_id, address;
    uint64_t zeros;  /* bytes */
    uint32_t crc32c; /* wire_restore_crc() */
};

uint8_t *wire_put_restore_data_header(uint8_t *out, uint64_t id, uint32_t timeout_ms, const struct wire_restore_data *restore, uint64_t data_bytes);

/** What RestoreData.crc32c must be. */
uint32_t wire_restore_crc(uint64_t address, uint64_t zeros, const void *data, uint64_t data_bytes);

/** Execute, Prepare, Decide or Resolve, the whole frame, and its bytes. */
size_t wire_txn_frame_bytes(uint64_t id, uint32_t timeout_ms, enum wire_op op, const struct wire_txn *txn);
uint8_t *wire_put_txn(uint8_t *out, uint64_t id, uint32_t timeout_ms, enum wire_op op, const struct wire_txn *txn);

/** Bytes of the whole frame of any message, and the frame itself (room for that many bytes). For what has no encoder of its own. */
size_t wire_message_frame_bytes(const ProtobufCMessage *message);
uint8_t *wire_put_message(uint8_t *out, const ProtobufCMessage *message);

/* ---- responses ---- */

uint8_t *wire_put_read_result_header(uint8_t *out, uint64_t id, uint64_t data_bytes);
uint8_t *wire_put_write_result(uint8_t *out, uint64_t id);
uint8_t *wire_put_fetch_add_result(uint8_t *out, uint64_t id, uint64_t before);
uint8_t *wire_put_compare_and_swap_result(uint8_t *out, uint64_t id, bool swapped, uint64_t found);

/** The result of Execute, Prepare, Decide or Resolve: bytes of the whole frame, and all of it that stands before the bytes of the answer (room: the
 *  frame's bytes without those). */
size_t wire_txn_result_frame_bytes(uint64_t id, const struct wire_txn_result *result);
uint8_t *wire_put_txn_result_header(uint8_t *out, uint64_t id, const struct wire_txn_result *result);

/** One decoded response. message, data and full are borrowed from the frame and the arena. */
struct wire_response {
    uint64_t id;
    enum mcomp_status status; /* UNKNOWN for numbers that this version does not know, UNSPECIFIED included */
    const char *message;      /* not terminated; NULL when empty */
    size_t message_bytes;
    enum wire_op result;      /* which result is there; WIRE_OP_NONE: none */
    const uint8_t *data;      /* READ */
    uint64_t data_bytes;
    uint64_t value;           /* FETCH_ADD: before; COMPARE_AND_SWAP: found */
    bool swapped;
    struct wire_txn_result *txn; /* result EXECUTE, which stands for all four of the requests that it answers; NULL else */
    Mcomp__V1__Response *full;   /* HELLO, MULTI, STATUS, RESTORE_…, …_SESSION, LIST_TRANSACTIONS results and WrongNode; NULL else */
};

bool wire_response_decode(struct wire_response *response, const uint8_t *body, size_t bytes, struct arena *arena);
bool wire_response_decode_generated(struct wire_response *response, const uint8_t *body, size_t bytes, struct arena *arena);

/** For receiving the data of a long answer straight into its place: true when the first available bytes of a message of `bytes` bytes show an OK
 *  answer to a Read whose data reaches to the end of the message; then *id is its id and the data begins at body + *data_at (*data_at ≤ available) and is
 *  *data_bytes long. */
bool wire_response_peek_read(const uint8_t *body, size_t available, size_t bytes, uint64_t *id, size_t *data_at, uint64_t *data_bytes);

/* ---- status numbers: the wire's are ours plus one ---- */

static inline Mcomp__V1__Status wire_status_put(enum mcomp_status status)
{
    return (Mcomp__V1__Status)((int)status + 1);
}

enum mcomp_status wire_status_get(uint64_t number);

#endif
