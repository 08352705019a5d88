/* SPDX-License-Identifier: Apache-2.0 */
/** A client's connection.
 *
 *  Input: what a receive brings is executed in place, frame by frame; what is left over (the beginning of a frame, or frames that must wait) is
 *  kept in `pending`. A large frame is received straight into a buffer of its own. Output: responses gather in io->out while a batch is executed and
 *  leave in one send; what the socket does not take is kept in `out`, and until it is taken no further request of this connection is
 *  executed (back-pressure), so that a connection holds the rest of one batch at most.
 *
 *  Every event ends in conn_settle(), the one place that decides what happens next: which events to wait for, and whether to close. */
#ifndef SERVER_CONN_H
#define SERVER_CONN_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

#include "server/exec.h"
#include "server/jobs.h"
#include "server/oplog.h"

struct io;

enum conn_state {
    CONN_OPEN,
    CONN_CLOSING, /* no further requests; answers still go out */
    CONN_LINGER,  /* our side is shut; input is thrown away until the client's is too, so that it can read our last words */
    CONN_DEAD     /* socket closed; freed when the last job is back */
};

/** Owner: its I/O thread, alone. */
struct conn {
    struct conn *next, *prev;             /* io->conns */
    struct conn *large_next, *large_prev; /* io->large_first … */
    struct conn *parked_next, *parked_prev; /* io->parked_first … */
    struct io *io;                        /* borrowed */
    int fd;                               /* owned; -1 once DEAD */
    enum conn_state state;
    bool broken;     /* the socket failed: conn_settle closes it */
    bool parked;     /* input waits for room in the server's buffers; linked in io->parked_first … */
    bool parked_job; /* the same, and it is a request that wants to be a job */
    bool large;      /* pending holds the beginning of a large frame; linked in io->large */
    bool hello_done;
    bool has_sessions; /* it has named sessions as their client */
    uint64_t number;   /* of all connections since the server began; from 1 on */
    uint32_t jobs;   /* in flight */
    uint64_t active_ns; /* monotonic: last byte in or out */
    struct oplog_client client;
    struct restoring_claim claim;
    ev_io reader, writer;

    uint8_t *pending; /* owned: input not executed yet */
    size_t pending_used, pending_capacity;

    uint8_t *out; /* owned: [out_at, out_end) is not sent yet */
    size_t out_at, out_end, out_capacity;
};

/** Serve a socket, which is owned from here on. Closes it when memory is short. */
void conn_open(struct io *io, int fd);

/** Take a finished job's answer; the flush comes with conn_settle. Frees the job. */
void conn_take_job(struct conn *conn, struct job *job);

/** Decide what happens next. May free conn. */
void conn_settle(struct conn *conn);

/** Once a second: time-outs. May free conn. */
void conn_tick(struct conn *conn, uint64_t now_ns);

/** The server stops: execute what has arrived, then close. May free conn. */
void conn_drain(struct conn *conn);

/** Let the input wait for its turn; job: it is a request that wants to be a job. */
void conn_park(struct conn *conn, bool job);

/** It is this parked connection's turn: go on, if there is room now. Who cannot finish goes to the end of the queue. May free conn. */
void conn_take_turn(struct conn *conn);

/** Close at once, answers or not. May free conn. */
void conn_cut(struct conn *conn);

/* ---- conn_in.c ---- */

/** Whether the next request of this connection may be executed now. */
bool conn_may_execute(const struct conn *conn);

/** Receive once and execute what came. */
void conn_receive(struct conn *conn);

/** Execute pending input after whatever it waited for is over. */
void conn_resume(struct conn *conn);

/** Forget pending input and free its memory. */
void conn_drop_pending(struct conn *conn);

/* ---- conn_out.c ---- */

static inline bool conn_has_unsent(const struct conn *conn)
{
    return conn->out_end > conn->out_at;
}

/** Room for `bytes` ≤ IO_OUT_BYTES more bytes of output; NULL when memory is short (conn is then broken). */
uint8_t *conn_reserve(struct conn *conn, size_t bytes);

/** The output now ends here, inside what conn_reserve gave. */
void conn_commit(struct conn *conn, const uint8_t *end);

/** Send what has gathered, as far as the socket takes it. */
void conn_flush(struct conn *conn);

/** Send what has gathered, then header and data, of which data need only live for the call. */
void conn_send_direct(struct conn *conn, const uint8_t *header, size_t header_bytes, const void *data, size_t data_bytes);

/** Append a buffer from malloc, which is owned from here on. */
void conn_append(struct conn *conn, uint8_t *bytes, size_t count);

/** Free the output buffer. */
void conn_drop_out(struct conn *conn);

/* ---- conn_request.c ---- */

/** Execute one request, or make it a job. decoded: whether the frame held a request at all. Returns false when it must wait: it was not executed
 *  and must come again. memory: the malloc'ed buffer that holds body, if the request may take it over (then *memory is set to NULL); NULL if not. */
bool conn_execute(struct conn *conn, bool decoded, const struct wire_request *request, const uint8_t *body, size_t bytes, uint8_t **memory);

/** The stream is out of step: say why, then close. */
void conn_refuse_frame(struct conn *conn, uint64_t announced, uint64_t limit);

/** Log one line about this connection, within the thread's allowance. */
void conn_log(struct conn *conn, enum mcomp_status code, const char *op, const char *what);

#endif
