/* SPDX-License-Identifier: Apache-2.0 */
/** Cuts, preserved pages and captures, step by step in one process; the mailbox, with a thread as the server's agent. */
#include "fixture.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "segment/object.h"

#define SIZE FIXTURE_BYTES
#define PAGES (SIZE / PAGE_BYTES)

static uint8_t at_cut[SIZE], image[SIZE];

/* Fill with bytes that follow from a seed, but for every third page, which is zero. */
static void fill(struct fixture *fixture, uint64_t seed)
{
    static uint8_t page[PAGE_BYTES];
    for (uint64_t at = 0; at < SIZE; at += PAGE_BYTES) {
        for (size_t i = 0; i < PAGE_BYTES; i++)
            page[i] = at / PAGE_BYTES % 3 == 2 ? 0 : (uint8_t)fixture_random(&seed);
        DONE(segment_write(fixture->segment, 0, at, PAGE_BYTES, page));
    }
}

static void cut(struct fixture *fixture, uint32_t round)
{
    fixture_cut(fixture, round);
    segment_read(fixture->segment, 0, SIZE, at_cut);
}

static void tend(struct fixture *fixture)
{
    struct segment_command command;
    assert_false(segment_mailbox_wait(fixture->segment, 0, &command));
}

static void assert_captured(struct capture *capture, uint32_t round)
{
    struct err err = {.text = ""};
    memset(image, 0xee, sizeof image);
    enum mcomp_status code = fixture_capture(capture, round, SIZE, image, &err);
    if (code != MCOMP_OK)
        fail_msg("capture: %s", err.text);
    assert_int_equal(memcmp(image, at_cut, SIZE), 0);
}

static void assert_aborted(struct capture *capture, uint32_t round, const char *why)
{
    struct err err = {.text = ""};
    assert_int_equal(fixture_capture(capture, round, SIZE, image, &err), MCOMP_ABORTED);
    if (!strstr(err.text, why))
        fail_msg("\"%s\" is missing in: %s", why, err.text);
    assert_int_equal(capture_finish(capture, round, &err), MCOMP_ABORTED);
}

/* ---- cut and capture ---- */

static void capture_shows_the_state_at_the_cut(void **state)
{
    struct fixture *fixture = *state;
    struct segment *segment = fixture->segment;
    uint64_t word;
    tend(fixture);
    fill(fixture, 1);
    struct capture *capture = fixture_capture_open(fixture);
    for (uint32_t round = 256; round < 256 + 5; round++) {
        cut(fixture, round);
        assert_true(capture_is_live(capture, round));
        assert_int_equal(capture_preserved(capture), 0);
        fill(fixture, round); /* preserves all pages */
        assert_int_equal(capture_preserved(capture), PAGES);
        DONE(segment_add(segment, 1, 5 * PAGE_BYTES - 3, 77, &word));
        assert_int_equal(capture_preserved(capture), PAGES); /* once each */
        uint32_t progress = segment_capture_progress(segment);
        assert_captured(capture, round);
        assert_int_equal(segment_capture_progress(segment) - progress, (SIZE + CAPTURE_WINDOW_BYTES - 1) / CAPTURE_WINDOW_BYTES);
        capture_end(capture, round);
        assert_false(capture_is_live(capture, round));
    }
    capture_close(capture);
}

static void each_kind_of_write_preserves_what_it_changes(void **state)
{
    struct fixture *fixture = *state;
    struct segment *segment = fixture->segment;
    uint64_t word;
    const struct segment_write_range writes[] = {{50 * PAGE_BYTES - 1, 2, "xy"}, {40 * PAGE_BYTES, 0, NULL}, {30 * PAGE_BYTES, 3, "xyz"}};
    tend(fixture);
    fill(fixture, 2);
    struct capture *capture = fixture_capture_open(fixture);
    cut(fixture, 256);
    DONE(segment_write(segment, 0, 8, 8, "12345678"));                          /* page 0, one store */
    DONE(segment_write_try(segment, 0, 3 * PAGE_BYTES - 2, 4, "1234"));         /* pages 2, 3 */
    DONE(segment_write(segment, 0, 5 * PAGE_BYTES, 2 * PAGE_BYTES, at_cut));    /* pages 5, 6 and not 7 */
    DONE(segment_add(segment, 0, 8 * PAGE_BYTES, 1, &word));                    /* page 8, one store */
    DONE(segment_add(segment, 0, 10 * PAGE_BYTES - 4, 1, &word));               /* pages 9, 10 */
    segment_read(segment, 12 * PAGE_BYTES, 8, &word);
    DONE(segment_cas(segment, 0, 12 * PAGE_BYTES, word + 1, 1, &word));         /* changes nothing */
    assert_int_equal(capture_preserved(capture), 8);
    DONE(segment_cas(segment, 0, 12 * PAGE_BYTES, word, 1, &word));             /* page 12 */
    DONE(segment_multi(segment, 0, NULL, 0, NULL, writes, 3));                  /* pages 49, 50, 30 */
    assert_int_equal(capture_preserved(capture), 12);
    assert_captured(capture, 256);
    capture_close(capture);
}

static void page_is_not_preserved_once_it_is_captured(void **state)
{
    struct fixture *fixture = *state;
    static uint8_t data[CAPTURE_WINDOW_BYTES];
    struct capture_window window;
    struct err err;
    tend(fixture);
    fill(fixture, 3);
    struct capture *capture = fixture_capture_open(fixture);
    cut(fixture, 300);
    assert_int_equal(capture_window(capture, 300, 0, data, &window, &err), MCOMP_OK);
    assert_int_equal(window.data_bytes, 43 * PAGE_BYTES); /* each third of 64 is zero */
    assert_true(window.pages == UINT64_C(0xb6db6db6db6db6db));
    fill(fixture, 4);
    assert_int_equal(capture_preserved(capture), PAGES - 64);
    assert_int_equal(capture_window(capture, 300, CAPTURE_WINDOW_BYTES, data, &window, &err), MCOMP_OK);
    assert_int_equal(window.pages, 1); /* page 64 is the first of this window, and the last of all */
    assert_memory_equal(data, at_cut + CAPTURE_WINDOW_BYTES, PAGE_BYTES);
    assert_int_equal(capture_finish(capture, 300, &err), MCOMP_OK);
    capture_close(capture);
}

/* ---- captures that end before they are done ---- */

static void superseded_capture_is_refused(void **state)
{
    struct fixture *fixture = *state;
    tend(fixture);
    struct capture *capture = fixture_capture_open(fixture);
    fill(fixture, 5);
    cut(fixture, 256);
    cut(fixture, 512);
    assert_aborted(capture, 256, "cut for round 512");
    assert_captured(capture, 512);
    struct err err;
    assert_int_equal(fixture_capture(capture, 512, SIZE, image, &err), MCOMP_ABORTED); /* each window once */
    assert_non_null(strstr(err.text, "taken by a capture that did not finish"));
    capture_close(capture);
}

static void reopen_with_limit(struct fixture *fixture, uint64_t pages)
{
    fixture_close(fixture);
    fixture->options.preserve_limit = pages * PAGE_BYTES;
    fixture_open(fixture);
    tend(fixture);
}

static void capture_ends_at_the_limit_and_writers_go_on(void **state)
{
    struct fixture *fixture = *state;
    bool live;
    for (uint64_t limit = 0; limit < 3; limit++) {
        uint32_t round = 256 * (uint32_t)(limit + 1);
        reopen_with_limit(fixture, limit);
        struct capture *capture = fixture_capture_open(fixture);
        fill(fixture, 7);
        cut(fixture, round);
        for (uint64_t i = 0; i < limit; i++)
            DONE(segment_write(fixture->segment, 0, i * PAGE_BYTES, 3, "abc"));
        assert_int_equal(segment_last_cut(fixture->segment, &live), round);
        assert_true(live);
        DONE(segment_write(fixture->segment, 0, 10 * PAGE_BYTES - 2, 3, "abc"));
        assert_int_equal(segment_last_cut(fixture->segment, &live), round);
        assert_false(live);
        assert_aborted(capture, round, "preserve_limit");
        fill(fixture, 8);
        segment_read(fixture->segment, 0, SIZE, image);
        cut(fixture, round + 1);
        assert_int_equal(memcmp(image, at_cut, SIZE), 0);
        assert_captured(capture, round + 1); /* nobody writes meanwhile */
        capture_close(capture);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup_open, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(capture_shows_the_state_at_the_cut),
        TEST(each_kind_of_write_preserves_what_it_changes),
        TEST(page_is_not_preserved_once_it_is_captured),
        TEST(superseded_capture_is_refused),
        TEST(capture_ends_at_the_limit_and_writers_go_on),
    };
    return cmocka_run_group_tests_name("segment-capture", tests, NULL, NULL);
}
