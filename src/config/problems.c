/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "config/internal.h"

void problems_add(struct problems *problems, uint32_t line, const char *format, ...)
{
    if (problems->count >= PROBLEMS_MAX) {
        problems->dropped++;
        return;
    }
    if (problems->count == problems->capacity) {
        size_t capacity = problems->capacity ? problems->capacity * 2 : 4;
        struct problem *item = realloc(problems->item, capacity * sizeof *item);
        if (!item) {
            problems->out_of_memory = true;
            return;
        }
        problems->item = item;
        problems->capacity = capacity;
    }
    /* Kept sorted by line, those of one line in the order in which they were found. */
    size_t at = problems->count++;
    for (; at > 0 && problems->item[at - 1].line > line; at--)
        problems->item[at] = problems->item[at - 1];
    struct problem *problem = &problems->item[at];
    problem->line = line;
    va_list args;
    va_start(args, format);
    vsnprintf(problem->text, sizeof problem->text, format, args);
    va_end(args);
}

enum mcomp_status problems_report(struct problems *problems, const char *file, FILE *out, struct err *err)
{
    if (problems->out_of_memory)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "%s: out of memory", file);
    if (problems->count == 0)
        return MCOMP_OK;
    for (size_t i = 0; out && i < problems->count; i++)
        fprintf(out, "%s:%u: %s\n", file, problems->item[i].line, problems->item[i].text);
    if (out && problems->dropped > 0)
        fprintf(out, "%s: %zu more problems are not shown: correct these first\n", file, problems->dropped);
    const struct problem *first = &problems->item[0];
    size_t others = problems->count - 1 + problems->dropped;
    if (others > 0)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "%s:%u: %s (and %zu more problem%s)", file, first->line, first->text, others,
                       others == 1 ? "" : "s");
    return err_set(err, MCOMP_INVALID_ARGUMENT, "%s:%u: %s", file, first->line, first->text);
}

void problems_free(struct problems *problems)
{
    free(problems->item);
    *problems = (struct problems){0};
}
