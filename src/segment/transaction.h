/* SPDX-License-Identifier: Apache-2.0 */
/** Minitransactions on a segment: what one node does for them. (Aguilera et al., Sinfonia, SOSP 2007; lane.h has the words.)
 *
 *  A client opens a session, which has LANES lanes; each lane does one transaction after the other, with growing sequence numbers, and its record in the
 *  segment says for ever what became of the last one. The record outlives the server, and changes in one instant with the bytes that it tells of.
 *  A transaction on this node alone is executed. One on several nodes is prepared on each: its compares hold, its reads are done, and its lines of 64 bytes
 *  are locked until it is committed or aborted. What meets its locked lines meanwhile is refused (SEGMENT_LOCKED; another prepare: LANE_BUSY).
 *
 *  Which message leads to which of these is not decided here. Whoever acts on a lane holds the lock of its session, looks at the lane, acts, and unlocks.
 *  Order of locks: a session's lock, then what is locked inside of one call. A thread has the lock of one session at a time.
 *  All offsets and lengths are in bytes of this segment, and inside it; that and what else is said of arguments is asserted, callers have checked it. */
#ifndef SEGMENT_TRANSACTION_H
#define SEGMENT_TRANSACTION_H

#include "segment/lane.h"
#include "segment/segment.h"

/* ---- items ---- */

struct segment_compare {
    uint64_t offset;
    uint64_t length;
    const void *expected; /* borrowed */
    void *found;          /* borrowed; gets `length` bytes when they differ from expected; NULL: nobody wants to know */
    bool failed;          /* out, if all compares were made, or one of them failed */
};

/** The little-endian 64-bit word at offset grows by delta, modulo 2^64. */
struct segment_delta {
    uint64_t offset;
    uint64_t delta;
};

/** What a transaction does here, as one atomic step: only if all compares find what they expect, the reads, then the writes and the adds. Compares, reads, and
 *  what adds found show the state before it. Of all kinds together at most MULTI_RANGES_MAX; writes and adds overlap nothing of each other, and have at most
 *  redo_bytes together; ranges without bytes do nothing. All is borrowed until the call returns. */
struct segment_items {
    struct segment_compare *compares;
    size_t compare_count;
    const struct segment_range *reads;
    size_t read_count;
    const struct segment_write_range *writes;
    size_t write_count;
    const struct segment_delta *adds;
    size_t add_count;
    uint8_t *answer; /* gets segment_answer_bytes(): bytes of the reads, in order, then the words that the adds found. Written if there is an answer at all,
                        and perhaps if not; NULL where it has no bytes */
};
uint64_t segment_answer_bytes(const struct segment_items *items);

/* ---- sessions ---- */

#define SEGMENT_CLIENT_BYTES 16u

/** Sessions that there can be; their numbers are below it. */
uint32_t segment_session_limit(const struct segment *segment);

/** The session of a client (16 bytes that it chose at random): the one that it has, or else a new one. Any thread; does not wait for anything but memory.
 *  Outlives the server. Errors: RESOURCE_EXHAUSTED, there are as many as can be. */
MUST_CHECK enum mcomp_status segment_session_open(struct segment *segment, const uint8_t client[SEGMENT_CLIENT_BYTES], uint32_t *session,
                                                  uint64_t *generation, struct err *err);

/** Lock a session (session < segment_session_limit()). May sleep for as long as another thread acts on it. */
void segment_session_lock(struct segment *segment, uint32_t session);
/** False when another thread has it. Never waits. */
MUST_CHECK bool segment_session_lock_try(struct segment *segment, uint32_t session);
void segment_session_unlock(struct segment *segment, uint32_t session);

/* From here to the next heading the caller has the session's lock. */

/** End a session: its generation is nobody's any more, what its lanes remember is forgotten. None of them is prepared (asserted). Nothing happens when nobody
 *  has the session. */
void segment_session_close(struct segment *segment, uint32_t session);

/** The client of a session; false when it is nobody's. */
bool segment_session_client(const struct segment *segment, uint32_t session, uint8_t client[SEGMENT_CLIENT_BYTES]);

/** What a lane's record says (lane < LANES). After the death of a server its successor finds what the record said at that instant, but never COMMITTING:
 *  that it has carried out. A transaction that the dead server was in without having answered is ABORTED, with LANE_REASON_NONE, or recorded as a whole. */
void segment_lane_view(const struct segment *segment, uint32_t session, uint32_t lane, struct lane_view *view);

/** What the transaction in a PREPARED or COMMITTED lane answered (see segment_items). Borrowed until the session is unlocked. */
const uint8_t *segment_lane_answer(const struct segment *segment, uint32_t session, uint32_t lane, uint64_t *bytes);
/** Participants of the transaction in a PREPARED or COMMITTED lane; none if it was executed. Borrowed until the session is unlocked. */
const struct lane_participant *segment_lane_participants(const struct segment *segment, uint32_t session, uint32_t lane, uint32_t *count);
/** When a PREPARED lane was prepared, or found so by segment_open; monotonic nanoseconds. */
uint64_t segment_lane_prepared_ns(const struct segment *segment, uint32_t session, uint32_t lane);

/* Each of these takes effect at one instant, against all other operations and against a crash: bytes and record together. `writer` as in segment.h. Where an id
 * is given it is of a session that is somebody's, with its generation, and its sequence is higher than the lane's, or that of the PREPARED lane for
 * commit and abort (asserted). Those with _try never wait: BUSY, when a semaphore is taken, with nothing done and nothing recorded. */

/** Execute a transaction. DONE: *view is what is recorded: COMMITTED, or ABORTED for LANE_COMPARE or LANE_MEMORY (no room for its answer). One that writes
 *  nothing is done without a record, as if id were NULL, when there is no room for one: done again, it does no harm. FROZEN, LOCKED: nothing was done and
 *  nothing is recorded. id NULL: nothing is ever recorded, no lock is needed, and of *view state, reason and failed_compare are set. Never FROZEN when
 *  nothing is written. */
MUST_CHECK enum segment_outcome segment_execute(struct segment *segment, uint32_t writer, const struct lane_id *id, struct segment_items *items,
                                                struct lane_view *view);
MUST_CHECK enum segment_outcome segment_execute_try(struct segment *segment, uint32_t writer, const struct lane_id *id, struct segment_items *items,
                                                    struct lane_view *view);

/** Prepare a transaction: DONE, and *view is what is recorded: PREPARED, or ABORTED for LANE_BUSY, LANE_COMPARE, LANE_FROZEN or LANE_MEMORY (no room for its
 *  record; then nothing is locked). At most GRID_NODES_MAX participants; they are only kept. */
MUST_CHECK enum segment_outcome segment_prepare(struct segment *segment, uint32_t writer, const struct lane_id *id, struct segment_items *items,
                                                const struct lane_participant *participants, uint32_t participant_count, struct lane_view *view);
MUST_CHECK enum segment_outcome segment_prepare_try(struct segment *segment, uint32_t writer, const struct lane_id *id, struct segment_items *items,
                                                    const struct lane_participant *participants, uint32_t participant_count, struct lane_view *view);

/** Store the writes of a PREPARED transaction, release its locks; the lane is COMMITTED. Also in a frozen segment: who froze it waits for this. */
MUST_CHECK enum segment_outcome segment_commit(struct segment *segment, uint32_t writer, const struct lane_id *id);
MUST_CHECK enum segment_outcome segment_commit_try(struct segment *segment, uint32_t writer, const struct lane_id *id);

/** Record that a transaction is aborted: a PREPARED one, whose locks are released, or one that was not seen here before and never will be prepared. */
MUST_CHECK enum segment_outcome segment_abort(struct segment *segment, const struct lane_id *id, enum lane_reason reason);
MUST_CHECK enum segment_outcome segment_abort_try(struct segment *segment, const struct lane_id *id, enum lane_reason reason);

/* ---- all of them; any thread, no lock ---- */

/** Find the next PREPARED lane from *session, *lane on, that one included. False: there is none. Whether it still is one, only a view under the session's lock
 *  says. */
bool segment_next_prepared(const struct segment *segment, uint32_t *session, uint32_t *lane);

struct segment_transaction_counts {
    uint32_t sessions;       /* that clients have */
    uint32_t prepared;       /* transactions that are prepared, or being committed */
    uint64_t record_bytes;   /* room for records that do not fit into their lane, */
    uint64_t record_bytes_used;
};
void segment_count_transactions(struct segment *segment, struct segment_transaction_counts *counts);

#endif
