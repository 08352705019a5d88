/* SPDX-License-Identifier: Apache-2.0 */
/** Operations on several ranges: which stripes and lines they touch, in ascending order, and the stripes' semaphores and sequences. */
#ifndef SEGMENT_RANGES_H
#define SEGMENT_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "segment/layout.h"
#include "segment/semaphore.h"

/** One range with bytes. */
struct range_item {
    uint64_t offset;
    uint64_t end;
    bool write;
};

/** Sort by offset, without memory. */
void range_sort(struct range_item *items, size_t count);

/** Visits the units (stripes, lines) of a sorted list of ranges once each, in ascending order. */
struct range_walk {
    const struct range_item *item, *end;
    uint64_t unit;        /* next to look at */
    uint64_t read_until;  /* units below it are covered by a read seen so far */
    uint64_t write_until; /* and by a write */
    uint32_t shift;       /* of a unit's size */
};

static inline struct range_walk range_walk_begin(const struct range_item *items, size_t count, uint32_t shift)
{
    return (struct range_walk){.item = items, .end = items + count, .shift = shift};
}

/** Next units [*first, *until), all of them covered by a write or none; false when there is none left. At most two runs for each range. */
bool range_walk_next(struct range_walk *walk, uint64_t *first, uint64_t *until, bool *write);

/** Take all permits of a stripe, or one. False (try only): it is taken. */
static inline bool range_take_one(struct stripe *stripe, bool write, bool try)
{
    if (try)
        return write ? semaphore_write_try(stripe) : semaphore_read_try(stripe);
    if (write)
        semaphore_write(stripe);
    else
        semaphore_read(stripe);
    return true;
}

/** Take the permits of all stripes: all of those that a write covers, one of the others. False (try only): one is taken, and nothing was. */
bool range_take(struct stripe *stripes, const struct range_item *items, size_t count, bool try);
/** Give back those of the stripes below `before`. */
void range_give(struct stripe *stripes, const struct range_item *items, size_t count, uint64_t before);

/** Make the sequences of the stripes that writes cover odd, before copy_fence_before_stores(); and even again, after all stores. */
void range_begin_stores(struct stripe *stripes, const struct range_item *items, size_t count);
void range_end_stores(struct stripe *stripes, const struct range_item *items, size_t count);

/* ---- sequences; only the holder of the write permits changes one ---- */

/** Returns what it was. */
static inline uint64_t sequence_begin(struct stripe *stripe)
{
    uint64_t sequence = atomic_load_explicit(&stripe->sequence, memory_order_relaxed);
    atomic_store_explicit(&stripe->sequence, sequence + LAYOUT_SEQUENCE_STORING, memory_order_relaxed);
    return sequence;
}

static inline void sequence_end(struct stripe *stripe)
{
    uint64_t sequence = atomic_load_explicit(&stripe->sequence, memory_order_relaxed);
    atomic_store_explicit(&stripe->sequence, sequence + 4 - LAYOUT_SEQUENCE_STORING, memory_order_release);
}

/** The same, and say whether there are locks in the stripe. */
static inline void sequence_end_locks(struct stripe *stripe)
{
    uint64_t sequence = atomic_load_explicit(&stripe->sequence, memory_order_relaxed);
    sequence = (sequence | LAYOUT_SEQUENCE_STORING | LAYOUT_SEQUENCE_LOCKED) + 1 + (stripe->locks ? LAYOUT_SEQUENCE_LOCKED : 0);
    atomic_store_explicit(&stripe->sequence, sequence, memory_order_release);
}

/** Are there locks in the stripe? Permits of it are held. */
static inline bool sequence_is_locked(const struct stripe *stripe)
{
    return atomic_load_explicit(&stripe->sequence, memory_order_relaxed) & LAYOUT_SEQUENCE_LOCKED;
}

#endif
