/* SPDX-License-Identifier: Apache-2.0 */
/** Damaged files: no change of any byte goes unnoticed, reading gives the right bytes or an error, and verify says what is bad and what is lost. */
#include "unit/snapshot/file_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME "x.mcsnap"
#define PLACES_MAX 64u
#define RECORD(kind) MCOMP__SNAPSHOT__V1__RECORD__KIND_##kind

/** A file, where everything stands in it, and the array that it holds. */
struct sample {
    struct array array;
    const char *folder;
    char path[400];
    struct place place[PLACES_MAX];
    size_t places;
    uint8_t *bytes; /* of the file as it was written */
    size_t size;
};

static void sample_make(struct sample *sample, const char *folder, struct array array, bool compress)
{
    sample->array = array;
    sample->folder = folder;
    snprintf(sample->path, sizeof sample->path, "%s/%s", folder, NAME);
    array_save(&sample->array, folder, NAME, compress);
    sample->places = file_places(sample->path, sample->place, PLACES_MAX);
    sample->bytes = file_load(sample->path, &sample->size);
}

static void sample_end(struct sample *sample)
{
    free(sample->bytes);
    array_free(&sample->array);
}

static void sample_restore(const struct sample *sample)
{
    file_store(sample->path, sample->bytes, sample->size);
}

static const struct place *place_of(const struct sample *sample, unsigned kind, size_t number)
{
    for (size_t i = 0; i < sample->places; i++) {
        if (sample->place[i].kind == kind && number-- == 0)
            return &sample->place[i];
    }
    fail_msg("no such record");
    return NULL;
}

/** Two nodes of four windows each, all with a page or two of noise; chunks stand in the order 0, 4, 1, 5, 2, 6, 3, 7. */
static void sample_eight_chunks(struct sample *sample, const char *folder)
{
    struct array array = array_make(4 * SNAPSHOT_CHUNK_BYTES, 2);
    for (uint64_t window = 0; window < 8; window++)
        fill_random(array.bytes + window * SNAPSHOT_CHUNK_BYTES + 3 * SNAPSHOT_PAGE_BYTES, (1 + window % 2) * SNAPSHOT_PAGE_BYTES, window);
    sample_make(sample, folder, array, false);
    assert_int_equal(sample->places, 1 + 8 + 2 + 1);
}

/** Read all windows; each gives the array's bytes or DATA_LOSS. Returns how many were lost; all, when the file cannot be opened. */
static size_t lost_windows(const struct sample *sample)
{
    struct snapshot_reader *reader;
    struct err err;
    const struct array *array = &sample->array;
    uint64_t window = array->segment_size < SNAPSHOT_CHUNK_BYTES ? array->segment_size : SNAPSHOT_CHUNK_BYTES;
    size_t lost = 0, all = array_size(array) / window;
    uint8_t buf[SNAPSHOT_PAGE_BYTES];
    if (snapshot_reader_open(&reader, sample->path, &err) != MCOMP_OK)
        return all;
    for (size_t i = 0; i < all; i++) {
        enum mcomp_status status = MCOMP_OK;
        for (uint64_t page = 0; page < window && status == MCOMP_OK; page += sizeof buf) {
            status = snapshot_reader_read(reader, i * window + page, sizeof buf, buf, &err);
            if (status == MCOMP_OK)
                assert_int_equal(memcmp(buf, array->bytes + i * window + page, sizeof buf), 0);
            else
                assert_int_equal(status, MCOMP_DATA_LOSS);
        }
        lost += status != MCOMP_OK;
    }
    snapshot_reader_close(reader);
    return lost;
}

/* ---- each byte ---- */

/** A small file with all kinds of records: a chunk of noise, compressed ones, a node without any. */
static struct array small_array(void)
{
    struct array array = array_make(2 * SNAPSHOT_PAGE_BYTES, 4);
    fill_random(array.bytes + SNAPSHOT_PAGE_BYTES, SNAPSHOT_PAGE_BYTES, 1);
    memset(array.bytes + 2 * SNAPSHOT_PAGE_BYTES, 'a', 2 * SNAPSHOT_PAGE_BYTES);
    memset(array.bytes + 6 * SNAPSHOT_PAGE_BYTES, 'b', 100);
    return array;
}

static void every_byte_that_changes_is_noticed(void **state)
{
    static const uint8_t flips[] = {0x01, 0x80, 0xff};
    struct sample sample;
    sample_make(&sample, *state, small_array(), true);
    assert_int_equal(sample.places, 1 + 3 + 3 + 1);
    for (size_t i = 0; i < sample.size; i++) {
        for (size_t flip = 0; flip < sizeof flips; flip++) {
            uint8_t changed = sample.bytes[i] ^ flips[flip];
            struct problems problems;
            file_patch(sample.path, i, &changed, 1);
            verify_file(sample.path, &problems);
            if (problems.status == MCOMP_OK)
                fail_msg("byte %zu changed from %02x to %02x unnoticed", i, sample.bytes[i], changed);
            assert_int_equal(problems.status, MCOMP_DATA_LOSS);
            assert_true(problems.first[0].offset <= i && problems.first[0].offset + problems.first[0].bytes > i);
            (void)lost_windows(&sample);
        }
        file_patch(sample.path, i, sample.bytes + i, 1);
    }
    assert_int_equal(lost_windows(&sample), 0);
    sample_end(&sample);
}

static void every_cut_is_noticed(void **state)
{
    struct sample sample;
    sample_make(&sample, *state, small_array(), true);
    for (size_t size = sample.size; size-- > 0;) {
        struct snapshot_reader *reader;
        struct err err;
        struct problems problems;
        assert_int_equal(truncate(sample.path, (off_t)size), 0);
        verify_file(sample.path, &problems);
        assert_int_equal(problems.status, MCOMP_DATA_LOSS);
        assert_int_equal(snapshot_reader_open(&reader, sample.path, &err), MCOMP_DATA_LOSS);
        assert_non_null(strstr(err.text, sample.path));
    }
    sample_end(&sample);
}

static void bytes_behind_the_end_are_noticed(void **state)
{
    struct sample sample;
    sample_make(&sample, *state, small_array(), true);
    for (size_t more = 1; more < 200; more += 9) {
        struct problems problems;
        assert_int_equal(truncate(sample.path, (off_t)(sample.size + more)), 0);
        verify_file(sample.path, &problems);
        assert_int_equal(problems.status, MCOMP_DATA_LOSS);
        assert_int_equal(problems.chunks, 3);
        assert_int_equal(problems.count, 1);
        assert_int_equal(problems.first[0].offset + problems.first[0].bytes, sample.size + more);
        assert_int_equal(problems.first[0].length, 0);
        assert_int_equal(lost_windows(&sample), 4);
    }
    sample_end(&sample);
}

/** Sectors that a disk has lost: zeros, or something else's bytes. */
static void every_lost_sector_is_noticed(void **state)
{
    struct sample sample;
    uint8_t sector[512];
    sample_eight_chunks(&sample, *state);
    for (int noise = 0; noise < 2; noise++) {
        for (size_t at = 0; at < sample.size; at += sizeof sector) {
            struct problems problems;
            size_t bytes = sample.size - at < sizeof sector ? sample.size - at : sizeof sector;
            memset(sector, 0, sizeof sector);
            if (noise)
                fill_random(sector, sizeof sector, at);
            if (memcmp(sample.bytes + at, sector, bytes) == 0)
                continue; /* the header's padding */
            file_patch(sample.path, at, sector, bytes);
            verify_file(sample.path, &problems);
            assert_int_equal(problems.status, MCOMP_DATA_LOSS);
            size_t lost = lost_windows(&sample);
            bool in_chunks = at >= sample.place[1].offset && at + bytes <= sample.place[9].offset;
            assert_int_equal(lost, in_chunks ? 8 - problems.chunks : lost);
            if (in_chunks)
                assert_true(lost >= 1 && lost <= 2);
            file_patch(sample.path, at, sample.bytes + at, bytes);
        }
    }
    sample_end(&sample);
}

/* ---- what verify says ---- */

static void expect_problem(const struct snapshot_problem *problem, uint64_t offset, uint64_t bytes, uint64_t address, uint64_t length)
{
    assert_int_equal(problem->offset, offset);
    assert_int_equal(problem->bytes, bytes);
    assert_int_equal(problem->length, length);
    assert_int_equal(problem->address, address);
    assert_true(problem->text[0] != 0);
}

static void flip(const struct sample *sample, uint64_t offset)
{
    uint8_t changed = sample->bytes[offset] ^ 0x55;
    file_patch(sample->path, offset, &changed, 1);
}

static void damaged_data_costs_its_window(void **state)
{
    struct sample sample;
    struct problems problems;
    sample_eight_chunks(&sample, *state);
    const struct place *chunk = place_of(&sample, RECORD(CHUNK), 5);
    assert_int_equal(chunk->address, 6 * SNAPSHOT_CHUNK_BYTES);
    flip(&sample, chunk->offset + chunk->bytes - 1);
    verify_file(sample.path, &problems);
    assert_int_equal(problems.count, 1);
    assert_int_equal(problems.chunks, 7);
    expect_problem(&problems.first[0], chunk->offset, chunk->bytes, chunk->address, SNAPSHOT_CHUNK_BYTES);
    assert_non_null(strstr(problems.first[0].text, "CRC-32C"));
    assert_int_equal(lost_windows(&sample), 1);
    sample_end(&sample);
}

static void damaged_head_costs_its_window(void **state)
{
    struct sample sample;
    struct problems problems;
    sample_eight_chunks(&sample, *state);
    const struct place *chunk = place_of(&sample, RECORD(CHUNK), 2);
    flip(&sample, chunk->offset); /* the length: where the next record begins must be searched for */
    verify_file(sample.path, &problems);
    assert_int_equal(problems.count, 1);
    assert_int_equal(problems.chunks, 7);
    expect_problem(&problems.first[0], chunk->offset, chunk->bytes, chunk->address, SNAPSHOT_CHUNK_BYTES);
    assert_int_equal(lost_windows(&sample), 1);
    sample_end(&sample);
}

static void bad_range_over_several_chunks_names_all_that_is_lost(void **state)
{
    struct sample sample;
    struct problems problems;
    uint8_t zeros[3 * SNAPSHOT_PAGE_BYTES] = {0};
    sample_eight_chunks(&sample, *state);
    /* Chunks 1 and 2 of node 0 and 5 of node 1 in one stretch: 1, 5, 2. */
    const struct place *first = place_of(&sample, RECORD(CHUNK), 2), *last = place_of(&sample, RECORD(CHUNK), 4);
    assert_true(last->offset + 100 - first->offset <= sizeof zeros + SNAPSHOT_PAGE_BYTES * 2);
    for (uint64_t at = first->offset; at < last->offset + 100; at++)
        file_patch(sample.path, at, zeros, 1);
    verify_file(sample.path, &problems);
    assert_int_equal(problems.chunks, 5);
    assert_int_equal(problems.count, 2);
    uint64_t bytes = last->offset + last->bytes - first->offset;
    expect_problem(&problems.first[0], first->offset, bytes, SNAPSHOT_CHUNK_BYTES, 2 * SNAPSHOT_CHUNK_BYTES);
    expect_problem(&problems.first[1], first->offset, bytes, 5 * SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNK_BYTES);
    assert_int_equal(lost_windows(&sample), 3);
    sample_end(&sample);
}

static void damaged_index_block_costs_its_chunks(void **state)
{
    struct sample sample;
    struct problems problems;
    sample_eight_chunks(&sample, *state);
    const struct place *block = place_of(&sample, RECORD(INDEX_BLOCK), 1);
    for (uint64_t at = 0; at < block->bytes; at++) {
        flip(&sample, block->offset + at);
        verify_file(sample.path, &problems);
        assert_int_equal(problems.count, 1);
        assert_int_equal(problems.chunks, 8);
        expect_problem(&problems.first[0], block->offset, block->bytes, 4 * SNAPSHOT_CHUNK_BYTES, 4 * SNAPSHOT_CHUNK_BYTES);
        assert_int_equal(lost_windows(&sample), 4);
        file_patch(sample.path, block->offset + at, sample.bytes + block->offset + at, 1);
    }
    sample_end(&sample);
}

static void damaged_header_index_and_trailer_are_named(void **state)
{
    struct sample sample;
    struct problems problems;
    sample_eight_chunks(&sample, *state);
    const struct place *index = place_of(&sample, RECORD(INDEX), 0);
    const struct {
        uint64_t flip, offset, bytes;
    } cases[] = {
        {3, 0, SNAPSHOT_HEADER_BYTES},
        {30, 0, SNAPSHOT_HEADER_BYTES},
        {4000, 0, SNAPSHOT_HEADER_BYTES},
        {index->offset + 1, index->offset, index->bytes},
        {index->offset + 20, index->offset, index->bytes},
        {sample.size - 64, sample.size - 64, 64},
        {sample.size - 20, sample.size - 64, 64},
        {sample.size - 1, sample.size - 64, 64},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        flip(&sample, cases[i].flip);
        verify_file(sample.path, &problems);
        assert_int_equal(problems.count, 1);
        assert_int_equal(problems.chunks, 8);
        expect_problem(&problems.first[0], cases[i].offset, cases[i].bytes, 0, 0);
        assert_int_equal(lost_windows(&sample), 8);
        sample_restore(&sample);
    }
    sample_end(&sample);
}

/* Header and trailer both gone: neither k nor N is known, and still each chunk can be checked. */
static void chunks_are_checked_without_header_and_trailer(void **state)
{
    struct sample sample;
    struct problems problems;
    sample_eight_chunks(&sample, *state);
    const struct place *chunk = place_of(&sample, RECORD(CHUNK), 3);
    flip(&sample, 100);
    flip(&sample, 20);
    flip(&sample, sample.size - 1);
    flip(&sample, chunk->offset + 2000);
    verify_file(sample.path, &problems);
    assert_int_equal(problems.chunks, 7);
    assert_int_equal(problems.count, 3);
    expect_problem(&problems.first[0], 0, SNAPSHOT_HEADER_BYTES, 0, 0);
    expect_problem(&problems.first[1], chunk->offset, chunk->bytes, 0, 0);
    expect_problem(&problems.first[2], sample.size - 64, 64, 0, 0);
    sample_end(&sample);
}

static void without_the_index_a_chunk_tells_its_own_address(void **state)
{
    struct sample sample;
    struct problems problems;
    sample_eight_chunks(&sample, *state);
    const struct place *chunk = place_of(&sample, RECORD(CHUNK), 3), *index = place_of(&sample, RECORD(INDEX), 0);
    flip(&sample, chunk->offset + 2000);
    flip(&sample, index->offset + 9);
    verify_file(sample.path, &problems);
    assert_int_equal(problems.chunks, 7);
    assert_int_equal(problems.count, 2);
    expect_problem(&problems.first[0], chunk->offset, chunk->bytes, chunk->address, SNAPSHOT_CHUNK_BYTES);
    expect_problem(&problems.first[1], index->offset, index->bytes, 0, 0);
    sample_end(&sample);
}

static void damage_before_the_index_does_not_reach_into_it(void **state)
{
    struct sample sample;
    struct problems problems;
    sample_eight_chunks(&sample, *state);
    const struct place *block = place_of(&sample, RECORD(INDEX_BLOCK), 1);
    flip(&sample, block->offset); /* its length, so the index is what the search finds */
    flip(&sample, sample.size - 1);
    verify_file(sample.path, &problems);
    assert_int_equal(problems.chunks, 8);
    assert_int_equal(problems.count, 2);
    expect_problem(&problems.first[0], block->offset, block->bytes, 0, 0);
    expect_problem(&problems.first[1], sample.size - 64, 64, 0, 0);
    sample_end(&sample);
}

/** A compressed chunk, whose record's length depends on the noise at its end, and one behind it. */
static void sample_with_noise(struct sample *sample, const char *folder, size_t noise)
{
    struct array array = array_make(SNAPSHOT_CHUNK_BYTES, 2);
    memset(array.bytes, 'a', 20 * SNAPSHOT_PAGE_BYTES);
    uint64_t seed = 1234567;
    for (size_t i = 0; i < 15 * SNAPSHOT_PAGE_BYTES + noise; i++) {
        size_t at = i < 15 * SNAPSHOT_PAGE_BYTES ? i : 35 * SNAPSHOT_PAGE_BYTES - 1 - i;
        array.bytes[at] = (uint8_t)(random_next(&seed) >> 24);
    }
    array.bytes[SNAPSHOT_CHUNK_BYTES] = 1;
    sample_make(sample, folder, array, true);
}

/* The search goes in steps of 64 KiB; a record that begins at the end of a step must not be missed. */
static void search_finds_a_record_at_the_border_of_its_steps(void **state)
{
    struct sample sample;
    struct problems problems;
    size_t least = 0, most = 2 * SNAPSHOT_PAGE_BYTES;
    while (most - least > 1) {
        size_t noise = (least + most) / 2;
        sample_with_noise(&sample, *state, noise);
        *(sample.place[1].bytes <= 64u << 10 ? &least : &most) = noise;
        assert_int_equal(unlink(sample.path), 0);
        sample_end(&sample);
    }
    sample_with_noise(&sample, *state, least);
    uint64_t bytes = sample.place[1].bytes;
    assert_in_range(bytes, (64u << 10) - 30, 64u << 10);
    flip(&sample, sample.place[1].offset);
    verify_file(sample.path, &problems);
    assert_int_equal(problems.count, 1);
    assert_int_equal(problems.chunks, 1);
    expect_problem(&problems.first[0], sample.place[1].offset, bytes, 0, SNAPSHOT_CHUNK_BYTES);
    sample_end(&sample);
}

static void cut_file_names_what_may_be_lost(void **state)
{
    struct sample sample;
    struct problems problems;
    sample_eight_chunks(&sample, *state);
    /* Cut in the middle of chunk 2; before it are 0, 4, 1, 5. */
    const struct place *chunk = place_of(&sample, RECORD(CHUNK), 4);
    assert_int_equal(chunk->address, 2 * SNAPSHOT_CHUNK_BYTES);
    assert_int_equal(truncate(sample.path, (off_t)(chunk->offset + 1000)), 0);
    verify_file(sample.path, &problems);
    assert_int_equal(problems.chunks, 4);
    assert_int_equal(problems.count, 3);
    expect_problem(&problems.first[0], chunk->offset, 1000, 0, 0);
    expect_problem(&problems.first[1], chunk->offset + 1000, 0, 2 * SNAPSHOT_CHUNK_BYTES, 2 * SNAPSHOT_CHUNK_BYTES);
    expect_problem(&problems.first[2], chunk->offset + 1000, 0, 6 * SNAPSHOT_CHUNK_BYTES, 2 * SNAPSHOT_CHUNK_BYTES);
    sample_end(&sample);
}

/* The grid holds the bytes of a snapshot file. When the way to the next record is searched for, its chunks are not taken for the file's own. */
static void snapshot_inside_a_snapshot_is_no_record(void **state)
{
    struct sample inner, outer;
    struct problems problems;
    sample_make(&inner, *state, small_array(), true);
    struct array array = array_make(2 * SNAPSHOT_CHUNK_BYTES, 2);
    memcpy(array.bytes, inner.bytes, inner.size);
    memcpy(array.bytes + 2 * SNAPSHOT_CHUNK_BYTES, inner.bytes, inner.size);
    assert_int_equal(unlink(inner.path), 0);
    sample_make(&outer, *state, array, false);
    flip(&outer, outer.place[1].offset + 4);
    verify_file(outer.path, &problems);
    assert_int_equal(problems.chunks, 1);
    assert_int_equal(problems.count, 1);
    expect_problem(&problems.first[0], outer.place[1].offset, outer.place[1].bytes, 0, SNAPSHOT_CHUNK_BYTES);
    sample_end(&inner);
    sample_end(&outer);
}

/* ---- sound records in the wrong place ---- */

static void chunk_of_another_file_is_noticed(void **state)
{
    struct sample sample;
    struct problems problems;
    sample_eight_chunks(&sample, *state);
    const struct place *chunk = place_of(&sample, RECORD(CHUNK), 0);
    struct array other = array_make(sample.array.segment_size, 2);
    memcpy(other.bytes, sample.array.bytes, array_size(&other));
    other.bytes[3 * SNAPSHOT_PAGE_BYTES] ^= 1;
    array_save(&other, sample.folder, "other.mcsnap", false);
    size_t size;
    uint8_t *bytes = file_load(path_in(sample.folder, "other.mcsnap"), &size);
    assert_int_equal(size, sample.size);
    file_patch(sample.path, chunk->offset, bytes + chunk->offset, chunk->bytes); /* sound, of the same place, but older, say */
    verify_file(sample.path, &problems);
    assert_int_equal(problems.count, 1);
    assert_int_equal(problems.chunks, 7);
    expect_problem(&problems.first[0], chunk->offset, chunk->bytes, 0, SNAPSHOT_CHUNK_BYTES);
    assert_int_equal(lost_windows(&sample), 1);
    struct snapshot_reader *reader;
    struct err err;
    uint8_t byte;
    assert_ok(snapshot_reader_open(&reader, sample.path, &err), err);
    for (int again = 0; again < 2; again++)
        assert_int_equal(snapshot_reader_read(reader, 0, 1, &byte, &err), MCOMP_DATA_LOSS);
    snapshot_reader_close(reader);
    free(bytes);
    array_free(&other);
    sample_end(&sample);
}

static void chunks_that_changed_places_are_noticed(void **state)
{
    struct sample sample;
    struct problems problems;
    sample_eight_chunks(&sample, *state);
    const struct place *first = place_of(&sample, RECORD(CHUNK), 2), *second = place_of(&sample, RECORD(CHUNK), 3);
    if (first->bytes != second->bytes)
        second = place_of(&sample, RECORD(CHUNK), 7);
    assert_int_equal(first->bytes, second->bytes);
    file_patch(sample.path, first->offset, sample.bytes + second->offset, second->bytes);
    file_patch(sample.path, second->offset, sample.bytes + first->offset, first->bytes);
    verify_file(sample.path, &problems);
    assert_int_equal(problems.count, 2);
    assert_int_equal(problems.chunks, 6);
    expect_problem(&problems.first[0], first->offset, first->bytes, first->address, SNAPSHOT_CHUNK_BYTES);
    expect_problem(&problems.first[1], second->offset, second->bytes, second->address, SNAPSHOT_CHUNK_BYTES);
    assert_int_equal(lost_windows(&sample), 2);
    sample_end(&sample);
}

static void read_names_offset_and_addresses(void **state)
{
    struct sample sample;
    struct snapshot_reader *reader;
    struct err err;
    char offset[64], addresses[96];
    uint8_t byte;
    sample_eight_chunks(&sample, *state);
    const struct place *chunk = place_of(&sample, RECORD(CHUNK), 6);
    flip(&sample, chunk->offset + 50);
    snprintf(offset, sizeof offset, "chunk at byte %llu of ", (unsigned long long)chunk->offset);
    snprintf(addresses, sizeof addresses, "(addresses %llu to %llu are lost)", (unsigned long long)chunk->address,
             (unsigned long long)chunk->address + SNAPSHOT_CHUNK_BYTES - 1);
    assert_ok(snapshot_reader_open(&reader, sample.path, &err), err);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(snapshot_reader_read(reader, chunk->address + 5, 1, &byte, &err), MCOMP_DATA_LOSS);
        assert_non_null(strstr(err.text, offset));
        assert_non_null(strstr(err.text, addresses));
        assert_ok(snapshot_reader_read(reader, 5 * SNAPSHOT_CHUNK_BYTES + 3 * SNAPSHOT_PAGE_BYTES, 1, &byte, &err), err);
        assert_int_equal(byte, sample.array.bytes[5 * SNAPSHOT_CHUNK_BYTES + 3 * SNAPSHOT_PAGE_BYTES]);
    }
    snapshot_reader_close(reader);
    sample_end(&sample);
}

static void file_that_is_cut_while_it_is_open_is_noticed(void **state)
{
    struct sample sample;
    struct snapshot_reader *reader;
    struct err err;
    uint8_t byte;
    sample_eight_chunks(&sample, *state);
    const struct place *chunk = place_of(&sample, RECORD(CHUNK), 6);
    assert_ok(snapshot_reader_open(&reader, sample.path, &err), err);
    assert_ok(snapshot_reader_read(reader, 0, 1, &byte, &err), err);
    assert_ok(snapshot_reader_read(reader, 7 * SNAPSHOT_CHUNK_BYTES, 1, &byte, &err), err);
    assert_int_equal(truncate(sample.path, (off_t)(chunk->offset + 100)), 0);
    assert_int_equal(snapshot_reader_read(reader, chunk->address, 1, &byte, &err), MCOMP_DATA_LOSS);
    assert_non_null(strstr(err.text, "became shorter"));
    assert_int_equal(snapshot_reader_read(reader, 7 * SNAPSHOT_CHUNK_BYTES, 1, &byte, &err), MCOMP_DATA_LOSS);
    assert_ok(snapshot_reader_read(reader, SNAPSHOT_CHUNK_BYTES, 1, &byte, &err), err);
    snapshot_reader_close(reader);
    sample_end(&sample);
}

static void progress_reaches_the_end(void *arg, uint64_t done, uint64_t bytes)
{
    uint64_t *last = arg;
    assert_true(done >= *last && done <= bytes);
    *last = done == bytes ? UINT64_MAX : done;
}

static void no_problem(void *arg, const struct snapshot_problem *problem)
{
    (void)arg;
    fail_msg("%s", problem->text);
}

static void progress_is_told(void **state)
{
    struct array array = array_make(8 * SNAPSHOT_CHUNK_BYTES, 2);
    struct err err;
    uint64_t last = 0, chunks;
    fill_random(array.bytes, array_size(&array), 1);
    array_save(&array, *state, NAME, false);
    assert_ok(snapshot_verify(path_in(*state, NAME), no_problem, progress_reaches_the_end, &last, &chunks, &err), err);
    assert_true(last == UINT64_MAX);
    array_free(&array);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_begin, folder_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_byte_that_changes_is_noticed),
        TEST(every_cut_is_noticed),
        TEST(bytes_behind_the_end_are_noticed),
        TEST(every_lost_sector_is_noticed),
        TEST(damaged_data_costs_its_window),
        TEST(damaged_head_costs_its_window),
        TEST(bad_range_over_several_chunks_names_all_that_is_lost),
        TEST(damaged_index_block_costs_its_chunks),
        TEST(damaged_header_index_and_trailer_are_named),
        TEST(chunks_are_checked_without_header_and_trailer),
        TEST(without_the_index_a_chunk_tells_its_own_address),
        TEST(damage_before_the_index_does_not_reach_into_it),
        TEST(search_finds_a_record_at_the_border_of_its_steps),
        TEST(cut_file_names_what_may_be_lost),
        TEST(snapshot_inside_a_snapshot_is_no_record),
        TEST(chunk_of_another_file_is_noticed),
        TEST(chunks_that_changed_places_are_noticed),
        TEST(read_names_offset_and_addresses),
        TEST(file_that_is_cut_while_it_is_open_is_noticed),
        TEST(progress_is_told),
    };
    return cmocka_run_group_tests_name("snapshot damage", tests, NULL, NULL);
}
