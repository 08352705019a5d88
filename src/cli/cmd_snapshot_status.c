/* SPDX-License-Identifier: Apache-2.0 */
/** mcomp snapshot status: who leads, how far the running round is, and how the last one went. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/snapshot.h"

#define TIMEOUT_MS 2000u
#define BAR_CELLS 30u

typedef Mcomp__Snapshot__V1__RoundStatus RoundStatus;

/* ---- for people ---- */

enum { COLUMN_NODE, COLUMN_SHARE, COLUMN_BYTES, COLUMN_BAR, COLUMNS };

static const struct table_column columns[COLUMNS] = {
    [COLUMN_NODE] = {"NODE", true, 0}, [COLUMN_SHARE] = {"DONE", true, 0}, [COLUMN_BYTES] = {"BYTES", true, 0}, [COLUMN_BAR] = {"", false, 1},
};

static void fill_node(struct table_cell *row, size_t node, uint64_t bytes, uint64_t segment_size, bool with_bar)
{
    char text[UNITS_TEXT_BYTES], bar[BAR_CELLS + 1];
    double share = bytes < segment_size ? (double)bytes / (double)segment_size : 1;
    snprintf(row[COLUMN_NODE].text, TABLE_CELL_BYTES, "%zu", node);
    snprintf(row[COLUMN_SHARE].text, TABLE_CELL_BYTES, "%.0f %%", share * 100);
    snprintf(row[COLUMN_BYTES].text, TABLE_CELL_BYTES, "%s", units_format_bytes(bytes, text));
    if (!with_bar)
        return;
    size_t full = (size_t)(share * BAR_CELLS);
    memset(bar, '#', full);
    memset(bar + full, '.', BAR_CELLS - full);
    bar[BAR_CELLS] = 0;
    snprintf(row[COLUMN_BAR].text, TABLE_CELL_BYTES, "%s", bar);
    row[COLUMN_BAR].colour = COLOUR_GREEN;
}

static bool print_running(const struct cli *cli, const struct config *config, const RoundStatus *status)
{
    struct snapshot_estimate estimate = snapshot_estimate_of(status, config_grid_bytes(config));
    struct table table = {.columns = columns, .column_count = COLUMNS};
    char a[UNITS_TEXT_BYTES], b[UNITS_TEXT_BYTES];
    for (size_t i = 0; i < status->n_node_bytes; i++) {
        struct table_cell *row = table_row(&table);
        if (!row) {
            table_free(&table);
            cli_message(cli, "out of memory");
            return false;
        }
        fill_node(row, i, status->node_bytes[i], config->segment_size, cli->out_terminal);
    }
    printf("round %08" PRIx32 ": phase %s, running for %s\n", status->round, snapshot_phase_name(status->phase), units_format_duration(status->elapsed_ns, a));
    table_print(&table, stdout, cli->out_terminal ? output_width(STDOUT_FILENO) : 0, cli->out_colour);
    table_free(&table);
    printf("%s of %s", units_format_bytes(estimate.done, a), units_format_bytes(estimate.total, b));
    printf(", %s written, %s/s", units_format_bytes(status->bytes_written, a), units_format_bytes(estimate.rate, b));
    if (estimate.left_ns > 0)
        printf(", %s left", units_format_duration(estimate.left_ns, a));
    putchar('\n');
    return true;
}

static enum cli_exit print_status(const struct cli *cli, const struct config *config, const RoundStatus *status)
{
    char a[UNITS_TEXT_BYTES], b[UNITS_TEXT_BYTES], when[SNAPSHOT_TIME_BYTES];
    bool idle = status->phase == MCOMP__SNAPSHOT__V1__ROUND_STATUS__PHASE__PHASE_IDLE;
    printf("grid %s: node %" PRIu32 " leads%s; %" PRIu64 " round%s done, %" PRIu64 " failed since it started\n", config->grid, status->leader,
           idle ? ", no round runs" : "", status->rounds_done, status->rounds_done == 1 ? "" : "s", status->rounds_failed);
    if (!idle && !print_running(cli, config, status))
        return CLI_FAILED;
    if (status->last) {
        const Mcomp__Snapshot__V1__Header *last = status->last;
        printf("last round %08" PRIx32 ": %s, cut %s\n", last->round, status->last_file, snapshot_format_time(last->cut_utc_ns, when));
        printf("  %s, writers of a node paused for %s at most", units_format_duration(last->duration_ns, a),
               units_format_duration(last->longest_pause_ns, b));
        printf(", %s/s\n  %" PRIu64 " pages stored, %" PRIu64 " preserved for the cut\n", units_format_bytes(snapshot_rate(last), a), last->pages_stored,
               last->pages_preserved);
    }
    if (status->last_error[0])
        printf("%slast error: %s%s\n", cli->out_colour ? COLOUR_RED : "", status->last_error, cli->out_colour ? COLOUR_OFF : "");
    return CLI_DONE;
}

static enum cli_exit run(const struct cli *cli, const void *opaque)
{
    struct config config;
    struct exchange exchange = {0};
    exchange_response *response = NULL;
    struct err err;
    (void)opaque;
    if (snapshot_configure(cli, &config) != MCOMP_OK)
        return CLI_FAILED;
    enum cli_exit code;
    if (exchange_open_leader(&exchange, &config, snapshot_timeout_ns(cli, TIMEOUT_MS), &response, &err) != MCOMP_OK)
        code = cli_fail_err(cli, &err);
    else if (cli->json)
        code = cli_json_done(cli, output_json(snapshot_status_json(&config, response->round_status)));
    else
        code = print_status(cli, &config, response->round_status);
    if (response)
        mcomp__snapshot__v1__response__free_unpacked(response, NULL);
    exchange_close(&exchange);
    config_free(&config);
    return code;
}

const struct command command_snapshot_status = {
    .name = "snapshot status",
    .summary = "show the running round and the last one",
    .description = "Ask the snapshot process that leads: phase of the running round, progress of\n"
                   "each node, bytes, rate and time left; file and figures of the last round; the\n"
                   "last error. Exits 4 when no snapshot process that leads can be reached.",
    .examples = "  mcomp snapshot status\n"
                "  mcomp --json snapshot status | jq .last.longest_pause_ns",
    .run = run,
};
