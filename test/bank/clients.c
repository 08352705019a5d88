/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "bank.h"

#define CALL_MS 60000u

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static _Noreturn void fail(const struct client *client, const char *what, const char *why)
{
    fprintf(stderr, "bank: client %u: %s: %s\n", client->ledger.client, what, why);
    _Exit(1);
}

/** Write the cells of a step, in one request. Only a connection that breaks, which a server's death makes it do, may keep it from succeeding; then it is
 *  made again. The dead server cannot carry out the first attempt after that, and nobody else writes here. */
static void carry_out(struct client *client, const struct step *step)
{
    const struct bank *bank = client->all->bank;
    uint8_t bytes[2][BANK_CELL_BYTES_MAX];
    struct mcomp_range range[2];
    struct mcomp_error error;
    enum mcomp_status status;
    for (uint32_t i = 0; i < step->cells; i++) {
        ledger_content(&client->ledger, step->cell[i], bytes[i]);
        range[i] = (struct mcomp_range){MCOMP_RANGE_WRITE, bank_address(bank, client->ledger.client, step->cell[i]), bank_cell_bytes(bank), bytes[i]};
    }
    do {
        if (step->cells == 1)
            status = mcomp_write(client->all->grid, range[0].address, range[0].buffer, range[0].length, CALL_MS, &error);
        else
            status = mcomp_multi(client->all->grid, range, step->cells, CALL_MS, &error);
    } while (status == MCOMP_UNAVAILABLE);
    if (status != MCOMP_OK)
        fail(client, "an operation", error.text);
}

static void read_back(struct client *client)
{
    const struct bank *bank = client->all->bank;
    uint8_t expected[BANK_CELL_BYTES_MAX], found[BANK_CELL_BYTES_MAX];
    struct mcomp_error error;
    for (uint32_t i = 0; i < bank_cells(bank); i++) {
        ledger_content(&client->ledger, i, expected);
        if (mcomp_read(client->all->grid, bank_address(bank, client->ledger.client, i), found, bank_cell_bytes(bank), CALL_MS, &error) != MCOMP_OK)
            fail(client, "reading back", error.text);
        if (memcmp(expected, found, bank_cell_bytes(bank)) != 0)
            fail(client, "reading back", "the grid does not hold what was acknowledged");
    }
}

static void *work(void *arg)
{
    struct client *client = arg;
    struct clients *all = client->all;
    while (!atomic_load(&all->stop)) {
        struct step step;
        if (client->ledger.operations + 1 == BANK_OPERATIONS_MAX)
            fail(client, "at work", "too many operations for its journal: run it for a shorter time");
        ledger_advance(&client->ledger, &step);
        struct moment *moment = &client->moment[client->ledger.operations];
        atomic_store(&moment->begun_ns, now_ns());
        carry_out(client, &step);
        atomic_store(&moment->ended_ns, now_ns());
        atomic_fetch_add(&all->done, 1);
    }
    read_back(client);
    return NULL;
}

void clients_run(struct clients *clients)
{
    pthread_t thread[BANK_CLIENTS_MAX];
    for (uint32_t i = 0; i < clients->bank->clients; i++)
        if (pthread_create(&thread[i], NULL, work, &clients->client[i]) != 0)
            fail(&clients->client[i], "starting", "cannot make a thread");
    for (uint32_t i = 0; i < clients->bank->clients; i++)
        pthread_join(thread[i], NULL);
}

bool clients_open(struct clients *clients, const struct bank *bank, struct mcomp *grid)
{
    memset(clients, 0, sizeof *clients);
    clients->bank = bank;
    clients->grid = grid;
    for (uint32_t i = 0; i < bank->clients; i++) {
        struct client *client = &clients->client[i];
        client->all = clients;
        client->moment = mmap(NULL, BANK_OPERATIONS_MAX * sizeof *client->moment, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (client->moment == MAP_FAILED)
            client->moment = NULL;
        if (!client->moment || !ledger_open(&client->ledger, bank, i))
            return false;
    }
    return true;
}

void clients_close(struct clients *clients)
{
    for (uint32_t i = 0; i < clients->bank->clients; i++) {
        struct client *client = &clients->client[i];
        ledger_close(&client->ledger);
        if (client->moment)
            munmap(client->moment, BANK_OPERATIONS_MAX * sizeof *client->moment);
    }
}
