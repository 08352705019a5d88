/* SPDX-License-Identifier: Apache-2.0 */
/** What became of the ranges of a call. Pure but for memory.
 *
 *  A position in a call counts its bytes through all its ranges in order: byte 0 is the first of the first range. While a call runs,
 *  only what did not simply succeed is noted, by position; at the end span_build() makes the list for the caller from it. */
#ifndef CLIENT_SPAN_H
#define CLIENT_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mcomp.h"

struct span_note {
    uint64_t at, length; /* position in the call, bytes */
    enum mcomp_outcome outcome;
};

/** Zero-initialised is empty. One thread. Give back with span_notes_free(). */
struct span_notes {
    struct span_note *notes; /* owned */
    size_t count, capacity;
    bool incomplete; /* memory was short: nothing can be said for sure */
};

/** Note an outcome for [at, at+length). Positions come in any order and never overlap. */
void span_add(struct span_notes *notes, uint64_t at, uint64_t length, enum mcomp_outcome outcome);
void span_notes_free(struct span_notes *notes);

struct span_range {
    uint64_t address, length;
};

/** Fill error->spans: DONE where nothing was noted. Sorts the notes. */
void span_build(struct mcomp_error *error, const struct span_range *ranges, size_t count, struct span_notes *notes);

/** One outcome for everything. */
void span_build_all(struct mcomp_error *error, const struct span_range *ranges, size_t count, enum mcomp_outcome outcome);

#endif
