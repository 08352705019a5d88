/* SPDX-License-Identifier: Apache-2.0 */
/** The tables of the commands hold what parsing and help rely on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/cli.h"

static size_t target_bytes(enum arg_kind kind)
{
    switch (kind) {
    case ARG_FLAG:
        return sizeof(bool);
    case ARG_TEXT:
        return sizeof(const char *);
    case ARG_CHOICE:
        return sizeof(unsigned);
    default:
        return sizeof(uint64_t);
    }
}

static void assert_spec(const struct arg_spec *spec, size_t settings_bytes, bool option)
{
    assert_true(spec->name && *spec->name);
    assert_true(spec->help && *spec->help);
    assert_true(spec->offset + target_bytes(spec->kind) <= settings_bytes);
    if (option)
        assert_int_equal(spec->value == NULL, spec->kind == ARG_FLAG);
    if (spec->kind == ARG_COUNT)
        assert_true(spec->min < spec->max);
}

static bool is_name_of(const char *name, const struct arg_spec *specs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(specs[i].name, name) == 0)
            return true;
    }
    return false;
}

static void every_command_is_complete(void **state)
{
    (void)state;
    for (size_t i = 0; cli_commands[i]; i++) {
        const struct command *command = cli_commands[i];
        assert_true(command->name && command->summary && command->description && command->examples && command->run);
        assert_true(command->settings_bytes <= CLI_SETTINGS_BYTES_MAX);
        assert_int_equal(command->settings_bytes == 0, command->defaults == NULL);
        assert_true(command->option_count <= ARG_OPTIONS_MAX && command->operand_count <= ARG_OPERANDS_MAX);
        for (size_t n = 0; n < command->option_count; n++)
            assert_spec(&command->options[n], command->settings_bytes, true);
        for (size_t n = 0; n < command->operand_count; n++)
            assert_spec(&command->operands[n], command->settings_bytes, false);
    }
}

static void common_options_are_complete(void **state)
{
    (void)state;
    for (size_t i = 0; i < cli_common_option_count; i++)
        assert_spec(&cli_common_options[i], sizeof(struct cli), true);
    for (size_t i = 0; i < cli_first_option_count; i++)
        assert_spec(&cli_first_options[i], sizeof(struct cli), true);
}

/* Goal: getopt would take the first of two options of one name, silently. */
static void no_option_has_the_name_of_another(void **state)
{
    (void)state;
    for (size_t i = 0; cli_commands[i]; i++) {
        const struct command *command = cli_commands[i];
        for (size_t n = 0; n < command->option_count; n++) {
            assert_false(is_name_of(command->options[n].name, cli_common_options, cli_common_option_count));
            assert_false(is_name_of(command->options[n].name, command->options, n));
            for (size_t c = 0; command->options[n].letter && c < cli_common_option_count; c++)
                assert_int_not_equal(command->options[n].letter, cli_common_options[c].letter);
        }
    }
}

static void optional_operands_stand_last(void **state)
{
    (void)state;
    for (size_t i = 0; cli_commands[i]; i++) {
        const struct command *command = cli_commands[i];
        for (size_t n = 1; n < command->operand_count; n++)
            assert_true(command->operands[n].optional || !command->operands[n - 1].optional);
    }
}

static void no_command_hides_another(void **state)
{
    (void)state;
    for (size_t i = 0; cli_commands[i]; i++) {
        assert_string_not_equal(cli_commands[i]->name, "help");
        for (size_t n = 0; n < i; n++)
            assert_string_not_equal(cli_commands[i]->name, cli_commands[n]->name);
    }
}

static void timeouts_are_rounded_up_and_zero_means_none(void **state)
{
    (void)state;
    struct cli cli = {.timeout_ns = UINT64_MAX};
    assert_int_equal(cli_timeout_ms(&cli, 77), 77);
    cli.timeout_ns = 1;
    assert_int_equal(cli_timeout_ms(&cli, 77), 1);
    cli.timeout_ns = 1000001;
    assert_int_equal(cli_timeout_ms(&cli, 77), 2);
    cli.timeout_ns = 0;
    assert_true(cli_timeout_ms(&cli, 77) == MCOMP_NO_TIMEOUT);
    cli.timeout_ns = UINT64_MAX - 1;
    assert_true(cli_timeout_ms(&cli, 77) == MCOMP_NO_TIMEOUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_is_complete),
        cmocka_unit_test(common_options_are_complete),
        cmocka_unit_test(no_option_has_the_name_of_another),
        cmocka_unit_test(optional_operands_stand_last),
        cmocka_unit_test(no_command_hides_another),
        cmocka_unit_test(timeouts_are_rounded_up_and_zero_means_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
