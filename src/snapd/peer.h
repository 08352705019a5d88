/* SPDX-License-Identifier: Apache-2.0 */
/** The director's connections to the snapshot processes of all nodes, its own included: one way for all. On the director's loop.
 *
 *  A connection is made when there is something to send, kept, and made again when it was lost. What was asked over a connection that is lost has
 *  no answer; the round that needs it fails. */
#ifndef SNAPD_PEER_H
#define SNAPD_PEER_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "snapd/exchange.h"
#include "link/lookup.h"
#include "link/stream.h"

enum peer_op { PEER_PING, PEER_FREEZE, PEER_CUT, PEER_UNFREEZE, PEER_END, PEER_PULL };

/** A request. */
struct peer_call {
    enum peer_op op;
    uint32_t round;    /* but for PING */
    uint32_t lease_ms; /* FREEZE */
    uint64_t offset;   /* PULL */
    uint32_t bytes;    /* PULL */
    uint64_t id;       /* filled in */
};

#define PEER_CALLS_MAX 16u /* to one node, unanswered */

struct peers_calls {
    /** call: what response answers. */
    void (*answer)(void *arg, uint32_t node, const struct peer_call *call, const struct exchange_response *response);
    /** The node could not be reached, or its connection is lost; what was asked is without answer. Never called from within peers_send. */
    void (*lost)(void *arg, uint32_t node, const struct err *err);
    void *arg;
};

enum peer_state { PEER_CLOSED, PEER_RESOLVING, PEER_CONNECTING, PEER_OPEN };

struct peer {
    struct peers *peers; /* borrowed */
    uint32_t node;
    enum peer_state state;
    struct resolved resolved; /* count 0: not looked up */
    size_t next_address;
    int connecting_fd;   /* owned; -1 */
    ev_io connecting;
    ev_timer failing;    /* never started, only fed: reports err outside of whatever found it */
    struct err err;
    struct stream stream;
    struct outgoing *held, *held_last; /* owned: sent once the connection is made */
    struct peer_call call[PEER_CALLS_MAX];
    uint32_t calls;
    uint64_t last_id;
};

/** Owner: the director. */
struct peers {
    const struct config *config; /* borrowed */
    struct ev_loop *loop;        /* borrowed */
    struct peers_calls callbacks;
    struct lookup *lookup;   /* owned */
    struct peer *peer;           /* owned, config->nodes elements */
};

MUST_CHECK enum mcomp_status peers_open(struct peers *peers, const struct config *config, struct ev_loop *loop, const struct peers_calls *callbacks,
                                        struct err *err);
void peers_close(struct peers *peers);

/** Ask a node; connects first if needed, but for END and UNFREEZE, which then are pointless. false: not sent: memory is short, or too much is unanswered. */
bool peers_send(struct peers *peers, uint32_t node, const struct peer_call *call);

/** Is a call of this kind (of this round) without answer yet? */
bool peers_await(const struct peers *peers, uint32_t node, enum peer_op op, uint32_t round);

bool peers_are_connected(const struct peers *peers, uint32_t node);

/** Give up a connection that is of no use, or an attempt to make one; `lost` is called, unless there is none. */
void peers_reset(struct peers *peers, uint32_t node, const char *why);

/** Has everything been handed to the kernel that can be? */
bool peers_are_drained(const struct peers *peers);

/** Give back the memory that answers to Pull needed. */
void peers_trim(struct peers *peers);

#endif
