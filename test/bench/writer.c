/* SPDX-License-Identifier: Apache-2.0 */
/* usage: writer mcomp CONFIG | writer redis PORT DEPTH STRINGS STRING_BYTES
 *
 * Writes 64 B to addresses at random until its standard input ends: to a grid one at a time, or to the strings s:0 … of a Redis server with DEPTH
 * SETRANGE on their way together. Then prints one JSON object: for each slot of 10 ms on the monotonic clock, from start_ns on, how many writes began in
 * it, and the longest time that one of them took until it was answered, in nanoseconds (of a batch: all of it). */
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "mcomp.h"

#define WRITE_BYTES 64u
#define SLOT_NS UINT64_C(10000000)
#define SLOTS 60000u /* ten minutes */
#define DEPTH_MAX 1024u
#define COMMAND_BYTES 160u
#define TIMEOUT_MS 60000u

static uint64_t start_ns, last_slot, longest_ns[SLOTS], writes[SLOTS];

static _Noreturn void fail(const char *what, const char *why)
{
    fprintf(stderr, "writer: %s: %s\n", what, why);
    _Exit(1);
}

static void note(uint64_t begin_ns, uint64_t end_ns, uint64_t count)
{
    uint64_t slot = (begin_ns - start_ns) / SLOT_NS;
    if (slot >= SLOTS)
        fail("time", "ten minutes are over");
    writes[slot] += count;
    if (end_ns - begin_ns > longest_ns[slot])
        longest_ns[slot] = end_ns - begin_ns;
    last_slot = slot;
}

static uint64_t random_below(uint64_t bound)
{
    static uint64_t state = UINT64_C(0x9e3779b97f4a7c15);
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 11) % bound;
}

/** Has whoever started us closed our standard input? */
static int is_over(void)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&input, 1, 0) > 0;
}

static void write_grid(const char *path)
{
    struct mcomp *grid;
    struct mcomp_error error;
    uint8_t data[WRITE_BYTES];
    memset(data, 0x5a, sizeof data);
    if (mcomp_open(&grid, path, NULL, &error) != MCOMP_OK)
        fail("open", error.text);
    while (!is_over()) {
        uint64_t address = random_below(mcomp_size(grid) / WRITE_BYTES) * WRITE_BYTES, begin_ns = clock_mono_ns();
        if (mcomp_write(grid, address, data, sizeof data, TIMEOUT_MS, &error) != MCOMP_OK)
            fail("write", error.text);
        note(begin_ns, clock_mono_ns(), 1);
    }
    mcomp_close(grid);
}

/* ---- Redis ---- */

static int connect_to(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)) != 0)
        fail("connect", strerror(errno));
    return fd;
}

static size_t put_command(char *out, uint64_t strings, uint64_t string_bytes)
{
    char key[32], offset[32], data[WRITE_BYTES + 1];
    memset(data, 'z', WRITE_BYTES);
    data[WRITE_BYTES] = '\0';
    int key_bytes = snprintf(key, sizeof key, "s:%" PRIu64, random_below(strings));
    int offset_bytes = snprintf(offset, sizeof offset, "%" PRIu64, random_below(string_bytes / WRITE_BYTES) * WRITE_BYTES);
    return (size_t)snprintf(out, COMMAND_BYTES, "*4\r\n$8\r\nSETRANGE\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n$%u\r\n%s\r\n", key_bytes, key, offset_bytes, offset,
                            WRITE_BYTES, data);
}

static void send_all(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t n = send(fd, bytes, length, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            fail("send", strerror(errno));
        bytes += n;
        length -= (size_t)n;
    }
}

/** Wait for so many answers, each one line. */
static void take_answers(int fd, uint64_t count)
{
    static char in[65536];
    while (count > 0) {
        ssize_t n = recv(fd, in, sizeof in, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            fail("receive", n < 0 ? strerror(errno) : "the server closed the connection");
        if (memchr(in, '-', (size_t)n))
            fail("SETRANGE", "the server refuses");
        for (const char *at = in; (at = memchr(at, '\n', (size_t)(in + n - at))); at++)
            count--;
    }
}

static void write_redis(uint16_t port, uint64_t depth, uint64_t strings, uint64_t string_bytes)
{
    static char out[DEPTH_MAX * COMMAND_BYTES];
    int fd = connect_to(port);
    while (!is_over()) {
        size_t bytes = 0;
        for (uint64_t i = 0; i < depth; i++)
            bytes += put_command(out + bytes, strings, string_bytes);
        uint64_t begin_ns = clock_mono_ns();
        send_all(fd, out, bytes);
        take_answers(fd, depth);
        note(begin_ns, clock_mono_ns(), depth);
    }
    close(fd);
}

/* ---- the report ---- */

static void print_slots(const char *name, const uint64_t *slots)
{
    printf(", \"%s\": [", name);
    for (uint64_t i = 0; i <= last_slot; i++)
        printf("%s%" PRIu64, i ? ", " : "", slots[i]);
    printf("]");
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
    start_ns = clock_mono_ns();
    if (argc == 3 && strcmp(argv[1], "mcomp") == 0) {
        write_grid(argv[2]);
    } else if (argc == 6 && strcmp(argv[1], "redis") == 0 && number(argv[2], UINT16_MAX) && number(argv[3], DEPTH_MAX) && number(argv[4], 1u << 20) &&
               number(argv[5], 1u << 29) >= WRITE_BYTES) {
        write_redis((uint16_t)number(argv[2], UINT16_MAX), number(argv[3], DEPTH_MAX), number(argv[4], 1u << 20), number(argv[5], 1u << 29));
    } else {
        fprintf(stderr, "usage: writer mcomp CONFIG | writer redis PORT DEPTH STRINGS STRING_BYTES\n");
        return 2;
    }
    printf("{\"start_ns\": %" PRIu64 ", \"slot_ns\": %" PRIu64, start_ns, SLOT_NS);
    print_slots("writes", writes);
    print_slots("longest_ns", longest_ns);
    printf("}\n");
    return 0;
}
