/* SPDX-License-Identifier: Apache-2.0 */
/** The thread that takes this node's part in rounds. It alone is attached to the segment.
 *
 *  Requests are carried out one at a time. Freeze, Cut, Unfreeze and End come before Pulls: a Pull stops for them between two windows. Answers go back
 *  to the main loop. */
#ifndef SNAPD_MEMBER_H
#define SNAPD_MEMBER_H

#include "base/err.h"
#include "snapd/task.h"

struct snapd;
struct member;

/** Errors: RESOURCE_EXHAUSTED, and those of pthread_create. That there is no segment, or no server, is no error: both may come later. */
MUST_CHECK enum mcomp_status member_start(struct member **member, struct snapd *snapd, struct err *err);

/** Hand over a task: one of FREEZE … GONE. Any thread. */
void member_put(struct member *member, struct task *task);

/** The highest round that ever froze the node, as far as it is known here; 0: none. Any thread. */
uint32_t member_max_round(const struct member *member);

/** End the thread, and the round that it takes part in; tasks that it has are given back unanswered. NULL is allowed. */
void member_stop(struct member *member);

#endif
