/* SPDX-License-Identifier: Apache-2.0 */
/** A session whose client is gone: what must be told before it is given back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "txn/collector.h"

#define MS 1000000ull

struct session {
    struct lane_view lane[LANES];
    struct lane_participant participant[3];
    uint32_t participants;
    struct collector collector;
    uint64_t now;
};

static struct session abandoned(void)
{
    struct session session = {.participants = 3, .now = 1000 * MS};
    collector_start(&session.collector);
    return session;
}

static void look(struct session *s)
{
    while (s->collector.look)
        collector_on_lane(&s->collector, &s->lane[s->collector.lane], s->participant, s->participants, 1, s->now);
}

static unsigned told(struct session *s)
{
    unsigned bits = 0;
    uint32_t index;
    while (collector_next(&s->collector, s->now, &index))
        bits |= 1u << index;
    return bits;
}

static void record(struct session *s, uint32_t lane, enum lane_state state)
{
    s->lane[lane] = (struct lane_view){.generation = 1, .sequence = 10 + lane, .state = state};
}

static void nothing_committed_is_given_back_at_once(void **state)
{
    (void)state;
    struct session s = abandoned();
    record(&s, 3, LANE_ABORTED);
    record(&s, LANES - 1, LANE_ABORTED);
    assert_int_equal(collector_next_ns(&s.collector), 0);
    look(&s);
    assert_true(s.collector.done);
    assert_int_equal(told(&s), 0);
    assert_int_equal(collector_next_ns(&s.collector), UINT64_MAX);
}

static void committed_here_alone_is_given_back_at_once(void **state)
{
    (void)state;
    struct session s = abandoned();
    record(&s, 3, LANE_COMMITTED);
    s.participants = 1;
    while (s.collector.look)
        collector_on_lane(&s.collector, &s.lane[s.collector.lane], s.participant, 1, 0, s.now);
    assert_true(s.collector.done);
}

static void committed_is_told_until_all_know(void **state)
{
    (void)state;
    struct session s = abandoned();
    record(&s, 2, LANE_COMMITTED);
    look(&s);
    assert_false(s.collector.done);
    assert_int_equal(s.collector.lane, 2);
    assert_int_equal(told(&s), 5);
    collector_on_answer(&s.collector, 2, 12, 0, TXN_COMMITTED);
    collector_on_answer(&s.collector, 2, 12, 0, TXN_COMMITTED);
    assert_false(s.collector.look);
    assert_int_equal(collector_next_ns(&s.collector), s.now + ASKING_FIRST_NS);
    s.now = collector_next_ns(&s.collector);
    assert_int_equal(told(&s), 4);
    collector_on_answer(&s.collector, 2, 12, 2, TXN_PREPARED); /* not applied */
    collector_on_answer(&s.collector, 2, 11, 2, TXN_COMMITTED); /* of another transaction */
    collector_on_answer(&s.collector, 1, 12, 2, TXN_COMMITTED);
    assert_false(s.collector.look);
    collector_on_answer(&s.collector, 2, 12, 2, TXN_COMMITTED);
    assert_true(s.collector.look);
    look(&s);
    assert_true(s.collector.done);
}

static void each_answer_but_prepared_says_that_nobody_is_in_doubt(void **state)
{
    (void)state;
    static const enum txn_says says[] = {TXN_NO_SESSION, TXN_STALE, TXN_COMMITTED, TXN_ABORTED, TXN_MISUSE};
    for (unsigned i = 0; i < 5; i++) {
        struct session s = abandoned();
        record(&s, 0, LANE_COMMITTED);
        look(&s);
        collector_on_answer(&s.collector, 0, 10, 0, says[i]);
        collector_on_answer(&s.collector, 0, 10, 2, says[i]);
        look(&s);
        assert_true(s.collector.done);
    }
}

static void prepared_is_waited_for(void **state)
{
    (void)state;
    struct session s = abandoned();
    record(&s, 4, LANE_PREPARED);
    look(&s);
    assert_int_equal(collector_next_ns(&s.collector), s.now + COLLECTOR_LOOK_NS);
    assert_int_equal(told(&s), 0);
    collector_on_time(&s.collector, s.now);
    assert_false(s.collector.look);
    s.now += COLLECTOR_LOOK_NS;
    collector_on_time(&s.collector, s.now);
    record(&s, 4, LANE_COMMITTING);
    look(&s);
    assert_false(s.collector.done);
    s.now += COLLECTOR_LOOK_NS;
    collector_on_time(&s.collector, s.now);
    record(&s, 4, LANE_COMMITTED);
    look(&s);
    assert_int_equal(told(&s), 5);
    collector_on_answer(&s.collector, 4, 14, 0, TXN_COMMITTED);
    collector_on_answer(&s.collector, 4, 14, 2, TXN_COMMITTED);
    look(&s);
    assert_true(s.collector.done);
}

static void lanes_one_after_the_other(void **state)
{
    (void)state;
    struct session s = abandoned();
    for (uint32_t i = 0; i < LANES; i++)
        record(&s, i, LANE_COMMITTED);
    for (uint32_t i = 0; i < LANES; i++) {
        look(&s);
        assert_false(s.collector.done);
        assert_int_equal(s.collector.lane, i);
        assert_int_equal(told(&s), 5);
        collector_on_answer(&s.collector, i, 10 + i, 2, TXN_COMMITTED);
        collector_on_answer(&s.collector, i, 10 + i, 0, TXN_STALE);
    }
    look(&s);
    assert_true(s.collector.done);
}

static void record_that_changed_while_it_was_told_is_looked_at_anew(void **state)
{
    (void)state;
    struct session s = abandoned();
    record(&s, 0, LANE_COMMITTED);
    look(&s);
    collector_on_answer(&s.collector, 0, 10, 0, TXN_COMMITTED);
    collector_on_answer(&s.collector, 0, 10, 2, TXN_COMMITTED);
    s.lane[0].sequence = 11;
    look(&s);
    assert_false(s.collector.done);
    assert_int_equal(s.collector.sequence, 11);
    assert_int_equal(told(&s), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_committed_is_given_back_at_once),
        cmocka_unit_test(committed_here_alone_is_given_back_at_once),
        cmocka_unit_test(committed_is_told_until_all_know),
        cmocka_unit_test(each_answer_but_prepared_says_that_nobody_is_in_doubt),
        cmocka_unit_test(prepared_is_waited_for),
        cmocka_unit_test(lanes_one_after_the_other),
        cmocka_unit_test(record_that_changed_while_it_was_told_is_looked_at_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
