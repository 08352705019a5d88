/* SPDX-License-Identifier: Apache-2.0 */
/** The atomic operations. docs/segment.md has the whole argument; in short:
 *
 *  Writers hold the write permits of all stripes they touch, taken in ascending order, for as long as they store. Large reads hold read
 *  permits of all theirs. Small reads take none: they copy, and use the copy if no writer was in the stripes meanwhile, which the stripes'
 *  sequence numbers tell. What a crash leaves undone is in the writer's redo record (redo.h).
 *
 *  Order inside a write:
 *      fill the record | gate | permits | sequences odd | record valid | preserve pages | store | record invalid | sequences even | permits back | leave
 *  Lock order: the gate (nobody waits there), the stripes, ascending. Nothing else is taken in here. Lines that a prepared transaction has locked
 *  (lines.h) are looked at with the permits held, or between the two looks at the sequence numbers; nobody waits for one in here. */
#include <string.h>

#include "segment/copy.h"
#include "segment/internal.h"
#include "segment/redo.h"
#include "segment/semaphore.h"
#include "segment/transaction.h"

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

/* Make the sequences odd; are there locks of transactions in any of the stripes? */
static ALWAYS_INLINE bool begin_stores(struct span span)
{
    uint64_t before = sequence_begin(span.first);
    for (struct stripe *stripe = span.first + 1; __builtin_expect(stripe <= span.last, 0); stripe++)
        before |= sequence_begin(stripe);
    return before & LAYOUT_SEQUENCE_LOCKED;
}

static ALWAYS_INLINE void end_stores(struct span span)
{
    for (struct stripe *stripe = span.first; stripe <= span.last; stripe++)
        sequence_end(stripe);
}

/* Is a line of the range locked by a transaction? A read or write permit of each stripe is held. */
static ALWAYS_INLINE bool meets_lock(const struct segment *segment, struct span span, uint64_t offset, uint64_t length, bool write)
{
    for (struct stripe *stripe = span.first; stripe <= span.last; stripe++)
        if (__builtin_expect(sequence_is_locked(stripe), 0))
            return lines_meet(&segment->lines, segment->stripes, offset, length, write);
    return false;
}

/* ---- reads ---- */

/* Copy without permits; BUSY when a writer was there. Nothing in shared memory is changed. Two stripes: both sequences are even before
 * the copy and the same after it, so between the last of the first looks and the first of the second looks no writer was in either, and no
 * lock came or went. */
static ALWAYS_INLINE enum segment_outcome read_optimistic(const struct segment *segment, struct span span, uint64_t offset, uint64_t length,
                                                          void *buf, bool see_locks)
{
    uint64_t first = atomic_load_explicit(&span.first->sequence, memory_order_acquire);
    uint64_t last = atomic_load_explicit(&span.last->sequence, memory_order_acquire);
    if ((first | last) & (see_locks ? LAYOUT_SEQUENCE_STORING : LAYOUT_SEQUENCE_STORING | LAYOUT_SEQUENCE_LOCKED))
        return SEGMENT_BUSY;
    bool locked = see_locks && lines_meet(&segment->lines, segment->stripes, offset, length, false);
    if (!locked)
        copy_out(buf, segment->bytes + offset, length);
    copy_fence_after_loads();
    if (atomic_load_explicit(&span.first->sequence, memory_order_relaxed) != first ||
        atomic_load_explicit(&span.last->sequence, memory_order_relaxed) != last)
        return SEGMENT_BUSY;
    return locked ? SEGMENT_LOCKED : SEGMENT_DONE;
}

static enum segment_outcome read_with_permits(struct segment *segment, struct span span, uint64_t offset, uint64_t length, void *buf, bool wait)
{
    if (!take_read(span, wait))
        return SEGMENT_BUSY;
    bool locked = meets_lock(segment, span, offset, length, false);
    if (!locked)
        memcpy(buf, segment->bytes + offset, length);
    give_read(span);
    return locked ? SEGMENT_LOCKED : SEGMENT_DONE;
}

/* Large, or in a stripe with locks, or beside a writer. Out of line, so that other reads do not pay for its registers. */
static __attribute__((noinline)) enum segment_outcome read_slowly(struct segment *segment, struct span span, uint64_t offset, uint64_t length,
                                                                  void *buf, bool wait)
{
    if (length <= OPTIMISTIC_BYTES_MAX) {
        for (int i = 1; i < OPTIMISTIC_TRIES; i++) { /* one was in vain already */
            enum segment_outcome outcome = read_optimistic(segment, span, offset, length, buf, true);
            if (outcome != SEGMENT_BUSY)
                return outcome;
        }
        if (!wait)
            return SEGMENT_BUSY;
    }
    return read_with_permits(segment, span, offset, length, buf, wait);
}

static ALWAYS_INLINE enum segment_outcome read_range(struct segment *segment, uint64_t offset, uint64_t length, void *buf, bool wait)
{
    check_range(segment, offset, length);
    if (length == 0)
        return SEGMENT_DONE;
    struct span span = span_of(segment, offset, length);
    if (length <= OPTIMISTIC_BYTES_MAX && read_optimistic(segment, span, offset, length, buf, false) == SEGMENT_DONE)
        return SEGMENT_DONE;
    return read_slowly(segment, span, offset, length, buf, wait);
}

enum segment_outcome segment_read(struct segment *segment, uint64_t offset, uint64_t length, void *buf)
{
    return read_range(segment, offset, length, buf, true);
}

enum segment_outcome segment_read_try(struct segment *segment, uint64_t offset, uint64_t length, void *buf)
{
    return read_range(segment, offset, length, buf, false);
}

const void *segment_hold_try(struct segment *segment, uint64_t offset, uint64_t length)
{
    check_range(segment, offset, length);
    if (length == 0)
        return segment->bytes + offset;
    struct span span = span_of(segment, offset, length);
    if (!take_read(span, false))
        return NULL;
    if (meets_lock(segment, span, offset, length, false)) {
        give_read(span);
        return NULL;
    }
    return segment->bytes + offset;
}

void segment_release(struct segment *segment, uint64_t offset, uint64_t length)
{
    check_range(segment, offset, length);
    if (length > 0)
        give_read(span_of(segment, offset, length));
}

/* ---- writes to one range ---- */

/* From the locks of a transaction, with nothing stored. */
static __attribute__((noinline, cold)) enum segment_outcome turn_back(struct segment *segment, uint32_t writer, uint32_t ticket, struct span span)
{
    end_stores(span);
    give_write(span);
    gate_leave(&segment->gate, writer, ticket);
    return SEGMENT_LOCKED;
}

static ALWAYS_INLINE enum segment_outcome write_range(struct segment *segment, uint32_t writer, uint64_t offset, uint64_t length, const void *data,
                                                      bool wait)
{
    check_range(segment, offset, length);
    MC_ASSERT(length <= segment->redo_bytes);
    if (length == 0)
        return SEGMENT_DONE;
    struct span span = span_of(segment, offset, length);
    struct redo_record *redo = redo_of(segment, writer);
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
    if (__builtin_expect(begin_stores(span), 0) && lines_meet(&segment->lines, segment->stripes, offset, length, true))
        return turn_back(segment, writer, ticket, span);
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
    struct redo_record *redo = redo_of(segment, writer);
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
    if (is_cas && word != a) { /* which is a read */
        bool locked = meets_lock(segment, span, offset, ATOMIC_WORD_BYTES, true);
        give_write(span);
        gate_leave(&segment->gate, writer, ticket);
        return locked ? SEGMENT_LOCKED : SEGMENT_DONE;
    }
    if (__builtin_expect(begin_stores(span), 0) && lines_meet(&segment->lines, segment->stripes, offset, ATOMIC_WORD_BYTES, true))
        return turn_back(segment, writer, ticket, span);
    word = is_cas ? b : word + b;
    if (copy_is_one_store(offset, sizeof word)) {
        redo_store_word_locked(&segment->preserve, offset, sizeof word, &word);
    } else {
        redo_fill(redo, offset, sizeof word, &word);
        redo_store_locked(&segment->preserve, redo);
    }
    end_stores(span);
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

enum segment_outcome segment_multi(struct segment *segment, uint32_t writer, const struct segment_range *reads, size_t read_count, void *buf,
                                   const struct segment_write_range *writes, size_t write_count)
{
    struct segment_items items = {.reads = reads, .read_count = read_count, .writes = writes, .write_count = write_count, .answer = buf};
    struct lane_view view;
    return segment_execute(segment, writer, NULL, &items, &view);
}

enum segment_outcome segment_multi_try(struct segment *segment, uint32_t writer, const struct segment_range *reads, size_t read_count, void *buf,
                                       const struct segment_write_range *writes, size_t write_count)
{
    struct segment_items items = {.reads = reads, .read_count = read_count, .writes = writes, .write_count = write_count, .answer = buf};
    struct lane_view view;
    return segment_execute_try(segment, writer, NULL, &items, &view);
}
