/* SPDX-License-Identifier: Apache-2.0 */
/** How the kernel's scheduler treats the calling thread. */
#ifndef BASE_PRIORITY_H
#define BASE_PRIORITY_H

#define PRIORITY_BACKGROUND 10 /* a tenth of a normal thread's share where both want the processor */

/** For threads that sleep most of the time, and that somebody waits for once they are woken: from now on they get the processor soon after they
 *  wake, for a short slice, also where busy threads would have it for milliseconds otherwise. That takes no larger share of the processor.
 *  nice: as of setpriority(2); 0, or PRIORITY_BACKGROUND for threads that also copy in bulk, so that others are served first; a thread that has a
 *  higher value keeps it. Threads that the caller makes later inherit both.
 *  A request, not a need: kernels before Linux 6.12 know no slices, a sandbox may refuse, and nothing is reported. */
void priority_prompt(int nice);

#endif
