/* SPDX-License-Identifier: Apache-2.0 */
/* Goal: connecting succeeds as soon as the node is there, gives up with a text that helps, and a node that does not fit is told apart
 * before a byte is moved. Method: fake servers that refuse, keep silent, or claim to be others. */
#include "fixture.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config/config.h"

static struct fake_server *server(uint32_t node)
{
    return fixture.fake.servers[node];
}

static void unreachable_node_is_named(void **state)
{
    uint8_t data[16] = {0};
    (void)state;
    char within[32];
    fake_server_drop_all(server(1), true);
    GROWING_TIME_OUT(ms, fixture.error.sys_errno == ECONNREFUSED && fixture.error.spans[0].outcome == MCOMP_DONE) {
        assert_int_equal(mcomp_write(fixture.grid, K - 8, data, sizeof data, ms, &fixture.error), MCOMP_UNAVAILABLE);
        snprintf(within, sizeof within, "within %u ms", ms);
    }
    assert_int_equal(fixture.error.node, 1);
    assert_int_equal(fixture.error.sys_errno, ECONNREFUSED);
    assert_contains(fixture.error.text, "node 1 (127.0.0.1:");
    assert_contains(fixture.error.text, within);
    assert_contains(fixture.error.text, "Connection refused");
    assert_int_equal(fixture.error.span_count, 2);
    assert_span(&fixture.error, 0, K - 8, 8, MCOMP_DONE);
    assert_span(&fixture.error, 1, K, 8, MCOMP_NOT_DONE);
}

/* A write is submitted while the node is away, and goes out when it is back: it was never sent before. */
static void node_that_comes_back_is_found(void **state)
{
    struct mcomp_queue *queue;
    struct record record = {0};
    uint8_t data[8] = "written";
    uint8_t there[8];
    (void)state;
    fake_server_drop_all(server(0), true);
    ASSERT_OK(mcomp_queue_open(fixture.grid, &queue, &fixture.error));
    ASSERT_OK(mcomp_queue_write(queue, 0, data, sizeof data, MCOMP_NO_TIMEOUT, record_completion, &record, &fixture.error));
    for (int i = 0; i < 3; i++)
        assert_int_equal(mcomp_queue_run(queue, 20), 0);
    assert_int_equal(record.count, 0);
    fake_server_listen(server(0));
    run_all(queue);
    assert_int_equal(record.count, 1);
    assert_int_equal(record.status, MCOMP_OK);
    fake_server_peek(server(0), 0, there, sizeof there);
    assert_memory_equal(there, data, sizeof data);
    mcomp_queue_close(queue);
}

static void hello_that_does_not_fit(void **state)
{
    static const struct {
        struct fake_hello hello;
        const char *text;
    } rows[] = {
        {{.status = MCOMP_FAILED_PRECONDITION}, "told to refuse"},
        {{.grid = "other"}, "its grid is \"other\", ours is \"fake\""},
        {{.segment_size = 4096}, "its segment_size is 4096, ours is 8388608"},
        {{.nodes = 7}, "it counts 7 nodes, we count 3"},
        {{.other_node = true}, "it is node 2, we mean node 1"},
        {{.version = 2}, "protocol version 2"},
        {{.max_message = 100}, "its max_message is 100"},
    };
    uint8_t data[16] = {0};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fake_server_hello(server(1), &rows[i].hello);
        assert_int_equal(mcomp_write(fixture.grid, K - 8, data, sizeof data, 0, &fixture.error), MCOMP_FAILED_PRECONDITION);
        assert_int_equal(fixture.error.node, 1);
        assert_contains(fixture.error.text, rows[i].text);
        assert_int_equal(fixture.error.span_count, 2);
        assert_span(&fixture.error, 0, K - 8, 8, MCOMP_DONE);
        assert_span(&fixture.error, 1, K, 8, MCOMP_NOT_DONE);
    }
    assert_int_equal(fake_server_requests(server(1)), 0);
    fake_server_hello(server(1), &(struct fake_hello){0});
    ASSERT_OK(mcomp_write(fixture.grid, K - 8, data, sizeof data, 0, &fixture.error));
}

static void whole_range_fails_when_hello_does_not_fit(void **state)
{
    uint8_t *data = calloc(1, NODES * K);
    (void)state;
    fake_server_hello(server(2), &(struct fake_hello){.nodes = 9});
    assert_int_equal(mcomp_write(fixture.grid, 0, data, NODES * K, 0, &fixture.error), MCOMP_FAILED_PRECONDITION);
    assert_int_equal(fixture.error.span_count, 2);
    assert_span(&fixture.error, 0, 0, 2 * K, MCOMP_DONE);
    assert_span(&fixture.error, 1, 2 * K, K, MCOMP_NOT_DONE);
    free(data);
}

static void check_full_node(bool unasked)
{
    const struct fake_hello full = {.status = MCOMP_RESOURCE_EXHAUSTED, .unasked = unasked};
    struct mcomp_queue *queue;
    struct record record = {0};
    unsigned before = fake_server_connections(server(0));
    uint8_t byte;
    fake_server_hello(server(0), &full);
    ASSERT_OK(mcomp_queue_open(fixture.grid, &queue, &fixture.error));
    ASSERT_OK(mcomp_queue_read(queue, 0, &byte, 1, MCOMP_NO_TIMEOUT, record_completion, &record, &fixture.error));
    while (fake_server_connections(server(0)) < before + 3)
        assert_int_equal(mcomp_queue_run(queue, 10), 0);
    fake_server_hello(server(0), &(struct fake_hello){0});
    run_all(queue);
    assert_int_equal(record.status, MCOMP_OK);
    mcomp_queue_close(queue);
    /* And when the time is over first, the node's words are in the text. */
    fake_server_hello(server(0), &full);
    GROWING_TIME_OUT(ms, strstr(fixture.error.text, "told to refuse"))
        assert_int_equal(mcomp_read(fixture.grid, K - 1, &byte, 1, ms, &fixture.error), MCOMP_UNAVAILABLE);
    assert_contains(fixture.error.text, "told to refuse");
    fake_server_hello(server(0), &(struct fake_hello){0});
}

/* A node refuses by answering Hello, or unasked: then max_connections is reached, and it closes the connection. */
/* Whatever waits for the node fails with the one attempt, save what its callbacks submit. */
static void all_that_waits_fails_when_hello_does_not_fit(void **state)
{
    enum { COUNT = 100 };
    static struct record records[COUNT];
    static uint8_t bytes[COUNT];
    struct mcomp_queue *queue;
    (void)state;
    memset(records, 0, sizeof records);
    fake_server_hello(server(0), &(struct fake_hello){.nodes = 9});
    ASSERT_OK(mcomp_queue_open(fixture.grid, &queue, &fixture.error));
    for (size_t i = 0; i < COUNT; i++)
        ASSERT_OK(mcomp_queue_read(queue, i, &bytes[i], 1, 0, record_completion, &records[i], &fixture.error));
    run_all(queue);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(records[i].count, 1);
        assert_int_equal(records[i].status, MCOMP_FAILED_PRECONDITION);
    }
    assert_int_equal(fake_server_connections(server(0)), 1);
    mcomp_queue_close(queue);
}

static void node_that_is_full_is_asked_again(void **state)
{
    (void)state;
    check_full_node(false);
    check_full_node(true);
}

static void silent_node_is_given_up_and_tried_again(void **state)
{
    uint8_t byte;
    enum mcomp_status status = MCOMP_UNAVAILABLE;
    (void)state;
    GROWING_TIME_OUT(ms, status == MCOMP_OK) { /* until an attempt may last for as long as this machine needs for one */
        struct mcomp_options options = {.connect_timeout_ms = ms / 8};
        struct mcomp *grid;
        char within[64];
        unsigned before = fake_server_connections(server(0));
        ASSERT_OK(mcomp_open(&grid, fixture.fake.config_path, &options, &fixture.error));
        fake_server_hello(server(0), &(struct fake_hello){.silent = true});
        assert_int_equal(mcomp_read(grid, 0, &byte, 1, 4 * ms, &fixture.error), MCOMP_UNAVAILABLE);
        snprintf(within, sizeof within, "no answer to Hello within %u ms", options.connect_timeout_ms);
        bool seen = strstr(fixture.error.text, within) && fake_server_connections(server(0)) >= before + 2;
        fake_server_hello(server(0), &(struct fake_hello){0});
        status = mcomp_read(grid, 0, &byte, 1, 20 * ms, &fixture.error);
        status = seen ? status : MCOMP_UNAVAILABLE;
        mcomp_close(grid);
    }
    ASSERT_OK(status);
}

/* The node's limit is below ours: what waited for the connection, and was one request by our limit, becomes several by the node's. */
static void smaller_max_message_is_obeyed(void **state)
{
    uint8_t *out = malloc(MAX_MESSAGE), *in = calloc(1, MAX_MESSAGE);
    struct mcomp_range ranges[3];
    (void)state;
    fixture_fill(out, MAX_MESSAGE, 6);
    fake_server_hello(server(0), &(struct fake_hello){.max_message = 5000});
    ASSERT_OK(mcomp_write(fixture.grid, 7, out, MAX_MESSAGE, 0, &fixture.error));
    assert_int_equal(fake_server_requests(server(0)), (MAX_MESSAGE + 4999) / 5000);
    ASSERT_OK(mcomp_read(fixture.grid, 7, in, MAX_MESSAGE, 0, &fixture.error));
    assert_memory_equal(in, out, MAX_MESSAGE);
    memset(in, 0, MAX_MESSAGE);
    ranges[0] = (struct mcomp_range){MCOMP_RANGE_READ, 7, 4000, in};
    ranges[1] = (struct mcomp_range){MCOMP_RANGE_READ, 4007, 20000, in + 4000};
    ranges[2] = (struct mcomp_range){MCOMP_RANGE_READ, 24007, 10, in + 24000};
    ASSERT_OK(mcomp_multi(fixture.grid, ranges, 3, 0, &fixture.error));
    assert_memory_equal(in, out, 24010);
    free(out);
    free(in);
}

/* The limit shrinks with a new connection, while pieces of the old size wait. */
static void limit_that_shrinks_on_reconnect(void **state)
{
    uint8_t *out = malloc(K), *in = calloc(1, K);
    (void)state;
    fixture_fill(out, K, 6);
    fake_server_poke(server(0), 0, out, K);
    SCRIPT(0, {.action = FAKE_ANSWER}, {.action = FAKE_DROP});
    ASSERT_OK(mcomp_read(fixture.grid, 0, in, 1, 0, &fixture.error));
    fake_server_hello(server(0), &(struct fake_hello){.max_message = 4096});
    ASSERT_OK(mcomp_read(fixture.grid, 0, in, K, 0, &fixture.error));
    assert_memory_equal(in, out, K);
    assert_int_equal(fake_server_connections(server(0)), 2);
    free(out);
    free(in);
}

/* Who answers is no mcomp server at all. */
static void stranger_on_the_port(void **state)
{
    char path[128];
    uint8_t byte;
    struct mcomp *grid;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    (void)state;
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &bytes), 0);
    snprintf(path, sizeof path, "%s/stranger.cfg", fixture.fake.directory);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "grid = \"fake\"\nsegment_size = 4096\nnodes = 1\nnode 0 { address = \"127.0.0.1:%u\" }\n", ntohs(address.sin_port));
    fclose(file);
    ASSERT_OK(mcomp_open(&grid, path, NULL, &fixture.error));
    struct mcomp_queue *queue;
    struct record record = {0};
    ASSERT_OK(mcomp_queue_open(grid, &queue, &fixture.error));
    ASSERT_OK(mcomp_queue_read(queue, 0, &byte, 1, 200, record_completion, &record, &fixture.error));
    mcomp_queue_flush(queue);
    int fd = accept(listener, NULL, NULL);
    static const char words[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_int_equal(send(fd, words, sizeof words - 1, MSG_NOSIGNAL), sizeof words - 1);
    run_all(queue);
    assert_int_equal(record.status, MCOMP_UNAVAILABLE);
    close(fd);
    close(listener);
    mcomp_queue_close(queue);
    mcomp_close(grid);
    unlink(path);
}

static void name_that_does_not_resolve(void **state)
{
    char path[128];
    uint8_t byte;
    struct mcomp *grid;
    (void)state;
    snprintf(path, sizeof path, "%s/name.cfg", fixture.fake.directory);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "grid = \"fake\"\nsegment_size = 4096\nnodes = 1\nnode 0 { address = \"no.such.host.invalid:7\" }\n");
    fclose(file);
    ASSERT_OK(mcomp_open(&grid, path, NULL, &fixture.error));
    assert_int_equal(mcomp_read(grid, 0, &byte, 1, 50, &fixture.error), MCOMP_UNAVAILABLE);
    assert_contains(fixture.error.text, "no.such.host.invalid");
    mcomp_close(grid);
    unlink(path);
}

/* A name may have several addresses: here, one at which nobody listens comes before the right one. */
static bool with_a_dead_address;

enum mcomp_status __real_config_resolve(const struct config_endpoint *endpoint, bool passive, struct sockaddr_storage *out,
                                        socklen_t *out_len, size_t max, size_t *count, struct err *err);
enum mcomp_status __wrap_config_resolve(const struct config_endpoint *endpoint, bool passive, struct sockaddr_storage *out,
                                        socklen_t *out_len, size_t max, size_t *count, struct err *err);

enum mcomp_status __wrap_config_resolve(const struct config_endpoint *endpoint, bool passive, struct sockaddr_storage *out,
                                        socklen_t *out_len, size_t max, size_t *count, struct err *err)
{
    enum mcomp_status status = __real_config_resolve(endpoint, passive, out, out_len, max, count, err);
    if (status != MCOMP_OK || !with_a_dead_address)
        return status;
    struct sockaddr_in dead = {.sin_family = AF_INET, .sin_port = htons(1), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    out[1] = out[0];
    out_len[1] = out_len[0];
    memcpy(&out[0], &dead, sizeof dead);
    out_len[0] = sizeof dead;
    *count = 2;
    return MCOMP_OK;
}

static void every_address_of_a_name_is_tried(void **state)
{
    struct mcomp_queue *queue;
    struct record record = {0};
    uint8_t byte;
    (void)state;
    with_a_dead_address = true;
    ASSERT_OK(mcomp_queue_open(fixture.grid, &queue, &fixture.error));
    ASSERT_OK(mcomp_queue_read(queue, 0, &byte, 1, PATIENCE_MS, record_completion, &record, &fixture.error));
    run_all(queue);
    with_a_dead_address = false;
    assert_int_equal(record.status, MCOMP_OK);
    mcomp_queue_close(queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(unreachable_node_is_named),
        FIXTURE_TEST(node_that_comes_back_is_found),
        FIXTURE_TEST(hello_that_does_not_fit),
        FIXTURE_TEST(whole_range_fails_when_hello_does_not_fit),
        FIXTURE_TEST(all_that_waits_fails_when_hello_does_not_fit),
        FIXTURE_TEST(node_that_is_full_is_asked_again),
        FIXTURE_TEST(silent_node_is_given_up_and_tried_again),
        FIXTURE_TEST(smaller_max_message_is_obeyed),
        FIXTURE_TEST(limit_that_shrinks_on_reconnect),
        FIXTURE_TEST(stranger_on_the_port),
        FIXTURE_TEST(name_that_does_not_resolve),
        FIXTURE_TEST(every_address_of_a_name_is_tried),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
