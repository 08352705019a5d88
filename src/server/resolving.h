/* SPDX-License-Identifier: Apache-2.0 */
/** The thread that brings to an end what clients have left behind: transactions that are prepared and not decided, and sessions that nobody uses.
 *  What is right is decided by txn/resolver.h and txn/collector.h; the other participants are asked over connections of its own (peers.h).
 *
 *  It looks at all prepared transactions every 20 ms while there are any, else once a second. */
#ifndef SERVER_RESOLVING_H
#define SERVER_RESOLVING_H

#include <stdint.h>

#include "base/err.h"
#include "mcomp.pb-c.h"

struct exec;
struct jobs;
struct resolving;

struct resolving_options {
    const struct exec *exec; /* borrowed */
    struct jobs *jobs;       /* borrowed: decisions are carried out by a worker */
    uint32_t actor;          /* the thread's number for exec_enter and txns.h; it has no redo record */
};

MUST_CHECK enum mcomp_status resolving_start(struct resolving **resolving, const struct resolving_options *options, struct err *err);

/** There are prepared transactions. Any thread. */
void resolving_wake(struct resolving *resolving);

/** A connection that had sessions is gone. Any thread. */
void resolving_lost(struct resolving *resolving, uint64_t conn);

/** in_doubt and prepared_oldest_ms, as the thread found them at its last look; after txns_fill_status. Any thread. */
void resolving_fill_status(const struct resolving *resolving, Mcomp__V1__StatusResult *result);

/** End the thread. What is in doubt stays so. NULL is allowed. */
void resolving_stop(struct resolving *resolving);
/** After resolving_stop, when nobody can call anything of this any more. NULL is allowed. */
void resolving_free(struct resolving *resolving);

#endif
