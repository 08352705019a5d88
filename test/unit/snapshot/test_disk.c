/* SPDX-License-Identifier: Apache-2.0 */
/** Real small and read-only file systems. Only root can mount them; without that the program is skipped. */
#include "unit/snapshot/file_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME "x.mcsnap"
#define EXIT_SKIPPED 77

/** A tmpfs of 2 MiB. */
static int disk_begin(void **state)
{
    return folder_begin(state) == 0 && mount("tmpfs", *state, "tmpfs", 0, "size=2m,mode=0700") == 0 ? 0 : -1;
}

static int disk_end(void **state)
{
    if (umount2(*state, MNT_DETACH) != 0)
        return -1;
    return folder_end(state);
}

static struct array noise(size_t windows)
{
    struct array array = array_make(windows * SNAPSHOT_CHUNK_BYTES, 1);
    fill_random(array.bytes, array_size(&array), windows);
    return array;
}

/** Write as much of the array as goes. Returns the first failure. */
static enum mcomp_status try_save(const struct array *array, const char *folder, const char *name, struct err *err)
{
    struct snapshot_writer *writer;
    struct chunk_builder builder = {0};
    Mcomp__Snapshot__V1__Header header;
    uint64_t bytes;
    uint8_t *room = malloc(SNAPSHOT_CHUNK_BYTES);
    assert_non_null(room);
    enum mcomp_status status = snapshot_writer_open(&writer, folder, name, array->segment_size, 1, err);
    bool open = status == MCOMP_OK;
    for (uint64_t address = 0; status == MCOMP_OK && address < array->segment_size; address += SNAPSHOT_CHUNK_BYTES) {
        Mcomp__Snapshot__V1__Chunk chunk;
        chunk_begin(&builder, address, room);
        for (uint32_t page = 0; page < SNAPSHOT_CHUNK_PAGES; page++) {
            memcpy(chunk_page(&builder), array->bytes + address + page * SNAPSHOT_PAGE_BYTES, SNAPSHOT_PAGE_BYTES);
            (void)chunk_keep(&builder, page);
        }
        assert_true(chunk_end(&builder, &chunk));
        status = snapshot_writer_put(writer, &chunk, err);
    }
    header_fill(&header, "demo", 1);
    if (status == MCOMP_OK)
        status = snapshot_writer_commit(writer, &header, &bytes, err);
    if (status != MCOMP_OK && open)
        snapshot_writer_discard(writer);
    free(room);
    return status;
}

static void full_disk_costs_the_new_file_only(void **state)
{
    struct array first = noise(4), large = noise(6), fits = noise(2);
    struct err err;
    struct problems problems;
    assert_ok(try_save(&first, *state, "first.mcsnap", &err), err);
    assert_int_equal(try_save(&large, *state, NAME, &err), MCOMP_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(err.text, path_in(*state, NAME ".tmp")));
    assert_non_null(strstr(err.text, "the file system has 0 B free: No space left on device"));
    assert_int_equal(folder_count(*state), 1);
    assert_holds(path_in(*state, "first.mcsnap"), &first);
    verify_file(path_in(*state, "first.mcsnap"), &problems);
    assert_int_equal(problems.status, MCOMP_OK);
    assert_ok(try_save(&fits, *state, NAME, &err), err); /* its space is free again */
    assert_holds(path_in(*state, NAME), &fits);
    array_free(&first);
    array_free(&large);
    array_free(&fits);
}

static void no_room_for_the_index_is_a_full_disk_too(void **state)
{
    struct array array = noise(7);
    struct err err;
    struct stat st;
    assert_ok(try_save(&array, *state, NAME, &err), err);
    assert_int_equal(stat(path_in(*state, NAME), &st), 0);
    assert_int_equal(unlink(path_in(*state, NAME)), 0);
    /* Leave room for the chunks, which end in the page before the last. */
    size_t filler = 2097152 - ((size_t)st.st_size / SNAPSHOT_PAGE_BYTES) * SNAPSHOT_PAGE_BYTES;
    uint8_t *zeros = calloc(1, filler);
    assert_non_null(zeros);
    file_store(path_in(*state, "filler"), zeros, filler);
    assert_int_equal(try_save(&array, *state, NAME, &err), MCOMP_RESOURCE_EXHAUSTED);
    assert_int_equal(folder_count(*state), 1);
    free(zeros);
    array_free(&array);
}

static void read_only_file_system_is_told(void **state)
{
    struct array array = noise(1);
    struct err err;
    uint32_t removed;
    char deeper[400];
    assert_ok(try_save(&array, *state, "demo-00000100-20260203T101112Z.mcsnap", &err), err);
    file_store(path_in(*state, "demo-00000200-20260203T101112Z.mcsnap.tmp"), "x", 1);
    assert_int_equal(mount("tmpfs", *state, "tmpfs", MS_REMOUNT | MS_RDONLY, "size=2m"), 0);
    assert_int_equal(try_save(&array, *state, NAME, &err), MCOMP_PERMISSION_DENIED);
    assert_non_null(strstr(err.text, NAME ".tmp"));
    assert_non_null(strstr(err.text, "Read-only file system"));
    snprintf(deeper, sizeof deeper, "%s/new", (char *)*state);
    assert_int_equal(try_save(&array, deeper, NAME, &err), MCOMP_PERMISSION_DENIED);
    assert_int_equal(snapshot_sweep(*state, "demo", &removed, &err), MCOMP_PERMISSION_DENIED);
    assert_non_null(strstr(err.text, "demo-00000200-20260203T101112Z.mcsnap.tmp"));
    assert_ok(snapshot_retain(*state, "demo", 1, &err), err); /* nothing to do */
    assert_holds(path_in(*state, "demo-00000100-20260203T101112Z.mcsnap"), &array);
    array_free(&array);
}

static void old_files_that_cannot_be_removed_are_told(void **state)
{
    struct err err;
    for (uint32_t round = 1; round <= 3; round++) {
        struct snapshot_writer *writer;
        Mcomp__Snapshot__V1__Header header;
        char name[SNAPSHOT_NAME_BYTES];
        uint64_t bytes;
        snapshot_name(name, "demo", round, FIXTURE_UTC_NS);
        header_fill(&header, "demo", round);
        assert_ok(snapshot_writer_open(&writer, *state, name, SNAPSHOT_PAGE_BYTES, 1, &err), err);
        assert_ok(snapshot_writer_commit(writer, &header, &bytes, &err), err);
    }
    assert_int_equal(mount("tmpfs", *state, "tmpfs", MS_REMOUNT | MS_RDONLY, "size=2m"), 0);
    assert_int_equal(snapshot_retain(*state, "demo", 1, &err), MCOMP_PERMISSION_DENIED);
    assert_non_null(strstr(err.text, "demo-00000002-"));
    assert_int_equal(folder_count(*state), 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, disk_begin, disk_end)

int main(void)
{
    void *folder;
    if (disk_begin(&folder) != 0) {
        fprintf(stderr, "skipped: cannot mount a tmpfs: %s\n", strerror(errno));
        return folder_end(&folder) == 0 ? EXIT_SKIPPED : 1;
    }
    if (disk_end(&folder) != 0)
        return 1;
    const struct CMUnitTest tests[] = {
        TEST(full_disk_costs_the_new_file_only),
        TEST(no_room_for_the_index_is_a_full_disk_too),
        TEST(read_only_file_system_is_told),
        TEST(old_files_that_cannot_be_removed_are_told),
    };
    return cmocka_run_group_tests_name("snapshot disk", tests, NULL, NULL);
}
