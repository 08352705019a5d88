/* SPDX-License-Identifier: Apache-2.0 */
/** One node's part in a round, event by event: each row of the rules, and times that come late or out of order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "snapshot/freeze.h"
#include "snapshot/number.h"

#define LEASE 500000000ull
#define MS 1000000ull

/* Rounds of leaders 1 and 2. */
enum { A1 = 1 << 8 | 1, B1 = 1 << 8 | 2, A2 = 2 << 8 | 1, B2 = 2 << 8 | 2, A3 = 3 << 8 | 1, B9 = 9 << 8 | 2 };

struct node {
    struct freeze freeze;
    struct freeze_effects effects;
    uint64_t now;
};

static void assert_nothing(const struct node *node)
{
    const struct freeze_effects *e = &node->effects;
    assert_false(e->store_max_round || e->close_gate || e->end_capture || e->cut || e->open_gate);
}

static void freeze(struct node *node, uint32_t round, enum freeze_answer answer)
{
    freeze_on_freeze(&node->freeze, round, LEASE, node->now, &node->effects);
    assert_int_equal(node->effects.answer, answer);
}

static void cut(struct node *node, uint32_t round, enum freeze_answer answer)
{
    freeze_on_cut(&node->freeze, round, node->now, &node->effects);
    assert_int_equal(node->effects.answer, answer);
}

static void at_time(struct node *node, bool opens, bool ends)
{
    freeze_on_time(&node->freeze, node->now, &node->effects);
    assert_int_equal(node->effects.open_gate, opens);
    assert_int_equal(node->effects.end_capture, ends);
    assert_int_equal(node->effects.answer, FREEZE_ANSWER_NONE);
}

/** A node that takes part in its first rounds. */
static struct node fresh(void)
{
    struct node node = {.now = 1000 * MS};
    freeze_init(&node.freeze, 0, 0, false, node.now);
    return node;
}

static struct node draining(uint32_t round)
{
    struct node node = fresh();
    freeze(&node, round, FREEZE_ANSWER_NONE);
    assert_true(node.effects.store_max_round && node.effects.close_gate && !node.effects.open_gate && !node.effects.cut);
    assert_int_equal(node.freeze.max_round, round);
    assert_int_equal(node.freeze.mode, FREEZE_DRAINING);
    return node;
}

static struct node frozen(uint32_t round)
{
    struct node node = draining(round);
    node.now += MS;
    freeze_on_drained(&node.freeze, node.now, &node.effects);
    assert_int_equal(node.effects.answer, FREEZE_ANSWER_FROZEN);
    assert_nothing(&node);
    return node;
}

static struct node has_cut(uint32_t round)
{
    struct node node = frozen(round);
    node.now += MS;
    cut(&node, round, FREEZE_ANSWER_CUT);
    assert_true(node.effects.cut && node.effects.open_gate && !node.effects.end_capture);
    assert_int_equal(node.effects.pause_ns, 2 * MS);
    assert_int_equal(node.freeze.cut_round, round);
    assert_int_equal(node.freeze.mode, FREEZE_NORMAL);
    return node;
}

static void again(struct node *node, uint32_t max_round, uint32_t cut_round, bool live)
{
    freeze_init(&node->freeze, max_round, cut_round, live, node->now);
}

static void duplicate_freeze_leaves_the_lease(void **state)
{
    (void)state;
    struct node node = draining(A1);
    uint64_t end = node.now + LEASE;
    node.now += 300 * MS;
    freeze(&node, A1, FREEZE_ANSWER_NONE); /* not drained: nothing to say yet */
    assert_nothing(&node);
    freeze_on_drained(&node.freeze, node.now, &node.effects);
    assert_int_equal(node.effects.answer, FREEZE_ANSWER_FROZEN);
    freeze(&node, A1, FREEZE_ANSWER_FROZEN);
    assert_nothing(&node);
    assert_int_equal(freeze_next_ns(&node.freeze), end);
    node.now = end - 1;
    at_time(&node, false, false);
    node.now = end;
    at_time(&node, true, false);
    assert_int_equal(freeze_next_ns(&node.freeze), UINT64_MAX);
}

static void round_freezes_at_most_once(void **state)
{
    (void)state;
    struct node node = frozen(B1);
    node.now += LEASE;
    at_time(&node, true, false);
    node.now += FREEZE_GAP_NS;
    freeze(&node, B1, FREEZE_ANSWER_OLD);
    assert_nothing(&node);
    freeze(&node, A1, FREEZE_ANSWER_OLD); /* lower, never seen: old all the same */
    cut(&node, B1, FREEZE_ANSWER_REFUSED);
    assert_nothing(&node);
    again(&node, B1, 0, false); /* remembered by the header */
    freeze(&node, B1, FREEZE_ANSWER_OLD);
    again(&node, 0, B1, false); /* a cut round was a frozen round, whatever else the header says */
    freeze(&node, B1, FREEZE_ANSWER_OLD);
    freeze(&node, A2, FREEZE_ANSWER_NONE);
}

static void round_is_old_before_it_is_busy(void **state)
{
    (void)state;
    struct node node = frozen(A2);
    freeze(&node, A1, FREEZE_ANSWER_OLD);
    freeze(&node, B2, FREEZE_ANSWER_BUSY);
    assert_int_equal(node.freeze.max_round, A2);
    assert_nothing(&node);
    freeze(&node, A3, FREEZE_ANSWER_BUSY); /* not even the same leader: writers would starve */
    cut(&node, A2, FREEZE_ANSWER_CUT);     /* and the refused ones did no harm */
}

static void failed_freeze_leaves_writers_a_gap(void **state)
{
    (void)state;
    struct node node = frozen(A1);
    freeze_on_unfreeze(&node.freeze, A1, node.now, &node.effects);
    assert_true(node.effects.open_gate);
    assert_int_equal(node.effects.answer, FREEZE_ANSWER_OK);
    node.now += FREEZE_GAP_NS - 1;
    freeze(&node, A2, FREEZE_ANSWER_BUSY);
    node.now += 1;
    freeze(&node, A2, FREEZE_ANSWER_NONE);
    node.now += LEASE + 77; /* a late timer: the gap begins when writers go on, not when they should have */
    at_time(&node, true, false);
    node.now += FREEZE_GAP_NS - 1;
    freeze(&node, A3, FREEZE_ANSWER_BUSY);
}

static void others_unfreeze_nothing(void **state)
{
    (void)state;
    struct node node = frozen(A2);
    freeze_on_unfreeze(&node.freeze, A1, node.now, &node.effects);
    assert_nothing(&node);
    assert_int_equal(node.effects.answer, FREEZE_ANSWER_OK);
    freeze_on_end(&node.freeze, B1, node.now, &node.effects);
    assert_nothing(&node);
    assert_int_equal(node.freeze.mode, FREEZE_FROZEN);
    freeze_on_end(&node.freeze, A2, node.now, &node.effects); /* the end of a round unfreezes too */
    assert_true(node.effects.open_gate && !node.effects.end_capture);
}

static void undrained_node_does_not_cut(void **state)
{
    (void)state;
    struct node node = draining(A1);
    cut(&node, A1, FREEZE_ANSWER_REFUSED);
    assert_nothing(&node);
    assert_int_equal(node.freeze.mode, FREEZE_DRAINING);
    assert_int_equal(node.freeze.cut_round, 0);
}

static void cut_of_another_round_is_refused(void **state)
{
    (void)state;
    struct node node = frozen(A2);
    cut(&node, A1, FREEZE_ANSWER_REFUSED);
    cut(&node, B2, FREEZE_ANSWER_REFUSED);
    cut(&node, 0, FREEZE_ANSWER_REFUSED); /* no cut yet is not round 0 */
    assert_nothing(&node);
    assert_int_equal(node.freeze.mode, FREEZE_FROZEN);
}

static void duplicate_cut_is_told_again(void **state)
{
    (void)state;
    struct node node = has_cut(A1);
    node.now += 3 * MS;
    cut(&node, A1, FREEZE_ANSWER_CUT);
    assert_nothing(&node);
    assert_int_equal(node.effects.pause_ns, 2 * MS);
    again(&node, A1, A1, true);
    cut(&node, A1, FREEZE_ANSWER_CUT);
    assert_nothing(&node);
    cut(&node, B1, FREEZE_ANSWER_REFUSED);
    freeze(&node, A1, FREEZE_ANSWER_OLD);
}

static void lease_over_refuses_the_cut(void **state)
{
    (void)state;
    struct node node = draining(A1);
    uint64_t end = node.now + LEASE;
    freeze_on_drained(&node.freeze, node.now, &node.effects);
    struct node late = node;
    node.now = end - 1;
    cut(&node, A1, FREEZE_ANSWER_CUT);
    late.now = end; /* the timer has not come yet */
    cut(&late, A1, FREEZE_ANSWER_REFUSED);
    assert_true(late.effects.open_gate && !late.effects.cut);
    assert_int_equal(late.freeze.mode, FREEZE_NORMAL);
    cut(&late, A1, FREEZE_ANSWER_REFUSED);
    assert_nothing(&late);
}

/* Every event notices that the lease is over. */
static void late_timer_holds_nobody(void **state)
{
    (void)state;
    struct node node = draining(A1);
    node.now += LEASE;
    struct node drained = node, same = node, other = node, ended = node;
    freeze_on_drained(&drained.freeze, node.now, &drained.effects);
    assert_int_equal(drained.effects.answer, FREEZE_ANSWER_NONE);
    assert_true(drained.effects.open_gate);
    freeze(&same, A1, FREEZE_ANSWER_OLD);
    assert_true(same.effects.open_gate && !same.effects.close_gate);
    freeze(&other, A2, FREEZE_ANSWER_BUSY);
    assert_true(other.effects.open_gate && !other.effects.close_gate);
    freeze_on_end(&ended.freeze, B1, node.now, &ended.effects);
    assert_true(ended.effects.open_gate);
}

static void lease_has_a_bound(void **state)
{
    (void)state;
    struct node node = fresh();
    freeze_on_freeze(&node.freeze, A1, UINT64_MAX, node.now, &node.effects);
    assert_int_equal(freeze_next_ns(&node.freeze), node.now + FREEZE_LEASE_NS_MAX);
    node = fresh();
    freeze_on_freeze(&node.freeze, A1, 0, node.now, &node.effects);
    freeze_on_drained(&node.freeze, node.now, &node.effects);
    assert_true(node.effects.open_gate);
    assert_int_equal(node.effects.answer, FREEZE_ANSWER_NONE);
}

static void capture_refuses_other_leaders(void **state)
{
    (void)state;
    struct node node = has_cut(A1);
    freeze(&node, B2, FREEZE_ANSWER_BUSY);
    node.now += FREEZE_IDLE_NS - 1;
    freeze(&node, B2, FREEZE_ANSWER_BUSY);
    freeze_on_progress(&node.freeze, B1, node.now); /* of another round: counts for nothing */
    struct node idle = node;
    idle.now += 1;
    freeze(&idle, B2, FREEZE_ANSWER_NONE);
    assert_false(idle.effects.end_capture); /* the cut ends it, and not before */
    freeze_on_progress(&node.freeze, A1, node.now);
    freeze_on_progress(&node.freeze, A1, node.now - 5 * MS); /* out of order */
    node.now += FREEZE_IDLE_NS - 1;
    freeze(&node, B2, FREEZE_ANSWER_BUSY);
    node.now += 1;
    freeze(&node, B2, FREEZE_ANSWER_NONE);
}

static void capture_gives_way_to_its_own_leader(void **state)
{
    (void)state;
    struct node node = has_cut(A1);
    freeze(&node, B1, FREEZE_ANSWER_BUSY);
    freeze(&node, A2, FREEZE_ANSWER_NONE);
    node = has_cut(A1);
    freeze_on_end(&node.freeze, A1, node.now, &node.effects);
    assert_true(node.effects.end_capture && !node.effects.open_gate);
    freeze(&node, B2, FREEZE_ANSWER_NONE); /* a round that cut leaves no gap */
    freeze_on_end(&node.freeze, A1, node.now, &node.effects);
    assert_nothing(&node); /* a duplicate */
}

static void capture_ends_by_itself_when_nobody_reads(void **state)
{
    (void)state;
    struct node node = has_cut(A1);
    node.now += 50 * 1000 * MS;
    freeze_on_progress(&node.freeze, A1, node.now);
    node.now += FREEZE_CAPTURE_NS - 1;
    at_time(&node, false, false);
    assert_int_equal(freeze_next_ns(&node.freeze), node.now + 1);
    node.now += 1;
    at_time(&node, false, true);
    at_time(&node, false, false);
    assert_int_equal(freeze_next_ns(&node.freeze), UINT64_MAX);
    cut(&node, A1, FREEZE_ANSWER_CUT); /* cut it was, for ever */
}

static void capture_outlives_the_server(void **state)
{
    (void)state;
    struct node node = has_cut(A1);
    node.now += 100;
    again(&node, A1, A1, true);
    freeze(&node, B2, FREEZE_ANSWER_BUSY);
    freeze_on_end(&node.freeze, A1, node.now, &node.effects);
    assert_true(node.effects.end_capture);
}

static void restart_opens_the_gate_for_good(void **state)
{
    (void)state;
    struct node node = frozen(A1);
    again(&node, A1, 0, false);
    assert_int_equal(freeze_next_ns(&node.freeze), UINT64_MAX);
    cut(&node, A1, FREEZE_ANSWER_REFUSED);
    freeze(&node, A1, FREEZE_ANSWER_OLD);
}

static void newer_cut_forgets_the_older(void **state)
{
    (void)state;
    struct node node = has_cut(A1);
    freeze(&node, A2, FREEZE_ANSWER_NONE);
    freeze_on_drained(&node.freeze, node.now, &node.effects);
    cut(&node, A1, FREEZE_ANSWER_CUT); /* still the last one */
    cut(&node, A2, FREEZE_ANSWER_CUT);
    assert_true(node.effects.cut);
    cut(&node, A1, FREEZE_ANSWER_REFUSED);
    freeze_on_end(&node.freeze, A1, node.now, &node.effects);
    assert_nothing(&node);
    assert_true(node.freeze.capture_live);
}

static void numbers_end_without_wrapping(void **state)
{
    (void)state;
    struct node node = fresh();
    freeze(&node, (ROUND_COUNTER_MAX + 1) << 8, FREEZE_ANSWER_OLD);
    freeze(&node, UINT32_MAX, FREEZE_ANSWER_OLD);
    assert_int_equal(node.freeze.max_round, 0);
    freeze(&node, 0, FREEZE_ANSWER_OLD);
    freeze(&node, ROUND_COUNTER_MAX << 8 | 0xff, FREEZE_ANSWER_NONE);
}

/* Threads take the time before they take the lock: it may come out of order by a little. */
static void times_out_of_order_give_no_nonsense(void **state)
{
    (void)state;
    struct node node = frozen(A1);
    freeze_on_cut(&node.freeze, A1, node.freeze.held_since_ns - 5, &node.effects);
    assert_int_equal(node.effects.answer, FREEZE_ANSWER_CUT);
    assert_int_equal(node.effects.pause_ns, 0);
    node.now = 0;
    freeze(&node, B9, FREEZE_ANSWER_BUSY);
    at_time(&node, false, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(duplicate_freeze_leaves_the_lease),
        cmocka_unit_test(round_freezes_at_most_once),
        cmocka_unit_test(round_is_old_before_it_is_busy),
        cmocka_unit_test(failed_freeze_leaves_writers_a_gap),
        cmocka_unit_test(others_unfreeze_nothing),
        cmocka_unit_test(undrained_node_does_not_cut),
        cmocka_unit_test(cut_of_another_round_is_refused),
        cmocka_unit_test(duplicate_cut_is_told_again),
        cmocka_unit_test(lease_over_refuses_the_cut),
        cmocka_unit_test(late_timer_holds_nobody),
        cmocka_unit_test(lease_has_a_bound),
        cmocka_unit_test(capture_refuses_other_leaders),
        cmocka_unit_test(capture_gives_way_to_its_own_leader),
        cmocka_unit_test(capture_ends_by_itself_when_nobody_reads),
        cmocka_unit_test(capture_outlives_the_server),
        cmocka_unit_test(restart_opens_the_gate_for_good),
        cmocka_unit_test(newer_cut_forgets_the_older),
        cmocka_unit_test(numbers_end_without_wrapping),
        cmocka_unit_test(times_out_of_order_give_no_nonsense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
