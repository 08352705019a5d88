/* SPDX-License-Identifier: Apache-2.0 */
/** Files: what goes in comes out, in one piece and at random; what must not be written is refused. */
#include "unit/snapshot/file_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME "x.mcsnap"

typedef Mcomp__Snapshot__V1__Chunk Chunk;

/** Save, read as a whole, verify. */
static void round_trip(const char *folder, const struct array *array, size_t chunks)
{
    for (int compress = 0; compress < 2; compress++) {
        struct problems problems;
        array_save(array, folder, NAME, compress);
        const char *path = path_in(folder, NAME);
        assert_holds(path, array);
        verify_file(path, &problems);
        assert_int_equal(problems.status, MCOMP_OK);
        assert_int_equal(problems.chunks, chunks);
        assert_int_equal(folder_count(folder), 1);
        assert_int_equal(unlink(path), 0);
    }
}

static void empty_grid(void **state)
{
    struct array array = array_make(SNAPSHOT_PAGE_BYTES, 1);
    round_trip(*state, &array, 0);
    array_free(&array);
    array = array_make(3 * SNAPSHOT_CHUNK_BYTES, 4);
    round_trip(*state, &array, 0);
    array_free(&array);
}

static void full_grid(void **state)
{
    struct array array = array_make(2 * SNAPSHOT_CHUNK_BYTES, 3);
    fill_random(array.bytes, array_size(&array), 1);
    round_trip(*state, &array, 6);
    memset(array.bytes, 'x', array_size(&array));
    round_trip(*state, &array, 6);
    array_free(&array);
}

static void last_window_that_is_not_full(void **state)
{
    struct array array = array_make(SNAPSHOT_CHUNK_BYTES + 5 * SNAPSHOT_PAGE_BYTES, 3);
    fill_random(array.bytes, array_size(&array), 1);
    round_trip(*state, &array, 6);
    array_free(&array);
    array = array_make(SNAPSHOT_PAGE_BYTES, 256); /* the most nodes, the least k */
    fill_random(array.bytes, array_size(&array), 2);
    round_trip(*state, &array, 256);
    array_free(&array);
}

static void sparse_grid(void **state)
{
    struct array array = array_make(5 * SNAPSHOT_CHUNK_BYTES + SNAPSHOT_PAGE_BYTES, 3);
    array.bytes[0] = 1;
    array.bytes[2 * SNAPSHOT_CHUNK_BYTES + 9999] = 2;
    array.bytes[array.segment_size - 1] = 3;
    array.bytes[2 * array.segment_size] = 4;
    array.bytes[array_size(&array) - 1] = 5;
    round_trip(*state, &array, 5);
    array_free(&array);
}

static void header_comes_back(void **state)
{
    struct array array = array_make(2 * SNAPSHOT_PAGE_BYTES, 2);
    struct snapshot_reader *reader;
    struct err err;
    Mcomp__Snapshot__V1__Header given;
    header_fill(&given, "demo", FIXTURE_ROUND);
    array.bytes[0] = array.bytes[3 * SNAPSHOT_PAGE_BYTES] = 1;
    array_save(&array, *state, NAME, false);
    assert_ok(snapshot_reader_open(&reader, path_in(*state, NAME), &err), err);
    const Mcomp__Snapshot__V1__Header *header = snapshot_reader_header(reader);
    assert_int_equal(header->format_version, 1);
    assert_string_equal(header->grid, "demo");
    assert_int_equal(header->segment_size, array.segment_size);
    assert_int_equal(header->nodes, 2);
    assert_int_equal(header->page_bytes, 4096);
    assert_int_equal(header->chunk_bytes, 262144);
    assert_int_equal(header->round, FIXTURE_ROUND);
    assert_int_equal(header->cut_utc_ns, given.cut_utc_ns);
    assert_int_equal(header->longest_pause_ns, given.longest_pause_ns);
    assert_int_equal(header->duration_ns, given.duration_ns);
    assert_int_equal(header->freeze_ns, given.freeze_ns);
    assert_int_equal(header->cut_ns, given.cut_ns);
    assert_int_equal(header->collect_ns, given.collect_ns);
    assert_int_equal(header->pages_stored, 2);
    assert_int_equal(header->pages_preserved, given.pages_preserved);
    assert_string_equal(header->written_by, given.written_by);
    snapshot_reader_close(reader);
    array_free(&array);
}

static void reads_at_random_agree_with_the_array(void **state)
{
    struct array array = array_make(3 * SNAPSHOT_CHUNK_BYTES + 7 * SNAPSHOT_PAGE_BYTES, 3);
    struct snapshot_reader *reader;
    struct err err;
    uint64_t seed = 5, size = array_size(&array);
    uint8_t *buf = malloc(size);
    assert_non_null(buf);
    for (uint64_t page = 0; page < size / SNAPSHOT_PAGE_BYTES; page++) {
        if (random_next(&seed) % 3 == 0)
            fill_random(array.bytes + page * SNAPSHOT_PAGE_BYTES, SNAPSHOT_PAGE_BYTES, page);
        else if (random_next(&seed) % 3 == 0)
            memset(array.bytes + page * SNAPSHOT_PAGE_BYTES, 'r', SNAPSHOT_PAGE_BYTES);
    }
    memset(array.bytes + array.segment_size, 0, 2 * SNAPSHOT_CHUNK_BYTES); /* windows without a chunk */
    array_save(&array, *state, NAME, true);
    assert_ok(snapshot_reader_open(&reader, path_in(*state, NAME), &err), err);
    for (int i = 0; i < 3000; i++) {
        uint64_t address = random_next(&seed) % (size + 1), length = random_next(&seed) % (size - address + 1);
        if (i % 8 != 0)
            length %= 20000;
        memset(buf, 0xa5, length);
        assert_ok(snapshot_reader_read(reader, address, length, buf, &err), err);
        assert_int_equal(memcmp(buf, array.bytes + address, length), 0);
    }
    snapshot_reader_close(reader);
    free(buf);
    array_free(&array);
}

static void read_outside_is_out_of_range(void **state)
{
    struct array array = array_make(2 * SNAPSHOT_PAGE_BYTES, 2);
    struct snapshot_reader *reader;
    struct err err;
    uint8_t buf[8];
    uint64_t size = array_size(&array), found;
    array_save(&array, *state, NAME, false);
    assert_ok(snapshot_reader_open(&reader, path_in(*state, NAME), &err), err);
    assert_ok(snapshot_reader_read(reader, size, 0, buf, &err), err);
    assert_ok(snapshot_reader_read(reader, size - 8, 8, buf, &err), err);
    assert_int_equal(snapshot_reader_read(reader, size - 7, 8, buf, &err), MCOMP_OUT_OF_RANGE);
    assert_int_equal(snapshot_reader_read(reader, size + 1, 0, buf, &err), MCOMP_OUT_OF_RANGE);
    assert_int_equal(snapshot_reader_read(reader, UINT64_MAX, 8, buf, &err), MCOMP_OUT_OF_RANGE);
    assert_int_equal(snapshot_reader_read(reader, 8, UINT64_MAX - 4, buf, &err), MCOMP_OUT_OF_RANGE);
    assert_ok(snapshot_reader_next(reader, UINT64_MAX, &found, &err), err);
    assert_true(found == UINT64_MAX);
    snapshot_reader_close(reader);
    array_free(&array);
}

static void next_walks_over_the_windows_that_have_a_chunk(void **state)
{
    struct array array = array_make(4 * SNAPSHOT_CHUNK_BYTES + SNAPSHOT_PAGE_BYTES, 2);
    struct snapshot_reader *reader;
    struct err err;
    uint64_t found, k = array.segment_size;
    const uint64_t windows[] = {SNAPSHOT_CHUNK_BYTES, 4 * SNAPSHOT_CHUNK_BYTES, k + 2 * SNAPSHOT_CHUNK_BYTES};
    for (size_t i = 0; i < 3; i++)
        array.bytes[windows[i] + 100] = 1;
    array_save(&array, *state, NAME, false);
    assert_ok(snapshot_reader_open(&reader, path_in(*state, NAME), &err), err);
    for (uint64_t address = 0; address < 2 * k; address += SNAPSHOT_PAGE_BYTES / 2) {
        size_t i = 0;
        while (i < 3 && windows[i] + chunk_window_bytes(k, windows[i]) <= address)
            i++;
        assert_ok(snapshot_reader_next(reader, address, &found, &err), err);
        assert_true(found == (i < 3 ? windows[i] : UINT64_MAX));
    }
    snapshot_reader_close(reader);
    array_free(&array);
}

/* ---- more chunks than one index block has ---- */

#define LARGE_K (2049ull * SNAPSHOT_CHUNK_BYTES) /* two full blocks and a chunk more */
#define LARGE_CHUNKS (2 * 2049u + 1)

/** Every window of two nodes has one page, which says where it is; except the third node, which has only its last window. */
static void save_large(const char *folder)
{
    struct snapshot_writer *writer;
    struct chunk_builder builder;
    struct err err;
    Mcomp__Snapshot__V1__Header header;
    uint64_t bytes;
    uint8_t *room = malloc(SNAPSHOT_CHUNK_BYTES);
    assert_non_null(room);
    assert_ok(chunk_builder_init(&builder, true, &err), err);
    assert_ok(snapshot_writer_open(&writer, folder, NAME, LARGE_K, 3, &err), err);
    for (uint64_t offset = 0; offset < LARGE_K; offset += SNAPSHOT_CHUNK_BYTES) {
        for (uint64_t node = 0; node < 3; node++) {
            uint64_t address = node * LARGE_K + offset;
            Chunk chunk;
            if (node == 2 && offset + SNAPSHOT_CHUNK_BYTES < LARGE_K)
                continue;
            chunk_begin(&builder, address, room);
            memset(chunk_page(&builder), 0, SNAPSHOT_PAGE_BYTES);
            uint64_t stamp = address + 1;
            memcpy(chunk_page(&builder), &stamp, sizeof stamp);
            assert_true(chunk_keep(&builder, (uint32_t)(address / SNAPSHOT_CHUNK_BYTES % SNAPSHOT_CHUNK_PAGES)));
            assert_true(chunk_end(&builder, &chunk));
            assert_ok(snapshot_writer_put(writer, &chunk, &err), err);
        }
    }
    assert_int_equal(snapshot_writer_pages(writer), LARGE_CHUNKS);
    header_fill(&header, "demo", FIXTURE_ROUND);
    assert_ok(snapshot_writer_commit(writer, &header, &bytes, &err), err);
    chunk_builder_close(&builder);
    free(room);
}

/** Full blocks, and the rest of each node. */
static void assert_blocks(const char *path)
{
    struct place *place = calloc(LARGE_CHUNKS + 16, sizeof *place);
    assert_non_null(place);
    size_t places = file_places(path, place, LARGE_CHUNKS + 16), chunks = 0, blocks = 0;
    static const size_t before[] = {2047, 2048, 4095, 4096, LARGE_CHUNKS, LARGE_CHUNKS, LARGE_CHUNKS}; /* chunks that stand before each block */
    for (size_t i = 0; i < places; i++) {
        chunks += place[i].kind == MCOMP__SNAPSHOT__V1__RECORD__KIND_CHUNK;
        if (place[i].kind == MCOMP__SNAPSHOT__V1__RECORD__KIND_INDEX_BLOCK) {
            assert_true(blocks < 7);
            assert_int_equal(chunks, before[blocks]);
            blocks++;
        }
    }
    assert_int_equal(blocks, 7);
    free(place);
}

static void many_index_blocks(void **state)
{
    struct snapshot_reader *reader;
    struct problems problems;
    struct err err;
    uint64_t seed = 3, found, walked = 0;
    save_large(*state);
    const char *path = path_in(*state, NAME);
    assert_blocks(path);
    verify_file(path, &problems);
    assert_int_equal(problems.status, MCOMP_OK);
    assert_int_equal(problems.chunks, LARGE_CHUNKS);
    assert_ok(snapshot_reader_open(&reader, path, &err), err);
    for (int i = 0; i < 5000; i++) {
        uint64_t window = random_next(&seed) % (3 * LARGE_K / SNAPSHOT_CHUNK_BYTES) * SNAPSHOT_CHUNK_BYTES;
        uint64_t page = window / SNAPSHOT_CHUNK_BYTES % SNAPSHOT_CHUNK_PAGES, stamp;
        assert_ok(snapshot_reader_read(reader, window + page * SNAPSHOT_PAGE_BYTES, sizeof stamp, &stamp, &err), err);
        bool there = window < 2 * LARGE_K || window + SNAPSHOT_CHUNK_BYTES == 3 * LARGE_K;
        assert_true(stamp == (there ? window + 1 : 0));
    }
    for (uint64_t address = 0; address < 3 * LARGE_K; address = found + SNAPSHOT_CHUNK_BYTES, walked++) {
        assert_ok(snapshot_reader_next(reader, address, &found, &err), err);
        assert_true(found == (address < 2 * LARGE_K ? address : 3 * LARGE_K - SNAPSHOT_CHUNK_BYTES));
    }
    assert_int_equal(walked, LARGE_CHUNKS);
    snapshot_reader_close(reader);
}

/* ---- the writer's refusals ---- */

static void put_refused(const char *folder, const uint64_t *addresses, size_t count, enum mcomp_status expected)
{
    struct snapshot_writer *writer;
    struct chunk_builder builder = {0};
    struct err err;
    uint8_t *room = malloc(SNAPSHOT_CHUNK_BYTES);
    assert_non_null(room);
    assert_ok(snapshot_writer_open(&writer, folder, NAME, 4 * SNAPSHOT_CHUNK_BYTES, 2, &err), err);
    for (size_t i = 0; i < count; i++) {
        Chunk chunk;
        chunk_begin(&builder, addresses[i], room);
        memset(chunk_page(&builder), 1, SNAPSHOT_PAGE_BYTES);
        assert_true(chunk_keep(&builder, 0) && chunk_end(&builder, &chunk));
        if (expected == MCOMP_DATA_LOSS && i == count - 1)
            room[77] ^= 1;
        assert_int_equal(snapshot_writer_put(writer, &chunk, &err), i == count - 1 ? expected : MCOMP_OK);
    }
    snapshot_writer_discard(writer);
    assert_int_equal(folder_count(folder), 0);
    free(room);
}

static void chunks_out_of_order_or_damaged_are_refused(void **state)
{
    const uint64_t chunk = SNAPSHOT_CHUNK_BYTES;
    put_refused(*state, (const uint64_t[]){0, 0}, 2, MCOMP_INVALID_ARGUMENT);
    put_refused(*state, (const uint64_t[]){4 * chunk, 0, 2 * chunk, 5 * chunk, chunk}, 5, MCOMP_INVALID_ARGUMENT);
    put_refused(*state, (const uint64_t[]){8 * chunk}, 1, MCOMP_INVALID_ARGUMENT);
    put_refused(*state, (const uint64_t[]){0, chunk}, 2, MCOMP_DATA_LOSS);
}

static void header_out_of_its_bounds_is_refused(void **state)
{
    char long_text[300];
    memset(long_text, 'a', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = 0;
    const char *grids[] = {"", ".hidden", "with space", "a/b", long_text, "demo", "demo", "demo"};
    const char *writers[] = {"", "", "", "", "", long_text, "new\nline", "\xc3\xa9"};
    for (size_t i = 0; i < sizeof grids / sizeof grids[0]; i++) {
        struct snapshot_writer *writer;
        struct err err;
        Mcomp__Snapshot__V1__Header header;
        uint64_t bytes;
        header_fill(&header, grids[i], 1);
        header.written_by = (char *)writers[i];
        assert_ok(snapshot_writer_open(&writer, *state, NAME, SNAPSHOT_PAGE_BYTES, 1, &err), err);
        assert_int_equal(snapshot_writer_commit(writer, &header, &bytes, &err), MCOMP_INVALID_ARGUMENT);
        snapshot_writer_discard(writer);
        assert_int_equal(folder_count(*state), 0);
    }
}

static void longest_header_fits(void **state)
{
    char grid[65], text[256];
    struct snapshot_writer *writer;
    struct snapshot_reader *reader;
    struct err err;
    Mcomp__Snapshot__V1__Header header;
    uint64_t bytes;
    memset(grid, 'g', 64);
    memset(text, 'w', 255);
    grid[64] = text[255] = 0;
    header_fill(&header, grid, UINT32_MAX);
    header.written_by = text;
    header.cut_utc_ns = header.longest_pause_ns = header.duration_ns = header.freeze_ns = header.cut_ns = header.collect_ns = UINT64_MAX;
    header.pages_preserved = UINT64_MAX;
    assert_ok(snapshot_writer_open(&writer, *state, NAME, INT64_MAX / 4096 / 256 * 4096, 256, &err), err);
    assert_ok(snapshot_writer_commit(writer, &header, &bytes, &err), err);
    assert_ok(snapshot_reader_open(&reader, path_in(*state, NAME), &err), err);
    assert_string_equal(snapshot_reader_header(reader)->grid, grid);
    assert_string_equal(snapshot_reader_header(reader)->written_by, text);
    assert_true(snapshot_reader_header(reader)->pages_preserved == UINT64_MAX);
    snapshot_reader_close(reader);
}

static void shapes_that_cannot_be_are_refused(void **state)
{
    struct snapshot_writer *writer;
    struct err err;
    const uint64_t sizes[] = {0, 4095, 5000, 4096, 4096, 1ull << 62, UINT64_MAX - 4095};
    const uint32_t nodes[] = {1, 1, 1, 0, 257, 2, 1};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        assert_int_equal(snapshot_writer_open(&writer, *state, NAME, sizes[i], nodes[i], &err), MCOMP_INVALID_ARGUMENT);
    assert_int_equal(folder_count(*state), 0);
}

/* ---- names and places ---- */

static void directory_is_made_but_not_its_parent(void **state)
{
    struct array array = array_make(SNAPSHOT_PAGE_BYTES, 1);
    struct snapshot_writer *writer;
    struct err err;
    char deeper[400];
    snprintf(deeper, sizeof deeper, "%s/new", (char *)*state);
    array_save(&array, deeper, NAME, false);
    assert_holds(path_in(deeper, NAME), &array);
    snprintf(deeper, sizeof deeper, "%s/none/new", (char *)*state);
    assert_int_equal(snapshot_writer_open(&writer, deeper, NAME, SNAPSHOT_PAGE_BYTES, 1, &err), MCOMP_NOT_FOUND);
    assert_non_null(strstr(err.text, deeper));
    array_free(&array);
}

static void existing_files_are_left_alone(void **state)
{
    struct array array = array_make(SNAPSHOT_PAGE_BYTES, 1);
    struct snapshot_writer *writer;
    struct err err;
    Mcomp__Snapshot__V1__Header header;
    uint64_t bytes;
    array.bytes[7] = 7;
    array_save(&array, *state, NAME, false);
    assert_int_equal(snapshot_writer_open(&writer, *state, NAME, SNAPSHOT_PAGE_BYTES, 1, &err), MCOMP_ALREADY_EXISTS);
    assert_null(writer);
    file_store(path_in(*state, "y.mcsnap.tmp"), "old", 3);
    assert_int_equal(snapshot_writer_open(&writer, *state, "y.mcsnap", SNAPSHOT_PAGE_BYTES, 1, &err), MCOMP_ALREADY_EXISTS);
    assert_int_equal(folder_count(*state), 2);
    /* The name is taken while the file is being written. */
    assert_ok(snapshot_writer_open(&writer, *state, "z.mcsnap", SNAPSHOT_PAGE_BYTES, 1, &err), err);
    file_store(path_in(*state, "z.mcsnap"), "mine", 4);
    header_fill(&header, "demo", 1);
    assert_int_equal(snapshot_writer_commit(writer, &header, &bytes, &err), MCOMP_ALREADY_EXISTS);
    snapshot_writer_discard(writer);
    assert_int_equal(folder_count(*state), 3);
    assert_holds(path_in(*state, NAME), &array);
    array_free(&array);
}

static void file_has_its_name_only_when_it_is_complete(void **state)
{
    struct snapshot_writer *writer;
    struct err err;
    struct stat st;
    Mcomp__Snapshot__V1__Header header;
    uint64_t bytes;
    header_fill(&header, "demo", 1);
    assert_ok(snapshot_writer_open(&writer, *state, NAME, SNAPSHOT_PAGE_BYTES, 1, &err), err);
    assert_int_equal(stat(path_in(*state, NAME ".tmp"), &st), 0);
    assert_int_not_equal(stat(path_in(*state, NAME), &st), 0);
    int fd = open(path_in(*state, NAME ".tmp"), O_RDWR);
    assert_true(fd >= 0);
    assert_int_not_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    assert_ok(snapshot_writer_commit(writer, &header, &bytes, &err), err);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    close(fd);
    assert_int_equal(stat(path_in(*state, NAME), &st), 0);
    assert_int_equal(folder_count(*state), 1);
}

static void what_is_no_file_is_refused(void **state)
{
    struct snapshot_reader *reader;
    struct err err;
    struct problems problems;
    assert_int_equal(snapshot_reader_open(&reader, path_in(*state, "none"), &err), MCOMP_NOT_FOUND);
    assert_non_null(strstr(err.text, "none"));
    assert_int_equal(snapshot_reader_open(&reader, *state, &err), MCOMP_INVALID_ARGUMENT);
    assert_int_equal(mkfifo(path_in(*state, "pipe"), 0600), 0);
    assert_int_equal(snapshot_reader_open(&reader, path_in(*state, "pipe"), &err), MCOMP_INVALID_ARGUMENT);
    verify_file(path_in(*state, "none"), &problems);
    assert_int_equal(problems.status, MCOMP_NOT_FOUND);
    verify_file(path_in(*state, "pipe"), &problems);
    assert_int_equal(problems.status, MCOMP_INVALID_ARGUMENT);
    snapshot_reader_close(NULL);
    snapshot_writer_discard(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_begin, folder_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(empty_grid),
        TEST(full_grid),
        TEST(last_window_that_is_not_full),
        TEST(sparse_grid),
        TEST(header_comes_back),
        TEST(reads_at_random_agree_with_the_array),
        TEST(read_outside_is_out_of_range),
        TEST(next_walks_over_the_windows_that_have_a_chunk),
        TEST(many_index_blocks),
        TEST(chunks_out_of_order_or_damaged_are_refused),
        TEST(header_out_of_its_bounds_is_refused),
        TEST(longest_header_fits),
        TEST(shapes_that_cannot_be_are_refused),
        TEST(directory_is_made_but_not_its_parent),
        TEST(existing_files_are_left_alone),
        TEST(file_has_its_name_only_when_it_is_complete),
        TEST(what_is_no_file_is_refused),
    };
    return cmocka_run_group_tests_name("snapshot file", tests, NULL, NULL);
}
