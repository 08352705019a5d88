/* SPDX-License-Identifier: Apache-2.0 */
/** Short ways to make transactions, for the tests of this folder. Any thread; what must not fail is asserted by MC_ASSERT. */
#ifndef TEST_SEGMENT_TXN_H
#define TEST_SEGMENT_TXN_H

#include <string.h>

#include "fixture.h"
#include "segment/transaction.h"

/** Lane 0 of the session of a client with this number, its next sequence. */
static inline struct lane_id txn_open(struct segment *segment, uint8_t client)
{
    uint8_t name[SEGMENT_CLIENT_BYTES] = {client, 'c'};
    struct lane_id id = {.lane = 0};
    struct lane_view view;
    struct err err;
    MC_ASSERT(segment_session_open(segment, name, &id.session, &id.generation, &err) == MCOMP_OK);
    segment_session_lock(segment, id.session);
    segment_lane_view(segment, id.session, 0, &view);
    segment_session_unlock(segment, id.session);
    id.sequence = view.sequence + 1;
    return id;
}

static inline struct lane_view txn_view(struct segment *segment, const struct lane_id *id)
{
    struct lane_view view;
    segment_session_lock(segment, id->session);
    segment_lane_view(segment, id->session, id->lane, &view);
    segment_session_unlock(segment, id->session);
    return view;
}

/** Two participants: node 0, and this one. */
static inline enum segment_outcome txn_prepare(struct segment *segment, uint32_t writer, const struct lane_id *id, struct segment_items *items,
                                               struct lane_view *view)
{
    const struct lane_participant participants[] = {{.node = 0, .id = {7, 3, 99, id->sequence}}, {.node = 1, .id = *id}};
    segment_session_lock(segment, id->session);
    enum segment_outcome outcome = segment_prepare(segment, writer, id, items, participants, 2, view);
    segment_session_unlock(segment, id->session);
    return outcome;
}

static inline enum segment_outcome txn_execute(struct segment *segment, uint32_t writer, const struct lane_id *id, struct segment_items *items,
                                               struct lane_view *view)
{
    segment_session_lock(segment, id->session);
    enum segment_outcome outcome = segment_execute(segment, writer, id, items, view);
    segment_session_unlock(segment, id->session);
    return outcome;
}

/** Commit or abort. */
static inline void txn_decide(struct segment *segment, uint32_t writer, const struct lane_id *id, bool yes)
{
    segment_session_lock(segment, id->session);
    DONE(yes ? segment_commit(segment, writer, id) : segment_abort(segment, id, LANE_TOLD));
    segment_session_unlock(segment, id->session);
}

/** Prepare a write of one range, and expect this reason (LANE_REASON_NONE: it is prepared). */
static inline void txn_prepare_write(struct segment *segment, const struct lane_id *id, uint64_t offset, uint64_t length, const void *data,
                                     enum lane_reason reason)
{
    struct segment_write_range write = {offset, length, data};
    struct segment_items items = {.writes = &write, .write_count = 1};
    struct lane_view view;
    DONE(txn_prepare(segment, 0, id, &items, &view));
    MC_ASSERT(view.reason == reason && view.state == (reason ? LANE_ABORTED : LANE_PREPARED));
}

/** The same for a read of at most 64 bytes. */
static inline void txn_prepare_read(struct segment *segment, const struct lane_id *id, uint64_t offset, uint64_t length, enum lane_reason reason)
{
    uint8_t buf[64];
    struct segment_range read = {offset, length};
    struct segment_items items = {.reads = &read, .read_count = 1, .answer = buf};
    struct lane_view view;
    DONE(txn_prepare(segment, 0, id, &items, &view));
    MC_ASSERT(view.reason == reason && view.state == (reason ? LANE_ABORTED : LANE_PREPARED));
}

static inline uint32_t txn_prepared(struct segment *segment)
{
    struct segment_transaction_counts counts;
    segment_count_transactions(segment, &counts);
    return counts.prepared;
}

#endif
