/* SPDX-License-Identifier: Apache-2.0 */
/** The command line by tables: one table of options and one of operands per command drive the parsing and the help text. */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/** How the text becomes a value; the type of the target stands behind. */
enum arg_kind {
    ARG_FLAG,     /* bool; an option without a value */
    ARG_TEXT,     /* const char *, borrowed from argv */
    ARG_BYTES,    /* uint64_t; units_parse_bytes() */
    ARG_LENGTH,   /* uint64_t; the same, or "all" = ARG_ALL */
    ARG_INTEGER,  /* uint64_t; units_parse_integer(), negative ones in two's complement */
    ARG_COUNT,    /* uint64_t; a number in min … max */
    ARG_DURATION, /* uint64_t nanoseconds; units_parse_duration() */
    ARG_SECONDS,  /* uint64_t nanoseconds; a number of seconds without a unit, 3 or 0.5 */
    ARG_CHOICE    /* unsigned: which of the words of `value`, which are separated by '|' */
};

#define ARG_ALL UINT64_MAX

struct arg_spec {
    const char *name; /* option: without dashes; operand: as help shows it */
    char letter;      /* short option, or 0 */
    bool optional;    /* operand that may be left out; stands last */
    enum arg_kind kind;
    const char *value; /* what help shows for the value; NULL for ARG_FLAG and operands */
    size_t offset;     /* of the target in the set's struct */
    uint64_t min, max; /* ARG_COUNT */
    const char *help;  /* one line or several */
};

/** A table and where its values go. */
struct arg_set {
    const struct arg_spec *specs; /* borrowed; at most ARG_OPTIONS_MAX */
    size_t count;
    void *target;
    uint32_t seen; /* bit i: option i was given; kept from parse to parse, so that a repetition is found */
};

#define ARG_OPTIONS_MAX 32u
#define ARG_SETS_MAX 3u
#define ARG_OPERANDS_MAX 8u

/** What is left after the options. */
struct arg_rest {
    char *operands[ARG_OPERANDS_MAX]; /* borrowed from argv */
    size_t count;
    int next; /* index in argv of the first operand, argc if there is none; of use with ARGS_STOP */
};

enum args_mode {
    ARGS_ALL, /* options and operands in any order; "--" ends the options; "-5" and "-0x1" are operands */
    ARGS_STOP /* stop at the first operand */
};

/** Parse argv[1 …] by the sets (at most ARG_SETS_MAX). Not thread-safe (getopt).
 *  Errors: INVALID_ARGUMENT: unknown option (with the nearest known one), a missing or superfluous or wrong value, a repeated option, too
 *          many operands. The text says what would be right. */
MUST_CHECK enum mcomp_status args_options(int argc, char **argv, enum args_mode mode, struct arg_set *sets, size_t set_count, struct arg_rest *rest,
                                          struct err *err);

/** Put the operands into their targets. Errors: INVALID_ARGUMENT: one is missing, wrong or too many. */
MUST_CHECK enum mcomp_status args_operands(const struct arg_spec *specs, size_t count, void *target, const struct arg_rest *rest, struct err *err);

/** Read one value by its spec. Errors: INVALID_ARGUMENT. */
MUST_CHECK enum mcomp_status args_value(const struct arg_spec *spec, const char *text, void *target, struct err *err);

#endif
