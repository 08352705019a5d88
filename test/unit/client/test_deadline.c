/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: the earliest deadline is always known, whatever is inserted, moved and removed. Method: against a plain array, by one seed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/deadline.h"

#define COUNT 500u

static uint64_t random_next(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static void check(const struct deadlines *heap, const struct deadline *items, const uint64_t *at)
{
    uint64_t least = DEADLINE_NEVER;
    uint32_t count = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        if (items[i].index == DEADLINE_UNSET)
            continue;
        count++;
        assert_ptr_equal(heap->entries[items[i].index].deadline, &items[i]);
        assert_int_equal(heap->entries[items[i].index].at_ns, at[i]);
        least = at[i] < least ? at[i] : least;
    }
    assert_int_equal(heap->count, count);
    assert_int_equal(deadlines_first_ns(heap), least);
}

static void agrees_with_an_array(void **state)
{
    struct deadlines heap = {0};
    static struct deadline items[COUNT];
    static uint64_t at[COUNT];
    uint64_t seed = 20260203;
    (void)state;
    assert_true(deadlines_reserve(&heap, COUNT));
    for (unsigned i = 0; i < COUNT; i++)
        items[i].index = DEADLINE_UNSET;
    for (unsigned step = 0; step < 20000; step++) {
        unsigned i = (unsigned)(random_next(&seed) % COUNT);
        if (random_next(&seed) % 3 == 0) {
            deadlines_remove(&heap, &items[i]);
        } else {
            at[i] = random_next(&seed) % 1000;
            deadlines_set(&heap, &items[i], at[i]);
        }
        check(&heap, items, at);
    }
    deadlines_free(&heap);
}

static void comes_out_sorted(void **state)
{
    struct deadlines heap = {0};
    static struct deadline items[COUNT];
    uint64_t seed = 7, last = 0;
    (void)state;
    assert_true(deadlines_reserve(&heap, COUNT));
    for (unsigned i = 0; i < COUNT; i++) {
        items[i].index = DEADLINE_UNSET;
        deadlines_set(&heap, &items[i], random_next(&seed));
    }
    while (heap.count > 0) {
        assert_true(deadlines_first_ns(&heap) >= last);
        last = deadlines_first_ns(&heap);
        deadlines_remove(&heap, heap.entries[0].deadline);
    }
    assert_int_equal(deadlines_first_ns(&heap), DEADLINE_NEVER);
    deadlines_free(&heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(agrees_with_an_array), cmocka_unit_test(comes_out_sorted)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
