/* SPDX-License-Identifier: Apache-2.0 */
/** The inside of a reader: what reading, verifying and comparing share. Private to the snapshot file. */
#ifndef SNAPSHOT_READER_H
#define SNAPSHOT_READER_H

#include "snapshot/format.h"

/** An index block in memory. */
struct reader_block {
    Record *record;  /* owned; NULL: the slot is free */
    size_t number;   /* in the index */
    uint64_t used;   /* when; the lowest makes room */
};

struct snapshot_reader {
    int fd;              /* owned; -1 = closed */
    char *path;          /* owned */
    uint64_t file_bytes;
    struct format_trailer trailer; /* format_version 0: damaged */
    uint64_t segment_size; /* 0: unknown */
    uint32_t nodes;
    Header *header;      /* owned; NULL: damaged */
    Record *index;       /* owned; NULL: damaged */
    struct reader_block *block; /* owned, slots */
    size_t slots, last_slot;
    uint64_t uses;
    struct chunk_opener opener;
    uint8_t *raw;        /* owned, FORMAT_CHUNK_RECORD_BYTES_MAX; the record of the window */
    size_t expected;     /* bytes of the last record: the next one is likely to be as long */
    uint64_t window, window_pages; /* whose chunk is unpacked; UINT64_MAX: none */
    const uint8_t *window_data;    /* its stored pages, in raw or in opener */
};

/** Where a chunk stands, as the index has it. */
struct reader_entry {
    uint64_t address, offset;
    uint32_t crc;
};

/* Opening in steps, each as far as it can without the others. What is damaged stays as it is in a zeroed reader. */

/** Open the file. Errors: those of open(2); INVALID_ARGUMENT no regular file; RESOURCE_EXHAUSTED. */
MUST_CHECK enum mcomp_status reader_start(struct snapshot_reader *reader, const char *path, struct err *err);
MUST_CHECK enum mcomp_status reader_read_trailer(struct snapshot_reader *reader, struct err *err);
/** After the trailer: that has its checksum, if it is sound. */
MUST_CHECK enum mcomp_status reader_read_header(struct snapshot_reader *reader, struct err *err);
/** After the header; only with a sound trailer. */
MUST_CHECK enum mcomp_status reader_read_index(struct snapshot_reader *reader, struct err *err);
void reader_end(struct snapshot_reader *reader);

static inline const Index *reader_index(const struct snapshot_reader *reader)
{
    return reader->index->index;
}

/** Block `number` of the index, valid until the next call. Errors: DATA_LOSS naming offset and addresses. */
MUST_CHECK enum mcomp_status reader_load_block(struct snapshot_reader *reader, size_t number, const IndexBlock **block, struct err *err);

/** Is the block, of a file whose records end at `end`, well formed in itself? */
bool reader_block_ok(const IndexBlock *block, uint64_t segment_size, uint32_t nodes, uint64_t end);

/** The first block of the index whose last address is not below address; the number of blocks if there is none. */
size_t reader_find_block(const struct snapshot_reader *reader, uint64_t address);

/** The chunk of the first window at or after `window` (a window's first address) that has one. *found false: there is none. Errors: as of load_block. */
MUST_CHECK enum mcomp_status reader_find_chunk(struct snapshot_reader *reader, uint64_t window, struct reader_entry *entry, bool *found,
                                               struct err *err);

/** Read the record at offset, which ends at `end` at the latest, into raw, check it and make it the window. *chunk: borrows from raw. *record_bytes: 0 when not
 *  even that is known. Errors: DATA_LOSS; those of reading. */
MUST_CHECK enum mcomp_status reader_load_record(struct snapshot_reader *reader, uint64_t offset, uint64_t end, Chunk *chunk, uint64_t *record_bytes,
                                                struct err *err);

/** Read the file's bytes [offset, offset+bytes) into malloc'ed memory. Errors: DATA_LOSS the file ends before; RESOURCE_EXHAUSTED; of reading. */
MUST_CHECK enum mcomp_status reader_read_raw(struct snapshot_reader *reader, uint64_t offset, uint64_t bytes, uint8_t **out, struct err *err);

#endif
