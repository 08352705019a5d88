/* SPDX-License-Identifier: Apache-2.0 */
#include "snapd/conn.h"

#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/priority.h"
#include "snapd/director.h"
#include "snapd/exchange.h"
#include "snapd/member.h"

#define LOG_LINES_PER_SECOND 10u
#define STALL_NS 30000000000u /* half a frame, or answers that are not taken, are waited for so long */
#define FINISH_NS 2000000000u /* how long we wait for the client to read our last words */

void conn_log(struct conn *conn, enum mcomp_status code, const char *op, const char *what)
{
    struct conns *conns = conn->conns;
    if (conns->log_tokens == 0)
        return;
    conns->log_tokens--;
    struct sockaddr_storage address = {0};
    socklen_t bytes = sizeof address;
    char host[64] = "?", port[16] = "?", keys[128];
    if (conn->stream.fd >= 0 && getpeername(conn->stream.fd, (struct sockaddr *)&address, &bytes) == 0)
        (void)getnameinfo((struct sockaddr *)&address, bytes, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(keys, sizeof keys, "client=%s:%s code=%s", host, port, status_name(code));
    log_line(LOG_WARN, "conn", op, keys, "%s", what);
}

/* ---- closing ---- */

static void count_held(struct conn *conn, uint64_t held)
{
    conn->conns->held += held - conn->held;
    conn->held = held;
}

/** Tell the other threads that nobody waits any more. */
static void abandon(struct conn *conn)
{
    struct snapd *snapd = conn->conns->snapd;
    for (uint32_t i = 0; i < conn->tasks; i++)
        atomic_store(&conn->flight[i]->abandoned, true);
    if (conn->tasks)
        director_wake(snapd->director);
    struct task *gone = conn->froze ? calloc(1, sizeof *gone) : NULL;
    if (!gone)
        return; /* for want of memory: the lease does it */
    priority_background(false);
    gone->op = TASK_GONE;
    gone->client = conn->number;
    member_put(snapd->member, gone);
}

static void free_closed(struct conn *conn)
{
    struct conns *conns = conn->conns;
    *(conn->prev ? &conn->prev->next : &conns->first) = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    conns->count--;
    free(conn);
}

/** The stream is closed. May free conn. */
static void bury(struct conn *conn)
{
    if (!conn->abandoned) {
        conn->abandoned = true;
        abandon(conn);
        count_held(conn, 0);
    }
    if (conn->tasks == 0)
        free_closed(conn);
}

/** Decide what happens next. May free conn when its stream is closed. */
static void settle(struct conn *conn)
{
    if (conn->stream.fd < 0) {
        bury(conn);
        return;
    }
    count_held(conn, conn->pull_bytes + (conn->stream.unsent > CONN_UNSENT_MAX / 4 ? conn->stream.unsent : 0));
    stream_pause(&conn->stream, !conn->stream.finishing && (conn->tasks == CONN_TASKS_MAX || conn->stream.unsent >= CONN_UNSENT_MAX));
}

/* ---- the stream's calls ---- */

static void frame_cb(void *arg, const uint8_t *body, size_t bytes)
{
    struct conn *conn = arg;
    conn_request(conn, body, bytes);
    if (conn->stream.fd >= 0)
        settle(conn);
    else
        ev_feed_event(conn->conns->loop, &conn->conns->tick, EV_TIMER); /* buried there: the stream is still at work here */
}

static void bad_cb(void *arg, const struct err *err)
{
    struct conn *conn = arg;
    conn_log(conn, err->code, "decode", err->text);
    conn_answer(conn, exchange_answer(0, err->code, err->text));
    conn->finish_ns = clock_mono_ns();
    stream_finish(&conn->stream);
}

static void ended_cb(void *arg, const struct err *err)
{
    (void)err;
    bury(arg);
}

static void sent_cb(void *arg)
{
    settle(arg);
}

static const struct stream_calls stream_calls = {.frame = frame_cb, .bad = bad_cb, .ended = ended_cb, .sent = sent_cb};

void conn_answer(struct conn *conn, struct outgoing *out)
{
    if (out) {
        stream_send(&conn->stream, out);
        return;
    }
    conn_log(conn, MCOMP_RESOURCE_EXHAUSTED, "send", "out of memory for an answer; closing");
    stream_close(&conn->stream);
}

/* ---- answers of other threads ---- */

static void take_answer(struct task *task)
{
    struct conn *conn = task->conn;
    uint32_t i = 0;
    while (i < conn->tasks && conn->flight[i] != task)
        i++;
    MC_ASSERT(i < conn->tasks);
    conn->flight[i] = conn->flight[--conn->tasks];
    if (task->op == TASK_PULL)
        conn->pull_bytes -= task->bytes;
    if (conn->stream.fd >= 0)
        conn_answer(conn, task->reply);
    else
        free(task->reply);
    free(task);
    settle(conn);
}

void conns_take_answers(struct conns *conns, struct task_list list)
{
    (void)conns;
    for (struct task *task; (task = task_list_take(&list));)
        take_answer(task);
}

/* ---- connections come ---- */

bool conns_serve(void *arg, int fd)
{
    struct conns *conns = arg;
    struct conn *conn = conns->count < conns->max ? calloc(1, sizeof *conn) : NULL;
    if (!conn)
        return false;
    if (!stream_open(&conn->stream, &stream_calls, conn, conns->loop, fd, EXCHANGE_REQUEST_BYTES_MAX)) {
        free(conn);
        return false;
    }
    conn->conns = conns;
    conn->number = ++conns->last_number;
    conn->next = conns->first;
    if (conns->first)
        conns->first->prev = conn;
    conns->first = conn;
    conns->count++;
    return true;
}

void conns_refuse(void *arg, int fd)
{
    (void)arg;
    struct outgoing *out = exchange_answer(0, MCOMP_RESOURCE_EXHAUSTED, "the snapshot process serves as many connections as it can");
    if (out)
        (void)!send(fd, out->part[0].iov_base, out->part[0].iov_len, MSG_DONTWAIT | MSG_NOSIGNAL);
    free(out);
}

/* ---- time ---- */

static void tick_conn(struct conn *conn, uint64_t now_ns)
{
    struct stream *stream = &conn->stream;
    uint64_t silent_ns = stream->fd >= 0 && now_ns > stream->active_ns ? now_ns - stream->active_ns : 0;
    if (stream->fd < 0) {
        bury(conn);
    } else if (stream->finishing ? now_ns > conn->finish_ns + FINISH_NS : silent_ns > STALL_NS && (stream_has_part(stream) || stream->unsent > 0)) {
        if (!stream->finishing)
            conn_log(conn, MCOMP_DEADLINE_EXCEEDED, "close", stream->unsent ? "the client takes no answers" : "half a frame came, and then nothing");
        stream_close(stream);
        bury(conn);
    }
}

static void tick_cb(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    struct conns *conns = watcher->data;
    uint64_t now_ns = clock_mono_ns();
    conns->log_tokens = LOG_LINES_PER_SECOND;
    for (struct conn *conn = conns->first, *next; conn; conn = next) {
        next = conn->next;
        tick_conn(conn, now_ns);
    }
}

/* ---- life ---- */

void conns_open(struct conns *conns, struct snapd *snapd, struct ev_loop *loop)
{
    *conns = (struct conns){.snapd = snapd, .loop = loop, .max = CONNECTIONS_MAX + snapd->config->nodes, .log_tokens = LOG_LINES_PER_SECOND};
    ev_timer_init(&conns->tick, tick_cb, 1., 1.);
    conns->tick.data = conns;
    ev_timer_start(loop, &conns->tick);
}

bool conns_are_drained(const struct conns *conns)
{
    for (const struct conn *conn = conns->first; conn; conn = conn->next)
        if (conn->stream.unsent)
            return false;
    return true;
}

void conns_close(struct conns *conns)
{
    ev_timer_stop(conns->loop, &conns->tick);
    while (conns->first) {
        stream_close(&conns->first->stream);
        free_closed(conns->first);
    }
}
