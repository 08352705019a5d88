/* SPDX-License-Identifier: Apache-2.0 */
/** mcomp, the command line. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/suggest.h"

/** Occupy descriptors 0 to 2 if the caller closed them, so that no socket or file takes their place and receives our messages. The
 *  substitutes fail when used, as a closed descriptor does. */
static void guard_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
            _exit(CLI_FAILED);
    }
}

/** Name of the command in argv[0 …]: its words, 0 if it is not this one. */
static int words_matched(const struct command *command, int argc, char **argv)
{
    size_t first = strcspn(command->name, " ");
    if (argc < 1 || strlen(argv[0]) != first || memcmp(argv[0], command->name, first) != 0)
        return 0;
    if (command->name[first] == 0)
        return 1;
    return argc > 1 && strcmp(argv[1], command->name + first + 1) == 0 ? 2 : 0;
}

static const struct command *find_command(int argc, char **argv, int *words)
{
    for (size_t i = 0; cli_commands[i]; i++) {
        *words = words_matched(cli_commands[i], argc, argv);
        if (*words > 0)
            return cli_commands[i];
    }
    return NULL;
}

/** The word is the first of several commands' names: "config". */
static bool is_group(const char *word)
{
    size_t length = strlen(word);
    for (size_t i = 0; cli_commands[i]; i++) {
        if (strncmp(cli_commands[i]->name, word, length) == 0 && cli_commands[i]->name[length] == ' ')
            return true;
    }
    return false;
}

static enum cli_exit unknown_command(const struct cli *cli, int argc, char **argv)
{
    char quoted[TEXT_QUOTE_BYTES], typed[2 * SUGGEST_WORD_MAX];
    bool group = is_group(argv[0]);
    struct suggestion best = {0};
    if (group && argc > 1)
        snprintf(typed, sizeof typed, "%s %s", argv[0], argv[1]);
    else
        snprintf(typed, sizeof typed, "%s", argv[0]);
    for (size_t i = 0; cli_commands[i]; i++)
        suggest_consider(&best, typed, cli_commands[i]->name);
    suggest_consider(&best, typed, "help");
    if (best.word)
        cli_message(cli, "unknown command %s: did you mean '%s'?", text_quote(typed, quoted), best.word);
    else if (group)
        cli_message(cli, "%s needs an action: 'mcomp help %s' lists them", argv[0], argv[0]);
    else
        cli_message(cli, "unknown command %s: 'mcomp --help' lists the commands", text_quote(typed, quoted));
    return CLI_USAGE;
}

static enum cli_exit print_help_for(const struct cli *cli, int argc, char **argv)
{
    int words;
    if (argc < 1) {
        help_print_overview();
        return CLI_DONE;
    }
    const struct command *command = find_command(argc, argv, &words);
    if (command)
        help_print_command(command);
    else if (argc == 1 && is_group(argv[0]))
        help_print_group(argv[0]);
    else if (argc == 1 && strcmp(argv[0], "help") == 0)
        help_print_overview();
    else
        return unknown_command(cli, argc, argv);
    return CLI_DONE;
}

/** argv[0] is the last word of the command's name. */
static enum cli_exit run_command(struct cli *cli, struct arg_set *common, const struct command *command, int argc, char **argv)
{
    _Alignas(max_align_t) unsigned char settings[CLI_SETTINGS_BYTES_MAX];
    MC_ASSERT(command->settings_bytes <= sizeof settings);
    if (command->settings_bytes > 0)
        memcpy(settings, command->defaults, command->settings_bytes);
    /* The common options may stand in front of the command or behind it, but not in both places. */
    struct arg_set sets[] = {*common, {command->options, command->option_count, settings, 0}};
    struct arg_rest rest;
    struct err err;
    cli->command = command->name;
    enum mcomp_status status = args_options(argc, argv, ARGS_ALL, sets, 2, &rest, &err);
    if (status == MCOMP_OK && cli->help) {
        help_print_command(command);
        return CLI_DONE;
    }
    if (status == MCOMP_OK)
        status = args_operands(command->operands, command->operand_count, settings, &rest, &err);
    if (status != MCOMP_OK) {
        cli_message(cli, "%s", err.text);
        return CLI_USAGE;
    }
    return command->run(cli, settings);
}

static enum cli_exit run(struct cli *cli, int argc, char **argv)
{
    struct arg_set sets[] = {
        {cli_common_options, cli_common_option_count, cli, 0},
        {cli_first_options, cli_first_option_count, cli, 0},
    };
    struct arg_rest rest;
    struct err err;
    int words;
    if (args_options(argc, argv, ARGS_STOP, sets, 2, &rest, &err) != MCOMP_OK) {
        cli_message(cli, "%s", err.text);
        return CLI_USAGE;
    }
    argc -= rest.next;
    argv += rest.next;
    if (cli->version) {
        printf("mcomp %s (libmcomp %s)\n", MCOMP_VERSION, mcomp_version());
        return CLI_DONE;
    }
    if (cli->help)
        return print_help_for(cli, argc, argv);
    if (argc < 1) {
        cli_message(cli, "a command is missing: 'mcomp --help' lists the commands");
        return CLI_USAGE;
    }
    const struct command *command = find_command(argc, argv, &words);
    if (command)
        return run_command(cli, &sets[0], command, argc - words + 1, argv + words - 1);
    if (strcmp(argv[0], "help") == 0)
        return print_help_for(cli, argc - 1, argv + 1);
    if (argc == 2 && is_group(argv[0]) && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        help_print_group(argv[0]);
        return CLI_DONE;
    }
    return unknown_command(cli, argc, argv);
}

/** True when nobody reads standard output any more. */
static bool output_is_broken_pipe(void)
{
    struct pollfd fd = {.fd = STDOUT_FILENO, .events = POLLOUT};
    return poll(&fd, 1, 0) == 1 && (fd.revents & POLLERR);
}

/** Write what is buffered. */
static enum cli_exit finish_output(const struct cli *cli, enum cli_exit code)
{
    bool failed = ferror(stdout) != 0;
    errno = 0;
    if (fflush(stdout) == 0 && !failed)
        return code;
    int reason = errno;
    if (reason == EPIPE || output_is_broken_pipe())
        return cli_end_by_sigpipe();
    cli_message(cli, "cannot write standard output: %s", reason ? strerror(reason) : "an earlier write failed");
    return code == CLI_DONE ? CLI_FAILED : code;
}

int main(int argc, char **argv)
{
    guard_standard_descriptors();
    /* A broken pipe is an error of write(2), so that temporary files are removed and the right thing is said. */
    signal(SIGPIPE, SIG_IGN);
    struct cli cli = {
        .timeout_ns = UINT64_MAX,
        .out_terminal = isatty(STDOUT_FILENO),
        .err_terminal = isatty(STDERR_FILENO),
        .out_colour = output_has_colour(STDOUT_FILENO),
    };
    return finish_output(&cli, run(&cli, argc, argv));
}
