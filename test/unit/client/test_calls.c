/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: synchronous calls do what mcomp.h says when the nodes behave: bytes, splitting, bounds, values. Method: three fake servers. */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>

static struct fake_server *server(uint32_t node)
{
    return fixture.fake.servers[node];
}

static void write_then_read_one_node(void **state)
{
    uint8_t out[300], in[300] = {0}, there[300];
    (void)state;
    fixture_fill(out, sizeof out, 1);
    ASSERT_OK(mcomp_write(fixture.grid, 1000, out, sizeof out, 0, &fixture.error));
    ASSERT_OK(mcomp_read(fixture.grid, 1000, in, sizeof in, 0, &fixture.error));
    assert_memory_equal(in, out, sizeof in);
    fake_server_peek(server(0), 1000, there, sizeof there);
    assert_memory_equal(there, out, sizeof out);
    assert_int_equal(fake_server_requests(server(0)), 2);
    assert_int_equal(fake_server_connections(server(0)), 1);
    assert_int_equal(fake_server_connections(server(1)), 0); /* connections are made when first needed */
}

static void range_over_two_nodes_is_split_at_the_border(void **state)
{
    uint8_t in[5] = {0};
    (void)state;
    ASSERT_OK(mcomp_write(fixture.grid, K - 2, "hello", 5, 0, &fixture.error));
    ASSERT_OK(mcomp_read(fixture.grid, K - 2, in, 5, 0, &fixture.error));
    assert_memory_equal(in, "hello", 5);
    struct fake_seen first = fake_server_seen(server(0), 0), second = fake_server_seen(server(1), 0);
    assert_int_equal(first.address, K - 2);
    assert_int_equal(first.length, 2);
    assert_int_equal(second.address, K);
    assert_int_equal(second.length, 3);
}

static void whole_grid_in_one_call(void **state)
{
    uint8_t *out = malloc(NODES * K), *in = calloc(1, NODES * K);
    (void)state;
    fixture_fill(out, NODES * K, 5);
    ASSERT_OK(mcomp_write(fixture.grid, 0, out, NODES * K, 0, &fixture.error));
    ASSERT_OK(mcomp_read(fixture.grid, 0, in, NODES * K, 0, &fixture.error));
    assert_memory_equal(in, out, NODES * K);
    for (uint32_t i = 0; i < NODES; i++)
        assert_int_equal(fake_server_requests(server(i)), 2 * K / MAX_MESSAGE);
    free(out);
    free(in);
}

static void one_request_up_to_max_message(void **state)
{
    uint8_t *bytes = malloc(MAX_MESSAGE + 1), *in = malloc(MAX_MESSAGE + 1);
    (void)state;
    fixture_fill(bytes, MAX_MESSAGE + 1, 9);
    ASSERT_OK(mcomp_write(fixture.grid, 3, bytes, MAX_MESSAGE, 0, &fixture.error));
    assert_int_equal(fake_server_requests(server(0)), 1);
    ASSERT_OK(mcomp_write(fixture.grid, 3, bytes, MAX_MESSAGE + 1, 0, &fixture.error));
    assert_int_equal(fake_server_requests(server(0)), 3);
    ASSERT_OK(mcomp_read(fixture.grid, 3, in, MAX_MESSAGE, 0, &fixture.error));
    assert_int_equal(fake_server_requests(server(0)), 4);
    assert_memory_equal(in, bytes, MAX_MESSAGE);
    free(bytes);
    free(in);
}

/* Short answers are copied, long ones received into place; both in every size around the borders of that choice. */
static void answers_of_all_sizes(void **state)
{
    static const size_t sizes[] = {1,     2,     63,    64,    1023,   1024,   1025,   4000,   4096,   4097,   8192,  16000,
                                   16384, 16385, 65536, 70000, 131072, 262100, 262144, 262145, 300000, 524288, 999999};
    uint8_t *out = malloc(MAX_MESSAGE), *in = malloc(MAX_MESSAGE + 1);
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        fixture_fill(out, sizes[i], i);
        memset(in, 0x5a, sizes[i] + 1);
        ASSERT_OK(mcomp_write(fixture.grid, 2 * K - sizes[i] / 2, out, sizes[i], 0, &fixture.error));
        ASSERT_OK(mcomp_read(fixture.grid, 2 * K - sizes[i] / 2, in, sizes[i], 0, &fixture.error));
        assert_memory_equal(in, out, sizes[i]);
        assert_int_equal(in[sizes[i]], 0x5a);
    }
    free(out);
    free(in);
}

static void no_length_moves_nothing(void **state)
{
    (void)state;
    ASSERT_OK(mcomp_read(fixture.grid, 100, NULL, 0, 0, &fixture.error));
    ASSERT_OK(mcomp_write(fixture.grid, NODES * K, NULL, 0, 0, &fixture.error));
    ASSERT_OK(mcomp_multi(fixture.grid, NULL, 0, 0, &fixture.error));
    assert_int_equal(mcomp_read(fixture.grid, NODES * K + 1, NULL, 0, 0, &fixture.error), MCOMP_OUT_OF_RANGE);
    for (uint32_t i = 0; i < NODES; i++)
        assert_int_equal(fake_server_connections(server(i)), 0);
}

static void outside_the_grid_nothing_is_sent(void **state)
{
    uint8_t byte[2];
    (void)state;
    ASSERT_OK(mcomp_read(fixture.grid, NODES * K - 1, byte, 1, 0, &fixture.error));
    assert_int_equal(mcomp_read(fixture.grid, NODES * K - 1, byte, 2, 0, &fixture.error), MCOMP_OUT_OF_RANGE);
    assert_int_equal(fixture.error.status, MCOMP_OUT_OF_RANGE);
    assert_int_equal(fixture.error.node, MCOMP_NO_NODE);
    assert_one_span(&fixture.error, NODES * K - 1, 2, MCOMP_NOT_DONE);
    assert_contains(fixture.error.text, "0x17fffff");
    assert_int_equal(mcomp_write(fixture.grid, UINT64_MAX, byte, 2, 0, &fixture.error), MCOMP_OUT_OF_RANGE);
    assert_int_equal(mcomp_write(fixture.grid, 8, byte, SIZE_MAX, 0, NULL), MCOMP_OUT_OF_RANGE);
    assert_int_equal(fake_server_requests(server(NODES - 1)), 1);
    assert_int_equal(fake_server_connections(server(0)), 0);
}

static void fetch_add_returns_the_value_before(void **state)
{
    uint64_t before = 99;
    (void)state;
    ASSERT_OK(mcomp_fetch_add(fixture.grid, K + 3, 40, &before, 0, &fixture.error));
    assert_int_equal(before, 0);
    ASSERT_OK(mcomp_fetch_add(fixture.grid, K + 3, (uint64_t)-41, NULL, 0, &fixture.error));
    ASSERT_OK(mcomp_fetch_add(fixture.grid, K + 3, 0, &before, 0, &fixture.error));
    assert_true(before == UINT64_MAX);
}

static void compare_and_swap_tells_what_it_found(void **state)
{
    uint64_t found = 99;
    (void)state;
    ASSERT_OK(mcomp_compare_and_swap(fixture.grid, 2 * K - 8, 0, 7, &found, 0, &fixture.error));
    assert_int_equal(found, 0);
    ASSERT_OK(mcomp_compare_and_swap(fixture.grid, 2 * K - 8, 0, 8, &found, 0, &fixture.error));
    assert_int_equal(found, 7);
    ASSERT_OK(mcomp_compare_and_swap(fixture.grid, 2 * K - 8, 7, 9, NULL, 0, &fixture.error));
    ASSERT_OK(mcomp_fetch_add(fixture.grid, 2 * K - 8, 0, &found, 0, &fixture.error));
    assert_int_equal(found, 9);
}

static void word_over_two_nodes_is_refused(void **state)
{
    uint64_t value = 5;
    (void)state;
    for (uint64_t i = 1; i < 8; i++) {
        assert_int_equal(mcomp_fetch_add(fixture.grid, K - i, 1, &value, 0, &fixture.error), MCOMP_INVALID_ARGUMENT);
        assert_one_span(&fixture.error, K - i, 8, MCOMP_NOT_DONE);
        assert_int_equal(mcomp_compare_and_swap(fixture.grid, K - i, 1, 2, &value, 0, &fixture.error), MCOMP_INVALID_ARGUMENT);
    }
    assert_int_equal(mcomp_fetch_add(fixture.grid, NODES * K - 7, 1, &value, 0, &fixture.error), MCOMP_OUT_OF_RANGE);
    assert_int_equal(value, 5);
    ASSERT_OK(mcomp_fetch_add(fixture.grid, K - 8, 1, &value, 0, &fixture.error));
}

static void multi_one_request_for_each_node(void **state)
{
    uint8_t old[4] = "old!", new[4] = "new!", in[3][4] = {{0}};
    struct mcomp_range ranges[] = {
        {MCOMP_RANGE_READ, 10, 4, in[0]},
        {MCOMP_RANGE_WRITE, 10, 4, new},
        {MCOMP_RANGE_READ, K - 2, 4, in[1]}, /* on two nodes */
        {MCOMP_RANGE_READ, 55, 0, NULL},
        {MCOMP_RANGE_READ, K + 100, 4, in[2]},
        {MCOMP_RANGE_WRITE, K + 200, 4, new},
    };
    uint8_t there[4];
    (void)state;
    fake_server_poke(server(0), 10, old, 4);
    fake_server_poke(server(0), K - 2, "ab", 2);
    fake_server_poke(server(1), 0, "cd", 2);
    fake_server_poke(server(1), 100, "efgh", 4);
    ASSERT_OK(mcomp_multi(fixture.grid, ranges, 6, 0, &fixture.error));
    assert_memory_equal(in[0], "old!", 4); /* reads show the state before the writes */
    assert_memory_equal(in[1], "abcd", 4);
    assert_memory_equal(in[2], "efgh", 4);
    fake_server_peek(server(0), 10, there, 4);
    assert_memory_equal(there, "new!", 4);
    fake_server_peek(server(1), 200, there, 4);
    assert_memory_equal(there, "new!", 4);
    assert_int_equal(fake_server_requests(server(0)), 1);
    assert_int_equal(fake_server_requests(server(1)), 1);
    assert_int_equal(fake_server_seen(server(0), 0).length, 3);
    assert_int_equal(fake_server_seen(server(1), 0).length, 3);
    assert_int_equal(fake_server_requests(server(2)), 0);
}

static void multi_is_split_by_count_and_by_size(void **state)
{
    enum { COUNT = 2500 };
    struct mcomp_range *ranges = calloc(COUNT + 1, sizeof *ranges);
    uint8_t *out = malloc(COUNT * 8), *in = calloc(COUNT, 8), *big = malloc(3 * MAX_MESSAGE), *back = calloc(3, MAX_MESSAGE);
    (void)state;
    fixture_fill(out, COUNT * 8, 3);
    fixture_fill(big, 3 * MAX_MESSAGE, 4);
    for (size_t i = 0; i < COUNT; i++)
        ranges[i] = (struct mcomp_range){MCOMP_RANGE_WRITE, i * 1000, 8, out + i * 8};
    ASSERT_OK(mcomp_multi(fixture.grid, ranges, COUNT, 0, &fixture.error));
    assert_int_equal(fake_server_requests(server(0)), 3);
    for (size_t i = 0; i < COUNT; i++)
        ranges[i] = (struct mcomp_range){MCOMP_RANGE_READ, i * 1000, 8, in + i * 8};
    ASSERT_OK(mcomp_multi(fixture.grid, ranges, COUNT, 0, &fixture.error));
    assert_memory_equal(in, out, COUNT * 8);
    /* A range that is longer than max_message, between short ones. */
    ranges[0] = (struct mcomp_range){MCOMP_RANGE_WRITE, 4 * MAX_MESSAGE, 2 * MAX_MESSAGE + 5, big};
    ranges[1] = (struct mcomp_range){MCOMP_RANGE_WRITE, K + 77, 100, big};
    ASSERT_OK(mcomp_multi(fixture.grid, ranges, 2, 0, &fixture.error));
    ranges[0] = (struct mcomp_range){MCOMP_RANGE_READ, 4 * MAX_MESSAGE, 2 * MAX_MESSAGE + 5, back};
    ASSERT_OK(mcomp_multi(fixture.grid, ranges, 1, 0, &fixture.error));
    assert_memory_equal(back, big, 2 * MAX_MESSAGE + 5);
    free(ranges);
    free(out);
    free(in);
    free(big);
    free(back);
}

static void multi_refuses_what_cannot_be(void **state)
{
    uint8_t buffer[64] = {0};
    struct mcomp_range overlap[] = {{MCOMP_RANGE_WRITE, 100, 10, buffer}, {MCOMP_RANGE_WRITE, 0, 10, buffer}, {MCOMP_RANGE_WRITE, 109, 1, buffer}};
    struct mcomp_range fits[] = {{MCOMP_RANGE_WRITE, 100, 10, buffer}, {MCOMP_RANGE_WRITE, 110, 1, buffer}, {MCOMP_RANGE_WRITE, 99, 1, buffer},
                                 {MCOMP_RANGE_WRITE, 105, 0, buffer}, {MCOMP_RANGE_READ, 100, 10, buffer}};
    struct mcomp_range outside[] = {{MCOMP_RANGE_READ, 0, 10, buffer}, {MCOMP_RANGE_READ, NODES * K - 1, 2, buffer}};
    struct mcomp_range kind[] = {{0, 0, 1, buffer}};
    (void)state;
    assert_int_equal(mcomp_multi(fixture.grid, overlap, 3, 0, &fixture.error), MCOMP_INVALID_ARGUMENT);
    assert_contains(fixture.error.text, "0x6d");
    assert_span(&fixture.error, 0, 100, 10, MCOMP_NOT_DONE);
    assert_int_equal(mcomp_multi(fixture.grid, outside, 2, 0, &fixture.error), MCOMP_OUT_OF_RANGE);
    assert_int_equal(mcomp_multi(fixture.grid, kind, 1, 0, NULL), MCOMP_INVALID_ARGUMENT);
    assert_int_equal(fake_server_connections(server(0)), 0);
    ASSERT_OK(mcomp_multi(fixture.grid, fits, 5, 0, &fixture.error));
}

static void node_status_is_handed_through(void **state)
{
    struct mcomp_node_status status;
    (void)state;
    ASSERT_OK(mcomp_node_status(fixture.grid, 2, &status, 0, &fixture.error));
    assert_int_equal(status.node, 2);
    assert_int_equal(status.segment_size, K);
    assert_int_equal(status.segment_id, 4711);
    assert_string_equal(status.server, "fake\\nserver");
    assert_int_equal(status.write.count, 11);
    assert_int_equal(status.write.errors, 22);
    assert_int_equal(status.write.bytes, 33);
    assert_int_equal(status.read.count, 0);
    assert_int_equal(status.oplog_dropped, 44);
    assert_true(status.round_trip_ns > 0);
    assert_int_equal(mcomp_node_status(fixture.grid, NODES, &status, 0, &fixture.error), MCOMP_OUT_OF_RANGE);
}

static void handle_tells_its_configuration(void **state)
{
    (void)state;
    assert_int_equal(mcomp_size(fixture.grid), NODES * K);
    assert_int_equal(mcomp_segment_size(fixture.grid), K);
    assert_int_equal(mcomp_nodes(fixture.grid), NODES);
    assert_int_equal(mcomp_max_message(fixture.grid), MAX_MESSAGE);
    assert_string_equal(mcomp_name(fixture.grid), "fake");
    assert_non_null(strstr(mcomp_node_address(fixture.grid, 2), "127.0.0.1:"));
    assert_null(mcomp_node_address(fixture.grid, NODES));
    assert_string_equal(mcomp_status_name(MCOMP_WRONG_NODE), "WRONG_NODE");
    assert_string_equal(mcomp_status_text(MCOMP_OUT_OF_RANGE), "outside the grid");
    assert_string_equal(mcomp_version(), MCOMP_VERSION);
}

static void open_says_what_is_wrong(void **state)
{
    struct mcomp *grid;
    struct mcomp_options options = {.client_name = "a name that is longer than the sixty-four bytes which are possible for it"};
    (void)state;
    assert_int_not_equal(mcomp_open(&grid, "/nonexistent/mcomp.cfg", NULL, &fixture.error), MCOMP_OK);
    assert_contains(fixture.error.text, "/nonexistent/mcomp.cfg");
    assert_int_not_equal(mcomp_open(&grid, "/nonexistent/mcomp.cfg", NULL, NULL), MCOMP_OK);
    assert_int_equal(mcomp_open(&grid, fixture.fake.config_path, &options, &fixture.error), MCOMP_INVALID_ARGUMENT);
    mcomp_close(NULL);
    mcomp_queue_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(write_then_read_one_node),
        FIXTURE_TEST(range_over_two_nodes_is_split_at_the_border),
        FIXTURE_TEST(whole_grid_in_one_call),
        FIXTURE_TEST(one_request_up_to_max_message),
        FIXTURE_TEST(answers_of_all_sizes),
        FIXTURE_TEST(no_length_moves_nothing),
        FIXTURE_TEST(outside_the_grid_nothing_is_sent),
        FIXTURE_TEST(fetch_add_returns_the_value_before),
        FIXTURE_TEST(compare_and_swap_tells_what_it_found),
        FIXTURE_TEST(word_over_two_nodes_is_refused),
        FIXTURE_TEST(multi_one_request_for_each_node),
        FIXTURE_TEST(multi_is_split_by_count_and_by_size),
        FIXTURE_TEST(multi_refuses_what_cannot_be),
        FIXTURE_TEST(node_status_is_handed_through),
        FIXTURE_TEST(handle_tells_its_configuration),
        FIXTURE_TEST(open_says_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
