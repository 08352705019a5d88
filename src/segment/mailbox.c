/* SPDX-License-Identifier: Apache-2.0 */
/* The server's side of the mailbox, and of freezing and cutting. capture.c has the other side.
 *
 * One command at a time stands in the mailbox, with a sequence number that no other ever had: the snapshot process (there is one, by a lock)
 * counts them in the header. It writes sequence 0, then the command, then the number; the server takes a command when it finds the same number
 * before and after reading it, so it never takes one that is half there. An answer carries the number of the command that it answers
 * and is written in the same way; the asker looks for its own number and for nothing else.
 *
 * Why nothing is ever stuck:
 * - The snapshot process dies while it writes a command: the number is 0, so there is no command. Its successor writes another.
 * - It dies after that: the command is carried out and its answer read by nobody. A freeze ends with its lease; a cut that nobody follows up
 *   ends with the next round, or when the server's time for captures is over.
 * - It gives up waiting and asks something else: the new command replaces the old one. If the server has taken that already and answers
 *   it late, the answer is dropped (the number in the mailbox is another), or, if it slips in just before the new number, is not the one that is
 *   looked for, and the answer to the new one comes after it, since one thread writes both.
 * - The server dies before it takes a command, or before its answer: its asker waits in vain until its time is over. A command that is
 *   there when a server starts is never taken: it was meant for the former one, whose freeze is over, and who asked can ask again. So the
 *   number that is found at the start counts as served. Where that is 0 a live process is just writing a command, which comes after the start.
 * - The server dies while it answers: the answer's number is 0, or the old one.
 * - One of them sleeps and the other calls: the word that is slept on changes before the call, so a call is not lost between look and sleep.
 *
 * Nothing that stands in the mailbox is trusted: whatever a mad snapshot process writes there, its command is one of four kinds or is passed
 * over, and its numbers are only compared. It can hold the writers, as a sane one can, for as long as the rules of rounds allow. */
#include "base/clock.h"
#include "segment/broken.h"
#include "segment/futex.h"
#include "segment/internal.h"

/* ---- freezing and cutting ---- */

void segment_freeze(struct segment *segment)
{
    MC_ASSERT(!segment_is_frozen(segment));
    segment->drained = false;
    gate_close(&segment->gate);
}

/* In this order: once the gate is empty no more transactions are prepared, and none is left that a commit could come for. */
static bool is_drained(struct segment *segment)
{
    return gate_is_drained(&segment->gate) &&
           (SEGMENT_BROKEN_IN_DOUBT || atomic_load_explicit(&segment->sessions.prepared, memory_order_seq_cst) == 0);
}

static bool look_drained(struct segment *segment)
{
    segment->drained = segment->drained || SEGMENT_BROKEN_NO_DRAIN || is_drained(segment);
    return segment->drained;
}

/* Nanoseconds until deadline_ns; 0 when it has passed. */
static uint64_t time_left(uint64_t deadline_ns)
{
    uint64_t now = clock_mono_ns();
    if (deadline_ns == UINT64_MAX)
        return FUTEX_NO_LIMIT;
    return now < deadline_ns ? deadline_ns - now : 0;
}

static uint64_t deadline_of(uint32_t timeout_ms)
{
    return timeout_ms == SEGMENT_NO_TIMEOUT ? UINT64_MAX : clock_mono_ns() + (uint64_t)timeout_ms * 1000000;
}

bool segment_wait_drained(struct segment *segment, uint32_t timeout_ms)
{
    MC_ASSERT(segment_is_frozen(segment));
    uint64_t deadline_ns = deadline_of(timeout_ms);
    for (;;) {
        uint32_t calls = atomic_load_explicit(&segment->header->mailbox.calls, memory_order_acquire);
        if (look_drained(segment))
            return true;
        uint64_t left_ns = time_left(deadline_ns);
        if (left_ns == 0)
            return false;
        futex_sleep(&segment->header->mailbox.calls, calls, left_ns);
    }
}

void segment_cut(struct segment *segment, uint32_t round)
{
    MC_ASSERT(segment_is_frozen(segment) && segment->drained);
    preserve_cut(&segment->preserve, round);
    segment->was_live = true; /* whatever becomes of it before the next look */
}

void segment_thaw(struct segment *segment)
{
    MC_ASSERT(segment_is_frozen(segment));
    gate_open(&segment->gate);
}

bool segment_is_frozen(const struct segment *segment)
{
    return atomic_load_explicit(&segment->gate.closed, memory_order_seq_cst);
}

void segment_capture_end(struct segment *segment, uint32_t round)
{
    preserve_end(segment->header, round, LAYOUT_END_ASKED);
}

uint32_t segment_last_cut(const struct segment *segment, bool *capture_live)
{
    uint64_t cap_word = atomic_load_explicit(&segment->header->cap_word, memory_order_seq_cst);
    *capture_live = cap_word & 1u;
    return (uint32_t)(cap_word >> 1);
}

uint32_t segment_capture_progress(const struct segment *segment)
{
    return atomic_load_explicit(&segment->header->mailbox.windows, memory_order_relaxed);
}

uint32_t segment_max_round(const struct segment *segment)
{
    return atomic_load_explicit(&segment->header->max_round, memory_order_seq_cst);
}

void segment_set_max_round(struct segment *segment, uint32_t round)
{
    atomic_store_explicit(&segment->header->max_round, round, memory_order_seq_cst);
}

/* ---- commands ---- */

/* Acquire loads and release stores keep the order here: the number, what it stands for, the number again. */
static bool take_command(struct segment *segment, struct segment_command *command)
{
    struct layout_mailbox *mailbox = &segment->header->mailbox;
    uint32_t sequence = atomic_load_explicit(&mailbox->sequence, memory_order_acquire);
    if (sequence == 0 || sequence == segment->served)
        return false;
    command->kind = atomic_load_explicit(&mailbox->kind, memory_order_acquire);
    command->round = atomic_load_explicit(&mailbox->round, memory_order_acquire);
    command->lease_ms = atomic_load_explicit(&mailbox->lease_ms, memory_order_acquire);
    command->sequence = sequence;
    if (atomic_load_explicit(&mailbox->sequence, memory_order_acquire) != sequence)
        return false; /* another is being written; its writer calls when it is there */
    segment->served = sequence;
    return command->kind >= SEGMENT_COMMAND_FREEZE && command->kind <= SEGMENT_COMMAND_END;
}

/* What else the agent should look at: an interruption, the drain of a frozen segment, the end of a capture. */
static bool has_news(struct segment *segment)
{
    bool was_live = segment->was_live;
    segment_last_cut(segment, &segment->was_live);
    if (atomic_exchange_explicit(&segment->interrupted, false, memory_order_acquire))
        return true;
    if (segment_is_frozen(segment) && !segment->drained && is_drained(segment))
        return true;
    return was_live && !segment->was_live;
}

bool segment_mailbox_wait(struct segment *segment, uint32_t timeout_ms, struct segment_command *command)
{
    _Atomic uint32_t *word = &segment->header->mailbox.calls;
    uint64_t deadline_ns = deadline_of(timeout_ms);
    for (;;) {
        uint32_t calls = atomic_load_explicit(word, memory_order_acquire);
        if (take_command(segment, command))
            return true;
        if (has_news(segment))
            return false;
        uint64_t again_ns, left_ns = time_left(deadline_ns);
        if (pool_tend(&segment->preserve, &segment->gate, &again_ns))
            continue;
        if (left_ns == 0)
            return false;
        futex_sleep(word, calls, left_ns < again_ns ? left_ns : again_ns);
    }
}

void segment_mailbox_answer(struct segment *segment, const struct segment_command *command, const struct segment_answer *answer)
{
    struct layout_mailbox *mailbox = &segment->header->mailbox;
    if (atomic_load_explicit(&mailbox->sequence, memory_order_acquire) != command->sequence)
        return;
    atomic_store_explicit(&mailbox->answered, 0, memory_order_release);
    atomic_store_explicit(&mailbox->result, answer->result, memory_order_release);
    atomic_store_explicit(&mailbox->max_round, answer->max_round, memory_order_release);
    atomic_store_explicit(&mailbox->pause_ns, answer->pause_ns, memory_order_release);
    atomic_store_explicit(&mailbox->answered, command->sequence, memory_order_release);
    futex_call(&mailbox->answers);
}

void segment_mailbox_interrupt(struct segment *segment)
{
    atomic_store_explicit(&segment->interrupted, true, memory_order_release);
    futex_call(&segment->header->mailbox.calls);
}
