/* SPDX-License-Identifier: Apache-2.0 */
/** The server's agent for snapshots: a thread that answers the node's snapshot process through the segment's mailbox, closes and opens the gate for
 *  writers, and cuts. What it does when is decided by snapshot/freeze.h. */
#ifndef SERVER_AGENT_H
#define SERVER_AGENT_H

#include "base/err.h"

struct agent;
struct jobs;
struct restoring;
struct segment;

/** Start the thread. jobs: where requests wait that met the closed gate. restoring: who excludes snapshots, and is excluded by them. */
MUST_CHECK enum mcomp_status agent_start(struct agent **agent, struct segment *segment, struct jobs *jobs, struct restoring *restoring, struct err *err);

/** Open the gate if it is closed, and end the thread. NULL is allowed. */
void agent_stop(struct agent *agent);

#endif
