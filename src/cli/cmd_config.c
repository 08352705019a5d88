/* SPDX-License-Identifier: Apache-2.0 */
/** mcomp config check: what a configuration means, or all that is wrong with it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/output.h"
#include "config/config.h"

struct config_settings {
    const char *file;
};

static const struct config_settings defaults = {0};

static const struct arg_spec operands[] = {
    {.name = "FILE", .optional = true, .kind = ARG_TEXT, .offset = offsetof(struct config_settings, file), .help = "instead of that of --config"},
};

static json_t *nodes_json(const struct config *config)
{
    json_t *nodes = json_array();
    for (uint32_t i = 0; i < config->nodes; i++) {
        const struct config_node *node = &config->node[i];
        json_t *snapshot = node->snapshot_address.host[0] ? output_json_text(node->snapshot_address.text) : json_null();
        json_array_append_new(nodes, json_pack("{s:i, s:o, s:o}", "node", (int)i, "address", output_json_text(node->address.text),
                                               "snapshot_address", snapshot));
    }
    return nodes;
}

static json_t *config_json(const struct config *config)
{
    json_t *server = json_pack("{s:i, s:i, s:i, s:o, s:o, s:o, s:o, s:o}", "io_threads", (int)config->server.io_threads, "workers",
                               (int)config->server.workers, "max_connections", (int)config->server.max_connections, "max_message",
                               output_json_number(config->server.max_message), "inline_max", output_json_number(config->server.inline_max),
                               "idle_timeout_ns", output_json_number(config->server.idle_timeout_ns), "stall_timeout_ns",
                               output_json_number(config->server.stall_timeout_ns), "max_buffers", output_json_number(config->server.max_buffers));
    json_t *snapshot = json_pack("{s:o, s:o, s:i}", "interval_ns", output_json_number(config->snapshot.interval_ns), "directory",
                                 output_json_text(config->snapshot.directory), "keep", (int)config->snapshot.keep);
    json_t *oplog = json_pack("{s:o, s:b}", "file", output_json_text(config->oplog.file), "reads", (int)config->oplog.reads);
    return json_pack("{s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "valid", 1, "file", output_json_text(config->path), "grid",
                     output_json_text(config->grid), "segment_size", output_json_number(config->segment_size), "grid_size",
                     output_json_number(config_grid_bytes(config)), "nodes", nodes_json(config), "server", server, "snapshot", snapshot,
                     "oplog", oplog);
}

/** {"valid": false, "problems": [each line]}. Changes problems. */
static json_t *problems_json(char *problems)
{
    json_t *array = json_array();
    for (char *line = problems; *line;) {
        size_t length = strcspn(line, "\n");
        char *next = line + length + (line[length] == '\n');
        line[length] = 0;
        json_array_append_new(array, output_json_text(line));
        line = next;
    }
    return json_pack("{s:b, s:o}", "valid", 0, "problems", array);
}

static enum cli_exit check(const struct cli *cli, const char *path, FILE *problems, char **text)
{
    struct config config = {0};
    struct err err;
    enum mcomp_status status = config_load(&config, path, problems, &err);
    if (fflush(problems) != 0) {
        cli_message(cli, "out of memory");
        return CLI_FAILED;
    }
    enum cli_exit code = CLI_DONE;
    if (status != MCOMP_OK) {
        if ((*text)[0])
            fputs(*text, stderr);
        else
            cli_message(cli, "%s", err.text);
        if (cli->json)
            (void)cli_json_done(cli, output_json(problems_json((*text)[0] ? *text : err.text)));
        code = CLI_FAILED;
    } else if (cli->json) {
        code = cli_json_done(cli, output_json(config_json(&config)));
    } else {
        config_print(&config, stdout);
    }
    config_free(&config);
    return code;
}

static enum cli_exit run(const struct cli *cli, const void *opaque)
{
    const struct config_settings *settings = opaque;
    const char *path = settings->file ? settings->file : cli->config_path ? cli->config_path : config_default_path();
    if (settings->file && cli->config_path) {
        cli_message(cli, "both FILE and --config name a file: give one");
        return CLI_USAGE;
    }
    char *text = NULL;
    size_t bytes = 0;
    FILE *problems = open_memstream(&text, &bytes);
    if (!problems) {
        cli_message(cli, "out of memory");
        return CLI_FAILED;
    }
    enum cli_exit code = check(cli, path, problems, &text);
    fclose(problems);
    free(text);
    return code;
}

const struct command command_config_check = {
    .name = "config check",
    .summary = "say what the configuration means, or what is wrong",
    .description = "Read the configuration, say what it means with all values in effect, or name\n"
                   "everything that is wrong with it, with file, line and remedy, and exit 1. Asks\n"
                   "no node.",
    .examples = "  mcomp config check\n"
                "  mcomp config check /etc/mcomp/mcomp.cfg\n"
                "  mcomp --json config check | jq .grid_size",
    .operands = operands,
    .operand_count = sizeof operands / sizeof *operands,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .run = run,
};
