/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/args.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "base/units.h"
#include "cli/suggest.h"

#define LONG_BASE 1000 /* above every letter: val of long option i of set s is LONG_BASE + s·ARG_OPTIONS_MAX + i */

static enum mcomp_status parse_choice(const char *words, const char *text, unsigned *index, struct err *err)
{
    size_t length = strlen(text);
    unsigned n = 0;
    for (const char *word = words;; n++) {
        size_t word_length = strcspn(word, "|");
        if (word_length == length && memcmp(word, text, length) == 0) {
            *index = n;
            return MCOMP_OK;
        }
        if (word[word_length] == 0)
            break;
        word += word_length + 1;
    }
    char quoted[TEXT_QUOTE_BYTES];
    return err_set(err, MCOMP_INVALID_ARGUMENT, "%s is not one of %s", text_quote(text, quoted), words);
}

static enum mcomp_status parse_count(const struct arg_spec *spec, const char *text, uint64_t *count, struct err *err)
{
    uint64_t value = 0;
    char quoted[TEXT_QUOTE_BYTES];
    struct err ignored;
    if (text[0] == '-' || text[0] == '+' || units_parse_integer(text, &value, &ignored) != MCOMP_OK || value < spec->min || value > spec->max)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "%s is not a number from %llu to %llu", text_quote(text, quoted), (unsigned long long)spec->min,
                       (unsigned long long)spec->max);
    *count = value;
    return MCOMP_OK;
}

static enum mcomp_status parse_seconds(const char *text, uint64_t *nanoseconds, struct err *err)
{
    char with_unit[64], quoted[TEXT_QUOTE_BYTES];
    struct err ignored;
    int n = snprintf(with_unit, sizeof with_unit, "%ss", text);
    if (n < (int)sizeof with_unit && strspn(text, "0123456789.") == strlen(text) &&
        units_parse_duration(with_unit, nanoseconds, &ignored) == MCOMP_OK)
        return MCOMP_OK;
    return err_set(err, MCOMP_INVALID_ARGUMENT, "%s is not a number of seconds: write 3 or 0.5", text_quote(text, quoted));
}

/** The number that stands for 'all' must not be asked for by its digits. */
static enum mcomp_status parse_length(const char *text, uint64_t *bytes, struct err *err)
{
    enum mcomp_status status = units_parse_bytes(text, bytes, err);
    if (status == MCOMP_OK && *bytes == ARG_ALL)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "no grid is that long: 'all' means up to the end of the grid");
    return status;
}

enum mcomp_status args_value(const struct arg_spec *spec, const char *text, void *target, struct err *err)
{
    void *to = (char *)target + spec->offset;
    switch (spec->kind) {
    case ARG_FLAG:
        *(bool *)to = true;
        return MCOMP_OK;
    case ARG_TEXT:
        *(const char **)to = text;
        return MCOMP_OK;
    case ARG_LENGTH:
        if (strcmp(text, "all") == 0) {
            *(uint64_t *)to = ARG_ALL;
            return MCOMP_OK;
        }
        return parse_length(text, to, err);
    case ARG_BYTES:
        return units_parse_bytes(text, to, err);
    case ARG_INTEGER:
        return units_parse_integer(text, to, err);
    case ARG_COUNT:
        return parse_count(spec, text, to, err);
    case ARG_DURATION:
        return units_parse_duration(text, to, err);
    case ARG_SECONDS:
        return parse_seconds(text, to, err);
    case ARG_CHOICE:
        return parse_choice(spec->value, text, to, err);
    }
    return err_set(err, MCOMP_INTERNAL, "option %s has no kind", spec->name);
}

/** The getopt form of the tables. */
struct getopt_tables {
    char letters[2 + 2 * ARG_SETS_MAX * ARG_OPTIONS_MAX + 1];
    struct option longs[ARG_SETS_MAX * ARG_OPTIONS_MAX + 1];
};

static void build_tables(struct getopt_tables *tables, enum args_mode mode, const struct arg_set *sets, size_t set_count)
{
    size_t letter = 0, n = 0;
    tables->letters[letter++] = mode == ARGS_STOP ? '+' : '-';
    tables->letters[letter++] = ':';
    for (size_t s = 0; s < set_count; s++) {
        MC_ASSERT(sets[s].count <= ARG_OPTIONS_MAX);
        for (size_t i = 0; i < sets[s].count; i++) {
            const struct arg_spec *spec = &sets[s].specs[i];
            bool has_value = spec->kind != ARG_FLAG;
            tables->longs[n++] = (struct option){spec->name, has_value ? required_argument : no_argument, NULL,
                                                 (int)(LONG_BASE + s * ARG_OPTIONS_MAX + i)};
            if (spec->letter) {
                tables->letters[letter++] = spec->letter;
                if (has_value)
                    tables->letters[letter++] = ':';
            }
        }
    }
    tables->longs[n] = (struct option){0};
    tables->letters[letter] = 0;
}

static bool find_spec(struct arg_set *sets, size_t set_count, int value, struct arg_set **set, size_t *index)
{
    if (value >= LONG_BASE) {
        *set = &sets[(size_t)(value - LONG_BASE) / ARG_OPTIONS_MAX];
        *index = (size_t)(value - LONG_BASE) % ARG_OPTIONS_MAX;
        return true;
    }
    for (size_t s = 0; s < set_count; s++) {
        for (size_t i = 0; i < sets[s].count; i++) {
            if (sets[s].specs[i].letter && sets[s].specs[i].letter == (char)value) {
                *set = &sets[s];
                *index = i;
                return true;
            }
        }
    }
    return false;
}

static enum mcomp_status unknown_option(const struct arg_set *sets, size_t set_count, const char *word, char letter, struct err *err)
{
    char quoted[TEXT_QUOTE_BYTES];
    if (letter)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "unknown option -%c: --help lists the options", letter);
    char name[SUGGEST_WORD_MAX];
    size_t length = strcspn(word, "=");
    struct suggestion best = {0};
    if (length > 2 && length - 2 < sizeof name) {
        memcpy(name, word + 2, length - 2);
        name[length - 2] = 0;
        for (size_t s = 0; s < set_count; s++) {
            for (size_t i = 0; i < sets[s].count; i++)
                suggest_consider(&best, name, sets[s].specs[i].name);
        }
    }
    if (best.word)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "unknown option %s: did you mean --%s?", text_quote(word, quoted), best.word);
    return err_set(err, MCOMP_INVALID_ARGUMENT, "unknown option %s: --help lists the options", text_quote(word, quoted));
}

/** True when the word is the option's whole name: beginnings are refused, so that an option added later cannot change what a script means. */
static bool is_whole_name(const char *word, const char *name)
{
    size_t length = strcspn(word, "=");
    return length >= 2 && strlen(name) == length - 2 && memcmp(word + 2, name, length - 2) == 0;
}

static enum mcomp_status take_option(struct arg_set *set, size_t index, const char *text, struct err *err)
{
    const struct arg_spec *spec = &set->specs[index];
    if (set->seen & (UINT32_C(1) << index))
        return err_set(err, MCOMP_INVALID_ARGUMENT, "--%s is given twice: give it once", spec->name);
    set->seen |= UINT32_C(1) << index;
    enum mcomp_status status = args_value(spec, text, set->target, err);
    return status == MCOMP_OK ? MCOMP_OK : err_wrap(err, status, "--%s", spec->name);
}

static enum mcomp_status bad_option(struct arg_set *sets, size_t set_count, int result, const char *word, struct err *err)
{
    struct arg_set *set;
    size_t index;
    if (optopt != 0 && find_spec(sets, set_count, optopt, &set, &index)) {
        const struct arg_spec *spec = &set->specs[index];
        if (result == ':')
            return err_set(err, MCOMP_INVALID_ARGUMENT, "--%s lacks its value: --%s %s", spec->name, spec->name, spec->value);
        if (is_whole_name(word, spec->name))
            return err_set(err, MCOMP_INVALID_ARGUMENT, "--%s takes no value: write --%s alone", spec->name, spec->name);
    }
    return unknown_option(sets, set_count, word, word[1] != '-' && optopt < LONG_BASE ? (char)optopt : 0, err);
}

static enum mcomp_status take_operand(struct arg_rest *rest, char *text, struct err *err)
{
    char quoted[TEXT_QUOTE_BYTES];
    if (rest->count == ARG_OPERANDS_MAX)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "too many operands, from %s on: --help shows what belongs here", text_quote(text, quoted));
    rest->operands[rest->count++] = text;
    return MCOMP_OK;
}

static bool is_negative_number(const char *text)
{
    return text[0] == '-' && text[1] >= '0' && text[1] <= '9';
}

enum mcomp_status args_options(int argc, char **argv, enum args_mode mode, struct arg_set *sets, size_t set_count, struct arg_rest *rest,
                               struct err *err)
{
    MC_ASSERT(set_count <= ARG_SETS_MAX);
    struct getopt_tables tables;
    build_tables(&tables, mode, sets, set_count);
    *rest = (struct arg_rest){0};
    opterr = 0;
    optind = 0; /* forget the parse before this one; a call on an empty list sets the new tables */
    (void)getopt_long(1, argv, tables.letters, tables.longs, NULL);
    optind = 1;
    enum mcomp_status status = MCOMP_OK;
    while (status == MCOMP_OK) {
        int at = optind;
        if (mode == ARGS_ALL && at < argc && is_negative_number(argv[at])) {
            status = take_operand(rest, argv[at], err);
            optind++;
            continue;
        }
        int result = getopt_long(argc, argv, tables.letters, tables.longs, NULL);
        struct arg_set *set;
        size_t index;
        if (result == -1)
            break;
        if (result == 1)
            status = take_operand(rest, optarg, err);
        else if (result == '?' || result == ':')
            status = bad_option(sets, set_count, result, argv[at], err);
        else if (!find_spec(sets, set_count, result, &set, &index))
            status = err_set(err, MCOMP_INTERNAL, "option %d is in no table", result);
        else if (result >= LONG_BASE && !is_whole_name(argv[at], set->specs[index].name))
            status = unknown_option(sets, set_count, argv[at], 0, err);
        else
            status = take_option(set, index, optarg, err);
    }
    rest->next = optind;
    for (int i = optind; mode == ARGS_ALL && status == MCOMP_OK && i < argc; i++)
        status = take_operand(rest, argv[i], err);
    return status;
}

enum mcomp_status args_operands(const struct arg_spec *specs, size_t count, void *target, const struct arg_rest *rest, struct err *err)
{
    char quoted[TEXT_QUOTE_BYTES];
    for (size_t i = 0; i < count; i++) {
        if (i >= rest->count) {
            if (specs[i].optional)
                return MCOMP_OK;
            return err_set(err, MCOMP_INVALID_ARGUMENT, "%s is missing: %s", specs[i].name, specs[i].help);
        }
        enum mcomp_status status = args_value(&specs[i], rest->operands[i], target, err);
        if (status != MCOMP_OK)
            return err_wrap(err, status, "%s", specs[i].name);
    }
    if (rest->count > count)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "%s is one operand too many: --help shows what belongs here",
                       text_quote(rest->operands[count], quoted));
    return MCOMP_OK;
}
