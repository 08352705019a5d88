/* SPDX-License-Identifier: Apache-2.0 */
/** Transactions under way. A run is one call of the user: it makes an attempt, and when others were in the way another one after a pause. An attempt
 *  drives the state machine of txn/coordinator.h: what that says is sent as pieces, what is answered is told to it. The user is answered as soon as the
 *  outcome is known; the attempt goes on without him until each node has acknowledged the decision. Then its lanes are free.
 *
 *      run (op with a callback)  --waits for lanes-->  tries  --conflict-->  pauses  --> waits for lanes ...
 *                                                        |
 *                                  attempt (op without a callback, its pieces) --outcome--> the run ends --> ... --finished--> freed */
#ifndef CLIENT_TRANSACT_H
#define CLIENT_TRANSACT_H

#include "client/engine.h"
#include "client/lanes.h"
#include "client/txn.h"
#include "txn/coordinator.h"

#define ATTEMPT_INLINE 2u /* participants that need no memory of their own */

/** A participant, beside coordinator_part of the same index. */
struct attempt_part {
    struct conn *conn;
    struct lane *lane;
    struct piece *vote;  /* PREPARE or EXECUTE under way, or NULL */
    struct piece *other; /* the latest RESOLVE or DECIDE under way, or NULL; there may be older ones */
    struct txn_answer answer; /* taken, not yet told to the coordinator */
};

struct attempt {
    struct attempt *next_free;
    struct op *op;
    struct run *run; /* NULL: it goes on without a user */
    struct coordinator coordinator;
    struct coordinator_part *part; /* of these, count each; owned unless they are the ones below */
    struct attempt_part *mine;
    uint32_t count;
    struct coordinator_part part_inline[ATTEMPT_INLINE];
    struct attempt_part mine_inline[ATTEMPT_INLINE];
};

enum run_state { RUN_WAITS, RUN_TRIES, RUN_PAUSES };

struct run {
    struct op *op;
    struct run *next, *prev; /* WAITS: in the queue's list. Free: next */
    struct mcomp_txn *txn;
    struct attempt *attempt;  /* TRIES */
    uint64_t deadline_ns;     /* the user's */
    uint64_t pause_ns;        /* PAUSES: its end */
    struct err why;           /* what failed last, or a node's refusal; code OK: nothing yet */
    uint32_t why_node;
    uint32_t attempts;
    bool refused;             /* a node refused it for good */
    uint8_t state;            /* enum run_state */
    bool may_retry;           /* this and the next three: of the attempt that has ended */
    enum coordinator_outcome outcome;
    enum lane_reason reason;
    uint32_t blamed; /* node that aborted */

    /* A fetch-and-add or compare-and-swap is a transaction of these: no memory of its own. */
    struct mcomp_txn own;
    struct txn_item own_items[2];
    struct txn_part own_parts[2];
    struct txn_share own_share;
    struct txn_verdict own_verdict;
    uint8_t own_words[2][ATOMIC_WORD_BYTES];
};

/** Accept a transaction that was planned. Errors: RESOURCE_EXHAUSTED. */
MUST_CHECK enum mcomp_status run_submit(struct mcomp_queue *queue, struct mcomp_txn *txn, const struct submission *wanted, struct mcomp_error *error);

/** Accept a FETCH_ADD or COMPARE_AND_SWAP that was checked. Errors: RESOURCE_EXHAUSTED. */
MUST_CHECK enum mcomp_status run_submit_word(struct mcomp_queue *queue, const struct submission *wanted, struct mcomp_error *error);

/** Its time has come: the end of a pause, or of the user's patience. cancelled: the queue is being closed. */
void run_on_time(struct op *op, bool cancelled);

/** Give back what op_finish() has no use for any more. */
void run_free(struct run *run);

/** Free the memory of the queue's runs and attempts, of which none is under way. */
void transact_free(struct mcomp_queue *queue);

/** Lanes may have come free: begin what waits for them. */
void transact_lanes_free(struct mcomp_queue *queue);

/** No session can be opened at this node for now. */
void transact_no_session(struct mcomp_queue *queue, struct conn *conn);

/* ---- attempts ---- */

/** Begin the first or another attempt of a run; each of its nodes has a free lane. false: no memory. */
bool attempt_start(struct run *run);

/** The user is answered: go on without his memory. */
void attempt_detach(struct attempt *attempt);

void attempt_on_time(struct op *op);

/** There was no memory to send a vote: the next run of the queue gives the attempt up. */
void attempt_memory_short(struct attempt *attempt);

/** Give it up at the end of the queue. */
void attempt_close(struct op *op);

/** Not a byte of any vote was sent yet. */
bool attempt_is_unsent(const struct attempt *attempt);

/** The attempt has an outcome, or none that the user will be told: part them. */
void run_detach(struct run *run, struct attempt *attempt);

/** After run_detach(): call back, or plan another attempt. */
void run_concluded(struct run *run);

/* For the engine. */

bool attempt_take_result(struct piece *piece, const struct wire_response *response);
void attempt_piece_done(struct piece *piece);

/** NOT_DONE: the node refuses. MAYBE: it has said what helps nobody. */
void attempt_piece_failed(struct piece *piece, enum mcomp_outcome outcome, const struct err *why);

/** The connection was lost with the piece under way; partly: the node cannot have got all of it. */
void attempt_piece_lost(struct piece *piece, bool partly, const struct err *why);

/* ---- txn_message.c ---- */

/** Encode a PREPARE or EXECUTE, at `out` if it fits into `room` bytes, else in piece->frame. Returns the end of what stands at `out`; NULL: no memory. */
uint8_t *txn_encode_vote(uint8_t *out, size_t room, struct piece *piece, uint32_t timeout_ms, struct arena *arena);

/** Encode a RESOLVE or DECIDE. Returns the end. */
uint8_t *txn_encode_other(uint8_t *out, const struct piece *piece, uint32_t timeout_ms);

/** What the node says. false: it makes no sense. */
bool txn_answer_of(const struct wire_txn_result *result, struct txn_answer *answer);

/** Bring read data, values before and verdicts to their places. false: they do not fit the request. */
bool txn_take_share(struct mcomp_txn *txn, const struct txn_share *share, const struct txn_answer *answer,
                    const struct wire_txn_result *result);

#endif
