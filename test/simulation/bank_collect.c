/* SPDX-License-Identifier: Apache-2.0 */
/** What a node does by itself: it asks when it is in doubt, and gives sessions back whose clients are gone. */
#include <string.h>

#include "base/err.h"
#include "simulation/bank.h"

#define STUBBORN_NS (300 * MS)

static event_fn bank_timer;

struct lane_view bank_view(const struct world *world, uint32_t node, uint32_t session, uint32_t lane)
{
    const struct session *s = &world->bank->session[node][session];
    struct lane_view view = {.generation = s->generation};
    if (lane >= SESSION_LANES)
        return view;
    const struct record *record = &s->lane[lane];
    view.sequence = record->sequence;
    view.state = record->sequence == 0 ? LANE_NONE : record->state;
    view.reason = record->reason;
    view.failed_compare = record->failed_compare;
    return view;
}

void bank_contact(struct world *world, uint32_t node, uint32_t session)
{
    struct guard *guard = &world->bank->teller[node].guard[session];
    guard->contact_ns = world->now_ns;
    guard->lost = false;
    guard->collects = false;
}

static void ask(struct world *world, uint32_t node, uint32_t txn, uint32_t asker, uint32_t part, enum txn_message message)
{
    struct packet packet = {.kind = PACKET_ASK, .from = node, .to = world->bank->txn[txn].participant[part].node, .txn = txn, .part = part,
                            .asker = asker, .message = message};
    bank_send(world, &packet, false);
}

/* ---- in doubt ---- */

static uint64_t poll_lane(struct world *world, uint32_t node, uint32_t session, uint32_t lane)
{
    struct desk *desk = &world->bank->teller[node].desk[session][lane];
    const struct record *record = &world->bank->session[node][session].lane[lane];
    uint32_t index;
    if (record->state != LANE_PREPARED || desk->busy)
        return UINT64_MAX;
    while (resolver_next(&desk->resolver, world->now_ns, &index))
        ask(world, node, record->txn, record->part, index, TXN_RESOLVE);
    if (world->broken == BREAK_PARTICIPANT_TIMEOUT && world->now_ns > desk->prepared_ns + STUBBORN_NS)
        desk->resolver.conclusion = RESOLVER_ABORT;
    if (desk->resolver.conclusion != RESOLVER_IN_DOUBT) {
        bank_conclude(world, node, session, lane);
        return UINT64_MAX;
    }
    return resolver_next_ns(&desk->resolver);
}

/* ---- gone ---- */

static void give_session_back(struct world *world, uint32_t node, uint32_t session)
{
    NOTE(world, node, "server: gives back session %u", session);
    world->statistics.collected++;
    memset(&world->bank->session[node][session], 0, sizeof world->bank->session[node][session]);
    world->bank->teller[node].guard[session].collects = false;
}

static void look(struct world *world, uint32_t node, uint32_t session)
{
    struct guard *guard = &world->bank->teller[node].guard[session];
    struct collector *collector = &guard->collector;
    while (collector->look) {
        uint32_t lane = collector->lane;
        struct lane_view view = bank_view(world, node, session, lane);
        const struct record *record = lane < SESSION_LANES ? &world->bank->session[node][session].lane[lane] : NULL;
        if (record && world->bank->teller[node].desk[session][lane].busy)
            view.state = LANE_COMMITTING;
        if (world->broken == BREAK_FORGET && view.state == LANE_COMMITTED)
            view.state = LANE_ABORTED;
        const struct txn *txn = record ? &world->bank->txn[record->txn] : NULL;
        guard->txn = record ? record->txn : 0;
        guard->part = record ? record->part : 0;
        collector_on_lane(collector, &view, txn ? txn->participant : NULL, txn ? txn->parts : 0, record ? record->part : 0, world->now_ns);
    }
}

static uint64_t poll_session(struct world *world, uint32_t node, uint32_t session)
{
    const struct bank *bank = world->bank;
    struct guard *guard = &world->bank->teller[node].guard[session];
    uint32_t index;
    if (bank->session[node][session].generation == 0)
        return UINT64_MAX;
    uint64_t expires_ns = guard->contact_ns + (guard->lost ? bank->lost_ns : bank->idle_ns);
    if (!guard->collects && world->now_ns < expires_ns)
        return expires_ns;
    if (!guard->collects)
        collector_start(&guard->collector);
    guard->collects = true;
    collector_on_time(&guard->collector, world->now_ns);
    look(world, node, session);
    if (guard->collector.done) {
        give_session_back(world, node, session);
        return UINT64_MAX;
    }
    while (collector_next(&guard->collector, world->now_ns, &index)) {
        world->statistics.pushed++;
        ask(world, node, guard->txn, guard->part, index, TXN_COMMIT);
    }
    return collector_next_ns(&guard->collector);
}

void bank_collector_answer(struct world *world, uint32_t node, const struct lane_id *id, const struct packet *packet)
{
    struct guard *guard = &world->bank->teller[node].guard[id->session];
    if (guard->collects && world->bank->session[node][id->session].generation == id->generation)
        collector_on_answer(&guard->collector, id->lane, id->sequence, packet->part, packet->answer.says);
}

/* ---- both ---- */

void bank_poll(struct world *world, uint32_t node)
{
    struct teller *teller = &world->bank->teller[node];
    uint32_t life = world->node[node].server.process.life;
    uint64_t next_ns = UINT64_MAX;
    for (uint32_t s = 0; s < SESSIONS; s++) {
        if (world->bank->session[node][s].generation == 0)
            continue;
        for (uint32_t l = 0; l <= SESSION_LANES; l++) {
            uint64_t ns = l < SESSION_LANES ? poll_lane(world, node, s, l) : poll_session(world, node, s);
            if (!world->node[node].server.process.up || world->node[node].server.process.life != life)
                return;
            next_ns = ns < next_ns ? ns : next_ns;
        }
    }
    if (next_ns == teller->timer_ns)
        return;
    teller->timer_ns = next_ns;
    teller->timer++;
    if (next_ns == UINT64_MAX)
        return;
    uint64_t delay_ns = next_ns > world->now_ns ? next_ns - world->now_ns : 0;
    events_add(world, delay_ns, &(struct event){.run = bank_timer, .role = ROLE_SERVER, .node = node, .life = world->node[node].server.process.life,
                                                .a = teller->timer});
}

static void bank_timer(struct world *world, const struct event *event)
{
    struct teller *teller = &world->bank->teller[event->node];
    if (event->a != teller->timer)
        return;
    teller->timer_ns = UINT64_MAX;
    bank_poll(world, event->node);
    if (world->node[event->node].server.process.up)
        server_check_drained(world, event->node);
}
