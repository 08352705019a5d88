/* SPDX-License-Identifier: Apache-2.0 */
/** Clients read a page of one node and write pages of another, over and over: each write is an effect of what was read before. */
#include "base/err.h"
#include "simulation/world.h"

#define PATIENCE_NS (6 * SECOND) /* no write takes as long, unless its server dies */

static event_fn client_read, client_arrive, client_doubt;

static uint64_t hop(struct world *world)
{
    return rng_between(&world->rng, 30 * US, 300 * US);
}

static void go_on(struct world *world, uint32_t client, uint64_t delay_ns)
{
    events_add(world, delay_ns, &(struct event){.run = client_read, .a = client});
}

void client_start(struct world *world, uint32_t client)
{
    world->client[client].seen = (struct page){.cause_node = NO_NODE};
    go_on(world, client, rng_between(&world->rng, 0, world->think_ns));
}

static struct write *new_write(struct world *world, uint32_t client, uint32_t node)
{
    uint32_t index = 0;
    while (index < WRITES_MAX && world->write[index].used)
        index++;
    MC_ASSERT(index < WRITES_MAX);
    struct write *write = &world->write[index];
    *write = (struct write){.used = true, .id = ++world->write_ids, .node = node, .client = client, .cause = world->client[client].seen};
    write->operation = ++world->client[client].operation;
    write->count = 1 + rng_below(&world->rng, WRITE_PAGES_MAX);
    uint32_t first = rng_below(&world->rng, PAGES), stride = rng_chance(&world->rng, 500) ? 1 : PAGES - 1;
    for (uint32_t i = 0; i < write->count; i++)
        write->at[i] = (first + i * stride) % PAGES;
    return write;
}

static void client_read(struct world *world, const struct event *event)
{
    uint32_t client = event->a;
    if (world->closing)
        return;
    uint32_t from = rng_below(&world->rng, world->nodes), to = rng_below(&world->rng, world->nodes), at = rng_below(&world->rng, PAGES);
    const struct server *server = &world->node[from].server;
    if (!server->process.up || server->process.stopped_until > world->now_ns || server->locked[at]) {
        go_on(world, client, MS);
        return;
    }
    struct client *self = &world->client[client];
    self->seen = (struct page){.cause_node = from, .cause_page = at, .cause_count = world->node[from].memory.page[at].count};
    self->writes_to = to;
    self->stopped = world->node[to].server.process.stopped_total;
    struct write *write = new_write(world, client, to);
    events_add(world, hop(world), &(struct event){.run = client_arrive, .role = ROLE_NONE, .a = (uint32_t)(write - world->write), .b = write->id});
    events_add(world, PATIENCE_NS, &(struct event){.run = client_doubt, .a = client, .b = write->operation});
}

static void client_arrive(struct world *world, const struct event *event)
{
    struct write *write = &world->write[event->a];
    if (!write->used || write->id != event->b)
        return;
    const struct process *process = &world->node[write->node].server.process;
    if (!process->up) {
        client_answer(world, write, false);
        write->used = false;
    } else if (process->stopped_until > world->now_ns) {
        events_add(world, process->stopped_until - world->now_ns + 1, event);
    } else {
        server_write(world, event->a);
    }
}

void client_answer(struct world *world, const struct write *write, bool done)
{
    if (done && !ghost_committed(world, write->id))
        world_find(world, VERDICT_WRONG, "write %u of node %u was acknowledged and is not there", write->id, write->node);
    world->client[write->client].operation++;
    go_on(world, write->client, hop(world) + rng_between(&world->rng, 0, world->now_ns < world->hot_until_ns ? 2 * MS : world->think_ns));
}

static void client_doubt(struct world *world, const struct event *event)
{
    const struct client *client = &world->client[event->a];
    if (client->operation != event->b)
        return;
    if (world->node[client->writes_to].server.process.stopped_total == client->stopped)
        world_find(world, VERDICT_WRONG, "a write to node %u was lost, or held for ever: no answer after %.0f s", client->writes_to,
                   (double)PATIENCE_NS / 1e9);
}
