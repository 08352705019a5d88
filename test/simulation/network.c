/* SPDX-License-Identifier: Apache-2.0 */
/** Messages between snapshot processes: lost, late, twice, out of order, and again long after. */
#include "simulation/world.h"

static void deliver(struct world *world, const struct message *message, uint64_t delay_ns)
{
    events_add(world, delay_ns, &(struct event){.run = snapd_message, .role = ROLE_SNAPD, .node = message->to, .message = *message});
}

static uint64_t delay(struct world *world)
{
    const struct network *network = &world->network;
    if (rng_chance(&world->rng, network->slow))
        return rng_spread(&world->rng, MS, network->slow_ns);
    return rng_between(&world->rng, network->latency_low_ns, network->latency_high_ns);
}

/** A connection broke: whoever pulls through it gets to know, mostly. */
static void lose(struct world *world, const struct message *message)
{
    bool to_node = message->kind == MESSAGE_PULL, to_leader = message->kind == MESSAGE_PULLED || message->kind == MESSAGE_PULL_FAILED;
    if ((!to_node && !to_leader) || !rng_chance(&world->rng, world->network.notice))
        return;
    uint32_t leader = to_node ? message->from : message->to, node = to_node ? message->to : message->from;
    deliver(world, &(struct message){.kind = MESSAGE_LOST, .from = node, .to = leader, .round = message->round}, rng_spread(&world->rng, MS, 200 * MS));
}

void network_send(struct world *world, const struct message *message)
{
    struct network *network = &world->network;
    if (message->from == message->to) {
        deliver(world, message, rng_between(&world->rng, 5 * US, 60 * US));
        return;
    }
    if (message->kind != MESSAGE_PING && message->kind != MESSAGE_PONG && message->kind != MESSAGE_PULLED)
        network->kept[network->kept_count++ % KEPT_MESSAGES] = *message;
    if (network->severed[message->from][message->to] || rng_chance(&world->rng, network->loss)) {
        lose(world, message);
        return;
    }
    bool order = message->kind == MESSAGE_CUT || message->kind == MESSAGE_FREEZE || message->kind == MESSAGE_END;
    bool hurts = order && !world->calm && rng_chance(&world->rng, 2 * world->spite);
    deliver(world, message, hurts ? rng_spread(&world->rng, MS, 2 * ROUND_LEASE_NS) : delay(world));
    if (rng_chance(&world->rng, network->duplicates))
        deliver(world, message, delay(world) + rng_spread(&world->rng, MS, 2 * SECOND));
}

void network_haunt(struct world *world, uint32_t node, uint64_t within_ns)
{
    struct network *network = &world->network;
    for (uint32_t i = 0; i < KEPT_MESSAGES && i < network->kept_count; i++)
        if (network->kept[i].to == node && rng_chance(&world->rng, 700))
            deliver(world, &network->kept[i], rng_between(&world->rng, 0, within_ns));
}

void network_break(struct world *world, uint32_t node)
{
    for (uint32_t i = 0; i < world->nodes; i++) {
        const struct round *round = &world->node[i].snapd.round;
        if (i != node && round->phase == ROUND_COLLECTING)
            lose(world, &(struct message){.kind = MESSAGE_PULL, .from = i, .to = node, .round = round->number});
    }
}
