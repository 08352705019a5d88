/* SPDX-License-Identifier: Apache-2.0 */
/** What a restore leaves in the segment: its state, which outlives servers, and its bytes. */
#include "fixture.h"

#include <string.h>

static const struct segment_restore first = {.id = 0x1122334455667788u, .file = 0xfedcba9876543210u, .round = 0x1200};

static void assert_state(struct fixture *fixture, enum segment_restore_state state, const struct segment_restore *expected)
{
    struct segment_restore restore;
    assert_int_equal(segment_restore_get(fixture->segment, &restore), state);
    assert_true(restore.id == expected->id && restore.file == expected->file && restore.round == expected->round);
}

static void reopen(struct fixture *fixture)
{
    fixture_close(fixture);
    fixture_open(fixture);
}

static void state_outlives_the_server(void **state)
{
    struct fixture *fixture = *state;
    assert_state(fixture, SEGMENT_RESTORE_NONE, &(struct segment_restore){0});
    segment_restore_begin(fixture->segment, &first);
    assert_state(fixture, SEGMENT_RESTORE_PART, &first);
    reopen(fixture);
    assert_state(fixture, SEGMENT_RESTORE_PART, &first);
    segment_restore_complete(fixture->segment);
    reopen(fixture);
    assert_state(fixture, SEGMENT_RESTORE_COMPLETE, &first);
    segment_restored(fixture->segment);
    reopen(fixture);
    assert_state(fixture, SEGMENT_RESTORE_NONE, &first);
}

static void a_restore_at_the_start_is_nobody_elses(void **state)
{
    struct fixture *fixture = *state;
    segment_restore_begin(fixture->segment, &first);
    segment_restore_complete(fixture->segment);
    fixture_close(fixture);
    fixture->options.restore = true;
    fixture_open(fixture);
    assert_state(fixture, SEGMENT_RESTORE_PART, &(struct segment_restore){0});
    fixture->options.restore = false;
    reopen(fixture); /* it did not come to its end */
    assert_state(fixture, SEGMENT_RESTORE_PART, &(struct segment_restore){0});
    segment_restored(fixture->segment);
    assert_state(fixture, SEGMENT_RESTORE_NONE, &(struct segment_restore){0});
}

/* Killed between the stores of segment_restore_begin: whatever else stands there, the segment is none that may be served. */
static void rubbish_is_not_served(void **state)
{
    struct fixture *fixture = *state;
    fixture_close(fixture);
    struct layout_header *header = fixture_map(fixture);
    atomic_store(&header->restoring, 77);
    fixture_unmap(fixture);
    fixture_open(fixture);
    assert_state(fixture, SEGMENT_RESTORE_PART, &(struct segment_restore){0});
}

static void pages_and_zeros_are_stored(void **state)
{
    struct fixture *fixture = *state;
    static uint8_t model[FIXTURE_BYTES], data[FIXTURE_BYTES], read[FIXTURE_BYTES];
    uint64_t seed = 7;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(fixture_random(&seed) | 1);
    memset(model, 'x', sizeof model);
    for (uint64_t at = 0; at < FIXTURE_BYTES; at += PAGE_BYTES)
        DONE(segment_write(fixture->segment, 0, at, PAGE_BYTES, model + at));
    segment_restore_begin(fixture->segment, &first);
    for (int i = 0; i < 200; i++) {
        uint64_t pages = FIXTURE_BYTES / PAGE_BYTES, at = fixture_random(&seed) % pages, length = fixture_random(&seed) % (pages - at + 1);
        uint64_t zeros = fixture_random(&seed) % (pages - at - length + 1);
        at *= PAGE_BYTES, length *= PAGE_BYTES, zeros *= PAGE_BYTES;
        assert_true(segment_restore_write(fixture->segment, at, length, data + at, zeros, i % 2));
        memcpy(model + at, data + at, length);
        memset(model + at + length, 0, zeros);
    }
    segment_restored(fixture->segment);
    DONE(segment_read(fixture->segment, 0, FIXTURE_BYTES, read));
    assert_memory_equal(read, model, sizeof model);
}

static void it_does_not_wait_if_told_not_to(void **state)
{
    struct fixture *fixture = *state;
    uint8_t page[PAGE_BYTES] = {1}, read[PAGE_BYTES];
    segment_restore_begin(fixture->segment, &first);
    assert_non_null(segment_hold_try(fixture->segment, 0, 1));
    assert_false(segment_restore_write(fixture->segment, 0, PAGE_BYTES, page, 0, true));
    assert_true(segment_restore_write(fixture->segment, STRIPE_BYTES, PAGE_BYTES, page, 0, true));
    segment_release(fixture->segment, 0, 1);
    DONE(segment_read(fixture->segment, 0, PAGE_BYTES, read));
    assert_int_equal(read[0], 0); /* nothing was done */
    assert_true(segment_restore_write(fixture->segment, 0, PAGE_BYTES, page, 0, true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(state_outlives_the_server, fixture_setup_open, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_restore_at_the_start_is_nobody_elses, fixture_setup_open, fixture_teardown),
        cmocka_unit_test_setup_teardown(rubbish_is_not_served, fixture_setup_open, fixture_teardown),
        cmocka_unit_test_setup_teardown(pages_and_zeros_are_stored, fixture_setup_open, fixture_teardown),
        cmocka_unit_test_setup_teardown(it_does_not_wait_if_told_not_to, fixture_setup_open, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
