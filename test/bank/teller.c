/* SPDX-License-Identifier: Apache-2.0 */
#include "teller.h"

#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define AMOUNT_MAX 1000u

static const char usage[] =
    "usage: teller open CONFIG ACCOUNTS                     make so many accounts on each node\n"
    "       teller run CONFIG ACCOUNTS CLIENTS SEED COUNTS  transfer until standard input ends; COUNTS: the file of what was begun and done\n"
    "       teller audit CONFIG ACCOUNTS                    touch each account, and print what they hold\n"
    "       teller audit-file FILE ACCOUNTS K NODES         print what the accounts hold in a snapshot\n";

struct client {
    struct mcomp *grid;
    const struct accounts *accounts;
    struct counts *counts;
    struct mcomp_txn *txn; /* owned */
    pthread_t thread;
    uint64_t random;
    bool failed;
};

static atomic_bool stop;

uint64_t account_address(const struct accounts *accounts, uint64_t index)
{
    return index / accounts->of_node * accounts->segment_size + index % accounts->of_node * TELLER_STRIDE;
}

uint64_t account_number(uint64_t index)
{
    return index * 0x9e3779b97f4a7c15u + 1;
}

static uint64_t chance(struct client *client, uint64_t below)
{
    uint64_t z = client->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (z ^ z >> 31) % below;
}

static void fail(struct client *client, const char *what, const struct mcomp_error *error)
{
    fprintf(stderr, "teller: %s: %s\n", what, error->text);
    client->failed = true;
    atomic_store(&stop, true);
}

/** What a killed server or a busy grid makes of a call. */
static bool excused(enum mcomp_status status)
{
    return status == MCOMP_OK || status == MCOMP_ABORTED || status == MCOMP_UNAVAILABLE || status == MCOMP_DEADLINE_EXCEEDED ||
           status == MCOMP_RESOURCE_EXHAUSTED;
}

/** An amount from one account to another by adds; both must have their numbers. */
static enum mcomp_status plan_adds(struct client *client, const uint64_t index[2], uint64_t amount, uint64_t number[2], struct mcomp_error *error)
{
    enum mcomp_status status = MCOMP_OK;
    for (unsigned i = 0; i < 2 && status == MCOMP_OK; i++) {
        uint64_t address = account_address(client->accounts, index[i]);
        number[i] = account_number(index[i]);
        status = mcomp_txn_compare(client->txn, address, &number[i], sizeof number[i], error);
        if (status == MCOMP_OK)
            status = mcomp_txn_add(client->txn, address + offsetof(struct account, balance), i == 0 ? 0 - amount : amount, NULL, error);
        if (status == MCOMP_OK)
            status = mcomp_txn_add(client->txn, address + offsetof(struct account, moves), 1, NULL, error);
    }
    return status;
}

/** The same by writes; both must be as they were read, each for itself, before. */
static enum mcomp_status plan_writes(struct client *client, const uint64_t index[2], uint64_t amount, struct account old[2], struct account new[2],
                                     struct mcomp_error *error)
{
    enum mcomp_status status = MCOMP_OK;
    for (unsigned i = 0; i < 2 && status == MCOMP_OK; i++) {
        uint64_t address = account_address(client->accounts, index[i]);
        status = mcomp_read(client->grid, address, &old[i], sizeof old[i], TELLER_TIMEOUT_MS, error);
        new[i] = (struct account){account_number(index[i]), i == 0 ? old[i].balance - amount : old[i].balance + amount, old[i].moves + 1};
        if (status == MCOMP_OK)
            status = mcomp_txn_compare(client->txn, address, &old[i], sizeof old[i], error);
        if (status == MCOMP_OK)
            status = mcomp_txn_write(client->txn, address, &new[i], sizeof new[i], error);
    }
    return status;
}

static void transfer(struct client *client)
{
    uint64_t all = (uint64_t)client->accounts->nodes * client->accounts->of_node, index[2] = {chance(client, all), chance(client, all - 1)};
    uint64_t amount = 1 + chance(client, AMOUNT_MAX), number[2];
    struct account old[2], new[2];
    struct mcomp_error error;
    struct mcomp_txn_result result;
    bool adds = chance(client, 2) == 0;
    index[1] += index[1] >= index[0];
    mcomp_txn_reset(client->txn);
    enum mcomp_status status =
        adds ? plan_adds(client, index, amount, number, &error) : plan_writes(client, index, amount, old, new, &error);
    if (status == MCOMP_OK) {
        atomic_fetch_add(&client->counts->begun, 1);
        status = mcomp_txn_commit(client->txn, TELLER_TIMEOUT_MS, &result, &error);
        if (status == MCOMP_OK)
            atomic_fetch_add(&client->counts->done, 1);
        if (adds && result.outcome == MCOMP_TXN_COMPARE_FAILED)
            fail(client, "an account has lost its number", &error);
    }
    if (!excused(status))
        fail(client, "a transfer", &error);
}

static void *work(void *arg)
{
    struct client *client = arg;
    while (!atomic_load(&stop))
        transfer(client);
    return NULL;
}

bool tellers_run(struct mcomp *grid, const struct accounts *accounts, uint32_t clients, uint64_t seed, struct counts *counts)
{
    static struct client client[TELLER_CLIENTS_MAX];
    struct mcomp_error error;
    uint32_t started = 0;
    bool failed = false;
    for (; started < clients && !failed; started += !failed) {
        struct client *one = &client[started];
        *one = (struct client){.grid = grid, .accounts = accounts, .counts = counts, .random = (seed * TELLER_CLIENTS_MAX + started) * 0xd1342543de82ef95u};
        failed = mcomp_txn_begin(grid, &one->txn, &error) != MCOMP_OK || pthread_create(&one->thread, NULL, work, one) != 0;
    }
    if (failed)
        fputs("teller: out of memory\n", stderr);
    else
        while (getchar() != EOF)
            continue;
    atomic_store(&stop, true);
    for (uint32_t i = 0; i < started; i++) {
        pthread_join(client[i].thread, NULL);
        mcomp_txn_end(client[i].txn);
        failed |= client[i].failed;
    }
    return !failed;
}

static struct counts *map_counts(const char *path)
{
    int file = open(path, O_RDWR | O_CLOEXEC);
    void *counts = file < 0 ? MAP_FAILED : mmap(NULL, sizeof(struct counts), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (counts == MAP_FAILED) {
        perror(path);
        exit(1);
    }
    close(file);
    return counts;
}

static bool with_grid(int argc, char **argv, struct accounts *accounts)
{
    struct mcomp_error error;
    struct mcomp *grid;
    bool done = false;
    if (mcomp_open(&grid, argv[2], &(struct mcomp_options){.client_name = "teller"}, &error) != MCOMP_OK) {
        fprintf(stderr, "teller: %s\n", error.text);
        return false;
    }
    accounts->nodes = mcomp_nodes(grid);
    accounts->segment_size = mcomp_segment_size(grid);
    uint32_t clients = argc == 7 ? (uint32_t)strtoul(argv[4], NULL, 10) : 0;
    if ((uint64_t)accounts->of_node * TELLER_STRIDE > accounts->segment_size || clients > TELLER_CLIENTS_MAX)
        fputs("teller: that does not fit\n", stderr);
    else if (strcmp(argv[1], "open") == 0)
        done = accounts_open(grid, accounts);
    else if (strcmp(argv[1], "run") == 0)
        done = tellers_run(grid, accounts, clients, strtoull(argv[5], NULL, 10), map_counts(argv[6]));
    else
        done = accounts_touch(grid, accounts) && audit_grid(grid, accounts);
    mcomp_close(grid);
    return done;
}

int main(int argc, char **argv)
{
    struct accounts accounts = {.of_node = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0};
    if (accounts.of_node > 1 && ((argc == 4 && (strcmp(argv[1], "open") == 0 || strcmp(argv[1], "audit") == 0)) || (argc == 7 && strcmp(argv[1], "run") == 0)))
        return with_grid(argc, argv, &accounts) ? 0 : 1;
    if (accounts.of_node > 1 && argc == 6 && strcmp(argv[1], "audit-file") == 0) {
        accounts.segment_size = strtoull(argv[4], NULL, 10);
        accounts.nodes = (uint32_t)strtoul(argv[5], NULL, 10);
        return audit_file(argv[2], &accounts) ? 0 : 1;
    }
    fputs(usage, stderr);
    return 2;
}
