/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/histogram.h"

#define VALUES 20000u
#define VALUE_MAX ((UINT64_C(1) << HISTOGRAM_MAX_BITS) - 1)

static uint64_t random_state = 42;

static uint64_t random_u64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static uint64_t uniform(void)
{
    return random_u64() % 1000000;
}

static uint64_t log_uniform(void)
{
    return (random_u64() & VALUE_MAX) >> random_u64() % HISTOGRAM_MAX_BITS;
}

static uint64_t small(void)
{
    return random_u64() % 256;
}

static uint64_t two_peaks(void)
{
    return random_u64() % 1000 == 0 ? 50000000 + random_u64() % 1000 : 20000 + random_u64() % 100;
}

static uint64_t constant(void)
{
    return 123456789;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static struct histogram *new_histogram(void)
{
    struct histogram *h = calloc(1, sizeof *h);
    assert_non_null(h);
    return h;
}

static void assert_near(uint64_t got, uint64_t exact)
{
    uint64_t off = got > exact ? got - exact : exact - got;
    if (off * 256 > exact)
        fail_msg("%llu is too far from %llu", (unsigned long long)got, (unsigned long long)exact);
}

/* Goal: each percentile from 0 to 100 in steps of 0.1, and 99.99, is within 1/256 of the value in a sorted array. */
static void check_against_sorted(uint64_t (*draw)(void), size_t count)
{
    struct histogram *h = new_histogram();
    uint64_t *sorted = malloc(count * sizeof *sorted);
    assert_non_null(sorted);
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        sorted[i] = draw();
        sum += sorted[i];
        histogram_record(h, sorted[i]);
    }
    qsort(sorted, count, sizeof *sorted, compare);
    assert_int_equal(h->count, count);
    assert_int_equal(h->sum, sum);
    assert_int_equal(h->min, sorted[0]);
    assert_int_equal(h->max, sorted[count - 1]);
    for (size_t p = 0; p <= 10000; p += p == 9990 ? 9 : p == 9999 ? 1 : 10) {
        size_t rank = (p * count + 9999) / 10000;
        uint64_t exact = sorted[rank == 0 ? 0 : rank - 1];
        uint64_t got = histogram_percentile(h, (double)p / 100);
        assert_near(got, exact);
        assert_in_range(got, h->min, h->max);
        if (exact < 256)
            assert_int_equal(got, exact); /* small values have a bucket each */
    }
    assert_int_equal(histogram_percentile(h, 100), sorted[count - 1]);
    assert_int_equal(histogram_percentile(h, 0), sorted[0]);
    free(sorted);
    free(h);
}

static void percentiles_are_near_exact(void **state)
{
    (void)state;
    uint64_t (*const draws[])(void) = {uniform, log_uniform, small, two_peaks, constant};
    for (size_t i = 0; i < sizeof draws / sizeof *draws; i++) {
        check_against_sorted(draws[i], VALUES);
        check_against_sorted(draws[i], 1000);
        check_against_sorted(draws[i], 7);
        check_against_sorted(draws[i], 1);
    }
}

/* Goal: no value, at any border between buckets, is off by more than 1/256. */
static void every_power_of_two_and_its_neighbours(void **state)
{
    (void)state;
    struct histogram *h = new_histogram();
    for (unsigned bits = 0; bits < HISTOGRAM_MAX_BITS; bits++) {
        for (int64_t step = -3; step <= 3; step++) {
            uint64_t value = (UINT64_C(1) << bits) + (uint64_t)step;
            if (value > VALUE_MAX)
                continue;
            histogram_reset(h);
            /* Neighbours far away on both sides, so that min and max do not help. */
            histogram_record(h, 0);
            histogram_record(h, value);
            histogram_record(h, VALUE_MAX);
            assert_near(histogram_percentile(h, 50), value);
        }
    }
    free(h);
}

static void empty_and_extreme(void **state)
{
    (void)state;
    struct histogram *h = new_histogram();
    assert_int_equal(histogram_percentile(h, 50), 0);
    histogram_record(h, UINT64_MAX);
    histogram_record(h, VALUE_MAX + 1);
    assert_int_equal(h->max, VALUE_MAX);
    assert_int_equal(h->min, VALUE_MAX);
    assert_int_equal(histogram_percentile(h, 50), VALUE_MAX);
    assert_int_equal(histogram_percentile(h, -1), VALUE_MAX);
    assert_int_equal(histogram_percentile(h, 1000), VALUE_MAX);
    assert_int_equal(histogram_percentile(h, 0.0 / (double)(h->count - 2)), VALUE_MAX); /* not a number */
    histogram_reset(h);
    assert_int_equal(h->count, 0);
    assert_int_equal(histogram_percentile(h, 99), 0);
    h->sum = UINT64_MAX - 1;
    histogram_record(h, 2);
    assert_int_equal(h->sum, UINT64_MAX); /* does not wrap */
    free(h);
}

static void merge_equals_recording_in_one(void **state)
{
    (void)state;
    struct histogram *a = new_histogram(), *b = new_histogram(), *all = new_histogram(), *empty = new_histogram();
    for (size_t i = 0; i < VALUES; i++) {
        uint64_t value = log_uniform();
        histogram_record(i % 3 ? a : b, value);
        histogram_record(all, value);
    }
    histogram_merge(a, b);
    assert_memory_equal(a, all, sizeof *a);
    histogram_merge(a, empty);
    assert_memory_equal(a, all, sizeof *a);
    histogram_merge(empty, a);
    assert_memory_equal(empty, all, sizeof *a);
    free(a);
    free(b);
    free(all);
    free(empty);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(percentiles_are_near_exact),
        cmocka_unit_test(every_power_of_two_and_its_neighbours),
        cmocka_unit_test(empty_and_extreme),
        cmocka_unit_test(merge_equals_recording_in_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
