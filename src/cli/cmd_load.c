/* SPDX-License-Identifier: Apache-2.0 */
/** mcomp load: a file into the grid. */
#include "cli/commands.h"
#include "cli/source.h"

struct load_settings {
    const char *file;
    uint64_t address;
};

static const struct load_settings defaults = {0};

static const struct arg_spec operands[] = {
    {.name = "FILE", .kind = ARG_TEXT, .offset = offsetof(struct load_settings, file), .help = "what to load; - is standard input"},
    {.name = "ADDR", .kind = ARG_BYTES, .offset = offsetof(struct load_settings, address), .help = "address of the first byte"},
};

static enum cli_exit run(const struct cli *cli, const void *opaque)
{
    const struct load_settings *settings = opaque;
    struct source source;
    struct err err;
    struct mcomp *grid;
    if (source_open_file(&source, settings->file, &err) != MCOMP_OK)
        return cli_fail_err(cli, &err);
    enum cli_exit code = CLI_FAILED;
    if (cli_open(cli, 0, &grid) == MCOMP_OK) {
        code = source_to_grid(cli, grid, &source, settings->address, transfer_piece_bulk(grid), "load");
        mcomp_close(grid);
    }
    source_close(&source);
    return code;
}

const struct command command_load = {
    .name = "load",
    .summary = "copy a file into the grid",
    .description = "Copy FILE into the grid, from address ADDR on, many pieces under way at once.\n"
                   "Each piece is atomic on its node, the whole is not. A file that does not fit\n"
                   "is refused before a byte is written.\n"
                   "Ctrl-C ends it and says what was written. --timeout is for each piece.",
    .examples = "  mcomp load data.bin 0\n"
                "  zstd -dc data.zst | mcomp load - 64MiB",
    .operands = operands,
    .operand_count = sizeof operands / sizeof *operands,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .run = run,
};
