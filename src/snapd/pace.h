/* SPDX-License-Identifier: Apache-2.0 */
/** How fast a node captures: so many bytes a second, and no faster for having been slow before. Pure; times are monotonic. */
#ifndef SNAPD_PACE_H
#define SNAPD_PACE_H

#include <stdint.h>

#define PACE_CREDIT_NS 50000000ull /* time without work that may be caught up with: what a busy machine takes away for a moment is not lost */

struct pace {
    uint64_t rate;    /* bytes per second; 0: as fast as it can */
    uint64_t free_ns; /* when all that was taken is paid for */
};

static inline void pace_init(struct pace *pace, uint64_t rate)
{
    *pace = (struct pace){.rate = rate};
}

/** Nanoseconds to wait before the next bytes may be taken; 0: none. */
static inline uint64_t pace_wait_ns(const struct pace *pace, uint64_t now_ns)
{
    return pace->rate && pace->free_ns > now_ns ? pace->free_ns - now_ns : 0;
}

/** Take bytes (at most 1 GiB); call when there is nothing to wait for. */
static inline void pace_take(struct pace *pace, uint64_t bytes, uint64_t now_ns)
{
    if (!pace->rate)
        return;
    uint64_t earliest_ns = now_ns > PACE_CREDIT_NS ? now_ns - PACE_CREDIT_NS : 0;
    if (pace->free_ns < earliest_ns)
        pace->free_ns = earliest_ns;
    pace->free_ns += bytes * 1000000000u / pace->rate;
}

#endif
