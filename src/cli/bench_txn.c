/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench_txn.h"

#include <stdio.h>
#include <stdlib.h>

#define WORD_BYTES 8u

enum mcomp_status bench_txn_zero(struct mcomp *grid, const struct bench_plan *plan, struct mcomp_error *error)
{
    size_t length = (size_t)(plan->places * BENCH_TXN_BYTES);
    uint8_t *zeros = calloc(1, length);
    if (!zeros) {
        snprintf(error->text, sizeof error->text, "out of memory");
        return error->status = MCOMP_RESOURCE_EXHAUSTED;
    }
    enum mcomp_status status = mcomp_write(grid, plan->address, zeros, length, plan->timeout_ms, error);
    if (status == MCOMP_OK && plan->op == BENCH_TXN2)
        status = mcomp_write(grid, plan->address + mcomp_segment_size(grid), zeros, length, plan->timeout_ms, error);
    free(zeros);
    return status;
}

/** Compare two words and set both. */
static enum mcomp_status build_mcas(struct mcomp_txn *txn, uint64_t address, uint8_t *buffer, struct mcomp_error *error)
{
    enum mcomp_status status = MCOMP_OK;
    for (unsigned at = 0; at < 2 * WORD_BYTES && status == MCOMP_OK; at += WORD_BYTES) {
        status = mcomp_txn_compare(txn, address + at, buffer + at, WORD_BYTES, error);
        if (status == MCOMP_OK)
            status = mcomp_txn_write(txn, address + at, buffer + at, WORD_BYTES, error);
    }
    return status;
}

enum mcomp_status bench_txn_build(struct mcomp_txn *txn, const struct bench_plan *plan, uint64_t segment_size, uint64_t address, uint8_t *buffer,
                                  struct mcomp_error *error)
{
    uint64_t second = address + (plan->op == BENCH_TXN2 ? segment_size : 0);
    mcomp_txn_reset(txn);
    if (plan->op == BENCH_MCAS)
        return build_mcas(txn, address, buffer, error);
    enum mcomp_status status = mcomp_txn_compare(txn, address, buffer, WORD_BYTES, error);
    if (status == MCOMP_OK)
        status = mcomp_txn_read(txn, second + WORD_BYTES, buffer + WORD_BYTES, WORD_BYTES, error);
    if (status == MCOMP_OK)
        status = mcomp_txn_write(txn, address + 2 * WORD_BYTES, buffer + 2 * WORD_BYTES, WORD_BYTES, error);
    if (status == MCOMP_OK && plan->op == BENCH_TXN2)
        status = mcomp_txn_write(txn, second + 2 * WORD_BYTES, buffer + 2 * WORD_BYTES, WORD_BYTES, error);
    return status;
}
