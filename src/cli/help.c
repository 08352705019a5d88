/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

#define INDENT 26 /* column at which explanations begin */

static void print_words(const char *left, const char *text)
{
    if (strlen(left) + 2 > INDENT)
        printf("%s\n%*s", left, INDENT, "");
    else
        printf("%-*s", INDENT, left);
    for (; *text; text++) {
        putchar(*text);
        if (*text == '\n')
            printf("%*s", INDENT, "");
    }
    putchar('\n');
}

static void print_option(const struct arg_spec *spec)
{
    char left[80], letter[8] = "    ";
    if (spec->letter)
        snprintf(letter, sizeof letter, "-%c, ", spec->letter);
    snprintf(left, sizeof left, "  %s--%s%s%s", letter, spec->name, spec->value ? " " : "", spec->value ? spec->value : "");
    print_words(left, spec->help);
}

static void print_options(const char *title, const struct arg_spec *specs, size_t count)
{
    if (count == 0)
        return;
    printf("\n%s:\n", title);
    for (size_t i = 0; i < count; i++)
        print_option(&specs[i]);
}

/** "read ADDR LEN" */
static void format_synopsis(const struct command *command, const char *options, char *text, size_t room)
{
    int n = snprintf(text, room, "%s%s", command->name, command->option_count > 0 ? options : "");
    for (size_t i = 0; i < command->operand_count && n >= 0 && (size_t)n < room; i++)
        n += snprintf(text + n, room - (size_t)n, command->operands[i].optional ? " [%s]" : " %s", command->operands[i].name);
}

static void print_usage(const struct command *command)
{
    char synopsis[160];
    format_synopsis(command, " [OPTION]...", synopsis, sizeof synopsis);
    printf("usage: mcomp %s\n", synopsis);
}

void help_print_command(const struct command *command)
{
    char left[64];
    print_usage(command);
    printf("\n%s\n", command->description);
    for (size_t i = 0; i < command->operand_count; i++) {
        if (i == 0)
            puts("\nOperands:");
        snprintf(left, sizeof left, "  %s", command->operands[i].name);
        print_words(left, command->operands[i].help);
    }
    print_options("Options", command->options, command->option_count);
    print_options("Options of every command", cli_common_options, cli_common_option_count);
    printf("\nExamples:\n%s\n", command->examples);
}

static void print_commands(const char *group)
{
    size_t length = group ? strlen(group) : 0;
    for (size_t i = 0; cli_commands[i]; i++) {
        const struct command *command = cli_commands[i];
        char synopsis[80], left[96];
        if (length > 0 && (strncmp(command->name, group, length) != 0 || command->name[length] != ' '))
            continue;
        format_synopsis(command, "", synopsis, sizeof synopsis);
        snprintf(left, sizeof left, "  %s", synopsis);
        print_words(left, command->summary);
    }
}

void help_print_group(const char *group)
{
    printf("usage: mcomp %s ACTION [OPTION]...\n\nActions:\n", group);
    print_commands(group);
    printf("\n'mcomp help %s ACTION' tells more about one.\n", group);
}

void help_print_overview(void)
{
    puts("usage: mcomp [OPTION]... COMMAND [OPTION]... [OPERAND]...\n"
         "\n"
         "Look at, change and measure a memory grid: the memory of N machines as one\n"
         "array of bytes.\n"
         "\n"
         "Commands:");
    print_commands(NULL);
    print_words("  help COMMAND", "tell more about a command, with examples");
    print_options("Options", cli_common_options, cli_common_option_count);
    for (size_t i = 0; i < cli_first_option_count; i++)
        print_option(&cli_first_options[i]);
    puts("\n"
         "Addresses and lengths: 4096, 0x1000, 64KiB, 1.5GiB. Values: 42, -1, 0x2a.\n"
         "\n"
         "Exit status: 0 done, 1 failed, 2 wrong usage, 3 compare failed, 4 some node\n"
         "unreachable, 130 interrupted.");
}
