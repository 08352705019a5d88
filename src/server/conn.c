/* SPDX-License-Identifier: Apache-2.0 */
/** Life of a connection. */
#include "server/conn.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "server/io.h"
#include "server/resolving.h"

#define LINGER_NS 2000000000u   /* how long we wait for the client to read our last words */
#define CLOSING_NS 10000000000u /* a closing connection whose client takes nothing for so long is cut off */

/* ---- opening ---- */

static void reader_cb(struct ev_loop *loop, ev_io *watcher, int events);
static void writer_cb(struct ev_loop *loop, ev_io *watcher, int events);

static void set_options(int fd)
{
    int on = 1;
    /* Neither can fail on a TCP socket; on any other they do not matter. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

void conn_open(struct io *io, int fd)
{
    struct conn *conn = calloc(1, sizeof *conn);
    if (!conn) {
        close(fd);
        atomic_fetch_sub(&io->server->connections, 1);
        atomic_fetch_add(&io->server->refused, 1);
        return;
    }
    conn->io = io;
    conn->fd = fd;
    conn->number = atomic_fetch_add(&io->server->last_conn, 1) + 1;
    conn->active_ns = clock_mono_ns();
    struct sockaddr_storage address = {0};
    socklen_t bytes = sizeof address;
    if (getpeername(fd, (struct sockaddr *)&address, &bytes) == 0)
        oplog_client_set(&conn->client, &address);
    set_options(fd);
    conn->next = io->conns;
    if (io->conns)
        io->conns->prev = conn;
    io->conns = conn;
    ev_io_init(&conn->reader, reader_cb, fd, EV_READ);
    ev_io_init(&conn->writer, writer_cb, fd, EV_WRITE);
    conn->reader.data = conn->writer.data = conn;
    ev_io_start(io->loop, &conn->reader);
}

/* ---- events ---- */

/** Throw away what a client still sends after our last words. */
static void discard_input(struct conn *conn)
{
    ssize_t n = recv(conn->fd, conn->io->in, IO_IN_BYTES, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
        conn->broken = true; /* nothing is left to lose: close */
}

static void reader_cb(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    struct conn *conn = watcher->data;
    if (conn->state == CONN_LINGER)
        discard_input(conn);
    else
        conn_receive(conn);
    conn_settle(conn);
}

static void writer_cb(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)loop;
    (void)events;
    struct conn *conn = watcher->data;
    conn_flush(conn);
    conn_resume(conn);
    conn_settle(conn);
}

void conn_take_job(struct conn *conn, struct job *job)
{
    struct io *io = conn->io;
    MC_ASSERT(conn->jobs > 0 && io->jobs > 0);
    conn->jobs--;
    io->jobs--;
    atomic_fetch_sub_explicit(&io->server->buffered_in, job->held_bytes, memory_order_relaxed);
    if (job->reply && conn->state != CONN_DEAD && !conn->broken)
        conn_append(conn, job->reply, job->reply_bytes);
    else
        free(job->reply);
    if (!job->reply)
        conn->broken = true; /* an answer is missing: the client must not wait for it */
    free(job);
}

/* ---- settling and closing ---- */

void conn_park(struct conn *conn, bool job)
{
    struct io *io = conn->io;
    MC_ASSERT(!conn->parked);
    conn->parked = true;
    conn->parked_job = job;
    io->parked_jobs += job;
    conn->parked_next = NULL;
    conn->parked_prev = io->parked_last;
    *(io->parked_last ? &io->parked_last->parked_next : &io->parked_first) = conn;
    io->parked_last = conn;
    io->parked++;
}

static void unpark(struct conn *conn)
{
    struct io *io = conn->io;
    if (!conn->parked)
        return;
    conn->parked = false;
    *(conn->parked_prev ? &conn->parked_prev->parked_next : &io->parked_first) = conn->parked_next;
    *(conn->parked_next ? &conn->parked_next->parked_prev : &io->parked_last) = conn->parked_prev;
    io->parked--;
    io->parked_jobs -= conn->parked_job;
    conn->parked_job = false;
}

static void free_dead(struct conn *conn)
{
    struct io *io = conn->io;
    MC_ASSERT(conn->state == CONN_DEAD && conn->jobs == 0);
    *(conn->prev ? &conn->prev->next : &io->conns) = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    free(conn);
    if (io->draining && !io->conns)
        ev_break(io->loop, EVBREAK_ALL);
}

/** Close the socket and give all memory back; what remains waits for its jobs. */
static void bury(struct conn *conn)
{
    struct io *io = conn->io;
    ev_io_stop(io->loop, &conn->reader);
    ev_io_stop(io->loop, &conn->writer);
    close(conn->fd);
    conn->fd = -1;
    conn->state = CONN_DEAD;
    restoring_unclaim(io->server->exec.restoring, &conn->claim);
    if (conn->has_sessions)
        resolving_lost(io->server->resolving, conn->number);
    unpark(conn);
    conn_drop_pending(conn);
    conn_drop_out(conn);
    atomic_fetch_sub(&io->server->connections, 1);
}

/** A stopping server need not wait for a client whose machine has acknowledged all that was sent. */
static bool may_leave(const struct conn *conn)
{
    int unacknowledged;
    return conn->io->draining && ioctl(conn->fd, SIOCOUTQ, &unacknowledged) == 0 && unacknowledged == 0;
}

static void begin_linger(struct conn *conn)
{
    conn->state = CONN_LINGER;
    conn->active_ns = clock_mono_ns();
    if (may_leave(conn) || shutdown(conn->fd, SHUT_WR) < 0)
        conn->broken = true;
}

/** libev makes no system call for a watcher that is in the wanted state already. */
static void watch(struct conn *conn, ev_io *watcher, bool wanted)
{
    if (wanted)
        ev_io_start(conn->io->loop, watcher);
    else
        ev_io_stop(conn->io->loop, watcher);
}

void conn_settle(struct conn *conn)
{
    arena_reset(&conn->io->arena);
    conn->io->out_used = 0; /* whatever a broken connection left there */
    if (conn->io->draining && conn_may_execute(conn))
        conn->state = CONN_CLOSING; /* all that had come is executed */
    if (conn->state == CONN_CLOSING && !conn->broken) {
        conn_drop_pending(conn);
        unpark(conn);
        if (conn->jobs == 0 && !conn_has_unsent(conn))
            begin_linger(conn);
    }
    if (conn->broken && conn->state != CONN_DEAD)
        bury(conn);
    if (conn->state == CONN_DEAD) {
        if (conn->jobs == 0)
            free_dead(conn);
        return;
    }
    watch(conn, &conn->reader, conn_may_execute(conn) || conn->state == CONN_LINGER);
    watch(conn, &conn->writer, conn_has_unsent(conn));
}

void conn_cut(struct conn *conn)
{
    conn->broken = true;
    conn_settle(conn);
}

/* ---- time ---- */

/** Somebody always goes on, even over the budget: the oldest large frame, and a job where none is in flight. */
static bool may_unpark(const struct conn *conn)
{
    const struct io *io = conn->io;
    return !server_over_budget(io->server) || io->large_first == conn || io->jobs == 0;
}

void conn_take_turn(struct conn *conn)
{
    if (!may_unpark(conn))
        return;
    struct io *io = conn->io;
    io->turn = conn;
    unpark(conn);
    conn_resume(conn);
    conn_settle(conn);
    io->turn = NULL;
}

/** Why the connection must end now; NULL if it need not. */
static const char *overdue(const struct conn *conn, uint64_t now_ns)
{
    const struct server *server = conn->io->server;
    uint64_t silent_ns = now_ns > conn->active_ns ? now_ns - conn->active_ns : 0;
    if (conn->state == CONN_LINGER)
        return silent_ns > LINGER_NS || may_leave(conn) ? "" : NULL;
    if (conn->state == CONN_CLOSING)
        return conn->jobs == 0 && silent_ns > CLOSING_NS ? "the client did not take its last answers" : NULL;
    uint64_t stall_ns = server->config.server.stall_timeout_ns;
    if (stall_ns && silent_ns > stall_ns) {
        if (conn->pending && conn_may_execute(conn))
            return "half a frame came, and then nothing for stall_timeout";
        if (conn_has_unsent(conn) && server_over_budget(conn->io->server))
            return "the client takes no answers, and their memory is needed";
    }
    return NULL;
}

static bool is_idle(const struct conn *conn, uint64_t now_ns)
{
    uint64_t idle_ns = conn->io->server->config.server.idle_timeout_ns;
    return idle_ns && conn->state == CONN_OPEN && conn->jobs == 0 && !conn->parked && now_ns > conn->active_ns &&
           now_ns - conn->active_ns > idle_ns;
}

/** The client may not be to blame for its silence: a thread that was stopped, or long busy, has not looked. true: there was something. */
static bool look_again(struct conn *conn)
{
    uint64_t active_ns = conn->active_ns;
    if (!conn_may_execute(conn))
        return false;
    conn_receive(conn);
    return conn->active_ns != active_ns || conn->state != CONN_OPEN || conn->broken;
}

void conn_tick(struct conn *conn, uint64_t now_ns)
{
    if (conn->state == CONN_DEAD)
        return;
    const char *why = overdue(conn, now_ns);
    bool idle = is_idle(conn, now_ns);
    if ((why || idle) && look_again(conn)) {
        conn_settle(conn);
        return;
    }
    if (why) {
        if (*why) {
            conn_log(conn, MCOMP_DEADLINE_EXCEEDED, "close", why);
            stat_add(&conn->io->stats.connections_broken, 1);
        }
        conn_cut(conn);
        return;
    }
    if (idle)
        conn->state = CONN_CLOSING;
    conn_resume(conn);
    conn_settle(conn);
}

void conn_drain(struct conn *conn)
{
    if (conn->state == CONN_OPEN) {
        uint64_t active_ns = conn->active_ns;
        conn_resume(conn);
        if (conn_may_execute(conn) && !conn->large)
            conn_receive(conn);
        if (conn->active_ns == active_ns && conn->jobs == 0 && !conn_has_unsent(conn) && !conn->parked)
            conn->broken = true; /* an idle client has no last words of ours to read */
    }
    conn_settle(conn);
}
