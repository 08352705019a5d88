/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/file.h"
#include "teller.h"

#define TOUCHED 256u /* accounts of one transaction: fewer than it may have ranges on a node */

struct sums {
    uint64_t balance, moves, strangers;
};

static bool refused(const char *what, const char *why)
{
    fprintf(stderr, "teller: %s: %s\n", what, why);
    return false;
}

static uint64_t number_of(const struct accounts *accounts)
{
    return (uint64_t)accounts->nodes * accounts->of_node;
}

bool accounts_open(struct mcomp *grid, const struct accounts *accounts)
{
    struct mcomp_error error;
    for (uint64_t i = 0; i < number_of(accounts); i++) {
        struct account account = {account_number(i), TELLER_BALANCE, 0};
        if (mcomp_write(grid, account_address(accounts, i), &account, sizeof account, TELLER_TIMEOUT_MS, &error) != MCOMP_OK)
            return refused("making an account", error.text);
    }
    return true;
}

bool accounts_touch(struct mcomp *grid, const struct accounts *accounts)
{
    struct mcomp_error error = {0};
    struct mcomp_txn *txn;
    enum mcomp_status status = mcomp_txn_begin(grid, &txn, &error);
    if (status != MCOMP_OK)
        return refused("touching accounts", error.text);
    uint64_t all = number_of(accounts), steps = (all + TOUCHED - 1) / TOUCHED;
    for (uint64_t step = 0; step < steps && status == MCOMP_OK; step++) {
        mcomp_txn_reset(txn);
        for (uint64_t i = step; i < all && status == MCOMP_OK; i += steps)
            status = mcomp_txn_add(txn, account_address(accounts, i) + offsetof(struct account, balance), 0, NULL, &error);
        if (status == MCOMP_OK)
            status = mcomp_txn_commit(txn, TELLER_TIMEOUT_MS, NULL, &error);
    }
    mcomp_txn_end(txn);
    return status == MCOMP_OK || refused("touching accounts", error.text);
}

/** Of the accounts of one node. */
static void sum_up(const struct accounts *accounts, uint32_t node, const uint8_t *bytes, struct sums *sums)
{
    for (uint32_t i = 0; i < accounts->of_node; i++) {
        struct account account;
        memcpy(&account, bytes + (size_t)i * TELLER_STRIDE, sizeof account);
        sums->balance += account.balance;
        sums->moves += account.moves;
        sums->strangers += account.number != account_number((uint64_t)node * accounts->of_node + i);
    }
}

static void print_sums(const struct sums *sums)
{
    printf("balance=%" PRIu64 " moves=%" PRIu64 " strangers=%" PRIu64 "\n", sums->balance, sums->moves, sums->strangers);
}

bool audit_grid(struct mcomp *grid, const struct accounts *accounts)
{
    size_t length = (size_t)accounts->of_node * TELLER_STRIDE;
    uint8_t *bytes = malloc(length);
    struct mcomp_error error = {0};
    struct sums sums = {0};
    enum mcomp_status status = bytes ? MCOMP_OK : MCOMP_RESOURCE_EXHAUSTED;
    for (uint32_t node = 0; node < accounts->nodes && status == MCOMP_OK; node++) {
        status = mcomp_read(grid, node * accounts->segment_size, bytes, length, TELLER_TIMEOUT_MS, &error);
        if (status == MCOMP_OK)
            sum_up(accounts, node, bytes, &sums);
    }
    free(bytes);
    if (status != MCOMP_OK)
        return refused("reading accounts", error.text);
    print_sums(&sums);
    return true;
}

bool audit_file(const char *path, const struct accounts *accounts)
{
    size_t length = (size_t)accounts->of_node * TELLER_STRIDE;
    struct snapshot_reader *reader;
    struct sums sums = {0};
    struct err err;
    if (length > accounts->segment_size)
        return refused(path, "the accounts do not fit into a segment");
    enum mcomp_status status = snapshot_reader_open(&reader, path, &err);
    if (status != MCOMP_OK)
        return refused(path, err.text);
    uint8_t *bytes = snapshot_reader_grid_bytes(reader) == accounts->nodes * accounts->segment_size ? malloc(length) : NULL;
    if (!bytes)
        status = err_set(&err, MCOMP_INVALID_ARGUMENT, "it is of a grid of another size, or there is no memory");
    for (uint32_t node = 0; node < accounts->nodes && status == MCOMP_OK; node++) {
        status = snapshot_reader_read(reader, node * accounts->segment_size, length, bytes, &err);
        if (status == MCOMP_OK)
            sum_up(accounts, node, bytes, &sums);
    }
    snapshot_reader_close(reader);
    free(bytes);
    if (status != MCOMP_OK)
        return refused(path, err.text);
    print_sums(&sums);
    return true;
}
