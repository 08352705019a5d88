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

/** Append one chunk as it came (compressed or not). Its checksum is verified. Chunks must be given in ascending order for each node. Memory: 8 MiB,
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

/** Open and check magic, trailer, header and index. Memory: 20 KiB for each node, 30 bytes for 1024 chunks, 1 MiB.
 *  Errors: those of open(2); INVALID_ARGUMENT no regular file; DATA_LOSS with what is wrong and at which offset; UNIMPLEMENTED a later format. */
MUST_CHECK enum mcomp_status snapshot_reader_open(struct snapshot_reader **reader, const char *path, struct err *err);
void snapshot_reader_close(struct snapshot_reader *reader);
const Mcomp__Snapshot__V1__Header *snapshot_reader_header(const struct snapshot_reader *reader);
uint64_t snapshot_reader_grid_bytes(const struct snapshot_reader *reader);

/** The same, if the file's array fits into a grid of grid_bytes bytes. Errors: also OUT_OF_RANGE it does not (both sizes). */
MUST_CHECK enum mcomp_status snapshot_reader_open_fitting(struct snapshot_reader **reader, const char *path, uint64_t grid_bytes, struct err *err);

/** A number that tells this file from others, by the checksums of its header and of its index, which has those of all else. */
uint64_t snapshot_reader_identity(const struct snapshot_reader *reader);

/** Bytes [address, address+length) of the grid; what has no chunk is zero. Checks the CRC of each chunk that it touches.
 *  Errors: OUT_OF_RANGE; DATA_LOSS, naming file offset and address range lost. */
MUST_CHECK enum mcomp_status snapshot_reader_read(struct snapshot_reader *reader, uint64_t address, uint64_t length, void *buf, struct err *err);

/** The first window that has a chunk and ends after address: its first address (which may lie before `address`), or UINT64_MAX. For walking without
 *  reading zeros; chunk_window_bytes() is its length. Errors: DATA_LOSS as of read. */
MUST_CHECK enum mcomp_status snapshot_reader_next(struct snapshot_reader *reader, uint64_t address, uint64_t *found, struct err *err);

/** The pages that the window at `window` (its first address) stores: bit i of *pages is page i; 0: none, all are zero. They stand at *data one behind the
 *  other, in room, which is the caller's and has SNAPSHOT_ROOM_BYTES: so they are copied once, out of the file. Errors: as of read. */
#define SNAPSHOT_ROOM_BYTES (SNAPSHOT_CHUNK_BYTES + 64u)
MUST_CHECK enum mcomp_status snapshot_reader_pages(struct snapshot_reader *reader, uint64_t window, uint8_t room[SNAPSHOT_ROOM_BYTES], uint64_t *pages,
                                                   const uint8_t **data, struct err *err);

/** One problem of a file. */
struct snapshot_problem {
    uint64_t offset, bytes;    /* in the file */
    uint64_t address, length;  /* of the grid, that is lost; length 0: nothing is, or it cannot be told */
    char text[ERR_TEXT_BYTES]; /* what is wrong there */
};

/** Check everything: each record, checksum, index entry. report is called for each problem, in file order; several times for one bad range when more
 *  than one range of addresses is lost with it. *chunks: read and found sound. Works on a file that snapshot_reader_open refuses, and on a disk that
 *  refuses to read some of it. progress (may be NULL): bytes done of bytes.
 *  Returns OK when there was no problem, else DATA_LOSS. Errors: those of open(2); INVALID_ARGUMENT no regular file; UNIMPLEMENTED a later format. */
MUST_CHECK enum mcomp_status snapshot_verify(const char *path, void (*report)(void *arg, const struct snapshot_problem *problem),
                                             void (*progress)(void *arg, uint64_t done, uint64_t bytes), void *arg, uint64_t *chunks, struct err *err);

/** Ranges in which two files' arrays differ, ascending, at a grain of one byte, neighbours merged. Where one array is shorter, the comparison ends
 *  with it (the caller tells of it). The files may have other k and N. Errors: as of read; ranges before the damage were reported. */
MUST_CHECK enum mcomp_status snapshot_diff(struct snapshot_reader *left, struct snapshot_reader *right,
                                           void (*range)(void *arg, uint64_t address, uint64_t length), void *arg, struct err *err);

/* ---- the directory ---- */

/** "GRID-0000abcd-20260203T101112Z.mcsnap" for a round: its number in hexadecimal, the time of the cut in UTC. */
void snapshot_name(char name[SNAPSHOT_NAME_BYTES], const char *grid, uint32_t round, uint64_t utc_ns);

/** The highest round that a name in the directory has, be the file complete, damaged or temporary; 0 if there is none, or no directory. So that a
 *  leader numbers its rounds above all that are on disk: retention takes a lower number for an older file. */
MUST_CHECK enum mcomp_status snapshot_highest_round(const char *directory, const char *grid, uint32_t *round, struct err *err);

/** Remove temporary files of the grid that nobody writes any more. *removed: how many. A missing directory is an empty one.
 *  Errors: those of opendir(3) and unlink(2), after all files were tried. */
MUST_CHECK enum mcomp_status snapshot_sweep(const char *directory, const char *grid, uint32_t *removed, struct err *err);

/** Remove the oldest sound files of the grid beyond the newest `keep` (0 counts as 1), by round, then by time. Sound is as in snapshot_list. Damaged
 *  files neither count nor go: that is for people to decide. Errors: as of sweep. */
MUST_CHECK enum mcomp_status snapshot_retain(const char *directory, const char *grid, uint32_t keep, struct err *err);

struct snapshot_entry {
    char name[SNAPSHOT_NAME_BYTES];
    uint64_t bytes;
    uint32_t round;        /* as the name has it */
    bool sound;            /* trailer, header and index could be read, and agree with the name */
    char problem[ERR_TEXT_BYTES]; /* unless sound: what is wrong */
    uint64_t cut_utc_ns;   /* from the header; unless sound: from the name */
    uint64_t segment_size, duration_ns, longest_pause_ns, pages_stored; /* zero unless sound, as is nodes */
    uint32_t nodes;
};

/** Files of the grid, newest round first; what is not named like one is passed over. *entries is malloc'ed, the caller frees it; NULL when there is
 *  none. A missing directory is an empty one. Errors: those of opendir(3); RESOURCE_EXHAUSTED. */
MUST_CHECK enum mcomp_status snapshot_list(const char *directory, const char *grid, struct snapshot_entry **entries, size_t *count, struct err *err);

#endif
