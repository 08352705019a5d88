/* SPDX-License-Identifier: Apache-2.0 */
/* config_load(): files that cannot be read, relative paths, many threads. And which file is taken when none is named. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "unit/config/parse.h"

#define GOOD "grid=g segment_size=4096 nodes=1 node 0{address=\"a:1\"}"
#define NOBODY 65534u

static char folder[] = "/tmp/mcomp-test-config-XXXXXX";
static char file_path[64];

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(file_path, sizeof file_path, "%s/mcomp.cfg", folder);
    return chdir(folder);
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(file_path);
    return chdir("/") == 0 ? rmdir(folder) : -1;
}

static void write_file(const char *text)
{
    FILE *file = fopen(file_path, "we");
    assert_non_null(file);
    assert_int_equal(fputs(text, file) >= 0, 1);
    assert_int_equal(fclose(file), 0);
}

static struct parsed load(const char *path)
{
    struct parsed parsed = {.status = MCOMP_OK};
    size_t said_bytes = 0;
    FILE *out = open_memstream(&parsed.said, &said_bytes);
    assert_non_null(out);
    parsed.status = config_load(&parsed.config, path, out, &parsed.err);
    fclose(out);
    return parsed;
}

/** Cannot be loaded, for a reason that both the error and the problems tell in words. */
static void check_unreadable(const char *path, enum mcomp_status status, const char *words, const char *remedy)
{
    struct parsed parsed = load(path);
    assert_int_equal(parsed.status, status);
    assert_int_equal(parsed.err.code, status);
    if (strncmp(parsed.said, path, strlen(path)) != 0 || !strstr(parsed.said, words) || !strstr(parsed.said, remedy))
        fail_msg("%s", parsed.said);
    assert_memory_equal(parsed.err.text, parsed.said, strlen(parsed.err.text));
    assert_null(strchr(parsed.said, '\n')[1] ? parsed.said : NULL); /* one line */
    assert_int_equal(config_load(&parsed.config, path, NULL, NULL), status);
    parsed_free(&parsed);
}

static void missing_file(void **state)
{
    (void)state;
    check_unreadable("nosuch.cfg", MCOMP_NOT_FOUND, "No such file or directory", "--config");
    check_unreadable("nosuch/mcomp.cfg", MCOMP_NOT_FOUND, "No such file or directory", "MCOMP_CONFIG");
    struct parsed parsed = load("nosuch.cfg");
    assert_int_equal(parsed.err.sys_errno, ENOENT);
    parsed_free(&parsed);
}

static void directory_instead_of_file(void **state)
{
    (void)state;
    check_unreadable(folder, MCOMP_INVALID_ARGUMENT, "is a directory", "/mcomp.cfg");
}

static void file_without_the_right_to_read_it(void **state)
{
    (void)state;
    write_file(GOOD);
    assert_int_equal(chmod(file_path, 0), 0);
    assert_int_equal(chmod(folder, 0755), 0);
    bool root = geteuid() == 0;
    if (root)
        assert_int_equal(seteuid(NOBODY), 0);
    struct parsed parsed = load(file_path);
    if (root)
        assert_int_equal(seteuid(0), 0);
    assert_int_equal(parsed.status, MCOMP_PERMISSION_DENIED);
    assert_non_null(strstr(parsed.said, "Permission denied: give this user the right to read it\n"));
    parsed_free(&parsed);
    assert_int_equal(chmod(file_path, 0600), 0);
}

static void empty_and_too_large(void **state)
{
    (void)state;
    struct parsed parsed = load("/dev/null");
    assert_int_equal(parsed.status, MCOMP_INVALID_ARGUMENT);
    assert_non_null(strstr(parsed.said, "/dev/null:1: the file is empty"));
    parsed_free(&parsed);
    check_unreadable("/dev/zero", MCOMP_INVALID_ARGUMENT, "larger than 1048576 bytes", "is this a mcomp.cfg?");
}

static void problems_name_the_file(void **state)
{
    (void)state;
    write_file("grid = g\nsegment_size = 1\nnodes = 0\n");
    struct parsed parsed = load("./mcomp.cfg");
    assert_int_equal(parsed.status, MCOMP_INVALID_ARGUMENT);
    assert_int_equal(strncmp(parsed.said, "./mcomp.cfg:2: segment_size", 27), 0);
    assert_non_null(strstr(parsed.said, "\n./mcomp.cfg:3: nodes"));
    assert_int_equal(strncmp(parsed.err.text, "./mcomp.cfg:2: segment_size", 27), 0);
    parsed_free(&parsed);
}

/* Goal: relative paths in the file belong to its folder, whatever the working directory is. */
static void relative_paths(void **state)
{
    (void)state;
    write_file(GOOD " snapshot { directory = \"s/t\" } oplog { file = \"o\" }");
    struct parsed parsed = load("mcomp.cfg");
    assert_int_equal(parsed.status, MCOMP_OK);
    assert_string_equal(parsed.config.path, "mcomp.cfg");
    assert_string_equal(parsed.config.snapshot.directory, "s/t");
    assert_string_equal(parsed.config.oplog.file, "o");
    parsed_free(&parsed);
    char expected[80];
    parsed = load(file_path);
    snprintf(expected, sizeof expected, "%s/s/t", folder);
    assert_string_equal(parsed.config.snapshot.directory, expected);
    snprintf(expected, sizeof expected, "%s/o", folder);
    assert_string_equal(parsed.config.oplog.file, expected);
    assert_string_equal(parsed.config.path, file_path);
    parsed_free(&parsed);
    write_file(GOOD " snapshot { directory = \"/s\" } oplog { file = \"\" }");
    parsed = load(file_path);
    assert_string_equal(parsed.config.snapshot.directory, "/s");
    assert_string_equal(parsed.config.oplog.file, "");
    parsed_free(&parsed);
    write_file(GOOD);
    parsed = load(file_path);
    snprintf(expected, sizeof expected, "%s/snapshots", folder);
    assert_string_equal(parsed.config.snapshot.directory, expected);
    parsed_free(&parsed);
}

static void long_paths(void **state)
{
    (void)state;
    struct config config;
    struct err err;
    char name[5000];
    memset(name, 'x', sizeof name);
    name[4096] = 0;
    assert_int_equal(config_parse(&config, name, GOOD, strlen(GOOD), NULL, &err), MCOMP_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "path is too long: at most 4095 bytes"));
    name[4095] = 0;
    assert_int_equal(config_parse(&config, name, GOOD, strlen(GOOD), NULL, &err), MCOMP_OK);
    assert_string_equal(config.path, name);
    config_free(&config);
    name[4090] = '/'; /* "snapshots" does not fit behind the folder any more */
    assert_int_equal(config_parse(&config, name, GOOD, strlen(GOOD), NULL, &err), MCOMP_INVALID_ARGUMENT);
    char text[6000];
    snprintf(text, sizeof text, "%s snapshot { directory = \"%.*s\" }", GOOD, 4096, name);
    assert_int_equal(config_parse(&config, "t.cfg", text, strlen(text), NULL, &err), MCOMP_OK);
    config_free(&config);
    memset(name, 'y', sizeof name);
    snprintf(text, sizeof text, "%s snapshot { directory = \"%.*s\" }", GOOD, 4096, name);
    assert_int_equal(config_parse(&config, "t.cfg", text, strlen(text), NULL, &err), MCOMP_INVALID_ARGUMENT);
    assert_non_null(strstr(err.text, "t.cfg:1: snapshot.directory"));
    assert_non_null(strstr(err.text, "at most 4095 bytes"));
}

static void default_path(void **state)
{
    (void)state;
    unlink(file_path);
    unsetenv("MCOMP_CONFIG");
    if (access("/etc/mcomp/mcomp.cfg", F_OK) != 0)
        assert_string_equal(config_default_path(), "mcomp.cfg");
    write_file(GOOD);
    assert_string_equal(config_default_path(), "mcomp.cfg");
    setenv("MCOMP_CONFIG", "/some/where.cfg", 1);
    assert_string_equal(config_default_path(), "/some/where.cfg");
    setenv("MCOMP_CONFIG", "", 1);
    assert_string_equal(config_default_path(), "mcomp.cfg");
    unsetenv("MCOMP_CONFIG");
}

/* ---- many threads ---- */

#define THREADS 4u
#define ROUNDS 60u

static atomic_uint mistakes;

static void *parse_many(void *arg)
{
    unsigned me = *(const unsigned *)arg;
    char text[256], expected[64];
    for (unsigned i = 0; i < ROUNDS; i++) {
        bool good = (i + me) % 2 == 0;
        snprintf(text, sizeof text, "%s\n%s server { workers = %u }", good ? "" : "wrong = 1\n", GOOD, 1 + me);
        struct config config;
        struct err err;
        enum mcomp_status status = config_parse(&config, "t.cfg", text, strlen(text), NULL, &err);
        snprintf(expected, sizeof expected, "t.cfg:1: unknown key \"wrong\"");
        if (good ? status != MCOMP_OK || config.server.workers != 1 + me
                 : status != MCOMP_INVALID_ARGUMENT || strncmp(err.text, expected, strlen(expected)) != 0)
            atomic_fetch_add(&mistakes, 1);
        config_free(&config);
    }
    return NULL;
}

static void many_threads(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    unsigned numbers[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, parse_many, &numbers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&mistakes), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missing_file),
        cmocka_unit_test(directory_instead_of_file),
        cmocka_unit_test(file_without_the_right_to_read_it),
        cmocka_unit_test(empty_and_too_large),
        cmocka_unit_test(problems_name_the_file),
        cmocka_unit_test(relative_paths),
        cmocka_unit_test(long_paths),
        cmocka_unit_test(default_path),
        cmocka_unit_test(many_threads),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
