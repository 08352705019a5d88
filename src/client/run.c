/* SPDX-License-Identifier: Apache-2.0 */
/** Driving a queue: timers, sending, waiting, receiving. */
#include "client/engine.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define EVENTS_MAX 64

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ---- timers ---- */

/* Deadlines are kept in no order: queue->deadline_ns is only a bound, and when it has passed, all operations are looked at. Nearly all end
 * long before their deadline, and so the bound, once made anew, lies about a time-out ahead: a look at everything once in a time-out costs
 * less than keeping order for each operation. */
static void run_deadlines(struct mcomp_queue *queue)
{
    struct op *op;
    uint64_t now_ns = queue->now_ns, first_ns = NEVER;
    queue->deadline_ns = NEVER;
    for (size_t i = 0; (op = queue_op_at(queue, i)); i++) {
        if (op->used && op->deadline_ns <= now_ns)
            op_end(op, false);
        else if (op->used)
            first_ns = earlier(first_ns, op->deadline_ns);
    }
    queue->deadline_ns = earlier(queue->deadline_ns, first_ns); /* callbacks may have submitted more */
}

static void run_conn_timers(struct mcomp_queue *queue)
{
    queue->conn_timer_ns = NEVER;
    for (uint32_t i = 0; i < queue->used_count; i++) {
        struct conn *conn = queue->conns[queue->used_nodes[i]];
        if (conn->timer_ns <= queue->now_ns) {
            conn->timer_ns = NEVER;
            conn_on_timer(conn);
        }
        queue->conn_timer_ns = earlier(queue->conn_timer_ns, conn->timer_ns);
    }
}

/** Do what is due. Calls back. */
static void run_timers(struct mcomp_queue *queue)
{
    if (queue->deadline_ns <= queue->now_ns)
        run_deadlines(queue);
    if (queue->conn_timer_ns <= queue->now_ns)
        run_conn_timers(queue);
}

/** Have the queue's descriptor become readable in time. The timer is left alone when it fires early enough: with equal time-outs the
 *  next deadline is later than the one it was set for, and a run that finds nothing to do costs less than setting it for each operation. */
static void arm(struct mcomp_queue *queue)
{
    uint64_t at = earlier(queue->deadline_ns, queue->conn_timer_ns);
    if (queue->timer_fd < 0 || at >= queue->armed_ns)
        return;
    uint64_t set = at ? at : 1; /* 0 would disarm it */
    struct itimerspec when = {.it_value = {.tv_sec = (time_t)(set / 1000000000u), .tv_nsec = (long)(set % 1000000000u)}};
    if (timerfd_settime(queue->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) == 0)
        queue->armed_ns = at;
}

static void timer_fired(struct mcomp_queue *queue)
{
    uint64_t times;
    if (read(queue->timer_fd, &times, sizeof times) == (ssize_t)sizeof times)
        queue->armed_ns = NEVER;
}

/* ---- sending ---- */

static void flush_dirty(struct mcomp_queue *queue)
{
    for (struct conn *conn = queue->dirty; conn; conn = queue->dirty) {
        queue->dirty = conn->next_dirty;
        conn->dirty = false;
        conn_flush(conn);
    }
}

void mcomp_queue_flush(struct mcomp_queue *queue)
{
    if (queue->closing)
        return; /* what waits is about to be cancelled */
    if (queue->dirty) {
        queue->now_ns = clock_mono_ns();
        flush_dirty(queue);
    }
    arm(queue);
}

static void turn(struct mcomp_queue *queue)
{
    queue->now_ns = clock_mono_ns();
    run_timers(queue);
    flush_dirty(queue);
}

/* ---- asynchronous ---- */

bool queue_watch(struct conn *conn, uint32_t events)
{
    int epoll_fd = conn->queue->epoll_fd;
    if (epoll_fd < 0 || conn->watched == events)
        return true;
    struct epoll_event event = {.events = events, .data.ptr = conn};
    int how = events == 0 ? EPOLL_CTL_DEL : conn->watched == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (epoll_ctl(epoll_fd, how, conn->fd, &event) != 0)
        return false;
    conn->watched = events;
    return true;
}

/** Wait up to wait_ms and deal with what has happened. false: a signal came first. */
static bool wait_epoll(struct mcomp_queue *queue, int wait_ms)
{
    struct epoll_event events[EVENTS_MAX];
    arm(queue);
    int n = epoll_wait(queue->epoll_fd, events, EVENTS_MAX, wait_ms);
    if (n < 0)
        return false;
    queue->now_ns = clock_mono_ns();
    for (int i = 0; i < n; i++) {
        struct conn *conn = events[i].data.ptr;
        if (!conn) {
            timer_fired(queue);
            continue;
        }
        /* One event each: another connection's callbacks cannot have closed this one and opened it anew under the same event. */
        uint32_t what = events[i].events;
        if (conn->fd >= 0)
            conn_on_event(conn, what & EPOLLIN, what & EPOLLOUT, what & (EPOLLERR | EPOLLHUP));
    }
    return true;
}

/** Milliseconds from now to until_ns, rounded up; -1 for never. */
static int wait_left_ms(uint64_t until_ns, uint64_t now_ns)
{
    if (until_ns == NEVER)
        return -1;
    return until_ns <= now_ns ? 0 : (int)((until_ns - now_ns + 999999u) / 1000000u);
}

/** The one connection that there is, when all that can happen without waiting is that answers have come. */
static struct conn *only_answers(const struct mcomp_queue *queue)
{
    struct conn *conn = queue->used_count == 1 ? queue->conns[queue->used_nodes[0]] : NULL;
    bool timer_is_quiet = queue->armed_ns > queue->now_ns; /* else it has to be read */
    return conn && conn->state == CONN_READY && conn->under_way > 0 && !conn->blocked && timer_is_quiet ? conn : NULL;
}

static void wait_and_turn(struct mcomp_queue *queue, int wait_ms, size_t before)
{
    uint64_t until = wait_ms < 0 ? NEVER : queue->now_ns + (uint64_t)wait_ms * 1000000u;
    for (;;) {
        bool waiting = queue->called_back == before && queue->pending > 0;
        int left_ms = waiting ? wait_left_ms(until, queue->now_ns) : 0;
        bool signalled = !wait_epoll(queue, left_ms);
        turn(queue);
        if (signalled || left_ms == 0 || queue->called_back != before || queue->pending == 0)
            return;
    }
}

size_t mcomp_queue_run(struct mcomp_queue *queue, int wait_ms)
{
    if (queue->running)
        return 0;
    queue->running = true;
    size_t before = queue->called_back;
    queue->now_ns = clock_mono_ns();
    if (queue->deadline_ns <= queue->now_ns)
        (void)wait_epoll(queue, 0); /* an answer that has come counts, however late the caller looks */
    turn(queue);
    struct conn *conn = wait_ms == 0 ? only_answers(queue) : NULL;
    if (conn) { /* asking epoll first would cost as much as finding nothing */
        conn_receive(conn);
        flush_dirty(queue);
    } else {
        wait_and_turn(queue, wait_ms, before);
    }
    arm(queue);
    queue->running = false;
    return queue->called_back - before;
}

/* ---- synchronous ---- */

/** Poll the sockets that something is expected of; returns how many. The connections are those of used_nodes, in that order. */
static nfds_t poll_set(struct mcomp_queue *queue)
{
    nfds_t n = 0;
    for (uint32_t i = 0; i < queue->used_count; i++) {
        const struct conn *conn = queue->conns[queue->used_nodes[i]];
        bool expected = conn->state != CONN_READY || conn->under_way > 0 || conn->blocked;
        short events = conn->state == CONN_CONNECTING ? POLLOUT : conn->blocked ? POLLIN | POLLOUT : POLLIN;
        if (conn->fd < 0 || !expected)
            continue;
        queue->polls[n] = (struct pollfd){.fd = conn->fd, .events = events};
        queue->polled[n++] = conn->node;
    }
    return n;
}

static void wait_poll(struct mcomp_queue *queue)
{
    uint64_t at = earlier(queue->deadline_ns, queue->conn_timer_ns);
    uint64_t left = at <= queue->now_ns ? 0 : at - queue->now_ns;
    struct timespec limit = {(time_t)(left / 1000000000u), (long)(left % 1000000000u)};
    nfds_t count = poll_set(queue);
    int n = ppoll(queue->polls, count, at == NEVER ? NULL : &limit, NULL);
    queue->now_ns = clock_mono_ns();
    for (nfds_t i = 0; n > 0 && i < count; i++) {
        short what = queue->polls[i].revents;
        struct conn *conn = queue->conns[queue->polled[i]];
        if (what && conn->fd == queue->polls[i].fd)
            conn_on_event(conn, what & POLLIN, what & POLLOUT, what & (POLLERR | POLLHUP | POLLNVAL));
    }
}

void queue_run_until(struct mcomp_queue *queue, const bool *done)
{
    queue->running = true;
    turn(queue);
    while (!*done) {
        wait_poll(queue);
        run_timers(queue);
        flush_dirty(queue);
    }
    queue->running = false;
}
