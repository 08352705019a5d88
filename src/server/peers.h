/* SPDX-License-Identifier: Apache-2.0 */
/** Connections to the other nodes' servers, to ask them what became of transactions and to tell them. All on one loop.
 *
 *  A connection is made when there is something to send, kept, and made again, after a pause, when it was lost. Nothing is promised of what was sent:
 *  who asks, asks again. */
#ifndef SERVER_PEERS_H
#define SERVER_PEERS_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "link/lookup.h"
#include "link/stream.h"
#include "segment/lane.h"
#include "txn/message.h"
#include "wire/arena.h"

#define PEER_CALLS_MAX 8192u /* to one node, unanswered */

/** A question, RESOLVE, or a decision, COMMIT, about a transaction. */
struct peer_call {
    uint64_t id;               /* of the request; 0: the place is free */
    enum txn_message message;
    struct lane_id own;        /* the transaction at this node */
    uint32_t index;            /* of the participant that is asked, among the transaction's */
};

struct peers_calls {
    /** What node `node` says to a call. Never called from within peers_send. */
    void (*answer)(void *arg, const struct peer_call *call, enum txn_says says);
    void *arg;
};

enum peer_state { PEER_CLOSED, PEER_LOOKING_UP, PEER_CONNECTING, PEER_GREETING, PEER_OPEN };

struct peer {
    struct peers *peers; /* borrowed */
    uint32_t node;
    enum peer_state state;
    bool complained;          /* that it cannot be reached was logged, and it has not been since */
    struct resolved resolved; /* count 0: not looked up */
    size_t next_address;
    int connecting_fd;        /* owned; -1 */
    ev_io connecting;
    ev_timer failing;         /* never started, only fed: reports err outside of whatever found it */
    struct err err;
    struct stream stream;
    struct outgoing *held, *held_last; /* owned: sent once the node has answered Hello */
    struct peer_call *call;   /* owned, PEER_CALLS_MAX; NULL: nothing was ever asked */
    uint32_t calls;           /* under way */
    uint64_t last_id;
    uint64_t heard_ns;        /* last answer, or since when there is one to come */
    uint64_t rest_until_ns;   /* no new attempt before */
    uint64_t pause_ns;        /* the next pause */
};

/** Owner: the resolving thread. */
struct peers {
    const struct config *config; /* borrowed */
    uint32_t self;
    struct ev_loop *loop;        /* borrowed */
    struct peers_calls callbacks;
    struct lookup *lookup;       /* owned */
    struct peer *peer;           /* owned, config->nodes elements */
    struct arena arena;
};

MUST_CHECK enum mcomp_status peers_open(struct peers *peers, const struct config *config, uint32_t self, struct ev_loop *loop,
                                        const struct peers_calls *callbacks, struct err *err);
/** Safe on a zeroed one. */
void peers_close(struct peers *peers);

/** Ask another node about a transaction, which is `there` at it. Connects first if needed. False: not now: too much is unanswered, or it could not be
 *  reached a moment ago. */
bool peers_send(struct peers *peers, uint32_t node, const struct peer_call *call, const struct lane_id *there, uint64_t now_ns);

/** Give up connections over which answers do not come. To be called now and then. */
void peers_tick(struct peers *peers, uint64_t now_ns);

#endif
