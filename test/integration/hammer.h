/* SPDX-License-Identifier: Apache-2.0 */
/** Load with a known outcome, for the tests: many threads on one handle of libmcomp, and a check of every byte. */
#ifndef INTEGRATION_HAMMER_H
#define INTEGRATION_HAMMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mcomp.h"

#define HAMMER_THREADS_MAX 64u

/** End the program with exit code 1 and one line about it. */
_Noreturn void hammer_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** End the program unless status is OK. */
void hammer_check(enum mcomp_status status, const struct mcomp_error *error, const char *what);

/** Next number of a small generator (xorshift64*); *state is not 0. */
uint64_t hammer_random(uint64_t *state);

/** Fill length bytes with the token, eight bytes at a time, little endian. */
void hammer_fill(uint8_t *bytes, size_t length, uint64_t token);

/** Does every byte of it come from one hammer_fill? Lengths under 8 always do. */
bool hammer_uniform(const uint8_t *bytes, size_t length);

/** Run body(arg + i·arg_bytes) in count threads and wait for all of them. */
void hammer_threads(void *(*body)(void *), void *arg, size_t arg_bytes, unsigned count);

/** The kinds of load. arguments: those after the name of the configuration file. */
void hammer_records(struct mcomp *grid, char **arguments);
void hammer_torn(struct mcomp *grid, char **arguments);
void hammer_pair(struct mcomp *grid, char **arguments);
void hammer_overlap(struct mcomp *grid, char **arguments);
void hammer_count(struct mcomp *grid, char **arguments);
void hammer_count_async(struct mcomp *grid, char **arguments);
void hammer_count_cas(struct mcomp *grid, char **arguments);

#endif
