/* SPDX-License-Identifier: Apache-2.0 */
/** Jobs: requests that copy much, or that met a taken semaphore, and run on worker threads.
 *
 *  DESIGN. A job has one owner at a time and moves by pointer: I/O thread → queue → worker → I/O thread. There is one queue, first in first
 *  out, for all workers; jobs of one connection may therefore run side by side and finish in any order, which the protocol allows.
 *  A worker hands a finished job to jobs_done(), which puts it on the list of its I/O thread and wakes that loop.
 *  A job that meets a frozen segment, or lines that a prepared transaction has locked, is held: it waits on a list of its own until the segment
 *  thaws, or some transaction is decided, and no worker waits with it, so that others go on; or until its deadline, to which the workers look. How
 *  many can wait is bounded by what may be in flight. */
#ifndef SERVER_JOBS_H
#define SERVER_JOBS_H

#include <stdbool.h>
#include <stdint.h>

#include "server/exec.h"
#include "server/oplog.h"

struct conn;
struct io;
struct jobs;

#define JOBS_BUFFERS_FULL_TEXT "clients do not take their answers, and the node's buffers are full; try later"

enum job_hold { JOB_HELD_FROZEN, JOB_HELD_LOCKED, JOB_HOLDS };

struct job {
    struct job *next;   /* owned by whichever list holds the job */
    /** NULL: a request. Else work of the server itself, which a worker does with its redo record; the callee owns the job, and nothing else of it is used. */
    void (*run)(struct job *job, uint32_t writer);
    struct io *io;      /* borrowed: the loop that it came from and goes back to */
    struct conn *conn;  /* borrowed; lives at least until the job is back (conn.jobs counts it) */
    struct oplog_client client;
    uint8_t *memory;    /* owned: what holds the body */
    const uint8_t *body; /* the request's message, inside memory */
    size_t body_bytes;
    uint64_t deadline_ns; /* monotonic; 0 = none */
    uint64_t number;      /* of the connection */
    enum mcomp_status logged; /* of a job that was answered OK: struct exec_result */
    uint64_t held_bytes;  /* counted in the server's buffer budget, given back with the job */
    uint8_t *reply;       /* owned: response frames, once done; NULL when memory was short */
    size_t reply_bytes;
};

/** What a worker calls when a job is done; job is the callee's from then on. */
typedef void (*jobs_done_callback)(struct job *job);

/** What a worker calls before it takes so many bytes more for the reply than held_bytes counts: an answer from a transaction's record may be larger than the
 *  request lets expect. Counts them in held_bytes as well; false: there is no memory for it. */
typedef bool (*jobs_grow_callback)(struct job *job, uint64_t bytes);

struct jobs_options {
    uint32_t workers;
    uint32_t first_writer; /* worker i uses redo record and log ring first_writer + i */
    const struct exec *exec;
    struct oplog *oplog; /* may be NULL */
    jobs_done_callback done;
    jobs_grow_callback grow;
};

MUST_CHECK enum mcomp_status jobs_start(struct jobs **jobs, const struct jobs_options *options, struct err *err);

/** Hand a job over. Any thread; never waits for a worker. */
void jobs_put(struct jobs *jobs, struct job *job);

/** The segment takes writes again: run what met the closed gate. Any thread. */
void jobs_release_held(struct jobs *jobs);

/** A prepared transaction is decided: run what met its locks. Any thread; costs nearly nothing when nobody waits. */
void jobs_release_locked(struct jobs *jobs);

/** The server stops: nobody will decide anything any more. What met locks, now or later, is answered UNAVAILABLE. Any thread. */
void jobs_end_locked(struct jobs *jobs);

/** Jobs that no worker has begun, held ones included. Any thread. */
uint32_t jobs_waiting(struct jobs *jobs);

/** Counters of worker i. */
const struct stats *jobs_stats(const struct jobs *jobs, uint32_t worker);

/** Let the workers finish the queue and end them. NULL is allowed. */
void jobs_stop(struct jobs *jobs);

#endif
