/* SPDX-License-Identifier: Apache-2.0 */
/** Snapshot files: writer and reader. docs/snapshot-format.md is the format. Knows nothing of rounds and processes.
 *
 *  Blocking file I/O; each object belongs to one thread at a time. */
#ifndef SNAPSHOT_FILE_H
#define SNAPSHOT_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "snapshot.pb-c.h"
#include "snapshot/chunk.h"

#define SNAPSHOT_HEADER_BYTES 4096u /* magic and header record together; chunks follow */
#define SNAPSHOT_TRAILER_BYTES 64u
#define SNAPSHOT_SUFFIX ".mcsnap"
#define SNAPSHOT_TEMPORARY_SUFFIX ".tmp" /* after the name: left behind by a crash, swept at start */
#define SNAPSHOT_NAME_BYTES 256u

/* ---- writing ---- */

struct snapshot_writer;

/** Begin a file in directory (made if missing; its parent is not) under the temporary name of `name`. The file is locked (flock) as long as it is
 *  being written, so that no other process sweeps it away.
 *  Errors: those of open(2), with the path; ALREADY_EXISTS when a file has one of the two names. */
MUST_CHECK enum mcomp_status snapshot_writer_open(struct snapshot_writer **writer, const char *directory, const char *name, uint64_t segment_size,
                                                  uint32_t nodes, struct err *err);

/** Append one chunk as it came (compressed or not). Its checksum is verified. Chunks must be given in ascending order for each node. Memory: 1 MiB,
 *  20 KiB for each node, 32 bytes for 1024 chunks.
 *  Errors: RESOURCE_EXHAUSTED disk full, …; INVALID_ARGUMENT the chunk is malformed; DATA_LOSS its checksum does not hold. After an error only
 *  snapshot_writer_discard is allowed. */
MUST_CHECK enum mcomp_status snapshot_writer_put(struct snapshot_writer *writer, const Mcomp__Snapshot__V1__Chunk *chunk, struct err *err);

/** Bytes of the file so far, header included. */
uint64_t snapshot_writer_bytes(const struct snapshot_writer *writer);
/** Pages that the chunks so far hold. */
uint64_t snapshot_writer_pages(const struct snapshot_writer *writer);

/** Index, header, trailer; fsync; rename to name; fsync of the directory. The writer fills in format_version, segment_size, nodes, page_bytes,
 *  chunk_bytes and pages_stored of the header, all else is the caller's. *bytes: of the file. On OK the writer is gone. On failure call discard.
 *  Errors: as of put; INVALID_ARGUMENT a field of the header is out of its bounds; ALREADY_EXISTS. */
MUST_CHECK enum mcomp_status snapshot_writer_commit(struct snapshot_writer *writer, const Mcomp__Snapshot__V1__Header *header, uint64_t *bytes,
                                                    struct err *err);

/** Remove the temporary file. NULL is allowed. */
void snapshot_writer_discard(struct snapshot_writer *writer);

/* ---- reading ---- */

struct snapshot_reader;

/** Open and check magic, trailer, header and index. Errors: NOT_FOUND, DATA_LOSS with what is wrong and at which offset. */
MUST_CHECK enum mcomp_status snapshot_reader_open(struct snapshot_reader **reader, const char *path, struct err *err);
void snapshot_reader_close(struct snapshot_reader *reader);
const Mcomp__Snapshot__V1__Header *snapshot_reader_header(const struct snapshot_reader *reader);
uint64_t snapshot_reader_grid_bytes(const struct snapshot_reader *reader);

/** Bytes [address, address+length) of the grid; what has no chunk is zero. Checks the CRC of each chunk that it touches.
 *  Errors: OUT_OF_RANGE; DATA_LOSS, naming file offset and address range lost. */
MUST_CHECK enum mcomp_status snapshot_reader_read(struct snapshot_reader *reader, uint64_t address, uint64_t length, void *buf, struct err *err);

/** The first window at or after address that has a chunk: its address, or UINT64_MAX. For walking without reading zeros. */
MUST_CHECK enum mcomp_status snapshot_reader_next(struct snapshot_reader *reader, uint64_t address, uint64_t *found, struct err *err);

/** One problem of a file. */
struct snapshot_problem {
    uint64_t offset, bytes;    /* in the file */
    uint64_t address, length;  /* of the grid, that is lost; length 0: none, or unknown */
    char text[256];
};

/** Check everything: each record, checksum, index entry. report is called for each problem, in file order. *chunks: read and found sound.
 *  Returns OK when there was none, else DATA_LOSS. Works on a file that snapshot_reader_open refuses. progress (may be NULL): bytes done of bytes. */
MUST_CHECK enum mcomp_status snapshot_verify(const char *path, void (*report)(void *arg, const struct snapshot_problem *problem),
                                             void (*progress)(void *arg, uint64_t done, uint64_t bytes), void *arg, uint64_t *chunks, struct err *err);

/** Ranges in which two files' arrays differ, at a grain of one byte, neighbours merged; the shorter array counts as ending there (sizes that
 *  differ are told by the caller). */
MUST_CHECK enum mcomp_status snapshot_diff(struct snapshot_reader *left, struct snapshot_reader *right,
                                           void (*range)(void *arg, uint64_t address, uint64_t length), void *arg, struct err *err);

/* ---- the directory ---- */

/** "GRID-00000123-20260203T101112Z.mcsnap" for a round. */
void snapshot_name(char *name, size_t room, const char *grid, uint32_t round, uint64_t utc_ns);

/** Remove temporary files left by a crash. *removed: how many. */
MUST_CHECK enum mcomp_status snapshot_sweep(const char *directory, const char *grid, uint32_t *removed, struct err *err);

/** Remove the oldest files of the grid beyond the newest `keep` good ones; never the last good one. */
MUST_CHECK enum mcomp_status snapshot_retain(const char *directory, const char *grid, uint32_t keep, struct err *err);

struct snapshot_entry {
    char name[256];
    uint64_t bytes;
    uint32_t round;
    bool sound;            /* header and trailer could be read */
    char problem[256];
    uint64_t cut_utc_ns, segment_size, duration_ns, longest_pause_ns, pages_stored;
    uint32_t nodes;
};

/** Files of the grid, newest round first. *entries is malloc'ed, the caller frees it. */
MUST_CHECK enum mcomp_status snapshot_list(const char *directory, const char *grid, struct snapshot_entry **entries, size_t *count, struct err *err);

#endif
