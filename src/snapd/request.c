/* SPDX-License-Identifier: Apache-2.0 */
/** One request of a connection: checked, and answered or handed on. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/priority.h"
#include "base/text.h"
#include "snapd/conn.h"
#include "snapd/director.h"
#include "snapd/exchange.h"
#include "snapd/member.h"

typedef Mcomp__Snapshot__V1__Request Request;

#define LEASE_MS_MAX 10000u

static enum mcomp_status check_freeze(const struct config *config, const Mcomp__Snapshot__V1__Freeze *freeze, struct err *err)
{
    if (freeze->segment_size != config->segment_size || freeze->nodes != config->nodes)
        return err_set(err, MCOMP_FAILED_PRECONDITION,
                       "the leader's grid has %" PRIu32 " nodes with %" PRIu64 " bytes each, this node's has %" PRIu32 " with %" PRIu64
                       ": give all nodes the same mcomp.cfg",
                       freeze->nodes, freeze->segment_size, config->nodes, config->segment_size);
    if (freeze->round == 0)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "there is no round 0");
    if (freeze->lease_ms < 1 || freeze->lease_ms > LEASE_MS_MAX)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "a lease of %" PRIu32 " ms is out of range: 1 to %u", freeze->lease_ms, LEASE_MS_MAX);
    return MCOMP_OK;
}

static enum mcomp_status check_pull(const struct conn *conn, const Mcomp__Snapshot__V1__Pull *pull, struct err *err)
{
    if (pull->offset % SNAPSHOT_CHUNK_BYTES != 0)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "offset %" PRIu64 " is no multiple of %u", pull->offset, SNAPSHOT_CHUNK_BYTES);
    if (pull->max_bytes == 0 || pull->max_bytes > EXCHANGE_PULL_BYTES || pull->max_bytes % SNAPSHOT_CHUNK_BYTES != 0)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "%" PRIu32 " bytes cannot be pulled at once: a multiple of %u, at most %u", pull->max_bytes,
                       SNAPSHOT_CHUNK_BYTES, EXCHANGE_PULL_BYTES);
    if (conn->conns->held + pull->max_bytes > CONNS_HELD_MAX)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "captured pages that clients have not taken fill the node's buffers");
    return MCOMP_OK;
}

/** Copy what the operation says to the task. Errors: what is wrong with it. */
static enum mcomp_status take_operation(const struct conn *conn, struct task *task, const Request *request, struct err *err)
{
    enum mcomp_status code = MCOMP_OK;
    switch (request->op_case) {
    case MCOMP__SNAPSHOT__V1__REQUEST__OP_FREEZE:
        code = check_freeze(conn->conns->snapd->config, request->freeze, err);
        task->op = TASK_FREEZE;
        task->round = request->freeze->round;
        task->lease_ms = request->freeze->lease_ms;
        return code;
    case MCOMP__SNAPSHOT__V1__REQUEST__OP_CUT:
        task->op = TASK_CUT;
        task->round = request->cut->round;
        return MCOMP_OK;
    case MCOMP__SNAPSHOT__V1__REQUEST__OP_UNFREEZE:
        task->op = TASK_UNFREEZE;
        task->round = request->unfreeze->round;
        return MCOMP_OK;
    case MCOMP__SNAPSHOT__V1__REQUEST__OP_PULL:
        code = check_pull(conn, request->pull, err);
        task->op = TASK_PULL;
        task->round = request->pull->round;
        task->offset = request->pull->offset;
        task->bytes = request->pull->max_bytes;
        return code;
    case MCOMP__SNAPSHOT__V1__REQUEST__OP_END:
        task->op = TASK_END;
        task->round = request->end->round;
        return MCOMP_OK;
    case MCOMP__SNAPSHOT__V1__REQUEST__OP_TAKE_SNAPSHOT:
        task->op = TASK_TAKE_SNAPSHOT;
        return MCOMP_OK;
    case MCOMP__SNAPSHOT__V1__REQUEST__OP_LIST:
        task->op = TASK_LIST;
        return MCOMP_OK;
    default:
        return err_set(err, MCOMP_UNIMPLEMENTED, "the request asks for nothing that this version knows");
    }
}

/** The task is on its way from here on. */
static void hand_over(struct conn *conn, const struct task *model, uint64_t id)
{
    struct snapd *snapd = conn->conns->snapd;
    struct task *task = malloc(sizeof *task);
    if (!task) {
        conn_answer(conn, exchange_answer(id, MCOMP_RESOURCE_EXHAUSTED, "the snapshot process is out of memory"));
        return;
    }
    *task = *model;
    task->conn = conn;
    task->client = conn->number;
    task->id = id;
    conn->flight[conn->tasks++] = task;
    if (task->op == TASK_PULL)
        conn->pull_bytes += task->bytes;
    if (task->op == TASK_FREEZE)
        conn->froze = true;
    if (task->op < TASK_TAKE_SNAPSHOT)
        priority_background(task->op == TASK_PULL); /* its answer is a lot to send; anything else is urgent */
    if (task->op >= TASK_TAKE_SNAPSHOT)
        director_put(snapd->director, task);
    else
        member_put(snapd->member, task);
}

static void run(struct conn *conn, const Request *request)
{
    struct snapd *snapd = conn->conns->snapd;
    if (strcmp(request->grid, snapd->config->grid) != 0) {
        char text[EXCHANGE_TEXT_BYTES_MAX], quoted[TEXT_QUOTE_BYTES];
        snprintf(text, sizeof text, "this is the grid \"%s\", not %s", snapd->config->grid, text_quote(request->grid, quoted));
        conn_answer(conn, exchange_answer(request->id, MCOMP_FAILED_PRECONDITION, text));
        return;
    }
    if (request->op_case == MCOMP__SNAPSHOT__V1__REQUEST__OP_ROUND_QUERY) {
        conn_answer(conn, board_answer(&snapd->board, request->id));
        return;
    }
    struct task task = {0};
    struct err err;
    enum mcomp_status code = take_operation(conn, &task, request, &err);
    if (code != MCOMP_OK)
        conn_answer(conn, exchange_answer(request->id, code, err.text));
    else
        hand_over(conn, &task, request->id);
}

void conn_request(struct conn *conn, const uint8_t *body, size_t bytes)
{
    Request *request = mcomp__snapshot__v1__request__unpack(NULL, bytes, body);
    if (!request) {
        conn_answer(conn, exchange_answer(0, MCOMP_INVALID_ARGUMENT, "the frame does not hold a Request of package mcomp.snapshot.v1"));
        return;
    }
    run(conn, request);
    mcomp__snapshot__v1__request__free_unpacked(request, NULL);
}
