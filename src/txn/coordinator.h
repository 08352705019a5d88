/* SPDX-License-Identifier: Apache-2.0 */
/** A transaction as its client drives it. The client keeps no log: what is decided stands in the records of the participants.
 *
 *  Use: coordinator_start; send what coordinator_next says until it says TXN_NOTHING, after each event and at coordinator_next_ns; look at `outcome` after
 *  each event and tell the user once it is not COORDINATOR_RUNS; keep the machine, and the lanes of all its participants, until `finished`.
 *  No memory but the two structs. One thread at a time. */
#ifndef TXN_COORDINATOR_H
#define TXN_COORDINATOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"
#include "segment/lane.h"
#include "txn/message.h"

#define COORDINATOR_REPEAT_NS 200000000ull       /* an unanswered message is sent again after this, then after twice … */
#define COORDINATOR_REPEAT_LAST_NS 2000000000ull /* … up to this */
#define COORDINATOR_VOTE_NS 600000000ull         /* who has not voted by then is asked for its vote no more, but what became of the transaction */
#define COORDINATOR_PAUSE_NS 1000000ull          /* before the first new attempt after LANE_BUSY and the like; it doubles … */
#define COORDINATOR_PAUSE_LAST_NS 100000000ull   /* … up to this */

enum coordinator_part_state {
    PART_ASKED,     /* no vote, or not yet */
    PART_VOTED,     /* to commit */
    PART_COMMITTED, /* says so: it has applied */
    PART_ABORTED,   /* says so, for ever */
    PART_GONE       /* knows nothing of it any more, or never heard of it: nothing more is to be said to it */
};

struct coordinator_part {
    struct lane_participant who;
    enum coordinator_part_state state;
    bool answered;  /* said PREPARED or COMMITTED at least once, and so gave its read data */
    uint32_t sends; /* of PREPARE or EXECUTE */
    uint64_t due_ns, pause_ns;
};

enum coordinator_phase {
    COORDINATOR_VOTING,     /* PREPARE, or EXECUTE where there is one participant */
    COORDINATOR_ASKING,     /* RESOLVE: votes are missing */
    COORDINATOR_COMMITTING, /* decided */
    COORDINATOR_ABORTING    /* decided */
};

enum coordinator_outcome {
    COORDINATOR_RUNS,
    COORDINATOR_COMMITTED, /* and every later request sees it, wherever it is sent */
    COORDINATOR_ABORTED,   /* nothing was done, nor will be; reason and so on tell why */
    COORDINATOR_UNKNOWN    /* it was done or will be, or never: nobody could be asked in time, or nobody is left to ask */
};

struct coordinator {
    struct coordinator_part *part; /* the caller's */
    uint32_t count;
    enum coordinator_phase phase;
    enum coordinator_outcome outcome; /* what the user is told; set once, never changed */
    bool finished; /* every participant is through with it: their lanes may be used for their next sequences */

    /* Of COORDINATOR_ABORTED: */
    uint32_t part_aborted;   /* index of the part for which it aborted */
    enum lane_reason reason; /* its reason; LANE_REASON_NONE: its server died meanwhile (PART_ABORTED), or it has no such session any more, or never heard
                              * of the transaction, which could not be sent (PART_GONE) */
    uint32_t failed_compare; /* of LANE_COMPARE */

    uint64_t vote_end_ns, deadline_ns;
};

/** parts: `who` is set, the rest need not be; each of another node, 1 … GRID_NODES_MAX of them. vote_end_ns: from when RESOLVE takes the place of PREPARE,
 *  COORDINATOR_VOTE_NS from now unless somebody knows better; with one part, of EXECUTE, which may wait at the node for a lock, so shortly before deadline_ns.
 *  deadline_ns: when the user will have been told something; UINT64_MAX: no such time.
 *  A transaction takes sequence + 1 in each of its lanes only if the one before it was `finished`, and never after coordinator_abandon of an unfinished one. */
void coordinator_start(struct coordinator *coordinator, struct coordinator_part *parts, uint32_t count, uint64_t vote_end_ns, uint64_t deadline_ns);

/** What is to be sent now, to part *index, with its id; TXN_NOTHING: nothing more. */
enum txn_message coordinator_next(struct coordinator *coordinator, uint64_t now_ns, uint32_t *index);
/** PREPARE or EXECUTE was not sent after all, not one byte of it: there is no connection. If it never is, the transaction aborts. */
void coordinator_on_unsent(struct coordinator *coordinator, uint32_t index);
/** The part can be reached anew, so that what it has not answered is sent again at once. */
void coordinator_on_connected(struct coordinator *coordinator, uint32_t index);
/** Part index has answered, to `to`. */
void coordinator_on_answer(struct coordinator *coordinator, uint32_t index, enum txn_message to, const struct txn_answer *answer);
/** Time has passed: votes are missed, the user is told. */
void coordinator_on_time(struct coordinator *coordinator, uint64_t now_ns);
/** When coordinator_next or coordinator_on_time has something to do; UINT64_MAX: never. */
uint64_t coordinator_next_ns(const struct coordinator *coordinator);
/** The client waits no longer and closes. Returns whether the lanes may be used again; if not, never, and the participants finish alone. */
bool coordinator_abandon(struct coordinator *coordinator);

/** Whether a new attempt may succeed where this one aborted. */
bool coordinator_may_retry(const struct coordinator *coordinator);
/** Pause before attempt 1, 2 …: COORDINATOR_PAUSE_NS · 2^(attempt-1), of which a random part between half and all. random: any number, evenly distributed. */
uint64_t coordinator_pause_ns(uint32_t attempt, uint64_t random);

#endif
