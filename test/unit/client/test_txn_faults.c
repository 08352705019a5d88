/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: whatever is lost, each transaction, add and compare-and-swap happens once or not at all, and its caller is told what is known.
 * Method: fake servers that drop, repeat, forget and keep silent at each step. */
#include "fixture.h"

#include <string.h>

#include "mcomp_txn.h"

static struct fake_server *server(uint32_t node)
{
    return fixture.fake.servers[node];
}

static const enum fake_action losses[] = {FAKE_DROP, FAKE_DROP_AFTER, FAKE_HALF, FAKE_GARBAGE, FAKE_MALFORMED, FAKE_WRONG_ID, FAKE_WRONG_KIND, FAKE_TWICE};
#define LOSSES (sizeof losses / sizeof losses[0])

static uint64_t peek_word(uint64_t address)
{
    uint64_t word;
    fake_server_peek(server((uint32_t)(address / K)), address % K, &word, sizeof word);
    return word;
}

/** A transfer of 1 from node 0 to node 1, with a session open at both. */
static struct mcomp_txn *transfer(void)
{
    struct mcomp_txn *txn;
    ASSERT_OK(mcomp_txn_begin(fixture.grid, &txn, &fixture.error));
    ASSERT_OK(mcomp_txn_add(txn, 0, (uint64_t)-1, NULL, &fixture.error));
    ASSERT_OK(mcomp_txn_add(txn, K, 1, NULL, &fixture.error));
    ASSERT_OK(mcomp_txn_commit(txn, 0, NULL, &fixture.error));
    return txn;
}

static void wait_until_unprepared(void)
{
    uint8_t byte;
    for (uint32_t node = 0; node < NODES; node++) {
        while (fake_server_prepared(server(node)) > 0)
            ASSERT_OK(mcomp_read(fixture.grid, node * K, &byte, 1, 0, &fixture.error));
    }
}

static void lost_words_happen_once(void **state)
{
    uint64_t value, sum = 0, word = 0;
    (void)state;
    for (size_t i = 0; i < LOSSES; i++) {
        for (unsigned times = 1; times <= 3; times++) {
            ASSERT_OK(mcomp_fetch_add(fixture.grid, K, 1, &value, 0, &fixture.error));
            assert_int_equal(value, sum++);
            SCRIPT(1, {.action = losses[i], .times = times});
            ASSERT_OK(mcomp_fetch_add(fixture.grid, K, 1, &value, 0, &fixture.error));
            assert_int_equal(value, sum++);
            SCRIPT(1, {.action = losses[i], .times = times});
            ASSERT_OK(mcomp_compare_and_swap(fixture.grid, K + 8, word, word + 1, &value, 0, &fixture.error));
            assert_int_equal(value, word++);
            SCRIPT(1, {.action = losses[i], .times = times});
            ASSERT_OK(mcomp_compare_and_swap(fixture.grid, K + 8, word + 5, 0, &value, 0, &fixture.error));
            assert_int_equal(value, word);
        }
    }
    assert_int_equal(peek_word(K), sum);
    assert_int_equal(peek_word(K + 8), word);
}

/* At each message to one of the two nodes: the vote, the decision; and with the sessions that are opened first. */
static void lost_messages_of_two_nodes(void **state)
{
    uint64_t count = 1;
    struct mcomp_txn *txn = transfer();
    (void)state;
    for (size_t i = 0; i < LOSSES; i++) {
        for (unsigned before = 0; before < 3; before++) {
            wait_until_unprepared();
            if (before > 0)
                SCRIPT(1, {.action = FAKE_ANSWER, .times = before}, {.action = losses[i], .times = 2});
            else
                SCRIPT(1, {.action = losses[i], .times = 2});
            for (unsigned j = 0; j < 3; j++) {
                ASSERT_OK(mcomp_txn_commit(txn, 0, NULL, &fixture.error));
                count++;
            }
        }
    }
    wait_until_unprepared();
    assert_int_equal(peek_word(0), (uint64_t)-count);
    assert_int_equal(peek_word(K), count);
    mcomp_txn_end(txn);
}

static void sessions_that_are_lost_are_opened_again(void **state)
{
    struct mcomp_txn_result result;
    struct mcomp_txn *txn = transfer();
    uint64_t value;
    (void)state;
    wait_until_unprepared();
    SCRIPT(0, {.action = FAKE_FORGET});
    ASSERT_OK(mcomp_txn_commit(txn, 0, &result, &fixture.error));
    wait_until_unprepared(); /* what is prepared is never forgotten */
    SCRIPT(0, {.action = FAKE_FORGET});
    ASSERT_OK(mcomp_fetch_add(fixture.grid, 8, 1, &value, 0, &fixture.error));
    wait_until_unprepared();
    assert_int_equal(peek_word(0), (uint64_t)-2);
    assert_int_equal(peek_word(K), 2);
    assert_int_equal(peek_word(8), 1);
    mcomp_txn_end(txn);
}

/* It was done, the answer was lost, and the node forgot: nobody knows. */
static void done_and_forgotten_is_unknown(void **state)
{
    uint64_t value;
    struct mcomp_txn_result result;
    struct mcomp_txn *txn;
    (void)state;
    ASSERT_OK(mcomp_fetch_add(fixture.grid, 8, 1, &value, 0, &fixture.error));
    SCRIPT(0, {.action = FAKE_DROP_AFTER}, {.action = FAKE_FORGET});
    assert_int_not_equal(mcomp_fetch_add(fixture.grid, 8, 1, &value, 0, &fixture.error), MCOMP_OK);
    assert_one_span(&fixture.error, 8, 8, MCOMP_MAYBE);
    ASSERT_OK(mcomp_txn_begin(fixture.grid, &txn, &fixture.error));
    ASSERT_OK(mcomp_txn_add(txn, 8, 1, NULL, &fixture.error));
    ASSERT_OK(mcomp_txn_commit(txn, 0, NULL, &fixture.error));
    SCRIPT(0, {.action = FAKE_DROP_AFTER}, {.action = FAKE_FORGET});
    assert_int_not_equal(mcomp_txn_commit(txn, 0, &result, &fixture.error), MCOMP_OK);
    assert_int_equal(result.outcome, MCOMP_TXN_UNKNOWN);
    assert_one_span(&fixture.error, 8, 8, MCOMP_MAYBE);
    mcomp_txn_end(txn);
}

/* A node that does not answer to a vote is asked what became of it; when it does not answer to that either, nothing is known. */
static void silence_is_unknown(void **state)
{
    struct mcomp_txn_result result;
    struct mcomp_txn *txn = transfer();
    (void)state;
    wait_until_unprepared();
    SCRIPT(1, {.action = FAKE_IGNORE, .times = 1000});
    fixture_stop_clock(1, 1); /* until the vote is asked for */
    assert_int_equal(mcomp_txn_commit(txn, SHORT_MS, &result, &fixture.error), MCOMP_DEADLINE_EXCEEDED);
    assert_int_equal(result.outcome, MCOMP_TXN_UNKNOWN);
    assert_int_not_equal(fixture.error.node, MCOMP_NO_NODE);
    assert_int_equal(fixture.error.span_count, 2);
    assert_span(&fixture.error, 0, 0, 8, MCOMP_MAYBE);
    assert_span(&fixture.error, 1, K, 8, MCOMP_MAYBE);
    SCRIPT(1, {.action = FAKE_ANSWER});
    wait_until_unprepared(); /* what is left of it is aborted behind the caller's back */
    ASSERT_OK(mcomp_txn_commit(txn, 0, &result, &fixture.error));
    wait_until_unprepared();
    assert_int_equal(peek_word(0), (uint64_t)-2);
    assert_int_equal(peek_word(K), 2);
    mcomp_txn_end(txn);
}

/* A vote that was ignored once is known not to be there, as soon as the node answers to the question. */
static void silence_that_ends_is_certain(void **state)
{
    struct mcomp_txn_result result;
    struct mcomp_txn *txn = transfer();
    (void)state;
    wait_until_unprepared();
    SCRIPT(1, {.action = FAKE_IGNORE});
    ASSERT_OK(mcomp_txn_commit(txn, 0, &result, &fixture.error));
    assert_int_equal(result.attempts, 2);
    wait_until_unprepared();
    assert_int_equal(peek_word(K), 2);
    mcomp_txn_attempts(txn, 1);
    SCRIPT(1, {.action = FAKE_IGNORE});
    assert_int_equal(mcomp_txn_commit(txn, 0, &result, &fixture.error), MCOMP_ABORTED);
    assert_int_equal(result.outcome, MCOMP_TXN_CONFLICT);
    wait_until_unprepared();
    assert_int_equal(peek_word(K), 2);
    mcomp_txn_end(txn);
}

/* Nothing was sent to a node that is away, so nothing can have been done. */
static void node_that_is_away_is_certain(void **state)
{
    struct mcomp_txn_result result;
    struct mcomp_txn *txn = transfer();
    uint64_t value;
    uint8_t byte;
    (void)state;
    wait_until_unprepared();
    fake_server_drop_all(server(1), true);
    SCRIPT(0, {.action = FAKE_IGNORE});
    assert_int_equal(mcomp_read(fixture.grid, 0, &byte, 1, 5, &fixture.error), MCOMP_DEADLINE_EXCEEDED); /* idle for long enough to be looked at */
    assert_int_equal(mcomp_txn_commit(txn, SHORT_MS, &result, &fixture.error), MCOMP_UNAVAILABLE);
    assert_int_equal(result.outcome, MCOMP_TXN_NOT_DONE);
    assert_int_equal(fixture.error.node, 1);
    assert_contains(fixture.error.text, "cannot be reached");
    assert_span(&fixture.error, 0, 0, 8, MCOMP_NOT_DONE);
    assert_int_equal(mcomp_fetch_add(fixture.grid, K, 1, &value, SHORT_MS, &fixture.error), MCOMP_UNAVAILABLE);
    assert_one_span(&fixture.error, K, 8, MCOMP_NOT_DONE);
    fake_server_listen(server(1));
    ASSERT_OK(mcomp_txn_commit(txn, 0, &result, &fixture.error));
    wait_until_unprepared();
    assert_int_equal(peek_word(0), (uint64_t)-2);
    assert_int_equal(peek_word(K), 2);
    mcomp_txn_end(txn);
}

static void refusals_are_told(void **state)
{
    static const enum mcomp_status statuses[] = {MCOMP_INVALID_ARGUMENT, MCOMP_OUT_OF_RANGE, MCOMP_WRONG_NODE, MCOMP_UNIMPLEMENTED};
    struct mcomp_txn_result result;
    struct mcomp_txn *txn = transfer();
    uint64_t value;
    (void)state;
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        wait_until_unprepared();
        SCRIPT(0, {.action = FAKE_STATUS, .status = statuses[i]});
        assert_int_equal(mcomp_txn_commit(txn, 0, &result, &fixture.error), statuses[i]);
        assert_int_equal(result.outcome, MCOMP_TXN_NOT_DONE);
        assert_int_equal(fixture.error.node, 0);
        SCRIPT(0, {.action = FAKE_STATUS, .status = statuses[i]});
        assert_int_equal(mcomp_fetch_add(fixture.grid, 8, 1, &value, 0, &fixture.error), statuses[i]);
        assert_one_span(&fixture.error, 8, 8, MCOMP_NOT_DONE);
    }
    SCRIPT(0, {.action = FAKE_STATUS, .status = MCOMP_RESOURCE_EXHAUSTED, .times = 3});
    ASSERT_OK(mcomp_fetch_add(fixture.grid, 8, 1, &value, 0, &fixture.error));
    wait_until_unprepared();
    assert_int_equal(peek_word(8), 1);
    assert_int_equal(peek_word(K), 1);
    mcomp_txn_end(txn);
}

static void no_session_left(void **state)
{
    uint64_t value;
    (void)state;
    SCRIPT(0, {.action = FAKE_STATUS, .status = MCOMP_RESOURCE_EXHAUSTED, .times = 3});
    ASSERT_OK(mcomp_fetch_add(fixture.grid, 8, 1, &value, 0, &fixture.error));
    SCRIPT(1, {.action = FAKE_STATUS, .status = MCOMP_RESOURCE_EXHAUSTED, .times = 1000000});
    enum mcomp_status status = MCOMP_OK;
    GROWING_TIME_OUT(ms, status == MCOMP_RESOURCE_EXHAUSTED) /* until the node has said so in time */
        status = mcomp_fetch_add(fixture.grid, K, 1, &value, ms, &fixture.error);
    assert_int_equal(status, MCOMP_RESOURCE_EXHAUSTED);
    assert_one_span(&fixture.error, K, 8, MCOMP_NOT_DONE);
    SCRIPT(1, {.action = FAKE_STATUS, .status = MCOMP_UNIMPLEMENTED});
    assert_int_equal(mcomp_fetch_add(fixture.grid, K, 1, &value, 0, &fixture.error), MCOMP_UNIMPLEMENTED);
    ASSERT_OK(mcomp_fetch_add(fixture.grid, K, 1, &value, 0, &fixture.error));
}

/* Answers changed at random: the client may believe one that happens to make sense, but it must end, and never be harmed. */
static void mutated_answers_end(void **state)
{
    struct mcomp_txn *txn = transfer();
    uint64_t value;
    (void)state;
    for (unsigned i = 0; i < 25; i++) {
        SCRIPT(0, {.action = FAKE_MUTATED});
        (void)!mcomp_fetch_add(fixture.grid, 8, 1, &value, SHORT_MS, &fixture.error);
        SCRIPT(1, {.action = FAKE_MUTATED});
        (void)!mcomp_txn_commit(txn, SHORT_MS, NULL, &fixture.error);
    }
    mcomp_txn_end(txn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(lost_words_happen_once),
        FIXTURE_TEST(lost_messages_of_two_nodes),
        FIXTURE_TEST(sessions_that_are_lost_are_opened_again),
        FIXTURE_TEST(done_and_forgotten_is_unknown),
        FIXTURE_TEST(silence_is_unknown),
        FIXTURE_TEST(silence_that_ends_is_certain),
        FIXTURE_TEST(node_that_is_away_is_certain),
        FIXTURE_TEST(refusals_are_told),
        FIXTURE_TEST(no_session_left),
        cmocka_unit_test_setup_teardown(mutated_answers_end, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
