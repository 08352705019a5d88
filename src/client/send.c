/* SPDX-License-Identifier: Apache-2.0 */
/** Sending: what waits becomes a batch of frames and leaves with one system call. Headers and short data stand in the queue's batch buffer,
 *  long data is sent from the caller's memory. What the socket does not take waits again, so that it can still be withdrawn, save the
 *  rest of the one frame that it took in part. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "client/transact.h"

struct batch {
    struct iovec iov[BATCH_IOVECS];
    size_t iovs;
    uint8_t *at;  /* end of what stands in queue->batch */
    size_t bytes; /* of all iovecs */
    size_t rest;  /* of these, of conn's rest */
    struct piece *first, *last; /* chained by next */
    bool frames; /* some piece has a frame of its own */
};

static void add_bytes(struct batch *batch, const uint8_t *bytes, size_t count)
{
    struct iovec *last = batch->iovs ? &batch->iov[batch->iovs - 1] : NULL;
    batch->bytes += count;
    if (last && (const uint8_t *)last->iov_base + last->iov_len == bytes)
        last->iov_len += count;
    else
        batch->iov[batch->iovs++] = (struct iovec){(void *)bytes, count};
}

static bool has_room(const struct conn *conn, const struct batch *batch)
{
    return batch->iovs + 2 <= BATCH_IOVECS && batch->bytes < BATCH_DATA_BYTES &&
           (size_t)(conn->queue->batch + BATCH_BYTES - batch->at) >= REST_BYTES;
}

/** Data that is sent from where it lies. */
static bool is_by_reference(const struct piece *piece)
{
    bool long_data = (piece->kind == WIRE_OP_WRITE || piece->kind == WIRE_OP_RESTORE_DATA) && piece->length > INLINE_BYTES;
    return long_data || (piece_has_frame(piece) && piece->frame);
}

static const uint8_t *reference(const struct piece *piece, size_t *bytes)
{
    if (!is_by_reference(piece)) {
        *bytes = 0;
        return NULL;
    }
    *bytes = piece_has_frame(piece) ? piece->frame_bytes : piece->length;
    return piece_has_frame(piece) ? piece->frame : piece->data;
}

/* ---- encoding ---- */

/** What is left of the time in which the node is to have done it, rounded up; 0 = no bound. */
static uint32_t time_left_ms(const struct piece *piece, uint64_t now_ns)
{
    const struct op *op = piece->op;
    uint64_t deadline_ns = op->role == OP_PLAIN ? op->deadline_ns : NEVER;
    if (piece->kind == WIRE_OP_EXECUTE)
        deadline_ns = op->attempt->coordinator.vote_end_ns;
    if (deadline_ns == NEVER)
        return 0;
    if (deadline_ns <= now_ns)
        return 1;
    uint64_t ms = (deadline_ns - now_ns + 999999u) / 1000000u;
    return ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

static uint8_t *put_status_query(uint8_t *out, struct piece *piece, uint32_t timeout_ms)
{
    Mcomp__V1__StatusQuery query = MCOMP__V1__STATUS_QUERY__INIT;
    Mcomp__V1__Request request = MCOMP__V1__REQUEST__INIT;
    request.id = piece->id;
    request.timeout_ms = timeout_ms;
    request.op_case = MCOMP__V1__REQUEST__OP_STATUS;
    request.status = &query;
    return wire_put_message(out, &request.base);
}

/** Encode one piece at the end of the batch. false: no memory. */
static bool add_piece(struct conn *conn, struct batch *batch, struct piece *piece)
{
    struct mcomp_queue *queue = conn->queue;
    uint32_t timeout_ms = time_left_ms(piece, queue->now_ns);
    uint8_t *from = batch->at, *end = from;
    switch ((enum wire_op)piece->kind) {
    case WIRE_OP_READ:
        end = wire_put_read(from, piece->id, timeout_ms, piece->address, piece->length);
        break;
    case WIRE_OP_WRITE:
        end = wire_put_write_header(from, piece->id, timeout_ms, piece->address, piece->length);
        if (!is_by_reference(piece)) {
            memcpy(end, piece->data, piece->length);
            end += piece->length;
        }
        break;
    case WIRE_OP_FETCH_ADD:
        end = wire_put_fetch_add(from, piece->id, timeout_ms, piece->address, piece->operand);
        break;
    case WIRE_OP_COMPARE_AND_SWAP:
        end = wire_put_compare_and_swap(from, piece->id, timeout_ms, piece->address, piece->operand, piece->desired);
        break;
    case WIRE_OP_STATUS:
        end = put_status_query(from, piece, timeout_ms);
        piece->sent_ns = clock_mono_ns();
        break;
    case WIRE_OP_RESTORE_BEGIN:
    case WIRE_OP_RESTORE_DATA:
    case WIRE_OP_RESTORE_END:
        end = restore_encode(from, piece, timeout_ms);
        break;
    case WIRE_OP_LIST_TRANSACTIONS:
        end = prepared_encode(from, piece, timeout_ms);
        break;
    case WIRE_OP_OPEN_SESSION:
        end = session_encode_open(from, piece, timeout_ms);
        break;
    case WIRE_OP_DECIDE:
    case WIRE_OP_RESOLVE:
        end = txn_encode_other(from, piece, timeout_ms);
        break;
    case WIRE_OP_EXECUTE:
    case WIRE_OP_PREPARE:
        end = txn_encode_vote(from, REST_BYTES, piece, timeout_ms, &queue->send_arena);
        if (!end)
            return false;
        batch->frames = batch->frames || piece->frame;
        break;
    default:
        MC_ASSERT(piece->kind == WIRE_OP_MULTI);
        if (!multi_encode(piece, timeout_ms, &queue->send_arena))
            return false;
        batch->frames = true;
        break;
    }
    piece->batch_at = (uint32_t)(from - queue->batch);
    piece->batch_bytes = (uint32_t)(end - from);
    batch->at = end;
    if (end > from)
        add_bytes(batch, from, (size_t)(end - from));
    if (is_by_reference(piece)) {
        size_t bytes;
        const uint8_t *data = reference(piece, &bytes);
        add_bytes(batch, data, bytes);
    }
    return true;
}

/* ---- what to send next ---- */

static uint64_t request_bytes(const struct conn *conn, const struct piece *piece)
{
    if (piece->kind == WIRE_OP_EXECUTE || piece->kind == WIRE_OP_PREPARE)
        return piece->length; /* never cut */
    if (piece->kind == WIRE_OP_MULTI) {
        struct split_slice slice = piece_slice(piece);
        return split_slice_take(piece->op->multi->parts, &slice, conn->max_message, MULTI_RANGES_MAX);
    }
    uint64_t most = conn->max_message;
    if (piece->kind == WIRE_OP_RESTORE_DATA)
        most -= most % PAGE_BYTES; /* a restore goes by pages */
    return piece->length < most ? piece->length : most;
}

static void memory_short(struct piece *piece)
{
    struct err why;
    err_set(&why, MCOMP_RESOURCE_EXHAUSTED, "out of memory while sending");
    op_doom(piece->op, &why);
}

/** Take the next piece that may be sent off the list, in the size of one request. NULL: there is none for now. */
static struct piece *next_piece(struct conn *conn)
{
    struct piece *piece = conn->head;
    if (!piece || conn->under_way >= WINDOW_PIECES)
        return NULL;
    uint64_t bytes = request_bytes(conn, piece);
    if (conn->under_way > 0 && conn->under_way_bytes + bytes > WINDOW_BYTES)
        return NULL;
    if (bytes == piece->length)
        return conn_pop(conn);
    struct piece *front = op_cut(piece, bytes);
    if (!front) {
        memory_short(piece);
        return NULL;
    }
    conn_append(conn, conn_pop(conn)); /* the others have their turn before the rest of it */
    return front;
}

static void take(struct conn *conn, struct batch *batch, struct piece *piece)
{
    piece->state = PIECE_SENT;
    piece->next = NULL;
    if (batch->last)
        batch->last->next = piece;
    else
        batch->first = piece;
    batch->last = piece;
    conn->under_way++;
    conn->under_way_bytes += piece->length;
}

static void fill(struct conn *conn, struct batch *batch)
{
    batch->iovs = 0;
    batch->at = conn->queue->batch;
    batch->bytes = 0;
    batch->first = batch->last = NULL;
    batch->frames = false;
    if (conn->rest_at < conn->rest_end)
        add_bytes(batch, conn->rest + conn->rest_at, conn->rest_end - conn->rest_at);
    if (conn->tail_bytes > 0)
        add_bytes(batch, conn->tail_data, conn->tail_bytes);
    batch->rest = batch->bytes;
    if (conn->state != CONN_READY || conn->queue->now_ns < conn->resume_ns)
        return;
    while (has_room(conn, batch)) {
        struct piece *piece = next_piece(conn);
        if (!piece)
            return;
        if (!add_piece(conn, batch, piece)) {
            conn_prepend(conn, piece);
            memory_short(piece);
            return;
        }
        take(conn, batch, piece);
    }
}

/* ---- after sending ---- */

/** The socket took so many bytes of the rest. */
static void rest_sent(struct conn *conn, size_t sent)
{
    size_t head = conn->rest_end - conn->rest_at;
    if (sent < head) {
        conn->rest_at += sent;
        return;
    }
    conn->rest_at = conn->rest_end = 0;
    sent -= head;
    if (sent < conn->tail_bytes) {
        conn->tail_data += sent;
        conn->tail_bytes -= sent;
        return;
    }
    free(conn->tail_owned);
    conn->tail_owned = NULL;
    conn->tail_data = NULL;
    conn->tail_bytes = 0;
    conn->partly = NULL;
}

/** The socket took the first `sent` bytes of this piece's frame and no more. */
static void keep_rest(struct conn *conn, struct piece *piece, size_t sent)
{
    const uint8_t *head = conn->queue->batch + piece->batch_at;
    size_t head_sent = sent < piece->batch_bytes ? sent : piece->batch_bytes;
    size_t bytes;
    const uint8_t *data = reference(piece, &bytes);
    conn->partly = piece;
    conn->rest_at = 0;
    conn->rest_end = piece->batch_bytes - head_sent;
    memcpy(conn->rest, head + head_sent, conn->rest_end);
    conn->tail_bytes = bytes - (sent - head_sent);
    conn->tail_data = conn->tail_bytes ? data + (sent - head_sent) : NULL;
    if (bytes > 0 && piece_has_frame(piece)) {
        conn->tail_owned = piece->frame;
        piece->frame = NULL;
    }
}

/** Put a chain of pieces back to the front of those that wait, in order. */
static void put_back(struct conn *conn, struct piece *piece)
{
    for (struct piece *before = NULL, *next; piece; before = piece, piece = next) {
        next = piece->next;
        conn->under_way--;
        conn->under_way_bytes -= piece->length;
        if (piece_has_frame(piece))
            piece_drop_frame(piece);
        conn_insert_after(conn, before, piece);
    }
}

/** The socket took `sent` bytes, fewer than the batch has. */
static void settle(struct conn *conn, struct batch *batch, size_t sent)
{
    if (sent < batch->rest) {
        rest_sent(conn, sent);
        put_back(conn, batch->first);
        return;
    }
    if (batch->rest > 0)
        rest_sent(conn, batch->rest);
    sent -= batch->rest;
    for (struct piece *piece = batch->first, *next; piece; piece = next) {
        next = piece->next;
        size_t bytes;
        reference(piece, &bytes);
        bytes += piece->batch_bytes;
        if (sent == 0) {
            put_back(conn, piece);
            return;
        }
        if (sent < bytes) {
            keep_rest(conn, piece, sent);
            put_back(conn, next);
            return;
        }
        sent -= bytes;
        if (piece_has_frame(piece))
            piece_drop_frame(piece);
    }
}

static void all_sent(struct conn *conn, struct batch *batch)
{
    if (batch->rest > 0)
        rest_sent(conn, batch->rest);
    if (!batch->frames)
        return;
    for (struct piece *piece = batch->first; piece; piece = piece->next) {
        if (piece_has_frame(piece))
            piece_drop_frame(piece);
    }
}

static ssize_t send_batch(int fd, struct batch *batch)
{
    struct msghdr message = {.msg_iov = batch->iov, .msg_iovlen = batch->iovs};
    ssize_t n;
    do {
        if (batch->iovs == 1)
            n = send(fd, batch->iov[0].iov_base, batch->iov[0].iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
        else
            n = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n;
}

static void break_off(struct conn *conn)
{
    conn->broken = true;
    conn_set_timer(conn, 0);
}

void conn_send(struct conn *conn)
{
    while (!conn->blocked && !conn->broken) {
        struct batch batch;
        fill(conn, &batch);
        if (batch.bytes == 0)
            return;
        ssize_t n = send_batch(conn->fd, &batch);
        if (n >= 0 && (size_t)n == batch.bytes) {
            all_sent(conn, &batch);
            continue;
        }
        int error = errno;
        settle(conn, &batch, n < 0 ? 0 : (size_t)n);
        if (n >= 0 || error == EAGAIN) {
            conn->blocked = true;
            if (queue_watch(conn, EPOLLIN | EPOLLOUT))
                return;
            error = errno;
        }
        err_sys(&conn->fault, error, "send");
        break_off(conn);
    }
}

void conn_send_last(struct conn *conn, const uint8_t *bytes, size_t count)
{
    if (conn->blocked || conn->rest_at < conn->rest_end || conn->tail_bytes > 0)
        return;
    if (send(conn->fd, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        conn->broken = true;
}

void conn_keep_tail(struct conn *conn, const struct piece *piece)
{
    if (conn->partly != piece || conn->tail_bytes == 0 || conn->tail_owned)
        return;
    conn->tail_owned = malloc(conn->tail_bytes);
    if (!conn->tail_owned) {
        err_set(&conn->fault, MCOMP_RESOURCE_EXHAUSTED, "out of memory for the rest of a request that timed out while being sent");
        conn->tail_data = NULL;
        conn->tail_bytes = 0;
        break_off(conn);
        return;
    }
    memcpy(conn->tail_owned, conn->tail_data, conn->tail_bytes);
    conn->tail_data = conn->tail_owned;
}
