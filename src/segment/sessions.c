/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/sessions.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "segment/copy.h"
#include "segment/internal.h"
#include "segment/transaction.h"

#define BITS 64u

static uint64_t words_for(uint64_t bits)
{
    return (bits + BITS - 1) / BITS;
}

void sessions_place(struct sessions *sessions, uint8_t *section, uint64_t section_bytes)
{
    sessions->table = (void *)section;
    sessions->units = section + section_bytes / 2;
}

enum mcomp_status sessions_init(struct sessions *sessions, uint64_t section_bytes, struct err *err)
{
    sessions->count = layout_sessions(section_bytes);
    sessions->unit_count = layout_units(section_bytes);
    uint64_t lanes = (uint64_t)sessions->count * LANES;
    sessions->session = calloc(sessions->count, sizeof *sessions->session);
    sessions->prepared_ns = calloc(lanes, sizeof *sessions->prepared_ns);
    sessions->is_prepared = calloc(words_for(lanes), sizeof *sessions->is_prepared);
    sessions->unit_used = calloc(words_for(sessions->unit_count), sizeof *sessions->unit_used);
    if (!sessions->session || !sessions->prepared_ns || !sessions->is_prepared || !sessions->unit_used) {
        sessions_free(sessions);
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "no memory for %" PRIu32 " sessions", sessions->count);
    }
    for (uint32_t i = 0; i < sessions->count; i++)
        pthread_mutex_init(&sessions->session[i].lock, NULL);
    pthread_mutex_init(&sessions->lock, NULL);
    pthread_mutex_init(&sessions->unit_lock, NULL);
    return MCOMP_OK;
}

void sessions_free(struct sessions *sessions)
{
    free(sessions->session);
    free(sessions->prepared_ns);
    free(sessions->is_prepared);
    free(sessions->unit_used);
    memset(sessions, 0, sizeof *sessions);
}

void sessions_clear(struct sessions *sessions)
{
    for (uint32_t i = 0; i < sessions->count; i++) {
        atomic_store_explicit(&sessions->table[i].generation, 0, memory_order_release);
        sessions->session[i].generation = 0;
    }
    for (uint64_t i = 0; i < words_for((uint64_t)sessions->count * LANES); i++)
        atomic_store(&sessions->is_prepared[i], 0);
    memset(sessions->unit_used, 0, words_for(sessions->unit_count) * sizeof *sessions->unit_used);
    atomic_store(&sessions->prepared, 0);
    sessions->open = sessions->units_used = 0;
}

void sessions_note_prepared(struct sessions *sessions, uint64_t lane)
{
    sessions->prepared_ns[lane] = clock_mono_ns();
    atomic_fetch_or_explicit(&sessions->is_prepared[lane / BITS], UINT64_C(1) << lane % BITS, memory_order_relaxed);
    atomic_fetch_add_explicit(&sessions->prepared, 1, memory_order_seq_cst);
}

uint32_t sessions_note_decided(struct sessions *sessions, uint64_t lane)
{
    atomic_fetch_and_explicit(&sessions->is_prepared[lane / BITS], ~(UINT64_C(1) << lane % BITS), memory_order_relaxed);
    return atomic_fetch_sub_explicit(&sessions->prepared, 1, memory_order_seq_cst) - 1;
}

/* ---- units ---- */

static bool is_used(const struct sessions *sessions, uint32_t unit)
{
    return sessions->unit_used[unit / BITS] >> unit % BITS & 1u;
}

static void mark(struct sessions *sessions, uint32_t first, uint32_t count, bool used)
{
    for (uint32_t unit = first; unit < first + count; unit++) {
        uint64_t bit = UINT64_C(1) << unit % BITS;
        sessions->unit_used[unit / BITS] = used ? sessions->unit_used[unit / BITS] | bit : sessions->unit_used[unit / BITS] & ~bit;
    }
    sessions->units_used += used ? count : 0 - count;
}

/* First of `count` free units one behind the other in [from, until); LAYOUT_INLINE: there are none. */
static uint32_t find_units(const struct sessions *sessions, uint32_t from, uint32_t until, uint32_t count)
{
    uint32_t run = 0;
    for (uint32_t unit = from; unit < until;) {
        if (unit % BITS == 0 && sessions->unit_used[unit / BITS] == UINT64_MAX) {
            run = 0;
            unit += BITS;
            continue;
        }
        run = is_used(sessions, unit) ? 0 : run + 1;
        unit++;
        if (run == count)
            return unit - count;
    }
    return LAYOUT_INLINE;
}

static uint32_t units_of(const struct lane_body *body)
{
    return (uint32_t)((lane_body_bytes(body) + LAYOUT_UNIT_BYTES - 1) / LAYOUT_UNIT_BYTES);
}

bool lane_body_reserve(struct sessions *sessions, struct lane_body *body)
{
    body->first_unit = LAYOUT_INLINE;
    uint64_t bytes = lane_body_bytes(body);
    if (bytes <= LAYOUT_INLINE_BYTES)
        return true;
    if (bytes > (uint64_t)sessions->unit_count * LAYOUT_UNIT_BYTES)
        return false;
    uint32_t count = units_of(body), all = sessions->unit_count;
    pthread_mutex_lock(&sessions->unit_lock);
    if (count <= all - sessions->units_used) {
        body->first_unit = find_units(sessions, sessions->unit_next, all, count);
        if (body->first_unit == LAYOUT_INLINE)
            body->first_unit = find_units(sessions, 0, all, count);
    }
    if (body->first_unit != LAYOUT_INLINE) {
        mark(sessions, body->first_unit, count, true);
        sessions->unit_next = (body->first_unit + count) % all;
    }
    pthread_mutex_unlock(&sessions->unit_lock);
    return body->first_unit != LAYOUT_INLINE;
}

void lane_body_free(struct sessions *sessions, const struct lane_body *body)
{
    if (body->first_unit == LAYOUT_INLINE)
        return;
    pthread_mutex_lock(&sessions->unit_lock);
    mark(sessions, body->first_unit, units_of(body), false);
    pthread_mutex_unlock(&sessions->unit_lock);
}

bool lane_body_claim(struct sessions *sessions, const struct lane_body *body)
{
    uint64_t bytes = lane_body_bytes(body);
    if (body->first_unit == LAYOUT_INLINE)
        return bytes <= LAYOUT_INLINE_BYTES;
    if (body->first_unit >= sessions->unit_count || bytes > (uint64_t)(sessions->unit_count - body->first_unit) * LAYOUT_UNIT_BYTES)
        return false;
    for (uint32_t i = 0; i < units_of(body); i++)
        if (is_used(sessions, body->first_unit + i))
            return false;
    mark(sessions, body->first_unit, units_of(body), true);
    return true;
}

/* ---- records ---- */

uint64_t lane_body_bytes(const struct lane_body *body)
{
    return body->participant_count * sizeof(struct lane_participant) + body->lock_count * sizeof(struct layout_lock) + body->redo_bytes +
           body->answer_bytes;
}

/* Where the parts of a body lie whose sizes and place are set. */
static void set_parts(const struct sessions *sessions, struct layout_lane *lane, struct lane_body *body)
{
    uint8_t *at = body->first_unit == LAYOUT_INLINE ? lane->body : sessions->units + (uint64_t)body->first_unit * LAYOUT_UNIT_BYTES;
    body->participants = (void *)at;
    at += body->participant_count * sizeof *body->participants;
    body->locks = (void *)at;
    at += body->lock_count * sizeof *body->locks;
    body->redo = body->redo_bytes ? (void *)at : NULL;
    body->answer = at + body->redo_bytes;
}

void lane_body_get(const struct sessions *sessions, struct layout_lane *lane, struct lane_body *body)
{
    *body = (struct lane_body){.participant_count = lane->participant_count,
                               .lock_count = lane->lock_count,
                               .redo_bytes = lane->redo_bytes,
                               .answer_bytes = lane->answer_bytes,
                               .first_unit = lane->first_unit};
    set_parts(sessions, lane, body);
}

void lane_begin(struct sessions *sessions, struct layout_lane *lane, uint64_t sequence)
{
    uint64_t old = lane_get(lane);
    MC_ASSERT(sequence > lane_sequence(old) && sequence <= LANE_SEQUENCE_MAX);
    MC_ASSERT(lane_state(old) != LANE_PREPARED && lane_state(old) != LANE_COMMITTING);
    lane_set(lane, sequence, LANE_ABORTED, LANE_REASON_NONE);
    copy_compiler_barrier(); /* what follows is stored after it, should the process be killed in between */
    if (lane_has_body(old)) {
        struct lane_body body;
        lane_body_get(sessions, lane, &body);
        lane_body_free(sessions, &body);
    }
}

void lane_put_body(const struct sessions *sessions, struct layout_lane *lane, struct lane_body *body)
{
    lane->participant_count = body->participant_count;
    lane->lock_count = body->lock_count;
    lane->first_unit = body->first_unit;
    lane->redo_bytes = body->redo_bytes;
    lane->answer_bytes = body->answer_bytes;
    set_parts(sessions, lane, body);
}

/* ---- what transaction.h says of sessions ---- */

uint32_t segment_session_limit(const struct segment *segment)
{
    return segment->sessions.count;
}

static struct session *session_of(const struct segment *segment, uint32_t session)
{
    MC_ASSERT(session < segment->sessions.count);
    return &segment->sessions.session[session];
}

void segment_session_lock(struct segment *segment, uint32_t session)
{
    pthread_mutex_lock(&session_of(segment, session)->lock);
}

bool segment_session_lock_try(struct segment *segment, uint32_t session)
{
    return pthread_mutex_trylock(&session_of(segment, session)->lock) == 0;
}

void segment_session_unlock(struct segment *segment, uint32_t session)
{
    pthread_mutex_unlock(&session_of(segment, session)->lock);
}

/* Give a free session, whose lock is held, as is that of the table, to a client. Killed before the last store, it is still free. */
static void give_session(struct segment *segment, uint32_t number, const uint8_t *client)
{
    struct session *session = &segment->sessions.session[number];
    struct layout_session *shared = &segment->sessions.table[number];
    uint64_t generation = atomic_fetch_add_explicit(&segment->header->transaction_generation, 1, memory_order_seq_cst) + 1;
    memcpy(shared->client, client, SEGMENT_CLIENT_BYTES);
    for (uint32_t i = 0; i < LANES; i++)
        atomic_store_explicit(&shared->lane[i].word, 0, memory_order_relaxed);
    atomic_store_explicit(&shared->generation, generation, memory_order_release);
    memcpy(session->client, client, SEGMENT_CLIENT_BYTES);
    session->generation = generation;
    segment->sessions.open++;
    segment->sessions.next = number + 1;
}

/* The session that a client has, or else a free one, which is locked then; the limit if there is neither. */
static uint32_t find_session(struct segment *segment, const uint8_t *client)
{
    struct sessions *sessions = &segment->sessions;
    for (uint32_t i = 0; i < sessions->count; i++)
        if (sessions->session[i].generation && memcmp(sessions->session[i].client, client, SEGMENT_CLIENT_BYTES) == 0)
            return i;
    for (uint32_t i = 0; i < sessions->count && sessions->open < sessions->count; i++) {
        uint32_t number = (sessions->next + i) % sessions->count;
        /* Who has the lock of a free session has just learnt from it that it is free: another will do. */
        if (sessions->session[number].generation == 0 && segment_session_lock_try(segment, number))
            return number;
    }
    return sessions->count;
}

enum mcomp_status segment_session_open(struct segment *segment, const uint8_t client[SEGMENT_CLIENT_BYTES], uint32_t *session, uint64_t *generation,
                                       struct err *err)
{
    struct sessions *sessions = &segment->sessions;
    pthread_mutex_lock(&sessions->lock);
    uint32_t number = find_session(segment, client);
    if (number < sessions->count && sessions->session[number].generation == 0) {
        give_session(segment, number, client);
        segment_session_unlock(segment, number);
    }
    if (number < sessions->count)
        *generation = sessions->session[number].generation;
    pthread_mutex_unlock(&sessions->lock);
    *session = number;
    if (number == sessions->count)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED,
                       "the node has %" PRIu32 " sessions for transactions, and clients have them all; one is free again when its client closes it", number);
    return MCOMP_OK;
}

void segment_session_close(struct segment *segment, uint32_t number)
{
    struct sessions *sessions = &segment->sessions;
    struct session *session = session_of(segment, number);
    struct layout_session *shared = &sessions->table[number];
    if (session->generation == 0)
        return;
    for (uint32_t i = 0; i < LANES; i++) {
        uint64_t word = lane_get(&shared->lane[i]);
        MC_ASSERT(lane_state(word) != LANE_PREPARED && lane_state(word) != LANE_COMMITTING);
    }
    atomic_store_explicit(&shared->generation, 0, memory_order_release);
    for (uint32_t i = 0; i < LANES; i++) {
        struct lane_body body;
        if (!lane_has_body(lane_get(&shared->lane[i])))
            continue;
        lane_body_get(sessions, &shared->lane[i], &body);
        lane_body_free(sessions, &body);
    }
    pthread_mutex_lock(&sessions->lock);
    session->generation = 0;
    sessions->open--;
    pthread_mutex_unlock(&sessions->lock);
}

bool segment_session_client(const struct segment *segment, uint32_t session, uint8_t client[SEGMENT_CLIENT_BYTES])
{
    memcpy(client, segment->sessions.table[session].client, SEGMENT_CLIENT_BYTES);
    return session_of(segment, session)->generation != 0;
}

static struct layout_lane *lane_of(const struct segment *segment, uint32_t session, uint32_t lane)
{
    MC_ASSERT(session < segment->sessions.count && lane < LANES);
    return &segment->sessions.table[session].lane[lane];
}

void segment_lane_view(const struct segment *segment, uint32_t session, uint32_t lane, struct lane_view *view)
{
    const struct layout_lane *record = lane_of(segment, session, lane);
    *view = (struct lane_view){.generation = segment->sessions.session[session].generation};
    if (view->generation == 0)
        return;
    uint64_t word = lane_get(record);
    view->sequence = lane_sequence(word);
    view->state = (enum lane_state)lane_state(word);
    view->reason = (enum lane_reason)lane_reason(word);
    if (view->reason == LANE_COMPARE)
        view->failed_compare = record->failed_compare;
}

const uint8_t *segment_lane_answer(const struct segment *segment, uint32_t session, uint32_t lane, uint64_t *bytes)
{
    struct layout_lane *record = lane_of(segment, session, lane);
    struct lane_body body;
    MC_ASSERT(lane_has_body(lane_get(record)));
    lane_body_get(&segment->sessions, record, &body);
    *bytes = body.answer_bytes;
    return body.answer;
}

const struct lane_participant *segment_lane_participants(const struct segment *segment, uint32_t session, uint32_t lane, uint32_t *count)
{
    struct layout_lane *record = lane_of(segment, session, lane);
    struct lane_body body;
    MC_ASSERT(lane_has_body(lane_get(record)));
    lane_body_get(&segment->sessions, record, &body);
    *count = body.participant_count;
    return body.participants;
}

uint64_t segment_lane_prepared_ns(const struct segment *segment, uint32_t session, uint32_t lane)
{
    MC_ASSERT(session < segment->sessions.count && lane < LANES);
    return segment->sessions.prepared_ns[(uint64_t)session * LANES + lane];
}

bool segment_next_prepared(const struct segment *segment, uint32_t *session, uint32_t *lane)
{
    const struct sessions *sessions = &segment->sessions;
    uint64_t at = (uint64_t)*session * LANES + *lane, end = (uint64_t)sessions->count * LANES;
    while (at < end) {
        uint64_t bits = atomic_load_explicit(&sessions->is_prepared[at / BITS], memory_order_relaxed) >> at % BITS;
        if (bits == 0) {
            at = (at / BITS + 1) * BITS;
            continue;
        }
        at += (uint64_t)__builtin_ctzll(bits);
        *session = (uint32_t)(at / LANES);
        *lane = (uint32_t)(at % LANES);
        return true;
    }
    return false;
}

void segment_count_transactions(struct segment *segment, struct segment_transaction_counts *counts)
{
    struct sessions *sessions = &segment->sessions;
    pthread_mutex_lock(&sessions->lock);
    counts->sessions = sessions->open;
    pthread_mutex_unlock(&sessions->lock);
    counts->prepared = atomic_load_explicit(&sessions->prepared, memory_order_relaxed);
    counts->record_bytes = (uint64_t)sessions->unit_count * LAYOUT_UNIT_BYTES;
    pthread_mutex_lock(&sessions->unit_lock);
    counts->record_bytes_used = (uint64_t)sessions->units_used * LAYOUT_UNIT_BYTES;
    pthread_mutex_unlock(&sessions->unit_lock);
}
