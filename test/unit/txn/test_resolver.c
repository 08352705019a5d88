/* SPDX-License-Identifier: Apache-2.0 */
/** One transaction in doubt: whom it asks, when, and what the answers mean. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "txn/resolver.h"

#define MS 1000000ull
#define START (1000 * MS)

struct doubt {
    struct lane_participant participant[GRID_NODES_MAX];
    struct resolver resolver;
    uint64_t now;
};

/** Node `self` of `count` voted at START. */
static struct doubt *doubt(uint32_t count, uint32_t self)
{
    static struct doubt doubt;
    for (uint32_t i = 0; i < count; i++)
        doubt.participant[i] = (struct lane_participant){.node = i, .id = {.generation = 1, .sequence = 1}};
    doubt.now = START;
    resolver_start(&doubt.resolver, doubt.participant, count, self, START + RESOLVER_DOUBT_NS);
    return &doubt;
}

/** Who is asked now; a bit for each of the first 64. */
static uint64_t asked(struct doubt *d)
{
    uint64_t bits = 0;
    uint32_t index;
    while (resolver_next(&d->resolver, d->now, &index)) {
        assert_true(index < d->resolver.asking.count);
        if (index < 64) {
            assert_false(bits >> index & 1);
            bits |= UINT64_C(1) << index;
        }
    }
    return bits;
}

static void asks_the_others_after_a_while_and_again_with_longer_pauses(void **state)
{
    (void)state;
    struct doubt *d = doubt(4, 2);
    assert_int_equal(resolver_next_ns(&d->resolver), START + RESOLVER_DOUBT_NS);
    d->now = START + RESOLVER_DOUBT_NS - 1;
    assert_int_equal(asked(d), 0);
    uint64_t pause = ASKING_FIRST_NS;
    for (d->now++; pause < ASKING_LAST_NS; d->now = resolver_next_ns(&d->resolver)) {
        assert_int_equal(asked(d), 0xb);
        assert_int_equal(asked(d), 0);
        assert_int_equal(resolver_next_ns(&d->resolver), d->now + pause);
        pause *= 2;
    }
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(asked(d), 0xb);
        assert_int_equal(resolver_next_ns(&d->resolver), d->now + ASKING_LAST_NS);
        d->now = resolver_next_ns(&d->resolver);
    }
    assert_int_equal(d->resolver.conclusion, RESOLVER_IN_DOUBT); /* never by time */
}

static void is_hurried_by_a_broken_connection_or_a_freeze(void **state)
{
    (void)state;
    struct doubt *d = doubt(3, 0);
    d->now += 3 * MS;
    resolver_hurry(&d->resolver, START + RESOLVER_FROZEN_NS);
    assert_int_equal(resolver_next_ns(&d->resolver), START + RESOLVER_FROZEN_NS);
    resolver_hurry(&d->resolver, d->now);
    assert_int_equal(asked(d), 6);
    assert_int_equal(resolver_next_ns(&d->resolver), d->now + RESOLVER_FROZEN_NS);
    resolver_hurry(&d->resolver, d->now + 1000 * MS); /* is no delay */
    assert_int_equal(resolver_next_ns(&d->resolver), d->now + RESOLVER_FROZEN_NS);
}

static void commits_when_all_others_have_voted(void **state)
{
    (void)state;
    struct doubt *d = doubt(3, 1);
    d->now += RESOLVER_DOUBT_NS;
    assert_int_equal(asked(d), 5);
    resolver_on_answer(&d->resolver, 0, TXN_PREPARED);
    resolver_on_answer(&d->resolver, 0, TXN_PREPARED); /* twice the same is one vote */
    resolver_on_answer(&d->resolver, 1, TXN_PREPARED); /* so is its own */
    resolver_on_answer(&d->resolver, 77, TXN_PREPARED);
    assert_int_equal(d->resolver.conclusion, RESOLVER_IN_DOUBT);
    d->now = resolver_next_ns(&d->resolver);
    assert_int_equal(asked(d), 4); /* who has voted is not asked again */
    resolver_on_answer(&d->resolver, 2, TXN_PREPARED);
    assert_int_equal(d->resolver.conclusion, RESOLVER_COMMIT);
    assert_int_equal(resolver_next_ns(&d->resolver), UINT64_MAX);
    assert_int_equal(asked(d), 0);
    resolver_on_answer(&d->resolver, 2, TXN_ABORTED); /* too late to mean anything */
    assert_int_equal(d->resolver.conclusion, RESOLVER_COMMIT);
    assert_false(d->resolver.misused);
}

static void one_outcome_is_enough(void **state)
{
    (void)state;
    static const struct {
        enum txn_says says;
        enum resolver_conclusion conclusion;
        bool misused;
    } cases[] = {
        {TXN_COMMITTED, RESOLVER_COMMIT, false}, {TXN_ABORTED, RESOLVER_ABORT, false}, {TXN_NO_SESSION, RESOLVER_ABORT, false},
        {TXN_STALE, RESOLVER_ABORT, true},       {TXN_MISUSE, RESOLVER_ABORT, true},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct doubt *d = doubt(4, 0);
        d->now += RESOLVER_DOUBT_NS;
        assert_int_equal(asked(d), 0xe);
        resolver_on_answer(&d->resolver, 1, TXN_PREPARED);
        resolver_on_answer(&d->resolver, 3, cases[i].says);
        assert_int_equal(d->resolver.conclusion, cases[i].conclusion);
        assert_int_equal(d->resolver.misused, cases[i].misused);
    }
}

static void asks_on_who_does_not_answer(void **state)
{
    (void)state;
    struct doubt *d = doubt(2, 0);
    d->now += RESOLVER_DOUBT_NS;
    assert_int_equal(asked(d), 2);
    d->now = resolver_next_ns(&d->resolver);
    assert_int_equal(asked(d), 2);
    resolver_on_answer(&d->resolver, 1, TXN_ABORTED);
    assert_int_equal(d->resolver.conclusion, RESOLVER_ABORT);
}

static void own_answer_decides_nothing(void **state)
{
    (void)state;
    struct doubt *d = doubt(2, 0);
    resolver_on_answer(&d->resolver, 0, TXN_ABORTED);
    assert_int_equal(d->resolver.conclusion, RESOLVER_IN_DOUBT);
}

static void alone_it_has_all_votes(void **state)
{
    (void)state;
    struct doubt *d = doubt(1, 0);
    assert_int_equal(d->resolver.conclusion, RESOLVER_COMMIT);
    assert_int_equal(asked(d), 0);
}

static void largest_grid(void **state)
{
    (void)state;
    struct doubt *d = doubt(GRID_NODES_MAX, GRID_NODES_MAX - 1);
    d->now += RESOLVER_DOUBT_NS;
    assert_int_equal(asked(d), UINT64_MAX);
    for (uint32_t i = 0; i + 1 < GRID_NODES_MAX; i++) {
        assert_int_equal(d->resolver.conclusion, RESOLVER_IN_DOUBT);
        resolver_on_answer(&d->resolver, i, TXN_PREPARED);
    }
    assert_int_equal(d->resolver.conclusion, RESOLVER_COMMIT);
}

static void questions_may_be_fetched_in_parts(void **state)
{
    (void)state;
    struct doubt *d = doubt(3, 1);
    uint32_t index;
    d->now += RESOLVER_DOUBT_NS;
    assert_true(resolver_next(&d->resolver, d->now, &index));
    assert_int_equal(index, 0);
    assert_int_equal(resolver_next_ns(&d->resolver), 0); /* there is more */
    resolver_on_answer(&d->resolver, 2, TXN_PREPARED);
    assert_false(resolver_next(&d->resolver, d->now, &index));
    assert_int_equal(resolver_next_ns(&d->resolver), d->now + ASKING_FIRST_NS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asks_the_others_after_a_while_and_again_with_longer_pauses),
        cmocka_unit_test(is_hurried_by_a_broken_connection_or_a_freeze),
        cmocka_unit_test(commits_when_all_others_have_voted),
        cmocka_unit_test(one_outcome_is_enough),
        cmocka_unit_test(asks_on_who_does_not_answer),
        cmocka_unit_test(own_answer_decides_nothing),
        cmocka_unit_test(alone_it_has_all_votes),
        cmocka_unit_test(largest_grid),
        cmocka_unit_test(questions_may_be_fetched_in_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
