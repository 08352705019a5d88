/* SPDX-License-Identifier: Apache-2.0 */
/** mcomp status: all nodes, asked side by side. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/snapshot.h"

#define STATUS_TIMEOUT_MS 2000u /* without --timeout */
#define STATUS_SESSIONS 256u    /* as many nodes as a grid can have: nobody waits for anybody */

/** One node and the thread that asks it. */
struct asked {
    struct mcomp *grid; /* borrowed */
    uint32_t node, timeout_ms;
    pthread_t thread;
    bool started;
    enum mcomp_status outcome;
    struct mcomp_node_status status; /* when outcome is OK */
    struct mcomp_error error;        /* else */
    const struct config *config;     /* borrowed; NULL: its snapshot process is not asked */
    uint64_t snapshot_timeout_ns;
    json_t *snapshot;                /* owned; what that says */
};

static void *ask_node(void *arg)
{
    struct asked *asked = arg;
    asked->outcome = mcomp_node_status(asked->grid, asked->node, &asked->status, asked->timeout_ms, &asked->error);
    if (asked->config)
        asked->snapshot = snapshot_ask_node(asked->config, asked->node, asked->snapshot_timeout_ns);
    return NULL;
}

/** Ask all; a node for which there is no thread is asked at the end, by this one. */
static void ask_all(struct asked *asked, uint32_t nodes)
{
    for (uint32_t i = 0; i < nodes; i++)
        asked[i].started = pthread_create(&asked[i].thread, NULL, ask_node, &asked[i]) == 0;
    for (uint32_t i = 0; i < nodes; i++) {
        if (!asked[i].started)
            ask_node(&asked[i]);
    }
    for (uint32_t i = 0; i < nodes; i++) {
        if (asked[i].started)
            pthread_join(asked[i].thread, NULL);
    }
}

static const char *state_name(const struct asked *asked)
{
    switch (asked->outcome) {
    case MCOMP_OK:
        return asked->status.restore_state == MCOMP_RESTORE_STATE_NONE ? "up" : "restoring";
    case MCOMP_UNAVAILABLE:
    case MCOMP_DEADLINE_EXCEEDED:
        return "unreachable";
    case MCOMP_FAILED_PRECONDITION:
    case MCOMP_WRONG_NODE:
        return "mismatch";
    default:
        return "failed";
    }
}

static uint64_t operations(const struct mcomp_node_status *status)
{
    return status->read.count + status->write.count + status->fetch_add.count + status->compare_and_swap.count + status->multi.count +
           status->transaction.count;
}

static uint64_t operation_errors(const struct mcomp_node_status *status)
{
    return status->read.errors + status->write.errors + status->fetch_add.errors + status->compare_and_swap.errors + status->multi.errors +
           status->transaction.errors;
}

/* ---- the table ---- */

enum { COLUMN_NODE, COLUMN_STATE, COLUMN_ADDRESS, COLUMN_SEGMENT, COLUMN_CONNECTIONS, COLUMN_OPS, COLUMN_READ, COLUMN_WRITE, COLUMN_ADD,
       COLUMN_CAS, COLUMN_MULTI, COLUMN_TXN, COLUMN_PREPARED, COLUMN_ERRORS, COLUMN_TRIP, COLUMN_UPTIME, COLUMNS };

static const struct table_column columns[COLUMNS] = {
    [COLUMN_NODE] = {"NODE", true, 0},       [COLUMN_STATE] = {"STATE", false, 0},  [COLUMN_ADDRESS] = {"ADDRESS", false, 0},
    [COLUMN_SEGMENT] = {"SEGMENT", true, 1}, [COLUMN_CONNECTIONS] = {"CONNS", true, 1},
    [COLUMN_OPS] = {"OPS", true, 0},         [COLUMN_READ] = {"READ", true, 3},     [COLUMN_WRITE] = {"WRITE", true, 3},
    [COLUMN_ADD] = {"ADD", true, 4},         [COLUMN_CAS] = {"CAS", true, 4},       [COLUMN_MULTI] = {"MULTI", true, 4},
    [COLUMN_TXN] = {"TXN", true, 4},         [COLUMN_PREPARED] = {"PREPARED", true, 2},
    [COLUMN_ERRORS] = {"ERRORS", true, 2},   [COLUMN_TRIP] = {"ROUND TRIP", true, 0},
    [COLUMN_UPTIME] = {"UPTIME", true, 1},
};

static void fill_count(struct table_cell *row, int column, uint64_t count)
{
    char text[OUTPUT_COUNT_BYTES];
    snprintf(row[column].text, TABLE_CELL_BYTES, "%s", output_count(count, text));
}

static void fill_up(struct table_cell *row, const struct mcomp_node_status *status)
{
    char text[UNITS_TEXT_BYTES];
    uint64_t errors = operation_errors(status);
    snprintf(row[COLUMN_SEGMENT].text, TABLE_CELL_BYTES, "%s", units_format_bytes(status->segment_size, text));
    fill_count(row, COLUMN_CONNECTIONS, status->connections);
    fill_count(row, COLUMN_OPS, operations(status));
    fill_count(row, COLUMN_READ, status->read.count);
    fill_count(row, COLUMN_WRITE, status->write.count);
    fill_count(row, COLUMN_ADD, status->fetch_add.count);
    fill_count(row, COLUMN_CAS, status->compare_and_swap.count);
    fill_count(row, COLUMN_MULTI, status->multi.count);
    fill_count(row, COLUMN_TXN, status->transaction.count);
    fill_count(row, COLUMN_PREPARED, status->prepared);
    row[COLUMN_PREPARED].colour = status->in_doubt ? COLOUR_YELLOW : NULL;
    if (status->prepared)
        snprintf(row[COLUMN_PREPARED].text, TABLE_CELL_BYTES, "%" PRIu32 ", %s", status->prepared,
                 units_format_duration(status->prepared_oldest_ms * 1000000, text));
    fill_count(row, COLUMN_ERRORS, errors);
    row[COLUMN_ERRORS].colour = errors ? COLOUR_YELLOW : NULL;
    snprintf(row[COLUMN_TRIP].text, TABLE_CELL_BYTES, "%s", units_format_duration(status->round_trip_ns, text));
    snprintf(row[COLUMN_UPTIME].text, TABLE_CELL_BYTES, "%s", units_format_duration(status->uptime_ms * 1000000, text));
}

static void print_summary(const struct mcomp *grid, const struct asked *asked, uint32_t nodes)
{
    uint64_t up = 0, connections = 0, total = 0;
    char size[UNITS_TEXT_BYTES], ops[OUTPUT_COUNT_BYTES];
    for (uint32_t i = 0; i < nodes; i++) {
        if (asked[i].outcome != MCOMP_OK)
            continue;
        up++;
        connections += asked[i].status.connections;
        total += operations(&asked[i].status);
    }
    printf("grid %s: %" PRIu64 " of %" PRIu32 " nodes up, %s, %" PRIu64 " connections, %s operations\n", mcomp_name(grid), up, nodes,
           units_format_bytes(mcomp_size(grid), size), connections, output_count(total, ops));
}

static bool print_table(const struct cli *cli, const struct mcomp *grid, const struct asked *asked, uint32_t nodes)
{
    struct table table = {.columns = columns, .column_count = COLUMNS};
    for (uint32_t i = 0; i < nodes; i++) {
        struct table_cell *row = table_row(&table);
        if (!row) {
            table_free(&table);
            cli_message(cli, "out of memory");
            return false;
        }
        bool up = asked[i].outcome == MCOMP_OK;
        snprintf(row[COLUMN_NODE].text, TABLE_CELL_BYTES, "%" PRIu32, i);
        bool serves = up && asked[i].status.restore_state == MCOMP_RESTORE_STATE_NONE;
        snprintf(row[COLUMN_STATE].text, TABLE_CELL_BYTES, "%s", state_name(&asked[i]));
        row[COLUMN_STATE].colour = serves ? COLOUR_GREEN : up ? COLOUR_YELLOW : COLOUR_RED;
        snprintf(row[COLUMN_ADDRESS].text, TABLE_CELL_BYTES, "%s", mcomp_node_address(grid, i));
        if (up)
            fill_up(row, &asked[i].status);
    }
    table_print(&table, stdout, cli->out_terminal ? output_width(STDOUT_FILENO) : 0, cli->out_colour);
    table_free(&table);
    print_summary(grid, asked, nodes);
    return true;
}

/* ---- JSON ---- */

static json_t *count_json(const struct mcomp_operation_count *count)
{
    return json_pack("{s:o, s:o, s:o}", "count", output_json_number(count->count), "errors", output_json_number(count->errors), "bytes",
                     output_json_number(count->bytes));
}

static void set_number(json_t *object, const char *key, uint64_t value)
{
    json_object_set_new(object, key, output_json_number(value));
}

static const char *restore_name(enum mcomp_restore_state state)
{
    switch (state) {
    case MCOMP_RESTORE_STATE_NONE:
        return "none";
    case MCOMP_RESTORE_STATE_BEGUN:
        return "begun";
    case MCOMP_RESTORE_STATE_PART:
        return "part";
    case MCOMP_RESTORE_STATE_COMPLETE:
        return "complete";
    }
    return "unknown";
}

static void add_transactions(json_t *object, const struct mcomp_node_status *status)
{
    json_object_set_new(object, "transaction", count_json(&status->transaction));
    set_number(object, "sessions", status->sessions);
    set_number(object, "sessions_max", status->sessions_max);
    set_number(object, "prepared", status->prepared);
    set_number(object, "in_doubt", status->in_doubt);
    set_number(object, "prepared_oldest_ms", status->prepared_oldest_ms);
    set_number(object, "transactions_committed", status->transactions_committed);
    set_number(object, "transactions_aborted_busy", status->transactions_aborted_busy);
    set_number(object, "transactions_aborted_compare", status->transactions_aborted_compare);
    set_number(object, "transactions_aborted_frozen", status->transactions_aborted_frozen);
    set_number(object, "transactions_aborted_other", status->transactions_aborted_other);
    set_number(object, "transactions_resolved", status->transactions_resolved);
    set_number(object, "sessions_collected", status->sessions_collected);
}

static void add_status(json_t *object, const struct mcomp_node_status *status)
{
    json_object_set_new(object, "server", output_json_text(status->server));
    set_number(object, "round_trip_ns", status->round_trip_ns);
    set_number(object, "segment_size", status->segment_size);
    json_object_set_new(object, "segment_id", output_json_value(status->segment_id));
    set_number(object, "process_id", status->process_id);
    set_number(object, "uptime_ms", status->uptime_ms);
    set_number(object, "attach_count", status->attach_count);
    set_number(object, "writes_finished_at_start", status->writes_finished_at_start);
    set_number(object, "connections", status->connections);
    set_number(object, "connections_accepted", status->connections_accepted);
    set_number(object, "connections_refused", status->connections_refused);
    set_number(object, "connections_broken", status->connections_broken);
    set_number(object, "operations", operations(status));
    json_object_set_new(object, "read", count_json(&status->read));
    json_object_set_new(object, "write", count_json(&status->write));
    json_object_set_new(object, "fetch_add", count_json(&status->fetch_add));
    json_object_set_new(object, "compare_and_swap", count_json(&status->compare_and_swap));
    json_object_set_new(object, "multi", count_json(&status->multi));
    json_object_set_new(object, "other", count_json(&status->other));
    set_number(object, "jobs_handed_to_workers", status->jobs_handed_to_workers);
    set_number(object, "jobs_waiting", status->jobs_waiting);
    set_number(object, "bytes_in", status->bytes_in);
    set_number(object, "bytes_out", status->bytes_out);
    set_number(object, "buffered_in", status->buffered_in);
    set_number(object, "buffered_out", status->buffered_out);
    set_number(object, "oplog_lines", status->oplog_lines);
    set_number(object, "oplog_dropped", status->oplog_dropped);
    json_object_set_new(object, "restore_state", json_string(restore_name(status->restore_state)));
    json_object_set_new(object, "restore_id", output_json_value(status->restore_id));
    json_object_set_new(object, "restore_file", output_json_value(status->restore_file));
    set_number(object, "restore_round", status->restore_round);
    add_transactions(object, status);
}

static bool print_json(const struct cli *cli, const struct mcomp *grid, const struct asked *asked, uint32_t nodes)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < nodes; i++) {
        json_t *object = json_pack("{s:i, s:s, s:s}", "node", (int)i, "address", mcomp_node_address(grid, i), "state", state_name(&asked[i]));
        if (!object)
            break;
        if (asked[i].outcome == MCOMP_OK)
            add_status(object, &asked[i].status);
        else
            json_object_set_new(object, "error", cli_error_json(&asked[i].error));
        if (asked[i].snapshot)
            json_object_set(object, "snapshot", asked[i].snapshot);
        json_array_append_new(array, object);
    }
    return cli_json_done(cli, output_json(array)) == CLI_DONE;
}

/* ---- the command ---- */

static void tell_trouble(const struct cli *cli, const struct asked *asked)
{
    if (asked->outcome == MCOMP_OK)
        cli_message(cli, "node %" PRIu32 " serves nobody until the restore of a snapshot comes to its end%s", asked->node,
                    asked->status.restore_state == MCOMP_RESTORE_STATE_COMPLETE ? "; its own bytes are all there" : "");
    else
        cli_message(cli, "%s", asked->error.text);
}

/** Say what is wrong with each node that is not up. Unreachable outweighs all else. */
static enum cli_exit judge(const struct cli *cli, const struct asked *asked, uint32_t nodes)
{
    enum cli_exit code = CLI_DONE;
    for (uint32_t i = 0; i < nodes; i++) {
        if (strcmp(state_name(&asked[i]), "up") == 0)
            continue;
        tell_trouble(cli, &asked[i]);
        if (strcmp(state_name(&asked[i]), "unreachable") == 0)
            code = CLI_UNREACHABLE;
        else if (code == CLI_DONE)
            code = CLI_FAILED;
    }
    return code;
}

/** config: of the snapshot processes, which are asked as well; NULL: they are not. */
static enum cli_exit show_status(const struct cli *cli, struct mcomp *grid, const struct config *config)
{
    uint32_t nodes = mcomp_nodes(grid);
    struct asked *asked = calloc(nodes, sizeof *asked);
    if (!asked) {
        cli_message(cli, "out of memory");
        return CLI_FAILED;
    }
    for (uint32_t i = 0; i < nodes; i++) {
        asked[i].grid = grid;
        asked[i].node = i;
        asked[i].timeout_ms = cli_timeout_ms(cli, STATUS_TIMEOUT_MS);
        asked[i].config = config;
        asked[i].snapshot_timeout_ns = snapshot_timeout_ns(cli, STATUS_TIMEOUT_MS);
    }
    ask_all(asked, nodes);
    enum cli_exit code = judge(cli, asked, nodes);
    bool printed = cli->json ? print_json(cli, grid, asked, nodes) : print_table(cli, grid, asked, nodes);
    for (uint32_t i = 0; i < nodes; i++)
        json_decref(asked[i].snapshot);
    free(asked);
    return code == CLI_DONE && !printed ? CLI_FAILED : code;
}

static enum cli_exit run(const struct cli *cli, const void *opaque)
{
    struct mcomp *grid;
    struct config config;
    (void)opaque;
    if (cli_open(cli, STATUS_SESSIONS, &grid) != MCOMP_OK)
        return CLI_FAILED;
    enum cli_exit code = CLI_FAILED;
    if (!cli->json) {
        code = show_status(cli, grid, NULL);
    } else if (snapshot_configure(cli, &config) == MCOMP_OK) {
        code = show_status(cli, grid, &config);
        config_free(&config);
    }
    mcomp_close(grid);
    return code;
}

const struct command command_status = {
    .name = "status",
    .summary = "show the state of all nodes",
    .description = "Ask all nodes for their state, side by side, and print a table: state,\n"
                   "address, segment, connections, operations answered since the node started (in\n"
                   "all and by kind), round trip, uptime. A narrow terminal gets fewer columns.\n"
                   "States: up; restoring (a restore of a snapshot is under way, or did not come\n"
                   "to its end); unreachable; mismatch (its configuration differs from ours);\n"
                   "failed.\n"
                   "With --json also what each node's snapshot process says of its rounds.\n"
                   "Exits 4 when a node is unreachable, 1 when one is not up for another reason; the\n"
                   "others are shown all the same.",
    .examples = "  mcomp status\n"
                "  mcomp status --timeout 500ms\n"
                "  mcomp status --json | jq '.[] | select(.state != \"up\")'",
    .run = run,
};
