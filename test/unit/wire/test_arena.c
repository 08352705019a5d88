/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "wire/arena.h"

/* Goal: memory is aligned, distinct and keeps its content until the reset. Method: many sizes, each filled with its number. */
static void memory_is_distinct_and_aligned(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    uint8_t *piece[200];
    for (size_t i = 0; i < 200; i++) {
        size_t bytes = i * 97 % 3000 + 1;
        piece[i] = arena_alloc(&arena, bytes);
        assert_non_null(piece[i]);
        assert_int_equal((uintptr_t)piece[i] % 16, 0);
        memset(piece[i], (int)i, bytes);
    }
    for (size_t i = 0; i < 200; i++) {
        size_t bytes = i * 97 % 3000 + 1;
        for (size_t at = 0; at < bytes; at++)
            assert_int_equal(piece[i][at], (uint8_t)i);
    }
    arena_close(&arena);
}

/* Goal: a steady state allocates nothing. Method: the same batch after a reset gets the same addresses. */
static void reset_reuses_the_first_block(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    void *first = arena_alloc(&arena, 100);
    (void)arena_alloc(&arena, 100000);
    arena_reset(&arena);
    assert_ptr_equal(arena_alloc(&arena, 100), first);
    arena_close(&arena);
}

/* Goal: one large message does not pin its memory. Method: after the reset of an arena whose first block was large, nothing is held. */
static void reset_gives_a_large_block_back(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    assert_non_null(arena_alloc(&arena, 1 << 20));
    arena_reset(&arena);
    assert_null(arena.first);
    assert_non_null(arena_alloc(&arena, 10));
    arena_close(&arena);
}

static void absurd_sizes_give_null(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    assert_null(arena_alloc(&arena, SIZE_MAX));
    assert_null(arena_alloc(&arena, (SIZE_MAX >> 1) + 1));
    assert_non_null(arena_alloc(&arena, 0));
    arena_close(&arena);
}

/* Goal: a limit holds until it is lifted, whatever blocks there are. */
static void limit_ends_allocation(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena);
    assert_non_null(arena_alloc(&arena, 1000));
    arena_limit(&arena, 100000);
    assert_null(arena_alloc(&arena, 100001));
    for (int i = 0; i < 100; i++)
        assert_non_null(arena_alloc(&arena, 990)); /* 992 are taken */
    assert_null(arena_alloc(&arena, 990));
    assert_non_null(arena_alloc(&arena, 800));
    assert_null(arena_alloc(&arena, 1));
    arena_limit(&arena, SIZE_MAX);
    assert_non_null(arena_alloc(&arena, 1 << 20));
    arena_close(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_distinct_and_aligned),
        cmocka_unit_test(reset_reuses_the_first_block),
        cmocka_unit_test(reset_gives_a_large_block_back),
        cmocka_unit_test(absurd_sizes_give_null),
        cmocka_unit_test(limit_ends_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
