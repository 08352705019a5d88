/* SPDX-License-Identifier: Apache-2.0 */
/** The handle: configuration, options, and the pool of sessions for synchronous calls. */
#ifndef CLIENT_GRID_H
#define CLIENT_GRID_H

#include <pthread.h>
#include <stdint.h>

#include "config/config.h"
#include "mcomp.h"

#define GRID_CLIENT_NAME_BYTES 64u /* bound of Hello.client */

struct mcomp {
    struct config config; /* does not change after mcomp_open() */
    uint64_t bytes;       /* of the whole grid */
    char client_name[GRID_CLIENT_NAME_BYTES + 1];
    uint32_t timeout_ms, connect_timeout_ms, max_sessions;

    pthread_mutex_t lock;          /* guards what follows; held for a few instructions, never while waiting for anything */
    pthread_cond_t session_free;   /* monotonic clock */
    struct mcomp_queue *idle;      /* owned; last used first, since its connections are the most likely to be alive */
    uint32_t sessions;             /* idle and in use */
};


/** timeout_ms with the default put in. */
static inline uint32_t grid_timeout_ms(const struct mcomp *grid, uint32_t timeout_ms)
{
    return timeout_ms == MCOMP_TIMEOUT_DEFAULT ? grid->timeout_ms : timeout_ms;
}

/** Borrow a session, waiting for one until deadline_ns. Errors: DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED. */
MUST_CHECK enum mcomp_status session_take(struct mcomp *grid, struct mcomp_queue **session, uint32_t timeout_ms, uint64_t deadline_ns,
                                          struct mcomp_error *error);
void session_give(struct mcomp *grid, struct mcomp_queue *session);

/* ---- error.c ---- */

/** Set all of *error but the spans, of which there are none then. Returns status. error may be NULL. */
enum mcomp_status error_set(struct mcomp_error *error, enum mcomp_status status, int sys_errno, uint32_t node, const char *format, ...)
    PRINTF_LIKE(5, 6);
enum mcomp_status error_from(struct mcomp_error *error, uint32_t node, const struct err *err);

/** "out of memory". */
enum mcomp_status error_memory(struct mcomp_error *error);

#endif
