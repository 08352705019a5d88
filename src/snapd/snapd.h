/* SPDX-License-Identifier: Apache-2.0 */
/** The snapshot process: what its parts share.
 *
 *    main loop   accepts connections, decodes requests, sends answers; answers RoundQuery itself
 *    member      this node's part in rounds: owns the attachment to the segment, freezes, cuts, captures
 *    director    leads, if it is this node's turn: rounds, the file, the list of files */
#ifndef SNAPD_SNAPD_H
#define SNAPD_SNAPD_H

#include "config/config.h"
#include "snapd/board.h"
#include "snapd/task.h"

struct member;
struct director;

/** Owner: main(). Set before threads start; what is not const then looks after its own locks. */
struct snapd {
    const struct config *config; /* borrowed */
    uint32_t node;
    struct inbox answers;        /* tasks on their way back to the main loop */
    struct board board;
    struct member *member;       /* owned */
    struct director *director;   /* owned */
    _Atomic bool director_ended; /* the main loop may end; set before the last inbox_wake */
};

/** Give a task back to the main loop. Any thread. */
static inline void snapd_return(struct snapd *snapd, struct task *task)
{
    inbox_put(&snapd->answers, task);
}

#endif
