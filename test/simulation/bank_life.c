/* SPDX-License-Identifier: Apache-2.0 */
/** A server's life as far as transactions go: it begins, freezes, and loses clients. */
#include <string.h>

#include "base/err.h"
#include "simulation/bank.h"

void bank_server_start(struct world *world, uint32_t node)
{
    if (!world->bank)
        return;
    struct teller *teller = &world->bank->teller[node];
    uint32_t timer = teller->timer + 1;
    memset(teller, 0, sizeof *teller);
    teller->timer = timer;
    teller->timer_ns = UINT64_MAX;
    for (uint32_t s = 0; s < SESSIONS; s++) {
        teller->guard[s].contact_ns = world->now_ns;
        teller->guard[s].lost = true;
        for (uint32_t l = 0; l < SESSION_LANES; l++) {
            struct lane_id id = {.session = s, .lane = l};
            const struct record *record = &world->bank->session[node][s].lane[l];
            MC_ASSERT(record->state != LANE_COMMITTING);
            if (record->state != LANE_PREPARED)
                continue;
            if (world->broken != BREAK_LOCKS_LOST)
                teller->desk[s][l].held = bank_lock(world, node, &world->bank->txn[record->txn].part[record->part]);
            bank_start_resolver(world, node, &id, 0);
        }
    }
    for (uint32_t i = 0; i < world->bank->clients; i++)
        bank_reconnect(world, i, node);
    bank_poll(world, node);
}

bool bank_is_drained(const struct world *world, uint32_t node)
{
    if (!world->bank || world->broken == BREAK_ACK_IN_DOUBT)
        return true;
    for (uint32_t s = 0; s < SESSIONS; s++) {
        for (uint32_t l = 0; l < SESSION_LANES; l++) {
            enum lane_state state = world->bank->session[node][s].lane[l].state;
            if (state == LANE_PREPARED || (state == LANE_COMMITTING && world->broken != BREAK_ACK_COMMITTING))
                return false;
        }
    }
    return true;
}

void bank_on_freeze(struct world *world, uint32_t node)
{
    if (!world->bank)
        return;
    for (uint32_t s = 0; s < SESSIONS; s++)
        for (uint32_t l = 0; l < SESSION_LANES; l++)
            if (world->bank->session[node][s].lane[l].state == LANE_PREPARED)
                resolver_hurry(&world->bank->teller[node].desk[s][l].resolver, world->bank->teller[node].desk[s][l].prepared_ns + RESOLVER_FROZEN_NS);
    bank_poll(world, node);
}

void bank_on_lost(struct world *world, uint32_t node, uint32_t client)
{
    for (uint32_t s = 0; s < SESSIONS; s++) {
        if (world->bank->session[node][s].generation == 0 || world->bank->session[node][s].client != client)
            continue;
        world->bank->teller[node].guard[s].lost = true;
        for (uint32_t l = 0; l < SESSION_LANES; l++)
            if (world->bank->session[node][s].lane[l].state == LANE_PREPARED)
                resolver_hurry(&world->bank->teller[node].desk[s][l].resolver, world->now_ns);
    }
    bank_poll(world, node);
}
