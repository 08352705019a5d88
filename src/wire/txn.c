/* SPDX-License-Identifier: Apache-2.0 */
/** Codec of the messages about minitransactions. Those of one node cost a round trip like a plain read, so they are decoded like one. */
#include "wire/txn.h"

#include <string.h>

#include "wire/fields.h"
#include "wire/txn_fields.h"
#include "wire/wire.h"

#define STATUS_OK_ON_WIRE 1u /* MCOMP__V1__STATUS__STATUS_OK */
#define TAG_FIXED64_3 (uint8_t)(3 << 3 | 1)
#define FIXED64_BYTES 8u

/* ---- sizes, without the tag and length before them ---- */

static size_t id_size(const struct wire_txn_id *id)
{
    return field_size(id->session) + field_size(id->lane) + (id->generation ? 1 + FIXED64_BYTES : 0) + field_size(id->sequence);
}

static size_t bytes_size(const struct wire_bytes *range)
{
    return field_size(range->address) + bytes_field_header_size(range->length) + range->length;
}

static size_t pair_size(uint64_t first, uint64_t second)
{
    return field_size(first) + field_size(second);
}

/** A message of so many bytes inside another. */
static size_t part_size(size_t bytes)
{
    return 1 + varint_size(bytes) + bytes;
}

static size_t participant_size(const struct wire_participant *participant)
{
    return field_size(participant->node) + (participant->has_id ? part_size(id_size(&participant->id)) : 0);
}

static size_t items_size(const struct wire_txn *txn)
{
    size_t total = 0;
    for (uint32_t i = 0; i < txn->compare_count; i++)
        total += part_size(bytes_size(&txn->compares[i]));
    for (uint32_t i = 0; i < txn->read_count; i++)
        total += part_size(pair_size(txn->reads[i].address, txn->reads[i].length));
    for (uint32_t i = 0; i < txn->write_count; i++)
        total += part_size(bytes_size(&txn->writes[i]));
    for (uint32_t i = 0; i < txn->add_count; i++)
        total += part_size(pair_size(txn->adds[i].address, txn->adds[i].delta));
    return total;
}

/** Has the operation items? */
static bool has_items(enum wire_op op)
{
    return op == WIRE_OP_EXECUTE || op == WIRE_OP_PREPARE;
}

/** items_bytes: items_size(), of an operation that has items. */
static size_t op_size(enum wire_op op, const struct wire_txn *txn, size_t items_bytes)
{
    size_t total = txn->has_id ? part_size(id_size(&txn->id)) : 0;
    if (has_items(op))
        total += part_size(items_bytes);
    else
        total += (op == WIRE_OP_DECIDE && txn->commit ? 2u : 0u) + (txn->want_answer ? 2u : 0u);
    for (uint32_t i = 0; op == WIRE_OP_PREPARE && i < txn->participant_count; i++)
        total += part_size(participant_size(&txn->participants[i]));
    return total;
}

/* ---- encoding ---- */

static uint8_t *fixed64_put(uint8_t *out, uint8_t tag, uint64_t value)
{
    if (!value)
        return out;
    *out++ = tag;
    for (uint32_t i = 0; i < FIXED64_BYTES; i++)
        *out++ = (uint8_t)(value >> 8 * i);
    return out;
}

static uint8_t *id_put(uint8_t *out, uint8_t tag, const struct wire_txn_id *id)
{
    out = length_put(out, tag, id_size(id));
    out = field_put(out, TAG_VARINT_1, id->session);
    out = field_put(out, TAG_VARINT_2, id->lane);
    out = fixed64_put(out, TAG_FIXED64_3, id->generation);
    return field_put(out, TAG_VARINT_4, id->sequence);
}

static uint8_t *bytes_put(uint8_t *out, uint8_t tag, const struct wire_bytes *range)
{
    out = length_put(out, tag, bytes_size(range));
    out = field_put(out, TAG_VARINT_1, range->address);
    if (!range->length)
        return out;
    out = length_put(out, TAG_BYTES_2, range->length);
    memcpy(out, range->data, range->length);
    return out + range->length;
}

static uint8_t *pair_put(uint8_t *out, uint8_t tag, uint64_t first, uint64_t second)
{
    out = length_put(out, tag, pair_size(first, second));
    out = field_put(out, TAG_VARINT_1, first);
    return field_put(out, TAG_VARINT_2, second);
}

static uint8_t *items_put(uint8_t *out, const struct wire_txn *txn, size_t items_bytes)
{
    out = length_put(out, TAG_BYTES_2, items_bytes);
    for (uint32_t i = 0; i < txn->compare_count; i++)
        out = bytes_put(out, TAG_BYTES_1, &txn->compares[i]);
    for (uint32_t i = 0; i < txn->read_count; i++)
        out = pair_put(out, TAG_BYTES_2, txn->reads[i].address, txn->reads[i].length);
    for (uint32_t i = 0; i < txn->write_count; i++)
        out = bytes_put(out, TAG_BYTES_3, &txn->writes[i]);
    for (uint32_t i = 0; i < txn->add_count; i++)
        out = pair_put(out, TAG_BYTES_4, txn->adds[i].address, txn->adds[i].delta);
    return out;
}

static size_t message_size(uint64_t id, uint32_t timeout_ms, size_t op_bytes)
{
    return field_size(id) + field_size(timeout_ms) + TAG_TXN_BYTES + varint_size(op_bytes) + op_bytes;
}

size_t wire_txn_frame_bytes(uint64_t id, uint32_t timeout_ms, enum wire_op op, const struct wire_txn *txn)
{
    size_t bytes = message_size(id, timeout_ms, op_size(op, txn, has_items(op) ? items_size(txn) : 0));
    return varint_size(bytes) + bytes;
}

uint8_t *wire_put_txn(uint8_t *out, uint64_t id, uint32_t timeout_ms, enum wire_op op, const struct wire_txn *txn)
{
    size_t items_bytes = has_items(op) ? items_size(txn) : 0, op_bytes = op_size(op, txn, items_bytes);
    out = varint_put(out, message_size(id, timeout_ms, op_bytes));
    out = field_put(out, TAG_ID, id);
    out = field_put(out, TAG_TIMEOUT, timeout_ms);
    *out++ = txn_tag_of_op(op);
    out = length_put(out, TAG_TXN_HIGH, op_bytes);
    if (txn->has_id)
        out = id_put(out, TAG_BYTES_1, &txn->id);
    if (has_items(op))
        out = items_put(out, txn, items_bytes);
    for (uint32_t i = 0; op == WIRE_OP_PREPARE && i < txn->participant_count; i++) {
        const struct wire_participant *participant = &txn->participants[i];
        out = length_put(out, TAG_BYTES_3, participant_size(participant));
        out = field_put(out, TAG_VARINT_1, participant->node);
        if (participant->has_id)
            out = id_put(out, TAG_BYTES_2, &participant->id);
    }
    if (op == WIRE_OP_DECIDE) {
        out = field_put(out, TAG_VARINT_2, txn->commit);
        out = field_put(out, TAG_VARINT_3, txn->want_answer);
    } else if (op == WIRE_OP_RESOLVE) {
        out = field_put(out, TAG_VARINT_2, txn->want_answer);
    }
    return out;
}

/* ---- results ---- */

static size_t failed_size(const struct wire_txn_result *result)
{
    size_t total = 0;
    for (uint32_t i = 0; i < result->failed_count; i++)
        total += varint_size(result->failed[i]);
    return total;
}

/** Without the bytes of the answer, but with what stands before them. */
static size_t result_head_size(const struct wire_txn_result *result)
{
    size_t failed = failed_size(result);
    size_t total = field_size((uint64_t)result->outcome) + field_size((uint64_t)result->reason) + (failed ? part_size(failed) : 0) +
                   bytes_field_header_size(result->answer.bytes);
    for (uint32_t i = 0; i < result->found_count; i++)
        total += part_size(result->found[i].bytes);
    return total;
}

static size_t response_size(uint64_t id, size_t result_bytes)
{
    return field_size(id) + 2 + TAG_TXN_BYTES + varint_size(result_bytes) + result_bytes;
}

size_t wire_txn_result_frame_bytes(uint64_t id, const struct wire_txn_result *result)
{
    size_t bytes = response_size(id, result_head_size(result) + result->answer.bytes);
    return varint_size(bytes) + bytes;
}

uint8_t *wire_put_txn_result_header(uint8_t *out, uint64_t id, const struct wire_txn_result *result)
{
    size_t failed = failed_size(result), result_bytes = result_head_size(result) + result->answer.bytes;
    out = varint_put(out, response_size(id, result_bytes));
    out = field_put(out, TAG_ID, id);
    *out++ = TAG_STATUS;
    *out++ = STATUS_OK_ON_WIRE;
    *out++ = TAG_TXN_RESULT_LOW;
    out = length_put(out, TAG_TXN_HIGH, result_bytes);
    out = field_put(out, TAG_VARINT_1, (uint64_t)result->outcome);
    out = field_put(out, TAG_VARINT_2, (uint64_t)result->reason);
    if (failed)
        out = length_put(out, TAG_BYTES_3, failed);
    for (uint32_t i = 0; i < result->failed_count; i++)
        out = varint_put(out, result->failed[i]);
    for (uint32_t i = 0; i < result->found_count; i++) {
        out = length_put(out, TAG_BYTES_4, result->found[i].bytes);
        if (result->found[i].bytes)
            memcpy(out, result->found[i].data, result->found[i].bytes);
        out += result->found[i].bytes;
    }
    return result->answer.bytes ? length_put(out, TAG_BYTES_5, result->answer.bytes) : out;
}

/* ---- decoding: requests ---- */

static bool decode_id(struct field_cursor in, struct wire_txn_id *id)
{
    uint64_t scalar[5] = {0};
    while (in.at < in.end) {
        uint8_t tag = *in.at++;
        if (tag == TAG_FIXED64_3) {
            if (in.end - in.at < (ptrdiff_t)FIXED64_BYTES)
                return false;
            scalar[3] = 0;
            for (uint32_t i = 0; i < FIXED64_BYTES; i++)
                scalar[3] |= (uint64_t)*in.at++ << 8 * i;
        } else if ((tag != TAG_VARINT_1 && tag != TAG_VARINT_2 && tag != TAG_VARINT_4) || !cursor_varint(&in, &scalar[tag >> 3])) {
            return false;
        }
    }
    *id = (struct wire_txn_id){(uint32_t)scalar[1], (uint32_t)scalar[2], scalar[3], scalar[4]};
    return scalar[1] <= UINT32_MAX && scalar[2] <= UINT32_MAX;
}

static bool decode_bytes(struct field_cursor in, struct wire_bytes *range)
{
    *range = (struct wire_bytes){0};
    while (in.at < in.end) {
        uint8_t tag = *in.at++;
        struct field_cursor data;
        if (tag == TAG_VARINT_1) {
            if (!cursor_varint(&in, &range->address))
                return false;
        } else if (tag == TAG_BYTES_2) {
            if (!cursor_bytes(&in, &data))
                return false;
            range->data = data.at;
            range->length = (uint64_t)(data.end - data.at);
        } else {
            return false;
        }
    }
    return true;
}

static bool decode_pair(struct field_cursor in, uint64_t *first, uint64_t *second)
{
    *first = *second = 0;
    while (in.at < in.end) {
        uint8_t tag = *in.at++;
        if ((tag != TAG_VARINT_1 && tag != TAG_VARINT_2) || !cursor_varint(&in, tag == TAG_VARINT_1 ? first : second))
            return false;
    }
    return true;
}

/** One message inside Items, by its tag; the counts say where it goes, and grow. */
static bool decode_item(struct wire_txn *txn, uint8_t tag, struct field_cursor in)
{
    struct wire_range *read;
    struct wire_add *add;
    switch (tag) {
    case TAG_BYTES_1:
        return decode_bytes(in, &txn->compares[txn->compare_count++]);
    case TAG_BYTES_2:
        read = &txn->reads[txn->read_count++];
        return decode_pair(in, &read->address, &read->length);
    case TAG_BYTES_3:
        return decode_bytes(in, &txn->writes[txn->write_count++]);
    default:
        add = &txn->adds[txn->add_count++];
        return decode_pair(in, &add->address, &add->delta);
    }
}

static bool decode_participant(struct field_cursor in, struct wire_participant *participant)
{
    *participant = (struct wire_participant){0};
    uint64_t node = 0;
    while (in.at < in.end) {
        uint8_t tag = *in.at++;
        struct field_cursor id;
        if (tag == TAG_VARINT_1) {
            if (!cursor_varint(&in, &node) || node > UINT32_MAX)
                return false;
        } else if (tag != TAG_BYTES_2 || participant->has_id || !cursor_bytes(&in, &id) || !decode_id(id, &participant->id)) {
            return false;
        } else {
            participant->has_id = true;
        }
    }
    participant->node = (uint32_t)node;
    return true;
}

/** Where the parts of a request are, before memory for them is taken. */
struct shape {
    struct field_cursor id, items, all;
    bool has_id, has_items;
    uint32_t of_kind[5]; /* items, by field number */
    uint32_t participants;
};

static bool count_items(struct shape *shape)
{
    struct field_cursor in = shape->items, part;
    for (uint32_t total = 0; in.at < in.end; total++) {
        uint8_t tag = *in.at++;
        if ((tag != TAG_BYTES_1 && tag != TAG_BYTES_2 && tag != TAG_BYTES_3 && tag != TAG_BYTES_4) || !cursor_bytes(&in, &part) ||
            total == MULTI_RANGES_MAX)
            return false;
        shape->of_kind[tag >> 3]++;
    }
    return true;
}

/** false: some other shape than the plain one. */
static bool find_shape(struct shape *shape, enum wire_op op, struct field_cursor in, struct wire_txn *flags)
{
    *shape = (struct shape){.all = in};
    while (in.at < in.end) {
        uint8_t tag = *in.at++;
        struct field_cursor part;
        uint64_t flag;
        if (tag == TAG_VARINT_2 || tag == TAG_VARINT_3) {
            bool is_commit = op == WIRE_OP_DECIDE && tag == TAG_VARINT_2;
            if (has_items(op) || (op == WIRE_OP_RESOLVE && tag == TAG_VARINT_3) || !cursor_varint(&in, &flag))
                return false;
            *(is_commit ? &flags->commit : &flags->want_answer) = flag != 0;
        } else if (!cursor_bytes(&in, &part)) {
            return false;
        } else if (tag == TAG_BYTES_1 && !shape->has_id) {
            shape->has_id = true;
            shape->id = part;
        } else if (tag == TAG_BYTES_2 && has_items(op) && !shape->has_items) {
            shape->has_items = true;
            shape->items = part;
        } else if (tag == TAG_BYTES_3 && op == WIRE_OP_PREPARE && shape->participants < GRID_NODES_MAX) {
            shape->participants++;
        } else {
            return false;
        }
    }
    return !shape->has_items || count_items(shape);
}

/** Memory for a txn with these numbers of parts, the numbers themselves zero; NULL: there is none. */
static struct wire_txn *make_txn(struct arena *arena, const size_t of_kind[5], size_t participants)
{
    size_t bytes = sizeof(struct wire_txn) + (of_kind[1] + of_kind[3]) * sizeof(struct wire_bytes) + of_kind[2] * sizeof(struct wire_range) +
                   of_kind[4] * sizeof(struct wire_add) + participants * sizeof(struct wire_participant);
    struct wire_txn *txn = arena_alloc(arena, bytes);
    if (!txn)
        return NULL;
    *txn = (struct wire_txn){0};
    txn->compares = (struct wire_bytes *)(txn + 1);
    txn->writes = txn->compares + of_kind[1];
    txn->reads = (struct wire_range *)(txn->writes + of_kind[3]);
    txn->adds = (struct wire_add *)(txn->reads + of_kind[2]);
    txn->participants = (struct wire_participant *)(txn->adds + of_kind[4]);
    return txn;
}

bool txn_decode(struct wire_request *request, enum wire_op op, struct field_cursor in, struct arena *arena)
{
    struct shape shape;
    struct wire_txn flags = {0};
    if (!find_shape(&shape, op, in, &flags))
        return false;
    size_t of_kind[5];
    for (uint32_t i = 0; i < 5; i++)
        of_kind[i] = shape.of_kind[i];
    struct wire_txn *txn = make_txn(arena, of_kind, shape.participants);
    if (!txn || (shape.has_id && !decode_id(shape.id, &txn->id)))
        return false;
    txn->has_id = shape.has_id;
    txn->commit = flags.commit;
    txn->want_answer = flags.want_answer;
    struct field_cursor part;
    for (in = shape.items; shape.has_items && in.at < in.end;) { /* all there, by count_items */
        uint8_t tag = *in.at++;
        if (!cursor_bytes(&in, &part) || !decode_item(txn, tag, part))
            return false;
    }
    for (in = shape.all; shape.participants && in.at < in.end;) { /* of PREPARE all fields have a length */
        uint8_t tag = *in.at++;
        if (!cursor_bytes(&in, &part) || (tag == TAG_BYTES_3 && !decode_participant(part, &txn->participants[txn->participant_count++])))
            return false;
    }
    request->op = op;
    request->txn = txn;
    return true;
}

/* ---- the same from generated code ---- */

static void take_id(struct wire_txn_id *to, const Mcomp__V1__TransactionId *id)
{
    if (id)
        *to = (struct wire_txn_id){id->session, id->lane, id->generation, id->sequence};
}

static void take_items(struct wire_txn *txn, const Mcomp__V1__Items *items)
{
    for (size_t i = 0; i < items->n_compares; i++)
        txn->compares[i] = (struct wire_bytes){items->compares[i]->address, items->compares[i]->expected.len, items->compares[i]->expected.data};
    for (size_t i = 0; i < items->n_reads; i++)
        txn->reads[i] = (struct wire_range){items->reads[i]->address, items->reads[i]->length};
    for (size_t i = 0; i < items->n_writes; i++)
        txn->writes[i] = (struct wire_bytes){items->writes[i]->address, items->writes[i]->data.len, items->writes[i]->data.data};
    for (size_t i = 0; i < items->n_adds; i++)
        txn->adds[i] = (struct wire_add){items->adds[i]->address, items->adds[i]->delta};
    txn->compare_count = (uint32_t)items->n_compares;
    txn->read_count = (uint32_t)items->n_reads;
    txn->write_count = (uint32_t)items->n_writes;
    txn->add_count = (uint32_t)items->n_adds;
}

/** id, items may be NULL. */
static bool take_txn(struct wire_request *request, enum wire_op op, const Mcomp__V1__TransactionId *id, const Mcomp__V1__Items *items,
                     size_t participants, struct arena *arena)
{
    size_t of_kind[5] = {0};
    if (items) {
        of_kind[1] = items->n_compares;
        of_kind[2] = items->n_reads;
        of_kind[3] = items->n_writes;
        of_kind[4] = items->n_adds;
    }
    struct wire_txn *txn = make_txn(arena, of_kind, participants);
    if (!txn)
        return false;
    txn->has_id = id != NULL;
    take_id(&txn->id, id);
    if (items)
        take_items(txn, items);
    request->op = op;
    request->txn = txn;
    return true;
}

static bool take_prepare(struct wire_request *request, const Mcomp__V1__Prepare *prepare, struct arena *arena)
{
    if (!take_txn(request, WIRE_OP_PREPARE, prepare->id, prepare->items, prepare->n_participants, arena))
        return false;
    for (size_t i = 0; i < prepare->n_participants; i++) {
        struct wire_participant *participant = &request->txn->participants[i];
        *participant = (struct wire_participant){.node = prepare->participants[i]->node, .has_id = prepare->participants[i]->id != NULL};
        take_id(&participant->id, prepare->participants[i]->id);
    }
    request->txn->participant_count = (uint32_t)prepare->n_participants;
    return true;
}

bool txn_take(struct wire_request *request, const Mcomp__V1__Request *full, struct arena *arena)
{
    request->length = 0;
    switch (full->op_case) {
    case MCOMP__V1__REQUEST__OP_EXECUTE:
        return take_txn(request, WIRE_OP_EXECUTE, full->execute->id, full->execute->items, 0, arena);
    case MCOMP__V1__REQUEST__OP_PREPARE:
        return take_prepare(request, full->prepare, arena);
    case MCOMP__V1__REQUEST__OP_DECIDE:
        if (!take_txn(request, WIRE_OP_DECIDE, full->decide->id, NULL, 0, arena))
            return false;
        request->txn->commit = full->decide->commit;
        request->txn->want_answer = full->decide->want_answer;
        return true;
    default:
        if (!take_txn(request, WIRE_OP_RESOLVE, full->resolve->id, NULL, 0, arena))
            return false;
        request->txn->want_answer = full->resolve->want_answer;
        return true;
    }
}

/* ---- decoding: the result ---- */

static bool decode_number(struct field_cursor *in, int *number)
{
    uint64_t value;
    if (!cursor_varint(in, &value) || value > INT32_MAX)
        return false;
    *number = (int)value;
    return true;
}

static bool decode_failed(struct field_cursor in, struct wire_txn_result *result, struct arena *arena)
{
    size_t most = (size_t)(in.end - in.at); /* one in each byte */
    if (result->failed || most > MULTI_RANGES_MAX * 2)
        return false;
    result->failed = arena_alloc(arena, most * sizeof *result->failed);
    while (result->failed && in.at < in.end) {
        uint64_t value;
        if (!cursor_varint(&in, &value) || value > UINT32_MAX)
            return false;
        result->failed[result->failed_count++] = (uint32_t)value;
    }
    return result->failed != NULL;
}

/** How many of the fields of the result have this tag; all tags before the last of these are of the plain shape, else SIZE_MAX. */
static size_t count_tags(struct field_cursor in, uint8_t wanted)
{
    size_t total = 0;
    while (in.at < in.end) {
        uint8_t tag = *in.at++;
        uint64_t value;
        struct field_cursor part;
        if ((tag & 7) == 0 ? !cursor_varint(&in, &value) : !cursor_bytes(&in, &part))
            return SIZE_MAX;
        total += tag == wanted;
    }
    return total;
}

bool txn_decode_result(struct wire_response *response, struct field_cursor in, struct arena *arena)
{
    struct wire_txn_result *result = arena_alloc(arena, sizeof *result);
    size_t found = count_tags(in, TAG_BYTES_4);
    if (!result || found > MULTI_RANGES_MAX)
        return false;
    *result = (struct wire_txn_result){0};
    if (found && !(result->found = arena_alloc(arena, found * sizeof *result->found)))
        return false;
    while (in.at < in.end) {
        uint8_t tag = *in.at++;
        struct field_cursor part;
        if (tag == TAG_VARINT_1 || tag == TAG_VARINT_2) {
            if (!decode_number(&in, tag == TAG_VARINT_1 ? &result->outcome : &result->reason))
                return false;
        } else if (!cursor_bytes(&in, &part)) {
            return false;
        } else if (tag == TAG_BYTES_3) {
            if (!decode_failed(part, result, arena))
                return false;
        } else if (tag == TAG_BYTES_4) {
            result->found[result->found_count++] = (struct wire_blob){(uint64_t)(part.end - part.at), part.at};
        } else if (tag == TAG_BYTES_5) {
            result->answer = (struct wire_blob){(uint64_t)(part.end - part.at), part.at};
        } else {
            return false;
        }
    }
    response->result = WIRE_OP_EXECUTE;
    response->txn = result;
    return true;
}

bool txn_take_result(struct wire_response *response, const Mcomp__V1__TransactionResult *full, struct arena *arena)
{
    struct wire_txn_result *result = arena_alloc(arena, sizeof *result);
    struct wire_blob *found = arena_alloc(arena, full->n_found * sizeof *found);
    if (!result || !found)
        return false;
    *result = (struct wire_txn_result){.outcome = (int)full->outcome,
                                       .reason = (int)full->reason,
                                       .failed_count = (uint32_t)full->n_failed_compares,
                                       .failed = full->failed_compares,
                                       .found_count = (uint32_t)full->n_found,
                                       .found = found,
                                       .answer = {full->answer.len, full->answer.data}};
    for (size_t i = 0; i < full->n_found; i++)
        found[i] = (struct wire_blob){full->found[i].len, full->found[i].data};
    response->result = WIRE_OP_EXECUTE;
    response->txn = result;
    return true;
}
