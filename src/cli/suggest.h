/* SPDX-License-Identifier: Apache-2.0 */
/** "Did you mean": the known word nearest to a mistyped one. */
#ifndef CLI_SUGGEST_H
#define CLI_SUGGEST_H

#include <stddef.h>

#define SUGGEST_WORD_MAX 32u /* longer words are not compared */

/** Insertions, deletions, replacements and swaps of neighbours that make b out of a; SUGGEST_WORD_MAX if a word is too long. */
unsigned suggest_distance(const char *a, const char *b);

struct suggestion {
    const char *word; /* best so far, NULL at the start */
    unsigned distance;
};

/** Consider one known word for what was typed; keeps the nearest that is near enough: at most a third of the letters differ, or one. */
void suggest_consider(struct suggestion *best, const char *typed, const char *known);

#endif
