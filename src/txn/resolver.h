/* SPDX-License-Identifier: Apache-2.0 */
/** A participant that has voted to commit and has not heard the decision finds it out from the others. One machine for each prepared lane.
 *
 *  It never decides by time: as long as one of the others is silent and none tells the outcome, it goes on asking. */
#ifndef TXN_RESOLVER_H
#define TXN_RESOLVER_H

#include "txn/asking.h"
#include "txn/message.h"

#define RESOLVER_DOUBT_NS 100000000ull /* from the vote to the first question */
#define RESOLVER_FROZEN_NS 20000000ull /* the same while a snapshot waits */

enum resolver_conclusion { RESOLVER_IN_DOUBT, RESOLVER_COMMIT, RESOLVER_ABORT };

struct resolver {
    struct asking asking;
    enum resolver_conclusion conclusion; /* to be carried out as if COMMIT, or ABORT, had come */
    bool misused; /* an answer that no client that keeps the rules can bring about; worth a line in the log */
};

/** participants: of the prepared transaction, in memory that stays while it is prepared; self: index of this node. doubt_ns: when the first questions go
 *  out; RESOLVER_DOUBT_NS after the vote, at once for a record that a restarted server finds. One without others is concluded at once. */
void resolver_start(struct resolver *resolver, const struct lane_participant *participants, uint32_t count, uint32_t self, uint64_t doubt_ns);
/** Questions are wanted by due_ns: now if the client's connection broke, RESOLVER_FROZEN_NS after the vote if the node freezes. */
void resolver_hurry(struct resolver *resolver, uint64_t due_ns);
/** True: RESOLVE goes to participant *index, with its own id. Call until false, after each event and at resolver_next_ns. */
bool resolver_next(struct resolver *resolver, uint64_t now_ns, uint32_t *index);
/** Participant index has answered to RESOLVE, now or long ago. */
void resolver_on_answer(struct resolver *resolver, uint32_t index, enum txn_says says);
/** UINT64_MAX: never. */
uint64_t resolver_next_ns(const struct resolver *resolver);

#endif
