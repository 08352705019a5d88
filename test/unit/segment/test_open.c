/* SPDX-License-Identifier: Apache-2.0 */
/** Making, attaching, refusing and removing segments. */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

static const uint8_t zeros[STRIPE_BYTES];

static void assert_all_zero(struct segment *segment)
{
    static uint8_t buf[FIXTURE_BYTES];
    memset(buf, 0xff, sizeof buf);
    DONE(segment_read(segment, 0, FIXTURE_BYTES, buf));
    for (uint64_t at = 0; at < FIXTURE_BYTES; at += PAGE_BYTES)
        assert_memory_equal(buf + at, zeros, PAGE_BYTES);
}

static void write_text(struct segment *segment, uint64_t offset, const char *text)
{
    DONE(segment_write(segment, 0, offset, strlen(text), text));
}

static void assert_text(struct segment *segment, uint64_t offset, const char *text)
{
    char buf[64] = "";
    DONE(segment_read(segment, offset, strlen(text), buf));
    assert_string_equal(buf, text);
}

static void new_segment_is_zero_and_allocated_in_full(void **state)
{
    struct fixture *fixture = *state;
    struct segment_info info;
    char path[128];
    struct stat st;
    fixture_open(fixture);
    segment_get_info(fixture->segment, &info);
    assert_true(info.created);
    assert_int_equal(info.attach_count, 1);
    assert_int_equal(info.writes_finished, 0);
    assert_true(info.id != 0);
    assert_int_equal(segment_size(fixture->segment), FIXTURE_BYTES);
    assert_all_zero(fixture->segment);
    assert_int_equal(stat(fixture_path(fixture, 1, path), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_true((uint64_t)st.st_blocks * 512 >= (uint64_t)st.st_size);
}

static void bytes_and_identity_survive_close_and_open(void **state)
{
    struct fixture *fixture = *state;
    struct segment_info first, second;
    fixture_open(fixture);
    segment_get_info(fixture->segment, &first);
    write_text(fixture->segment, FIXTURE_BYTES - 5, "hello");
    fixture_close(fixture);
    fixture_open(fixture);
    segment_get_info(fixture->segment, &second);
    assert_text(fixture->segment, FIXTURE_BYTES - 5, "hello");
    assert_false(second.created);
    assert_int_equal(second.attach_count, 2);
    assert_true(first.id == second.id);
}

static void removed_segment_is_made_anew(void **state)
{
    struct fixture *fixture = *state;
    struct segment_info first, second;
    struct err err;
    fixture_open(fixture);
    segment_get_info(fixture->segment, &first);
    write_text(fixture->segment, 0, "hello");
    fixture_close(fixture);
    assert_int_equal(segment_remove(fixture->grid, 1, &err), MCOMP_OK);
    fixture_open(fixture);
    segment_get_info(fixture->segment, &second);
    assert_true(second.created);
    assert_true(first.id != second.id);
    assert_all_zero(fixture->segment);
}

static void removing_nothing_is_ok(void **state)
{
    struct fixture *fixture = *state;
    struct err err;
    assert_int_equal(segment_remove(fixture->grid, 1, &err), MCOMP_OK);
    assert_int_equal(segment_remove(fixture->grid, 1, NULL), MCOMP_OK);
}

static void large_segment_starts_at_a_huge_page(void **state)
{
    struct fixture *fixture = *state;
    fixture->options.size = 3 * (uint64_t)LAYOUT_HUGE_BYTES;
    fixture_open(fixture);
    const void *first = segment_hold_try(fixture->segment, 0, 1);
    assert_non_null(first);
    assert_int_equal((uintptr_t)first % LAYOUT_HUGE_BYTES, 0);
    segment_release(fixture->segment, 0, 1);
}

/* ---- refusals ---- */

/* A closed segment with "precious" in it. */
static void make_precious(struct fixture *fixture)
{
    fixture_open(fixture);
    write_text(fixture->segment, 100, "precious");
    fixture_close(fixture);
}

/* A refusal has harmed nothing. */
static void assert_precious(struct fixture *fixture)
{
    fixture_open(fixture);
    assert_text(fixture->segment, 100, "precious");
    fixture_close(fixture);
}

#define REMEDY "mcompd --reset --config FILE --node 1"

static void other_size_is_refused(void **state)
{
    struct fixture *fixture = *state;
    make_precious(fixture);
    fixture->options.size = 2 * FIXTURE_BYTES;
    fixture_open_fails(fixture, MCOMP_FAILED_PRECONDITION, "266240", "532480", "segment_size", REMEDY, NULL);
    fixture->options.size = FIXTURE_BYTES;
    assert_precious(fixture);
}

static void other_number_of_nodes_is_refused(void **state)
{
    struct fixture *fixture = *state;
    make_precious(fixture);
    fixture->options.nodes = 4;
    fixture_open_fails(fixture, MCOMP_FAILED_PRECONDITION, "3 nodes", "nodes = 4", REMEDY, NULL);
    fixture->options.nodes = 3;
    assert_precious(fixture);
}

static void other_grid_is_refused(void **state)
{
    struct fixture *fixture = *state;
    make_precious(fixture);
    char from[128], to[128];
    snprintf(to, sizeof to, "/dev/shm/mcomp.%s.1", fixture->other_grid);
    assert_int_equal(rename(fixture_path(fixture, 1, from), to), 0);
    fixture->options.grid = fixture->other_grid;
    fixture_open_fails(fixture, MCOMP_FAILED_PRECONDITION, fixture->grid, fixture->other_grid, REMEDY, NULL);
    assert_int_equal(rename(to, from), 0);
    fixture->options.grid = fixture->grid;
    assert_precious(fixture);
}

static void other_node_is_refused(void **state)
{
    struct fixture *fixture = *state;
    make_precious(fixture);
    char from[128], to[128];
    assert_int_equal(rename(fixture_path(fixture, 1, from), fixture_path(fixture, 2, to)), 0);
    fixture->options.node = 2;
    fixture_open_fails(fixture, MCOMP_FAILED_PRECONDITION, "node 1", "node 2", "--node 2", NULL);
    assert_int_equal(rename(to, from), 0);
    fixture->options.node = 1;
    assert_precious(fixture);
}

static void other_format_version_is_refused(void **state)
{
    struct fixture *fixture = *state;
    make_precious(fixture);
    struct layout_header *header = fixture_map(fixture);
    header->fixed.version = 77;
    layout_seal(&header->fixed);
    fixture_open_fails(fixture, MCOMP_FAILED_PRECONDITION, "version 77", "version 1", REMEDY, NULL);
    header->fixed.version = LAYOUT_VERSION;
    layout_seal(&header->fixed);
    assert_precious(fixture);
}

static void other_places_are_refused(void **state)
{
    struct fixture *fixture = *state;
    make_precious(fixture);
    struct layout_header *header = fixture_map(fixture);
    header->fixed.section[4].offset += PAGE_BYTES;
    layout_seal(&header->fixed);
    fixture_open_fails(fixture, MCOMP_FAILED_PRECONDITION, "sections", REMEDY, NULL);
    header->fixed.section[4].offset -= PAGE_BYTES;
    layout_seal(&header->fixed);
    assert_precious(fixture);
}

static void damaged_header_is_data_loss(void **state)
{
    struct fixture *fixture = *state;
    make_precious(fixture);
    struct layout_header *header = fixture_map(fixture);
    header->fixed.size ^= 1;
    fixture_open_fails(fixture, MCOMP_DATA_LOSS, "checksum", REMEDY, NULL);
    header->fixed.size ^= 1;
    header->fixed.magic ^= 1;
    fixture_open_fails(fixture, MCOMP_DATA_LOSS, "0x474553504d4f434c", "0x474553504d4f434d", REMEDY, NULL);
    header->fixed.magic ^= 1;
    header->tail[0].unused[7] ^= 1;
    fixture_open_fails(fixture, MCOMP_DATA_LOSS, "redo", REMEDY, NULL);
    header->tail[0].unused[7] ^= 1;
    atomic_store(&header->tail_current, 2);
    fixture_open_fails(fixture, MCOMP_DATA_LOSS, "redo", REMEDY, NULL);
    atomic_store(&header->tail_current, 0);
    atomic_store(&header->ready, 0); /* it was attached once, so it was finished once */
    fixture_open_fails(fixture, MCOMP_DATA_LOSS, REMEDY, NULL);
    atomic_store(&header->ready, LAYOUT_READY);
    assert_precious(fixture);
}

static void shortened_object_is_data_loss(void **state)
{
    struct fixture *fixture = *state;
    make_precious(fixture);
    char path[128], was[32], is[32];
    uint64_t bytes = fixture_object_bytes(fixture);
    snprintf(was, sizeof was, "%" PRIu64, bytes);
    snprintf(is, sizeof is, "%" PRIu64, bytes - PAGE_BYTES);
    assert_int_equal(truncate(fixture_path(fixture, 1, path), (off_t)(bytes - PAGE_BYTES)), 0);
    fixture_open_fails(fixture, MCOMP_DATA_LOSS, was, is, REMEDY, NULL);
    assert_int_equal(truncate(path, 100), 0);
    fixture_open_fails(fixture, MCOMP_DATA_LOSS, "100 bytes", REMEDY, NULL);
}

/* ---- objects that were never finished ---- */

static void unfinished_object_is_remade(void **state)
{
    struct fixture *fixture = *state;
    struct segment_info info;
    make_precious(fixture);
    struct layout_header *header = fixture_map(fixture);
    atomic_store(&header->ready, 0);
    atomic_store(&header->attach_count, 0);
    memset(&header->fixed, 0xee, sizeof header->fixed);
    fixture_open(fixture);
    segment_get_info(fixture->segment, &info);
    assert_true(info.created);
    assert_int_equal(info.attach_count, 1);
    assert_all_zero(fixture->segment);
}

static void empty_object_is_remade(void **state)
{
    struct fixture *fixture = *state;
    char path[128];
    int fd = open(fixture_path(fixture, 1, path), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    fixture_open(fixture);
    assert_all_zero(fixture->segment);
}

/* ---- the lock ---- */

/* Fork a child that opens the segment, says so, and holds it until it is killed. */
static pid_t fork_holder(struct fixture *fixture)
{
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct err err;
        if (segment_open(&fixture->segment, &fixture->options, &err) != MCOMP_OK || write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    char byte;
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return child;
}

static void segment_in_use_is_refused_and_names_the_process(void **state)
{
    struct fixture *fixture = *state;
    make_precious(fixture);
    pid_t holder = fork_holder(fixture);
    char pid[32];
    snprintf(pid, sizeof pid, "process %ld;", (long)holder);
    fixture_open_fails(fixture, MCOMP_FAILED_PRECONDITION, "in use", pid, NULL);
    struct err err;
    assert_int_equal(segment_remove(fixture->grid, 1, &err), MCOMP_FAILED_PRECONDITION);
    assert_non_null(strstr(err.text, pid));
    kill(holder, SIGKILL);
    assert_int_equal(waitpid(holder, NULL, 0), holder);
    assert_precious(fixture);
}

static void second_open_in_one_process_is_refused(void **state)
{
    struct fixture *fixture = *state;
    fixture_open(fixture);
    fixture_open_fails(fixture, MCOMP_FAILED_PRECONDITION, "in use", NULL);
}

struct race {
    _Atomic uint32_t holders, opened, removed, wrong;
};

/* Open, close and remove the same segment again and again; count what must not happen. */
static void race_for_segment(struct fixture *fixture, struct race *race, uint64_t seed)
{
    struct err err;
    for (int i = 0; i < 500; i++) {
        if (fixture_random(&seed) % 2 == 0) {
            enum mcomp_status code = segment_remove(fixture->grid, 1, &err);
            if (code == MCOMP_OK)
                atomic_fetch_add(&race->removed, 1);
            else if (code != MCOMP_FAILED_PRECONDITION)
                atomic_fetch_add(&race->wrong, 1);
            continue;
        }
        enum mcomp_status code = segment_open(&fixture->segment, &fixture->options, &err);
        if (code == MCOMP_FAILED_PRECONDITION) {
            sched_yield();
            continue;
        }
        if (code != MCOMP_OK || atomic_fetch_add(&race->holders, 1) != 0) {
            fprintf(stderr, "%s: %s\n", status_name(code), err.text);
            atomic_fetch_add(&race->wrong, 1);
        }
        atomic_fetch_add(&race->opened, 1);
        for (int n = 0; n < 5; n++)
            sched_yield(); /* to others who might think that they have it too */
        atomic_fetch_sub(&race->holders, 1);
        segment_close(fixture->segment);
    }
}

static void racing_openers_and_removers_never_share_a_segment(void **state)
{
    struct fixture *fixture = *state;
    fixture->options.size = PAGE_BYTES;
    struct race *race = mmap(NULL, sizeof *race, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(race != MAP_FAILED);
    pid_t children[4];
    for (size_t i = 0; i < 4; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0) {
            race_for_segment(fixture, race, i + 1);
            _exit(0);
        }
    }
    for (size_t i = 0; i < 4; i++)
        fixture_child_passed(children[i]);
    assert_int_equal(race->wrong, 0);
    assert_true(race->opened > 0 && race->removed > 0);
    munmap(race, sizeof *race);
}

/* ---- space ---- */

static void assert_no_object(const struct fixture *fixture)
{
    char path[128];
    struct stat st;
    assert_int_equal(stat(fixture_path(fixture, 1, path), &st), -1);
    assert_int_equal(errno, ENOENT);
}

static void segment_that_cannot_fit_is_refused_with_the_figures(void **state)
{
    struct fixture *fixture = *state;
    struct statvfs fs;
    assert_int_equal(statvfs("/dev/shm", &fs), 0);
    uint64_t space = (uint64_t)fs.f_blocks * fs.f_frsize;
    const uint64_t sizes[] = {space + (UINT64_C(1) << 30), UINT64_C(1) << 50, UINT64_C(1) << 62, (UINT64_C(1) << 63) - PAGE_BYTES};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        fixture->options.size = sizes[i];
        fixture_open_fails(fixture, MCOMP_RESOURCE_EXHAUSTED, "needs ", " free", "segment_size", NULL);
        assert_no_object(fixture);
    }
}

/* In a mount name space with an 8 MiB /dev/shm. Exit code 77: this process may not make one. */
static int try_in_small_shm(struct fixture *fixture)
{
    struct err err = {.text = ""};
    char path[128];
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=8m") != 0)
        return 77;
    fixture->options.size = UINT64_C(16) << 20;
    if (segment_open(&fixture->segment, &fixture->options, &err) != MCOMP_RESOURCE_EXHAUSTED)
        return 1;
    if (!strstr(err.text, "8388608 (8 MiB) free") || !strstr(err.text, "/dev/shm"))
        return 2;
    if (access(fixture_path(fixture, 1, path), F_OK) == 0)
        return 3;
    fixture->options.size = UINT64_C(2) << 20;
    if (segment_open(&fixture->segment, &fixture->options, &err) != MCOMP_OK)
        return 4;
    segment_close(fixture->segment);
    fixture->options.writers = 100; /* attaching with records that no longer fit: refused, the bytes stay */
    if (segment_open(&fixture->segment, &fixture->options, &err) != MCOMP_RESOURCE_EXHAUSTED || !strstr(err.text, "records"))
        return 5;
    fixture->options.writers = FIXTURE_WRITERS;
    if (segment_open(&fixture->segment, &fixture->options, &err) != MCOMP_OK)
        return 6;
    struct segment_info info;
    segment_get_info(fixture->segment, &info);
    return info.created ? 7 : 0;
}

static void small_shm_is_told_by_its_free_bytes(void **state)
{
    struct fixture *fixture = *state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(try_in_small_shm(fixture));
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(new_segment_is_zero_and_allocated_in_full),
        TEST(bytes_and_identity_survive_close_and_open),
        TEST(removed_segment_is_made_anew),
        TEST(removing_nothing_is_ok),
        TEST(large_segment_starts_at_a_huge_page),
        TEST(other_size_is_refused),
        TEST(other_number_of_nodes_is_refused),
        TEST(other_grid_is_refused),
        TEST(other_node_is_refused),
        TEST(other_format_version_is_refused),
        TEST(other_places_are_refused),
        TEST(damaged_header_is_data_loss),
        TEST(shortened_object_is_data_loss),
        TEST(unfinished_object_is_remade),
        TEST(empty_object_is_remade),
        TEST(segment_in_use_is_refused_and_names_the_process),
        TEST(second_open_in_one_process_is_refused),
        TEST(racing_openers_and_removers_never_share_a_segment),
        TEST(segment_that_cannot_fit_is_refused_with_the_figures),
        TEST(small_shm_is_told_by_its_free_bytes),
    };
    return cmocka_run_group_tests_name("segment-open", tests, NULL, NULL);
}
