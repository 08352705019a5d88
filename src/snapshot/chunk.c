/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/chunk.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/crc32c.h"
#include "base/le.h"

typedef Mcomp__Snapshot__V1__Chunk Chunk;

#define NONE MCOMP__SNAPSHOT__V1__COMPRESSION__COMPRESSION_NONE
#define ZSTD MCOMP__SNAPSHOT__V1__COMPRESSION__COMPRESSION_ZSTD

bool chunk_page_is_zero(const void *page)
{
    const uint8_t *at = page;
    for (size_t i = 0; i < SNAPSHOT_PAGE_BYTES; i += 64) {
        uint64_t any = 0;
        for (size_t j = 0; j < 64; j += 8)
            any |= le64_get(at + i + j);
        if (any)
            return false;
    }
    return true;
}

/** Checksum of a chunk: address and bitmap first, so that neither can change unnoticed on the way. This is the checksum of these two. */
static uint32_t checksum_begin(uint64_t address, uint64_t pages)
{
    uint8_t head[16];
    le64_put(head, address);
    le64_put(head + 8, pages);
    return crc32c(0, head, sizeof head);
}

static size_t stored_bytes(uint64_t pages)
{
    return (size_t)__builtin_popcountll(pages) * SNAPSHOT_PAGE_BYTES;
}

/* ---- making ---- */

enum mcomp_status chunk_builder_init(struct chunk_builder *builder, bool compress, struct err *err)
{
    *builder = (struct chunk_builder){0};
    if (!compress)
        return MCOMP_OK;
    builder->zstd = ZSTD_createCCtx();
    builder->collected = malloc(SNAPSHOT_CHUNK_BYTES);
    if (builder->zstd && builder->collected)
        return MCOMP_OK;
    chunk_builder_close(builder);
    return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "no memory to compress chunks");
}

void chunk_builder_close(struct chunk_builder *builder)
{
    ZSTD_freeCCtx(builder->zstd);
    free(builder->collected);
    *builder = (struct chunk_builder){0};
}

void chunk_begin(struct chunk_builder *builder, uint64_t address, uint8_t *room)
{
    builder->room = room;
    builder->next = builder->collected ? builder->collected : room;
    builder->address = address;
    builder->pages = 0;
    builder->has_crc = false;
}

bool chunk_keep(struct chunk_builder *builder, uint32_t index)
{
    MC_ASSERT(index < SNAPSHOT_CHUNK_PAGES && builder->pages >> index == 0);
    if (chunk_page_is_zero(builder->next))
        return false;
    builder->pages |= 1ull << index;
    builder->next += SNAPSHOT_PAGE_BYTES;
    return true;
}

void chunk_take(struct chunk_builder *builder, uint64_t pages, uint32_t crc)
{
    MC_ASSERT(builder->pages == 0);
    builder->pages = pages;
    builder->pages_crc = crc;
    builder->has_crc = true;
}

bool chunk_end(struct chunk_builder *builder, Chunk *chunk)
{
    if (builder->pages == 0)
        return false;
    size_t bytes = stored_bytes(builder->pages);
    const uint8_t *pages = builder->collected ? builder->collected : builder->room;
    mcomp__snapshot__v1__chunk__init(chunk);
    chunk->address = builder->address;
    chunk->pages = builder->pages;
    uint32_t begin = checksum_begin(builder->address, builder->pages);
    chunk->crc32c = builder->has_crc ? crc32c_join(begin, builder->pages_crc, bytes) : crc32c(begin, pages, bytes);
    chunk->compression = NONE;
    chunk->data.data = builder->room;
    chunk->data.len = bytes;
    if (!builder->collected)
        return true;
    size_t packed = ZSTD_compressCCtx(builder->zstd, builder->room, bytes - bytes / 8, pages, bytes, SNAPSHOT_ZSTD_LEVEL);
    if (ZSTD_isError(packed)) { /* does not fit: too little to be saved */
        memcpy(builder->room, pages, bytes);
        return true;
    }
    chunk->compression = ZSTD;
    chunk->data.len = packed;
    chunk->data_crc32c = crc32c(0, builder->room, packed);
    return true;
}

/* ---- checking ---- */

void chunk_opener_close(struct chunk_opener *opener)
{
    ZSTD_freeDCtx(opener->zstd);
    free(opener->unpacked);
    *opener = (struct chunk_opener){0};
}

static enum mcomp_status check_place(const Chunk *chunk, uint64_t segment_size, uint32_t nodes, struct err *err)
{
    if (chunk->address / segment_size >= nodes)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "chunk at address %llu, outside a grid of %u nodes with %llu bytes each",
                       (unsigned long long)chunk->address, nodes, (unsigned long long)segment_size);
    if (chunk_window_of(segment_size, chunk->address) != chunk->address)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "chunk at address %llu, where no window begins", (unsigned long long)chunk->address);
    uint32_t pages = chunk_window_bytes(segment_size, chunk->address) / SNAPSHOT_PAGE_BYTES;
    if (pages < SNAPSHOT_CHUNK_PAGES && chunk->pages >> pages != 0)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "chunk at address %llu with pages %#llx; its window has %u", (unsigned long long)chunk->address,
                       (unsigned long long)chunk->pages, pages);
    return MCOMP_OK;
}

static enum mcomp_status check_lengths(const Chunk *chunk, struct err *err)
{
    size_t bytes = stored_bytes(chunk->pages);
    bool right = chunk->compression == NONE   ? chunk->data.len == bytes && chunk->data_crc32c == 0
                 : chunk->compression == ZSTD ? chunk->data.len < bytes
                                              : false;
    if (!right || chunk->data.len == 0)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "chunk at address %llu with %zu bytes of data, compression %d, for %zu bytes of pages",
                       (unsigned long long)chunk->address, chunk->data.len, (int)chunk->compression, bytes);
    return MCOMP_OK;
}

static enum mcomp_status check_sum(const Chunk *chunk, const char *what, uint32_t is, uint32_t stored, struct err *err)
{
    if (is == stored)
        return MCOMP_OK;
    return err_set(err, MCOMP_DATA_LOSS, "chunk at address %llu: CRC-32C of its %s is %08x and should be %08x", (unsigned long long)chunk->address,
                   what, is, stored);
}

static enum mcomp_status unpack(struct chunk_opener *opener, const Chunk *chunk, struct err *err)
{
    if (!opener->zstd)
        opener->zstd = ZSTD_createDCtx();
    if (!opener->unpacked)
        opener->unpacked = malloc(SNAPSHOT_CHUNK_BYTES);
    if (!opener->zstd || !opener->unpacked)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "no memory to unpack chunks");
    enum mcomp_status status = check_sum(chunk, "compressed data", crc32c(0, chunk->data.data, chunk->data.len), chunk->data_crc32c, err);
    if (status != MCOMP_OK)
        return status;
    size_t bytes = stored_bytes(chunk->pages);
    size_t got = ZSTD_decompressDCtx(opener->zstd, opener->unpacked, bytes, chunk->data.data, chunk->data.len);
    if (ZSTD_isError(got))
        return err_set(err, MCOMP_DATA_LOSS, "chunk at address %llu: %s", (unsigned long long)chunk->address, ZSTD_getErrorName(got));
    if (got != bytes)
        return err_set(err, MCOMP_DATA_LOSS, "chunk at address %llu: unpacks to %zu bytes and should have %zu", (unsigned long long)chunk->address, got,
                       bytes);
    return MCOMP_OK;
}

enum mcomp_status chunk_open(struct chunk_opener *opener, const Chunk *chunk, uint64_t segment_size, uint32_t nodes, const uint8_t **pages,
                             struct err *err)
{
    enum mcomp_status status = segment_size ? check_place(chunk, segment_size, nodes, err) : MCOMP_OK;
    if (status == MCOMP_OK)
        status = check_lengths(chunk, err);
    if (status != MCOMP_OK)
        return status;
    *pages = chunk->data.data;
    if (chunk->compression == ZSTD) {
        status = unpack(opener, chunk, err);
        if (status != MCOMP_OK)
            return status;
        *pages = opener->unpacked;
    }
    return check_sum(chunk, "pages", crc32c(checksum_begin(chunk->address, chunk->pages), *pages, stored_bytes(chunk->pages)), chunk->crc32c, err);
}
