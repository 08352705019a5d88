/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/args.h"

struct settings {
    bool loud;
    const char *file;
    uint64_t size, span, depth, delta, wait_ns, run_ns;
    unsigned op;
};

static const struct arg_spec specs[] = {
    {.name = "loud", .letter = 'l', .kind = ARG_FLAG, .offset = offsetof(struct settings, loud)},
    {.name = "file", .letter = 'f', .kind = ARG_TEXT, .value = "FILE", .offset = offsetof(struct settings, file)},
    {.name = "size", .kind = ARG_BYTES, .value = "BYTES", .offset = offsetof(struct settings, size)},
    {.name = "span", .kind = ARG_LENGTH, .value = "LEN", .offset = offsetof(struct settings, span)},
    {.name = "depth", .kind = ARG_COUNT, .value = "D", .offset = offsetof(struct settings, depth), .min = 1, .max = 10},
    {.name = "delta", .kind = ARG_INTEGER, .value = "N", .offset = offsetof(struct settings, delta)},
    {.name = "wait", .kind = ARG_DURATION, .value = "TIME", .offset = offsetof(struct settings, wait_ns)},
    {.name = "seconds", .kind = ARG_SECONDS, .value = "S", .offset = offsetof(struct settings, run_ns)},
    {.name = "op", .kind = ARG_CHOICE, .value = "read|write|add", .offset = offsetof(struct settings, op)},
};

#define SPECS (sizeof specs / sizeof *specs)
#define ARGV_MAX 32

/** Parse words separated by blanks, behind a program name. */
static enum mcomp_status parse(const char *line, enum args_mode mode, struct settings *settings, struct arg_rest *rest, struct err *err)
{
    static char words[512];
    char *argv[ARGV_MAX + 1];
    int argc = 0;
    snprintf(words, sizeof words, "program %s", line);
    for (char *word = words; *word && argc < ARGV_MAX;) {
        argv[argc++] = word;
        word += strcspn(word, " ");
        if (*word)
            *word++ = 0;
    }
    argv[argc] = NULL;
    struct arg_set set = {specs, SPECS, settings, 0};
    *settings = (struct settings){0};
    return args_options(argc, argv, mode, &set, 1, rest, err);
}

static void assert_refused(const char *line, const char *text)
{
    struct settings settings;
    struct arg_rest rest;
    struct err err;
    assert_int_equal(parse(line, ARGS_ALL, &settings, &rest, &err), MCOMP_INVALID_ARGUMENT);
    assert_string_equal(err.text, text);
}

static void every_kind_reaches_its_target(void **state)
{
    (void)state;
    struct settings settings;
    struct arg_rest rest;
    struct err err;
    assert_int_equal(parse("--loud --file x --size 4KiB --span all --depth 10 --delta -1 --wait 5ms --seconds 0.5 --op add", ARGS_ALL, &settings, &rest,
                           &err),
                     MCOMP_OK);
    assert_true(settings.loud);
    assert_string_equal(settings.file, "x");
    assert_int_equal(settings.size, 4096);
    assert_true(settings.span == ARG_ALL);
    assert_int_equal(settings.depth, 10);
    assert_true(settings.delta == UINT64_MAX);
    assert_int_equal(settings.wait_ns, 5000000);
    assert_int_equal(settings.run_ns, 500000000);
    assert_int_equal(settings.op, 2);
    assert_int_equal(rest.count, 0);
}

static void letters_and_equal_signs_are_understood(void **state)
{
    (void)state;
    struct settings settings;
    struct arg_rest rest;
    struct err err;
    assert_int_equal(parse("-lfname --size=1 a --op=read", ARGS_ALL, &settings, &rest, &err), MCOMP_OK);
    assert_true(settings.loud);
    assert_string_equal(settings.file, "name");
    assert_int_equal(settings.size, 1);
    assert_int_equal(rest.count, 1);
    assert_string_equal(rest.operands[0], "a");
}

/* Goal: a negative number is an operand wherever it stands, and a value where an option wants one; getopt takes it for options. */
static void negative_numbers_are_operands(void **state)
{
    (void)state;
    struct settings settings;
    struct arg_rest rest;
    struct err err;
    assert_int_equal(parse("-5 0 -0x10 --loud -7", ARGS_ALL, &settings, &rest, &err), MCOMP_OK);
    assert_true(settings.loud);
    assert_int_equal(rest.count, 4);
    assert_string_equal(rest.operands[0], "-5");
    assert_string_equal(rest.operands[2], "-0x10");
    assert_string_equal(rest.operands[3], "-7");
    assert_int_equal(parse("--delta -5 1", ARGS_ALL, &settings, &rest, &err), MCOMP_OK);
    assert_true(settings.delta == (uint64_t)-5);
    assert_int_equal(rest.count, 1);
}

static void two_dashes_end_the_options_and_one_is_an_operand(void **state)
{
    (void)state;
    struct settings settings;
    struct arg_rest rest;
    struct err err;
    assert_int_equal(parse("- -- --loud -5", ARGS_ALL, &settings, &rest, &err), MCOMP_OK);
    assert_false(settings.loud);
    assert_int_equal(rest.count, 3);
    assert_string_equal(rest.operands[0], "-");
    assert_string_equal(rest.operands[1], "--loud");
    assert_string_equal(rest.operands[2], "-5");
}

static void stop_mode_stops_at_the_first_operand(void **state)
{
    (void)state;
    struct settings settings;
    struct arg_rest rest;
    struct err err;
    assert_int_equal(parse("--loud command --size 7", ARGS_STOP, &settings, &rest, &err), MCOMP_OK);
    assert_true(settings.loud);
    assert_int_equal(settings.size, 0);
    assert_int_equal(rest.next, 2);
    assert_int_equal(rest.count, 0);
}

static void wrong_options_are_refused_with_a_remedy(void **state)
{
    (void)state;
    assert_refused("--szie 3", "unknown option \"--szie\": did you mean --size?");
    assert_refused("--siz 3", "unknown option \"--siz\": did you mean --size?");
    assert_refused("--nothing-like-it", "unknown option \"--nothing-like-it\": --help lists the options");
    assert_refused("-x", "unknown option -x: --help lists the options");
    assert_refused("-lx", "unknown option -x: --help lists the options");
    assert_refused("--size", "--size lacks its value: --size BYTES");
    assert_refused("--span 18446744073709551615", "--span: no grid is that long: 'all' means up to the end of the grid");
    assert_refused("-f", "--file lacks its value: --file FILE");
    assert_refused("--loud=1", "--loud takes no value: write --loud alone");
    assert_refused("--loud --loud", "--loud is given twice: give it once");
    assert_refused("-l --loud", "--loud is given twice: give it once");
    assert_refused("--depth 0", "--depth: \"0\" is not a number from 1 to 10");
    assert_refused("--depth 11", "--depth: \"11\" is not a number from 1 to 10");
    assert_refused("--depth -1", "--depth: \"-1\" is not a number from 1 to 10");
    assert_refused("--op delete", "--op: \"delete\" is not one of read|write|add");
    assert_refused("--op rea", "--op: \"rea\" is not one of read|write|add");
    assert_refused("--seconds -1", "--seconds: \"-1\" is not a number of seconds: write 3 or 0.5");
    assert_refused("--seconds 1m", "--seconds: \"1m\" is not a number of seconds: write 3 or 0.5");
    assert_refused("1 2 3 4 5 6 7 8 9", "too many operands, from \"9\" on: --help shows what belongs here");
}

/* Goal: sets that are parsed in two steps, as the common options are, know what the first step saw. */
static void repetition_is_found_across_parses(void **state)
{
    (void)state;
    struct settings settings = {0};
    struct arg_set set = {specs, SPECS, &settings, 0};
    struct arg_rest rest;
    struct err err;
    char program[] = "program", loud[] = "--loud";
    char *argv[] = {program, loud, NULL};
    assert_int_equal(args_options(2, argv, ARGS_STOP, &set, 1, &rest, &err), MCOMP_OK);
    assert_int_equal(args_options(2, argv, ARGS_ALL, &set, 1, &rest, &err), MCOMP_INVALID_ARGUMENT);
    assert_string_equal(err.text, "--loud is given twice: give it once");
}

static const struct arg_spec operands[] = {
    {.name = "SIZE", .kind = ARG_BYTES, .offset = offsetof(struct settings, size), .help = "how much"},
    {.name = "FILE", .optional = true, .kind = ARG_TEXT, .offset = offsetof(struct settings, file), .help = "where"},
};

static enum mcomp_status parse_operands(const char *line, struct settings *settings, struct err *err)
{
    struct arg_rest rest;
    if (parse(line, ARGS_ALL, settings, &rest, err) != MCOMP_OK)
        return MCOMP_INTERNAL;
    return args_operands(operands, 2, settings, &rest, err);
}

static void operands_reach_their_targets(void **state)
{
    (void)state;
    struct settings settings;
    struct err err;
    assert_int_equal(parse_operands("0x10 name", &settings, &err), MCOMP_OK);
    assert_int_equal(settings.size, 16);
    assert_string_equal(settings.file, "name");
    assert_int_equal(parse_operands("1", &settings, &err), MCOMP_OK);
    assert_null(settings.file);
    assert_int_equal(parse_operands("", &settings, &err), MCOMP_INVALID_ARGUMENT);
    assert_string_equal(err.text, "SIZE is missing: how much");
    assert_int_equal(parse_operands("1 2 3", &settings, &err), MCOMP_INVALID_ARGUMENT);
    assert_string_equal(err.text, "\"3\" is one operand too many: --help shows what belongs here");
    assert_int_equal(parse_operands("1x", &settings, &err), MCOMP_INVALID_ARGUMENT);
    assert_memory_equal(err.text, "SIZE: \"1x\" is not a size", strlen("SIZE: \"1x\" is not a size"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_reaches_its_target),
        cmocka_unit_test(letters_and_equal_signs_are_understood),
        cmocka_unit_test(negative_numbers_are_operands),
        cmocka_unit_test(two_dashes_end_the_options_and_one_is_an_operand),
        cmocka_unit_test(stop_mode_stops_at_the_first_operand),
        cmocka_unit_test(wrong_options_are_refused_with_a_remedy),
        cmocka_unit_test(repetition_is_found_across_parses),
        cmocka_unit_test(operands_reach_their_targets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
