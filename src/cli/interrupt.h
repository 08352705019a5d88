/* SPDX-License-Identifier: Apache-2.0 */
/** SIGINT and SIGTERM as a descriptor that can be polled, for commands that must say what they did before they end. */
#ifndef CLI_INTERRUPT_H
#define CLI_INTERRUPT_H

#include <stdbool.h>

#include "base/err.h"

/** Owner: the command. One thread. */
struct interrupt {
    int fd;     /* becomes readable with each signal; -1: closed */
    bool taken; /* there was one */
};

/** Block both signals in this thread, and in those it starts from now on. Owns: on OK the caller calls interrupt_close(). */
MUST_CHECK enum mcomp_status interrupt_open(struct interrupt *interrupt, struct err *err);

/** Take one signal; false when there is none. Does not wait. */
bool interrupt_take(struct interrupt *interrupt);

/** Close the descriptor. If there was no signal, both act as before from now on. If there was one they stay blocked: the command is about to end, and
 *  another signal must not keep it from cleaning up and from saying what it did. */
void interrupt_close(struct interrupt *interrupt);

#endif
