/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions on a segment. In what order things are stored, and why it is safe to be killed between any two of them (docs/segment.md has it at length):
 *
 *  execute   permits | compares, reads | word = ABORTED | answer into the record | redo record valid, naming the lane | store | word = COMMITTED | redo invalid
 *  prepare   permits | compares, reads | word = ABORTED | record | word = PREPARED | lock the lines
 *  commit    permits | word = COMMITTING | store | word = COMMITTED | unlock the lines
 *  abort     permits | word = ABORTED | unlock the lines
 *
 * Lock order: the session (held by the caller), the gate, the stripes ascending, units. Lines are only tried. */
#include "segment/transaction.h"

#include <string.h>

#include "segment/copy.h"
#include "segment/internal.h"
#include "segment/redo.h"

/* A transaction's items, sorted. */
struct plan {
    struct segment *segment;
    struct segment_items *items; /* borrowed */
    struct range_item *sorted;   /* the writer's scratch space */
    size_t count;
    struct stripe *only;         /* all ranges lie in this one stripe; NULL: they do not */
    uint32_t write_ranges;       /* writes and adds that have bytes */
    uint64_t write_bytes;
    uint64_t answer_bytes;
};

uint64_t segment_answer_bytes(const struct segment_items *items)
{
    uint64_t bytes = items->add_count * ATOMIC_WORD_BYTES;
    for (size_t i = 0; i < items->read_count; i++)
        bytes += items->reads[i].length;
    return bytes;
}

static inline void plan_add(struct plan *plan, uint64_t offset, uint64_t length, bool write)
{
    MC_ASSERT(offset <= plan->segment->size && length <= plan->segment->size - offset);
    if (length == 0)
        return;
    plan->sorted[plan->count++] = (struct range_item){offset, offset + length, write};
    if (write) {
        MC_ASSERT(length <= plan->segment->redo_bytes - plan->write_bytes);
        plan->write_ranges++;
        plan->write_bytes += length;
    }
}

/* All ranges that have bytes, checked, in ascending order. */
static void plan_make(struct plan *plan, struct segment *segment, uint32_t writer, struct segment_items *items)
{
    MC_ASSERT(writer < segment->writers);
    MC_ASSERT(items->compare_count <= MULTI_RANGES_MAX && items->read_count <= MULTI_RANGES_MAX && items->write_count <= MULTI_RANGES_MAX &&
              items->add_count <= MULTI_RANGES_MAX);
    MC_ASSERT(items->compare_count + items->read_count + items->write_count + items->add_count <= MULTI_RANGES_MAX);
    *plan = (struct plan){.segment = segment, .items = items, .sorted = segment->items + (size_t)writer * MULTI_RANGES_MAX};
    for (size_t i = 0; i < items->compare_count; i++)
        plan_add(plan, items->compares[i].offset, items->compares[i].length, false);
    for (size_t i = 0; i < items->read_count; i++)
        plan_add(plan, items->reads[i].offset, items->reads[i].length, false);
    for (size_t i = 0; i < items->write_count; i++)
        plan_add(plan, items->writes[i].offset, items->writes[i].length, true);
    for (size_t i = 0; i < items->add_count; i++)
        plan_add(plan, items->adds[i].offset, ATOMIC_WORD_BYTES, true);
    plan->answer_bytes = segment_answer_bytes(items);
    range_sort(plan->sorted, plan->count);
    uint64_t written_until = 0, end = 0;
    for (size_t i = 0; i < plan->count; i++) {
        end = plan->sorted[i].end > end ? plan->sorted[i].end : end;
        if (!plan->sorted[i].write)
            continue;
        MC_ASSERT(plan->sorted[i].offset >= written_until); /* writes and adds do not overlap */
        written_until = plan->sorted[i].end;
    }
    if (plan->count > 0 && plan->sorted[0].offset >> STRIPE_SHIFT == (end - 1) >> STRIPE_SHIFT)
        plan->only = &segment->stripes[plan->sorted[0].offset >> STRIPE_SHIFT];
}

/* ---- stripes; most transactions are in one ---- */

static bool take_stripes(const struct plan *plan, bool try)
{
    struct stripe *only = plan->only;
    if (!only)
        return range_take(plan->segment->stripes, plan->sorted, plan->count, try);
    return range_take_one(only, plan->write_ranges > 0, try);
}

static void give_stripes(const struct plan *plan)
{
    struct stripe *only = plan->only;
    if (!only)
        range_give(plan->segment->stripes, plan->sorted, plan->count, UINT64_MAX);
    else if (plan->write_ranges > 0)
        semaphore_write_release(only);
    else
        semaphore_read_release(only);
}

static bool meet_lock(const struct plan *plan)
{
    if (plan->only && !sequence_is_locked(plan->only))
        return false;
    for (size_t i = 0; i < plan->count; i++) {
        const struct range_item *item = &plan->sorted[i];
        if (lines_meet(&plan->segment->lines, plan->segment->stripes, item->offset, item->end - item->offset, item->write))
            return true;
    }
    return false;
}

static void begin_stores(const struct plan *plan)
{
    if (plan->only)
        (void)sequence_begin(plan->only);
    else
        range_begin_stores(plan->segment->stripes, plan->sorted, plan->count);
}

static void end_stores(const struct plan *plan)
{
    if (plan->only)
        sequence_end(plan->only);
    else
        range_end_stores(plan->segment->stripes, plan->sorted, plan->count);
}

/* Fill a redo record, but for what the adds store, which comes last. */
static void fill_writes(struct redo_record *redo, const struct plan *plan)
{
    const struct segment_items *items = plan->items;
    copy_compiler_barrier(); /* the end of what the record was used for before comes first */
    uint32_t used = 0;
    for (size_t i = 0; i < items->write_count; i++)
        if (items->writes[i].length > 0)
            redo->range[used++] = (struct redo_range){items->writes[i].offset, items->writes[i].length};
    for (size_t i = 0; i < items->add_count; i++)
        redo->range[used++] = (struct redo_range){items->adds[i].offset, ATOMIC_WORD_BYTES};
    redo->range_count = used;
    redo->data_bytes = plan->write_bytes;
    uint8_t *to = redo_data(redo);
    for (size_t i = 0; i < items->write_count; i++) {
        if (items->writes[i].length == 0)
            continue; /* its data may be NULL */
        memcpy(to, items->writes[i].data, items->writes[i].length);
        to += items->writes[i].length;
    }
}

/* After read_items: what the adds store, from what they found. */
static void fill_adds(struct redo_record *redo, const struct plan *plan)
{
    const struct segment_items *items = plan->items;
    if (items->add_count == 0)
        return; /* the answer may be NULL */
    uint8_t *to = redo_data(redo) + plan->write_bytes - items->add_count * ATOMIC_WORD_BYTES;
    const uint8_t *found = items->answer + plan->answer_bytes - items->add_count * ATOMIC_WORD_BYTES;
    for (size_t i = 0; i < items->add_count; i++, to += ATOMIC_WORD_BYTES, found += ATOMIC_WORD_BYTES) {
        uint64_t word;
        memcpy(&word, found, sizeof word);
        word += items->adds[i].delta;
        memcpy(to, &word, sizeof word);
    }
}

/* Do all compares hold? The permits are held. */
static bool compare_items(const struct plan *plan, uint32_t *failed)
{
    struct segment_items *items = plan->items;
    bool hold = true;
    for (size_t i = items->compare_count; i-- > 0;) {
        struct segment_compare *compare = &items->compares[i];
        const uint8_t *bytes = plan->segment->bytes + compare->offset;
        compare->failed = compare->length > 0 && memcmp(bytes, compare->expected, compare->length) != 0;
        if (!compare->failed)
            continue;
        hold = false;
        *failed = (uint32_t)i;
        if (compare->found)
            memcpy(compare->found, bytes, compare->length);
    }
    return hold;
}

/* What the reads read and the adds find, to items->answer. The permits are held. */
static void read_items(const struct plan *plan)
{
    const struct segment_items *items = plan->items;
    const uint8_t *bytes = plan->segment->bytes;
    uint8_t *to = items->answer;
    for (size_t i = 0; i < items->read_count; i++) {
        if (items->reads[i].length == 0)
            continue; /* the answer may be NULL when nothing is read */
        memcpy(to, bytes + items->reads[i].offset, items->reads[i].length);
        to += items->reads[i].length;
    }
    for (size_t i = 0; i < items->add_count; i++, to += ATOMIC_WORD_BYTES)
        memcpy(to, bytes + items->adds[i].offset, ATOMIC_WORD_BYTES);
}

/* ---- lanes ---- */

/* The lane of a transaction whose session is locked. */
static uint64_t number_of(const struct segment *segment, const struct lane_id *id)
{
    MC_ASSERT(id->session < segment->sessions.count && id->lane < LANES && id->generation != 0);
    MC_ASSERT(segment->sessions.session[id->session].generation == id->generation);
    return (uint64_t)id->session * LANES + id->lane;
}

/* Say what happened: to the caller, and in the record if there is one. */
static void record_abort(struct segment *segment, const struct lane_id *id, enum lane_reason reason, uint32_t failed_compare, struct lane_view *view)
{
    *view = (struct lane_view){.state = LANE_ABORTED, .reason = reason, .failed_compare = failed_compare};
    if (!id)
        return;
    struct layout_lane *lane = lane_at(&segment->sessions, number_of(segment, id));
    lane_begin(&segment->sessions, lane, id->sequence);
    lane->failed_compare = failed_compare;
    lane_set(lane, id->sequence, LANE_ABORTED, reason);
    view->generation = id->generation;
    view->sequence = id->sequence;
}

static void view_done(const struct lane_id *id, enum lane_state state, struct lane_view *view)
{
    *view = (struct lane_view){.state = state, .generation = id ? id->generation : 0, .sequence = id ? id->sequence : 0};
}

/* ---- execute ---- */

/* The compares hold, the reads are done, the writes are in the redo record: record and store. The permits are held. */
static void execute_locked(const struct plan *plan, struct redo_record *redo, const struct lane_id *id, struct lane_body *body)
{
    struct segment *segment = plan->segment;
    struct layout_lane *lane = NULL;
    if (id) {
        lane = lane_at(&segment->sessions, number_of(segment, id));
        lane_begin(&segment->sessions, lane, id->sequence);
        lane_put_body(&segment->sessions, lane, body);
        if (plan->answer_bytes > 0)
            memcpy(body->answer, plan->items->answer, plan->answer_bytes);
    }
    if (plan->write_ranges == 0) {
        if (lane)
            lane_set(lane, id->sequence, LANE_COMMITTED, LANE_REASON_NONE);
        return;
    }
    fill_adds(redo, plan);
    begin_stores(plan);
    if (lane) {
        struct redo_lane *named = redo_lane(redo, segment->redo_stride);
        named->lane = number_of(segment, id);
        named->word = lane_word(id->sequence, LANE_COMMITTED, LANE_REASON_NONE);
        redo_store_lane_locked(&segment->preserve, redo, lane, named->word);
    } else {
        redo_store_locked(&segment->preserve, redo);
    }
    end_stores(plan);
}

/* Inside the gate if anything is written. */
static enum segment_outcome execute_inside(const struct plan *plan, struct redo_record *redo, const struct lane_id *id, struct lane_body *body, bool try,
                                           struct lane_view *view)
{
    struct segment *segment = plan->segment;
    if (!take_stripes(plan, try))
        return SEGMENT_BUSY;
    enum segment_outcome outcome = SEGMENT_LOCKED;
    uint32_t failed = 0;
    if (!meet_lock(plan)) {
        outcome = SEGMENT_DONE;
        if (compare_items(plan, &failed)) {
            read_items(plan);
            execute_locked(plan, redo, id, body);
            view_done(id, LANE_COMMITTED, view);
        } else {
            record_abort(segment, id, LANE_COMPARE, failed, view);
        }
    }
    give_stripes(plan);
    return outcome;
}

static enum segment_outcome execute(struct segment *segment, uint32_t writer, const struct lane_id *id, struct segment_items *items,
                                    struct lane_view *view, bool try)
{
    struct plan plan;
    plan_make(&plan, segment, writer, items);
    struct redo_record *redo = redo_of(segment, writer);
    struct lane_body body = {.answer_bytes = plan.answer_bytes};
    if (id && !lane_body_reserve(&segment->sessions, &body)) {
        if (plan.write_ranges > 0) {
            record_abort(segment, id, LANE_MEMORY, 0, view);
            return SEGMENT_DONE;
        }
        id = NULL; /* what changes nothing may be done again, so it need not be remembered */
    }
    enum segment_outcome outcome = SEGMENT_FROZEN;
    uint32_t ticket = 0;
    if (plan.write_ranges > 0) {
        fill_writes(redo, &plan);
        ticket = gate_enter(&segment->gate, writer);
    }
    if (plan.write_ranges == 0 || ticket != 0)
        outcome = execute_inside(&plan, redo, id, &body, try, view);
    if (ticket != 0)
        gate_leave(&segment->gate, writer, ticket);
    if (id && (outcome != SEGMENT_DONE || view->state != LANE_COMMITTED))
        lane_body_free(&segment->sessions, &body);
    return outcome;
}

enum segment_outcome segment_execute(struct segment *segment, uint32_t writer, const struct lane_id *id, struct segment_items *items,
                                     struct lane_view *view)
{
    return execute(segment, writer, id, items, view, false);
}

enum segment_outcome segment_execute_try(struct segment *segment, uint32_t writer, const struct lane_id *id, struct segment_items *items,
                                         struct lane_view *view)
{
    return execute(segment, writer, id, items, view, true);
}

/* ---- prepare ---- */

/* The lines of all items: exclusive where one of them is written. Returns how many locks. */
static uint32_t make_locks(const struct plan *plan, struct layout_lock *locks)
{
    struct range_walk walk = range_walk_begin(plan->sorted, plan->count, LAYOUT_LINE_SHIFT);
    uint64_t first, until;
    uint32_t count = 0;
    bool write;
    while (range_walk_next(&walk, &first, &until, &write)) {
        MC_ASSERT(until - first <= UINT32_MAX);
        struct layout_lock *last = count > 0 ? &locks[count - 1] : NULL;
        if (last && last->exclusive == write && last->first_line + last->lines == first && until - last->first_line <= UINT32_MAX)
            last->lines += (uint32_t)(until - first);
        else
            locks[count++] = (struct layout_lock){first, (uint32_t)(until - first), write};
    }
    return count;
}

/* What a transaction is prepared with, beside its items. */
struct preparation {
    const struct lane_id *id;
    const struct lane_participant *participants;
    const struct layout_lock *locks;
    struct lane_body body;
};

static void prepare_locked(const struct plan *plan, struct preparation *preparation)
{
    struct segment *segment = plan->segment;
    struct lane_body *body = &preparation->body;
    uint64_t number = number_of(segment, preparation->id), sequence = preparation->id->sequence;
    struct layout_lane *lane = lane_at(&segment->sessions, number);
    lane_begin(&segment->sessions, lane, sequence);
    lane_put_body(&segment->sessions, lane, body);
    for (uint32_t i = 0; i < body->participant_count; i++) {
        const struct lane_participant *from = &preparation->participants[i];
        memset(&body->participants[i], 0, sizeof *body->participants);
        body->participants[i].node = from->node;
        body->participants[i].id = from->id;
    }
    if (body->lock_count > 0)
        memcpy(body->locks, preparation->locks, body->lock_count * sizeof *body->locks);
    if (body->redo) {
        memset(body->redo, 0, sizeof *body->redo);
        fill_writes(body->redo, plan);
        fill_adds(body->redo, plan);
    }
    if (body->answer_bytes > 0)
        memcpy(body->answer, plan->items->answer, body->answer_bytes);
    sessions_note_prepared(&segment->sessions, number); /* while inside the gate: who finds that empty finds the number right */
    lane_set(lane, sequence, LANE_PREPARED, LANE_REASON_NONE);
    lines_begin(segment->stripes, body->locks, body->lock_count);
    lines_lock(&segment->lines, body->locks, body->lock_count);
    lines_end(segment->stripes, body->locks, body->lock_count, 1);
}

static enum segment_outcome prepare_inside(const struct plan *plan, struct preparation *preparation, bool try, struct lane_view *view)
{
    struct segment *segment = plan->segment;
    uint32_t lock_count = preparation->body.lock_count, failed = 0;
    if (!lines_take_stripes(segment->stripes, preparation->locks, lock_count, try))
        return SEGMENT_BUSY;
    if (!lines_can_lock(&segment->lines, preparation->locks, lock_count)) {
        record_abort(segment, preparation->id, LANE_BUSY, 0, view);
    } else if (!compare_items(plan, &failed)) {
        record_abort(segment, preparation->id, LANE_COMPARE, failed, view);
    } else {
        read_items(plan);
        prepare_locked(plan, preparation);
        view_done(preparation->id, LANE_PREPARED, view);
    }
    lines_give_stripes(segment->stripes, preparation->locks, lock_count);
    return SEGMENT_DONE;
}

static enum segment_outcome prepare(struct segment *segment, uint32_t writer, struct segment_items *items, struct preparation *preparation,
                                    struct lane_view *view, bool try)
{
    struct plan plan;
    plan_make(&plan, segment, writer, items);
    struct layout_lock *locks = segment->locks + (size_t)writer * LAYOUT_LOCKS_MAX;
    struct lane_body *body = &preparation->body;
    preparation->locks = locks;
    MC_ASSERT(body->participant_count <= GRID_NODES_MAX);
    body->lock_count = make_locks(&plan, locks);
    body->answer_bytes = plan.answer_bytes;
    if (plan.write_ranges > 0)
        body->redo_bytes = (sizeof *body->redo + plan.write_ranges * sizeof body->redo->range[0] + plan.write_bytes + 7) / 8 * 8;
    if (!lane_body_reserve(&segment->sessions, body)) {
        record_abort(segment, preparation->id, LANE_MEMORY, 0, view);
        return SEGMENT_DONE;
    }
    enum segment_outcome outcome = SEGMENT_DONE;
    uint32_t ticket = gate_enter(&segment->gate, writer);
    if (ticket == 0) {
        record_abort(segment, preparation->id, LANE_FROZEN, 0, view);
    } else {
        outcome = prepare_inside(&plan, preparation, try, view);
        gate_leave(&segment->gate, writer, ticket);
    }
    if (outcome != SEGMENT_DONE || view->state != LANE_PREPARED)
        lane_body_free(&segment->sessions, body);
    return outcome;
}

enum segment_outcome segment_prepare(struct segment *segment, uint32_t writer, const struct lane_id *id, struct segment_items *items,
                                     const struct lane_participant *participants, uint32_t participant_count, struct lane_view *view)
{
    struct preparation preparation = {.id = id, .participants = participants, .body.participant_count = participant_count};
    return prepare(segment, writer, items, &preparation, view, false);
}

enum segment_outcome segment_prepare_try(struct segment *segment, uint32_t writer, const struct lane_id *id, struct segment_items *items,
                                         const struct lane_participant *participants, uint32_t participant_count, struct lane_view *view)
{
    struct preparation preparation = {.id = id, .participants = participants, .body.participant_count = participant_count};
    return prepare(segment, writer, items, &preparation, view, true);
}

/* ---- commit and abort ---- */

/* The decision is carried out. The agent of a frozen segment waits until there is none left that is not: it stores `closed` and then loads the number, we
 * change the number and then load `closed`, all of it in one order (seq_cst), so that one of us sees the other. */
static void decided(struct segment *segment, uint64_t number)
{
    if (sessions_note_decided(&segment->sessions, number) == 0 && atomic_load_explicit(&segment->gate.closed, memory_order_seq_cst))
        gate_call(&segment->gate);
}

/* The body of a prepared transaction, whose session is locked. */
static struct layout_lane *prepared_lane(struct segment *segment, const struct lane_id *id, struct lane_body *body)
{
    struct layout_lane *lane = lane_at(&segment->sessions, number_of(segment, id));
    MC_ASSERT(lane_get(lane) == lane_word(id->sequence, LANE_PREPARED, LANE_REASON_NONE));
    lane_body_get(&segment->sessions, lane, body);
    return lane;
}

static enum segment_outcome commit(struct segment *segment, uint32_t writer, const struct lane_id *id, bool try)
{
    struct lane_body body;
    struct layout_lane *lane = prepared_lane(segment, id, &body);
    MC_ASSERT(writer < segment->writers);
    /* Inside the gate for the sake of those who wait until slots of preserved pages are used by nobody any more. */
    uint32_t ticket = gate_enter_decided(&segment->gate, writer);
    if (!lines_take_stripes(segment->stripes, body.locks, body.lock_count, try)) {
        gate_leave(&segment->gate, writer, ticket);
        return SEGMENT_BUSY;
    }
    lane_set(lane, id->sequence, LANE_COMMITTING, LANE_REASON_NONE);
    lines_begin(segment->stripes, body.locks, body.lock_count);
    if (body.redo)
        redo_apply_locked(&segment->preserve, body.redo);
    lane_set(lane, id->sequence, LANE_COMMITTED, LANE_REASON_NONE);
    lines_unlock(&segment->lines, body.locks, body.lock_count);
    lines_end(segment->stripes, body.locks, body.lock_count, -1);
    lines_give_stripes(segment->stripes, body.locks, body.lock_count);
    gate_leave(&segment->gate, writer, ticket);
    decided(segment, number_of(segment, id));
    return SEGMENT_DONE;
}

enum segment_outcome segment_commit(struct segment *segment, uint32_t writer, const struct lane_id *id)
{
    return commit(segment, writer, id, false);
}

enum segment_outcome segment_commit_try(struct segment *segment, uint32_t writer, const struct lane_id *id)
{
    return commit(segment, writer, id, true);
}

static enum segment_outcome abort_it(struct segment *segment, const struct lane_id *id, enum lane_reason reason, bool try)
{
    uint64_t number = number_of(segment, id);
    if (lane_sequence(lane_get(lane_at(&segment->sessions, number))) != id->sequence) {
        struct lane_view view;
        record_abort(segment, id, reason, 0, &view);
        return SEGMENT_DONE;
    }
    struct lane_body body;
    struct layout_lane *lane = prepared_lane(segment, id, &body);
    if (!lines_take_stripes(segment->stripes, body.locks, body.lock_count, try))
        return SEGMENT_BUSY;
    lane_set(lane, id->sequence, LANE_ABORTED, reason);
    lines_begin(segment->stripes, body.locks, body.lock_count);
    lines_unlock(&segment->lines, body.locks, body.lock_count);
    lines_end(segment->stripes, body.locks, body.lock_count, -1);
    lines_give_stripes(segment->stripes, body.locks, body.lock_count);
    lane_body_free(&segment->sessions, &body);
    decided(segment, number);
    return SEGMENT_DONE;
}

enum segment_outcome segment_abort(struct segment *segment, const struct lane_id *id, enum lane_reason reason)
{
    return abort_it(segment, id, reason, false);
}

enum segment_outcome segment_abort_try(struct segment *segment, const struct lane_id *id, enum lane_reason reason)
{
    return abort_it(segment, id, reason, true);
}
