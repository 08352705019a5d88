/* SPDX-License-Identifier: Apache-2.0 */
/** What the commands on snapshots print of a header. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/snapshot.h"

static void times_are_utc_with_milliseconds(void **state)
{
    char text[SNAPSHOT_TIME_BYTES];
    (void)state;
    assert_string_equal(snapshot_format_time(0, text), "1970-01-01 00:00:00.000 UTC");
    assert_string_equal(snapshot_format_time(UINT64_C(1770113472345678901), text), "2026-02-03 10:11:12.345 UTC");
    assert_true(strlen(snapshot_format_time(UINT64_MAX, text)) < SNAPSHOT_TIME_BYTES);
}

static void rate_is_that_of_collecting(void **state)
{
    Mcomp__Snapshot__V1__Header header = MCOMP__SNAPSHOT__V1__HEADER__INIT;
    (void)state;
    header.segment_size = 1 << 20;
    header.nodes = 3;
    header.cut_ns = UINT64_C(1000000000);
    header.collect_ns = UINT64_C(4000000000);
    assert_int_equal(snapshot_rate(&header), 1 << 20);
    header.collect_ns = header.cut_ns;
    assert_int_equal(snapshot_rate(&header), 0);
    header.collect_ns = 0; /* made-up files have anything */
    assert_int_equal(snapshot_rate(&header), 0);
}

static void phases_of_later_versions_are_unknown(void **state)
{
    (void)state;
    assert_string_equal(snapshot_phase_name(MCOMP__SNAPSHOT__V1__ROUND_STATUS__PHASE__PHASE_IDLE), "idle");
    assert_string_equal(snapshot_phase_name(MCOMP__SNAPSHOT__V1__ROUND_STATUS__PHASE__PHASE_COMMIT), "commit");
    assert_string_equal(snapshot_phase_name((Mcomp__Snapshot__V1__RoundStatus__Phase)6), "unknown");
    assert_string_equal(snapshot_phase_name((Mcomp__Snapshot__V1__RoundStatus__Phase)-1), "unknown");
}

static void deadlines_do_not_wrap(void **state)
{
    (void)state;
    assert_true(exchange_deadline(0) == EXCHANGE_NO_DEADLINE);
    assert_true(exchange_deadline(UINT64_MAX - 1) == EXCHANGE_NO_DEADLINE);
    assert_true(exchange_deadline(1) < EXCHANGE_NO_DEADLINE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_utc_with_milliseconds),
        cmocka_unit_test(rate_is_that_of_collecting),
        cmocka_unit_test(phases_of_later_versions_are_unknown),
        cmocka_unit_test(deadlines_do_not_wrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
