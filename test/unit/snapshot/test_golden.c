/* SPDX-License-Identifier: Apache-2.0 */
/** A file that version 0.1 has written is read by every later one, and as long as the format is 1 the writer makes the same bytes. */
#include "unit/snapshot/file_fixture.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "wire/varint.h"

#define NAME "demo-00001200-20260203T101112Z.mcsnap"
#define K (SNAPSHOT_CHUNK_BYTES + 3 * SNAPSHOT_PAGE_BYTES)

/** What it holds; the same as in test/snapshot/test_read_snapshot.py. */
static struct array golden_array(void)
{
    struct array array = array_make(K, 3);
    fill_random(array.bytes + SNAPSHOT_PAGE_BYTES, SNAPSHOT_PAGE_BYTES, 1);
    memset(array.bytes + 63 * SNAPSHOT_PAGE_BYTES, 'g', SNAPSHOT_PAGE_BYTES);
    fill_random(array.bytes + 66 * SNAPSHOT_PAGE_BYTES, SNAPSHOT_PAGE_BYTES, 2);
    array.bytes[2 * K] = 1;
    array.bytes[3 * K - 1] = 255;
    return array;
}

static void golden_file_holds_what_it_held(void **state)
{
    (void)state;
    struct array array = golden_array();
    struct problems problems;
    struct snapshot_reader *reader;
    struct err err;
    assert_holds(MCOMP_GOLDEN, &array);
    verify_file(MCOMP_GOLDEN, &problems);
    assert_int_equal(problems.status, MCOMP_OK);
    assert_int_equal(problems.chunks, 4);
    assert_ok(snapshot_reader_open(&reader, MCOMP_GOLDEN, &err), err);
    const Mcomp__Snapshot__V1__Header *header = snapshot_reader_header(reader);
    Mcomp__Snapshot__V1__Header expected;
    header_fill(&expected, "demo", FIXTURE_ROUND);
    assert_string_equal(header->grid, expected.grid);
    assert_int_equal(header->segment_size, K);
    assert_int_equal(header->nodes, 3);
    assert_int_equal(header->round, expected.round);
    assert_int_equal(header->cut_utc_ns, expected.cut_utc_ns);
    assert_int_equal(header->longest_pause_ns, expected.longest_pause_ns);
    assert_int_equal(header->duration_ns, expected.duration_ns);
    assert_int_equal(header->freeze_ns, expected.freeze_ns);
    assert_int_equal(header->cut_ns, expected.cut_ns);
    assert_int_equal(header->collect_ns, expected.collect_ns);
    assert_int_equal(header->pages_stored, 5);
    assert_int_equal(header->pages_preserved, expected.pages_preserved);
    assert_string_equal(header->written_by, expected.written_by);
    snapshot_reader_close(reader);
    array_free(&array);
}

/* The chunks of the golden file, taken out by the protobuf library, through the writer again; so it does not matter what zstd makes of the pages today. */
static void writer_makes_the_same_bytes(void **state)
{
    struct place place[16];
    struct snapshot_writer *writer;
    struct err err;
    Mcomp__Snapshot__V1__Header header;
    size_t golden_bytes, made_bytes, places = file_places(MCOMP_GOLDEN, place, 16);
    uint64_t written;
    uint8_t *golden = file_load(MCOMP_GOLDEN, &golden_bytes);
    assert_ok(snapshot_writer_open(&writer, *state, NAME, K, 3, &err), err);
    for (size_t i = 0; i < places; i++) {
        uint64_t length = 0;
        int cut;
        if (place[i].kind != MCOMP__SNAPSHOT__V1__RECORD__KIND_CHUNK)
            continue;
        const uint8_t *bytes = varint_get(golden + place[i].offset, golden + golden_bytes, &length, &cut);
        Mcomp__Snapshot__V1__Record *record = mcomp__snapshot__v1__record__unpack(NULL, length, bytes);
        assert_non_null(record);
        assert_ok(snapshot_writer_put(writer, record->chunk, &err), err);
        mcomp__snapshot__v1__record__free_unpacked(record, NULL);
    }
    header_fill(&header, "demo", FIXTURE_ROUND);
    assert_ok(snapshot_writer_commit(writer, &header, &written, &err), err);
    uint8_t *made = file_load(path_in(*state, NAME), &made_bytes);
    assert_int_equal(made_bytes, golden_bytes);
    assert_int_equal(memcmp(made, golden, golden_bytes), 0);
    free(made);
    free(golden);
}

/** Make the golden file anew: only for a new format. */
static void make(const char *directory)
{
    struct array array = golden_array();
    array_save(&array, directory, "snapshot-v1.mcsnap", true);
    array_free(&array);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_file_holds_what_it_held),
        cmocka_unit_test_setup_teardown(writer_makes_the_same_bytes, folder_begin, folder_end),
    };
    if (argc == 3 && strcmp(argv[1], "make") == 0) {
        make(argv[2]);
        return 0;
    }
    return cmocka_run_group_tests_name("snapshot golden", tests, NULL, NULL);
}
