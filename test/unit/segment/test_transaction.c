/* SPDX-License-Identifier: Apache-2.0 */
/** Transactions one after the other: each transition of a lane, what is locked and what is not, sessions, and what a restart finds. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "txn.h"

static void expect(struct segment *segment, uint64_t offset, const char *text)
{
    char buf[256];
    DONE(segment_read(segment, offset, strlen(text), buf));
    assert_memory_equal(buf, text, strlen(text));
}

static void expect_view(struct segment *segment, const struct lane_id *id, enum lane_state state, enum lane_reason reason)
{
    struct lane_view view = txn_view(segment, id);
    assert_int_equal(view.generation, id->generation);
    assert_int_equal(view.sequence, state == LANE_NONE ? 0 : id->sequence);
    assert_int_equal(view.state, state);
    assert_int_equal(view.reason, reason);
}

/* ---- execute ---- */

static void execution_compares_reads_writes_and_adds_at_once(void **state)
{
    struct segment *segment = ((struct fixture *)*state)->segment;
    uint8_t word[8], answer[13], found[4];
    le64_put(word, 40);
    DONE(segment_write(segment, 0, 100, 4, "abcd"));
    DONE(segment_write(segment, 0, STRIPE_BYTES - 3, 8, word));
    struct segment_compare compares[] = {{.offset = 100, .length = 4, .expected = "abcd", .found = found}, {.offset = 7, .length = 0}};
    struct segment_range reads[] = {{100, 2}, {9, 0}, {101, 3}};
    struct segment_write_range writes[] = {{100, 4, "wxyz"}, {3 * STRIPE_BYTES - 2, 4, "four"}};
    struct segment_delta adds[] = {{STRIPE_BYTES - 3, 2}};
    struct segment_items items = {compares, 2, reads, 3, writes, 2, adds, 1, answer};
    struct lane_view view;
    assert_int_equal(segment_answer_bytes(&items), 13);
    DONE(segment_execute(segment, 1, NULL, &items, &view));
    assert_int_equal(view.state, LANE_COMMITTED);
    assert_memory_equal(answer, "abbcd", 5);
    assert_int_equal(le64_get(answer + 5), 40);
    expect(segment, 100, "wxyz");
    expect(segment, 3 * STRIPE_BYTES - 2, "four");
    DONE(segment_read(segment, STRIPE_BYTES - 3, 8, word));
    assert_int_equal(le64_get(word), 42);

    writes[0].data = "lost";
    DONE(segment_execute(segment, 1, NULL, &items, &view));
    assert_int_equal(view.state, LANE_ABORTED);
    assert_int_equal(view.reason, LANE_COMPARE);
    assert_int_equal(view.failed_compare, 0);
    assert_true(compares[0].failed && !compares[1].failed);
    assert_memory_equal(found, "wxyz", 4);
    expect(segment, 100, "wxyz");
    DONE(segment_read(segment, STRIPE_BYTES - 3, 8, word));
    assert_int_equal(le64_get(word), 42);
}

static void execution_is_recorded_with_its_answer(void **state)
{
    struct fixture *fixture = *state;
    struct lane_id id = txn_open(fixture->segment, 1);
    static uint8_t answer[3000];
    DONE(segment_write(fixture->segment, 0, 50, 3000, memset(answer, 'r', sizeof answer)));
    struct segment_compare compares[] = {{.offset = 50, .length = 1, .expected = "r"}, {.offset = 51, .length = 1, .expected = "r"}};
    struct segment_range reads[] = {{50, 3000}};
    struct segment_write_range writes[] = {{51, 1, "w"}};
    struct segment_items items = {.compares = compares, .compare_count = 2, .reads = reads, .read_count = 1, .writes = writes, .write_count = 1,
                                  .answer = answer};
    struct lane_view view;
    expect_view(fixture->segment, &id, LANE_NONE, LANE_REASON_NONE);
    DONE(txn_execute(fixture->segment, 0, &id, &items, &view));
    for (int i = 0; i < 2; i++) {
        expect_view(fixture->segment, &id, LANE_COMMITTED, LANE_REASON_NONE);
        uint64_t bytes;
        uint32_t participants;
        memset(answer, 'r', sizeof answer);
        segment_session_lock(fixture->segment, id.session);
        const uint8_t *recorded = segment_lane_answer(fixture->segment, id.session, id.lane, &bytes);
        assert_int_equal(bytes, sizeof answer);
        assert_memory_equal(recorded, answer, sizeof answer);
        segment_lane_participants(fixture->segment, id.session, id.lane, &participants);
        assert_int_equal(participants, 0);
        segment_session_unlock(fixture->segment, id.session);
        fixture_close(fixture);
        fixture_open(fixture);
    }
    id.sequence += 5;
    DONE(txn_execute(fixture->segment, 0, &id, &items, &view));
    for (int i = 0; i < 2; i++) {
        expect_view(fixture->segment, &id, LANE_ABORTED, LANE_COMPARE);
        assert_int_equal(txn_view(fixture->segment, &id).failed_compare, 1);
        fixture_close(fixture);
        fixture_open(fixture);
    }
    struct segment_transaction_counts counts;
    segment_count_transactions(fixture->segment, &counts);
    assert_int_equal(counts.record_bytes_used, 0);
    assert_int_equal(counts.sessions, 1);
}

/* ---- prepare, commit, abort ---- */

/* Lines 64 … 127 exclusive, 128 … 191 shared by the prepared transaction; those beside them free. */
static void expect_locked(struct segment *segment)
{
    uint8_t buf[64], big[20000];
    uint64_t word;
    for (uint64_t offset = 64; offset < 128; offset += 21) {
        assert_int_equal(segment_read(segment, offset, 1, buf), SEGMENT_LOCKED);
        assert_int_equal(segment_read_try(segment, offset, 1, buf), SEGMENT_LOCKED);
        assert_int_equal(segment_write(segment, 1, offset, 1, "x"), SEGMENT_LOCKED);
    }
    assert_int_equal(segment_read(segment, 10, sizeof big, big), SEGMENT_LOCKED);
    assert_int_equal(segment_read_try(segment, 10, 64, buf), SEGMENT_LOCKED);
    assert_null(segment_hold_try(segment, 127, 1));
    DONE(segment_read(segment, 0, 64, buf));
    DONE(segment_read_try(segment, 128, 64, buf));
    DONE(segment_read(segment, 128, sizeof big, big));
    assert_non_null(segment_hold_try(segment, 128, 64));
    segment_release(segment, 128, 64);
    for (uint64_t offset = 64; offset <= 128; offset += 64) {
        assert_int_equal(segment_write_try(segment, 1, offset + 9, 30, buf), SEGMENT_LOCKED);
        assert_int_equal(segment_add(segment, 1, offset + 56, 1, &word), SEGMENT_LOCKED);
        assert_int_equal(segment_add_try(segment, 1, offset + 61, 1, &word), SEGMENT_LOCKED);
        assert_int_equal(segment_cas(segment, 1, offset, 1, 2, &word), SEGMENT_LOCKED);
        assert_int_equal(segment_cas_try(segment, 1, offset, 1, 2, &word), SEGMENT_LOCKED);
        struct segment_write_range write = {offset + 3, 2, buf};
        assert_int_equal(segment_multi(segment, 1, NULL, 0, NULL, &write, 1), SEGMENT_LOCKED);
        assert_int_equal(segment_multi_try(segment, 1, NULL, 0, NULL, &write, 1), SEGMENT_LOCKED);
    }
    struct segment_range read = {100, 2};
    assert_int_equal(segment_multi(segment, 1, &read, 1, buf, NULL, 0), SEGMENT_LOCKED);
    read.offset = 190;
    DONE(segment_multi(segment, 1, &read, 1, buf, NULL, 0));
    DONE(segment_write(segment, 1, 0, 64, memset(buf, 'n', 64)));
    DONE(segment_write(segment, 1, 192, 64, buf));
    DONE(segment_add(segment, 1, 192, 1, &word));
}

static void prepare_example(struct segment *segment, const struct lane_id *id, struct lane_view *view)
{
    uint8_t answer[12];
    struct segment_compare compares[] = {{.offset = 128, .length = 2, .expected = "cc"}};
    struct segment_range reads[] = {{190, 2}, {100, 2}};
    struct segment_write_range writes[] = {{64, 8, "newbytes"}, {127, 1, "!"}};
    struct segment_delta adds[] = {{100, UINT64_MAX}};
    struct segment_items items = {compares, 1, reads, 2, writes, 2, adds, 1, answer};
    DONE(txn_prepare(segment, 0, id, &items, view));
}

static void fill_example(struct segment *segment)
{
    uint8_t buf[64];
    DONE(segment_write(segment, 0, 64, 64, memset(buf, 'b', 64)));
    DONE(segment_write(segment, 0, 128, 64, memset(buf, 'c', 64)));
}

static void expect_example_answer(struct segment *segment, const struct lane_id *id)
{
    uint64_t bytes;
    uint32_t count;
    segment_session_lock(segment, id->session);
    assert_memory_equal(segment_lane_answer(segment, id->session, id->lane, &bytes), "ccbbbbbbbbbb", 12);
    assert_int_equal(bytes, 12);
    const struct lane_participant *participants = segment_lane_participants(segment, id->session, id->lane, &count);
    assert_int_equal(count, 2);
    assert_true(participants[0].node == 0 && participants[0].id.session == 7 && participants[0].id.lane == 3 && participants[0].id.generation == 99);
    assert_true(participants[1].node == 1 && participants[1].id.session == id->session && participants[1].id.generation == id->generation);
    assert_int_equal(participants[1].id.sequence, id->sequence);
    segment_session_unlock(segment, id->session);
}

static void expect_example_done(struct segment *segment)
{
    expect(segment, 64, "newbytesb");
    expect(segment, 99, "babbbbbbbb"); /* b…b + 2^64 - 1 */
    expect(segment, 126, "b!cc");
}

static void prepared_transaction_keeps_others_off_its_lines(void **state)
{
    struct fixture *fixture = *state;
    struct lane_id id = txn_open(fixture->segment, 1);
    struct lane_view view;
    fill_example(fixture->segment);
    prepare_example(fixture->segment, &id, &view);
    assert_int_equal(view.state, LANE_PREPARED);
    for (int i = 0; i < 3; i++) { /* in this process, and in its successors */
        expect_view(fixture->segment, &id, LANE_PREPARED, LANE_REASON_NONE);
        expect_locked(fixture->segment);
        expect_example_answer(fixture->segment, &id);
        assert_int_equal(txn_prepared(fixture->segment), 1);
        if (i == 2)
            break;
        fixture_close(fixture);
        fixture_open(fixture);
    }
    txn_decide(fixture->segment, 2, &id, true);
    for (int i = 0; i < 2; i++) {
        expect_view(fixture->segment, &id, LANE_COMMITTED, LANE_REASON_NONE);
        expect_example_answer(fixture->segment, &id);
        expect_example_done(fixture->segment);
        assert_int_equal(txn_prepared(fixture->segment), 0);
        fixture_close(fixture);
        fixture_open(fixture);
    }
    fixture_map(fixture);
    for (unsigned i = 0; i <= FIXTURE_STRIPES; i++) {
        assert_int_equal(fixture_stripes(fixture)[i].locks, 0);
        assert_int_equal(fixture_stripes(fixture)[i].sequence & (LAYOUT_SEQUENCE_LOCKED | LAYOUT_SEQUENCE_STORING), 0);
    }
}

static void aborted_transaction_changes_nothing_and_releases(void **state)
{
    struct fixture *fixture = *state;
    struct lane_id id = txn_open(fixture->segment, 1);
    struct lane_view view;
    fill_example(fixture->segment);
    for (int reopen = 0; reopen < 2; reopen++) {
        id.sequence++;
        prepare_example(fixture->segment, &id, &view);
        assert_int_equal(view.state, LANE_PREPARED);
        if (reopen) {
            fixture_close(fixture);
            fixture_open(fixture);
        }
        txn_decide(fixture->segment, 0, &id, false);
        expect_view(fixture->segment, &id, LANE_ABORTED, LANE_TOLD);
        expect(fixture->segment, 64, "bbbbbbbbbbbb");
        DONE(segment_write(fixture->segment, 0, 64, 1, "b"));
        DONE(segment_write(fixture->segment, 0, 128, 1, "c"));
    }
    /* One that was never seen. */
    id.sequence += 3;
    segment_session_lock(fixture->segment, id.session);
    DONE(segment_abort_try(fixture->segment, &id, LANE_FORCED));
    segment_session_unlock(fixture->segment, id.session);
    fixture_close(fixture);
    fixture_open(fixture);
    expect_view(fixture->segment, &id, LANE_ABORTED, LANE_FORCED);
}

static void conflicts_and_compares_are_votes_against(void **state)
{
    struct segment *segment = ((struct fixture *)*state)->segment;
    struct lane_id first = txn_open(segment, 1), second = txn_open(segment, 2);
    struct lane_view view;
    fill_example(segment);
    prepare_example(segment, &first, &view);
    static const struct { uint64_t offset; bool write; enum lane_reason reason; } tries[] = {
        {64, true, LANE_BUSY}, {127, true, LANE_BUSY}, {90, false, LANE_BUSY}, {128, true, LANE_BUSY}, {191, true, LANE_BUSY},
        {128, false, LANE_REASON_NONE}, {63, true, LANE_REASON_NONE}, {192, true, LANE_REASON_NONE},
    };
    for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++) {
        second.sequence++;
        if (tries[i].write)
            txn_prepare_write(segment, &second, tries[i].offset, 1, "z", tries[i].reason);
        else
            txn_prepare_read(segment, &second, tries[i].offset, 1, tries[i].reason);
        expect_view(segment, &second, tries[i].reason ? LANE_ABORTED : LANE_PREPARED, tries[i].reason);
        if (!tries[i].reason)
            txn_decide(segment, 0, &second, tries[i].write);
    }
    expect(segment, 63, "z");
    expect_locked(segment); /* those of the first, after the second's came and went */
    txn_decide(segment, 0, &first, true);
    expect_example_done(segment);

    second.sequence++;
    struct segment_compare compares[] = {{.offset = 64, .length = 3, .expected = "new"},
                                         {.offset = 64, .length = 4, .expected = "newx"},
                                         {.offset = 65, .length = 1, .expected = "x"}};
    struct segment_items items = {.compares = compares, .compare_count = 3};
    DONE(txn_prepare(segment, 0, &second, &items, &view));
    expect_view(segment, &second, LANE_ABORTED, LANE_COMPARE);
    assert_int_equal(view.failed_compare, 1);
    assert_true(!compares[0].failed && compares[1].failed && compares[2].failed);
    assert_int_equal(txn_prepared(segment), 0);
    DONE(segment_write(segment, 0, 64, 1, "N"));
}

static void readers_share_a_line_up_to_their_number(void **state)
{
    struct segment *segment = ((struct fixture *)*state)->segment;
    struct lane_id ids[17 * LANES];
    size_t count = 0;
    for (uint8_t client = 0; count < 255; client++)
        for (uint32_t lane = 0; lane < LANES; lane++) {
            ids[count] = txn_open(segment, client);
            ids[count++].lane = lane;
        }
    for (size_t i = 0; i < 255; i++)
        txn_prepare_read(segment, &ids[i], 64, 64, i < 254 ? LANE_REASON_NONE : LANE_BUSY);
    assert_int_equal(txn_prepared(segment), 254);
    uint32_t found = 0, session = 0, lane = 0;
    for (; segment_next_prepared(segment, &session, &lane); lane++, found++)
        assert_true(session == ids[found].session && lane == ids[found].lane);
    assert_int_equal(found, 254);
    txn_decide(segment, 0, &ids[100], true);
    ids[254].sequence++;
    txn_prepare_read(segment, &ids[254], 64, 64, LANE_REASON_NONE);
    for (size_t i = 0; i < 255; i++) {
        uint8_t byte;
        DONE(segment_read(segment, 64, 1, &byte));
        assert_int_equal(segment_write(segment, 0, 70, 1, "x"), SEGMENT_LOCKED);
        if (i != 100)
            txn_decide(segment, 0, &ids[i], i % 2);
    }
    DONE(segment_write(segment, 0, 70, 1, "x"));
}

static void trying_never_waits_and_then_records_nothing(void **state)
{
    struct segment *segment = ((struct fixture *)*state)->segment;
    struct lane_id id = txn_open(segment, 1);
    struct segment_write_range writes[] = {{5, 1, "w"}, {STRIPE_BYTES + 5, 1, "w"}};
    struct segment_items items = {.writes = writes, .write_count = 2};
    struct lane_view view;
    assert_non_null(segment_hold_try(segment, STRIPE_BYTES, 8));
    segment_session_lock(segment, id.session);
    assert_false(segment_session_lock_try(segment, id.session));
    assert_int_equal(segment_execute_try(segment, 0, &id, &items, &view), SEGMENT_BUSY);
    assert_int_equal(segment_prepare_try(segment, 0, &id, &items, NULL, 0, &view), SEGMENT_BUSY);
    segment_session_unlock(segment, id.session);
    expect_view(segment, &id, LANE_NONE, LANE_REASON_NONE);
    segment_release(segment, STRIPE_BYTES, 8);

    segment_session_lock(segment, id.session);
    assert_int_equal(segment_prepare_try(segment, 0, &id, &items, NULL, 0, &view), SEGMENT_DONE);
    assert_int_equal(view.state, LANE_PREPARED);
    assert_non_null(segment_hold_try(segment, STRIPE_BYTES + 64, 8)); /* another line */
    assert_int_equal(segment_commit_try(segment, 0, &id), SEGMENT_BUSY);
    assert_int_equal(segment_abort_try(segment, &id, LANE_TOLD), SEGMENT_BUSY);
    segment_session_unlock(segment, id.session);
    expect_view(segment, &id, LANE_PREPARED, LANE_REASON_NONE);
    segment_release(segment, STRIPE_BYTES + 64, 8);
    segment_session_lock(segment, id.session);
    assert_int_equal(segment_commit_try(segment, 0, &id), SEGMENT_DONE);
    segment_session_unlock(segment, id.session);
    expect(segment, STRIPE_BYTES + 5, "w");
}

/* ---- snapshots ---- */

static void frozen_segment_waits_for_what_is_prepared(void **state)
{
    struct segment *segment = ((struct fixture *)*state)->segment;
    struct lane_id first = txn_open(segment, 1), second = txn_open(segment, 2), third = txn_open(segment, 3);
    struct segment_write_range write = {900, 1, "w"};
    struct segment_items items = {.writes = &write, .write_count = 1}, nothing = {.write_count = 0};
    struct lane_view view;
    txn_prepare_write(segment, &first, 5, 5, "first", LANE_REASON_NONE);
    txn_prepare_write(segment, &second, 705, 6, "second", LANE_REASON_NONE);
    segment_freeze(segment);
    assert_false(segment_wait_drained(segment, 0));
    txn_prepare_write(segment, &third, 905, 5, "third", LANE_FROZEN);
    expect_view(segment, &third, LANE_ABORTED, LANE_FROZEN);
    third.sequence++;
    assert_int_equal(txn_execute(segment, 0, &third, &items, &view), SEGMENT_FROZEN);
    assert_int_equal(txn_view(segment, &third).sequence, third.sequence - 1);
    DONE(txn_execute(segment, 0, &third, &nothing, &view));
    expect_view(segment, &third, LANE_COMMITTED, LANE_REASON_NONE);
    txn_decide(segment, 0, &first, true);
    expect(segment, 5, "first");
    assert_false(segment_wait_drained(segment, 0));
    txn_decide(segment, 0, &second, false);
    assert_true(segment_wait_drained(segment, 0));
    segment_thaw(segment);
    third.sequence++;
    DONE(txn_execute(segment, 0, &third, &items, &view));
    assert_int_equal(view.state, LANE_COMMITTED);
}

static void restoring_ends_all_transactions(void **state)
{
    struct fixture *fixture = *state;
    struct segment_transaction_counts counts;
    static uint8_t data[5000];
    for (int by_open = 0; by_open < 2; by_open++) {
        struct lane_id id = txn_open(fixture->segment, 1);
        txn_prepare_write(fixture->segment, &id, 5, sizeof data, data, LANE_REASON_NONE);
        if (by_open) {
            fixture_close(fixture);
            fixture->options.restore = true;
            fixture_open(fixture);
            fixture->options.restore = false;
        } else {
            segment_restore_begin(fixture->segment, &(struct segment_restore){0});
        }
        segment_restored(fixture->segment);
        segment_count_transactions(fixture->segment, &counts);
        assert_true(counts.sessions == 0 && counts.prepared == 0 && counts.record_bytes_used == 0);
        DONE(segment_write(fixture->segment, 0, 5, 1, "x"));
        segment_session_lock(fixture->segment, id.session);
        struct lane_view view;
        segment_lane_view(fixture->segment, id.session, 0, &view);
        segment_session_unlock(fixture->segment, id.session);
        assert_int_equal(view.generation, 0);
        uint64_t former = id.generation;
        id = txn_open(fixture->segment, 1);
        assert_true(id.generation > former && id.sequence == 1);
        segment_session_lock(fixture->segment, id.session);
        segment_session_close(fixture->segment, id.session);
        segment_session_unlock(fixture->segment, id.session);
    }
}

/* ---- sessions ---- */

static void session_is_the_clients_until_it_is_closed(void **state)
{
    struct fixture *fixture = *state;
    struct lane_id id = txn_open(fixture->segment, 1), other = txn_open(fixture->segment, 2);
    uint8_t client[SEGMENT_CLIENT_BYTES];
    static uint8_t data[1000];
    assert_true(id.session != other.session && id.generation != other.generation && id.generation != 0);
    struct segment_range read = {0, sizeof data};
    struct segment_items items = {.reads = &read, .read_count = 1, .answer = data};
    struct lane_view view;
    DONE(txn_execute(fixture->segment, 0, &id, &items, &view));
    for (int i = 0; i < 2; i++) {
        struct lane_id again = txn_open(fixture->segment, 1);
        assert_true(again.session == id.session && again.generation == id.generation && again.sequence == 2);
        fixture_close(fixture);
        fixture_open(fixture);
    }
    segment_session_lock(fixture->segment, id.session);
    assert_true(segment_session_client(fixture->segment, id.session, client) && client[0] == 1 && client[1] == 'c');
    segment_session_close(fixture->segment, id.session);
    segment_session_close(fixture->segment, id.session);
    assert_false(segment_session_client(fixture->segment, id.session, client));
    segment_session_unlock(fixture->segment, id.session);
    struct segment_transaction_counts counts;
    segment_count_transactions(fixture->segment, &counts);
    assert_true(counts.sessions == 1 && counts.record_bytes_used == 0);
    fixture_close(fixture);
    fixture_open(fixture);
    struct lane_id anew = txn_open(fixture->segment, 1);
    assert_true(anew.generation > other.generation && anew.sequence == 1);
}

static void sessions_end_where_their_table_does(void **state)
{
    struct fixture *fixture = *state;
    uint32_t limit = segment_session_limit(fixture->segment), session;
    uint64_t generation;
    struct err err;
    assert_int_equal(limit, 126);
    uint8_t client[SEGMENT_CLIENT_BYTES] = {0};
    uint32_t first = 0;
    for (uint32_t i = 0; i < limit; i++) {
        client[3] = (uint8_t)i;
        assert_int_equal(segment_session_open(fixture->segment, client, &session, &generation, &err), MCOMP_OK);
        first = i == 0 ? session : first;
    }
    for (int i = 0; i < 2; i++) {
        client[3] = 200;
        assert_int_equal(segment_session_open(fixture->segment, client, &session, &generation, &err), MCOMP_RESOURCE_EXHAUSTED);
        assert_non_null(strstr(err.text, "126 sessions"));
        client[3] = 0;
        assert_int_equal(segment_session_open(fixture->segment, client, &session, &generation, &err), MCOMP_OK);
        assert_int_equal(session, first);
        fixture_close(fixture);
        fixture_open(fixture);
    }
    segment_session_lock(fixture->segment, 77);
    segment_session_close(fixture->segment, 77);
    segment_session_unlock(fixture->segment, 77);
    client[3] = 200;
    assert_int_equal(segment_session_open(fixture->segment, client, &session, &generation, &err), MCOMP_OK);
    assert_int_equal(session, 77);
}

/* ---- room ---- */

static void transaction_without_room_is_aborted_and_locks_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct segment *segment = fixture->segment;
    static uint8_t data[FIXTURE_REDO_BYTES], answer[FIXTURE_BYTES];
    struct segment_transaction_counts counts;
    struct lane_id ids[4];
    struct lane_view view;
    for (uint32_t i = 0; i < 4; i++) {
        ids[i] = txn_open(segment, 1);
        ids[i].lane = i;
    }
    txn_prepare_write(segment, &ids[0], 0, 200000, data, LANE_REASON_NONE);
    txn_prepare_write(segment, &ids[1], 220000, 40000, data, LANE_REASON_NONE);
    segment_count_transactions(segment, &counts);
    assert_int_equal(counts.record_bytes, 512 * 1024);
    assert_true(counts.record_bytes_used > 240000 && counts.record_bytes_used < 242000);
    struct segment_range read = {0, 300000};
    struct segment_items items = {.reads = &read, .read_count = 1, .answer = answer};
    read.length = FIXTURE_BYTES;
    txn_decide(segment, 0, &ids[0], true);
    txn_decide(segment, 0, &ids[1], false);
    DONE(txn_execute(segment, 0, &ids[2], &items, &view)); /* 260 KiB; 200000 bytes are still those of the committed one */
    assert_int_equal(view.state, LANE_COMMITTED);
    DONE(txn_execute(segment, 0, &ids[3], &items, &view)); /* changes nothing, and so needs no record */
    assert_int_equal(view.state, LANE_COMMITTED);
    segment_lane_view(segment, ids[3].session, ids[3].lane, &view);
    assert_int_equal(view.state, LANE_NONE);
    struct segment_write_range write = {0, 1, data};
    items.writes = &write;
    items.write_count = 1;
    DONE(txn_execute(segment, 0, &ids[3], &items, &view));
    assert_int_equal(view.reason, LANE_MEMORY);
    expect_view(segment, &ids[3], LANE_ABORTED, LANE_MEMORY);
    ids[3].sequence++;
    txn_prepare_write(segment, &ids[3], 0, 200000, data, LANE_MEMORY);
    assert_int_equal(txn_prepared(segment), 0);
    DONE(segment_write(segment, 0, 0, 200000, data));
    ids[0].sequence++;
    txn_prepare_write(segment, &ids[0], 9, 1, "x", LANE_REASON_NONE); /* which gives room back */
    txn_decide(segment, 0, &ids[0], true);
    ids[3].sequence++;
    txn_prepare_write(segment, &ids[3], 0, 200000, data, LANE_REASON_NONE);
    txn_decide(segment, 0, &ids[3], true);
}

static void as_many_items_as_there_may_be(void **state)
{
    struct segment *segment = ((struct fixture *)*state)->segment;
    struct lane_id id = txn_open(segment, 1);
    static struct segment_write_range writes[MULTI_RANGES_MAX];
    static struct segment_compare compares[MULTI_RANGES_MAX];
    static struct segment_delta adds[MULTI_RANGES_MAX];
    static uint8_t answer[8 * MULTI_RANGES_MAX];
    struct segment_items items = {.writes = writes, .write_count = 400, .compares = compares, .compare_count = 300, .adds = adds, .add_count = 324,
                                  .answer = answer};
    struct lane_view view;
    uint64_t word;
    for (uint64_t i = 0; i < MULTI_RANGES_MAX; i++) {
        writes[i] = (struct segment_write_range){100 + i * 200, 1, "w"};
        compares[i] = (struct segment_compare){.offset = 170 + i * 200, .length = 1, .expected = ""};
        adds[i] = (struct segment_delta){120000 + i * 130, i};
    }
    DONE(txn_prepare(segment, 0, &id, &items, &view));
    assert_int_equal(view.state, LANE_PREPARED);
    assert_int_equal(segment_write(segment, 0, 170 + 299 * 200, 1, "x"), SEGMENT_LOCKED);
    DONE(segment_write(segment, 0, 170 + 300 * 200, 1, "x"));
    txn_decide(segment, 0, &id, true);
    DONE(segment_read(segment, 120000 + 323 * 130, 8, (uint8_t *)&word));
    assert_int_equal(word, 323);
    id.sequence++;
    compares[299].expected = "no";
    DONE(txn_execute(segment, 0, &id, &items, &view));
    assert_int_equal(view.failed_compare, 299);
}

/* ---- everything at random, against a model ---- */

#define WORLD 2048u /* bytes, over the border of two stripes */
#define WORLD_BASE (STRIPE_BYTES - WORLD / 2)
#define WORLD_LANES 12u
#define ITEMS 4u

struct model_lane {
    struct lane_id id;
    bool prepared;
    bool read_lock[WORLD / 64], write_lock[WORLD / 64];
    struct segment_write_range writes[ITEMS];
    size_t write_count;
    uint8_t data[ITEMS][200];
};

static uint8_t world[WORLD];
static struct model_lane lanes[WORLD_LANES];
static uint64_t seed;

static bool range_meets(uint64_t offset, uint64_t length, bool write, const struct model_lane *but)
{
    for (size_t i = 0; i < WORLD_LANES; i++)
        for (uint64_t line = (offset - WORLD_BASE) / 64; lanes[i].prepared && &lanes[i] != but && line <= (offset - WORLD_BASE + length - 1) / 64; line++)
            if (lanes[i].write_lock[line] || (write && lanes[i].read_lock[line]))
                return true;
    return false;
}

static void lock_lines(bool *lock, uint64_t offset, uint64_t length)
{
    for (uint64_t line = (offset - WORLD_BASE) / 64; line <= (offset - WORLD_BASE + length - 1) / 64; line++)
        lock[line] = true;
}

/* A transaction of compares that mostly hold, reads, and writes that do not overlap. */
struct random_items {
    struct segment_items items;
    struct segment_compare compares[ITEMS];
    struct segment_range reads[ITEMS];
    uint8_t expected[ITEMS][8];
    uint8_t answer[ITEMS * 200];
    bool holds;
};

static void make_items(struct random_items *made, struct model_lane *lane)
{
    memset(made, 0, sizeof *made);
    made->holds = true;
    made->items = (struct segment_items){.compares = made->compares, .reads = made->reads, .writes = lane->writes, .answer = made->answer};
    for (size_t i = 0; i < ITEMS; i++) {
        uint64_t part = WORLD / ITEMS, offset = WORLD_BASE + i * part + fixture_random(&seed) % part, most = WORLD_BASE + (i + 1) * part - offset;
        uint64_t length = 1 + fixture_random(&seed) % (most < 200 ? most : 200);
        switch (fixture_random(&seed) % 5) {
        case 0: {
            length = length < 8 ? length : 8;
            uint8_t *expected = made->expected[i];
            memcpy(expected, world + (offset - WORLD_BASE), length);
            if (fixture_random(&seed) % 8 == 0) {
                expected[length - 1]++;
                made->holds = false;
            }
            made->compares[made->items.compare_count++] = (struct segment_compare){.offset = offset, .length = length, .expected = expected};
            break;
        }
        case 1:
            made->reads[made->items.read_count++] = (struct segment_range){offset, length};
            break;
        case 2: {
            uint8_t *data = lane->data[made->items.write_count];
            memset(data, (int)(fixture_random(&seed) >> 9), length);
            lane->writes[made->items.write_count++] = (struct segment_write_range){offset, length, data};
            break;
        }
        default:
            break;
        }
    }
    lane->write_count = made->items.write_count;
}

static bool items_meet(const struct random_items *made)
{
    const struct segment_items *items = &made->items;
    bool meet = false;
    for (size_t i = 0; i < items->compare_count; i++)
        meet = meet || range_meets(items->compares[i].offset, items->compares[i].length, false, NULL);
    for (size_t i = 0; i < items->read_count; i++)
        meet = meet || range_meets(items->reads[i].offset, items->reads[i].length, false, NULL);
    for (size_t i = 0; i < items->write_count; i++)
        meet = meet || range_meets(items->writes[i].offset, items->writes[i].length, true, NULL);
    return meet;
}

static void check_answer(const struct random_items *made)
{
    const uint8_t *at = made->answer;
    for (size_t i = 0; i < made->items.read_count; at += made->reads[i++].length)
        assert_memory_equal(at, world + (made->reads[i].offset - WORLD_BASE), made->reads[i].length);
}

static void apply_writes(const struct model_lane *lane)
{
    for (size_t i = 0; i < lane->write_count; i++)
        memcpy(world + (lane->writes[i].offset - WORLD_BASE), lane->writes[i].data, lane->writes[i].length);
}

static void random_transaction(struct segment *segment, struct model_lane *lane, bool execute)
{
    struct random_items made;
    struct lane_view view;
    make_items(&made, lane);
    bool meet = items_meet(&made);
    if (execute) {
        enum segment_outcome outcome = txn_execute(segment, 0, &lane->id, &made.items, &view);
        assert_int_equal(outcome, meet ? SEGMENT_LOCKED : SEGMENT_DONE);
        if (meet)
            return;
        assert_int_equal(view.state, made.holds ? LANE_COMMITTED : LANE_ABORTED);
    } else {
        DONE(txn_prepare(segment, 0, &lane->id, &made.items, &view));
        assert_int_equal(view.reason, meet ? LANE_BUSY : made.holds ? LANE_REASON_NONE : LANE_COMPARE);
    }
    struct lane_view again = txn_view(segment, &lane->id);
    assert_true(again.state == view.state && again.reason == view.reason && again.sequence == lane->id.sequence);
    lane->id.sequence++;
    if (view.state == LANE_ABORTED)
        return;
    check_answer(&made);
    if (execute) {
        apply_writes(lane);
        return;
    }
    lane->prepared = true;
    memset(lane->read_lock, 0, sizeof lane->read_lock);
    memset(lane->write_lock, 0, sizeof lane->write_lock);
    for (size_t i = 0; i < made.items.compare_count; i++)
        lock_lines(lane->read_lock, made.compares[i].offset, made.compares[i].length);
    for (size_t i = 0; i < made.items.read_count; i++)
        lock_lines(lane->read_lock, made.reads[i].offset, made.reads[i].length);
    for (size_t i = 0; i < lane->write_count; i++)
        lock_lines(lane->write_lock, lane->writes[i].offset, lane->writes[i].length);
}

static void random_plain(struct segment *segment)
{
    uint64_t length = 1 + fixture_random(&seed) % 100, offset = WORLD_BASE + fixture_random(&seed) % (WORLD - length);
    uint8_t buf[100];
    if (fixture_random(&seed) % 2) {
        memset(buf, (int)(fixture_random(&seed) >> 9), length);
        enum segment_outcome outcome = segment_write(segment, 0, offset, length, buf);
        assert_int_equal(outcome, range_meets(offset, length, true, NULL) ? SEGMENT_LOCKED : SEGMENT_DONE);
        if (outcome == SEGMENT_DONE)
            memcpy(world + (offset - WORLD_BASE), buf, length);
    } else {
        enum segment_outcome outcome = segment_read(segment, offset, length, buf);
        assert_int_equal(outcome, range_meets(offset, length, false, NULL) ? SEGMENT_LOCKED : SEGMENT_DONE);
        if (outcome == SEGMENT_DONE)
            assert_memory_equal(buf, world + (offset - WORLD_BASE), length);
    }
}

static void random_transactions_agree_with_a_model(void **state)
{
    struct fixture *fixture = *state;
    seed = 4711;
    memset(world, 0, sizeof world);
    memset(lanes, 0, sizeof lanes);
    for (uint32_t i = 0; i < WORLD_LANES; i++) {
        lanes[i].id = txn_open(fixture->segment, (uint8_t)(i / 3));
        lanes[i].id.lane = i % 3 * 5;
    }
    for (int step = 0; step < 60000; step++) {
        struct model_lane *lane = &lanes[fixture_random(&seed) % WORLD_LANES];
        uint64_t kind = fixture_random(&seed) % 8;
        if (kind < 3) {
            random_plain(fixture->segment);
        } else if (lane->prepared) {
            struct lane_id id = lane->id;
            id.sequence--;
            txn_decide(fixture->segment, 0, &id, kind % 2);
            if (kind % 2)
                apply_writes(lane);
            lane->prepared = false;
        } else {
            random_transaction(fixture->segment, lane, kind == 3);
        }
        if (step % 2000 == 1999) {
            fixture_close(fixture);
            fixture_open(fixture);
        }
    }
    struct segment_transaction_counts counts;
    segment_count_transactions(fixture->segment, &counts);
    uint32_t prepared = 0;
    for (size_t i = 0; i < WORLD_LANES; i++)
        prepared += lanes[i].prepared;
    assert_int_equal(counts.prepared, prepared);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup_open, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(execution_compares_reads_writes_and_adds_at_once),
        TEST(execution_is_recorded_with_its_answer),
        TEST(prepared_transaction_keeps_others_off_its_lines),
        TEST(aborted_transaction_changes_nothing_and_releases),
        TEST(conflicts_and_compares_are_votes_against),
        TEST(readers_share_a_line_up_to_their_number),
        TEST(trying_never_waits_and_then_records_nothing),
        TEST(frozen_segment_waits_for_what_is_prepared),
        TEST(restoring_ends_all_transactions),
        TEST(session_is_the_clients_until_it_is_closed),
        TEST(sessions_end_where_their_table_does),
        TEST(transaction_without_room_is_aborted_and_locks_nothing),
        TEST(as_many_items_as_there_may_be),
        TEST(random_transactions_agree_with_a_model),
    };
    return cmocka_run_group_tests_name("segment-transaction", tests, NULL, NULL);
}
