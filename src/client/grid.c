/* SPDX-License-Identifier: Apache-2.0 */
/** The handle and its pool of sessions. */
#include "client/grid.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "client/engine.h"

#define TIMEOUT_MS_DEFAULT 10000u
#define CONNECT_TIMEOUT_MS_DEFAULT 2000u
#define SESSIONS_DEFAULT 64u

/* ---- opening and closing ---- */

static enum mcomp_status take_options(struct mcomp *grid, const struct mcomp_options *options, struct mcomp_error *error)
{
    static const struct mcomp_options none = {0};
    const struct mcomp_options *from = options ? options : &none;
    const char *name = from->client_name ? from->client_name : "libmcomp/" MCOMP_VERSION;
    if (strlen(name) > GRID_CLIENT_NAME_BYTES)
        return error_set(error, MCOMP_INVALID_ARGUMENT, 0, MCOMP_NO_NODE, "client_name has %zu bytes; at most %u are possible",
                         strlen(name), GRID_CLIENT_NAME_BYTES);
    snprintf(grid->client_name, sizeof grid->client_name, "%s", name);
    grid->timeout_ms = from->timeout_ms ? from->timeout_ms : TIMEOUT_MS_DEFAULT;
    grid->connect_timeout_ms = from->connect_timeout_ms ? from->connect_timeout_ms : CONNECT_TIMEOUT_MS_DEFAULT;
    grid->max_sessions = from->max_sessions ? from->max_sessions : SESSIONS_DEFAULT;
    return MCOMP_OK;
}

static void init_lock(struct mcomp *grid)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&grid->session_free, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&grid->lock, NULL);
}

enum mcomp_status mcomp_open(struct mcomp **grid, const char *config_path, const struct mcomp_options *options, struct mcomp_error *error)
{
    struct err err;
    struct mcomp *made = calloc(1, sizeof *made);
    if (!made)
        return error_memory(error);
    enum mcomp_status status = take_options(made, options, error);
    if (status != MCOMP_OK) {
        free(made);
        return status;
    }
    status = config_load(&made->config, config_path ? config_path : config_default_path(), NULL, &err);
    if (status != MCOMP_OK) {
        free(made);
        return error_from(error, MCOMP_NO_NODE, &err);
    }
    made->bytes = config_grid_bytes(&made->config);
    init_lock(made);
    *grid = made;
    return MCOMP_OK;
}

void mcomp_close(struct mcomp *grid)
{
    if (!grid)
        return;
    for (struct mcomp_queue *session = grid->idle, *next; session; session = next) {
        next = session->next_idle;
        mcomp_queue_close(session);
    }
    pthread_cond_destroy(&grid->session_free);
    pthread_mutex_destroy(&grid->lock);
    config_free(&grid->config);
    free(grid);
}

uint64_t mcomp_size(const struct mcomp *grid)
{
    return grid->bytes;
}

uint64_t mcomp_segment_size(const struct mcomp *grid)
{
    return grid->config.segment_size;
}

uint32_t mcomp_nodes(const struct mcomp *grid)
{
    return grid->config.nodes;
}

uint64_t mcomp_max_message(const struct mcomp *grid)
{
    return grid->config.server.max_message;
}

const char *mcomp_name(const struct mcomp *grid)
{
    return grid->config.grid;
}

const char *mcomp_node_address(const struct mcomp *grid, uint32_t node)
{
    return node < grid->config.nodes ? grid->config.node[node].address.text : NULL;
}

/* ---- sessions ---- */

static struct timespec timespec_of(uint64_t ns)
{
    return (struct timespec){(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
}

/** An idle session, or NULL when a new one may be made (it is counted already). false: none came free in time. */
static bool wait_for_session(struct mcomp *grid, struct mcomp_queue **session, uint64_t deadline_ns)
{
    bool in_time = true;
    pthread_mutex_lock(&grid->lock);
    while (!grid->idle && grid->sessions >= grid->max_sessions && in_time) {
        if (deadline_ns == NEVER) {
            pthread_cond_wait(&grid->session_free, &grid->lock);
        } else {
            struct timespec until = timespec_of(deadline_ns);
            in_time = pthread_cond_timedwait(&grid->session_free, &grid->lock, &until) != ETIMEDOUT;
        }
    }
    *session = grid->idle;
    if (grid->idle) {
        grid->idle = grid->idle->next_idle;
        in_time = true;
    } else if (grid->sessions < grid->max_sessions) {
        grid->sessions++;
        in_time = true;
    }
    pthread_mutex_unlock(&grid->lock);
    return in_time;
}

enum mcomp_status session_take(struct mcomp *grid, struct mcomp_queue **session, uint32_t timeout_ms, uint64_t deadline_ns,
                               struct mcomp_error *error)
{
    if (!wait_for_session(grid, session, deadline_ns))
        return error_set(error, MCOMP_DEADLINE_EXCEEDED, 0, MCOMP_NO_NODE,
                         "all %" PRIu32 " sessions of this handle are busy, and none came free within %" PRIu32 " ms (see max_sessions)",
                         grid->max_sessions, timeout_ms);
    if (*session)
        return MCOMP_OK;
    enum mcomp_status status = queue_open_session(grid, session, error);
    if (status != MCOMP_OK) {
        pthread_mutex_lock(&grid->lock);
        grid->sessions--;
        pthread_cond_signal(&grid->session_free);
        pthread_mutex_unlock(&grid->lock);
    }
    return status;
}

void session_give(struct mcomp *grid, struct mcomp_queue *session)
{
    pthread_mutex_lock(&grid->lock);
    session->next_idle = grid->idle;
    grid->idle = session;
    pthread_cond_signal(&grid->session_free);
    pthread_mutex_unlock(&grid->lock);
}
