/* SPDX-License-Identifier: Apache-2.0 */
#include "client/deadline.h"

#include <stdlib.h>

#include "base/err.h"

#define CHILDREN 4u
#define ENTRIES_FIRST 64u

bool deadlines_reserve(struct deadlines *heap, uint32_t count)
{
    if (count <= heap->capacity)
        return true;
    uint64_t capacity = heap->capacity ? heap->capacity : ENTRIES_FIRST;
    while (capacity < count)
        capacity *= 2;
    if (capacity > UINT32_MAX / 2)
        return false;
    struct deadline_entry *grown = reallocarray(heap->entries, capacity, sizeof *grown);
    if (!grown)
        return false;
    heap->entries = grown;
    heap->capacity = (uint32_t)capacity;
    return true;
}

static void put(struct deadlines *heap, uint32_t index, struct deadline_entry entry)
{
    heap->entries[index] = entry;
    entry.deadline->index = index;
}

static void sift_up(struct deadlines *heap, uint32_t index, struct deadline_entry entry)
{
    while (index > 0) {
        uint32_t parent = (index - 1) / CHILDREN;
        if (heap->entries[parent].at_ns <= entry.at_ns)
            break;
        put(heap, index, heap->entries[parent]);
        index = parent;
    }
    put(heap, index, entry);
}

static void sift_down(struct deadlines *heap, uint32_t index, struct deadline_entry entry)
{
    for (;;) {
        uint32_t first = index * CHILDREN + 1;
        if (first >= heap->count)
            break;
        uint32_t end = heap->count - first < CHILDREN ? heap->count : first + CHILDREN;
        uint32_t least = first;
        for (uint32_t child = first + 1; child < end; child++) {
            if (heap->entries[child].at_ns < heap->entries[least].at_ns)
                least = child;
        }
        if (heap->entries[least].at_ns >= entry.at_ns)
            break;
        put(heap, index, heap->entries[least]);
        index = least;
    }
    put(heap, index, entry);
}

static void place(struct deadlines *heap, uint32_t index, struct deadline_entry entry)
{
    if (index > 0 && heap->entries[(index - 1) / CHILDREN].at_ns > entry.at_ns)
        sift_up(heap, index, entry);
    else
        sift_down(heap, index, entry);
}

void deadlines_set(struct deadlines *heap, struct deadline *deadline, uint64_t at_ns)
{
    if (deadline->index != DEADLINE_UNSET) {
        place(heap, deadline->index, (struct deadline_entry){at_ns, deadline});
        return;
    }
    MC_ASSERT(heap->count < heap->capacity);
    sift_up(heap, heap->count++, (struct deadline_entry){at_ns, deadline});
}

void deadlines_remove(struct deadlines *heap, struct deadline *deadline)
{
    uint32_t index = deadline->index;
    if (index == DEADLINE_UNSET)
        return;
    MC_ASSERT(index < heap->count && heap->entries[index].deadline == deadline);
    deadline->index = DEADLINE_UNSET;
    struct deadline_entry last = heap->entries[--heap->count];
    if (last.deadline != deadline)
        place(heap, index, last);
}

void deadlines_free(struct deadlines *heap)
{
    free(heap->entries);
    *heap = (struct deadlines){0};
}
