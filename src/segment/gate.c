/* SPDX-License-Identifier: Apache-2.0 */
/* Why a closed gate is empty once it is drained, and why its drain is noticed.
 *
 * A writer stores its odd count and then loads `closed`; gate_close stores `closed` and then lets membarrier run a full barrier in every
 * thread of the process that runs (one that does not run had a barrier when it was switched out). Each writer executed that barrier before its
 * store, between store and load, or after its load. In the first two cases its load, being after the barrier, sees the closed gate, and it turns
 * back. In the third its store was before the barrier, so the loads of the counts that follow see it: the agent waits for it. Seen even after
 * the barrier, a writer is therefore outside, and whatever odd count it shows later is that of one that turns back.
 * Leaving is the same with the roles of odd and even changed: a writer stores its even count and then loads `closed`. Either it sees it closed,
 * and calls; or its even count is seen by the agent, which looks at the counts after the barrier, before it sleeps. A call between the
 * agent's look and its sleep changes the word that it goes to sleep on, so the sleep ends at once.
 *
 * The grace period is the first argument with "what was stored before" in place of `closed`: a writer that is seen outside, or inside with
 * another count than at the beginning, has entered after the barrier, or will.
 *
 * Without membarrier the stores and loads are sequentially consistent, and in their one order either the writer's store comes before the
 * agent's load of its count or the agent's store before the writer's load. */
#include "segment/gate.h"

#include <linux/membarrier.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "segment/futex.h"

enum mcomp_status gate_init(struct gate *gate, uint32_t writers, _Atomic uint32_t *calls, bool use_membarrier, struct err *err)
{
    *gate = (struct gate){.writers = writers, .calls = calls};
    size_t bytes = writers * sizeof *gate->pass;
    gate->pass = aligned_alloc(GATE_LINE_BYTES, bytes);
    if (!gate->pass)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "no memory for %zu bytes", bytes);
    memset(gate->pass, 0, bytes);
    gate->has_membarrier = use_membarrier && syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
    return MCOMP_OK;
}

void gate_free(struct gate *gate)
{
    free(gate->pass);
    gate->pass = NULL;
}

static void barrier_everywhere(const struct gate *gate)
{
    if (gate->has_membarrier)
        MC_ASSERT(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0); /* cannot fail once registered */
}

void gate_close(struct gate *gate)
{
    gate->seen_outside = 0;
    atomic_store_explicit(&gate->closed, 1, memory_order_seq_cst);
    barrier_everywhere(gate);
}

bool gate_is_drained(struct gate *gate)
{
    for (; gate->seen_outside < gate->writers; gate->seen_outside++)
        if (atomic_load_explicit(&gate->pass[gate->seen_outside].count, memory_order_seq_cst) % 2)
            return false;
    return true;
}

void gate_open(struct gate *gate)
{
    atomic_store_explicit(&gate->closed, 0, memory_order_seq_cst);
}

void gate_grace_begin(struct gate *gate)
{
    barrier_everywhere(gate);
    gate->passed = 0;
    for (uint32_t i = 0; i < gate->writers; i++)
        gate->pass[i].mark = atomic_load_explicit(&gate->pass[i].count, memory_order_seq_cst);
}

bool gate_grace_is_over(struct gate *gate)
{
    for (; gate->passed < gate->writers; gate->passed++) {
        const struct gate_pass *pass = &gate->pass[gate->passed];
        if (pass->mark % 2 && atomic_load_explicit(&pass->count, memory_order_seq_cst) == pass->mark)
            return false;
    }
    return true;
}

void gate_call(struct gate *gate)
{
    futex_call(gate->calls);
}
