/* SPDX-License-Identifier: Apache-2.0 */
/** Redo records, and with them every store into the segment's bytes: nothing outside redo.h and redo.c changes one.
 *
 *  A write puts its new bytes in its record, marks the record valid, stores the bytes in the segment and unmarks it. Killed before the
 *  mark it has changed nothing; killed after it, segment_open stores the bytes again, all of them, and so finishes it. */
#ifndef SEGMENT_REDO_H
#define SEGMENT_REDO_H

#include <string.h>

#include "segment/copy.h"
#include "segment/layout.h"
#include "segment/preserve.h"

/** Where the bytes of a filled record's ranges stand. */
static inline uint8_t *redo_data(struct redo_record *redo)
{
    return (uint8_t *)&redo->range[redo->range_count];
}

/** Fill the record for one range. It must not be valid; needs no permits. */
static inline void redo_fill(struct redo_record *redo, uint64_t offset, uint64_t length, const void *data)
{
    copy_compiler_barrier(); /* the last write's end (valid = 0) comes first */
    redo->range_count = 1;
    redo->data_bytes = length;
    redo->range[0].offset = offset;
    redo->range[0].length = length;
    memcpy(redo_data(redo), data, length);
}

/** Store the bytes of a filled record into the segment's bytes at `bytes`. */
void redo_apply_ranges(struct redo_record *redo, uint8_t *bytes);

/** Would applying a record of record_bytes stay inside the record and the segment? */
bool redo_is_sane(const struct redo_record *redo, uint64_t record_bytes, uint64_t segment_bytes);

/** Preserve what a filled record changes, and store its bytes. The caller is inside the gate, holds the write permits of all stripes of its ranges and
 *  has made their sequences odd; what makes the write happen even if the process is killed now is stored. This and redo_store_word_locked are where pages
 *  are preserved: before the first store. */
static inline void redo_apply_locked(struct preserve *preserve, struct redo_record *redo)
{
    uint8_t *bytes = preserve->bytes;
    /* Fence: the mark, the odd sequences, and that no capture was live or what ended it before the first byte. */
    preserve_before_record(preserve, redo);
    copy_fence_before_stores();
    copy_compiler_barrier();
    if (redo->range_count == 1)
        copy_in(bytes + redo->range[0].offset, redo_data(redo), redo->range[0].length);
    else
        redo_apply_ranges(redo, bytes);
}

/** Carry out the write of a filled record. Same duties of the caller. */
static inline void redo_store_locked(struct preserve *preserve, struct redo_record *redo)
{
    /* Release: the filled record is there before the mark. */
    atomic_store_explicit(&redo->valid, REDO_VALID, memory_order_release);
    redo_apply_locked(preserve, redo);
    /* Release: the last byte before the unmark. The permits are given back after it: a record that is valid covers bytes that nobody else
     * has changed since, so that storing them again never undoes a later write. */
    atomic_store_explicit(&redo->valid, REDO_INVALID, memory_order_release);
}

/** What a writer's record of so many bytes says of a lane. */
static inline struct redo_lane *redo_lane(struct redo_record *redo, uint64_t record_bytes)
{
    return (struct redo_lane *)(void *)((uint8_t *)redo + record_bytes - sizeof(struct redo_lane));
}

/** The same for the write of a transaction: the word of its lane's record becomes `word` if and only if the write happens. redo_lane says both. */
static inline void redo_store_lane_locked(struct preserve *preserve, struct redo_record *redo, struct layout_lane *lane, uint64_t word)
{
    atomic_store_explicit(&redo->valid, REDO_VALID_LANE, memory_order_release);
    redo_apply_locked(preserve, redo);
    atomic_store_explicit(&lane->word, word, memory_order_release);
    atomic_store_explicit(&redo->valid, REDO_INVALID, memory_order_release);
}

/** Store 1, 2, 4 or 8 bytes at a multiple of that. Same duties of the caller; no record: one store is there or not. */
static inline void redo_store_word_locked(struct preserve *preserve, uint64_t offset, uint64_t length, const void *data)
{
    preserve_before_word(preserve, offset);
    copy_fence_before_stores();
    copy_compiler_barrier();
    copy_in_one_store(preserve->bytes + offset, data, length);
}

/** Store the bytes of a snapshot in place of whatever is there: data, and zeros behind it. The caller holds the write permits of the stripes. No record: the
 *  segment is marked as one that is being restored, and served to nobody, before and after. No page is preserved: no capture is live. */
static inline void redo_restore_locked(uint8_t *bytes, uint64_t offset, uint64_t length, const void *data, uint64_t zero_bytes)
{
    if (length > 0) /* else data may be NULL */
        copy_in(bytes + offset, data, length);
    copy_zeros(bytes + offset + length, zero_bytes);
}

/** The i-th record of a segment, or NULL when there is none; base: where the segment is mapped. For segment_open. */
struct redo_record *redo_at(const struct layout_header *header, uint8_t *base, uint64_t i);

/** Do all valid records of a segment make sense, but for the lanes that they name? Errors: DATA_LOSS. */
MUST_CHECK enum mcomp_status redo_check_all(const struct layout_header *header, uint8_t *base, struct err *err);

/** Finish the writes of all valid records of a segment that no process uses, after they and the lanes that they name were checked. Preserves pages like any
 *  write. Returns how many there were. sessions: the table of the segment. */
uint64_t redo_finish_all(struct preserve *preserve, uint8_t *base, struct layout_session *sessions);

#endif
