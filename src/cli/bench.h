/* SPDX-License-Identifier: Apache-2.0 */
/** The load generator of mcomp bench. */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/histogram.h"
#include "cli/cli.h"
#include "mcomp.h"

enum bench_op { BENCH_READ, BENCH_WRITE, BENCH_ADD, BENCH_MIXED, BENCH_TXN, BENCH_TXN2, BENCH_MCAS };

#define BENCH_MIXED_READ_PERCENT 80u /* the rest are writes */
#define BENCH_WARM_UP_NS UINT64_C(200000000)
#define BENCH_STATUSES 18u /* numbers of enum mcomp_status */

/** What to do: checked by the caller. */
struct bench_plan {
    enum bench_op op;
    uint64_t size;        /* bytes of one operation; BENCH_ADD: 8; of transactions: see bench_txn.h */
    uint64_t address;     /* operations start at address + i·size, i at random */
    uint64_t places;      /* i < places; at least 1 */
    uint64_t duration_ns; /* counted, behind the warm-up */
    uint32_t depth;       /* operations under way on each connection */
    uint32_t connections; /* to each node used */
    uint32_t threads;     /* at most connections */
    uint32_t timeout_ms;
    bool synchronous;     /* depth and connections are 1: the synchronous calls */
    bool show_time;       /* on standard error, a terminal: the time left */
};

/** What was seen between warm-up and end. An operation counts when its end falls there. */
struct bench_report {
    uint64_t elapsed_ns;
    uint64_t operations; /* that succeeded */
    uint64_t bytes;      /* moved by these */
    uint64_t errors;     /* operations that failed */
    uint64_t errors_by_status[BENCH_STATUSES];
    bool interrupted;
    /* Of operations that succeeded, nanoseconds. Synchronous: the time of the call. Else: from the run of the queue whose callbacks submitted the
     * operation to the run that called it back, so that waiting in our own queue is included, and answers of one receive have one time. */
    struct histogram latency;
};

/** Connect everything, run, report. Blocks for the warm-up and the duration; SIGINT and SIGTERM end it early, a second one at once with exit code 130.
 *  Errors: UNAVAILABLE and others of the grid when not all nodes in the range can be reached at the start; RESOURCE_EXHAUSTED. */
MUST_CHECK enum mcomp_status bench_run(struct mcomp *grid, const struct bench_plan *plan, struct bench_report *report, struct mcomp_error *error);

#endif
