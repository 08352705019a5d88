/* SPDX-License-Identifier: Apache-2.0 */
/** When rounds start: ticks, requests, pauses after failures, lines for the log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "snapshot/round.h"
#include "snapshot/schedule.h"

#define S 1000000000ull
#define BEGIN (77 * S)
#define LEASE ROUND_LEASE_NS

static struct schedule every(uint64_t interval_ns)
{
    struct schedule schedule;
    schedule_init(&schedule, interval_ns, BEGIN);
    return schedule;
}

/** A round becomes due at exactly this time, and starts. */
static void starts_at(struct schedule *schedule, uint64_t now)
{
    assert_int_equal(schedule_next_ns(schedule), now);
    assert_false(schedule_due(schedule, true, now - 1));
    assert_true(schedule_due(schedule, true, now));
    schedule_on_started(schedule);
    assert_int_equal(schedule_next_ns(schedule), UINT64_MAX);
    assert_false(schedule_due(schedule, true, now));
}

static void done(struct schedule *schedule, uint64_t now)
{
    assert_int_equal(schedule_on_done(schedule, now), SCHEDULE_LOG_NOTHING);
}

static void ticks_have_no_jitter(void **state)
{
    (void)state;
    struct schedule schedule = every(10 * S);
    starts_at(&schedule, BEGIN + 10 * S);
    done(&schedule, BEGIN + 13 * S);
    starts_at(&schedule, BEGIN + 20 * S);
    done(&schedule, BEGIN + 29 * S);
    assert_true(schedule_due(&schedule, true, BEGIN + 34 * S)); /* a late timer moves this round, and no other */
    schedule_on_started(&schedule);
    done(&schedule, BEGIN + 35 * S);
    starts_at(&schedule, BEGIN + 40 * S);
}

static void missed_ticks_are_skipped(void **state)
{
    (void)state;
    struct schedule schedule = every(10 * S);
    starts_at(&schedule, BEGIN + 10 * S);
    assert_false(schedule_due(&schedule, true, BEGIN + 20 * S));
    done(&schedule, BEGIN + 40 * S); /* those at 20, 30 and 40 are gone */
    starts_at(&schedule, BEGIN + 50 * S);
    done(&schedule, BEGIN + 51 * S);
    assert_true(schedule_due(&schedule, true, BEGIN + 95 * S)); /* stopped for long: one round, not four */
    schedule_on_started(&schedule);
    done(&schedule, BEGIN + 96 * S);
    starts_at(&schedule, BEGIN + 100 * S);
}

static void without_interval_only_requests_start_rounds(void **state)
{
    (void)state;
    struct schedule schedule = every(0);
    assert_int_equal(schedule_next_ns(&schedule), UINT64_MAX);
    assert_false(schedule_due(&schedule, true, UINT64_MAX));
    schedule_on_request(&schedule, false);
    assert_true(schedule_due(&schedule, true, BEGIN));
    schedule_on_started(&schedule);
    done(&schedule, BEGIN + S);
    assert_false(schedule_due(&schedule, true, UINT64_MAX));
}

static void request_joins_only_a_round_that_has_not_cut(void **state)
{
    (void)state;
    struct schedule schedule = every(0);
    schedule_on_request(&schedule, true); /* none runs */
    assert_true(schedule_due(&schedule, true, BEGIN));
    schedule_on_started(&schedule);
    schedule_on_request(&schedule, true);
    struct schedule after = schedule;
    done(&schedule, BEGIN + S);
    assert_false(schedule_due(&schedule, true, BEGIN + S));
    schedule_on_request(&after, false);
    done(&after, BEGIN + S);
    assert_true(schedule_due(&after, true, BEGIN + S));
}

static void failed_round_is_tried_again_after_one_to_three_leases(void **state)
{
    (void)state;
    const uint64_t randoms[] = {0, 2 * LEASE, 12345, UINT64_MAX};
    for (size_t i = 0; i < sizeof randoms / sizeof *randoms; i++) {
        struct schedule schedule = every(10 * S);
        starts_at(&schedule, BEGIN + 10 * S);
        schedule_on_failed(&schedule, randoms[i], BEGIN + 11 * S);
        uint64_t retry = BEGIN + 11 * S + LEASE + randoms[i] % (2 * LEASE + 1);
        assert_in_range(retry, BEGIN + 11 * S + LEASE, BEGIN + 11 * S + 3 * LEASE);
        starts_at(&schedule, retry);
        assert_int_equal(schedule_on_done(&schedule, BEGIN + 13 * S), SCHEDULE_LOG_RECOVERY);
        starts_at(&schedule, BEGIN + 20 * S);
    }
}

static void pauses_double_up_to_the_interval(void **state)
{
    (void)state;
    struct schedule schedule = every(10 * S);
    uint64_t now = BEGIN + 10 * S;
    starts_at(&schedule, now);
    const uint64_t leases[] = {1, 2, 4, 8, 16, 19, 19, 19}; /* 20 are the interval; less a random pause, here the smallest */
    for (size_t i = 0; i < sizeof leases / sizeof *leases; i++) {
        schedule_on_failed(&schedule, 0, now);
        now += leases[i] * LEASE;
        starts_at(&schedule, now);
    }
    for (int i = 0; i < 100; i++) {
        schedule_on_failed(&schedule, UINT64_MAX, now);
        assert_in_range(schedule_next_ns(&schedule), now + LEASE, now + 10 * S);
        now = schedule_next_ns(&schedule);
        starts_at(&schedule, now);
    }
    assert_int_equal(schedule_on_done(&schedule, now), SCHEDULE_LOG_RECOVERY);
    now = schedule_next_ns(&schedule);
    starts_at(&schedule, now);
    schedule_on_failed(&schedule, 0, now);
    starts_at(&schedule, now + LEASE); /* forgotten */
}

static void pauses_have_a_bound_without_interval(void **state)
{
    (void)state;
    struct schedule schedule = every(0);
    schedule_on_request(&schedule, false);
    uint64_t now = BEGIN;
    for (int i = 0; i < 100; i++) {
        assert_true(schedule_due(&schedule, true, now));
        schedule_on_started(&schedule);
        schedule_on_failed(&schedule, (uint64_t)i * 7777777, now);
        assert_in_range(schedule_next_ns(&schedule), now + LEASE, now + SCHEDULE_BACKOFF_NS);
        now = schedule_next_ns(&schedule);
    }
}

static void shortest_interval_still_leaves_a_pause(void **state)
{
    (void)state;
    struct schedule schedule = every(S / 100);
    uint64_t now = BEGIN + S / 100;
    for (int i = 0; i < 10; i++) {
        starts_at(&schedule, now);
        schedule_on_failed(&schedule, 0, now);
        now += LEASE;
    }
}

static void request_does_not_wait_for_back_off(void **state)
{
    (void)state;
    struct schedule schedule = every(100 * S);
    uint64_t now = BEGIN + 100 * S;
    starts_at(&schedule, now);
    for (int i = 0; i < 5; i++) {
        schedule_on_failed(&schedule, 0, now);
        now = schedule_next_ns(&schedule);
        starts_at(&schedule, now);
    }
    schedule_on_failed(&schedule, 0, now);
    assert_int_equal(schedule_next_ns(&schedule), now + 32 * LEASE);
    schedule_on_request(&schedule, false);
    now += LEASE; /* but it does leave writers their time */
    starts_at(&schedule, now);
    schedule_on_failed(&schedule, 0, now);
    assert_int_equal(schedule_next_ns(&schedule), now + LEASE); /* who asked waits for another try */
    schedule_on_cancel(&schedule);
    assert_int_equal(schedule_next_ns(&schedule), now + 64 * LEASE); /* or was answered: back to the clock */
    schedule_on_request(&schedule, false);
    now += LEASE;
    starts_at(&schedule, now);
    schedule_on_request(&schedule, false);
    schedule_on_failed(&schedule, 0, now);
    assert_int_equal(schedule_next_ns(&schedule), now + LEASE);
}

static void cancelled_request_is_not_tried_again(void **state)
{
    (void)state;
    struct schedule schedule = every(0);
    schedule_on_request(&schedule, false);
    assert_true(schedule_due(&schedule, true, BEGIN));
    schedule_on_started(&schedule);
    struct schedule running = schedule;
    schedule_on_cancel(&running);
    schedule_on_failed(&running, 0, BEGIN);
    assert_false(schedule_due(&running, true, UINT64_MAX));
    schedule_on_failed(&schedule, 0, BEGIN);
    schedule_on_cancel(&schedule);
    assert_false(schedule_due(&schedule, true, UINT64_MAX));

    schedule = every(10 * S); /* but what the clock wants stays wanted */
    starts_at(&schedule, BEGIN + 10 * S);
    schedule_on_request(&schedule, true);
    schedule_on_cancel(&schedule);
    schedule_on_failed(&schedule, 0, BEGIN + 10 * S);
    starts_at(&schedule, BEGIN + 10 * S + LEASE);
}

static void who_does_not_lead_starts_nothing(void **state)
{
    (void)state;
    struct schedule schedule = every(10 * S);
    starts_at(&schedule, BEGIN + 10 * S);
    for (int i = 0; i < 3; i++) {
        schedule_on_failed(&schedule, 0, BEGIN + 11 * S);
        schedule_due(&schedule, true, BEGIN + 19 * S);
        schedule_on_started(&schedule);
    }
    schedule_on_request(&schedule, false);
    schedule_on_failed(&schedule, 0, BEGIN + 19 * S); /* the running round was finished; now another leads */
    assert_false(schedule_due(&schedule, false, BEGIN + 25 * S));
    assert_false(schedule_due(&schedule, true, BEGIN + 26 * S));
    starts_at(&schedule, BEGIN + 30 * S);
    schedule_on_failed(&schedule, 0, BEGIN + 30 * S);
    starts_at(&schedule, BEGIN + 30 * S + LEASE);
}

static void failures_are_told_of_once_a_minute(void **state)
{
    (void)state;
    struct schedule schedule = every(S);
    uint64_t now = BEGIN + S, told = 0;
    unsigned lines = 0;
    for (unsigned i = 0; i < 1000; i++) {
        assert_true(schedule_due(&schedule, true, now));
        schedule_on_started(&schedule);
        enum schedule_log log = schedule_on_failed(&schedule, i, now);
        if (i == 0)
            assert_int_equal(log, SCHEDULE_LOG_FAILURE);
        if (log == SCHEDULE_LOG_FAILURE) {
            assert_true(i == 0 || now >= told + 60 * S);
            told = now;
            lines++;
        }
        assert_true(now < told + 62 * S);
        now = schedule_next_ns(&schedule);
    }
    assert_int_equal(schedule.failures, 1000);
    assert_in_range(lines, 5, 20);
    schedule_due(&schedule, true, now);
    schedule_on_started(&schedule);
    assert_int_equal(schedule_on_done(&schedule, now), SCHEDULE_LOG_RECOVERY);
    now = schedule_next_ns(&schedule);
    starts_at(&schedule, now);
    done(&schedule, now);
    now = schedule_next_ns(&schedule);
    starts_at(&schedule, now);
    assert_int_equal(schedule_on_failed(&schedule, 0, now), SCHEDULE_LOG_FAILURE); /* the first one, at once */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ticks_have_no_jitter),
        cmocka_unit_test(missed_ticks_are_skipped),
        cmocka_unit_test(without_interval_only_requests_start_rounds),
        cmocka_unit_test(request_joins_only_a_round_that_has_not_cut),
        cmocka_unit_test(failed_round_is_tried_again_after_one_to_three_leases),
        cmocka_unit_test(pauses_double_up_to_the_interval),
        cmocka_unit_test(pauses_have_a_bound_without_interval),
        cmocka_unit_test(shortest_interval_still_leaves_a_pause),
        cmocka_unit_test(request_does_not_wait_for_back_off),
        cmocka_unit_test(cancelled_request_is_not_tried_again),
        cmocka_unit_test(who_does_not_lead_starts_nothing),
        cmocka_unit_test(failures_are_told_of_once_a_minute),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
