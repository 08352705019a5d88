/* SPDX-License-Identifier: Apache-2.0 */
#include "server/exec_txn.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

#define HEAD_BYTES 192u /* a response of these without failed compares and bytes; or with one of the texts below */
#define PREFETCHED_RANGES 4u /* of a transaction; the processor has not many places for more */
#define PREFETCH_BYTES 64u   /* what the processor fetches at once */
#define FAILED_BYTES 4u /* of a failed compare in a response: its number, and what stands before what it found */

/* ---- what a request holds ---- */

uint32_t exec_txn_ranges(const struct wire_txn *txn)
{
    return txn->compare_count + txn->read_count + txn->write_count + txn->add_count;
}

struct wire_range exec_txn_range(const struct wire_txn *txn, uint32_t index)
{
    if (index < txn->compare_count)
        return (struct wire_range){txn->compares[index].address, txn->compares[index].length};
    index -= txn->compare_count;
    if (index < txn->read_count)
        return txn->reads[index];
    index -= txn->read_count;
    if (index < txn->write_count)
        return (struct wire_range){txn->writes[index].address, txn->writes[index].length};
    return (struct wire_range){txn->adds[index - txn->write_count].address, ATOMIC_WORD_BYTES};
}

void exec_txn_prefetch(const struct exec *exec, const struct wire_txn *txn)
{
    uint32_t ranges = exec_txn_ranges(txn);
    uint64_t before = UINT64_MAX;
    for (uint32_t i = 0; i < ranges && i < PREFETCHED_RANGES; i++) {
        uint64_t offset = exec_txn_range(txn, i).address - exec->base;
        if (offset < exec->size && offset / PREFETCH_BYTES != before)
            segment_prefetch(exec->segment, offset);
        before = offset / PREFETCH_BYTES;
    }
}

uint64_t exec_txn_payload(const struct wire_request *request)
{
    uint64_t total = 0;
    for (uint32_t i = 0; request->txn && i < exec_txn_ranges(request->txn); i++)
        total += exec_txn_range(request->txn, i).length;
    return total;
}

/** Of the answer of these items. */
static uint64_t answer_bytes(const struct wire_txn *txn)
{
    uint64_t total = (uint64_t)txn->add_count * ATOMIC_WORD_BYTES;
    for (uint32_t i = 0; i < txn->read_count; i++)
        total += txn->reads[i].length;
    return total;
}

static uint64_t found_bytes(const struct wire_bytes *compare)
{
    return compare->length <= TXN_FOUND_BYTES_MAX ? compare->length : 0;
}

uint64_t exec_txn_reply_bytes(const struct wire_request *request)
{
    const struct wire_txn *txn = request->txn;
    if (!txn)
        return request->op == WIRE_OP_LIST_TRANSACTIONS ? TXNS_LIST_MAX * (HEAD_BYTES + 2u * GRID_NODES_MAX) + HEAD_BYTES : EXEC_SMALL_REPLY_BYTES;
    uint64_t failed = 0, answer = answer_bytes(txn);
    for (uint32_t i = 0; i < txn->compare_count; i++)
        failed += FAILED_BYTES + found_bytes(&txn->compares[i]);
    return HEAD_BYTES + (failed > answer ? failed : answer);
}

struct lane_participant *exec_txn_participants(const struct wire_txn *txn, struct arena *arena)
{
    struct lane_participant *participants = arena_alloc(arena, (txn->participant_count + 1) * sizeof *participants);
    for (uint32_t i = 0; participants && i < txn->participant_count; i++) {
        const struct wire_participant *from = &txn->participants[i];
        participants[i] = (struct lane_participant){from->node, {from->id.session, from->id.lane, from->id.generation, from->id.sequence}};
    }
    return participants;
}

/** Where a zero-length range lies does not matter; the segment wants offsets of its own. */
static uint64_t offset_of(const struct exec *exec, uint64_t address, uint64_t length)
{
    return length ? address - exec->base : 0;
}

/** The items as the segment wants them, all but the place of the answer. false: out of memory. */
static bool make_items(const struct exec *exec, const struct wire_txn *txn, struct arena *arena, struct segment_items *items)
{
    uint64_t found = 0;
    for (uint32_t i = 0; i < txn->compare_count; i++)
        found += found_bytes(&txn->compares[i]);
    size_t bytes = txn->compare_count * sizeof(struct segment_compare) + txn->read_count * sizeof(struct segment_range) +
                   txn->write_count * sizeof(struct segment_write_range) + txn->add_count * sizeof(struct segment_delta) + found;
    struct segment_compare *compares = arena_alloc(arena, bytes ? bytes : 1);
    if (!compares)
        return false;
    struct segment_write_range *writes = (struct segment_write_range *)(compares + txn->compare_count);
    struct segment_range *reads = (struct segment_range *)(writes + txn->write_count);
    struct segment_delta *adds = (struct segment_delta *)(reads + txn->read_count);
    uint8_t *place = (uint8_t *)(adds + txn->add_count);
    for (uint32_t i = 0; i < txn->compare_count; i++) {
        const struct wire_bytes *from = &txn->compares[i];
        uint64_t kept = found_bytes(from);
        compares[i] = (struct segment_compare){offset_of(exec, from->address, from->length), from->length, from->data, kept ? place : NULL, false};
        place += kept;
    }
    for (uint32_t i = 0; i < txn->read_count; i++)
        reads[i] = (struct segment_range){offset_of(exec, txn->reads[i].address, txn->reads[i].length), txn->reads[i].length};
    for (uint32_t i = 0; i < txn->write_count; i++) {
        const struct wire_bytes *from = &txn->writes[i];
        writes[i] = (struct segment_write_range){offset_of(exec, from->address, from->length), from->length, from->data};
    }
    for (uint32_t i = 0; i < txn->add_count; i++)
        adds[i] = (struct segment_delta){txn->adds[i].address - exec->base, txn->adds[i].delta};
    *items = (struct segment_items){.compares = compares, .compare_count = txn->compare_count, .reads = reads, .read_count = txn->read_count,
                                    .writes = writes, .write_count = txn->write_count, .adds = adds, .add_count = txn->add_count};
    return true;
}

/* ---- results ---- */

static int outcome_of(enum txn_says says)
{
    static const int outcomes[] = {[TXN_NO_SESSION] = MCOMP__V1__TRANSACTION_RESULT__OUTCOME__OUTCOME_NO_SESSION,
                                   [TXN_STALE] = MCOMP__V1__TRANSACTION_RESULT__OUTCOME__OUTCOME_STALE,
                                   [TXN_PREPARED] = MCOMP__V1__TRANSACTION_RESULT__OUTCOME__OUTCOME_PREPARED,
                                   [TXN_COMMITTED] = MCOMP__V1__TRANSACTION_RESULT__OUTCOME__OUTCOME_COMMITTED,
                                   [TXN_ABORTED] = MCOMP__V1__TRANSACTION_RESULT__OUTCOME__OUTCOME_ABORTED,
                                   [TXN_MISUSE] = MCOMP__V1__TRANSACTION_RESULT__OUTCOME__OUTCOME_MISUSE};
    return outcomes[says];
}

_Static_assert((int)MCOMP__V1__TRANSACTION_RESULT__REASON__REASON_BUSY == (int)LANE_BUSY &&
                   (int)MCOMP__V1__TRANSACTION_RESULT__REASON__REASON_COMPARE == (int)LANE_COMPARE &&
                   (int)MCOMP__V1__TRANSACTION_RESULT__REASON__REASON_FROZEN == (int)LANE_FROZEN &&
                   (int)MCOMP__V1__TRANSACTION_RESULT__REASON__REASON_MEMORY == (int)LANE_MEMORY &&
                   (int)MCOMP__V1__TRANSACTION_RESULT__REASON__REASON_TOLD == (int)LANE_TOLD &&
                   (int)MCOMP__V1__TRANSACTION_RESULT__REASON__REASON_FORCED == (int)LANE_FORCED,
               "reasons have the same numbers in messages and in records");

/** Which compares failed, and what they found. false: out of memory. */
static bool take_failed(const struct txn_said *said, const struct segment_items *items, struct arena *arena, struct wire_txn_result *result)
{
    size_t room = said->fresh ? items->compare_count : 1;
    result->failed = arena_alloc(arena, room * sizeof *result->failed);
    result->found = arena_alloc(arena, room * sizeof *result->found);
    if (!result->failed || !result->found)
        return false;
    if (!said->fresh) {
        result->failed[result->failed_count++] = said->answer.failed_compare;
        result->found[result->found_count++] = (struct wire_blob){0};
        return true;
    }
    for (size_t i = 0; i < items->compare_count; i++) {
        const struct segment_compare *compare = &items->compares[i];
        if (!compare->failed)
            continue;
        result->failed[result->failed_count++] = (uint32_t)i;
        result->found[result->found_count++] = (struct wire_blob){compare->found ? compare->length : 0, compare->found};
    }
    return true;
}

static uint8_t *put_out_of_memory(const struct exec *exec, const struct wire_request *request, uint8_t *out, enum mcomp_status *status)
{
    *status = MCOMP_RESOURCE_EXHAUSTED;
    return exec_put_error(exec, out, request, *status, "the node is out of memory");
}

/** The response; answer: the bytes of it, which may stand in their place already. NULL: there is no room for it (caller->room says how much is needed). */
static uint8_t *put_result(struct exec_caller *caller, const struct wire_request *request, const struct wire_txn_result *result, uint64_t room,
                           uint8_t *out)
{
    size_t bytes = wire_txn_result_frame_bytes(request->id, result);
    caller->aborted = result->outcome != outcome_of(TXN_COMMITTED) && result->outcome != outcome_of(TXN_PREPARED);
    if (bytes > room) {
        caller->room = bytes;
        return NULL;
    }
    const uint8_t *answer = result->answer.data;
    uint8_t *at = wire_put_txn_result_header(out, request->id, result);
    if (result->answer.bytes && answer != at)
        memmove(at, answer, result->answer.bytes);
    return at + result->answer.bytes;
}

/** Where the answer stands in a response that says COMMITTED or PREPARED; NULL: it has no bytes. */
static uint8_t *answer_place(const struct wire_request *request, uint64_t bytes, uint8_t *out)
{
    struct wire_txn_result result = {.outcome = MCOMP__V1__TRANSACTION_RESULT__OUTCOME__OUTCOME_COMMITTED, .answer = {bytes, NULL}};
    return bytes ? out + (wire_txn_result_frame_bytes(request->id, &result) - bytes) : NULL;
}

/* ---- running ---- */

static enum txn_message message_of(const struct exec_caller *caller, const struct wire_request *request)
{
    switch (request->op) {
    case WIRE_OP_EXECUTE:
        return caller->give_up != MCOMP_OK ? TXN_RESOLVE : TXN_EXECUTE;
    case WIRE_OP_PREPARE:
        return caller->give_up != MCOMP_OK ? TXN_RESOLVE : TXN_PREPARE;
    case WIRE_OP_DECIDE:
        return request->txn->commit ? TXN_COMMIT : TXN_ABORT;
    default:
        return TXN_RESOLVE;
    }
}

/** The recorded answer, if the request wants it; the session is locked. */
static struct wire_blob recorded_answer(const struct exec *exec, const struct wire_request *request)
{
    struct wire_blob answer = {0};
    const struct wire_txn *txn = request->txn;
    if (request->op == WIRE_OP_EXECUTE || request->op == WIRE_OP_PREPARE || txn->want_answer)
        answer.data = segment_lane_answer(exec->segment, txn->id.session, txn->id.lane, &answer.bytes);
    return answer;
}

/** Everything that needs the session's lock. room: bytes at out. */
static uint8_t *run_locked(const struct exec *exec, struct exec_caller *caller, const struct wire_request *request, struct txn_work *work, uint64_t room,
                           uint8_t *out, enum mcomp_status *status)
{
    struct txn_said said;
    struct wire_txn_result result = {0};
    enum segment_outcome outcome = txns_act(exec->txns, caller->writer, caller->may_wait, work, &said);
    if (outcome != SEGMENT_DONE) {
        caller->met = outcome;
        return NULL;
    }
    if (said.answer.says != TXN_NO_SESSION)
        txns_touch(exec->txns, work->id.session, caller->conn, work->items != NULL);
    if (caller->give_up != MCOMP_OK && said.fresh) {
        *status = caller->give_up;
        return exec_put_error(exec, out, request, *status, exec_give_up_text(*status));
    }
    result.outcome = outcome_of(said.answer.says);
    result.reason = (int)said.answer.reason;
    if (said.answer.says == TXN_PREPARED || said.answer.says == TXN_COMMITTED) {
        if (said.fresh && work->items)
            result.answer = (struct wire_blob){segment_answer_bytes(work->items), work->items->answer};
        else
            result.answer = recorded_answer(exec, request);
    }
    if (said.answer.says == TXN_ABORTED && said.answer.reason == LANE_COMPARE && !take_failed(&said, work->items, caller->arena, &result))
        return put_out_of_memory(exec, request, out, status);
    return put_result(caller, request, &result, room, out);
}

/** A message about a transaction that is remembered. */
static uint8_t *run_message(const struct exec *exec, struct exec_caller *caller, const struct wire_request *request, struct segment_items *items,
                            uint8_t *out, enum mcomp_status *status)
{
    const struct wire_txn *txn = request->txn;
    uint64_t room = caller->room ? caller->room : exec_txn_reply_bytes(request);
    struct txn_work work = {.message = message_of(caller, request),
                            .id = {txn->id.session, txn->id.lane, txn->id.generation, txn->id.sequence},
                            .items = items,
                            .participant_count = txn->participant_count};
    caller->room = 0;
    if (!txns_has_session(exec->txns, txn->id.session)) {
        struct wire_txn_result result = {.outcome = outcome_of(TXN_NO_SESSION)};
        return put_result(caller, request, &result, room, out);
    }
    if (request->op == WIRE_OP_PREPARE && !(work.participants = exec_txn_participants(txn, caller->arena)))
        return put_out_of_memory(exec, request, out, status);
    if (caller->may_wait) {
        segment_session_lock(exec->segment, txn->id.session);
    } else if (!segment_session_lock_try(exec->segment, txn->id.session)) {
        caller->met = SEGMENT_BUSY;
        return NULL;
    }
    uint8_t *end = run_locked(exec, caller, request, &work, room, out, status);
    segment_session_unlock(exec->segment, txn->id.session);
    return end;
}

static uint8_t *run_once(const struct exec *exec, struct exec_caller *caller, const struct wire_request *request, struct segment_items *items,
                         uint8_t *out, enum mcomp_status *status)
{
    struct txn_said said;
    if (caller->give_up != MCOMP_OK) {
        *status = caller->give_up;
        return exec_put_error(exec, out, request, *status, exec_give_up_text(*status));
    }
    enum segment_outcome outcome = txns_execute_once(exec->txns, caller->writer, caller->may_wait, items, &said);
    if (outcome != SEGMENT_DONE) {
        caller->met = outcome;
        return NULL;
    }
    struct wire_txn_result result = {.outcome = outcome_of(said.answer.says), .reason = (int)said.answer.reason};
    if (said.answer.says == TXN_COMMITTED)
        result.answer = (struct wire_blob){segment_answer_bytes(items), items->answer};
    else if (said.answer.reason == LANE_COMPARE && !take_failed(&said, items, caller->arena, &result))
        return put_out_of_memory(exec, request, out, status);
    return put_result(caller, request, &result, exec_txn_reply_bytes(request), out);
}

/* ---- sessions ---- */

static uint8_t *put_response(const struct wire_request *request, uint8_t *out, Mcomp__V1__Response *response)
{
    response->id = request->id;
    response->status = wire_status_put(MCOMP_OK);
    return wire_put_message(out, &response->base);
}

static uint8_t *run_open_session(const struct exec *exec, const struct exec_caller *caller, const struct wire_request *request, uint8_t *out,
                                 enum mcomp_status *status)
{
    Mcomp__V1__Response response = MCOMP__V1__RESPONSE__INIT;
    Mcomp__V1__OpenSessionResult result = MCOMP__V1__OPEN_SESSION_RESULT__INIT;
    struct err err;
    *status = txns_open_session(exec->txns, caller->conn, request->full->open_session->client.data, &result.session, &result.generation, &err);
    if (*status != MCOMP_OK)
        return exec_put_error(exec, out, request, *status, err.text);
    result.lanes = LANES;
    response.result_case = MCOMP__V1__RESPONSE__RESULT_OPEN_SESSION;
    response.open_session = &result;
    return put_response(request, out, &response);
}

static uint8_t *run_close_session(const struct exec *exec, struct exec_caller *caller, const struct wire_request *request, uint8_t *out,
                                  enum mcomp_status *status)
{
    const Mcomp__V1__CloseSession *close = request->full->close_session;
    Mcomp__V1__Response response = MCOMP__V1__RESPONSE__INIT;
    Mcomp__V1__CloseSessionResult result = MCOMP__V1__CLOSE_SESSION_RESULT__INIT;
    struct err err;
    if (txns_has_session(exec->txns, close->session)) {
        if (caller->may_wait) {
            segment_session_lock(exec->segment, close->session);
        } else if (!segment_session_lock_try(exec->segment, close->session)) {
            caller->met = SEGMENT_BUSY;
            return NULL;
        }
        *status = txns_close_session(exec->txns, close->session, close->generation, &err);
        segment_session_unlock(exec->segment, close->session);
    }
    if (*status != MCOMP_OK)
        return exec_put_error(exec, out, request, *status, err.text);
    response.result_case = MCOMP__V1__RESPONSE__RESULT_CLOSE_SESSION;
    response.close_session = &result;
    return put_response(request, out, &response);
}

static uint8_t *run_list(const struct exec *exec, struct exec_caller *caller, const struct wire_request *request, uint8_t *out,
                         enum mcomp_status *status)
{
    if (!caller->may_wait) {
        caller->met = SEGMENT_BUSY;
        return NULL;
    }
    struct txns_listed *listed = txns_list(exec->txns);
    Mcomp__V1__PreparedTransaction *one = arena_alloc(caller->arena, TXNS_LIST_MAX * sizeof *one), **list;
    Mcomp__V1__TransactionId *id = arena_alloc(caller->arena, TXNS_LIST_MAX * sizeof *id);
    list = arena_alloc(caller->arena, TXNS_LIST_MAX * sizeof *list);
    if (!listed || !one || !id || !list) {
        free(listed);
        return put_out_of_memory(exec, request, out, status);
    }
    uint64_t now_ns = clock_mono_ns();
    for (uint32_t i = 0; i < listed->count; i++) {
        struct txns_listed_one *from = &listed->one[i];
        id[i] = (Mcomp__V1__TransactionId)MCOMP__V1__TRANSACTION_ID__INIT;
        id[i].session = from->id.session;
        id[i].lane = from->id.lane;
        id[i].generation = from->id.generation;
        id[i].sequence = from->id.sequence;
        one[i] = (Mcomp__V1__PreparedTransaction)MCOMP__V1__PREPARED_TRANSACTION__INIT;
        one[i].id = &id[i];
        one[i].age_ms = now_ns > from->prepared_ns ? (now_ns - from->prepared_ns) / 1000000u : 0;
        one[i].n_nodes = from->node_count;
        one[i].nodes = from->node;
        list[i] = &one[i];
    }
    Mcomp__V1__ListTransactionsResult result = MCOMP__V1__LIST_TRANSACTIONS_RESULT__INIT;
    result.n_transactions = listed->count;
    result.transactions = list;
    result.total = listed->total;
    Mcomp__V1__Response response = MCOMP__V1__RESPONSE__INIT;
    response.result_case = MCOMP__V1__RESPONSE__RESULT_LIST_TRANSACTIONS;
    response.list_transactions = &result;
    out = put_response(request, out, &response);
    free(listed);
    return out;
}

uint8_t *exec_txn_run(const struct exec *exec, struct exec_caller *caller, const struct wire_request *request, uint8_t *out, enum mcomp_status *status)
{
    struct segment_items items;
    switch (request->op) {
    case WIRE_OP_OPEN_SESSION:
        return run_open_session(exec, caller, request, out, status);
    case WIRE_OP_CLOSE_SESSION:
        return run_close_session(exec, caller, request, out, status);
    case WIRE_OP_LIST_TRANSACTIONS:
        return run_list(exec, caller, request, out, status);
    case WIRE_OP_EXECUTE:
    case WIRE_OP_PREPARE:
        if (!make_items(exec, request->txn, caller->arena, &items))
            return put_out_of_memory(exec, request, out, status);
        items.answer = answer_place(request, answer_bytes(request->txn), out);
        if (!request->txn->has_id)
            return run_once(exec, caller, request, &items, out, status);
        return run_message(exec, caller, request, &items, out, status);
    default:
        return run_message(exec, caller, request, NULL, out, status);
    }
}
