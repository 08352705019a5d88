/* SPDX-License-Identifier: Apache-2.0 */
/** What goes wrong: processes die and are stopped, networks part, old messages return, several nodes believe that they lead. */
#include <string.h>

#include "simulation/world.h"

static event_fn fault, restart, mend;

static uint32_t any_node(struct world *world)
{
    return rng_below(&world->rng, world->nodes);
}

static void crash(struct world *world, uint32_t node, enum role role, uint64_t longest_ns)
{
    if (!world_process(world, node, role)->up)
        return;
    if (role == ROLE_SERVER)
        server_crash(world, node);
    else
        snapd_crash(world, node);
    events_add(world, rng_spread(&world->rng, MS, longest_ns), &(struct event){.run = restart, .node = node, .a = role});
}

static void restart(struct world *world, const struct event *event)
{
    if (event->a == ROLE_SERVER)
        server_start(world, event->node);
    else
        snapd_start(world, event->node);
}

static void stop(struct world *world, uint32_t node, enum role role)
{
    struct process *process = world_process(world, node, role);
    uint64_t ns = rng_spread(&world->rng, MS, SECOND);
    if (!process->up || process->stopped_until > world->now_ns)
        return;
    process->stopped_until = world->now_ns + ns;
    process->stopped_total += ns;
    NOTE(world, node, "%s: stopped for %.3f ms", role == ROLE_SERVER ? "server" : "snapd", (double)ns / 1e6);
}

/** One direction of one pair, or a node from all the others. */
static void sever(struct world *world)
{
    uint32_t node = any_node(world), other = any_node(world);
    bool whole = rng_chance(&world->rng, 500);
    for (uint32_t i = 0; i < world->nodes; i++) {
        if (whole)
            world->network.severed[node][i] = world->network.severed[i][node] = true;
        else if (i == other)
            world->network.severed[node][i] = true;
    }
    NOTE(world, node, whole ? "network: cut off" : "network: does not reach node %u", other);
    events_add(world, rng_spread(&world->rng, 5 * MS, SECOND), &(struct event){.run = mend});
}

static void mend(struct world *world, const struct event *event)
{
    (void)event;
    memset(world->network.severed, 0, sizeof world->network.severed);
}

static void happen(struct world *world, uint32_t node, uint32_t kind)
{
    switch (kind) {
    case 0: crash(world, node, ROLE_SERVER, SECOND); break;
    case 1: crash(world, node, ROLE_SNAPD, SECOND); break;
    case 2:
        crash(world, node, ROLE_SERVER, SECOND);
        crash(world, node, ROLE_SNAPD, SECOND);
        break;
    case 3: sever(world); break;
    case 4: stop(world, node, ROLE_SERVER); break;
    case 5: stop(world, node, ROLE_SNAPD); break;
    case 6: network_haunt(world, node, 100 * MS); break;
    default:
        world->node[node].snapd.forced = !world->node[node].snapd.forced;
        if (world->node[node].snapd.process.up)
            leading_poll(world, node);
    }
}

static void fault(struct world *world, const struct event *event)
{
    uint32_t kind = rng_below(&world->rng, 8);
    if (world->calm)
        return;
    if (world->fault_kinds >> kind & 1)
        happen(world, any_node(world), kind);
    events_add(world, rng_between(&world->rng, 0, 2 * world->fault_ns), event);
}

void faults_start(struct world *world)
{
    events_add(world, rng_between(&world->rng, 0, 2 * world->fault_ns), &(struct event){.run = fault});
    for (uint32_t i = 0; i < world->nodes; i++)
        world->node[i].snapd.forced = (world->fault_kinds >> 7 & 1) && rng_chance(&world->rng, 300);
}

static void kill_server(struct world *world, const struct event *event)
{
    crash(world, event->node, ROLE_SERVER, 20 * MS);
}

void faults_kill(struct world *world, uint32_t node)
{
    events_add(world, 0, &(struct event){.run = kill_server, .node = node});
}

static event_fn rival;

/** Another node begins to lead, and a round of its own. */
static void add_rival(struct world *world, uint64_t within_ns)
{
    if (world->fault_kinds >> 7 & 1)
        events_add(world, rng_spread(&world->rng, US, within_ns), &(struct event){.run = rival, .role = ROLE_SNAPD, .node = any_node(world)});
}

static void rival(struct world *world, const struct event *event)
{
    world->node[event->node].snapd.forced = !world->calm;
    leading_request(world, event->node);
}

static void strike(struct world *world, uint32_t node, enum role role)
{
    if (rng_chance(&world->rng, 300))
        node = any_node(world);
    if (rng_chance(&world->rng, 300))
        role = role == ROLE_SERVER ? ROLE_SNAPD : ROLE_SERVER;
    if (rng_chance(&world->rng, 500))
        add_rival(world, 10 * MS);
    if (rng_chance(&world->rng, 500))
        stop(world, node, role);
    else
        crash(world, node, role, rng_chance(&world->rng, 700) ? 20 * MS : SECOND);
}

void faults_spite(struct world *world, uint32_t node, enum role role)
{
    if (!world->calm && rng_chance(&world->rng, world->spite))
        strike(world, node, role);
}

static void strike_later(struct world *world, const struct event *event)
{
    strike(world, event->node, (enum role)event->a);
}

void faults_spite_soon(struct world *world, uint32_t node, enum role role)
{
    if (!world->calm && rng_chance(&world->rng, world->spite))
        events_add(world, 0, &(struct event){.run = strike_later, .node = node, .a = role});
}

void faults_haunt(struct world *world, uint32_t node, uint64_t within_ns)
{
    if (!world->calm && rng_chance(&world->rng, 4 * world->spite))
        network_haunt(world, node, rng_spread(&world->rng, US, within_ns));
}

void faults_rival(struct world *world)
{
    if (!world->calm && rng_chance(&world->rng, 2 * world->spite))
        add_rival(world, 100 * MS);
}

void faults_end(struct world *world)
{
    struct network *network = &world->network;
    memset(network->severed, 0, sizeof network->severed);
    network->loss = network->duplicates = network->slow = 0;
    network->latency_low_ns = 50 * US;
    network->latency_high_ns = 3 * MS;
    world->lease_ns = ROUND_LEASE_NS;
    world->store_ns = world->store_ns < 5 * MS ? world->store_ns : 5 * MS;
    world->copy_ns = world->copy_ns < 5 * MS ? world->copy_ns : 5 * MS;
    for (uint32_t i = 0; i < world->nodes; i++) {
        world->node[i].snapd.forced = false;
        world->node[i].memory.side_limit = PAGES;
    }
}
