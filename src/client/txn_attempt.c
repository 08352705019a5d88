/* SPDX-License-Identifier: Apache-2.0 */
/** Attempts: what the coordinator says is sent, what is answered is told to it. */
#include <stdlib.h>
#include <string.h>

#include "client/transact.h"

#define VOTE_MARGIN_NS 200000000u /* before the deadline, at most: time to find out what became of an EXECUTE that waits for a lock */

/* ---- beginning and end ---- */

static struct attempt *take_attempt(struct mcomp_queue *queue)
{
    struct attempt *attempt = queue->free_attempts;
    if (attempt)
        queue->free_attempts = attempt->next_free;
    else
        attempt = malloc(sizeof *attempt);
    return attempt;
}

static void give_attempt(struct mcomp_queue *queue, struct attempt *attempt)
{
    if (attempt->part != attempt->part_inline)
        free(attempt->part);
    if (attempt->mine != attempt->mine_inline)
        free(attempt->mine);
    attempt->next_free = queue->free_attempts;
    queue->free_attempts = attempt;
}

static bool take_parts(struct attempt *attempt, uint32_t count)
{
    attempt->count = count;
    attempt->part = attempt->part_inline;
    attempt->mine = attempt->mine_inline;
    if (count <= ATTEMPT_INLINE) {
        memset(attempt->mine, 0, count * sizeof *attempt->mine);
        return true;
    }
    attempt->part = malloc(count * sizeof *attempt->part);
    attempt->mine = calloc(count, sizeof *attempt->mine);
    return attempt->part && attempt->mine;
}

/** From when on a missing vote is not waited for. One node that is to execute it may wait for a lock nearly until the end. */
static uint64_t vote_end_ns(const struct run *run, uint64_t now_ns)
{
    if (run->txn->share_count > 1)
        return now_ns + COORDINATOR_VOTE_NS;
    if (run->deadline_ns == NEVER)
        return NEVER;
    uint64_t left_ns = run->deadline_ns > now_ns ? run->deadline_ns - now_ns : 0;
    return run->deadline_ns - (left_ns / 4 < VOTE_MARGIN_NS ? left_ns / 4 : VOTE_MARGIN_NS);
}

static void pump(struct attempt *attempt);

bool attempt_start(struct run *run)
{
    struct mcomp_queue *queue = run->op->queue;
    struct mcomp_txn *txn = run->txn;
    struct attempt *attempt = take_attempt(queue);
    if (!attempt)
        return false;
    struct op *op = take_parts(attempt, txn->share_count) ? op_internal(queue, OP_ATTEMPT) : NULL;
    if (!op) {
        give_attempt(queue, attempt);
        return false;
    }
    attempt->op = op;
    attempt->run = run;
    op->attempt = attempt;
    for (uint32_t i = 0; i < attempt->count; i++) {
        struct attempt_part *mine = &attempt->mine[i];
        mine->conn = queue->conns[txn->shares[i].node];
        attempt->part[i].who.node = txn->shares[i].node;
        mine->lane = lane_take(mine->conn, &attempt->part[i].who.id);
    }
    coordinator_start(&attempt->coordinator, attempt->part, attempt->count, vote_end_ns(run, queue->now_ns), run->deadline_ns);
    run->attempt = attempt;
    pump(attempt);
    return true;
}

static void end_attempt(struct attempt *attempt, bool finished)
{
    struct mcomp_queue *queue = attempt->op->queue;
    MC_ASSERT(!attempt->run);
    op_end_internal(attempt->op);
    for (uint32_t i = 0; i < attempt->count; i++)
        lane_give(attempt->mine[i].lane, finished);
    give_attempt(queue, attempt);
}

void attempt_close(struct op *op)
{
    struct attempt *attempt = op->attempt;
    end_attempt(attempt, coordinator_abandon(&attempt->coordinator));
}

/* ---- sending ---- */

static uint64_t share_bytes(const struct mcomp_txn *txn, uint32_t index)
{
    uint64_t bytes = 0;
    for (uint32_t i = txn->shares[index].first[0]; i < txn->shares[index].first[TXN_KINDS]; i++)
        bytes += txn->parts[i].length;
    return bytes;
}

/** A vote that waits to be sent is not asked for after all. */
static void withdraw_vote(struct attempt *attempt, uint32_t index)
{
    struct attempt_part *mine = &attempt->mine[index];
    if (!mine->vote || mine->vote->state != PIECE_WAITING)
        return;
    if (attempt->run && !attempt->run->refused) {
        op_explain(mine->vote, attempt->run->op->timeout_ms, &attempt->run->why);
        attempt->run->why_node = mine->conn->node;
    }
    op_withdraw_piece(mine->vote);
    mine->vote = NULL;
    coordinator_on_unsent(&attempt->coordinator, index);
}

void attempt_memory_short(struct attempt *attempt)
{
    if (!attempt->run)
        return; /* what is sent now is sent again */
    err_set(&attempt->run->why, MCOMP_RESOURCE_EXHAUSTED, "out of memory while sending");
    attempt->run->why_node = MCOMP_NO_NODE;
    attempt->run->refused = true;
    attempt->coordinator.vote_end_ns = 0; /* what is not sent will never be */
    op_set_deadline(attempt->op, 0);
}

static void send_vote(struct attempt *attempt, uint32_t index, enum txn_message message)
{
    struct attempt_part *mine = &attempt->mine[index];
    bool wanted = attempt->run && !mine->vote; /* without the user there are no items to send any more */
    struct piece *piece = !wanted ? NULL : op_add_piece(attempt->op, mine->conn, message == TXN_EXECUTE ? WIRE_OP_EXECUTE : WIRE_OP_PREPARE);
    if (!piece) {
        coordinator_on_unsent(&attempt->coordinator, index);
        if (wanted)
            attempt_memory_short(attempt);
        return;
    }
    piece->first = index;
    piece->length = share_bytes(attempt->run->txn, index);
    mine->vote = piece;
    conn_append(mine->conn, piece);
}

static void send_other(struct attempt *attempt, uint32_t index, enum txn_message message)
{
    struct attempt_part *mine = &attempt->mine[index];
    enum wire_op kind = message == TXN_RESOLVE ? WIRE_OP_RESOLVE : WIRE_OP_DECIDE;
    bool commit = message == TXN_COMMIT;
    withdraw_vote(attempt, index);
    if (message == TXN_ABORT && attempt->part[index].sends == 0) { /* it has not heard of it, and never will */
        const struct txn_answer never = {.says = TXN_ABORTED, .reason = LANE_TOLD};
        coordinator_on_answer(&attempt->coordinator, index, TXN_ABORT, &never);
        return;
    }
    if (mine->other && mine->other->state == PIECE_WAITING) {
        if (mine->other->kind == kind && mine->other->writes == commit)
            return; /* it is about to be sent */
        op_withdraw_piece(mine->other);
    }
    /* One that was sent long ago stays under way: its answer is as good. */
    mine->other = op_add_piece(attempt->op, mine->conn, kind);
    if (!mine->other)
        return;
    mine->other->first = index;
    mine->other->writes = commit;
    conn_append(mine->conn, mine->other);
}

/** Send what is to be sent, tell what is to be told. The attempt may be freed. */
static void pump(struct attempt *attempt)
{
    struct coordinator *coordinator = &attempt->coordinator;
    struct op *op = attempt->op;
    struct mcomp_queue *queue = op->queue;
    enum txn_message message;
    uint32_t index;
    while ((message = coordinator_next(coordinator, queue->now_ns, &index)) != TXN_NOTHING) {
        if (message == TXN_PREPARE || message == TXN_EXECUTE)
            send_vote(attempt, index, message);
        else
            send_other(attempt, index, message);
    }
    struct run *run = coordinator->outcome != COORDINATOR_RUNS ? attempt->run : NULL;
    bool finished = coordinator->finished;
    if (run)
        run_detach(run, attempt);
    if (finished)
        end_attempt(attempt, true);
    else
        op_set_deadline(op, coordinator_next_ns(coordinator));
    if (run)
        run_concluded(run); /* calls back, and may begin others */
    else if (finished)
        transact_lanes_free(queue);
}

void attempt_detach(struct attempt *attempt)
{
    attempt->run = NULL;
    for (uint32_t i = 0; i < attempt->count; i++) {
        struct attempt_part *mine = &attempt->mine[i];
        withdraw_vote(attempt, i);
        if (mine->vote)
            conn_keep_tail(mine->conn, mine->vote);
    }
}

bool attempt_is_unsent(const struct attempt *attempt)
{
    for (uint32_t i = 0; i < attempt->count; i++) {
        const struct piece *vote = attempt->mine[i].vote;
        if (attempt->part[i].sends > (vote && vote->state == PIECE_WAITING ? 1u : 0u))
            return false;
    }
    return true;
}

void attempt_on_time(struct op *op)
{
    struct attempt *attempt = op->attempt;
    uint64_t now_ns = op->queue->now_ns;
    if (attempt->coordinator.phase == COORDINATOR_VOTING && now_ns >= attempt->coordinator.vote_end_ns) {
        for (uint32_t i = 0; i < attempt->count; i++)
            withdraw_vote(attempt, i); /* what was never sent makes the outcome certain */
    }
    coordinator_on_time(&attempt->coordinator, now_ns);
    pump(attempt);
}

/* ---- answers ---- */

static enum txn_message message_of(const struct piece *piece)
{
    switch ((enum wire_op)piece->kind) {
    case WIRE_OP_EXECUTE:
        return TXN_EXECUTE;
    case WIRE_OP_PREPARE:
        return TXN_PREPARE;
    case WIRE_OP_RESOLVE:
        return TXN_RESOLVE;
    default:
        return piece->writes ? TXN_COMMIT : TXN_ABORT;
    }
}

bool attempt_take_result(struct piece *piece, const struct wire_response *response)
{
    struct attempt *attempt = piece->op->attempt;
    struct attempt_part *mine = &attempt->mine[piece->first];
    const struct wire_txn_result *result = response->txn;
    if (!txn_answer_of(result, &mine->answer))
        return false;
    lane_contact(mine->lane);
    if (!attempt->run || attempt->part[piece->first].answered)
        return true;
    return txn_take_share(attempt->run->txn, &attempt->run->txn->shares[piece->first], &mine->answer, result);
}

static void drop(struct attempt *attempt, struct piece *piece)
{
    struct attempt_part *mine = &attempt->mine[piece->first];
    if (mine->vote == piece)
        mine->vote = NULL;
    if (mine->other == piece)
        mine->other = NULL;
    op_drop_piece(piece);
}

void attempt_piece_done(struct piece *piece)
{
    struct attempt *attempt = piece->op->attempt;
    enum txn_message message = message_of(piece);
    uint32_t index = piece->first;
    struct attempt_part *mine = &attempt->mine[index];
    drop(attempt, piece);
    if (mine->answer.says == TXN_NO_SESSION)
        lane_session_gone(mine->lane);
    coordinator_on_answer(&attempt->coordinator, index, message, &mine->answer);
    pump(attempt);
}

void attempt_piece_failed(struct piece *piece, enum mcomp_outcome outcome, const struct err *why)
{
    struct attempt *attempt = piece->op->attempt;
    enum txn_message message = message_of(piece);
    uint32_t index = piece->first;
    bool is_vote = message == TXN_PREPARE || message == TXN_EXECUTE;
    bool sent = piece->state != PIECE_WAITING;
    if (attempt->run) {
        attempt->run->why = *why;
        attempt->run->why_node = attempt->mine[index].conn->node;
    }
    drop(attempt, piece);
    if (is_vote && outcome == MCOMP_NOT_DONE && attempt->part[index].sends == 1) {
        /* It was asked once, and has not voted. */
        const struct txn_answer refusal = {.says = TXN_ABORTED, .reason = LANE_TOLD};
        if (attempt->run)
            attempt->run->refused = true;
        coordinator_on_answer(&attempt->coordinator, index, message, &refusal);
    } else if (is_vote && !sent) {
        coordinator_on_unsent(&attempt->coordinator, index);
    }
    pump(attempt);
}

void attempt_piece_lost(struct piece *piece, bool partly, const struct err *why)
{
    struct attempt *attempt = piece->op->attempt;
    uint32_t index = piece->first;
    bool is_vote = attempt->mine[index].vote == piece;
    if (attempt->run) {
        attempt->run->why = *why;
        attempt->run->why_node = attempt->mine[index].conn->node;
    }
    drop(attempt, piece);
    if (is_vote && partly)
        coordinator_on_unsent(&attempt->coordinator, index);
    coordinator_on_connected(&attempt->coordinator, index);
    pump(attempt);
}
