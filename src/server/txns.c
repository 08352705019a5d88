/* SPDX-License-Identifier: Apache-2.0 */
#include "server/txns.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/stats.h"
#include "txn/collector.h"
#include "txn/participant.h"

/** What is known of a session's client. */
struct contact {
    _Atomic uint64_t heard_ns; /* 0: nobody has had the session since the server began */
    _Atomic uint64_t lost_ns;  /* when its connection ended; 0: it has not */
    _Atomic uint64_t conn;     /* number of the connection that used it last; 0: none that is open */
};

/** Counters of one acting thread, on cache lines of their own. */
struct counts {
    _Alignas(64) stat_counter committed;
    stat_counter busy, compare, frozen, other; /* aborted */
    stat_counter resolved, collected;
};

struct txns {
    struct segment *segment; /* borrowed */
    struct txns_calls calls;
    uint32_t sessions;       /* that there can be */
    struct contact *contact; /* owned, of each */
    uint32_t actors;
    struct counts *counts;   /* owned, of each */
    _Alignas(64) _Atomic bool watched;
};

/** Costs less than the exact time, which nobody needs here, and does not go back against it by more than some milliseconds. */
static uint64_t coarse_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- life ---- */

enum mcomp_status txns_open(struct txns **out, struct segment *segment, uint32_t actors, struct err *err)
{
    struct txns *txns = aligned_alloc(_Alignof(struct txns), sizeof *txns);
    uint32_t sessions = segment_session_limit(segment);
    struct contact *contact = calloc(sessions, sizeof *contact);
    struct counts *counts = aligned_alloc(_Alignof(struct counts), actors * sizeof *counts);
    if (!txns || !contact || !counts) {
        free(txns);
        free(contact);
        free(counts);
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "out of memory for what is known of %" PRIu32 " sessions", sessions);
    }
    memset(txns, 0, sizeof *txns);
    memset(counts, 0, actors * sizeof *counts);
    txns->segment = segment;
    txns->sessions = sessions;
    txns->contact = contact;
    txns->actors = actors;
    txns->counts = counts;
    uint64_t now_ns = coarse_ns();
    uint8_t client[SEGMENT_CLIENT_BYTES];
    for (uint32_t i = 0; i < sessions; i++) {
        segment_session_lock(segment, i);
        if (segment_session_client(segment, i, client))
            atomic_init(&contact[i].heard_ns, now_ns);
        segment_session_unlock(segment, i);
    }
    *out = txns;
    return MCOMP_OK;
}

void txns_close(struct txns *txns)
{
    if (!txns)
        return;
    free(txns->contact);
    free(txns->counts);
    free(txns);
}

void txns_set_calls(struct txns *txns, const struct txns_calls *calls)
{
    txns->calls = *calls;
}

/* ---- sessions ---- */

bool txns_has_session(const struct txns *txns, uint32_t session)
{
    return session < txns->sessions;
}

void txns_touch(struct txns *txns, uint32_t session, uint64_t conn, bool client)
{
    struct contact *contact = &txns->contact[session];
    bool known = atomic_load_explicit(&contact->conn, memory_order_relaxed) == conn;
    if (!known && !client)
        return;
    atomic_store_explicit(&contact->heard_ns, coarse_ns(), memory_order_relaxed);
    if (known)
        return;
    atomic_store_explicit(&contact->conn, conn, memory_order_relaxed);
    atomic_store_explicit(&contact->lost_ns, 0, memory_order_relaxed);
}

enum mcomp_status txns_open_session(struct txns *txns, uint64_t conn, const uint8_t client[SEGMENT_CLIENT_BYTES], uint32_t *session,
                                    uint64_t *generation, struct err *err)
{
    enum mcomp_status code = segment_session_open(txns->segment, client, session, generation, err);
    if (code != MCOMP_OK)
        return code;
    txns_touch(txns, *session, conn, true);
    /* It may have been collected before it was touched; from then on it is not. */
    code = segment_session_open(txns->segment, client, session, generation, err);
    if (code == MCOMP_OK)
        txns_touch(txns, *session, conn, true);
    return code;
}

enum mcomp_status txns_close_session(struct txns *txns, uint32_t session, uint64_t generation, struct err *err)
{
    struct lane_view view;
    segment_lane_view(txns->segment, session, 0, &view);
    if (view.generation != generation || generation == 0)
        return MCOMP_OK;
    for (uint32_t lane = 0; lane < LANES; lane++) {
        segment_lane_view(txns->segment, session, lane, &view);
        if (view.state == LANE_PREPARED || view.state == LANE_COMMITTING)
            return err_set(err, MCOMP_FAILED_PRECONDITION, "transaction %" PRIu64 " in lane %" PRIu32 " of session %" PRIu32
                           " is prepared and not decided: decide it first", view.sequence, lane, session);
    }
    segment_session_close(txns->segment, session);
    struct contact *contact = &txns->contact[session];
    atomic_store_explicit(&contact->heard_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&contact->conn, 0, memory_order_relaxed);
    atomic_store_explicit(&contact->lost_ns, 0, memory_order_relaxed);
    return MCOMP_OK;
}

static bool is_among(const uint64_t *numbers, size_t count, uint64_t wanted)
{
    for (size_t i = 0; i < count; i++)
        if (numbers[i] == wanted)
            return true;
    return false;
}

void txns_lose(struct txns *txns, const uint64_t *conns, size_t count, uint64_t now_ns)
{
    for (uint32_t i = 0; i < txns->sessions; i++) {
        struct contact *contact = &txns->contact[i];
        uint64_t conn = atomic_load_explicit(&contact->conn, memory_order_relaxed);
        if (conn == 0 || !is_among(conns, count, conn))
            continue;
        atomic_store_explicit(&contact->lost_ns, now_ns, memory_order_relaxed);
        /* Another connection has taken over meanwhile: it may have reset lost_ns too early. */
        if (!atomic_compare_exchange_strong(&contact->conn, &conn, 0))
            atomic_store_explicit(&contact->lost_ns, 0, memory_order_relaxed);
    }
}

bool txns_is_lost(const struct txns *txns, uint32_t session)
{
    return atomic_load_explicit(&txns->contact[session].conn, memory_order_relaxed) == 0;
}

uint64_t txns_contact_ns(const struct txns *txns, uint32_t session)
{
    return atomic_load_explicit(&txns->contact[session].heard_ns, memory_order_relaxed);
}

bool txns_is_forsaken(const struct txns *txns, uint32_t session, uint64_t now_ns)
{
    uint64_t heard_ns = txns_contact_ns(txns, session);
    uint64_t lost_ns = atomic_load_explicit(&txns->contact[session].lost_ns, memory_order_relaxed);
    if (heard_ns == 0)
        return false;
    return now_ns > heard_ns + COLLECTOR_IDLE_NS || (lost_ns && now_ns > lost_ns + COLLECTOR_LOST_NS && now_ns > heard_ns + COLLECTOR_LOST_NS);
}

/* ---- messages ---- */

static void count_end(struct txns *txns, uint32_t writer, const struct lane_view *view)
{
    struct counts *counts = &txns->counts[writer];
    MC_ASSERT(writer < txns->actors);
    if (view->state == LANE_COMMITTED)
        stat_add(&counts->committed, 1);
    if (view->state != LANE_ABORTED)
        return;
    stat_add(view->reason == LANE_BUSY      ? &counts->busy
             : view->reason == LANE_COMPARE ? &counts->compare
             : view->reason == LANE_FROZEN  ? &counts->frozen
                                            : &counts->other,
             1);
}

/** The locks of a prepared transaction are released. */
static void call_released(struct txns *txns)
{
    if (txns->calls.released)
        txns->calls.released(txns->calls.released_arg);
}

static void call_prepared(struct txns *txns)
{
    if (!atomic_exchange(&txns->watched, true) && txns->calls.prepared)
        txns->calls.prepared(txns->calls.prepared_arg);
}

static enum segment_outcome prepare(struct txns *txns, uint32_t writer, bool may_wait, const struct txn_work *work, struct lane_view *view)
{
    enum segment_outcome outcome =
        may_wait ? segment_prepare(txns->segment, writer, &work->id, work->items, work->participants, work->participant_count, view)
                 : segment_prepare_try(txns->segment, writer, &work->id, work->items, work->participants, work->participant_count, view);
    if (outcome == SEGMENT_DONE && view->state == LANE_PREPARED)
        call_prepared(txns);
    return outcome;
}

static enum segment_outcome carry_out(struct txns *txns, uint32_t writer, bool may_wait, const struct txn_work *work,
                                      const struct participant_decision *decision, struct lane_view *view)
{
    struct segment *segment = txns->segment;
    enum segment_outcome outcome;
    switch (decision->action) {
    case PARTICIPANT_PREPARE:
        return prepare(txns, writer, may_wait, work, view);
    case PARTICIPANT_EXECUTE:
        return may_wait ? segment_execute(segment, writer, &work->id, work->items, view)
                        : segment_execute_try(segment, writer, &work->id, work->items, view);
    case PARTICIPANT_COMMIT:
        outcome = may_wait ? segment_commit(segment, writer, &work->id) : segment_commit_try(segment, writer, &work->id);
        break;
    default: /* ABORT and FORCE; WAIT and ANSWER do not come here */
        outcome = may_wait ? segment_abort(segment, &work->id, decision->reason) : segment_abort_try(segment, &work->id, decision->reason);
        break;
    }
    if (outcome == SEGMENT_DONE) {
        segment_lane_view(segment, work->id.session, work->id.lane, view);
        if (decision->action != PARTICIPANT_FORCE)
            call_released(txns);
    }
    return outcome;
}

enum segment_outcome txns_act(struct txns *txns, uint32_t writer, bool may_wait, const struct txn_work *work, struct txn_said *said)
{
    struct lane_view view;
    *said = (struct txn_said){0};
    segment_lane_view(txns->segment, work->id.session, work->id.lane, &view);
    struct participant_decision decision = participant_decide(&view, &work->id, work->message);
    if (decision.action == PARTICIPANT_ANSWER) {
        said->answer = decision.answer;
        return SEGMENT_DONE;
    }
    MC_ASSERT(decision.action != PARTICIPANT_WAIT); /* who commits has the session's lock from the beginning to the end */
    enum segment_outcome outcome = carry_out(txns, writer, may_wait, work, &decision, &view);
    if (outcome != SEGMENT_DONE)
        return outcome;
    count_end(txns, writer, &view);
    said->answer = participant_answer(&view);
    said->fresh = true;
    return SEGMENT_DONE;
}

enum segment_outcome txns_execute_once(struct txns *txns, uint32_t writer, bool may_wait, struct segment_items *items, struct txn_said *said)
{
    struct lane_view view = {0};
    enum segment_outcome outcome = may_wait ? segment_execute(txns->segment, writer, NULL, items, &view)
                                            : segment_execute_try(txns->segment, writer, NULL, items, &view);
    if (outcome != SEGMENT_DONE)
        return outcome;
    count_end(txns, writer, &view);
    *said = (struct txn_said){.answer = participant_answer(&view), .fresh = true};
    return SEGMENT_DONE;
}

void txns_cleared(struct txns *txns)
{
    call_released(txns);
}

/* ---- watching ---- */

bool txns_unwatch(struct txns *txns)
{
    struct segment_transaction_counts counts;
    atomic_exchange(&txns->watched, false); /* with the one in call_prepared: either we see what is prepared, or who prepares sees that nobody watches */
    segment_count_transactions(txns->segment, &counts);
    if (counts.prepared == 0)
        return true;
    atomic_store(&txns->watched, true);
    return false;
}

void txns_count_resolved(struct txns *txns, uint32_t writer)
{
    stat_add(&txns->counts[writer].resolved, 1);
}

void txns_count_collected(struct txns *txns, uint32_t writer)
{
    stat_add(&txns->counts[writer].collected, 1);
}

/* ---- for people ---- */

/** What is prepared at (session, lane) now. */
static bool list_one(struct txns *txns, uint32_t session, uint32_t lane, struct txns_listed_one *one)
{
    struct lane_view view;
    segment_session_lock(txns->segment, session);
    segment_lane_view(txns->segment, session, lane, &view);
    bool prepared = view.state == LANE_PREPARED;
    if (prepared) {
        const struct lane_participant *participants = segment_lane_participants(txns->segment, session, lane, &one->node_count);
        one->id = (struct lane_id){session, lane, view.generation, view.sequence};
        one->prepared_ns = segment_lane_prepared_ns(txns->segment, session, lane);
        for (uint32_t i = 0; i < one->node_count; i++)
            one->node[i] = participants[i].node;
    }
    segment_session_unlock(txns->segment, session);
    return prepared;
}

struct txns_listed *txns_list(struct txns *txns)
{
    struct txns_listed *listed = malloc(sizeof *listed + (TXNS_LIST_MAX + 1) * sizeof listed->one[0]);
    if (!listed)
        return NULL;
    listed->count = listed->total = 0;
    uint32_t session = 0, lane = 0;
    for (; segment_next_prepared(txns->segment, &session, &lane); lane++) {
        struct txns_listed_one *one = &listed->one[TXNS_LIST_MAX]; /* a place aside */
        if (!list_one(txns, session, lane, one))
            continue;
        listed->total++;
        uint32_t at = listed->count;
        while (at > 0 && listed->one[at - 1].prepared_ns > one->prepared_ns)
            at--;
        if (at == TXNS_LIST_MAX)
            continue;
        struct txns_listed_one kept = *one;
        uint32_t moved = listed->count - at - (listed->count == TXNS_LIST_MAX);
        memmove(&listed->one[at + 1], &listed->one[at], moved * sizeof kept);
        listed->one[at] = kept;
        listed->count += listed->count < TXNS_LIST_MAX;
    }
    return listed;
}

void txns_fill_status(struct txns *txns, Mcomp__V1__StatusResult *result)
{
    struct segment_transaction_counts now;
    segment_count_transactions(txns->segment, &now);
    result->sessions = now.sessions;
    result->sessions_max = txns->sessions;
    result->prepared = now.prepared;
    for (uint32_t i = 0; i < txns->actors; i++) {
        const struct counts *counts = &txns->counts[i];
        result->transactions_committed += stat_get(&counts->committed);
        result->transactions_aborted_busy += stat_get(&counts->busy);
        result->transactions_aborted_compare += stat_get(&counts->compare);
        result->transactions_aborted_frozen += stat_get(&counts->frozen);
        result->transactions_aborted_other += stat_get(&counts->other);
        result->transactions_resolved += stat_get(&counts->resolved);
        result->sessions_collected += stat_get(&counts->collected);
    }
}
