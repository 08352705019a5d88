/* SPDX-License-Identifier: Apache-2.0 */
/** Building a minitransaction: items, and the split by node. */
#include "client/txn.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "client/split.h"

#define ITEMS_FIRST 8u
#define PARTS_MAX (1u << 24) /* far more than any message takes */

enum mcomp_status mcomp_txn_begin(struct mcomp *grid, struct mcomp_txn **txn, struct mcomp_error *error)
{
    struct mcomp_txn *made = calloc(1, sizeof *made);
    if (!made)
        return error_memory(error);
    made->grid = grid;
    *txn = made;
    return MCOMP_OK;
}

static void drop_plan(struct mcomp_txn *txn)
{
    txn->part_count = txn->share_count = 0;
    txn->planned = false;
    txn->result = (struct mcomp_txn_result){0};
}

void mcomp_txn_reset(struct mcomp_txn *txn)
{
    MC_ASSERT(!txn->under_way);
    drop_plan(txn);
    txn->item_count = 0;
    memset(txn->count, 0, sizeof txn->count);
}

void mcomp_txn_end(struct mcomp_txn *txn)
{
    if (!txn)
        return;
    mcomp_txn_reset(txn);
    free(txn->parts);
    free(txn->shares);
    free(txn->verdicts);
    free(txn->items);
    free(txn);
}

void mcomp_txn_attempts(struct mcomp_txn *txn, uint32_t attempts)
{
    txn->attempts = attempts;
}

/* ---- items ---- */

static enum mcomp_status refuse(const struct txn_item *item, enum mcomp_status status, struct mcomp_error *error)
{
    struct span_range range = {item->address, item->length};
    if (error && (item->kind == TXN_KIND_WRITE || item->kind == TXN_KIND_ADD))
        span_build_all(error, &range, 1, MCOMP_NOT_DONE);
    return status;
}

static enum mcomp_status check_item(const struct mcomp *grid, const struct txn_item *item, struct mcomp_error *error)
{
    static const char *const names[TXN_KINDS] = {"compare", "read", "write", "add"};
    uint64_t segment_size = grid->config.segment_size;
    if (!split_in_grid(grid->bytes, item->address, item->length))
        return error_set(error, MCOMP_OUT_OF_RANGE, 0, MCOMP_NO_NODE,
                         "%s %" PRIu32 ", %" PRIu64 " bytes at 0x%" PRIx64 ", does not lie in the grid, which has %" PRIu64 " bytes",
                         names[item->kind], item->number, item->length, item->address, grid->bytes);
    if (item->kind == TXN_KIND_ADD && split_on_node(segment_size, item->address, item->length) != item->length) {
        uint32_t node = split_node(segment_size, item->address);
        return error_set(error, MCOMP_INVALID_ARGUMENT, 0, MCOMP_NO_NODE,
                         "the word of add %" PRIu32 " at 0x%" PRIx64 " spans nodes %" PRIu32 " and %" PRIu32 "; it must lie on one",
                         item->number, item->address, node, node + 1);
    }
    return MCOMP_OK;
}

static enum mcomp_status add_item(struct mcomp_txn *txn, struct txn_item *item, struct mcomp_error *error)
{
    MC_ASSERT(!txn->under_way);
    item->number = txn->count[item->kind];
    enum mcomp_status status = check_item(txn->grid, item, error);
    if (status != MCOMP_OK)
        return refuse(item, status, error);
    if (txn->item_count == txn->item_capacity) {
        uint32_t capacity = txn->item_capacity ? txn->item_capacity * 2 : ITEMS_FIRST;
        struct txn_item *grown = capacity > PARTS_MAX ? NULL : reallocarray(txn->items, capacity, sizeof *grown);
        if (!grown)
            return refuse(item, error_memory(error), error);
        txn->items = grown;
        txn->item_capacity = capacity;
    }
    drop_plan(txn);
    txn->items[txn->item_count++] = *item;
    txn->count[item->kind]++;
    return MCOMP_OK;
}

enum mcomp_status mcomp_txn_compare(struct mcomp_txn *txn, uint64_t address, const void *expected, size_t length, struct mcomp_error *error)
{
    struct txn_item item = {.kind = TXN_KIND_COMPARE, .address = address, .length = length, .data = expected};
    return add_item(txn, &item, error);
}

enum mcomp_status mcomp_txn_read(struct mcomp_txn *txn, uint64_t address, void *buffer, size_t length, struct mcomp_error *error)
{
    struct txn_item item = {.kind = TXN_KIND_READ, .address = address, .length = length, .buffer = buffer};
    return add_item(txn, &item, error);
}

enum mcomp_status mcomp_txn_write(struct mcomp_txn *txn, uint64_t address, const void *data, size_t length, struct mcomp_error *error)
{
    struct txn_item item = {.kind = TXN_KIND_WRITE, .address = address, .length = length, .data = data};
    return add_item(txn, &item, error);
}

enum mcomp_status mcomp_txn_add(struct mcomp_txn *txn, uint64_t address, uint64_t delta, uint64_t *before, struct mcomp_error *error)
{
    struct txn_item item = {.kind = TXN_KIND_ADD, .address = address, .length = ATOMIC_WORD_BYTES, .delta = delta, .before = before};
    return add_item(txn, &item, error);
}

/* ---- the plan ---- */

/** Of a node while the plan is made. */
struct node_plan {
    uint32_t node;
    uint32_t count[TXN_KINDS]; /* parts */
    uint64_t bytes;
};

static struct node_plan *find_node(struct node_plan *nodes, uint32_t count, uint32_t node)
{
    for (uint32_t i = 0; i < count; i++) {
        if (nodes[i].node == node)
            return &nodes[i];
    }
    return NULL;
}

/** Which nodes take part, how many parts each has, and how many bytes. */
static uint32_t count_parts(const struct mcomp_txn *txn, struct node_plan *nodes, uint64_t *parts)
{
    uint64_t segment_size = txn->grid->config.segment_size;
    uint32_t node_count = 0;
    *parts = 0;
    for (uint32_t i = 0; i < txn->item_count; i++) {
        const struct txn_item *item = &txn->items[i];
        uint64_t here;
        for (uint64_t done = 0; done < item->length; done += here) {
            uint32_t node = split_node(segment_size, item->address + done);
            struct node_plan *plan = find_node(nodes, node_count, node);
            here = split_on_node(segment_size, item->address + done, item->length - done);
            if (!plan) {
                plan = &nodes[node_count++];
                *plan = (struct node_plan){.node = node};
            }
            plan->count[item->kind]++;
            plan->bytes += here;
            ++*parts;
        }
    }
    return node_count;
}

static enum mcomp_status check_sizes(const struct mcomp_txn *txn, const struct node_plan *nodes, uint32_t count, struct mcomp_error *error)
{
    uint64_t max_message = txn->grid->config.server.max_message;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t ranges = 0;
        for (unsigned kind = 0; kind < TXN_KINDS; kind++)
            ranges += nodes[i].count[kind];
        if (ranges > MULTI_RANGES_MAX)
            return error_set(error, MCOMP_INVALID_ARGUMENT, 0, nodes[i].node,
                             "the transaction has %" PRIu32 " ranges on node %" PRIu32 "; at most %u are possible", ranges, nodes[i].node,
                             MULTI_RANGES_MAX);
        if (nodes[i].bytes > max_message)
            return error_set(error, MCOMP_INVALID_ARGUMENT, 0, nodes[i].node,
                             "the transaction has %" PRIu64 " bytes on node %" PRIu32 "; at most %" PRIu64 " (max_message) are possible",
                             nodes[i].bytes, nodes[i].node, max_message);
    }
    return MCOMP_OK;
}

static int compare_ranges(const void *left, const void *right)
{
    const struct span_range *a = left, *b = right;
    return a->address < b->address ? -1 : a->address > b->address;
}

/** The ranges of the writes and adds. NULL: no memory. */
static struct span_range *changed_ranges(const struct mcomp_txn *txn, size_t *count)
{
    struct span_range *ranges = calloc((size_t)txn->item_count + 1, sizeof *ranges);
    *count = 0;
    for (uint32_t i = 0; ranges && i < txn->item_count; i++) {
        const struct txn_item *item = &txn->items[i];
        if ((item->kind == TXN_KIND_WRITE || item->kind == TXN_KIND_ADD) && item->length > 0)
            ranges[(*count)++] = (struct span_range){item->address, item->length};
    }
    return ranges;
}

static enum mcomp_status check_overlap(const struct mcomp_txn *txn, struct mcomp_error *error)
{
    size_t count;
    if (txn->count[TXN_KIND_WRITE] + txn->count[TXN_KIND_ADD] < 2)
        return MCOMP_OK;
    struct span_range *ranges = changed_ranges(txn, &count);
    enum mcomp_status status = MCOMP_OK;
    if (!ranges)
        return error_memory(error);
    qsort(ranges, count, sizeof *ranges, compare_ranges);
    for (size_t i = 1; i < count && status == MCOMP_OK; i++) {
        if (ranges[i].address - ranges[i - 1].address < ranges[i - 1].length)
            status = error_set(error, MCOMP_INVALID_ARGUMENT, 0, MCOMP_NO_NODE,
                               "two of the transaction's writes and adds overlap at 0x%" PRIx64, ranges[i].address);
    }
    free(ranges);
    return status;
}

static int compare_nodes(const void *left, const void *right)
{
    const struct node_plan *a = left, *b = right;
    return a->node < b->node ? -1 : a->node > b->node;
}

/** Places for all parts, in the order of nodes, kinds and calls; then the parts. */
static void fill_parts(struct mcomp_txn *txn, struct node_plan *nodes)
{
    uint64_t segment_size = txn->grid->config.segment_size;
    uint32_t at = 0;
    for (uint32_t i = 0; i < txn->share_count; i++) {
        struct txn_share *share = &txn->shares[i];
        share->node = nodes[i].node;
        for (unsigned kind = 0; kind < TXN_KINDS; kind++) {
            share->first[kind] = at;
            at += nodes[i].count[kind];
        }
        share->first[TXN_KINDS] = at;
    }
    for (uint32_t i = txn->item_count; i-- > 0;) { /* from the back: first[kind + 1] … first[kind] is filled downwards, as count is used up */
        const struct txn_item *item = &txn->items[i];
        uint64_t left = item->length;
        while (left > 0) {
            uint32_t node = split_node(segment_size, item->address + left - 1);
            uint64_t base = node * segment_size > item->address ? node * segment_size - item->address : 0;
            uint32_t s = 0;
            while (txn->shares[s].node != node)
                s++;
            uint32_t index = txn->shares[s].first[item->kind] + --nodes[s].count[item->kind];
            txn->parts[index] = (struct txn_part){item->address + base, left - base, base, i};
            left = base;
        }
    }
}

/** Compares of no length hold, always. */
static void prepare_verdicts(struct mcomp_txn *txn)
{
    for (uint32_t i = 0; i < txn->item_count; i++) {
        const struct txn_item *item = &txn->items[i];
        if (item->kind != TXN_KIND_COMPARE)
            continue;
        struct txn_verdict *verdict = &txn->verdicts[item->number];
        verdict->result = MCOMP_TXN_NOT_COMPARED;
        verdict->parts = split_nodes(txn->grid->config.segment_size, item->address, item->length);
        verdict->parts_held = 0;
        verdict->known = false;
    }
}

/** Room for so many elements; what they held is lost. */
static bool make_room(void **elements, uint32_t *capacity, uint64_t count, size_t element_bytes)
{
    if (count <= *capacity)
        return true;
    void *made = count > UINT32_MAX ? NULL : calloc((size_t)count, element_bytes);
    if (!made)
        return false;
    free(*elements);
    *elements = made;
    *capacity = (uint32_t)count;
    return true;
}

static bool make_plan_room(struct mcomp_txn *txn, uint64_t parts, uint32_t nodes)
{
    void *to[] = {txn->parts, txn->shares, txn->verdicts};
    bool made = make_room(&to[0], &txn->part_capacity, parts, sizeof *txn->parts) &&
                make_room(&to[1], &txn->share_capacity, nodes, sizeof *txn->shares) &&
                make_room(&to[2], &txn->verdict_capacity, txn->count[TXN_KIND_COMPARE], sizeof *txn->verdicts);
    txn->parts = to[0];
    txn->shares = to[1];
    txn->verdicts = to[2];
    return made;
}

enum mcomp_status txn_plan(struct mcomp_txn *txn, struct mcomp_error *error)
{
    struct node_plan nodes[GRID_NODES_MAX];
    uint64_t parts;
    if (txn->planned)
        return MCOMP_OK;
    drop_plan(txn);
    uint32_t node_count = count_parts(txn, nodes, &parts);
    enum mcomp_status status = check_sizes(txn, nodes, node_count, error);
    if (status == MCOMP_OK)
        status = check_overlap(txn, error);
    if (status == MCOMP_OK && !make_plan_room(txn, parts, node_count))
        status = error_memory(error);
    if (status != MCOMP_OK) {
        drop_plan(txn);
        txn_spans(txn, MCOMP_NOT_DONE, error);
        return status;
    }
    if (node_count > 1)
        qsort(nodes, node_count, sizeof *nodes, compare_nodes);
    txn->part_count = (uint32_t)parts;
    txn->share_count = node_count;
    fill_parts(txn, nodes);
    prepare_verdicts(txn);
    txn->planned = true;
    return MCOMP_OK;
}

void txn_forget(struct mcomp_txn *txn)
{
    txn->result = (struct mcomp_txn_result){0};
    for (uint32_t i = 0; txn->planned && i < txn->count[TXN_KIND_COMPARE]; i++) {
        struct txn_verdict *verdict = &txn->verdicts[i];
        verdict->result = verdict->parts == 0 ? MCOMP_TXN_HELD : MCOMP_TXN_NOT_COMPARED;
        verdict->parts_held = 0;
        verdict->known = false;
    }
}

void txn_spans(const struct mcomp_txn *txn, enum mcomp_outcome outcome, struct mcomp_error *error)
{
    size_t count;
    if (!error)
        return;
    error->span_count = 0;
    struct span_range *ranges = changed_ranges(txn, &count);
    if (ranges)
        span_build_all(error, ranges, count, outcome);
    free(ranges);
}

/* ---- what became of it ---- */

struct mcomp_txn_result mcomp_txn_outcome(const struct mcomp_txn *txn)
{
    return txn->result;
}

enum mcomp_txn_compare_result mcomp_txn_compare_found(const struct mcomp_txn *txn, size_t compare, const void **found)
{
    const struct txn_verdict *verdict = txn->planned && compare < txn->count[TXN_KIND_COMPARE] ? &txn->verdicts[compare] : NULL;
    if (found)
        *found = verdict && verdict->known ? verdict->found : NULL;
    return verdict ? verdict->result : MCOMP_TXN_NOT_COMPARED;
}
