/* SPDX-License-Identifier: Apache-2.0 */
/** mcomp txn: one minitransaction. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/source.h"
#include "cli/transfer.h"
#include "mcomp_txn.h"

#define TEXT_BYTES_MAX (UINT64_C(64) << 20)
#define TEXT_BYTES_FIRST 65536u
#define BLANKS " \t\r"

struct txn_settings {
    const char *items; /* NULL: standard input */
    uint64_t attempts;
};

enum verb { VERB_COMPARE, VERB_READ, VERB_WRITE, VERB_ADD };
static const char *const verbs[] = {"compare", "read", "write", "add"};
#define VERBS (sizeof verbs / sizeof *verbs)

/** One item of the text. */
struct item {
    enum verb verb;
    uint64_t address, length; /* bytes */
    uint8_t *bytes;           /* owned; COMPARE, WRITE: given; READ: room */
    uint64_t delta, before;   /* ADD */
};

struct script {
    struct item *items; /* owned */
    size_t count, capacity;
};

static void script_free(struct script *script)
{
    for (size_t i = 0; i < script->count; i++)
        free(script->items[i].bytes);
    free(script->items);
}

/* ---- from text to items ---- */

/** Cut the first word off *text; NULL: there is none. */
static char *next_word(char **text)
{
    char *word = *text + strspn(*text, BLANKS);
    size_t length = strcspn(word, BLANKS);
    if (length == 0)
        return NULL;
    *text = word + length + (word[length] != 0);
    word[length] = 0;
    return word;
}

static enum mcomp_status parse_hex(struct item *item, const char *digits, struct err *err)
{
    struct source source;
    if (source_check_hex(digits, err) != MCOMP_OK || source_open_hex(&source, digits, err) != MCOMP_OK)
        return err->code;
    item->length = source.length;
    item->bytes = source.memory;
    source.memory = NULL;
    source_close(&source);
    if (item->length == 0)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "%s needs bytes: pairs of hexadecimal digits", verbs[item->verb]);
    return MCOMP_OK;
}

/** What stands behind the address. */
static enum mcomp_status parse_rest(struct item *item, char *rest, struct err *err)
{
    if (item->verb == VERB_COMPARE || item->verb == VERB_WRITE)
        return parse_hex(item, rest, err);
    char *word = next_word(&rest);
    char *more = word ? next_word(&rest) : NULL;
    if (!word || more)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "%s takes an address and %s", verbs[item->verb], item->verb == VERB_READ ? "a length" : "a number");
    if (item->verb == VERB_ADD) {
        item->length = 8;
        return units_parse_integer(word, &item->delta, err);
    }
    enum mcomp_status status = units_parse_bytes(word, &item->length, err);
    if (status == MCOMP_OK && (item->length == 0 || item->length > TEXT_BYTES_MAX))
        return err_set(err, MCOMP_INVALID_ARGUMENT, "read of %" PRIu64 " bytes: from 1 to %" PRIu64, item->length, TEXT_BYTES_MAX);
    item->bytes = status == MCOMP_OK ? calloc(1, item->length) : NULL;
    if (status == MCOMP_OK && !item->bytes)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "out of memory");
    return status;
}

static enum mcomp_status parse_item(struct item *item, char *text, struct err *err)
{
    char quoted[TEXT_QUOTE_BYTES];
    char *verb = next_word(&text);
    unsigned found = 0;
    while (found < VERBS && strcmp(verb, verbs[found]) != 0)
        found++;
    if (found == VERBS)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "unknown item %s: compare ADDR HEX, read ADDR LEN, write ADDR HEX, or add ADDR N",
                       text_quote(verb, quoted));
    *item = (struct item){.verb = (enum verb)found};
    char *address = next_word(&text);
    if (!address)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "%s needs an address", verbs[found]);
    enum mcomp_status status = units_parse_bytes(address, &item->address, err);
    return status == MCOMP_OK ? parse_rest(item, text, err) : status;
}

static enum mcomp_status parse(struct script *script, char *text, struct err *err)
{
    size_t number = 0;
    for (char *at = text, *next; at; at = next) {
        next = strpbrk(at, ",;\n");
        if (next)
            *next++ = 0;
        number++;
        if (at[strspn(at, BLANKS)] == 0)
            continue;
        if (script->count == script->capacity) {
            size_t capacity = script->capacity ? script->capacity * 2 : 16;
            struct item *grown = reallocarray(script->items, capacity, sizeof *grown);
            if (!grown)
                return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "out of memory");
            script->items = grown;
            script->capacity = capacity;
        }
        struct item *item = &script->items[script->count];
        *item = (struct item){0};
        script->count++;
        if (parse_item(item, at, err) != MCOMP_OK)
            return err_wrap(err, err->code, "item %zu", number);
    }
    if (script->count > 0)
        return MCOMP_OK;
    return err_set(err, MCOMP_INVALID_ARGUMENT, "there are no items: compare ADDR HEX, read ADDR LEN, write ADDR HEX, add ADDR N");
}

/** All of standard input, ended by 0. NULL: it is told why. */
static char *read_input(struct err *err)
{
    size_t room = TEXT_BYTES_FIRST, length = 0;
    char *text = malloc(room + 1);
    while (text) {
        size_t got = room - length;
        int reason = transfer_read_all(STDIN_FILENO, (uint8_t *)text + length, &got);
        if (reason != 0) {
            (void)err_sys(err, reason, "standard input");
            free(text);
            return NULL;
        }
        length += got;
        if (length < room) {
            text[length] = 0;
            return text;
        }
        char *grown = room < TEXT_BYTES_MAX ? realloc(text, 2 * room + 1) : NULL;
        if (!grown)
            free(text);
        room *= 2;
        text = grown;
    }
    (void)err_set(err, MCOMP_RESOURCE_EXHAUSTED, "out of memory, or more than %" PRIu64 " bytes of items", TEXT_BYTES_MAX);
    return NULL;
}

/* ---- from items to the grid ---- */

static enum mcomp_status add_items(struct mcomp_txn *txn, struct script *script, struct mcomp_error *error)
{
    enum mcomp_status status = MCOMP_OK;
    for (size_t i = 0; i < script->count && status == MCOMP_OK; i++) {
        struct item *item = &script->items[i];
        switch (item->verb) {
        case VERB_COMPARE:
            status = mcomp_txn_compare(txn, item->address, item->bytes, item->length, error);
            break;
        case VERB_READ:
            status = mcomp_txn_read(txn, item->address, item->bytes, item->length, error);
            break;
        case VERB_WRITE:
            status = mcomp_txn_write(txn, item->address, item->bytes, item->length, error);
            break;
        case VERB_ADD:
            status = mcomp_txn_add(txn, item->address, item->delta, &item->before, error);
            break;
        }
    }
    return status;
}

/** Hexadecimal digits, pairs apart. The caller frees; NULL: no memory. */
static char *hex_of(const uint8_t *bytes, uint64_t length, const char *between)
{
    size_t gap = strlen(between);
    char *text = malloc(length * (2 + gap) + 1);
    size_t at = 0;
    for (uint64_t i = 0; text && i < length; i++) {
        snprintf(text + at, 3, "%02x", bytes[i]);
        at += 2;
        if (i + 1 < length) {
            memcpy(text + at, between, gap);
            at += gap;
        }
    }
    if (text)
        text[at] = 0;
    return text;
}

static void print_results(const struct script *script)
{
    for (size_t i = 0; i < script->count; i++) {
        const struct item *item = &script->items[i];
        if (item->verb == VERB_READ) {
            char *hex = hex_of(item->bytes, item->length, " ");
            printf("read 0x%" PRIx64 " %s\n", item->address, hex ? hex : "?");
            free(hex);
        } else if (item->verb == VERB_ADD) {
            printf("add 0x%" PRIx64 " %" PRIu64 "\n", item->address, item->before);
        }
    }
}

/** Name each compare that is known to have failed, on standard error. */
static void tell_compares(const struct cli *cli, const struct script *script, const struct mcomp_txn *txn)
{
    size_t number = 0;
    for (size_t i = 0; i < script->count; i++) {
        const struct item *item = &script->items[i];
        const void *found;
        if (item->verb != VERB_COMPARE || mcomp_txn_compare_found(txn, number++, &found) != MCOMP_TXN_DIFFERED)
            continue;
        char *hex = found ? hex_of(found, item->length, " ") : NULL;
        cli_message(cli, "compare 0x%" PRIx64 " (item %zu) found %s; nothing was changed", item->address, i + 1, hex ? hex : "other bytes");
        free(hex);
    }
}

/* ---- JSON ---- */

static json_t *item_json(const struct item *item)
{
    return json_pack("{s:s, s:o, s:o}", "item", verbs[item->verb], "address", output_json_number(item->address), "length",
                     output_json_number(item->length));
}

static void add_hex(json_t *object, const char *key, const uint8_t *bytes, uint64_t length)
{
    char *hex = hex_of(bytes, length, "");
    json_object_set_new(object, key, hex ? json_string(hex) : json_null());
    free(hex);
}

static const char *outcome_name(enum mcomp_txn_outcome outcome)
{
    switch (outcome) {
    case MCOMP_TXN_COMMITTED:
        return "committed";
    case MCOMP_TXN_COMPARE_FAILED:
        return "compare failed";
    case MCOMP_TXN_CONFLICT:
        return "conflict";
    case MCOMP_TXN_UNKNOWN:
        return "unknown";
    case MCOMP_TXN_NOT_DONE:
        break;
    }
    return "not done";
}

static json_t *results_json(const struct script *script, const struct mcomp_txn *txn, const struct mcomp_txn_result *result,
                            const struct mcomp_error *error)
{
    static const char *const verdicts[] = {"not known", "held", "differed"};
    bool committed = result->outcome == MCOMP_TXN_COMMITTED;
    json_t *array = json_array();
    size_t number = 0;
    for (size_t i = 0; i < script->count; i++) {
        const struct item *item = &script->items[i];
        json_t *object = item_json(item);
        if (item->verb == VERB_COMPARE) {
            const void *found;
            enum mcomp_txn_compare_result verdict = mcomp_txn_compare_found(txn, number++, &found);
            json_object_set_new(object, "result", json_string(verdicts[verdict]));
            if (found)
                add_hex(object, "found", found, item->length);
        } else if (committed && item->verb == VERB_READ) {
            add_hex(object, "data", item->bytes, item->length);
        } else if (committed && item->verb == VERB_ADD) {
            json_object_set_new(object, "before", output_json_value(item->before));
        }
        json_array_append_new(array, object);
    }
    json_t *document = json_pack("{s:s, s:i, s:o}", "outcome", outcome_name(result->outcome), "attempts", (int)result->attempts, "items", array);
    if (result->outcome != MCOMP_TXN_COMMITTED)
        json_object_set_new(document, "error", cli_error_json(error));
    return document;
}

/* ---- the command ---- */

static enum cli_exit tell(const struct cli *cli, const struct script *script, const struct mcomp_txn *txn, const struct mcomp_txn_result *result,
                          const struct mcomp_error *error)
{
    enum cli_exit code = CLI_DONE;
    if (result->outcome == MCOMP_TXN_COMPARE_FAILED) {
        tell_compares(cli, script, txn);
        code = CLI_COMPARE_FAILED;
    } else if (result->outcome != MCOMP_TXN_COMMITTED) {
        struct cli quiet = *cli;
        quiet.json = false; /* the document below has the error, too */
        code = cli_fail(&quiet, error, true);
    }
    if (cli->json) {
        enum cli_exit printed = cli_json_done(cli, output_json(results_json(script, txn, result, error)));
        return code == CLI_DONE ? printed : code;
    }
    if (code == CLI_DONE)
        print_results(script);
    return code;
}

static enum cli_exit perform(const struct cli *cli, struct mcomp *grid, struct script *script, uint32_t attempts)
{
    struct mcomp_error error = {0};
    struct mcomp_txn *txn;
    struct mcomp_txn_result result;
    if (mcomp_txn_begin(grid, &txn, &error) != MCOMP_OK)
        return cli_fail(cli, &error, true);
    enum cli_exit code;
    if (add_items(txn, script, &error) != MCOMP_OK) {
        code = cli_fail(cli, &error, true);
    } else {
        mcomp_txn_attempts(txn, attempts);
        (void)!mcomp_txn_commit(txn, cli_timeout_ms(cli, CLI_TIMEOUT_DEFAULT_MS), &result, &error); /* result has it */
        code = tell(cli, script, txn, &result, &error);
    }
    mcomp_txn_end(txn);
    return code;
}

static enum cli_exit run(const struct cli *cli, const void *opaque)
{
    const struct txn_settings *settings = opaque;
    struct script script = {0};
    struct mcomp *grid;
    struct err err;
    char *text = settings->items ? strdup(settings->items) : read_input(&err);
    if (!text)
        return settings->items ? (cli_message(cli, "out of memory"), CLI_FAILED) : cli_fail_err(cli, &err);
    enum cli_exit code = CLI_FAILED;
    if (parse(&script, text, &err) != MCOMP_OK) {
        cli_message(cli, "%s", err.text);
        code = err.code == MCOMP_INVALID_ARGUMENT ? CLI_USAGE : CLI_FAILED;
    } else if (cli_open(cli, 1, &grid) == MCOMP_OK) {
        code = perform(cli, grid, &script, (uint32_t)settings->attempts);
        mcomp_close(grid);
    }
    script_free(&script);
    free(text);
    return code;
}

static const struct txn_settings defaults = {0};

static const struct arg_spec options[] = {
    {.name = "attempts", .kind = ARG_COUNT, .value = "N", .offset = offsetof(struct txn_settings, attempts), .min = 1, .max = 1000000,
     .help = "at most so many where others are in the way; default\nas many as the time-out allows"},
};

static const struct arg_spec operands[] = {
    {.name = "ITEMS", .optional = true, .kind = ARG_TEXT, .offset = offsetof(struct txn_settings, items),
     .help = "items in one argument, with commas between; default:\nfrom standard input, one a line"},
};

const struct command command_txn = {
    .name = "txn",
    .summary = "compare, read and write on any nodes, all or nothing",
    .description = "Carry out one transaction: if all compares find the bytes they expect, all reads\n"
                   "are taken and all writes and adds are made, at one instant, on however many\n"
                   "nodes; else nothing is. Items are\n"
                   "  compare ADDR HEX   the bytes at ADDR must be these\n"
                   "  read ADDR LEN      printed as hexadecimal digits\n"
                   "  write ADDR HEX     bytes as pairs of hexadecimal digits\n"
                   "  add ADDR N         to the 64-bit number at ADDR; prints the value before\n"
                   "Exits 3 when a compare found other bytes, and names it.",
    .examples = "  mcomp txn 'add 0x1000 -5, add 64MiB 5'\n"
                "  mcomp txn 'compare 0x1000 0500000000000000, write 64MiB 68656c6c6f'\n"
                "  printf 'read 0 8\\nread 64MiB 8\\n' | mcomp txn",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .operands = operands,
    .operand_count = sizeof operands / sizeof *operands,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .run = run,
};
