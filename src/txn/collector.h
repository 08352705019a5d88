/* SPDX-License-Identifier: Apache-2.0 */
/** Gives a session back whose client is gone, lane by lane. What committed here is first told to its other participants, each of which may be in doubt and
 *  would take "no such session" for an abort.
 *
 *  One machine for each session that is being collected. It ends when the client shows up again: then the session stays, and nothing is lost.
 *  Use: collector_start; then, while collector->look: read the view of lane collector->lane and feed it. */
#ifndef TXN_COLLECTOR_H
#define TXN_COLLECTOR_H

#include "txn/asking.h"
#include "txn/message.h"

#define COLLECTOR_IDLE_NS 60000000000ull  /* a session without contact for so long is collected */
#define COLLECTOR_LOST_NS 5000000000ull   /* … and so long after the connection broke */
#define COLLECTOR_REOPEN_NS 30000000000ull /* a client that has been silent for longer opens its session again before it uses it */
#define COLLECTOR_LOOK_NS 100000000ull    /* pause before a prepared lane is looked at again */

struct collector {
    uint32_t lane;     /* the one that it is at; LANES: all are through */
    bool look;         /* wants the lane's view now */
    bool done;         /* the session may be given a new generation */
    bool pushes;       /* COMMIT is being told */
    uint64_t sequence; /* of what */
    uint64_t look_ns;  /* when a prepared lane is looked at again */
    struct asking asking;
};

void collector_start(struct collector *collector);
/** The lane's record, read under the session's lock; participants and self for LANE_COMMITTED only, in memory that stays until the next call of this function.
 *  When collector->done is set hereby, the caller gives the session a new generation before it unlocks it, if there was no contact since collector_start. */
void collector_on_lane(struct collector *collector, const struct lane_view *view, const struct lane_participant *participants, uint32_t count,
                       uint32_t self, uint64_t now_ns);
/** True: COMMIT goes to participant *index, with its own id. Call until false. */
bool collector_next(struct collector *collector, uint64_t now_ns, uint32_t *index);
/** Participant index has answered to COMMIT of a transaction that is (lane, sequence) at this node. */
void collector_on_answer(struct collector *collector, uint32_t lane, uint64_t sequence, uint32_t index, enum txn_says says);
/** Time has passed: collector->look may become true. */
void collector_on_time(struct collector *collector, uint64_t now_ns);
/** When collector_next or collector_on_time has something to do; UINT64_MAX: never. */
uint64_t collector_next_ns(const struct collector *collector);

#endif
