/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/suggest.h"

#include <string.h>

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Damerau and Levenshtein, restricted: no letter takes part in two edits. */
unsigned suggest_distance(const char *a, const char *b)
{
    size_t a_length = strlen(a), b_length = strlen(b);
    if (a_length >= SUGGEST_WORD_MAX || b_length >= SUGGEST_WORD_MAX)
        return SUGGEST_WORD_MAX;
    unsigned rows[SUGGEST_WORD_MAX][SUGGEST_WORD_MAX];
    for (size_t i = 0; i <= a_length; i++)
        rows[i][0] = (unsigned)i;
    for (size_t j = 0; j <= b_length; j++)
        rows[0][j] = (unsigned)j;
    for (size_t i = 1; i <= a_length; i++) {
        for (size_t j = 1; j <= b_length; j++) {
            unsigned replace = rows[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            unsigned best = least(replace, least(rows[i - 1][j], rows[i][j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = least(best, rows[i - 2][j - 2] + 1);
            rows[i][j] = best;
        }
    }
    return rows[a_length][b_length];
}

void suggest_consider(struct suggestion *best, const char *typed, const char *known)
{
    size_t letters = strlen(typed);
    unsigned distance = suggest_distance(typed, known);
    unsigned allowed = letters < 3 ? 1 : (unsigned)(letters + 2) / 3;
    if (distance <= allowed && (!best->word || distance < best->distance)) {
        best->word = known;
        best->distance = distance;
    }
}
