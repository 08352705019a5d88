/* SPDX-License-Identifier: Apache-2.0 */
/** Who leads, ping by ping. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "snapshot/leader.h"

#define TAKEOVER 4000u
#define INTERVAL (TAKEOVER / LEADER_PINGS)

struct node {
    struct leader leader;
    uint64_t now;
};

static struct node start(uint32_t self)
{
    struct node node = {.now = 123456};
    leader_init(&node.leader, self, 4, TAKEOVER, node.now);
    return node;
}

/** The time of the next ping comes; it is sent. */
static void tick(struct node *node)
{
    node->now = leader_next_ns(&node->leader);
    assert_true(leader_on_time(&node->leader, node->now));
    assert_int_equal(leader_next_ns(&node->leader), node->now + INTERVAL);
}

static void first_node_leads_at_once_and_pings_nobody(void **state)
{
    (void)state;
    struct node node = start(0);
    assert_true(node.leader.leads);
    assert_int_equal(leader_next_ns(&node.leader), UINT64_MAX);
    assert_false(leader_on_time(&node.leader, node.now + 100 * TAKEOVER));
    leader_on_heard(&node.leader, 3);
    assert_true(node.leader.leads);
    assert_int_equal(leader_node(&node.leader), 0);
}

static void later_node_leads_after_the_time_of_silence(void **state)
{
    (void)state;
    struct node node = start(2);
    uint64_t began = node.now;
    assert_int_equal(leader_node(&node.leader), 0);
    for (unsigned i = 0; i < LEADER_PINGS; i++) {
        tick(&node);
        assert_false(node.leader.leads);
        assert_false(leader_on_time(&node.leader, node.now + INTERVAL - 1));
    }
    tick(&node);
    assert_true(node.leader.leads);
    assert_int_equal(node.now, began + TAKEOVER);
    assert_int_equal(leader_node(&node.leader), 2);
}

static void one_reachable_node_before_is_enough(void **state)
{
    (void)state;
    struct node node = start(2);
    for (unsigned i = 0; i < 3 * LEADER_PINGS; i++) {
        tick(&node);
        leader_on_heard(&node.leader, 1);
        leader_on_heard(&node.leader, 3); /* not before this one: of no interest */
        leader_on_heard(&node.leader, 2);
        assert_false(node.leader.leads);
    }
    assert_int_equal(leader_node(&node.leader), 1);
    leader_on_heard(&node.leader, 0);
    assert_int_equal(leader_node(&node.leader), 0);
}

static void earlier_node_back_takes_the_lead_at_once(void **state)
{
    (void)state;
    struct node node = start(1);
    for (unsigned i = 0; i <= LEADER_PINGS; i++)
        tick(&node);
    assert_true(node.leader.leads);
    leader_on_heard(&node.leader, 0);
    assert_false(node.leader.leads);
    assert_int_equal(leader_node(&node.leader), 0);
    for (unsigned i = 0; i < LEADER_PINGS; i++)
        tick(&node);
    assert_false(node.leader.leads); /* a whole time of silence again */
    tick(&node);
    assert_true(node.leader.leads);
}

static void process_that_was_stopped_does_not_blame_the_others(void **state)
{
    (void)state;
    struct node node = start(1);
    tick(&node);
    leader_on_heard(&node.leader, 0);
    node.now += 1000 * TAKEOVER;
    assert_true(leader_on_time(&node.leader, node.now));
    assert_false(node.leader.leads);
    assert_int_equal(leader_next_ns(&node.leader), node.now + INTERVAL); /* and does not catch up on pings */
    tick(&node);
    assert_false(node.leader.leads);
}

static void shortest_time_still_passes(void **state)
{
    (void)state;
    struct leader leader;
    leader_init(&leader, 1, 2, 0, 5);
    for (unsigned i = 0; i < LEADER_PINGS; i++)
        assert_true(leader_on_time(&leader, leader_next_ns(&leader)));
    assert_false(leader.leads);
    assert_int_equal(leader_next_ns(&leader), 5 + LEADER_PINGS);
}

static void last_node_of_the_largest_grid(void **state)
{
    (void)state;
    static struct leader leader;
    leader_init(&leader, GRID_NODES_MAX - 1, GRID_NODES_MAX, TAKEOVER, 0);
    for (unsigned i = 0; i < 100; i++) {
        leader_on_heard(&leader, GRID_NODES_MAX - 2);
        leader_on_time(&leader, leader_next_ns(&leader));
    }
    assert_false(leader.leads);
    assert_int_equal(leader_node(&leader), GRID_NODES_MAX - 2);
    for (unsigned i = 0; i < LEADER_PINGS; i++)
        leader_on_time(&leader, leader_next_ns(&leader));
    assert_true(leader.leads);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_node_leads_at_once_and_pings_nobody),
        cmocka_unit_test(later_node_leads_after_the_time_of_silence),
        cmocka_unit_test(one_reachable_node_before_is_enough),
        cmocka_unit_test(earlier_node_back_takes_the_lead_at_once),
        cmocka_unit_test(process_that_was_stopped_does_not_blame_the_others),
        cmocka_unit_test(shortest_time_still_passes),
        cmocka_unit_test(last_node_of_the_largest_grid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
