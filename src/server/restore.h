/* SPDX-License-Identifier: Apache-2.0 */
/** Filling a segment from a snapshot, before it is served. */
#ifndef SERVER_RESTORE_H
#define SERVER_RESTORE_H

#include <stdint.h>

#include "base/err.h"
#include "config/config.h"
#include "segment/segment.h"

/** Replace all bytes of the node's segment by what the snapshot at path has at its addresses; addresses behind the snapshot's end become zero.
 *  The snapshot may be of a grid with other k and N, as long as its array fits into this one. Only one thread uses the segment.
 *  Errors: OUT_OF_RANGE the array does not fit (both sizes), DATA_LOSS the file is damaged (where), NOT_FOUND, …; the segment stays marked as
 *          half restored then, and is served to nobody until a restore succeeds. */
MUST_CHECK enum mcomp_status restore_segment(struct segment *segment, const struct config *config, uint32_t node, const char *path, struct err *err);

/** The same checks of the file, and nothing else: made before a byte is touched. */
MUST_CHECK enum mcomp_status restore_check(const struct config *config, const char *path, struct err *err);

#endif
