/* SPDX-License-Identifier: Apache-2.0 */
/** The bank as a whole: its beginning, its network, and what goes wrong with clients. */
#include "simulation/bank.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

static event_fn arrive, fault, restart, mend, lose, reconnect;

struct process *bank_process(struct world *world, uint32_t client)
{
    return &world->bank->client[client].process;
}

void bank_free(struct bank *bank)
{
    free(bank);
}

void bank_reset(struct world *world)
{
    if (!world->bank) {
        world->bank = calloc(1, sizeof *world->bank);
        MC_ASSERT(world->bank != NULL);
    }
    struct bank *bank = world->bank;
    memset(bank, 0, offsetof(struct bank, txn));
    struct rng *rng = &world->rng;
    world->nodes = (uint32_t)rng_between(rng, 2, 5);
    world->clients = (uint32_t)rng_between(rng, 0, 2); /* of plain writes */
    bank->clients = (uint32_t)rng_between(rng, 1, BANK_CLIENTS_MAX);
    bank->idle_ns = rng_spread(rng, 300 * MS, 5 * SECOND);
    bank->lost_ns = rng_chance(rng, 500) ? bank->idle_ns / 4 : rng_spread(rng, 20 * MS, SECOND);
    bank->doubt_ns = rng_chance(rng, 300) ? RESOLVER_DOUBT_NS : rng_spread(rng, 5 * MS, 200 * MS);
    bank->think_ns = rng_spread(rng, 5 * MS, 200 * MS);
    bank->vote_ns = rng_spread(rng, 20 * MS, COORDINATOR_VOTE_NS);
    bank->deadline_ns = rng_spread(rng, 50 * MS, 5 * SECOND);
    bank->faults = rng_below(rng, 1001);
    for (uint32_t i = 0; i < world->nodes; i++)
        for (uint32_t p = 0; p < PAGES; p++)
            for (uint32_t a = 0; a < ACCOUNTS; a++)
                world->node[i].memory.page[p].account[a].balance = BALANCE;
}

void bank_start(struct world *world)
{
    for (uint32_t i = 0; i < world->bank->clients; i++)
        bank_client_start(world, i);
    events_add(world, rng_between(&world->rng, 0, 2 * world->fault_ns), &(struct event){.run = fault});
}

/* ---- network ---- */

static uint64_t delay(struct world *world)
{
    const struct network *network = &world->network;
    if (rng_chance(&world->rng, network->slow))
        return rng_spread(&world->rng, MS, network->slow_ns);
    return rng_between(&world->rng, network->latency_low_ns, network->latency_high_ns);
}

static bool is_to_client(const struct packet *packet)
{
    return packet->of_client && (packet->kind == PACKET_OPENED || packet->kind == PACKET_READ_DONE || packet->kind == PACKET_ANSWER);
}

static void deliver(struct world *world, const struct packet *packet, uint64_t delay_ns)
{
    events_add(world, delay_ns,
               &(struct event){.run = arrive, .role = is_to_client(packet) ? ROLE_CLIENT : ROLE_SERVER, .node = packet->to, .packet = *packet});
}

static void arrive(struct world *world, const struct event *event)
{
    if (event->role == ROLE_CLIENT)
        bank_client_packet(world, event->node, &event->packet);
    else
        bank_server_packet(world, event->node, &event->packet);
}

static bool is_severed(const struct world *world, const struct packet *packet)
{
    if (!packet->of_client)
        return world->network.severed[packet->from][packet->to];
    return is_to_client(packet) ? world->bank->severed[packet->to][packet->from] : world->bank->severed[packet->from][packet->to];
}

void bank_send(struct world *world, const struct packet *packet, bool once)
{
    struct bank *bank = world->bank;
    if (!once)
        bank->kept[bank->kept_count++ % KEPT_PACKETS] = *packet;
    if (is_severed(world, packet) || rng_chance(&world->rng, world->network.loss))
        return;
    bool hurts = !world->calm && rng_chance(&world->rng, world->spite);
    deliver(world, packet, hurts ? rng_spread(&world->rng, MS, SECOND) : delay(world));
    if (!once && rng_chance(&world->rng, world->network.duplicates))
        deliver(world, packet, delay(world) + rng_spread(&world->rng, MS, 2 * SECOND));
}

void bank_again(struct world *world, uint32_t node, const struct packet *packet)
{
    events_add(world, rng_between(&world->rng, 50 * US, 2 * MS),
               &(struct event){.run = arrive, .role = ROLE_SERVER, .node = node, .life = world->node[node].server.process.life, .packet = *packet});
}

/* ---- faults ---- */

static void lose(struct world *world, const struct event *event)
{
    bank_on_lost(world, event->node, event->a);
}

static void crash(struct world *world, uint32_t client)
{
    struct bank_client *self = &world->bank->client[client];
    if (!self->process.up)
        return;
    for (uint32_t i = 0; i < world->nodes; i++)
        if (rng_chance(&world->rng, world->network.notice))
            events_add(world, rng_spread(&world->rng, 100 * US, 100 * MS),
                       &(struct event){.run = lose, .role = ROLE_SERVER, .node = i, .a = self->number});
    bank_client_crash(world, client);
    if (client == 0 || rng_chance(&world->rng, 700)) /* others may stay dead */
        events_add(world, rng_spread(&world->rng, MS, SECOND), &(struct event){.run = restart, .node = client});
}

static void restart(struct world *world, const struct event *event)
{
    bank_client_start(world, event->node);
}

static void sever(struct world *world, uint32_t client)
{
    uint32_t node = rng_below(&world->rng, world->nodes);
    world->bank->severed[client][node] = true;
    NOTE(world, node, "network: cut off from client %u", client);
    events_add(world, rng_spread(&world->rng, 5 * MS, SECOND), &(struct event){.run = mend, .a = client});
}

static void mend(struct world *world, const struct event *event)
{
    for (uint32_t i = 0; i < world->nodes; i++)
        if (world->bank->severed[event->a][i])
            bank_reconnect(world, event->a, i);
    memset(world->bank->severed[event->a], 0, sizeof world->bank->severed[event->a]);
}

static void reconnect(struct world *world, const struct event *event)
{
    bank_client_connected(world, event->node, event->a);
}

void bank_reconnect(struct world *world, uint32_t client, uint32_t node)
{
    if (rng_chance(&world->rng, world->network.notice))
        events_add(world, rng_spread(&world->rng, 100 * US, 50 * MS),
                   &(struct event){.run = reconnect, .role = ROLE_CLIENT, .node = client, .a = node});
}

static void haunt(struct world *world)
{
    const struct bank *bank = world->bank;
    for (uint32_t i = 0; i < KEPT_PACKETS && i < bank->kept_count; i++)
        if (rng_chance(&world->rng, 300))
            deliver(world, &bank->kept[i], rng_between(&world->rng, 0, 100 * MS));
}

static void fault(struct world *world, const struct event *event)
{
    struct bank *bank = world->bank;
    uint32_t client = rng_below(&world->rng, bank->clients);
    if (world->calm) {
        memset(bank->severed, 0, sizeof bank->severed);
        return;
    }
    if (rng_chance(&world->rng, bank->faults)) {
        switch (rng_below(&world->rng, 5)) {
        case 0: crash(world, client); break;
        case 4: bank_reconnect(world, client, rng_below(&world->rng, world->nodes)); break;
        case 1: sever(world, client); break;
        case 2: haunt(world); break;
        default: bank->client[client].process.stopped_until = world->now_ns + rng_spread(&world->rng, MS, 2 * SECOND);
        }
    }
    events_add(world, rng_between(&world->rng, 0, world->fault_ns), event);
}
