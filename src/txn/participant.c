/* SPDX-License-Identifier: Apache-2.0 */
#include "txn/participant.h"

#include <inttypes.h>
#include <stdbool.h>

#include "base/limits.h"

static bool is_possible(const struct lane_id *id)
{
    return id->lane < LANES && id->generation != 0 && id->sequence != 0 && id->sequence <= LANE_SEQUENCE_MAX;
}

struct txn_answer participant_answer(const struct lane_view *view)
{
    struct txn_answer answer = {.says = TXN_MISUSE};
    switch (view->state) {
    case LANE_NONE: break;
    case LANE_PREPARED:
    case LANE_COMMITTING: answer.says = TXN_PREPARED; break;
    case LANE_COMMITTED: answer.says = TXN_COMMITTED; break;
    case LANE_ABORTED:
        answer.says = TXN_ABORTED;
        answer.reason = view->reason;
        answer.failed_compare = view->failed_compare;
        break;
    }
    MC_ASSERT(view->state != LANE_NONE);
    return answer;
}

static struct participant_decision say(enum txn_says says)
{
    return (struct participant_decision){.action = PARTICIPANT_ANSWER, .answer.says = says};
}

static struct participant_decision act(enum participant_action action, enum lane_reason reason)
{
    return (struct participant_decision){.action = action, .reason = reason};
}

static struct participant_decision describe(const struct lane_view *view)
{
    return (struct participant_decision){.action = PARTICIPANT_ANSWER, .answer = participant_answer(view)};
}

/** The message is about the transaction on record. */
static struct participant_decision decide_known(const struct lane_view *view, enum txn_message message)
{
    switch (message) {
    case TXN_EXECUTE: /* votes and decides at once, so no record of it is ever seen undecided */
        return view->state == LANE_PREPARED || view->state == LANE_COMMITTING ? say(TXN_MISUSE) : describe(view);
    case TXN_COMMIT:
        if (view->state == LANE_PREPARED)
            return act(PARTICIPANT_COMMIT, LANE_REASON_NONE);
        if (view->state == LANE_COMMITTING)
            return act(PARTICIPANT_WAIT, LANE_REASON_NONE);
        return view->state == LANE_ABORTED ? say(TXN_MISUSE) : describe(view);
    case TXN_ABORT:
        if (view->state == LANE_PREPARED)
            return act(PARTICIPANT_ABORT, LANE_TOLD);
        return view->state == LANE_ABORTED ? describe(view) : say(TXN_MISUSE);
    case TXN_PREPARE:
    case TXN_RESOLVE: return describe(view);
    case TXN_NOTHING: break;
    }
    return say(TXN_MISUSE);
}

/** The message is about a later one. That its client has gone on says that the one on record, and all before, are finished everywhere. */
static struct participant_decision decide_new(const struct lane_view *view, enum txn_message message)
{
    if (view->state == LANE_PREPARED || view->state == LANE_COMMITTING)
        return say(TXN_MISUSE);
    switch (message) {
    case TXN_PREPARE: return act(PARTICIPANT_PREPARE, LANE_REASON_NONE);
    case TXN_EXECUTE: return act(PARTICIPANT_EXECUTE, LANE_REASON_NONE);
    case TXN_ABORT: return act(PARTICIPANT_FORCE, LANE_TOLD);
    case TXN_RESOLVE: return act(PARTICIPANT_FORCE, LANE_FORCED);
    case TXN_COMMIT: /* without this node's vote */
    case TXN_NOTHING: break;
    }
    return say(TXN_MISUSE);
}

struct participant_decision participant_decide(const struct lane_view *view, const struct lane_id *id, enum txn_message message)
{
    if (!is_possible(id))
        return say(TXN_MISUSE);
    if (view->generation != id->generation)
        return say(TXN_NO_SESSION);
    uint64_t on_record = view->state == LANE_NONE ? 0 : view->sequence;
    if (id->sequence < on_record)
        return say(TXN_STALE);
    return id->sequence == on_record ? decide_known(view, message) : decide_new(view, message);
}

enum mcomp_status participant_check(const struct lane_participant *participants, uint32_t count, uint32_t node, uint32_t nodes, const struct lane_id *id,
                                    uint32_t *self, struct err *err)
{
    uint64_t seen[GRID_NODES_MAX / 64] = {0};
    bool found = false;
    MC_ASSERT(nodes <= GRID_NODES_MAX);
    if (count == 0 || count > nodes)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "%" PRIu32 " participants; a transaction has 1 to %" PRIu32 ", each a node of the grid", count, nodes);
    for (uint32_t i = 0; i < count; i++) {
        const struct lane_participant *participant = &participants[i];
        uint32_t at = participant->node;
        if (at >= nodes)
            return err_set(err, MCOMP_INVALID_ARGUMENT, "participant %" PRIu32 " is node %" PRIu32 "; the grid has nodes 0 to %" PRIu32, i, at, nodes - 1);
        if (seen[at / 64] >> (at % 64) & 1)
            return err_set(err, MCOMP_INVALID_ARGUMENT, "node %" PRIu32 " is among the participants twice; each has one lane in a transaction", at);
        seen[at / 64] |= UINT64_C(1) << (at % 64);
        if (!is_possible(&participant->id))
            return err_set(err, MCOMP_INVALID_ARGUMENT,
                           "participant %" PRIu32 " has lane %" PRIu32 ", generation %" PRIu64 ", sequence %" PRIu64
                           "; lanes are 0 to %u, generations and sequences from 1 on",
                           i, participant->id.lane, participant->id.generation, participant->id.sequence, LANES - 1);
        if (at != node)
            continue;
        const struct lane_id *mine = &participant->id;
        if (mine->session != id->session || mine->lane != id->lane || mine->generation != id->generation || mine->sequence != id->sequence)
            return err_set(err, MCOMP_INVALID_ARGUMENT, "node %" PRIu32 " is among the participants with another lane than the one that is to prepare", node);
        *self = i;
        found = true;
    }
    return found ? MCOMP_OK : err_set(err, MCOMP_INVALID_ARGUMENT, "node %" PRIu32 " is to prepare and is not among the participants", node);
}
