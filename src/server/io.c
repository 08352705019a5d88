/* SPDX-License-Identifier: Apache-2.0 */
#include "server/io.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/conn.h"

#define LOG_LINES_PER_SECOND 10u
#define DRAIN_NS 5000000000u /* a stopping server waits this long for clients to take their answers */
#define DRAIN_TICK_S 0.02    /* and looks so often whether they have */

bool io_may_log(struct io *io)
{
    if (io->log_tokens == 0) {
        io->log_suppressed++;
        return false;
    }
    io->log_tokens--;
    return true;
}

/* ---- called by other threads ---- */

bool io_adopt(struct io *io, int fd)
{
    bool ok = true;
    pthread_mutex_lock(&io->inbox_lock);
    if (io->fd_count == io->fd_capacity) {
        size_t capacity = io->fd_capacity ? io->fd_capacity * 2 : 64;
        int *larger = realloc(io->fds, capacity * sizeof *larger);
        if (larger) {
            io->fds = larger;
            io->fd_capacity = capacity;
        }
        ok = larger != NULL;
    }
    if (ok)
        io->fds[io->fd_count++] = fd;
    pthread_mutex_unlock(&io->inbox_lock);
    if (ok)
        ev_async_send(io->loop, &io->wake);
    return ok;
}

bool io_job_grow(struct job *job, uint64_t bytes)
{
    struct server *server = job->io->server;
    if (server_over_budget(server))
        return false;
    atomic_fetch_add_explicit(&server->buffered_in, bytes, memory_order_relaxed);
    job->held_bytes += bytes;
    return true;
}

void io_job_done(struct job *job)
{
    struct io *io = job->io;
    job->next = NULL;
    pthread_mutex_lock(&io->inbox_lock);
    if (io->done_last)
        io->done_last->next = job;
    else
        io->done_first = job;
    io->done_last = job;
    pthread_mutex_unlock(&io->inbox_lock);
    ev_async_send(io->loop, &io->wake);
}

void io_drain(struct io *io)
{
    pthread_mutex_lock(&io->inbox_lock);
    io->stop = true;
    pthread_mutex_unlock(&io->inbox_lock);
    ev_async_send(io->loop, &io->wake);
}

/* ---- the loop's own ---- */

/** Call visit for each connection; it may free the one it is given. */
static void each_conn(struct io *io, void (*visit)(struct conn *conn))
{
    for (struct conn *conn = io->conns, *next; conn; conn = next) {
        next = conn->next;
        visit(conn);
    }
}

/** Answers of neighbouring jobs of one connection leave in one send. */
static void take_jobs(struct job *job)
{
    while (job) {
        struct job *next = job->next;
        struct conn *conn = job->conn;
        bool more = next && next->conn == conn;
        conn_take_job(conn, job);
        if (!more) {
            if (conn->state != CONN_DEAD) {
                conn_flush(conn);
                conn_resume(conn);
            }
            conn_settle(conn);
        }
        job = next;
    }
}

/** Give the room that there is to those that wait for it, in their order, each once. */
static void visit_parked(struct io *io)
{
    uint32_t left = io->parked;
    for (struct conn *conn = io->parked_first, *next; conn && left > 0; conn = next, left--) {
        next = conn->parked_next;
        conn_take_turn(conn);
    }
    MC_ASSERT(io->parked_jobs == 0 || io->jobs > 0);
}

static void wake_cb(struct ev_loop *loop, ev_async *watcher, int events)
{
    (void)events;
    struct io *io = watcher->data;
    pthread_mutex_lock(&io->inbox_lock);
    int *fds = io->fds;
    size_t fd_count = io->fd_count;
    io->fds = NULL;
    io->fd_count = io->fd_capacity = 0;
    struct job *done = io->done_first;
    io->done_first = io->done_last = NULL;
    bool stop = io->stop;
    pthread_mutex_unlock(&io->inbox_lock);

    for (size_t i = 0; i < fd_count; i++)
        conn_open(io, fds[i]);
    free(fds);
    take_jobs(done);
    if (done)
        visit_parked(io);
    if (stop && !io->draining) {
        io->draining = true;
        io->drain_end_ns = clock_mono_ns() + DRAIN_NS;
        io->tick.repeat = DRAIN_TICK_S;
        ev_timer_again(loop, &io->tick);
        each_conn(io, conn_drain);
    }
    if (io->draining && !io->conns)
        ev_break(loop, EVBREAK_ALL);
}

static void tick_visit(struct conn *conn)
{
    conn_tick(conn, clock_mono_ns());
}

static void tick_cb(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)events;
    struct io *io = watcher->data;
    io->log_tokens = LOG_LINES_PER_SECOND;
    if (io->log_suppressed) {
        char keys[64];
        snprintf(keys, sizeof keys, "suppressed=%" PRIu64, io->log_suppressed);
        log_line(LOG_WARN, "conn", "log", keys, "more lines about single connections than are logged in a second");
        io->log_suppressed = 0;
    }
    each_conn(io, tick_visit);
    visit_parked(io);
    if (io->draining && clock_mono_ns() > io->drain_end_ns)
        each_conn(io, conn_cut);
    if (io->draining && !io->conns)
        ev_break(loop, EVBREAK_ALL);
}

static void *io_main(void *arg)
{
    struct io *io = arg;
    ev_run(io->loop, 0);
    return NULL;
}

/* ---- life ---- */

void io_free(struct io *io)
{
    if (!io)
        return;
    if (io->loop)
        ev_loop_destroy(io->loop);
    arena_close(&io->arena);
    pthread_mutex_destroy(&io->inbox_lock);
    free(io->fds);
    free(io->in);
    free(io->out);
    free(io);
}

enum mcomp_status io_start(struct io **out, struct server *server, uint32_t index, struct err *err)
{
    struct io *io = aligned_alloc(_Alignof(struct io), sizeof *io);
    if (!io)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "out of memory for I/O thread %u", index);
    memset(io, 0, sizeof *io);
    pthread_mutex_init(&io->inbox_lock, NULL);
    arena_init(&io->arena);
    io->server = server;
    io->index = index;
    io->log_tokens = LOG_LINES_PER_SECOND;
    io->loop = ev_loop_new(EVFLAG_AUTO);
    io->in = malloc(IO_IN_BYTES);
    io->out = malloc(IO_OUT_BYTES);
    if (!io->loop || !io->in || !io->out) {
        io_free(io);
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "cannot make the event loop of I/O thread %u", index);
    }
    ev_async_init(&io->wake, wake_cb);
    ev_timer_init(&io->tick, tick_cb, 1., 1.);
    io->wake.data = io->tick.data = io;
    ev_async_start(io->loop, &io->wake);
    ev_timer_start(io->loop, &io->tick);
    int rc = pthread_create(&io->thread, NULL, io_main, io);
    if (rc != 0) {
        io_free(io);
        return err_sys(err, rc, "start I/O thread %u", index);
    }
    *out = io;
    return MCOMP_OK;
}

void io_join(struct io *io)
{
    if (!io)
        return;
    pthread_join(io->thread, NULL);
    MC_ASSERT(io->conns == NULL && io->jobs == 0);
}
