/* SPDX-License-Identifier: Apache-2.0 */
/** Driving a queue: timers, sending, waiting, receiving. */
#include "client/engine.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define EVENTS_MAX 64

static struct op *op_of(struct deadline *deadline)
{
    return (struct op *)(void *)((char *)deadline - offsetof(struct op, deadline));
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ---- timers ---- */

/** Do what is due. Calls back. */
static void run_timers(struct mcomp_queue *queue)
{
    /* Not more than are there now: callbacks may submit what is due at once. */
    for (uint32_t left = queue->deadlines.count; left > 0 && deadlines_first_ns(&queue->deadlines) <= queue->now_ns; left--)
        op_end(op_of(queue->deadlines.entries[0].deadline), false);
    if (queue->conn_timer_ns > queue->now_ns)
        return;
    queue->conn_timer_ns = DEADLINE_NEVER;
    for (uint32_t i = 0; i < queue->used_count; i++) {
        struct conn *conn = queue->conns[queue->used_nodes[i]];
        if (conn->timer_ns <= queue->now_ns) {
            conn->timer_ns = DEADLINE_NEVER;
            conn_on_timer(conn);
        }
        queue->conn_timer_ns = earlier(queue->conn_timer_ns, conn->timer_ns);
    }
}

/** Have the queue's descriptor become readable in time. The timer is left alone when it fires early enough: with equal time-outs the
 *  next deadline is later than the one it was set for, and a run that finds nothing to do costs less than setting it for each operation. */
static void arm(struct mcomp_queue *queue)
{
    uint64_t at = earlier(deadlines_first_ns(&queue->deadlines), queue->conn_timer_ns);
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
        queue->armed_ns = DEADLINE_NEVER;
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
    if (until_ns == DEADLINE_NEVER)
        return -1;
    return until_ns <= now_ns ? 0 : (int)((until_ns - now_ns + 999999u) / 1000000u);
}

size_t mcomp_queue_run(struct mcomp_queue *queue, int wait_ms)
{
    if (queue->running)
        return 0;
    queue->running = true;
    size_t before = queue->called_back;
    turn(queue);
    uint64_t until = wait_ms < 0 ? DEADLINE_NEVER : queue->now_ns + (uint64_t)wait_ms * 1000000u;
    for (;;) {
        bool waiting = queue->called_back == before && queue->pending > 0;
        int left_ms = waiting ? wait_left_ms(until, queue->now_ns) : 0;
        bool signalled = !wait_epoll(queue, left_ms);
        turn(queue);
        if (signalled || left_ms == 0 || queue->called_back != before || queue->pending == 0)
            break;
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
    uint64_t at = earlier(deadlines_first_ns(&queue->deadlines), queue->conn_timer_ns);
    uint64_t left = at <= queue->now_ns ? 0 : at - queue->now_ns;
    struct timespec limit = {(time_t)(left / 1000000000u), (long)(left % 1000000000u)};
    nfds_t count = poll_set(queue);
    int n = ppoll(queue->polls, count, at == DEADLINE_NEVER ? NULL : &limit, NULL);
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
