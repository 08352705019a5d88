/* SPDX-License-Identifier: Apache-2.0 */
/** mcomp read: bytes of the grid on a terminal, in a pipe, as JSON. */
#include <stdlib.h>

#include "cli/byte_output.h"
#include "cli/commands.h"
#include "cli/transfer.h"

struct read_settings {
    uint64_t address, length;
    bool hex, raw;
};

static const struct read_settings defaults = {0};

static const struct arg_spec options[] = {
    {.name = "hex", .kind = ARG_FLAG, .offset = offsetof(struct read_settings, hex), .help = "hexadecimal and ASCII, even in a pipe"},
    {.name = "raw", .kind = ARG_FLAG, .offset = offsetof(struct read_settings, raw), .help = "the bytes themselves, even on a terminal"},
};

static const struct arg_spec operands[] = {
    {.name = "ADDR", .kind = ARG_BYTES, .offset = offsetof(struct read_settings, address), .help = "address of the first byte"},
    {.name = "LEN", .kind = ARG_LENGTH, .offset = offsetof(struct read_settings, length),
     .help = "number of bytes, or 'all': to the end of the grid"},
};

/** The transfer's. */
static enum mcomp_status take_bytes(void *self, uint8_t *bytes, size_t *length, struct err *err)
{
    return byte_output_put(self, bytes, *length, err);
}

static enum cli_exit read_grid(const struct cli *cli, struct mcomp *grid, const struct read_settings *settings, struct interrupt *interrupt,
                               enum byte_form form, struct byte_output *output)
{
    uint64_t length = settings->length;
    if (!cli_fit_range(cli, grid, settings->address, &length))
        return CLI_FAILED;
    struct transfer_plan plan = {
        .direction = TRANSFER_FROM_GRID,
        .address = settings->address,
        .length = length,
        .piece = transfer_piece_atomic(grid),
        .interrupt = interrupt,
        .move = take_bytes,
        .self = output,
    };
    struct transfer_result result;
    struct err err;
    byte_output_begin(output, cli, form, settings->address, length, mcomp_segment_size(grid));
    if (transfer_run(cli, grid, &plan, &result) != MCOMP_OK)
        return CLI_FAILED;
    enum mcomp_status status = byte_output_end(output, result.end != TRANSFER_DONE ? &result.error : NULL, &err);
    struct cli without_json = *cli; /* the error is in the document already */
    without_json.json = false;
    if (result.end != TRANSFER_DONE)
        return transfer_fail(&without_json, &plan, &result);
    return status == MCOMP_OK ? CLI_DONE : byte_output_fail(output, cli, &err);
}

static enum cli_exit run(const struct cli *cli, const void *opaque)
{
    const struct read_settings *settings = opaque;
    struct mcomp *grid;
    enum byte_form form;
    if (!byte_output_choose(cli, settings->hex, settings->raw, &form))
        return CLI_USAGE;
    struct byte_output *output = calloc(1, sizeof *output);
    if (!output) {
        cli_message(cli, "out of memory");
        return CLI_FAILED;
    }
    enum cli_exit code = CLI_FAILED;
    if (cli_open(cli, 0, &grid) == MCOMP_OK) {
        struct interrupt interrupt;
        struct err err;
        if (interrupt_open(&interrupt, &err) == MCOMP_OK) {
            code = read_grid(cli, grid, settings, &interrupt, form, output);
            interrupt_close(&interrupt);
        } else {
            code = cli_fail_err(cli, &err);
        }
        mcomp_close(grid);
    }
    free(output);
    return code;
}

const struct command command_read = {
    .name = "read",
    .summary = "print bytes of the grid",
    .description = "Print LEN bytes from address ADDR on: as a hex dump on a terminal, as they are\n"
                   "in a pipe.\n"
                   "A range of one node of at most max_message bytes is read at one instant; a\n"
                   "longer one is read in pieces.",
    .examples = "  mcomp read 0 256                        look at the first 256 bytes\n"
                "  mcomp read 64MiB 1KiB | sha256sum       bytes into a pipe\n"
                "  mcomp read 0x1000 all --hex | less      from 0x1000 to the end\n"
                "  mcomp --json read 0 16 | jq -r .data_base64",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .operands = operands,
    .operand_count = sizeof operands / sizeof *operands,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .run = run,
};
