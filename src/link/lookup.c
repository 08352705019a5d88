/* SPDX-License-Identifier: Apache-2.0 */
#include "link/lookup.h"

#include <pthread.h>
#include <stdlib.h>

enum state { STATE_NONE, STATE_ASKED, STATE_WORKS, STATE_READY };

struct lookup {
    const struct config *config; /* borrowed */
    enum lookup_of of;
    struct ev_loop *loop;        /* borrowed */
    ev_async wake;
    pthread_t thread;
    pthread_mutex_t lock; /* guards: stop, state, and resolved of those that are READY */
    pthread_cond_t work;
    bool stop;
    enum state state[GRID_NODES_MAX];
    struct resolved *resolved; /* owned, config->nodes elements */
};

/** A node in this state; nodes: none is. */
static uint32_t find_locked(const struct lookup *lookup, enum state state)
{
    uint32_t node = 0;
    while (node < lookup->config->nodes && lookup->state[node] != state)
        node++;
    return node;
}

static void *lookup_main(void *arg)
{
    struct lookup *lookup = arg;
    pthread_mutex_lock(&lookup->lock);
    while (!lookup->stop) {
        uint32_t node = find_locked(lookup, STATE_ASKED);
        if (node == lookup->config->nodes) {
            pthread_cond_wait(&lookup->work, &lookup->lock);
            continue;
        }
        lookup->state[node] = STATE_WORKS;
        pthread_mutex_unlock(&lookup->lock);
        struct resolved *to = &lookup->resolved[node];
        const struct config_node *at = &lookup->config->node[node];
        const struct config_endpoint *endpoint = lookup->of == LOOKUP_SERVERS ? &at->address : &at->snapshot_address;
        to->code = config_resolve(endpoint, false, to->address, to->bytes, LOOKUP_ADDRESSES_MAX, &to->count, &to->err);
        pthread_mutex_lock(&lookup->lock);
        lookup->state[node] = STATE_READY;
        ev_async_send(lookup->loop, &lookup->wake);
    }
    pthread_mutex_unlock(&lookup->lock);
    return NULL;
}

void lookup_ask(struct lookup *lookup, uint32_t node)
{
    pthread_mutex_lock(&lookup->lock);
    if (lookup->state[node] == STATE_NONE)
        lookup->state[node] = STATE_ASKED;
    pthread_cond_signal(&lookup->work);
    pthread_mutex_unlock(&lookup->lock);
}

bool lookup_take(struct lookup *lookup, uint32_t *node, struct resolved *resolved)
{
    pthread_mutex_lock(&lookup->lock);
    *node = find_locked(lookup, STATE_READY);
    bool found = *node < lookup->config->nodes;
    if (found) {
        *resolved = lookup->resolved[*node];
        lookup->state[*node] = STATE_NONE;
    }
    pthread_mutex_unlock(&lookup->lock);
    return found;
}

static void destroy(struct lookup *lookup)
{
    ev_async_stop(lookup->loop, &lookup->wake);
    pthread_cond_destroy(&lookup->work);
    pthread_mutex_destroy(&lookup->lock);
    free(lookup->resolved);
    free(lookup);
}

enum mcomp_status lookup_start(struct lookup **out, const struct config *config, enum lookup_of of, struct ev_loop *loop,
                                 void (*wake_cb)(struct ev_loop *, ev_async *, int), void *data, struct err *err)
{
    struct lookup *lookup = calloc(1, sizeof *lookup);
    struct resolved *resolved = calloc(config->nodes, sizeof *resolved);
    if (!lookup || !resolved) {
        free(lookup);
        free(resolved);
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "out of memory for the addresses of %u nodes", config->nodes);
    }
    lookup->config = config;
    lookup->of = of;
    lookup->loop = loop;
    lookup->resolved = resolved;
    pthread_mutex_init(&lookup->lock, NULL);
    pthread_cond_init(&lookup->work, NULL);
    ev_async_init(&lookup->wake, wake_cb);
    lookup->wake.data = data;
    ev_async_start(loop, &lookup->wake);
    int rc = pthread_create(&lookup->thread, NULL, lookup_main, lookup);
    if (rc != 0) {
        destroy(lookup);
        return err_sys(err, rc, "start the thread that looks up addresses");
    }
    *out = lookup;
    return MCOMP_OK;
}

void lookup_stop(struct lookup *lookup)
{
    if (!lookup)
        return;
    pthread_mutex_lock(&lookup->lock);
    lookup->stop = true;
    pthread_cond_signal(&lookup->work);
    pthread_mutex_unlock(&lookup->lock);
    pthread_join(lookup->thread, NULL);
    destroy(lookup);
}
