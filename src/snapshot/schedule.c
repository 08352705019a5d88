/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/schedule.h"

#include "base/err.h"
#include "snapshot/round.h"

#define DOUBLINGS_MAX 24u /* 1.5 s times 2^24 is a year: beyond any interval that is used, and far from an overflow */

void schedule_init(struct schedule *schedule, uint64_t interval_ns, uint64_t now_ns)
{
    *schedule = (struct schedule){.interval_ns = interval_ns, .tick_ns = now_ns + interval_ns};
}

/** Ticks up to now are over. Returns whether there was one. */
static bool pass_ticks(struct schedule *schedule, uint64_t now_ns)
{
    if (schedule->interval_ns == 0 || now_ns < schedule->tick_ns)
        return false;
    schedule->tick_ns += ((now_ns - schedule->tick_ns) / schedule->interval_ns + 1) * schedule->interval_ns;
    return true;
}

void schedule_on_request(struct schedule *schedule, bool before_cut)
{
    if (schedule->runs && before_cut) {
        schedule->served |= SCHEDULE_REQUEST;
        return;
    }
    schedule->wanted |= SCHEDULE_REQUEST;
}

void schedule_on_cancel(struct schedule *schedule)
{
    schedule->wanted &= ~(unsigned)SCHEDULE_REQUEST;
    schedule->served &= ~(unsigned)SCHEDULE_REQUEST;
}

/** Before when no round may start that is wanted. Who asks may have mended what was wrong, and waits for an answer: back-off is for the clock. */
static uint64_t not_before_ns(const struct schedule *schedule)
{
    return schedule->wanted & SCHEDULE_REQUEST ? schedule->request_ns : schedule->retry_ns;
}

bool schedule_due(struct schedule *schedule, bool leads, uint64_t now_ns)
{
    if (schedule->runs)
        return false;
    bool tick = pass_ticks(schedule, now_ns);
    if (!leads) {
        schedule->wanted = 0;
        schedule->failures = 0;
        schedule->retry_ns = schedule->request_ns = 0;
        return false;
    }
    if (tick)
        schedule->wanted |= SCHEDULE_TICK;
    return schedule->wanted != 0 && now_ns >= not_before_ns(schedule);
}

void schedule_on_started(struct schedule *schedule)
{
    MC_ASSERT(!schedule->runs);
    schedule->runs = true;
    schedule->served = schedule->wanted;
    schedule->wanted = 0;
}

enum schedule_log schedule_on_done(struct schedule *schedule, uint64_t now_ns)
{
    MC_ASSERT(schedule->runs);
    bool failed_before = schedule->failures > 0;
    pass_ticks(schedule, now_ns);
    schedule->runs = false;
    schedule->served = 0;
    schedule->failures = 0;
    schedule->retry_ns = schedule->request_ns = 0;
    return failed_before ? SCHEDULE_LOG_RECOVERY : SCHEDULE_LOG_NOTHING;
}

/** Doubles with each failure up to the longest; random in any case, for two leaders that hinder each other must not go on to do so. */
static uint64_t backoff_ns(const struct schedule *schedule, uint64_t pause_ns)
{
    uint32_t doublings = schedule->failures < DOUBLINGS_MAX ? schedule->failures : DOUBLINGS_MAX;
    uint64_t longest_ns = schedule->interval_ns > 0 ? schedule->interval_ns : SCHEDULE_BACKOFF_NS;
    if (pause_ns << doublings <= longest_ns)
        return pause_ns << doublings;
    return longest_ns > 2 * pause_ns ? longest_ns - pause_ns : pause_ns;
}

enum schedule_log schedule_on_failed(struct schedule *schedule, uint64_t random, uint64_t now_ns)
{
    MC_ASSERT(schedule->runs);
    pass_ticks(schedule, now_ns);
    uint64_t pause_ns = ROUND_LEASE_NS + random % (2 * ROUND_LEASE_NS + 1);
    schedule->request_ns = now_ns + pause_ns;
    schedule->retry_ns = now_ns + backoff_ns(schedule, pause_ns);
    schedule->runs = false;
    schedule->wanted |= schedule->served;
    schedule->served = 0;
    if (schedule->failures < UINT32_MAX)
        schedule->failures++;
    if (schedule->failures > 1 && now_ns < schedule->logged_ns + SCHEDULE_LOG_NS)
        return SCHEDULE_LOG_NOTHING;
    schedule->logged_ns = now_ns;
    return SCHEDULE_LOG_FAILURE;
}

uint64_t schedule_next_ns(const struct schedule *schedule)
{
    if (schedule->runs)
        return UINT64_MAX;
    if (schedule->wanted != 0)
        return not_before_ns(schedule);
    return schedule->interval_ns > 0 ? schedule->tick_ns : UINT64_MAX;
}
