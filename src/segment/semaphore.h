/* SPDX-License-Identifier: Apache-2.0 */
/** The semaphore of a stripe: readers take one permit each, a writer takes all.
 *
 *  It lies in shared memory and is all zero when free. Without contention taking or giving permits is one atomic instruction. Who must
 *  wait sleeps on a futex; nobody spins. A waiting writer keeps new readers out, so readers cannot starve writers. A writer that leaves
 *  hands the permits to the readers that wait, so writers cannot starve readers. A waiting writer may be passed over by a running one,
 *  which saves the time of a wake-up, but only once: then it is next, so writers cannot starve each other. The comment in semaphore.c
 *  argues that no wake-up is lost. A thread takes stripes in ascending order and none that it already has. At most 65535 threads. */
#ifndef SEGMENT_SEMAPHORE_H
#define SEGMENT_SEMAPHORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "segment/layout.h"

/* stripe.state, from the lowest bit: permits out to readers, readers waiting, writers waiting (16 bits each), then these: */
#define SEMAPHORE_READER UINT64_C(1)
#define SEMAPHORE_READERS UINT64_C(0xffff)
#define SEMAPHORE_READER_WAITING (UINT64_C(1) << 16)
#define SEMAPHORE_READERS_WAITING (UINT64_C(0xffff) << 16)
#define SEMAPHORE_WRITER_WAITING (UINT64_C(1) << 32)
#define SEMAPHORE_WRITERS_WAITING (UINT64_C(0xffff) << 32)
#define SEMAPHORE_WRITER (UINT64_C(1) << 48)      /* a writer has all permits */
#define SEMAPHORE_PASSED_OVER (UINT64_C(1) << 49) /* a waiting writer has been passed over: only waiting ones may be next */
#define SEMAPHORE_TURN_SHIFT 50u                  /* the remaining bits count the times that permits were handed to waiting readers */

void semaphore_read_wait(struct stripe *stripe);
void semaphore_write_wait(struct stripe *stripe);
void semaphore_write_release_wake(struct stripe *stripe);
void semaphore_call_writer(struct stripe *stripe);

/** Take a read permit if that needs no waiting. */
static inline bool semaphore_read_try(struct stripe *stripe)
{
    uint64_t state = atomic_load_explicit(&stripe->state, memory_order_relaxed);
    while (!(state & (SEMAPHORE_WRITER | SEMAPHORE_WRITERS_WAITING)))
        if (atomic_compare_exchange_weak_explicit(&stripe->state, &state, state + SEMAPHORE_READER, memory_order_acquire, memory_order_relaxed))
            return true;
    return false;
}

/** Take a read permit; sleeps while a writer is there. */
static inline void semaphore_read(struct stripe *stripe)
{
    if (!semaphore_read_try(stripe))
        semaphore_read_wait(stripe);
}

static inline void semaphore_read_release(struct stripe *stripe)
{
    uint64_t state = atomic_fetch_sub_explicit(&stripe->state, SEMAPHORE_READER, memory_order_release) - SEMAPHORE_READER;
    if (!(state & SEMAPHORE_READERS) && (state & SEMAPHORE_WRITERS_WAITING))
        semaphore_call_writer(stripe);
}

/** Take all permits if that needs no waiting. */
static inline bool semaphore_write_try(struct stripe *stripe)
{
    uint64_t state = atomic_load_explicit(&stripe->state, memory_order_relaxed);
    while (!(state & (SEMAPHORE_WRITER | SEMAPHORE_READERS | SEMAPHORE_PASSED_OVER)))
        if (atomic_compare_exchange_weak_explicit(&stripe->state, &state, state | SEMAPHORE_WRITER, memory_order_acquire, memory_order_relaxed))
            return true;
    return false;
}

/** Take all permits; sleeps while others have some. */
static inline void semaphore_write(struct stripe *stripe)
{
    if (!semaphore_write_try(stripe))
        semaphore_write_wait(stripe);
}

static inline void semaphore_write_release(struct stripe *stripe)
{
    uint64_t state = atomic_load_explicit(&stripe->state, memory_order_relaxed);
    while (!(state & (SEMAPHORE_READERS_WAITING | SEMAPHORE_WRITERS_WAITING)))
        if (atomic_compare_exchange_weak_explicit(&stripe->state, &state, state & ~SEMAPHORE_WRITER, memory_order_release, memory_order_relaxed))
            return;
    semaphore_write_release_wake(stripe);
}

/** Free it and forget all waiters, and the locks in it. For a segment that no process uses: the holders are dead. */
static inline void semaphore_reset(struct stripe *stripe)
{
    atomic_store_explicit(&stripe->state, 0, memory_order_relaxed);
    atomic_store_explicit(&stripe->sequence, 0, memory_order_relaxed);
    atomic_store_explicit(&stripe->turn, 0, memory_order_relaxed);
    atomic_store_explicit(&stripe->calls, 0, memory_order_relaxed);
    stripe->locks = 0;
}

#endif
