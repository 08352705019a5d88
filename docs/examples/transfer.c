/* SPDX-License-Identifier: Apache-2.0 */
/* Moves 10 from one account to another on the next node, whatever others do to them meanwhile. */
#include <inttypes.h>
#include <mcomp_txn.h>
#include <stdio.h>

#define TEN UINT64_C(10)

static enum mcomp_status transfer(struct mcomp *grid, struct mcomp_txn *txn, uint64_t from, uint64_t to, struct mcomp_error *error)
{
    struct mcomp_txn_result result;
    enum mcomp_status status;
    do {
        uint64_t balance, left;
        status = mcomp_read(grid, from, &balance, sizeof balance, MCOMP_TIMEOUT_DEFAULT, error);
        if (status != MCOMP_OK)
            return status;
        left = balance - TEN; /* may go below zero: the bank is kind */
        mcomp_txn_reset(txn);
        if ((status = mcomp_txn_compare(txn, from, &balance, sizeof balance, error)) != MCOMP_OK ||
            (status = mcomp_txn_write(txn, from, &left, sizeof left, error)) != MCOMP_OK ||
            (status = mcomp_txn_add(txn, to, TEN, NULL, error)) != MCOMP_OK)
            return status;
        status = mcomp_txn_commit(txn, MCOMP_TIMEOUT_DEFAULT, &result, error);
    } while (status == MCOMP_ABORTED && result.outcome == MCOMP_TXN_COMPARE_FAILED); /* somebody was faster: look again */
    return status;
}

int main(void)
{
    struct mcomp *grid;
    struct mcomp_txn *txn;
    struct mcomp_error error;
    uint64_t rich = 0, poor = 0;
    if (mcomp_open(&grid, NULL, NULL, &error) != MCOMP_OK)
        return fprintf(stderr, "%s\n", error.text), 1;
    uint64_t from = 4096, to = mcomp_segment_size(grid) * (mcomp_nodes(grid) - 1);
    enum mcomp_status status = mcomp_txn_begin(grid, &txn, &error);
    if (status == MCOMP_OK) {
        status = transfer(grid, txn, from, to, &error);
        mcomp_txn_reset(txn); /* both balances as they were at one instant */
        if (status == MCOMP_OK && (status = mcomp_txn_read(txn, from, &rich, sizeof rich, &error)) == MCOMP_OK &&
            (status = mcomp_txn_read(txn, to, &poor, sizeof poor, &error)) == MCOMP_OK)
            status = mcomp_txn_commit(txn, MCOMP_TIMEOUT_DEFAULT, NULL, &error);
        mcomp_txn_end(txn);
    }
    if (status == MCOMP_OK)
        printf("%" PRId64 " and %" PRId64 "\n", (int64_t)rich, (int64_t)poor);
    else
        fprintf(stderr, "%s: %s\n", mcomp_status_name(status), error.text);
    mcomp_close(grid);
    return status != MCOMP_OK;
}
