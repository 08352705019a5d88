/* SPDX-License-Identifier: Apache-2.0 */
/** An I/O thread: one libev loop and the connections that it serves. */
#ifndef SERVER_IO_H
#define SERVER_IO_H

#include <ev.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "server/server.h"

#define IO_IN_BYTES (256u << 10)  /* one receive; frames up to half of it are executed where they were received */
#define IO_OUT_BYTES (256u << 10) /* one batch of responses */

struct conn;

/** Owner: the server. Members: this thread's alone unless they say otherwise. */
struct io {
    struct server *server; /* borrowed */
    uint32_t index;        /* also its redo record and log ring */
    struct ev_loop *loop;  /* owned */
    pthread_t thread;
    ev_async wake;         /* sent by other threads after they changed the inbox */
    ev_timer tick;         /* once a second: time-outs */

    pthread_mutex_t inbox_lock; /* guards: fds, fd_count, fd_capacity, done_first, done_last, stop */
    int *fds;                   /* owned: accepted sockets on their way here */
    size_t fd_count, fd_capacity;
    struct job *done_first, *done_last;
    bool stop;

    struct conn *conns;    /* all connections, linked through conn.next */
    struct conn *large_first, *large_last; /* those that hold the beginning of a large frame, oldest first */
    struct conn *parked_first, *parked_last; /* those whose input waits for room, the longest first */
    uint32_t parked, parked_jobs; /* how many; of these, with a request that wants to be a job: only while jobs > 0 */
    struct conn *turn;     /* the parked connection that goes on right now */
    uint32_t jobs;         /* of this thread's connections, in flight */
    bool draining;         /* the server stops */
    uint64_t drain_end_ns; /* then what is left is cut off */

    uint8_t *in;           /* owned, IO_IN_BYTES */
    uint8_t *out;          /* owned, IO_OUT_BYTES: responses to the connection that is being served */
    size_t out_used;
    struct arena arena;    /* of the batch that is being served */
    uint32_t log_tokens;   /* lines about single connections that may still be logged this second */
    uint64_t log_suppressed;
    struct stats stats;
};

MUST_CHECK enum mcomp_status io_start(struct io **io, struct server *server, uint32_t index, struct err *err);

/** Give the thread an accepted, non-blocking socket, which it owns from then on. Any thread. false: out of memory, fd is still the caller's. */
bool io_adopt(struct io *io, int fd);

/** Count more bytes of a job's reply in the server's buffer budget. false: it is used up. The job is the caller's. */
bool io_job_grow(struct job *job, uint64_t bytes);

/** Give back a finished job. Any thread. */
void io_job_done(struct job *job);

/** Begin to stop: finish what is in flight, close connections, end the thread. Any thread; does not wait. */
void io_drain(struct io *io);

/** Wait for the thread's end. NULL is allowed. */
void io_join(struct io *io);

/** Free it after io_join() and after the end of all workers, which wake its loop. NULL is allowed. */
void io_free(struct io *io);

/** Whether a line about a single connection may be logged now: a hostile client must not fill the disk. Counts what it denies. */
bool io_may_log(struct io *io);

#endif
