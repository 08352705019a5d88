/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off: cmocka.h needs these before it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <stdbool.h>

#include "snapd/pace.h"

#define MIB (UINT64_C(1) << 20)
#define SECOND UINT64_C(1000000000)
#define START (100 * SECOND)

static void without_a_rate_nothing_waits(void **state)
{
    (void)state;
    struct pace pace;
    pace_init(&pace, 0);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(pace_wait_ns(&pace, START), 0);
        pace_take(&pace, 1024 * MIB, START);
    }
}

static void the_rate_is_kept_exactly(void **state)
{
    (void)state;
    struct pace pace;
    uint64_t now_ns = START, taken = 0;
    pace_init(&pace, 8 * MIB);
    while (now_ns < START + 10 * SECOND) {
        uint64_t wait_ns = pace_wait_ns(&pace, now_ns);
        now_ns += wait_ns;
        pace_take(&pace, MIB / 4, now_ns);
        taken += MIB / 4;
        now_ns += 1000; /* what the work takes */
    }
    uint64_t credit = 8 * MIB * PACE_CREDIT_NS / SECOND;
    assert_true(taken >= 80 * MIB && taken <= 80 * MIB + credit + MIB / 2);
}

static void idleness_is_no_capital(void **state)
{
    (void)state;
    struct pace pace;
    uint64_t taken = 0;
    pace_init(&pace, 8 * MIB);
    pace_take(&pace, MIB, START);
    uint64_t later_ns = START + 3600 * SECOND; /* an hour without work */
    while (pace_wait_ns(&pace, later_ns) == 0) {
        pace_take(&pace, MIB / 16, later_ns);
        taken += MIB / 16;
    }
    assert_true(taken <= 8 * MIB * PACE_CREDIT_NS / SECOND + MIB / 16);
}

static void one_window_may_take_longer_than_a_second(void **state)
{
    (void)state;
    struct pace pace;
    pace_init(&pace, 1024);
    assert_int_equal(pace_wait_ns(&pace, START), 0);
    pace_take(&pace, 10 * 1024, START);
    assert_int_equal(pace_wait_ns(&pace, START), 10 * SECOND - PACE_CREDIT_NS);
    assert_int_equal(pace_wait_ns(&pace, START + 10 * SECOND - PACE_CREDIT_NS), 0);
}

static void a_clock_at_its_beginning(void **state)
{
    (void)state;
    struct pace pace;
    pace_init(&pace, MIB);
    assert_int_equal(pace_wait_ns(&pace, 0), 0);
    pace_take(&pace, MIB, 1);
    assert_int_equal(pace_wait_ns(&pace, 1), SECOND - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_rate_nothing_waits), cmocka_unit_test(the_rate_is_kept_exactly),
        cmocka_unit_test(idleness_is_no_capital),       cmocka_unit_test(one_window_may_take_longer_than_a_second),
        cmocka_unit_test(a_clock_at_its_beginning),
    };
    return cmocka_run_group_tests_name("pace", tests, NULL, NULL);
}
