/* SPDX-License-Identifier: Apache-2.0 */
/** One request of a connection: where it runs, and its answer. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "server/conn.h"
#include "server/io.h"

#define DIRECT_READ_BYTES (16u << 10) /* reads from here on are sent from the segment without a copy of ours */
#define DIRECT_READ_MAX (4u << 20)    /* up to here: what the socket does not take is copied, and the thread's other clients wait for that */
#define SERVER_JOBS_MAX 1024u         /* jobs of one I/O thread in flight */

void conn_log(struct conn *conn, enum mcomp_status code, const char *op, const char *what)
{
    if (!io_may_log(conn->io))
        return;
    char client[OPLOG_CLIENT_TEXT_BYTES], keys[OPLOG_CLIENT_TEXT_BYTES + 64];
    snprintf(keys, sizeof keys, "client=%s code=%s", oplog_client_text(&conn->client, client), status_name(code));
    log_line(LOG_WARN, "conn", op, keys, "%s", what);
}

/** logged: the status for the operation log. */
static void count(struct conn *conn, const struct wire_request *request, enum mcomp_status status, enum mcomp_status logged, uint64_t payload_bytes)
{
    struct io *io = conn->io;
    stats_count(&io->stats, request->op, status, payload_bytes);
    if (io->server->oplog && request->op != WIRE_OP_HELLO && request->op != WIRE_OP_STATUS && request->op != WIRE_OP_NONE)
        oplog_record(io->server->oplog, io->index, &conn->client, request, logged);
}

static void answer_error(struct conn *conn, const struct wire_request *request, enum mcomp_status status, const char *text)
{
    uint8_t *out = conn_reserve(conn, EXEC_SMALL_REPLY_BYTES);
    if (out)
        conn_commit(conn, exec_put_error(&conn->io->server->exec, out, request, status, text));
    count(conn, request, status, status, 0);
}

void conn_refuse_frame(struct conn *conn, uint64_t announced, uint64_t limit)
{
    char text[EXEC_TEXT_BYTES];
    struct wire_request request = {.op = WIRE_OP_NONE};
    if (announced)
        snprintf(text, sizeof text, "a frame of %" PRIu64 " bytes is over the limit of %" PRIu64 "%s; closing", announced, limit,
                 conn->hello_done ? "" : " that holds before Hello");
    else
        snprintf(text, sizeof text, "the length before a frame is not a varint of 64 bits; closing");
    answer_error(conn, &request, MCOMP_INVALID_ARGUMENT, text);
    conn_log(conn, MCOMP_INVALID_ARGUMENT, "decode", text);
    stat_add(&conn->io->stats.connections_broken, 1);
    conn->state = CONN_CLOSING;
}

/** Send a long read from the segment's own memory. false: a writer is in the range. */
static bool read_direct(struct conn *conn, const struct wire_request *request)
{
    struct server *server = conn->io->server;
    uint64_t offset = request->address - server->exec.base;
    const void *data = segment_hold_try(server->segment, offset, request->length);
    if (!data)
        return false;
    uint8_t header[WIRE_HEADER_BYTES];
    const uint8_t *end = wire_put_read_result_header(header, request->id, request->length);
    conn_send_direct(conn, header, (size_t)(end - header), data, request->length);
    segment_release(server->segment, offset, request->length);
    count(conn, request, MCOMP_OK, MCOMP_OK, request->length);
    return true;
}

static void log_hello(const struct conn *conn, const struct wire_request *request)
{
    char client[OPLOG_CLIENT_TEXT_BYTES], keys[OPLOG_CLIENT_TEXT_BYTES + 16], name[TEXT_QUOTE_BYTES];
    snprintf(keys, sizeof keys, "client=%s", oplog_client_text(&conn->client, client));
    log_line(LOG_DEBUG, "conn", "hello", keys, "%s", text_quote(request->full->hello->client, name));
}

/** Execute on this thread. false: it would have to wait. */
static bool run_inline(struct conn *conn, const struct wire_request *request, uint64_t reply_bytes)
{
    struct io *io = conn->io;
    uint8_t *out = conn_reserve(conn, reply_bytes);
    if (!out)
        return true; /* the connection is lost, and the request with it */
    struct exec_caller caller = {.writer = io->index, .arena = &io->arena, .hello_done = conn->hello_done, .conn = conn->number};
    struct exec_result result = exec_run(&io->server->exec, &caller, request, out);
    if (!result.end)
        return false;
    conn_commit(conn, result.end);
    if (request->op == WIRE_OP_HELLO)
        log_hello(conn, request);
    conn->hello_done = caller.hello_done;
    count(conn, request, result.status, result.logged, result.payload_bytes);
    return true;
}

/** Whether one more job may begin. Nobody goes before those that wait already. Where none is in flight one always may, so that all get on. */
static bool job_admitted(struct conn *conn)
{
    struct io *io = conn->io;
    if (io->parked_jobs > 0 && io->turn != conn)
        return false;
    return io->jobs == 0 || (io->jobs < SERVER_JOBS_MAX && !server_over_budget(io->server));
}

static struct job *make_job(struct conn *conn, const struct wire_request *request, const uint8_t *body, size_t bytes, uint8_t **memory)
{
    struct job *job = calloc(1, sizeof *job);
    if (!job)
        return NULL;
    if (memory && *memory) {
        job->memory = *memory;
        job->body = body;
        *memory = NULL;
    } else {
        job->memory = malloc(bytes ? bytes : 1);
        if (!job->memory) {
            free(job);
            return NULL;
        }
        memcpy(job->memory, body, bytes);
        job->body = job->memory;
    }
    job->body_bytes = bytes;
    job->io = conn->io;
    job->conn = conn;
    job->client = conn->client;
    job->number = conn->number;
    job->deadline_ns = request->timeout_ms ? clock_mono_ns() + (uint64_t)request->timeout_ms * 1000000u : 0;
    job->held_bytes = bytes + exec_reply_bytes(request);
    return job;
}

/** Hand the request to the workers. false: it must wait for its turn. */
static bool start_job(struct conn *conn, const struct wire_request *request, const uint8_t *body, size_t bytes, uint8_t **memory)
{
    struct io *io = conn->io;
    if (!job_admitted(conn)) {
        conn_park(conn, true);
        return false;
    }
    struct job *job = make_job(conn, request, body, bytes, memory);
    if (!job) {
        answer_error(conn, request, MCOMP_RESOURCE_EXHAUSTED, "the node is out of memory");
        return true;
    }
    conn->jobs++;
    io->jobs++;
    stat_add(&io->stats.jobs, 1);
    atomic_fetch_add_explicit(&io->server->buffered_in, job->held_bytes, memory_order_relaxed);
    jobs_put(io->server->jobs, job);
    return true;
}

/** Execute here if that needs no waiting, else make it a job. false: it must come again. */
static bool dispatch(struct conn *conn, const struct wire_request *request, const uint8_t *body, size_t bytes, uint8_t **memory)
{
    struct server *server = conn->io->server;
    if (request->op == WIRE_OP_READ && request->length >= DIRECT_READ_BYTES && request->length <= DIRECT_READ_MAX) {
        if (server_over_budget(server)) {
            answer_error(conn, request, MCOMP_RESOURCE_EXHAUSTED, JOBS_BUFFERS_FULL_TEXT);
            return true;
        }
        return read_direct(conn, request) || start_job(conn, request, body, bytes, memory);
    }
    uint64_t reply_bytes = exec_reply_bytes(request);
    /* Nobody is served while a restore stores its data, so it may do so right where the data is in the cache. */
    bool here = request->op == WIRE_OP_RESTORE_DATA || exec_payload(request) <= server->config.server.inline_max;
    if (here && reply_bytes <= IO_OUT_BYTES && run_inline(conn, request, reply_bytes))
        return true;
    return start_job(conn, request, body, bytes, memory);
}

/** The same for a request that touches the segment's bytes. */
static bool dispatch_data(struct conn *conn, const struct wire_request *request, const uint8_t *body, size_t bytes, uint8_t **memory)
{
    const struct exec *exec = &conn->io->server->exec;
    uint32_t ticket = exec_enter(exec, conn->io->index);
    if (!ticket) {
        char text[RESTORING_TEXT_BYTES];
        answer_error(conn, request, MCOMP_UNAVAILABLE, restoring_text(exec->restoring, text));
        return true;
    }
    bool done = dispatch(conn, request, body, bytes, memory);
    exec_leave(exec, conn->io->index, ticket);
    return done;
}

/** A request about a restore says that the connection is its client's. */
static void claim_restore(struct conn *conn, const struct wire_request *request)
{
    struct restoring *restoring = conn->io->server->exec.restoring;
    if (request->op == WIRE_OP_RESTORE_BEGIN)
        restoring_claim(restoring, &conn->claim, request->full->restore_begin->restore_id);
    else if (request->op == WIRE_OP_RESTORE_DATA)
        restoring_claim(restoring, &conn->claim, request->operand);
    else if (request->op == WIRE_OP_RESTORE_END)
        restoring_claim(restoring, &conn->claim, request->full->restore_end->restore_id);
}

bool conn_execute(struct conn *conn, bool decoded, const struct wire_request *request, const uint8_t *body, size_t bytes, uint8_t **memory)
{
    struct server *server = conn->io->server;
    if (!decoded) {
        answer_error(conn, request, MCOMP_INVALID_ARGUMENT, "the frame does not hold a Request of package mcomp.v1, or one of far too many parts");
        return true;
    }
    struct err err;
    struct exec_caller caller = {.arena = &conn->io->arena, .hello_done = conn->hello_done};
    enum mcomp_status code = exec_check(&server->exec, &caller, request, &err);
    if (code != MCOMP_OK) {
        answer_error(conn, request, code, err.text);
        return true;
    }
    conn->has_sessions |= exec_is_client(request);
    if (exec_is_data(request))
        return dispatch_data(conn, request, body, bytes, memory);
    claim_restore(conn, request);
    return dispatch(conn, request, body, bytes, memory);
}
