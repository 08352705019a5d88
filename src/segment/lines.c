/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/lines.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>

#include "segment/copy.h"
#include "segment/ranges.h"
#include "segment/semaphore.h"

#define STRIPE_LINES_SHIFT (STRIPE_SHIFT - LAYOUT_LINE_SHIFT)

enum mcomp_status lines_init(struct lines *lines, uint64_t size, struct err *err)
{
    uint64_t count = ((size - 1) >> LAYOUT_LINE_SHIFT) + 1;
    void *memory = mmap(NULL, count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return err_sys(err, errno, "map %" PRIu64 " bytes for the locks of transactions", count);
    *lines = (struct lines){.of = memory, .count = count};
    return MCOMP_OK;
}

void lines_free(struct lines *lines)
{
    if (lines->of)
        munmap(lines->of, lines->count);
    *lines = (struct lines){0};
}

void lines_clear(struct lines *lines, struct stripe *stripes)
{
    for (uint64_t i = 0; i < ((lines->count - 1) >> STRIPE_LINES_SHIFT) + 1; i++) {
        stripes[i].locks = 0;
        atomic_fetch_and_explicit(&stripes[i].sequence, ~LAYOUT_SEQUENCE_LOCKED, memory_order_relaxed);
    }
    /* Private pages that are dropped are zero when they are touched again. */
    MC_ASSERT(madvise(lines->of, lines->count, MADV_DONTNEED) == 0);
}

static inline uint8_t look(const struct lines *lines, uint64_t line)
{
    return atomic_load_explicit(&lines->of[line], COPY_LOAD_ORDER);
}

static inline void set(const struct lines *lines, uint64_t line, uint8_t value)
{
    atomic_store_explicit(&lines->of[line], value, COPY_STORE_ORDER);
}

bool lines_meet(const struct lines *lines, const struct stripe *stripes, uint64_t offset, uint64_t length, bool write)
{
    uint64_t line = offset >> LAYOUT_LINE_SHIFT, end = ((offset + length - 1) >> LAYOUT_LINE_SHIFT) + 1;
    while (line < end) {
        uint64_t stripe = line >> STRIPE_LINES_SHIFT, until = (stripe + 1) << STRIPE_LINES_SHIFT;
        until = until < end ? until : end;
        for (bool any = sequence_is_locked(&stripes[stripe]); any && line < until; line++) {
            uint8_t value = look(lines, line);
            if (value == LINE_EXCLUSIVE || (write && value != LINE_FREE))
                return true;
        }
        line = until;
    }
    return false;
}

bool lines_can_lock(const struct lines *lines, const struct layout_lock *locks, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint8_t most = locks[i].exclusive ? LINE_FREE : LINE_READERS_MAX - 1;
        for (uint64_t line = locks[i].first_line; line < locks[i].first_line + locks[i].lines; line++)
            if (look(lines, line) > most)
                return false;
    }
    return true;
}

void lines_lock(struct lines *lines, const struct layout_lock *locks, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        for (uint64_t line = locks[i].first_line; line < locks[i].first_line + locks[i].lines; line++)
            set(lines, line, locks[i].exclusive ? LINE_EXCLUSIVE : (uint8_t)(look(lines, line) + 1));
}

void lines_unlock(struct lines *lines, const struct layout_lock *locks, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        for (uint64_t line = locks[i].first_line; line < locks[i].first_line + locks[i].lines; line++)
            set(lines, line, locks[i].exclusive ? LINE_FREE : (uint8_t)(look(lines, line) - 1));
}

/* ---- stripes ---- */

/* Visits each stripe once. */
struct stripe_walk {
    const struct layout_lock *lock, *end;
    uint64_t next;
};

static bool walk_next(struct stripe_walk *walk, uint64_t *stripe)
{
    while (walk->lock < walk->end) {
        uint64_t first = walk->lock->first_line >> STRIPE_LINES_SHIFT;
        uint64_t last = (walk->lock->first_line + walk->lock->lines - 1) >> STRIPE_LINES_SHIFT;
        if (walk->next < first)
            walk->next = first;
        if (walk->next <= last) {
            *stripe = walk->next++;
            return true;
        }
        walk->lock++;
    }
    return false;
}

static void give_before(struct stripe *stripes, const struct layout_lock *locks, uint32_t count, uint64_t before)
{
    struct stripe_walk walk = {.lock = locks, .end = locks + count};
    for (uint64_t stripe; walk_next(&walk, &stripe) && stripe < before;)
        semaphore_write_release(&stripes[stripe]);
}

bool lines_take_stripes(struct stripe *stripes, const struct layout_lock *locks, uint32_t count, bool try)
{
    struct stripe_walk walk = {.lock = locks, .end = locks + count};
    for (uint64_t stripe; walk_next(&walk, &stripe);) {
        if (!try) {
            semaphore_write(&stripes[stripe]);
        } else if (!semaphore_write_try(&stripes[stripe])) {
            give_before(stripes, locks, count, stripe);
            return false;
        }
    }
    return true;
}

void lines_give_stripes(struct stripe *stripes, const struct layout_lock *locks, uint32_t count)
{
    give_before(stripes, locks, count, UINT64_MAX);
}

void lines_begin(struct stripe *stripes, const struct layout_lock *locks, uint32_t count)
{
    struct stripe_walk walk = {.lock = locks, .end = locks + count};
    for (uint64_t stripe; walk_next(&walk, &stripe);)
        (void)sequence_begin(&stripes[stripe]);
    copy_fence_before_stores();
}

void lines_end(struct stripe *stripes, const struct layout_lock *locks, uint32_t count, int change)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t last = (locks[i].first_line + locks[i].lines - 1) >> STRIPE_LINES_SHIFT;
        for (uint64_t stripe = locks[i].first_line >> STRIPE_LINES_SHIFT; stripe <= last; stripe++)
            stripes[stripe].locks += (uint32_t)change;
    }
    struct stripe_walk walk = {.lock = locks, .end = locks + count};
    for (uint64_t stripe; walk_next(&walk, &stripe);)
        sequence_end_locks(&stripes[stripe]);
}
