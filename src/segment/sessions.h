/* SPDX-License-Identifier: Apache-2.0 */
/** What a process keeps of the segment's sessions beside the table in shared memory: locks, who has which session, which lanes are prepared, and which
 *  units hold records. All of it is made anew from the table when a segment is attached. */
#ifndef SEGMENT_SESSIONS_H
#define SEGMENT_SESSIONS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "segment/layout.h"

struct session {
    pthread_mutex_t lock; /* guards the session's part of the table in shared memory, too; before sessions.lock */
    uint64_t generation;  /* as in the table. Read with either lock, changed with both */
    uint8_t client[16];   /* as in the table; guarded by sessions.lock */
};

struct sessions {
    struct layout_session *table; /* in the mapping */
    uint8_t *units;               /* in the mapping */
    uint32_t count;               /* of sessions */
    uint32_t unit_count;
    struct session *session;      /* owned */
    uint64_t *prepared_ns;        /* owned; of each lane; guarded by its session's lock */
    _Atomic uint64_t *is_prepared; /* owned; a bit for each lane that is PREPARED or COMMITTING */
    _Alignas(64) _Atomic uint32_t prepared; /* how many bits are set, and not yet carried out */
    _Alignas(64) pthread_mutex_t lock; /* guards next, open and what says so above. Under a session's lock, or else sessions are only tried */
    uint32_t next; /* where to look for a free session first */
    uint32_t open;
    pthread_mutex_t unit_lock;    /* guards the rest; last of all */
    uint64_t *unit_used;          /* owned; a bit for each unit */
    uint32_t unit_next;           /* where to look for free ones first */
    uint32_t units_used;
};

/** Of a section of transactions with so many bytes. table and units are set by sessions_place. Errors: RESOURCE_EXHAUSTED. */
MUST_CHECK enum mcomp_status sessions_init(struct sessions *sessions, uint64_t section_bytes, struct err *err);
/** Where the section is mapped. */
void sessions_place(struct sessions *sessions, uint8_t *section, uint64_t section_bytes);
/** Also of one that is all zero. */
void sessions_free(struct sessions *sessions);

/** Nobody has a session, in shared memory either; no operation runs. May be interrupted by a crash, and is repeated then. */
void sessions_clear(struct sessions *sessions);

/** Note that a lane is prepared since now, or that its decision was carried out. The session's lock is held. Returns how many are left. */
void sessions_note_prepared(struct sessions *sessions, uint64_t lane);
uint32_t sessions_note_decided(struct sessions *sessions, uint64_t lane);

/* ---- records ---- */

static inline uint64_t lane_word(uint64_t sequence, enum lane_state state, enum lane_reason reason)
{
    return sequence << 8 | (uint64_t)reason << 4 | (uint64_t)state;
}
static inline uint64_t lane_sequence(uint64_t word)
{
    return word >> 8;
}
static inline uint32_t lane_state(uint64_t word)
{
    return word & 15u;
}
static inline uint32_t lane_reason(uint64_t word)
{
    return word >> 4 & 15u;
}
/** Does a record with this word have a body? */
static inline bool lane_has_body(uint64_t word)
{
    return lane_state(word) >= LANE_PREPARED && lane_state(word) <= LANE_COMMITTED;
}

/** By number: session * LANES + lane. */
static inline struct layout_lane *lane_at(const struct sessions *sessions, uint64_t lane)
{
    return &sessions->table[lane / LANES].lane[lane % LANES];
}

/** Sizes of a body, and its parts. */
struct lane_body {
    uint32_t participant_count;
    uint32_t lock_count;
    uint64_t redo_bytes; /* a multiple of 8; 0: no writes */
    uint64_t answer_bytes;
    uint32_t first_unit; /* or LAYOUT_INLINE */
    struct lane_participant *participants;
    struct layout_lock *locks;
    struct redo_record *redo; /* NULL: no writes */
    uint8_t *answer;
};

/** Bytes of a body whose counts and sizes are set. They are sane: no overflow. */
uint64_t lane_body_bytes(const struct lane_body *body);
/** Find room for a body of the given sizes: sets first_unit. False: there is none. */
bool lane_body_reserve(struct sessions *sessions, struct lane_body *body);
/** Give the room back. */
void lane_body_free(struct sessions *sessions, const struct lane_body *body);
/** Mark the room of a body that a record says it has. False: it is not inside the units, or is another's. */
bool lane_body_claim(struct sessions *sessions, const struct lane_body *body);
/** Sizes and parts of the body of a record that has one. */
void lane_body_get(const struct sessions *sessions, struct layout_lane *lane, struct lane_body *body);

/** Begin the record of a new transaction: aborted, without reason, should the process end now. What the former one had is free. The session is locked. */
void lane_begin(struct sessions *sessions, struct layout_lane *lane, uint64_t sequence);
/** After lane_begin: give it a body with reserved room, and set the body's parts, to be filled. */
void lane_put_body(const struct sessions *sessions, struct layout_lane *lane, struct lane_body *body);
/** Change its word, after all that was stored. */
static inline void lane_set(struct layout_lane *lane, uint64_t sequence, enum lane_state state, enum lane_reason reason)
{
    atomic_store_explicit(&lane->word, lane_word(sequence, state, reason), memory_order_release);
}
static inline uint64_t lane_get(const struct layout_lane *lane)
{
    return atomic_load_explicit(&lane->word, memory_order_acquire);
}

#endif
