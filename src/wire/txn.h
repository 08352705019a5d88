/* SPDX-License-Identifier: Apache-2.0 */
/** Messages about minitransactions, in flat arrays: Execute, Prepare, Decide, Resolve, and their common result. */
#ifndef WIRE_TXN_H
#define WIRE_TXN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wire_txn_id {
    uint32_t session, lane;
    uint64_t generation, sequence;
};

struct wire_participant {
    uint32_t node;
    bool has_id; /* no id is all zero */
    struct wire_txn_id id;
};

struct wire_range {
    uint64_t address, length;
};

/** A range with bytes, which are borrowed. */
struct wire_bytes {
    uint64_t address, length;
    const uint8_t *data;
};

struct wire_add {
    uint64_t address, delta;
};

/** What one of the four requests says. Decoded: all of it lives in the frame and the arena. To be encoded: all is borrowed for the call. */
struct wire_txn {
    bool has_id; /* EXECUTE may lack it; what else lacks it is all zero */
    bool commit; /* DECIDE */
    bool want_answer; /* DECIDE, RESOLVE */
    struct wire_txn_id id;
    uint32_t compare_count, read_count, write_count, add_count; /* EXECUTE, PREPARE */
    uint32_t participant_count;                                 /* PREPARE */
    struct wire_bytes *compares, *writes;
    struct wire_range *reads;
    struct wire_add *adds;
    struct wire_participant *participants;
};

/** Bytes without an address. */
struct wire_blob {
    uint64_t bytes;
    const uint8_t *data; /* borrowed */
};

/** The result of the four. Decoded numbers may be such as this version does not know. */
struct wire_txn_result {
    int outcome; /* Mcomp__V1__TransactionResult__Outcome */
    int reason;  /* Mcomp__V1__TransactionResult__Reason */
    uint32_t failed_count, found_count;
    uint32_t *failed;        /* numbers of compares */
    struct wire_blob *found; /* as many as failed when well-formed, which is not checked */
    struct wire_blob answer;
};

#endif
