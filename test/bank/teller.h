/* SPDX-License-Identifier: Apache-2.0 */
/** Tellers: clients that move money between accounts by transactions until they are killed, and an auditor of what they leave.
 *
 *  Each node has the same number of accounts, TELLER_STRIDE bytes apart. An account is a line of 64 bytes: its number, its balance, and how often
 *  money was moved from it or to it. A transfer changes two accounts by one transaction, so at any instant the balances have the sum that they had in
 *  the beginning, and the moves are twice the number of transfers that were committed: no fewer than were acknowledged, no more than were begun. */
#ifndef TELLER_H
#define TELLER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "mcomp_txn.h"

#define TELLER_STRIDE 320u
#define TELLER_BALANCE 1000u /* of each account in the beginning */
#define TELLER_CLIENTS_MAX 64u
#define TELLER_TIMEOUT_MS 120000u

/** The words of an account, from its address on. Little-endian, as everywhere in the grid. */
struct account {
    uint64_t number, balance, moves;
};

/** Which accounts there are. */
struct accounts {
    uint64_t segment_size;
    uint32_t nodes, of_node;
};

/** The address of the account with this index, from 0 on, and its number. */
uint64_t account_address(const struct accounts *accounts, uint64_t index);
uint64_t account_number(uint64_t index);

/** What a process of clients counts, in a file that outlives it. */
struct counts {
    _Atomic uint64_t begun; /* transfers, before each commit */
    _Atomic uint64_t done;  /* after it was acknowledged */
};

/* ---- clients at work (teller.c) ---- */

/** Transfer with so many threads until standard input ends. *counts go on from where they are. false: a call failed as none may; says how on standard
 *  error. Blocks. */
bool tellers_run(struct mcomp *grid, const struct accounts *accounts, uint32_t clients, uint64_t seed, struct counts *counts);

/* ---- the auditor (audit.c) ---- */

/** Make the accounts. false: says why on standard error. */
bool accounts_open(struct mcomp *grid, const struct accounts *accounts);
/** Change every account by nothing, in transactions of many accounts of all nodes: none is locked. false: says why on standard error. */
bool accounts_touch(struct mcomp *grid, const struct accounts *accounts);
/** Print "balance=… moves=… strangers=…" (the sum of the balances, the moves, accounts that have lost their number) as it stands in the grid, or in a
 *  snapshot. false: says why on standard error. */
bool audit_grid(struct mcomp *grid, const struct accounts *accounts);
bool audit_file(const char *path, const struct accounts *accounts);

#endif
