/* SPDX-License-Identifier: Apache-2.0 */
/** Listening sockets of a daemon, on its main loop. */
#ifndef DAEMON_LISTENER_H
#define DAEMON_LISTENER_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"

#define LISTENER_SOCKETS_MAX 8u /* addresses that one host name may stand for */

/** What becomes of connections. All are called on the main loop's thread. */
struct listener_calls {
    /** Take an accepted, non-blocking socket, which the callee owns from then on. false: there is no room for it, and it is still the listener's. */
    bool (*serve)(void *arg, int fd);
    /** Tell the client at the other end why it is not served, as far as its socket takes it without waiting. */
    void (*refuse)(void *arg, int fd);
    void *arg;        /* borrowed */
    const char *full; /* for the log, when serve found no room; a literal */
};

struct listener;

struct listener_socket {
    struct listener *listener; /* borrowed */
    int fd;                    /* owned */
    ev_io watcher;
};

/** Owner: main(); main loop's thread only. */
struct listener {
    struct listener_calls calls;
    struct ev_loop *loop; /* borrowed */
    struct listener_socket socket[LISTENER_SOCKETS_MAX];
    unsigned count;
    int spare_fd;      /* owned: given up for a moment when descriptors run out, so that a client can be refused instead of left waiting */
    ev_timer calm;     /* once a second while clients are being refused: allows the next log line */
    uint64_t refused, refused_logged;
};

/** Bind the endpoint, or take the sockets of the service manager. Does not accept yet.
 *  Errors: ALREADY_EXISTS port in use, UNAVAILABLE the name does not resolve, …; the text names the address. */
MUST_CHECK enum mcomp_status listener_bind(struct listener *listener, const struct config_endpoint *endpoint, struct err *err);

/** Listen and accept from now on. */
MUST_CHECK enum mcomp_status listener_start(struct listener *listener, const struct listener_calls *calls, struct ev_loop *loop, struct err *err);

/** Stop accepting and close. Safe on one that was only bound, and twice. */
void listener_close(struct listener *listener);

#endif
