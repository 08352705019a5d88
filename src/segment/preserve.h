/* SPDX-License-Identifier: Apache-2.0 */
/** Preserved pages: while the capture of a cut is live, a writer copies a page as it was at the cut to a slot before it stores into it for the
 *  first time, unless the snapshot process has captured it.
 *
 *  The slots are the pages of a shared-memory object of their own. The server's agent gets memory for them ahead of use; a writer that is ahead of
 *  the agent gets it for the one page that it needs. When there is none, or the limit is reached, the capture ends: a writer never waits and
 *  never fails. */
#ifndef SEGMENT_PRESERVE_H
#define SEGMENT_PRESERVE_H

#include "segment/gate.h"
#include "segment/layout.h"

enum pool_phase {
    POOL_IN_USE,  /* by a live capture, or by one whose end the agent has not seen yet */
    POOL_LEFT,    /* the capture has ended; writers that are inside the gate since then may still use slots */
    POOL_FREE     /* nobody does */
};

/** What writers need for it. Constant after pool_open, except ready, low_water and what only the agent uses. */
struct preserve {
    struct layout_header *header;  /* borrowed, as are the next four: they lie in the mapped segment */
    _Atomic uint64_t *cap_word;    /* the header's */
    uint8_t *bytes;
    _Atomic uint64_t *slot_of;
    _Atomic uint32_t *page_epoch;
    uint8_t *slots;                /* owned mapping; NULL: no slots */
    uint32_t count;                /* of slots */
    int fd;                        /* owned; -1: none */
    _Atomic uint32_t ready;        /* slots below it have memory; some others may have */
    _Atomic uint32_t low_water;    /* who takes this slot or a later one calls the agent; PRESERVE_NO_CALL: nobody does */
    _Atomic bool out_of_memory;    /* the agent's last try to get more failed */
    uint32_t allocated;            /* agent: slots from here on have no memory, but for those that writers got */
    enum pool_phase phase;         /* agent */
};

#define PRESERVE_NO_CALL UINT32_MAX

/** Preserve the pages of all ranges of a filled record, or end the capture. cap_word: loaded since the gate was entered, and live. */
void preserve_record(struct preserve *preserve, uint64_t cap_word, const struct redo_record *redo);
/** The same for a range of at most a page that does not cross a page's border. */
void preserve_word(struct preserve *preserve, uint64_t cap_word, uint64_t offset);

/** Before the first store of a write. Its permits are held. One load and a branch as long as no capture is live. */
static inline void preserve_before_record(struct preserve *preserve, const struct redo_record *redo)
{
    uint64_t cap_word = atomic_load_explicit(preserve->cap_word, memory_order_acquire);
    if (__builtin_expect(cap_word & 1u, 0))
        preserve_record(preserve, cap_word, redo);
}

static inline void preserve_before_word(struct preserve *preserve, uint64_t offset)
{
    uint64_t cap_word = atomic_load_explicit(preserve->cap_word, memory_order_acquire);
    if (__builtin_expect(cap_word & 1u, 0))
        preserve_word(preserve, cap_word, offset);
}

/** The capture of a round ends, if it is live. Any thread. */
void preserve_end(struct layout_header *header, uint32_t round, enum layout_end why);

/** Cut to a round. No writer is inside the gate. */
void preserve_cut(struct preserve *preserve, uint32_t round);

/* ---- the pool of slots: the thread that opens the segment, then the agent ---- */

#define POOL_AHEAD_SLOTS 8192u /* 32 MiB: what writers may use before the agent gets the processor; also the most that is kept between rounds */
#define POOL_KEPT_PART 8u      /* between rounds this part of all slots is kept, */
#define POOL_KEPT_SLOTS_MIN 256u /* but at least 1 MiB */
#define POOL_STEP_SLOTS 1024u  /* 4 MiB: what it gets at once */

/** Open or make the object with the slots. header and pointers of *preserve are set. fresh: the segment was made anew, so an object of that name
 *  is somebody else's. limit: bytes; 0: no object. A live capture whose slots are not there any more ends.
 *  Errors: those of shm_open(3); FAILED_PRECONDITION: another user owns it. */
MUST_CHECK enum mcomp_status pool_open(struct preserve *preserve, const char *grid, uint32_t node, uint64_t limit, bool fresh, struct err *err);
void pool_close(struct preserve *preserve);

/** Remove the object's name. The lock on the segment is held. */
void pool_remove(const char *grid, uint32_t node);

/** All slots are free again. No capture is live, and no writer is inside the gate. */
void pool_reset(struct preserve *preserve);

/** Writers: get memory for one slot, which the caller will use. False: there is no such slot, or no memory. */
bool pool_get_one(struct preserve *preserve, uint32_t slot);

/** One step towards as much memory as there should be. True: there may be more to do at once. Else *again_ns: when to call again at the latest. */
bool pool_tend(struct preserve *preserve, struct gate *gate, uint64_t *again_ns);

#endif
