/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

#define LINE_BYTES_MAX 2048u

static char folder[] = "/tmp/mcomp-test-log-XXXXXX";
static char log_path[64];

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(log_path, sizeof log_path, "%s/log", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(log_path);
    return rmdir(folder);
}

/** Open the log anew at log_path. */
static void begin(enum log_level lowest)
{
    struct err err;
    unlink(log_path);
    if (log_open("mcompd-2", lowest, log_path, &err) != MCOMP_OK)
        fail_msg("%s", err.text);
}

/** All of a file; the caller frees it. */
static char *read_file(const char *path)
{
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    char *text = NULL;
    size_t capacity = 0;
    if (getdelim(&text, &capacity, 0, file) < 0 && text)
        text[0] = 0;
    fclose(file);
    assert_non_null(text);
    return text;
}

static void assert_log_ends_with(const char *expected)
{
    char *text = read_file(log_path);
    size_t bytes = strlen(text), wanted = strlen(expected);
    if (bytes < wanted || strcmp(text + bytes - wanted, expected) != 0)
        fail_msg("expected at the end: %sgot: %s", expected, text);
    free(text);
}

static bool matches(const char *pattern, const char *line)
{
    regex_t regex;
    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    bool found = regexec(&regex, line, 0, NULL, 0) == 0;
    regfree(&regex);
    return found;
}

#define TIME_PATTERN "^20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]\\.[0-9]{3}Z "

static void line_has_the_fixed_form(void **state)
{
    (void)state;
    begin(LOG_DEBUG);
    log_line(LOG_DEBUG, "conn", "accept", "", "hello %d", 1);
    log_line(LOG_INFO, "conn", "accept", "conn=17", "x");
    log_line(LOG_WARN, "conn", "decode", "conn=17 off=0x1f00", "x");
    log_line(LOG_ERROR, "seg", "write", "", "x");
    char *text = read_file(log_path);
    assert_true(matches(TIME_PATTERN "debug role=mcompd-2 mod=conn op=accept msg=\"hello 1\"\n", text));
    assert_true(matches("\n" "20[^ ]*Z info  role=mcompd-2 mod=conn op=accept conn=17 msg=\"x\"\n", text));
    assert_true(matches("\n" "20[^ ]*Z warn  role=mcompd-2 mod=conn op=decode conn=17 off=0x1f00 msg=\"x\"\n", text));
    assert_true(matches("\n" "20[^ ]*Z error role=mcompd-2 mod=seg op=write msg=\"x\"\n$", text));
    free(text);
}

static void error_has_code_and_errno(void **state)
{
    (void)state;
    begin(LOG_INFO);
    struct err err;
    err_set(&err, MCOMP_INVALID_ARGUMENT, "frame is malformed");
    log_err(LOG_WARN, "conn", "decode", "conn=17", &err);
    assert_log_ends_with(" warn  role=mcompd-2 mod=conn op=decode conn=17 code=INVALID_ARGUMENT msg=\"frame is malformed\"\n");
    err_sys(&err, ENOENT, "open x");
    log_err(LOG_ERROR, "seg", "open", "", &err);
    assert_log_ends_with(" op=open code=NOT_FOUND errno=ENOENT msg=\"open x: No such file or directory\"\n");
    err.sys_errno = 4000;
    log_err(LOG_ERROR, "seg", "open", "", &err);
    assert_log_ends_with(" code=NOT_FOUND errno=4000 msg=\"open x: No such file or directory\"\n");
}

static void message_is_escaped(void **state)
{
    (void)state;
    begin(LOG_INFO);
    log_line(LOG_INFO, "m", "o", "", "%s", "a \"b\" c\\d\n2026-01-01 forged\x1b[31m\x9b \xe2\x82\xac");
    assert_log_ends_with(" msg=\"a \\\"b\\\" c\\\\d\\n2026-01-01 forged\\x1b[31m\\x9b \xe2\x82\xac\"\n");
    log_line(LOG_INFO, "m", "o", "key=a\nb\x7f", "x");
    assert_log_ends_with(" op=o key=a?b? msg=\"x\"\n");
}

static void long_line_is_cut_and_whole(void **state)
{
    (void)state;
    begin(LOG_INFO);
    char *long_text = malloc(100001);
    assert_non_null(long_text);
    memset(long_text, 'x', 100000);
    long_text[100000] = 0;
    log_line(LOG_INFO, "m", "o", "", "%s", long_text);
    char *text = read_file(log_path);
    assert_int_equal(strlen(text), LINE_BYTES_MAX);
    assert_string_equal(text + LINE_BYTES_MAX - 6, "x...\"\n");
    free(text);
    begin(LOG_INFO);
    log_line(LOG_INFO, "m", "o", long_text, "the message stays");
    text = read_file(log_path);
    assert_in_range(strlen(text), 1024, LINE_BYTES_MAX);
    assert_log_ends_with("xxx msg=\"the message stays\"\n");
    free(text);
    free(long_text);
}

static void lower_levels_are_not_written(void **state)
{
    (void)state;
    begin(LOG_WARN);
    struct err err;
    err_set(&err, MCOMP_INTERNAL, "x");
    log_line(LOG_INFO, "m", "o", "", "no");
    log_err(LOG_INFO, "m", "o", "", &err);
    struct stat stat_of;
    assert_int_equal(stat(log_path, &stat_of), 0);
    assert_int_equal(stat_of.st_size, 0);
    log_line(LOG_WARN, "m", "o", "", "yes");
    assert_log_ends_with(" msg=\"yes\"\n");
}

static void level_names(void **state)
{
    (void)state;
    enum log_level level = LOG_ERROR;
    assert_true(log_level_parse("debug", &level));
    assert_int_equal(level, LOG_DEBUG);
    assert_true(log_level_parse("info", &level));
    assert_int_equal(level, LOG_INFO);
    assert_true(log_level_parse("warn", &level));
    assert_int_equal(level, LOG_WARN);
    assert_true(log_level_parse("error", &level));
    assert_int_equal(level, LOG_ERROR);
    assert_false(log_level_parse("Error", &level));
    assert_false(log_level_parse("", &level));
    assert_int_equal(level, LOG_ERROR);
}

static void failed_open_and_reopen_keep_the_old_file(void **state)
{
    (void)state;
    begin(LOG_INFO);
    struct err err;
    assert_int_equal(log_open("other", LOG_INFO, "/nonexistent/log", &err), MCOMP_NOT_FOUND);
    assert_non_null(strstr(err.text, "/nonexistent/log"));
    log_line(LOG_INFO, "m", "o", "", "one");
    assert_log_ends_with(" role=mcompd-2 mod=m op=o msg=\"one\"\n");
    char aside[80];
    snprintf(aside, sizeof aside, "%s.1", log_path);
    assert_int_equal(rename(log_path, aside), 0);
    assert_int_equal(mkdir(log_path, 0700), 0); /* a directory cannot be opened for writing */
    assert_int_not_equal(log_reopen(&err), MCOMP_OK);
    log_line(LOG_INFO, "m", "o", "", "two");
    char *text = read_file(aside);
    assert_non_null(strstr(text, "msg=\"two\"\n"));
    free(text);
    assert_int_equal(rmdir(log_path), 0);
    assert_int_equal(log_reopen(&err), MCOMP_OK);
    log_line(LOG_INFO, "m", "o", "", "three");
    text = read_file(log_path);
    assert_null(strstr(text, "two"));
    free(text);
    assert_log_ends_with(" msg=\"three\"\n");
    assert_int_equal(unlink(aside), 0);
}

/* Goal: lines that could not be written are counted in the next that is. Method: the log is a link, first to a device that is always full. */
static void lost_lines_are_counted_and_errno_is_kept(void **state)
{
    (void)state;
    struct err err;
    char target[80];
    snprintf(target, sizeof target, "%s.target", log_path);
    unlink(log_path);
    assert_int_equal(symlink("/dev/full", log_path), 0);
    assert_int_equal(log_open("r", LOG_INFO, log_path, &err), MCOMP_OK);
    struct err cause;
    err_set(&cause, MCOMP_INTERNAL, "lost");
    errno = EXDEV;
    log_line(LOG_INFO, "m", "o", "", "lost");
    assert_int_equal(errno, EXDEV); /* although the write has failed */
    log_line(LOG_INFO, "m", "o", "", "lost");
    log_err(LOG_INFO, "m", "o", "", &cause);
    assert_int_equal(errno, EXDEV);
    assert_int_equal(unlink(log_path), 0);
    assert_int_equal(symlink(target, log_path), 0);
    assert_int_equal(log_reopen(&err), MCOMP_OK);
    log_line(LOG_INFO, "m", "o", "a=b", "again");
    assert_log_ends_with(" op=o a=b lost_lines=3 msg=\"again\"\n");
    log_line(LOG_INFO, "m", "o", "", "and on");
    assert_log_ends_with(" op=o msg=\"and on\"\n");
    assert_int_equal(unlink(target), 0);
}

static void without_a_path_lines_go_to_standard_error(void **state)
{
    (void)state;
    struct err err;
    unlink(log_path);
    int kept = dup(STDERR_FILENO);
    int fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(kept >= 0 && fd >= 0);
    assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
    enum mcomp_status opened = log_open("r", LOG_INFO, "", &err);
    enum mcomp_status reopened = log_reopen(&err);
    log_line(LOG_INFO, "m", "o", "", "to stderr");
    dup2(kept, STDERR_FILENO);
    close(kept);
    close(fd);
    assert_int_equal(opened, MCOMP_OK);
    assert_int_equal(reopened, MCOMP_OK);
    assert_log_ends_with(" info  role=r mod=m op=o msg=\"to stderr\"\n");
}

/* ---- many threads ---- */

#define WRITERS 4u
#define LINES 20000u
#define ROTATIONS 2000u

static atomic_uint lines_written;

static void *write_lines(void *arg)
{
    unsigned writer = *(const unsigned *)arg;
    for (unsigned i = 0; i < LINES; i++) {
        char keys[64];
        snprintf(keys, sizeof keys, "writer=%u line=%u", writer, i);
        log_line(LOG_INFO, "test", "write", keys, "%.*s", (int)(i % 200),
                 "................................................................................................"
                 "........................................................................................................");
        atomic_fetch_add(&lines_written, 1);
    }
    return NULL;
}

/** Go on where the last file ended: each line whole, each writer's numbers in order. */
static void check_file(const char *path, unsigned next[WRITERS])
{
    char *text = read_file(path), *rest = text;
    for (char *line = strsep(&rest, "\n"); rest; line = strsep(&rest, "\n")) {
        unsigned writer, number;
        const char *keys = strstr(line, "writer=");
        assert_non_null(keys);
        assert_int_equal(sscanf(keys, "writer=%u line=%u ", &writer, &number), 2);
        assert_in_range(writer, 0, WRITERS - 1);
        assert_int_equal(number, next[writer]);
        next[writer]++;
        const char *message = strstr(line, " msg=\"");
        assert_non_null(message);
        size_t dots = strspn(message + 6, ".");
        assert_int_equal(dots, number % 200);
        assert_string_equal(message + 6 + dots, "\"");
        assert_int_equal(line[23], 'Z');
    }
    free(text);
}

/* Goal: with writers at work, a rotation loses no line, breaks none, and puts none into the wrong file. Method: rename and reopen while
 * four threads write; then read the files in their order. */
static void reopening_loses_nothing(void **state)
{
    (void)state;
    begin(LOG_INFO);
    pthread_t threads[WRITERS];
    unsigned numbers[WRITERS], next[WRITERS] = {0};
    atomic_store(&lines_written, 0);
    for (unsigned i = 0; i < WRITERS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &numbers[i]), 0);
    }
    struct err err;
    char path[80];
    unsigned rotations = 0;
    for (; rotations < ROTATIONS && atomic_load(&lines_written) < WRITERS * LINES; rotations++) {
        snprintf(path, sizeof path, "%s.%u", log_path, rotations);
        assert_int_equal(rename(log_path, path), 0);
        assert_int_equal(log_reopen(&err), MCOMP_OK);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < rotations; i++) {
        snprintf(path, sizeof path, "%s.%u", log_path, i);
        check_file(path, next);
        assert_int_equal(unlink(path), 0);
    }
    check_file(log_path, next);
    for (unsigned i = 0; i < WRITERS; i++)
        assert_int_equal(next[i], LINES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(line_has_the_fixed_form),
        cmocka_unit_test(error_has_code_and_errno),
        cmocka_unit_test(message_is_escaped),
        cmocka_unit_test(long_line_is_cut_and_whole),
        cmocka_unit_test(lower_levels_are_not_written),
        cmocka_unit_test(level_names),
        cmocka_unit_test(failed_open_and_reopen_keep_the_old_file),
        cmocka_unit_test(lost_lines_are_counted_and_errno_is_kept),
        cmocka_unit_test(without_a_path_lines_go_to_standard_error),
        cmocka_unit_test(reopening_loses_nothing),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
