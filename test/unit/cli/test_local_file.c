/* SPDX-License-Identifier: Apache-2.0 */
/** Files of load and save, and the bytes of write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/local_file.h"
#include "cli/out.h"
#include "cli/source.h"

static char folder[64];

static const char *in_folder(const char *name)
{
    static char paths[4][128];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static unsigned entries(void)
{
    DIR *dir = opendir(folder);
    unsigned count = 0;
    assert_non_null(dir);
    for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir))
        count += entry->d_name[0] != '.' || strlen(entry->d_name) > 2;
    closedir(dir);
    return count;
}

static void put(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(out_write_all(fd, text, strlen(text)), 0);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void assert_content(const char *path, const char *text)
{
    char found[256] = "";
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_true(read(fd, found, sizeof found - 1) >= 0);
    close(fd);
    assert_string_equal(found, text);
}

static int begin(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/mcomp-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static void file_appears_at_commit_and_not_before(void **state)
{
    (void)state;
    struct output_file file;
    struct err err;
    const char *path = in_folder("out");
    assert_int_equal(output_file_open(&file, path, 5, &err), MCOMP_OK);
    assert_int_equal(out_write_all(file.fd, "hello", 5), 0);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(output_file_sync(&file, &err), MCOMP_OK);
    assert_int_equal(output_file_commit(&file, &err), MCOMP_OK);
    assert_content(path, "hello");
    assert_int_equal(entries(), 1);
    unlink(path);
}

static void discard_leaves_nothing_and_the_old_file(void **state)
{
    (void)state;
    struct output_file file;
    struct err err;
    const char *path = in_folder("out");
    put(path, "old", 0640);
    assert_int_equal(output_file_open(&file, path, 1000000, &err), MCOMP_OK);
    assert_int_equal(out_write_all(file.fd, "new", 3), 0);
    output_file_discard(&file);
    assert_content(path, "old");
    assert_int_equal(entries(), 1);
    unlink(path);
}

static void replaced_file_keeps_its_permissions(void **state)
{
    (void)state;
    struct output_file file;
    struct err err;
    struct stat st;
    const char *path = in_folder("out");
    put(path, "old and longer", 0640);
    assert_int_equal(output_file_open(&file, path, 3, &err), MCOMP_OK);
    assert_int_equal(out_write_all(file.fd, "new", 3), 0);
    assert_int_equal(output_file_sync(&file, &err), MCOMP_OK);
    assert_int_equal(output_file_commit(&file, &err), MCOMP_OK);
    assert_content(path, "new");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    unlink(path);
}

static void symbolic_link_stays_and_its_file_is_replaced(void **state)
{
    (void)state;
    struct output_file file;
    struct err err;
    struct stat st;
    const char *real = in_folder("real"), *link = in_folder("link");
    put(real, "old", 0600);
    assert_int_equal(symlink("real", link), 0);
    assert_int_equal(output_file_open(&file, link, 3, &err), MCOMP_OK);
    assert_int_equal(out_write_all(file.fd, "new", 3), 0);
    assert_int_equal(output_file_sync(&file, &err), MCOMP_OK);
    assert_int_equal(output_file_commit(&file, &err), MCOMP_OK);
    assert_content(real, "new");
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    unlink(link);
    unlink(real);
}

static void devices_are_written_directly(void **state)
{
    (void)state;
    struct output_file file;
    struct err err;
    assert_int_equal(output_file_open(&file, "/dev/null", 100, &err), MCOMP_OK);
    assert_true(file.direct);
    assert_int_equal(output_file_sync(&file, &err), MCOMP_OK);
    assert_int_equal(output_file_commit(&file, &err), MCOMP_OK);
    assert_int_equal(access("/dev/null", F_OK), 0);
}

static void names_that_cannot_be_are_refused(void **state)
{
    (void)state;
    struct output_file file;
    struct err err;
    char text[256];
    assert_int_equal(output_file_open(&file, folder, 1, &err), MCOMP_INTERNAL);
    snprintf(text, sizeof text, "cannot write \"%s\": Is a directory", folder);
    assert_string_equal(err.text, text);
    assert_int_equal(output_file_open(&file, in_folder("no/file"), 1, &err), MCOMP_NOT_FOUND);
    snprintf(text, sizeof text, "cannot create a file in folder \"%s/no\": No such file or directory", folder);
    assert_string_equal(err.text, text);
    assert_int_equal(entries(), 0);
}

/* Goal: a disk that is too small is found before work begins. Method: the largest file there can be; ext4, xfs, tmpfs all refuse it. */
static void space_is_reserved_at_the_start(void **state)
{
    (void)state;
    struct output_file file;
    struct err err;
    enum mcomp_status status = output_file_open(&file, in_folder("out"), INT64_MAX, &err);
    if (status == MCOMP_OK) {
        output_file_discard(&file); /* a file system that cannot reserve */
        skip();
    }
    assert_true(err.sys_errno != 0);
    assert_int_equal(entries(), 0);
}

static void input_knows_its_length_or_that_it_has_none(void **state)
{
    (void)state;
    struct err err;
    uint64_t length;
    int fd, ends[2];
    char name[32];
    put(in_folder("in"), "12345", 0600);
    assert_int_equal(input_file_open(in_folder("in"), &fd, &length, &err), MCOMP_OK);
    assert_int_equal(length, 5);
    input_file_close(fd);
    assert_int_equal(pipe(ends), 0);
    snprintf(name, sizeof name, "/dev/fd/%d", ends[0]);
    assert_int_equal(input_file_open(name, &fd, &length, &err), MCOMP_OK);
    assert_true(length == UINT64_MAX);
    input_file_close(fd);
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(input_file_open(folder, &fd, &length, &err), MCOMP_INTERNAL);
    assert_int_equal(input_file_open(in_folder("none"), &fd, &length, &err), MCOMP_NOT_FOUND);
    unlink(in_folder("in"));
}

static void hex_digits_become_bytes(void **state)
{
    (void)state;
    struct source source;
    struct err err;
    assert_int_equal(source_check_hex("de ad BEef\n", &err), MCOMP_OK);
    assert_int_equal(source_open_hex(&source, "de ad BEef\n", &err), MCOMP_OK);
    assert_int_equal(source.length, 4);
    assert_memory_equal(source.memory, "\xde\xad\xbe\xef", 4);
    source_close(&source);
    assert_int_equal(source_check_hex("", &err), MCOMP_OK);
    assert_int_equal(source_check_hex("de a", &err), MCOMP_INVALID_ARGUMENT);
    assert_string_equal(err.text, "no pair of hexadecimal digits at character 4: write bytes as 00 to ff");
    assert_int_equal(source_check_hex("d e", &err), MCOMP_INVALID_ARGUMENT);
    assert_int_equal(source_check_hex("0xde", &err), MCOMP_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_appears_at_commit_and_not_before),
        cmocka_unit_test(discard_leaves_nothing_and_the_old_file),
        cmocka_unit_test(replaced_file_keeps_its_permissions),
        cmocka_unit_test(symbolic_link_stays_and_its_file_is_replaced),
        cmocka_unit_test(devices_are_written_directly),
        cmocka_unit_test(names_that_cannot_be_are_refused),
        cmocka_unit_test(space_is_reserved_at_the_start),
        cmocka_unit_test(input_knows_its_length_or_that_it_has_none),
        cmocka_unit_test(hex_digits_become_bytes),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
