/* SPDX-License-Identifier: Apache-2.0 */
/** A child that acts one machine instruction at a time (ptrace), so that it can be looked at, or killed, wherever it has changed the shared memory. */
#ifndef TEST_SEGMENT_STEPPER_H
#define TEST_SEGMENT_STEPPER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/** cmocka setup and teardown, beside the fixture's. */
int stepper_setup(void);
void stepper_teardown(void);

/** Watch nothing any more. */
void stepper_forget(void);
/** Watch bytes of shared memory for changes, as they are now. */
void stepper_watch(const void *start, size_t bytes);

/** Fork a child that stops, then acts once it is stepped; stepper_returned tells whether act has returned. Skips the test where tracing is forbidden. */
pid_t stepper_fork(void (*act)(void *), void *arg);
bool stepper_returned(void);

enum step_end { STEP_CHANGES_REACHED, STEP_EXITED, STEP_BROKEN };

/** Step a stopped child until the watched bytes have changed `changes` times, calling look (may be NULL) at each, or it ends. It stays stopped where
 *  the changes are reached, and is dead otherwise. BROKEN: look returned false, or the child ended with another code than 0. */
enum step_end stepper_run(pid_t child, int changes, bool (*look)(void *), void *arg);
/** The same, and the child is dead at return in any case. */
enum step_end stepper_run_and_kill(pid_t child, int changes, bool (*look)(void *), void *arg);
/** Let a stopped child run to its end; false if that was not exit code 0. */
bool stepper_finish(pid_t child);

#endif
