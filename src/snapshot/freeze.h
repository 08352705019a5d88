/* SPDX-License-Identifier: Apache-2.0 */
/** One node's part in the rounds of the grid: when its writers are held, when it cuts, when it goes on by itself.
 *
 *  Pure: no clock, no memory shared with anybody, no I/O. The caller feeds events with the time and carries out the effects before the next event.
 *  A round freezes a node at most once, for ever; it cuts only while it is frozen without a break
 *  since it said so. Safety depends on no time-out, nor on the time given: events may be late, and their times out of order. */
#ifndef SNAPSHOT_FREEZE_H
#define SNAPSHOT_FREEZE_H

#include <stdbool.h>
#include <stdint.h>

#define FREEZE_GAP_NS 500000000ull       /* after a freeze that led to no cut, writers get this long before the next */
#define FREEZE_IDLE_NS 5000000000ull     /* a capture from which nobody has read for this long gives way to another leader's round */
#define FREEZE_CAPTURE_NS 60000000000ull /* … and for this long ends by itself */
#define FREEZE_LEASE_NS_MAX 10000000000ull

enum freeze_mode {
    FREEZE_NORMAL,
    FREEZE_DRAINING, /* writers are held, some are still inside */
    FREEZE_FROZEN    /* none is inside, and the leader was told so */
};

struct freeze {
    enum freeze_mode mode;
    uint32_t round;         /* of DRAINING and FROZEN */
    uint32_t max_round;     /* highest that ever froze the node; outlives the process */
    uint32_t cut_round;     /* of the last cut, 0: none; outlives the process */
    bool capture_live;      /* writers preserve pages for cut_round */
    uint64_t held_since_ns; /* DRAINING, FROZEN: when the gate was closed */
    uint64_t lease_end_ns;  /* DRAINING, FROZEN */
    uint64_t gap_end_ns;    /* NORMAL: no freeze before */
    uint64_t progress_ns;   /* when the capture began, or was last read from */
    uint64_t pause_ns;      /* of the last cut: how long writers were held; 0 after a restart */
};

enum freeze_answer {
    FREEZE_ANSWER_NONE, /* nothing is said now (a freeze is answered once the node is drained) */
    FREEZE_ANSWER_FROZEN,
    FREEZE_ANSWER_OLD,
    FREEZE_ANSWER_BUSY,
    FREEZE_ANSWER_CUT,
    FREEZE_ANSWER_REFUSED,
    FREEZE_ANSWER_OK
};

/** To be carried out in the order of the members. */
struct freeze_effects {
    bool store_max_round;  /* freeze->max_round goes to the shared header, before the gate closes */
    bool close_gate;
    bool end_capture;      /* writers stop preserving for cut_round */
    bool cut;              /* the segment is cut to freeze->cut_round; the gate is closed and drained */
    bool open_gate;
    enum freeze_answer answer;
    uint64_t pause_ns;     /* with FREEZE_ANSWER_CUT: how long writers were held */
};

/** A server starts: what the header remembers of the last one. */
void freeze_init(struct freeze *freeze, uint32_t max_round, uint32_t cut_round, bool capture_live, uint64_t now_ns);

/** FREEZE of a round came. lease_ns: after which the node goes on by itself; at most FREEZE_LEASE_NS_MAX counts. */
void freeze_on_freeze(struct freeze *freeze, uint32_t round, uint64_t lease_ns, uint64_t now_ns, struct freeze_effects *effects);
/** No write is under way and no transaction in doubt, at this instant. Only in DRAINING. */
void freeze_on_drained(struct freeze *freeze, uint64_t now_ns, struct freeze_effects *effects);
/** CUT of a round came. */
void freeze_on_cut(struct freeze *freeze, uint32_t round, uint64_t now_ns, struct freeze_effects *effects);
/** UNFREEZE came: the leader gave the round up before the cut. */
void freeze_on_unfreeze(struct freeze *freeze, uint32_t round, uint64_t now_ns, struct freeze_effects *effects);
/** END came, or the process that captured for the round is gone: it is over here, whatever became of it. */
void freeze_on_end(struct freeze *freeze, uint32_t round, uint64_t now_ns, struct freeze_effects *effects);
/** The leader has read on in the capture of the round. No effects. */
void freeze_on_progress(struct freeze *freeze, uint32_t round, uint64_t now_ns);
/** Time has passed: leases run out. */
void freeze_on_time(struct freeze *freeze, uint64_t now_ns, struct freeze_effects *effects);
/** When freeze_on_time has something to do; UINT64_MAX: never. */
uint64_t freeze_next_ns(const struct freeze *freeze);

#endif
