/* SPDX-License-Identifier: Apache-2.0 */
/** Operations: from what a caller wants to pieces, and from their ends to one completion. */
#include <inttypes.h>
#include <stdlib.h>

#include "client/transact.h"

/* ---- checking ---- */

enum mcomp_status op_refuse(const struct submission *wanted, enum mcomp_status status, struct mcomp_error *error)
{
    struct span_range range = {wanted->address, wanted->length};
    if (!error)
        return status;
    if (wanted->multi)
        span_build_all(error, wanted->multi->ranges, wanted->multi->range_count, MCOMP_NOT_DONE);
    else
        span_build_all(error, &range, 1, MCOMP_NOT_DONE);
    return status;
}

static bool is_word(const struct submission *wanted)
{
    return wanted->kind == WIRE_OP_FETCH_ADD || wanted->kind == WIRE_OP_COMPARE_AND_SWAP;
}

enum mcomp_status op_check(const struct mcomp *grid, const struct submission *wanted, struct mcomp_error *error)
{
    uint64_t segment_size = grid->config.segment_size;
    if (!split_in_grid(grid->bytes, wanted->address, wanted->length)) {
        error_set(error, MCOMP_OUT_OF_RANGE, 0, MCOMP_NO_NODE,
                  "%" PRIu64 " bytes at 0x%" PRIx64 " do not lie in the grid, which has %" PRIu64 " bytes (0x%" PRIx64 ")", wanted->length,
                  wanted->address, grid->bytes, grid->bytes);
        return op_refuse(wanted, MCOMP_OUT_OF_RANGE, error);
    }
    if (is_word(wanted) && split_on_node(segment_size, wanted->address, wanted->length) != wanted->length) {
        uint32_t node = split_node(segment_size, wanted->address);
        error_set(error, MCOMP_INVALID_ARGUMENT, 0, MCOMP_NO_NODE,
                  "the word at 0x%" PRIx64 " spans nodes %" PRIu32 " and %" PRIu32 "; it must lie on one", wanted->address, node, node + 1);
        return op_refuse(wanted, MCOMP_INVALID_ARGUMENT, error);
    }
    return MCOMP_OK;
}

/* ---- pieces of an operation ---- */

static void link_last(struct op *op, struct piece *piece)
{
    piece->op = op;
    piece->op_prev = op->last;
    if (op->last)
        op->last->op_next = piece;
    else
        op->first = piece;
    op->last = piece;
}

static void link_before(struct op *op, struct piece *piece, struct piece *next)
{
    piece->op = op;
    piece->op_next = next;
    piece->op_prev = next->op_prev;
    if (next->op_prev)
        next->op_prev->op_next = piece;
    else
        op->first = piece;
    next->op_prev = piece;
}

static void unlink_piece(struct op *op, struct piece *piece)
{
    if (piece->op_prev)
        piece->op_prev->op_next = piece->op_next;
    else
        op->first = piece->op_next;
    if (piece->op_next)
        piece->op_next->op_prev = piece->op_prev;
    else
        op->last = piece->op_prev;
    piece->op_next = piece->op_prev = NULL;
}

struct piece *op_add_piece(struct op *op, struct conn *conn, enum wire_op kind)
{
    struct piece *piece = slots_take(&op->queue->slots);
    if (!piece)
        return NULL;
    piece->conn = conn;
    piece->kind = (uint8_t)kind;
    link_last(op, piece);
    return piece;
}

/** The same, for the operation's own kind. */
static struct piece *new_piece(struct op *op, uint32_t node)
{
    struct conn *conn = conn_get(op->queue, node);
    return conn ? op_add_piece(op, conn, (enum wire_op)op->kind) : NULL;
}

static bool add_range(struct op *op, const struct submission *wanted)
{
    uint64_t segment_size = op->queue->grid->config.segment_size;
    uint8_t *data = wanted->data;
    uint64_t address = wanted->address, left = wanted->length;
    while (left > 0) {
        uint64_t here = split_on_node(segment_size, address, left);
        struct piece *piece = new_piece(op, split_node(segment_size, address));
        if (!piece)
            return false;
        piece->address = address;
        piece->length = here;
        piece->data = data;
        piece->operand = wanted->operand;
        piece->desired = wanted->desired;
        conn_append(piece->conn, piece);
        address += here;
        left -= here;
        if (left > 0)
            data += here;
    }
    return true;
}

static bool add_chains(struct op *op, const struct multi *multi)
{
    uint64_t segment_size = op->queue->grid->config.segment_size;
    for (size_t i = 0; i < multi->chain_count; i++) {
        const struct split_slice *chain = &multi->chains[i];
        struct piece *piece = new_piece(op, split_node(segment_size, multi->parts[chain->first].address));
        if (!piece)
            return false;
        piece->first = chain->first;
        piece->skip = chain->skip;
        piece->length = chain->length;
        conn_append(piece->conn, piece);
    }
    return true;
}

/** One request to one node, whatever it is about. */
static bool add_single(struct op *op, const struct submission *wanted, uint32_t node)
{
    struct piece *piece = new_piece(op, node);
    if (!piece)
        return false;
    piece->address = wanted->address;
    piece->length = wanted->length;
    if (wanted->kind == WIRE_OP_STATUS)
        piece->status = wanted->data;
    else if (wanted->kind == WIRE_OP_LIST_TRANSACTIONS)
        piece->prepared = wanted->data;
    else
        piece->data = wanted->data;
    piece->operand = wanted->operand;
    piece->desired = wanted->desired;
    conn_append(piece->conn, piece);
    return true;
}

static bool add_pieces(struct op *op, const struct submission *wanted)
{
    switch (wanted->kind) {
    case WIRE_OP_MULTI:
        return add_chains(op, wanted->multi);
    case WIRE_OP_STATUS:
    case WIRE_OP_LIST_TRANSACTIONS:
    case WIRE_OP_RESTORE_BEGIN:
    case WIRE_OP_RESTORE_END:
        return add_single(op, wanted, wanted->node);
    case WIRE_OP_RESTORE_DATA:
        return add_single(op, wanted, split_node(op->queue->grid->config.segment_size, wanted->address));
    default:
        return add_range(op, wanted);
    }
}

/** Take back an operation that was not accepted in full. Nothing of it has been sent. */
static void withdraw(struct op *op)
{
    while (op->first) {
        struct piece *piece = op->first;
        unlink_piece(op, piece);
        conn_remove(piece->conn, piece);
        slots_give(&op->queue->slots, piece);
    }
    op->multi = NULL; /* stays the caller's */
    queue_give_op(op->queue, op);
}

void op_set_deadline(struct op *op, uint64_t at_ns)
{
    op->deadline_ns = at_ns;
    if (at_ns < op->queue->deadline_ns)
        op->queue->deadline_ns = at_ns;
}

enum mcomp_status op_submit(struct mcomp_queue *queue, const struct submission *wanted, struct mcomp_error *error)
{
    if (queue->closing)
        return op_refuse(wanted, error_set(error, MCOMP_CANCELLED, 0, MCOMP_NO_NODE, "the queue is being closed"), error);
    if (is_word(wanted))
        return run_submit_word(queue, wanted, error);
    struct op *op = queue_take_op(queue);
    if (!op)
        return op_refuse(wanted, error_memory(error), error);
    op->queue = queue;
    op->callback = wanted->callback;
    op->arg = wanted->arg;
    op->kind = (uint8_t)wanted->kind;
    op->address = wanted->address;
    op->length = wanted->length;
    op->multi = wanted->multi;
    op->timeout_ms = wanted->timeout_ms;
    if (!add_pieces(op, wanted)) {
        withdraw(op);
        return op_refuse(wanted, error_memory(error), error);
    }
    op_set_deadline(op, op->first ? wanted->deadline_ns : 0); /* nothing to do: the next run says so */
    queue->pending++;
    return MCOMP_OK;
}

struct piece *op_cut(struct piece *piece, uint64_t bytes)
{
    struct op *op = piece->op;
    struct piece *front = slots_take(&op->queue->slots);
    if (!front)
        return NULL;
    front->conn = piece->conn;
    front->kind = piece->kind;
    front->length = bytes;
    link_before(op, front, piece);
    if (piece->kind == WIRE_OP_MULTI) {
        front->first = piece->first;
        front->skip = piece->skip;
        struct split_slice slice = piece_slice(piece);
        split_slice_advance(op->multi->parts, &slice, bytes);
        piece->first = slice.first;
        piece->skip = slice.skip;
    } else {
        front->address = piece->address;
        front->data = piece->data;
        front->operand = piece->operand; /* of a RESTORE_DATA; the zeros stay behind the last */
        piece->address += bytes;
        piece->data += bytes;
        piece->has_crc = false;
    }
    piece->length -= bytes;
    return front;
}

/* ---- the end ---- */

/** All of a transaction has one outcome. */
static void build_run_error(struct op *op, struct mcomp_error *error)
{
    enum mcomp_status status = (enum mcomp_status)op->status;
    if (op->failure)
        error_from(error, op->failure->node, &op->failure->why);
    else
        error_set(error, status, 0, MCOMP_NO_NODE, "%s, and memory is too short to say more", status_text(status));
    txn_spans(op->run->txn, op->run->txn->result.outcome == MCOMP_TXN_UNKNOWN ? MCOMP_MAYBE : MCOMP_NOT_DONE, error);
}

static void build_error(struct op *op, struct mcomp_error *error)
{
    struct failure *failure = op->failure;
    struct span_range range = {op->address, op->length};
    const struct span_range *ranges = op->multi ? op->multi->ranges : &range;
    size_t count = op->multi ? op->multi->range_count : 1;
    enum mcomp_status status = (enum mcomp_status)op->status;
    if (failure) {
        error_from(error, failure->node, &failure->why);
        span_build(error, ranges, count, &failure->notes);
    } else {
        error_set(error, status, 0, MCOMP_NO_NODE, "%s, and memory is too short to say more", status_text(status));
        span_build_all(error, ranges, count, MCOMP_MAYBE);
    }
}

void op_finish(struct op *op)
{
    struct mcomp_queue *queue = op->queue;
    struct mcomp_completion completion = {MCOMP_OK, op->value, NULL};
    if (op->status != MCOMP_OK) {
        if (op->role == OP_RUN)
            build_run_error(op, &queue->error);
        else
            build_error(op, &queue->error);
        completion = (struct mcomp_completion){(enum mcomp_status)op->status, 0, &queue->error};
    }
    mcomp_callback callback = op->callback;
    void *arg = op->arg;
    if (op->role == OP_RUN)
        run_free(op->run);
    queue_give_op(queue, op);
    if (--queue->pending == 0 && queue->internal == 0)
        queue->deadline_ns = NEVER;
    queue->called_back++;
    callback(arg, &completion);
}

void op_blame(struct op *op, const struct conn *conn, const struct err *why)
{
    if (op->status != MCOMP_OK)
        return;
    op->status = (uint8_t)why->code;
    op->failure = calloc(1, sizeof *op->failure);
    if (!op->failure)
        return;
    op->failure->why = *why;
    op->failure->node = conn ? conn->node : MCOMP_NO_NODE;
    if (conn)
        err_wrap(&op->failure->why, why->code, "node %" PRIu32 " (%s)", conn->node, op->queue->grid->config.node[conn->node].address.text);
}

static void note_outcome(struct op *op, const struct piece *piece, enum mcomp_outcome outcome)
{
    if (!op->failure || op_has_no_range(piece->kind) || piece->length == 0)
        return;
    struct span_notes *notes = &op->failure->notes;
    if (piece->kind != WIRE_OP_MULTI) {
        span_add(notes, piece->address - op->address, piece->length, piece->kind == WIRE_OP_READ ? MCOMP_NOT_DONE : outcome);
        return;
    }
    const struct split_part *parts = op->multi->parts;
    struct split_slice slice = piece_slice(piece);
    struct split_walk walk;
    for (bool more = split_walk_begin(&walk, parts, &slice); more; more = split_walk_next(&walk)) {
        const struct split_part *part = &parts[walk.index];
        span_add(notes, part->at + walk.skip, walk.length, part->write ? outcome : MCOMP_NOT_DONE);
    }
}

void op_drop_piece(struct piece *piece)
{
    struct op *op = piece->op;
    unlink_piece(op, piece);
    slots_give(&op->queue->slots, piece);
}

void op_piece_done(struct piece *piece)
{
    struct op *op = piece->op;
    if (op->role == OP_ATTEMPT) {
        attempt_piece_done(piece);
    } else if (op->role == OP_SESSION) {
        session_piece_done(piece);
    } else {
        op_drop_piece(piece);
        if (!op->first)
            op_finish(op);
    }
}

void op_piece_failed(struct piece *piece, enum mcomp_outcome outcome, const struct err *why)
{
    struct op *op = piece->op;
    if (op->role == OP_ATTEMPT) {
        attempt_piece_failed(piece, outcome, why);
    } else if (op->role == OP_SESSION) {
        session_piece_failed(piece, why);
    } else {
        op_blame(op, piece->conn, why);
        note_outcome(op, piece, outcome);
        op_piece_done(piece);
    }
}

void op_explain(const struct piece *piece, uint32_t timeout_ms, struct err *why)
{
    const struct conn *conn = piece->conn;
    if (piece->state != PIECE_WAITING) {
        err_set(why, MCOMP_DEADLINE_EXCEEDED, "no answer within %" PRIu32 " ms", timeout_ms);
    } else if (conn->state != CONN_READY) {
        bool tried = conn->last_error.code != MCOMP_OK;
        err_set(why, MCOMP_UNAVAILABLE, "cannot be reached within %" PRIu32 " ms, attempts: %" PRIu32 ", the last: %s", timeout_ms,
                conn->attempts, tried ? conn->last_error.text : "still waiting for an answer");
        why->sys_errno = tried ? conn->last_error.sys_errno : 0;
    } else if (conn->refusals > 0) {
        err_set(why, conn->refusal.code, "%s (asked again for %" PRIu32 " ms)", conn->refusal.text, timeout_ms);
    } else {
        err_set(why, MCOMP_DEADLINE_EXCEEDED, "took no more requests within %" PRIu32 " ms", timeout_ms);
    }
}

/** The operation is about to be forgotten; whatever of this piece is under way goes on without it. */
static void abandon(struct piece *piece)
{
    struct conn *conn = piece->conn;
    if (piece->state == PIECE_WAITING) {
        conn_remove(conn, piece);
        conn_mark_dirty(conn); /* it may have been what the others waited for */
        slots_give(&conn->queue->slots, piece);
        return;
    }
    MC_ASSERT(piece->state == PIECE_SENT);
    piece->state = PIECE_GHOST;
    piece->op = NULL;
    if (conn->direct == piece)
        conn->direct_to = NULL;
    conn_keep_tail(conn, piece);
}

void op_withdraw_piece(struct piece *piece)
{
    unlink_piece(piece->op, piece);
    abandon(piece);
}

struct op *op_internal(struct mcomp_queue *queue, enum op_role role)
{
    struct op *op = queue_take_op(queue);
    if (!op)
        return NULL;
    op->role = (uint8_t)role;
    op->deadline_ns = NEVER;
    queue->internal++;
    return op;
}

void op_end_internal(struct op *op)
{
    while (op->first)
        op_withdraw_piece(op->first);
    op->queue->internal--;
    queue_give_op(op->queue, op);
}

static void end_plain(struct op *op, bool cancelled)
{
    while (op->first) {
        struct piece *piece = op->first;
        if (op->status == MCOMP_OK) {
            struct err why;
            if (cancelled)
                err_set(&why, MCOMP_CANCELLED, "the queue was closed before the operation was complete");
            else
                op_explain(piece, op->timeout_ms, &why);
            op_blame(op, cancelled ? NULL : piece->conn, &why);
        }
        note_outcome(op, piece, piece->state == PIECE_WAITING ? MCOMP_NOT_DONE : MCOMP_MAYBE);
        op_withdraw_piece(piece);
    }
    op_finish(op);
}

void op_end(struct op *op, bool cancelled)
{
    if (op->role == OP_RUN)
        run_on_time(op, cancelled);
    else if (op->role == OP_ATTEMPT)
        attempt_on_time(op);
    else if (op->role == OP_PLAIN)
        end_plain(op, cancelled);
}

void op_doom(struct op *op, const struct err *why)
{
    if (op->role == OP_ATTEMPT) {
        attempt_memory_short(op->attempt);
        return;
    }
    op_blame(op, NULL, why);
    op_set_deadline(op, 0);
}
