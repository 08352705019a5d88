/* SPDX-License-Identifier: Apache-2.0 */
/** The snapshot process's view of a segment: commands to its server, and capture of its pages as they were at a cut.
 *
 *  Attaches to the shared memory alone, whether or not a server runs. Nothing that happens to this process harms the server: it takes no permit
 *  and no lock that the server takes, and can store only into the header and the words of pages, never into the segment's bytes.
 *  One thread at a time uses a capture, except that capture_is_live, capture_max_round and capture_preserved may be called by any. */
#ifndef SEGMENT_CAPTURE_H
#define SEGMENT_CAPTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct capture; /* opaque */

#define CAPTURE_WINDOW_BYTES (256u << 10) /* what one call captures: 64 pages */
#define CAPTURE_WINDOW_PAGES 64u

/** Attach to the segment of a node. One snapshot process at a time (a lock on the object, other than the server's). On OK the caller owns
 *  *capture.
 *  Errors: NOT_FOUND            there is no segment (the node's server has never run, or is making it)
 *          FAILED_PRECONDITION  it has another k, N, grid or format; or another snapshot process has it (names its pid)
 *          DATA_LOSS            its header is damaged
 *          PERMISSION_DENIED    the object may not be opened. */
MUST_CHECK enum mcomp_status capture_open(struct capture **capture, const char *grid, uint32_t node, uint32_t nodes, uint64_t size, struct err *err);
/** NULL is allowed. */
void capture_close(struct capture *capture);

/** Whether the object that is attached is still the node's (it is not after `mcompd --reset`): if not, close and open again. */
bool capture_is_current(const struct capture *capture);

/* ---- commands to the server (mailbox in the header, futex) ----
 * One at a time: one thread. Each waits up to timeout_ms for the server's answer.
 * Errors: UNAVAILABLE no server runs, or it did not answer in time; what was asked may still happen. */

enum capture_freeze { CAPTURE_FROZEN = 1, CAPTURE_OLD = 2, CAPTURE_BUSY = 3 };

/** Returns OK with *outcome; *max_round: highest round that ever froze the node. FROZEN comes when no write is under way.
 *  Errors: also FAILED_PRECONDITION, while the node's bytes are being restored from a snapshot. */
MUST_CHECK enum mcomp_status capture_freeze(struct capture *capture, uint32_t round, uint32_t lease_ms, uint32_t timeout_ms,
                                            enum capture_freeze *outcome, uint32_t *max_round, struct err *err);
/** *done false: the node is not frozen for this round (any more). *pause_ns: how long its writers were held. */
MUST_CHECK enum mcomp_status capture_cut(struct capture *capture, uint32_t round, uint32_t timeout_ms, bool *done, uint64_t *pause_ns, struct err *err);
MUST_CHECK enum mcomp_status capture_unfreeze(struct capture *capture, uint32_t round, uint32_t timeout_ms, struct err *err);
/** The round is over: writers stop preserving. Works without a server too (one CAS on cap_word). Waits for nobody. */
void capture_end(struct capture *capture, uint32_t round);

/** Highest round that ever froze the node, as its header says. Any thread. */
uint32_t capture_max_round(const struct capture *capture);

/* ---- capture ---- */

/** Whether the cut of this round is the last one, and its capture is live. */
bool capture_is_live(const struct capture *capture, uint32_t round);

struct capture_window {
    uint64_t pages;      /* bit i: page i of the window has a byte that is not zero, and is in data */
    uint32_t data_bytes;
    uint32_t crc32c;     /* of data */
};

/** Capture the window at offset (a multiple of CAPTURE_WINDOW_BYTES inside the segment; the last window may be shorter): its pages that are
 *  not all zero, one behind the other, to data (room CAPTURE_WINDOW_BYTES), as they were at the cut of this round. Each window once: what it
 *  has captured is not preserved for another time. On OK the window is right, whatever happens afterwards.
 *  Errors: ABORTED the capture is not live any more: superseded, or the preserved pages ran out, or the server ended it; the text says which. */
MUST_CHECK enum mcomp_status capture_window(struct capture *capture, uint32_t round, uint64_t offset, uint8_t *data, struct capture_window *window,
                                            struct err *err);

/** After the last window: was the capture valid to its end? ABORTED if not; then nothing of it may be used. */
MUST_CHECK enum mcomp_status capture_finish(struct capture *capture, uint32_t round, struct err *err);

/** Pages preserved by writers since the cut. */
uint64_t capture_preserved(const struct capture *capture);

#endif
