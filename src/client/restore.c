/* SPDX-License-Identifier: Apache-2.0 */
/** The steps of a restore: their checks and their messages. */
#include <inttypes.h>
#include <string.h>

#include "client/engine.h"

uint8_t *restore_encode(uint8_t *out, struct piece *piece, uint32_t timeout_ms)
{
    Mcomp__V1__RestoreBegin begin = MCOMP__V1__RESTORE_BEGIN__INIT;
    Mcomp__V1__RestoreEnd end = MCOMP__V1__RESTORE_END__INIT;
    Mcomp__V1__Request request = MCOMP__V1__REQUEST__INIT;
    if (piece->kind == WIRE_OP_RESTORE_DATA) {
        if (!piece->has_crc)
            piece->crc32c = wire_restore_crc(piece->address, piece->desired, piece->data, piece->length);
        piece->has_crc = true;
        struct wire_restore_data data = {
            .restore_id = piece->operand, .address = piece->address, .zeros = piece->desired, .crc32c = piece->crc32c};
        out = wire_put_restore_data_header(out, piece->id, timeout_ms, &data, piece->length);
        if (piece->length <= INLINE_BYTES && piece->length > 0) {
            memcpy(out, piece->data, piece->length);
            out += piece->length;
        }
        return out;
    }
    request.id = piece->id;
    request.timeout_ms = timeout_ms;
    if (piece->kind == WIRE_OP_RESTORE_BEGIN) {
        request.op_case = MCOMP__V1__REQUEST__OP_RESTORE_BEGIN;
        request.restore_begin = &begin;
        begin.restore_id = piece->operand;
        begin.file = piece->desired;
        begin.round = (uint32_t)piece->address;
    } else {
        request.op_case = MCOMP__V1__REQUEST__OP_RESTORE_END;
        request.restore_end = &end;
        end.restore_id = piece->operand;
        end.phase = (Mcomp__V1__RestoreEnd__Phase)piece->desired;
    }
    return wire_put_message(out, &request.base);
}

static enum mcomp_status check_node(const struct mcomp_queue *queue, uint32_t node, struct mcomp_error *error)
{
    if (node < queue->grid->config.nodes)
        return MCOMP_OK;
    return error_set(error, MCOMP_OUT_OF_RANGE, 0, MCOMP_NO_NODE, "there is no node %" PRIu32 "; the last one is %" PRIu32, node,
                     queue->grid->config.nodes - 1);
}

enum mcomp_status mcomp_queue_restore_begin(struct mcomp_queue *queue, uint32_t node, const struct mcomp_restore *restore, uint32_t timeout_ms,
                                            mcomp_callback callback, void *arg, struct mcomp_error *error)
{
    struct submission wanted = {.kind = WIRE_OP_RESTORE_BEGIN,
                                .address = restore->round,
                                .operand = restore->id,
                                .desired = restore->file,
                                .node = node,
                                .callback = callback,
                                .arg = arg};
    enum mcomp_status status = check_node(queue, node, error);
    return status == MCOMP_OK ? queue_submit(queue, &wanted, timeout_ms, error) : status;
}

enum mcomp_status mcomp_queue_restore_end(struct mcomp_queue *queue, uint32_t node, uint64_t restore_id, enum mcomp_restore_phase phase,
                                          uint32_t timeout_ms, mcomp_callback callback, void *arg, struct mcomp_error *error)
{
    struct submission wanted = {
        .kind = WIRE_OP_RESTORE_END, .operand = restore_id, .desired = (uint64_t)phase, .node = node, .callback = callback, .arg = arg};
    enum mcomp_status status = check_node(queue, node, error);
    return status == MCOMP_OK ? queue_submit(queue, &wanted, timeout_ms, error) : status;
}

enum mcomp_status mcomp_queue_restore_data(struct mcomp_queue *queue, uint64_t restore_id, uint64_t address, const void *data, size_t length,
                                           uint64_t zeros, uint32_t timeout_ms, mcomp_callback callback, void *arg, struct mcomp_error *error)
{
    struct submission wanted = {.kind = WIRE_OP_RESTORE_DATA,
                                .address = address,
                                .length = length,
                                .data = (void *)data, /* not changed */
                                .operand = restore_id,
                                .desired = zeros,
                                .callback = callback,
                                .arg = arg};
    struct submission whole = wanted;
    uint64_t segment_size = queue->grid->config.segment_size;
    whole.length = zeros > UINT64_MAX - length ? UINT64_MAX : length + zeros;
    enum mcomp_status status = op_check(queue->grid, &whole, error);
    if (status != MCOMP_OK)
        return status;
    if (whole.length == 0 || split_on_node(segment_size, address, whole.length) != whole.length) {
        error_set(error, MCOMP_INVALID_ARGUMENT, 0, MCOMP_NO_NODE, "%zu bytes of data and %" PRIu64 " zeros at 0x%" PRIx64 " must lie on one node", length,
                  zeros, address);
        return op_refuse(&wanted, MCOMP_INVALID_ARGUMENT, error);
    }
    return queue_submit(queue, &wanted, timeout_ms, error);
}
