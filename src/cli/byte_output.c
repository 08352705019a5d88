/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/byte_output.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/output.h"

bool byte_output_choose(const struct cli *cli, bool hex, bool raw, enum byte_form *form)
{
    if (hex + raw + cli->json > 1) {
        cli_message(cli, "--hex, --raw and --json exclude each other: give one");
        return false;
    }
    *form = cli->json ? BYTE_JSON : hex || (cli->out_terminal && !raw) ? BYTE_HEX : BYTE_RAW;
    return true;
}

void byte_output_begin(struct byte_output *output, const struct cli *cli, enum byte_form form, uint64_t address, uint64_t length,
                       uint64_t segment_size)
{
    out_open(&output->out, STDOUT_FILENO);
    output->form = form;
    output->base64 = (struct base64){0};
    if (form == BYTE_HEX) {
        hexdump_open(&output->dump, &output->out, address, address + length, segment_size, cli->out_colour);
    } else if (form == BYTE_JSON) {
        char head[96];
        snprintf(head, sizeof head, "{\"address\":%" PRIu64 ",\"length\":%" PRIu64 ",\"data_base64\":\"", address, length);
        out_text(&output->out, head);
    }
}

enum mcomp_status byte_output_put(struct byte_output *output, const uint8_t *bytes, size_t length, struct err *err)
{
    switch (output->form) {
    case BYTE_RAW:
        out_put(&output->out, bytes, length);
        break;
    case BYTE_HEX:
        hexdump_feed(&output->dump, bytes, length);
        break;
    case BYTE_JSON:
        base64_feed(&output->base64, &output->out, bytes, length);
        break;
    }
    /* What has arrived is shown, however long the rest takes. */
    return out_flush(&output->out, "standard output", err);
}

enum mcomp_status byte_output_end(struct byte_output *output, const struct mcomp_error *error, struct err *err)
{
    if (output->form == BYTE_HEX) {
        hexdump_close(&output->dump);
    } else if (output->form == BYTE_JSON) {
        base64_close(&output->base64, &output->out);
        out_text(&output->out, "\"");
        if (error) {
            json_t *document = cli_error_json(error);
            char *text = document ? json_dumps(document, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
            out_text(&output->out, ",\"error\":");
            out_text(&output->out, text ? text : "null");
            free(text);
            json_decref(document);
        }
        out_text(&output->out, "}\n");
    }
    return out_flush(&output->out, "standard output", err);
}

enum cli_exit byte_output_fail(const struct byte_output *output, const struct cli *cli, const struct err *err)
{
    struct cli without_json = *cli; /* the document has begun already */
    without_json.json = false;
    return output->out.sys_errno == EPIPE ? cli_end_by_sigpipe() : cli_fail_err(&without_json, err);
}
