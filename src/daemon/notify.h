/* SPDX-License-Identifier: Apache-2.0 */
/** The two protocols of a service manager: readiness (sd_notify(3)) and socket activation (sd_listen_fds(3)). */
#ifndef DAEMON_NOTIFY_H
#define DAEMON_NOTIFY_H

#include <stddef.h>

/** Send state, e.g. "READY=1", to $NOTIFY_SOCKET; does nothing where there is none. Failures are ignored: it is only a courtesy. */
void notify_send(const char *state);

/** Number of listening sockets that were handed to this process from descriptor 3 on; 0 if none. Clears the variables. */
int notify_listen_fds(void);

#define NOTIFY_LISTEN_FD 3 /* the first */

#endif
