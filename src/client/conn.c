/* SPDX-License-Identifier: Apache-2.0 */
/** A connection: what waits for it, and what becomes of it all when it is made, lost, refused or paused. connect.c makes it. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/transact.h"

#define PROBE_AFTER_NS 1000000u /* a connection idle for this long is looked at before it is used: the node may have closed it */

struct conn *conn_get(struct mcomp_queue *queue, uint32_t node)
{
    struct conn *conn = queue->conns[node];
    if (conn)
        return conn;
    conn = calloc(1, sizeof *conn);
    if (!conn)
        return NULL;
    conn->queue = queue;
    conn->node = node;
    conn->fd = -1;
    conn->timer_ns = NEVER;
    queue->conns[node] = conn;
    queue->used_nodes[queue->used_count++] = node;
    return conn;
}

/* ---- what waits ---- */

void conn_mark_dirty(struct conn *conn)
{
    if (conn->dirty)
        return;
    conn->dirty = true;
    conn->next_dirty = conn->queue->dirty;
    conn->queue->dirty = conn;
}

void conn_insert_after(struct conn *conn, struct piece *before, struct piece *piece)
{
    struct piece *after = before ? before->next : conn->head;
    piece->state = PIECE_WAITING;
    piece->prev = before;
    piece->next = after;
    if (before)
        before->next = piece;
    else
        conn->head = piece;
    if (after)
        after->prev = piece;
    else
        conn->tail = piece;
    conn->waiting++;
}

void conn_append(struct conn *conn, struct piece *piece)
{
    conn_insert_after(conn, conn->tail, piece);
    conn_mark_dirty(conn);
}

void conn_prepend(struct conn *conn, struct piece *piece)
{
    conn_insert_after(conn, NULL, piece);
}

void conn_remove(struct conn *conn, struct piece *piece)
{
    MC_ASSERT(piece->state == PIECE_WAITING && conn->waiting > 0);
    if (piece->prev)
        piece->prev->next = piece->next;
    else
        conn->head = piece->next;
    if (piece->next)
        piece->next->prev = piece->prev;
    else
        conn->tail = piece->prev;
    piece->next = piece->prev = NULL;
    conn->waiting--;
}

void conn_set_timer(struct conn *conn, uint64_t at_ns)
{
    conn->timer_ns = at_ns;
    if (at_ns < conn->queue->conn_timer_ns)
        conn->queue->conn_timer_ns = at_ns;
}

/* ---- ends ---- */

/** Close the socket and forget what belongs to it. Pieces are left as they are. */
void conn_disconnect(struct conn *conn)
{
    if (conn->fd >= 0) {
        queue_watch(conn, 0);
        close(conn->fd);
    }
    conn->fd = -1;
    conn->epoch++;
    conn->state = CONN_DOWN;
    conn->blocked = conn->broken = false;
    conn->refusals = 0;
    conn->resume_ns = 0;
    conn->timer_ns = NEVER;
    conn->rest_at = conn->rest_end = 0;
    free(conn->tail_owned);
    conn->tail_owned = NULL;
    conn->tail_data = NULL;
    conn->tail_bytes = 0;
    conn->partly = NULL;
    conn_drop_input(conn);
}

void conn_close(struct conn *conn)
{
    if (!conn)
        return;
    sessions_close(conn);
    conn_disconnect(conn);
    free(conn->held);
    free(conn);
}

/** What becomes of one piece that was under way on a lost connection. */
static void sort_out(struct conn *conn, struct piece *piece, const struct piece *partly, const struct err *why, bool faulty)
{
    conn->under_way--;
    conn->under_way_bytes -= piece->length;
    if (piece->state == PIECE_GHOST)
        slots_give(&conn->queue->slots, piece);
    else if (piece->op->role == OP_ATTEMPT)
        attempt_piece_lost(piece, piece == partly, why);
    else if (piece == partly || (!faulty && op_may_repeat(piece))) /* the node cannot have obeyed half a frame */
        conn_prepend(conn, piece);
    else
        op_piece_failed(piece, MCOMP_MAYBE, why);
}

void conn_lost(struct conn *conn, const struct err *why, bool faulty)
{
    struct mcomp_queue *queue = conn->queue;
    if (conn->state != CONN_READY) {
        conn_attempt_failed(conn, why);
        return;
    }
    struct err copy = *why; /* it may be conn's own, which does not outlive a new attempt */
    const struct piece *partly = conn->partly;
    conn_disconnect(conn);
    conn->last_error = copy;
    conn_plan_retry(conn);
    conn_mark_dirty(conn);
    /* From the back, so that what is prepended is in its old order. Callbacks may submit more; that is not under way yet. */
    for (uint32_t i = queue->slots.chunk_count * SLOTS_CHUNK; i-- > 0 && conn->under_way > 0;) {
        struct piece *piece = slots_at(&queue->slots, i);
        if (piece->state >= PIECE_SENT && piece->conn == conn)
            sort_out(conn, piece, partly, &copy, faulty);
    }
    MC_ASSERT(conn->under_way == 0 && conn->under_way_bytes == 0);
}

void conn_refused(struct conn *conn, const struct err *why)
{
    struct err copy = *why;
    MC_ASSERT(conn->under_way == 0);
    conn_disconnect(conn);
    conn->last_error = copy;
    conn_plan_retry(conn);
    for (uint32_t left = conn->waiting; left > 0 && conn->head; left--) { /* not what the callbacks add */
        struct piece *piece = conn->head;
        conn_remove(conn, piece);
        op_piece_failed(piece, MCOMP_NOT_DONE, &copy);
    }
}

void conn_pause(struct conn *conn, const struct err *why)
{
    uint64_t now = conn->queue->now_ns;
    conn->refusal = *why;
    if (conn->refusals == 0 || conn->resume_ns <= now) {
        conn->refusals++;
        conn->resume_ns = now + conn_backoff_ns(conn, conn->refusals);
        conn_set_timer(conn, conn->resume_ns);
    }
}

/* ---- progress ---- */

/** A node may close a connection that is idle, and one that was restarted has closed it. Better to see that now than to send a write
 *  there and not know what became of it. */
static void probe_idle(struct conn *conn)
{
    char byte;
    ssize_t n = recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
        return;
    struct err why;
    if (n == 0)
        err_set(&why, MCOMP_UNAVAILABLE, "the node closed the connection while it was idle");
    else
        err_sys(&why, errno, "connection lost while it was idle");
    conn_lost(conn, &why, false); /* nothing is under way: nothing calls back */
}

void conn_flush(struct conn *conn)
{
    uint64_t now = conn->queue->now_ns;
    bool idle = conn->state == CONN_READY && conn->under_way == 0 && !conn->broken && !conn->receiving;
    if (idle && conn->waiting > 0 && now > conn->touched_ns + PROBE_AFTER_NS)
        probe_idle(conn);
    if (conn->state == CONN_DOWN && conn->waiting > 0) {
        if (now < conn->retry_ns)
            conn_set_timer(conn, conn->retry_ns);
        else
            conn_start(conn);
    } else if (conn->state == CONN_HELLO || conn->state == CONN_READY) {
        conn_send(conn);
    }
}

void conn_on_event(struct conn *conn, bool readable, bool writable, bool failed)
{
    if (conn->state == CONN_CONNECTING) {
        if (writable || failed)
            conn_connected(conn);
        return;
    }
    if (writable && conn->blocked) {
        conn->blocked = false;
        queue_watch(conn, EPOLLIN);
        conn_mark_dirty(conn);
    }
    if (readable || failed)
        conn_receive(conn);
}

void conn_on_timer(struct conn *conn)
{
    struct err why;
    if (conn->broken) {
        conn_receive(conn);
        return;
    }
    switch ((enum conn_state)conn->state) {
    case CONN_DOWN:
    case CONN_READY: /* a pause is over */
        if (conn->waiting > 0)
            conn_mark_dirty(conn);
        break;
    case CONN_CONNECTING:
        err_set(&why, MCOMP_UNAVAILABLE, "no connection within %" PRIu32 " ms", conn->queue->grid->connect_timeout_ms);
        conn_attempt_failed(conn, &why);
        break;
    case CONN_HELLO:
        err_set(&why, MCOMP_UNAVAILABLE, "connected, but no answer to Hello within %" PRIu32 " ms", conn->queue->grid->connect_timeout_ms);
        conn_attempt_failed(conn, &why);
        break;
    }
}
