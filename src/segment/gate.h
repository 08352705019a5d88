/* SPDX-License-Identifier: Apache-2.0 */
/** The gate: every operation that changes bytes runs between enter and leave, and the server's agent can close it and wait until none is inside.
 *
 *  Private to the process. Passing costs each writer two stores to a cache line of its own and two loads of a word that hardly ever
 *  changes. The fence between "I am inside" and "is it closed?" is left to the one who closes: membarrier(2) makes all running threads of
 *  the process execute it. Where the kernel has no membarrier the writers' stores and loads are sequentially consistent. Nobody waits in enter.
 *  What was decided before the gate was closed passes the closed gate; whoever closes it waits for that by other means (transaction.h). */
#ifndef SEGMENT_GATE_H
#define SEGMENT_GATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define GATE_LINE_BYTES 128u /* two lines: some processors fetch them in pairs */

/** One writer's. */
struct gate_pass {
    _Alignas(GATE_LINE_BYTES) _Atomic uint32_t count; /* odd: inside. Stored by its writer only */
    uint32_t mark; /* of the agent: the count when the grace period began */
};

/** Constant after gate_init, except closed and what only the agent uses. */
struct gate {
    _Atomic uint32_t closed;
    bool has_membarrier;
    uint32_t writers;
    struct gate_pass *pass;   /* owned */
    _Atomic uint32_t *calls;  /* borrowed; futex that the agent sleeps on */
    uint32_t seen_outside;    /* agent: writers below it were seen outside since the gate was closed */
    uint32_t passed;          /* agent: writers below it were seen outside since the grace period began */
};

/** Open gate for `writers` writers. calls: futex_call()ed when a writer leaves a closed gate. use_membarrier false: never use it.
 *  Errors: RESOURCE_EXHAUSTED. */
MUST_CHECK enum mcomp_status gate_init(struct gate *gate, uint32_t writers, _Atomic uint32_t *calls, bool use_membarrier, struct err *err);
void gate_free(struct gate *gate);

/* ---- the agent: one thread ---- */

/** From now on enter fails. */
void gate_close(struct gate *gate);
/** Of a closed gate: is nobody inside any more who entered by gate_enter? Once true it stays so until gate_open. */
bool gate_is_drained(struct gate *gate);
void gate_open(struct gate *gate);

/** Begin to wait until every writer that is inside now has left; others may enter. */
void gate_grace_begin(struct gate *gate);
/** Have they? Then whatever was stored before gate_grace_begin is seen by all that are inside. */
bool gate_grace_is_over(struct gate *gate);

/* ---- writers; `writer` belongs to the calling thread ---- */

/** Wake the agent: a writer is outside a closed gate. */
void gate_call(struct gate *gate);

/* Store a count, and let the load that follows not come before it. */
static inline void gate_store(const struct gate *gate, struct gate_pass *pass, uint32_t count)
{
    if (__builtin_expect(gate->has_membarrier, 1)) {
        atomic_store_explicit(&pass->count, count, memory_order_release);
        atomic_signal_fence(memory_order_seq_cst);
    } else {
        atomic_store_explicit(&pass->count, count, memory_order_seq_cst);
    }
}

/** Leave with what gate_enter returned. */
static inline void gate_leave(struct gate *gate, uint32_t writer, uint32_t ticket)
{
    gate_store(gate, &gate->pass[writer], ticket + 1);
    if (__builtin_expect(atomic_load_explicit(&gate->closed, memory_order_seq_cst), 0))
        gate_call(gate);
}

/** A ticket for gate_leave; 0 when the gate is closed: then nothing was entered. */
static inline uint32_t gate_enter(struct gate *gate, uint32_t writer)
{
    struct gate_pass *pass = &gate->pass[writer];
    uint32_t ticket = atomic_load_explicit(&pass->count, memory_order_relaxed) + 1;
    gate_store(gate, pass, ticket);
    if (__builtin_expect(!atomic_load_explicit(&gate->closed, memory_order_seq_cst), 1))
        return ticket;
    gate_leave(gate, writer, ticket);
    return 0;
}

/** A ticket for gate_leave, also from a closed gate. */
static inline uint32_t gate_enter_decided(const struct gate *gate, uint32_t writer)
{
    struct gate_pass *pass = &gate->pass[writer];
    uint32_t ticket = atomic_load_explicit(&pass->count, memory_order_relaxed) + 1;
    gate_store(gate, pass, ticket);
    return ticket;
}

#endif
