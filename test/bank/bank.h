/* SPDX-License-Identifier: Apache-2.0 */
/** The bank: clients whose every write can be foretold, and a checker that tells from the bytes of a snapshot whether the grid was ever like that.
 *
 *  A client does its operations one after the other; each is one request to one node, begun when the one before it was acknowledged. What its n-th
 *  operation writes, and where, follows from the seed, the client and n alone. So at any instant what stands in the grid of a client is what its first
 *  n operations made, for some n. A snapshot is torn if that is not so for one of the clients, or if there is no instant at which all of them had got
 *  as far as it shows.
 *
 *  Accounts: two operations are a transfer; the first debits an account on one node, the second credits one on another. Each writes the account and
 *  the client's total of that node, at two places, in one Multi. Pages: each operation stamps one page of the client's own, in one Write. */
#ifndef BANK_H
#define BANK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mcomp.h"

#define BANK_CLIENTS_MAX 64u
#define BANK_NODES_MAX 64u
#define BANK_OPERATIONS_MAX (1u << 21) /* of one client */
#define BANK_CELL_BYTES_MAX 4096u
#define BANK_TEXT_BYTES 400u

enum bank_kind { BANK_ACCOUNTS, BANK_PAGES };

struct bank {
    enum bank_kind kind;
    uint64_t seed, segment_size;
    uint32_t nodes, clients;
};

/* ---- what operations do (plan.c) ---- */

/** What is written as a whole: an account, a total, or a page. */
struct cell {
    uint64_t operation; /* that wrote it last; 0: none */
    int64_t balance;    /* accounts and totals */
};

/** What the first `operations` operations of a client make. */
struct ledger {
    const struct bank *bank; /* borrowed */
    uint32_t client;
    uint64_t operations;
    struct cell *cell; /* owned, bank_cells() */
};

/** The cells that an operation writes. */
struct step {
    uint32_t cells, cell[2];
};

/** Cells of each client. */
uint32_t bank_cells(const struct bank *bank);
size_t bank_cell_bytes(const struct bank *bank);
/** Where a cell stands in the grid. */
uint64_t bank_address(const struct bank *bank, uint32_t client, uint32_t cell);
/** Is there room for the clients, and a second node for transfers? */
bool bank_fits(const struct bank *bank);

/** All zero. false: out of memory. */
bool ledger_open(struct ledger *ledger, const struct bank *bank, uint32_t client);
void ledger_close(struct ledger *ledger);
void ledger_reset(struct ledger *ledger);
/** Go one operation further. */
void ledger_advance(struct ledger *ledger, struct step *step);
/** What stands in the grid, bank_cell_bytes() of it. */
void ledger_content(const struct ledger *ledger, uint32_t cell, uint8_t *bytes);
/** The operation that the bytes of a cell name; 0: the cell was never written. Not to be trusted. */
uint64_t bank_claimed(const struct bank *bank, uint32_t client, const uint8_t *bytes);
/** "the debit of transfer 7 (account 5 of node 2)". */
void bank_describe(const struct bank *bank, uint32_t client, uint64_t operation, char text[BANK_TEXT_BYTES]);

/* ---- clients at work (clients.c) ---- */

/** When operation n was begun, and when its acknowledgement came, on CLOCK_MONOTONIC. */
struct moment {
    _Atomic uint64_t begun_ns, ended_ns; /* 0: not yet */
};

struct client {
    struct clients *all;
    struct ledger ledger;  /* what it has written; its thread's */
    struct moment *moment; /* owned; [n] of operation n */
};

struct clients {
    const struct bank *bank; /* borrowed */
    struct mcomp *grid;      /* borrowed */
    _Atomic uint64_t done;   /* operations acknowledged, of all clients */
    atomic_bool stop;
    struct client client[BANK_CLIENTS_MAX];
};

/** Run all clients until `stop` is set, and read back at the end what stands in the grid. Blocks. A call that fails without having been refused for
 *  good is made again: it writes the same. */
void clients_run(struct clients *clients);
/** false: out of memory. */
bool clients_open(struct clients *clients, const struct bank *bank, struct mcomp *grid);
void clients_close(struct clients *clients);

/* ---- the checker (check.c) ---- */

struct checker {
    const struct bank *bank; /* borrowed */
    uint8_t *image;          /* owned; the grid as the file has it */
    struct ledger ledger[BANK_CLIENTS_MAX]; /* at the instant of the file checked last */
};

struct finding {
    bool sound;
    char text[BANK_TEXT_BYTES]; /* unless sound: what is wrong */
    uint64_t operations;        /* in the file, of all clients */
    uint32_t open;              /* transfers of which only the debit is */
    uint64_t window_ns;         /* in how long a time the instant must lie */
};

/** false: out of memory. */
bool checker_open(struct checker *checker, const struct bank *bank);
void checker_close(struct checker *checker);

/** Does the file show for each client what its first n operations made, and nothing else? Leaves the ledgers there. */
void checker_file(struct checker *checker, const char *path, struct finding *finding);

/** After checker_file: was there one instant when all clients had got just as far? And did it come after asked_ns, when the snapshot was asked for, and
 *  before cut_ns, by when it was known to be cut? */
void checker_instant(const struct checker *checker, const struct clients *clients, uint64_t asked_ns, uint64_t cut_ns, struct finding *finding);

/* ---- torn files (splice.c) ---- */

/** Write the snapshot `out`: the array of file `left`, except that what belongs to a node, or all cells of a client, is taken from file `right`.
 *  The other of the two is UINT32_MAX. Returns whether it could; says why not on standard error. */
bool bank_splice(const struct bank *bank, const char *out, const char *left, const char *right, uint32_t node, uint32_t client);

#endif
