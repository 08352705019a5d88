/* SPDX-License-Identifier: Apache-2.0 */
/** Looks up the nodes' addresses, in a thread of its own: a name service that does not answer must not keep a loop waiting. */
#ifndef LINK_LOOKUP_H
#define LINK_LOOKUP_H

#include <ev.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "config/config.h"

#define LOOKUP_ADDRESSES_MAX 4u

struct resolved {
    enum mcomp_status code;
    struct err err; /* unless code is OK */
    size_t count;
    struct sockaddr_storage address[LOOKUP_ADDRESSES_MAX];
    socklen_t bytes[LOOKUP_ADDRESSES_MAX];
};

struct lookup;

enum lookup_of { LOOKUP_SERVERS, LOOKUP_SNAPSHOT_PROCESSES };

/** Start the thread, for the addresses of the nodes' servers or of their snapshot processes. wake_cb is called on the loop when there is a result. config
 *  and loop are borrowed. Errors: RESOURCE_EXHAUSTED, those of pthread_create(3). */
MUST_CHECK enum mcomp_status lookup_start(struct lookup **lookup, const struct config *config, enum lookup_of of, struct ev_loop *loop,
                                            void (*wake_cb)(struct ev_loop *, ev_async *, int), void *data, struct err *err);

/** Ask for a node's address; once more while it is being looked up changes nothing. The loop's thread. */
void lookup_ask(struct lookup *lookup, uint32_t node);

/** A result that was not taken yet; false: none. The loop's thread. */
bool lookup_take(struct lookup *lookup, uint32_t *node, struct resolved *resolved);

/** Waits for a look-up that is under way. NULL is allowed. */
void lookup_stop(struct lookup *lookup);

#endif
