/* SPDX-License-Identifier: Apache-2.0 */
/** The commands, one file each. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "cli/cli.h"

extern const struct command command_status, command_read, command_write, command_add, command_cas, command_load, command_save, command_bench,
    command_config_check, command_snapshot_now, command_snapshot_status, command_snapshot_list, command_snapshot_show, command_snapshot_verify,
    command_snapshot_read, command_snapshot_diff, command_snapshot_restore, command_txn, command_txn_list;

#endif
