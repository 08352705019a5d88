/* SPDX-License-Identifier: Apache-2.0 */
/** Numbers of rounds: counter << 8 | node of the leader. They grow on every node, are unique to leader and attempt, and never used again. */
#ifndef SNAPSHOT_NUMBER_H
#define SNAPSHOT_NUMBER_H

#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"

/** The highest counter of a round. Leaders take no number above it and nodes freeze for none, so that numbers never wrap. */
#define ROUND_COUNTER_MAX ((1u << 24) - 2)

static inline uint32_t round_counter(uint32_t number)
{
    return number >> 8;
}

static inline uint32_t round_leader(uint32_t number)
{
    return number & 0xff;
}

/** The leader's next number: above every one that it has seen; 0 when there is none left. */
static inline uint32_t round_number_after(uint32_t seen, uint32_t leader)
{
    MC_ASSERT(leader < GRID_NODES_MAX);
    return round_counter(seen) >= ROUND_COUNTER_MAX ? 0 : (round_counter(seen) + 1) << 8 | leader;
}

#endif
