/* SPDX-License-Identifier: Apache-2.0 */
/** Output of a connection: batches, direct sends, what the socket did not take. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/clock.h"
#include "server/conn.h"
#include "server/io.h"

#define OUT_KEEP_BYTES 4096u /* a drained buffer larger than this is given back */

static void count_unsent(struct conn *conn, size_t before)
{
    size_t now = conn->out_end - conn->out_at;
    atomic_fetch_add_explicit(&conn->io->server->buffered_out, (uint64_t)now - before, memory_order_relaxed);
}

void conn_drop_out(struct conn *conn)
{
    size_t before = conn->out_end - conn->out_at;
    free(conn->out);
    conn->out = NULL;
    conn->out_at = conn->out_end = conn->out_capacity = 0;
    if (before)
        count_unsent(conn, before);
}

/** Make room for `bytes` behind out_end. */
static bool grow_out(struct conn *conn, size_t bytes)
{
    if (conn->out_capacity - conn->out_end >= bytes)
        return true;
    if (conn->out_at) {
        memmove(conn->out, conn->out + conn->out_at, conn->out_end - conn->out_at);
        conn->out_end -= conn->out_at;
        conn->out_at = 0;
    }
    if (conn->out_capacity - conn->out_end >= bytes)
        return true;
    size_t capacity = conn->out_end + bytes;
    if (conn->out_capacity && capacity < conn->out_capacity * 2)
        capacity = conn->out_capacity * 2;
    uint8_t *larger = realloc(conn->out, capacity);
    if (!larger) {
        conn->broken = true;
        conn_log(conn, MCOMP_RESOURCE_EXHAUSTED, "send", "out of memory for responses; closing");
        return false;
    }
    conn->out = larger;
    conn->out_capacity = capacity;
    return true;
}

static void keep_unsent(struct conn *conn, const void *bytes, size_t count)
{
    if (count == 0 || conn->broken || !grow_out(conn, count))
        return;
    size_t before = conn->out_end - conn->out_at;
    memcpy(conn->out + conn->out_end, bytes, count);
    conn->out_end += count;
    count_unsent(conn, before);
}

uint8_t *conn_reserve(struct conn *conn, size_t bytes)
{
    struct io *io = conn->io;
    MC_ASSERT(bytes <= IO_OUT_BYTES);
    if (!conn_has_unsent(conn) && IO_OUT_BYTES - io->out_used < bytes)
        conn_flush(conn);
    if (!conn_has_unsent(conn))
        return io->out + io->out_used;
    return grow_out(conn, bytes) ? conn->out + conn->out_end : NULL;
}

void conn_commit(struct conn *conn, const uint8_t *end)
{
    struct io *io = conn->io;
    if (!conn_has_unsent(conn)) {
        io->out_used = (size_t)(end - io->out);
        return;
    }
    size_t before = conn->out_end - conn->out_at;
    conn->out_end = (size_t)(end - conn->out);
    count_unsent(conn, before);
}

/** Bytes that the socket took; 0 when it takes none now or is broken. */
static size_t send_some(struct conn *conn, struct iovec *parts, size_t count)
{
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
    ssize_t n;
    do
        n = sendmsg(conn->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        if (errno != EAGAIN && errno != EWOULDBLOCK)
            conn->broken = true;
        return 0;
    }
    if (n > 0) {
        conn->active_ns = clock_mono_ns();
        stat_add(&conn->io->stats.bytes_out, (uint64_t)n);
    }
    return (size_t)n;
}

static void send_kept(struct conn *conn)
{
    struct iovec part = {conn->out + conn->out_at, conn->out_end - conn->out_at};
    size_t before = part.iov_len;
    conn->out_at += send_some(conn, &part, 1);
    count_unsent(conn, before);
    if (conn_has_unsent(conn))
        return;
    conn->out_at = conn->out_end = 0;
    if (conn->out_capacity > OUT_KEEP_BYTES)
        conn_drop_out(conn);
}

void conn_flush(struct conn *conn)
{
    struct io *io = conn->io;
    if (conn->broken) {
        io->out_used = 0;
        return;
    }
    if (conn_has_unsent(conn)) {
        MC_ASSERT(io->out_used == 0);
        send_kept(conn);
        return;
    }
    if (io->out_used == 0)
        return;
    struct iovec part = {io->out, io->out_used};
    size_t sent = send_some(conn, &part, 1);
    size_t left = io->out_used - sent;
    io->out_used = 0;
    keep_unsent(conn, io->out + sent, left);
}

void conn_send_direct(struct conn *conn, const uint8_t *header, size_t header_bytes, const void *data, size_t data_bytes)
{
    struct io *io = conn->io;
    MC_ASSERT(!conn_has_unsent(conn));
    struct iovec parts[3] = {{io->out, io->out_used}, {(void *)header, header_bytes}, {(void *)data, data_bytes}};
    size_t sent = conn->broken ? 0 : send_some(conn, parts, 3);
    io->out_used = 0;
    for (size_t i = 0; i < 3; i++) {
        size_t skip = sent < parts[i].iov_len ? sent : parts[i].iov_len;
        sent -= skip;
        keep_unsent(conn, (const uint8_t *)parts[i].iov_base + skip, parts[i].iov_len - skip);
    }
}

void conn_append(struct conn *conn, uint8_t *bytes, size_t count)
{
    if (conn->out_end == conn->out_at) { /* take the buffer over */
        free(conn->out);
        conn->out = bytes;
        conn->out_at = 0;
        conn->out_end = conn->out_capacity = count;
        count_unsent(conn, 0);
        return;
    }
    keep_unsent(conn, bytes, count);
    free(bytes);
}
