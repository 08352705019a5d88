/* SPDX-License-Identifier: Apache-2.0 */
/** What the files of this folder share about an open segment. */
#ifndef SEGMENT_INTERNAL_H
#define SEGMENT_INTERNAL_H

#include "segment/gate.h"
#include "segment/layout.h"
#include "segment/lines.h"
#include "segment/object.h"
#include "segment/preserve.h"
#include "segment/ranges.h"
#include "segment/segment.h"
#include "segment/sessions.h"

/** An open segment. All fields but the bytes that they point to are constant after segment_open, except those that say so. Any thread. */
struct segment {
    uint8_t *bytes;         /* the k bytes; in the mapping */
    struct stripe *stripes; /* in the mapping */
    uint64_t size;          /* k */
    uint8_t *redo;          /* record of writer 0; in the mapping */
    uint64_t redo_stride;   /* bytes from one record to the next */
    uint64_t redo_bytes;    /* of data that a record must hold */
    uint32_t writers;
    struct range_item *items; /* owned; MULTI_RANGES_MAX for each writer */
    struct layout_lock *locks; /* owned; LAYOUT_LOCKS_MAX for each writer */
    struct lines lines;       /* owned */
    struct sessions sessions; /* owned */
    struct object object;     /* owned */
    struct layout_header *header; /* in the mapping */
    struct preserve preserve; /* owned */
    struct gate gate;         /* owned */
    bool drained;             /* agent: the closed gate was found drained */
    bool was_live;            /* agent: the capture was live at the last look */
    uint32_t served;          /* agent: sequence of the last command taken from the mailbox */
    _Atomic bool interrupted; /* the agent's wait returns */
    struct segment_info info;
};

/** The record of a writer. */
static inline struct redo_record *redo_of(const struct segment *segment, uint32_t writer)
{
    MC_ASSERT(writer < segment->writers);
    return (struct redo_record *)(void *)(segment->redo + writer * segment->redo_stride);
}

#endif
