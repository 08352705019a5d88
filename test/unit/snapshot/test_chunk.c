/* SPDX-License-Identifier: Apache-2.0 */
/** Chunks by themselves. */
#include "unit/snapshot/file_fixture.h"

#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"

typedef Mcomp__Snapshot__V1__Chunk Chunk;

#define K (10 * SNAPSHOT_CHUNK_BYTES + 3 * SNAPSHOT_PAGE_BYTES)
#define NODES 3u

struct made {
    struct chunk_builder builder;
    struct chunk_opener opener;
    uint8_t *pages, *room;
    Chunk chunk;
};

static void make_begin(struct made *made, bool compress)
{
    struct err err;
    *made = (struct made){.pages = calloc(1, SNAPSHOT_CHUNK_BYTES), .room = malloc(SNAPSHOT_CHUNK_BYTES)};
    assert_true(made->pages && made->room);
    assert_ok(chunk_builder_init(&made->builder, compress, &err), err);
}

static void make_end(struct made *made)
{
    chunk_builder_close(&made->builder);
    chunk_opener_close(&made->opener);
    free(made->pages);
    free(made->room);
}

static bool make(struct made *made, uint64_t address, uint32_t pages)
{
    chunk_begin(&made->builder, address, made->room);
    for (uint32_t i = 0; i < pages; i++) {
        memcpy(chunk_page(&made->builder), made->pages + i * SNAPSHOT_PAGE_BYTES, SNAPSHOT_PAGE_BYTES);
        (void)chunk_keep(&made->builder, i);
    }
    return chunk_end(&made->builder, &made->chunk);
}

static enum mcomp_status open_it(struct made *made, const uint8_t **pages, struct err *err)
{
    return chunk_open(&made->opener, &made->chunk, K, NODES, pages, err);
}

static void zero_page_is_told_from_one_with_any_byte_set(void **state)
{
    (void)state;
    uint8_t page[SNAPSHOT_PAGE_BYTES + 1] = {0};
    for (size_t shift = 0; shift < 2; shift++) { /* at an odd address, too */
        assert_true(chunk_page_is_zero(page + shift));
        for (size_t i = 0; i < SNAPSHOT_PAGE_BYTES; i++) {
            page[shift + i] = (uint8_t)(1u << i % 8);
            assert_false(chunk_page_is_zero(page + shift));
            page[shift + i] = 0;
        }
    }
}

static void pages_come_back_with_and_without_compression(void **state)
{
    (void)state;
    for (int compress = 0; compress < 2; compress++) {
        struct made made;
        struct err err;
        const uint8_t *pages;
        make_begin(&made, compress);
        memset(made.pages + SNAPSHOT_PAGE_BYTES, 'a', SNAPSHOT_PAGE_BYTES);
        memset(made.pages + 63 * SNAPSHOT_PAGE_BYTES, 'b', SNAPSHOT_PAGE_BYTES);
        assert_true(make(&made, K, SNAPSHOT_CHUNK_PAGES));
        assert_int_equal(made.chunk.address, K);
        assert_true(made.chunk.pages == (1ull << 63 | 1ull << 1));
        assert_int_equal(made.chunk.compression, compress ? MCOMP__SNAPSHOT__V1__COMPRESSION__COMPRESSION_ZSTD
                                                          : MCOMP__SNAPSHOT__V1__COMPRESSION__COMPRESSION_NONE);
        assert_true(compress ? made.chunk.data.len < 200 : made.chunk.data.len == 2 * SNAPSHOT_PAGE_BYTES);
        assert_ok(open_it(&made, &pages, &err), err);
        assert_int_equal(memcmp(pages, made.pages + SNAPSHOT_PAGE_BYTES, SNAPSHOT_PAGE_BYTES), 0);
        assert_int_equal(memcmp(pages + SNAPSHOT_PAGE_BYTES, made.pages + 63 * SNAPSHOT_PAGE_BYTES, SNAPSHOT_PAGE_BYTES), 0);
        make_end(&made);
    }
}

static void window_of_zeros_has_no_chunk(void **state)
{
    (void)state;
    struct made made;
    make_begin(&made, false);
    assert_false(make(&made, 0, SNAPSHOT_CHUNK_PAGES));
    make_end(&made);
}

static void what_does_not_shrink_by_an_eighth_stays_uncompressed(void **state)
{
    (void)state;
    struct made made;
    struct err err;
    const uint8_t *pages;
    make_begin(&made, true);
    fill_random(made.pages, SNAPSHOT_CHUNK_BYTES, 1);
    assert_true(make(&made, 0, SNAPSHOT_CHUNK_PAGES));
    assert_int_equal(made.chunk.compression, MCOMP__SNAPSHOT__V1__COMPRESSION__COMPRESSION_NONE);
    assert_int_equal(made.chunk.data.len, SNAPSHOT_CHUNK_BYTES);
    assert_int_equal(memcmp(made.chunk.data.data, made.pages, SNAPSHOT_CHUNK_BYTES), 0);
    memset(made.pages, 'z', SNAPSHOT_CHUNK_BYTES / 4);
    assert_true(make(&made, 0, SNAPSHOT_CHUNK_PAGES));
    assert_int_equal(made.chunk.compression, MCOMP__SNAPSHOT__V1__COMPRESSION__COMPRESSION_ZSTD);
    assert_ok(open_it(&made, &pages, &err), err);
    assert_int_equal(memcmp(pages, made.pages, SNAPSHOT_CHUNK_BYTES), 0);
    make_end(&made);
}

/* A page that turns out to be written to while it was copied is copied again. */
static void page_may_be_copied_again_before_it_is_kept(void **state)
{
    (void)state;
    struct made made;
    struct err err;
    const uint8_t *pages;
    make_begin(&made, false);
    chunk_begin(&made.builder, 0, made.room);
    memset(chunk_page(&made.builder), 1, SNAPSHOT_PAGE_BYTES);
    memset(chunk_page(&made.builder), 2, SNAPSHOT_PAGE_BYTES);
    assert_true(chunk_keep(&made.builder, 5));
    memset(chunk_page(&made.builder), 0, SNAPSHOT_PAGE_BYTES);
    assert_false(chunk_keep(&made.builder, 6));
    memset(chunk_page(&made.builder), 3, SNAPSHOT_PAGE_BYTES);
    assert_true(chunk_keep(&made.builder, 7));
    assert_true(chunk_end(&made.builder, &made.chunk));
    assert_int_equal(made.chunk.pages, 1 << 5 | 1 << 7);
    assert_ok(open_it(&made, &pages, &err), err);
    assert_int_equal(pages[0], 2);
    assert_int_equal(pages[SNAPSHOT_PAGE_BYTES], 3);
    make_end(&made);
}

/* The same chunk, whether its pages are kept one by one or taken over with their checksum. */
static void pages_taken_with_their_checksum_make_the_same_chunk(void **state)
{
    (void)state;
    for (int compress = 0; compress < 2; compress++) {
        struct made made;
        struct err err;
        const uint8_t *pages;
        make_begin(&made, compress);
        memset(made.pages + SNAPSHOT_PAGE_BYTES, 'a', SNAPSHOT_PAGE_BYTES);
        fill_random(made.pages + 3 * SNAPSHOT_PAGE_BYTES, SNAPSHOT_PAGE_BYTES, 1);
        assert_true(make(&made, K, 4));
        const Chunk kept = made.chunk;
        uint8_t *both = malloc(2 * SNAPSHOT_PAGE_BYTES);
        assert_non_null(both);
        memcpy(both, made.pages + SNAPSHOT_PAGE_BYTES, SNAPSHOT_PAGE_BYTES);
        memcpy(both + SNAPSHOT_PAGE_BYTES, made.pages + 3 * SNAPSHOT_PAGE_BYTES, SNAPSHOT_PAGE_BYTES);
        chunk_begin(&made.builder, K, made.room);
        memcpy(chunk_page(&made.builder), both, 2 * SNAPSHOT_PAGE_BYTES);
        chunk_take(&made.builder, 2 | 8, crc32c(0, both, 2 * SNAPSHOT_PAGE_BYTES));
        assert_true(chunk_end(&made.builder, &made.chunk));
        assert_int_equal(made.chunk.pages, kept.pages);
        assert_int_equal(made.chunk.crc32c, kept.crc32c);
        assert_int_equal(made.chunk.data.len, kept.data.len);
        assert_int_equal(made.chunk.data_crc32c, kept.data_crc32c);
        assert_ok(open_it(&made, &pages, &err), err);
        assert_int_equal(memcmp(pages, both, 2 * SNAPSHOT_PAGE_BYTES), 0);
        chunk_begin(&made.builder, K, made.room);
        chunk_take(&made.builder, 0, 0);
        assert_false(chunk_end(&made.builder, &made.chunk));
        free(both);
        make_end(&made);
    }
}

/* What the documentation says of the checksum, computed another way. */
static void checksum_covers_address_bitmap_and_pages(void **state)
{
    (void)state;
    struct made made;
    make_begin(&made, true);
    memset(made.pages, 'a', 2 * SNAPSHOT_PAGE_BYTES);
    assert_true(make(&made, K, 3));
    uint8_t *all = malloc(16 + 2 * SNAPSHOT_PAGE_BYTES);
    assert_non_null(all);
    for (int i = 0; i < 8; i++) {
        all[i] = (uint8_t)((uint64_t)K >> 8 * i);
        all[8 + i] = (uint8_t)(3ull >> 8 * i);
    }
    memset(all + 16, 'a', 2 * SNAPSHOT_PAGE_BYTES);
    assert_int_equal(made.chunk.crc32c, crc32c_tables(0, all, 16 + 2 * SNAPSHOT_PAGE_BYTES));
    assert_int_equal(made.chunk.data_crc32c, crc32c_tables(0, made.chunk.data.data, made.chunk.data.len));
    free(all);
    make_end(&made);
}

static void expect(struct made *made, enum mcomp_status status)
{
    struct err err;
    const uint8_t *pages;
    assert_int_equal(open_it(made, &pages, &err), status);
    assert_true(strncmp(err.text, "chunk at address ", 17) == 0);
}

static void malformed_chunks_are_refused(void **state)
{
    (void)state;
    struct made made;
    struct err err;
    const uint8_t *pages;
    make_begin(&made, true);
    fill_random(made.pages, 3 * SNAPSHOT_PAGE_BYTES, 1);
    assert_true(make(&made, K, 3));
    assert_ok(open_it(&made, &pages, &err), err);
    const Chunk sound = made.chunk;
    const Chunk wrong[] = {
        {.address = NODES * (uint64_t)K}, {.address = UINT64_MAX},           {.address = K + 1},
        {.address = K - 4096},            {.address = SNAPSHOT_CHUNK_BYTES / 2}, {.pages = UINT64_MAX},
        {.pages = 3},                     {.pages = 15},                     {.compression = 3},
        {.compression = 0},               {.compression = -1},               {.data = {.len = 4096}},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        made.chunk = sound;
        made.chunk.address = wrong[i].address ? wrong[i].address : sound.address;
        made.chunk.pages = wrong[i].pages ? wrong[i].pages : sound.pages;
        made.chunk.data.len = wrong[i].data.len ? wrong[i].data.len : sound.data.len;
        if (i >= 8 && i <= 10)
            made.chunk.compression = wrong[i].compression;
        expect(&made, MCOMP_INVALID_ARGUMENT);
    }
    made.chunk = sound;
    made.chunk.data_crc32c = 1;
    expect(&made, MCOMP_INVALID_ARGUMENT);
    /* Compressed data is shorter than the pages. */
    made.chunk = sound;
    made.chunk.compression = MCOMP__SNAPSHOT__V1__COMPRESSION__COMPRESSION_ZSTD;
    made.chunk.data_crc32c = crc32c(0, sound.data.data, sound.data.len);
    expect(&made, MCOMP_INVALID_ARGUMENT);
    made.chunk.data.len--;
    expect(&made, MCOMP_DATA_LOSS);
    made.chunk.data.len = 0;
    expect(&made, MCOMP_INVALID_ARGUMENT);
    made.chunk = sound;
    made.chunk.pages = 0;
    made.chunk.data.len = 0;
    expect(&made, MCOMP_INVALID_ARGUMENT);
    /* The node's last window has three pages. */
    made.chunk = sound;
    made.chunk.address = K + 10 * SNAPSHOT_CHUNK_BYTES;
    made.chunk.pages = 1 | 4 | 8;
    expect(&made, MCOMP_INVALID_ARGUMENT);
    make_end(&made);
}

static void damaged_chunks_are_refused(void **state)
{
    (void)state;
    for (int compress = 0; compress < 2; compress++) {
        struct made made;
        make_begin(&made, compress);
        memset(made.pages, 'a', 3 * SNAPSHOT_PAGE_BYTES);
        assert_true(make(&made, K, 3));
        const Chunk sound = made.chunk;
        made.chunk.address = 0;
        expect(&made, MCOMP_DATA_LOSS);
        made.chunk = sound;
        made.chunk.pages = 1 | 2 | 8;
        expect(&made, MCOMP_DATA_LOSS);
        made.chunk = sound;
        made.chunk.crc32c ^= 1;
        expect(&made, MCOMP_DATA_LOSS);
        made.chunk = sound;
        for (size_t i = 0; i < sound.data.len; i++) {
            sound.data.data[i] ^= 0x10;
            expect(&made, MCOMP_DATA_LOSS);
            sound.data.data[i] ^= 0x10;
        }
        make_end(&made);
    }
}

/* Bytes that hold their own checksum and yet do not unpack to what they should: nobody but an enemy makes them. */
static void wrong_zstd_with_right_checksum_is_refused(void **state)
{
    (void)state;
    struct made made;
    struct err err;
    const uint8_t *pages;
    uint64_t seed = 7;
    make_begin(&made, true);
    memset(made.pages, 'a', 4 * SNAPSHOT_PAGE_BYTES);
    assert_true(make(&made, 0, 4));
    made.chunk.pages = 7;
    expect(&made, MCOMP_DATA_LOSS); /* unpacks to more */
    made.chunk.pages = 31;
    assert_int_equal(open_it(&made, &pages, &err), MCOMP_DATA_LOSS); /* to less */
    assert_non_null(strstr(err.text, "unpacks to 16384 bytes and should have 20480"));
    made.chunk.pages = 15;
    for (int i = 0; i < 2000; i++) {
        made.chunk.data.data[random_next(&seed) % made.chunk.data.len] ^= (uint8_t)(random_next(&seed) >> 8);
        made.chunk.data_crc32c = crc32c(0, made.chunk.data.data, made.chunk.data.len);
        if (open_it(&made, &pages, &err) == MCOMP_OK)
            assert_int_equal(pages[4 * SNAPSHOT_PAGE_BYTES - 1], 'a');
    }
    make_end(&made);
}

static void without_a_shape_only_the_place_is_not_checked(void **state)
{
    (void)state;
    struct made made;
    struct err err;
    const uint8_t *pages;
    make_begin(&made, false);
    memset(made.pages, 'a', SNAPSHOT_PAGE_BYTES);
    assert_true(make(&made, 12345, 1));
    assert_ok(chunk_open(&made.opener, &made.chunk, 0, 0, &pages, &err), err);
    made.chunk.address++;
    assert_int_equal(chunk_open(&made.opener, &made.chunk, 0, 0, &pages, &err), MCOMP_DATA_LOSS);
    make_end(&made);
}

static void windows_begin_anew_at_each_node(void **state)
{
    (void)state;
    assert_int_equal(chunk_window_of(K, 0), 0);
    assert_int_equal(chunk_window_of(K, K - 1), 10 * SNAPSHOT_CHUNK_BYTES);
    assert_int_equal(chunk_window_bytes(K, 10 * SNAPSHOT_CHUNK_BYTES), 3 * SNAPSHOT_PAGE_BYTES);
    assert_int_equal(chunk_window_of(K, K + SNAPSHOT_CHUNK_BYTES - 1), K);
    assert_int_equal(chunk_window_bytes(K, K), SNAPSHOT_CHUNK_BYTES);
    assert_int_equal(chunk_window_of(SNAPSHOT_PAGE_BYTES, 3 * SNAPSHOT_PAGE_BYTES + 5), 3 * SNAPSHOT_PAGE_BYTES);
    assert_int_equal(chunk_window_bytes(SNAPSHOT_PAGE_BYTES, 3 * SNAPSHOT_PAGE_BYTES), SNAPSHOT_PAGE_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zero_page_is_told_from_one_with_any_byte_set),
        cmocka_unit_test(pages_come_back_with_and_without_compression),
        cmocka_unit_test(window_of_zeros_has_no_chunk),
        cmocka_unit_test(what_does_not_shrink_by_an_eighth_stays_uncompressed),
        cmocka_unit_test(page_may_be_copied_again_before_it_is_kept),
        cmocka_unit_test(pages_taken_with_their_checksum_make_the_same_chunk),
        cmocka_unit_test(checksum_covers_address_bitmap_and_pages),
        cmocka_unit_test(malformed_chunks_are_refused),
        cmocka_unit_test(damaged_chunks_are_refused),
        cmocka_unit_test(wrong_zstd_with_right_checksum_is_refused),
        cmocka_unit_test(without_a_shape_only_the_place_is_not_checked),
        cmocka_unit_test(windows_begin_anew_at_each_node),
    };
    return cmocka_run_group_tests_name("snapshot chunk", tests, NULL, NULL);
}
