/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/fake_txn.h"

#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "txn/participant.h"

#define SESSIONS_MAX 64u
#define LINE_BYTES 64u
#define CLIENT_BYTES 16u

struct change {
    uint64_t address, length;
    uint8_t *data; /* owned */
};

struct fake_lane {
    struct lane_view view;
    struct change *changes; /* PREPARED: owned; to be stored at the commit */
    uint32_t change_count;
    struct wire_range *locked; /* PREPARED: owned */
    uint32_t locked_count;
    uint8_t *answer; /* owned */
    uint64_t answer_bytes;
};

struct fake_session {
    bool used;
    uint8_t client[CLIENT_BYTES];
    uint64_t generation;
    struct fake_lane lanes[LANES];
};

struct fake_sessions {
    struct fake_session sessions[SESSIONS_MAX];
    uint64_t generation;
};

struct fake_sessions *fake_sessions_open(void)
{
    struct fake_sessions *sessions = calloc(1, sizeof *sessions);
    sessions->generation = 4000000000u;
    return sessions;
}

static void drop_prepared(struct fake_lane *lane)
{
    for (uint32_t i = 0; i < lane->change_count; i++)
        free(lane->changes[i].data);
    free(lane->changes);
    free(lane->locked);
    lane->changes = NULL;
    lane->locked = NULL;
    lane->change_count = lane->locked_count = 0;
}

static void forget(struct fake_session *session)
{
    for (uint32_t i = 0; i < LANES; i++) {
        drop_prepared(&session->lanes[i]);
        free(session->lanes[i].answer);
    }
    *session = (struct fake_session){0};
}

void fake_sessions_close(struct fake_sessions *sessions)
{
    for (uint32_t i = 0; i < SESSIONS_MAX; i++)
        forget(&sessions->sessions[i]);
    free(sessions);
}

unsigned fake_sessions_count(const struct fake_sessions *sessions)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < SESSIONS_MAX; i++)
        count += sessions->sessions[i].used;
    return count;
}

unsigned fake_sessions_prepared(const struct fake_sessions *sessions)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < SESSIONS_MAX * LANES; i++)
        count += sessions->sessions[i / LANES].lanes[i % LANES].view.state == LANE_PREPARED;
    return count;
}

/* ---- answers ---- */

static void pack(struct fake_answer *answer, Mcomp__V1__Response *response, uint64_t id)
{
    response->id = id;
    response->status = MCOMP__V1__STATUS__STATUS_OK;
    answer->count = wire_message_frame_bytes(&response->base);
    answer->bytes = malloc(answer->count);
    wire_put_message(answer->bytes, &response->base);
}

static void pack_result(struct fake_answer *answer, enum fake_action action, uint64_t id, struct wire_txn_result *result)
{
    if (action == FAKE_WRONG_KIND) {
        answer->bytes = malloc(WIRE_HEADER_BYTES);
        answer->count = (size_t)(wire_put_fetch_add_result(answer->bytes, id, 1) - answer->bytes);
        return;
    }
    if (action == FAKE_WRONG_LENGTH && result->answer.bytes > 0)
        result->answer.bytes--;
    answer->bytes = malloc(wire_txn_result_frame_bytes(id, result));
    uint8_t *end = wire_put_txn_result_header(answer->bytes, id, result);
    if (result->answer.bytes > 0)
        memcpy(end, result->answer.data, result->answer.bytes);
    answer->count = (size_t)(end - answer->bytes) + result->answer.bytes;
}

static int outcome_number(enum txn_says says)
{
    switch (says) {
    case TXN_COMMITTED:
        return MCOMP__V1__TRANSACTION_RESULT__OUTCOME__OUTCOME_COMMITTED;
    case TXN_PREPARED:
        return MCOMP__V1__TRANSACTION_RESULT__OUTCOME__OUTCOME_PREPARED;
    case TXN_ABORTED:
        return MCOMP__V1__TRANSACTION_RESULT__OUTCOME__OUTCOME_ABORTED;
    case TXN_NO_SESSION:
        return MCOMP__V1__TRANSACTION_RESULT__OUTCOME__OUTCOME_NO_SESSION;
    case TXN_STALE:
        return MCOMP__V1__TRANSACTION_RESULT__OUTCOME__OUTCOME_STALE;
    default:
        return MCOMP__V1__TRANSACTION_RESULT__OUTCOME__OUTCOME_MISUSE;
    }
}

/* ---- sessions ---- */

static void open_session(struct fake_answer *answer, struct fake_sessions *sessions, const struct wire_request *request)
{
    const Mcomp__V1__OpenSession *open = request->full->open_session;
    Mcomp__V1__OpenSessionResult result = MCOMP__V1__OPEN_SESSION_RESULT__INIT;
    Mcomp__V1__Response response = MCOMP__V1__RESPONSE__INIT;
    uint32_t free_one = SESSIONS_MAX, number = SESSIONS_MAX;
    for (uint32_t i = SESSIONS_MAX; i-- > 0;) {
        if (!sessions->sessions[i].used)
            free_one = i;
        else if (memcmp(sessions->sessions[i].client, open->client.data, CLIENT_BYTES) == 0)
            number = i;
    }
    if (number == SESSIONS_MAX) {
        number = free_one;
        if (number == SESSIONS_MAX) {
            fake_answer_status(answer, request->id, MCOMP_RESOURCE_EXHAUSTED);
            return;
        }
        struct fake_session *session = &sessions->sessions[number];
        session->used = true;
        session->generation = ++sessions->generation;
        memcpy(session->client, open->client.data, CLIENT_BYTES);
    }
    result.session = number;
    result.generation = sessions->sessions[number].generation;
    result.lanes = LANES;
    response.result_case = MCOMP__V1__RESPONSE__RESULT_OPEN_SESSION;
    response.open_session = &result;
    pack(answer, &response, request->id);
}

/** false: the client must not close a session in which something is prepared. */
static bool close_session(struct fake_answer *answer, struct fake_sessions *sessions, const struct wire_request *request)
{
    const Mcomp__V1__CloseSession *close = request->full->close_session;
    Mcomp__V1__CloseSessionResult result = MCOMP__V1__CLOSE_SESSION_RESULT__INIT;
    Mcomp__V1__Response response = MCOMP__V1__RESPONSE__INIT;
    bool ok = true;
    if (close->session < SESSIONS_MAX && sessions->sessions[close->session].generation == close->generation) {
        for (uint32_t i = 0; i < LANES; i++)
            ok = ok && sessions->sessions[close->session].lanes[i].view.state != LANE_PREPARED;
        if (ok)
            forget(&sessions->sessions[close->session]);
    }
    response.result_case = MCOMP__V1__RESPONSE__RESULT_CLOSE_SESSION;
    response.close_session = &result;
    pack(answer, &response, request->id);
    return ok;
}

/* ---- transactions ---- */

static bool is_mine(const struct fake_node *node, uint64_t address, uint64_t length)
{
    return address / node->segment_size == node->number && length > 0 && (address + length - 1) / node->segment_size == node->number;
}

static uint8_t *place(const struct fake_node *node, uint64_t address)
{
    return node->memory + (address - node->number * node->segment_size);
}

/** All ranges of a request; the caller frees. */
static struct wire_range *all_ranges(const struct wire_txn *txn, uint32_t *count)
{
    struct wire_range *ranges = calloc((size_t)txn->compare_count + txn->read_count + txn->write_count + txn->add_count + 1, sizeof *ranges);
    uint32_t n = 0;
    for (uint32_t i = 0; i < txn->compare_count; i++)
        ranges[n++] = (struct wire_range){txn->compares[i].address, txn->compares[i].length};
    for (uint32_t i = 0; i < txn->read_count; i++)
        ranges[n++] = txn->reads[i];
    for (uint32_t i = 0; i < txn->write_count; i++)
        ranges[n++] = (struct wire_range){txn->writes[i].address, txn->writes[i].length};
    for (uint32_t i = 0; i < txn->add_count; i++)
        ranges[n++] = (struct wire_range){txn->adds[i].address, ATOMIC_WORD_BYTES};
    *count = n;
    return ranges;
}

static bool share_a_line(const struct wire_range *a, const struct wire_range *b)
{
    uint64_t a_last = (a->address + a->length - 1) / LINE_BYTES, b_last = (b->address + b->length - 1) / LINE_BYTES;
    return a->address / LINE_BYTES <= b_last && b->address / LINE_BYTES <= a_last;
}

static bool is_locked(const struct fake_sessions *sessions, const struct wire_range *ranges, uint32_t count)
{
    for (uint32_t s = 0; s < SESSIONS_MAX * LANES; s++) {
        const struct fake_lane *lane = &sessions->sessions[s / LANES].lanes[s % LANES];
        for (uint32_t i = 0; i < lane->locked_count; i++) {
            for (uint32_t j = 0; j < count; j++) {
                if (share_a_line(&lane->locked[i], &ranges[j]))
                    return true;
            }
        }
    }
    return false;
}

static bool compares(const struct fake_node *node, const struct wire_txn *txn, uint32_t *failed, struct wire_blob *found, uint32_t *count)
{
    *count = 0;
    for (uint32_t i = 0; i < txn->compare_count; i++) {
        const struct wire_bytes *compare = &txn->compares[i];
        const uint8_t *at = place(node, compare->address);
        if (memcmp(at, compare->data, compare->length) == 0)
            continue;
        failed[*count] = i;
        found[(*count)++] = (struct wire_blob){compare->length <= 64 ? compare->length : 0, at};
    }
    return *count == 0;
}

static void take_answer(struct fake_lane *lane, const struct fake_node *node, const struct wire_txn *txn)
{
    uint64_t bytes = (uint64_t)txn->add_count * ATOMIC_WORD_BYTES;
    for (uint32_t i = 0; i < txn->read_count; i++)
        bytes += txn->reads[i].length;
    free(lane->answer);
    lane->answer = malloc(bytes + 1);
    lane->answer_bytes = bytes;
    uint8_t *at = lane->answer;
    for (uint32_t i = 0; i < txn->read_count; at += txn->reads[i++].length)
        memcpy(at, place(node, txn->reads[i].address), txn->reads[i].length);
    for (uint32_t i = 0; i < txn->add_count; i++, at += ATOMIC_WORD_BYTES)
        memcpy(at, place(node, txn->adds[i].address), ATOMIC_WORD_BYTES);
}

static void take_changes(struct fake_lane *lane, const struct fake_node *node, const struct wire_txn *txn)
{
    lane->change_count = txn->write_count + txn->add_count;
    lane->changes = calloc((size_t)lane->change_count + 1, sizeof *lane->changes);
    for (uint32_t i = 0; i < txn->write_count; i++) {
        lane->changes[i] = (struct change){txn->writes[i].address, txn->writes[i].length, malloc(txn->writes[i].length + 1)};
        memcpy(lane->changes[i].data, txn->writes[i].data, txn->writes[i].length);
    }
    for (uint32_t i = 0; i < txn->add_count; i++) {
        struct change *change = &lane->changes[txn->write_count + i];
        *change = (struct change){txn->adds[i].address, ATOMIC_WORD_BYTES, malloc(ATOMIC_WORD_BYTES)};
        le64_put(change->data, le64_get(place(node, txn->adds[i].address)) + txn->adds[i].delta);
    }
}

static void store(struct fake_lane *lane, const struct fake_node *node)
{
    for (uint32_t i = 0; i < lane->change_count; i++)
        memcpy(place(node, lane->changes[i].address), lane->changes[i].data, lane->changes[i].length);
    drop_prepared(lane);
}

struct findings {
    uint32_t failed[MULTI_RANGES_MAX], count;
    struct wire_blob found[MULTI_RANGES_MAX];
};

static void vote(struct fake_lane *lane, const struct fake_node *node, enum fake_action action, const struct wire_request *request,
                 struct findings *findings)
{
    const struct wire_txn *txn = request->txn;
    uint32_t count;
    struct wire_range *ranges = all_ranges(txn, &count);
    lane->view.sequence = txn->id.sequence;
    lane->view.state = LANE_ABORTED;
    lane->view.reason = LANE_BUSY;
    if (action == FAKE_FROZEN) {
        lane->view.reason = LANE_FROZEN;
    } else if (action != FAKE_BUSY && !is_locked(node->sessions, ranges, count)) {
        lane->view.reason = LANE_COMPARE;
        if (compares(node, txn, findings->failed, findings->found, &findings->count)) {
            take_answer(lane, node, txn);
            take_changes(lane, node, txn);
            lane->view.state = request->op == WIRE_OP_EXECUTE ? LANE_COMMITTED : LANE_PREPARED;
            lane->locked = ranges;
            lane->locked_count = count;
            ranges = NULL;
            if (request->op == WIRE_OP_EXECUTE)
                store(lane, node);
        } else {
            lane->view.failed_compare = findings->failed[0];
        }
    }
    free(ranges);
}

static bool is_sane(const struct fake_node *node, const struct wire_request *request)
{
    uint32_t count, self;
    struct wire_range *ranges = all_ranges(request->txn, &count);
    bool ok = request->txn->has_id && count <= MULTI_RANGES_MAX;
    for (uint32_t i = 0; i < count; i++)
        ok = ok && is_mine(node, ranges[i].address, ranges[i].length);
    free(ranges);
    if (!ok || request->op != WIRE_OP_PREPARE)
        return ok;
    struct lane_participant *who = calloc((size_t)request->txn->participant_count + 1, sizeof *who);
    struct err err;
    for (uint32_t i = 0; i < request->txn->participant_count; i++) {
        const struct wire_participant *from = &request->txn->participants[i];
        who[i] = (struct lane_participant){from->node, {from->id.session, from->id.lane, from->id.generation, from->id.sequence}};
    }
    const struct wire_txn_id *id = &request->txn->id;
    struct lane_id mine = {id->session, id->lane, id->generation, id->sequence};
    ok = participant_check(who, request->txn->participant_count, node->number, node->nodes, &mine, &self, &err) == MCOMP_OK;
    free(who);
    return ok;
}

static enum txn_message message_of(const struct wire_request *request)
{
    switch (request->op) {
    case WIRE_OP_EXECUTE:
        return TXN_EXECUTE;
    case WIRE_OP_PREPARE:
        return TXN_PREPARE;
    case WIRE_OP_DECIDE:
        return request->txn->commit ? TXN_COMMIT : TXN_ABORT;
    default:
        return TXN_RESOLVE;
    }
}

static struct txn_answer obey(struct fake_lane *lane, const struct fake_node *node, enum fake_action action, const struct wire_request *request,
                              struct findings *findings)
{
    const struct wire_txn_id *from = &request->txn->id;
    struct lane_id id = {from->session, from->lane, from->generation, from->sequence};
    struct lane_view view = {0};
    if (lane)
        view = lane->view;
    struct participant_decision decision = participant_decide(&view, &id, message_of(request));
    switch (decision.action) {
    case PARTICIPANT_PREPARE:
    case PARTICIPANT_EXECUTE:
        vote(lane, node, action, request, findings);
        break;
    case PARTICIPANT_COMMIT:
        store(lane, node);
        lane->view.state = LANE_COMMITTED;
        break;
    case PARTICIPANT_ABORT:
    case PARTICIPANT_FORCE:
        drop_prepared(lane);
        lane->view.sequence = id.sequence;
        lane->view.state = LANE_ABORTED;
        lane->view.reason = decision.reason;
        break;
    default:
        return decision.answer;
    }
    return participant_answer(&lane->view);
}

static bool transact(struct fake_answer *answer, const struct fake_node *node, enum fake_action action, const struct wire_request *request)
{
    const struct wire_txn *txn = request->txn;
    struct findings findings = {.count = 0};
    bool sane = is_sane(node, request);
    if (!sane) {
        fake_answer_status(answer, request->id, MCOMP_INVALID_ARGUMENT);
        return false;
    }
    struct fake_session *session = txn->id.session < SESSIONS_MAX ? &node->sessions->sessions[txn->id.session] : NULL;
    struct fake_lane *lane = session && session->used && txn->id.lane < LANES ? &session->lanes[txn->id.lane] : NULL;
    if (lane)
        lane->view.generation = session->generation;
    struct txn_answer says = obey(lane, node, action, request, &findings);
    struct wire_txn_result result = {.outcome = outcome_number(says.says),
                                     .reason = (int)says.reason, /* the same numbers */
                                     .failed = findings.failed,
                                     .failed_count = findings.count,
                                     .found = findings.found,
                                     .found_count = findings.count};
    struct wire_blob unknown = {0};
    if (says.says == TXN_ABORTED && says.reason == LANE_COMPARE && findings.count == 0) { /* repeated */
        result.failed = &says.failed_compare;
        result.found = &unknown;
        result.failed_count = result.found_count = 1;
    }
    bool vote_asked = request->op == WIRE_OP_EXECUTE || request->op == WIRE_OP_PREPARE;
    if ((says.says == TXN_COMMITTED || says.says == TXN_PREPARED) && (vote_asked || txn->want_answer))
        result.answer = (struct wire_blob){lane->answer_bytes, lane->answer};
    pack_result(answer, action, action == FAKE_WRONG_ID ? request->id + 16000 : request->id, &result);
    return says.says != TXN_MISUSE;
}

bool fake_txn_make(struct fake_answer *answer, const struct fake_node *node, enum fake_action action, const struct wire_request *request)
{
    if (action == FAKE_FORGET) {
        for (uint32_t i = 0; i < SESSIONS_MAX; i++)
            forget(&node->sessions->sessions[i]);
    }
    switch (request->op) {
    case WIRE_OP_OPEN_SESSION:
        open_session(answer, node->sessions, request);
        return request->full->open_session->client.len == CLIENT_BYTES;
    case WIRE_OP_CLOSE_SESSION:
        return close_session(answer, node->sessions, request);
    default:
        return transact(answer, node, action, request);
    }
}
