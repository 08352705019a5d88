/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/commands.h"

const struct command *const cli_commands[] = {
    &command_status,
    &command_read,
    &command_write,
    &command_add,
    &command_cas,
    &command_txn_list, /* before txn, whose name begins it */
    &command_txn,
    &command_load,
    &command_save,
    &command_bench,
    &command_snapshot_now,
    &command_snapshot_status,
    &command_snapshot_list,
    &command_snapshot_show,
    &command_snapshot_verify,
    &command_snapshot_read,
    &command_snapshot_diff,
    &command_snapshot_restore,
    &command_config_check,
    NULL,
};

const struct arg_spec cli_common_options[] = {
    {.name = "config", .letter = 'c', .kind = ARG_TEXT, .value = "FILE", .offset = offsetof(struct cli, config_path),
     .help = "the grid's configuration; default $MCOMP_CONFIG,\n./mcomp.cfg, /etc/mcomp/mcomp.cfg"},
    {.name = "json", .kind = ARG_FLAG, .offset = offsetof(struct cli, json), .help = "print JSON"},
    {.name = "timeout", .kind = ARG_DURATION, .value = "TIME", .offset = offsetof(struct cli, timeout_ns),
     .help = "how long a call to the grid may take: 500ms, 5s;\n0 = as long as it takes; default 10s, status 2s"},
    {.name = "help", .letter = 'h', .kind = ARG_FLAG, .offset = offsetof(struct cli, help), .help = "print this help"},
};
const size_t cli_common_option_count = sizeof cli_common_options / sizeof *cli_common_options;

const struct arg_spec cli_first_options[] = {
    {.name = "version", .letter = 'V', .kind = ARG_FLAG, .offset = offsetof(struct cli, version), .help = "print the version"},
};
const size_t cli_first_option_count = sizeof cli_first_options / sizeof *cli_first_options;
