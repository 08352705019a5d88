/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: when memory is short, each call says so or succeeds all the same; nothing crashes, leaks or waits for ever. Method: one story, in which
 * allocation 0, then 1, and so on fails, alone and with all that follow, until a run comes to its end without one. */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>

static _Thread_local uint64_t allocations; /* of this thread: the servers' are not counted */
static _Thread_local uint64_t fail_from = UINT64_MAX, fail_to = UINT64_MAX;

static bool fails(void)
{
    uint64_t number = allocations++;
    return number >= fail_from && number <= fail_to;
}

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__real_reallocarray(void *old, size_t count, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_reallocarray(void *old, size_t count, size_t bytes);

void *__wrap_malloc(size_t bytes)
{
    return fails() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return fails() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    return fails() ? NULL : __real_aligned_alloc(alignment, bytes);
}

void *__wrap_reallocarray(void *old, size_t count, size_t bytes)
{
    return fails() ? NULL : __real_reallocarray(old, count, bytes);
}

static uint8_t out[3 << 20], in[3 << 20];

/** A call may fail, but then of want of memory, or because an answer could not be taken. */
static void judge(enum mcomp_status status, bool whole)
{
    assert_true(status == MCOMP_OK || (!whole && (status == MCOMP_RESOURCE_EXHAUSTED || status == MCOMP_INTERNAL)));
}

static void synchronous(struct mcomp *grid, bool whole)
{
    struct mcomp_node_status node_status;
    struct mcomp_range ranges[] = {{MCOMP_RANGE_READ, K - 20000, 40000, in}, {MCOMP_RANGE_WRITE, 77, 10, out}};
    uint64_t value;
    enum mcomp_status status = mcomp_write(grid, K - 1000000, out, sizeof out, 0, &fixture.error);
    judge(status, whole);
    enum mcomp_status read = mcomp_read(grid, K - 1000000, in, sizeof in, 0, &fixture.error);
    judge(read, whole);
    if (status == MCOMP_OK && read == MCOMP_OK)
        assert_memory_equal(in, out, sizeof out);
    judge(mcomp_fetch_add(grid, 8, 1, &value, 0, &fixture.error), whole);
    judge(mcomp_multi(grid, ranges, 2, 0, &fixture.error), whole);
    judge(mcomp_node_status(grid, 2, &node_status, 0, NULL), whole);
    judge(mcomp_read(grid, 0, in, 5000, 0, NULL), whole);
}

static void asynchronous(struct mcomp *grid, bool whole)
{
    struct mcomp_queue *queue;
    static struct record records[600];
    static struct record long_ones[3];
    bool accepted[600] = {false}, long_accepted[3];
    memset(records, 0, sizeof records);
    memset(long_ones, 0, sizeof long_ones);
    enum mcomp_status status = mcomp_queue_open(grid, &queue, &fixture.error);
    judge(status, whole);
    if (status != MCOMP_OK)
        return;
    for (size_t i = 0; i < 600; i++) {
        status = mcomp_queue_read(queue, i * 50, in + i, 1, MCOMP_NO_TIMEOUT, record_completion, &records[i], &fixture.error);
        judge(status, whole);
        accepted[i] = status == MCOMP_OK;
    }
    struct mcomp_range range = {MCOMP_RANGE_WRITE, 2 * K, sizeof out, out};
    status = mcomp_queue_write(queue, K - 10, out, sizeof out, MCOMP_NO_TIMEOUT, record_completion, &long_ones[0], &fixture.error);
    long_accepted[0] = status == MCOMP_OK;
    status = mcomp_queue_multi(queue, &range, 1, MCOMP_NO_TIMEOUT, record_completion, &long_ones[1], &fixture.error);
    long_accepted[1] = status == MCOMP_OK;
    status = mcomp_queue_write(queue, NODES * K + 1, out, 1, 0, record_completion, &long_ones[2], &fixture.error);
    assert_int_equal(status, MCOMP_OUT_OF_RANGE);
    long_accepted[2] = false;
    run_all(queue);
    for (size_t i = 0; i < 600; i++) {
        assert_int_equal(records[i].count, accepted[i]);
        judge(records[i].status, whole);
    }
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(long_ones[i].count, long_accepted[i]);
        judge(long_ones[i].status, whole);
    }
    mcomp_queue_close(queue);
}

/** One run of the story; returns how many allocations it took. */
static uint64_t story(uint64_t from, uint64_t to, bool whole)
{
    struct mcomp *grid;
    ASSERT_OK(mcomp_open(&grid, fixture.fake.config_path, &fixture_options, &fixture.error));
    allocations = 0;
    fail_from = from;
    fail_to = to;
    synchronous(grid, whole);
    asynchronous(grid, whole);
    uint64_t count = allocations;
    fail_from = fail_to = UINT64_MAX;
    mcomp_close(grid);
    return count;
}

static void each_allocation_fails_once(void **state)
{
    (void)state;
    fixture_fill(out, sizeof out, 21);
    uint64_t count = story(UINT64_MAX, UINT64_MAX, true);
    assert_true(count > 20);
    for (uint64_t i = 0; i < count; i++)
        count = story(i, i, false);
}

static void all_allocations_fail_from_one_on(void **state)
{
    (void)state;
    fixture_fill(out, sizeof out, 22);
    uint64_t count = story(UINT64_MAX, UINT64_MAX, true);
    for (uint64_t i = 0; i < count; i++)
        story(i, UINT64_MAX, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(each_allocation_fails_once),
        FIXTURE_TEST(all_allocations_fail_from_one_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
