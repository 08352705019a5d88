/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: whatever happens to a connection and whatever a node sends, each call ends once, with the right outcome, and the next one works.
 * Method: fake servers that drop, cut and garble. */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>

static struct fake_server *server(uint32_t node)
{
    return fixture.fake.servers[node];
}

static const enum fake_action losses[] = {FAKE_DROP, FAKE_DROP_AFTER, FAKE_HALF};

static void lost_read_is_sent_again(void **state)
{
    static const size_t sizes[] = {10, 5000, 300000};
    uint8_t *out = malloc(300000), *in = malloc(300000);
    (void)state;
    fixture_fill(out, 300000, 2);
    fake_server_poke(server(0), 100, out, 300000);
    for (size_t i = 0; i < 3; i++) {
        for (size_t j = 0; j < 3; j++) {
            SCRIPT(0, {.action = losses[i], .times = 2});
            memset(in, 0, sizes[j]);
            ASSERT_OK(mcomp_read(fixture.grid, 100, in, sizes[j], 0, &fixture.error));
            assert_memory_equal(in, out, sizes[j]);
        }
    }
    assert_int_equal(fake_server_requests(server(0)), 27);
    free(out);
    free(in);
}

/* Of adds and swaps, which happen once whatever is lost, see test_txn_faults.c. */
static void lost_write_is_unknown_and_never_repeated(void **state)
{
    uint8_t data[2000] = {1, 2, 3};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        unsigned before = fake_server_requests(server(1));
        SCRIPT(1, {.action = losses[i], .times = 1});
        assert_int_equal(mcomp_write(fixture.grid, K, data, sizeof data, 0, &fixture.error), MCOMP_UNAVAILABLE);
        assert_one_span(&fixture.error, K, sizeof data, MCOMP_MAYBE);
        assert_int_equal(fixture.error.node, 1);
        assert_int_equal(fake_server_requests(server(1)), before + 1);
        ASSERT_OK(mcomp_write(fixture.grid, K, data, sizeof data, 0, &fixture.error));
    }
}

static void lost_multi_depends_on_its_kind(void **state)
{
    uint8_t in[8] = {0};
    struct mcomp_range ranges[] = {{MCOMP_RANGE_READ, 5, 4, in}, {MCOMP_RANGE_WRITE, 20, 4, in + 4}};
    (void)state;
    fake_server_poke(server(0), 5, "data", 4);
    SCRIPT(0, {.action = FAKE_DROP, .times = 2});
    ASSERT_OK(mcomp_multi(fixture.grid, ranges, 1, 0, &fixture.error));
    assert_memory_equal(in, "data", 4);
    SCRIPT(0, {.action = FAKE_DROP});
    assert_int_equal(mcomp_multi(fixture.grid, ranges, 2, 0, &fixture.error), MCOMP_UNAVAILABLE);
    assert_int_equal(fixture.error.span_count, 2);
    assert_span(&fixture.error, 0, 5, 4, MCOMP_NOT_DONE);
    assert_span(&fixture.error, 1, 20, 4, MCOMP_MAYBE);
}

static void lost_status_query_is_sent_again(void **state)
{
    struct mcomp_node_status status;
    (void)state;
    SCRIPT(0, {.action = FAKE_DROP}, {.action = FAKE_HALF});
    ASSERT_OK(mcomp_node_status(fixture.grid, 0, &status, 0, &fixture.error));
    assert_int_equal(status.segment_id, 4711);
    assert_int_equal(status.node, 0);
}

/* One of several pieces is lost with its node; the others are done. */
static void spans_tell_lost_from_done(void **state)
{
    uint8_t data[16];
    (void)state;
    fixture_fill(data, sizeof data, 8);
    SCRIPT(1, {.action = FAKE_DROP});
    assert_int_equal(mcomp_write(fixture.grid, K - 8, data, sizeof data, 0, &fixture.error), MCOMP_UNAVAILABLE);
    assert_int_equal(fixture.error.node, 1);
    assert_int_equal(fixture.error.span_count, 2);
    assert_span(&fixture.error, 0, K - 8, 8, MCOMP_DONE);
    assert_span(&fixture.error, 1, K, 8, MCOMP_MAYBE);
}

/** A response with id 0, which is to no request. */
static void send_last_words(enum mcomp_status status)
{
    Mcomp__V1__Response response = MCOMP__V1__RESPONSE__INIT;
    uint8_t bytes[100];
    response.status = wire_status_put(status);
    response.message = (char *)"that was all";
    fake_server_send(server(0), bytes, (size_t)(wire_put_message(bytes, &response.base) - bytes));
}

/* A node says why it closes the connection. When it only wants to be left alone for a while, reads are sent again as after any other loss. */
static void last_words_of_a_connection(void **state)
{
    static const enum mcomp_status statuses[] = {MCOMP_UNAVAILABLE, MCOMP_RESOURCE_EXHAUSTED, MCOMP_INVALID_ARGUMENT};
    struct mcomp_queue *queue;
    uint8_t in[8], out[8] = {0};
    (void)state;
    ASSERT_OK(mcomp_queue_open(fixture.grid, &queue, &fixture.error));
    for (size_t i = 0; i < 3; i++) {
        struct record read = {0}, write = {0};
        unsigned before = fake_server_requests(server(0));
        SCRIPT(0, {.action = FAKE_HOLD, .times = 2});
        ASSERT_OK(mcomp_queue_read(queue, 0, in, 8, 0, record_completion, &read, &fixture.error));
        ASSERT_OK(mcomp_queue_write(queue, 8, out, 8, 0, record_completion, &write, &fixture.error));
        while (fake_server_requests(server(0)) < before + 2)
            mcomp_queue_run(queue, 1);
        send_last_words(statuses[i]);
        run_all(queue);
        assert_int_equal(read.status, i < 2 ? MCOMP_OK : MCOMP_INTERNAL);
        assert_int_equal(write.status, i < 2 ? MCOMP_UNAVAILABLE : MCOMP_INTERNAL);
        assert_contains(write.error.text, "that was all");
        assert_one_span(&write.error, 8, 8, MCOMP_MAYBE);
    }
    mcomp_queue_close(queue);
}

static void idle_connection_that_was_closed_costs_nothing(void **state)
{
    uint8_t data[4] = "abc";
    (void)state;
    ASSERT_OK(mcomp_write(fixture.grid, K - 2, data, 4, 0, &fixture.error)); /* connects to nodes 0 and 1 */
    fake_server_drop_all(server(0), false);
    /* Another call of the same session takes 5 ms; then the connection has been idle for long enough to be looked at before a write. */
    SCRIPT(1, {.action = FAKE_IGNORE});
    assert_int_equal(mcomp_read(fixture.grid, K, data, 4, 5, &fixture.error), MCOMP_DEADLINE_EXCEEDED);
    ASSERT_OK(mcomp_write(fixture.grid, 0, data, 4, 0, &fixture.error));
    assert_int_equal(fake_server_connections(server(0)), 2);
}

static void nonsense_drops_the_connection(void **state)
{
    static const enum fake_action actions[] = {FAKE_GARBAGE,      FAKE_MALFORMED,  FAKE_TOO_LONG,
                                               FAKE_WRONG_LENGTH, FAKE_WRONG_KIND, FAKE_WRONG_ID};
    static const size_t sizes[] = {10, 9000, 300000};
    uint8_t *buffer = malloc(300000);
    (void)state;
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++) {
        for (size_t j = 0; j < 3; j++) {
            SCRIPT(0, {.action = actions[i]});
            assert_int_equal(mcomp_read(fixture.grid, 50, buffer, sizes[j], 0, &fixture.error), MCOMP_INTERNAL);
            assert_contains(fixture.error.text, "makes no sense");
            if (actions[i] == FAKE_TOO_LONG)
                assert_contains(fixture.error.text, "over the limit");
            assert_one_span(&fixture.error, 50, sizes[j], MCOMP_NOT_DONE);
            ASSERT_OK(mcomp_read(fixture.grid, 50, buffer, sizes[j], 0, &fixture.error));
        }
    }
    free(buffer);
}

static void nonsense_for_a_write_leaves_it_unknown(void **state)
{
    static const enum fake_action actions[] = {FAKE_GARBAGE, FAKE_MALFORMED, FAKE_TOO_LONG, FAKE_WRONG_KIND};
    uint8_t data[10] = {0};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        SCRIPT(0, {.action = actions[i]});
        assert_int_equal(mcomp_write(fixture.grid, 50, data, sizeof data, 0, &fixture.error), MCOMP_INTERNAL);
        assert_one_span(&fixture.error, 50, sizeof data, MCOMP_MAYBE);
    }
}

/* Whatever bytes come, a call ends with some status, and reads nothing and writes nothing that is not its own (the sanitizers see to that). */
static void answers_with_random_mistakes(void **state)
{
    uint8_t *buffer = malloc(70000);
    (void)state;
    for (unsigned i = 0; i < 200; i++) {
        struct mcomp_node_status status;
        struct mcomp_range ranges[] = {{MCOMP_RANGE_READ, 10, 20000, buffer}, {MCOMP_RANGE_READ, 90000, 30, buffer + 20000}};
        uint64_t value;
        SCRIPT(0, {.action = FAKE_MUTATED});
        switch (i % 6) {
        case 0:
            (void)!mcomp_read(fixture.grid, i, buffer, 50, 20, NULL);
            break;
        case 1:
            (void)!mcomp_read(fixture.grid, i, buffer, 70000, 20, NULL);
            break;
        case 2:
            (void)!mcomp_write(fixture.grid, i, buffer, 50, 20, NULL);
            break;
        case 3:
            (void)!mcomp_compare_and_swap(fixture.grid, i, 1, 2, &value, 20, NULL);
            break;
        case 4:
            (void)!mcomp_multi(fixture.grid, ranges, 2, 20, NULL);
            break;
        default:
            (void)!mcomp_node_status(fixture.grid, 0, &status, 20, NULL);
            break;
        }
    }
    fake_server_drop_all(server(0), false);
    SCRIPT(0, {.action = FAKE_ANSWER});
    enum mcomp_status status = mcomp_read(fixture.grid, 0, buffer, 70000, 0, &fixture.error);
    assert_true(status == MCOMP_OK || status == MCOMP_INTERNAL); /* the latter for what had come before */
    ASSERT_OK(mcomp_read(fixture.grid, 0, buffer, 70000, 0, &fixture.error));
    free(buffer);
}

/* An answer of a read to a write of the same length: the data that was to be written is not written over. */
static void data_of_a_write_is_never_written_to(void **state)
{
    uint8_t data[100], before[100];
    (void)state;
    fixture_fill(data, sizeof data, 1);
    memcpy(before, data, sizeof data);
    SCRIPT(0, {.action = FAKE_WRONG_KIND});
    assert_int_equal(mcomp_write(fixture.grid, 50, data, sizeof data, 0, &fixture.error), MCOMP_INTERNAL);
    fake_server_poke(server(0), 50, "something else", 14);
    assert_memory_equal(data, before, sizeof data);
}

/* The frame of a write is half sent when its connection is lost: it cannot have happened, so it is sent again. */
static void half_sent_write_is_sent_again(void **state)
{
    struct mcomp_queue *queue;
    struct record records[8] = {{0}}, connected = {0};
    uint8_t *data = malloc(K), *there = malloc(K);
    unsigned good = 0, unknown = 0;
    (void)state;
    fixture_fill(data, K, 3);
    ASSERT_OK(mcomp_queue_open(fixture.grid, &queue, &fixture.error));
    ASSERT_OK(mcomp_queue_read(queue, 0, there, 1, 0, record_completion, &connected, &fixture.error));
    run_all(queue);
    fake_server_pause(server(0), true);
    for (size_t i = 0; i < 8; i++)
        ASSERT_OK(mcomp_queue_write(queue, i * MAX_MESSAGE, data + i * MAX_MESSAGE, MAX_MESSAGE, 0, record_completion, &records[i],
                                    &fixture.error));
    mcomp_queue_flush(queue); /* until the socket takes no more, which is in the middle of one */
    fake_server_drop_all(server(0), false);
    fake_server_pause(server(0), false);
    run_all(queue);
    fake_server_peek(server(0), 0, there, K);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(records[i].count, 1);
        assert_true(records[i].status == MCOMP_OK || records[i].status == MCOMP_UNAVAILABLE);
        good += records[i].status == MCOMP_OK;
        unknown += records[i].status == MCOMP_UNAVAILABLE;
        if (records[i].status == MCOMP_OK)
            assert_memory_equal(there + i * MAX_MESSAGE, data + i * MAX_MESSAGE, MAX_MESSAGE);
        else
            assert_one_span(&records[i].error, i * MAX_MESSAGE, MAX_MESSAGE, MCOMP_MAYBE);
    }
    assert_true(good > 0 && unknown > 0);
    ASSERT_OK(mcomp_queue_write(queue, 5, data, MAX_MESSAGE, 0, record_completion, &records[0], &fixture.error));
    run_all(queue);
    assert_int_equal(records[0].status, MCOMP_OK);
    mcomp_queue_close(queue);
    free(data);
    free(there);
}

/* A node that answers what it has not yet received is not believed: the rest of the frame is still to be sent. */
static void answer_to_half_a_request(void **state)
{
    struct mcomp_queue *queue;
    struct record record = {0}, connected = {0};
    struct mcomp *grid = fixture_open_with("server { max_message = \"8MiB\" }");
    uint8_t *data = malloc(K), *there = malloc(K), answer[WIRE_HEADER_BYTES];
    (void)state;
    fixture_fill(data, K, 77);
    fake_server_hello(server(0), &(struct fake_hello){.max_message = K});
    ASSERT_OK(mcomp_queue_open(grid, &queue, &fixture.error));
    ASSERT_OK(mcomp_queue_read(queue, 0, data, 1, 0, record_completion, &connected, &fixture.error));
    run_all(queue);
    fake_server_pause(server(0), true);
    ASSERT_OK(mcomp_queue_write(queue, 0, data, K, 0, record_completion, &record, &fixture.error));
    mcomp_queue_flush(queue); /* until the socket takes no more */
    fake_server_send(server(0), answer, (size_t)(wire_put_write_result(answer, 17) - answer)); /* the second use of the first piece */
    while (record.count == 0 && fake_server_connections(server(0)) == 1)
        mcomp_queue_run(queue, 10);
    assert_int_equal(record.count, 0);
    fake_server_pause(server(0), false);
    run_all(queue);
    assert_int_equal(record.status, MCOMP_OK);
    fake_server_peek(server(0), 0, there, K);
    assert_memory_equal(there, data, K);
    mcomp_queue_close(queue);
    mcomp_close(grid);
    free(data);
    free(there);
}

static void multi_with_too_few_or_too_many_answers(void **state)
{
    uint8_t in[8] = {0};
    struct mcomp_range ranges[] = {{MCOMP_RANGE_READ, 5, 4, in}, {MCOMP_RANGE_READ, 20, 4, in + 4}};
    (void)state;
    SCRIPT(0, {.action = FAKE_WRONG_LENGTH});
    assert_int_equal(mcomp_multi(fixture.grid, ranges, 2, 0, &fixture.error), MCOMP_INTERNAL);
    ASSERT_OK(mcomp_multi(fixture.grid, ranges, 2, 0, &fixture.error));
    SCRIPT(0, {.action = FAKE_WRONG_KIND});
    assert_int_equal(mcomp_multi(fixture.grid, ranges, 2, 0, &fixture.error), MCOMP_INTERNAL);
}

static void answer_that_comes_twice(void **state)
{
    uint8_t in[8];
    (void)state;
    SCRIPT(0, {.action = FAKE_TWICE});
    ASSERT_OK(mcomp_read(fixture.grid, 0, in, sizeof in, 0, &fixture.error));
    /* The second answer is found by the next call at the latest; a read is not harmed by it. */
    enum mcomp_status status = mcomp_read(fixture.grid, 0, in, sizeof in, 0, &fixture.error);
    assert_true(status == MCOMP_OK || status == MCOMP_INTERNAL);
    ASSERT_OK(mcomp_read(fixture.grid, 0, in, sizeof in, 0, &fixture.error));
}

struct twice {
    struct mcomp_queue *queue;
    struct record second;
    uint8_t first_bytes[4], second_bytes[4];
};

static void read_something_else(void *arg, const struct mcomp_completion *completion)
{
    struct twice *twice = arg;
    assert_int_equal(completion->status, MCOMP_OK);
    ASSERT_OK(mcomp_queue_read(twice->queue, 50, twice->second_bytes, 4, 0, record_completion, &twice->second, &fixture.error));
    mcomp_queue_flush(twice->queue); /* under way before the rest of what was received is looked at */
}

/* An answer that comes twice is not taken for that of the next request, though this one has the place of the first. */
static void answer_that_comes_twice_answers_no_other(void **state)
{
    struct twice twice = {0};
    (void)state;
    fake_server_poke(server(0), 0, "one", 4);
    fake_server_poke(server(0), 50, "two", 4);
    SCRIPT(0, {.action = FAKE_TWICE});
    ASSERT_OK(mcomp_queue_open(fixture.grid, &twice.queue, &fixture.error));
    ASSERT_OK(mcomp_queue_read(twice.queue, 0, twice.first_bytes, 4, 0, read_something_else, &twice, &fixture.error));
    run_all(twice.queue);
    assert_int_equal(twice.second.count, 1);
    if (twice.second.status == MCOMP_OK)
        assert_memory_equal(twice.second_bytes, "two", 4);
    else
        assert_int_equal(twice.second.status, MCOMP_INTERNAL);
    mcomp_queue_close(twice.queue);
}

static void refusals_are_final_and_quoted(void **state)
{
    static const struct {
        enum mcomp_status status;
        enum mcomp_outcome outcome;
    } rows[] = {
        {MCOMP_INVALID_ARGUMENT, MCOMP_NOT_DONE}, {MCOMP_FAILED_PRECONDITION, MCOMP_NOT_DONE}, {MCOMP_OUT_OF_RANGE, MCOMP_NOT_DONE},
        {MCOMP_UNIMPLEMENTED, MCOMP_NOT_DONE},    {MCOMP_WRONG_NODE, MCOMP_NOT_DONE},          {MCOMP_INTERNAL, MCOMP_MAYBE},
        {MCOMP_ABORTED, MCOMP_MAYBE},
    };
    uint8_t data[10] = {0};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        unsigned before = fake_server_requests(server(2));
        SCRIPT(2, {.action = FAKE_STATUS, .status = rows[i].status, .times = 2});
        assert_int_equal(mcomp_write(fixture.grid, 2 * K, data, sizeof data, 0, &fixture.error), rows[i].status);
        assert_int_equal(fixture.error.status, rows[i].status);
        assert_int_equal(fixture.error.node, 2);
        assert_contains(fixture.error.text, "the fake \"server\"\\nwas told to refuse"); /* one line */
        assert_one_span(&fixture.error, 2 * K, sizeof data, rows[i].outcome);
        if (rows[i].status == MCOMP_WRONG_NODE)
            assert_contains(fixture.error.text, "node 77, \"host77:7777\"");
        assert_int_equal(mcomp_read(fixture.grid, 2 * K, data, sizeof data, 0, &fixture.error), rows[i].status);
        assert_one_span(&fixture.error, 2 * K, sizeof data, MCOMP_NOT_DONE);
        assert_int_equal(fake_server_requests(server(2)), before + 2);
    }
    assert_int_equal(fake_server_connections(server(2)), 1);
}

static void busy_node_is_asked_again(void **state)
{
    static const enum mcomp_status statuses[] = {MCOMP_RESOURCE_EXHAUSTED, MCOMP_UNAVAILABLE};
    uint8_t data[10] = "something", in[10];
    uint64_t value;
    (void)state;
    ASSERT_OK(mcomp_fetch_add(fixture.grid, 100, 0, &value, 0, &fixture.error)); /* opens a session */
    for (size_t i = 0; i < 2; i++) {
        unsigned before = fake_server_requests(server(0));
        SCRIPT(0, {.action = FAKE_STATUS, .status = statuses[i], .times = 3});
        ASSERT_OK(mcomp_write(fixture.grid, 0, data, sizeof data, 0, &fixture.error));
        SCRIPT(0, {.action = FAKE_STATUS, .status = statuses[i], .times = 1});
        ASSERT_OK(mcomp_read(fixture.grid, 0, in, sizeof in, 0, &fixture.error));
        SCRIPT(0, {.action = FAKE_STATUS, .status = statuses[i], .times = 1});
        ASSERT_OK(mcomp_fetch_add(fixture.grid, 100, 1, &value, 0, &fixture.error));
        assert_int_equal(value, i); /* done once each time */
        assert_memory_equal(in, data, sizeof in);
        assert_int_equal(fake_server_requests(server(0)), before + 8);
    }
    assert_int_equal(fake_server_connections(server(0)), 1);
}

static void busy_until_the_time_is_over(void **state)
{
    uint8_t data[10] = {0};
    (void)state;
    fixture_connect();
    SCRIPT(0, {.action = FAKE_STATUS, .status = MCOMP_RESOURCE_EXHAUSTED, .times = 1000000});
    unsigned requests = 0, most = 0;
    enum mcomp_status status = MCOMP_OK;
    GROWING_TIME_OUT(ms, status == MCOMP_RESOURCE_EXHAUSTED) { /* until it ends in a pause, and not before the first answer */
        requests = fake_server_requests(server(0));
        most = 12 + ms / 250; /* pauses of 5 ms and more, and longer each time up to a second */
        status = mcomp_write(fixture.grid, 0, data, sizeof data, ms, &fixture.error);
    }
    assert_int_equal(status, MCOMP_RESOURCE_EXHAUSTED);
    assert_contains(fixture.error.text, "told to refuse");
    assert_one_span(&fixture.error, 0, sizeof data, MCOMP_NOT_DONE);
    assert_int_equal(fake_server_connections(server(0)), 1);
    assert_in_range(fake_server_requests(server(0)) - requests, 1, most);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(lost_read_is_sent_again),
        FIXTURE_TEST(lost_write_is_unknown_and_never_repeated),
        FIXTURE_TEST(lost_multi_depends_on_its_kind),
        FIXTURE_TEST(lost_status_query_is_sent_again),
        FIXTURE_TEST(spans_tell_lost_from_done),
        FIXTURE_TEST(last_words_of_a_connection),
        FIXTURE_TEST(idle_connection_that_was_closed_costs_nothing),
        FIXTURE_TEST(nonsense_drops_the_connection),
        FIXTURE_TEST(nonsense_for_a_write_leaves_it_unknown),
        FIXTURE_TEST(answers_with_random_mistakes),
        FIXTURE_TEST(data_of_a_write_is_never_written_to),
        FIXTURE_TEST(half_sent_write_is_sent_again),
        FIXTURE_TEST(answer_to_half_a_request),
        FIXTURE_TEST(multi_with_too_few_or_too_many_answers),
        FIXTURE_TEST(answer_that_comes_twice),
        FIXTURE_TEST(answer_that_comes_twice_answers_no_other),
        FIXTURE_TEST(refusals_are_final_and_quoted),
        FIXTURE_TEST(busy_node_is_asked_again),
        FIXTURE_TEST(busy_until_the_time_is_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
