/* SPDX-License-Identifier: Apache-2.0 */
/** The part of exec.h that knows minitransactions: requests about them, from their checks to their responses. Private to exec. */
#ifndef SERVER_EXEC_TXN_H
#define SERVER_EXEC_TXN_H

#include "server/exec.h"

#define TXN_FOUND_BYTES_MAX 64u /* of a compare that failed: what it found is told up to this length */

/** One of Execute, Prepare, Decide, Resolve. */
static inline bool exec_txn_is_message(const struct wire_request *request)
{
    return request->txn != NULL;
}

/** Ranges of a transaction's items in one row: compares, reads, writes, adds. */
uint32_t exec_txn_ranges(const struct wire_txn *txn);
struct wire_range exec_txn_range(const struct wire_txn *txn, uint32_t index);

/** check_txn.c: all checks of a request about transactions or sessions. A range is checked by the caller's function. */
MUST_CHECK enum mcomp_status exec_txn_check(const struct exec *exec, const struct exec_caller *caller, const struct wire_request *request,
                                            struct err *err);

/** As exec_prefetch, of the items; there may be none. */
void exec_txn_prefetch(const struct exec *exec, const struct wire_txn *txn);

/** As exec_payload, exec_reply_bytes, exec_run, for these requests. */
uint64_t exec_txn_payload(const struct wire_request *request);
uint64_t exec_txn_reply_bytes(const struct wire_request *request);
uint8_t *exec_txn_run(const struct exec *exec, struct exec_caller *caller, const struct wire_request *request, uint8_t *out, enum mcomp_status *status);

/** The participants of a Prepare as others want them, in the caller's arena; NULL: out of memory. */
struct lane_participant *exec_txn_participants(const struct wire_txn *txn, struct arena *arena);

#endif
