/* SPDX-License-Identifier: Apache-2.0 */
/** The bytes of a snapshot file, as docs/snapshot-format.md has them. Private to the writer and the reader. */
#ifndef SNAPSHOT_FORMAT_H
#define SNAPSHOT_FORMAT_H

#include <stdbool.h>

#include "snapshot/file.h"

typedef Mcomp__Snapshot__V1__Header Header;
typedef Mcomp__Snapshot__V1__Chunk Chunk;
typedef Mcomp__Snapshot__V1__IndexBlock IndexBlock;
typedef Mcomp__Snapshot__V1__Index Index;
typedef Mcomp__Snapshot__V1__Record Record;

#define FORMAT_VERSION 1u
#define FORMAT_MAGIC "MCSNAP1\n"
#define FORMAT_TRAILER_MAGIC "MCSEND1\n"
#define FORMAT_MAGIC_BYTES 8u
#define FORMAT_WRITTEN_BY_BYTES_MAX 255u

#define FORMAT_BLOCK_CHUNKS 1024u /* chunks of a full index block */

/* Tags of Record's members: number << 3 | 2. */
enum format_record { FORMAT_HEADER = 0x0a, FORMAT_CHUNK = 0x12, FORMAT_BLOCK = 0x1a, FORMAT_INDEX = 0x22 };

#define FORMAT_CHUNK_HEAD_BYTES_MAX 64u /* of a chunk's record, before data */
#define FORMAT_CHUNK_RECORD_BYTES_MAX (FORMAT_CHUNK_HEAD_BYTES_MAX + SNAPSHOT_CHUNK_BYTES)
#define FORMAT_CHUNK_RECORD_BYTES_MIN 20u
#define FORMAT_BLOCK_RECORD_BYTES_MAX (64u + FORMAT_BLOCK_CHUNKS * (10u + 10u + 4u))
#define FORMAT_INDEX_BYTES_PER_BLOCK_MAX 34u

/** Bytes that the index of a file may have: all blocks but each node's last are full. */
static inline uint64_t format_index_bytes_max(uint64_t file_bytes)
{
    return 64 + FORMAT_INDEX_BYTES_PER_BLOCK_MAX * (GRID_NODES_MAX + file_bytes / FORMAT_CHUNK_RECORD_BYTES_MIN / FORMAT_BLOCK_CHUNKS);
}

/** What the trailer says. */
struct format_trailer {
    uint32_t format_version;
    uint32_t header_crc; /* of the file's first SNAPSHOT_HEADER_BYTES */
    uint64_t index_offset, index_bytes; /* with its length prefix */
    uint32_t index_crc;
    uint64_t file_bytes;
    uint64_t segment_size; /* both as the header has them, so that a damaged header costs no more than itself */
    uint32_t nodes;
};

void format_trailer_put(uint8_t out[SNAPSHOT_TRAILER_BYTES], const struct format_trailer *trailer);
/** Checks magic, checksum and reserved bytes. Errors: DATA_LOSS; UNIMPLEMENTED for a later version. */
MUST_CHECK enum mcomp_status format_trailer_get(struct format_trailer *trailer, const uint8_t in[SNAPSHOT_TRAILER_BYTES], struct err *err);

/** Magic and header record. header->padding is ignored. Errors: INVALID_ARGUMENT when a field is out of its bounds. */
MUST_CHECK enum mcomp_status format_header_put(uint8_t out[SNAPSHOT_HEADER_BYTES], const Header *header, struct err *err);
/** *header is the caller's, to be freed with mcomp__snapshot__v1__header__free_unpacked. Errors: DATA_LOSS; UNIMPLEMENTED for a later version. */
MUST_CHECK enum mcomp_status format_header_get(Header **header, const uint8_t in[SNAPSHOT_HEADER_BYTES], struct err *err);

/** What stands before the data of a chunk's record: the record's length prefix and all fields. Returns its bytes. */
size_t format_chunk_head_put(uint8_t out[FORMAT_CHUNK_HEAD_BYTES_MAX], const Chunk *chunk);
/** Read that from bytes in[0 … bytes), which may end before the data does. chunk->data points into `in`; *record_bytes: of the whole record.
 *  false: not the canonical beginning of a chunk's record. */
bool format_chunk_head_get(Chunk *chunk, uint64_t *record_bytes, const uint8_t *in, size_t bytes);

/** Pack a block or an index as a record with its length prefix. *out is malloc'ed. Errors: RESOURCE_EXHAUSTED. */
MUST_CHECK enum mcomp_status format_record_pack(uint8_t **out, size_t *bytes, Record *record, struct err *err);

/** Unpack a record of which in[0 … bytes) holds all: length prefix, record, nothing else. NULL: malformed, or of another kind, or out of memory. To be freed
 *  with mcomp__snapshot__v1__record__free_unpacked. */
Record *format_record_unpack(enum format_record kind, const uint8_t *in, size_t bytes);

/** May a snapshot have this shape: k a positive multiple of pages, 1 … GRID_NODES_MAX nodes, all in 63 bits? */
bool format_shape_ok(uint64_t segment_size, uint64_t nodes);
/** May a grid be called so? */
bool format_grid_name_ok(const char *name);

/** pread until all is there. *got < bytes: the file ends. Errors: of pread, with path. */
MUST_CHECK enum mcomp_status format_pread(int fd, const char *path, void *buf, size_t bytes, uint64_t offset, size_t *got, struct err *err);

#endif
