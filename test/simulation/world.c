/* SPDX-License-Identifier: Apache-2.0 */
/** One seed from its beginning to its end. */
#include "simulation/world.h"

#include <stdarg.h>
#include <string.h>

#include "simulation/bank.h"

struct process *world_process(struct world *world, uint32_t node, enum role role)
{
    switch (role) {
    case ROLE_SERVER: return &world->node[node].server.process;
    case ROLE_SNAPD: return &world->node[node].snapd.process;
    case ROLE_CLIENT: return bank_process(world, node);
    default: return NULL;
    }
}

void world_find(struct world *world, enum verdict verdict, const char *format, ...)
{
    if (world->verdict != VERDICT_SOUND)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(world->finding, sizeof world->finding, format, arguments);
    va_end(arguments);
    world->verdict = verdict;
}

void world_note(struct world *world, uint32_t node, const char *format, ...)
{
    fprintf(world->trace, "t=%012.6f node=%u ", (double)world->now_ns / 1e9, node);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(world->trace, format, arguments);
    va_end(arguments);
    fputc('\n', world->trace);
}

/** What kind of world the seed makes: each of these may be mild or wild, independent of the others. */
static void set_temper(struct world *world)
{
    struct rng *rng = &world->rng;
    bool steady = rng_chance(rng, 400);
    world->nodes = rng_chance(rng, 600) ? 3 : (uint32_t)rng_between(rng, 3, NODES_MAX);
    world->clients = (uint32_t)rng_between(rng, 2, CLIENTS_MAX);
    world->lease_ns = rng_chance(rng, 500) ? ROUND_LEASE_NS : rng_spread(rng, 20 * MS, ROUND_LEASE_NS);
    world->interval_ns = rng_chance(rng, 150) ? 0 : rng_spread(rng, 50 * MS, SECOND);
    world->takeover_ns = rng_spread(rng, 100 * MS, 2 * SECOND);
    world->think_ns = rng_spread(rng, 10 * MS, 300 * MS);
    world->store_ns = rng_spread(rng, 20 * US, rng_chance(rng, 700) ? 500 * US : 100 * MS);
    world->copy_ns = rng_spread(rng, 50 * US, 50 * MS);
    world->fault_ns = rng_spread(rng, 50 * MS, 2 * SECOND);
    world->spite = rng_chance(rng, 300) ? 0 : rng_below(rng, 150);
    world->fault_kinds = (uint32_t)(rng_next(rng) & rng_next(rng)) | (rng_chance(rng, 100) ? 255 : 0);
    struct network *network = &world->network;
    network->latency_low_ns = rng_spread(rng, 20 * US, 2 * MS);
    network->latency_high_ns = network->latency_low_ns + rng_spread(rng, 100 * US, 100 * MS);
    network->loss = rng_chance(rng, 400) ? 0 : rng_below(rng, 150);
    network->duplicates = rng_chance(rng, 300) ? 0 : rng_below(rng, 300);
    network->slow = rng_chance(rng, 300) ? 0 : rng_below(rng, 150);
    network->slow_ns = rng_spread(rng, 100 * MS, SECOND);
    network->notice = 300 + rng_below(rng, 701);
    bool uneven = rng_chance(rng, 200); /* some nodes have seen far more rounds than others */
    uint32_t side_limit = rng_chance(rng, 800) ? PAGES : rng_below(rng, PAGES);
    for (uint32_t i = 0; i < world->nodes; i++) {
        struct node *node = &world->node[i];
        node->memory.side_limit = side_limit;
        node->memory.max_round = uneven ? rng_below(rng, 1000) << 8 : 0;
        node->clock_offset = rng_between(rng, 0, 1000 * SECOND);
        node->clock_ppm = (int64_t)rng_between(rng, 0, steady ? 400 : 1000000) - (steady ? 200 : 500000);
    }
}

/** Now and then: leaders side by side, messages slow enough for their rounds to overlap, servers that die at the worst moments and are back at once. */
static void set_duel(struct world *world)
{
    world->spite = 150;
    world->fault_kinds |= 1 << 7;
    world->store_ns = 100 * US;
    world->network.latency_low_ns = MS;
    world->network.latency_high_ns = rng_between(&world->rng, 20 * MS, 80 * MS);
    world->network.loss = 0;
    world->network.slow = 0;
}

static void request(struct world *world, const struct event *event)
{
    if (world->closing)
        return;
    leading_request(world, rng_below(&world->rng, world->nodes));
    events_add(world, rng_spread(&world->rng, 50 * MS, SECOND), event);
}

static void begin(struct world *world, bool transactions, uint64_t seed, enum broken broken, FILE *trace)
{
    struct events *events = world->events;
    struct ghost *ghost = world->ghost;
    struct bank *bank = world->bank;
    memset(world, 0, sizeof *world);
    world->events = events;
    world->ghost = ghost;
    world->bank = bank;
    world->seed = seed;
    world->broken = broken;
    world->trace = trace;
    world->rng.state = seed * 0x2545f4914f6cdd1du + 1;
    events_reset(world);
    set_temper(world);
    if (rng_chance(&world->rng, 150))
        set_duel(world);
    if (transactions)
        bank_reset(world);
    ghost_reset(world);
    faults_start(world);
    for (uint32_t i = 0; i < world->nodes; i++) {
        server_start(world, i);
        snapd_start(world, i);
    }
    for (uint32_t i = 0; i < world->clients; i++)
        client_start(world, i);
    if (transactions)
        bank_start(world);
    if (world->interval_ns == 0 || rng_chance(&world->rng, 200))
        events_add(world, 0, &(struct event){.run = request});
}

static void run_until(struct world *world, uint64_t limit_ns, const bool *reached)
{
    while (world->verdict == VERDICT_SOUND && !*reached && events_step(world, limit_ns))
        continue;
}

/** No client begins anything more: what was begun must come to its end. */
static void close_down(struct world *world)
{
    const bool never = false;
    world->closing = true;
    run_until(world, world->now_ns + (world->bank ? 40 : 10) * SECOND, &never);
    for (uint32_t i = 0; i < WRITES_MAX; i++)
        if (world->write[i].used)
            world_find(world, VERDICT_WRONG, "write %u to node %u never ended", world->write[i].id, world->write[i].node);
    ghost_compare(world);
    bank_judge_end(world);
    for (uint32_t i = 0; i < world->nodes; i++)
        if (leader_node(&world->node[i].snapd.leader) != 0)
            world_find(world, VERDICT_STUCK, "all nodes can be reached, and node %u believes that node %u leads", i,
                       leader_node(&world->node[i].snapd.leader));
}

enum verdict world_run(struct world *world, bool transactions, uint64_t seed, enum broken broken, FILE *trace)
{
    const bool never = false;
    begin(world, transactions, seed, broken, trace);
    world->calm_ns = rng_between(&world->rng, SECOND, 8 * SECOND) / (transactions ? 2 : 1);
    run_until(world, world->calm_ns, &never);
    if (world->verdict != VERDICT_SOUND)
        return world->verdict;
    world->calm = true;
    world->calm_step = world->step;
    world->now_ns = world->calm_ns;
    faults_end(world);
    NOTE(world, 0, "world: the last fault is over");
    run_until(world, world->calm_ns + PROGRESS_LIMIT_NS, &world->done_when_calm);
    if (world->verdict == VERDICT_SOUND && !world->done_when_calm)
        world_find(world, VERDICT_STUCK, "no round was done within %.0f s after the last fault", (double)PROGRESS_LIMIT_NS / 1e9);
    world->statistics.calm_ns_longest = world->now_ns - world->calm_ns;
    if (world->verdict == VERDICT_SOUND)
        close_down(world);
    return world->verdict;
}

void world_free(struct world *world)
{
    events_free(world->events);
    ghost_free(world->ghost);
    bank_free(world->bank);
}
