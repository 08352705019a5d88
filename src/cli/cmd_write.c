/* SPDX-License-Identifier: Apache-2.0 */
/** mcomp write: bytes from standard input, a file or the command line into the grid. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/local_file.h"
#include "cli/output.h"
#include "cli/source.h"
#include "cli/transfer.h"

struct write_settings {
    uint64_t address;
    const char *text, *hex, *file;
};

static const struct write_settings defaults = {0};

static const struct arg_spec options[] = {
    {.name = "text", .kind = ARG_TEXT, .value = "STRING", .offset = offsetof(struct write_settings, text), .help = "write this text, without a newline"},
    {.name = "hex", .kind = ARG_TEXT, .value = "DIGITS", .offset = offsetof(struct write_settings, hex),
     .help = "write these bytes: pairs of hexadecimal digits, blanks\nbetween pairs allowed"},
    {.name = "file", .kind = ARG_TEXT, .value = "FILE", .offset = offsetof(struct write_settings, file), .help = "write what is in FILE"},
};

static const struct arg_spec operands[] = {
    {.name = "ADDR", .kind = ARG_BYTES, .offset = offsetof(struct write_settings, address), .help = "address of the first byte"},
};

static enum cli_exit run(const struct cli *cli, const void *opaque)
{
    const struct write_settings *settings = opaque;
    struct source source;
    struct err err;
    struct mcomp *grid;
    if (!!settings->text + !!settings->hex + !!settings->file > 1) {
        cli_message(cli, "--text, --hex and --file exclude each other: give one, or none to write standard input");
        return CLI_USAGE;
    }
    if (settings->hex && source_check_hex(settings->hex, &err) != MCOMP_OK) {
        cli_message(cli, "--hex: %s", err.text);
        return CLI_USAGE;
    }
    enum mcomp_status status = settings->text  ? source_open_memory(&source, settings->text, strlen(settings->text), &err)
                               : settings->hex ? source_open_hex(&source, settings->hex, &err)
                                               : source_open_file(&source, settings->file ? settings->file : "-", &err);
    if (status != MCOMP_OK)
        return cli_fail_err(cli, &err);
    enum cli_exit code = CLI_FAILED;
    if (cli_open(cli, 0, &grid) == MCOMP_OK) {
        code = source_to_grid(cli, grid, &source, settings->address, transfer_piece_atomic(grid), NULL);
        mcomp_close(grid);
    }
    source_close(&source);
    return code;
}

const struct command command_write = {
    .name = "write",
    .summary = "store bytes in the grid",
    .description = "Store bytes from address ADDR on: those of standard input, unless --text,\n"
                   "--hex or --file gives them.\n"
                   "At most max_message bytes for one node are stored at one instant; more are\n"
                   "stored in pieces, as they come in.",
    .examples = "  printf hello | mcomp write 67108862\n"
                "  mcomp write 0x1000 --text 'good morning'\n"
                "  mcomp write 0 --hex 'de ad be ef'\n"
                "  mcomp write 64MiB --file table.bin",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .operands = operands,
    .operand_count = sizeof operands / sizeof *operands,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .run = run,
};
