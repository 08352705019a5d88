/* SPDX-License-Identifier: Apache-2.0 */
/** What segment_open makes of the traces that a killed process leaves: states of the object made by hand. */
#include "fixture.h"

#include <string.h>
#include <unistd.h>

static const uint8_t zeros[4096];

/* Make a record as a writer that dies now would leave it. */
static void put_record(struct redo_record *redo, uint32_t valid, const struct segment_write_range *writes, uint32_t count)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        redo->range[i] = (struct redo_range){writes[i].offset, writes[i].length};
        bytes += writes[i].length;
    }
    uint8_t *to = (uint8_t *)&redo->range[count];
    for (uint32_t i = 0; i < count; i++) {
        memcpy(to, writes[i].data, writes[i].length);
        to += writes[i].length;
    }
    redo->range_count = count;
    redo->data_bytes = bytes;
    atomic_store(&redo->valid, valid);
}

static void assert_bytes(struct fixture *fixture, uint64_t offset, const void *bytes, uint64_t length)
{
    uint8_t buf[4096];
    DONE(segment_read(fixture->segment, offset, length, buf));
    assert_memory_equal(buf, bytes, length);
}

static uint64_t writes_finished(const struct fixture *fixture)
{
    struct segment_info info;
    segment_get_info(fixture->segment, &info);
    return info.writes_finished;
}

static void half_stored_write_is_finished(void **state)
{
    struct fixture *fixture = *state;
    const struct segment_write_range writes[] = {{STRIPE_BYTES - 4, 8, "abcdefgh"}, {100, 5, "12345"}, {FIXTURE_BYTES - 2, 2, "zz"}};
    for (int stored = 0; stored < 4; stored++) {
        fixture_close(fixture);
        fixture_map(fixture);
        memset(fixture_data(fixture), 0, FIXTURE_BYTES);
        put_record(fixture_record(fixture, 2), 1, writes, 3);
        for (int i = 0; i < stored; i++)
            memcpy(fixture_data(fixture) + writes[i].offset, writes[i].data, i == stored - 1 ? 1 : writes[i].length);
        fixture_open(fixture);
        assert_int_equal(writes_finished(fixture), 1);
        for (int i = 0; i < 3; i++)
            assert_bytes(fixture, writes[i].offset, writes[i].data, writes[i].length);
        assert_bytes(fixture, 105, zeros, 1000);
        assert_int_equal(fixture_record(fixture, 2)->valid, 0);
        fixture_close(fixture);
        fixture_open(fixture);
        assert_int_equal(writes_finished(fixture), 0);
    }
}

static void records_of_all_writers_are_finished(void **state)
{
    struct fixture *fixture = *state;
    fixture_close(fixture);
    fixture_map(fixture);
    for (uint32_t i = 0; i < FIXTURE_WRITERS; i++)
        put_record(fixture_record(fixture, i), 1, &(struct segment_write_range){i * 1000, 6, "writer"}, 1);
    fixture_open(fixture);
    assert_int_equal(writes_finished(fixture), FIXTURE_WRITERS);
    for (uint32_t i = 0; i < FIXTURE_WRITERS; i++)
        assert_bytes(fixture, i * 1000, "writer", 6);
}

static void record_that_was_not_valid_yet_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    DONE(segment_write(fixture->segment, 0, 500, 3, "old"));
    fixture_close(fixture);
    fixture_map(fixture);
    put_record(fixture_record(fixture, 0), 0, &(struct segment_write_range){500, 3, "new"}, 1);
    memset(fixture_record(fixture, 1)->range, 0xee, 4096); /* being filled: nonsense */
    fixture_record(fixture, 1)->range_count = 99999;
    fixture_open(fixture);
    assert_int_equal(writes_finished(fixture), 0);
    assert_bytes(fixture, 500, "old", 3);
}

static void damaged_record_is_data_loss_and_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    fixture_close(fixture);
    fixture->options.redo_bytes = 8192; /* records smaller than the segment */
    fixture_open(fixture);
    fixture_close(fixture);
    fixture_map(fixture);
    struct redo_record *good = fixture_record(fixture, 0), *bad = fixture_record(fixture, 3);
    put_record(good, 1, &(struct segment_write_range){0, 4, "good"}, 1);
    const struct segment_write_range write = {3000, 3, "bad"};
    for (int defect = 0; defect < 9; defect++) {
        put_record(bad, 1, &write, 1);
        switch (defect) {
        case 0: atomic_store(&bad->valid, 3); break;
        case 1: bad->range_count = 0; bad->data_bytes = 0; break;
        case 2: /* one range too many, without bytes as many before it */
            memset(&bad->range[1], 0, MULTI_RANGES_MAX * sizeof bad->range[0]);
            bad->range_count = MULTI_RANGES_MAX + 1;
            break;
        case 3: bad->range_count = UINT32_MAX; break;
        case 4: bad->data_bytes = 4; break;
        case 5: bad->range[0].offset = FIXTURE_BYTES - 2; break;
        case 6: bad->range[0].offset = UINT64_MAX - 1; break;
        case 7: bad->range[0].length = UINT64_MAX - 2; break;
        default: /* inside the segment, but larger than the record */
            bad->range[0].offset = 0;
            bad->range[0].length = bad->data_bytes = layout_redo_section((void *)fixture->map)->element_bytes - 31;
        }
        fixture_open_fails(fixture, MCOMP_DATA_LOSS, "writer 3", "mcompd --reset --config FILE --node 1", NULL);
        assert_memory_equal(fixture_data(fixture), zeros, 4096);
        assert_int_equal(good->valid, 1);
    }
    put_record(bad, 1, &write, 1);
    fixture_open(fixture);
    assert_int_equal(writes_finished(fixture), 2);
    assert_bytes(fixture, 0, "good", 4);
    assert_bytes(fixture, 3000, "bad", 3);
}

static void semaphores_of_dead_holders_are_free_again(void **state)
{
    struct fixture *fixture = *state;
    fixture_close(fixture);
    fixture_map(fixture);
    struct stripe *stripes = fixture_stripes(fixture);
    for (uint32_t i = 0; i <= FIXTURE_STRIPES; i++) {
        atomic_store(&stripes[i].state, UINT64_C(0x0123456789abcdef) * (i + 1)); /* holders and waiters of every kind */
        atomic_store(&stripes[i].sequence, 2 * i + 1);
        atomic_store(&stripes[i].turn, i);
    }
    fixture_open(fixture);
    static uint8_t all[FIXTURE_BYTES];
    DONE(segment_read_try(fixture->segment, 0, FIXTURE_BYTES, all));
    DONE(segment_read_try(fixture->segment, 0, 64, all));
    DONE(segment_write_try(fixture->segment, 0, 0, FIXTURE_REDO_BYTES, all));
}

/* ---- other numbers and sizes of records than the last time ---- */

struct records {
    uint32_t writers;
    uint64_t redo_bytes;
};

/* Attach with other records while one of the old ones is valid; then use all of the new ones. */
static void change_records(struct fixture *fixture, struct records to, unsigned round)
{
    uint8_t text[8] = {'r', 'o', 'u', 'n', 'd', (uint8_t)round, 0, 1};
    uint64_t place = 4096 + 16 * (uint64_t)round;
    fixture_close(fixture);
    fixture_map(fixture);
    put_record(fixture_record(fixture, fixture->options.writers - 1), 1, &(struct segment_write_range){place, 8, text}, 1);

    fixture->options.writers = to.writers;
    fixture->options.redo_bytes = to.redo_bytes;
    fixture_open(fixture);
    assert_int_equal(writes_finished(fixture), 1);
    assert_bytes(fixture, place, text, 8);
    struct layout_header plan;
    layout_plan(&plan, &fixture->options);
    assert_int_equal(fixture_object_bytes(fixture), layout_object_bytes(&plan));
    fixture_map(fixture);
    static uint8_t data[FIXTURE_BYTES];
    memset(data, (int)round + 1, sizeof data);
    uint64_t length = to.redo_bytes < 4096 ? to.redo_bytes : 4096;
    for (uint32_t i = 0; i < to.writers; i++) {
        assert_int_equal(fixture_record(fixture, i)->valid, 0);
        DONE(segment_write(fixture->segment, i, 0, length, data));
    }
    if (to.redo_bytes >= FIXTURE_REDO_BYTES)
        DONE(segment_write(fixture->segment, to.writers - 1, FIXTURE_BYTES - FIXTURE_REDO_BYTES, FIXTURE_REDO_BYTES, data));
    assert_bytes(fixture, 0, data, length);
}

static void records_change_between_processes(void **state)
{
    struct fixture *fixture = *state;
    static const struct records changes[] = {{8, FIXTURE_REDO_BYTES}, {2, FIXTURE_REDO_BYTES}, {2, 2 * FIXTURE_REDO_BYTES},
                                             {1, 4096}, {16, 4096}, {3, 100}, {FIXTURE_WRITERS, FIXTURE_REDO_BYTES}, {64, 8}};
    for (unsigned i = 0; i < sizeof changes / sizeof changes[0]; i++)
        change_records(fixture, changes[i], i);
}

/* Killed while it changed the records: everything is prepared, the switch has not happened. */
static void interrupted_change_of_records_is_begun_again(void **state)
{
    struct fixture *fixture = *state;
    char path[128];
    DONE(segment_write(fixture->segment, 0, 77, 4, "kept"));
    fixture_close(fixture);
    struct layout_header *header = fixture_map(fixture);
    uint64_t bytes = fixture_object_bytes(fixture);
    assert_int_equal(truncate(fixture_path(fixture, 1, path), (off_t)(2 * bytes)), 0);
    header = fixture_map(fixture);
    memset(&header->tail[1 - header->tail_current], 0xee, sizeof header->tail[0]);
    put_record(fixture_record(fixture, 1), 1, &(struct segment_write_range){81, 4, "done"}, 1);
    fixture->options.writers++;
    fixture_open(fixture);
    assert_int_equal(writes_finished(fixture), 1);
    assert_bytes(fixture, 77, "keptdone", 8);
    fixture_close(fixture);
    fixture->options.writers--;
    fixture_open(fixture);
    assert_bytes(fixture, 77, "keptdone", 8);
    assert_int_equal(fixture_object_bytes(fixture), bytes);
}

static void surplus_bytes_behind_the_records_are_dropped(void **state)
{
    struct fixture *fixture = *state;
    char path[128];
    fixture_close(fixture);
    uint64_t bytes = fixture_object_bytes(fixture);
    assert_int_equal(truncate(fixture_path(fixture, 1, path), (off_t)(bytes + 12345678)), 0);
    fixture_open(fixture);
    assert_int_equal(fixture_object_bytes(fixture), bytes);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup_open, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(half_stored_write_is_finished),
        TEST(records_of_all_writers_are_finished),
        TEST(record_that_was_not_valid_yet_changes_nothing),
        TEST(damaged_record_is_data_loss_and_changes_nothing),
        TEST(semaphores_of_dead_holders_are_free_again),
        TEST(records_change_between_processes),
        TEST(interrupted_change_of_records_is_begun_again),
        TEST(surplus_bytes_behind_the_records_are_dropped),
    };
    return cmocka_run_group_tests_name("segment-recovery", tests, NULL, NULL);
}
