/* SPDX-License-Identifier: Apache-2.0 */
/** What segment_open does with the redo records and the transactions that a predecessor left. */
#ifndef SEGMENT_RECOVERY_H
#define SEGMENT_RECOVERY_H

#include "segment/internal.h"

/** Finish the writes that were under way: those of redo records, and of transactions that are being committed. Take over sessions and prepared transactions;
 *  their lines are locked. The segment is mapped, with its slots for preserved pages; segment->sessions and segment->lines are as initialized. May be
 *  interrupted by a crash anywhere, and repeated then. *finished: how many writes.
 *  Errors: DATA_LOSS, when a record makes no sense; then no byte has been changed. */
MUST_CHECK enum mcomp_status recovery_run(struct segment *segment, uint64_t *finished, struct err *err);

/** Count the locks in the stripes, once their semaphores are reset. */
void recovery_count_locks(struct segment *segment);

#endif
