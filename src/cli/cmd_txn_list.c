/* SPDX-License-Identifier: Apache-2.0 */
/** mcomp txn list: transactions that nodes hold prepared. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "mcomp_txn.h"

#define LIST_TIMEOUT_MS 2000u /* without --timeout; for each node */

enum { COLUMN_NODE, COLUMN_AGE, COLUMN_SESSION, COLUMN_LANE, COLUMN_SEQUENCE, COLUMN_NODES, COLUMNS };

static const struct table_column columns[COLUMNS] = {
    [COLUMN_NODE] = {"NODE", true, 0},       [COLUMN_AGE] = {"AGE", true, 0},           [COLUMN_SESSION] = {"SESSION", true, 1},
    [COLUMN_LANE] = {"LANE", true, 1},       [COLUMN_SEQUENCE] = {"SEQUENCE", true, 1}, [COLUMN_NODES] = {"NODES", false, 0},
};

/** "0, 1, 2 and 5 more" */
static void format_nodes(const struct mcomp_prepared *prepared, char *text, size_t room)
{
    int at = 0;
    text[0] = 0;
    uint32_t told = prepared->participants < MCOMP_PREPARED_NODES ? prepared->participants : MCOMP_PREPARED_NODES;
    for (uint32_t i = 0; i < told && at >= 0 && (size_t)at < room; i++)
        at += snprintf(text + at, room - (size_t)at, "%s%" PRIu32, i ? ", " : "", prepared->nodes[i]);
    if (told < prepared->participants && at >= 0 && (size_t)at < room)
        snprintf(text + at, room - (size_t)at, " and %" PRIu32 " more", prepared->participants - told);
}

static bool fill_row(struct table *table, uint32_t node, const struct mcomp_prepared *prepared)
{
    char text[UNITS_TEXT_BYTES];
    struct table_cell *row = table_row(table);
    if (!row)
        return false;
    snprintf(row[COLUMN_NODE].text, TABLE_CELL_BYTES, "%" PRIu32, node);
    snprintf(row[COLUMN_AGE].text, TABLE_CELL_BYTES, "%s", units_format_duration(prepared->age_ms * 1000000, text));
    snprintf(row[COLUMN_SESSION].text, TABLE_CELL_BYTES, "%" PRIu32, prepared->session);
    snprintf(row[COLUMN_LANE].text, TABLE_CELL_BYTES, "%" PRIu32, prepared->lane);
    snprintf(row[COLUMN_SEQUENCE].text, TABLE_CELL_BYTES, "%" PRIu64, prepared->sequence);
    format_nodes(prepared, row[COLUMN_NODES].text, TABLE_CELL_BYTES);
    return true;
}

static json_t *prepared_json(uint32_t node, const struct mcomp_prepared *prepared)
{
    json_t *nodes = json_array();
    for (uint32_t i = 0; i < prepared->participants && i < MCOMP_PREPARED_NODES; i++)
        json_array_append_new(nodes, json_integer(prepared->nodes[i]));
    return json_pack("{s:i, s:o, s:i, s:i, s:o, s:o, s:i, s:o}", "node", (int)node, "age_ms", output_json_number(prepared->age_ms), "session",
                     (int)prepared->session, "lane", (int)prepared->lane, "generation", output_json_value(prepared->generation), "sequence",
                     output_json_number(prepared->sequence), "participants", (int)prepared->participants, "nodes", nodes);
}

/** What the nodes say. */
struct listing {
    struct table table;
    json_t *array; /* owned */
    uint64_t total, shown;
    enum cli_exit code;
};

static void list_node(const struct cli *cli, struct mcomp *grid, uint32_t node, struct listing *listing)
{
    static struct mcomp_prepared list[MCOMP_PREPARED_MAX];
    struct mcomp_error error;
    uint64_t total;
    if (mcomp_node_prepared(grid, node, list, MCOMP_PREPARED_MAX, &total, cli_timeout_ms(cli, LIST_TIMEOUT_MS), &error) != MCOMP_OK) {
        struct cli quiet = *cli;
        quiet.json = false;
        listing->code = cli_fail(&quiet, &error, false);
        return;
    }
    uint64_t count = total < MCOMP_PREPARED_MAX ? total : MCOMP_PREPARED_MAX;
    listing->total += total;
    listing->shown += count;
    for (uint64_t i = 0; i < count; i++) {
        json_array_append_new(listing->array, prepared_json(node, &list[i]));
        if (!fill_row(&listing->table, node, &list[i]))
            listing->code = CLI_FAILED;
    }
}

static enum cli_exit run(const struct cli *cli, const void *opaque)
{
    struct mcomp *grid;
    struct listing listing = {.table = {.columns = columns, .column_count = COLUMNS}, .array = json_array()};
    (void)opaque;
    if (cli_open(cli, 1, &grid) != MCOMP_OK) {
        json_decref(listing.array);
        return CLI_FAILED;
    }
    for (uint32_t node = 0; node < mcomp_nodes(grid); node++)
        list_node(cli, grid, node, &listing);
    if (cli->json) {
        enum cli_exit printed = cli_json_done(cli, output_json(listing.array));
        listing.code = listing.code == CLI_DONE ? printed : listing.code;
    } else {
        if (listing.shown > 0)
            table_print(&listing.table, stdout, 0, cli->out_colour);
        if (listing.total > listing.shown)
            printf("%" PRIu64 " more\n", listing.total - listing.shown);
        json_decref(listing.array);
    }
    table_free(&listing.table);
    mcomp_close(grid);
    return listing.code;
}

const struct command command_txn_list = {
    .name = "txn list",
    .summary = "show transactions that are prepared",
    .description = "Ask all nodes which transactions they hold prepared: voted on, their ranges\n"
                   "locked, the outcome not known there yet. The oldest of each node come first, at\n"
                   "most 100 of each. Nodes find out outcomes by themselves, so what stays here for\n"
                   "long waits for a node that is away: one of those under NODES.",
    .examples = "  mcomp txn list\n"
                "  mcomp txn list --json",
    .run = run,
};
