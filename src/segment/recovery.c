/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/recovery.h"

#include <inttypes.h>

#include "segment/redo.h"
#include "segment/transaction.h"

static enum mcomp_status damaged(const struct segment *segment, uint64_t lane, const char *what, struct err *err)
{
    return err_set(err, MCOMP_DATA_LOSS,
                   "the record of the transaction in lane %" PRIu64 " of session %" PRIu64 " is damaged: %s; run \"mcompd --reset --config FILE --node %" PRIu32
                   "\", which deletes the segment's bytes",
                   lane % LANES, lane / LANES, what, segment->header->fixed.node);
}

static bool word_is_sane(uint64_t word)
{
    uint32_t state = lane_state(word), reason = lane_reason(word);
    if (state == LANE_NONE)
        return word == 0;
    return lane_sequence(word) > 0 && state <= LANE_ABORTED && reason <= LANE_FORCED && (reason == LANE_REASON_NONE || state == LANE_ABORTED);
}

static bool sizes_are_sane(const struct sessions *sessions, const struct layout_lane *lane)
{
    uint64_t most = (uint64_t)sessions->unit_count * LAYOUT_UNIT_BYTES;
    return lane->participant_count <= GRID_NODES_MAX && lane->lock_count <= LAYOUT_LOCKS_MAX && lane->redo_bytes <= most &&
           lane->redo_bytes % 8 == 0 && lane->answer_bytes <= most;
}

static bool participants_are_sane(const struct segment *segment, const struct lane_body *body)
{
    for (uint32_t i = 0; i < body->participant_count; i++) {
        const struct lane_participant *participant = &body->participants[i];
        if (participant->node >= segment->header->fixed.nodes || participant->id.lane >= LANES || participant->id.sequence == 0 ||
            participant->id.sequence > LANE_SEQUENCE_MAX)
            return false;
    }
    return true;
}

static bool locks_are_sane(const struct segment *segment, const struct lane_body *body)
{
    uint64_t next = 0;
    for (uint32_t i = 0; i < body->lock_count; i++) {
        const struct layout_lock *lock = &body->locks[i];
        if (lock->first_line < next || lock->first_line >= segment->lines.count || lock->lines == 0 ||
            lock->lines > segment->lines.count - lock->first_line || lock->exclusive > 1)
            return false;
        next = lock->first_line + lock->lines;
    }
    return true;
}

/* Is every write inside one exclusive lock? */
static bool writes_are_locked(const struct lane_body *body)
{
    for (uint32_t i = 0; i < body->redo->range_count; i++) {
        const struct redo_range *range = &body->redo->range[i];
        if (range->length == 0)
            return false;
        uint64_t first = range->offset >> LAYOUT_LINE_SHIFT, last = (range->offset + range->length - 1) >> LAYOUT_LINE_SHIFT;
        uint32_t at = 0;
        while (at < body->lock_count && body->locks[at].first_line + body->locks[at].lines <= first)
            at++;
        const struct layout_lock *lock = &body->locks[at];
        if (at == body->lock_count || !lock->exclusive || first < lock->first_line || last >= lock->first_line + lock->lines)
            return false;
    }
    return true;
}

/* Check a lane as if its word were this, and claim its room and its locks for it. NULL, or what is wrong. */
static const char *check_lane(struct segment *segment, uint64_t number, uint64_t word)
{
    struct sessions *sessions = &segment->sessions;
    struct layout_lane *lane = lane_at(sessions, number);
    if (!word_is_sane(word))
        return "its state is none that there is";
    if (!lane_has_body(word))
        return NULL;
    if (!sizes_are_sane(sessions, lane))
        return "its sizes are impossible";
    struct lane_body body;
    lane_body_get(sessions, lane, &body);
    if (!lane_body_claim(sessions, &body))
        return "it lies where none can, or where another is";
    if (!participants_are_sane(segment, &body))
        return "its participants are impossible";
    if (!locks_are_sane(segment, &body))
        return "its locks are impossible";
    if (body.redo && (!redo_is_sane(body.redo, body.redo_bytes, segment->header->fixed.size) || !writes_are_locked(&body)))
        return "its writes are impossible";
    if (lane_state(word) != LANE_PREPARED)
        return NULL;
    if (!lines_can_lock(&segment->lines, body.locks, body.lock_count))
        return "another has locked the same lines";
    lines_lock(&segment->lines, body.locks, body.lock_count);
    sessions_note_prepared(sessions, number);
    return NULL;
}

static enum mcomp_status check_session(struct segment *segment, uint32_t number, struct err *err)
{
    struct sessions *sessions = &segment->sessions;
    const struct layout_session *shared = &sessions->table[number];
    uint64_t generation = atomic_load(&shared->generation);
    if (generation == 0)
        return MCOMP_OK;
    if (generation > atomic_load(&segment->header->transaction_generation))
        return damaged(segment, (uint64_t)number * LANES, "its session's generation was never given out", err);
    for (uint64_t lane = (uint64_t)number * LANES; lane < (number + UINT64_C(1)) * LANES; lane++) {
        const char *wrong = check_lane(segment, lane, lane_get(lane_at(sessions, lane)));
        if (wrong)
            return damaged(segment, lane, wrong, err);
    }
    memcpy(sessions->session[number].client, shared->client, sizeof shared->client);
    sessions->session[number].generation = generation;
    sessions->open++;
    return MCOMP_OK;
}

/* A redo record that names a lane: what is recorded there is that the transaction did not happen, or already that it did. */
static enum mcomp_status check_named_lane(struct segment *segment, struct redo_record *redo, struct err *err)
{
    struct sessions *sessions = &segment->sessions;
    if (atomic_load(&redo->valid) != REDO_VALID_LANE)
        return MCOMP_OK;
    const struct redo_lane *named = redo_lane(redo, layout_redo_section(segment->header)->element_bytes);
    uint64_t number = named->lane;
    if (number / LANES >= sessions->count || sessions->session[number / LANES].generation == 0)
        return damaged(segment, number, "a write was to be recorded in it, but it is nobody's", err);
    uint64_t now = lane_get(lane_at(sessions, number)), then = named->word;
    if (then == now)
        return MCOMP_OK;
    if (then != lane_word(lane_sequence(then), LANE_COMMITTED, LANE_REASON_NONE) ||
        now != lane_word(lane_sequence(then), LANE_ABORTED, LANE_REASON_NONE))
        return damaged(segment, number, "a write was to be recorded in it, but not that of this transaction", err);
    const char *wrong = check_lane(segment, number, then);
    return wrong ? damaged(segment, number, wrong, err) : MCOMP_OK;
}

/* Nothing in shared memory is changed. */
static enum mcomp_status check_all(struct segment *segment, struct err *err)
{
    uint8_t *base = segment->object.base;
    enum mcomp_status code = redo_check_all(segment->header, base, err);
    for (uint32_t i = 0; code == MCOMP_OK && i < segment->sessions.count; i++)
        code = check_session(segment, i, err);
    struct redo_record *redo;
    for (uint64_t i = 0; code == MCOMP_OK && (redo = redo_at(segment->header, base, i)) != NULL; i++)
        code = check_named_lane(segment, redo, err);
    return code;
}

/* Store the writes of transactions that were being committed: all of them again, so that nothing depends on how far they had come. */
static uint64_t finish_commits(struct segment *segment)
{
    struct sessions *sessions = &segment->sessions;
    uint64_t finished = 0;
    for (uint64_t number = 0; number < (uint64_t)sessions->count * LANES; number++) {
        struct layout_lane *lane = lane_at(sessions, number);
        uint64_t word = lane_get(lane);
        struct lane_body body;
        if (sessions->session[number / LANES].generation == 0 || lane_state(word) != LANE_COMMITTING)
            continue;
        lane_body_get(sessions, lane, &body);
        if (body.redo)
            redo_apply_locked(&segment->preserve, body.redo);
        lane_set(lane, lane_sequence(word), LANE_COMMITTED, LANE_REASON_NONE);
        finished++;
    }
    return finished;
}

enum mcomp_status recovery_run(struct segment *segment, uint64_t *finished, struct err *err)
{
    if (atomic_load(&segment->header->restoring) != SEGMENT_RESTORE_NONE) /* the end of all sessions, which a crash may have interrupted */
        sessions_clear(&segment->sessions);
    enum mcomp_status code = check_all(segment, err);
    if (code != MCOMP_OK)
        return code;
    *finished = redo_finish_all(&segment->preserve, segment->object.base, segment->sessions.table);
    *finished += finish_commits(segment);
    return MCOMP_OK;
}

void recovery_count_locks(struct segment *segment)
{
    uint32_t session = 0, lane = 0;
    for (; segment_next_prepared(segment, &session, &lane); lane++) {
        struct lane_body body;
        lane_body_get(&segment->sessions, lane_at(&segment->sessions, (uint64_t)session * LANES + lane), &body);
        lines_begin(segment->stripes, body.locks, body.lock_count);
        lines_end(segment->stripes, body.locks, body.lock_count, 1);
    }
}
