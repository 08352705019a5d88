/* SPDX-License-Identifier: Apache-2.0 */
/** A participant: what a node does when a message comes, a function of the message and of the lane's record alone.
 *
 *  The caller holds the session's lock from reading the record to the end of the effect: read the view, decide, carry out, read the view again, answer. */
#ifndef TXN_PARTICIPANT_H
#define TXN_PARTICIPANT_H

#include "base/err.h"
#include "segment/lane.h"
#include "txn/message.h"

enum participant_action {
    PARTICIPANT_ANSWER,  /* nothing is changed; the decision has the answer */
    PARTICIPANT_PREPARE, /* lock, compare, read, and record PREPARED; or record why not, ABORTED. Never waits for a lock, nor at a closed gate (LANE_FROZEN). */
    PARTICIPANT_EXECUTE, /* the whole transaction, with its outcome on record. Waits, with the session unlocked, for line locks and at a closed gate, as plain
                          * writes do, and decides anew afterwards; whoever gives up waiting must record ABORTED first, as if ABORT had come. */
    PARTICIPANT_COMMIT,  /* a prepared one; it passes a closed gate */
    PARTICIPANT_ABORT,   /* a prepared one; recorded, then its locks are given back */
    PARTICIPANT_FORCE,   /* record ABORTED for a transaction that was not voted on here: a later PREPARE or EXECUTE is then refused */
    PARTICIPANT_WAIT     /* it is being applied: decide again when it is */
};

struct participant_decision {
    enum participant_action action;
    enum lane_reason reason;  /* ABORT, FORCE: to be recorded */
    struct txn_answer answer; /* ANSWER */
};

/** What to do for a message about transaction id. view: of id's lane; of a session that the node does not have: all zero. Any id is allowed. */
struct participant_decision participant_decide(const struct lane_view *view, const struct lane_id *id, enum txn_message message);

/** The answer after an effect: what the record says of its own transaction. The record is not LANE_NONE. */
struct txn_answer participant_answer(const struct lane_view *view);

/** Whether PREPARE's list of participants is one that can be resolved: 1 … GRID_NODES_MAX of them, each of another node of the grid, each a possible id, and
 *  the asked node among them with the id that the message is about. *self: its index. INVALID_ARGUMENT otherwise. */
enum mcomp_status participant_check(const struct lane_participant *participants, uint32_t count, uint32_t node, uint32_t nodes, const struct lane_id *id,
                                    uint32_t *self, struct err *err) MUST_CHECK;

#endif
