/* SPDX-License-Identifier: Apache-2.0 */
/** SIGKILL at every instruction that changes the shared memory, and a look at it by a reader there.
 *
 *  A child performs one operation, one machine instruction at a time (ptrace). Whenever the object has changed, the parent, which has the
 *  segment mapped as well, reads the bytes as another thread would: it must see all of the operation, nothing of it, or be refused. At
 *  the n-th change the child is killed and the parent attaches like a restarted server: all or nothing, and all if the operation had
 *  returned. This is repeated for every n. Instructions that change nothing in shared memory leave nothing to tell apart. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stepper.h"

#define IMAGE_BYTES FIXTURE_BYTES
#define WINDOW_BYTES 1024u

static uint8_t before[IMAGE_BYTES], after[IMAGE_BYTES], now[IMAGE_BYTES];

/* One operation under test and the range that a reader looks at. */
struct story {
    const char *name;
    void (*act)(struct segment *segment);
    struct segment_range look;
    int changes_min; /* fewer changes than this cannot be the operation */
};

static void write_across_stripes(struct segment *segment)
{
    char data[64];
    memset(data, 'w', sizeof data);
    DONE(segment_write(segment, 1, STRIPE_BYTES - 20, sizeof data, data));
}

static void write_inside_a_stripe(struct segment *segment)
{
    DONE(segment_write(segment, 1, 3000, 13, "thirteenbytes"));
}

static void write_aligned_word(struct segment *segment)
{
    DONE(segment_write(segment, 1, 4200, 8, "8bytes!!"));
}

static void add_across_stripes(struct segment *segment)
{
    uint64_t word;
    DONE(segment_add(segment, 1, STRIPE_BYTES - 3, UINT64_C(0x0101010101010101), &word));
}

static void add_aligned(struct segment *segment)
{
    uint64_t word;
    DONE(segment_add(segment, 1, STRIPE_BYTES - 8, UINT64_C(0x0101010101010101), &word));
}

static void cas_unaligned(struct segment *segment)
{
    uint64_t word;
    DONE(segment_cas(segment, 1, 4091, UINT64_C(0x6161616161616161), UINT64_C(0x6263646566676869), &word));
}

static void multi_of_two_stripes(struct segment *segment)
{
    char buf[16];
    const struct segment_range reads[] = {{STRIPE_BYTES - 30, 16}};
    const struct segment_write_range writes[] = {{STRIPE_BYTES + 5, 7, "seventh"}, {STRIPE_BYTES - 9, 9, "ninebytes"}};
    DONE(segment_multi(segment, 1, reads, 1, buf, writes, 2));
}

static const struct story stories[] = {
    {"write across stripes", write_across_stripes, {STRIPE_BYTES - 30, 84}, 12},
    {"write inside a stripe", write_inside_a_stripe, {2990, 40}, 8},
    {"write of an aligned word", write_aligned_word, {4190, 20}, 5},
    {"add across stripes", add_across_stripes, {STRIPE_BYTES - 3, 8}, 12},
    {"aligned add", add_aligned, {STRIPE_BYTES - 8, 8}, 5},
    {"unaligned compare-and-swap", cas_unaligned, {4091, 8}, 8},
    {"multi", multi_of_two_stripes, {STRIPE_BYTES - 16, 40}, 12},
};

/* ---- operations ---- */

struct view {
    struct segment *segment;
    const struct story *story;
    int looks, refused, old, new;
};

/* Read as another thread would while the writer stands still. */
static bool look_as_reader(void *arg)
{
    struct view *view = arg;
    const struct segment_range *range = &view->story->look;
    view->looks++;
    const uint8_t *held = segment_hold_try(view->segment, range->offset, range->length);
    bool held_whole = true;
    if (held) {
        held_whole = memcmp(held, before + range->offset, range->length) == 0 || memcmp(held, after + range->offset, range->length) == 0;
        segment_release(view->segment, range->offset, range->length);
    }
    if (segment_read_try(view->segment, range->offset, range->length, now) != SEGMENT_DONE) {
        view->refused++;
        return held_whole;
    }
    bool is_old = memcmp(now, before + range->offset, range->length) == 0, is_new = memcmp(now, after + range->offset, range->length) == 0;
    view->old += is_old;
    view->new += is_new;
    return held_whole && (is_old || is_new) && (is_old || !view->old || view->new);
}

static void act_story(void *arg)
{
    struct view *view = arg;
    view->story->act(view->segment);
}

/* Put the segment in the state before the story, without leaving anything in writer 1's record that the story will leave there. */
static void rewind_segment(struct fixture *fixture)
{
    fixture_close(fixture);
    fixture_map(fixture);
    memcpy(fixture_data(fixture), before, IMAGE_BYTES);
    memset(fixture_record(fixture, 1), 0, WINDOW_BYTES);
    fixture_open(fixture);
    const uint8_t *data = fixture_data(fixture);
    stepper_forget();
    stepper_watch(fixture_stripes(fixture), WINDOW_BYTES);
    stepper_watch(fixture_record(fixture, 1), WINDOW_BYTES);
    for (uint64_t border = 1; border < 4; border++)
        stepper_watch(data + border * STRIPE_BYTES - WINDOW_BYTES / 2, WINDOW_BYTES);
    stepper_watch(data + 2800, WINDOW_BYTES);
    stepper_watch(data + 3900, WINDOW_BYTES);
}

static void run_story(struct fixture *fixture, const struct story *story)
{
    DONE(segment_read(fixture->segment, 0, IMAGE_BYTES, before));
    story->act(fixture->segment);
    DONE(segment_read(fixture->segment, 0, IMAGE_BYTES, after));
    assert_int_not_equal(memcmp(before, after, IMAGE_BYTES), 0);

    int kept = 0, absent = 0, changes = 1;
    struct view view = {.story = story};
    for (enum step_end end = STEP_CHANGES_REACHED; end == STEP_CHANGES_REACHED; changes++) {
        rewind_segment(fixture);
        view = (struct view){.story = story, .segment = fixture->segment};
        end = stepper_run_and_kill(stepper_fork(act_story, &view), changes, look_as_reader, &view);
        if (end == STEP_BROKEN)
            fail_msg("%s: a reader saw half of it at change %d of %d", story->name, view.looks, changes);
        fixture_close(fixture);
        fixture_open(fixture);
        DONE(segment_read(fixture->segment, 0, IMAGE_BYTES, now));
        bool is_old = memcmp(now, before, IMAGE_BYTES) == 0, is_new = memcmp(now, after, IMAGE_BYTES) == 0;
        if (!is_old && !is_new)
            fail_msg("%s: torn when killed at change %d", story->name, changes);
        if (is_old && (kept || stepper_returned()))
            fail_msg("%s: lost when killed at change %d", story->name, changes);
        kept += is_new;
        absent += is_old;
    }
    changes -= 2; /* the last round ran to the end */
    print_message("%s: killed at %d points: %d times absent, %d times there; readers: %d old, %d new, %d refused\n", story->name, changes, absent,
                  kept - 1, view.old, view.new, view.refused);
    assert_true(changes >= story->changes_min);
    assert_true(absent >= 1 && kept >= 2 && view.old >= 1 && view.new >= 1 && view.refused >= 1);
}

static void operation_is_whole_wherever_it_is_killed(void **state)
{
    struct fixture *fixture = *state;
    if (UNDER_TSAN)
        skip(); /* its run-time makes one step thousands */
    static uint8_t letters[IMAGE_BYTES / 4];
    memset(letters, 'a', sizeof letters);
    for (uint64_t at = 0; at < IMAGE_BYTES; at += sizeof letters)
        DONE(segment_write(fixture->segment, 0, at, sizeof letters, letters));
    for (size_t i = 0; i < sizeof stories / sizeof stories[0]; i++)
        run_story(fixture, &stories[i]);
}

/* ---- attaching ---- */

static const char old_text[] = "nothing of this is left", new_text[] = "recovered, all of it   ";
#define TEXT_BYTES (sizeof old_text - 1)
#define TEXT_PLACE (STRIPE_BYTES - 9)

static void act_open(void *arg)
{
    struct fixture *fixture = arg;
    struct err err;
    if (segment_open(&fixture->segment, &fixture->options, &err) != MCOMP_OK)
        _exit(1);
}

/* A closed segment with a valid record and its write half stored. */
static void leave_half_write(struct fixture *fixture, uint32_t writer)
{
    struct layout_header *header = fixture_map(fixture);
    uint8_t *data = fixture_data(fixture);
    memcpy(data + TEXT_PLACE, old_text, TEXT_BYTES);
    memcpy(data + TEXT_PLACE, new_text, 5);
    struct redo_record *redo = fixture_record(fixture, writer);
    redo->range_count = 1;
    redo->data_bytes = TEXT_BYTES;
    redo->range[0] = (struct redo_range){TEXT_PLACE, TEXT_BYTES};
    memcpy(&redo->range[1], new_text, TEXT_BYTES);
    atomic_store(&redo->valid, 1);
    stepper_forget();
    stepper_watch(header, WINDOW_BYTES); /* with both directories */
    stepper_watch((uint8_t *)header + WINDOW_BYTES, WINDOW_BYTES);
    stepper_watch(redo, WINDOW_BYTES);
    stepper_watch(data + TEXT_PLACE - WINDOW_BYTES / 2, WINDOW_BYTES);
}

/* Kill an attach that changes the records from those of `first` to those of `second` at each of its changes. writer: whose record is
 * valid; it must lie inside the object also after the change, where it is watched. */
static void attach_killed_everywhere(struct fixture *fixture, const struct segment_options *first, const struct segment_options *second,
                                    uint32_t writer)
{
    char text[TEXT_BYTES];
    enum step_end end = STEP_CHANGES_REACHED;
    int changes = 1;
    for (; end == STEP_CHANGES_REACHED; changes++) {
        fixture_close(fixture);
        fixture->options = *first;
        fixture_open(fixture);
        fixture_close(fixture);
        leave_half_write(fixture, writer);
        fixture->options = *second;
        end = stepper_run_and_kill(stepper_fork(act_open, fixture), changes, NULL, NULL);
        assert_int_not_equal(end, STEP_BROKEN);
        fixture->options = changes % 2 ? *first : *second;
        fixture_open(fixture);
        DONE(segment_read(fixture->segment, TEXT_PLACE, TEXT_BYTES, text));
        assert_memory_equal(text, new_text, TEXT_BYTES);
        for (uint32_t i = 0; i < fixture->options.writers; i++)
            DONE(segment_write(fixture->segment, i, 3, 3, "abc"));
    }
    print_message("attach: killed at %d points\n", changes - 2);
    assert_true(changes - 2 >= 5);
}

static void attach_is_finished_by_the_next_wherever_it_is_killed(void **state)
{
    struct fixture *fixture = *state;
    if (UNDER_TSAN)
        skip();
    struct segment_options few = fixture->options, many = fixture->options;
    few.writers = 2;
    few.redo_bytes = 5000;
    many.writers = 7;
    many.redo_bytes = 70000;
    attach_killed_everywhere(fixture, &few, &few, 1);
    attach_killed_everywhere(fixture, &few, &many, 1);
    attach_killed_everywhere(fixture, &many, &few, 0);
}

static int setup(void **state)
{
    return stepper_setup() == 0 ? fixture_setup_open(state) : -1;
}

static int teardown(void **state)
{
    stepper_teardown();
    return fixture_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(operation_is_whole_wherever_it_is_killed, setup, teardown),
        cmocka_unit_test_setup_teardown(attach_is_finished_by_the_next_wherever_it_is_killed, setup, teardown),
    };
    return cmocka_run_group_tests_name("segment-steps", tests, NULL, NULL);
}
