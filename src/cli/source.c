/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/source.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/units.h"
#include "cli/local_file.h"
#include "cli/output.h"

enum mcomp_status source_open_file(struct source *source, const char *path, struct err *err)
{
    char quoted[TEXT_QUOTE_BYTES];
    *source = (struct source){.fd = -1};
    bool standard = strcmp(path, "-") == 0;
    snprintf(source->name, sizeof source->name, "%s", standard ? "standard input" : text_quote(path, quoted));
    return input_file_open(path, &source->fd, &source->length, err);
}

enum mcomp_status source_open_memory(struct source *source, const void *bytes, size_t length, struct err *err)
{
    *source = (struct source){.fd = -1, .name = "memory", .length = length, .memory = malloc(length + 1)};
    if (!source->memory)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "out of memory: %zu bytes are needed", length);
    memcpy(source->memory, bytes, length);
    return MCOMP_OK;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

enum mcomp_status source_check_hex(const char *digits, struct err *err)
{
    for (const char *at = digits; *at; at++) {
        if (is_blank(*at))
            continue;
        if (hex_digit(*at) < 0 || hex_digit(at[1]) < 0)
            return err_set(err, MCOMP_INVALID_ARGUMENT, "no pair of hexadecimal digits at character %zu: write bytes as 00 to ff",
                           (size_t)(at - digits) + 1);
        at++;
    }
    return MCOMP_OK;
}

enum mcomp_status source_open_hex(struct source *source, const char *digits, struct err *err)
{
    enum mcomp_status status = source_open_memory(source, digits, strlen(digits), err);
    if (status != MCOMP_OK)
        return status;
    source->length = 0;
    for (const char *at = digits; *at; at++) {
        if (!is_blank(*at)) {
            source->memory[source->length++] = (uint8_t)(hex_digit(at[0]) << 4 | hex_digit(at[1]));
            at++;
        }
    }
    return MCOMP_OK;
}

void source_close(struct source *source)
{
    if (source->fd >= 0)
        input_file_close(source->fd);
    free(source->memory);
    *source = (struct source){.fd = -1};
}

static enum mcomp_status give_bytes(void *self, uint8_t *bytes, size_t *length, struct err *err)
{
    struct source *source = self;
    if (source->fd >= 0) {
        int reason = transfer_read_all(source->fd, bytes, length);
        return reason == 0 ? MCOMP_OK : err_sys(err, reason, "cannot read %s", source->name);
    }
    size_t left = (size_t)source->length - source->taken;
    *length = left < *length ? left : *length;
    memcpy(bytes, source->memory + source->taken, *length);
    source->taken += *length;
    return MCOMP_OK;
}

static enum cli_exit tell_done(const struct cli *cli, uint64_t address, const struct transfer_result *result)
{
    char size[UNITS_TEXT_BYTES], time[UNITS_TEXT_BYTES], rate[UNITS_TEXT_BYTES];
    double seconds = (double)result->elapsed_ns / 1e9;
    double per_second = seconds > 0 ? (double)result->done / seconds : 0;
    if (cli->json)
        return cli_json_done(cli, output_json(json_pack("{s:o, s:o, s:f, s:o}", "address", output_json_number(address), "length",
                                                        output_json_number(result->done), "seconds", seconds, "bytes_per_second",
                                                        output_json_number((uint64_t)per_second))));
    if (cli->out_terminal)
        printf("%s written at 0x%" PRIx64 " in %s, %s/s\n", units_format_bytes(result->done, size), address,
               units_format_duration(result->elapsed_ns, time), units_format_bytes((uint64_t)per_second, rate));
    return CLI_DONE;
}

static enum cli_exit run_transfer(const struct cli *cli, struct mcomp *grid, const struct transfer_plan *plan)
{
    struct transfer_result result;
    if (transfer_run(cli, grid, plan, &result) != MCOMP_OK)
        return CLI_FAILED;
    return result.end == TRANSFER_DONE ? tell_done(cli, plan->address, &result) : transfer_fail(cli, plan, &result);
}

enum cli_exit source_to_grid(const struct cli *cli, struct mcomp *grid, struct source *source, uint64_t address, uint64_t piece, const char *title)
{
    struct interrupt interrupt;
    struct err err;
    uint64_t length = source->length == TRANSFER_UNTIL_END ? 0 : source->length;
    if (!cli_fit_range(cli, grid, address, &length))
        return CLI_FAILED;
    if (interrupt_open(&interrupt, &err) != MCOMP_OK)
        return cli_fail_err(cli, &err);
    struct transfer_plan plan = {
        .direction = TRANSFER_TO_GRID,
        .address = address,
        .length = source->length,
        .piece = piece,
        .title = title,
        .interrupt = &interrupt,
        .move = give_bytes,
        .self = source,
    };
    enum cli_exit code = run_transfer(cli, grid, &plan);
    interrupt_close(&interrupt);
    return code;
}
