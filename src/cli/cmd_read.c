/* SPDX-License-Identifier: Apache-2.0 */
/** mcomp read: bytes of the grid on a terminal, in a pipe, as JSON. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/base64.h"
#include "cli/commands.h"
#include "cli/hexdump.h"
#include "cli/output.h"
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

/** Where the bytes go, on the transfer's thread. */
struct reader {
    struct out out;
    enum { READ_RAW, READ_HEX, READ_JSON } form;
    struct hexdump dump;
    struct base64 base64;
};

static enum mcomp_status take_bytes(void *self, uint8_t *bytes, size_t *length, struct err *err)
{
    struct reader *reader = self;
    switch (reader->form) {
    case READ_RAW:
        out_put(&reader->out, bytes, *length);
        break;
    case READ_HEX:
        hexdump_feed(&reader->dump, bytes, *length);
        break;
    case READ_JSON:
        base64_feed(&reader->base64, &reader->out, bytes, *length);
        break;
    }
    /* What has arrived is shown, however long the rest takes. */
    return out_flush(&reader->out, "standard output", err);
}

static void begin_output(struct reader *reader, const struct cli *cli, const struct mcomp *grid, uint64_t address, uint64_t length)
{
    out_open(&reader->out, STDOUT_FILENO);
    if (reader->form == READ_HEX) {
        hexdump_open(&reader->dump, &reader->out, address, address + length, mcomp_segment_size(grid), cli->out_colour);
    } else if (reader->form == READ_JSON) {
        char head[96];
        snprintf(head, sizeof head, "{\"address\":%" PRIu64 ",\"length\":%" PRIu64 ",\"data_base64\":\"", address, length);
        out_text(&reader->out, head);
    }
}

/** Close what begin_output() has begun, so that it is a whole document even after a failure. */
static enum mcomp_status end_output(struct reader *reader, const struct transfer_result *result, struct err *err)
{
    if (reader->form == READ_HEX) {
        hexdump_close(&reader->dump);
    } else if (reader->form == READ_JSON) {
        base64_close(&reader->base64, &reader->out);
        out_text(&reader->out, "\"");
        if (result->end != TRANSFER_DONE) {
            json_t *document = cli_error_json(&result->error);
            char *text = document ? json_dumps(document, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
            out_text(&reader->out, ",\"error\":");
            out_text(&reader->out, text ? text : "null");
            free(text);
            json_decref(document);
        }
        out_text(&reader->out, "}\n");
    }
    return out_flush(&reader->out, "standard output", err);
}

static enum cli_exit read_grid(const struct cli *cli, struct mcomp *grid, const struct read_settings *settings, struct interrupt *interrupt,
                               struct reader *reader)
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
        .self = reader,
    };
    struct transfer_result result;
    struct err err;
    begin_output(reader, cli, grid, settings->address, length);
    if (transfer_run(cli, grid, &plan, &result) != MCOMP_OK)
        return CLI_FAILED;
    enum mcomp_status status = end_output(reader, &result, &err);
    struct cli without_json = *cli; /* the error is in the document already */
    without_json.json = false;
    if (result.end != TRANSFER_DONE)
        return transfer_fail(&without_json, &plan, &result);
    if (status != MCOMP_OK)
        return reader->out.sys_errno == EPIPE ? cli_end_by_sigpipe() : cli_fail_err(&without_json, &err);
    return CLI_DONE;
}

static enum cli_exit run(const struct cli *cli, const void *opaque)
{
    const struct read_settings *settings = opaque;
    struct mcomp *grid;
    if (settings->hex + settings->raw + cli->json > 1) {
        cli_message(cli, "--hex, --raw and --json exclude each other: give one");
        return CLI_USAGE;
    }
    struct reader *reader = calloc(1, sizeof *reader);
    if (!reader) {
        cli_message(cli, "out of memory");
        return CLI_FAILED;
    }
    reader->form = cli->json ? READ_JSON : settings->hex || (cli->out_terminal && !settings->raw) ? READ_HEX : READ_RAW;
    enum cli_exit code = CLI_FAILED;
    if (cli_open(cli, 0, &grid) == MCOMP_OK) {
        struct interrupt interrupt;
        struct err err;
        if (interrupt_open(&interrupt, &err) == MCOMP_OK) {
            code = read_grid(cli, grid, settings, &interrupt, reader);
            interrupt_close(&interrupt);
        } else {
            code = cli_fail_err(cli, &err);
        }
        mcomp_close(grid);
    }
    free(reader);
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
