/* SPDX-License-Identifier: Apache-2.0 */
/** mcomp snapshot read, diff: the bytes of the array that a snapshot file holds. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/units.h"
#include "cli/byte_output.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "snapshot/file.h"

#define PIECE_BYTES (1u << 20)

/* ---- read ---- */

struct read_settings {
    const char *file;
    uint64_t address, length;
    bool hex, raw;
};

static const struct read_settings read_defaults = {0};

static const struct arg_spec read_options[] = {
    {.name = "hex", .kind = ARG_FLAG, .offset = offsetof(struct read_settings, hex), .help = "hexadecimal and ASCII, even in a pipe"},
    {.name = "raw", .kind = ARG_FLAG, .offset = offsetof(struct read_settings, raw), .help = "the bytes themselves, even on a terminal"},
};

static const struct arg_spec read_operands[] = {
    {.name = "FILE", .kind = ARG_TEXT, .offset = offsetof(struct read_settings, file), .help = "the snapshot file"},
    {.name = "ADDR", .kind = ARG_BYTES, .offset = offsetof(struct read_settings, address), .help = "address of the first byte"},
    {.name = "LEN", .kind = ARG_LENGTH, .offset = offsetof(struct read_settings, length),
     .help = "number of bytes, or 'all': to the end of the array"},
};

/** Output and a piece of the array. */
struct reading {
    struct byte_output output;
    uint8_t piece[PIECE_BYTES];
};

static enum cli_exit copy_range(const struct cli *cli, struct snapshot_reader *reader, uint64_t address, uint64_t length, struct reading *reading)
{
    struct byte_output *output = &reading->output;
    struct err err, write_err;
    while (length > 0) {
        uint64_t n = length < PIECE_BYTES ? length : PIECE_BYTES;
        if (snapshot_reader_read(reader, address, n, reading->piece, &err) != MCOMP_OK) {
            struct mcomp_error error = {.status = err.code, .sys_errno = err.sys_errno, .node = MCOMP_NO_NODE};
            snprintf(error.text, sizeof error.text, "%s", err.text);
            (void)(byte_output_end(output, &error, &write_err) == MCOMP_OK); /* the first failure is the one to tell */
            return byte_output_fail(output, cli, &err);
        }
        if (byte_output_put(output, reading->piece, (size_t)n, &err) != MCOMP_OK)
            return byte_output_fail(output, cli, &err);
        address += n;
        length -= n;
    }
    return byte_output_end(output, NULL, &err) == MCOMP_OK ? CLI_DONE : byte_output_fail(output, cli, &err);
}

static enum cli_exit run_read(const struct cli *cli, const void *opaque)
{
    const struct read_settings *settings = opaque;
    struct snapshot_reader *reader = NULL;
    enum byte_form form;
    struct err err;
    if (!byte_output_choose(cli, settings->hex, settings->raw, &form))
        return CLI_USAGE;
    if (snapshot_reader_open(&reader, settings->file, &err) != MCOMP_OK)
        return cli_fail_err(cli, &err);
    struct reading *reading = malloc(sizeof *reading);
    uint64_t length = settings->length;
    enum cli_exit code = CLI_FAILED;
    if (!reading) {
        cli_message(cli, "out of memory");
    } else if (cli_fit_size(cli, snapshot_reader_grid_bytes(reader), settings->address, &length)) {
        byte_output_begin(&reading->output, cli, form, settings->address, length, snapshot_reader_header(reader)->segment_size);
        code = copy_range(cli, reader, settings->address, length, reading);
    }
    free(reading);
    snapshot_reader_close(reader);
    return code;
}

const struct command command_snapshot_read = {
    .name = "snapshot read",
    .summary = "print bytes of the grid as a snapshot has them",
    .description = "Print LEN bytes from address ADDR on, as they were at the instant of the\n"
                   "snapshot: as a hex dump on a terminal, as they are in a pipe. Each chunk that is\n"
                   "touched is checked; what a damaged one held is not printed. Needs no grid and no\n"
                   "configuration.",
    .examples = "  mcomp snapshot read FILE 0 256\n"
                "  mcomp snapshot read FILE 0 all | sha256sum\n"
                "  mcomp snapshot read FILE 0x1000 4KiB --hex | less",
    .options = read_options,
    .option_count = sizeof read_options / sizeof *read_options,
    .operands = read_operands,
    .operand_count = sizeof read_operands / sizeof *read_operands,
    .defaults = &read_defaults,
    .settings_bytes = sizeof read_defaults,
    .run = run_read,
};

/* ---- diff ---- */

struct diff_settings {
    const char *left, *right;
};

static const struct diff_settings diff_defaults = {0};

static const struct arg_spec diff_operands[] = {
    {.name = "A", .kind = ARG_TEXT, .offset = offsetof(struct diff_settings, left), .help = "a snapshot file"},
    {.name = "B", .kind = ARG_TEXT, .offset = offsetof(struct diff_settings, right), .help = "another; k and N may differ"},
};

struct difference {
    const struct cli *cli;
    uint64_t ranges, bytes;
};

static void take_range(void *arg, uint64_t address, uint64_t length)
{
    struct difference *difference = arg;
    char size[UNITS_TEXT_BYTES];
    if (difference->cli->json) {
        printf("{\"address\":%" PRIu64 ",\"length\":%" PRIu64 "}\n", address, length);
    } else {
        if (difference->ranges == 0)
            printf("%-18s  %-18s  %s\n", "FIRST", "LAST", "LENGTH");
        printf("0x%016" PRIx64 "  0x%016" PRIx64 "  %s\n", address, address + length - 1, units_format_bytes(length, size));
    }
    difference->ranges++;
    difference->bytes += length;
}

static enum cli_exit conclude(const struct difference *difference, uint64_t left, uint64_t right)
{
    const struct cli *cli = difference->cli;
    char bytes[UNITS_TEXT_BYTES], a[UNITS_TEXT_BYTES], b[UNITS_TEXT_BYTES];
    bool same = difference->ranges == 0 && left == right;
    if (cli->json) {
        printf("{\"same\":%s,\"ranges\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"left_bytes\":%" PRIu64 ",\"right_bytes\":%" PRIu64 "}\n",
               same ? "true" : "false", difference->ranges, difference->bytes, left, right);
        return same ? CLI_DONE : CLI_COMPARE_FAILED;
    }
    if (difference->ranges > 0)
        printf("%" PRIu64 " range%s, %s differ\n", difference->ranges, difference->ranges == 1 ? "" : "s", units_format_bytes(difference->bytes, bytes));
    else
        printf("no byte differs\n");
    if (left != right)
        printf("the arrays have %s and %s: only what both have was compared\n", units_format_bytes(left, a), units_format_bytes(right, b));
    return same ? CLI_DONE : CLI_COMPARE_FAILED;
}

static enum cli_exit compare(const struct cli *cli, struct snapshot_reader *left, struct snapshot_reader *right)
{
    struct difference difference = {.cli = cli};
    struct err err;
    if (snapshot_diff(left, right, take_range, &difference, &err) != MCOMP_OK)
        return cli_fail_err(cli, &err);
    return conclude(&difference, snapshot_reader_grid_bytes(left), snapshot_reader_grid_bytes(right));
}

static enum cli_exit run_diff(const struct cli *cli, const void *opaque)
{
    const struct diff_settings *settings = opaque;
    struct snapshot_reader *left = NULL, *right = NULL;
    struct err err;
    if (snapshot_reader_open(&left, settings->left, &err) != MCOMP_OK)
        return cli_fail_err(cli, &err);
    enum cli_exit code;
    if (snapshot_reader_open(&right, settings->right, &err) == MCOMP_OK) {
        code = compare(cli, left, right);
        snapshot_reader_close(right);
    } else {
        code = cli_fail_err(cli, &err);
    }
    snapshot_reader_close(left);
    return code;
}

const struct command command_snapshot_diff = {
    .name = "snapshot diff",
    .summary = "list the addresses at which two snapshots differ",
    .description = "Compare the arrays of two snapshot files byte by byte and print the ranges that\n"
                   "differ, then how much it is. With --json each range is a line of its own, and so\n"
                   "is the sum. Exits 0 when they are equal, 3 when they differ (also in size), 1\n"
                   "when a file cannot be read. Needs no grid and no configuration.",
    .examples = "  mcomp snapshot diff yesterday.mcsnap today.mcsnap\n"
                "  mcomp --json snapshot diff A B | jq -s 'map(.length // 0) | add'",
    .operands = diff_operands,
    .operand_count = sizeof diff_operands / sizeof *diff_operands,
    .defaults = &diff_defaults,
    .settings_bytes = sizeof diff_defaults,
    .run = run_diff,
};
