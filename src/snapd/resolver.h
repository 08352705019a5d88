/* SPDX-License-Identifier: Apache-2.0 */
/** Looks up the nodes' snapshot addresses, in a thread of its own: a name service that does not answer must not keep a round waiting. */
#ifndef SNAPD_RESOLVER_H
#define SNAPD_RESOLVER_H

#include <ev.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "config/config.h"

#define RESOLVER_ADDRESSES_MAX 4u

struct resolved {
    enum mcomp_status code;
    struct err err; /* unless code is OK */
    size_t count;
    struct sockaddr_storage address[RESOLVER_ADDRESSES_MAX];
    socklen_t bytes[RESOLVER_ADDRESSES_MAX];
};

struct resolver;

/** wake_cb is called on the loop when there is a result. config and loop are borrowed. */
MUST_CHECK enum mcomp_status resolver_start(struct resolver **resolver, const struct config *config, struct ev_loop *loop,
                                            void (*wake_cb)(struct ev_loop *, ev_async *, int), void *data, struct err *err);

/** Ask for a node's address; once more while it is being looked up changes nothing. The loop's thread. */
void resolver_ask(struct resolver *resolver, uint32_t node);

/** A result that was not taken yet; false: none. The loop's thread. */
bool resolver_take(struct resolver *resolver, uint32_t *node, struct resolved *resolved);

/** Waits for a look-up that is under way. NULL is allowed. */
void resolver_stop(struct resolver *resolver);

#endif
