/* SPDX-License-Identifier: Apache-2.0 */
/** The directory of snapshots: names, list, retention, sweeping. */
#include "unit/snapshot/file_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECOND 1000000000ull

/** A complete file of a round, named as it should be. */
static void save_round(const char *folder, const char *grid, uint32_t round, uint64_t utc_ns)
{
    struct snapshot_writer *writer;
    struct err err;
    Mcomp__Snapshot__V1__Header header;
    char name[SNAPSHOT_NAME_BYTES];
    uint64_t bytes;
    snapshot_name(name, grid, round, utc_ns);
    header_fill(&header, grid, round);
    header.cut_utc_ns = utc_ns;
    assert_ok(snapshot_writer_open(&writer, folder, name, SNAPSHOT_PAGE_BYTES, 2, &err), err);
    assert_ok(snapshot_writer_commit(writer, &header, &bytes, &err), err);
}

static const char *name_of(const char *grid, uint32_t round, uint64_t utc_ns)
{
    static char names[8][SNAPSHOT_NAME_BYTES];
    static unsigned turn;
    char *name = names[turn++ % 8];
    snapshot_name(name, grid, round, utc_ns);
    return name;
}

static bool exists(const char *folder, const char *name)
{
    struct stat st;
    return lstat(path_in(folder, name), &st) == 0;
}

static void damage(const char *folder, const char *name)
{
    file_patch(path_in(folder, name), 100, "damage", 6);
}

static void name_has_grid_round_and_time(void **state)
{
    (void)state;
    assert_string_equal(name_of("demo", 0x7b01, FIXTURE_UTC_NS + 999999999), "demo-00007b01-20260203T101112Z.mcsnap");
    assert_string_equal(name_of("a-b.c", UINT32_MAX, 0), "a-b.c-ffffffff-19700101T000000Z.mcsnap");
}

static void list_is_newest_first(void **state)
{
    const char *folder = *state;
    struct snapshot_entry *entries;
    struct err err;
    size_t count;
    save_round(folder, "demo", 0x200, FIXTURE_UTC_NS);
    save_round(folder, "demo", 0x301, FIXTURE_UTC_NS - 50 * SECOND); /* the clock went back */
    save_round(folder, "demo", 0x100, FIXTURE_UTC_NS + 9 * SECOND);
    save_round(folder, "demo", 0x100, FIXTURE_UTC_NS + 8 * SECOND);
    assert_ok(snapshot_list(folder, "demo", &entries, &count, &err), err);
    assert_int_equal(count, 4);
    assert_string_equal(entries[0].name, name_of("demo", 0x301, FIXTURE_UTC_NS - 50 * SECOND));
    assert_string_equal(entries[1].name, name_of("demo", 0x200, FIXTURE_UTC_NS));
    assert_string_equal(entries[2].name, name_of("demo", 0x100, FIXTURE_UTC_NS + 9 * SECOND));
    assert_string_equal(entries[3].name, name_of("demo", 0x100, FIXTURE_UTC_NS + 8 * SECOND));
    const struct snapshot_entry *entry = &entries[1];
    struct stat st;
    assert_int_equal(stat(path_in(folder, entry->name), &st), 0);
    assert_true(entry->sound && !entry->problem[0]);
    assert_int_equal(entry->bytes, st.st_size);
    assert_int_equal(entry->round, 0x200);
    assert_int_equal(entry->cut_utc_ns, FIXTURE_UTC_NS);
    assert_int_equal(entry->segment_size, SNAPSHOT_PAGE_BYTES);
    assert_int_equal(entry->nodes, 2);
    assert_int_equal(entry->duration_ns, 9 * SECOND);
    assert_int_equal(entry->longest_pause_ns, 1200000);
    assert_int_equal(entry->pages_stored, 0);
    free(entries);
}

static void list_tells_what_is_wrong_with_a_file(void **state)
{
    const char *folder = *state;
    struct snapshot_entry *entries;
    struct err err;
    size_t count;
    save_round(folder, "demo", 0x500, FIXTURE_UTC_NS);
    damage(folder, name_of("demo", 0x500, FIXTURE_UTC_NS));
    file_store(path_in(folder, name_of("demo", 0x400, FIXTURE_UTC_NS)), "short", 5);
    assert_int_equal(mkdir(path_in(folder, name_of("demo", 0x300, FIXTURE_UTC_NS)), 0700), 0);
    save_round(folder, "other", 0x200, FIXTURE_UTC_NS);
    assert_int_equal(rename(path_in(folder, name_of("other", 0x200, FIXTURE_UTC_NS)), path_in(folder, name_of("demo", 0x200, FIXTURE_UTC_NS))), 0);
    save_round(folder, "demo", 0x900, FIXTURE_UTC_NS);
    assert_int_equal(rename(path_in(folder, name_of("demo", 0x900, FIXTURE_UTC_NS)), path_in(folder, name_of("demo", 0x100, FIXTURE_UTC_NS))), 0);
    assert_ok(snapshot_list(folder, "demo", &entries, &count, &err), err);
    assert_int_equal(count, 5);
    static const char *says[] = {"header is damaged", "a header alone", "not a regular file", "of grid other", "round 2304"};
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(entries[i].round, 0x500 - 0x100 * i);
        assert_false(entries[i].sound);
        assert_non_null(strstr(entries[i].problem, says[i]));
        assert_int_equal(entries[i].cut_utc_ns, FIXTURE_UTC_NS); /* as the name says */
    }
    free(entries);
}

static void other_names_are_passed_over(void **state)
{
    static const char *names[] = {
        "demo-00000100-20260203T101112Z.mcsnap.tmp", "demo-00000100-20260203T101112Z.mcsnap.bak", "demo-00000100-20260203T101112Z",
        "demo-000001-20260203T101112Z.mcsnap",       "demo-0000010G-20260203T101112Z.mcsnap",     "demo-00000100-20260203X101112Z.mcsnap",
        "demo-00000100-2026020aT101112Z.mcsnap",     "demo-00000100-20260203T101112.mcsnap",      "demo2-00000100-20260203T101112Z.mcsnap",
        "demo-x-00000100-20260203T101112Z.mcsnap",   "demo.mcsnap",                               "backup.mcsnap",
        "Demo-00000100-20260203T101112Z.mcsnap",     "demo-00000100-20260203T101112Z.MCSNAP",     "demo-0000ABCD-20260203T101112Z.mcsnap",
    };
    struct snapshot_entry *entries;
    struct err err;
    size_t count;
    uint32_t removed;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        file_store(path_in(*state, names[i]), "x", 1);
    assert_ok(snapshot_list(*state, "demo", &entries, &count, &err), err);
    assert_int_equal(count, 0);
    assert_null(entries);
    assert_ok(snapshot_retain(*state, "demo", 1, &err), err);
    assert_int_equal(folder_count(*state), sizeof names / sizeof names[0]);
    assert_ok(snapshot_sweep(*state, "demo", &removed, &err), err);
    assert_int_equal(removed, 1);
    assert_false(exists(*state, names[0]));
    assert_int_equal(folder_count(*state), sizeof names / sizeof names[0] - 1);
}

static void missing_directory_is_an_empty_one(void **state)
{
    const char *folder = path_in(*state, "none");
    struct snapshot_entry *entries;
    struct err err;
    size_t count = 9;
    uint32_t number = 9;
    assert_ok(snapshot_list(folder, "demo", &entries, &count, &err), err);
    assert_int_equal(count, 0);
    assert_ok(snapshot_sweep(folder, "demo", &number, &err), err);
    assert_int_equal(number, 0);
    number = 9;
    assert_ok(snapshot_highest_round(folder, "demo", &number, &err), err);
    assert_int_equal(number, 0);
    assert_ok(snapshot_retain(folder, "demo", 1, &err), err);
    file_store(path_in(*state, "file"), "x", 1);
    assert_int_not_equal(snapshot_list(path_in(*state, "file"), "demo", &entries, &count, &err), MCOMP_OK);
    assert_non_null(strstr(err.text, "file"));
    assert_int_not_equal(snapshot_sweep(path_in(*state, "file"), "demo", &number, &err), MCOMP_OK);
}

static void highest_round_counts_every_name(void **state)
{
    struct err err;
    uint32_t round;
    file_store(path_in(*state, name_of("demo", 0x500, FIXTURE_UTC_NS)), "damaged", 7);
    file_store(path_in(*state, name_of("other", 0x900, FIXTURE_UTC_NS)), "x", 1);
    assert_ok(snapshot_highest_round(*state, "demo", &round, &err), err);
    assert_int_equal(round, 0x500);
    char temporary[SNAPSHOT_NAME_BYTES + 4];
    snprintf(temporary, sizeof temporary, "%s.tmp", name_of("demo", 0xfffffe01, FIXTURE_UTC_NS));
    file_store(path_in(*state, temporary), "x", 1);
    assert_ok(snapshot_highest_round(*state, "demo", &round, &err), err);
    assert_int_equal(round, 0xfffffe01);
}

/* ---- retention ---- */

static void newest_files_are_kept(void **state)
{
    struct err err;
    for (uint32_t i = 1; i <= 6; i++)
        save_round(*state, "demo", i << 8, FIXTURE_UTC_NS - i * SECOND); /* by round, not by time */
    assert_ok(snapshot_retain(*state, "demo", 6, &err), err);
    assert_int_equal(folder_count(*state), 6);
    assert_ok(snapshot_retain(*state, "demo", 2, &err), err);
    assert_int_equal(folder_count(*state), 2);
    assert_true(exists(*state, name_of("demo", 0x600, FIXTURE_UTC_NS - 6 * SECOND)));
    assert_true(exists(*state, name_of("demo", 0x500, FIXTURE_UTC_NS - 5 * SECOND)));
    assert_ok(snapshot_retain(*state, "demo", 0, &err), err);
    assert_int_equal(folder_count(*state), 1);
    assert_true(exists(*state, name_of("demo", 0x600, FIXTURE_UTC_NS - 6 * SECOND)));
}

static void damaged_files_neither_count_nor_go(void **state)
{
    struct err err;
    for (uint32_t i = 1; i <= 6; i++)
        save_round(*state, "demo", i << 8, FIXTURE_UTC_NS);
    damage(*state, name_of("demo", 0x600, FIXTURE_UTC_NS));
    damage(*state, name_of("demo", 0x500, FIXTURE_UTC_NS));
    damage(*state, name_of("demo", 0x100, FIXTURE_UTC_NS));
    assert_ok(snapshot_retain(*state, "demo", 1, &err), err);
    for (uint32_t i = 1; i <= 6; i++)
        assert_true(exists(*state, name_of("demo", i << 8, FIXTURE_UTC_NS)) == (i != 2 && i != 3));
}

static void last_sound_file_stays(void **state)
{
    struct err err;
    save_round(*state, "demo", 0x100, FIXTURE_UTC_NS);
    for (uint32_t i = 2; i <= 4; i++) {
        save_round(*state, "demo", i << 8, FIXTURE_UTC_NS);
        damage(*state, name_of("demo", i << 8, FIXTURE_UTC_NS));
    }
    assert_ok(snapshot_retain(*state, "demo", 1, &err), err);
    assert_int_equal(folder_count(*state), 4);
    assert_true(exists(*state, name_of("demo", 0x100, FIXTURE_UTC_NS)));
}

static void files_of_other_grids_stay(void **state)
{
    struct err err;
    for (uint32_t i = 1; i <= 3; i++) {
        save_round(*state, "demo", i << 8, FIXTURE_UTC_NS);
        save_round(*state, "demo-x", i << 8, FIXTURE_UTC_NS);
        save_round(*state, "dem", i << 8, FIXTURE_UTC_NS);
    }
    /* One that has our name but is another grid's is not ours to remove. */
    save_round(*state, "other", 0x50, FIXTURE_UTC_NS);
    assert_int_equal(rename(path_in(*state, name_of("other", 0x50, FIXTURE_UTC_NS)), path_in(*state, name_of("demo", 0x50, FIXTURE_UTC_NS))), 0);
    assert_ok(snapshot_retain(*state, "demo", 1, &err), err);
    assert_int_equal(folder_count(*state), 1 + 3 + 3 + 1);
    assert_true(exists(*state, name_of("demo", 0x300, FIXTURE_UTC_NS)));
    assert_true(exists(*state, name_of("demo", 0x50, FIXTURE_UTC_NS)));
}

/* ---- sweeping ---- */

static void temporary_files_of_the_grid_are_swept(void **state)
{
    struct err err;
    uint32_t removed;
    char name[SNAPSHOT_NAME_BYTES + 4];
    save_round(*state, "demo", 0x100, FIXTURE_UTC_NS);
    for (uint32_t i = 2; i <= 4; i++) {
        snprintf(name, sizeof name, "%s.tmp", name_of(i == 4 ? "other" : "demo", i << 8, FIXTURE_UTC_NS));
        file_store(path_in(*state, name), "left behind", 11);
    }
    snprintf(name, sizeof name, "%s.tmp", name_of("demo", 0x500, FIXTURE_UTC_NS));
    assert_int_equal(mkdir(path_in(*state, name), 0700), 0);
    snprintf(name, sizeof name, "%s.tmp", name_of("demo", 0x600, FIXTURE_UTC_NS));
    assert_int_equal(symlink("/etc/passwd", path_in(*state, name)), 0);
    assert_ok(snapshot_sweep(*state, "demo", &removed, &err), err);
    assert_int_equal(removed, 2);
    assert_int_equal(folder_count(*state), 4); /* the snapshot, the other grid's, what is no file */
    assert_ok(snapshot_sweep(*state, "other", &removed, &err), err);
    assert_int_equal(removed, 1);
}

/* Processes of one grid may share a directory: who starts must not take away what another is writing. */
static void file_that_is_being_written_is_not_swept(void **state)
{
    struct snapshot_writer *writer;
    struct err err;
    Mcomp__Snapshot__V1__Header header;
    uint32_t removed;
    uint64_t bytes;
    const char *name = name_of("demo", 0x100, FIXTURE_UTC_NS);
    assert_ok(snapshot_writer_open(&writer, *state, name, SNAPSHOT_PAGE_BYTES, 1, &err), err);
    assert_ok(snapshot_sweep(*state, "demo", &removed, &err), err);
    assert_int_equal(removed, 0);
    header_fill(&header, "demo", 0x100);
    assert_ok(snapshot_writer_commit(writer, &header, &bytes, &err), err);
    assert_ok(snapshot_sweep(*state, "demo", &removed, &err), err);
    assert_int_equal(removed, 0);
    assert_true(exists(*state, name));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_begin, folder_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(name_has_grid_round_and_time),
        TEST(list_is_newest_first),
        TEST(list_tells_what_is_wrong_with_a_file),
        TEST(other_names_are_passed_over),
        TEST(missing_directory_is_an_empty_one),
        TEST(highest_round_counts_every_name),
        TEST(newest_files_are_kept),
        TEST(damaged_files_neither_count_nor_go),
        TEST(last_sound_file_stays),
        TEST(files_of_other_grids_stay),
        TEST(temporary_files_of_the_grid_are_swept),
        TEST(file_that_is_being_written_is_not_swept),
    };
    return cmocka_run_group_tests_name("snapshot directory", tests, NULL, NULL);
}
