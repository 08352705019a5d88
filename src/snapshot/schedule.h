/* SPDX-License-Identifier: Apache-2.0 */
/** When a leader starts its rounds: by the clock, on request, and again after one that was discarded.
 *
 *  Pure, as freeze.h; times are monotonic. One round at a time. Ticks have no jitter, and those that pass while a round runs, or while the process
 *  was stopped, are skipped. */
#ifndef SNAPSHOT_SCHEDULE_H
#define SNAPSHOT_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#define SCHEDULE_BACKOFF_NS 60000000000ull /* longest pause after failures where no interval is set */
#define SCHEDULE_LOG_NS 60000000000ull     /* repeated failures are told of at most this often */

/** Why a round is wanted; bits. */
enum schedule_reason { SCHEDULE_TICK = 1, SCHEDULE_REQUEST = 2 };

struct schedule {
    uint64_t interval_ns; /* 0: only on request */
    uint64_t tick_ns;     /* the next tick; meaningless without interval */
    unsigned wanted;      /* reasons for a round that has not begun */
    unsigned served;      /* reasons of the one that runs */
    bool runs;
    uint32_t failures;    /* since the last success */
    uint64_t retry_ns;    /* no round before, unless one is asked for */
    uint64_t request_ns;  /* nor one that is */
    uint64_t logged_ns;   /* when a failure was last told of */
};

/** What is due for the log. */
enum schedule_log { SCHEDULE_LOG_NOTHING, SCHEDULE_LOG_FAILURE, SCHEDULE_LOG_RECOVERY };

/** The first tick comes one interval from now. */
void schedule_init(struct schedule *schedule, uint64_t interval_ns, uint64_t now_ns);

/** Somebody wants a round whose cut comes after now. before_cut: one runs, and not all of its nodes are frozen yet, so that it will do. */
void schedule_on_request(struct schedule *schedule, bool before_cut);
/** Nobody who asked for a round waits any more. */
void schedule_on_cancel(struct schedule *schedule);

/** True: start a round now, and tell by schedule_on_started. leads: false when another node does, which makes this one forget what was wanted. */
bool schedule_due(struct schedule *schedule, bool leads, uint64_t now_ns);
void schedule_on_started(struct schedule *schedule);
/** The round is done. */
enum schedule_log schedule_on_done(struct schedule *schedule, uint64_t now_ns);
/** The round was discarded, or could not even start. It is tried again after 1 to 3 leases, a time that doubles up to the interval while it goes on
 *  failing; it does not double for those who asked, as long as they wait. random: any number, evenly distributed; two leaders must not have the same. */
enum schedule_log schedule_on_failed(struct schedule *schedule, uint64_t random, uint64_t now_ns);
/** When schedule_due may become true by time alone; UINT64_MAX: never. */
uint64_t schedule_next_ns(const struct schedule *schedule);

#endif
