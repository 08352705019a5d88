/* SPDX-License-Identifier: Apache-2.0 */
/** The leader's side of a round: freeze → cut → collect → commit.
 *
 *  Pure, as freeze.h. A round is valid when all nodes said FROZEN before the first CUT was sent, all cut, and all captured without a break: then the
 *  union of the captures is the state that the grid had when the last FROZEN came. Whatever else happens, the round is discarded. */
#ifndef SNAPSHOT_ROUND_H
#define SNAPSHOT_ROUND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"
#include "snapshot/number.h"

#define ROUND_FREEZE_NS 250000000ull    /* for all nodes to be frozen */
#define ROUND_CUT_NS 250000000ull       /* for all nodes to cut, from the first CUT on */
#define ROUND_LEASE_NS 500000000ull     /* asked of the nodes */
#define ROUND_REPEAT_NS 50000000ull     /* unanswered FREEZE and CUT are sent again */
#define ROUND_SILENCE_NS 10000000000ull /* while collecting, a node that sends nothing for this long has failed */

_Static_assert(ROUND_LEASE_NS >= ROUND_FREEZE_NS + ROUND_CUT_NS, "a node that froze at once still holds when the last CUT is sent");

enum round_phase { ROUND_IDLE, ROUND_FREEZING, ROUND_CUTTING, ROUND_COLLECTING, ROUND_COMMITTING };

struct round_node {
    bool frozen, cut, captured;
    uint64_t heard_ns; /* COLLECTING: when it last sent something */
};

struct round {
    enum round_phase phase;
    uint32_t number;
    uint32_t nodes;
    uint32_t seen;            /* highest number heard of; for the next round */
    uint64_t started_ns, phase_ns, repeat_ns;
    uint64_t frozen_ns, cut_ns, collected_ns; /* when each phase was through */
    uint64_t longest_pause_ns;
    struct round_node node[GRID_NODES_MAX];
};

enum round_send { ROUND_SEND_NOTHING, ROUND_SEND_FREEZE, ROUND_SEND_CUT, ROUND_SEND_END /* unfreeze and end */ };

enum round_outcome {
    ROUND_RUNS,
    ROUND_COLLECT,   /* begin to pull from all nodes */
    ROUND_COMMIT,    /* all is here: make the file valid, then round_on_committed */
    ROUND_DONE,
    ROUND_DISCARDED  /* the file is to be removed; node and why tell the reason */
};

#define ROUND_WHY_BYTES 160u

struct round_effects {
    enum round_send send;
    bool to[GRID_NODES_MAX];
    enum round_outcome outcome;
    uint32_t node;               /* DISCARDED: whose fault; UINT32_MAX: none's */
    char why[ROUND_WHY_BYTES];   /* DISCARDED: for people */
};

/** seen: at least the highest round that ever froze this node, which its header remembers. So a leader that restarts uses no number again for which a
 *  CUT may have been sent: late answers to the first round cannot be taken for answers to the second. */
void round_init(struct round *round, uint32_t seen);
/** round is IDLE. number: from round_number_after(round->seen, …). nodes: all of the grid, this one among them. */
void round_start(struct round *round, uint32_t number, uint32_t nodes, uint64_t now_ns, struct round_effects *effects);

/* Answers; those of other rounds are to be dropped by the caller (but their max_round is welcome to round_see), duplicates are not. */

void round_see(struct round *round, uint32_t number);
void round_on_frozen(struct round *round, uint32_t node, uint64_t now_ns, struct round_effects *effects);
void round_on_refused(struct round *round, uint32_t node, bool old, uint32_t max_round, uint64_t now_ns, struct round_effects *effects);
void round_on_cut(struct round *round, uint32_t node, bool done, uint64_t pause_ns, uint64_t now_ns, struct round_effects *effects);
/** A part of the node's state has arrived, or the leader is not ready to ask for one (its disk is slow). No effects. */
void round_on_progress(struct round *round, uint32_t node, uint64_t now_ns);
/** All of it has, and the node says that its capture was valid to the end. */
void round_on_captured(struct round *round, uint32_t node, uint64_t now_ns, struct round_effects *effects);
/** A node cannot go on, or the leader itself cannot (node UINT32_MAX: its disk, say). A node that has given all it had to give does no harm. */
void round_on_failed(struct round *round, uint32_t node, const char *why, uint64_t now_ns, struct round_effects *effects);
void round_on_committed(struct round *round, uint64_t now_ns, struct round_effects *effects);
void round_on_time(struct round *round, uint64_t now_ns, struct round_effects *effects);
/** When round_on_time has something to do; UINT64_MAX: never. */
uint64_t round_next_ns(const struct round *round);

#endif
