/* SPDX-License-Identifier: Apache-2.0 */
/** The steps of a restore: what is sent, in which pieces, and what is sent again. The fake server refuses data whose checksum is wrong. */
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

#define ID 0x1122334455667788u
#define PAGE 4096u

static struct fake_server *server(uint32_t node)
{
    return fixture.fake.servers[node];
}

struct outcome {
    unsigned calls;
    enum mcomp_status status;
};

static void take(void *arg, const struct mcomp_completion *completion)
{
    struct outcome *outcome = arg;
    outcome->calls++;
    outcome->status = completion->status;
}

static struct mcomp_queue *open_queue(void)
{
    struct mcomp_queue *queue;
    ASSERT_OK(mcomp_queue_open(fixture.grid, &queue, &fixture.error));
    return queue;
}

static void run(struct mcomp_queue *queue)
{
    while (mcomp_queue_pending(queue) > 0)
        (void)mcomp_queue_run(queue, -1);
}

static enum mcomp_status send_data(struct mcomp_queue *queue, uint64_t address, const void *data, size_t length, uint64_t zeros, struct outcome *outcome)
{
    return mcomp_queue_restore_data(queue, ID, address, data, length, zeros, 0, take, outcome, &fixture.error);
}

static uint8_t *pages(size_t count)
{
    uint8_t *data = malloc(count * PAGE);
    assert_non_null(data);
    for (size_t i = 0; i < count * PAGE; i++)
        data[i] = (uint8_t)(i / 7 | 1);
    return data;
}

static void assert_node(uint32_t node, uint64_t offset, const void *data, size_t length)
{
    uint8_t *is = malloc(length);
    assert_non_null(is);
    fake_server_peek(server(node), offset, is, length);
    assert_memory_equal(is, data, length);
    free(is);
}

static void data_and_zeros_arrive(void **state)
{
    (void)state;
    struct mcomp_queue *queue = open_queue();
    struct outcome outcome = {0};
    uint8_t *data = pages(4), *zeros = calloc(3, PAGE);
    assert_non_null(zeros);
    fake_server_poke(server(1), 0, data, PAGE);
    fake_server_poke(server(1), 5 * PAGE, data, 2 * PAGE);
    ASSERT_OK(send_data(queue, K + PAGE, data, 4 * PAGE, 2 * PAGE, &outcome));
    ASSERT_OK(send_data(queue, K, NULL, 0, PAGE, &outcome));
    run(queue);
    assert_int_equal(outcome.calls, 2);
    assert_int_equal(outcome.status, MCOMP_OK);
    assert_node(1, 0, zeros, PAGE);
    assert_node(1, PAGE, data, 4 * PAGE);
    assert_node(1, 5 * PAGE, zeros, 2 * PAGE);
    mcomp_queue_close(queue);
    free(data);
    free(zeros);
}

/* Longer than a message: whole pages each, and the zeros behind the last. */
static void long_data_is_cut_at_pages(void **state)
{
    (void)state;
    struct fake_hello hello = {.max_message = 3 * PAGE + 100};
    fake_server_hello(server(0), &hello);
    struct mcomp_queue *queue = open_queue();
    struct outcome outcome = {0};
    uint8_t *data = pages(10), *zeros = calloc(1, PAGE);
    assert_non_null(zeros);
    fake_server_poke(server(0), 10 * PAGE, data, PAGE);
    ASSERT_OK(send_data(queue, 0, data, 10 * PAGE, PAGE, &outcome));
    run(queue);
    assert_int_equal(outcome.calls, 1);
    assert_int_equal(outcome.status, MCOMP_OK);
    assert_int_equal(fake_server_requests(server(0)), 4);
    assert_node(0, 0, data, 10 * PAGE);
    assert_node(0, 10 * PAGE, zeros, PAGE);
    mcomp_queue_close(queue);
    free(data);
    free(zeros);
}

static void lost_steps_are_sent_again(void **state)
{
    (void)state;
    struct mcomp_queue *queue = open_queue();
    struct mcomp_restore about = {.id = ID, .file = 77, .round = 7};
    struct outcome outcome = {0};
    uint8_t *data = pages(40);
    SCRIPT(0, {.action = FAKE_DROP_AFTER}, {.action = FAKE_DROP}, {.action = FAKE_HALF});
    ASSERT_OK(mcomp_queue_restore_begin(queue, 0, &about, 0, take, &outcome, &fixture.error));
    run(queue);
    assert_int_equal(outcome.status, MCOMP_OK);
    SCRIPT(0, {.action = FAKE_DROP_AFTER}, {.action = FAKE_DROP});
    ASSERT_OK(send_data(queue, 0, data, 40 * PAGE, 0, &outcome));
    run(queue);
    assert_int_equal(outcome.status, MCOMP_OK);
    assert_node(0, 0, data, 40 * PAGE);
    SCRIPT(0, {.action = FAKE_DROP_AFTER});
    ASSERT_OK(mcomp_queue_restore_end(queue, 0, ID, MCOMP_RESTORE_SERVE, 0, take, &outcome, &fixture.error));
    run(queue);
    assert_int_equal(outcome.status, MCOMP_OK);
    assert_int_equal(outcome.calls, 3);
    mcomp_queue_close(queue);
    free(data);
}

static void a_refusal_is_told(void **state)
{
    (void)state;
    struct mcomp_queue *queue = open_queue();
    struct outcome outcome = {0};
    uint8_t *data = pages(1);
    SCRIPT(2, {.action = FAKE_STATUS, .status = MCOMP_FAILED_PRECONDITION}, {.action = FAKE_STATUS, .status = MCOMP_DATA_LOSS});
    ASSERT_OK(mcomp_queue_restore_end(queue, 2, ID, MCOMP_RESTORE_COMPLETE, 0, take, &outcome, &fixture.error));
    run(queue);
    assert_int_equal(outcome.status, MCOMP_FAILED_PRECONDITION);
    ASSERT_OK(send_data(queue, 2 * K, data, PAGE, 0, &outcome));
    run(queue);
    assert_int_equal(outcome.status, MCOMP_DATA_LOSS);
    mcomp_queue_close(queue);
    free(data);
}

static void what_cannot_be_is_not_accepted(void **state)
{
    (void)state;
    struct mcomp_queue *queue = open_queue();
    struct mcomp_restore about = {.id = ID};
    struct outcome outcome = {0};
    uint8_t *data = pages(2);
    assert_int_equal(mcomp_queue_restore_begin(queue, NODES, &about, 0, take, &outcome, &fixture.error), MCOMP_OUT_OF_RANGE);
    assert_int_equal(mcomp_queue_restore_end(queue, NODES, ID, MCOMP_RESTORE_SERVE, 0, take, &outcome, &fixture.error), MCOMP_OUT_OF_RANGE);
    assert_int_equal(send_data(queue, K - PAGE, data, 2 * PAGE, 0, &outcome), MCOMP_INVALID_ARGUMENT);
    assert_int_equal(send_data(queue, K - PAGE, data, PAGE, PAGE, &outcome), MCOMP_INVALID_ARGUMENT);
    assert_int_equal(send_data(queue, 0, data, 0, 0, &outcome), MCOMP_INVALID_ARGUMENT);
    assert_int_equal(send_data(queue, NODES * K, NULL, 0, PAGE, &outcome), MCOMP_OUT_OF_RANGE);
    assert_int_equal(send_data(queue, PAGE, data, PAGE, UINT64_MAX, &outcome), MCOMP_OUT_OF_RANGE);
    assert_int_equal(mcomp_queue_pending(queue), 0);
    assert_int_equal(outcome.calls, 0);
    mcomp_queue_close(queue);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(data_and_zeros_arrive), FIXTURE_TEST(long_data_is_cut_at_pages),      FIXTURE_TEST(lost_steps_are_sent_again),
        FIXTURE_TEST(a_refusal_is_told),     FIXTURE_TEST(what_cannot_be_is_not_accepted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
