/* SPDX-License-Identifier: Apache-2.0 */
/** The thread that leads, when it is this node's turn: decides when rounds begin, runs them, and answers those who asked for one. It also
 *  answers List, since it is the one that works with files. */
#ifndef SNAPD_DIRECTOR_H
#define SNAPD_DIRECTOR_H

#include "base/err.h"
#include "snapd/task.h"

struct snapd;
struct director;

/** Sweeps what a crash left in the snapshot directory, and starts the thread. Errors: RESOURCE_EXHAUSTED, and those of pthread_create. */
MUST_CHECK enum mcomp_status director_start(struct director **director, struct snapd *snapd, struct err *err);

/** Hand over a task: TAKE_SNAPSHOT or LIST. Any thread. */
void director_put(struct director *director, struct task *task);

/** Tasks were abandoned. Any thread. */
void director_wake(struct director *director);

/** Begin to end: a round that runs is discarded. When the thread is through, snapd->director_ended is set and snapd->answers woken. Any thread. */
void director_begin_stop(struct director *director);

/** Wait for the thread's end (director_begin_stop is done here too), and free it. NULL is allowed. */
void director_stop(struct director *director);

#endif
