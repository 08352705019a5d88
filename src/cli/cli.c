/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "cli/output.h"

void cli_message(const struct cli *cli, const char *format, ...)
{
    char text[2 * MCOMP_ERROR_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (cli->command)
        fprintf(stderr, "mcomp: %s: %s\n", cli->command, text);
    else
        fprintf(stderr, "mcomp: %s\n", text);
}

uint32_t cli_timeout_ms(const struct cli *cli, uint32_t fallback_ms)
{
    if (cli->timeout_ns == UINT64_MAX)
        return fallback_ms;
    if (cli->timeout_ns == 0)
        return MCOMP_NO_TIMEOUT;
    uint64_t ms = (cli->timeout_ns - 1) / 1000000 + 1;
    return ms >= MCOMP_NO_TIMEOUT ? MCOMP_NO_TIMEOUT : (uint32_t)ms;
}

enum mcomp_status cli_open(const struct cli *cli, uint32_t sessions, struct mcomp **grid)
{
    struct mcomp_error error = {0};
    struct mcomp_options options = {
        .client_name = "mcomp/" MCOMP_VERSION,
        .timeout_ms = cli_timeout_ms(cli, CLI_TIMEOUT_DEFAULT_MS),
        .max_sessions = sessions,
    };
    enum mcomp_status status = mcomp_open(grid, cli->config_path, &options, &error);
    if (status != MCOMP_OK)
        (void)cli_fail(cli, &error, false);
    return status;
}

static const char *outcome_name(enum mcomp_outcome outcome)
{
    switch (outcome) {
    case MCOMP_DONE:
        return "done";
    case MCOMP_NOT_DONE:
        return "not done";
    case MCOMP_MAYBE:
        return "unknown";
    }
    return "unknown";
}

json_t *cli_error_json(const struct mcomp_error *error)
{
    json_t *spans = json_array();
    for (uint32_t i = 0; spans && i < error->span_count; i++) {
        const struct mcomp_span *span = &error->spans[i];
        json_array_append_new(spans, json_pack("{s:o, s:o, s:s}", "address", output_json_number(span->address), "length",
                                               output_json_number(span->length), "outcome", outcome_name(span->outcome)));
    }
    json_t *node = error->node == MCOMP_NO_NODE ? json_null() : output_json_number(error->node);
    return json_pack("{s:s, s:o, s:o, s:i, s:o}", "status", mcomp_status_name(error->status), "text", output_json_text(error->text), "node", node, "errno",
                     error->sys_errno, "spans", spans);
}

static enum cli_exit exit_of(enum mcomp_status status)
{
    return status == MCOMP_UNAVAILABLE || status == MCOMP_DEADLINE_EXCEEDED ? CLI_UNREACHABLE : CLI_FAILED;
}

/** What a failed call left behind, one line for each range. */
static void tell_spans(const struct mcomp_error *error)
{
    bool untouched = true;
    for (uint32_t i = 0; i < error->span_count; i++)
        untouched &= error->spans[i].outcome == MCOMP_NOT_DONE || error->spans[i].length == 0;
    if (untouched) {
        fputs("  nothing was changed\n", stderr);
        return;
    }
    for (uint32_t i = 0; i < error->span_count; i++) {
        const struct mcomp_span *span = &error->spans[i];
        char size[UNITS_TEXT_BYTES];
        fprintf(stderr, "  %-9s 0x%" PRIx64 " to 0x%" PRIx64 " (%s)\n", outcome_name(span->outcome), span->address,
                span->address + span->length - (span->length > 0), units_format_bytes(span->length, size));
    }
}

enum cli_exit cli_fail(const struct cli *cli, const struct mcomp_error *error, bool changes)
{
    cli_message(cli, "%s", error->text[0] ? error->text : mcomp_status_text(error->status));
    if (changes)
        tell_spans(error);
    if (cli->json)
        (void)output_json(json_pack("{s:o}", "error", cli_error_json(error)));
    return exit_of(error->status);
}

enum cli_exit cli_fail_err(const struct cli *cli, const struct err *err)
{
    struct mcomp_error error = {.status = err->code, .sys_errno = err->sys_errno, .node = MCOMP_NO_NODE};
    snprintf(error.text, sizeof error.text, "%s", err->text);
    return cli_fail(cli, &error, false);
}

enum cli_exit cli_json_done(const struct cli *cli, bool printed)
{
    if (printed)
        return CLI_DONE;
    if (!ferror(stdout))
        cli_message(cli, "out of memory while writing JSON");
    return CLI_FAILED;
}

enum cli_exit cli_end_by_sigpipe(void)
{
    signal(SIGPIPE, SIG_DFL);
    raise(SIGPIPE);
    return CLI_FAILED;
}

bool cli_fit_range(const struct cli *cli, const struct mcomp *grid, uint64_t address, uint64_t *length)
{
    return cli_fit_size(cli, mcomp_size(grid), address, length);
}

bool cli_fit_size(const struct cli *cli, uint64_t size, uint64_t address, uint64_t *length)
{
    char text[UNITS_TEXT_BYTES], have[UNITS_TEXT_BYTES], want[UNITS_TEXT_BYTES];
    struct err err;
    if (address > size) {
        (void)err_set(&err, MCOMP_OUT_OF_RANGE, "address 0x%" PRIx64 " lies outside the grid of %s: addresses go from 0 to 0x%" PRIx64, address,
                      units_format_bytes(size, text), size - 1);
    } else if (*length != ARG_ALL && *length > size - address) {
        (void)err_set(&err, MCOMP_OUT_OF_RANGE,
                      "%" PRIu64 " bytes (%s) from 0x%" PRIx64 " on do not fit the grid of %s: at most %" PRIu64 " bytes (%s) do", *length,
                      units_format_bytes(*length, want), address, units_format_bytes(size, text), size - address,
                      units_format_bytes(size - address, have));
    } else {
        *length = *length == ARG_ALL ? size - address : *length;
        return true;
    }
    (void)cli_fail_err(cli, &err);
    return false;
}
