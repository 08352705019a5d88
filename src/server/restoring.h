/* SPDX-License-Identifier: Apache-2.0 */
/** Restoring a snapshot into a node that runs: who may touch the segment's bytes, and when.
 *
 *  While the node is closed, requests for its bytes are refused. It is closed from RestoreBegin until RestoreEnd says that it may serve, and whenever
 *  the segment says that its bytes may not be served (a restore did not come to its end). The session of one restore is this process's own: a
 *  server that starts again knows none, so that a node is complete only if this one process has stored every page. That it is complete, or is in
 *  part restored, stands in the segment, and is noted there before the first byte changes.
 *
 *  A session that has changed nothing ends with the last connection that claimed it: a client that finds another node unwilling leaves no trace. */
#ifndef SERVER_RESTORING_H
#define SERVER_RESTORING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "mcomp.pb-c.h"
#include "segment/segment.h"

#define RESTORE_ZEROS_MAX (16u << 20) /* bytes of zeros behind one RestoreData's data: bounds how long it keeps a thread */

struct restoring; /* opaque; any thread */

/** writers: threads that execute requests. Errors: RESOURCE_EXHAUSTED. */
MUST_CHECK enum mcomp_status restoring_open(struct restoring **restoring, struct segment *segment, uint32_t writers, struct err *err);
/** No other call may be running. NULL is allowed. */
void restoring_close(struct restoring *restoring);

/* ---- requests that touch the bytes ---- */

/** Begin one on the thread of this writer, which executes one at a time. 0: the node is closed. Else the ticket for restoring_leave. Never waits. */
uint32_t restoring_enter(struct restoring *restoring, uint32_t writer);
void restoring_leave(struct restoring *restoring, uint32_t writer, uint32_t ticket);

/** Why it is closed, and what ends that. Returns text. */
#define RESTORING_TEXT_BYTES 400u
const char *restoring_text(struct restoring *restoring, char text[RESTORING_TEXT_BYTES]);

/* ---- the restore ---- */

/** A connection's claim to a restore: while one is there, no other client can take the node over. Zeroed: none. */
struct restoring_claim {
    uint64_t id;
    struct restoring_claim *next, *prev;
};

/** The connection has named this restore; it may be claimed already. The claim must stay where it is until restoring_unclaim. */
void restoring_claim(struct restoring *restoring, struct restoring_claim *claim, uint64_t id);
/** The connection ends. Also on one that claims nothing. */
void restoring_unclaim(struct restoring *restoring, struct restoring_claim *claim);

/** Close the node and begin. Waits until no request touches the bytes. The restore may be repeated as long as nothing is complete.
 *  Errors: UNAVAILABLE a snapshot is being taken, or another restore whose client is there is under way; FAILED_PRECONDITION this one is complete;
 *          RESOURCE_EXHAUSTED. */
MUST_CHECK enum mcomp_status restoring_begin(struct restoring *restoring, const struct segment_restore *wanted, struct err *err);

/** Bytes for [offset, offset+length), zeros for the zero_bytes behind them; all multiples of PAGE_BYTES, inside the segment. try: does not wait, then *busy
 *  says whether it would have had to (OK, nothing was done). Errors: FAILED_PRECONDITION there is no such restore, or it is complete. */
MUST_CHECK enum mcomp_status restoring_store(struct restoring *restoring, uint64_t id, uint64_t offset, uint64_t length, const void *data,
                                             uint64_t zero_bytes, bool try, bool *busy, struct err *err);

/** All bytes are there. OK also when that was said before. Errors: FAILED_PRECONDITION there is no such restore, or a page is missing. */
MUST_CHECK enum mcomp_status restoring_complete(struct restoring *restoring, uint64_t id, struct err *err);

/** Serve. OK also when that was said before. Errors: FAILED_PRECONDITION this restore is not complete here. */
MUST_CHECK enum mcomp_status restoring_serve(struct restoring *restoring, uint64_t id, struct err *err);

/** The fields of a StatusResult. */
void restoring_fill_status(struct restoring *restoring, Mcomp__V1__StatusResult *result);

/* ---- snapshots: the agent ---- */

/** True: no restore is under way, and none begins until restoring_freeze_end; the segment may be frozen in between. */
bool restoring_freeze_begin(struct restoring *restoring);
void restoring_freeze_end(struct restoring *restoring);

#endif
