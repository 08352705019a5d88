/* SPDX-License-Identifier: Apache-2.0 */
#include "server/exec.h"

#include <inttypes.h>
#include <string.h>

#include "server/exec_txn.h"

void exec_prefetch(const struct exec *exec, const struct wire_request *request)
{
    uint64_t offset = request->address - exec->base;
    if (request->txn)
        exec_txn_prefetch(exec, request->txn);
    else if (offset < exec->size)
        segment_prefetch(exec->segment, offset);
}

uint64_t exec_payload(const struct wire_request *request)
{
    uint64_t total = 0;
    switch (request->op) {
    case WIRE_OP_READ:
    case WIRE_OP_WRITE:
    case WIRE_OP_FETCH_ADD:
    case WIRE_OP_COMPARE_AND_SWAP:
    case WIRE_OP_RESTORE_DATA:
        return request->length;
    case WIRE_OP_MULTI:
        for (size_t i = 0; i < request->full->multi->n_reads; i++)
            total += request->full->multi->reads[i]->length;
        for (size_t i = 0; i < request->full->multi->n_writes; i++)
            total += request->full->multi->writes[i]->data.len;
        return total;
    default:
        return exec_txn_payload(request);
    }
}

uint64_t exec_reply_bytes(const struct wire_request *request)
{
    uint64_t total = 0;
    switch (request->op) {
    case WIRE_OP_READ:
        return WIRE_HEADER_BYTES + request->length;
    case WIRE_OP_WRITE:
    case WIRE_OP_FETCH_ADD:
    case WIRE_OP_COMPARE_AND_SWAP:
        return WIRE_HEADER_BYTES;
    case WIRE_OP_MULTI: /* each result has a tag and a length of its own */
        for (size_t i = 0; i < request->full->multi->n_reads; i++)
            total += request->full->multi->reads[i]->length + 16;
        return WIRE_HEADER_BYTES + total;
    case WIRE_OP_EXECUTE:
    case WIRE_OP_PREPARE:
    case WIRE_OP_DECIDE:
    case WIRE_OP_RESOLVE:
    case WIRE_OP_LIST_TRANSACTIONS:
        return exec_txn_reply_bytes(request);
    default:
        return EXEC_SMALL_REPLY_BYTES;
    }
}

/** The node that owns the first byte of a range which is not this node's; UINT32_MAX: all are this node's. */
static uint32_t foreign_node(const struct exec *exec, uint64_t address, uint64_t length)
{
    if (length == 0)
        return UINT32_MAX;
    if (address < exec->base || address >= exec->base + exec->size)
        return (uint32_t)(address / exec->size);
    return length > exec->base + exec->size - address ? exec->node + 1 : UINT32_MAX;
}

static uint32_t foreign_node_of(const struct exec *exec, const struct wire_request *request)
{
    if (request->op == WIRE_OP_RESTORE_DATA)
        return foreign_node(exec, request->address, request->length + request->desired);
    uint32_t node = UINT32_MAX;
    for (uint32_t i = 0; request->txn && i < exec_txn_ranges(request->txn) && node == UINT32_MAX; i++) {
        struct wire_range range = exec_txn_range(request->txn, i);
        node = foreign_node(exec, range.address, range.length);
    }
    if (request->op != WIRE_OP_MULTI)
        return request->txn ? node : foreign_node(exec, request->address, request->length);
    const Mcomp__V1__Multi *multi = request->full->multi;
    for (size_t i = 0; i < multi->n_reads && node == UINT32_MAX; i++)
        node = foreign_node(exec, multi->reads[i]->address, multi->reads[i]->length);
    for (size_t i = 0; i < multi->n_writes && node == UINT32_MAX; i++)
        node = foreign_node(exec, multi->writes[i]->address, multi->writes[i]->data.len);
    return node;
}

uint8_t *exec_put_error(const struct exec *exec, uint8_t *out, const struct wire_request *request, enum mcomp_status status, const char *text)
{
    Mcomp__V1__Response response = MCOMP__V1__RESPONSE__INIT;
    Mcomp__V1__WrongNode wrong_node = MCOMP__V1__WRONG_NODE__INIT;
    response.id = request->id;
    response.status = wire_status_put(status);
    response.message = (char *)text;
    if (status == MCOMP_WRONG_NODE) {
        wrong_node.node = foreign_node_of(exec, request);
        MC_ASSERT(wrong_node.node < exec->config->nodes);
        wrong_node.address = exec->config->node[wrong_node.node].address.text;
        response.result_case = MCOMP__V1__RESPONSE__RESULT_WRONG_NODE;
        response.wrong_node = &wrong_node;
    }
    MC_ASSERT(wire_message_frame_bytes(&response.base) <= EXEC_SMALL_REPLY_BYTES);
    return wire_put_message(out, &response.base);
}

/** There is no response: this is in the way. */
static uint8_t *met(struct exec_caller *caller, enum segment_outcome outcome)
{
    caller->met = outcome;
    return NULL;
}

static uint8_t *run_read(const struct exec *exec, struct exec_caller *caller, const struct wire_request *request, uint8_t *out)
{
    out = wire_put_read_result_header(out, request->id, request->length);
    uint64_t offset = request->address - exec->base;
    enum segment_outcome outcome = caller->may_wait ? segment_read(exec->segment, offset, request->length, out)
                                                    : segment_read_try(exec->segment, offset, request->length, out);
    return outcome == SEGMENT_DONE ? out + request->length : met(caller, outcome);
}

static uint8_t *run_write(const struct exec *exec, struct exec_caller *caller, const struct wire_request *request, uint8_t *out)
{
    uint64_t offset = request->address - exec->base;
    enum segment_outcome outcome = caller->may_wait
                                       ? segment_write(exec->segment, caller->writer, offset, request->length, request->data)
                                       : segment_write_try(exec->segment, caller->writer, offset, request->length, request->data);
    if (outcome != SEGMENT_DONE)
        return met(caller, outcome);
    return wire_put_write_result(out, request->id);
}

static uint8_t *run_fetch_add(const struct exec *exec, struct exec_caller *caller, const struct wire_request *request, uint8_t *out)
{
    uint64_t before, offset = request->address - exec->base;
    enum segment_outcome outcome = caller->may_wait ? segment_add(exec->segment, caller->writer, offset, request->operand, &before)
                                                    : segment_add_try(exec->segment, caller->writer, offset, request->operand, &before);
    if (outcome != SEGMENT_DONE)
        return met(caller, outcome);
    return wire_put_fetch_add_result(out, request->id, before);
}

static uint8_t *run_compare_and_swap(const struct exec *exec, struct exec_caller *caller, const struct wire_request *request,
                                     uint8_t *out)
{
    uint64_t found, offset = request->address - exec->base;
    enum segment_outcome outcome =
        caller->may_wait ? segment_cas(exec->segment, caller->writer, offset, request->operand, request->desired, &found)
                         : segment_cas_try(exec->segment, caller->writer, offset, request->operand, request->desired, &found);
    if (outcome != SEGMENT_DONE)
        return met(caller, outcome);
    return wire_put_compare_and_swap_result(out, request->id, found == request->operand, found);
}

/** Where a zero-length range lies does not matter; the segment wants offsets of its own. */
static uint64_t offset_of(const struct exec *exec, uint64_t address, uint64_t length)
{
    return length ? address - exec->base : 0;
}

/** The results of the reads as the response wants them: data holds them one behind the other. */
static uint8_t *put_multi_result(uint8_t *out, const struct wire_request *request, uint8_t *data, ProtobufCBinaryData *items)
{
    const Mcomp__V1__Multi *multi = request->full->multi;
    for (size_t i = 0; i < multi->n_reads; i++) {
        items[i] = (ProtobufCBinaryData){.len = multi->reads[i]->length, .data = data};
        data += multi->reads[i]->length;
    }
    Mcomp__V1__MultiResult result = MCOMP__V1__MULTI_RESULT__INIT;
    result.n_data = multi->n_reads;
    result.data = items;
    Mcomp__V1__Response response = MCOMP__V1__RESPONSE__INIT;
    response.id = request->id;
    response.status = wire_status_put(MCOMP_OK);
    response.result_case = MCOMP__V1__RESPONSE__RESULT_MULTI;
    response.multi = &result;
    return wire_put_message(out, &response.base);
}

static uint8_t *run_multi(const struct exec *exec, struct exec_caller *caller, const struct wire_request *request, uint8_t *out,
                          enum mcomp_status *status)
{
    const Mcomp__V1__Multi *multi = request->full->multi;
    uint64_t read_bytes = 0;
    struct segment_range *reads = arena_alloc(caller->arena, (multi->n_reads + 1) * sizeof *reads);
    struct segment_write_range *writes = arena_alloc(caller->arena, (multi->n_writes + 1) * sizeof *writes);
    ProtobufCBinaryData *items = arena_alloc(caller->arena, (multi->n_reads + 1) * sizeof *items);
    for (size_t i = 0; reads && i < multi->n_reads; i++) {
        uint64_t length = multi->reads[i]->length;
        reads[i] = (struct segment_range){offset_of(exec, multi->reads[i]->address, length), length};
        read_bytes += length;
    }
    for (size_t i = 0; writes && i < multi->n_writes; i++) {
        const Mcomp__V1__Write *write = multi->writes[i];
        writes[i] = (struct segment_write_range){offset_of(exec, write->address, write->data.len), write->data.len, write->data.data};
    }
    uint8_t *data = arena_alloc(caller->arena, read_bytes + 1);
    if (!reads || !writes || !items || !data) {
        *status = MCOMP_RESOURCE_EXHAUSTED;
        return exec_put_error(exec, out, request, *status, "the node is out of memory");
    }
    enum segment_outcome outcome =
        caller->may_wait ? segment_multi(exec->segment, caller->writer, reads, multi->n_reads, data, writes, multi->n_writes)
                         : segment_multi_try(exec->segment, caller->writer, reads, multi->n_reads, data, writes, multi->n_writes);
    if (outcome != SEGMENT_DONE)
        return met(caller, outcome);
    return put_multi_result(out, request, data, items);
}

static uint8_t *run_hello(const struct exec *exec, struct exec_caller *caller, const struct wire_request *request, uint8_t *out)
{
    struct segment_info info;
    segment_get_info(exec->segment, &info);
    Mcomp__V1__HelloResult result = MCOMP__V1__HELLO_RESULT__INIT;
    result.protocol_version = 1;
    result.grid = (char *)exec->config->grid;
    result.segment_size = exec->size;
    result.nodes = exec->config->nodes;
    result.node = exec->node;
    result.max_message = exec->max_message;
    result.max_in_flight = CONN_JOBS_MAX;
    result.segment_id = info.id;
    result.server = (char *)SERVER_NAME;
    Mcomp__V1__Response response = MCOMP__V1__RESPONSE__INIT;
    response.id = request->id;
    response.status = wire_status_put(MCOMP_OK);
    response.result_case = MCOMP__V1__RESPONSE__RESULT_HELLO;
    response.hello = &result;
    MC_ASSERT(wire_message_frame_bytes(&response.base) <= EXEC_SMALL_REPLY_BYTES);
    caller->hello_done = true;
    return wire_put_message(out, &response.base);
}

static uint8_t *run_status(const struct exec *exec, const struct wire_request *request, uint8_t *out)
{
    Mcomp__V1__OperationCount counts[7];
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        counts[i] = (Mcomp__V1__OperationCount)MCOMP__V1__OPERATION_COUNT__INIT;
    Mcomp__V1__StatusResult result = MCOMP__V1__STATUS_RESULT__INIT;
    result.read = &counts[0];
    result.write = &counts[1];
    result.fetch_add = &counts[2];
    result.compare_and_swap = &counts[3];
    result.multi = &counts[4];
    result.other = &counts[5];
    result.transaction = &counts[6];
    result.grid = (char *)exec->config->grid;
    result.node = exec->node;
    result.nodes = exec->config->nodes;
    result.segment_size = exec->size;
    result.server = (char *)SERVER_NAME;
    exec->fill_status(exec->fill_status_arg, &result);
    Mcomp__V1__Response response = MCOMP__V1__RESPONSE__INIT;
    response.id = request->id;
    response.status = wire_status_put(MCOMP_OK);
    response.result_case = MCOMP__V1__RESPONSE__RESULT_NODE_STATUS;
    response.node_status = &result;
    MC_ASSERT(wire_message_frame_bytes(&response.base) <= EXEC_SMALL_REPLY_BYTES);
    return wire_put_message(out, &response.base);
}

/* ---- restoring ---- */

static uint8_t *put_restored(const struct exec *exec, const struct wire_request *request, uint8_t *out, enum mcomp_status status, const struct err *err)
{
    Mcomp__V1__RestoreBeginResult begin = MCOMP__V1__RESTORE_BEGIN_RESULT__INIT;
    Mcomp__V1__RestoreDataResult data = MCOMP__V1__RESTORE_DATA_RESULT__INIT;
    Mcomp__V1__RestoreEndResult end = MCOMP__V1__RESTORE_END_RESULT__INIT;
    Mcomp__V1__Response response = MCOMP__V1__RESPONSE__INIT;
    if (status != MCOMP_OK)
        return exec_put_error(exec, out, request, status, err->text);
    response.id = request->id;
    response.status = wire_status_put(MCOMP_OK);
    if (request->op == WIRE_OP_RESTORE_BEGIN) {
        response.result_case = MCOMP__V1__RESPONSE__RESULT_RESTORE_BEGIN;
        response.restore_begin = &begin;
    } else if (request->op == WIRE_OP_RESTORE_DATA) {
        response.result_case = MCOMP__V1__RESPONSE__RESULT_RESTORE_DATA;
        response.restore_data = &data;
    } else {
        response.result_case = MCOMP__V1__RESPONSE__RESULT_RESTORE_END;
        response.restore_end = &end;
    }
    return wire_put_message(out, &response.base);
}

static uint8_t *run_restore_begin(const struct exec *exec, const struct exec_caller *caller, const struct wire_request *request, uint8_t *out,
                                  enum mcomp_status *status)
{
    const Mcomp__V1__RestoreBegin *begin = request->full->restore_begin;
    struct segment_restore wanted = {.id = begin->restore_id, .file = begin->file, .round = begin->round};
    struct err err;
    if (!caller->may_wait)
        return NULL;
    *status = restoring_begin(exec->restoring, &wanted, &err);
    return put_restored(exec, request, out, *status, &err);
}

static uint8_t *run_restore_data(const struct exec *exec, const struct exec_caller *caller, const struct wire_request *request, uint8_t *out,
                                 enum mcomp_status *status)
{
    struct err err;
    bool busy = false;
    if (wire_restore_crc(request->address, request->desired, request->data, request->length) != request->crc32c)
        *status = err_set(&err, MCOMP_DATA_LOSS, "data for 0x%" PRIx64 " does not have its checksum: it was changed on its way", request->address);
    else
        *status = restoring_store(exec->restoring, request->operand, request->address - exec->base, request->length, request->data, request->desired,
                                  !caller->may_wait, &busy, &err);
    if (*status == MCOMP_OK && !busy)
        txns_cleared(exec->txns); /* the first of them has ended all sessions, and who waits for a transaction waits in vain */
    return busy ? NULL : put_restored(exec, request, out, *status, &err);
}

static uint8_t *run_restore_end(const struct exec *exec, const struct exec_caller *caller, const struct wire_request *request, uint8_t *out,
                                enum mcomp_status *status)
{
    const Mcomp__V1__RestoreEnd *end = request->full->restore_end;
    struct err err;
    if (!caller->may_wait)
        return NULL;
    if (end->phase == MCOMP__V1__RESTORE_END__PHASE__PHASE_COMPLETE)
        *status = restoring_complete(exec->restoring, end->restore_id, &err);
    else
        *status = restoring_serve(exec->restoring, end->restore_id, &err);
    return put_restored(exec, request, out, *status, &err);
}

struct exec_result exec_run(const struct exec *exec, struct exec_caller *caller, const struct wire_request *request, uint8_t *out)
{
    struct exec_result result = {.status = MCOMP_OK, .payload_bytes = exec_payload(request)};
    caller->met = SEGMENT_BUSY;
    struct wire_request empty;
    bool ranged = request->op == WIRE_OP_READ || request->op == WIRE_OP_WRITE;
    bool nothing = request->op == WIRE_OP_RESTORE_DATA && request->desired == 0;
    if ((ranged || nothing) && request->length == 0) { /* moves nothing, wherever it lies */
        empty = *request;
        empty.address = exec->base;
        request = &empty;
    }
    switch (request->op) {
    case WIRE_OP_READ:
        result.end = run_read(exec, caller, request, out);
        break;
    case WIRE_OP_WRITE:
        result.end = run_write(exec, caller, request, out);
        break;
    case WIRE_OP_FETCH_ADD:
        result.end = run_fetch_add(exec, caller, request, out);
        break;
    case WIRE_OP_COMPARE_AND_SWAP:
        result.end = run_compare_and_swap(exec, caller, request, out);
        break;
    case WIRE_OP_MULTI:
        result.end = run_multi(exec, caller, request, out, &result.status);
        break;
    case WIRE_OP_HELLO:
        result.end = run_hello(exec, caller, request, out);
        break;
    case WIRE_OP_STATUS:
        result.end = run_status(exec, request, out);
        break;
    case WIRE_OP_RESTORE_BEGIN:
        result.end = run_restore_begin(exec, caller, request, out, &result.status);
        break;
    case WIRE_OP_RESTORE_DATA:
        result.end = run_restore_data(exec, caller, request, out, &result.status);
        break;
    case WIRE_OP_RESTORE_END:
        result.end = run_restore_end(exec, caller, request, out, &result.status);
        break;
    default:
        MC_ASSERT(request->op != WIRE_OP_NONE); /* exec_check has refused it */
        result.end = exec_txn_run(exec, caller, request, out, &result.status);
        break;
    }
    result.logged = caller->aborted ? MCOMP_ABORTED : result.status;
    return result;
}
