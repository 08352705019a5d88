/* SPDX-License-Identifier: Apache-2.0 */
/** What a restore needs of a file: whether it fits, what tells it from others, and its windows without a copy. */
#include <stdlib.h>
#include <string.h>

#include "file_fixture.h"

#define SEGMENT (SNAPSHOT_CHUNK_BYTES + 3u * SNAPSHOT_PAGE_BYTES) /* the last window of each node is a short one */
#define NODES 3u

static struct snapshot_reader *open_file(const char *path)
{
    struct snapshot_reader *reader;
    struct err err;
    assert_ok(snapshot_reader_open(&reader, path, &err), err);
    return reader;
}

/** An array with whole, sparse and empty windows. */
static struct array some_array(void)
{
    struct array array = array_make(SEGMENT, NODES);
    fill_random(array.bytes, SNAPSHOT_CHUNK_BYTES, 1);
    memset(array.bytes + SEGMENT + 5 * SNAPSHOT_PAGE_BYTES, 'a', SNAPSHOT_PAGE_BYTES);
    memset(array.bytes + SEGMENT + 63 * SNAPSHOT_PAGE_BYTES, 'b', 2 * SNAPSHOT_PAGE_BYTES); /* the last of one window, the first of the next */
    return array;
}

/** All windows, put together by hand, are the array. */
static void assert_windows(const char *path, const struct array *array)
{
    struct snapshot_reader *reader = open_file(path);
    uint8_t *room = malloc(SNAPSHOT_ROOM_BYTES);
    struct err err;
    for (uint64_t window = 0; window < array_size(array); window += chunk_window_bytes(SEGMENT, window)) {
        uint32_t bytes = chunk_window_bytes(SEGMENT, window), stored = 0;
        uint8_t zeros[SNAPSHOT_PAGE_BYTES] = {0};
        uint64_t pages;
        const uint8_t *data;
        assert_ok(snapshot_reader_pages(reader, window, room, &pages, &data, &err), err);
        for (uint32_t page = 0; page < bytes / SNAPSHOT_PAGE_BYTES; page++) {
            bool here = pages >> page & 1;
            const uint8_t *is = here ? data + (size_t)stored++ * SNAPSHOT_PAGE_BYTES : zeros;
            assert_memory_equal(is, array->bytes + window + (uint64_t)page * SNAPSHOT_PAGE_BYTES, SNAPSHOT_PAGE_BYTES);
            assert_true(here == !chunk_page_is_zero(is)); /* zeros are not stored */
        }
        assert_true(pages == 0 || (data >= room && data + (size_t)stored * SNAPSHOT_PAGE_BYTES <= room + SNAPSHOT_ROOM_BYTES));
        /* and reading at random goes on beside it */
        uint8_t byte;
        assert_ok(snapshot_reader_read(reader, window, 1, &byte, &err), err);
        assert_int_equal(byte, array->bytes[window]);
    }
    free(room);
    snapshot_reader_close(reader);
}

static void windows_are_the_array(void **state)
{
    struct array array = some_array();
    array_save(&array, *state, "plain", false);
    array_save(&array, *state, "packed", true);
    assert_windows(path_in(*state, "plain"), &array);
    assert_windows(path_in(*state, "packed"), &array);
    array_free(&array);
}

static void a_damaged_window_is_not_given(void **state)
{
    struct array array = some_array();
    const char *path = path_in(*state, "damaged");
    struct place place[16];
    uint8_t *room = malloc(SNAPSHOT_ROOM_BYTES);
    const uint8_t *data;
    uint64_t pages;
    struct err err;
    array_save(&array, *state, "damaged", false);
    assert_true(file_places(path, place, 16) >= 3);
    file_patch(path, place[1].offset + place[1].bytes / 2, "?!", 2);
    struct snapshot_reader *reader = open_file(path);
    assert_int_equal(snapshot_reader_pages(reader, 0, room, &pages, &data, &err), MCOMP_DATA_LOSS);
    assert_non_null(strstr(err.text, "addresses 0 to"));
    assert_ok(snapshot_reader_pages(reader, SEGMENT, room, &pages, &data, &err), err);
    assert_int_equal(data[0], 'a');
    snapshot_reader_close(reader);
    free(room);
    array_free(&array);
}

static void only_what_fits_is_opened(void **state)
{
    struct array array = some_array();
    const char *path = path_in(*state, "file");
    struct snapshot_reader *reader;
    struct err err;
    array_save(&array, *state, "file", false);
    assert_ok(snapshot_reader_open_fitting(&reader, path, array_size(&array), &err), err);
    snapshot_reader_close(reader);
    assert_int_equal(snapshot_reader_open_fitting(&reader, path, array_size(&array) - 1, &err), MCOMP_OUT_OF_RANGE);
    assert_null(reader);
    assert_non_null(strstr(err.text, "does not fit into this grid"));
    assert_int_equal(snapshot_reader_open_fitting(&reader, path_in(*state, "none"), UINT64_MAX, &err), MCOMP_NOT_FOUND);
    assert_null(reader);
    array_free(&array);
}

static uint64_t identity_of(const char *path)
{
    struct snapshot_reader *reader = open_file(path);
    uint64_t identity = snapshot_reader_identity(reader);
    snapshot_reader_close(reader);
    return identity;
}

static void files_have_identities(void **state)
{
    struct array array = some_array();
    array_save(&array, *state, "one", false);
    array_save(&array, *state, "same", false);
    array.bytes[SEGMENT + 5 * SNAPSHOT_PAGE_BYTES]++;
    array_save(&array, *state, "other", false);
    assert_true(identity_of(path_in(*state, "one")) == identity_of(path_in(*state, "same")));
    assert_true(identity_of(path_in(*state, "one")) != identity_of(path_in(*state, "other")));
    array_free(&array);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(windows_are_the_array, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(a_damaged_window_is_not_given, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(only_what_fits_is_opened, folder_begin, folder_end),
        cmocka_unit_test_setup_teardown(files_have_identities, folder_begin, folder_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
