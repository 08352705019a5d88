/* SPDX-License-Identifier: Apache-2.0 */
/** Deadlines of operations under way: a heap of four children a node, so that sixty-four entries lie three steps deep, and
 *  a deadline later than all others, the usual case, is inserted without moving one. */
#ifndef CLIENT_DEADLINE_H
#define CLIENT_DEADLINE_H

#include <stdbool.h>
#include <stdint.h>

#define DEADLINE_NEVER UINT64_MAX

/** Part of the thing that has the deadline. */
struct deadline {
    uint32_t index; /* in the heap; DEADLINE_UNSET: not in it */
};

#define DEADLINE_UNSET UINT32_MAX

struct deadline_entry {
    uint64_t at_ns; /* monotonic */
    struct deadline *deadline;
};

/** One thread. Zero-initialised is empty. */
struct deadlines {
    struct deadline_entry *entries; /* owned */
    uint32_t count, capacity;
};

/** Make room for count entries altogether. false: no memory. */
bool deadlines_reserve(struct deadlines *heap, uint32_t count);

/** Insert, or move when it is in the heap already. Room was reserved. */
void deadlines_set(struct deadlines *heap, struct deadline *deadline, uint64_t at_ns);

/** Take out; allowed when it is not in the heap. */
void deadlines_remove(struct deadlines *heap, struct deadline *deadline);

void deadlines_free(struct deadlines *heap);

/** Time of the earliest; DEADLINE_NEVER when there is none. */
static inline uint64_t deadlines_first_ns(const struct deadlines *heap)
{
    return heap->count ? heap->entries[0].at_ns : DEADLINE_NEVER;
}

#endif
