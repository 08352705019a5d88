/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: any number of threads use one handle at once, with fewer sessions than threads too. Method: counters that must come out right. */
#include "fixture.h"

#include <pthread.h>
#include <string.h>

#define THREADS 8u
#define ROUNDS 100u

static struct fake_server *server(uint32_t node)
{
    return fixture.fake.servers[node];
}

struct worker {
    pthread_t thread;
    struct mcomp *grid;
    unsigned number, failed;
};

static void *work(void *arg)
{
    struct worker *worker = arg;
    struct mcomp_error error;
    uint8_t out[100], in[100];
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t mine = 4096 + worker->number * 200, value;
        fixture_fill(out, sizeof out, worker->number * 1000 + i);
        worker->failed += mcomp_fetch_add(worker->grid, i % NODES * K, 1, &value, 0, &error) != MCOMP_OK;
        worker->failed += mcomp_write(worker->grid, K - 2000 + mine, out, sizeof out, 0, &error) != MCOMP_OK;
        worker->failed += mcomp_read(worker->grid, K - 2000 + mine, in, sizeof in, 0, &error) != MCOMP_OK;
        worker->failed += memcmp(in, out, sizeof in) != 0;
    }
    return NULL;
}

static void run_workers(struct mcomp *grid)
{
    struct worker workers[THREADS];
    uint64_t total = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.grid = grid, .number = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_int_equal(workers[i].failed, 0);
    }
    for (uint32_t i = 0; i < NODES; i++) {
        uint64_t value;
        ASSERT_OK(mcomp_fetch_add(grid, i * K, 0, &value, 0, &fixture.error));
        total += value;
    }
    assert_int_equal(total, THREADS * ROUNDS);
}

static void many_threads_many_sessions(void **state)
{
    (void)state;
    run_workers(fixture.grid);
    assert_true(fake_server_connections(server(0)) <= THREADS);
}

static void many_threads_two_sessions(void **state)
{
    struct mcomp_options options = {.max_sessions = 2, .timeout_ms = PATIENCE_MS, .connect_timeout_ms = PATIENCE_MS};
    struct mcomp *grid;
    (void)state;
    ASSERT_OK(mcomp_open(&grid, fixture.fake.config_path, &options, &fixture.error));
    run_workers(grid);
    assert_true(fake_server_connections(server(0)) <= 2);
    mcomp_close(grid);
}

static void many_threads_through_lost_connections(void **state)
{
    struct worker workers[THREADS];
    (void)state;
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.grid = fixture.grid, .number = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 1; i <= 5; i++) {
        assert_true(fake_server_wait_requests(server(1), i * 20));
        fake_server_drop_all(server(1), false);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(workers[i].thread, NULL);
    uint64_t value;
    ASSERT_OK(mcomp_fetch_add(fixture.grid, K, 0, &value, 0, &fixture.error));
}

struct waiter {
    pthread_t thread;
    struct mcomp *grid;
    enum mcomp_status status;
    struct mcomp_error error;
};

static void *wait_for_answer(void *arg)
{
    struct waiter *waiter = arg;
    uint8_t byte;
    waiter->status = mcomp_read(waiter->grid, 0, &byte, 1, MCOMP_NO_TIMEOUT, &waiter->error);
    return NULL;
}

/* The only session is taken by a call that waits for ever; another call does not. */
static void call_that_finds_no_session_times_out(void **state)
{
    struct mcomp_options options = {.max_sessions = 1, .timeout_ms = PATIENCE_MS, .connect_timeout_ms = PATIENCE_MS};
    struct waiter waiter = {0};
    uint8_t bytes[32];
    (void)state;
    ASSERT_OK(mcomp_open(&waiter.grid, fixture.fake.config_path, &options, &fixture.error));
    SCRIPT(0, {.action = FAKE_HOLD});
    assert_int_equal(pthread_create(&waiter.thread, NULL, wait_for_answer, &waiter), 0);
    assert_true(fake_server_wait_requests(server(0), 1));
    assert_int_equal(mcomp_write(waiter.grid, K - 16, bytes, sizeof bytes, 30, &fixture.error), MCOMP_DEADLINE_EXCEEDED);
    assert_contains(fixture.error.text, "session");
    assert_one_span(&fixture.error, K - 16, 32, MCOMP_NOT_DONE);
    struct mcomp_range ranges[] = {{MCOMP_RANGE_READ, 5, 1, bytes}, {MCOMP_RANGE_READ, 50, 1, bytes}};
    assert_int_equal(mcomp_multi(waiter.grid, ranges, 2, 30, &fixture.error), MCOMP_DEADLINE_EXCEEDED);
    assert_int_equal(fixture.error.span_count, 2);
    fake_server_release(server(0), false);
    pthread_join(waiter.thread, NULL);
    assert_int_equal(waiter.status, MCOMP_OK);
    ASSERT_OK(mcomp_read(waiter.grid, 0, bytes, 1, 0, &fixture.error));
    assert_int_equal(fake_server_connections(server(0)), 1);
    mcomp_close(waiter.grid);
}

static void *own_queue(void *arg)
{
    struct worker *worker = arg;
    struct mcomp_queue *queue;
    struct mcomp_error error;
    static _Thread_local struct record records[ROUNDS];
    if (mcomp_queue_open(worker->grid, &queue, &error) != MCOMP_OK) {
        worker->failed++;
        return NULL;
    }
    for (unsigned i = 0; i < ROUNDS; i++)
        worker->failed += mcomp_queue_fetch_add(queue, i % NODES * K, 1, 0, record_completion, &records[i], &error) != MCOMP_OK;
    while (mcomp_queue_pending(queue) > 0)
        mcomp_queue_run(queue, -1);
    for (unsigned i = 0; i < ROUNDS; i++)
        worker->failed += records[i].count != 1 || records[i].status != MCOMP_OK;
    mcomp_queue_close(queue);
    return NULL;
}

static void one_queue_for_each_thread(void **state)
{
    struct worker workers[THREADS];
    uint64_t value, total = 0;
    (void)state;
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.grid = fixture.grid, .number = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, own_queue, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        assert_int_equal(workers[i].failed, 0);
    }
    for (uint32_t i = 0; i < NODES; i++) {
        ASSERT_OK(mcomp_fetch_add(fixture.grid, i * K, 0, &value, 0, &fixture.error));
        total += value;
    }
    assert_int_equal(total, THREADS * ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(many_threads_many_sessions),
        FIXTURE_TEST(many_threads_two_sessions),
        FIXTURE_TEST(many_threads_through_lost_connections),
        FIXTURE_TEST(call_that_finds_no_session_times_out),
        FIXTURE_TEST(one_queue_for_each_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
