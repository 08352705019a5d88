/* SPDX-License-Identifier: Apache-2.0 */
/** Clients that transfer money between accounts and count what they do, for tests that kill servers meanwhile.
 *
 *      transfers CONFIG THREADS OPERATIONS SEED
 *
 *  Accounts are the 64-bit numbers at multiples of 64 in the first ACCOUNTS lines of each node, the first line excepted, whose number is a counter of
 *  adds. Each thread makes OPERATIONS operations: transfers of two or three nodes, adds to counters, compare-and-swaps of a counter of its own.
 *  At the end: "transfers=N refused=N adds=N unknown=N lost_swaps=N" on standard output. A defect that a client can see ends with 1. */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mcomp_txn.h"

#define ACCOUNTS 64u
#define LINE 64u
#define THREADS_MAX 32u
#define SWAPS_AT (ACCOUNTS * LINE) /* behind the accounts: a line for each thread */
#define TIMEOUT_MS 60000u

struct client {
    struct mcomp *grid;
    pthread_t thread;
    uint32_t number, nodes;
    uint64_t operations, random, segment;
    uint64_t transfers, refused, adds, unknown, lost_swaps;
    const char *fault;
};

static uint64_t next_random(struct client *client)
{
    uint64_t z = client->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t account(struct client *client, uint32_t node)
{
    return node * client->segment + (1 + next_random(client) % (ACCOUNTS - 1)) * LINE;
}

/** Move an amount, if the balance read before is still there. */
static void transfer(struct client *client, struct mcomp_txn *txn)
{
    struct mcomp_error error = {0};
    struct mcomp_txn_result result;
    uint32_t node = (uint32_t)(next_random(client) % client->nodes);
    uint64_t from = account(client, node), to = account(client, (node + 1) % client->nodes), balance = 0, amount = next_random(client) % 100;
    if (mcomp_read(client->grid, from, &balance, sizeof balance, TIMEOUT_MS, &error) != MCOMP_OK) {
        client->refused++;
        return;
    }
    mcomp_txn_reset(txn);
    uint64_t third = account(client, (node + 2) % client->nodes), seen;
    bool three = client->nodes > 2 && next_random(client) % 4 == 0;
    if (mcomp_txn_compare(txn, from, &balance, sizeof balance, &error) != MCOMP_OK ||
        mcomp_txn_add(txn, from, (uint64_t)0 - amount, NULL, &error) != MCOMP_OK || mcomp_txn_add(txn, to, amount, NULL, &error) != MCOMP_OK ||
        (three && mcomp_txn_read(txn, third, &seen, sizeof seen, &error) != MCOMP_OK)) {
        client->fault = "an item was refused";
        return;
    }
    enum mcomp_status status = mcomp_txn_commit(txn, TIMEOUT_MS, &result, &error);
    if ((status == MCOMP_OK) != (result.outcome == MCOMP_TXN_COMMITTED))
        client->fault = "status and outcome disagree";
    if (result.outcome == MCOMP_TXN_COMMITTED)
        client->transfers++;
    else if (result.outcome == MCOMP_TXN_UNKNOWN)
        client->unknown++;
    else
        client->refused++;
}

static void add(struct client *client)
{
    struct mcomp_error error = {0};
    uint64_t before;
    enum mcomp_status status =
        mcomp_fetch_add(client->grid, next_random(client) % client->nodes * client->segment, 1, &before, TIMEOUT_MS, &error);
    if (status == MCOMP_OK)
        client->adds++;
    else if (error.spans[0].outcome == MCOMP_MAYBE)
        client->unknown++;
}

/** Nobody else touches this word: a swap that fails, or finds another value than ours, happened twice or not at all. */
static void swap(struct client *client, uint64_t *value)
{
    struct mcomp_error error = {0};
    uint64_t at = client->number % client->nodes * client->segment + SWAPS_AT + client->number * LINE, found = 0;
    if (mcomp_compare_and_swap(client->grid, at, *value, *value + 1, &found, TIMEOUT_MS, &error) != MCOMP_OK) {
        if (error.spans[0].outcome == MCOMP_MAYBE)
            client->lost_swaps++;
        if (mcomp_read(client->grid, at, value, sizeof *value, TIMEOUT_MS, &error) != MCOMP_OK)
            client->fault = "a word of one client cannot be read";
        return;
    }
    if (found != *value)
        client->fault = "a swap found what nobody else can have written";
    ++*value;
}

static void *run(void *arg)
{
    struct client *client = arg;
    struct mcomp_txn *txn;
    uint64_t word = 0;
    if (mcomp_txn_begin(client->grid, &txn, NULL) != MCOMP_OK) {
        client->fault = "out of memory";
        return NULL;
    }
    for (uint64_t i = 0; i < client->operations && !client->fault; i++) {
        uint64_t kind = next_random(client) % 4;
        if (kind < 2)
            transfer(client, txn);
        else if (kind == 2)
            add(client);
        else
            swap(client, &word);
    }
    mcomp_txn_end(txn);
    return NULL;
}

int main(int argc, char **argv)
{
    static struct client clients[THREADS_MAX];
    struct mcomp_error error = {0};
    struct mcomp *grid;
    if (argc != 5) {
        fprintf(stderr, "usage: transfers CONFIG THREADS OPERATIONS SEED\n");
        return 2;
    }
    uint32_t threads = (uint32_t)strtoul(argv[2], NULL, 10);
    if (threads < 1 || threads > THREADS_MAX || mcomp_open(&grid, argv[1], NULL, &error) != MCOMP_OK) {
        fprintf(stderr, "transfers: %s\n", error.text);
        return 1;
    }
    struct client sum = {0};
    for (uint32_t i = 0; i < threads; i++) {
        clients[i] = (struct client){.grid = grid,
                                     .number = i,
                                     .nodes = mcomp_nodes(grid),
                                     .segment = mcomp_segment_size(grid),
                                     .operations = strtoull(argv[3], NULL, 10),
                                     .random = strtoull(argv[4], NULL, 10) * 1000 + i};
        if (pthread_create(&clients[i].thread, NULL, run, &clients[i]) != 0)
            return 1;
    }
    for (uint32_t i = 0; i < threads; i++) {
        pthread_join(clients[i].thread, NULL);
        sum.transfers += clients[i].transfers;
        sum.refused += clients[i].refused;
        sum.adds += clients[i].adds;
        sum.unknown += clients[i].unknown;
        sum.lost_swaps += clients[i].lost_swaps;
        if (clients[i].fault)
            sum.fault = clients[i].fault;
    }
    mcomp_close(grid);
    printf("transfers=%" PRIu64 " refused=%" PRIu64 " adds=%" PRIu64 " unknown=%" PRIu64 " lost_swaps=%" PRIu64 "\n", sum.transfers, sum.refused,
           sum.adds, sum.unknown, sum.lost_swaps);
    if (sum.fault)
        fprintf(stderr, "transfers: %s\n", sum.fault);
    return sum.fault ? 1 : 0;
}
