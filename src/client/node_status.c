/* SPDX-License-Identifier: Apache-2.0 */
/** A node's state, from its message to the struct of the public interface. */
#include "client/engine.h"

#include <string.h>

#include "base/text.h"

static struct mcomp_operation_count operation_count(const Mcomp__V1__OperationCount *from)
{
    if (!from)
        return (struct mcomp_operation_count){0};
    return (struct mcomp_operation_count){.count = from->count, .errors = from->errors, .bytes = from->bytes};
}

/** A state that this version does not know is one in which the node serves nobody. */
static enum mcomp_restore_state restore_state(Mcomp__V1__RestoreState state)
{
    switch (state) {
    case MCOMP__V1__RESTORE_STATE__RESTORE_STATE_UNSPECIFIED:
        return MCOMP_RESTORE_STATE_NONE;
    case MCOMP__V1__RESTORE_STATE__RESTORE_STATE_BEGUN:
        return MCOMP_RESTORE_STATE_BEGUN;
    case MCOMP__V1__RESTORE_STATE__RESTORE_STATE_COMPLETE:
        return MCOMP_RESTORE_STATE_COMPLETE;
    default:
        return MCOMP_RESTORE_STATE_PART;
    }
}

void node_status_take(struct mcomp_node_status *status, uint32_t node, const Mcomp__V1__StatusResult *result)
{
    *status = (struct mcomp_node_status){
        .node = node,
        .segment_size = result->segment_size,
        .segment_id = result->segment_id,
        .process_id = result->process_id,
        .uptime_ms = result->uptime_ms,
        .attach_count = result->attach_count,
        .writes_finished_at_start = result->writes_finished_at_start,
        .connections = result->connections,
        .connections_accepted = result->connections_accepted,
        .connections_refused = result->connections_refused,
        .connections_broken = result->connections_broken,
        .read = operation_count(result->read),
        .write = operation_count(result->write),
        .fetch_add = operation_count(result->fetch_add),
        .compare_and_swap = operation_count(result->compare_and_swap),
        .multi = operation_count(result->multi),
        .other = operation_count(result->other),
        .jobs_handed_to_workers = result->jobs_handed_to_workers,
        .jobs_waiting = result->jobs_waiting,
        .bytes_in = result->bytes_in,
        .bytes_out = result->bytes_out,
        .buffered_in = result->buffered_in,
        .buffered_out = result->buffered_out,
        .oplog_lines = result->oplog_lines,
        .oplog_dropped = result->oplog_dropped,
        .restore_state = restore_state(result->restore_state),
        .restore_id = result->restore_id,
        .restore_file = result->restore_file,
        .restore_round = result->restore_round,
        .transaction = operation_count(result->transaction),
        .sessions = result->sessions,
        .sessions_max = result->sessions_max,
        .prepared = result->prepared,
        .in_doubt = result->in_doubt,
        .prepared_oldest_ms = result->prepared_oldest_ms,
        .transactions_committed = result->transactions_committed,
        .transactions_aborted_busy = result->transactions_aborted_busy,
        .transactions_aborted_compare = result->transactions_aborted_compare,
        .transactions_aborted_frozen = result->transactions_aborted_frozen,
        .transactions_aborted_other = result->transactions_aborted_other,
        .transactions_resolved = result->transactions_resolved,
        .sessions_collected = result->sessions_collected,
    };
    text_escape(status->server, sizeof status->server, result->server, strlen(result->server));
}

uint8_t *prepared_encode(uint8_t *out, const struct piece *piece, uint32_t timeout_ms)
{
    Mcomp__V1__ListTransactions list = MCOMP__V1__LIST_TRANSACTIONS__INIT;
    Mcomp__V1__Request request = MCOMP__V1__REQUEST__INIT;
    request.id = piece->id;
    request.timeout_ms = timeout_ms;
    request.op_case = MCOMP__V1__REQUEST__OP_LIST_TRANSACTIONS;
    request.list_transactions = &list;
    return wire_put_message(out, &request.base);
}

void prepared_take(struct prepared_list *list, const Mcomp__V1__ListTransactionsResult *result)
{
    list->total = result->total > result->n_transactions ? result->total : result->n_transactions;
    for (size_t i = 0; i < result->n_transactions && i < list->capacity; i++) {
        const Mcomp__V1__PreparedTransaction *from = result->transactions[i];
        struct mcomp_prepared *to = &list->list[i];
        *to = (struct mcomp_prepared){.age_ms = from->age_ms, .participants = (uint32_t)from->n_nodes};
        if (from->id) {
            to->session = from->id->session;
            to->lane = from->id->lane;
            to->generation = from->id->generation;
            to->sequence = from->id->sequence;
        }
        for (size_t n = 0; n < from->n_nodes && n < MCOMP_PREPARED_NODES; n++)
            to->nodes[n] = from->nodes[n];
    }
    for (size_t i = result->n_transactions; i < list->capacity && i < list->total; i++)
        list->list[i] = (struct mcomp_prepared){0}; /* a node that tells of fewer than it might */
}
