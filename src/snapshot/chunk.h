/* SPDX-License-Identifier: Apache-2.0 */
/** Chunks: pages → message → pages. What captures makes them, what collects checks them, what reads files unpacks them. */
#ifndef SNAPSHOT_CHUNK_H
#define SNAPSHOT_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"
#include "snapshot.pb-c.h"

#define SNAPSHOT_PAGE_BYTES PAGE_BYTES
#define SNAPSHOT_CHUNK_BYTES (256u << 10)
#define SNAPSHOT_CHUNK_PAGES (SNAPSHOT_CHUNK_BYTES / SNAPSHOT_PAGE_BYTES)
#define SNAPSHOT_ZSTD_LEVEL 1 /* a capture must keep up with memory */

_Static_assert(SNAPSHOT_CHUNK_PAGES == 64, "a bit for each page of a chunk");

/** Is the page (SNAPSHOT_PAGE_BYTES at any alignment) all zero? Any thread. */
bool chunk_page_is_zero(const void *page);

/** Makes chunks, one after the other. One thread at a time. A zeroed one may be closed. */
struct chunk_builder {
    void *zstd;         /* owned; NULL: never compresses */
    uint8_t *collected; /* owned, SNAPSHOT_CHUNK_BYTES; pages before compression; NULL: never compresses */
    uint8_t *room;      /* borrowed, of the chunk that is being made */
    uint8_t *next;      /* where the next page goes: in room, or in collected */
    uint64_t address, pages;
    uint32_t pages_crc; /* CRC-32C of the pages, if has_crc */
    bool has_crc;
};

/** Takes 1 MiB or less with compress, nothing without. Errors: RESOURCE_EXHAUSTED. */
MUST_CHECK enum mcomp_status chunk_builder_init(struct chunk_builder *builder, bool compress, struct err *err);
void chunk_builder_close(struct chunk_builder *builder);

/** Begin the chunk of the window at address. room: SNAPSHOT_CHUNK_BYTES, borrowed as long as the chunk is used. */
void chunk_begin(struct chunk_builder *builder, uint64_t address, uint8_t *room);

/** Where the caller copies the next page to, before it calls chunk_keep: so that a page is copied once. SNAPSHOT_PAGE_BYTES, until then or
 *  chunk_end; may be written as often as one likes. */
static inline uint8_t *chunk_page(struct chunk_builder *builder)
{
    return builder->next;
}

/** What is in chunk_page is page index of the window (ascending from call to call); it is dropped if it is all zero. Returns whether it was kept. */
bool chunk_keep(struct chunk_builder *builder, uint32_t index);

/** In place of chunk_keep, once: all pages of the window that are not zero (bit i: page i) are in chunk_page, one behind the other; crc: CRC-32C of them. */
void chunk_take(struct chunk_builder *builder, uint64_t pages, uint32_t crc);

/** The chunk is complete. false: all its pages are zero, and there is none. Else *chunk is filled in; its data is in room. Compressed when
 *  the builder compresses and an eighth or more is saved. */
bool chunk_end(struct chunk_builder *builder, Mcomp__Snapshot__V1__Chunk *chunk);

/** Checks and unpacks chunks, from whatever source. One thread at a time. Zeroed: ready to use, and may be closed. */
struct chunk_opener {
    void *zstd;        /* owned; made when first needed */
    uint8_t *unpacked; /* owned, SNAPSHOT_CHUNK_BYTES; made when first needed */
};

void chunk_opener_close(struct chunk_opener *opener);

/** Check that the chunk is one of a grid of `nodes` segments of segment_size bytes (0: unknown, not checked), that its lengths are right and its
 *  checksum holds. *pages: the stored pages one behind the other, in chunk->data or in the opener, valid until its next use.
 *  Errors: INVALID_ARGUMENT malformed; DATA_LOSS damaged; RESOURCE_EXHAUSTED. The text names the address. */
MUST_CHECK enum mcomp_status chunk_open(struct chunk_opener *opener, const Mcomp__Snapshot__V1__Chunk *chunk, uint64_t segment_size, uint32_t nodes,
                                        const uint8_t **pages, struct err *err);

/** Bytes of the window that begins at address (which must be a window's first, in the grid): SNAPSHOT_CHUNK_BYTES, or less at the end of a node. */
static inline uint32_t chunk_window_bytes(uint64_t segment_size, uint64_t address)
{
    uint64_t left = segment_size - address % segment_size;
    return left < SNAPSHOT_CHUNK_BYTES ? (uint32_t)left : SNAPSHOT_CHUNK_BYTES;
}

/** First address of the window that address lies in. */
static inline uint64_t chunk_window_of(uint64_t segment_size, uint64_t address)
{
    return address - address % segment_size % SNAPSHOT_CHUNK_BYTES;
}

#endif
