/* SPDX-License-Identifier: Apache-2.0 */
/** Minitransactions: compare, read, write and add anywhere in the grid, all or nothing.
 *
 *  A transaction is a list of items, made by mcomp_txn_compare(), _read(), _write() and _add(), and then committed as one: if each compare finds the
 *  bytes it expects, all reads are taken and all writes and adds are made, at one instant, on however many nodes; else nothing is. Nobody ever
 *  sees a part of it: plain reads and writes that meet one under way wait for its end. Reads show the state before the writes and adds. The
 *  death of a server's process or of a client at any instant changes none of this: the nodes finish the transaction among themselves.
 *
 *      struct mcomp_txn *txn;
 *      mcomp_txn_begin(grid, &txn, &error);
 *      mcomp_txn_compare(txn, from, &balance, 8, &error);
 *      mcomp_txn_add(txn, from, (uint64_t)-amount, NULL, &error);
 *      mcomp_txn_add(txn, to, amount, NULL, &error);
 *      status = mcomp_txn_commit(txn, MCOMP_TIMEOUT_DEFAULT, &result, &error);
 *      mcomp_txn_end(txn);
 *
 *  A transaction whose items lie on one node costs one round trip, as a plain read does; one on several costs one for the answer and another behind
 *  it, which nobody waits for. It is short: it holds what it touches for those round trips, and for nothing that the caller does.
 *
 *  Conflicts. Transactions that touch a common 64-byte line, one of them to change it, exclude each other; whoever comes second on several nodes
 *  is turned away, and so is who meets a node that a snapshot has just frozen. The library then tries again by itself, after a pause that doubles
 *  from 1 ms to 64 ms, each time a random half to whole of that, as often as mcomp_txn_attempts() allows and the time-out lets it.
 *
 *  A struct mcomp_txn belongs to one thread at a time. It may be committed again and again (the items stay), or emptied by mcomp_txn_reset(). */
#ifndef MCOMP_TXN_H
#define MCOMP_TXN_H

#include <stdbool.h>

#include "mcomp.h"

#ifdef __cplusplus
extern "C" {
#endif

struct mcomp_txn;

/* ---- making one ---- */

/** An empty transaction. Sends nothing.
 *  Owns: on OK, the caller gives *txn back with mcomp_txn_end(), before mcomp_close(). Errors: RESOURCE_EXHAUSTED. */
MCOMP_API MCOMP_MUST_CHECK enum mcomp_status mcomp_txn_begin(struct mcomp *grid, struct mcomp_txn **txn, struct mcomp_error *error);

/** Remove all items; what mcomp_txn_attempts() set stays. It must not be under way. */
MCOMP_API void mcomp_txn_reset(struct mcomp_txn *txn);

/** It must not be under way. NULL is allowed. */
MCOMP_API void mcomp_txn_end(struct mcomp_txn *txn);

/** At most so many attempts where others are in the way; 0: as many as the time-out allows, which is the default; 1: never again. */
MCOMP_API void mcomp_txn_attempts(struct mcomp_txn *txn, uint32_t attempts);

/* Items. Ranges may span nodes; buffers stay the caller's, are not copied, and must live and stay as they are until the commit is at its end. Items
 * of no length do nothing. Each kind is numbered from 0 in the order of the calls.
 * Errors: OUT_OF_RANGE, INVALID_ARGUMENT (a word that spans two nodes), RESOURCE_EXHAUSTED; the item was not added then. */

/** The bytes at address must be those at expected. */
MCOMP_API MCOMP_MUST_CHECK enum mcomp_status mcomp_txn_compare(struct mcomp_txn *txn, uint64_t address, const void *expected, size_t length,
                                                               struct mcomp_error *error);

/** buffer is filled when the transaction is committed, and undefined else. */
MCOMP_API MCOMP_MUST_CHECK enum mcomp_status mcomp_txn_read(struct mcomp_txn *txn, uint64_t address, void *buffer, size_t length,
                                                            struct mcomp_error *error);
MCOMP_API MCOMP_MUST_CHECK enum mcomp_status mcomp_txn_write(struct mcomp_txn *txn, uint64_t address, const void *data, size_t length,
                                                             struct mcomp_error *error);

/** Add delta, modulo 2^64, to the 64-bit little-endian integer at address, which need not be aligned but lies on one node. *before (may be NULL)
 *  becomes its value before, when committed. */
MCOMP_API MCOMP_MUST_CHECK enum mcomp_status mcomp_txn_add(struct mcomp_txn *txn, uint64_t address, uint64_t delta, uint64_t *before,
                                                           struct mcomp_error *error);

/* ---- committing it ---- */

enum mcomp_txn_outcome {
    MCOMP_TXN_COMMITTED = 1,      /* status OK */
    MCOMP_TXN_COMPARE_FAILED = 2, /* ABORTED: other bytes were found; mcomp_txn_compare_found() tells where. Nothing was changed */
    MCOMP_TXN_CONFLICT = 3,       /* ABORTED: others were in the way at each attempt. Nothing was changed, and will not be */
    MCOMP_TXN_NOT_DONE = 4,       /* any other status: nothing was changed, and will not be */
    MCOMP_TXN_UNKNOWN = 5         /* DEADLINE_EXCEEDED, UNAVAILABLE and others: it may have been committed, or may yet be, as a whole */
};

struct mcomp_txn_result {
    enum mcomp_txn_outcome outcome;
    uint32_t attempts;        /* made; 0: nothing was sent */
    uint32_t failed_compares; /* known to have failed; with several nodes others may have failed, too */
};

/** Commit, and return when its outcome is known or timeout_ms (as in mcomp.h) has passed. *result (may be NULL) is always set.
 *  Errors: ABORTED              a compare failed, or conflicts; see result->outcome
 *          INVALID_ARGUMENT     two of its writes and adds overlap; more than 1024 ranges or mcomp_max_message() bytes on one node;
 *                               nothing was sent
 *          DEADLINE_EXCEEDED, UNAVAILABLE, RESOURCE_EXHAUSTED, FAILED_PRECONDITION as in mcomp.h
 *  The spans of the error are the ranges of the writes and adds, all with the one outcome that the transaction has. */
MCOMP_API MCOMP_MUST_CHECK enum mcomp_status mcomp_txn_commit(struct mcomp_txn *txn, uint32_t timeout_ms, struct mcomp_txn_result *result,
                                                              struct mcomp_error *error);

/** The same, asynchronously; status, error and callback as for every submission to a queue. The transaction and all its buffers must
 *  live until the callback, which may commit it again; nothing else may be done with it in between. mcomp_txn_outcome() has the outcome. */
MCOMP_API MCOMP_MUST_CHECK enum mcomp_status mcomp_queue_txn(struct mcomp_queue *queue, struct mcomp_txn *txn, uint32_t timeout_ms,
                                                             mcomp_callback callback, void *arg, struct mcomp_error *error);

/** Of the last commit that has come to its end; zeros when there was none. */
MCOMP_API struct mcomp_txn_result mcomp_txn_outcome(const struct mcomp_txn *txn);

enum mcomp_txn_compare_result {
    MCOMP_TXN_NOT_COMPARED = 0, /* or not known */
    MCOMP_TXN_HELD = 1,
    MCOMP_TXN_DIFFERED = 2
};

/** What became of the compare with this number in the last commit that has come to its end. *found (may be NULL) becomes the bytes that were there
 *  when it differed and the node told them, which it does of a compare of at most 64 bytes on one node, as a rule; else NULL. They are as many as
 *  were compared, at a multiple of 8, and live until the next commit, reset or end. */
MCOMP_API enum mcomp_txn_compare_result mcomp_txn_compare_found(const struct mcomp_txn *txn, size_t compare, const void **found);

/* ---- in one call ---- */

/** Read a range as it was at one instant, on however many nodes it lies. Errors as mcomp_txn_commit(). */
MCOMP_API MCOMP_MUST_CHECK enum mcomp_status mcomp_read_atomic(struct mcomp *grid, uint64_t address, void *buffer, size_t length,
                                                               uint32_t timeout_ms, struct mcomp_error *error);

/** Write a range at one instant, on however many nodes it lies. Errors as mcomp_txn_commit(). */
MCOMP_API MCOMP_MUST_CHECK enum mcomp_status mcomp_write_atomic(struct mcomp *grid, uint64_t address, const void *data, size_t length,
                                                                uint32_t timeout_ms, struct mcomp_error *error);

/** A 64-bit little-endian integer for mcomp_mcas(), on one node. */
struct mcomp_mcas_word {
    uint64_t address;
    uint64_t expected, desired;
};

/** Multi-word compare-and-swap: if each word has its expected value, store all desired ones, at one instant, on any nodes. *swapped says whether;
 *  OK is returned either way. Errors: CONFLICT is ABORTED; the others as mcomp_txn_commit(). */
MCOMP_API MCOMP_MUST_CHECK enum mcomp_status mcomp_mcas(struct mcomp *grid, const struct mcomp_mcas_word *words, size_t count, bool *swapped,
                                                        uint32_t timeout_ms, struct mcomp_error *error);

/* ---- transactions that nodes hold ---- */

#define MCOMP_PREPARED_MAX 100u  /* that a node tells of */
#define MCOMP_PREPARED_NODES 16u /* that are told of each */

/** One that a node has prepared and that is not decided there. */
struct mcomp_prepared {
    uint32_t session, lane; /* who it is at that node */
    uint64_t generation, sequence;
    uint64_t age_ms;       /* since it was prepared, or since the node's server found it when it started */
    uint32_t participants; /* nodes that take part, this one included */
    uint32_t nodes[MCOMP_PREPARED_NODES]; /* the first of these */
};

/** Ask a node which transactions it holds prepared, the oldest first: at most capacity of them go to list, *total is how many there are.
 *  Errors: OUT_OF_RANGE (no such node), and as mcomp_read(). */
MCOMP_API MCOMP_MUST_CHECK enum mcomp_status mcomp_node_prepared(struct mcomp *grid, uint32_t node, struct mcomp_prepared *list, size_t capacity,
                                                                 uint64_t *total, uint32_t timeout_ms, struct mcomp_error *error);

#ifdef __cplusplus
}
#endif

#endif
