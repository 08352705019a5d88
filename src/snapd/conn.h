/* SPDX-License-Identifier: Apache-2.0 */
/** Connections that others made to this process: snapshot processes and clients. All of it is the main loop's.
 *
 *  A request is answered at once (RoundQuery, and what is wrong), or becomes a task for another thread, whose answer comes back through snapd->answers. */
#ifndef SNAPD_CONN_H
#define SNAPD_CONN_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

#include "snapd/snapd.h"
#include "link/stream.h"

#define CONNECTIONS_MAX 256u         /* besides one for each node of the grid */
#define CONN_TASKS_MAX 16u           /* requests of one connection that others have in hand; then its input waits */
#define CONN_UNSENT_MAX (2u << 20)   /* bytes that the socket has not taken; then its input waits */
#define CONNS_HELD_MAX (16u << 20)   /* bytes of captured pages on their way to all connections; then Pull is refused */

struct conn;

/** Owner: main(). */
struct conns {
    struct snapd *snapd;  /* borrowed */
    struct ev_loop *loop; /* borrowed */
    struct conn *first;
    uint32_t count, max;
    uint64_t last_number;
    uint64_t held;        /* bytes of answers to Pull that are asked for, made, or not sent */
    uint32_t log_tokens;  /* lines about single connections that may still be logged this second */
    ev_timer tick;
};

/** One connection. Owner: conns, until it has no task in flight any more. */
struct conn {
    struct conn *next, *prev;
    struct conns *conns; /* borrowed */
    uint64_t number;     /* never reused */
    struct stream stream;
    struct task *flight[CONN_TASKS_MAX]; /* borrowed: what others have in hand, to be marked when the client goes away */
    uint32_t tasks;
    uint64_t pull_bytes; /* that tasks in flight may come back with */
    uint64_t held;       /* this connection's part of conns->held */
    bool froze;          /* a Freeze came over it */
    bool abandoned;      /* the stream is closed, and those who have its tasks know */
    uint64_t finish_ns;  /* when it began to be finished */
};

void conns_open(struct conns *conns, struct snapd *snapd, struct ev_loop *loop);
/** Close all. No task is in flight any more, or their threads have ended. */
void conns_close(struct conns *conns);
/** Whether all that was to be sent is sent. */
bool conns_are_drained(const struct conns *conns);

/** Of struct listener_calls; arg is the conns. */
bool conns_serve(void *arg, int fd);
void conns_refuse(void *arg, int fd);

/** Of snapd->answers: send what came back. */
void conns_take_answers(struct conns *conns, struct task_list list);

/* ---- request.c ---- */

/** Answer a request, or make it a task. */
void conn_request(struct conn *conn, const uint8_t *body, size_t bytes);

/** Log one line about this connection, within the allowance. */
void conn_log(struct conn *conn, enum mcomp_status code, const char *op, const char *what);

/** Send an answer; NULL (memory is short) closes the connection, since its client would wait for ever. */
void conn_answer(struct conn *conn, struct outgoing *out);

#endif
