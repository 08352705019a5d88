/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: transactions do what they say on one node and on several, report what became of them, and cost the messages that they should.
 * Method: fake servers that keep records and locks as real ones do. */
#include "fixture.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "mcomp_txn.h"

static struct fake_server *server(uint32_t node)
{
    return fixture.fake.servers[node];
}

static struct mcomp_txn *begin(void)
{
    struct mcomp_txn *txn;
    ASSERT_OK(mcomp_txn_begin(fixture.grid, &txn, &fixture.error));
    return txn;
}

static uint64_t peek_word(uint64_t address)
{
    uint64_t word;
    fake_server_peek(server((uint32_t)(address / K)), address % K, &word, sizeof word);
    return word;
}

static void poke_word(uint64_t address, uint64_t word)
{
    fake_server_poke(server((uint32_t)(address / K)), address % K, &word, sizeof word);
}

/** Requests of one kind that a server has got. */
static unsigned seen(uint32_t node, enum wire_op op)
{
    unsigned count = 0;
    for (unsigned i = 0; i < fake_server_requests(server(node)); i++)
        count += fake_server_seen(server(node), i).op == op;
    return count;
}

/** Acknowledgements come when somebody runs the session. */
static void wait_until_unprepared(void)
{
    uint8_t byte;
    for (uint32_t node = 0; node < NODES; node++) {
        while (fake_server_prepared(server(node)) > 0)
            ASSERT_OK(mcomp_read(fixture.grid, node * K, &byte, 1, 0, &fixture.error));
    }
}

static void one_node_costs_one_message(void **state)
{
    uint8_t in[8], out[8] = "12345678";
    uint64_t before = 0;
    struct mcomp_txn_result result;
    struct mcomp_txn *txn = begin();
    (void)state;
    fake_server_poke(server(0), 100, "expected", 8);
    fake_server_poke(server(0), 200, "read me!", 8);
    poke_word(300, 40);
    ASSERT_OK(mcomp_txn_compare(txn, 100, "expected", 8, &fixture.error));
    ASSERT_OK(mcomp_txn_read(txn, 200, in, 8, &fixture.error));
    ASSERT_OK(mcomp_txn_write(txn, 200, out, 8, &fixture.error));
    ASSERT_OK(mcomp_txn_add(txn, 300, 2, &before, &fixture.error));
    for (unsigned i = 1; i <= 3; i++) {
        ASSERT_OK(mcomp_txn_commit(txn, 0, &result, &fixture.error));
        assert_int_equal(result.outcome, MCOMP_TXN_COMMITTED);
        assert_int_equal(result.attempts, 1);
        assert_memory_equal(in, i == 1 ? "read me!" : "12345678", 8);
        assert_int_equal(before, 38 + 2 * i);
        assert_int_equal(mcomp_txn_compare_found(txn, 0, NULL), MCOMP_TXN_HELD);
    }
    assert_int_equal(peek_word(300), 46);
    assert_int_equal(seen(0, WIRE_OP_OPEN_SESSION), 1);
    assert_int_equal(seen(0, WIRE_OP_EXECUTE), 3);
    assert_int_equal(fake_server_requests(server(0)), 4);
    assert_int_equal(fake_server_requests(server(1)), 0);
    mcomp_txn_end(txn);
}

static void several_nodes_in_two_phases(void **state)
{
    static uint8_t in[K + 64], out[K + 64];
    uint64_t before[2];
    struct mcomp_txn *txn = begin();
    (void)state;
    fixture_fill(out, 32, 3);
    poke_word(8, 100);
    poke_word(2 * K + 8, 200);
    ASSERT_OK(mcomp_txn_add(txn, 8, (uint64_t)-30, &before[0], &fixture.error));
    ASSERT_OK(mcomp_txn_add(txn, 2 * K + 8, 30, &before[1], &fixture.error));
    ASSERT_OK(mcomp_txn_write(txn, K - 16, out, 32, &fixture.error));
    ASSERT_OK(mcomp_txn_read(txn, K - 16, in, 32, &fixture.error));
    ASSERT_OK(mcomp_txn_commit(txn, 0, NULL, &fixture.error));
    wait_until_unprepared();
    assert_int_equal(before[0], 100);
    assert_int_equal(before[1], 200);
    assert_int_equal(peek_word(8), 70);
    assert_int_equal(peek_word(2 * K + 8), 230);
    memset(out, 0, 32);
    assert_memory_equal(in, out, 32); /* before the write */
    fixture_fill(out, 32, 3);
    ASSERT_OK(mcomp_read_atomic(fixture.grid, K - 16, in, 32, 0, &fixture.error));
    assert_memory_equal(in, out, 32);
    for (uint32_t node = 0; node < NODES; node++)
        assert_int_equal(seen(node, WIRE_OP_PREPARE), node < 2 ? 2 : 1);
    assert_int_equal(mcomp_txn_outcome(txn).outcome, MCOMP_TXN_COMMITTED);
    mcomp_txn_end(txn);
}

static void failed_compare_says_which_and_what(void **state)
{
    uint64_t other = 5, same = 0;
    const void *found;
    struct mcomp_txn_result result;
    struct mcomp_txn *txn = begin();
    (void)state;
    poke_word(1000, 77);
    for (unsigned nodes = 1; nodes <= 2; nodes++) {
        mcomp_txn_reset(txn);
        ASSERT_OK(mcomp_txn_compare(txn, 2000, &same, 8, &fixture.error));
        ASSERT_OK(mcomp_txn_compare(txn, 1000, &other, 8, &fixture.error));
        ASSERT_OK(mcomp_txn_write(txn, (nodes - 1) * K + 3000, &other, 8, &fixture.error));
        assert_int_equal(mcomp_txn_commit(txn, 0, &result, &fixture.error), MCOMP_ABORTED);
        assert_int_equal(result.outcome, MCOMP_TXN_COMPARE_FAILED);
        assert_int_equal(result.failed_compares, 1);
        assert_int_equal(result.attempts, 1);
        assert_contains(fixture.error.text, "compare 1 found other bytes");
        assert_one_span(&fixture.error, (nodes - 1) * K + 3000, 8, MCOMP_NOT_DONE);
        assert_int_equal(mcomp_txn_compare_found(txn, 1, &found), MCOMP_TXN_DIFFERED);
        assert_int_equal(*(const uint64_t *)found, 77);
        assert_int_equal(mcomp_txn_compare_found(txn, 0, &found), MCOMP_TXN_NOT_COMPARED);
        assert_null(found);
        assert_int_equal(peek_word((nodes - 1) * K + 3000), 0);
    }
    wait_until_unprepared();
    mcomp_txn_end(txn);
}

static void what_makes_no_sense_is_refused(void **state)
{
    uint8_t bytes[16] = {0};
    struct mcomp_txn *txn = begin();
    (void)state;
    assert_int_equal(mcomp_txn_write(txn, 3 * K - 1, bytes, 2, &fixture.error), MCOMP_OUT_OF_RANGE);
    assert_one_span(&fixture.error, 3 * K - 1, 2, MCOMP_NOT_DONE);
    assert_int_equal(mcomp_txn_add(txn, K - 4, 1, NULL, &fixture.error), MCOMP_INVALID_ARGUMENT);
    ASSERT_OK(mcomp_txn_write(txn, 100, bytes, 16, &fixture.error));
    ASSERT_OK(mcomp_txn_add(txn, 115, 1, NULL, &fixture.error));
    assert_int_equal(mcomp_txn_commit(txn, 0, NULL, &fixture.error), MCOMP_INVALID_ARGUMENT);
    assert_contains(fixture.error.text, "overlap at 0x73");
    assert_int_equal(mcomp_txn_outcome(txn).outcome, MCOMP_TXN_NOT_DONE);
    mcomp_txn_reset(txn);
    for (unsigned i = 0; i < 1025; i++)
        ASSERT_OK(mcomp_txn_compare(txn, i, bytes, 1, &fixture.error));
    assert_int_equal(mcomp_txn_commit(txn, 0, NULL, &fixture.error), MCOMP_INVALID_ARGUMENT);
    assert_contains(fixture.error.text, "1025 ranges on node 0; at most 1024");
    mcomp_txn_reset(txn);
    uint8_t *large = calloc(1, MAX_MESSAGE + 1);
    ASSERT_OK(mcomp_txn_write(txn, K, large, MAX_MESSAGE + 1, &fixture.error));
    assert_int_equal(mcomp_txn_commit(txn, 0, NULL, &fixture.error), MCOMP_INVALID_ARGUMENT);
    assert_contains(fixture.error.text, "(max_message)");
    mcomp_txn_reset(txn);
    ASSERT_OK(mcomp_txn_commit(txn, 0, NULL, &fixture.error)); /* nothing to do */
    for (uint32_t node = 0; node < NODES; node++)
        assert_int_equal(fake_server_requests(server(node)), 0);
    free(large);
    mcomp_txn_end(txn);
}

static void long_items_go_whole(void **state)
{
    uint8_t *out = malloc(MAX_MESSAGE), *in = malloc(MAX_MESSAGE);
    (void)state;
    fixture_fill(out, MAX_MESSAGE, 9);
    ASSERT_OK(mcomp_write_atomic(fixture.grid, K - 1000, out, MAX_MESSAGE, 0, &fixture.error));
    ASSERT_OK(mcomp_read_atomic(fixture.grid, K - 1000, in, MAX_MESSAGE, 0, &fixture.error));
    assert_memory_equal(in, out, MAX_MESSAGE);
    assert_int_equal(seen(1, WIRE_OP_PREPARE), 2);
    free(out);
    free(in);
}

static void many_words_swap_as_one(void **state)
{
    struct mcomp_mcas_word words[] = {{16, 0, 1}, {K + 16, 0, 2}, {2 * K + 16, 0, 3}};
    bool swapped = false;
    (void)state;
    ASSERT_OK(mcomp_mcas(fixture.grid, words, 3, &swapped, 0, &fixture.error));
    assert_true(swapped);
    wait_until_unprepared();
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(peek_word(words[i].address), i + 1);
    ASSERT_OK(mcomp_mcas(fixture.grid, words, 3, &swapped, 0, &fixture.error));
    assert_false(swapped);
    words[1].address = K - 4;
    assert_int_equal(mcomp_mcas(fixture.grid, words, 3, &swapped, 0, &fixture.error), MCOMP_INVALID_ARGUMENT);
    wait_until_unprepared();
}

static void conflicts_are_tried_again(void **state)
{
    struct mcomp_txn_result result;
    struct mcomp_txn *txn = begin();
    (void)state;
    ASSERT_OK(mcomp_txn_add(txn, 0, 1, NULL, &fixture.error));
    ASSERT_OK(mcomp_txn_commit(txn, 0, NULL, &fixture.error)); /* opens the session */
    SCRIPT(0, {.action = FAKE_BUSY, .times = 2}, {.action = FAKE_FROZEN});
    ASSERT_OK(mcomp_txn_commit(txn, 0, &result, &fixture.error));
    assert_int_equal(result.attempts, 4);
    SCRIPT(0, {.action = FAKE_BUSY, .times = 3});
    mcomp_txn_attempts(txn, 3);
    assert_int_equal(mcomp_txn_commit(txn, 0, &result, &fixture.error), MCOMP_ABORTED);
    assert_int_equal(result.outcome, MCOMP_TXN_CONFLICT);
    assert_int_equal(result.attempts, 3);
    assert_one_span(&fixture.error, 0, 8, MCOMP_NOT_DONE);
    mcomp_txn_attempts(txn, 1);
    ASSERT_OK(mcomp_txn_add(txn, K, 1, NULL, &fixture.error));
    ASSERT_OK(mcomp_txn_commit(txn, 0, NULL, &fixture.error));
    wait_until_unprepared();
    SCRIPT(1, {.action = FAKE_FROZEN});
    assert_int_equal(mcomp_txn_commit(txn, 0, &result, &fixture.error), MCOMP_ABORTED);
    assert_int_equal(result.outcome, MCOMP_TXN_CONFLICT);
    wait_until_unprepared();
    assert_int_equal(peek_word(0), 3);
    assert_int_equal(peek_word(K), 1);
    mcomp_txn_end(txn);
}

static void conflicts_to_the_end_of_time(void **state)
{
    struct mcomp_txn_result result = {.attempts = 0};
    enum mcomp_status status = MCOMP_OK;
    struct mcomp_txn *txn = begin();
    (void)state;
    ASSERT_OK(mcomp_txn_add(txn, 0, 1, NULL, &fixture.error));
    ASSERT_OK(mcomp_txn_commit(txn, 0, NULL, &fixture.error));
    SCRIPT(0, {.action = FAKE_BUSY, .times = 1000000});
    GROWING_TIME_OUT(ms, result.attempts > 1 && status == MCOMP_ABORTED) /* until the node was asked twice in time */
        status = mcomp_txn_commit(txn, ms, &result, &fixture.error);
    assert_int_equal(status, MCOMP_ABORTED);
    assert_int_equal(result.outcome, MCOMP_TXN_CONFLICT);
    assert_true(result.attempts > 1);
    assert_int_equal(peek_word(0), 1);
    mcomp_txn_end(txn);
}

#define MANY 200u

static void many_at_once_use_more_sessions(void **state)
{
    struct mcomp_queue *queue;
    struct mcomp_txn *txns[MANY];
    static struct record records[MANY];
    (void)state;
    ASSERT_OK(mcomp_queue_open(fixture.grid, &queue, &fixture.error));
    for (unsigned i = 0; i < MANY; i++) {
        records[i] = (struct record){0};
        txns[i] = begin();
        ASSERT_OK(mcomp_txn_add(txns[i], 64 * i, i, NULL, &fixture.error));
        ASSERT_OK(mcomp_txn_add(txns[i], K + 64 * i, i, NULL, &fixture.error));
        ASSERT_OK(mcomp_queue_txn(queue, txns[i], 0, record_completion, &records[i], &fixture.error));
    }
    run_all(queue);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(records[i].count, 1);
        assert_int_equal(records[i].status, MCOMP_OK);
        assert_int_equal(mcomp_txn_outcome(txns[i]).outcome, MCOMP_TXN_COMMITTED);
        mcomp_txn_end(txns[i]);
    }
    while (fake_server_prepared(server(0)) + fake_server_prepared(server(1)) > 0)
        mcomp_queue_run(queue, 1);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(peek_word(64 * i), i);
        assert_int_equal(peek_word(K + 64 * i), i);
    }
    assert_true(seen(0, WIRE_OP_OPEN_SESSION) > 1);
    mcomp_queue_close(queue);
}

static void closing_gives_sessions_back(void **state)
{
    struct mcomp_queue *queue;
    struct record record = {0};
    struct mcomp_txn *txn = begin();
    (void)state;
    ASSERT_OK(mcomp_txn_add(txn, 0, 1, NULL, &fixture.error));
    ASSERT_OK(mcomp_queue_open(fixture.grid, &queue, &fixture.error));
    ASSERT_OK(mcomp_queue_txn(queue, txn, 0, record_completion, &record, &fixture.error));
    run_all(queue);
    assert_int_equal(fake_server_sessions(server(0)), 1);
    mcomp_queue_close(queue);
    while (fake_server_sessions(server(0)) > 0)
        sched_yield();
    mcomp_txn_end(txn);
}

static void closing_cancels(void **state)
{
    struct mcomp_queue *queue;
    struct record record = {0};
    struct mcomp_txn *txn = begin();
    (void)state;
    ASSERT_OK(mcomp_txn_add(txn, 0, 1, NULL, &fixture.error));
    ASSERT_OK(mcomp_queue_open(fixture.grid, &queue, &fixture.error));
    ASSERT_OK(mcomp_queue_txn(queue, txn, 0, record_completion, &record, &fixture.error));
    mcomp_queue_close(queue);
    assert_int_equal(record.status, MCOMP_CANCELLED);
    assert_int_equal(mcomp_txn_outcome(txn).outcome, MCOMP_TXN_NOT_DONE);
    ASSERT_OK(mcomp_txn_commit(txn, 0, NULL, &fixture.error)); /* opens the session */
    ASSERT_OK(mcomp_queue_open(fixture.grid, &queue, &fixture.error));
    SCRIPT(0, {.action = FAKE_ANSWER}, {.action = FAKE_IGNORE, .times = 100}); /* the session, and then silence */
    unsigned before = fake_server_requests(server(0));
    ASSERT_OK(mcomp_queue_txn(queue, txn, 0, record_completion, &record, &fixture.error));
    while (fake_server_requests(server(0)) < before + 2)
        mcomp_queue_run(queue, 1);
    mcomp_queue_close(queue);
    assert_int_equal(record.status, MCOMP_CANCELLED);
    assert_int_equal(mcomp_txn_outcome(txn).outcome, MCOMP_TXN_UNKNOWN);
    mcomp_txn_end(txn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(one_node_costs_one_message),
        FIXTURE_TEST(several_nodes_in_two_phases),
        FIXTURE_TEST(failed_compare_says_which_and_what),
        FIXTURE_TEST(what_makes_no_sense_is_refused),
        FIXTURE_TEST(long_items_go_whole),
        FIXTURE_TEST(many_words_swap_as_one),
        FIXTURE_TEST(conflicts_are_tried_again),
        FIXTURE_TEST(conflicts_to_the_end_of_time),
        FIXTURE_TEST(many_at_once_use_more_sessions),
        FIXTURE_TEST(closing_gives_sessions_back),
        FIXTURE_TEST(closing_cancels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
