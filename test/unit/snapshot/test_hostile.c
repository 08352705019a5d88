/* SPDX-License-Identifier: Apache-2.0 */
/** Files made by an enemy: all checksums hold, and what they protect is nonsense. */
#include "unit/snapshot/file_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "snapshot/reader.h"

#define NAME "x.mcsnap"
#define RECORD(kind) MCOMP__SNAPSHOT__V1__RECORD__KIND_##kind
#define K (4ull * SNAPSHOT_CHUNK_BYTES)
#define NODES 2u
#define ENTRIES 4u /* of each of the two blocks */

/** A file in parts that can be changed one by one and put together again with right checksums. */
struct forgery {
    char path[400];
    uint8_t *bytes; /* of the sound file */
    size_t size, chunks_end; /* where the first block begins */
    struct {
        uint64_t address[ENTRIES + 1], offset[ENTRIES + 1];
        uint32_t crc[ENTRIES + 1];
        IndexBlock block;
    } part[2];
    uint64_t first[3], last[3], offset[3];
    uint32_t crc[3];
    Index index;
    struct format_trailer trailer;
    bool stale_offsets; /* offset[] is the test's, not to be set by forge_store */
};

static void forge_load(struct forgery *forgery, const char *folder)
{
    struct array array = array_make(K, NODES);
    struct place place[32];
    for (uint64_t window = 0; window < 8; window++)
        fill_random(array.bytes + window * SNAPSHOT_CHUNK_BYTES, SNAPSHOT_PAGE_BYTES, window);
    array_save(&array, folder, NAME, false);
    array_free(&array);
    *forgery = (struct forgery){0};
    snprintf(forgery->path, sizeof forgery->path, "%s/%s", folder, NAME);
    forgery->bytes = file_load(forgery->path, &forgery->size);
    assert_int_equal(file_places(forgery->path, place, 32), 12);
    forgery->chunks_end = place[9].offset;
    for (size_t i = 0; i < 2; i++) {
        Record *record = format_record_unpack(FORMAT_BLOCK, forgery->bytes + place[9 + i].offset, place[9 + i].bytes);
        assert_non_null(record);
        const IndexBlock *is = record->index_block;
        assert_int_equal(is->n_address, ENTRIES);
        memcpy(forgery->part[i].address, is->address, ENTRIES * sizeof is->address[0]);
        memcpy(forgery->part[i].offset, is->offset, ENTRIES * sizeof is->offset[0]);
        memcpy(forgery->part[i].crc, is->crc32c, ENTRIES * sizeof is->crc32c[0]);
        IndexBlock *block = &forgery->part[i].block;
        mcomp__snapshot__v1__index_block__init(block);
        block->node = is->node;
        block->n_address = block->n_offset = block->n_crc32c = ENTRIES;
        block->address = forgery->part[i].address;
        block->offset = forgery->part[i].offset;
        block->crc32c = forgery->part[i].crc;
        forgery->first[i] = is->address[0];
        forgery->last[i] = is->address[ENTRIES - 1];
        mcomp__snapshot__v1__record__free_unpacked(record, NULL);
    }
    mcomp__snapshot__v1__index__init(&forgery->index);
    Index *index = &forgery->index;
    index->n_first_address = index->n_last_address = index->n_offset = index->n_crc32c = 2;
    index->first_address = forgery->first;
    index->last_address = forgery->last;
    index->offset = forgery->offset;
    index->crc32c = forgery->crc;
    index->chunks = 8;
    forgery->trailer = (struct format_trailer){.format_version = 1, .segment_size = K, .nodes = NODES};
    forgery->trailer.header_crc = crc32c(0, forgery->bytes, SNAPSHOT_HEADER_BYTES);
}

static void append(int fd, const void *data, size_t bytes)
{
    assert_int_equal(write(fd, data, bytes), bytes);
}

static void append_record(int fd, Record *record, uint32_t *crc, uint64_t *bytes)
{
    struct err err;
    uint8_t *packed;
    size_t length;
    assert_ok(format_record_pack(&packed, &length, record, &err), err);
    append(fd, packed, length);
    *crc = crc32c(0, packed, length);
    *bytes = length;
    free(packed);
}

static void forge_store(struct forgery *forgery)
{
    int fd = open(forgery->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    uint8_t end[SNAPSHOT_TRAILER_BYTES];
    assert_true(fd >= 0);
    append(fd, forgery->bytes, forgery->chunks_end);
    Record record = MCOMP__SNAPSHOT__V1__RECORD__INIT;
    record.kind_case = RECORD(INDEX_BLOCK);
    for (size_t i = 0; i < 2; i++) {
        uint64_t bytes;
        if (!forgery->stale_offsets)
            forgery->offset[i] = (uint64_t)lseek(fd, 0, SEEK_CUR);
        record.index_block = &forgery->part[i].block;
        append_record(fd, &record, &forgery->crc[i], &bytes);
    }
    record.kind_case = RECORD(INDEX);
    record.index = &forgery->index;
    forgery->trailer.index_offset = (uint64_t)lseek(fd, 0, SEEK_CUR);
    append_record(fd, &record, &forgery->trailer.index_crc, &forgery->trailer.index_bytes);
    forgery->trailer.file_bytes = (uint64_t)lseek(fd, 0, SEEK_CUR) + sizeof end;
    format_trailer_put(end, &forgery->trailer);
    append(fd, end, sizeof end);
    close(fd);
}

static void forge_end(struct forgery *forgery)
{
    free(forgery->bytes);
}

static enum mcomp_status try_open(const struct forgery *forgery)
{
    struct snapshot_reader *reader;
    struct err err;
    enum mcomp_status status = snapshot_reader_open(&reader, forgery->path, &err);
    snapshot_reader_close(reader);
    return status;
}

/** Read each window of the grid; the number that cannot be. */
static size_t try_read(const struct forgery *forgery)
{
    struct snapshot_reader *reader;
    struct err err;
    size_t lost = 0;
    uint8_t byte;
    assert_ok(snapshot_reader_open(&reader, forgery->path, &err), err);
    for (uint64_t address = 0; address < NODES * K; address += SNAPSHOT_CHUNK_BYTES) {
        enum mcomp_status status = snapshot_reader_read(reader, address, 1, &byte, &err);
        assert_true(status == MCOMP_OK || status == MCOMP_DATA_LOSS);
        lost += status != MCOMP_OK;
    }
    snapshot_reader_close(reader);
    return lost;
}

static void verify_complains(const struct forgery *forgery)
{
    struct problems problems;
    verify_file(forgery->path, &problems);
    assert_int_equal(problems.status, MCOMP_DATA_LOSS);
}

static void put_together_again_it_is_sound(void **state)
{
    struct forgery forgery;
    struct problems problems;
    size_t size;
    forge_load(&forgery, *state);
    forge_store(&forgery);
    uint8_t *bytes = file_load(forgery.path, &size);
    assert_int_equal(size, forgery.size);
    assert_int_equal(memcmp(bytes, forgery.bytes, size), 0);
    verify_file(forgery.path, &problems);
    assert_int_equal(problems.status, MCOMP_OK);
    free(bytes);
    forge_end(&forgery);
}

/* ---- the index ---- */

static void change_index(struct forgery *forgery, unsigned number)
{
    Index *index = &forgery->index;
    forgery->stale_offsets = number >= 9;
    switch (number) {
    case 0: index->n_first_address = 1; break;
    case 1: index->n_last_address = 1; break;
    case 2: index->n_crc32c = 1; break;
    case 3: index->chunks = UINT64_MAX; break;
    case 4: index->chunks = 1; break;
    case 5: forgery->first[0] = K; break;                            /* after its last */
    case 6: forgery->first[1] = forgery->last[0]; break;             /* blocks overlap, and over two nodes */
    case 7: forgery->last[1] = 2 * K; break;                         /* outside */
    case 8: forgery->last[0] += 4096; break;                         /* no window */
    case 9: forgery->offset[0] = 0; break;
    case 10: forgery->offset[0] = UINT64_MAX; break;
    case 11: forgery->offset[1] = forgery->size; break;
    case 12: forgery->offset[0] = (uint64_t)1 << 63; break;
    default: fail_msg("no such change");
    }
}

static void nonsense_in_the_index_is_refused(void **state)
{
    for (unsigned number = 0; number <= 12; number++) {
        struct forgery forgery;
        forge_load(&forgery, *state);
        forge_store(&forgery);
        change_index(&forgery, number);
        forge_store(&forgery);
        assert_int_equal(try_open(&forgery), MCOMP_DATA_LOSS);
        verify_complains(&forgery);
        forge_end(&forgery);
        assert_int_equal(unlink(forgery.path), 0);
    }
}

static void blocks_in_the_wrong_order_are_refused(void **state)
{
    struct forgery forgery;
    forge_load(&forgery, *state);
    forge_store(&forgery);
    forgery.stale_offsets = true;
    uint64_t swap[] = {forgery.first[0], forgery.last[0], forgery.offset[0]};
    forgery.first[0] = forgery.first[1];
    forgery.last[0] = forgery.last[1];
    forgery.offset[0] = forgery.offset[1];
    forgery.first[1] = swap[0];
    forgery.last[1] = swap[1];
    forgery.offset[1] = swap[2];
    forge_store(&forgery);
    assert_int_equal(try_open(&forgery), MCOMP_DATA_LOSS);
    verify_complains(&forgery);
    forge_end(&forgery);
}

/* The index's record is shorter than the trailer says, and something stands behind it. */
static void bytes_behind_the_index_are_refused(void **state)
{
    struct forgery forgery;
    uint8_t end[SNAPSHOT_TRAILER_BYTES];
    forge_load(&forgery, *state);
    forge_store(&forgery);
    struct format_trailer trailer = forgery.trailer;
    uint8_t *index = calloc(1, trailer.index_bytes + 10);
    assert_non_null(index);
    memcpy(index, forgery.bytes + trailer.index_offset, trailer.index_bytes);
    trailer.index_bytes += 10;
    trailer.file_bytes += 10;
    trailer.index_crc = crc32c(0, index, trailer.index_bytes);
    format_trailer_put(end, &trailer);
    file_patch(forgery.path, trailer.index_offset, index, trailer.index_bytes);
    file_patch(forgery.path, trailer.file_bytes - sizeof end, end, sizeof end);
    assert_int_equal(try_open(&forgery), MCOMP_DATA_LOSS);
    verify_complains(&forgery);
    free(index);
    forge_end(&forgery);
}

static void wrong_count_of_chunks_is_noticed_by_verify(void **state)
{
    struct forgery forgery;
    forge_load(&forgery, *state);
    forgery.index.chunks = 9;
    forge_store(&forgery);
    assert_int_equal(try_read(&forgery), 0);
    verify_complains(&forgery);
    forge_end(&forgery);
}

/* ---- index blocks ---- */

static void change_block(struct forgery *forgery, unsigned number)
{
    IndexBlock *block = &forgery->part[1].block;
    switch (number) {
    case 0: block->node = 0; break;
    case 1: block->node = UINT32_MAX; break;
    case 2: block->n_address = 3; break;
    case 3: block->n_offset = 3; break;
    case 4: block->n_crc32c = 5; break;
    case 5: block->n_address = block->n_offset = block->n_crc32c = 0; break;
    case 6: block->address[1] = block->address[0]; break;
    case 7: block->address[1] = block->address[3]; break;
    case 8: block->address[1] += 1; break;
    case 9: block->address[0] = 0; break;
    case 10: block->offset[0] = 0; break;
    case 11: block->offset[3] = UINT64_MAX; break;
    case 12: block->offset[1] = block->offset[0]; break;
    case 13: block->offset[1] = block->offset[3]; break;
    case 14: block->offset[3] = forgery->size - 1; break;
    case 15: block->address[3] = UINT64_MAX; break;
    default: fail_msg("no such change");
    }
}

static void nonsense_in_a_block_costs_the_block(void **state)
{
    for (unsigned number = 0; number <= 15; number++) {
        struct forgery forgery;
        forge_load(&forgery, *state);
        change_block(&forgery, number);
        forge_store(&forgery);
        assert_int_equal(try_read(&forgery), 4);
        verify_complains(&forgery);
        forge_end(&forgery);
        assert_int_equal(unlink(forgery.path), 0);
    }
}

static void block_with_too_many_entries_is_refused(void **state)
{
    struct forgery forgery;
    IndexBlock full = MCOMP__SNAPSHOT__V1__INDEX_BLOCK__INIT;
    forge_load(&forgery, *state);
    uint64_t *addresses = calloc(FORMAT_BLOCK_CHUNKS + 1, sizeof *addresses);
    assert_non_null(addresses);
    uint64_t *numbers = calloc(FORMAT_BLOCK_CHUNKS + 1, sizeof *numbers);
    assert_non_null(numbers);
    IndexBlock *block = &forgery.part[1].block;
    for (uint64_t i = 0; i <= FORMAT_BLOCK_CHUNKS; i++) {
        addresses[i] = i * SNAPSHOT_CHUNK_BYTES;
        numbers[i] = SNAPSHOT_HEADER_BYTES + i;
    }
    block->address = block->offset = numbers;
    block->crc32c = (uint32_t *)numbers;
    block->n_address = block->n_offset = block->n_crc32c = FORMAT_BLOCK_CHUNKS + 1;
    forge_store(&forgery);
    assert_int_equal(try_read(&forgery), 4);
    verify_complains(&forgery);
    full.address = addresses;
    full.offset = numbers;
    full.n_address = full.n_offset = full.n_crc32c = FORMAT_BLOCK_CHUNKS;
    assert_true(reader_block_ok(&full, 2048 * SNAPSHOT_CHUNK_BYTES, 1, 1u << 20));
    full.n_address = full.n_offset = full.n_crc32c = FORMAT_BLOCK_CHUNKS + 1;
    assert_false(reader_block_ok(&full, 2048 * SNAPSHOT_CHUNK_BYTES, 1, 1u << 20));
    free(addresses);
    free(numbers);
    forge_end(&forgery);
}

/* Entries that are well formed and point to what is not the chunk that they name. */
static void entries_that_lie_cost_their_window(void **state)
{
    for (unsigned number = 0; number < 4; number++) {
        struct forgery forgery;
        forge_load(&forgery, *state);
        switch (number) {
        case 0: forgery.part[0].offset[1] += 1; break;
        case 1: forgery.part[0].crc[1] ^= 1; break;
        case 2: forgery.part[0].offset[1] = forgery.part[1].offset[0]; break; /* another node's chunk */
        default: forgery.part[0].offset[3] = forgery.chunks_end - 1; break;
        }
        forge_store(&forgery);
        assert_int_equal(try_read(&forgery), 1);
        verify_complains(&forgery);
        forge_end(&forgery);
        assert_int_equal(unlink(forgery.path), 0);
    }
}

/* A record whose lengths agree with each other, and exceed all that a chunk may have. */
static void chunk_that_is_too_long_is_refused(void **state)
{
    for (size_t length = SNAPSHOT_CHUNK_BYTES; length <= 8 * SNAPSHOT_CHUNK_BYTES; length += SNAPSHOT_CHUNK_BYTES / 2) {
        struct forgery forgery;
        forge_load(&forgery, *state);
        size_t end = forgery.part[0].offset[1];
        Chunk chunk = MCOMP__SNAPSHOT__V1__CHUNK__INIT;
        uint8_t *bytes = calloc(1, end + FORMAT_CHUNK_HEAD_BYTES_MAX + length);
        assert_non_null(bytes);
        memcpy(bytes, forgery.bytes, end);
        chunk.address = forgery.part[0].address[1];
        chunk.pages = UINT64_MAX;
        chunk.crc32c = forgery.part[0].crc[1];
        chunk.compression = MCOMP__SNAPSHOT__V1__COMPRESSION__COMPRESSION_NONE;
        chunk.data.len = length;
        forgery.chunks_end = end + format_chunk_head_put(bytes + end, &chunk) + length;
        free(forgery.bytes);
        forgery.bytes = bytes;
        /* Only this one chunk of each node is still where it was, or at least named. */
        for (size_t i = 0; i < 2; i++) {
            IndexBlock *block = &forgery.part[i].block;
            block->n_address = block->n_offset = block->n_crc32c = 1;
            block->address += 1 - i;
            block->offset += 1 - i;
            block->crc32c += 1 - i;
            forgery.first[i] = forgery.last[i] = block->address[0];
        }
        forgery.index.chunks = 2;
        forge_store(&forgery);
        assert_int_equal(try_read(&forgery), 1);
        verify_complains(&forgery);
        forge_end(&forgery);
        assert_int_equal(unlink(forgery.path), 0);
    }
}

static void chunk_that_the_index_hides_is_noticed_by_verify(void **state)
{
    struct forgery forgery;
    forge_load(&forgery, *state);
    IndexBlock *block = &forgery.part[0].block;
    for (size_t i = 1; i < 3; i++) {
        block->address[i] = block->address[i + 1];
        block->offset[i] = block->offset[i + 1];
        block->crc32c[i] = block->crc32c[i + 1];
    }
    block->n_address = block->n_offset = block->n_crc32c = 3;
    forgery.index.chunks = 7;
    forge_store(&forgery);
    assert_int_equal(try_read(&forgery), 0);
    verify_complains(&forgery);
    forge_end(&forgery);
}

/* ---- trailer and header ---- */

static void rewrite_trailer(const struct forgery *forgery, const struct format_trailer *trailer)
{
    uint8_t end[SNAPSHOT_TRAILER_BYTES];
    format_trailer_put(end, trailer);
    file_patch(forgery->path, forgery->size - sizeof end, end, sizeof end);
}

static void nonsense_in_the_trailer_is_refused(void **state)
{
    struct forgery forgery;
    forge_load(&forgery, *state);
    forge_store(&forgery);
    const struct format_trailer sound = forgery.trailer;
    for (unsigned number = 0; number < 12; number++) {
        struct format_trailer trailer = sound;
        switch (number) {
        case 0: trailer.index_offset = UINT64_MAX; break;
        case 1: trailer.index_offset = 0; break;
        case 2: trailer.index_bytes = UINT64_MAX; break;
        case 3: trailer.index_offset += 1; break;
        case 4: trailer.index_offset = 4096; trailer.index_bytes = sound.index_offset + sound.index_bytes - 4096; break;
        case 5: trailer.file_bytes = UINT64_MAX; break;
        case 6: trailer.segment_size = 0; break;
        case 7: trailer.nodes = 0; break;
        case 8: trailer.nodes = UINT32_MAX; break;
        case 9: trailer.segment_size = 4096; break;
        case 10: trailer.header_crc ^= 1; break;
        default: trailer.format_version = 0; break;
        }
        rewrite_trailer(&forgery, &trailer);
        assert_int_equal(try_open(&forgery), MCOMP_DATA_LOSS);
        verify_complains(&forgery);
    }
    forge_end(&forgery);
}

static void nonsense_in_the_header_is_refused(void **state)
{
    struct forgery forgery;
    struct err err;
    forge_load(&forgery, *state);
    forge_store(&forgery);
    for (unsigned number = 0; number < 9; number++) {
        Header header;
        uint8_t bytes[SNAPSHOT_HEADER_BYTES];
        struct format_trailer trailer = forgery.trailer;
        header_fill(&header, "demo", 1);
        header.segment_size = K;
        header.nodes = NODES;
        header.format_version = 1;
        header.page_bytes = 4096;
        header.chunk_bytes = SNAPSHOT_CHUNK_BYTES;
        switch (number) {
        case 0: header.format_version = 0; break;
        case 1: header.segment_size = 2 * K; break; /* the trailer says otherwise */
        case 2: header.nodes = 1; break;
        default: break;
        }
        assert_ok(format_header_put(bytes, &header, &err), err);
        switch (number) {
        case 3: memset(bytes + 9, 0xff, 10); break;  /* length */
        case 4: bytes[8] = 0; break;
        case 5: bytes[10] = FORMAT_CHUNK; break;      /* another kind of record */
        case 6: bytes[19] = '\033'; break;            /* in the name */
        case 7: bytes[17] = 2; break;                 /* its length: what follows is no field */
        case 8: memset(bytes + 8, 0, sizeof bytes - 8); break;
        default: break;
        }
        trailer.header_crc = crc32c(0, bytes, sizeof bytes);
        file_patch(forgery.path, 0, bytes, sizeof bytes);
        rewrite_trailer(&forgery, &trailer);
        assert_int_equal(try_open(&forgery), MCOMP_DATA_LOSS);
        verify_complains(&forgery);
    }
    forge_end(&forgery);
}

static void later_format_is_told_from_damage(void **state)
{
    struct forgery forgery;
    struct snapshot_reader *reader;
    struct problems problems;
    struct err err;
    forge_load(&forgery, *state);
    forge_store(&forgery);
    forgery.trailer.format_version = 2;
    rewrite_trailer(&forgery, &forgery.trailer);
    assert_int_equal(snapshot_reader_open(&reader, forgery.path, &err), MCOMP_UNIMPLEMENTED);
    assert_non_null(strstr(err.text, "format 2"));
    verify_file(forgery.path, &problems);
    assert_int_equal(problems.status, MCOMP_UNIMPLEMENTED);
    /* Its trailer may look different, too. */
    Header header;
    uint8_t bytes[SNAPSHOT_HEADER_BYTES];
    header_fill(&header, "demo", 1);
    header.segment_size = K;
    header.nodes = NODES;
    header.format_version = 7;
    header.page_bytes = 4096;
    header.chunk_bytes = SNAPSHOT_CHUNK_BYTES;
    assert_ok(format_header_put(bytes, &header, &err), err);
    file_patch(forgery.path, 0, bytes, sizeof bytes);
    file_patch(forgery.path, forgery.size - 64, "SOMETHNG", 8);
    assert_int_equal(snapshot_reader_open(&reader, forgery.path, &err), MCOMP_UNIMPLEMENTED);
    assert_non_null(strstr(err.text, "format 7"));
    verify_file(forgery.path, &problems);
    assert_int_equal(problems.status, MCOMP_UNIMPLEMENTED);
    forge_end(&forgery);
}

/* Terabytes of nothing before a trailer that calls them the index. */
static void large_index_of_a_hollow_file_is_not_allocated(void **state)
{
    struct forgery forgery;
    forge_load(&forgery, *state);
    forge_store(&forgery);
    uint64_t size = 1ull << 40;
    struct format_trailer trailer = forgery.trailer;
    uint8_t end[SNAPSHOT_TRAILER_BYTES];
    trailer.index_offset = SNAPSHOT_HEADER_BYTES;
    trailer.index_bytes = size - SNAPSHOT_HEADER_BYTES - sizeof end;
    trailer.file_bytes = size;
    format_trailer_put(end, &trailer);
    if (truncate(forgery.path, (off_t)size) != 0) {
        forge_end(&forgery);
        skip(); /* the file system has no files so long */
    }
    file_patch(forgery.path, size - sizeof end, end, sizeof end);
    assert_int_equal(try_open(&forgery), MCOMP_DATA_LOSS);
    forge_end(&forgery);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_begin, folder_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(put_together_again_it_is_sound),
        TEST(nonsense_in_the_index_is_refused),
        TEST(blocks_in_the_wrong_order_are_refused),
        TEST(bytes_behind_the_index_are_refused),
        TEST(wrong_count_of_chunks_is_noticed_by_verify),
        TEST(nonsense_in_a_block_costs_the_block),
        TEST(block_with_too_many_entries_is_refused),
        TEST(entries_that_lie_cost_their_window),
        TEST(chunk_that_is_too_long_is_refused),
        TEST(chunk_that_the_index_hides_is_noticed_by_verify),
        TEST(nonsense_in_the_trailer_is_refused),
        TEST(nonsense_in_the_header_is_refused),
        TEST(later_format_is_told_from_damage),
        TEST(large_index_of_a_hollow_file_is_not_allocated),
    };
    return cmocka_run_group_tests_name("snapshot hostile", tests, NULL, NULL);
}
