/* SPDX-License-Identifier: Apache-2.0 */
/** Locks of prepared transactions on lines of 64 bytes.
 *
 *  A byte for each line, in memory of the process that a segment without transactions never touches. A line is changed only by who holds the write permits of
 *  its stripe and has made its sequence odd; so who holds a permit, or finds the sequence even and the same before and after, has seen the locks as they
 *  were at one instant. A stripe counts the locks that lie in it, and a bit of its sequence says whether there are any: who meets none pays nothing for it.
 *  Locks are tried, and nobody waits for one in here. After the death of the process they are made anew from the records of prepared transactions. */
#ifndef SEGMENT_LINES_H
#define SEGMENT_LINES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "segment/layout.h"

#define LINE_FREE 0u
#define LINE_READERS_MAX 254u /* 1 … 254: that many transactions read it */
#define LINE_EXCLUSIVE 255u

struct lines {
    _Atomic uint8_t *of;  /* owned */
    uint64_t count;
};

/** For a segment of `size` bytes. Errors: RESOURCE_EXHAUSTED. */
MUST_CHECK enum mcomp_status lines_init(struct lines *lines, uint64_t size, struct err *err);
void lines_free(struct lines *lines);
/** All lines are free. No operation runs. stripes: of the segment. */
void lines_clear(struct lines *lines, struct stripe *stripes);

/** Does a read, or a write, of a range meet a lock? Only lines of stripes that have locks are looked at. length > 0. */
bool lines_meet(const struct lines *lines, const struct stripe *stripes, uint64_t offset, uint64_t length, bool write);

/** Could these be locked as well, beside those that are? The write permits of their stripes are held, or nobody else has the segment. */
bool lines_can_lock(const struct lines *lines, const struct layout_lock *locks, uint32_t count);
/** Lock them; they can be. */
void lines_lock(struct lines *lines, const struct layout_lock *locks, uint32_t count);
void lines_unlock(struct lines *lines, const struct layout_lock *locks, uint32_t count);

/* ---- the stripes of a list of locks: ascending, each once ---- */

/** Take the write permits of all; false (try only): one is taken, and nothing was. */
bool lines_take_stripes(struct stripe *stripes, const struct layout_lock *locks, uint32_t count, bool try);
void lines_give_stripes(struct stripe *stripes, const struct layout_lock *locks, uint32_t count);
/** Make the sequences odd, with the fence after it; count `change` more locks in each stripe that a lock lies in, and make the sequences even. */
void lines_begin(struct stripe *stripes, const struct layout_lock *locks, uint32_t count);
void lines_end(struct stripe *stripes, const struct layout_lock *locks, uint32_t count, int change);

#endif
