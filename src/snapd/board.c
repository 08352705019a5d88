/* SPDX-License-Identifier: Apache-2.0 */
#include "snapd/board.h"

#include "base/clock.h"
#include "snapd/exchange.h"

void board_open(struct board *board, uint32_t node, uint32_t nodes)
{
    *board = (struct board){.node = node, .nodes = nodes};
    pthread_mutex_init(&board->lock, NULL);
    board->state.phase = MCOMP__SNAPSHOT__V1__ROUND_STATUS__PHASE__PHASE_IDLE;
}

void board_close(struct board *board)
{
    pthread_mutex_destroy(&board->lock);
}

void board_post(struct board *board, const struct board_state *state)
{
    pthread_mutex_lock(&board->lock);
    board->state = *state;
    pthread_mutex_unlock(&board->lock);
}

void board_post_part(struct board *board, const struct board_part *part)
{
    pthread_mutex_lock(&board->lock);
    board->part = *part;
    pthread_mutex_unlock(&board->lock);
}

static Mcomp__Snapshot__V1__NodeRound part_message(const struct board_part *part)
{
    Mcomp__Snapshot__V1__NodeRound message = MCOMP__SNAPSHOT__V1__NODE_ROUND__INIT;
    message.round = part->round;
    message.pause_ns = part->pause_ns;
    message.pages_preserved = part->pages_preserved;
    message.bytes_captured = part->bytes_captured;
    message.capture_ns = part->capture_ns;
    message.complete = part->complete;
    return message;
}

struct outgoing *board_answer(struct board *board, uint64_t id)
{
    pthread_mutex_lock(&board->lock);
    struct board_state state = board->state;
    Mcomp__Snapshot__V1__NodeRound part = part_message(&board->part);
    pthread_mutex_unlock(&board->lock);
    bool runs = state.phase != MCOMP__SNAPSHOT__V1__ROUND_STATUS__PHASE__PHASE_IDLE;
    Mcomp__Snapshot__V1__RoundStatus status = MCOMP__SNAPSHOT__V1__ROUND_STATUS__INIT;
    status.node = board->node;
    status.leader = state.leader;
    status.phase = state.phase;
    status.round = state.round;
    status.elapsed_ns = runs ? clock_mono_ns() - state.started_ns : 0;
    status.n_node_bytes = runs ? board->nodes : 0;
    status.node_bytes = state.node_bytes;
    status.bytes_written = runs ? state.bytes_written : 0;
    status.rounds_done = state.rounds_done;
    status.rounds_failed = state.rounds_failed;
    status.last_error = state.last_error;
    status.last_file = state.last_file;
    status.last = state.has_last ? &state.last : NULL;
    status.last_bytes = state.last_bytes;
    status.last_commit_ns = state.last_commit_ns;
    status.part = part.round ? &part : NULL;
    Mcomp__Snapshot__V1__Response response = MCOMP__SNAPSHOT__V1__RESPONSE__INIT;
    response.result_case = MCOMP__SNAPSHOT__V1__RESPONSE__RESULT_ROUND_STATUS;
    response.round_status = &status;
    return exchange_result(id, &response);
}
