/* SPDX-License-Identifier: Apache-2.0 */
/** Comparing two files, against comparing two arrays byte by byte. */
#include "unit/snapshot/file_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct range {
    uint64_t address, length;
};

struct ranges {
    size_t count, room;
    struct range *range;
};

static void add_range(void *arg, uint64_t address, uint64_t length)
{
    struct ranges *ranges = arg;
    if (ranges->count == ranges->room) {
        ranges->room = ranges->room ? 2 * ranges->room : 16;
        ranges->range = realloc(ranges->range, ranges->room * sizeof *ranges->range);
        assert_non_null(ranges->range);
    }
    ranges->range[ranges->count++] = (struct range){.address = address, .length = length};
}

static void brute_force(const struct array *left, const struct array *right, struct ranges *ranges)
{
    uint64_t size = array_size(left) < array_size(right) ? array_size(left) : array_size(right);
    for (uint64_t at = 0; at < size;) {
        uint64_t end = at;
        while (end < size && left->bytes[end] != right->bytes[end])
            end++;
        if (end > at)
            add_range(ranges, at, end - at);
        at = end > at ? end : at + 1;
    }
}

/** Both ways round: the same ranges as by brute force. Returns how many. */
static size_t compare(const char *folder, const struct array *left, const struct array *right)
{
    struct ranges expected = {0};
    struct snapshot_reader *left_reader, *right_reader;
    struct err err;
    size_t count;
    brute_force(left, right, &expected);
    array_save(left, folder, "left.mcsnap", false);
    array_save(right, folder, "right.mcsnap", true);
    assert_ok(snapshot_reader_open(&left_reader, path_in(folder, "left.mcsnap"), &err), err);
    assert_ok(snapshot_reader_open(&right_reader, path_in(folder, "right.mcsnap"), &err), err);
    for (int swapped = 0; swapped < 2; swapped++) {
        struct ranges found = {0};
        assert_ok(snapshot_diff(swapped ? right_reader : left_reader, swapped ? left_reader : right_reader, add_range, &found, &err), err);
        assert_int_equal(found.count, expected.count);
        for (size_t i = 0; i < found.count; i++) {
            assert_int_equal(found.range[i].address, expected.range[i].address);
            assert_int_equal(found.range[i].length, expected.range[i].length);
        }
        free(found.range);
    }
    snapshot_reader_close(left_reader);
    snapshot_reader_close(right_reader);
    assert_int_equal(unlink(path_in(folder, "left.mcsnap")), 0);
    assert_int_equal(unlink(path_in(folder, "right.mcsnap")), 0);
    count = expected.count;
    free(expected.range);
    return count;
}

static void fill(struct array *array, uint64_t seed)
{
    for (uint64_t page = 0; page < array_size(array) / SNAPSHOT_PAGE_BYTES; page++) {
        if (random_next(&seed) % 2)
            fill_random(array->bytes + page * SNAPSHOT_PAGE_BYTES, SNAPSHOT_PAGE_BYTES, page);
    }
}

static struct array copy_of(const struct array *array)
{
    struct array copy = array_make(array->segment_size, array->nodes);
    memcpy(copy.bytes, array->bytes, array_size(array));
    return copy;
}

static void equal_files_have_no_difference(void **state)
{
    struct array left = array_make(SNAPSHOT_CHUNK_BYTES + SNAPSHOT_PAGE_BYTES, 3);
    fill(&left, 1);
    struct array right = copy_of(&left);
    assert_int_equal(compare(*state, &left, &right), 0);
    array_free(&left);
    array_free(&right);
}

static void single_bytes_and_neighbours(void **state)
{
    struct array left = array_make(SNAPSHOT_CHUNK_BYTES + SNAPSHOT_PAGE_BYTES, 3);
    uint64_t k = left.segment_size;
    fill(&left, 1);
    struct array right = copy_of(&left);
    right.bytes[0] ^= 1;
    right.bytes[2] ^= 1;
    right.bytes[3] ^= 1;
    for (uint64_t at = k - 10; at < k + 10; at++) /* over the border of two nodes: one range */
        right.bytes[at] ^= 1;
    for (uint64_t at = SNAPSHOT_CHUNK_BYTES - 1; at < SNAPSHOT_CHUNK_BYTES + 1; at++) /* of two windows */
        right.bytes[at] ^= 1;
    right.bytes[array_size(&right) - 1] ^= 1;
    assert_int_equal(compare(*state, &left, &right), 5);
    array_free(&left);
    array_free(&right);
}

static void windows_that_only_one_has(void **state)
{
    struct array left = array_make(3 * SNAPSHOT_CHUNK_BYTES, 2), right = array_make(3 * SNAPSHOT_CHUNK_BYTES, 2);
    left.bytes[SNAPSHOT_CHUNK_BYTES + 5] = 1;
    right.bytes[4 * SNAPSHOT_CHUNK_BYTES] = 2;
    memset(right.bytes + 5 * SNAPSHOT_CHUNK_BYTES, 7, SNAPSHOT_CHUNK_BYTES);
    assert_int_equal(compare(*state, &left, &right), 3);
    array_free(&left);
    array_free(&right);
}

static void at_random(void **state)
{
    uint64_t seed = 11;
    for (int i = 0; i < 40; i++) {
        struct array left = array_make(SNAPSHOT_CHUNK_BYTES + 3 * SNAPSHOT_PAGE_BYTES, 2);
        fill(&left, random_next(&seed));
        struct array right = copy_of(&left);
        for (uint64_t changes = random_next(&seed) % 50; changes > 0; changes--) {
            uint64_t at = random_next(&seed) % array_size(&right), length = random_next(&seed) % (random_next(&seed) % 4 ? 20 : 20000);
            for (; length > 0 && at < array_size(&right); length--, at++)
                right.bytes[at] = (uint8_t)random_next(&seed);
        }
        (void)compare(*state, &left, &right);
        array_free(&left);
        array_free(&right);
    }
}

static void other_shapes(void **state)
{
    uint64_t seed = 12;
    struct array left = array_make(SNAPSHOT_CHUNK_BYTES + 3 * SNAPSHOT_PAGE_BYTES, 3), right = array_make(7 * SNAPSHOT_PAGE_BYTES, 40);
    fill(&left, 1);
    uint64_t size = array_size(&left) < array_size(&right) ? array_size(&left) : array_size(&right);
    memcpy(right.bytes, left.bytes, size);
    for (int i = 0; i < 100; i++)
        right.bytes[random_next(&seed) % size] ^= 1;
    assert_true(compare(*state, &left, &right) > 50);
    array_free(&left);
    array_free(&right);
}

static void damage_is_an_error(void **state)
{
    struct array left = array_make(SNAPSHOT_CHUNK_BYTES, 1);
    struct snapshot_reader *left_reader, *right_reader;
    struct ranges found = {0};
    struct err err;
    fill(&left, 1);
    array_save(&left, *state, "left.mcsnap", false);
    array_save(&left, *state, "right.mcsnap", false);
    file_patch(path_in(*state, "right.mcsnap"), SNAPSHOT_HEADER_BYTES + 5000, "damage", 6);
    assert_ok(snapshot_reader_open(&left_reader, path_in(*state, "left.mcsnap"), &err), err);
    assert_ok(snapshot_reader_open(&right_reader, path_in(*state, "right.mcsnap"), &err), err);
    assert_int_equal(snapshot_diff(left_reader, right_reader, add_range, &found, &err), MCOMP_DATA_LOSS);
    assert_non_null(strstr(err.text, "right.mcsnap"));
    assert_int_equal(snapshot_diff(right_reader, left_reader, add_range, &found, &err), MCOMP_DATA_LOSS);
    assert_int_equal(found.count, 0);
    snapshot_reader_close(left_reader);
    snapshot_reader_close(right_reader);
    array_free(&left);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_begin, folder_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(equal_files_have_no_difference), TEST(single_bytes_and_neighbours), TEST(windows_that_only_one_has), TEST(at_random), TEST(other_shapes),
        TEST(damage_is_an_error),
    };
    return cmocka_run_group_tests_name("snapshot diff", tests, NULL, NULL);
}
