/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off: cmocka.h needs these before it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <stdlib.h>

#include "snapd/collect.h"
#include "snapd/exchange.h"

#define PAGE 4096u

static void expect_pull(struct collect *collect, uint32_t node, uint64_t offset)
{
    struct collect_pull pull;
    assert_true(collect_next(collect, &pull));
    assert_int_equal(pull.node, node);
    assert_int_equal(pull.offset, offset);
    assert_int_equal(pull.bytes, collect->pull_bytes);
}

static void expect_wait(struct collect *collect)
{
    struct collect_pull pull;
    assert_false(collect_next(collect, &pull));
}

static void expect_answer(struct collect *collect, uint32_t node, uint64_t begin, uint64_t end)
{
    uint64_t is_begin, is_end;
    collect_expected(collect, node, &is_begin, &is_end);
    assert_int_equal(is_begin, begin);
    assert_int_equal(is_end, end);
    collect_on_answer(collect, node);
}

static void two_pulls_of_each_node_side_by_side(void **state)
{
    (void)state;
    struct collect collect;
    const uint64_t pull = EXCHANGE_PULL_BYTES, k = 3 * pull + 5 * PAGE;
    collect_init(&collect, 2, k);
    assert_int_equal(collect.pull_bytes, pull);
    expect_pull(&collect, 0, 0);
    expect_pull(&collect, 1, 0);
    expect_pull(&collect, 0, pull);
    expect_pull(&collect, 1, pull);
    expect_wait(&collect);
    expect_answer(&collect, 1, 0, pull); /* answers of different nodes come in any order */
    expect_pull(&collect, 1, 2 * pull);
    expect_wait(&collect);
    expect_answer(&collect, 1, pull, 2 * pull);
    expect_pull(&collect, 1, 3 * pull);
    expect_answer(&collect, 1, 2 * pull, 3 * pull);
    assert_false(collect_is_complete(&collect, 1));
    expect_answer(&collect, 1, 3 * pull, k); /* the segment ends before the Pull does */
    assert_true(collect_is_complete(&collect, 1));
    assert_false(collect_is_complete(&collect, 0));
    expect_wait(&collect);
}

static void a_segment_of_one_page(void **state)
{
    (void)state;
    struct collect collect;
    collect_init(&collect, 1, PAGE);
    expect_pull(&collect, 0, 0);
    expect_wait(&collect);
    expect_answer(&collect, 0, 0, PAGE);
    assert_true(collect_is_complete(&collect, 0));
    expect_wait(&collect);
}

/* Goal: whatever N is, answers that are being received fit the budget, every byte is asked for once and in order, and no node waits for others to end.
 * Method: random answers, until all is there. */
static void any_number_of_nodes(void **state)
{
    (void)state;
    static struct collect collect;
    srand(7);
    for (uint32_t nodes = 1; nodes <= GRID_NODES_MAX; nodes += nodes < 8 ? 1 : 31) {
        const uint64_t k = 5 * SNAPSHOT_CHUNK_BYTES + PAGE;
        uint64_t asked[GRID_NODES_MAX] = {0};
        uint32_t under_way[GRID_NODES_MAX] = {0}, complete = 0, first_round = 0;
        collect_init(&collect, nodes, k);
        assert_int_equal(collect.pull_bytes % SNAPSHOT_CHUNK_BYTES, 0);
        while (complete < nodes) {
            struct collect_pull pull;
            while (collect_next(&collect, &pull)) {
                assert_int_equal(pull.offset, asked[pull.node]);
                if (pull.offset == 0)
                    first_round++;
                else
                    assert_true(first_round == nodes || collect.busy_max >= nodes); /* all begin before any goes on, where they take turns */
                asked[pull.node] += pull.bytes;
                under_way[pull.node]++;
            }
            uint64_t buffers = 0;
            for (uint32_t i = 0; i < nodes; i++)
                buffers += under_way[i] ? collect.pull_bytes : 0;
            assert_true(buffers > 0 && buffers <= COLLECT_BUDGET_BYTES);
            uint32_t node = (uint32_t)rand() % nodes;
            while (!under_way[node])
                node = (node + 1) % nodes;
            collect_on_answer(&collect, node);
            under_way[node]--;
            complete += collect_is_complete(&collect, node);
        }
        for (uint32_t i = 0; i < nodes; i++)
            assert_true(asked[i] >= k && asked[i] < k + collect.pull_bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_pulls_of_each_node_side_by_side),
        cmocka_unit_test(a_segment_of_one_page),
        cmocka_unit_test(any_number_of_nodes),
    };
    return cmocka_run_group_tests_name("collect", tests, NULL, NULL);
}
