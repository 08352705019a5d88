/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: ranges are cut exactly at the borders of nodes and requests, at every edge. Method: tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/split.h"

#define K 4096u

static void in_grid_knows_the_edges(void **state)
{
    static const struct {
        uint64_t grid, address, length;
        bool inside;
    } rows[] = {
        {3 * K, 0, 0, true},
        {3 * K, 0, 3 * K, true},
        {3 * K, 0, 3 * K + 1, false},
        {3 * K, 3 * K - 1, 1, true},
        {3 * K, 3 * K - 1, 2, false},
        {3 * K, 3 * K, 0, true},
        {3 * K, 3 * K, 1, false},
        {3 * K, 3 * K + 1, 0, false},
        {3 * K, 1, UINT64_MAX, false},
        {3 * K, UINT64_MAX, 1, false},
        {3 * K, UINT64_MAX, UINT64_MAX, false},
        {INT64_MAX, INT64_MAX - 1, 1, true},
        {INT64_MAX, INT64_MAX - 1, 2, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(split_in_grid(rows[i].grid, rows[i].address, rows[i].length), rows[i].inside);
}

static void nodes_and_bytes_of_a_range(void **state)
{
    static const struct {
        uint64_t address, length;
        uint32_t node, nodes;
        uint64_t on_first;
    } rows[] = {
        {0, 0, 0, 0, 0},
        {0, 1, 0, 1, 1},
        {0, K, 0, 1, K},
        {0, K + 1, 0, 2, K},
        {K - 1, 1, 0, 1, 1},
        {K - 1, 2, 0, 2, 1},
        {K, 1, 1, 1, 1},
        {K, K, 1, 1, K},
        {K + 1, 2 * K, 1, 3, K - 1},
        {K - 1, K + 2, 0, 3, 1},
        {255ull * K, K, 255, 1, K},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(split_node(K, rows[i].address), rows[i].node);
        assert_int_equal(split_nodes(K, rows[i].address, rows[i].length), rows[i].nodes);
        assert_int_equal(split_on_node(K, rows[i].address, rows[i].length), rows[i].on_first);
    }
    assert_int_equal(split_nodes(1ull << 55, 0, INT64_MAX), 256);
}

/* Three parts of 10, 100 and 1 bytes in a chain, with a stranger between. */
static const struct split_part parts[] = {
    {.address = 1000, .length = 10, .at = 0, .next = 2},
    {.address = 9999, .length = 7, .at = 10, .next = SPLIT_END},
    {.address = 2000, .length = 100, .at = 17, .next = 3, .write = true},
    {.address = 3000, .length = 1, .at = 117, .next = SPLIT_END},
};

static const struct split_slice all = {.first = 0, .skip = 0, .length = 111};

static void walk_visits_each_part_of_the_chain(void **state)
{
    static const struct {
        struct split_slice slice;
        struct {
            uint32_t index;
            uint64_t skip, length;
        } steps[3];
        unsigned count;
    } rows[] = {
        {{0, 0, 0}, {{0}}, 0},
        {{0, 0, 111}, {{0, 0, 10}, {2, 0, 100}, {3, 0, 1}}, 3},
        {{0, 9, 2}, {{0, 9, 1}, {2, 0, 1}}, 2},
        {{2, 99, 1}, {{2, 99, 1}}, 1},
        {{2, 1, 100}, {{2, 1, 99}, {3, 0, 1}}, 2},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct split_walk walk;
        unsigned n = 0;
        for (bool more = split_walk_begin(&walk, parts, &rows[i].slice); more; more = split_walk_next(&walk), n++) {
            assert_true(n < rows[i].count);
            assert_int_equal(walk.index, rows[i].steps[n].index);
            assert_int_equal(walk.skip, rows[i].steps[n].skip);
            assert_int_equal(walk.length, rows[i].steps[n].length);
        }
        assert_int_equal(n, rows[i].count);
    }
}

static void take_prefers_whole_parts(void **state)
{
    static const struct {
        struct split_slice slice;
        uint64_t max_bytes;
        uint32_t max_ranges;
        uint64_t taken;
    } rows[] = {
        {{0, 0, 111}, 1000, 1000, 111},
        {{0, 0, 111}, 111, 3, 111},
        {{0, 0, 111}, 110, 3, 110},
        {{0, 0, 111}, 109, 3, 10},   /* the second part does not fit whole: it waits */
        {{0, 0, 111}, 1000, 2, 110}, /* no more ranges */
        {{0, 0, 111}, 1000, 1, 10},
        {{0, 0, 111}, 9, 3, 9}, /* the first is too long by itself: cut */
        {{2, 0, 101}, 64, 3, 64},
        {{2, 64, 37}, 64, 3, 37}, /* the rest of it goes with what follows */
        {{0, 0, 0}, 64, 3, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(split_slice_take(parts, &rows[i].slice, rows[i].max_bytes, rows[i].max_ranges), rows[i].taken);
}

static void advance_leaves_the_rest(void **state)
{
    static const struct {
        uint64_t bytes;
        struct split_slice rest;
    } rows[] = {
        {0, {0, 0, 111}},
        {1, {0, 1, 110}},
        {10, {2, 0, 101}},
        {11, {2, 1, 100}},
        {110, {3, 0, 1}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct split_slice slice = all;
        split_slice_advance(parts, &slice, rows[i].bytes);
        assert_int_equal(slice.first, rows[i].rest.first);
        assert_int_equal(slice.skip, rows[i].rest.skip);
        assert_int_equal(slice.length, rows[i].rest.length);
    }
    struct split_slice slice = all;
    split_slice_advance(parts, &slice, 111);
    assert_int_equal(slice.length, 0);
}

/* Whatever the limits, taking and advancing covers each byte once and in order. */
static void cutting_covers_everything_once(void **state)
{
    (void)state;
    for (uint64_t max_bytes = 1; max_bytes <= 120; max_bytes++) {
        for (uint32_t max_ranges = 1; max_ranges <= 4; max_ranges++) {
            struct split_slice slice = all;
            uint64_t total = 0;
            while (slice.length > 0) {
                uint64_t taken = split_slice_take(parts, &slice, max_bytes, max_ranges);
                assert_in_range(taken, 1, max_bytes);
                total += taken;
                split_slice_advance(parts, &slice, taken);
            }
            assert_int_equal(total, 111);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_grid_knows_the_edges),  cmocka_unit_test(nodes_and_bytes_of_a_range),
        cmocka_unit_test(walk_visits_each_part_of_the_chain), cmocka_unit_test(take_prefers_whole_parts),
        cmocka_unit_test(advance_leaves_the_rest),  cmocka_unit_test(cutting_covers_everything_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
