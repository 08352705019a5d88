/* SPDX-License-Identifier: Apache-2.0 */
/** Input of a connection: receive, cut into frames, execute, keep what must wait. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "server/conn.h"
#include "server/io.h"

#define LARGE_FRAME_BYTES (IO_IN_BYTES / 2) /* larger frames are received into a buffer of their own */
#define AHEAD 32u                           /* requests decoded ahead of execution; a power of two */

/** Before Hello nobody has a reason to send much. */
static uint64_t frame_limit(const struct conn *conn)
{
    return FRAME_OVERHEAD_BYTES + (conn->hello_done ? conn->io->server->exec.max_message : 0);
}

bool conn_may_execute(const struct conn *conn)
{
    return conn->state == CONN_OPEN && !conn->broken && !conn->parked && !conn_has_unsent(conn) && conn->jobs < CONN_JOBS_MAX;
}

/* ---- pending input ---- */

static void set_pending_used(struct conn *conn, size_t used)
{
    atomic_fetch_add_explicit(&conn->io->server->buffered_in, (uint64_t)used - conn->pending_used, memory_order_relaxed);
    conn->pending_used = used;
}

static void unlink_large(struct conn *conn)
{
    struct io *io = conn->io;
    if (!conn->large)
        return;
    conn->large = false;
    *(conn->large_prev ? &conn->large_prev->large_next : &io->large_first) = conn->large_next;
    *(conn->large_next ? &conn->large_next->large_prev : &io->large_last) = conn->large_prev;
    conn->large_prev = conn->large_next = NULL;
}

static void link_large(struct conn *conn)
{
    struct io *io = conn->io;
    conn->large = true;
    conn->large_next = NULL;
    conn->large_prev = io->large_last;
    *(io->large_last ? &io->large_last->large_next : &io->large_first) = conn;
    io->large_last = conn;
}

void conn_drop_pending(struct conn *conn)
{
    unlink_large(conn);
    if (!conn->pending)
        return;
    set_pending_used(conn, 0);
    free(conn->pending);
    conn->pending = NULL;
    conn->pending_capacity = 0;
}

/** Keep the unexecuted rest of a receive. A large frame gets a buffer of its whole size at once: memory that was not written yet costs nothing. */
static void keep_pending(struct conn *conn, const uint8_t *bytes, size_t count)
{
    MC_ASSERT(conn->pending == NULL);
    if (count == 0 || conn->broken || conn->state != CONN_OPEN)
        return;
    size_t header, capacity = count;
    uint64_t body;
    bool part = wire_frame_peek(bytes, count, frame_limit(conn), &header, &body) == WIRE_FRAME_PART;
    bool large = part && header && header + body > LARGE_FRAME_BYTES;
    if (large)
        capacity = header + body;
    conn->pending = malloc(capacity);
    if (!conn->pending) {
        conn->broken = true;
        conn_log(conn, MCOMP_RESOURCE_EXHAUSTED, "receive", "out of memory for a request; closing");
        return;
    }
    conn->pending_capacity = capacity;
    memcpy(conn->pending, bytes, count);
    set_pending_used(conn, count);
    if (large)
        link_large(conn);
}

/* ---- executing ---- */

/** A request that is decoded and not executed yet. */
struct ahead {
    struct wire_request request;
    bool decoded;        /* the frame does hold a request */
    const uint8_t *body;
    size_t bytes;
    size_t end;          /* where the next frame begins */
};

/** Decode the frame at [bytes + at, bytes + count) and let the processor fetch what it will touch. */
static enum wire_frame look_ahead(struct conn *conn, const uint8_t *bytes, size_t count, size_t at, struct ahead *ahead)
{
    struct exec *exec = &conn->io->server->exec;
    size_t header;
    uint64_t body;
    enum wire_frame kind = wire_frame_peek(bytes + at, count - at, frame_limit(conn), &header, &body);
    if (kind != WIRE_FRAME_WHOLE)
        return kind;
    ahead->body = bytes + at + header;
    ahead->bytes = body;
    ahead->end = at + header + body;
    ahead->decoded = wire_request_decode(&ahead->request, ahead->body, body, &conn->io->arena);
    if (ahead->decoded)
        exec_prefetch(exec, &ahead->request);
    return kind;
}

static void refuse_frame_at(struct conn *conn, const uint8_t *bytes, size_t count)
{
    size_t header;
    uint64_t body, limit = frame_limit(conn);
    if (wire_frame_peek(bytes, count, limit, &header, &body) == WIRE_FRAME_BAD)
        conn_refuse_frame(conn, body, limit);
}

/** Execute frames of [bytes, bytes+count) until they end or must wait. Returns how many bytes are done with. Requests are decoded some
 *  way ahead of their execution, so that their memory is on its way to the cache meanwhile: at random addresses that takes longer than all else. */
static size_t consume_batch(struct conn *conn, const uint8_t *bytes, size_t count)
{
    struct ahead window[AHEAD];
    size_t done = 0, scanned = 0; /* offsets: executed, decoded */
    unsigned first = 0, last = 0;
    bool more = true;
    while (conn_may_execute(conn)) {
        unsigned room = conn->hello_done ? AHEAD : 1; /* Hello changes how the next frame is judged */
        while (more && last - first < room && scanned < count) {
            struct ahead *next = &window[last % AHEAD];
            more = look_ahead(conn, bytes, count, scanned, next) == WIRE_FRAME_WHOLE;
            if (more) {
                scanned = next->end;
                last++;
            }
        }
        if (first == last)
            break;
        struct ahead *ahead = &window[first % AHEAD];
        if (!conn_execute(conn, ahead->decoded, &ahead->request, ahead->body, ahead->bytes, NULL))
            return done;
        done = ahead->end;
        first++;
    }
    if (first == last && conn_may_execute(conn))
        refuse_frame_at(conn, bytes + done, count - done);
    return done;
}

/** The same, answers sent. The flush may make room that the batch had run out of: then there is no event to wait for, and the next batch
 *  follows at once. */
static size_t consume(struct conn *conn, const uint8_t *bytes, size_t count)
{
    size_t at = 0, done;
    do {
        done = consume_batch(conn, bytes + at, count - at);
        at += done;
        conn_flush(conn);
    } while (done && at < count && conn_may_execute(conn));
    return at;
}

/** A large frame is complete: execute it; a job takes its buffer over instead of copying it. */
static void consume_large(struct conn *conn)
{
    size_t header;
    uint64_t body;
    enum wire_frame kind = wire_frame_peek(conn->pending, conn->pending_used, frame_limit(conn), &header, &body);
    MC_ASSERT(kind == WIRE_FRAME_WHOLE && header + body == conn->pending_used);
    if (!conn_may_execute(conn))
        return;
    const uint8_t *at = conn->pending + header;
    struct wire_request request;
    bool decoded = wire_request_decode(&request, at, body, &conn->io->arena);
    if (!conn_execute(conn, decoded, &request, at, body, &conn->pending))
        return;
    if (!conn->pending) { /* taken over: the job accounts for it now */
        set_pending_used(conn, 0);
        conn->pending_capacity = 0;
    }
    conn_drop_pending(conn);
}

static bool large_complete(const struct conn *conn)
{
    return conn->large && conn->pending_used == conn->pending_capacity;
}

/** Receive up to `room` bytes at `to`. Returns bytes; 0 when there are none now, or the connection ended (state tells). */
static size_t receive_some(struct conn *conn, uint8_t *to, size_t room)
{
    ssize_t n;
    do
        n = recv(conn->fd, to, room, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        conn->active_ns = clock_mono_ns();
        stat_add(&conn->io->stats.bytes_in, (uint64_t)n);
        return (size_t)n;
    }
    if (n == 0)
        conn->state = CONN_CLOSING; /* the client sends no more; it may still read its answers */
    else if (errno != EAGAIN && errno != EWOULDBLOCK)
        conn->broken = true;
    return 0;
}

static void receive_large(struct conn *conn)
{
    struct io *io = conn->io;
    if (server_over_budget(io->server) && io->large_first != conn) { /* the oldest goes on, so that it comes to an end */
        conn_park(conn, false);
        return;
    }
    size_t n = receive_some(conn, conn->pending + conn->pending_used, conn->pending_capacity - conn->pending_used);
    set_pending_used(conn, conn->pending_used + n);
    if (large_complete(conn))
        consume_large(conn);
}

void conn_receive(struct conn *conn)
{
    struct io *io = conn->io;
    if (conn->large && !large_complete(conn)) {
        receive_large(conn);
        conn_flush(conn);
        return;
    }
    size_t used = conn->pending_used;
    MC_ASSERT(used < IO_IN_BYTES);
    if (used)
        memcpy(io->in, conn->pending, used);
    size_t n = receive_some(conn, io->in + used, IO_IN_BYTES - used);
    if (n == 0)
        return;
    conn_drop_pending(conn);
    size_t done = consume(conn, io->in, used + n);
    keep_pending(conn, io->in + done, used + n - done);
}

void conn_resume(struct conn *conn)
{
    if (!conn->pending || !conn_may_execute(conn))
        return;
    if (conn->large) {
        if (large_complete(conn))
            consume_large(conn);
        conn_flush(conn);
        return;
    }
    size_t count = conn->pending_used;
    size_t done = consume(conn, conn->pending, count);
    if (done == 0)
        return;
    uint8_t *old = conn->pending;
    set_pending_used(conn, 0);
    conn->pending = NULL;
    conn->pending_capacity = 0;
    keep_pending(conn, old + done, count - done);
    free(old);
}
