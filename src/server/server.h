/* SPDX-License-Identifier: Apache-2.0 */
/** The memory server: what its parts share. */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "server/exec.h"
#include "server/jobs.h"
#include "server/oplog.h"

struct io;

/** One mcompd. Owner: main(). The plain members are set before threads start and then only read; the atomics are everybody's. */
struct server {
    struct config config;    /* owned */
    struct exec exec;
    struct segment *segment; /* owned */
    struct jobs *jobs;       /* owned */
    struct agent *agent;     /* owned */
    struct restoring *restoring; /* owned */
    struct txns *txns;       /* owned */
    struct resolving *resolving; /* owned */
    struct oplog *oplog;     /* owned; NULL = none */
    struct io **io;          /* owned, config.server.io_threads elements */
    uint64_t started_ns;     /* monotonic */
    const char *restore_path; /* borrowed; snapshot that the segment is filled from before it is served; NULL: none */
    uint32_t next_io;        /* main thread's: which I/O thread gets the next connection */

    _Atomic uint32_t connections;   /* open now */
    _Atomic uint64_t accepted, refused;
    _Atomic uint64_t last_conn;     /* number of the last connection */
    _Atomic uint64_t buffered_in;   /* bytes received, of frames that are not yet executed */
    _Atomic uint64_t buffered_out;  /* bytes of responses that sockets have not taken */
};

/** Whether incomplete frames and untaken responses hold more memory than the configuration allows them. */
static inline bool server_over_budget(struct server *server)
{
    return atomic_load_explicit(&server->buffered_in, memory_order_relaxed) +
               atomic_load_explicit(&server->buffered_out, memory_order_relaxed) >= server->config.server.max_buffers;
}

/** Attach to the segment and start the threads. server->config and server->exec.node are set, the rest is zero. Blocks.
 *  On failure everything is undone, config included, and err tells what and what would be right. */
MUST_CHECK enum mcomp_status server_start(struct server *server, struct err *err);

/** Finish what is in flight, end the threads, flush the log, detach. Safe on a half-started server. */
void server_stop(struct server *server);

/** The main loop's calls of struct listener_calls: a connection goes to the next I/O thread, unless there are max_connections already. */
bool server_serve(void *server, int fd);
void server_refuse(void *server, int fd);

/** Answer to StatusQuery; any thread. */
void server_fill_status(void *server, Mcomp__V1__StatusResult *result);

#endif
