/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bank.h"

#define ACCOUNTS 31u                  /* of each client on each node; the total of that node is one cell more */
#define NODE_CELLS (ACCOUNTS + 1u)
#define ACCOUNT_BYTES 200u
#define PAGE_BYTES 4096u
#define AMOUNT_MAX 1000u

struct operation {
    bool credit;
    uint64_t transfer;
    uint32_t node, account;
    int64_t amount;
};

static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static uint64_t chance(const struct bank *bank, uint32_t client, uint64_t number)
{
    return mix(mix(bank->seed ^ (uint64_t)client << 48) ^ number);
}

static void put_word(uint8_t *bytes, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get_word(const uint8_t *bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < 8; i++)
        value |= (uint64_t)bytes[i] << 8 * i;
    return value;
}

uint32_t bank_cells(const struct bank *bank)
{
    if (bank->kind == BANK_ACCOUNTS)
        return bank->nodes * NODE_CELLS;
    return (uint32_t)(bank->segment_size * bank->nodes / PAGE_BYTES / bank->clients);
}

size_t bank_cell_bytes(const struct bank *bank)
{
    return bank->kind == BANK_ACCOUNTS ? ACCOUNT_BYTES : PAGE_BYTES;
}

/** Accounts lie over all of a segment, those of different clients side by side, some of them across the border of two pages. */
uint64_t bank_address(const struct bank *bank, uint32_t client, uint32_t cell)
{
    if (bank->kind == BANK_PAGES)
        return ((uint64_t)cell * bank->clients + client) * PAGE_BYTES;
    uint64_t distance = bank->segment_size / (NODE_CELLS * bank->clients);
    return cell / NODE_CELLS * bank->segment_size + ((uint64_t)(cell % NODE_CELLS) * bank->clients + client) * distance;
}

bool bank_fits(const struct bank *bank)
{
    if (bank->clients == 0 || bank->clients > BANK_CLIENTS_MAX || bank->nodes > BANK_NODES_MAX)
        return false;
    if (bank->kind == BANK_PAGES)
        return bank_cells(bank) > 0;
    return bank->nodes >= 2 && bank->segment_size / (NODE_CELLS * bank->clients) >= ACCOUNT_BYTES;
}

bool ledger_open(struct ledger *ledger, const struct bank *bank, uint32_t client)
{
    *ledger = (struct ledger){.bank = bank, .client = client, .cell = calloc(bank_cells(bank), sizeof(struct cell))};
    return ledger->cell != NULL;
}

void ledger_close(struct ledger *ledger)
{
    free(ledger->cell);
    ledger->cell = NULL;
}

void ledger_reset(struct ledger *ledger)
{
    memset(ledger->cell, 0, bank_cells(ledger->bank) * sizeof *ledger->cell);
    ledger->operations = 0;
}

static struct operation make_operation(const struct bank *bank, uint32_t client, uint64_t number)
{
    struct operation operation = {.credit = number % 2 == 0, .transfer = (number + 1) / 2};
    uint64_t dice = chance(bank, client, operation.transfer);
    uint32_t from = (uint32_t)(dice % bank->nodes), further = 1 + (uint32_t)(dice >> 16) % (bank->nodes - 1);
    operation.node = operation.credit ? (from + further) % bank->nodes : from;
    operation.account = (uint32_t)(dice >> (operation.credit ? 40 : 32) & 0xff) % ACCOUNTS;
    operation.amount = 1 + (int64_t)((dice >> 48) % AMOUNT_MAX);
    return operation;
}

void ledger_advance(struct ledger *ledger, struct step *step)
{
    uint64_t number = ++ledger->operations;
    if (ledger->bank->kind == BANK_PAGES) {
        *step = (struct step){.cells = 1, .cell = {(uint32_t)(chance(ledger->bank, ledger->client, number) % bank_cells(ledger->bank))}};
        ledger->cell[step->cell[0]].operation = number;
        return;
    }
    struct operation operation = make_operation(ledger->bank, ledger->client, number);
    uint32_t first = operation.node * NODE_CELLS;
    *step = (struct step){.cells = 2, .cell = {first + operation.account, first + ACCOUNTS}};
    for (uint32_t i = 0; i < step->cells; i++) {
        struct cell *cell = &ledger->cell[step->cell[i]];
        cell->operation = number;
        cell->balance += operation.credit ? operation.amount : -operation.amount;
    }
}

/** The number in a page: no two operations of the bank have the same, and it is never 0. */
static uint64_t stamp_of(const struct bank *bank, uint32_t client, uint64_t operation)
{
    return operation * bank->clients + client;
}

void ledger_content(const struct ledger *ledger, uint32_t index, uint8_t *bytes)
{
    const struct bank *bank = ledger->bank;
    const struct cell *cell = &ledger->cell[index];
    size_t words = bank_cell_bytes(bank) / 8;
    if (cell->operation == 0) {
        memset(bytes, 0, bank_cell_bytes(bank));
    } else if (bank->kind == BANK_PAGES) {
        for (size_t i = 0; i < words - 1; i++)
            put_word(bytes + 8 * i, stamp_of(bank, ledger->client, cell->operation));
        put_word(bytes + 8 * (words - 1), bank_address(bank, ledger->client, index));
    } else {
        put_word(bytes, cell->operation);
        put_word(bytes + 8, (uint64_t)cell->balance);
        for (size_t i = 2; i < words; i++)
            put_word(bytes + 8 * i, mix(cell->operation ^ (uint64_t)ledger->client << 40 ^ (uint64_t)index << 48) + i);
    }
}

uint64_t bank_claimed(const struct bank *bank, uint32_t client, const uint8_t *bytes)
{
    uint64_t word = get_word(bytes);
    if (bank->kind == BANK_ACCOUNTS || word == 0)
        return word;
    return (word - client) / bank->clients;
}

void bank_describe(const struct bank *bank, uint32_t client, uint64_t number, char text[BANK_TEXT_BYTES])
{
    if (bank->kind == BANK_PAGES) {
        uint64_t cell = chance(bank, client, number) % bank_cells(bank);
        snprintf(text, BANK_TEXT_BYTES, "stamp %" PRIu64 " of address %" PRIu64, stamp_of(bank, client, number), bank_address(bank, client, (uint32_t)cell));
        return;
    }
    struct operation operation = make_operation(bank, client, number);
    snprintf(text, BANK_TEXT_BYTES, "the %s of transfer %" PRIu64 " (account %" PRIu32 " of node %" PRIu32 ")", operation.credit ? "credit" : "debit",
             operation.transfer, operation.account, operation.node);
}
