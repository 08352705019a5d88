/* SPDX-License-Identifier: Apache-2.0 */
/** What happens next: a heap of events by time, and the processes' clocks. */
#include <stdlib.h>

#include "base/err.h"
#include "simulation/world.h"

struct entry {
    uint64_t ns, order;
    uint32_t at; /* in pool */
};

struct events {
    struct entry *heap;
    struct event *pool;
    uint32_t *free;
    uint32_t count, room, frees;
    uint64_t order;
};

static void *grown(void *memory, size_t count, size_t bytes)
{
    void *more = realloc(memory, count * bytes);
    MC_ASSERT(more != NULL);
    return more;
}

void events_reset(struct world *world)
{
    if (!world->events) {
        world->events = calloc(1, sizeof *world->events);
        MC_ASSERT(world->events != NULL);
    }
    struct events *events = world->events;
    events->count = 0;
    events->order = 0;
    events->frees = events->room;
    for (uint32_t i = 0; i < events->room; i++)
        events->free[i] = i;
}

void events_free(struct events *events)
{
    if (!events)
        return;
    free(events->heap);
    free(events->pool);
    free(events->free);
    free(events);
}

static bool is_before(const struct entry *a, const struct entry *b)
{
    return a->ns != b->ns ? a->ns < b->ns : a->order < b->order;
}

static void heap_push(struct events *events, struct entry entry)
{
    uint32_t i = events->count++;
    while (i > 0 && is_before(&entry, &events->heap[(i - 1) / 2])) {
        events->heap[i] = events->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    events->heap[i] = entry;
}

static struct entry heap_pop(struct events *events)
{
    struct entry first = events->heap[0], last = events->heap[--events->count];
    uint32_t i = 0;
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= events->count)
            break;
        if (child + 1 < events->count && is_before(&events->heap[child + 1], &events->heap[child]))
            child++;
        if (!is_before(&events->heap[child], &last))
            break;
        events->heap[i] = events->heap[child];
        i = child;
    }
    events->heap[i] = last;
    return first;
}

void events_add(struct world *world, uint64_t delay_ns, const struct event *event)
{
    struct events *events = world->events;
    if (events->frees == 0) {
        uint32_t room = events->room > 0 ? 2 * events->room : 256;
        events->heap = grown(events->heap, room, sizeof *events->heap);
        events->pool = grown(events->pool, room, sizeof *events->pool);
        events->free = grown(events->free, room, sizeof *events->free);
        for (uint32_t i = events->room; i < room; i++)
            events->free[events->frees++] = i;
        events->room = room;
    }
    uint32_t at = events->free[--events->frees];
    events->pool[at] = *event;
    heap_push(events, (struct entry){world->now_ns + delay_ns, events->order++, at});
}

uint64_t world_local_ns(const struct world *world, uint32_t node)
{
    const struct node *n = &world->node[node];
    return n->clock_offset + world->now_ns + (uint64_t)((int64_t)world->now_ns * n->clock_ppm / 1000000);
}

/** How long until the node's clock shows this. */
static uint64_t until_ns(const struct world *world, uint32_t node, uint64_t local_ns)
{
    uint64_t now_ns = world_local_ns(world, node);
    return local_ns <= now_ns ? 0 : (local_ns - now_ns) * 1000000 / (uint64_t)(1000000 + world->node[node].clock_ppm) + 2;
}

void events_timer(struct world *world, uint32_t node, enum role role, uint64_t local_ns, event_fn *run)
{
    struct process *process = world_process(world, node, role);
    if (process->timer_ns == local_ns)
        return;
    process->timer_ns = local_ns;
    process->timer++;
    if (local_ns == UINT64_MAX)
        return;
    uint64_t late_ns = rng_between(&world->rng, 0, rng_chance(&world->rng, 900) ? 50 * US : TIMER_LATENESS_NS);
    events_add(world, until_ns(world, node, local_ns) + late_ns,
               &(struct event){.run = run, .role = role, .node = node, .life = process->life, .timer = true, .a = process->timer});
}

bool events_step(struct world *world, uint64_t limit_ns)
{
    struct events *events = world->events;
    if (events->count == 0 || events->heap[0].ns > limit_ns)
        return false;
    struct entry entry = heap_pop(events);
    struct event event = events->pool[entry.at];
    events->free[events->frees++] = entry.at;
    world->now_ns = entry.ns;
    world->step++;
    world->statistics.events++;
    struct process *process = world_process(world, event.node, event.role);
    if (process) {
        if (!process->up || (event.life != 0 && event.life != process->life) || (event.timer && event.a != process->timer))
            return true;
        if (process->stopped_until > world->now_ns) { /* afterwards, in any order */
            events_add(world, process->stopped_until - world->now_ns + rng_between(&world->rng, 0, 200 * US), &event);
            return true;
        }
        if (event.timer)
            process->timer_ns = UINT64_MAX;
    }
    event.run(world, &event);
    return true;
}
