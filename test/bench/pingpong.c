/* SPDX-License-Identifier: Apache-2.0 */
/* usage: pingpong BYTES SECONDS
 *
 * The shortest round trip that TCP on this machine has: an epoll server that sends back what it gets, and a blocking client that waits for it.
 * Prints one JSON object; times in nanoseconds. */
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/histogram.h"

#define BYTES_MAX 65536u

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "pingpong: %s: %s\n", what, strerror(errno));
    _Exit(1);
}

static void no_delay(int fd)
{
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)) != 0)
        fail("setsockopt");
}

static void send_all(int fd, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t n = send(fd, bytes, length, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            fail("send");
        bytes += n;
        length -= (size_t)n;
    }
}

/* Echo until the client closes. */
static void serve(int listening)
{
    static char bytes[BYTES_MAX];
    struct epoll_event event = {.events = EPOLLIN};
    int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), loop = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0 || loop < 0 || epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event) != 0)
        fail("accept");
    no_delay(fd);
    for (;;) {
        if (epoll_wait(loop, &event, 1, -1) < 0 && errno != EINTR)
            fail("epoll_wait");
        ssize_t n = recv(fd, bytes, sizeof bytes, 0);
        if (n == 0)
            break;
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            fail("recv");
        if (n > 0)
            send_all(fd, bytes, (size_t)n);
    }
    close(fd);
    close(loop);
}

static void measure(const struct sockaddr_in *address, size_t length, double seconds)
{
    static char bytes[BYTES_MAX];
    static struct histogram times;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof *address) != 0)
        fail("connect");
    no_delay(fd);
    uint64_t end = clock_mono_ns() + (uint64_t)(seconds * 1e9), before = 0;
    while (before < end) {
        before = clock_mono_ns();
        send_all(fd, bytes, length);
        for (size_t got = 0; got < length;) {
            ssize_t n = recv(fd, bytes + got, length - got, 0);
            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0)
                fail("recv");
            got += (size_t)n;
        }
        histogram_record(&times, clock_mono_ns() - before);
    }
    close(fd);
    printf("{\"bytes\": %zu, \"round_trips\": %" PRIu64 ", \"p50_ns\": %" PRIu64 ", \"p99_ns\": %" PRIu64 ", \"max_ns\": %" PRIu64 "}\n", length,
           times.count, histogram_percentile(&times, 50), histogram_percentile(&times, 99), times.max);
}

int main(int argc, char **argv)
{
    char *end_bytes = NULL, *end_seconds = NULL;
    unsigned long length = argc == 3 ? strtoul(argv[1], &end_bytes, 10) : 0;
    double seconds = argc == 3 ? strtod(argv[2], &end_seconds) : 0;
    if (length < 1 || length > BYTES_MAX || *end_bytes != '\0' || !(seconds > 0) || *end_seconds != '\0') {
        fprintf(stderr, "usage: pingpong BYTES SECONDS (1 … %u bytes)\n", BYTES_MAX);
        return 2;
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t address_bytes = sizeof address;
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listening < 0 || bind(listening, (struct sockaddr *)&address, sizeof address) != 0 || listen(listening, 1) != 0 ||
        getsockname(listening, (struct sockaddr *)&address, &address_bytes) != 0)
        fail("listen");
    pid_t server = fork();
    if (server < 0)
        fail("fork");
    if (server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve(listening);
        return 0;
    }
    close(listening);
    measure(&address, length, seconds);
    int status;
    return waitpid(server, &status, 0) == server && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1;
}
