/* SPDX-License-Identifier: Apache-2.0 */
/* usage: watcher PORT CONNECTIONS KEYS SECONDS
 *
 * Compares and sets two keys of a Redis server, with WATCH: over and over, on so many connections at a time, each in two round trips:
 *
 *     WATCH a:N b:N, MGET a:N b:N          the values must be 00000000
 *     MULTI, SET a:N 00000000, SET b:N 00000000, EXEC
 *
 * N is one of KEYS numbers at random, written with twelve digits. Redis watches keys for a connection, so there is one transaction at a time on each.
 * After a warm-up of 0.2 s, counts those that ended within SECONDS, and prints one JSON object: how many, those that EXEC refused as the keys had
 * changed, and operations a second of the others. */
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

#define WARM_UP_NS UINT64_C(200000000)
#define CONNECTIONS_MAX 1000u
#define EVENTS_MAX 64
#define ANSWER_BYTES 512u
#define COMMAND_BYTES 512u
#define NUMBER_BYTES 24u
#define VALUE "00000000"

/* All that the server says to the one and to the other. */
static const char watch_answer[] = "+OK\r\n*2\r\n$8\r\n" VALUE "\r\n$8\r\n" VALUE "\r\n";
static const char done_answer[] = "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n+OK\r\n";
static const char refused_answer[] = "+OK\r\n+QUEUED\r\n+QUEUED\r\n*-1\r\n";

struct connection {
    int fd;
    bool sets; /* the second round trip is under way */
    uint64_t key;
    size_t used;
    char in[ANSWER_BYTES];
};

static struct connection connections[CONNECTIONS_MAX];
static uint64_t done, refused;

static _Noreturn void fail(const char *what, const char *why)
{
    fprintf(stderr, "watcher: %s: %s\n", what, why);
    _Exit(1);
}

static uint64_t random_below(uint64_t bound)
{
    static uint64_t state = UINT64_C(0x9e3779b97f4a7c15);
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 11) % bound;
}

static int connect_to(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)) != 0)
        fail("connect", strerror(errno));
    return fd;
}

/** There is room for all of it: the server has answered everything before. */
static void send_all(int fd, const char *bytes, int length)
{
    ssize_t n;
    do
        n = send(fd, bytes, (size_t)length, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n != length)
        fail("send", n < 0 ? strerror(errno) : "not all was taken");
}

static void send_watch(struct connection *connection, uint64_t keys)
{
    char out[COMMAND_BYTES], key[NUMBER_BYTES];
    connection->key = random_below(keys);
    connection->sets = false;
    snprintf(key, sizeof key, "%012" PRIu64, connection->key);
    int length = snprintf(out, sizeof out,
                          "*3\r\n$5\r\nWATCH\r\n$14\r\na:%s\r\n$14\r\nb:%s\r\n*3\r\n$4\r\nMGET\r\n$14\r\na:%s\r\n$14\r\nb:%s\r\n", key,
                          key, key, key);
    send_all(connection->fd, out, length);
}

static void send_sets(struct connection *connection)
{
    char out[COMMAND_BYTES];
    connection->sets = true;
    int length = snprintf(out, sizeof out,
                          "*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$14\r\na:%012" PRIu64 "\r\n$8\r\n" VALUE "\r\n*3\r\n$3\r\nSET\r\n$14\r\nb:%012" PRIu64
                          "\r\n$8\r\n" VALUE "\r\n*1\r\n$4\r\nEXEC\r\n",
                          connection->key, connection->key);
    send_all(connection->fd, out, length);
}

/** How much of what the server says to a transaction has come. */
enum answer { ANSWER_OTHER, ANSWER_PARTLY, ANSWER_ALL };

static enum answer match(const struct connection *connection, const char *answer)
{
    size_t length = strlen(answer);
    if (connection->used > length || memcmp(connection->in, answer, connection->used) != 0)
        return ANSWER_OTHER;
    return connection->used == length ? ANSWER_ALL : ANSWER_PARTLY;
}

/** Take what has come; go on when an answer is complete. */
static void proceed(struct connection *connection, uint64_t keys)
{
    ssize_t n = recv(connection->fd, connection->in + connection->used, sizeof connection->in - connection->used, 0);
    if (n < 0 && errno == EINTR)
        return;
    if (n <= 0)
        fail("receive", n < 0 ? strerror(errno) : "the server closed the connection");
    connection->used += (size_t)n;
    enum answer expected = match(connection, connection->sets ? done_answer : watch_answer);
    enum answer refusal = connection->sets ? match(connection, refused_answer) : ANSWER_OTHER;
    if (expected == ANSWER_OTHER && refusal == ANSWER_OTHER)
        fail("an answer", "it is not what was expected");
    if (expected != ANSWER_ALL && refusal != ANSWER_ALL)
        return;
    connection->used = 0;
    if (!connection->sets) {
        send_sets(connection);
        return;
    }
    *(expected == ANSWER_ALL ? &done : &refused) += 1;
    send_watch(connection, keys);
}

static void run(int epoll_fd, uint64_t keys, uint64_t until_ns)
{
    struct epoll_event events[EVENTS_MAX];
    while (clock_mono_ns() < until_ns) {
        int n = epoll_wait(epoll_fd, events, EVENTS_MAX, -1);
        if (n < 0 && errno != EINTR)
            fail("epoll_wait", strerror(errno));
        for (int i = 0; i < n; i++)
            proceed(events[i].data.ptr, keys);
    }
}

/** A number between 1 and max, or 0. */
static uint64_t number(const char *text, uint64_t max)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    return *end == '\0' && value <= max ? value : 0;
}

int main(int argc, char **argv)
{
    uint64_t port = argc == 5 ? number(argv[1], UINT16_MAX) : 0, count = argc == 5 ? number(argv[2], CONNECTIONS_MAX) : 0;
    uint64_t keys = argc == 5 ? number(argv[3], UINT32_MAX) : 0;
    double seconds = argc == 5 ? strtod(argv[4], NULL) : 0;
    if (!port || !count || !keys || !(seconds > 0 && seconds < 3600)) {
        fprintf(stderr, "usage: watcher PORT CONNECTIONS KEYS SECONDS\n");
        return 2;
    }
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (uint64_t i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[i]};
        connections[i].fd = connect_to((uint16_t)port);
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, connections[i].fd, &event) != 0)
            fail("epoll_ctl", strerror(errno));
    }
    for (uint64_t i = 0; i < count; i++)
        send_watch(&connections[i], keys);
    run(epoll_fd, keys, clock_mono_ns() + WARM_UP_NS);
    done = refused = 0;
    uint64_t begin_ns = clock_mono_ns();
    run(epoll_fd, keys, begin_ns + (uint64_t)(seconds * 1e9));
    double elapsed_s = (double)(clock_mono_ns() - begin_ns) / 1e9;
    printf("{\"operations\": %" PRIu64 ", \"refused\": %" PRIu64 ", \"operations_per_second\": %.1f}\n", done, refused, (double)done / elapsed_s);
    return 0;
}
