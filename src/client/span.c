/* SPDX-License-Identifier: Apache-2.0 */
#include "client/span.h"

#include <stdlib.h>

#define NOTES_FIRST 8u /* most failures concern few parts */

void span_add(struct span_notes *notes, uint64_t at, uint64_t length, enum mcomp_outcome outcome)
{
    if (length == 0 || notes->incomplete)
        return;
    struct span_note *last = notes->count ? &notes->notes[notes->count - 1] : NULL;
    if (last && last->outcome == outcome && last->at + last->length == at) {
        last->length += length;
        return;
    }
    if (notes->count == notes->capacity) {
        size_t capacity = notes->capacity ? notes->capacity * 2 : NOTES_FIRST;
        struct span_note *grown = reallocarray(notes->notes, capacity, sizeof *grown);
        if (!grown) {
            notes->incomplete = true;
            return;
        }
        notes->notes = grown;
        notes->capacity = capacity;
    }
    notes->notes[notes->count++] = (struct span_note){at, length, outcome};
}

void span_notes_free(struct span_notes *notes)
{
    free(notes->notes);
    *notes = (struct span_notes){0};
}

static int compare(const void *left, const void *right)
{
    const struct span_note *a = left, *b = right;
    return a->at < b->at ? -1 : a->at > b->at;
}

/** Make the span reach over [address, end) too. */
static void widen(struct mcomp_span *span, uint64_t address, uint64_t end)
{
    uint64_t old_end = span->address + span->length;
    span->address = address < span->address ? address : span->address;
    span->length = (end > old_end ? end : old_end) - span->address;
}

/** Append, merging with the last span where it adjoins and has the same outcome. When there is no room the last span comes to stand for all
 *  that follows. */
static void emit(struct mcomp_error *error, uint64_t address, uint64_t length, enum mcomp_outcome outcome)
{
    struct mcomp_span *last = error->span_count ? &error->spans[error->span_count - 1] : NULL;
    if (last && last->outcome == outcome && last->address + last->length == address) {
        last->length += length;
    } else if (error->span_count < MCOMP_SPANS_MAX) {
        error->spans[error->span_count++] = (struct mcomp_span){address, length, outcome};
    } else if (last) {
        last->outcome = MCOMP_MAYBE;
        widen(last, address, address + length);
    }
}

void span_build(struct mcomp_error *error, const struct span_range *ranges, size_t count, struct span_notes *notes)
{
    error->span_count = 0;
    if (notes->incomplete) {
        span_build_all(error, ranges, count, MCOMP_MAYBE);
        return;
    }
    if (notes->count)
        qsort(notes->notes, notes->count, sizeof *notes->notes, compare);
    size_t n = 0;
    uint64_t at = 0; /* position of the current range */
    for (size_t i = 0; i < count; i++) {
        uint64_t done = 0; /* bytes of the range that are accounted for */
        while (done < ranges[i].length) {
            while (n < notes->count && notes->notes[n].at + notes->notes[n].length <= at + done)
                n++;
            uint64_t left = ranges[i].length - done, here = left;
            enum mcomp_outcome outcome = MCOMP_DONE;
            if (n < notes->count && notes->notes[n].at <= at + done) {
                outcome = notes->notes[n].outcome;
                here = notes->notes[n].at + notes->notes[n].length - (at + done);
            } else if (n < notes->count) {
                here = notes->notes[n].at - (at + done);
            }
            here = here < left ? here : left;
            emit(error, ranges[i].address + done, here, outcome);
            done += here;
        }
        at += ranges[i].length;
    }
}

void span_build_all(struct mcomp_error *error, const struct span_range *ranges, size_t count, enum mcomp_outcome outcome)
{
    error->span_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (ranges[i].length > 0)
            emit(error, ranges[i].address, ranges[i].length, outcome);
    }
}
