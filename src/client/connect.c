/* SPDX-License-Identifier: Apache-2.0 */
/** Making a connection: resolve, connect, say Hello; each address of a name in turn, then back off and begin again. */
#include "client/engine.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define BACKOFF_FIRST_NS 10000000u   /* 10 ms: a restarted server is there again soon */
#define BACKOFF_LAST_NS 1000000000u  /* 1 s: thousands of clients of a dead node must not be a load */
#define KEEPALIVE_IDLE_S 60          /* an idle connection whose node vanished without a word is found dead after 60 s + 3 · 10 s */
#define KEEPALIVE_INTERVAL_S 10
#define KEEPALIVE_PROBES 3
#define UNACKNOWLEDGED_MS 60000u /* the node's machine has not taken a byte for this long: it is gone, or the way to it */

uint64_t conn_backoff_ns(struct conn *conn, uint32_t failures)
{
    uint64_t full = BACKOFF_LAST_NS;
    if (failures <= 7)
        full = (uint64_t)BACKOFF_FIRST_NS << (failures > 0 ? failures - 1 : 0);
    full = full < BACKOFF_LAST_NS ? full : BACKOFF_LAST_NS;
    return full / 2 + queue_random(conn->queue) % (full / 2);
}

void conn_plan_retry(struct conn *conn)
{
    conn->address_count = conn->address_at = 0; /* the name may lead elsewhere by then */
    bool was_good = conn->answered;
    conn->answered = false;
    if (was_good) {
        conn->attempts = 0;
        conn->retry_ns = 0;
    } else {
        conn->retry_ns = conn->queue->now_ns + conn_backoff_ns(conn, conn->attempts);
    }
}

static bool set_options(int fd)
{
    const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, (int)UNACKNOWLEDGED_MS},
    };
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        if (setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof options[i].value) != 0)
            return false;
    }
    return true;
}

/** Begin to connect to the current address. false: it failed at once, and last_error says why. */
static bool try_address(struct conn *conn)
{
    const struct sockaddr *address = (const struct sockaddr *)&conn->addresses[conn->address_at];
    const char *step = "socket";
    int rc = -1;
    conn->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn->fd < 0)
        goto failed;
    step = "setsockopt";
    if (!set_options(conn->fd))
        goto failed;
    step = "connect";
    rc = connect(conn->fd, address, conn->address_lengths[conn->address_at]);
    if (rc != 0 && errno != EINPROGRESS)
        goto failed;
    step = "epoll_ctl";
    if (!queue_watch(conn, EPOLLOUT))
        goto failed;
    conn->state = CONN_CONNECTING;
    conn_set_timer(conn, conn->queue->now_ns + (uint64_t)conn->queue->grid->connect_timeout_ms * 1000000u);
    if (rc == 0)
        conn_connected(conn);
    return true;
failed:
    err_sys(&conn->last_error, errno, "%s", step);
    conn_disconnect(conn);
    return false;
}

/** Try the addresses from the current one on; when all have failed, plan the next attempt. */
static void try_addresses(struct conn *conn)
{
    for (; conn->address_at < conn->address_count; conn->address_at++) {
        if (try_address(conn))
            return;
    }
    conn_plan_retry(conn);
    if (conn->waiting > 0)
        conn_set_timer(conn, conn->retry_ns);
}

void conn_start(struct conn *conn)
{
    MC_ASSERT(conn->state == CONN_DOWN);
    const struct config_node *node = &conn->queue->grid->config.node[conn->node];
    conn->attempts++;
    conn->address_at = 0;
    conn->address_count = 0;
    enum mcomp_status status = config_resolve(&node->address, false, conn->addresses, conn->address_lengths, ADDRESSES_MAX,
                                              &conn->address_count, &conn->last_error);
    if (status != MCOMP_OK)
        conn->address_count = 0;
    try_addresses(conn);
}

void conn_attempt_failed(struct conn *conn, const struct err *why)
{
    struct err copy = *why;
    conn_disconnect(conn);
    conn->last_error = copy;
    conn->address_at++;
    try_addresses(conn);
}

void conn_connected(struct conn *conn)
{
    struct err why;
    int error = 0;
    socklen_t bytes = sizeof error;
    if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &bytes) != 0)
        error = errno;
    if (error == 0 && !queue_watch(conn, EPOLLIN))
        error = errno;
    if (error != 0) {
        err_sys(&why, error, "connect");
        conn_attempt_failed(conn, &why);
        return;
    }
    conn->state = CONN_HELLO;
    hello_put(conn);
    conn_mark_dirty(conn);
}

void conn_ready(struct conn *conn, uint64_t max_message)
{
    conn->state = CONN_READY;
    conn->max_message = max_message;
    conn->touched_ns = conn->queue->now_ns;
    conn->timer_ns = NEVER;
    conn_mark_dirty(conn);
}
