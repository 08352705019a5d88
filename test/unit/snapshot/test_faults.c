/* SPDX-License-Identifier: Apache-2.0 */
/** System calls that fail, are interrupted or do half of what they were asked: the linker puts ours before the C library's. */
#include "unit/snapshot/file_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME "x.mcsnap"

ssize_t __real_write(int fd, const void *data, size_t bytes);
ssize_t __wrap_write(int fd, const void *data, size_t bytes);
ssize_t __real_pwrite(int fd, const void *data, size_t bytes, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *data, size_t bytes, off_t offset);
ssize_t __real_pread(int fd, void *data, size_t bytes, off_t offset);
ssize_t __wrap_pread(int fd, void *data, size_t bytes, off_t offset);
int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_flock(int fd, int operation);
int __wrap_flock(int fd, int operation);
int __real_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags);
int __wrap_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags);

static struct {
    uint64_t seed;          /* not 0: interrupt, and do less than asked, at random */
    int64_t writes_left;    /* after so many writes, write fails with write_errno; -1: never */
    bool undirected;        /* direct writes fail */
    int write_errno;
    int pwrite_errno, rename_errno; /* 0: works */
    int syncs_left, sync_errno;     /* the sync after syncs_left others fails; -1: none */
    uint64_t bad_begin, bad_end;    /* bytes of files that cannot be read */
    char steal[400];        /* removed when the file is locked */
    int steals_left;
} fault;

static int fault_begin(void **state)
{
    memset(&fault, 0, sizeof fault);
    fault.writes_left = fault.syncs_left = -1;
    return folder_begin(state);
}

static int fault_end(void **state)
{
    memset(&fault, 0, sizeof fault);
    return folder_end(state);
}

static bool interrupted(void)
{
    if (!fault.seed || random_next(&fault.seed) % 3 != 0)
        return false;
    errno = EINTR;
    return true;
}

ssize_t __wrap_write(int fd, const void *data, size_t bytes)
{
    if (interrupted())
        return -1;
    if (fault.writes_left == 0) {
        errno = fault.write_errno;
        return -1;
    }
    fault.writes_left -= fault.writes_left > 0;
    if (fault.undirected && fcntl(fd, F_GETFL) & O_DIRECT) { /* the file system promised what it cannot keep */
        errno = EINVAL;
        return -1;
    }
    return __real_write(fd, data, fault.seed && bytes > 1 ? 1 + random_next(&fault.seed) % (bytes - 1) : bytes);
}

ssize_t __wrap_pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
    if (interrupted())
        return -1;
    errno = fault.pwrite_errno;
    return fault.pwrite_errno ? -1 : __real_pwrite(fd, data, fault.seed && bytes > 1 ? bytes / 2 : bytes, offset);
}

ssize_t __wrap_pread(int fd, void *data, size_t bytes, off_t offset)
{
    if (interrupted())
        return -1;
    uint64_t begin = (uint64_t)offset;
    if (begin < fault.bad_end && begin + bytes > fault.bad_begin) {
        if (begin >= fault.bad_begin) {
            errno = EIO;
            return -1;
        }
        bytes = fault.bad_begin - begin; /* up to the bad spot, as the kernel does it */
    }
    return __real_pread(fd, data, fault.seed && bytes > 1 ? 1 + random_next(&fault.seed) % (bytes - 1) : bytes, offset);
}

int __wrap_fsync(int fd)
{
    if (fault.syncs_left == 0) {
        errno = fault.sync_errno;
        return -1;
    }
    fault.syncs_left -= fault.syncs_left > 0;
    return __real_fsync(fd);
}

int __wrap_flock(int fd, int operation)
{
    if (interrupted())
        return -1;
    if (fault.steals_left > 0) {
        fault.steals_left--;
        assert_int_equal(unlink(fault.steal), 0);
    }
    return __real_flock(fd, operation);
}

int __wrap_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    errno = fault.rename_errno;
    return fault.rename_errno ? -1 : __real_renameat2(from_dir, from, to_dir, to, flags);
}

/* More than the writer has buffers for, and no multiple of them. */
static struct array noise(void)
{
    struct array array = array_make(51 * SNAPSHOT_CHUNK_BYTES + SNAPSHOT_PAGE_BYTES, 2);
    for (uint64_t page = 0; page < array_size(&array) / SNAPSHOT_PAGE_BYTES; page += 1 + page % 3 % 2)
        fill_random(array.bytes + page * SNAPSHOT_PAGE_BYTES, SNAPSHOT_PAGE_BYTES, page);
    return array;
}

static void half_done_and_interrupted_calls_do_no_harm(void **state)
{
    struct array array = noise();
    struct problems problems;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        fault.seed = seed * 7919;
        array_save(&array, *state, NAME, seed % 2);
        assert_holds(path_in(*state, NAME), &array);
        verify_file(path_in(*state, NAME), &problems);
        assert_int_equal(problems.status, MCOMP_OK);
        fault.seed = 0;
        assert_holds(path_in(*state, NAME), &array);
        assert_int_equal(unlink(path_in(*state, NAME)), 0);
    }
    array_free(&array);
}

/** Write until it fails; what is left must be nothing. Returns the status; OK: it did not fail. */
static enum mcomp_status save_failing(const struct array *array, const char *folder, struct err *err)
{
    struct snapshot_writer *writer;
    struct chunk_builder builder = {0};
    Mcomp__Snapshot__V1__Header header;
    uint64_t bytes;
    uint8_t *room = malloc(SNAPSHOT_CHUNK_BYTES);
    assert_non_null(room);
    enum mcomp_status status = snapshot_writer_open(&writer, folder, NAME, array->segment_size, array->nodes, err);
    assert_int_equal(status, MCOMP_OK);
    for (uint64_t offset = 0; status == MCOMP_OK && offset < array->segment_size; offset += SNAPSHOT_CHUNK_BYTES) {
        Mcomp__Snapshot__V1__Chunk chunk;
        chunk_begin(&builder, offset, room);
        for (uint32_t page = 0; page < chunk_window_bytes(array->segment_size, offset) / SNAPSHOT_PAGE_BYTES; page++) {
            memcpy(chunk_page(&builder), array->bytes + offset + page * SNAPSHOT_PAGE_BYTES, SNAPSHOT_PAGE_BYTES);
            (void)chunk_keep(&builder, page);
        }
        assert_true(chunk_end(&builder, &chunk));
        status = snapshot_writer_put(writer, &chunk, err);
    }
    header_fill(&header, "demo", 1);
    if (status == MCOMP_OK)
        status = snapshot_writer_commit(writer, &header, &bytes, err);
    if (status != MCOMP_OK) {
        snapshot_writer_discard(writer);
        assert_int_equal(folder_count(folder), 0);
    }
    free(room);
    return status;
}

static void every_write_may_fail(void **state)
{
    struct array array = noise();
    struct err err;
    int64_t writes = 0;
    for (;; writes++) {
        fault.writes_left = writes;
        fault.write_errno = EIO;
        if (save_failing(&array, *state, &err) == MCOMP_OK)
            break;
        assert_non_null(strstr(err.text, NAME ".tmp"));
        assert_int_equal(err.sys_errno, EIO);
    }
    assert_true(writes >= 4);
    array_free(&array);
}

static void full_disk_is_told_with_path_and_numbers(void **state)
{
    struct array array = noise();
    struct err err;
    fault.writes_left = 2;
    fault.write_errno = ENOSPC;
    assert_int_equal(save_failing(&array, *state, &err), MCOMP_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(err.text, path_in(*state, NAME ".tmp")));
    assert_non_null(strstr(err.text, " do not fit after "));
    assert_non_null(strstr(err.text, " free: No space left on device"));
    array_free(&array);
}

static void header_sync_and_rename_may_fail(void **state)
{
    struct array array = noise();
    struct err err;
    fault.pwrite_errno = EIO;
    assert_int_equal(save_failing(&array, *state, &err), MCOMP_INTERNAL);
    fault.pwrite_errno = 0;
    for (int syncs = 0; syncs < 2; syncs++) { /* of the file, and of the directory, when it has its name already */
        fault.syncs_left = syncs;
        fault.sync_errno = EIO;
        assert_int_equal(save_failing(&array, *state, &err), MCOMP_INTERNAL);
        assert_non_null(strstr(err.text, "cannot sync "));
    }
    fault.syncs_left = -1;
    fault.rename_errno = EACCES;
    assert_int_equal(save_failing(&array, *state, &err), MCOMP_PERMISSION_DENIED);
    assert_non_null(strstr(err.text, "cannot rename "));
    array_free(&array);
}

static void file_systems_that_can_do_less_are_good_enough(void **state)
{
    struct array array = noise();
    fault.rename_errno = EINVAL; /* no RENAME_NOREPLACE */
    fault.undirected = true;
    fault.syncs_left = 1;
    fault.sync_errno = EINVAL; /* directories cannot be synced */
    array_save(&array, *state, NAME, false);
    assert_holds(path_in(*state, NAME), &array);
    assert_int_equal(folder_count(*state), 1);
    array_free(&array);
}

/* A sweep that comes between creating the file and locking it. */
static void file_swept_before_it_is_locked_is_made_again(void **state)
{
    struct array array = noise();
    struct snapshot_writer *writer;
    struct err err;
    snprintf(fault.steal, sizeof fault.steal, "%s/" NAME ".tmp", (char *)*state);
    fault.steals_left = 2;
    array_save(&array, *state, NAME, false);
    assert_holds(path_in(*state, NAME), &array);
    fault.steals_left = 1000;
    assert_int_equal(unlink(path_in(*state, NAME)), 0);
    assert_int_equal(snapshot_writer_open(&writer, *state, NAME, SNAPSHOT_PAGE_BYTES, 1, &err), MCOMP_ABORTED);
    assert_int_equal(folder_count(*state), 0);
    array_free(&array);
}

/* ---- a disk that refuses to read some bytes ---- */

static void unreadable_bytes_cost_the_chunks_that_they_are_in(void **state)
{
    struct array array = array_make(4 * SNAPSHOT_CHUNK_BYTES, 2);
    struct place place[16];
    struct problems problems;
    struct snapshot_reader *reader;
    struct err err;
    uint8_t byte;
    for (uint64_t window = 0; window < 8; window++)
        fill_random(array.bytes + window * SNAPSHOT_CHUNK_BYTES, 20 * SNAPSHOT_PAGE_BYTES, window);
    array_save(&array, *state, NAME, false);
    assert_int_equal(file_places(path_in(*state, NAME), place, 16), 12);
    /* A page in the middle of the fourth chunk, which is the second of node 1. */
    fault.bad_begin = (place[4].offset + 30000) / SNAPSHOT_PAGE_BYTES * SNAPSHOT_PAGE_BYTES;
    fault.bad_end = fault.bad_begin + SNAPSHOT_PAGE_BYTES;
    verify_file(path_in(*state, NAME), &problems);
    assert_int_equal(problems.chunks, 7);
    assert_int_equal(problems.count, 1);
    assert_int_equal(problems.first[0].offset, place[4].offset);
    assert_int_equal(problems.first[0].bytes, place[4].bytes);
    assert_int_equal(problems.first[0].address, 5 * SNAPSHOT_CHUNK_BYTES);
    assert_int_equal(problems.first[0].length, SNAPSHOT_CHUNK_BYTES);
    assert_non_null(strstr(problems.first[0].text, "Input/output error"));
    assert_ok(snapshot_reader_open(&reader, path_in(*state, NAME), &err), err);
    for (uint64_t window = 0; window < 8; window++) {
        enum mcomp_status status = snapshot_reader_read(reader, window * SNAPSHOT_CHUNK_BYTES, 1, &byte, &err);
        assert_true((status == MCOMP_OK) == (window != 5));
    }
    snapshot_reader_close(reader);
    /* Where the head of a chunk cannot be read, the next one must be searched for. */
    fault.bad_begin = place[4].offset / SNAPSHOT_PAGE_BYTES * SNAPSHOT_PAGE_BYTES;
    fault.bad_end = fault.bad_begin + 2 * SNAPSHOT_PAGE_BYTES;
    verify_file(path_in(*state, NAME), &problems);
    assert_int_equal(problems.chunks, 6);
    assert_int_equal(problems.count, 2);
    assert_int_equal(problems.first[0].offset, place[3].offset);
    assert_int_equal(problems.first[0].bytes, place[3].bytes);
    assert_int_equal(problems.first[1].offset, place[4].offset);
    assert_int_equal(problems.first[1].bytes, place[4].bytes);
    array_free(&array);
}

/* What the disk gave of a piece before the bad spot counts. */
static void records_just_before_unreadable_bytes_are_found(void **state)
{
    struct array array = array_make(3 * SNAPSHOT_CHUNK_BYTES, 1);
    struct place place[16];
    struct problems problems;
    for (uint64_t window = 0; window < 3; window++)
        fill_random(array.bytes + window * SNAPSHOT_CHUNK_BYTES, 3 * SNAPSHOT_PAGE_BYTES, window);
    array_save(&array, *state, NAME, false);
    assert_int_equal(file_places(path_in(*state, NAME), place, 16), 6);
    file_patch(path_in(*state, NAME), place[1].offset, "\377", 1);
    fault.bad_begin = place[3].offset / SNAPSHOT_PAGE_BYTES * SNAPSHOT_PAGE_BYTES + SNAPSHOT_PAGE_BYTES;
    fault.bad_end = fault.bad_begin + SNAPSHOT_PAGE_BYTES;
    assert_true(fault.bad_begin > place[3].offset && fault.bad_end < place[3].offset + place[3].bytes);
    verify_file(path_in(*state, NAME), &problems);
    assert_int_equal(problems.chunks, 1);
    assert_int_equal(problems.count, 2);
    assert_int_equal(problems.first[0].offset, place[1].offset);
    assert_int_equal(problems.first[0].bytes, place[1].bytes);
    assert_int_equal(problems.first[1].offset, place[3].offset);
    assert_int_equal(problems.first[1].bytes, place[3].bytes);
    array_free(&array);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fault_begin, fault_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(half_done_and_interrupted_calls_do_no_harm),
        TEST(every_write_may_fail),
        TEST(full_disk_is_told_with_path_and_numbers),
        TEST(header_sync_and_rename_may_fail),
        TEST(file_systems_that_can_do_less_are_good_enough),
        TEST(file_swept_before_it_is_locked_is_made_again),
        TEST(unreadable_bytes_cost_the_chunks_that_they_are_in),
        TEST(records_just_before_unreadable_bytes_are_found),
    };
    return cmocka_run_group_tests_name("snapshot faults", tests, NULL, NULL);
}
