/* SPDX-License-Identifier: Apache-2.0 */
/** SIGINT and SIGTERM as a descriptor that can be polled, for commands that must say what they did before they end. */
#ifndef CLI_INTERRUPT_H
#define CLI_INTERRUPT_H

#include <stdbool.h>

#include "base/err.h"

/** Block both signals in this thread, and in those it starts from now on, and give a descriptor that becomes readable with each.
 *  Owns: on OK the caller calls interrupt_close(). */
MUST_CHECK enum mcomp_status interrupt_open(int *fd, struct err *err);

/** Take one signal from the descriptor; false when there is none. Does not wait. */
bool interrupt_take(int fd);

/** Close the descriptor and let the signals act as before. */
void interrupt_close(int fd);

#endif
