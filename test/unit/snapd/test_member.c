/* SPDX-License-Identifier: Apache-2.0 */
/* The member thread over a segment that is made up here: this file has its own segment/capture.h, as a script for the tests. */
/* clang-format off: cmocka.h needs these before it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/log.h"
#include "segment/capture.h"
#include "snapd/exchange.h"
#include "snapd/member.h"
#include "snapd/snapd.h"
#include "wire/wire.h"

#define K (5 * SNAPSHOT_CHUNK_BYTES + SNAPSHOT_PAGE_BYTES) /* the last window has one page */
#define NODE 2u
#define LEADER 0u
#define ROUND (7u << 8 | LEADER)
#define CLIENT 5u

/* ---- the segment that is not there ---- */

static struct fake {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool exists, current, server_runs, frozen, busy;
    bool dead, dies_last; /* the capture: now, or after its last window */
    uint32_t max_round, cut_round, unfrozen, ended; /* the last two: of the last call */
    bool hold;           /* capture_window waits while this is set */
    uint32_t windows;    /* begun */
    uint32_t opens;
    uint8_t *bytes;
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void lock(void)
{
    pthread_mutex_lock(&fake.lock);
}

static void unlock(void)
{
    pthread_cond_broadcast(&fake.changed);
    pthread_mutex_unlock(&fake.lock);
}

enum mcomp_status capture_open(struct capture **capture, const char *grid, uint32_t node, uint32_t nodes, uint64_t size, struct err *err)
{
    lock();
    bool exists = fake.exists;
    fake.opens++;
    fake.current = true;
    unlock();
    assert_string_equal(grid, "g");
    assert_int_equal(node, NODE);
    assert_int_equal(nodes, 3);
    assert_int_equal(size, K);
    if (!exists)
        return err_set(err, MCOMP_NOT_FOUND, "there is no segment");
    *capture = (struct capture *)&fake;
    return MCOMP_OK;
}

void capture_close(struct capture *capture)
{
    (void)capture;
}

bool capture_is_current(const struct capture *capture)
{
    (void)capture;
    lock();
    bool current = fake.current;
    unlock();
    return current;
}

enum mcomp_status capture_freeze(struct capture *capture, uint32_t round, uint32_t lease_ms, uint32_t timeout_ms, enum capture_freeze *outcome,
                                 uint32_t *max_round, struct err *err)
{
    (void)capture;
    assert_int_equal(lease_ms, 500);
    assert_int_equal(timeout_ms, 250);
    lock();
    enum mcomp_status code = fake.server_runs ? MCOMP_OK : err_set(err, MCOMP_UNAVAILABLE, "no server runs");
    if (code == MCOMP_OK) {
        *outcome = fake.busy ? CAPTURE_BUSY : round <= fake.max_round ? CAPTURE_OLD : CAPTURE_FROZEN;
        if (*outcome == CAPTURE_FROZEN) {
            fake.max_round = round;
            fake.frozen = true;
        }
        *max_round = fake.max_round;
    }
    unlock();
    return code;
}

enum mcomp_status capture_cut(struct capture *capture, uint32_t round, uint32_t timeout_ms, bool *done, uint64_t *pause_ns, struct err *err)
{
    (void)capture;
    (void)timeout_ms;
    (void)err;
    lock();
    *done = fake.frozen && round == fake.max_round;
    *pause_ns = 1234;
    if (*done)
        fake.cut_round = round;
    fake.frozen = false;
    unlock();
    return MCOMP_OK;
}

enum mcomp_status capture_unfreeze(struct capture *capture, uint32_t round, uint32_t timeout_ms, struct err *err)
{
    (void)capture;
    (void)timeout_ms;
    (void)err;
    lock();
    fake.unfrozen = round;
    fake.frozen = false;
    unlock();
    return MCOMP_OK;
}

void capture_end(struct capture *capture, uint32_t round)
{
    (void)capture;
    lock();
    fake.ended = round;
    if (fake.cut_round == round)
        fake.cut_round = 0;
    unlock();
}

uint32_t capture_max_round(const struct capture *capture)
{
    (void)capture;
    return fake.max_round;
}

static enum mcomp_status live(uint32_t round, struct err *err)
{
    return !fake.dead && fake.cut_round == round ? MCOMP_OK : err_set(err, MCOMP_ABORTED, "the preserved pages ran out");
}

enum mcomp_status capture_window(struct capture *capture, uint32_t round, uint64_t offset, uint8_t *data, struct capture_window *window, struct err *err)
{
    (void)capture;
    lock();
    fake.windows++;
    pthread_cond_broadcast(&fake.changed);
    while (fake.hold)
        pthread_cond_wait(&fake.changed, &fake.lock);
    enum mcomp_status code = live(round, err);
    *window = (struct capture_window){0};
    uint64_t end = offset + CAPTURE_WINDOW_BYTES < K ? offset + CAPTURE_WINDOW_BYTES : K;
    for (uint64_t at = offset; at < end; at += SNAPSHOT_PAGE_BYTES) {
        if (chunk_page_is_zero(fake.bytes + at))
            continue;
        memcpy(data + window->data_bytes, fake.bytes + at, SNAPSHOT_PAGE_BYTES);
        window->data_bytes += SNAPSHOT_PAGE_BYTES;
        window->pages |= 1ull << (at - offset) / SNAPSHOT_PAGE_BYTES;
    }
    window->crc32c = crc32c(0, data, window->data_bytes);
    unlock();
    return code;
}

enum mcomp_status capture_finish(struct capture *capture, uint32_t round, struct err *err)
{
    (void)capture;
    lock();
    fake.dead |= fake.dies_last;
    enum mcomp_status code = live(round, err);
    unlock();
    return code;
}

uint64_t capture_preserved(const struct capture *capture)
{
    (void)capture;
    return 42;
}

/* ---- a process around the member ---- */

struct fixture {
    struct config config;
    struct snapd snapd;
    struct ev_loop *loop;
    struct task_list back; /* tasks that came back */
};

static void back_cb(struct ev_loop *loop, ev_async *watcher, int events)
{
    (void)events;
    struct fixture *fixture = watcher->data;
    bool stop;
    struct task_list list = inbox_take(&fixture->snapd.answers, &stop);
    for (struct task *task; (task = task_list_take(&list));)
        task_list_put(&fixture->back, task);
    if (fixture->back.first)
        ev_break(loop, EVBREAK_ALL);
}

static void start(struct fixture *fixture)
{
    struct err err;
    assert_int_equal(member_start(&fixture->snapd.member, &fixture->snapd, &err), MCOMP_OK);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct err err;
    *state = fixture;
    if (log_open("test", LOG_ERROR, NULL, &err) != MCOMP_OK)
        return -1;
    snprintf(fixture->config.grid, sizeof fixture->config.grid, "g");
    fixture->config.segment_size = K;
    fixture->config.nodes = 3;
    fixture->snapd.config = &fixture->config;
    fixture->snapd.node = NODE;
    fixture->loop = ev_loop_new(0);
    inbox_open(&fixture->snapd.answers, fixture->loop, back_cb, fixture);
    lock();
    fake.exists = fake.server_runs = true;
    fake.frozen = fake.dead = fake.dies_last = fake.busy = fake.hold = false;
    fake.max_round = 3u << 8;
    fake.cut_round = fake.unfrozen = fake.ended = fake.windows = fake.opens = 0;
    fake.bytes = calloc(1, K);
    for (size_t i = 0; i < K; i++) /* pages 3, 7, 11 … are zero, and the whole third window */
        if (i / SNAPSHOT_PAGE_BYTES % 4 != 3 && i / SNAPSHOT_CHUNK_BYTES != 2)
            fake.bytes[i] = (uint8_t)(i >> 12 ^ i * 13);
    unlock();
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    member_stop(fixture->snapd.member);
    inbox_close(&fixture->snapd.answers);
    ev_loop_destroy(fixture->loop);
    free(fake.bytes);
    free(fixture);
    return 0;
}

static void put(struct fixture *fixture, struct task model)
{
    struct task *task = malloc(sizeof *task);
    *task = model;
    if (!task->client)
        task->client = CLIENT;
    member_put(fixture->snapd.member, task);
}

static struct task *wait_back(struct fixture *fixture)
{
    while (!fixture->back.first)
        ev_run(fixture->loop, 0);
    return task_list_take(&fixture->back);
}

/** The answer to the next task that comes back. data: the frame it points into, to be freed. */
static struct exchange_response answer(struct fixture *fixture, uint64_t id, uint8_t **data)
{
    struct task *task = wait_back(fixture);
    struct exchange_response response;
    assert_int_equal(task->id, id);
    assert_non_null(task->reply);
    *data = malloc(task->reply->bytes);
    size_t at = 0, header;
    uint64_t body;
    for (uint32_t i = 0; i < task->reply->parts; i++) {
        memcpy(*data + at, task->reply->part[i].iov_base, task->reply->part[i].iov_len);
        at += task->reply->part[i].iov_len;
    }
    assert_int_equal(wire_frame_peek(*data, at, UINT64_MAX, &header, &body), WIRE_FRAME_WHOLE);
    assert_true(exchange_response_decode(&response, *data + header, (size_t)body));
    assert_int_equal(response.id, id);
    free(task->reply);
    free(task);
    return response;
}

static void expect_status(struct fixture *fixture, uint64_t id, enum mcomp_status status, const char *says)
{
    uint8_t *data;
    struct exchange_response response = answer(fixture, id, &data);
    char text[EXCHANGE_TEXT_BYTES_MAX + 1];
    snprintf(text, sizeof text, "%.*s", (int)response.text_bytes, response.text);
    assert_int_equal(response.status, status);
    assert_non_null(strstr(text, says));
    free(data);
}

static void expect_freeze(struct fixture *fixture, uint32_t round, uint64_t client, Mcomp__Snapshot__V1__FreezeResult__Outcome outcome)
{
    uint8_t *data;
    put(fixture, (struct task){.op = TASK_FREEZE, .id = 1, .round = round, .lease_ms = 500, .client = client});
    struct exchange_response response = answer(fixture, 1, &data);
    assert_int_equal(response.status, MCOMP_OK);
    Mcomp__Snapshot__V1__FreezeResult *result = mcomp__snapshot__v1__freeze_result__unpack(NULL, response.bytes, response.data);
    assert_int_equal(result->outcome, outcome);
    assert_int_equal(result->max_round, fake.max_round);
    mcomp__snapshot__v1__freeze_result__free_unpacked(result, NULL);
    free(data);
}

static void expect_cut(struct fixture *fixture, uint32_t round, bool done)
{
    uint8_t *data;
    put(fixture, (struct task){.op = TASK_CUT, .id = 2, .round = round});
    struct exchange_response response = answer(fixture, 2, &data);
    assert_int_equal(response.status, MCOMP_OK);
    Mcomp__Snapshot__V1__CutResult *result = mcomp__snapshot__v1__cut_result__unpack(NULL, response.bytes, response.data);
    assert_int_equal(result->done, done);
    assert_int_equal(result->pause_ns, done ? 1234 : 0);
    mcomp__snapshot__v1__cut_result__free_unpacked(result, NULL);
    free(data);
}

static void freeze_and_cut(struct fixture *fixture)
{
    expect_freeze(fixture, ROUND, CLIENT, MCOMP__SNAPSHOT__V1__FREEZE_RESULT__OUTCOME__OUTCOME_FROZEN);
    expect_cut(fixture, ROUND, true);
}

static void put_pull(struct fixture *fixture, uint64_t id, uint64_t offset, uint32_t windows)
{
    put(fixture, (struct task){.op = TASK_PULL, .id = id, .round = ROUND, .offset = offset, .bytes = windows * SNAPSHOT_CHUNK_BYTES});
}

/** Take the answer to a Pull, copy what it holds to image, and return where it ended. */
static uint64_t expect_pages(struct fixture *fixture, uint64_t id, bool complete, uint8_t *image, uint32_t *chunks)
{
    uint8_t *data;
    const uint8_t *pages;
    struct chunk_opener opener = {0};
    struct exchange_response response = answer(fixture, id, &data);
    struct exchange_pull pull;
    struct err err;
    assert_int_equal(response.status, MCOMP_OK);
    assert_true(exchange_pull_decode(&pull, response.data, response.bytes));
    assert_int_equal(pull.complete, complete);
    assert_int_equal(pull.pages_preserved, 42);
    for (uint32_t i = 0; i < pull.chunks; i++) {
        assert_int_equal(chunk_open(&opener, &pull.chunk[i], K, 3, &pages, &err), MCOMP_OK);
        for (uint32_t page = 0; page < SNAPSHOT_CHUNK_PAGES; page++) {
            if (!(pull.chunk[i].pages >> page & 1))
                continue;
            memcpy(image + pull.chunk[i].address - NODE * (uint64_t)K + (uint64_t)page * SNAPSHOT_PAGE_BYTES, pages, SNAPSHOT_PAGE_BYTES);
            pages += SNAPSHOT_PAGE_BYTES;
        }
    }
    *chunks += pull.chunks;
    chunk_opener_close(&opener);
    free(data);
    return pull.next_offset;
}

/* ---- tests ---- */

static void capture_all(struct fixture *fixture)
{
    uint8_t *image = calloc(1, K);
    uint32_t chunks = 0;
    start(fixture);
    freeze_and_cut(fixture);
    put_pull(fixture, 10, 0, 4);
    put_pull(fixture, 11, 4 * SNAPSHOT_CHUNK_BYTES, 4);
    assert_int_equal(expect_pages(fixture, 10, false, image, &chunks), 4 * SNAPSHOT_CHUNK_BYTES);
    assert_int_equal(expect_pages(fixture, 11, true, image, &chunks), K);
    assert_int_equal(chunks, 5); /* of six windows, one is empty */
    assert_memory_equal(image, fake.bytes, K);
    put_pull(fixture, 12, K, 1);
    expect_status(fixture, 12, MCOMP_INVALID_ARGUMENT, "outside");
    put(fixture, (struct task){.op = TASK_END, .id = 13, .round = ROUND});
    expect_status(fixture, 13, MCOMP_OK, "");
    assert_int_equal(fake.ended, ROUND);
    assert_int_equal(fake.unfrozen, 0);
    free(image);
}

static void the_whole_segment(void **state)
{
    struct fixture *fixture = *state;
    capture_all(fixture);
    assert_int_equal(member_max_round(fixture->snapd.member), ROUND);
}

static void the_whole_segment_compressed(void **state)
{
    struct fixture *fixture = *state;
    fixture->config.snapshot.compression = CONFIG_COMPRESSION_ZSTD;
    capture_all(fixture);
}

static void the_segment_may_come_later(void **state)
{
    struct fixture *fixture = *state;
    fake.exists = false;
    start(fixture);
    put(fixture, (struct task){.op = TASK_FREEZE, .id = 1, .round = ROUND, .lease_ms = 500});
    expect_status(fixture, 1, MCOMP_UNAVAILABLE, "there is no segment");
    put(fixture, (struct task){.op = TASK_END, .id = 2, .round = ROUND});
    expect_status(fixture, 2, MCOMP_OK, "");
    put(fixture, (struct task){.op = TASK_UNFREEZE, .id = 3, .round = ROUND});
    expect_status(fixture, 3, MCOMP_OK, "");
    lock();
    fake.exists = true;
    fake.server_runs = false;
    unlock();
    put(fixture, (struct task){.op = TASK_FREEZE, .id = 4, .round = ROUND, .lease_ms = 500});
    expect_status(fixture, 4, MCOMP_UNAVAILABLE, "no server runs");
    expect_cut(fixture, ROUND, false);
    lock();
    fake.server_runs = true;
    unlock();
    freeze_and_cut(fixture);
    assert_int_equal(fake.opens, 3);
}

static void a_segment_made_anew_is_attached_anew(void **state)
{
    struct fixture *fixture = *state;
    start(fixture);
    freeze_and_cut(fixture);
    lock();
    fake.current = false;
    fake.max_round = 0;
    unlock();
    expect_freeze(fixture, ROUND, CLIENT, MCOMP__SNAPSHOT__V1__FREEZE_RESULT__OUTCOME__OUTCOME_FROZEN);
    assert_int_equal(fake.opens, 2);
    put_pull(fixture, 9, 0, 1); /* the cut was the old one's */
    expect_status(fixture, 9, MCOMP_ABORTED, "takes no part");
}

static void what_the_server_refuses(void **state)
{
    struct fixture *fixture = *state;
    start(fixture);
    assert_int_equal(member_max_round(fixture->snapd.member), 3u << 8); /* known before the first round */
    expect_freeze(fixture, 3u << 8, CLIENT, MCOMP__SNAPSHOT__V1__FREEZE_RESULT__OUTCOME__OUTCOME_OLD);
    expect_cut(fixture, 3u << 8, false);
    fake.busy = true;
    expect_freeze(fixture, ROUND, CLIENT, MCOMP__SNAPSHOT__V1__FREEZE_RESULT__OUTCOME__OUTCOME_BUSY);
    expect_cut(fixture, ROUND, false);
    put_pull(fixture, 9, 0, 1);
    expect_status(fixture, 9, MCOMP_ABORTED, "takes no part");
}

static void pages_are_captured_once_in_order(void **state)
{
    struct fixture *fixture = *state;
    uint8_t *image = calloc(1, K);
    uint32_t chunks = 0;
    start(fixture);
    expect_freeze(fixture, ROUND, CLIENT, MCOMP__SNAPSHOT__V1__FREEZE_RESULT__OUTCOME__OUTCOME_FROZEN);
    put_pull(fixture, 9, 0, 1);
    expect_status(fixture, 9, MCOMP_ABORTED, "takes no part"); /* not cut yet */
    expect_cut(fixture, ROUND, true);
    put_pull(fixture, 10, SNAPSHOT_CHUNK_BYTES, 1);
    expect_status(fixture, 10, MCOMP_ABORTED, "the next offset is 0");
    put_pull(fixture, 11, 0, 1);
    expect_pages(fixture, 11, false, image, &chunks);
    put_pull(fixture, 12, 0, 1);
    expect_status(fixture, 12, MCOMP_ABORTED, "the next offset is 262144");
    put_pull(fixture, 13, SNAPSHOT_CHUNK_BYTES, 4);
    expect_pages(fixture, 13, false, image, &chunks);
    free(image);
}

/** Wait until the member is inside a window, and kept there. */
static void wait_window(uint32_t windows)
{
    lock();
    while (fake.windows < windows)
        pthread_cond_wait(&fake.changed, &fake.lock);
    unlock();
}

static void set_hold(bool hold)
{
    lock();
    fake.hold = hold;
    unlock();
}

static void control_comes_between_two_windows(void **state)
{
    struct fixture *fixture = *state;
    start(fixture);
    freeze_and_cut(fixture);
    set_hold(true);
    put_pull(fixture, 10, 0, 4);
    put_pull(fixture, 11, 4 * SNAPSHOT_CHUNK_BYTES, 2);
    wait_window(1);
    put(fixture, (struct task){.op = TASK_END, .id = 12, .round = ROUND});
    set_hold(false);
    expect_status(fixture, 12, MCOMP_OK, "");
    expect_status(fixture, 10, MCOMP_ABORTED, "ended while its pages were being captured");
    expect_status(fixture, 11, MCOMP_ABORTED, "takes no part");
    assert_int_equal(fake.windows, 1);
}

static void a_refused_freeze_does_not_end_the_round(void **state)
{
    struct fixture *fixture = *state;
    uint8_t *image = calloc(1, K);
    uint32_t chunks = 0;
    start(fixture);
    freeze_and_cut(fixture);
    set_hold(true);
    put_pull(fixture, 10, 0, 4);
    wait_window(1);
    fake.busy = true;
    put(fixture, (struct task){.op = TASK_FREEZE, .id = 11, .round = ROUND + 1, .lease_ms = 500, .client = CLIENT + 1});
    set_hold(false);
    uint8_t *data;
    assert_int_equal(answer(fixture, 11, &data).status, MCOMP_OK);
    free(data);
    expect_pages(fixture, 10, false, image, &chunks);
    free(image);
}

static void a_capture_that_dies(void **state)
{
    struct fixture *fixture = *state;
    start(fixture);
    freeze_and_cut(fixture);
    lock();
    fake.dead = true;
    unlock();
    put_pull(fixture, 10, 0, 4);
    expect_status(fixture, 10, MCOMP_ABORTED, "the preserved pages ran out");
    assert_int_equal(fake.ended, ROUND);
    put_pull(fixture, 11, 0, 1);
    expect_status(fixture, 11, MCOMP_ABORTED, "takes no part");
}

static void a_capture_that_dies_after_its_last_window(void **state)
{
    struct fixture *fixture = *state;
    uint8_t *image = calloc(1, K);
    uint32_t chunks = 0;
    start(fixture);
    freeze_and_cut(fixture);
    put_pull(fixture, 10, 0, 4);
    expect_pages(fixture, 10, false, image, &chunks);
    fake.dies_last = true; /* the window is right, and the round is not */
    put_pull(fixture, 11, 4 * SNAPSHOT_CHUNK_BYTES, 2);
    expect_status(fixture, 11, MCOMP_ABORTED, "the preserved pages ran out");
    assert_int_equal(fake.windows, 6);
    assert_int_equal(fake.ended, ROUND);
    free(image);
}

static void the_round_ends_with_the_connection_it_came_over(void **state)
{
    struct fixture *fixture = *state;
    start(fixture);
    expect_freeze(fixture, ROUND, CLIENT, MCOMP__SNAPSHOT__V1__FREEZE_RESULT__OUTCOME__OUTCOME_FROZEN);
    put(fixture, (struct task){.op = TASK_GONE, .client = CLIENT + 1}); /* somebody else's */
    expect_cut(fixture, ROUND, true);
    assert_int_equal(fake.ended, 0);
    put(fixture, (struct task){.op = TASK_GONE});
    expect_cut(fixture, ROUND, false);
    assert_int_equal(fake.ended, ROUND);
    assert_int_equal(fake.unfrozen, 0);

    expect_freeze(fixture, ROUND + 256, CLIENT, MCOMP__SNAPSHOT__V1__FREEZE_RESULT__OUTCOME__OUTCOME_FROZEN);
    put(fixture, (struct task){.op = TASK_GONE}); /* before the cut: writers go on at once */
    expect_cut(fixture, ROUND + 256, false);
    assert_int_equal(fake.unfrozen, ROUND + 256);
}

static void stopping_lets_writers_go_on(void **state)
{
    struct fixture *fixture = *state;
    start(fixture);
    expect_freeze(fixture, ROUND, CLIENT, MCOMP__SNAPSHOT__V1__FREEZE_RESULT__OUTCOME__OUTCOME_FROZEN);
    member_stop(fixture->snapd.member);
    fixture->snapd.member = NULL;
    assert_int_equal(fake.unfrozen, ROUND);
    assert_int_equal(fake.ended, ROUND);
}

/* Goal: waiting for the rate holds up nothing but Pulls. Method: a rate at which the second window comes after a quarter of a second; what is asked meanwhile
 * is answered before the Pull, and the end of the process does not wait for it. */
static void the_rate_holds_up_only_pulls(void **state)
{
    struct fixture *fixture = *state;
    uint8_t *data;
    fixture->config.snapshot.rate_limit = 1 << 20;
    start(fixture);
    freeze_and_cut(fixture);
    put_pull(fixture, 10, 0, 4);
    wait_window(1);
    fake.busy = true;
    put(fixture, (struct task){.op = TASK_FREEZE, .id = 11, .round = ROUND + 1, .lease_ms = 500, .client = CLIENT + 1});
    assert_int_equal(answer(fixture, 11, &data).status, MCOMP_OK);
    free(data);
    member_stop(fixture->snapd.member);
    fixture->snapd.member = NULL;
    struct task *task = wait_back(fixture);
    assert_int_equal(task->id, 10);
    free(task->reply);
    free(task);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(the_whole_segment),
        TEST(the_whole_segment_compressed),
        TEST(the_segment_may_come_later),
        TEST(a_segment_made_anew_is_attached_anew),
        TEST(what_the_server_refuses),
        TEST(pages_are_captured_once_in_order),
        TEST(control_comes_between_two_windows),
        TEST(a_refused_freeze_does_not_end_the_round),
        TEST(a_capture_that_dies),
        TEST(a_capture_that_dies_after_its_last_window),
        TEST(the_round_ends_with_the_connection_it_came_over),
        TEST(stopping_lets_writers_go_on),
        TEST(the_rate_holds_up_only_pulls),
#undef TEST
    };
    return cmocka_run_group_tests_name("member", tests, NULL, NULL);
}
