/* SPDX-License-Identifier: Apache-2.0 */
/** mcomp cas: compare-and-swap. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/commands.h"
#include "cli/output.h"

struct cas_settings {
    uint64_t address, expected, desired;
};

static const struct cas_settings defaults = {0};

static const struct arg_spec operands[] = {
    {.name = "ADDR", .kind = ARG_BYTES, .offset = offsetof(struct cas_settings, address), .help = "address of the value's first byte"},
    {.name = "OLD", .kind = ARG_INTEGER, .offset = offsetof(struct cas_settings, expected), .help = "the value that must be there: 42, -1, 0x2a"},
    {.name = "NEW", .kind = ARG_INTEGER, .offset = offsetof(struct cas_settings, desired), .help = "the value to store then"},
};

static enum cli_exit run(const struct cli *cli, const void *opaque)
{
    const struct cas_settings *settings = opaque;
    struct mcomp_error error = {0};
    struct mcomp *grid;
    uint64_t found = 0;
    if (cli_open(cli, 1, &grid) != MCOMP_OK)
        return CLI_FAILED;
    uint32_t timeout_ms = cli_timeout_ms(cli, CLI_TIMEOUT_DEFAULT_MS);
    enum cli_exit code = CLI_DONE;
    enum mcomp_status status =
        mcomp_compare_and_swap(grid, settings->address, settings->expected, settings->desired, &found, timeout_ms, &error);
    bool swapped = found == settings->expected;
    if (status != MCOMP_OK)
        code = cli_fail(cli, &error, true);
    else if (cli->json)
        code = cli_json_done(cli, output_json(json_pack("{s:o, s:b, s:o}", "address", output_json_number(settings->address), "swapped", swapped,
                                                        "found", output_json_value(found))));
    else
        printf("%" PRIu64 "\n", found);
    mcomp_close(grid);
    return code == CLI_DONE && !swapped ? CLI_COMPARE_FAILED : code;
}

const struct command command_cas = {
    .name = "cas",
    .summary = "compare and swap a 64-bit number",
    .description = "If the 64-bit little-endian number in the 8 bytes at ADDR equals OLD, store\n"
                   "NEW, atomically. Prints the value found; exits 3 when that was not OLD. All 8\n"
                   "bytes lie on one node; they need not be aligned.",
    .examples = "  mcomp cas 4096 0 1 && echo 'the lock is mine'\n"
                "  mcomp cas 4096 0xff -1",
    .operands = operands,
    .operand_count = sizeof operands / sizeof *operands,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .run = run,
};
