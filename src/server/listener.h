/* SPDX-License-Identifier: Apache-2.0 */
/** Listening sockets, on the main loop: accepts connections and spreads them over the I/O threads. */
#ifndef SERVER_LISTENER_H
#define SERVER_LISTENER_H

#include <ev.h>
#include <stdbool.h>

#include "server/server.h"

#define LISTENER_SOCKETS_MAX 8u /* addresses that one host name may stand for */

struct listener_socket {
    struct listener *listener; /* borrowed */
    int fd;                    /* owned */
    ev_io watcher;
};

/** Owner: main(); main loop's thread only. */
struct listener {
    struct server *server; /* borrowed */
    struct ev_loop *loop;  /* borrowed */
    struct listener_socket socket[LISTENER_SOCKETS_MAX];
    unsigned count;
    int spare_fd;      /* owned: given up for a moment when descriptors run out, so that a client can be refused instead of left waiting */
    ev_timer calm;     /* once a second while clients are being refused: allows the next log line */
    uint64_t refused_logged;
    uint32_t next_io;
};

/** Bind the node's own address, or take the sockets of the service manager. Does not accept yet.
 *  Errors: ALREADY_EXISTS port in use, UNAVAILABLE the name does not resolve, …; the text names the address. */
MUST_CHECK enum mcomp_status listener_bind(struct listener *listener, const struct config_endpoint *endpoint, struct err *err);

/** Listen and accept from now on. */
MUST_CHECK enum mcomp_status listener_start(struct listener *listener, struct server *server, struct ev_loop *loop, struct err *err);

/** Stop accepting and close. Safe on one that was only bound, and twice. */
void listener_close(struct listener *listener);

#endif
