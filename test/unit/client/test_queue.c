/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: the asynchronous interface keeps its promises: one callback for each submission, from where it is allowed, in any order of answers,
 * and a descriptor that is readable when there is something to do. Method: fake servers; a poll loop of the test's own. */
#include "fixture.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

static struct mcomp_queue *queue;

static struct fake_server *server(uint32_t node)
{
    return fixture.fake.servers[node];
}

static int setup(void **state)
{
    if (fixture_setup(state) != 0)
        return -1;
    return mcomp_queue_open(fixture.grid, &queue, &fixture.error) == MCOMP_OK ? 0 : -1;
}

static int teardown(void **state)
{
    mcomp_queue_close(queue);
    return fixture_teardown(state);
}

#define QUEUE_TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

static void submitting_does_not_call_back(void **state)
{
    struct record record = {0};
    uint8_t byte;
    (void)state;
    ASSERT_OK(mcomp_queue_read(queue, 0, &byte, 1, 0, record_completion, &record, &fixture.error));
    ASSERT_OK(mcomp_queue_write(queue, 0, NULL, 0, 0, record_completion, &record, &fixture.error)); /* nothing to do, yet it is called back */
    assert_int_equal(mcomp_queue_pending(queue), 2);
    mcomp_queue_flush(queue);
    assert_int_equal(record.count, 0);
    assert_int_equal(mcomp_queue_run(queue, 0), 1);
    assert_int_equal(record.count, 1);
    run_all(queue);
    assert_int_equal(record.count, 2);
    assert_int_equal(record.status, MCOMP_OK);
    assert_int_equal(mcomp_queue_run(queue, -1), 0); /* none is pending: no wait */
}

static void refused_submissions_do_not_call_back(void **state)
{
    struct record record = {0};
    uint8_t bytes[8];
    struct mcomp_range range = {MCOMP_RANGE_READ, NODES * K, 1, bytes};
    (void)state;
    assert_int_equal(mcomp_queue_read(queue, NODES * K, bytes, 1, 0, record_completion, &record, &fixture.error), MCOMP_OUT_OF_RANGE);
    assert_int_equal(mcomp_queue_write(queue, NODES * K, bytes, 1, 0, record_completion, &record, NULL), MCOMP_OUT_OF_RANGE);
    assert_int_equal(mcomp_queue_fetch_add(queue, K - 1, 1, 0, record_completion, &record, &fixture.error), MCOMP_INVALID_ARGUMENT);
    assert_int_equal(mcomp_queue_compare_and_swap(queue, K - 1, 1, 1, 0, record_completion, &record, NULL), MCOMP_INVALID_ARGUMENT);
    assert_int_equal(mcomp_queue_multi(queue, &range, 1, 0, record_completion, &record, &fixture.error), MCOMP_OUT_OF_RANGE);
    assert_int_equal(mcomp_queue_pending(queue), 0);
    assert_int_equal(mcomp_queue_run(queue, 0), 0);
    assert_int_equal(record.count, 0);
}

static void answers_in_any_order(void **state)
{
    enum { COUNT = 200 };
    static struct record records[COUNT];
    static uint8_t in[COUNT][100], out[COUNT * 100];
    (void)state;
    memset(records, 0, sizeof records);
    fixture_fill(out, sizeof out, 12);
    fake_server_poke(server(0), 0, out, sizeof out);
    for (int reversed = 0; reversed < 2; reversed++) {
        SCRIPT(0, {.action = FAKE_HOLD, .times = COUNT});
        for (size_t i = 0; i < COUNT; i++)
            ASSERT_OK(mcomp_queue_read(queue, i * 100, in[i], 100, 0, record_completion, &records[i], &fixture.error));
        mcomp_queue_flush(queue);
        while (fake_server_requests(server(0)) < (unsigned)(reversed + 1) * COUNT)
            assert_int_equal(mcomp_queue_run(queue, 1), 0);
        fake_server_release(server(0), reversed);
        run_all(queue);
        for (size_t i = 0; i < COUNT; i++) {
            assert_int_equal(records[i].count, reversed + 1);
            assert_int_equal(records[i].status, MCOMP_OK);
            assert_memory_equal(in[i], out + i * 100, 100);
        }
        memset(in, 0, sizeof in);
    }
    assert_int_equal(fake_server_connections(server(0)), 1);
}

static void values_of_words(void **state)
{
    struct record add = {0}, swap = {0}, again = {0};
    (void)state;
    ASSERT_OK(mcomp_queue_fetch_add(queue, K + 8, 5, 0, record_completion, &add, &fixture.error));
    run_all(queue);
    ASSERT_OK(mcomp_queue_compare_and_swap(queue, K + 8, 5, 6, 0, record_completion, &swap, &fixture.error));
    run_all(queue);
    ASSERT_OK(mcomp_queue_compare_and_swap(queue, K + 8, 5, 7, 0, record_completion, &again, &fixture.error));
    run_all(queue);
    assert_int_equal(add.value, 0);
    assert_int_equal(swap.value, 5);
    assert_int_equal(again.value, 6);
    assert_int_equal(again.status, MCOMP_OK);
}

static void multi_copies_the_array_of_ranges(void **state)
{
    struct record record = {0};
    uint8_t in[4] = {0};
    struct mcomp_range *range = malloc(sizeof *range);
    (void)state;
    fake_server_poke(server(2), 0, "four", 4);
    *range = (struct mcomp_range){MCOMP_RANGE_READ, 2 * K, 4, in};
    ASSERT_OK(mcomp_queue_multi(queue, range, 1, 0, record_completion, &record, &fixture.error));
    free(range);
    ASSERT_OK(mcomp_queue_multi(queue, NULL, 0, 0, record_completion, &record, &fixture.error));
    run_all(queue);
    assert_int_equal(record.count, 2);
    assert_memory_equal(in, "four", 4);
}

struct chain {
    unsigned left, called;
    uint8_t byte;
};

static void submit_next(void *arg, const struct mcomp_completion *completion)
{
    struct chain *chain = arg;
    assert_int_equal(completion->status, MCOMP_OK);
    chain->called++;
    assert_int_equal(mcomp_queue_run(queue, -1), 0); /* not from a callback: does nothing */
    if (chain->left-- > 0)
        ASSERT_OK(mcomp_queue_read(queue, chain->left % 3 * K, &chain->byte, chain->left % 2, 0, submit_next, chain, &fixture.error));
    if (chain->left % 5 == 0)
        mcomp_queue_flush(queue);
}

static void callbacks_may_submit_more(void **state)
{
    struct chain one = {.left = 300}, other = {.left = 200};
    (void)state;
    ASSERT_OK(mcomp_queue_read(queue, 0, &one.byte, 1, 0, submit_next, &one, &fixture.error));
    ASSERT_OK(mcomp_queue_read(queue, 1, &other.byte, 1, 0, submit_next, &other, &fixture.error));
    run_all(queue);
    assert_int_equal(one.called, 301);
    assert_int_equal(other.called, 201);
}

/* What an event loop does: sleep on the descriptor without bound, then run without waiting. */
static size_t loop_once(void)
{
    struct pollfd poll_fd = {.fd = mcomp_queue_fd(queue), .events = POLLIN};
    assert_int_equal(poll(&poll_fd, 1, PATIENCE_MS), 1);
    return mcomp_queue_run(queue, 0);
}

static void descriptor_wakes_for_answers(void **state)
{
    struct chain chain = {.left = 100};
    (void)state;
    ASSERT_OK(mcomp_queue_read(queue, 0, &chain.byte, 1, 0, submit_next, &chain, &fixture.error));
    mcomp_queue_flush(queue);
    while (mcomp_queue_pending(queue) > 0)
        loop_once();
    assert_int_equal(chain.called, 101);
}

/** A queue on which no timer is set: one connection, and attempts to connect that may take minutes. */
static struct mcomp *open_without_timers(void)
{
    struct mcomp *grid;
    static struct record connected;
    static uint8_t byte;
    ASSERT_OK(mcomp_open(&grid, fixture.fake.config_path, &fixture_options, &fixture.error));
    mcomp_queue_close(queue);
    ASSERT_OK(mcomp_queue_open(grid, &queue, &fixture.error));
    ASSERT_OK(mcomp_queue_read(queue, 0, &byte, 1, MCOMP_NO_TIMEOUT, record_completion, &connected, &fixture.error));
    run_all(queue);
    return grid;
}

static void close_without_timers(struct mcomp *grid)
{
    mcomp_queue_close(queue);
    queue = NULL;
    mcomp_close(grid);
}

static bool is_readable(void)
{
    struct pollfd poll_fd = {.fd = mcomp_queue_fd(queue), .events = POLLIN};
    return poll(&poll_fd, 1, 0) != 0;
}

static void descriptor_wakes_for_time_outs(void **state)
{
    struct record late = {0}, early = {0};
    uint8_t byte;
    struct mcomp *grid = open_without_timers();
    (void)state;
    SCRIPT(0, {.action = FAKE_IGNORE, .times = 2});
    ASSERT_OK(mcomp_queue_read(queue, 0, &byte, 1, PATIENCE_MS, record_completion, &late, &fixture.error));
    mcomp_queue_flush(queue); /* the timer is set for the later one first */
    ASSERT_OK(mcomp_queue_read(queue, 0, &byte, 1, SHORT_MS, record_completion, &early, &fixture.error));
    mcomp_queue_flush(queue);
    while (early.count == 0)
        loop_once();
    assert_int_equal(early.status, MCOMP_DEADLINE_EXCEEDED);
    assert_int_equal(late.count, 0);
    mcomp_queue_run(queue, 0);
    assert_false(is_readable()); /* or an event loop would turn without end */
    close_without_timers(grid);
}

struct retry {
    unsigned called;
    uint8_t byte;
};

static void retry_once(void *arg, const struct mcomp_completion *completion)
{
    struct retry *retry = arg;
    assert_int_equal(completion->status, retry->called == 0 ? MCOMP_OK : MCOMP_DEADLINE_EXCEEDED);
    if (retry->called++ < 2)
        ASSERT_OK(mcomp_queue_read(queue, 0, &retry->byte, 1, SHORT_MS, retry_once, retry, &fixture.error));
}

/* Time-outs of what callbacks submit, of an answer first and of a time-out then, are seen to without another call. */
static void descriptor_wakes_for_time_outs_of_callbacks(void **state)
{
    struct retry retry = {0};
    struct mcomp *grid = open_without_timers();
    (void)state;
    SCRIPT(0, {.action = FAKE_ANSWER}, {.action = FAKE_IGNORE, .times = 2});
    ASSERT_OK(mcomp_queue_read(queue, 0, &retry.byte, 1, MCOMP_NO_TIMEOUT, retry_once, &retry, &fixture.error));
    mcomp_queue_flush(queue);
    while (retry.called < 3)
        loop_once();
    close_without_timers(grid);
}

/* A caller that was busy with other things for longer than the time-out gets the answer that came meanwhile. */
static void answer_that_has_come_is_not_late(void **state)
{
    struct record record = {0};
    uint8_t byte;
    (void)state;
    ASSERT_OK(mcomp_queue_read(queue, 0, &byte, 1, 0, record_completion, &record, &fixture.error)); /* connect */
    run_all(queue);
    ASSERT_OK(mcomp_queue_read(queue, 0, &byte, 1, SHORT_MS, record_completion, &record, &fixture.error));
    mcomp_queue_flush(queue);
    uint64_t late_ns = clock_mono_ns() + 2 * SHORT_MS * 1000000u;
    while (clock_mono_ns() < late_ns)
        ASSERT_OK(mcomp_read(fixture.grid, 0, &byte, 1, 0, &fixture.error)); /* the server answers one after the other */
    mcomp_queue_run(queue, 0);
    assert_int_equal(record.count, 2);
    assert_int_equal(record.status, MCOMP_OK);
}

static void descriptor_wakes_for_reconnects(void **state)
{
    struct record record = {0};
    uint8_t byte;
    (void)state;
    fake_server_hello(server(0), &(struct fake_hello){.status = MCOMP_UNAVAILABLE});
    ASSERT_OK(mcomp_queue_read(queue, 0, &byte, 1, MCOMP_NO_TIMEOUT, record_completion, &record, &fixture.error));
    mcomp_queue_flush(queue);
    while (fake_server_connections(server(0)) < 3)
        loop_once();
    fake_server_hello(server(0), &(struct fake_hello){0});
    while (mcomp_queue_pending(queue) > 0)
        loop_once();
    assert_int_equal(record.status, MCOMP_OK);
}

static void descriptor_wakes_for_nothing_to_do(void **state)
{
    struct record record = {0};
    (void)state;
    ASSERT_OK(mcomp_queue_read(queue, 0, NULL, 0, 0, record_completion, &record, &fixture.error));
    mcomp_queue_flush(queue);
    while (record.count == 0)
        loop_once();
    assert_int_equal(record.status, MCOMP_OK);
}

/* A long call does not fill a connection: so much is under way and no more, and a short one behind it has its turn. */
static void long_calls_are_sent_by_and_by(void **state)
{
    struct record records[3] = {{0}}, short_one = {0};
    uint8_t *in = malloc(3 * K), small[8];
    (void)state;
    SCRIPT(0, {.action = FAKE_HOLD, .times = 16});
    for (size_t i = 0; i < 3; i++)
        ASSERT_OK(mcomp_queue_read(queue, 0, in + i * K, K, 0, record_completion, &records[i], &fixture.error));
    ASSERT_OK(mcomp_queue_read(queue, 4096, small, sizeof small, 0, record_completion, &short_one, &fixture.error));
    while (fake_server_requests(server(0)) == 0)
        assert_int_equal(mcomp_queue_run(queue, 1), 0);
    assert_true(fake_server_wait_requests(server(0), 16));
    assert_int_equal(fake_server_requests(server(0)), 16); /* 16 MiB */
    bool has_had_its_turn = false;
    for (unsigned i = 0; i < 5; i++)
        has_had_its_turn |= fake_server_seen(server(0), i).length == sizeof small;
    assert_true(has_had_its_turn);
    fake_server_release(server(0), false);
    run_all(queue);
    assert_int_equal(fake_server_requests(server(0)), 3 * K / MAX_MESSAGE + 1);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(records[i].status, MCOMP_OK);
    assert_int_equal(short_one.status, MCOMP_OK);
    free(in);
}

/* The socket takes part of a batch, again and again: every byte of every write arrives, each in its place. */
static void batches_that_are_sent_in_part(void **state)
{
    enum { COUNT = 400, BYTES = 20000 };
    static struct record records[COUNT];
    uint8_t *data = malloc(COUNT * BYTES), *there = malloc(COUNT * BYTES);
    (void)state;
    memset(records, 0, sizeof records);
    fixture_fill(data, COUNT * BYTES, 33);
    ASSERT_OK(mcomp_queue_read(queue, 0, there, 1, 0, record_completion, &records[0], &fixture.error));
    run_all(queue);
    for (size_t i = 0; i < COUNT; i++) {
        struct mcomp_range range = {MCOMP_RANGE_WRITE, i * BYTES, BYTES, data + i * BYTES};
        if (i % 3 == 0)
            ASSERT_OK(mcomp_queue_multi(queue, &range, 1, 0, record_completion, &records[i], &fixture.error));
        else
            ASSERT_OK(mcomp_queue_write(queue, i * BYTES, range.buffer, BYTES, 0, record_completion, &records[i], &fixture.error));
    }
    fake_server_pause(server(0), true);
    mcomp_queue_flush(queue);
    fake_server_pause(server(0), false);
    run_all(queue);
    fake_server_peek(server(0), 0, there, COUNT * BYTES);
    assert_memory_equal(there, data, COUNT * BYTES);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(records[i].count, i == 0 ? 2 : 1);
        assert_int_equal(records[i].status, MCOMP_OK);
    }
    free(data);
    free(there);
}

static void closing_cancels(void **state)
{
    struct record sent_read = {0}, sent_write = {0}, unsent = {0}, unreachable = {0}, nothing = {0};
    struct mcomp_queue *other;
    uint8_t bytes[8] = {0};
    (void)state;
    ASSERT_OK(mcomp_queue_open(fixture.grid, &other, &fixture.error));
    fake_server_drop_all(server(2), true);
    SCRIPT(0, {.action = FAKE_IGNORE, .times = 2});
    ASSERT_OK(mcomp_queue_read(other, 0, bytes, 8, 0, record_completion, &sent_read, &fixture.error));
    ASSERT_OK(mcomp_queue_write(other, 8, bytes, 8, MCOMP_NO_TIMEOUT, record_completion, &sent_write, &fixture.error));
    ASSERT_OK(mcomp_queue_write(other, 2 * K, bytes, 8, 0, record_completion, &unreachable, &fixture.error));
    while (fake_server_requests(server(0)) < 2)
        mcomp_queue_run(other, 1);
    ASSERT_OK(mcomp_queue_write(other, K, bytes, 8, 0, record_completion, &unsent, &fixture.error));
    ASSERT_OK(mcomp_queue_write(other, K, bytes, 0, 0, record_completion, &nothing, &fixture.error));
    mcomp_queue_close(other);
    const struct record *records[] = {&sent_read, &sent_write, &unsent, &unreachable};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(records[i]->count, 1);
        assert_int_equal(records[i]->status, MCOMP_CANCELLED);
    }
    assert_one_span(&sent_read.error, 0, 8, MCOMP_NOT_DONE);
    assert_one_span(&sent_write.error, 8, 8, MCOMP_MAYBE);
    assert_one_span(&unsent.error, K, 8, MCOMP_NOT_DONE);
    assert_one_span(&unreachable.error, 2 * K, 8, MCOMP_NOT_DONE);
    assert_int_equal(nothing.count, 1);
}

static struct mcomp_queue *closing;

static void submit_while_closing(void *arg, const struct mcomp_completion *completion)
{
    struct record record = {0};
    uint8_t byte;
    record_completion(arg, completion);
    assert_int_equal(mcomp_queue_read(closing, 0, &byte, 1, 0, record_completion, &record, NULL), MCOMP_CANCELLED);
    mcomp_queue_flush(closing); /* nor are those sent that will be cancelled next */
    assert_int_equal(mcomp_queue_run(closing, 0), 0);
}

static void closing_accepts_nothing_more(void **state)
{
    struct record connect = {0}, records[3] = {{0}};
    uint8_t byte;
    (void)state;
    ASSERT_OK(mcomp_queue_open(fixture.grid, &closing, &fixture.error));
    ASSERT_OK(mcomp_queue_read(closing, 0, &byte, 1, 0, record_completion, &connect, &fixture.error));
    run_all(closing);
    for (size_t i = 0; i < 3; i++)
        ASSERT_OK(mcomp_queue_fetch_add(closing, 0, 1, 0, submit_while_closing, &records[i], &fixture.error));
    mcomp_queue_close(closing);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(records[i].count, 1);
        assert_int_equal(records[i].status, MCOMP_CANCELLED);
        assert_one_span(&records[i].error, 0, 8, MCOMP_NOT_DONE);
    }
    assert_int_equal(fake_server_requests(server(0)), 1);
}

/* Everything at once on one queue, with connections lost and answers refused in the middle: each submission has its one callback. */
static void one_callback_each_in_disorder(void **state)
{
    enum { COUNT = 3000 };
    static struct record records[COUNT];
    static uint8_t bytes[COUNT][32];
    (void)state;
    memset(records, 0, sizeof records);
    SCRIPT(0, {FAKE_ANSWER, 100, 0}, {FAKE_DROP, 1, 0}, {FAKE_ANSWER, 50, 0}, {FAKE_STATUS, 20, MCOMP_RESOURCE_EXHAUSTED}, {FAKE_HALF, 1, 0},
           {FAKE_ANSWER, 70, 0}, {FAKE_GARBAGE, 1, 0}, {FAKE_TWICE, 1, 0}, {FAKE_DROP_AFTER, 1, 0});
    SCRIPT(1, {FAKE_ANSWER, 300, 0}, {FAKE_WRONG_KIND, 1, 0}, {FAKE_ANSWER, 10, 0}, {FAKE_IGNORE, 5, 0});
    SCRIPT(2, {FAKE_HALF, 3, 0}, {FAKE_STATUS, 3, MCOMP_UNAVAILABLE}, {FAKE_ANSWER, 200, 0}, {FAKE_MALFORMED, 1, 0});
    for (size_t i = 0; i < COUNT; i++) {
        uint64_t address = i % 3 * K + i * 40;
        struct mcomp_range range = {MCOMP_RANGE_READ, address, 32, bytes[i]};
        enum mcomp_status status = MCOMP_OK;
        uint32_t timeout_ms = i < 60 ? PATIENCE_MS : 500; /* the first are answered, however late */
        switch (i % 7) {
        case 0:
        case 1:
            status = mcomp_queue_read(queue, address, bytes[i], 32, timeout_ms, record_completion, &records[i], &fixture.error);
            break;
        case 2:
        case 3:
            status = mcomp_queue_write(queue, address, bytes[i], 32, timeout_ms, record_completion, &records[i], &fixture.error);
            break;
        case 4:
            status = mcomp_queue_fetch_add(queue, address, 1, timeout_ms, record_completion, &records[i], &fixture.error);
            break;
        case 5:
            status = mcomp_queue_multi(queue, &range, 1, timeout_ms, record_completion, &records[i], &fixture.error);
            break;
        default:
            status = mcomp_queue_read(queue, i % 2 * K + K - 16, bytes[i], 32, timeout_ms, record_completion, &records[i], &fixture.error);
            break;
        }
        ASSERT_OK(status);
        if (i % 100 == 0)
            mcomp_queue_run(queue, 0);
    }
    run_all(queue);
    unsigned good = 0;
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(records[i].count, 1);
        good += records[i].status == MCOMP_OK;
    }
    assert_true(good > 0);
}

/* However much is wanted, what is under way on a connection is bounded; the rest follows as answers come. */
static void window_bounds_what_is_under_way(void **state)
{
    enum { COUNT = 48 };
    struct record record = {0};
    uint8_t *bytes = malloc(K);
    (void)state;
    SCRIPT(0, {.action = FAKE_HOLD, .times = 16});
    for (unsigned i = 0; i < COUNT; i++) /* into the same memory */
        ASSERT_OK(mcomp_queue_read(queue, 0, bytes, MAX_MESSAGE, 0, record_completion, &record, &fixture.error));
    while (fake_server_requests(server(0)) < 16)
        mcomp_queue_run(queue, 1);
    mcomp_queue_flush(queue);
    ASSERT_OK(mcomp_queue_read(queue, K, bytes, 1, 0, record_completion, &record, &fixture.error)); /* the other node has a window of its own */
    while (record.count == 0)
        mcomp_queue_run(queue, -1);
    assert_int_equal(fake_server_requests(server(0)), 16);
    fake_server_release(server(0), true);
    run_all(queue);
    assert_int_equal(record.count, COUNT + 1);
    assert_int_equal(fake_server_requests(server(0)), COUNT);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        QUEUE_TEST(submitting_does_not_call_back),
        QUEUE_TEST(refused_submissions_do_not_call_back),
        QUEUE_TEST(answers_in_any_order),
        QUEUE_TEST(values_of_words),
        QUEUE_TEST(multi_copies_the_array_of_ranges),
        QUEUE_TEST(callbacks_may_submit_more),
        QUEUE_TEST(descriptor_wakes_for_answers),
        QUEUE_TEST(descriptor_wakes_for_time_outs),
        QUEUE_TEST(descriptor_wakes_for_time_outs_of_callbacks),
        QUEUE_TEST(answer_that_has_come_is_not_late),
        QUEUE_TEST(descriptor_wakes_for_reconnects),
        QUEUE_TEST(descriptor_wakes_for_nothing_to_do),
        QUEUE_TEST(long_calls_are_sent_by_and_by),
        QUEUE_TEST(batches_that_are_sent_in_part),
        QUEUE_TEST(closing_cancels),
        QUEUE_TEST(closing_accepts_nothing_more),
        QUEUE_TEST(one_callback_each_in_disorder),
        QUEUE_TEST(window_bounds_what_is_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
