/* SPDX-License-Identifier: Apache-2.0 */
/** mcomp save: a range of the grid into a file. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/local_file.h"
#include "cli/out.h"
#include "cli/output.h"
#include "cli/transfer.h"

struct save_settings {
    uint64_t address, length;
    const char *file;
};

static const struct save_settings defaults = {0};

static const struct arg_spec operands[] = {
    {.name = "ADDR", .kind = ARG_BYTES, .offset = offsetof(struct save_settings, address), .help = "address of the first byte"},
    {.name = "LEN", .kind = ARG_LENGTH, .offset = offsetof(struct save_settings, length),
     .help = "number of bytes, or 'all': to the end of the grid"},
    {.name = "FILE", .kind = ARG_TEXT, .offset = offsetof(struct save_settings, file), .help = "where to put them; - is standard output"},
};

struct saver {
    struct output_file file;
    char name[TEXT_QUOTE_BYTES]; /* for messages */
};

static enum mcomp_status take_bytes(void *self, uint8_t *bytes, size_t *length, struct err *err)
{
    struct saver *saver = self;
    int reason = out_write_all(saver->file.fd, bytes, *length);
    return reason == 0 ? MCOMP_OK : err_sys(err, reason, "cannot write %s", saver->name);
}

static enum cli_exit tell_done(const struct cli *cli, const struct saver *saver, const struct transfer_plan *plan, const struct transfer_result *result)
{
    char size[UNITS_TEXT_BYTES], time[UNITS_TEXT_BYTES], rate[UNITS_TEXT_BYTES];
    double seconds = (double)result->elapsed_ns / 1e9;
    double per_second = seconds > 0 ? (double)result->done / seconds : 0;
    if (cli->json)
        return cli_json_done(cli, output_json(json_pack("{s:o, s:o, s:f, s:o}", "address", output_json_number(plan->address), "length",
                                                        output_json_number(result->done), "seconds", seconds,
                                                        "bytes_per_second", output_json_number((uint64_t)per_second))));
    if (cli->out_terminal)
        printf("%s from 0x%" PRIx64 " saved to %s in %s, %s/s\n", units_format_bytes(result->done, size), plan->address, saver->name,
               units_format_duration(result->elapsed_ns, time), units_format_bytes((uint64_t)per_second, rate));
    return CLI_DONE;
}

/** The file is open: fill it and put it in place. */
static enum cli_exit fill_file(const struct cli *cli, struct mcomp *grid, const struct transfer_plan *plan, struct saver *saver)
{
    struct transfer_result result;
    struct err err;
    bool to_stdout = saver->file.fd == STDOUT_FILENO;
    enum mcomp_status status = transfer_run(cli, grid, plan, &result);
    if (status == MCOMP_OK && result.end == TRANSFER_DONE) {
        status = output_file_sync(&saver->file, &err);
        if (status != MCOMP_OK) {
            (void)cli_fail_err(cli, &err);
        } else if (interrupt_take(plan->interrupt)) { /* syncing may take long */
            result.end = TRANSFER_INTERRUPTED;
            result.error = (struct mcomp_error){.status = MCOMP_CANCELLED, .node = MCOMP_NO_NODE, .text = "interrupted"};
        }
    }
    if (status != MCOMP_OK || result.end != TRANSFER_DONE)
        output_file_discard(&saver->file);
    if (status != MCOMP_OK)
        return CLI_FAILED;
    if (result.end != TRANSFER_DONE)
        return transfer_fail(cli, plan, &result);
    if (output_file_commit(&saver->file, &err) != MCOMP_OK)
        return cli_fail_err(cli, &err);
    return to_stdout ? CLI_DONE : tell_done(cli, saver, plan, &result);
}

static enum cli_exit save_grid(const struct cli *cli, struct mcomp *grid, const struct save_settings *settings, struct saver *saver)
{
    struct interrupt interrupt;
    struct transfer_plan plan = {
        .direction = TRANSFER_FROM_GRID,
        .address = settings->address,
        .length = settings->length,
        .piece = transfer_piece_bulk(grid),
        .title = "save",
        .interrupt = &interrupt,
        .move = take_bytes,
        .self = saver,
    };
    struct err err;
    if (!cli_fit_range(cli, grid, settings->address, &plan.length))
        return CLI_FAILED;
    if (interrupt_open(&interrupt, &err) != MCOMP_OK)
        return cli_fail_err(cli, &err);
    enum mcomp_status status = output_file_open(&saver->file, settings->file, plan.length, &err);
    enum cli_exit code = status == MCOMP_OK ? fill_file(cli, grid, &plan, saver) : cli_fail_err(cli, &err);
    interrupt_close(&interrupt);
    return code;
}

static enum cli_exit run(const struct cli *cli, const void *opaque)
{
    const struct save_settings *settings = opaque;
    struct saver saver;
    struct mcomp *grid;
    bool to_stdout = strcmp(settings->file, "-") == 0;
    if (to_stdout && cli->json) {
        cli_message(cli, "FILE - and --json both want standard output: give one");
        return CLI_USAGE;
    }
    if (to_stdout)
        snprintf(saver.name, sizeof saver.name, "standard output");
    else
        (void)text_quote(settings->file, saver.name);
    if (cli_open(cli, 0, &grid) != MCOMP_OK)
        return CLI_FAILED;
    enum cli_exit code = save_grid(cli, grid, settings, &saver);
    mcomp_close(grid);
    return code;
}

const struct command command_save = {
    .name = "save",
    .summary = "copy a range of the grid into a file",
    .description = "Copy LEN bytes from address ADDR on into FILE, many pieces under way at once.\n"
                   "Each piece is read at one instant, the whole is not. FILE appears, or is\n"
                   "replaced, when all of it is on disk, and not before.\n"
                   "Ctrl-C ends it and leaves no file behind. --timeout is for each piece.",
    .examples = "  mcomp save 0 64MiB node-0.bin\n"
                "  mcomp save 0 all grid.bin\n"
                "  mcomp save 0 all - | zstd > grid.zst",
    .operands = operands,
    .operand_count = sizeof operands / sizeof *operands,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .run = run,
};
