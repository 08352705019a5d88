/* SPDX-License-Identifier: Apache-2.0 */
/** What a memory server counts. */
#ifndef SERVER_STATS_H
#define SERVER_STATS_H

#include <stdatomic.h>
#include <stdint.h>

#include "wire/wire.h"

/** Written by one thread, read by any: no read-modify-write on the hot path, no torn values. */
typedef _Atomic uint64_t stat_counter;

static inline void stat_add(stat_counter *counter, uint64_t amount)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + amount, memory_order_relaxed);
}

static inline uint64_t stat_get(const stat_counter *counter)
{
    return atomic_load_explicit((stat_counter *)counter, memory_order_relaxed);
}

struct stat_operation {
    stat_counter count, errors, bytes;
};

/** Counters of one thread, on cache lines of their own. */
struct stats {
    _Alignas(64) struct stat_operation operation[WIRE_OP_COUNT]; /* by enum wire_op; NONE: requests not understood */
    stat_counter bytes_in, bytes_out;
    stat_counter connections_broken;
    stat_counter jobs;
};

/** Count one answered request. Owner of stats only. */
static inline void stats_count(struct stats *stats, enum wire_op op, enum mcomp_status status, uint64_t payload_bytes)
{
    struct stat_operation *operation = &stats->operation[op];
    stat_add(&operation->count, 1);
    if (status == MCOMP_OK)
        stat_add(&operation->bytes, payload_bytes);
    else
        stat_add(&operation->errors, 1);
}

#endif
