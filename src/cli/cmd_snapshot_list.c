/* SPDX-License-Identifier: Apache-2.0 */
/** mcomp snapshot list: the files that the leader has, or those of a folder. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/snapshot.h"
#include "snapshot/file.h"

#define TIMEOUT_MS 10000u

struct list_settings {
    const char *directory, *grid;
};

static const struct list_settings defaults = {0};

static const struct arg_spec options[] = {
    {.name = "directory", .kind = ARG_TEXT, .value = "DIR", .offset = offsetof(struct list_settings, directory),
     .help = "list this folder, and ask no node"},
    {.name = "grid", .kind = ARG_TEXT, .value = "NAME", .offset = offsetof(struct list_settings, grid),
     .help = "with --directory: files of this grid; default\nthat of the configuration"},
};

/** One file, from either source. Texts are borrowed. */
struct listed {
    const char *name, *problem; /* problem: "" when sound */
    uint64_t bytes, cut_utc_ns, grid_bytes, pause_ns;
    uint32_t round;
    json_t *header; /* owned; NULL: damaged, or not asked for */
};

/* ---- what is printed ---- */

enum { COLUMN_ROUND, COLUMN_TIME, COLUMN_SIZE, COLUMN_ARRAY, COLUMN_PAUSE, COLUMN_FILE, COLUMN_PROBLEM, COLUMNS };

static const struct table_column columns[COLUMNS] = {
    [COLUMN_ROUND] = {"ROUND", true, 0}, [COLUMN_TIME] = {"CUT", false, 0},   [COLUMN_SIZE] = {"SIZE", true, 1},       [COLUMN_ARRAY] = {"ARRAY", true, 3},
    [COLUMN_PAUSE] = {"PAUSE", true, 2}, [COLUMN_FILE] = {"FILE", false, 0},  [COLUMN_PROBLEM] = {"PROBLEM", false, 0},
};

static bool fill_row(struct table *table, const struct listed *file)
{
    char text[SNAPSHOT_TIME_BYTES];
    struct table_cell *row = table_row(table);
    if (!row)
        return false;
    bool sound = !file->problem[0];
    if (file->round)
        snprintf(row[COLUMN_ROUND].text, TABLE_CELL_BYTES, "%08" PRIx32, file->round);
    if (file->cut_utc_ns)
        snprintf(row[COLUMN_TIME].text, TABLE_CELL_BYTES, "%s", snapshot_format_time(file->cut_utc_ns, text));
    snprintf(row[COLUMN_SIZE].text, TABLE_CELL_BYTES, "%s", units_format_bytes(file->bytes, text));
    if (sound) {
        snprintf(row[COLUMN_ARRAY].text, TABLE_CELL_BYTES, "%s", units_format_bytes(file->grid_bytes, text));
        snprintf(row[COLUMN_PAUSE].text, TABLE_CELL_BYTES, "%s", units_format_duration(file->pause_ns, text));
    }
    snprintf(row[COLUMN_FILE].text, TABLE_CELL_BYTES, "%s", file->name);
    if (!sound) {
        snprintf(row[COLUMN_PROBLEM].text, TABLE_CELL_BYTES, "damaged");
        row[COLUMN_PROBLEM].colour = COLOUR_RED;
    }
    return true;
}

/** The table, and below it what is wrong with files, in full. */
static enum cli_exit print_table(const struct cli *cli, const struct listed *files, size_t count)
{
    bool filled = true, all_sound = true;
    for (size_t i = 0; i < count; i++)
        all_sound &= !files[i].problem[0];
    struct table table = {.columns = columns, .column_count = all_sound ? COLUMN_PROBLEM : COLUMNS};
    for (size_t i = 0; i < count && filled; i++)
        filled = fill_row(&table, &files[i]);
    if (filled)
        table_print(&table, stdout, cli->out_terminal ? output_width(STDOUT_FILENO) : 0, cli->out_colour);
    else
        cli_message(cli, "out of memory");
    table_free(&table);
    for (size_t i = 0; i < count && filled; i++) {
        if (files[i].problem[0])
            printf("%s: %s\n", files[i].name, files[i].problem);
    }
    return filled ? CLI_DONE : CLI_FAILED;
}

static enum cli_exit print_json(const struct cli *cli, struct listed *files, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *header = files[i].header ? files[i].header : json_null();
        files[i].header = NULL;
        json_array_append_new(array, json_pack("{s:o, s:o, s:o, s:b, s:o, s:o}", "file", output_json_text(files[i].name), "bytes",
                                               output_json_number(files[i].bytes), "round", files[i].round ? output_json_number(files[i].round) : json_null(),
                                               "sound", !files[i].problem[0], "problem", output_json_text(files[i].problem), "header", header));
    }
    return cli_json_done(cli, output_json(array));
}

static enum cli_exit print_files(const struct cli *cli, struct listed *files, size_t count)
{
    enum cli_exit code = cli->json ? print_json(cli, files, count) : print_table(cli, files, count);
    for (size_t i = 0; i < count; i++)
        json_decref(files[i].header);
    return code;
}

/* ---- from a folder ---- */

static json_t *entry_json(const struct snapshot_entry *entry, const char *grid)
{
    return json_pack("{s:o, s:i, s:o, s:o, s:o, s:o, s:o}", "grid", output_json_text(grid), "nodes", (int)entry->nodes, "segment_size",
                     output_json_number(entry->segment_size), "cut_utc_ns", output_json_number(entry->cut_utc_ns), "longest_pause_ns",
                     output_json_number(entry->longest_pause_ns), "duration_ns", output_json_number(entry->duration_ns), "pages_stored",
                     output_json_number(entry->pages_stored));
}

static enum cli_exit list_folder(const struct cli *cli, const char *directory, const char *grid)
{
    struct snapshot_entry *entries = NULL;
    size_t count = 0;
    struct err err;
    if (access(directory, X_OK) != 0) {
        /* To the writer of snapshots a missing folder is an empty one; who names a folder wants to know. */
        (void)err_sys(&err, errno, "%s", directory);
        return cli_fail_err(cli, &err);
    }
    if (snapshot_list(directory, grid, &entries, &count, &err) != MCOMP_OK)
        return cli_fail_err(cli, &err);
    struct listed *files = calloc(count + 1, sizeof *files);
    enum cli_exit code = CLI_FAILED;
    for (size_t i = 0; files && i < count; i++) {
        const struct snapshot_entry *entry = &entries[i];
        files[i] = (struct listed){.name = entry->name, .problem = entry->problem, .bytes = entry->bytes, .cut_utc_ns = entry->cut_utc_ns,
                                   .grid_bytes = entry->segment_size * entry->nodes, .pause_ns = entry->longest_pause_ns, .round = entry->round};
        if (entry->sound)
            files[i].problem = "";
        if (entry->sound && cli->json)
            files[i].header = entry_json(entry, grid);
    }
    if (files)
        code = print_files(cli, files, count);
    else
        cli_message(cli, "out of memory");
    free(files);
    free(entries);
    return code;
}

/* ---- from the leader ---- */

static enum cli_exit print_answer(const struct cli *cli, const Mcomp__Snapshot__V1__ListResult *list)
{
    struct listed *files = calloc(list->n_file + 1, sizeof *files);
    if (!files) {
        cli_message(cli, "out of memory");
        return CLI_FAILED;
    }
    for (size_t i = 0; i < list->n_file; i++) {
        const Mcomp__Snapshot__V1__ListResult__File *file = list->file[i];
        const Mcomp__Snapshot__V1__Header *header = file->header;
        files[i] = (struct listed){.name = file->name, .problem = file->problem, .bytes = file->bytes};
        if (!header) {
            files[i].problem = file->problem[0] ? file->problem : "damaged";
            continue;
        }
        files[i].cut_utc_ns = header->cut_utc_ns;
        files[i].grid_bytes = header->segment_size * header->nodes;
        files[i].pause_ns = header->longest_pause_ns;
        files[i].round = header->round;
        files[i].header = cli->json ? snapshot_header_json(header) : NULL;
    }
    enum cli_exit code = print_files(cli, files, list->n_file);
    free(files);
    return code;
}

static enum cli_exit ask_leader(const struct cli *cli, const struct config *config)
{
    uint64_t timeout_ns = snapshot_timeout_ns(cli, TIMEOUT_MS);
    struct exchange exchange = {0};
    exchange_response *response = NULL;
    struct err err;
    enum mcomp_status status = exchange_open_leader(&exchange, config, timeout_ns, &response, &err);
    if (status != MCOMP_OK)
        return cli_fail_err(cli, &err);
    mcomp__snapshot__v1__response__free_unpacked(response, NULL);
    Mcomp__Snapshot__V1__List list = MCOMP__SNAPSHOT__V1__LIST__INIT;
    exchange_request request = MCOMP__SNAPSHOT__V1__REQUEST__INIT;
    request.op_case = MCOMP__SNAPSHOT__V1__REQUEST__OP_LIST;
    request.list = &list;
    status = exchange_ask(&exchange, &request, MCOMP__SNAPSHOT__V1__RESPONSE__RESULT_LIST, exchange_deadline(timeout_ns), &response, &err);
    enum cli_exit code = status == MCOMP_OK ? print_answer(cli, response->list) : cli_fail_err(cli, &err);
    if (response)
        mcomp__snapshot__v1__response__free_unpacked(response, NULL);
    exchange_close(&exchange);
    return code;
}

static enum cli_exit run(const struct cli *cli, const void *opaque)
{
    const struct list_settings *settings = opaque;
    struct config config;
    if (settings->grid && !settings->directory) {
        cli_message(cli, "--grid goes with --directory only: the leader lists the files of its own grid");
        return CLI_USAGE;
    }
    if (settings->grid)
        return list_folder(cli, settings->directory, settings->grid);
    if (snapshot_configure(cli, &config) != MCOMP_OK)
        return CLI_FAILED;
    enum cli_exit code = settings->directory ? list_folder(cli, settings->directory, config.grid) : ask_leader(cli, &config);
    config_free(&config);
    return code;
}

const struct command command_snapshot_list = {
    .name = "snapshot list",
    .summary = "list the snapshot files",
    .description = "Ask the snapshot process that leads for its snapshot files, or list a folder:\n"
                   "round, time of the cut, size of the file and of the array, longest pause of\n"
                   "writers. Newest first. Damaged files are listed, with what is wrong; only what\n"
                   "they begin and end with is checked ('snapshot verify' checks it all).\n"
                   "Exits 4 when no snapshot process that leads can be reached.",
    .examples = "  mcomp snapshot list\n"
                "  mcomp snapshot list --directory /backup --grid demo\n"
                "  mcomp --json snapshot list | jq -r '.[0].file'",
    .options = options,
    .option_count = sizeof options / sizeof *options,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .run = run,
};
