/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: the spans say what became of every byte, in order, merged, also when there are more than fit. Method: notes in, spans out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/span.h"

static void expect(const struct mcomp_error *error, const struct mcomp_span *spans, uint32_t count)
{
    assert_int_equal(error->span_count, count);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(error->spans[i].address, spans[i].address);
        assert_int_equal(error->spans[i].length, spans[i].length);
        assert_int_equal(error->spans[i].outcome, spans[i].outcome);
    }
}

#define EXPECT(error, ...)                                                                                   \
    expect(error, (const struct mcomp_span[]){__VA_ARGS__}, sizeof((const struct mcomp_span[]){__VA_ARGS__}) / sizeof(struct mcomp_span))

static void what_was_not_noted_is_done(void **state)
{
    struct span_range range = {1000, 100};
    struct span_notes notes = {0};
    struct mcomp_error error;
    (void)state;
    span_build(&error, &range, 1, &notes);
    EXPECT(&error, {1000, 100, MCOMP_DONE});
}

static void notes_come_in_any_order(void **state)
{
    struct span_range range = {1000, 100};
    struct span_notes notes = {0};
    struct mcomp_error error;
    (void)state;
    span_add(&notes, 90, 10, MCOMP_MAYBE);
    span_add(&notes, 10, 10, MCOMP_NOT_DONE);
    span_add(&notes, 20, 5, MCOMP_MAYBE);
    span_add(&notes, 50, 0, MCOMP_MAYBE);
    span_build(&error, &range, 1, &notes);
    EXPECT(&error, {1000, 10, MCOMP_DONE}, {1010, 10, MCOMP_NOT_DONE}, {1020, 5, MCOMP_MAYBE}, {1025, 65, MCOMP_DONE},
           {1090, 10, MCOMP_MAYBE});
    span_notes_free(&notes);
}

static void neighbours_of_one_outcome_are_merged(void **state)
{
    struct span_range range = {0, 40};
    struct span_notes notes = {0};
    struct mcomp_error error;
    (void)state;
    span_add(&notes, 20, 10, MCOMP_MAYBE);
    span_add(&notes, 0, 10, MCOMP_MAYBE);
    span_add(&notes, 10, 10, MCOMP_MAYBE);
    span_build(&error, &range, 1, &notes);
    EXPECT(&error, {0, 30, MCOMP_MAYBE}, {30, 10, MCOMP_DONE});
    span_notes_free(&notes);
}

/* Notes count through the ranges; a note may reach over the border of two. Ranges that adjoin are merged, others are not. */
static void several_ranges_keep_the_order_of_the_call(void **state)
{
    struct span_range ranges[] = {{500, 10}, {100, 10}, {110, 10}, {7, 0}, {900, 10}};
    struct span_notes notes = {0};
    struct mcomp_error error;
    (void)state;
    span_add(&notes, 5, 10, MCOMP_NOT_DONE);
    span_add(&notes, 30, 10, MCOMP_MAYBE);
    span_build(&error, ranges, 5, &notes);
    EXPECT(&error, {500, 5, MCOMP_DONE}, {505, 5, MCOMP_NOT_DONE}, {100, 5, MCOMP_NOT_DONE}, {105, 15, MCOMP_DONE},
           {900, 10, MCOMP_MAYBE});
    span_notes_free(&notes);
}

static void add_alternating(struct span_notes *notes, unsigned count)
{
    for (unsigned i = count; i-- > 0;)
        span_add(notes, i * 2, 1, MCOMP_NOT_DONE);
}

static void exactly_sixty_four_fit(void **state)
{
    struct span_range range = {0, 64};
    struct span_notes notes = {0};
    struct mcomp_error error;
    (void)state;
    add_alternating(&notes, 32);
    span_build(&error, &range, 1, &notes);
    assert_int_equal(error.span_count, MCOMP_SPANS_MAX);
    assert_int_equal(error.spans[63].address, 63);
    assert_int_equal(error.spans[63].length, 1);
    assert_int_equal(error.spans[63].outcome, MCOMP_DONE);
    span_notes_free(&notes);
}

static void the_last_stands_for_all_that_follows(void **state)
{
    struct span_notes notes = {0};
    struct mcomp_error error;
    (void)state;
    for (uint64_t length = 65; length <= 1000; length += 187) {
        struct span_range range = {1 << 20, length};
        add_alternating(&notes, (unsigned)(length + 1) / 2);
        span_build(&error, &range, 1, &notes);
        assert_int_equal(error.span_count, MCOMP_SPANS_MAX);
        for (unsigned i = 0; i < 63; i++) {
            assert_int_equal(error.spans[i].address, (1 << 20) + i);
            assert_int_equal(error.spans[i].outcome, i % 2 ? MCOMP_DONE : MCOMP_NOT_DONE);
        }
        assert_int_equal(error.spans[63].address, (1 << 20) + 63);
        assert_int_equal(error.spans[63].length, length - 63);
        assert_int_equal(error.spans[63].outcome, MCOMP_MAYBE);
        span_notes_free(&notes);
    }
}

static void the_last_covers_scattered_ranges_too(void **state)
{
    struct span_range ranges[80];
    struct span_notes notes = {0};
    struct mcomp_error error;
    (void)state;
    for (unsigned i = 0; i < 80; i++)
        ranges[i] = (struct span_range){100000 - i * 100, 10};
    span_build(&error, ranges, 80, &notes);
    assert_int_equal(error.span_count, MCOMP_SPANS_MAX);
    assert_int_equal(error.spans[63].outcome, MCOMP_MAYBE);
    assert_int_equal(error.spans[63].address, 100000 - 79 * 100);
    assert_int_equal(error.spans[63].address + error.spans[63].length, 100000 - 63 * 100 + 10);
}

static void lost_notes_mean_unknown(void **state)
{
    struct span_range ranges[] = {{10, 10}, {20, 10}, {100, 1}};
    struct span_notes notes = {.incomplete = true};
    struct mcomp_error error;
    (void)state;
    span_add(&notes, 0, 5, MCOMP_NOT_DONE);
    span_build(&error, ranges, 3, &notes);
    EXPECT(&error, {10, 20, MCOMP_MAYBE}, {100, 1, MCOMP_MAYBE});
}

static void nothing_has_no_spans(void **state)
{
    struct span_range range = {10, 0};
    struct span_notes notes = {0};
    struct mcomp_error error;
    (void)state;
    span_build(&error, &range, 1, &notes);
    assert_int_equal(error.span_count, 0);
    span_build_all(&error, &range, 1, MCOMP_NOT_DONE);
    assert_int_equal(error.span_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_not_noted_is_done),
        cmocka_unit_test(notes_come_in_any_order),
        cmocka_unit_test(neighbours_of_one_outcome_are_merged),
        cmocka_unit_test(several_ranges_keep_the_order_of_the_call),
        cmocka_unit_test(exactly_sixty_four_fit),
        cmocka_unit_test(the_last_stands_for_all_that_follows),
        cmocka_unit_test(the_last_covers_scattered_ranges_too),
        cmocka_unit_test(lost_notes_mean_unknown),
        cmocka_unit_test(nothing_has_no_spans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
