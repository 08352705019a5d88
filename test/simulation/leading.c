/* SPDX-License-Identifier: Apache-2.0 */
/** A snapshot process as a leader: the machines of rounds, of the lead and of the schedule, joined to the network and the clock. */
#include <string.h>

#include "simulation/world.h"

static event_fn leading_timer, leading_committed;

static struct snapd *snapd_of(struct world *world, uint32_t node)
{
    return &world->node[node].snapd;
}

static bool leads(const struct snapd *snapd)
{
    return snapd->leader.leads || snapd->forced;
}

void leading_start(struct world *world, uint32_t node)
{
    struct snapd *snapd = snapd_of(world, node);
    uint64_t now_ns = world_local_ns(world, node);
    uint32_t seen = world->node[node].memory.max_round;
    if (world->broken == BREAK_ROUND_REUSE && round_leader(seen) == node && seen > 256)
        seen -= 256;
    round_init(&snapd->round, seen);
    leader_init(&snapd->leader, node, world->nodes, world->takeover_ns, now_ns);
    schedule_init(&snapd->schedule, world->interval_ns, now_ns);
}

static void send_to_all(struct world *world, uint32_t node, const struct round_effects *effects)
{
    static const enum message_kind kinds[] = {[ROUND_SEND_FREEZE] = MESSAGE_FREEZE, [ROUND_SEND_CUT] = MESSAGE_CUT, [ROUND_SEND_END] = MESSAGE_END};
    if (effects->send == ROUND_SEND_NOTHING)
        return;
    uint32_t first = rng_below(&world->rng, world->nodes);
    for (uint32_t i = 0; i < world->nodes; i++) {
        uint32_t to = (first + i) % world->nodes;
        if (effects->to[to])
            network_send(world, &(struct message){.kind = kinds[effects->send], .from = node, .to = to, .round = snapd_of(world, node)->round.number,
                                                  .ns = world->lease_ns});
    }
}

static void pull(struct world *world, uint32_t node, uint32_t from)
{
    const struct snapd *snapd = snapd_of(world, node);
    network_send(world, &(struct message){.kind = MESSAGE_PULL, .from = node, .to = from, .round = snapd->round.number, .index = snapd->next_page[from]});
}

static void end_schedule(struct world *world, uint32_t node, bool done)
{
    struct snapd *snapd = snapd_of(world, node);
    uint64_t now_ns = world_local_ns(world, node);
    if (done)
        schedule_on_done(&snapd->schedule, now_ns);
    else
        schedule_on_failed(&snapd->schedule, rng_next(&world->rng), now_ns);
    if (rng_chance(&world->rng, 100))
        schedule_on_cancel(&snapd->schedule);
}

static void finish(struct world *world, uint32_t node)
{
    const struct snapd *snapd = snapd_of(world, node);
    NOTE(world, node, "leader: round %u is DONE", snapd->round.number);
    world->statistics.done++;
    ghost_judge(world, node);
    if (world->calm && snapd->begin_step >= world->calm_step)
        world->done_when_calm = true;
    end_schedule(world, node, true);
}

static void carry_out(struct world *world, uint32_t node, const struct round_effects *effects)
{
    struct snapd *snapd = snapd_of(world, node);
    send_to_all(world, node, effects);
    switch (effects->outcome) {
    case ROUND_RUNS: break;
    case ROUND_COLLECT:
        NOTE(world, node, "leader: all have cut for round %u", snapd->round.number);
        memset(snapd->next_page, 0, sizeof snapd->next_page);
        for (uint32_t i = 0; i < world->nodes; i++)
            pull(world, node, i);
        break;
    case ROUND_COMMIT:
        NOTE(world, node, "leader: all is here for round %u", snapd->round.number);
        events_add(world, rng_spread(&world->rng, 100 * US, 50 * MS),
                   &(struct event){.run = leading_committed, .role = ROLE_SNAPD, .node = node, .life = snapd->process.life, .a = snapd->round.number});
        break;
    case ROUND_DONE: finish(world, node); break;
    case ROUND_DISCARDED:
        NOTE(world, node, "leader: round %u is discarded: node %d: %s", snapd->round.number, (int)effects->node, effects->why);
        end_schedule(world, node, false);
        break;
    }
    if (effects->send == ROUND_SEND_FREEZE || effects->send == ROUND_SEND_CUT || effects->outcome == ROUND_COLLECT || effects->outcome == ROUND_COMMIT)
        faults_spite(world, node, ROLE_SNAPD);
}

static void leading_committed(struct world *world, const struct event *event)
{
    struct snapd *snapd = snapd_of(world, event->node);
    struct round_effects effects;
    if (snapd->round.phase != ROUND_COMMITTING || snapd->round.number != event->a)
        return;
    if (!world->calm && rng_chance(&world->rng, 50))
        round_on_failed(&snapd->round, NO_NODE, "the disk is full", world_local_ns(world, event->node), &effects);
    else
        round_on_committed(&snapd->round, world_local_ns(world, event->node), &effects);
    carry_out(world, event->node, &effects);
    leading_poll(world, event->node);
}

static void take_page(struct world *world, uint32_t node, const struct message *message, struct round_effects *effects)
{
    struct snapd *snapd = snapd_of(world, node);
    uint64_t now_ns = world_local_ns(world, node);
    *effects = (struct round_effects){0};
    if (snapd->round.phase != ROUND_COLLECTING || message->index != snapd->next_page[message->from])
        return;
    snapd->image[message->from][message->index] = message->page;
    snapd->next_page[message->from]++;
    round_on_progress(&snapd->round, message->from, now_ns);
    if (message->flag)
        round_on_captured(&snapd->round, message->from, now_ns, effects);
    else
        pull(world, node, message->from);
}

static void frozen(struct world *world, uint32_t node, uint32_t from, struct round_effects *effects)
{
    struct round *round = &snapd_of(world, node)->round;
    if (world->broken == BREAK_CUT_EARLY && round->phase == ROUND_FREEZING)
        for (uint32_t i = 0; i < world->nodes; i++)
            round->node[i].frozen = true;
    round_on_frozen(round, from, world_local_ns(world, node), effects);
}

void leading_answer(struct world *world, uint32_t node, const struct message *message)
{
    struct round *round = &snapd_of(world, node)->round;
    uint64_t now_ns = world_local_ns(world, node);
    uint32_t max_round = world->broken == BREAK_DEAF ? 0 : message->max_round;
    struct round_effects effects = {0};
    if (message->round != round->number) {
        round_see(round, max_round);
        return;
    }
    switch (message->kind) {
    case MESSAGE_FROZEN: frozen(world, node, message->from, &effects); break;
    case MESSAGE_REFUSED: round_on_refused(round, message->from, message->flag, max_round, now_ns, &effects); break;
    case MESSAGE_CUT_ANSWER: round_on_cut(round, message->from, message->flag, message->ns, now_ns, &effects); break;
    case MESSAGE_PULLED: take_page(world, node, message, &effects); break;
    case MESSAGE_PULL_FAILED: round_on_failed(round, message->from, "its capture failed", now_ns, &effects); break;
    case MESSAGE_UNAVAILABLE: round_on_failed(round, message->from, "its server does not run", now_ns, &effects); break;
    case MESSAGE_LOST:
        if (round->phase == ROUND_COLLECTING && !round->node[message->from].captured && rng_chance(&world->rng, 300)) /* a new one, then */
            pull(world, node, message->from);
        else
            round_on_failed(round, message->from, "the connection broke", now_ns, &effects);
        break;
    default: break;
    }
    carry_out(world, node, &effects);
}

static void begin_round(struct world *world, uint32_t node)
{
    struct snapd *snapd = snapd_of(world, node);
    if (world->broken != BREAK_ROUND_REUSE)
        round_see(&snapd->round, world->node[node].memory.max_round);
    uint32_t number = round_number_after(snapd->round.seen, node);
    struct round_effects effects;
    snapd->begin_step = world->step;
    world->statistics.rounds++;
    NOTE(world, node, "leader: begins round %u", number);
    faults_haunt(world, node, 5 * MS);
    faults_rival(world);
    schedule_on_started(&snapd->schedule);
    round_start(&snapd->round, number, world->nodes, world_local_ns(world, node), &effects);
    carry_out(world, node, &effects);
}

void leading_poll(struct world *world, uint32_t node)
{
    struct snapd *snapd = snapd_of(world, node);
    bool may_start = leads(snapd) && !world->closing;
    if (schedule_due(&snapd->schedule, may_start, world_local_ns(world, node)))
        begin_round(world, node);
    uint64_t next_ns = world->broken == BREAK_PATIENT ? UINT64_MAX : round_next_ns(&snapd->round);
    if (leader_next_ns(&snapd->leader) < next_ns)
        next_ns = leader_next_ns(&snapd->leader);
    if (may_start && schedule_next_ns(&snapd->schedule) < next_ns)
        next_ns = schedule_next_ns(&snapd->schedule);
    events_timer(world, node, ROLE_SNAPD, next_ns, leading_timer);
}

static void leading_timer(struct world *world, const struct event *event)
{
    uint32_t node = event->node;
    struct snapd *snapd = snapd_of(world, node);
    uint64_t now_ns = world_local_ns(world, node);
    struct round_effects effects;
    if (leader_on_time(&snapd->leader, now_ns))
        for (uint32_t i = 0; i < node; i++)
            network_send(world, &(struct message){.kind = MESSAGE_PING, .from = node, .to = i});
    if (world->broken != BREAK_PATIENT) {
        round_on_time(&snapd->round, now_ns, &effects);
        carry_out(world, node, &effects);
    }
    if (snapd->process.up)
        leading_poll(world, node);
}

void leading_request(struct world *world, uint32_t node)
{
    struct snapd *snapd = snapd_of(world, node);
    if (!snapd->process.up || snapd->process.stopped_until > world->now_ns || !leads(snapd))
        return;
    schedule_on_request(&snapd->schedule, snapd->round.phase == ROUND_FREEZING);
    leading_poll(world, node);
}
