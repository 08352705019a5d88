/* SPDX-License-Identifier: Apache-2.0 */
/** Every check of a request about minitransactions, made once at the edge. */
#include <inttypes.h>
#include <stdlib.h>

#include "server/exec_txn.h"
#include "txn/participant.h"

static enum mcomp_status check_id(const struct wire_txn *txn, struct err *err)
{
    const struct wire_txn_id *id = &txn->id;
    if (!txn->has_id)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "the request does not say which transaction: it has no id");
    if (id->lane >= LANES)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "lane %" PRIu32 ": a session has lanes 0 to %u", id->lane, LANES - 1);
    if (id->generation == 0)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "generation 0: OpenSession tells the session's");
    if (id->sequence == 0 || id->sequence > LANE_SEQUENCE_MAX)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "sequence %" PRIu64 ": the transactions of a lane are numbered from 1 to %" PRIu64, id->sequence,
                       LANE_SEQUENCE_MAX);
    return MCOMP_OK;
}

static int compare_ranges(const void *left, const void *right)
{
    const struct wire_range *a = left, *b = right;
    return a->address < b->address ? -1 : a->address > b->address;
}

/** Writes and adds do not overlap. */
static enum mcomp_status check_overlap(const struct exec_caller *caller, const struct wire_txn *txn, struct err *err)
{
    uint32_t first = txn->compare_count + txn->read_count, count = txn->write_count + txn->add_count;
    if (count < 2)
        return MCOMP_OK;
    struct wire_range *sorted = arena_alloc(caller->arena, count * sizeof *sorted);
    if (!sorted)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "the node is out of memory");
    for (uint32_t i = 0; i < count; i++)
        sorted[i] = exec_txn_range(txn, first + i);
    qsort(sorted, count, sizeof *sorted, compare_ranges);
    uint64_t end = 0; /* of the last one that is not empty */
    for (uint32_t i = 0; i < count; i++) {
        if (sorted[i].length == 0)
            continue;
        if (sorted[i].address < end)
            return err_set(err, MCOMP_INVALID_ARGUMENT, "two writes or adds of one transaction overlap at 0x%" PRIx64, sorted[i].address);
        end = sorted[i].address + sorted[i].length;
    }
    return MCOMP_OK;
}

static enum mcomp_status check_items(const struct exec *exec, const struct exec_caller *caller, const struct wire_txn *txn, struct err *err)
{
    uint64_t most = MULTI_RANGES_MAX, total = 0;
    if (txn->compare_count > most || txn->read_count > most || txn->write_count > most || txn->add_count > most || exec_txn_ranges(txn) > most)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "%" PRIu64 " ranges are more than %u: make the transaction smaller",
                       (uint64_t)txn->compare_count + txn->read_count + txn->write_count + txn->add_count, MULTI_RANGES_MAX);
    for (uint32_t i = 0; i < exec_txn_ranges(txn); i++) {
        struct wire_range range = exec_txn_range(txn, i);
        enum mcomp_status code = exec_check_range(exec, range.address, range.length, err);
        if (code != MCOMP_OK)
            return code;
        total += range.length; /* cannot overflow: each is at most k, and there are few */
    }
    if (total > exec->max_message)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "the ranges have %" PRIu64 " bytes together, max_message is %" PRIu64
                       ": make the transaction smaller", total, exec->max_message);
    return check_overlap(caller, txn, err);
}

static enum mcomp_status check_prepare(const struct exec *exec, const struct exec_caller *caller, const struct wire_txn *txn, struct err *err)
{
    uint32_t self;
    if (txn->participant_count > GRID_NODES_MAX)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "%" PRIu32 " participants; a transaction has 1 to %" PRIu32 ", each a node of the grid",
                       txn->participant_count, exec->config->nodes);
    struct lane_participant *participants = exec_txn_participants(txn, caller->arena);
    if (!participants)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "the node is out of memory");
    const struct lane_id id = {txn->id.session, txn->id.lane, txn->id.generation, txn->id.sequence};
    enum mcomp_status code = participant_check(participants, txn->participant_count, exec->node, exec->config->nodes, &id, &self, err);
    return code == MCOMP_OK ? check_items(exec, caller, txn, err) : code;
}

enum mcomp_status exec_txn_check(const struct exec *exec, const struct exec_caller *caller, const struct wire_request *request, struct err *err)
{
    enum mcomp_status code;
    switch (request->op) {
    case WIRE_OP_OPEN_SESSION:
        if (request->full->open_session->client.len != SEGMENT_CLIENT_BYTES)
            return err_set(err, MCOMP_INVALID_ARGUMENT, "client has %zu bytes: choose %u at random, the same for all nodes",
                           request->full->open_session->client.len, SEGMENT_CLIENT_BYTES);
        return MCOMP_OK;
    case WIRE_OP_EXECUTE:
        code = request->txn->has_id ? check_id(request->txn, err) : MCOMP_OK;
        return code == MCOMP_OK ? check_items(exec, caller, request->txn, err) : code;
    case WIRE_OP_PREPARE:
        code = check_id(request->txn, err);
        return code == MCOMP_OK ? check_prepare(exec, caller, request->txn, err) : code;
    case WIRE_OP_DECIDE:
    case WIRE_OP_RESOLVE:
        return check_id(request->txn, err);
    default:
        return MCOMP_OK; /* CLOSE_SESSION of any number, LIST_TRANSACTIONS */
    }
}
