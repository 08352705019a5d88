/* SPDX-License-Identifier: Apache-2.0 */
/** Attaching to records of transactions that were made by hand: half-stored commits, and nonsense. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "txn.h"

#define UNITS_BYTES 1200u /* of a body that lies in units */

static uint8_t data[UNITS_BYTES];

static struct layout_session *table(const struct fixture *fixture)
{
    const struct layout_header *header = (void *)fixture->map;
    return (void *)(fixture->map + layout_section(header->fixed.section, header->fixed.section_count, LAYOUT_TRANSACTIONS)->offset);
}

/* Parts of the body of lane 0 of the first session, which is inline: two participants, two locks, a record of two ranges. */
static struct lane_participant *participants(const struct fixture *fixture)
{
    return (void *)table(fixture)->lane[0].body;
}
static struct layout_lock *locks(const struct fixture *fixture)
{
    return (void *)(participants(fixture) + 2);
}
static struct redo_record *redo(const struct fixture *fixture)
{
    return (void *)(locks(fixture) + 2);
}

/* The lane that a writer's record names. */
static struct redo_lane *named(const struct fixture *fixture, uint32_t writer)
{
    const struct layout_section *section = layout_redo_section((void *)fixture->map);
    return (void *)(fixture->map + section->offset + (writer + 1) * section->element_bytes - sizeof(struct redo_lane));
}

/* Lane 0: prepared, inline. Lane 1: prepared, in units. Lane 2: aborted. The segment is closed, and mapped. */
static void leave_transactions(struct fixture *fixture)
{
    struct lane_id id = txn_open(fixture->segment, 1);
    struct segment_compare compare = {.offset = 64, .length = 1, .expected = ""};
    struct segment_write_range writes[] = {{3, 2, "ab"}, {10, 2, "cd"}};
    struct segment_items items = {.compares = &compare, .compare_count = 1, .writes = writes, .write_count = 2};
    struct lane_view view;
    DONE(txn_prepare(fixture->segment, 0, &id, &items, &view));
    assert_int_equal(view.state, LANE_PREPARED);
    id.lane = 1;
    txn_prepare_write(fixture->segment, &id, STRIPE_BYTES - 100, UNITS_BYTES, memset(data, 'u', sizeof data), LANE_REASON_NONE);
    id.lane = 2;
    txn_prepare_write(fixture->segment, &id, 0, 1, data, LANE_BUSY);
    fixture_close(fixture);
    fixture_map(fixture);
    assert_int_equal(table(fixture)->lane[0].first_unit, LAYOUT_INLINE);
    assert_int_equal(locks(fixture)[1].first_line, 1);
    assert_int_equal(redo(fixture)->data_bytes, 4);
    assert_int_equal(table(fixture)->lane[1].first_unit, 0);
}

static void commit_that_was_under_way_is_finished(void **state)
{
    struct fixture *fixture = *state;
    struct segment_info info;
    static uint8_t back[UNITS_BYTES];
    leave_transactions(fixture);
    struct layout_lane *lane = &table(fixture)->lane[1];
    uint64_t word = atomic_load(&lane->word);
    atomic_store(&lane->word, (word & ~UINT64_C(255)) | LANE_COMMITTING);
    memcpy(fixture_data(fixture) + STRIPE_BYTES - 100, data, UNITS_BYTES / 2);
    fixture_open(fixture);
    segment_get_info(fixture->segment, &info);
    assert_int_equal(info.writes_finished, 1);
    assert_int_equal(atomic_load(&lane->word), (word & ~UINT64_C(255)) | LANE_COMMITTED);
    DONE(segment_read(fixture->segment, STRIPE_BYTES - 100, UNITS_BYTES, back));
    assert_memory_equal(back, data, UNITS_BYTES);
    assert_int_equal(segment_read(fixture->segment, 0, 1, back), SEGMENT_LOCKED); /* lane 0 */
    assert_int_equal(txn_prepared(fixture->segment), 1);
}

static void execution_that_was_under_way_is_finished_with_its_record(void **state)
{
    struct fixture *fixture = *state;
    char buf[4];
    leave_transactions(fixture);
    struct layout_lane *lane = &table(fixture)->lane[2];
    uint64_t sequence = 9;
    atomic_store(&lane->word, sequence << 8 | LANE_ABORTED);
    lane->participant_count = lane->lock_count = 0;
    lane->redo_bytes = lane->answer_bytes = 0;
    lane->first_unit = LAYOUT_INLINE;
    struct redo_record *record = fixture_record(fixture, 2);
    record->range_count = 1;
    record->data_bytes = 4;
    record->range[0] = (struct redo_range){5000, 4};
    memcpy(&record->range[1], "done", 4);
    *named(fixture, 2) = (struct redo_lane){2, sequence << 8 | LANE_COMMITTED};
    atomic_store(&record->valid, REDO_VALID_LANE);
    fixture_open(fixture);
    DONE(segment_read(fixture->segment, 5000, 4, buf));
    assert_memory_equal(buf, "done", 4);
    assert_int_equal(atomic_load(&lane->word), sequence << 8 | LANE_COMMITTED);
    assert_int_equal(atomic_load(&record->valid), REDO_INVALID);
}

/* A redo record that names a lane. */
static void name_lane(struct fixture *fixture, uint64_t lane, uint64_t word)
{
    struct redo_record *record = fixture_record(fixture, 1);
    record->range_count = 1;
    record->data_bytes = 1;
    record->range[0] = (struct redo_range){5000, 1};
    memcpy(&record->range[1], "x", 1);
    *named(fixture, 1) = (struct redo_lane){lane, word};
    atomic_store(&record->valid, REDO_VALID_LANE);
}

static bool damage(struct fixture *fixture, int number)
{
    struct layout_session *session = table(fixture);
    struct layout_lane *lane = session->lane;
    uint64_t word = atomic_load(&lane[0].word), aborted = atomic_load(&lane[2].word);
    switch (number) {
    case 0: atomic_store(&lane[0].word, (word & ~UINT64_C(255)) | 5); return true;
    case 1: atomic_store(&lane[0].word, word | LANE_BUSY << 4); return true;
    case 2: atomic_store(&lane[2].word, (aborted & ~UINT64_C(255)) | 7 << 4 | LANE_ABORTED); return true;
    case 3: atomic_store(&lane[2].word, aborted & ~UINT64_C(255)); return true;
    case 4: atomic_store(&lane[0].word, LANE_PREPARED); return true;
    case 5: lane[0].participant_count = GRID_NODES_MAX + 1; return true;
    case 6: lane[0].lock_count = UINT32_MAX; return true;
    case 7: lane[0].redo_bytes++; return true;
    case 8: lane[0].redo_bytes = UINT64_MAX - 7; return true;
    case 9: lane[0].redo_bytes = 16; return true;
    case 10: lane[0].answer_bytes = UINT64_MAX; return true;
    case 11: lane[0].answer_bytes = LAYOUT_INLINE_BYTES; return true;
    case 12: lane[1].first_unit = 1024; return true;
    case 13: lane[1].first_unit = 1022; return true;
    case 14: lane[1].first_unit = LAYOUT_INLINE; return true;
    case 15: participants(fixture)[1].node = 3; return true;
    case 16: participants(fixture)[0].id.lane = LANES; return true;
    case 17: participants(fixture)[0].id.sequence = 0; return true;
    case 18: locks(fixture)[1].first_line = FIXTURE_BYTES / 64; return true;
    case 19: locks(fixture)[1].lines = UINT32_MAX; return true;
    case 20: locks(fixture)[0].lines = 0; return true;
    case 21: locks(fixture)[0].exclusive = 2; return true;
    case 22: locks(fixture)[1].first_line = 0; return true;
    case 23: locks(fixture)[0].exclusive = 0; return true; /* but it writes there */
    case 24: redo(fixture)->range[1].offset = 63; return true;
    case 25: redo(fixture)->range[1].offset = 4000; return true;
    case 26: redo(fixture)->range_count = 0; return true;
    case 27: redo(fixture)->range_count = UINT32_MAX; return true;
    case 28: redo(fixture)->data_bytes++; return true;
    case 29: redo(fixture)->range[0].length = UINT64_MAX; return true;
    case 30: atomic_fetch_add(&session->generation, 1000000); return true;
    case 31: /* another transaction in the same place */
        memcpy(&lane[5], &lane[1], sizeof lane[5]);
        return true;
    case 32: /* with the same locks */
        memcpy(&lane[5], &lane[0], sizeof lane[5]);
        return true;
    case 33: name_lane(fixture, UINT64_MAX, aborted); return true;
    case 34: name_lane(fixture, LANES, aborted); return true; /* nobody's */
    case 35: name_lane(fixture, 2, (aborted & ~UINT64_C(255)) | LANE_COMMITTED); return true; /* aborted for a reason */
    case 36: name_lane(fixture, 0, (word & ~UINT64_C(255)) | LANE_COMMITTED); return true;    /* prepared */
    case 37: name_lane(fixture, 3, UINT64_C(256) | LANE_PREPARED); return true;
    default: return false;
    }
}

static void damaged_record_is_data_loss_and_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    leave_transactions(fixture);
    atomic_store(&table(fixture)->lane[1].word, (atomic_load(&table(fixture)->lane[1].word) & ~UINT64_C(255)) | LANE_COMMITTING); /* would be finished */
    uint8_t *sane = malloc(fixture->map_bytes), *mad = malloc(fixture->map_bytes);
    assert_true(sane && mad);
    memcpy(sane, fixture->map, fixture->map_bytes);
    int number = 0;
    for (; damage(fixture, number); number++) {
        memcpy(mad, fixture->map, fixture->map_bytes);
        fixture_open_fails(fixture, MCOMP_DATA_LOSS, "the record of the transaction in lane ", " of session ", " is damaged: ",
                           "mcompd --reset --config FILE --node 1", NULL);
        if (memcmp(fixture->map + LAYOUT_HEADER_BYTES, mad + LAYOUT_HEADER_BYTES, fixture->map_bytes - LAYOUT_HEADER_BYTES) != 0)
            fail_msg("damage %d: refused, but bytes were changed", number);
        memcpy(fixture->map, sane, fixture->map_bytes);
    }
    assert_int_equal(number, 38);
    fixture_open(fixture);
    assert_int_equal(txn_prepared(fixture->segment), 1);
    free(sane);
    free(mad);
}

static void what_is_nobodys_may_be_anything(void **state)
{
    struct fixture *fixture = *state;
    leave_transactions(fixture);
    memset(&table(fixture)[5].client, 0xee, sizeof table(fixture)[5] - 8);
    table(fixture)->lane[2].first_unit = 12345; /* aborted: what follows its word does not count */
    table(fixture)->lane[2].lock_count = UINT32_MAX;
    fixture_open(fixture);
    assert_int_equal(txn_prepared(fixture->segment), 2);
    struct lane_id id = txn_open(fixture->segment, 1);
    id.lane = 2;
    id.sequence = txn_view(fixture->segment, &id).sequence + 1;
    txn_prepare_write(fixture->segment, &id, 9000, 1, "x", LANE_REASON_NONE);
    for (uint8_t client = 2; client < 9; client++) { /* one of them gets the session */
        id = txn_open(fixture->segment, client);
        assert_int_equal(id.sequence, 1);
        txn_prepare_write(fixture->segment, &id, 10000 + client * UINT64_C(64), 1, "x", LANE_REASON_NONE);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup_open, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(commit_that_was_under_way_is_finished),
        TEST(execution_that_was_under_way_is_finished_with_its_record),
        TEST(damaged_record_is_data_loss_and_changes_nothing),
        TEST(what_is_nobodys_may_be_anything),
    };
    return cmocka_run_group_tests_name("segment-transaction-recovery", tests, NULL, NULL);
}
