/* SPDX-License-Identifier: Apache-2.0 */
/** SIGKILL at every instruction that changes the shared memory while a transaction is executed, prepared, committed or aborted, beside a live capture.
 *
 *  As test_steps does it. After each kill the parent attaches: the record and the bytes must fit each other, a prepared transaction must be whole and have its
 *  locks, and the capture must show the bytes at the cut. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stepper.h"
#include "txn.h"

#define SIZE FIXTURE_BYTES
#define WINDOW_BYTES 1024u
#define ROUND 256u
#define PLACE (STRIPE_BYTES - 70) /* the writes: from here on, over the border */
#define ANSWER_BYTES 700u         /* more than fits into a lane */

static uint8_t before[SIZE], after[SIZE], now[SIZE], image[SIZE], answer[ANSWER_BYTES + 8], expected_answer[ANSWER_BYTES + 8];
static struct lane_id id;

/* What a story may leave: the state and reason of the record, and whether the bytes are the new ones. */
struct end {
    bool former; /* the record is that of the transaction before */
    enum lane_state state;
    enum lane_reason reason;
    bool stored;
};

struct story {
    const char *name;
    void (*begin)(struct segment *segment); /* after the cut */
    void (*act)(struct segment *segment);
    struct end ends[4]; /* in the order in which they may come; the last one is reached at the end */
    int changes_min;
};

static enum segment_outcome transact(struct segment *segment, bool prepare, bool write, const char *compare_with, struct lane_view *view)
{
    static const struct lane_participant participants[] = {{.node = 0, .id = {1, 2, 3, 4}}, {.node = 1, .id = {5, 6, 7, 8}}};
    char data[100];
    memset(data, 'w', sizeof data);
    struct segment_compare compare = {.offset = PLACE, .length = 1, .expected = compare_with};
    struct segment_range read = {PLACE - 500, ANSWER_BYTES};
    struct segment_write_range writes[] = {{PLACE, sizeof data, data}, {3000, 13, "thirteenbytes"}};
    struct segment_delta add = {PLACE + 200, UINT64_C(0x0101010101010101)};
    struct segment_items items = {.compares = &compare, .compare_count = 1, .reads = &read, .read_count = 1, .writes = writes,
                                  .write_count = write ? 2 : 0, .adds = &add, .add_count = write, .answer = answer};
    return prepare ? segment_prepare(segment, 1, &id, &items, participants, 2, view) : segment_execute(segment, 1, &id, &items, view);
}

static void nothing(struct segment *segment)
{
    (void)segment;
}

static void execute(struct segment *segment)
{
    struct lane_view view;
    DONE(transact(segment, false, true, "a", &view));
}

static void execute_reads(struct segment *segment)
{
    struct lane_view view;
    DONE(transact(segment, false, false, "a", &view));
}

static void execute_in_vain(struct segment *segment)
{
    struct lane_view view;
    DONE(transact(segment, false, true, "b", &view));
}

static void prepare(struct segment *segment)
{
    struct lane_view view;
    DONE(transact(segment, true, true, "a", &view));
}

static void commit(struct segment *segment)
{
    DONE(segment_commit(segment, 1, &id));
}

static void abort_prepared(struct segment *segment)
{
    DONE(segment_abort(segment, &id, LANE_TOLD));
}

static void abort_unseen(struct segment *segment)
{
    DONE(segment_abort(segment, &id, LANE_FORCED));
}

#define FORMER {.former = true}
#define BEGUN {.state = LANE_ABORTED}
static const struct story stories[] = {
    {"execute", nothing, execute, {FORMER, BEGUN, {.state = LANE_COMMITTED, .stored = true}}, 20},
    {"execute without writes", nothing, execute_reads, {FORMER, BEGUN, {.state = LANE_COMMITTED}}, 6},
    {"execute with a failing compare", nothing, execute_in_vain, {FORMER, BEGUN, {.state = LANE_ABORTED, .reason = LANE_COMPARE}}, 4},
    {"prepare", nothing, prepare, {FORMER, BEGUN, {.state = LANE_PREPARED}}, 20},
    {"commit", prepare, commit, {{.state = LANE_PREPARED}, {.state = LANE_COMMITTED, .stored = true}}, 16},
    {"abort", prepare, abort_prepared, {{.state = LANE_PREPARED}, {.state = LANE_ABORTED, .reason = LANE_TOLD}}, 6},
    {"abort of what was never seen", nothing, abort_unseen, {FORMER, BEGUN, {.state = LANE_ABORTED, .reason = LANE_FORCED}}, 2},
};

struct view {
    struct segment *segment;
    const struct story *story;
    int looks, old, new;
};

static void act_story(void *arg)
{
    struct view *view = arg;
    segment_session_lock(view->segment, id.session);
    view->story->act(view->segment);
    segment_session_unlock(view->segment, id.session);
}

/* Read as another thread would while the transaction stands still. (Of locks the reader sees those from before the story.) */
static bool look_as_reader(void *arg)
{
    struct view *view = arg;
    view->looks++;
    if (segment_read_try(view->segment, PLACE, 208, now) != SEGMENT_DONE)
        return true;
    bool is_old = memcmp(now, before + PLACE, 208) == 0, is_new = memcmp(now, after + PLACE, 208) == 0;
    view->old += is_old;
    view->new += is_new && !is_old;
    return is_old || is_new;
}

/* The object as it was saved, opened, and watched where the story changes it. */
static void rewind_segment(struct fixture *fixture, const uint8_t *saved)
{
    fixture_close(fixture);
    memcpy(fixture->map, saved, fixture->map_bytes);
    fixture_open(fixture);
    const struct layout_header *header = (void *)fixture->map;
    const struct layout_section *section = layout_section(header->fixed.section, header->fixed.section_count, LAYOUT_TRANSACTIONS);
    const uint8_t *data = fixture_data(fixture);
    stepper_forget();
    stepper_watch(fixture_stripes(fixture), 128);
    stepper_watch(fixture_record(fixture, 1), 512);
    stepper_watch((uint8_t *)fixture_record(fixture, 2) - sizeof(struct redo_lane), sizeof(struct redo_lane)); /* the end of that before it */
    stepper_watch(fixture->map + section->offset, 576);
    for (uint64_t unit = 0; unit < 4; unit++)
        stepper_watch(fixture->map + section->offset + section->bytes / 2 + unit * WINDOW_BYTES, WINDOW_BYTES);
    stepper_watch(data + PLACE, 256);
    stepper_watch(data + 2990, 40);
    stepper_watch(&header->slot_next, 4);
}

/* The record says one of the ends of the story, and the bytes and all else fit. Returns which. */
static int check_end(struct fixture *fixture, const struct story *story, int changes)
{
    struct segment *segment = fixture->segment;
    struct lane_view view = txn_view(segment, &id);
    int which = 0;
    for (; which < 4; which++) {
        const struct end *end = &story->ends[which];
        if (end->former ? view.sequence == id.sequence - 1 && view.state == LANE_COMMITTED
                        : view.sequence == id.sequence && end->state != LANE_NONE && view.state == end->state && view.reason == end->reason)
            break;
    }
    if (which == 4)
        fail_msg("%s: state %u, reason %u of transaction %d when killed at change %d", story->name, view.state, view.reason, (int)view.sequence, changes);
    if (view.state == LANE_PREPARED) { /* locked, and all that is needed to commit is there */
        assert_int_equal(txn_prepared(segment), 1);
        assert_int_equal(segment_read(segment, PLACE, 1, now), SEGMENT_LOCKED);
        assert_int_equal(segment_write(segment, 0, PLACE - 400, 1, now), SEGMENT_LOCKED);
        uint32_t count;
        segment_session_lock(segment, id.session);
        assert_true(segment_lane_participants(segment, id.session, id.lane, &count)[1].id.generation == 7 && count == 2);
        segment_session_unlock(segment, id.session);
    } else {
        assert_int_equal(txn_prepared(segment), 0);
    }
    if (view.sequence == id.sequence && (view.state == LANE_PREPARED || view.state == LANE_COMMITTED)) {
        uint64_t bytes;
        segment_session_lock(segment, id.session);
        assert_memory_equal(segment_lane_answer(segment, id.session, id.lane, &bytes), expected_answer, ANSWER_BYTES);
        segment_session_unlock(segment, id.session);
        assert_true(bytes >= ANSWER_BYTES);
    }
    if (memcmp(fixture_data(fixture), story->ends[which].stored ? after : before, SIZE) != 0)
        fail_msg("%s: bytes that do not fit the record when killed at change %d", story->name, changes);
    if (view.state == LANE_PREPARED) {
        txn_decide(segment, 2, &id, true);
        assert_memory_equal(fixture_data(fixture), after, SIZE);
    }
    return which;
}

static void check_capture(struct fixture *fixture, const struct story *story, int changes)
{
    struct err err = {.text = ""};
    struct capture *capture = fixture_capture_open(fixture);
    if (fixture_capture(capture, ROUND, SIZE, image, &err) != MCOMP_OK)
        fail_msg("%s: no capture when killed at change %d: %s", story->name, changes, err.text);
    capture_close(capture);
    if (memcmp(image, before, SIZE) != 0)
        fail_msg("%s: the capture shows a later state when killed at change %d", story->name, changes);
}

/* A former transaction in the lane, which has units; a cut; what the story begins with. Saves the object, and what it will be. */
static uint8_t *prepare_story(struct fixture *fixture, const struct story *story)
{
    struct lane_view view;
    fixture_close(fixture);
    struct err err;
    assert_int_equal(segment_remove(fixture->grid, fixture->options.node, &err), MCOMP_OK);
    fixture_open(fixture);
    memset(before, 'a', SIZE);
    for (uint64_t at = 0; at < SIZE; at += SIZE / 4)
        DONE(segment_write(fixture->segment, 0, at, SIZE / 4, before + at));
    id = txn_open(fixture->segment, 1);
    struct segment_range read = {0, 600};
    struct segment_items items = {.reads = &read, .read_count = 1, .answer = answer};
    DONE(txn_execute(fixture->segment, 0, &id, &items, &view));
    id.sequence++;
    fixture_cut(fixture, ROUND);
    segment_session_lock(fixture->segment, id.session);
    story->begin(fixture->segment);
    segment_session_unlock(fixture->segment, id.session);
    fixture_close(fixture);
    fixture_map(fixture);
    uint8_t *saved = malloc(fixture->map_bytes);
    assert_non_null(saved);
    memcpy(saved, fixture->map, fixture->map_bytes);
    memset(fixture_record(fixture, 1), 0, WINDOW_BYTES);
    fixture_open(fixture);
    return saved;
}

static void run_story(struct fixture *fixture, const struct story *story)
{
    uint8_t *saved = prepare_story(fixture, story);
    memset(expected_answer, 'a', sizeof expected_answer);
    memcpy(after, before, SIZE);
    memset(after + PLACE, 'w', 100);
    memcpy(after + 3000, "thirteenbytes", 13);
    memset(after + PLACE + 200, 'b', 8);

    int reached = 0, ends[4] = {0}, changes = 1;
    struct view view = {.story = story};
    for (enum step_end end = STEP_CHANGES_REACHED; end == STEP_CHANGES_REACHED; changes++) {
        rewind_segment(fixture, saved);
        view = (struct view){.story = story, .segment = fixture->segment};
        end = stepper_run_and_kill(stepper_fork(act_story, &view), changes, look_as_reader, &view);
        if (end == STEP_BROKEN)
            fail_msg("%s: a reader saw half of it at change %d of %d", story->name, view.looks, changes);
        fixture_close(fixture);
        fixture_open(fixture);
        int which = check_end(fixture, story, changes);
        if (which < reached)
            fail_msg("%s: went back when killed at change %d", story->name, changes);
        reached = which;
        ends[which]++;
        check_capture(fixture, story, changes);
        if (stepper_returned())
            assert_true(which == 3 || (story->ends[which + 1].state == LANE_NONE && !story->ends[which + 1].former));
    }
    changes -= 2;
    print_message("%s: killed at %d points, left %d %d %d; readers: %d old, %d new of %d\n", story->name, changes, ends[0], ends[1], ends[2], view.old,
                  view.new, view.looks);
    assert_true(changes >= story->changes_min && ends[1] > 0 && ends[0] + ends[1] + ends[2] == changes + 1);
    free(saved);
}

static void transaction_is_whole_wherever_it_is_killed(void **state)
{
    struct fixture *fixture = *state;
    if (UNDER_TSAN)
        skip(); /* its run-time makes one step thousands */
    for (size_t i = 0; i < sizeof stories / sizeof stories[0]; i++)
        run_story(fixture, &stories[i]);
}

/* ---- attaching ---- */

static void act_open(void *arg)
{
    struct fixture *fixture = arg;
    struct err err;
    fixture->segment = NULL;
    if (segment_open(&fixture->segment, &fixture->options, &err) != MCOMP_OK)
        _exit(1);
}

static void attach_finishes_a_commit_wherever_it_is_killed(void **state)
{
    struct fixture *fixture = *state;
    if (UNDER_TSAN)
        skip();
    static const struct story story = {"attach", prepare, commit, {{.state = LANE_COMMITTED, .stored = true}}, 4};
    uint8_t *saved = prepare_story(fixture, &story);
    memcpy(after, before, SIZE);
    memset(after + PLACE, 'w', 100);
    memcpy(after + 3000, "thirteenbytes", 13);
    memset(after + PLACE + 200, 'b', 8);
    int changes = 1;
    for (enum step_end end = STEP_CHANGES_REACHED; end == STEP_CHANGES_REACHED; changes++) {
        rewind_segment(fixture, saved);
        fixture_close(fixture);
        const struct layout_header *header = (void *)fixture->map;
        struct layout_session *table =
            (void *)(fixture->map + layout_section(header->fixed.section, header->fixed.section_count, LAYOUT_TRANSACTIONS)->offset);
        atomic_store(&table->lane[0].word, id.sequence << 8 | LANE_COMMITTING);
        end = stepper_run_and_kill(stepper_fork(act_open, fixture), changes, NULL, NULL);
        assert_int_not_equal(end, STEP_BROKEN);
        fixture_open(fixture);
        check_end(fixture, &story, changes);
        check_capture(fixture, &story, changes);
    }
    print_message("attach: killed at %d points\n", changes - 2);
    assert_true(changes - 2 >= story.changes_min);
    free(saved);
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
        cmocka_unit_test_setup_teardown(transaction_is_whole_wherever_it_is_killed, setup, teardown),
        cmocka_unit_test_setup_teardown(attach_finishes_a_commit_wherever_it_is_killed, setup, teardown),
    };
    return cmocka_run_group_tests_name("segment-transaction-steps", tests, NULL, NULL);
}
