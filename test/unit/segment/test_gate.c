/* SPDX-License-Identifier: Apache-2.0 */
/** The gate: closed and drained it has nobody inside, with membarrier and without; its drain is noticed; the grace period. */
#include "fixture.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "base/clock.h"
#include "segment/futex.h"
#include "segment/gate.h"

#define WRITERS 3u
#define RUN_NS UINT64_C(500000000)

/* What the gate guards. Not atomic on purpose: ThreadSanitizer sees it if the gate does not order the accesses. */
struct guarded {
    uint64_t passes[WRITERS][16]; /* counted by its writer, inside the gate */
    uint64_t closings;            /* counted while it is closed and drained */
};

static struct gate gate;
static struct guarded guarded;
static _Atomic uint32_t calls;
static _Atomic bool stop;
static _Atomic uint32_t wrong;

static void *pass_for_ever(void *arg)
{
    uint32_t writer = (uint32_t)(uintptr_t)arg;
    uint64_t last = 0;
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        uint32_t ticket = gate_enter(&gate, writer);
        if (ticket == 0) {
            sched_yield();
            continue;
        }
        uint64_t closings = guarded.closings;
        guarded.passes[writer][0]++;
        if (closings < last || guarded.closings != closings)
            atomic_fetch_add(&wrong, 1);
        last = closings;
        gate_leave(&gate, writer, ticket);
    }
    return NULL;
}

/* Sleeps until the gate is drained: only a call can end that. */
static void wait_drained(void)
{
    for (;;) {
        uint32_t seen = atomic_load_explicit(&calls, memory_order_acquire);
        if (gate_is_drained(&gate))
            return;
        futex_sleep(&calls, seen, FUTEX_NO_LIMIT);
    }
}

static void close_and_open_again_and_again(uint32_t writers, bool use_membarrier)
{
    struct err err;
    pthread_t threads[WRITERS];
    assert_int_equal(gate_init(&gate, WRITERS, &calls, use_membarrier, &err), MCOMP_OK);
    assert_false(gate.has_membarrier && !use_membarrier);
    memset(&guarded, 0, sizeof guarded);
    atomic_store(&stop, false);
    atomic_store(&wrong, 0);
    for (uintptr_t i = 0; i < writers; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, pass_for_ever, (void *)i), 0);
    bool enough = false; /* of each: on a slow machine the time alone says nothing */
    for (uint64_t end_ns = clock_mono_ns() + RUN_NS; !enough || clock_mono_ns() < end_ns;) {
        gate_close(&gate);
        wait_drained();
        uint64_t sums[2] = {0}, random = end_ns;
        for (uint32_t look = 0; look < 2; look++) {
            for (uint32_t i = 0; i < WRITERS; i++)
                sums[look] += guarded.passes[i][0];
            for (uint32_t i = 0; i < 200; i++) /* while stores that are under way would arrive */
                fixture_random(&random);
        }
        assert_true(sums[0] == sums[1]);
        guarded.closings++;
        enough = guarded.closings > 10 && guarded.passes[0][0] > 10;
        gate_open(&gate);
        for (uint64_t i = 0, turns = fixture_random(&random) % 500; i < turns; i++)
            fixture_random(&random);
    }
    atomic_store(&stop, true);
    for (uint32_t i = 0; i < writers; i++)
        pthread_join(threads[i], NULL);
    print_message("%llu closings, %llu passes\n", (unsigned long long)guarded.closings, (unsigned long long)guarded.passes[0][0]);
    assert_int_equal(atomic_load(&wrong), 0);
    gate_free(&gate);
}

static void nobody_is_inside_a_drained_gate(void **state)
{
    (void)state;
    close_and_open_again_and_again(1, true); /* side by side on two processors */
    close_and_open_again_and_again(WRITERS, true);
}

static void nor_where_there_is_no_membarrier(void **state)
{
    (void)state;
    close_and_open_again_and_again(1, false);
    close_and_open_again_and_again(WRITERS, false);
}

static void one_writer_step_by_step(void **state)
{
    struct err err;
    (void)state;
    assert_int_equal(gate_init(&gate, 2, &calls, true, &err), MCOMP_OK);
    uint32_t first = gate_enter(&gate, 0), called = atomic_load(&calls);
    assert_int_not_equal(first, 0);
    gate_close(&gate);
    assert_false(gate_is_drained(&gate));
    assert_int_equal(gate_enter(&gate, 1), 0);
    assert_int_not_equal(atomic_load(&calls), called); /* it was inside for an instant, which the agent may have seen */
    assert_false(gate_is_drained(&gate));
    called = atomic_load(&calls);
    gate_leave(&gate, 0, first);
    assert_int_not_equal(atomic_load(&calls), called);
    assert_true(gate_is_drained(&gate));
    gate_open(&gate);
    called = atomic_load(&calls);
    gate_leave(&gate, 1, gate_enter(&gate, 1));
    assert_int_equal(atomic_load(&calls), called); /* nobody is called at an open gate */
    gate_free(&gate);
}

static void grace_period_waits_for_those_inside_only(void **state)
{
    struct err err;
    (void)state;
    assert_int_equal(gate_init(&gate, 3, &calls, true, &err), MCOMP_OK);
    gate_grace_begin(&gate);
    assert_true(gate_grace_is_over(&gate));
    uint32_t first = gate_enter(&gate, 0), third = gate_enter(&gate, 2);
    gate_grace_begin(&gate);
    assert_false(gate_grace_is_over(&gate));
    uint32_t second = gate_enter(&gate, 1); /* came later */
    gate_leave(&gate, 0, first);
    first = gate_enter(&gate, 0); /* is inside again */
    assert_false(gate_grace_is_over(&gate));
    gate_leave(&gate, 2, third);
    assert_true(gate_grace_is_over(&gate));
    gate_leave(&gate, 0, first);
    gate_leave(&gate, 1, second);
    gate_free(&gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_inside_a_drained_gate),
        cmocka_unit_test(nor_where_there_is_no_membarrier),
        cmocka_unit_test(one_writer_step_by_step),
        cmocka_unit_test(grace_period_waits_for_those_inside_only),
    };
    return cmocka_run_group_tests_name("segment-gate", tests, NULL, NULL);
}
