/* SPDX-License-Identifier: Apache-2.0 */
/** Calls about transactions: synchronous, asynchronous, and those that are made of others. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/le.h"
#include "client/transact.h"

struct call {
    bool done;
    enum mcomp_status status;
    struct mcomp_error *error; /* caller's; may be NULL */
};

static void complete(void *arg, const struct mcomp_completion *completion)
{
    struct call *call = arg;
    call->done = true;
    call->status = completion->status;
    if (completion->error && call->error)
        *call->error = *completion->error;
}

static enum mcomp_status not_done(struct mcomp_txn *txn, enum mcomp_status status, struct mcomp_error *error)
{
    txn->result = (struct mcomp_txn_result){.outcome = MCOMP_TXN_NOT_DONE};
    txn_spans(txn, MCOMP_NOT_DONE, error);
    return status;
}

static enum mcomp_status perform(struct mcomp_txn *txn, uint32_t timeout_ms, struct mcomp_error *error)
{
    struct mcomp *grid = txn->grid;
    struct call call = {.error = error};
    struct submission wanted = {.kind = WIRE_OP_EXECUTE, .callback = complete, .arg = &call};
    struct mcomp_queue *session;
    wanted.timeout_ms = grid_timeout_ms(grid, timeout_ms);
    wanted.deadline_ns = NEVER;
    if (wanted.timeout_ms != MCOMP_NO_TIMEOUT)
        wanted.deadline_ns = clock_mono_ns() + (uint64_t)wanted.timeout_ms * 1000000u;
    enum mcomp_status status = session_take(grid, &session, wanted.timeout_ms, wanted.deadline_ns, error);
    if (status != MCOMP_OK)
        return not_done(txn, status, error);
    status = run_submit(session, txn, &wanted, error);
    if (status == MCOMP_OK) {
        queue_run_until(session, &call.done);
        status = call.status;
    } else {
        status = not_done(txn, status, error);
    }
    session_give(grid, session);
    return status;
}

enum mcomp_status mcomp_txn_commit(struct mcomp_txn *txn, uint32_t timeout_ms, struct mcomp_txn_result *result, struct mcomp_error *error)
{
    MC_ASSERT(!txn->under_way);
    enum mcomp_status status = txn_plan(txn, error);
    if (status == MCOMP_OK)
        status = perform(txn, timeout_ms, error);
    else
        txn->result = (struct mcomp_txn_result){.outcome = MCOMP_TXN_NOT_DONE};
    if (result)
        *result = txn->result;
    return status;
}

enum mcomp_status mcomp_queue_txn(struct mcomp_queue *queue, struct mcomp_txn *txn, uint32_t timeout_ms, mcomp_callback callback, void *arg,
                                  struct mcomp_error *error)
{
    struct submission wanted = {.kind = WIRE_OP_EXECUTE, .callback = callback, .arg = arg};
    MC_ASSERT(!txn->under_way && txn->grid == queue->grid);
    enum mcomp_status status = txn_plan(txn, error);
    if (status != MCOMP_OK)
        return status;
    wanted.timeout_ms = grid_timeout_ms(queue->grid, timeout_ms);
    wanted.deadline_ns = queue_deadline_ns(queue, wanted.timeout_ms);
    return run_submit(queue, txn, &wanted, error);
}

/* ---- in one call ---- */

/** Commit and end. */
static enum mcomp_status commit_and_end(struct mcomp_txn *txn, enum mcomp_status added, struct mcomp_txn_result *result, uint32_t timeout_ms,
                                        struct mcomp_error *error)
{
    enum mcomp_status status = added == MCOMP_OK ? mcomp_txn_commit(txn, timeout_ms, result, error) : added;
    mcomp_txn_end(txn);
    return status;
}

enum mcomp_status mcomp_read_atomic(struct mcomp *grid, uint64_t address, void *buffer, size_t length, uint32_t timeout_ms,
                                    struct mcomp_error *error)
{
    struct mcomp_txn *txn;
    enum mcomp_status status = mcomp_txn_begin(grid, &txn, error);
    if (status != MCOMP_OK)
        return status;
    return commit_and_end(txn, mcomp_txn_read(txn, address, buffer, length, error), NULL, timeout_ms, error);
}

enum mcomp_status mcomp_write_atomic(struct mcomp *grid, uint64_t address, const void *data, size_t length, uint32_t timeout_ms,
                                     struct mcomp_error *error)
{
    struct mcomp_txn *txn;
    enum mcomp_status status = mcomp_txn_begin(grid, &txn, error);
    if (status != MCOMP_OK)
        return status;
    return commit_and_end(txn, mcomp_txn_write(txn, address, data, length, error), NULL, timeout_ms, error);
}

/** A word's values as they stand in the grid. */
struct word {
    uint8_t expected[ATOMIC_WORD_BYTES], desired[ATOMIC_WORD_BYTES];
};

static enum mcomp_status add_word(struct mcomp_txn *txn, const struct mcomp_mcas_word *from, struct word *word, struct mcomp_error *error)
{
    uint64_t segment_size = txn->grid->config.segment_size;
    le64_put(word->expected, from->expected);
    le64_put(word->desired, from->desired);
    enum mcomp_status status = mcomp_txn_compare(txn, from->address, word->expected, ATOMIC_WORD_BYTES, error);
    if (status == MCOMP_OK && split_on_node(segment_size, from->address, ATOMIC_WORD_BYTES) != ATOMIC_WORD_BYTES)
        status = error_set(error, MCOMP_INVALID_ARGUMENT, 0, MCOMP_NO_NODE, "the word at 0x%" PRIx64 " spans two nodes; it must lie on one",
                           from->address);
    return status == MCOMP_OK ? mcomp_txn_write(txn, from->address, word->desired, ATOMIC_WORD_BYTES, error) : status;
}

enum mcomp_status mcomp_mcas(struct mcomp *grid, const struct mcomp_mcas_word *words, size_t count, bool *swapped, uint32_t timeout_ms,
                             struct mcomp_error *error)
{
    struct mcomp_txn *txn;
    struct mcomp_txn_result result = {.outcome = MCOMP_TXN_NOT_DONE};
    *swapped = false;
    enum mcomp_status status = mcomp_txn_begin(grid, &txn, error);
    if (status != MCOMP_OK)
        return status;
    struct word *made = calloc(count + 1, sizeof *made);
    if (!made)
        status = error_memory(error);
    for (size_t i = 0; i < count && status == MCOMP_OK; i++)
        status = add_word(txn, &words[i], &made[i], error);
    status = commit_and_end(txn, status, &result, timeout_ms, error);
    free(made);
    *swapped = status == MCOMP_OK;
    return result.outcome == MCOMP_TXN_COMPARE_FAILED ? MCOMP_OK : status;
}
