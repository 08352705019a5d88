/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: a time-out is reported with the right outcome, costs no connection, and a late answer touches nothing that is the caller's. Method:
 * servers that hold answers back; buffers that are watched after the call. A call made after the late answer was released finds that
 * answer before its own on the stream, so when it returns, the late one has been dealt with. */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>

static struct fake_server *server(uint32_t node)
{
    return fixture.fake.servers[node];
}

/** One more call on the same connection works, and it is the same connection. */
static void assert_connection_is_alive(void)
{
    uint64_t value;
    ASSERT_OK(mcomp_fetch_add(fixture.grid, 64, 1, &value, 0, &fixture.error));
    assert_int_equal(fake_server_connections(server(0)), 1);
}

static void read_that_times_out_changed_nothing(void **state)
{
    static const size_t sizes[] = {8, 100, 5000, 300000, MAX_MESSAGE};
    (void)state;
    fixture_connect();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint8_t *buffer = malloc(sizes[i]);
        SCRIPT(0, {.action = FAKE_HOLD});
        fixture_stop_clock(0, 1);
        assert_int_equal(mcomp_read(fixture.grid, 1000, buffer, sizes[i], SHORT_MS, &fixture.error), MCOMP_DEADLINE_EXCEEDED);
        assert_int_equal(fixture.error.node, 0);
        assert_contains(fixture.error.text, "node 0 (127.0.0.1:");
        assert_one_span(&fixture.error, 1000, sizes[i], MCOMP_NOT_DONE);
        memset(buffer, 0x5a, sizes[i]);
        fake_server_release(server(0), false);
        assert_connection_is_alive();
        for (size_t j = 0; j < sizes[i]; j++)
            assert_int_equal(buffer[j], 0x5a);
        free(buffer);
    }
}

/* The data is half there, straight in the caller's buffer, when the time is over. */
static void half_received_read_is_diverted(void **state)
{
    static const size_t sizes[] = {16, 6000, 20000, 600000, MAX_MESSAGE};
    (void)state;
    fixture_connect();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint8_t *buffer = malloc(sizes[i]);
        SCRIPT(0, {.action = FAKE_PART});
        fixture_stop_clock(0, 1);
        assert_int_equal(mcomp_read(fixture.grid, 0, buffer, sizes[i], SHORT_MS, &fixture.error), MCOMP_DEADLINE_EXCEEDED);
        assert_one_span(&fixture.error, 0, sizes[i], MCOMP_NOT_DONE);
        memset(buffer, 0x5a, sizes[i]);
        fake_server_release(server(0), false);
        assert_connection_is_alive();
        for (size_t j = 0; j < sizes[i]; j++)
            assert_int_equal(buffer[j], 0x5a);
        free(buffer);
    }
}

static void write_that_was_sent_is_unknown(void **state)
{
    uint8_t data[200] = {1};
    (void)state;
    fixture_connect();
    SCRIPT(0, {.action = FAKE_HOLD});
    fixture_stop_clock(0, 1);
    assert_int_equal(mcomp_write(fixture.grid, 500, data, sizeof data, SHORT_MS, &fixture.error), MCOMP_DEADLINE_EXCEEDED);
    assert_one_span(&fixture.error, 500, sizeof data, MCOMP_MAYBE);
    fake_server_release(server(0), false);
    assert_connection_is_alive();
}

static void add_and_swap_that_were_sent_are_unknown(void **state)
{
    uint64_t value = 77;
    (void)state;
    ASSERT_OK(mcomp_fetch_add(fixture.grid, 80, 0, NULL, 0, &fixture.error)); /* opens a session */
    SCRIPT(0, {.action = FAKE_HOLD, .times = 1000}); /* also what the node is asked about them afterwards */
    fixture_stop_clock(0, 1);
    assert_int_equal(mcomp_fetch_add(fixture.grid, 80, 1, &value, SHORT_MS, &fixture.error), MCOMP_DEADLINE_EXCEEDED);
    assert_one_span(&fixture.error, 80, 8, MCOMP_MAYBE);
    fixture_stop_clock(0, 1);
    assert_int_equal(mcomp_compare_and_swap(fixture.grid, 90, 0, 1, &value, SHORT_MS, &fixture.error), MCOMP_DEADLINE_EXCEEDED);
    assert_one_span(&fixture.error, 90, 8, MCOMP_MAYBE);
    assert_int_equal(value, 77);
    SCRIPT(0, {.action = FAKE_ANSWER});
    fake_server_release(server(0), true);
    assert_connection_is_alive();
}

static void multi_tells_reads_from_writes(void **state)
{
    uint8_t buffer[4][16] = {{0}};
    struct mcomp_range ranges[] = {
        {MCOMP_RANGE_READ, 0, 16, buffer[0]},
        {MCOMP_RANGE_WRITE, K + 5, 16, buffer[1]},
        {MCOMP_RANGE_WRITE, 200, 16, buffer[2]},
        {MCOMP_RANGE_READ, 216, 16, buffer[3]},
    };
    (void)state;
    fixture_connect();
    GROWING_TIME_OUT(ms, fixture.error.spans[1].outcome == MCOMP_DONE) { /* until node 1 has answered in time */
        fake_server_release(server(0), false);
        assert_connection_is_alive();
        SCRIPT(0, {.action = FAKE_HOLD});
        fixture_stop_clock(0, 1);
        assert_int_equal(mcomp_multi(fixture.grid, ranges, 4, ms, &fixture.error), MCOMP_DEADLINE_EXCEEDED);
        assert_int_equal(fixture.error.span_count, 4);
    }
    assert_span(&fixture.error, 0, 0, 16, MCOMP_NOT_DONE);
    assert_span(&fixture.error, 1, K + 5, 16, MCOMP_DONE);
    assert_span(&fixture.error, 2, 200, 16, MCOMP_MAYBE);
    assert_span(&fixture.error, 3, 216, 16, MCOMP_NOT_DONE);
    memset(buffer, 0x5a, sizeof buffer);
    fake_server_release(server(0), false);
    assert_connection_is_alive();
    assert_int_equal(buffer[0][0], 0x5a);
    assert_int_equal(buffer[3][15], 0x5a);
}

/* Is node 1 the only one that was late, and with all of its part? */
static bool is_node_1_alone(const struct mcomp_error *error)
{
    return error->node == 1 && error->span_count == 3 && error->spans[1].address == K && error->spans[1].length == K;
}

static void spans_name_the_node_that_was_late(void **state)
{
    uint8_t *data = calloc(1, NODES * K);
    (void)state;
    fixture_connect();
    GROWING_TIME_OUT(ms, is_node_1_alone(&fixture.error)) { /* until there was time for the others */
        uint64_t value;
        fake_server_release(server(1), false);
        ASSERT_OK(mcomp_fetch_add(fixture.grid, K + 8, 1, &value, 0, &fixture.error)); /* what was released has come */
        SCRIPT(1, {.action = FAKE_HOLD, .times = K / MAX_MESSAGE}); /* as many as come, and none is left for the next call */
        fixture_stop_clock(1, K / MAX_MESSAGE);
        assert_int_equal(mcomp_write(fixture.grid, 10, data, NODES * K - 20, ms, &fixture.error), MCOMP_DEADLINE_EXCEEDED);
    }
    assert_int_equal(fixture.error.node, 1);
    assert_int_equal(fixture.error.span_count, 3);
    assert_span(&fixture.error, 0, 10, K - 10, MCOMP_DONE);
    assert_span(&fixture.error, 1, K, K, MCOMP_MAYBE);
    assert_span(&fixture.error, 2, 2 * K, K - 10, MCOMP_DONE);
    free(data);
}

/* The node stops reading: part of the call is sent, part of a frame is, and part is not. Afterwards the caller's memory is gone, and the
 * rest of the frame must still be right. */
static void backpressure_and_a_frame_sent_in_part(void **state)
{
    uint8_t *data = malloc(K);
    (void)state;
    fixture_connect();
    fixture_fill(data, K, 11);
    fake_server_pause(server(0), true);
    GROWING_TIME_OUT(ms, fixture.error.spans[0].outcome == MCOMP_MAYBE) /* until there was time to send some of it */
        assert_int_equal(mcomp_write(fixture.grid, 0, data, K, ms, &fixture.error), MCOMP_DEADLINE_EXCEEDED);
    assert_int_equal(fixture.error.span_count, 2); /* the sockets hold at most 4 MiB (tcp_wmem) and a little */
    assert_int_equal(fixture.error.spans[0].outcome, MCOMP_MAYBE);
    uint64_t maybe = fixture.error.spans[0].length;
    assert_span(&fixture.error, 1, maybe, K - maybe, MCOMP_NOT_DONE);
    assert_int_equal(maybe % MAX_MESSAGE, 0);
    explicit_bzero(data, K); /* not memset: that need not happen before free */
    free(data);
    fake_server_pause(server(0), false);
    assert_connection_is_alive();
    /* What may have happened has happened, byte by byte; the rest has not, and never will. */
    uint8_t *there = malloc(K), *expected = malloc(K);
    fake_server_peek(server(0), 0, there, K);
    fixture_fill(expected, K, 11);
    expected[64] = there[64]; /* the word that assert_connection_is_alive() counts in */
    assert_memory_equal(there, expected, maybe);
    for (uint64_t i = maybe; i < K; i++)
        assert_int_equal(there[i], 0);
    free(there);
    free(expected);
}

static void unsent_pieces_are_withdrawn(void **state)
{
    struct mcomp_queue *queue;
    struct record first = {0}, second = {0};
    uint8_t *data = calloc(1, 2 * K), small[64] = {0};
    (void)state;
    ASSERT_OK(mcomp_queue_open(fixture.grid, &queue, &fixture.error));
    ASSERT_OK(mcomp_queue_read(queue, 0, small, 1, 0, record_completion, &first, &fixture.error));
    run_all(queue);
    fake_server_pause(server(0), true);
    ASSERT_OK(mcomp_queue_write(queue, 0, data, K, MCOMP_NO_TIMEOUT, record_completion, &first, &fixture.error));
    mcomp_queue_flush(queue); /* until the socket takes no more */
    ASSERT_OK(mcomp_queue_write(queue, 1000, small, sizeof small, SHORT_MS, record_completion, &second, &fixture.error));
    while (second.count == 0)
        mcomp_queue_run(queue, -1);
    assert_int_equal(second.status, MCOMP_DEADLINE_EXCEEDED);
    assert_one_span(&second.error, 1000, sizeof small, MCOMP_NOT_DONE);
    assert_int_equal(first.count, 1);
    fake_server_pause(server(0), false);
    run_all(queue);
    assert_int_equal(first.count, 2);
    assert_int_equal(first.status, MCOMP_OK);
    assert_int_equal(second.count, 1);
    assert_int_equal(fake_server_connections(server(0)), 1);
    assert_int_equal(fake_server_requests(server(0)), 1 + K / MAX_MESSAGE); /* the withdrawn write never came */
    mcomp_queue_close(queue);
    free(data);
}

static void the_node_learns_the_time_left(void **state)
{
    struct mcomp *grid;
    uint8_t byte;
    (void)state;
    ASSERT_OK(mcomp_open(&grid, fixture.fake.config_path, NULL, &fixture.error));
    ASSERT_OK(mcomp_read(grid, 0, &byte, 1, 30000, &fixture.error));
    ASSERT_OK(mcomp_read(grid, 0, &byte, 1, MCOMP_NO_TIMEOUT, &fixture.error));
    fixture_stop_clock(0, 1);
    ASSERT_OK(mcomp_read(grid, 0, &byte, 1, MCOMP_TIMEOUT_DEFAULT, &fixture.error));
    assert_in_range(fake_server_seen(server(0), 0).timeout_ms, 1, 30000);
    assert_int_equal(fake_server_seen(server(0), 1).timeout_ms, 0);
    assert_in_range(fake_server_seen(server(0), 2).timeout_ms, 1, 10000);
    mcomp_close(grid);
}

static void node_that_gave_up_did_nothing(void **state)
{
    uint8_t byte = 0;
    (void)state;
    SCRIPT(0, {.action = FAKE_STATUS, .status = MCOMP_DEADLINE_EXCEEDED});
    assert_int_equal(mcomp_write(fixture.grid, 0, &byte, 1, 0, &fixture.error), MCOMP_DEADLINE_EXCEEDED);
    assert_one_span(&fixture.error, 0, 1, MCOMP_NOT_DONE);
}

static void all_sessions_busy(void **state)
{
    struct mcomp_options options = {.max_sessions = 1, .timeout_ms = SHORT_MS, .connect_timeout_ms = PATIENCE_MS};
    struct mcomp *grid;
    struct mcomp_node_status status;
    uint8_t bytes[2 * 8] = {0};
    (void)state;
    ASSERT_OK(mcomp_open(&grid, fixture.fake.config_path, &options, &fixture.error));
    ASSERT_OK(mcomp_read(grid, 0, bytes, sizeof bytes, PATIENCE_MS, &fixture.error));
    SCRIPT(0, {.action = FAKE_IGNORE, .times = 2});
    /* The default time-out is the handle's, and a call that failed gives its session back. */
    for (int i = 0; i < 2; i++) {
        fixture_stop_clock(0, 1);
        assert_int_equal(mcomp_read(grid, 0, bytes, sizeof bytes, 0, &fixture.error), MCOMP_DEADLINE_EXCEEDED);
    }
    ASSERT_OK(mcomp_node_status(grid, 0, &status, PATIENCE_MS, &fixture.error));
    assert_int_equal(fake_server_connections(server(0)), 1);
    mcomp_close(grid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(read_that_times_out_changed_nothing),
        FIXTURE_TEST(half_received_read_is_diverted),
        FIXTURE_TEST(write_that_was_sent_is_unknown),
        FIXTURE_TEST(add_and_swap_that_were_sent_are_unknown),
        FIXTURE_TEST(multi_tells_reads_from_writes),
        FIXTURE_TEST(spans_name_the_node_that_was_late),
        FIXTURE_TEST(backpressure_and_a_frame_sent_in_part),
        FIXTURE_TEST(unsent_pieces_are_withdrawn),
        FIXTURE_TEST(the_node_learns_the_time_left),
        FIXTURE_TEST(node_that_gave_up_did_nothing),
        FIXTURE_TEST(all_sessions_busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
