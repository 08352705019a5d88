/* SPDX-License-Identifier: Apache-2.0 */
/** Receiving. Answers come into the queue's buffer, many with one system call, and are taken from there. What is left at the end is the
 *  beginning of an answer; it is
 *      held    copied aside, when short, to stand before what comes next;
 *      direct  when it is long data of a read: this part is copied to its place and the rest is received there;
 *      frame   else, given memory for the whole frame.
 *  What came with the end of direct data is again received into the buffer, by the same system call. */
#include "client/engine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define TURNS_MAX 64u           /* then others have their turn; the socket is still readable */
#define BEHIND_DIRECT_BYTES 1024u /* taken along behind direct data: the beginnings of the next answers, not much of their data, which would be copied */
#define PEEK_BYTES 64u          /* what stands before the data of an answer to a read is shorter */

enum received { RECEIVED_SOME, RECEIVED_ALL, RECEIVED_END };

void conn_drop_input(struct conn *conn)
{
    conn->held_bytes = 0;
    conn->direct = NULL;
    conn->direct_to = NULL;
    conn->direct_left = 0;
    free(conn->frame);
    conn->frame = NULL;
    conn->frame_at = conn->frame_bytes = 0;
}

static bool no_memory(struct conn *conn, uint64_t bytes)
{
    err_set(&conn->fault, MCOMP_RESOURCE_EXHAUSTED, "out of memory for an answer of %" PRIu64 " bytes", bytes);
    return false;
}

/* ---- the beginning of an answer ---- */

static bool hold(struct conn *conn, const uint8_t *bytes, size_t count)
{
    MC_ASSERT(count <= HELD_BYTES);
    if (!conn->held)
        conn->held = malloc(HELD_BYTES);
    if (!conn->held)
        return no_memory(conn, count);
    memcpy(conn->held, bytes, count);
    conn->held_bytes = count;
    return true;
}

static bool begin_direct(struct conn *conn, uint64_t id, uint64_t data_bytes, const uint8_t *data, size_t available)
{
    struct piece *piece = conn_find(conn, id);
    if (!piece)
        return false;
    if (piece->kind != WIRE_OP_READ || piece->length != data_bytes)
        return conn_fault(conn, "%" PRIu64 " bytes of data do not answer what was asked", data_bytes);
    conn->direct = piece;
    conn->direct_to = piece->state == PIECE_GHOST ? NULL : piece->data;
    conn->direct_left = data_bytes - available;
    if (conn->direct_to) {
        memcpy(conn->direct_to, data, available);
        conn->direct_to += available;
    }
    return true;
}

static bool begin_frame(struct conn *conn, const uint8_t *bytes, size_t available, uint64_t body)
{
    conn->frame = malloc(body);
    if (!conn->frame)
        return no_memory(conn, body);
    memcpy(conn->frame, bytes, available);
    conn->frame_at = available;
    conn->frame_bytes = body;
    return true;
}

/** header: bytes of the frame's prefix, 0 when that is not complete; body: bytes of its message. */
static bool begin(struct conn *conn, const uint8_t *bytes, size_t available, size_t header, uint64_t body)
{
    size_t there = available - header;
    if (header == 0 || body < DIRECT_BYTES || there < PEEK_BYTES)
        return hold(conn, bytes, available);
    uint64_t id, data_bytes;
    size_t data_at;
    if (conn->state == CONN_READY && wire_response_peek_read(bytes + header, there, body, &id, &data_at, &data_bytes))
        return begin_direct(conn, id, data_bytes, bytes + header + data_at, there - data_at);
    if (header + body <= HELD_BYTES)
        return hold(conn, bytes, available);
    return begin_frame(conn, bytes + header, there, body);
}

/* ---- answers ---- */

static uint64_t frame_limit(const struct conn *conn)
{
    return conn->state == CONN_READY ? conn->max_message + FRAME_OVERHEAD_BYTES : FRAME_OVERHEAD_BYTES;
}

/** false: the connection is at its end. */
static bool take_answers(struct conn *conn, const uint8_t *at, size_t count)
{
    const uint8_t *end = at + count;
    while (at < end) {
        size_t header;
        uint64_t body;
        switch (wire_frame_peek(at, (size_t)(end - at), frame_limit(conn), &header, &body)) {
        case WIRE_FRAME_WHOLE:
            if (!conn_answer(conn, at + header, body))
                return false;
            at += header + body;
            break;
        case WIRE_FRAME_PART:
            return begin(conn, at, (size_t)(end - at), header, body);
        case WIRE_FRAME_BAD:
            if (body)
                return conn_fault(conn, "a message of %" PRIu64 " bytes is over the limit of %" PRIu64, body, frame_limit(conn));
            return conn_fault(conn, "this is no frame");
        }
    }
    return true;
}

/* ---- system calls ---- */

/** > 0: bytes. RECEIVED_ALL or RECEIVED_END in *how else. */
static size_t receive_into(struct conn *conn, struct iovec *iov, size_t iovs, enum received *how)
{
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = iovs};
    ssize_t n;
    do {
        n = iovs == 1 ? recv(conn->fd, iov->iov_base, iov->iov_len, MSG_DONTWAIT) : recvmsg(conn->fd, &message, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        size_t asked = iov[0].iov_len + (iovs > 1 ? iov[1].iov_len : 0);
        *how = (size_t)n < asked ? RECEIVED_ALL : RECEIVED_SOME;
        return (size_t)n;
    }
    *how = n < 0 && errno == EAGAIN ? RECEIVED_ALL : RECEIVED_END;
    if (*how == RECEIVED_END && !conn->broken) {
        if (n == 0)
            err_set(&conn->fault, MCOMP_UNAVAILABLE, "the node closed the connection");
        else
            err_sys(&conn->fault, errno, "connection lost");
        conn->broken = true;
    }
    return 0;
}

static enum received receive_batch(struct conn *conn)
{
    uint8_t *buffer = conn->queue->received;
    size_t held = conn->held_bytes;
    enum received how;
    if (held)
        memcpy(buffer, conn->held, held);
    struct iovec iov = {buffer + held, RECEIVE_BYTES - held};
    size_t n = receive_into(conn, &iov, 1, &how);
    if (n == 0)
        return how;
    conn->held_bytes = 0;
    return take_answers(conn, buffer, held + n) ? how : RECEIVED_END;
}

static enum received receive_direct(struct conn *conn)
{
    uint8_t *buffer = conn->queue->received;
    bool dropped = !conn->direct_to;
    struct iovec iov[2] = {{conn->direct_to, conn->direct_left}, {buffer, BEHIND_DIRECT_BYTES}};
    if (dropped)
        iov[0] = (struct iovec){buffer, conn->direct_left < RECEIVE_BYTES ? conn->direct_left : RECEIVE_BYTES};
    enum received how;
    size_t n = receive_into(conn, iov, dropped ? 1 : 2, &how);
    size_t here = n < conn->direct_left ? n : conn->direct_left;
    conn->direct_left -= here;
    if (!dropped)
        conn->direct_to += here;
    if (n == 0 || conn->direct_left > 0)
        return how;
    struct piece *piece = conn->direct;
    conn->direct = NULL;
    conn->direct_to = NULL;
    conn_piece_answered(conn, piece);
    return take_answers(conn, buffer, n - here) ? how : RECEIVED_END;
}

static enum received receive_frame(struct conn *conn)
{
    enum received how;
    struct iovec iov = {conn->frame + conn->frame_at, conn->frame_bytes - conn->frame_at};
    conn->frame_at += receive_into(conn, &iov, 1, &how);
    if (conn->frame_at < conn->frame_bytes)
        return how;
    uint8_t *frame = conn->frame;
    conn->frame = NULL;
    bool ok = conn_answer(conn, frame, conn->frame_bytes);
    free(frame);
    return ok ? how : RECEIVED_END;
}

void conn_receive(struct conn *conn)
{
    enum received how = RECEIVED_SOME;
    uint32_t epoch = conn->epoch;
    conn->touched_ns = conn->queue->now_ns;
    conn->receiving = true;
    for (unsigned turn = 0; how == RECEIVED_SOME && turn < TURNS_MAX; turn++) {
        if (conn->frame)
            how = receive_frame(conn);
        else if (conn->direct)
            how = receive_direct(conn);
        else
            how = receive_batch(conn);
        arena_reset(&conn->queue->receive_arena);
    }
    conn->receiving = false;
    if (conn->epoch != epoch) /* refused by the node, and dealt with */
        return;
    if (how == RECEIVED_END || conn->broken) /* an answer that makes no sense leaves broken unset */
        conn_lost(conn, &conn->fault, !conn->broken);
}
