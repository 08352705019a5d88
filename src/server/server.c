/* SPDX-License-Identifier: Apache-2.0 */
#include "server/server.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/agent.h"
#include "server/io.h"
#include "server/resolving.h"
#include "server/restore.h"

/** Threads that write to the segment: I/O threads first, then workers. */
static uint32_t writer_count(const struct config *config)
{
    return config->server.io_threads + config->server.workers;
}

/** With the thread behind them that resolves transactions: it has a number among them, and writes nothing itself. */
static uint32_t actor_count(const struct config *config)
{
    return writer_count(config) + 1;
}

static enum mcomp_status open_segment(struct server *server, struct err *err)
{
    const struct config *config = &server->config;
    struct exec *exec = &server->exec;
    uint64_t k = config->segment_size;
    struct segment_options options = {.grid = config->grid,
                                      .node = exec->node,
                                      .nodes = config->nodes,
                                      .size = k,
                                      .writers = writer_count(config),
                                      .redo_bytes = config->server.max_message < k ? config->server.max_message : k,
                                      .restore = server->restore_path != NULL,
                                      .preserve_limit = config->snapshot.preserve_limit};
    enum mcomp_status code = segment_open(&server->segment, &options, err);
    if (code != MCOMP_OK)
        return code;
    exec->config = config;
    exec->segment = server->segment;
    exec->base = (uint64_t)exec->node * k;
    exec->size = k;
    exec->max_message = options.redo_bytes;
    exec->fill_status = server_fill_status;
    exec->fill_status_arg = server;
    struct segment_info info;
    segment_get_info(server->segment, &info);
    char keys[160];
    snprintf(keys, sizeof keys, "id=%016" PRIx64 " bytes=%" PRIu64 " attach_count=%" PRIu64 " writes_finished=%" PRIu64, info.id, k,
             info.attach_count, info.writes_finished);
    log_line(LOG_INFO, "segment", info.created ? "create" : "attach", keys, "%s",
             info.created ? "made anew, all bytes zero" : "its bytes are as the last server left them");
    return MCOMP_OK;
}

/** After a restore at the start. If another one did not come to its end, this server will refuse whatever touches the bytes. */
static enum mcomp_status open_restoring(struct server *server, struct err *err)
{
    struct segment_restore last;
    char text[RESTORING_TEXT_BYTES];
    enum mcomp_status code = restoring_open(&server->restoring, server->segment, actor_count(&server->config), err);
    if (code != MCOMP_OK)
        return code;
    server->exec.restoring = server->restoring;
    if (segment_restore_get(server->segment, &last) != SEGMENT_RESTORE_NONE)
        log_line(LOG_WARN, "segment", "restore", "", "%s", restoring_text(server->restoring, text));
    return MCOMP_OK;
}

static void released_cb(void *arg)
{
    struct server *server = arg;
    jobs_release_locked(server->jobs);
}

static void prepared_cb(void *arg)
{
    struct server *server = arg;
    resolving_wake(server->resolving);
}

/** What acts on transactions must know whom to tell. */
static enum mcomp_status start_resolving(struct server *server, struct err *err)
{
    const struct txns_calls calls = {.released = released_cb, .released_arg = server, .prepared = prepared_cb, .prepared_arg = server};
    struct resolving_options options = {.exec = &server->exec, .jobs = server->jobs, .actor = actor_count(&server->config) - 1};
    txns_set_calls(server->txns, &calls);
    return resolving_start(&server->resolving, &options, err);
}

static enum mcomp_status start_threads(struct server *server, struct err *err)
{
    const struct config *config = &server->config;
    enum mcomp_status code;
    if (config->oplog.file[0]) {
        code = oplog_open(&server->oplog, config->oplog.file, config->oplog.reads, writer_count(config), err);
        if (code != MCOMP_OK)
            return code;
    }
    struct jobs_options options = {.workers = config->server.workers,
                                   .first_writer = config->server.io_threads,
                                   .exec = &server->exec,
                                   .oplog = server->oplog,
                                   .done = io_job_done,
                                   .grow = io_job_grow};
    code = jobs_start(&server->jobs, &options, err);
    if (code != MCOMP_OK)
        return code;
    code = start_resolving(server, err);
    if (code != MCOMP_OK)
        return code;
    code = agent_start(&server->agent, server->segment, server->jobs, server->restoring, err);
    if (code != MCOMP_OK)
        return code;
    server->io = calloc(config->server.io_threads, sizeof(struct io *));
    if (!server->io)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "out of memory for the I/O threads");
    for (uint32_t i = 0; i < config->server.io_threads && code == MCOMP_OK; i++)
        code = io_start(&server->io[i], server, i, err);
    return code;
}

enum mcomp_status server_start(struct server *server, struct err *err)
{
    server->started_ns = clock_mono_ns();
    enum mcomp_status code = server->restore_path ? restore_check(&server->config, server->restore_path, err) : MCOMP_OK;
    if (code == MCOMP_OK)
        code = open_segment(server, err);
    if (code == MCOMP_OK && server->restore_path)
        code = restore_segment(server->segment, &server->config, server->exec.node, server->restore_path, err);
    if (code == MCOMP_OK)
        code = open_restoring(server, err);
    if (code == MCOMP_OK)
        code = txns_open(&server->txns, server->segment, actor_count(&server->config), err);
    server->exec.txns = server->txns;
    if (code == MCOMP_OK)
        code = start_threads(server, err);
    if (code != MCOMP_OK)
        server_stop(server);
    return code;
}

void server_stop(struct server *server)
{
    agent_stop(server->agent); /* first: it lets the requests go on that wait for the end of a freeze */
    server->agent = NULL;
    if (server->jobs)
        jobs_end_locked(server->jobs);
    uint32_t io_threads = server->io ? server->config.server.io_threads : 0;
    for (uint32_t i = 0; i < io_threads; i++)
        if (server->io[i])
            io_drain(server->io[i]);
    for (uint32_t i = 0; i < io_threads; i++)
        io_join(server->io[i]);
    resolving_stop(server->resolving); /* its thread releases jobs */
    jobs_stop(server->jobs);
    server->jobs = NULL;
    for (uint32_t i = 0; i < io_threads; i++) /* not before: the worker that did the last job may still be waking its loop */
        io_free(server->io[i]);
    free(server->io);
    server->io = NULL;
    resolving_free(server->resolving); /* not before: workers and I/O threads wake its loop */
    server->resolving = NULL;
    oplog_close(server->oplog);
    server->oplog = NULL;
    txns_close(server->txns);
    server->txns = NULL;
    restoring_close(server->restoring);
    server->restoring = NULL;
    segment_close(server->segment);
    server->segment = NULL;
    config_free(&server->config);
}

/* ---- connections ---- */

void server_refuse(void *arg, int fd)
{
    struct server *server = arg;
    uint8_t frame[EXEC_SMALL_REPLY_BYTES];
    struct wire_request none = {.op = WIRE_OP_NONE};
    const uint8_t *end = exec_put_error(&server->exec, frame, &none, MCOMP_RESOURCE_EXHAUSTED,
                                        "the node serves as many connections as max_connections allows");
    (void)!send(fd, frame, (size_t)(end - frame), MSG_DONTWAIT | MSG_NOSIGNAL);
    atomic_fetch_add(&server->refused, 1);
}

bool server_serve(void *arg, int fd)
{
    struct server *server = arg;
    if (atomic_load(&server->connections) >= server->config.server.max_connections)
        return false;
    atomic_fetch_add(&server->connections, 1);
    if (io_adopt(server->io[server->next_io++ % server->config.server.io_threads], fd)) {
        atomic_fetch_add(&server->accepted, 1);
        return true;
    }
    atomic_fetch_sub(&server->connections, 1);
    return false;
}

/* ---- status ---- */

static void add_operation(Mcomp__V1__OperationCount *to, const struct stat_operation *from)
{
    to->count += stat_get(&from->count);
    to->errors += stat_get(&from->errors);
    to->bytes += stat_get(&from->bytes);
}

static void add_stats(Mcomp__V1__StatusResult *result, const struct stats *stats)
{
    add_operation(result->read, &stats->operation[WIRE_OP_READ]);
    add_operation(result->write, &stats->operation[WIRE_OP_WRITE]);
    add_operation(result->fetch_add, &stats->operation[WIRE_OP_FETCH_ADD]);
    add_operation(result->compare_and_swap, &stats->operation[WIRE_OP_COMPARE_AND_SWAP]);
    add_operation(result->multi, &stats->operation[WIRE_OP_MULTI]);
    add_operation(result->transaction, &stats->operation[WIRE_OP_EXECUTE]);
    add_operation(result->transaction, &stats->operation[WIRE_OP_PREPARE]);
    add_operation(result->transaction, &stats->operation[WIRE_OP_DECIDE]);
    add_operation(result->transaction, &stats->operation[WIRE_OP_RESOLVE]);
    add_operation(result->other, &stats->operation[WIRE_OP_OPEN_SESSION]);
    add_operation(result->other, &stats->operation[WIRE_OP_CLOSE_SESSION]);
    add_operation(result->other, &stats->operation[WIRE_OP_LIST_TRANSACTIONS]);
    add_operation(result->other, &stats->operation[WIRE_OP_NONE]);
    add_operation(result->other, &stats->operation[WIRE_OP_HELLO]);
    add_operation(result->other, &stats->operation[WIRE_OP_STATUS]);
    add_operation(result->other, &stats->operation[WIRE_OP_RESTORE_BEGIN]);
    add_operation(result->other, &stats->operation[WIRE_OP_RESTORE_DATA]);
    add_operation(result->other, &stats->operation[WIRE_OP_RESTORE_END]);
    result->bytes_in += stat_get(&stats->bytes_in);
    result->bytes_out += stat_get(&stats->bytes_out);
    result->connections_broken += stat_get(&stats->connections_broken);
    result->jobs_handed_to_workers += stat_get(&stats->jobs);
}

void server_fill_status(void *arg, Mcomp__V1__StatusResult *result)
{
    struct server *server = arg;
    const struct config *config = &server->config;
    struct segment_info info;
    segment_get_info(server->segment, &info);
    result->segment_id = info.id;
    result->attach_count = info.attach_count;
    result->writes_finished_at_start = info.writes_finished;
    result->process_id = (uint64_t)getpid();
    result->uptime_ms = (clock_mono_ns() - server->started_ns) / 1000000u;
    result->connections = atomic_load(&server->connections);
    result->connections_accepted = atomic_load(&server->accepted);
    result->connections_refused = atomic_load(&server->refused);
    for (uint32_t i = 0; i < config->server.io_threads; i++)
        add_stats(result, &server->io[i]->stats);
    for (uint32_t i = 0; i < config->server.workers; i++)
        add_stats(result, jobs_stats(server->jobs, i));
    result->jobs_waiting = jobs_waiting(server->jobs);
    result->buffered_in = atomic_load(&server->buffered_in);
    result->buffered_out = atomic_load(&server->buffered_out);
    oplog_counts(server->oplog, &result->oplog_lines, &result->oplog_dropped);
    restoring_fill_status(server->restoring, result);
    txns_fill_status(server->txns, result);
    resolving_fill_status(server->resolving, result);
}
