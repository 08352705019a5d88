/* SPDX-License-Identifier: Apache-2.0 */
/** How the kernel's scheduler treats the calling thread. Requests, not needs: where they cannot be granted nothing happens, and nothing is reported. */
#ifndef BASE_PRIORITY_H
#define BASE_PRIORITY_H

#include <stdbool.h>

/** For threads that sleep most of the time, and that somebody waits for once they are woken: from now on they get the processor soon after they
 *  wake, for a short slice, also where busy threads would have it for milliseconds otherwise. That takes no larger share of the processor.
 *  Threads that the caller makes later inherit it. Needs Linux 6.12. */
void priority_prompt(void);

/** May threads of this process go to the background and come back? Blocks for a moment; call it once, before priority_background(). They may with
 *  CAP_SYS_NICE, or where RLIMIT_NICE allows the nice value that the process has (20 for 0). */
bool priority_probe(void);

/** The calling thread has work in bulk before it (on), and is to have a tenth of the share of others that want the processor; or has not any more, and
 *  is as it was. Nothing happens where priority_probe() said no: then it could not come back. Costs a system call only where it changes. */
void priority_background(bool on);

#endif
