/* SPDX-License-Identifier: Apache-2.0 */
/** The atomic operations. docs/segment.md has the whole argument; in short:
 *
 *  Writers hold the write permits of all stripes they touch, taken in ascending order, for as long as they store. Large reads hold read
 *  permits of all theirs. Small reads take none: they copy, and use the copy if no writer was in the stripes meanwhile, which the stripes'
 *  sequence numbers tell. What a crash leaves undone is in the writer's redo record (redo.h).
 *
 *  Order inside a write:
 *      fill the record | gate | permits | sequences odd | record valid | preserve pages | store | record invalid | sequences even | permits back | leave
 *  Lock order: the gate (nobody waits there), the stripes, ascending. Nothing else is taken in here. */
#include <string.h>

#include "segment/copy.h"
#include "segment/internal.h"
#include "segment/redo.h"
#include "segment/semaphore.h"

#define OPTIMISTIC_BYTES_MAX 8192u /* longer copies would too often be in vain beside writers, and taking permits is lost in their cost */
#define OPTIMISTIC_TRIES 3
_Static_assert(OPTIMISTIC_BYTES_MAX <= STRIPE_BYTES, "an optimistic read touches at most two stripes");

#define ALWAYS_INLINE inline __attribute__((always_inline))

/* The stripes of one range. */
struct span {
    struct stripe *first, *last;
};

static ALWAYS_INLINE void check_range(const struct segment *segment, uint64_t offset, uint64_t length)
{
    MC_ASSERT(offset <= segment->size && length <= segment->size - offset);
}

/* length > 0 */
static ALWAYS_INLINE struct span span_of(const struct segment *segment, uint64_t offset, uint64_t length)
{
    return (struct span){&segment->stripes[offset >> STRIPE_SHIFT], &segment->stripes[(offset + length - 1) >> STRIPE_SHIFT]};
}

static ALWAYS_INLINE struct redo_record *record_of(const struct segment *segment, uint32_t writer)
{
    MC_ASSERT(writer < segment->writers);
    return (struct redo_record *)(void *)(segment->redo + writer * segment->redo_stride);
}

void segment_prefetch(const struct segment *segment, uint64_t offset)
{
    __builtin_prefetch(segment->bytes + offset);
    __builtin_prefetch(&segment->stripes[offset >> STRIPE_SHIFT]);
}

/* ---- permits and sequences of a span ---- */

static ALWAYS_INLINE bool take_read(struct span span, bool wait)
{
    for (struct stripe *stripe = span.first; stripe <= span.last; stripe++) {
        if (wait) {
            semaphore_read(stripe);
        } else if (!semaphore_read_try(stripe)) {
            while (stripe-- > span.first)
                semaphore_read_release(stripe);
            return false;
        }
    }
    return true;
}

static ALWAYS_INLINE void give_read(struct span span)
{
    for (struct stripe *stripe = span.first; stripe <= span.last; stripe++)
        semaphore_read_release(stripe);
}

static ALWAYS_INLINE bool take_write(struct span span, bool wait)
{
    for (struct stripe *stripe = span.first; stripe <= span.last; stripe++) {
        if (wait) {
            semaphore_write(stripe);
        } else if (!semaphore_write_try(stripe)) {
            while (stripe-- > span.first)
                semaphore_write_release(stripe);
            return false;
        }
    }
    return true;
}

static ALWAYS_INLINE void give_write(struct span span)
{
    for (struct stripe *stripe = span.first; stripe <= span.last; stripe++)
        semaphore_write_release(stripe);
}

/* Odd. What follows must begin with copy_fence_before_stores(). Only the holder of the write permits changes a sequence. */
static ALWAYS_INLINE void sequence_begin(struct stripe *stripe)
{
    uint64_t sequence = atomic_load_explicit(&stripe->sequence, memory_order_relaxed);
    atomic_store_explicit(&stripe->sequence, sequence + 1, memory_order_relaxed);
}

/* Even again, after all stores. */
static ALWAYS_INLINE void sequence_end(struct stripe *stripe)
{
    uint64_t sequence = atomic_load_explicit(&stripe->sequence, memory_order_relaxed);
    atomic_store_explicit(&stripe->sequence, sequence + 1, memory_order_release);
}

static ALWAYS_INLINE void begin_stores(struct span span)
{
    for (struct stripe *stripe = span.first; stripe <= span.last; stripe++)
        sequence_begin(stripe);
}

static ALWAYS_INLINE void end_stores(struct span span)
{
    for (struct stripe *stripe = span.first; stripe <= span.last; stripe++)
        sequence_end(stripe);
}

/* ---- reads ---- */

/* Copy without permits; false when a writer was there. Nothing in shared memory is changed. Two stripes: both sequences are even before
 * the copy and the same after it, so between the last of the first looks and the first of the second looks no writer was in either. */
static ALWAYS_INLINE bool read_optimistic(const struct segment *segment, struct span span, uint64_t offset, uint64_t length, void *buf)
{
    uint64_t first = atomic_load_explicit(&span.first->sequence, memory_order_acquire);
    uint64_t last = atomic_load_explicit(&span.last->sequence, memory_order_acquire);
    if ((first | last) & 1u)
        return false;
    copy_out(buf, segment->bytes + offset, length);
    copy_fence_after_loads();
    return atomic_load_explicit(&span.first->sequence, memory_order_relaxed) == first &&
           atomic_load_explicit(&span.last->sequence, memory_order_relaxed) == last;
}

/* Out of line, so that small reads do not pay for its registers. */
static __attribute__((noinline)) bool read_with_permits(struct segment *segment, struct span span, uint64_t offset, uint64_t length, void *buf, bool wait)
{
    if (!take_read(span, wait))
        return false;
    memcpy(buf, segment->bytes + offset, length);
    give_read(span);
    return true;
}

static ALWAYS_INLINE bool read_range(struct segment *segment, uint64_t offset, uint64_t length, void *buf, bool wait)
{
    check_range(segment, offset, length);
    if (length == 0)
        return true;
    struct span span = span_of(segment, offset, length);
    if (length <= OPTIMISTIC_BYTES_MAX) {
        for (int i = 0; i < OPTIMISTIC_TRIES; i++)
            if (read_optimistic(segment, span, offset, length, buf))
                return true;
        if (!wait)
            return false;
    }
    return read_with_permits(segment, span, offset, length, buf, wait);
}

void segment_read(struct segment *segment, uint64_t offset, uint64_t length, void *buf)
{
    read_range(segment, offset, length, buf, true);
}

bool segment_read_try(struct segment *segment, uint64_t offset, uint64_t length, void *buf)
{
    return read_range(segment, offset, length, buf, false);
}

const void *segment_hold_try(struct segment *segment, uint64_t offset, uint64_t length)
{
    check_range(segment, offset, length);
    if (length > 0 && !take_read(span_of(segment, offset, length), false))
        return NULL;
    return segment->bytes + offset;
}

void segment_release(struct segment *segment, uint64_t offset, uint64_t length)
{
    check_range(segment, offset, length);
    if (length > 0)
        give_read(span_of(segment, offset, length));
}

/* ---- writes to one range ---- */

static ALWAYS_INLINE enum segment_outcome write_range(struct segment *segment, uint32_t writer, uint64_t offset, uint64_t length, const void *data,
                                                      bool wait)
{
    check_range(segment, offset, length);
    MC_ASSERT(length <= segment->redo_bytes);
    if (length == 0)
        return SEGMENT_DONE;
    struct span span = span_of(segment, offset, length);
    struct redo_record *redo = record_of(segment, writer);
    bool one_store = copy_is_one_store(offset, length);
    if (!one_store)
        redo_fill(redo, offset, length, data);
    uint32_t ticket = gate_enter(&segment->gate, writer);
    if (ticket == 0)
        return SEGMENT_FROZEN;
    if (!take_write(span, wait)) {
        gate_leave(&segment->gate, writer, ticket);
        return SEGMENT_BUSY;
    }
    begin_stores(span);
    if (one_store)
        redo_store_word_locked(&segment->preserve, offset, length, data);
    else
        redo_store_locked(&segment->preserve, redo);
    end_stores(span);
    give_write(span);
    gate_leave(&segment->gate, writer, ticket);
    return SEGMENT_DONE;
}

enum segment_outcome segment_write(struct segment *segment, uint32_t writer, uint64_t offset, uint64_t length, const void *data)
{
    return write_range(segment, writer, offset, length, data, true);
}

enum segment_outcome segment_write_try(struct segment *segment, uint32_t writer, uint64_t offset, uint64_t length, const void *data)
{
    return write_range(segment, writer, offset, length, data, false);
}

bool segment_restore_write(struct segment *segment, uint64_t offset, uint64_t length, const void *data, uint64_t zero_bytes, bool try)
{
    check_range(segment, offset, length);
    check_range(segment, offset + length, zero_bytes);
    if (length + zero_bytes == 0)
        return true;
    struct span span = span_of(segment, offset, length + zero_bytes);
    if (!take_write(span, !try))
        return false;
    redo_restore_locked(segment->bytes, offset, length, data, zero_bytes);
    give_write(span);
    return true;
}

/* Add b to the word, or, if is_cas, replace a by b. */
static ALWAYS_INLINE enum segment_outcome update_word(struct segment *segment, uint32_t writer, uint64_t offset, bool is_cas, uint64_t a,
                                                      uint64_t b, uint64_t *before, bool wait)
{
    check_range(segment, offset, ATOMIC_WORD_BYTES);
    struct span span = span_of(segment, offset, ATOMIC_WORD_BYTES);
    struct redo_record *redo = record_of(segment, writer);
    uint32_t ticket = gate_enter(&segment->gate, writer);
    if (ticket == 0)
        return SEGMENT_FROZEN;
    if (!take_write(span, wait)) {
        gate_leave(&segment->gate, writer, ticket);
        return SEGMENT_BUSY;
    }
    uint64_t word;
    memcpy(&word, segment->bytes + offset, sizeof word);
    *before = word;
    if (!is_cas || word == a) {
        word = is_cas ? b : word + b;
        bool one_store = copy_is_one_store(offset, sizeof word);
        if (!one_store)
            redo_fill(redo, offset, sizeof word, &word);
        begin_stores(span);
        if (one_store)
            redo_store_word_locked(&segment->preserve, offset, sizeof word, &word);
        else
            redo_store_locked(&segment->preserve, redo);
        end_stores(span);
    }
    give_write(span);
    gate_leave(&segment->gate, writer, ticket);
    return SEGMENT_DONE;
}

enum segment_outcome segment_add(struct segment *segment, uint32_t writer, uint64_t offset, uint64_t delta, uint64_t *before)
{
    return update_word(segment, writer, offset, false, 0, delta, before, true);
}

enum segment_outcome segment_add_try(struct segment *segment, uint32_t writer, uint64_t offset, uint64_t delta, uint64_t *before)
{
    return update_word(segment, writer, offset, false, 0, delta, before, false);
}

enum segment_outcome segment_cas(struct segment *segment, uint32_t writer, uint64_t offset, uint64_t expected, uint64_t desired, uint64_t *found)
{
    return update_word(segment, writer, offset, true, expected, desired, found, true);
}

enum segment_outcome segment_cas_try(struct segment *segment, uint32_t writer, uint64_t offset, uint64_t expected, uint64_t desired, uint64_t *found)
{
    return update_word(segment, writer, offset, true, expected, desired, found, false);
}

/* ---- several ranges ---- */

/* Visits the stripes of a sorted list of ranges once each, in ascending order. */
struct walk {
    const struct multi_item *item, *end;
    uint64_t stripe;      /* next to look at */
    uint64_t read_until;  /* stripes below it are covered by a read seen so far */
    uint64_t write_until; /* and by a write */
};

static struct walk walk_begin(const struct multi_item *items, size_t count)
{
    return (struct walk){.item = items, .end = items + count};
}

/* Next stripe and whether a write covers it; false when there is none left. */
static bool walk_next(struct walk *walk, uint64_t *stripe, bool *write)
{
    for (;;) {
        for (; walk->item < walk->end && walk->item->offset >> STRIPE_SHIFT <= walk->stripe; walk->item++) {
            uint64_t until = ((walk->item->end - 1) >> STRIPE_SHIFT) + 1;
            uint64_t *covered = walk->item->write ? &walk->write_until : &walk->read_until;
            if (until > *covered)
                *covered = until;
        }
        *write = walk->stripe < walk->write_until;
        if (*write || walk->stripe < walk->read_until) {
            *stripe = walk->stripe++;
            return true;
        }
        if (walk->item == walk->end)
            return false;
        walk->stripe = walk->item->offset >> STRIPE_SHIFT;
    }
}

static void multi_release(struct segment *segment, const struct multi_item *items, size_t count, uint64_t before_stripe)
{
    struct walk walk = walk_begin(items, count);
    uint64_t stripe;
    bool write;
    while (walk_next(&walk, &stripe, &write) && stripe < before_stripe) {
        if (write)
            semaphore_write_release(&segment->stripes[stripe]);
        else
            semaphore_read_release(&segment->stripes[stripe]);
    }
}

static bool multi_take(struct segment *segment, const struct multi_item *items, size_t count, bool wait)
{
    struct walk walk = walk_begin(items, count);
    uint64_t stripe;
    bool write;
    while (walk_next(&walk, &stripe, &write)) {
        struct stripe *semaphore = &segment->stripes[stripe];
        if (wait) {
            if (write)
                semaphore_write(semaphore);
            else
                semaphore_read(semaphore);
        } else if (!(write ? semaphore_write_try(semaphore) : semaphore_read_try(semaphore))) {
            multi_release(segment, items, count, stripe);
            return false;
        }
    }
    return true;
}

static void multi_sequences(struct segment *segment, const struct multi_item *items, size_t count, void (*change)(struct stripe *))
{
    struct walk walk = walk_begin(items, count);
    uint64_t stripe;
    bool write;
    while (walk_next(&walk, &stripe, &write))
        if (write)
            change(&segment->stripes[stripe]);
}

/* Shell's sort by offset: short lists and sorted ones take one pass, 1024 items in the worst order some 20 microseconds, and no memory. */
static void sort_items(struct multi_item *items, size_t count)
{
    static const size_t gaps[] = {701, 301, 132, 57, 23, 10, 4, 1}; /* M. Ciura, 2001 */
    for (size_t g = 0; g < sizeof gaps / sizeof gaps[0]; g++) {
        for (size_t i = gaps[g]; i < count; i++) {
            struct multi_item item = items[i];
            size_t to = i;
            for (; to >= gaps[g] && items[to - gaps[g]].offset > item.offset; to -= gaps[g])
                items[to] = items[to - gaps[g]];
            items[to] = item;
        }
    }
}

/* The ranges that have bytes, checked, in ascending order. Returns their number. */
static size_t multi_collect(const struct segment *segment, struct multi_item *items, const struct segment_range *reads, size_t read_count,
                            const struct segment_write_range *writes, size_t write_count, uint64_t *write_bytes)
{
    MC_ASSERT(read_count <= MULTI_RANGES_MAX && write_count <= MULTI_RANGES_MAX - read_count);
    size_t count = 0;
    for (size_t i = 0; i < read_count; i++) {
        check_range(segment, reads[i].offset, reads[i].length);
        if (reads[i].length > 0)
            items[count++] = (struct multi_item){reads[i].offset, reads[i].offset + reads[i].length, false};
    }
    *write_bytes = 0;
    for (size_t i = 0; i < write_count; i++) {
        check_range(segment, writes[i].offset, writes[i].length);
        MC_ASSERT(writes[i].length <= segment->redo_bytes - *write_bytes);
        *write_bytes += writes[i].length;
        if (writes[i].length > 0)
            items[count++] = (struct multi_item){writes[i].offset, writes[i].offset + writes[i].length, true};
    }
    sort_items(items, count);
    uint64_t written_until = 0;
    for (size_t i = 0; i < count; i++) {
        if (!items[i].write)
            continue;
        MC_ASSERT(items[i].offset >= written_until); /* writes do not overlap */
        written_until = items[i].end;
    }
    return count;
}

/* Reads and writes of a multi whose stripes are taken. */
static void multi_locked(struct segment *segment, struct redo_record *redo, const struct segment_range *reads, size_t read_count, void *buf,
                         const struct multi_item *items, size_t count, bool writes)
{
    uint8_t *to = buf;
    for (size_t i = 0; i < read_count; i++) {
        if (reads[i].length == 0)
            continue; /* buf may be NULL when nothing is read */
        memcpy(to, segment->bytes + reads[i].offset, reads[i].length);
        to += reads[i].length;
    }
    if (writes) {
        multi_sequences(segment, items, count, sequence_begin);
        redo_store_locked(&segment->preserve, redo);
        multi_sequences(segment, items, count, sequence_end);
    }
}

static enum segment_outcome multi(struct segment *segment, uint32_t writer, const struct segment_range *reads, size_t read_count, void *buf,
                                  const struct segment_write_range *writes, size_t write_count, bool wait)
{
    struct redo_record *redo = record_of(segment, writer);
    struct multi_item *items = segment->items + (size_t)writer * MULTI_RANGES_MAX;
    uint64_t write_bytes;
    size_t count = multi_collect(segment, items, reads, read_count, writes, write_count, &write_bytes);
    uint32_t ticket = 0;
    if (write_bytes > 0) {
        redo_fill_ranges(redo, writes, write_count);
        ticket = gate_enter(&segment->gate, writer);
        if (ticket == 0)
            return SEGMENT_FROZEN;
    }
    bool taken = multi_take(segment, items, count, wait);
    if (taken) {
        multi_locked(segment, redo, reads, read_count, buf, items, count, write_bytes > 0);
        multi_release(segment, items, count, UINT64_MAX);
    }
    if (ticket != 0)
        gate_leave(&segment->gate, writer, ticket);
    return taken ? SEGMENT_DONE : SEGMENT_BUSY;
}

enum segment_outcome segment_multi(struct segment *segment, uint32_t writer, const struct segment_range *reads, size_t read_count, void *buf,
                                   const struct segment_write_range *writes, size_t write_count)
{
    return multi(segment, writer, reads, read_count, buf, writes, write_count, true);
}

enum segment_outcome segment_multi_try(struct segment *segment, uint32_t writer, const struct segment_range *reads, size_t read_count, void *buf,
                                       const struct segment_write_range *writes, size_t write_count)
{
    return multi(segment, writer, reads, read_count, buf, writes, write_count, false);
}
