/* SPDX-License-Identifier: Apache-2.0 */
/** The segment: k bytes in POSIX shared memory that outlive the server, with atomic operations on them.
 *
 *  All addresses here are offsets into the segment, 0 … size-1, in bytes. docs/segment.md has the layout and the argument
 *  why no half-done write is ever seen. One server process at a time has a segment open (a lock on the object). */
#ifndef SEGMENT_SEGMENT_H
#define SEGMENT_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct segment; /* opaque; made by segment_open */

/** What a segment is opened with. */
struct segment_options {
    const char *grid;     /* name, 1 … GRID_NAME_BYTES_MAX bytes */
    uint32_t node;        /* this node's number */
    uint32_t nodes;       /* N; recorded, and checked when attaching */
    uint64_t size;        /* k, bytes; a multiple of PAGE_BYTES */
    uint32_t writers;     /* threads that write: each has a redo record of its own, numbered 0 … writers-1 */
    uint64_t redo_bytes;  /* largest sum of lengths of one write operation */
    bool restore;         /* the bytes are about to be replaced: as segment_restore_begin(), before anything else can fail */
    uint64_t preserve_limit; /* bytes of preserved pages that a snapshot may use; 0: none, snapshots of pages that change are not possible */
};

struct segment_info {
    uint64_t id;                /* random, of the memory; survives restarts */
    uint64_t attach_count;      /* this one included */
    uint64_t writes_finished;   /* redo records of a killed predecessor that segment_open carried out */
    bool created;               /* made anew by this open */
};

/** Attach to the node's segment, or make it, allocated in full and zero, when there is none. Finishes what a killed predecessor
 *  had begun before it returns. Blocks (allocation of k bytes).
 *  Errors: RESOURCE_EXHAUSTED  /dev/shm is too small (says how much is missing)
 *          FAILED_PRECONDITION the existing segment has another k, N, grid, node or format (says which, and `mcompd --reset`), or another
 *                              process has it open (names its pid), or another user owns it
 *          PERMISSION_DENIED   the object may not be opened
 *          DATA_LOSS           the segment is damaged: its header fails its checksum, it is cut short, a redo record or that of a transaction makes no
 *                              sense. */
MUST_CHECK enum mcomp_status segment_open(struct segment **segment, const struct segment_options *options, struct err *err);

/** Whether the bytes may be served. Kept in the segment: it outlives the server. */
enum segment_restore_state {
    SEGMENT_RESTORE_NONE = 0,    /* they may */
    SEGMENT_RESTORE_PART = 1,    /* they are in part those of a snapshot */
    SEGMENT_RESTORE_COMPLETE = 2 /* all are; but whoever restores has not said yet that the whole grid has its bytes */
};

/** A restore: the one under way, or the last. All zero after one by segment_open with `restore`. */
struct segment_restore {
    uint64_t id;    /* its client's number for it */
    uint64_t file;  /* what tells its file from others */
    uint32_t round; /* of the snapshot */
};

/* One thread at a time for the next four, and for segment_restore_write the same that are kept from being served: no other operation runs. */

/** The bytes are about to be replaced: from here on they may not be served. All sessions end, with their transactions. */
void segment_restore_begin(struct segment *segment, const struct segment_restore *restore);
/** All bytes are replaced, but not served yet. */
void segment_restore_complete(struct segment *segment);
/** All bytes are replaced, after segment_open with `restore` or segment_restore_complete: the segment may be served. */
void segment_restored(struct segment *segment);
enum segment_restore_state segment_restore_get(const struct segment *segment, struct segment_restore *restore);

/** Store data at [offset, offset+length), and zeros in the zero_bytes behind it. Not atomic, not redone after a crash, and no page is preserved: for a segment
 *  in state PART, of which no operation and no capture is under way. Any number of threads. False (try only): a semaphore is taken, nothing was done. */
bool segment_restore_write(struct segment *segment, uint64_t offset, uint64_t length, const void *data, uint64_t zero_bytes, bool try);

/** Detach; the memory stays. No operation may be running. NULL is allowed. */
void segment_close(struct segment *segment);

/** Remove the node's segment and all its bytes. OK also if there was none. Errors: FAILED_PRECONDITION if a process has it open. */
MUST_CHECK enum mcomp_status segment_remove(const char *grid, uint32_t node, struct err *err);

void segment_get_info(const struct segment *segment, struct segment_info *info);
uint64_t segment_size(const struct segment *segment);

/* ---- operations ----
 * Any thread; ranges must lie inside the segment (asserted: the caller has checked). Each is atomic against all others: it takes
 * effect at one instant, readers of the range see all of it or nothing, and after a crash of the process it is wholly there or wholly
 * absent, and there if it had returned. `writer` is the caller's redo record; two threads never use one at the same time.
 * Functions with _try never wait: they return BUSY, with nothing done, when a semaphore is taken. The others may sleep on it.
 * What changes bytes is refused while the segment is frozen, and what meets the lines of a prepared transaction while that is undecided; nothing waits
 * for the end of either in here. */

enum segment_outcome {
    SEGMENT_DONE,
    SEGMENT_BUSY,   /* _try only: a semaphore is taken; nothing was done */
    SEGMENT_FROZEN, /* a snapshot holds writers for a moment; nothing was done */
    SEGMENT_LOCKED  /* a prepared transaction (transaction.h) will write some line of the range, or has read one that would be changed; nothing was
                       done, and nothing can be before the transaction is decided */
};

struct segment_range {
    uint64_t offset;
    uint64_t length;
};
struct segment_write_range {
    uint64_t offset;
    uint64_t length;
    const void *data; /* borrowed */
};

/** Let the processor fetch what an operation at offset will touch first; for a caller that knows its next operations. Changes nothing. */
void segment_prefetch(const struct segment *segment, uint64_t offset);

/** Copy [offset, offset+length) to buf. Readers never exclude readers. Never FROZEN. */
MUST_CHECK enum segment_outcome segment_read(struct segment *segment, uint64_t offset, uint64_t length, void *buf);
MUST_CHECK enum segment_outcome segment_read_try(struct segment *segment, uint64_t offset, uint64_t length, void *buf);

/** Hold the range still and return its bytes for direct use (zero-copy sends); NULL when a writer is in it, or a transaction has locked a line of it.
 *  Between hold and release the caller must not sleep, nor begin another operation. */
const void *segment_hold_try(struct segment *segment, uint64_t offset, uint64_t length);
void segment_release(struct segment *segment, uint64_t offset, uint64_t length);

MUST_CHECK enum segment_outcome segment_write(struct segment *segment, uint32_t writer, uint64_t offset, uint64_t length, const void *data);
MUST_CHECK enum segment_outcome segment_write_try(struct segment *segment, uint32_t writer, uint64_t offset, uint64_t length, const void *data);

/** *before = the 64-bit little-endian word at offset, which becomes *before + delta modulo 2^64. */
MUST_CHECK enum segment_outcome segment_add(struct segment *segment, uint32_t writer, uint64_t offset, uint64_t delta, uint64_t *before);
MUST_CHECK enum segment_outcome segment_add_try(struct segment *segment, uint32_t writer, uint64_t offset, uint64_t delta, uint64_t *before);

/** *found = the word at offset; when it equals expected, it becomes desired. */
MUST_CHECK enum segment_outcome segment_cas(struct segment *segment, uint32_t writer, uint64_t offset, uint64_t expected, uint64_t desired,
                                            uint64_t *found);
MUST_CHECK enum segment_outcome segment_cas_try(struct segment *segment, uint32_t writer, uint64_t offset, uint64_t expected, uint64_t desired,
                                                uint64_t *found);

/** All reads (concatenated into buf, in order) and all writes as one atomic operation; reads show the state before the writes. Writes must
 *  not overlap each other (asserted). At most MULTI_RANGES_MAX ranges; lengths of writes together at most redo_bytes. Never FROZEN when nothing
 *  is written. */
MUST_CHECK enum segment_outcome segment_multi(struct segment *segment, uint32_t writer, const struct segment_range *reads, size_t read_count,
                                              void *buf, const struct segment_write_range *writes, size_t write_count);
MUST_CHECK enum segment_outcome segment_multi_try(struct segment *segment, uint32_t writer, const struct segment_range *reads, size_t read_count,
                                                  void *buf, const struct segment_write_range *writes, size_t write_count);

/* ---- snapshots: for one thread of the server, its agent ----
 * A round freezes the segment, waits until it is drained, cuts it and thaws it; from the cut on writers preserve what the snapshot process
 * (capture.h) has not read yet. Whether a round may do so is not decided here. */

/** From now on operations that change bytes are refused; those under way go on. It must not be frozen (asserted). */
void segment_freeze(struct segment *segment);
/** Wait until no operation is changing bytes in a frozen segment, and no transaction is prepared in it: what is decided of one, is carried out. False: not
 *  within timeout_ms. */
bool segment_wait_drained(struct segment *segment, uint32_t timeout_ms);
/** Cut: what the bytes are now is what the capture of this round will show. The segment must be frozen, and have been found drained (asserted).
 *  Ends an earlier capture. */
void segment_cut(struct segment *segment, uint32_t round);
/** Operations are accepted again. It must be frozen (asserted). */
void segment_thaw(struct segment *segment);
/** Any thread; what it says may be over when it returns. */
bool segment_is_frozen(const struct segment *segment);

/** The capture of this round ends, if it is live; writers preserve nothing any more. Any thread. */
void segment_capture_end(struct segment *segment, uint32_t round);
/** Round of the last cut, 0 if there was none, and whether its capture is live; writers and the snapshot process may end it at any time.
 *  Any thread. */
uint32_t segment_last_cut(const struct segment *segment, bool *capture_live);

/** Is another number whenever the snapshot process has captured more. Any thread. */
uint32_t segment_capture_progress(const struct segment *segment);

/** The highest round that ever froze the segment; outlives the server. */
uint32_t segment_max_round(const struct segment *segment);
void segment_set_max_round(struct segment *segment, uint32_t round);

/* The mailbox: how the snapshot process asks. mailbox.c says how it goes on after either side died in the middle. */

enum segment_command_kind {
    SEGMENT_COMMAND_FREEZE = 1, /* answered when the segment is drained, or at once with OLD, BUSY or RESTORING */
    SEGMENT_COMMAND_CUT = 2,
    SEGMENT_COMMAND_UNFREEZE = 3,
    SEGMENT_COMMAND_END = 4 /* not answered: the capture is over */
};

struct segment_command {
    uint32_t kind; /* enum segment_command_kind; nothing else is ever returned */
    uint32_t round;
    uint32_t lease_ms; /* FREEZE */
    uint32_t sequence; /* of the mailbox, for the answer */
};

enum segment_answer_result {
    SEGMENT_ANSWER_FROZEN = 1,
    SEGMENT_ANSWER_OLD = 2,
    SEGMENT_ANSWER_BUSY = 3,
    SEGMENT_ANSWER_CUT = 4,
    SEGMENT_ANSWER_REFUSED = 5,
    SEGMENT_ANSWER_OK = 6,
    SEGMENT_ANSWER_RESTORING = 7 /* to FREEZE: the bytes are being replaced, and show nothing worth a snapshot */
};

struct segment_answer {
    uint32_t result; /* enum segment_answer_result */
    uint32_t max_round;
    uint64_t pause_ns; /* CUT */
};

#define SEGMENT_NO_TIMEOUT UINT32_MAX

/** Wait for a command. False: none within timeout_ms; or the frozen segment has drained (segment_wait_drained with 0 says so); or
 *  segment_mailbox_interrupt; or a capture that was live has ended. Also gets and gives back the memory for preserved pages, so the agent
 *  should always be in here. */
bool segment_mailbox_wait(struct segment *segment, uint32_t timeout_ms, struct segment_command *command);
/** Answer a command, at any time; dropped when the snapshot process has asked something else since. */
void segment_mailbox_answer(struct segment *segment, const struct segment_command *command, const struct segment_answer *answer);
/** Let the agent's present or next wait return at once. Any thread. */
void segment_mailbox_interrupt(struct segment *segment);

#endif
