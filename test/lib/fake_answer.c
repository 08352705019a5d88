/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/fake_answer.h"

#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "lib/fake_txn.h"

static void pack(struct fake_answer *answer, const Mcomp__V1__Response *response)
{
    answer->count = wire_message_frame_bytes(&response->base);
    answer->bytes = malloc(answer->count);
    wire_put_message(answer->bytes, &response->base);
}

static void end_at(struct fake_answer *answer, const uint8_t *end)
{
    answer->count = (size_t)(end - answer->bytes);
}

void fake_answer_hello(struct fake_answer *answer, const struct fake_node *node, const struct fake_hello *hello,
                       const struct wire_request *request)
{
    Mcomp__V1__HelloResult result = MCOMP__V1__HELLO_RESULT__INIT;
    Mcomp__V1__Response response = MCOMP__V1__RESPONSE__INIT;
    if (hello->status != MCOMP_OK) {
        fake_answer_status(answer, hello->unasked ? 0 : request->id, hello->status);
        return;
    }
    result.protocol_version = hello->version ? hello->version : 1;
    result.grid = (char *)(hello->grid ? hello->grid : "fake");
    result.segment_size = hello->segment_size ? hello->segment_size : node->segment_size;
    result.nodes = hello->nodes ? hello->nodes : node->nodes;
    result.node = hello->other_node ? node->number + 1 : node->number;
    result.max_message = node->max_message;
    result.max_in_flight = 64;
    result.server = (char *)"fake";
    response.id = request->id;
    response.status = MCOMP__V1__STATUS__STATUS_OK;
    response.result_case = MCOMP__V1__RESPONSE__RESULT_HELLO;
    response.hello = &result;
    pack(answer, &response);
}

void fake_answer_status(struct fake_answer *answer, uint64_t id, enum mcomp_status status)
{
    Mcomp__V1__Response response = MCOMP__V1__RESPONSE__INIT;
    Mcomp__V1__WrongNode wrong = MCOMP__V1__WRONG_NODE__INIT;
    response.id = id;
    response.status = wire_status_put(status);
    response.message = (char *)"the fake \"server\"\nwas told to refuse";
    if (status == MCOMP_WRONG_NODE) {
        wrong.node = 77;
        wrong.address = (char *)"host77:7777";
        response.result_case = MCOMP__V1__RESPONSE__RESULT_WRONG_NODE;
        response.wrong_node = &wrong;
    }
    pack(answer, &response);
}

static bool is_mine(const struct fake_node *node, uint64_t address, uint64_t length)
{
    uint64_t base = node->number * node->segment_size;
    return address >= base && address - base <= node->segment_size && length <= node->segment_size - (address - base) &&
           length <= node->max_message;
}

static uint8_t *place(const struct fake_node *node, uint64_t address)
{
    return node->memory + (address - node->number * node->segment_size);
}

static bool answer_multi(struct fake_answer *answer, const struct fake_node *node, enum fake_action action,
                         const struct wire_request *request)
{
    const Mcomp__V1__Multi *multi = request->full->multi;
    Mcomp__V1__MultiResult result = MCOMP__V1__MULTI_RESULT__INIT;
    Mcomp__V1__Response response = MCOMP__V1__RESPONSE__INIT;
    uint64_t total = 0;
    bool ok = multi->n_reads + multi->n_writes <= MULTI_RANGES_MAX;
    for (size_t i = 0; i < multi->n_reads; i++) {
        ok = ok && is_mine(node, multi->reads[i]->address, multi->reads[i]->length);
        total += multi->reads[i]->length;
    }
    for (size_t i = 0; i < multi->n_writes; i++) {
        ok = ok && is_mine(node, multi->writes[i]->address, multi->writes[i]->data.len);
        total += multi->writes[i]->data.len;
    }
    if (!ok || total > node->max_message) {
        fake_answer_status(answer, request->id, MCOMP_INVALID_ARGUMENT);
        return false;
    }
    ProtobufCBinaryData *data = calloc(multi->n_reads + 1, sizeof *data);
    for (size_t i = 0; i < multi->n_reads; i++)
        data[i] = (ProtobufCBinaryData){multi->reads[i]->length, place(node, multi->reads[i]->address)};
    result.n_data = multi->n_reads - (action == FAKE_WRONG_LENGTH && multi->n_reads ? 1 : 0) + (action == FAKE_WRONG_KIND);
    result.data = data;
    response.id = request->id;
    response.status = MCOMP__V1__STATUS__STATUS_OK;
    response.result_case = MCOMP__V1__RESPONSE__RESULT_MULTI;
    response.multi = &result;
    pack(answer, &response);
    free(data);
    for (size_t i = 0; i < multi->n_writes; i++)
        memcpy(place(node, multi->writes[i]->address), multi->writes[i]->data.data, multi->writes[i]->data.len);
    return true;
}

static void answer_node_status(struct fake_answer *answer, const struct fake_node *node, uint64_t id)
{
    Mcomp__V1__OperationCount count = MCOMP__V1__OPERATION_COUNT__INIT;
    Mcomp__V1__StatusResult result = MCOMP__V1__STATUS_RESULT__INIT;
    Mcomp__V1__Response response = MCOMP__V1__RESPONSE__INIT;
    count.count = 11;
    count.errors = 22;
    count.bytes = 33;
    result.node = node->number;
    result.segment_size = node->segment_size;
    result.segment_id = 4711;
    result.server = (char *)"fake\nserver";
    result.write = &count;
    result.oplog_dropped = 44;
    response.id = id;
    response.status = MCOMP__V1__STATUS__STATUS_OK;
    response.result_case = MCOMP__V1__RESPONSE__RESULT_NODE_STATUS;
    response.node_status = &result;
    pack(answer, &response);
}

static void answer_read(struct fake_answer *answer, const struct fake_node *node, uint64_t id, uint64_t address, uint64_t length)
{
    answer->bytes = malloc(WIRE_HEADER_BYTES + length);
    uint8_t *end = wire_put_read_result_header(answer->bytes, id, length);
    memcpy(end, place(node, address), length);
    end_at(answer, end + length);
}

/** A step of a restore. Data must lie here and have its checksum. */
static bool answer_restore(struct fake_answer *answer, const struct fake_node *node, uint64_t id, const struct wire_request *request)
{
    Mcomp__V1__RestoreBeginResult begin = MCOMP__V1__RESTORE_BEGIN_RESULT__INIT;
    Mcomp__V1__RestoreDataResult data = MCOMP__V1__RESTORE_DATA_RESULT__INIT;
    Mcomp__V1__RestoreEndResult end = MCOMP__V1__RESTORE_END_RESULT__INIT;
    Mcomp__V1__Response response = MCOMP__V1__RESPONSE__INIT;
    bool is_data = request->op == WIRE_OP_RESTORE_DATA;
    if (is_data && (!is_mine(node, request->address, request->length + request->desired) || request->length > node->max_message ||
                    wire_restore_crc(request->address, request->desired, request->data, request->length) != request->crc32c)) {
        fake_answer_status(answer, id, MCOMP_INVALID_ARGUMENT);
        return false;
    }
    response.id = id;
    response.status = MCOMP__V1__STATUS__STATUS_OK;
    if (is_data) {
        if (request->length)
            memcpy(place(node, request->address), request->data, request->length);
        if (request->desired)
            memset(place(node, request->address + request->length), 0, request->desired);
        response.result_case = MCOMP__V1__RESPONSE__RESULT_RESTORE_DATA;
        response.restore_data = &data;
    } else if (request->op == WIRE_OP_RESTORE_BEGIN) {
        response.result_case = MCOMP__V1__RESPONSE__RESULT_RESTORE_BEGIN;
        response.restore_begin = &begin;
    } else {
        response.result_case = MCOMP__V1__RESPONSE__RESULT_RESTORE_END;
        response.restore_end = &end;
    }
    pack(answer, &response);
    return true;
}

bool fake_answer_make(struct fake_answer *answer, const struct fake_node *node, enum fake_action action, const struct wire_request *request)
{
    uint64_t id = action == FAKE_WRONG_ID ? request->id + 16000 : request->id;
    if (request->op == WIRE_OP_MULTI)
        return answer_multi(answer, node, action, request);
    if (request->op == WIRE_OP_STATUS) {
        answer_node_status(answer, node, id);
        return true;
    }
    if (request->op >= WIRE_OP_OPEN_SESSION && request->op <= WIRE_OP_RESOLVE)
        return fake_txn_make(answer, node, action, request);
    if (request->op == WIRE_OP_RESTORE_BEGIN || request->op == WIRE_OP_RESTORE_DATA || request->op == WIRE_OP_RESTORE_END)
        return answer_restore(answer, node, id, request);
    if (request->op == WIRE_OP_NONE || !is_mine(node, request->address, request->length)) {
        fake_answer_status(answer, id, MCOMP_INVALID_ARGUMENT);
        return false;
    }
    uint8_t *at = place(node, request->address);
    uint64_t before = request->length == ATOMIC_WORD_BYTES ? le64_get(at) : 0;
    enum wire_op op = request->op;
    if (op == WIRE_OP_READ && action != FAKE_WRONG_KIND) {
        answer_read(answer, node, id, request->address, request->length - (action == FAKE_WRONG_LENGTH));
        return true;
    }
    bool wrong_kind = action == FAKE_WRONG_KIND, swaps = before == request->operand;
    if (op == WIRE_OP_WRITE)
        memcpy(at, request->data, request->length);
    else if (op == WIRE_OP_FETCH_ADD)
        le64_put(at, before + request->operand);
    else if (op == WIRE_OP_COMPARE_AND_SWAP && swaps)
        le64_put(at, request->desired);
    if (op == WIRE_OP_WRITE && wrong_kind) {
        answer_read(answer, node, id, request->address, request->length);
        return true;
    }
    answer->bytes = malloc(WIRE_HEADER_BYTES);
    if (op == WIRE_OP_FETCH_ADD ? !wrong_kind : wrong_kind)
        end_at(answer, wire_put_fetch_add_result(answer->bytes, id, before));
    else if (op == WIRE_OP_COMPARE_AND_SWAP)
        end_at(answer, wire_put_compare_and_swap_result(answer->bytes, id, swaps != (action == FAKE_WRONG_LENGTH), before));
    else
        end_at(answer, wire_put_write_result(answer->bytes, id));
    return true;
}
