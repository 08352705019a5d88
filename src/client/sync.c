/* SPDX-License-Identifier: Apache-2.0 */
/** Synchronous calls: one operation on a borrowed session, run in the caller's thread until it is complete. */
#include <inttypes.h>

#include "client/engine.h"

struct call {
    bool done;
    enum mcomp_status status;
    uint64_t value;
    struct mcomp_error *error; /* caller's; may be NULL */
};

static void complete(void *arg, const struct mcomp_completion *completion)
{
    struct call *call = arg;
    call->done = true;
    call->status = completion->status;
    call->value = completion->value;
    if (completion->error && call->error)
        *call->error = *completion->error;
}

/** Do what was checked. *value may be NULL. */
static enum mcomp_status perform(struct mcomp *grid, struct submission *wanted, uint32_t timeout_ms, uint64_t *value,
                                 struct mcomp_error *error)
{
    struct call call = {.error = error};
    struct mcomp_queue *session;
    wanted->callback = complete;
    wanted->arg = &call;
    wanted->timeout_ms = grid_timeout_ms(grid, timeout_ms);
    wanted->deadline_ns = NEVER;
    if (wanted->timeout_ms != MCOMP_NO_TIMEOUT)
        wanted->deadline_ns = clock_mono_ns() + (uint64_t)wanted->timeout_ms * 1000000u;
    enum mcomp_status status = session_take(grid, &session, wanted->timeout_ms, wanted->deadline_ns, error);
    if (status != MCOMP_OK)
        return op_refuse(wanted, status, error);
    status = op_submit(session, wanted, error);
    if (status == MCOMP_OK) {
        wanted->multi = NULL; /* the operation's */
        queue_run_until(session, &call.done);
        status = call.status;
    }
    session_give(grid, session);
    if (status == MCOMP_OK && value)
        *value = call.value;
    return status;
}

static enum mcomp_status check_and_perform(struct mcomp *grid, struct submission *wanted, uint32_t timeout_ms, uint64_t *value,
                                           struct mcomp_error *error)
{
    enum mcomp_status status = op_check(grid, wanted, error);
    if (status != MCOMP_OK || wanted->length == 0)
        return status;
    return perform(grid, wanted, timeout_ms, value, error);
}

enum mcomp_status mcomp_read(struct mcomp *grid, uint64_t address, void *buffer, size_t length, uint32_t timeout_ms, struct mcomp_error *error)
{
    struct submission wanted = {.kind = WIRE_OP_READ, .address = address, .length = length, .data = buffer};
    return check_and_perform(grid, &wanted, timeout_ms, NULL, error);
}

enum mcomp_status mcomp_write(struct mcomp *grid, uint64_t address, const void *data, size_t length, uint32_t timeout_ms,
                              struct mcomp_error *error)
{
    struct submission wanted = {.kind = WIRE_OP_WRITE, .address = address, .length = length, .data = (void *)data};
    return check_and_perform(grid, &wanted, timeout_ms, NULL, error);
}

enum mcomp_status mcomp_fetch_add(struct mcomp *grid, uint64_t address, uint64_t delta, uint64_t *before, uint32_t timeout_ms,
                                  struct mcomp_error *error)
{
    struct submission wanted = {.kind = WIRE_OP_FETCH_ADD, .address = address, .length = ATOMIC_WORD_BYTES, .operand = delta};
    return check_and_perform(grid, &wanted, timeout_ms, before, error);
}

enum mcomp_status mcomp_compare_and_swap(struct mcomp *grid, uint64_t address, uint64_t expected, uint64_t desired, uint64_t *found,
                                         uint32_t timeout_ms, struct mcomp_error *error)
{
    struct submission wanted = {.kind = WIRE_OP_COMPARE_AND_SWAP,
                                .address = address,
                                .length = ATOMIC_WORD_BYTES,
                                .operand = expected,
                                .desired = desired};
    return check_and_perform(grid, &wanted, timeout_ms, found, error);
}

enum mcomp_status mcomp_multi(struct mcomp *grid, const struct mcomp_range *ranges, size_t count, uint32_t timeout_ms,
                              struct mcomp_error *error)
{
    struct submission wanted = {.kind = WIRE_OP_MULTI};
    enum mcomp_status status = multi_new(grid, &wanted.multi, ranges, count, error);
    if (status != MCOMP_OK)
        return status;
    if (wanted.multi->chain_count > 0)
        status = perform(grid, &wanted, timeout_ms, NULL, error);
    multi_free(wanted.multi); /* NULL when the operation had it */
    return status;
}

enum mcomp_status mcomp_node_status(struct mcomp *grid, uint32_t node, struct mcomp_node_status *status, uint32_t timeout_ms,
                                    struct mcomp_error *error)
{
    struct submission wanted = {.kind = WIRE_OP_STATUS, .node = node, .data = status};
    if (node >= grid->config.nodes)
        return error_set(error, MCOMP_OUT_OF_RANGE, 0, MCOMP_NO_NODE, "there is no node %" PRIu32 "; the last one is %" PRIu32, node,
                         grid->config.nodes - 1);
    return perform(grid, &wanted, timeout_ms, NULL, error);
}

enum mcomp_status mcomp_node_prepared(struct mcomp *grid, uint32_t node, struct mcomp_prepared *list, size_t capacity, uint64_t *total,
                                      uint32_t timeout_ms, struct mcomp_error *error)
{
    struct prepared_list answer = {.list = list, .capacity = capacity};
    struct submission wanted = {.kind = WIRE_OP_LIST_TRANSACTIONS, .node = node, .data = &answer};
    if (node >= grid->config.nodes)
        return error_set(error, MCOMP_OUT_OF_RANGE, 0, MCOMP_NO_NODE, "there is no node %" PRIu32 "; the last one is %" PRIu32, node,
                         grid->config.nodes - 1);
    enum mcomp_status status = perform(grid, &wanted, timeout_ms, NULL, error);
    *total = status == MCOMP_OK ? answer.total : 0;
    return status;
}
