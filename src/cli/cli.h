/* SPDX-License-Identifier: Apache-2.0 */
/** What all commands of mcomp share: the options in front, exit codes, and how failures are told. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "cli/args.h"
#include "mcomp.h"

enum cli_exit {
    CLI_DONE = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,          /* the command line itself is wrong */
    CLI_COMPARE_FAILED = 3, /* cas found another value */
    CLI_UNREACHABLE = 4,    /* a node could not be reached, or did not answer within the time-out */
    CLI_INTERRUPTED = 130   /* by SIGINT or SIGTERM, as a shell reports it */
};

#define CLI_TIMEOUT_DEFAULT_MS 10000u

/** One run of mcomp. */
struct cli {
    const char *command; /* "read", in front of messages; NULL while unknown */
    const char *config_path; /* NULL: config_default_path() */
    uint64_t timeout_ns; /* of each call, 0 = none; UINT64_MAX = not given */
    bool json, help, version;
    bool out_terminal, err_terminal; /* standard output and error are terminals */
    bool out_colour;
};

/** A command: everything that parsing, help and dispatch need. */
struct command {
    const char *name;    /* "read", or two words: "config check" */
    const char *summary; /* half a line */
    const char *description; /* lines of help */
    const char *examples;    /* lines of help */
    const struct arg_spec *options, *operands;
    size_t option_count, operand_count;
    const void *defaults; /* the settings before parsing; NULL when the command has none */
    size_t settings_bytes;
    enum cli_exit (*run)(const struct cli *cli, const void *settings);
};

#define CLI_SETTINGS_BYTES_MAX 256u

/** The commands, in the order of help; the list ends with NULL. */
extern const struct command *const cli_commands[];

/** "mcomp: COMMAND: what is wrong: what would be right" on standard error. */
void cli_message(const struct cli *cli, const char *format, ...) PRINTF_LIKE(2, 3);

/** The time-out for calls, milliseconds as mcomp.h wants them; fallback_ms when --timeout was not given. */
uint32_t cli_timeout_ms(const struct cli *cli, uint32_t fallback_ms);

/** Open the grid of the configuration, with sessions for `sessions` calls at a time (0: the library's default).
 *  Owns: on OK the caller calls mcomp_close(). Failures are told as by cli_fail(). */
MUST_CHECK enum mcomp_status cli_open(const struct cli *cli, uint32_t sessions, struct mcomp **grid);

/** Tell a failure: its text, what became of the ranges if `changes` (the call would have changed the grid), and with --json an object
 *  {"error": …} on standard output. Returns the exit code that fits the status. */
enum cli_exit cli_fail(const struct cli *cli, const struct mcomp_error *error, bool changes);

/** The same for an error of our own. */
enum cli_exit cli_fail_err(const struct cli *cli, const struct err *err);

/** JSON of an error: status, text, node, errno, and spans if there are any. NULL when memory is short. */
struct json_t *cli_error_json(const struct mcomp_error *error);

/** CLI_DONE, or CLI_FAILED with a message when output_json() could not print. */
enum cli_exit cli_json_done(const struct cli *cli, bool printed);

/** Nobody reads our output any more: end as cat does, by SIGPIPE, without a word. Returns only when the signal is blocked. */
enum cli_exit cli_end_by_sigpipe(void);

/** The range [address, address+length) must lie in the grid; ARG_ALL becomes what is left from address on. Tells what is wrong. */
MUST_CHECK bool cli_fit_range(const struct cli *cli, const struct mcomp *grid, uint64_t address, uint64_t *length);
/** The same for a grid, or an image of one, of size bytes. */
MUST_CHECK bool cli_fit_size(const struct cli *cli, uint64_t size, uint64_t address, uint64_t *length);

/** --version, --help, help COMMAND. */
void help_print_overview(void);
void help_print_command(const struct command *command);
void help_print_group(const char *group);
extern const struct arg_spec cli_common_options[], cli_first_options[];
extern const size_t cli_common_option_count, cli_first_option_count;

#endif
