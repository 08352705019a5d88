/* SPDX-License-Identifier: Apache-2.0 */
/* Why an image is right, in short (model-checked; docs/segment.md has more).
 *
 * From the cut on no byte of a page changes until its page_epoch is the cut's round, or the capture is not live. A writer stores it after it has
 * published a copy, the snapshot process after it has made one; so if the latter's compare-and-swap succeeds, no writer was there while it
 * copied, and if it fails because a writer was first, the writer's slot holds the page. The word of an older round that a slow snapshot process
 * stores late makes a writer's compare-and-swap fail as well: it tries again. A writer that gets no slot ends the capture before it stores into
 * the page; the snapshot process looks at cap_word after all reading, and by the fences sees that if it saw one byte too new. */
#include "segment/preserve.h"

#include <string.h>

#include "segment/broken.h"
#include "segment/copy.h"
#include "segment/futex.h"

void preserve_end(struct layout_header *header, uint32_t round, enum layout_end why)
{
    uint64_t live = (uint64_t)round << 1 | 1;
    if (atomic_load_explicit(&header->cap_word, memory_order_relaxed) != live)
        return;
    atomic_store_explicit(&header->capture_end, (uint64_t)round << 8 | why, memory_order_release);
    atomic_compare_exchange_strong_explicit(&header->cap_word, &live, live & ~UINT64_C(1), memory_order_seq_cst, memory_order_relaxed);
}

static void end_for_want_of_a_slot(struct preserve *preserve, uint32_t round, uint32_t slot)
{
    preserve_end(preserve->header, round, slot >= preserve->count ? LAYOUT_END_LIMIT : LAYOUT_END_MEMORY);
    futex_call(&preserve->header->mailbox.calls);
}

/* Ask the agent for more memory, once. */
static void call_agent(struct preserve *preserve, uint32_t slot)
{
    uint32_t mark = atomic_load_explicit(&preserve->low_water, memory_order_seq_cst);
    while (slot >= mark) {
        if (!atomic_compare_exchange_weak_explicit(&preserve->low_water, &mark, PRESERVE_NO_CALL, memory_order_seq_cst, memory_order_seq_cst))
            continue;
        futex_call(&preserve->header->mailbox.calls);
        return;
    }
}

/* False when the capture has ended. */
static bool preserve_page(struct preserve *preserve, uint32_t round, uint64_t page)
{
    _Atomic uint32_t *epoch = &preserve->page_epoch[page];
    uint32_t old = atomic_load_explicit(epoch, memory_order_acquire);
    if (old == round)
        return true; /* preserved or captured already */
    segment_test_pause();
    uint32_t slot = atomic_fetch_add_explicit(&preserve->header->slot_next, 1, memory_order_seq_cst);
    if (slot >= atomic_load_explicit(&preserve->ready, memory_order_seq_cst) && !pool_get_one(preserve, slot)) {
        end_for_want_of_a_slot(preserve, round, slot);
        return false;
    }
    memcpy(preserve->slots + (uint64_t)slot * PAGE_BYTES, preserve->bytes + page * PAGE_BYTES, PAGE_BYTES);
    atomic_store_explicit(&preserve->slot_of[page], (uint64_t)round << 32 | slot, memory_order_release);
    segment_test_pause();
    while (old != round) {
        if (atomic_compare_exchange_strong_explicit(epoch, &old, round, memory_order_acq_rel, memory_order_acquire))
            break;
        if (SEGMENT_BROKEN_CAS_ONCE)
            break;
    }
    call_agent(preserve, slot);
    return true;
}

void preserve_record(struct preserve *preserve, uint64_t cap_word, const struct redo_record *redo)
{
    uint32_t round = (uint32_t)(cap_word >> 1);
    for (uint32_t i = 0; i < redo->range_count; i++) {
        const struct redo_range *range = &redo->range[i];
        uint64_t end = (range->offset + range->length - 1) / PAGE_BYTES;
        for (uint64_t page = range->offset / PAGE_BYTES; page <= end; page++)
            if (!preserve_page(preserve, round, page))
                return;
    }
}

void preserve_word(struct preserve *preserve, uint64_t cap_word, uint64_t offset)
{
    (void)preserve_page(preserve, (uint32_t)(cap_word >> 1), offset / PAGE_BYTES);
}

void preserve_cut(struct preserve *preserve, uint32_t round)
{
    struct layout_header *header = preserve->header;
    /* First the old capture ends: killed in between, a process of the old round would else use slots again that its capture still reads. */
    uint64_t old = atomic_load_explicit(&header->cap_word, memory_order_seq_cst);
    atomic_store_explicit(&header->cap_word, old & ~UINT64_C(1), memory_order_seq_cst);
    pool_reset(preserve);
    atomic_store_explicit(&header->cap_word, (uint64_t)round << 1 | 1, memory_order_seq_cst); /* the cut */
}
