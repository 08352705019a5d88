/* SPDX-License-Identifier: Apache-2.0 */
/** Transactions for mcomp bench. A place is a line of 64 bytes: a compare of its first 8 bytes, which are 0, a read of the next 8, and a write of those
 *  behind. With two nodes the read, and another write, are in the line of the same offset on the next node. BENCH_MCAS compares and sets the first two
 *  words of the line, from 0 to 0. */
#ifndef CLI_BENCH_TXN_H
#define CLI_BENCH_TXN_H

#include "cli/bench.h"
#include "mcomp_txn.h"

#define BENCH_TXN_BYTES 64u
#define BENCH_TXN_PLACES_MAX 65536u /* they are zeroed before */

static inline bool bench_is_txn(enum bench_op op)
{
    return op == BENCH_TXN || op == BENCH_TXN2 || op == BENCH_MCAS;
}

/** Zero all places. */
MUST_CHECK enum mcomp_status bench_txn_zero(struct mcomp *grid, const struct bench_plan *plan, struct mcomp_error *error);

/** Make the transaction of one place anew; buffer: BENCH_TXN_BYTES of the caller's, zeros in front. */
MUST_CHECK enum mcomp_status bench_txn_build(struct mcomp_txn *txn, const struct bench_plan *plan, uint64_t segment_size, uint64_t address,
                                             uint8_t *buffer, struct mcomp_error *error);

#endif
