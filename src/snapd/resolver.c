/* SPDX-License-Identifier: Apache-2.0 */
#include "snapd/resolver.h"

#include <pthread.h>
#include <stdlib.h>

enum state { STATE_NONE, STATE_ASKED, STATE_WORKS, STATE_READY };

struct resolver {
    const struct config *config; /* borrowed */
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
static uint32_t find_locked(const struct resolver *resolver, enum state state)
{
    uint32_t node = 0;
    while (node < resolver->config->nodes && resolver->state[node] != state)
        node++;
    return node;
}

static void *resolver_main(void *arg)
{
    struct resolver *resolver = arg;
    pthread_mutex_lock(&resolver->lock);
    while (!resolver->stop) {
        uint32_t node = find_locked(resolver, STATE_ASKED);
        if (node == resolver->config->nodes) {
            pthread_cond_wait(&resolver->work, &resolver->lock);
            continue;
        }
        resolver->state[node] = STATE_WORKS;
        pthread_mutex_unlock(&resolver->lock);
        struct resolved *to = &resolver->resolved[node];
        to->code = config_resolve(&resolver->config->node[node].snapshot_address, false, to->address, to->bytes, RESOLVER_ADDRESSES_MAX, &to->count,
                                  &to->err);
        pthread_mutex_lock(&resolver->lock);
        resolver->state[node] = STATE_READY;
        ev_async_send(resolver->loop, &resolver->wake);
    }
    pthread_mutex_unlock(&resolver->lock);
    return NULL;
}

void resolver_ask(struct resolver *resolver, uint32_t node)
{
    pthread_mutex_lock(&resolver->lock);
    if (resolver->state[node] == STATE_NONE)
        resolver->state[node] = STATE_ASKED;
    pthread_cond_signal(&resolver->work);
    pthread_mutex_unlock(&resolver->lock);
}

bool resolver_take(struct resolver *resolver, uint32_t *node, struct resolved *resolved)
{
    pthread_mutex_lock(&resolver->lock);
    *node = find_locked(resolver, STATE_READY);
    bool found = *node < resolver->config->nodes;
    if (found) {
        *resolved = resolver->resolved[*node];
        resolver->state[*node] = STATE_NONE;
    }
    pthread_mutex_unlock(&resolver->lock);
    return found;
}

static void destroy(struct resolver *resolver)
{
    ev_async_stop(resolver->loop, &resolver->wake);
    pthread_cond_destroy(&resolver->work);
    pthread_mutex_destroy(&resolver->lock);
    free(resolver->resolved);
    free(resolver);
}

enum mcomp_status resolver_start(struct resolver **out, const struct config *config, struct ev_loop *loop,
                                 void (*wake_cb)(struct ev_loop *, ev_async *, int), void *data, struct err *err)
{
    struct resolver *resolver = calloc(1, sizeof *resolver);
    struct resolved *resolved = calloc(config->nodes, sizeof *resolved);
    if (!resolver || !resolved) {
        free(resolver);
        free(resolved);
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "out of memory for the addresses of %u nodes", config->nodes);
    }
    resolver->config = config;
    resolver->loop = loop;
    resolver->resolved = resolved;
    pthread_mutex_init(&resolver->lock, NULL);
    pthread_cond_init(&resolver->work, NULL);
    ev_async_init(&resolver->wake, wake_cb);
    resolver->wake.data = data;
    ev_async_start(loop, &resolver->wake);
    int rc = pthread_create(&resolver->thread, NULL, resolver_main, resolver);
    if (rc != 0) {
        destroy(resolver);
        return err_sys(err, rc, "start the resolver thread");
    }
    *out = resolver;
    return MCOMP_OK;
}

void resolver_stop(struct resolver *resolver)
{
    if (!resolver)
        return;
    pthread_mutex_lock(&resolver->lock);
    resolver->stop = true;
    pthread_cond_signal(&resolver->work);
    pthread_mutex_unlock(&resolver->lock);
    pthread_join(resolver->thread, NULL);
    destroy(resolver);
}
