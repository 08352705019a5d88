/* SPDX-License-Identifier: Apache-2.0 */
/* Why it is right.
 *
 * Exclusion. `state` holds the permits, and every change of it is one atomic read-modify-write: a reader is added only while no writer is
 * there (semaphore_read_try, and the hand-over below, which removes the writer in the same step), a writer only while neither is. Taking
 * acquires and giving releases; read-modify-writes in between keep the chain, so each holder sees what the ones before it did.
 *
 * "Free" below: no writer and no reader has permits.
 *
 * No wake-up of a writer is lost. A waiting writer counts itself in `state` before it looks, and stays counted until it takes the permits.
 * Each look goes: load `calls`, load `state`, and sleep only if `calls` still has the loaded value (the kernel checks that atomically with
 * going to sleep). Whoever makes the state free sees in the same step whether writers are counted, and if so adds 1 to `calls` and then
 * wakes one sleeper. Take a writer that found the state not free and sleeps. The step that frees it comes later in the order of changes of
 * `state`, sees the count and calls. If the writer loaded `calls` after that call, its load of `state` would have seen the free state or a
 * later one; so it loaded the old value, and either it was asleep, or its sleep ends at once. One sleeper is woken for each time the
 * state gets free: it takes the permits, or finds that another writer took them, which will free the state and call again.
 * A writer may also sleep although the state is free: one that has just come, while PASSED_OVER is set. That bit was set by a writer that is
 * counted, while the state was not free, so the step that freed it has called. Among the counted writers that are not asleep with the
 * new value of `calls` there is then at least one that was called (the woken one, or, if none slept, the one that set the bit), and a called
 * writer takes a free state whatever the bit says.
 *
 * No wake-up of a reader is lost. Readers are counted as waiting only while a writer has or awaits the permits; such a writer gets them
 * (above) and, when it leaves, moves all waiting readers to the permits in one step, counts the turn in `state` and publishes the number in
 * `turn`. The next turn cannot begin before all of them have left again, which each does after it has seen its number. So
 * a reader that registered in turn t has its permit exactly when `turn` shows t + 1, and until then sleeps on the value it saw. */
#include "segment/semaphore.h"

#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TURN_ONE (UINT64_C(1) << SEMAPHORE_TURN_SHIFT)

/* Sleep while *word == seen; may return without reason. The futexes are not PRIVATE: they lie in memory that processes share. */
static void futex_wait(_Atomic uint32_t *word, uint32_t seen)
{
    syscall(SYS_futex, word, FUTEX_WAIT, seen, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int sleepers)
{
    syscall(SYS_futex, word, FUTEX_WAKE, sleepers, NULL, NULL, 0);
}

static uint32_t turn_of(uint64_t state)
{
    return (uint32_t)(state >> SEMAPHORE_TURN_SHIFT);
}

void semaphore_read_wait(struct stripe *stripe)
{
    uint64_t state = atomic_load_explicit(&stripe->state, memory_order_relaxed);
    for (;;) {
        bool must_wait = state & (SEMAPHORE_WRITER | SEMAPHORE_WRITERS_WAITING);
        uint64_t next = state + (must_wait ? SEMAPHORE_READER_WAITING : SEMAPHORE_READER);
        if (!atomic_compare_exchange_weak_explicit(&stripe->state, &state, next, memory_order_acquire, memory_order_relaxed))
            continue;
        if (!must_wait)
            return;
        break;
    }
    uint32_t mine = turn_of(state + TURN_ONE);
    for (;;) {
        uint32_t turn = atomic_load_explicit(&stripe->turn, memory_order_acquire);
        if (turn == mine)
            return;
        futex_wait(&stripe->turn, turn);
    }
}

/* One look of a waiting writer: true when it has taken the permits. called: it has slept, so it may be the one that was called. */
static bool write_take(struct stripe *stripe, bool called)
{
    uint64_t state = atomic_load_explicit(&stripe->state, memory_order_relaxed);
    for (;;) {
        bool is_free = !(state & (SEMAPHORE_WRITER | SEMAPHORE_READERS));
        uint64_t next;
        if (is_free && (called || !(state & SEMAPHORE_PASSED_OVER)))
            next = ((state - SEMAPHORE_WRITER_WAITING) & ~SEMAPHORE_PASSED_OVER) | SEMAPHORE_WRITER;
        else if (called && !(state & SEMAPHORE_PASSED_OVER))
            next = state | SEMAPHORE_PASSED_OVER;
        else
            return false;
        if (atomic_compare_exchange_weak_explicit(&stripe->state, &state, next, memory_order_acquire, memory_order_relaxed)) {
            if (is_free)
                return true;
            state = next;
        }
    }
}

void semaphore_write_wait(struct stripe *stripe)
{
    atomic_fetch_add_explicit(&stripe->state, SEMAPHORE_WRITER_WAITING, memory_order_relaxed);
    for (bool called = false;; called = true) {
        uint32_t calls = atomic_load_explicit(&stripe->calls, memory_order_acquire);
        if (write_take(stripe, called))
            return;
        futex_wait(&stripe->calls, calls);
    }
}

void semaphore_call_writer(struct stripe *stripe)
{
    atomic_fetch_add_explicit(&stripe->calls, 1, memory_order_release);
    futex_wake(&stripe->calls, 1);
}

void semaphore_write_release_wake(struct stripe *stripe)
{
    uint64_t state = atomic_load_explicit(&stripe->state, memory_order_relaxed);
    uint64_t readers, next;
    do {
        readers = (state & SEMAPHORE_READERS_WAITING) / SEMAPHORE_READER_WAITING;
        next = state & ~SEMAPHORE_WRITER;
        if (readers)
            next = next - readers * SEMAPHORE_READER_WAITING + readers * SEMAPHORE_READER + TURN_ONE;
    } while (!atomic_compare_exchange_weak_explicit(&stripe->state, &state, next, memory_order_release, memory_order_relaxed));

    if (readers) {
        atomic_store_explicit(&stripe->turn, turn_of(next), memory_order_release);
        futex_wake(&stripe->turn, INT32_MAX);
    } else if (next & SEMAPHORE_WRITERS_WAITING) {
        semaphore_call_writer(stripe);
    }
}
