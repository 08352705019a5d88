/* SPDX-License-Identifier: Apache-2.0 */
/** Runs: a transaction as its caller sees it, from the call over all attempts to the one outcome. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "client/transact.h"

/* ---- memory ---- */

static struct run *take_run(struct mcomp_queue *queue)
{
    struct run *run = queue->free_runs;
    if (run)
        queue->free_runs = run->next;
    else
        run = malloc(sizeof *run);
    return run;
}

void run_free(struct run *run)
{
    struct mcomp_queue *queue = run->op->queue;
    run->txn->under_way = false;
    run->next = queue->free_runs;
    queue->free_runs = run;
}

void transact_free(struct mcomp_queue *queue)
{
    for (struct run *run = queue->free_runs, *next; run; run = next) {
        next = run->next;
        free(run);
    }
    for (struct attempt *attempt = queue->free_attempts, *next; attempt; attempt = next) {
        next = attempt->next_free;
        free(attempt);
    }
    queue->free_runs = NULL;
    queue->free_attempts = NULL;
}

/* ---- waiting for lanes ---- */

static void link_waiting(struct mcomp_queue *queue, struct run *run)
{
    run->next = NULL;
    run->prev = queue->waiting_last;
    if (queue->waiting_last)
        queue->waiting_last->next = run;
    else
        queue->waiting_first = run;
    queue->waiting_last = run;
}

static void unlink_waiting(struct mcomp_queue *queue, struct run *run)
{
    if (run->prev)
        run->prev->next = run->next;
    else
        queue->waiting_first = run->next;
    if (run->next)
        run->next->prev = run->prev;
    else
        queue->waiting_last = run->prev;
}

/** All nodes have a free lane for it. Otherwise sessions are being opened, at all nodes at once. */
static bool has_lanes(struct mcomp_queue *queue, const struct run *run)
{
    bool all = true;
    for (uint32_t i = 0; i < run->txn->share_count; i++) {
        struct conn *conn = conn_get(queue, run->txn->shares[i].node);
        all = conn && lane_is_free(conn) && all;
    }
    return all;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/** After has_lanes(): when to try again of ourselves, because at some node no session is being opened; NEVER: a session will come; 0: memory is
 *  too short to open one. */
static uint64_t retry_ns(const struct mcomp_queue *queue, const struct run *run)
{
    uint64_t at_ns = NEVER;
    for (uint32_t i = 0; i < run->txn->share_count; i++) {
        struct conn *conn = queue->conns[run->txn->shares[i].node];
        if (conn && (session_is_coming(conn) || lane_is_free(conn)))
            continue;
        at_ns = earlier(at_ns, conn && queue->now_ns < conn->session_retry_ns ? conn->session_retry_ns : 0);
    }
    return at_ns;
}

static void memory_short(struct run *run)
{
    err_set(&run->why, MCOMP_RESOURCE_EXHAUSTED, "out of memory");
    run->why_node = MCOMP_NO_NODE;
    run->refused = true;
    run->state = RUN_PAUSES;
    run->pause_ns = 0;
    op_set_deadline(run->op, 0); /* the next run of the queue ends it */
}

static void try(struct run *run)
{
    struct mcomp_queue *queue = run->op->queue;
    if (!has_lanes(queue, run)) {
        run->pause_ns = retry_ns(queue, run);
        if (run->pause_ns == 0) {
            memory_short(run);
            return;
        }
        run->state = run->pause_ns == NEVER ? RUN_WAITS : RUN_PAUSES;
        if (run->state == RUN_WAITS)
            link_waiting(queue, run);
        op_set_deadline(run->op, earlier(run->pause_ns, run->deadline_ns));
        return;
    }
    run->state = RUN_TRIES;
    run->op->deadline_ns = NEVER; /* the attempt keeps it */
    run->attempts++;
    txn_forget(run->txn);
    if (!attempt_start(run))
        memory_short(run);
}

void transact_lanes_free(struct mcomp_queue *queue)
{
    for (struct run *run = queue->waiting_first, *next; run; run = next) {
        next = run->next;
        if (!has_lanes(queue, run))
            continue;
        unlink_waiting(queue, run);
        try(run);
    }
}

static void pause_run(struct run *run)
{
    struct mcomp_queue *queue = run->op->queue;
    run->state = RUN_PAUSES;
    run->pause_ns = queue->now_ns + coordinator_pause_ns(run->attempts ? run->attempts : 1, queue_random(queue));
    op_set_deadline(run->op, earlier(run->pause_ns, run->deadline_ns));
}

static bool uses(const struct run *run, uint32_t node)
{
    for (uint32_t i = 0; i < run->txn->share_count; i++) {
        if (run->txn->shares[i].node == node)
            return true;
    }
    return false;
}

static void finish(struct run *run, enum mcomp_txn_outcome outcome);

void transact_no_session(struct mcomp_queue *queue, struct conn *conn)
{
    const struct err *why = sessions_error(conn);
    bool for_good = why->code != MCOMP_RESOURCE_EXHAUSTED && why->code != MCOMP_UNAVAILABLE;
    for (struct run *run = queue->waiting_first, *next; run; run = next) {
        next = run->next;
        if (!uses(run, conn->node))
            continue;
        unlink_waiting(queue, run);
        run->why = *why;
        run->why_node = conn->node;
        if (for_good) {
            finish(run, MCOMP_TXN_NOT_DONE); /* calls back, which may submit more, at the end of the list */
            continue;
        }
        run->state = RUN_PAUSES;
        run->pause_ns = conn->session_retry_ns;
        op_set_deadline(run->op, earlier(run->pause_ns, run->deadline_ns));
    }
}

/* ---- beginning ---- */

static struct run *new_run(struct mcomp_queue *queue, const struct submission *wanted)
{
    struct run *run = take_run(queue);
    struct op *op = run ? queue_take_op(queue) : NULL;
    if (!op) {
        if (run) {
            run->next = queue->free_runs;
            queue->free_runs = run;
        }
        return NULL;
    }
    op->role = OP_RUN;
    op->run = run;
    op->kind = (uint8_t)wanted->kind;
    op->callback = wanted->callback;
    op->arg = wanted->arg;
    op->timeout_ms = wanted->timeout_ms;
    run->op = op;
    run->attempt = NULL;
    run->deadline_ns = wanted->deadline_ns;
    run->attempts = 0;
    run->refused = false;
    run->why.code = MCOMP_OK;
    run->why_node = MCOMP_NO_NODE;
    return run;
}

static void begin(struct run *run)
{
    struct mcomp_queue *queue = run->op->queue;
    queue->pending++;
    run->txn->under_way = true;
    if (!queue->running)
        queue->now_ns = clock_mono_ns();
    if (run->txn->share_count > 0) {
        try(run);
        return;
    }
    txn_forget(run->txn);
    run->state = RUN_PAUSES;
    run->pause_ns = 0;
    op_set_deadline(run->op, 0); /* nothing to do: the next run of the queue says so */
}

enum mcomp_status run_submit(struct mcomp_queue *queue, struct mcomp_txn *txn, const struct submission *wanted, struct mcomp_error *error)
{
    struct run *run = queue->closing ? NULL : new_run(queue, wanted);
    if (!run) {
        enum mcomp_status status =
            queue->closing ? error_set(error, MCOMP_CANCELLED, 0, MCOMP_NO_NODE, "the queue is being closed") : error_memory(error);
        txn_spans(txn, MCOMP_NOT_DONE, error);
        return status;
    }
    run->txn = txn;
    begin(run);
    return MCOMP_OK;
}

/** The word's items, without any memory but the run's. */
static void make_word(struct run *run, struct mcomp *grid, const struct submission *wanted)
{
    struct mcomp_txn *txn = &run->own;
    bool swap = wanted->kind == WIRE_OP_COMPARE_AND_SWAP;
    *txn = (struct mcomp_txn){.grid = grid,
                              .planned = true,
                              .items = run->own_items,
                              .item_count = swap ? 2 : 1,
                              .parts = run->own_parts,
                              .part_count = swap ? 2 : 1,
                              .shares = &run->own_share,
                              .share_count = 1,
                              .verdicts = &run->own_verdict};
    for (uint32_t i = 0; i < txn->item_count; i++) {
        run->own_items[i] = (struct txn_item){.address = wanted->address, .length = ATOMIC_WORD_BYTES, .data = run->own_words[i]};
        run->own_parts[i] = (struct txn_part){.address = wanted->address, .length = ATOMIC_WORD_BYTES, .item = i};
    }
    run->own_verdict = (struct txn_verdict){.parts = 1};
    run->own_share.node = split_node(grid->config.segment_size, wanted->address);
    if (swap) {
        le64_put(run->own_words[0], wanted->operand);
        le64_put(run->own_words[1], wanted->desired);
        run->own_items[0].kind = TXN_KIND_COMPARE;
        run->own_items[1].kind = TXN_KIND_WRITE;
        txn->count[TXN_KIND_COMPARE] = txn->count[TXN_KIND_WRITE] = 1;
        run->op->value = wanted->operand; /* what is found when it swaps */
    } else {
        run->own_items[0].kind = TXN_KIND_ADD;
        run->own_items[0].delta = wanted->operand;
        run->own_items[0].before = &run->op->value;
        txn->count[TXN_KIND_ADD] = 1;
    }
    uint32_t at = 0;
    for (unsigned kind = 0; kind < TXN_KINDS; kind++) {
        run->own_share.first[kind] = at;
        at += txn->count[kind];
    }
    run->own_share.first[TXN_KINDS] = at;
    run->txn = txn;
}

enum mcomp_status run_submit_word(struct mcomp_queue *queue, const struct submission *wanted, struct mcomp_error *error)
{
    struct run *run = new_run(queue, wanted);
    if (!run)
        return op_refuse(wanted, error_memory(error), error);
    make_word(run, queue->grid, wanted);
    begin(run);
    return MCOMP_OK;
}

/* ---- the end ---- */

/** Nothing may be used of the run after this. */
static void finish(struct run *run, enum mcomp_txn_outcome outcome)
{
    struct op *op = run->op;
    struct mcomp_txn *txn = run->txn;
    txn->result.outcome = outcome;
    txn->result.attempts = run->attempts;
    if (outcome != MCOMP_TXN_COMMITTED) {
        MC_ASSERT(run->why.code != MCOMP_OK);
        op_blame(op, run->why_node == MCOMP_NO_NODE ? NULL : op->queue->conns[run->why_node], &run->why);
    }
    op_finish(op);
}

static void PRINTF_LIKE(4, 5) say(struct run *run, uint32_t node, enum mcomp_status status, const char *format, ...)
{
    char text[128];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    run->why_node = node;
    err_set(&run->why, status, "%s", text);
}

void run_detach(struct run *run, struct attempt *attempt)
{
    const struct coordinator *coordinator = &attempt->coordinator;
    run->outcome = coordinator->outcome;
    run->reason = coordinator->reason;
    run->blamed = attempt->part[coordinator->part_aborted].who.node;
    run->may_retry = coordinator_may_retry(coordinator);
    for (uint32_t i = 0; i < attempt->count && run->outcome == COORDINATOR_UNKNOWN; i++) {
        struct attempt_part *mine = &attempt->mine[i];
        struct piece *piece = mine->other ? mine->other : mine->vote;
        if (attempt->part[i].state != PART_ASKED || !piece)
            continue;
        op_explain(piece, run->op->timeout_ms, &run->why);
        run->why_node = mine->conn->node;
        break;
    }
    run->attempt = NULL;
    attempt_detach(attempt);
}

/** A swap that found another value says which, as long as the node tells it. */
static bool take_found(struct run *run)
{
    if (run->txn != &run->own)
        return true;
    if (!run->own_verdict.known)
        return false;
    run->op->value = le64_get(run->own_verdict.found);
    return true;
}

static void compare_failed(struct run *run)
{
    if (run->op->kind == WIRE_OP_COMPARE_AND_SWAP) {
        finish(run, MCOMP_TXN_COMMITTED); /* to its caller, that is a success */
        return;
    }
    for (uint32_t i = 0; i < run->txn->count[TXN_KIND_COMPARE]; i++) {
        if (run->txn->verdicts[i].result == MCOMP_TXN_DIFFERED) {
            say(run, MCOMP_NO_NODE, MCOMP_ABORTED, "compare %" PRIu32 " found other bytes; nothing was changed", i);
            break;
        }
    }
    finish(run, MCOMP_TXN_COMPARE_FAILED);
}

/** Nothing was done, and there will be no other attempt. */
static void give_up(struct run *run)
{
    bool conflict = run->reason == LANE_BUSY || run->reason == LANE_FROZEN || run->reason == LANE_FORCED;
    if (run->refused) {
        finish(run, MCOMP_TXN_NOT_DONE);
    } else if (conflict) {
        say(run, MCOMP_NO_NODE, MCOMP_ABORTED, "other transactions, or a snapshot, were in the way; attempts: %" PRIu32, run->attempts);
        finish(run, MCOMP_TXN_CONFLICT);
    } else {
        if (run->reason == LANE_MEMORY)
            say(run, run->blamed, MCOMP_RESOURCE_EXHAUSTED, "it has no room for the transaction; attempts: %" PRIu32, run->attempts);
        else if (run->why.code == MCOMP_OK)
            say(run, run->blamed, MCOMP_UNAVAILABLE, "it has forgotten us, or was asked in vain; attempts: %" PRIu32, run->attempts);
        finish(run, MCOMP_TXN_NOT_DONE);
    }
}

void run_concluded(struct run *run)
{
    const struct mcomp_txn *txn = run->txn;
    uint64_t now_ns = run->op->queue->now_ns;
    if (run->outcome == COORDINATOR_COMMITTED) {
        finish(run, MCOMP_TXN_COMMITTED);
        return;
    }
    if (run->outcome == COORDINATOR_UNKNOWN) {
        if (run->why.code == MCOMP_OK)
            say(run, MCOMP_NO_NODE, MCOMP_DEADLINE_EXCEEDED, "its outcome did not become known within %" PRIu32 " ms", run->op->timeout_ms);
        finish(run, MCOMP_TXN_UNKNOWN);
        return;
    }
    if (run->reason == LANE_COMPARE && take_found(run)) {
        compare_failed(run);
        return;
    }
    bool again = run->may_retry || run->reason == LANE_COMPARE;
    bool bounded = txn->attempts > 0 && run->attempts >= txn->attempts;
    if (run->refused || !again || bounded || now_ns >= run->deadline_ns) {
        give_up(run);
        return;
    }
    pause_run(run);
}

/** Why it still waits for a lane. */
static void explain_waiting(struct run *run)
{
    struct mcomp_queue *queue = run->op->queue;
    for (uint32_t i = 0; i < run->txn->share_count; i++) {
        struct conn *conn = queue->conns[run->txn->shares[i].node];
        const struct piece *piece = conn ? sessions_piece(conn) : NULL;
        if (!piece)
            continue;
        op_explain(piece, run->op->timeout_ms, &run->why);
        run->why_node = conn->node;
        return;
    }
    if (run->why.code == MCOMP_OK)
        say(run, MCOMP_NO_NODE, MCOMP_DEADLINE_EXCEEDED, "it did not get its turn within %" PRIu32 " ms", run->op->timeout_ms);
}

static void cancel(struct run *run)
{
    bool unsent = !run->attempt || attempt_is_unsent(run->attempt);
    struct attempt *attempt = run->attempt;
    if (run->state == RUN_WAITS)
        unlink_waiting(run->op->queue, run);
    if (attempt)
        run_detach(run, attempt);
    err_set(&run->why, MCOMP_CANCELLED, "the queue was closed before the transaction was complete");
    run->why_node = MCOMP_NO_NODE;
    finish(run, unsent ? MCOMP_TXN_NOT_DONE : MCOMP_TXN_UNKNOWN);
}

/** The session that was asked for its sake is not wanted any more, if nobody else waits for it. */
static void stop_waiting(struct run *run)
{
    struct mcomp_queue *queue = run->op->queue;
    unlink_waiting(queue, run);
    for (uint32_t i = 0; i < run->txn->share_count; i++) {
        struct conn *conn = queue->conns[run->txn->shares[i].node];
        bool wanted = false;
        for (const struct run *other = queue->waiting_first; other && conn && !wanted; other = other->next)
            wanted = uses(other, conn->node);
        if (conn && !wanted)
            sessions_unwanted(conn);
    }
}

void run_on_time(struct op *op, bool cancelled)
{
    struct run *run = op->run;
    uint64_t now_ns = op->queue->now_ns;
    if (cancelled) {
        cancel(run);
    } else if (run->state == RUN_WAITS) {
        explain_waiting(run);
        stop_waiting(run);
        finish(run, run->why.code == MCOMP_ABORTED ? MCOMP_TXN_CONFLICT : MCOMP_TXN_NOT_DONE);
    } else if (run->txn->share_count == 0) {
        finish(run, MCOMP_TXN_COMMITTED);
    } else if (run->refused || now_ns >= run->deadline_ns) {
        give_up(run);
    } else {
        try(run);
    }
}
