/* SPDX-License-Identifier: Apache-2.0 */
/** The leader's side of a round, event by event. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "snapshot/freeze.h"
#include "snapshot/round.h"

#define MS 1000000ull
#define NODES 3u

_Static_assert(ROUND_LEASE_NS <= FREEZE_LEASE_NS_MAX, "nodes grant the lease that rounds ask for");

struct leader {
    struct round round;
    struct round_effects effects;
    uint64_t now;
};

static void assert_sends(const struct leader *leader, enum round_send send, uint32_t nodes_mask)
{
    assert_int_equal(leader->effects.send, send);
    if (send == ROUND_SEND_NOTHING)
        return;
    for (uint32_t i = 0; i < GRID_NODES_MAX; i++)
        assert_int_equal(leader->effects.to[i], i < 32 && (nodes_mask >> i & 1));
}

static void assert_quiet(const struct leader *leader)
{
    assert_int_equal(leader->effects.send, ROUND_SEND_NOTHING);
    assert_int_equal(leader->effects.outcome, ROUND_RUNS);
}

static void assert_discarded(const struct leader *leader, uint32_t node, const char *word)
{
    assert_int_equal(leader->effects.outcome, ROUND_DISCARDED);
    assert_int_equal(leader->effects.node, node);
    assert_non_null(strstr(leader->effects.why, word));
    assert_sends(leader, ROUND_SEND_END, 7);
    assert_int_equal(leader->round.phase, ROUND_IDLE);
    assert_int_equal(round_next_ns(&leader->round), UINT64_MAX);
}

static struct leader freezing(void)
{
    struct leader leader = {.now = 777 * MS};
    round_init(&leader.round, 5 << 8 | 9);
    round_start(&leader.round, round_number_after(leader.round.seen, 2), NODES, leader.now, &leader.effects);
    assert_int_equal(leader.round.number, 6 << 8 | 2);
    assert_sends(&leader, ROUND_SEND_FREEZE, 7);
    assert_int_equal(leader.effects.outcome, ROUND_RUNS);
    return leader;
}

static void frozen(struct leader *leader, uint32_t node)
{
    round_on_frozen(&leader->round, node, leader->now, &leader->effects);
}

static void cut(struct leader *leader, uint32_t node, bool done, uint64_t pause_ns)
{
    round_on_cut(&leader->round, node, done, pause_ns, leader->now, &leader->effects);
}

static struct leader cutting(void)
{
    struct leader leader = freezing();
    leader.now += 10 * MS;
    frozen(&leader, 1);
    assert_quiet(&leader);
    frozen(&leader, 1);
    frozen(&leader, 0);
    assert_quiet(&leader);
    frozen(&leader, 2);
    assert_sends(&leader, ROUND_SEND_CUT, 7);
    return leader;
}

static struct leader collecting(void)
{
    struct leader leader = cutting();
    leader.now += 10 * MS;
    cut(&leader, 2, true, 11 * MS);
    cut(&leader, 2, true, 99 * MS); /* a duplicate */
    cut(&leader, 0, true, 19 * MS);
    assert_quiet(&leader);
    cut(&leader, 1, true, 3);
    assert_int_equal(leader.effects.outcome, ROUND_COLLECT);
    assert_int_equal(leader.effects.send, ROUND_SEND_NOTHING);
    assert_int_equal(leader.round.longest_pause_ns, 19 * MS);
    return leader;
}

static void captured(struct leader *leader, uint32_t node)
{
    round_on_captured(&leader->round, node, leader->now, &leader->effects);
}

static struct leader committing(void)
{
    struct leader leader = collecting();
    captured(&leader, 0);
    captured(&leader, 0);
    captured(&leader, 2);
    assert_quiet(&leader);
    captured(&leader, 1);
    assert_int_equal(leader.effects.outcome, ROUND_COMMIT);
    return leader;
}

static void whole_round(void **state)
{
    (void)state;
    struct leader leader = committing();
    round_on_committed(&leader.round, leader.now, &leader.effects);
    assert_int_equal(leader.effects.outcome, ROUND_DONE);
    assert_sends(&leader, ROUND_SEND_END, 7);
    round_start(&leader.round, round_number_after(leader.round.seen, 2), NODES, leader.now, &leader.effects);
    assert_sends(&leader, ROUND_SEND_FREEZE, 7);
    assert_int_equal(leader.round.longest_pause_ns, 0);
    frozen(&leader, 0);
    frozen(&leader, 1);
    assert_quiet(&leader); /* nothing of the last round counts */
}

static void silent_nodes_are_asked_again(void **state)
{
    (void)state;
    struct leader leader = freezing();
    frozen(&leader, 1);
    leader.now += ROUND_REPEAT_NS - 1;
    round_on_time(&leader.round, leader.now, &leader.effects);
    assert_quiet(&leader);
    leader.now += 1;
    assert_int_equal(round_next_ns(&leader.round), leader.now);
    round_on_time(&leader.round, leader.now, &leader.effects);
    assert_sends(&leader, ROUND_SEND_FREEZE, 5);
    frozen(&leader, 0);
    frozen(&leader, 2);
    cut(&leader, 0, true, 1);
    leader.now += ROUND_REPEAT_NS;
    round_on_time(&leader.round, leader.now, &leader.effects);
    assert_sends(&leader, ROUND_SEND_CUT, 6);
}

static void silent_node_fails_the_round(void **state)
{
    (void)state;
    struct leader leader = freezing();
    frozen(&leader, 0);
    leader.now += ROUND_FREEZE_NS;
    struct leader late = leader;
    round_on_time(&leader.round, leader.now, &leader.effects);
    assert_discarded(&leader, 1, "not frozen in time");
    frozen(&late, 1); /* the answer comes before the timer, but too late all the same */
    assert_discarded(&late, 1, "not frozen in time");

    leader = cutting();
    cut(&leader, 0, true, 1);
    leader.now += ROUND_CUT_NS - 1;
    leader.round.repeat_ns = UINT64_MAX;
    round_on_time(&leader.round, leader.now, &leader.effects);
    assert_quiet(&leader);
    assert_int_equal(round_next_ns(&leader.round), ++leader.now);
    round_on_time(&leader.round, leader.now, &leader.effects);
    assert_discarded(&leader, 1, "answer to the cut");
}

static void late_cut_counts(void **state)
{
    (void)state;
    struct leader leader = cutting();
    leader.now += ROUND_CUT_NS;
    for (uint32_t i = 0; i < NODES; i++)
        cut(&leader, i, true, 1);
    assert_int_equal(leader.effects.outcome, ROUND_COLLECT);
}

static void refusal_ends_the_round_and_is_remembered(void **state)
{
    (void)state;
    struct leader leader = freezing();
    round_on_refused(&leader.round, 1, true, 70 << 8, leader.now, &leader.effects);
    assert_discarded(&leader, 1, "taken part");
    round_on_refused(&leader.round, 2, false, 90 << 8, leader.now, &leader.effects); /* over, but good to know */
    assert_quiet(&leader);
    round_see(&leader.round, 80 << 8);
    assert_int_equal(leader.round.seen, 90 << 8);
    leader = freezing();
    round_on_refused(&leader.round, 0, false, 0, leader.now, &leader.effects);
    assert_discarded(&leader, 0, "another round");
    assert_int_equal(leader.round.seen, 6 << 8 | 2);
}

static void echo_of_a_repeated_freeze_is_no_refusal(void **state)
{
    (void)state;
    struct leader leader = freezing();
    frozen(&leader, 1);
    round_on_refused(&leader.round, 1, true, leader.round.number, leader.now, &leader.effects);
    assert_quiet(&leader);
    leader = cutting();
    round_on_refused(&leader.round, 1, true, leader.round.number, leader.now, &leader.effects);
    assert_quiet(&leader);
}

static void one_refused_cut_ends_the_round(void **state)
{
    (void)state;
    struct leader leader = cutting();
    cut(&leader, 0, true, 1);
    cut(&leader, 1, true, 1);
    cut(&leader, 0, false, 0); /* after a later round's cut, say; this one was done */
    assert_quiet(&leader);
    cut(&leader, 2, false, 0);
    assert_discarded(&leader, 2, "lease");
    cut(&leader, 2, true, 1);
    assert_quiet(&leader);
}

static void answers_out_of_phase_change_nothing(void **state)
{
    (void)state;
    struct leader leader = freezing();
    for (uint32_t i = 0; i < NODES; i++) {
        cut(&leader, i, false, 0);
        assert_quiet(&leader);
        cut(&leader, i, true, 1);
        assert_quiet(&leader);
        captured(&leader, i);
        assert_quiet(&leader);
    }
    cut(&leader, 0, false, 0);
    assert_quiet(&leader);
    leader = collecting();
    frozen(&leader, 0);
    assert_quiet(&leader);
    cut(&leader, 0, false, 0);
    assert_quiet(&leader);
}

static void node_that_stops_sending_fails_the_round(void **state)
{
    (void)state;
    struct leader leader = collecting();
    captured(&leader, 1);
    uint64_t began = leader.now;
    leader.now += ROUND_SILENCE_NS - 1;
    round_on_progress(&leader.round, 0, leader.now);
    round_on_progress(&leader.round, 0, began); /* out of order */
    round_on_time(&leader.round, leader.now, &leader.effects);
    assert_quiet(&leader);
    assert_int_equal(round_next_ns(&leader.round), leader.now + 1);
    leader.now += 1;
    round_on_time(&leader.round, leader.now, &leader.effects);
    assert_discarded(&leader, 2, "stopped sending");
}

static void failures_count_while_the_node_is_needed(void **state)
{
    (void)state;
    struct leader leader = freezing();
    frozen(&leader, 0);
    round_on_failed(&leader.round, 0, "gone", leader.now, &leader.effects);
    assert_discarded(&leader, 0, "gone");
    round_on_failed(&leader.round, 0, "gone", leader.now, &leader.effects);
    assert_quiet(&leader);

    leader = collecting();
    captured(&leader, 1);
    round_on_failed(&leader.round, 1, "gone", leader.now, &leader.effects);
    assert_quiet(&leader);
    round_on_failed(&leader.round, 2, "pool full", leader.now, &leader.effects);
    assert_discarded(&leader, 2, "pool full");

    leader = committing();
    round_on_failed(&leader.round, 2, "gone", leader.now, &leader.effects);
    assert_quiet(&leader);
    assert_int_equal(leader.round.phase, ROUND_COMMITTING);
    round_on_failed(&leader.round, UINT32_MAX, "disk full", leader.now, &leader.effects);
    assert_discarded(&leader, UINT32_MAX, "disk full");
}

static void largest_grid(void **state)
{
    (void)state;
    static struct leader leader;
    round_init(&leader.round, 0);
    round_start(&leader.round, round_number_after(0, 255), GRID_NODES_MAX, 0, &leader.effects);
    assert_int_equal(leader.round.number, 1 << 8 | 255);
    for (uint32_t i = 0; i < GRID_NODES_MAX; i++) {
        assert_true(leader.effects.to[i] || i > 0);
        frozen(&leader, i);
    }
    assert_int_equal(leader.effects.send, ROUND_SEND_CUT);
    for (uint32_t i = 0; i < GRID_NODES_MAX; i++) {
        assert_true(leader.effects.to[i] || i > 0);
        cut(&leader, i, true, i);
    }
    assert_int_equal(leader.effects.outcome, ROUND_COLLECT);
    for (uint32_t i = 0; i < GRID_NODES_MAX; i++)
        captured(&leader, i);
    assert_int_equal(leader.effects.outcome, ROUND_COMMIT);
}

static void smallest_grid(void **state)
{
    (void)state;
    struct leader leader;
    round_init(&leader.round, 0);
    round_start(&leader.round, 1 << 8, 1, 0, &leader.effects);
    assert_sends(&leader, ROUND_SEND_FREEZE, 1);
    round_on_frozen(&leader.round, 0, 0, &leader.effects);
    assert_sends(&leader, ROUND_SEND_CUT, 1);
    round_on_cut(&leader.round, 0, true, 0, 0, &leader.effects);
    assert_int_equal(leader.effects.outcome, ROUND_COLLECT);
}

static void numbers_grow_and_end(void **state)
{
    (void)state;
    assert_int_equal(round_number_after(0, 0), 1 << 8);
    assert_int_equal(round_number_after(7 << 8 | 200, 3), 8 << 8 | 3);
    uint32_t last = ROUND_COUNTER_MAX << 8;
    assert_int_equal(round_number_after(last - 1, 255), last | 255);
    assert_int_equal(round_number_after(last, 255), 0);
    assert_int_equal(round_number_after(UINT32_MAX, 0), 0);
    assert_int_equal(round_leader(last | 77), 77);
    assert_int_equal(round_counter(last | 77), ROUND_COUNTER_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_round),
        cmocka_unit_test(silent_nodes_are_asked_again),
        cmocka_unit_test(silent_node_fails_the_round),
        cmocka_unit_test(late_cut_counts),
        cmocka_unit_test(refusal_ends_the_round_and_is_remembered),
        cmocka_unit_test(echo_of_a_repeated_freeze_is_no_refusal),
        cmocka_unit_test(one_refused_cut_ends_the_round),
        cmocka_unit_test(answers_out_of_phase_change_nothing),
        cmocka_unit_test(node_that_stops_sending_fails_the_round),
        cmocka_unit_test(failures_count_while_the_node_is_needed),
        cmocka_unit_test(largest_grid),
        cmocka_unit_test(smallest_grid),
        cmocka_unit_test(numbers_grow_and_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
