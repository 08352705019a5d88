/* SPDX-License-Identifier: Apache-2.0 */
/** mcomp add: fetch-and-add. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/commands.h"
#include "cli/output.h"

struct add_settings {
    uint64_t address, delta;
};

static const struct add_settings defaults = {0};

static const struct arg_spec operands[] = {
    {.name = "ADDR", .kind = ARG_BYTES, .offset = offsetof(struct add_settings, address), .help = "address of the value's first byte"},
    {.name = "DELTA", .kind = ARG_INTEGER, .offset = offsetof(struct add_settings, delta), .help = "what to add: 1, -5, 0x10"},
};

static enum cli_exit run(const struct cli *cli, const void *opaque)
{
    const struct add_settings *settings = opaque;
    struct mcomp_error error = {0};
    struct mcomp *grid;
    uint64_t before = 0;
    if (cli_open(cli, 1, &grid) != MCOMP_OK)
        return CLI_FAILED;
    enum cli_exit code = CLI_DONE;
    uint32_t timeout_ms = cli_timeout_ms(cli, CLI_TIMEOUT_DEFAULT_MS);
    if (mcomp_fetch_add(grid, settings->address, settings->delta, &before, timeout_ms, &error) != MCOMP_OK)
        code = cli_fail(cli, &error, true);
    else if (cli->json)
        code = cli_json_done(cli, output_json(json_pack("{s:o, s:o, s:o}", "address", output_json_number(settings->address), "before",
                                                        output_json_value(before), "after", output_json_value(before + settings->delta))));
    else
        printf("%" PRIu64 "\n", before);
    mcomp_close(grid);
    return code;
}

const struct command command_add = {
    .name = "add",
    .summary = "add to a 64-bit number, atomically",
    .description = "Add DELTA to the 64-bit little-endian number in the 8 bytes at ADDR,\n"
                   "atomically and modulo 2^64, and print the value before. All 8 bytes lie on one\n"
                   "node; they need not be aligned.",
    .examples = "  mcomp add 4096 1                     take a ticket\n"
                "  mcomp add 4096 -5\n"
                "  mcomp add 4096 0                     print the number",
    .operands = operands,
    .operand_count = sizeof operands / sizeof *operands,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .run = run,
};
