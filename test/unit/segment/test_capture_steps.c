/* SPDX-License-Identifier: Apache-2.0 */
/** SIGKILL, and a capture, at every instruction of a writer that changes the shared memory while a capture is live; the same for a cut, and for either side
 *  of the mailbox.
 *
 *  Whatever was done up to there, the capture shows the segment as it was at the cut, or says that it is over. */
#include "fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "segment/object.h"
#include "stepper.h"

#define SIZE FIXTURE_BYTES
#define PAGES (SIZE / PAGE_BYTES)
#define FIRST_ROUND 256u
#define STRIDE (UNDER_ASAN ? 5 : 1) /* from one change that is looked at to the next: each step is ten then */

static uint8_t before[SIZE], after[SIZE], image[SIZE], now[SIZE];
static uint8_t *pool; /* the object with the preserved pages, mapped */

/* ---- what is traced ---- */

struct story {
    const char *name;
    void (*act)(struct segment *segment);
    uint64_t places[3]; /* pages that it changes */
    uint32_t pages;     /* how many */
    int changes_min;    /* fewer changes than this cannot be it */
};

static void write_in_a_page(struct segment *segment)
{
    DONE(segment_write(segment, 1, 3000, 13, "thirteenbytes"));
}

static void write_across_pages(struct segment *segment)
{
    DONE(segment_write(segment, 1, 17 * PAGE_BYTES - 5, 9, "ninebytes"));
}

static void write_aligned_word(struct segment *segment)
{
    DONE(segment_write_try(segment, 1, 4200, 8, "8bytes!!"));
}

static void add_across_stripes(struct segment *segment)
{
    uint64_t word;
    DONE(segment_add(segment, 1, STRIPE_BYTES - 3, UINT64_C(0x0101010101010101), &word));
}

static void multi_of_three_pages(struct segment *segment)
{
    const struct segment_write_range writes[] = {
        {STRIPE_BYTES + 5, 7, "seventh"}, {2 * STRIPE_BYTES - 9, 9, "ninebytes"}, {STRIPE_BYTES + 50, 4, "four"}, {5000, 2, "xy"}};
    DONE(segment_multi(segment, 1, NULL, 0, NULL, writes, 4));
}

static const struct story stories[] = {
    {"write in a page", write_in_a_page, {0}, 1, 12},
    {"write across pages", write_across_pages, {16, 17}, 2, 15},
    {"write of an aligned word", write_aligned_word, {1}, 1, 8},
    {"add across stripes", add_across_stripes, {15, 16}, 2, 15},
    {"multi of three pages", multi_of_three_pages, {1, 16, 31}, 3, 25},
};

static void act_story(void *arg)
{
    void *const *both = arg;
    const struct story *story = both[1];
    story->act(both[0]);
}

/* ---- the ground that it stands on ---- */

static struct layout_header *header_of(const struct fixture *fixture)
{
    return (struct layout_header *)(void *)fixture->map;
}

static void *section_of(const struct fixture *fixture, enum layout_kind kind)
{
    const struct layout_header *header = header_of(fixture);
    return fixture->map + layout_section(header->fixed.section, header->fixed.section_count, kind)->offset;
}

static void map_pool(const struct fixture *fixture)
{
    char path[128];
    snprintf(path, sizeof path, "/dev/shm/mcomp.%s.%u" OBJECT_PRESERVED, fixture->grid, fixture->options.node);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    pool = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    assert_true(pool != MAP_FAILED);
}

/* The segment holds `before`, was never cut, and nothing is left of what a story leaves. */
static void rewind_segment(struct fixture *fixture)
{
    fixture_close(fixture);
    fixture_map(fixture);
    memcpy(fixture_data(fixture), before, SIZE);
    memset(fixture_record(fixture, 1), 0, 1024);
    memset(section_of(fixture, LAYOUT_SLOT_OF), 0, PAGES * 8);
    memset(section_of(fixture, LAYOUT_PAGE_EPOCH), 0, PAGES * 4);
    atomic_store(&header_of(fixture)->cap_word, 0);
    memset(pool, 0, 8 * PAGE_BYTES);
    fixture_open(fixture);
}

static void watch_story(const struct fixture *fixture, const struct story *story)
{
    stepper_forget();
    stepper_watch(&header_of(fixture)->cap_word, 64);
    stepper_watch(&header_of(fixture)->slot_next, 64);
    stepper_watch(section_of(fixture, LAYOUT_SLOT_OF), PAGES * 8);
    stepper_watch(section_of(fixture, LAYOUT_PAGE_EPOCH), PAGES * 4);
    stepper_watch(fixture_record(fixture, 1), 256);
    stepper_watch(fixture_stripes(fixture), 3 * sizeof(struct stripe));
    for (uint32_t i = 0; i < story->pages; i++) {
        stepper_watch(pool + i * PAGE_BYTES, 16);                   /* the copy begins */
        stepper_watch(pool + (i + 1) * PAGE_BYTES - 16, 16);        /* and ends */
        for (uint32_t part = 0; part < 4; part++)
            stepper_watch(fixture_data(fixture) + story->places[i] * PAGE_BYTES + part * 1024, 1024);
    }
}

static void overwrite_all(struct fixture *fixture, int value)
{
    static uint8_t data[SIZE / 5];
    memset(data, value, sizeof data);
    for (uint64_t at = 0; at < SIZE; at += sizeof data)
        DONE(segment_write(fixture->segment, 2, at, sizeof data, data));
}

static void assert_captured(struct capture *capture, uint32_t round, const uint8_t *expected, const char *name, int changes)
{
    struct err err = {.text = ""};
    if (fixture_capture(capture, round, SIZE, image, &err) != MCOMP_OK)
        fail_msg("%s, change %d: %s", name, changes, err.text);
    if (memcmp(image, expected, SIZE) != 0)
        fail_msg("%s, change %d: the capture does not show the cut", name, changes);
}

/* ---- a writer is killed ---- */

struct tally {
    int points, absent, there;
    uint64_t redone; /* writes that the attach finished */
};

/* Returns false when the story ran to its end before so many changes. */
static bool kill_at(struct fixture *fixture, const struct story *story, int changes, struct tally *tally)
{
    struct segment_command command;
    struct segment_info info;
    uint32_t round = FIRST_ROUND + (uint32_t)changes;
    rewind_segment(fixture);
    struct capture *capture = fixture_capture_open(fixture);
    if (changes % 2) /* else the writer gets memory itself */
        (void)segment_mailbox_wait(fixture->segment, 0, &command);
    fixture_cut(fixture, round);
    watch_story(fixture, story);
    void *both[] = {fixture->segment, (void *)(uintptr_t)story};
    enum step_end end = stepper_run_and_kill(stepper_fork(act_story, both), changes, NULL, NULL);
    assert_int_not_equal(end, STEP_BROKEN);
    fixture_close(fixture);
    fixture_open(fixture);
    segment_get_info(fixture->segment, &info);
    DONE(segment_read(fixture->segment, 0, SIZE, now));
    bool is_old = memcmp(now, before, SIZE) == 0, is_new = memcmp(now, after, SIZE) == 0;
    if ((!is_old && !is_new) || (is_old && stepper_returned()))
        fail_msg("%s, change %d: torn or lost", story->name, changes);
    if (changes / 2 % 2) /* else all is captured as the attach left it */
        overwrite_all(fixture, 'o');
    assert_captured(capture, round, before, story->name, changes);
    tally->points++;
    tally->absent += is_old;
    tally->there += is_new;
    tally->redone += info.writes_finished;
    capture_close(capture);
    return end == STEP_CHANGES_REACHED;
}

static void prepare(struct fixture *fixture, const struct story *story)
{
    uint64_t random = 99;
    for (uint64_t i = 0; i < SIZE; i++)
        before[i] = (uint8_t)(fixture_random(&random) | 1);
    rewind_segment(fixture);
    story->act(fixture->segment);
    DONE(segment_read(fixture->segment, 0, SIZE, after));
    assert_int_not_equal(memcmp(before, after, SIZE), 0);
}

static void capture_is_right_wherever_a_writer_is_killed(void **state)
{
    struct fixture *fixture = *state;
    if (UNDER_TSAN)
        skip(); /* its run-time makes one step thousands */
    map_pool(fixture);
    for (size_t i = 0; i < sizeof stories / sizeof stories[0]; i++) {
        struct tally tally = {0};
        prepare(fixture, &stories[i]);
        for (int changes = 1; kill_at(fixture, &stories[i], changes, &tally); changes += STRIDE)
            ;
        print_message("%s: killed at %d points, %d times absent, %d times there, %d finished by the attach\n", stories[i].name, tally.points, tally.absent,
                      tally.there, (int)tally.redone);
        assert_true(tally.points * STRIDE >= stories[i].changes_min && tally.absent > 0 && tally.there > 0);
        assert_true(tally.redone * STRIDE > 1 || stories[i].act == write_aligned_word);
    }
}

/* ---- a writer stands still while pages are captured ---- */

static bool capture_at(struct fixture *fixture, const struct story *story, int changes)
{
    uint32_t round = FIRST_ROUND + (uint32_t)changes;
    rewind_segment(fixture);
    struct capture *capture = fixture_capture_open(fixture);
    fixture_cut(fixture, round);
    watch_story(fixture, story);
    void *both[] = {fixture->segment, (void *)(uintptr_t)story};
    pid_t child = stepper_fork(act_story, both);
    enum step_end end = stepper_run(child, changes, NULL, NULL);
    assert_int_not_equal(end, STEP_BROKEN);
    assert_captured(capture, round, before, story->name, changes);
    if (end == STEP_CHANGES_REACHED)
        assert_true(stepper_finish(child));
    DONE(segment_read(fixture->segment, 0, SIZE, now));
    if (memcmp(now, after, SIZE) != 0)
        fail_msg("%s, change %d: the write is not there", story->name, changes);
    capture_close(capture);
    return end == STEP_CHANGES_REACHED;
}

static void capture_is_right_wherever_a_writer_stands(void **state)
{
    struct fixture *fixture = *state;
    if (UNDER_TSAN)
        skip();
    map_pool(fixture);
    for (size_t i = 0; i < sizeof stories / sizeof stories[0]; i++) {
        int changes = 1;
        prepare(fixture, &stories[i]);
        while (capture_at(fixture, &stories[i], changes))
            changes += STRIDE;
        assert_true(changes > stories[i].changes_min);
    }
}

/* ---- a cut is killed ---- */

static void act_cut(void *arg)
{
    struct fixture *fixture = arg;
    segment_freeze(fixture->segment);
    if (!segment_wait_drained(fixture->segment, 0))
        _exit(1);
    segment_cut(fixture->segment, FIRST_ROUND + 1);
    segment_thaw(fixture->segment);
}

static bool cut_killed_at(struct fixture *fixture, int changes)
{
    static const struct story none;
    struct err err;
    rewind_segment(fixture);
    struct capture *capture = fixture_capture_open(fixture);
    fixture_cut(fixture, FIRST_ROUND);
    write_in_a_page(fixture->segment); /* page 0 is in slot 0 */
    DONE(segment_read(fixture->segment, 0, SIZE, after));
    watch_story(fixture, &none);
    enum step_end end = stepper_run_and_kill(stepper_fork(act_cut, fixture), changes, NULL, NULL);
    assert_int_not_equal(end, STEP_BROKEN);
    fixture_close(fixture);
    fixture_open(fixture);
    overwrite_all(fixture, 'n');
    bool first = fixture_capture(capture, FIRST_ROUND, SIZE, image, &err) == MCOMP_OK;
    assert_true(!first || memcmp(image, before, SIZE) == 0);
    bool second = fixture_capture(capture, FIRST_ROUND + 1, SIZE, image, &err) == MCOMP_OK;
    assert_true(!second || memcmp(image, after, SIZE) == 0);
    assert_false(first && second);
    assert_int_equal(second, end == STEP_EXITED || changes >= 3); /* the third store is the cut */
    capture_close(capture);
    return end == STEP_CHANGES_REACHED;
}

static void cut_that_is_killed_mixes_nothing(void **state)
{
    struct fixture *fixture = *state;
    int changes = 1;
    if (UNDER_TSAN)
        skip();
    map_pool(fixture);
    prepare(fixture, &stories[0]);
    while (cut_killed_at(fixture, changes))
        changes++;
    assert_int_equal(changes, 4);
}

/* ---- one side of the mailbox is killed ---- */

static void watch_mailbox(const struct fixture *fixture)
{
    stepper_forget();
    stepper_watch(&header_of(fixture)->mailbox, sizeof(struct layout_mailbox));
}

/* Freeze and unfreeze with a new round, as the snapshot process, against an agent that answers. */
static void assert_mailbox_works(struct fixture *fixture, struct capture *capture)
{
    enum capture_freeze outcome;
    uint32_t max_round, round = segment_max_round(fixture->segment) + 1;
    struct err err = {.text = ""};
    fixture_agent_start(fixture);
    if (capture_freeze(capture, round, 1000, 60000, &outcome, &max_round, &err) != MCOMP_OK)
        fail_msg("%s", err.text);
    assert_int_equal(outcome, CAPTURE_FROZEN);
    assert_int_equal(max_round, round);
    assert_int_equal(capture_unfreeze(capture, round, 60000, &err), MCOMP_OK);
    fixture_agent_stop(fixture);
}

static void act_ask(void *arg)
{
    enum capture_freeze outcome;
    uint32_t max_round;
    struct err err;
    if (capture_freeze(arg, 9999, 1000, 0, &outcome, &max_round, &err) != MCOMP_UNAVAILABLE)
        _exit(1);
}

static void asker_that_is_killed_leaves_nothing_stuck(void **state)
{
    struct fixture *fixture = *state;
    struct segment_command command;
    int changes = 1, taken = 0;
    if (UNDER_TSAN)
        skip();
    struct capture *capture = fixture_capture_open(fixture);
    fixture_map(fixture);
    for (enum step_end end = STEP_CHANGES_REACHED; end == STEP_CHANGES_REACHED; changes++) {
        atomic_store(&header_of(fixture)->mailbox.round, 0);
        watch_mailbox(fixture);
        end = stepper_run_and_kill(stepper_fork(act_ask, capture), changes, NULL, NULL);
        assert_int_not_equal(end, STEP_BROKEN);
        if (segment_mailbox_wait(fixture->segment, 0, &command)) {
            assert_true(command.kind == SEGMENT_COMMAND_FREEZE && command.round == 9999 && command.lease_ms == 1000);
            taken++;
        }
        assert_mailbox_works(fixture, capture);
    }
    assert_true(changes > 6 && taken >= 2 && taken < changes);
    capture_close(capture);
}

static void act_answer(void *arg)
{
    struct fixture *fixture = arg;
    struct segment_command command;
    struct segment_answer answer = {.result = SEGMENT_ANSWER_BUSY, .max_round = 0x01010101, .pause_ns = UINT64_C(0x0202020202020202)};
    if (!segment_mailbox_wait(fixture->segment, 0, &command))
        _exit(1);
    segment_mailbox_answer(fixture->segment, &command, &answer);
}

static void server_that_is_killed_leaves_nothing_stuck(void **state)
{
    struct fixture *fixture = *state;
    struct segment_command command;
    int changes = 1;
    if (UNDER_TSAN)
        skip();
    struct capture *capture = fixture_capture_open(fixture);
    fixture_map(fixture);
    for (enum step_end end = STEP_CHANGES_REACHED; end == STEP_CHANGES_REACHED; changes++) {
        act_ask(capture);
        watch_mailbox(fixture);
        end = stepper_run_and_kill(stepper_fork(act_answer, fixture), changes, NULL, NULL);
        assert_int_not_equal(end, STEP_BROKEN);
        fixture_close(fixture);
        fixture_open(fixture);
        assert_false(segment_mailbox_wait(fixture->segment, 0, &command)); /* meant for the one that died */
        assert_mailbox_works(fixture, capture);
    }
    assert_true(changes > 5);
    capture_close(capture);
}

static int setup(void **state)
{
    if (stepper_setup() != 0 || fixture_setup(state) != 0)
        return -1;
    struct fixture *fixture = *state;
    struct err err;
    fixture->options.preserve_limit += 8 * PAGE_BYTES; /* a writer that is killed leaves slots unused */
    return segment_open(&fixture->segment, &fixture->options, &err) == MCOMP_OK ? 0 : -1;
}

static int teardown(void **state)
{
    if (pool)
        munmap(pool, SIZE);
    pool = NULL;
    stepper_teardown();
    return fixture_teardown(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(capture_is_right_wherever_a_writer_is_killed),
        TEST(capture_is_right_wherever_a_writer_stands),
        TEST(cut_that_is_killed_mixes_nothing),
        TEST(asker_that_is_killed_leaves_nothing_stuck),
        TEST(server_that_is_killed_leaves_nothing_stuck),
    };
    return cmocka_run_group_tests_name("segment-capture-steps", tests, NULL, NULL);
}
