/* SPDX-License-Identifier: Apache-2.0 */
/** A minitransaction as its caller builds it, and its items split by node. */
#ifndef CLIENT_TXN_H
#define CLIENT_TXN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/grid.h"
#include "client/span.h"
#include "mcomp_txn.h"

#define TXN_FOUND_BYTES_MAX 64u /* of a failed compare; a node tells no more */

enum txn_kind { TXN_KIND_COMPARE, TXN_KIND_READ, TXN_KIND_WRITE, TXN_KIND_ADD };
#define TXN_KINDS 4u

/** As the call gave it. */
struct txn_item {
    enum txn_kind kind;
    uint32_t number; /* among those of its kind */
    uint64_t address, length;
    const uint8_t *data; /* COMPARE, WRITE: caller's */
    uint8_t *buffer;     /* READ: caller's */
    uint64_t delta;      /* ADD */
    uint64_t *before;    /* ADD: caller's, or NULL */
};

/** A part of an item that lies on one node. */
struct txn_part {
    uint64_t address, length; /* bytes; length > 0 */
    uint64_t offset;          /* within the item */
    uint32_t item;            /* index */
};

/** What goes to one node: parts [first[kind], first[kind + 1]) of each kind, each in the order of the calls. */
struct txn_share {
    uint32_t node;
    uint32_t first[TXN_KINDS + 1];
};

/** What became of a compare, by its number. */
struct txn_verdict {
    enum mcomp_txn_compare_result result;
    uint32_t parts, parts_held; /* on how many nodes; of these, where it held */
    bool known; /* found is set */
    _Alignas(8) uint8_t found[TXN_FOUND_BYTES_MAX];
};

struct mcomp_txn {
    struct mcomp *grid;
    uint32_t attempts; /* at most; 0: without bound */
    bool under_way;
    bool planned; /* parts and shares are those of the items */

    struct txn_item *items; /* owned */
    uint32_t item_count, item_capacity;
    uint32_t count[TXN_KINDS];

    /* While it is planned; the memory stays for the next plan. */
    struct txn_part *parts;   /* owned */
    struct txn_share *shares; /* owned; by node, ascending */
    uint32_t part_count, share_count;
    struct txn_verdict *verdicts; /* owned; one for each compare */
    uint32_t part_capacity, share_capacity, verdict_capacity;

    struct mcomp_txn_result result;
};

/** Split the items by node, and check what can only be seen of all together. Errors: INVALID_ARGUMENT, RESOURCE_EXHAUSTED; nothing was sent. */
MUST_CHECK enum mcomp_status txn_plan(struct mcomp_txn *txn, struct mcomp_error *error);

/** Forget what the last commit found. */
void txn_forget(struct mcomp_txn *txn);

/** One outcome for all its writes and adds. */
void txn_spans(const struct mcomp_txn *txn, enum mcomp_outcome outcome, struct mcomp_error *error);

static inline uint32_t share_count(const struct txn_share *share, enum txn_kind kind)
{
    return share->first[kind + 1] - share->first[kind];
}

#endif
