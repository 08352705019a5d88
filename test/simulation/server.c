/* SPDX-License-Identifier: Apache-2.0 */
/** A server: the gate, writes that take several steps, and the node's part in rounds. */
#include <string.h>

#include "base/err.h"
#include "simulation/bank.h"
#include "simulation/world.h"

static struct server *server_of(struct world *world, uint32_t node)
{
    return &world->node[node].server;
}

/* ---- writes ---- */

static bool pages_are_free(const struct server *server, const struct write *write)
{
    for (uint32_t i = 0; i < write->count; i++)
        if (server->locked[write->at[i]])
            return false;
    return true;
}

static event_fn write_step;

static void schedule_step(struct world *world, uint32_t index)
{
    const struct write *write = &world->write[index];
    events_add(world, rng_spread(&world->rng, 10 * US, world->store_ns),
               &(struct event){.run = write_step, .role = ROLE_SERVER, .node = write->node,
                               .life = server_of(world, write->node)->process.life, .a = index});
}

/** It goes through the gate: its record is complete, its pages are its own. */
static void write_begin(struct world *world, uint32_t index)
{
    struct write *write = &world->write[index];
    struct server *server = server_of(world, write->node);
    struct memory *memory = &world->node[write->node].memory;
    write->cut_round = memory->cut_round;
    write->capture_live = memory->capture_live;
    write->step = 0;
    for (uint32_t i = 0; i < write->count; i++) {
        const struct page *page = &memory->page[write->at[i]];
        if (write->session_plus_one > 0) {
            write->value[i] = *page;
        } else {
            write->value[i] = write->cause;
            write->value[i].count = page->count + 1;
            write->value[i].write = write->id;
            memcpy(write->value[i].account, page->account, sizeof page->account);
        }
        server->locked[write->at[i]] = true;
    }
    if (write->session_plus_one > 0) {
        bank_begin_write(world, write);
        server->applying++;
    }
    struct redo *redo = &memory->redo[write->at[0]];
    redo->session_plus_one = write->session_plus_one;
    redo->lane = write->lane;
    redo->count = write->count;
    memcpy(redo->at, write->at, sizeof redo->at);
    memcpy(redo->value, write->value, sizeof redo->value);
    redo->valid = true;
    server->active++;
    schedule_step(world, index);
}

static void run_queue(struct world *world, uint32_t node)
{
    struct server *server = server_of(world, node);
    uint32_t kept = 0, queued = server->queued;
    for (uint32_t i = 0; i < queued; i++) {
        uint32_t index = server->queue[i];
        if ((!server->closed || world->write[index].decided) && pages_are_free(server, &world->write[index]))
            write_begin(world, index);
        else
            server->queue[kept++] = index;
    }
    server->queued = kept;
}

void server_write(struct world *world, uint32_t index)
{
    uint32_t node = world->write[index].node;
    struct server *server = server_of(world, node);
    server->queue[server->queued++] = index;
    run_queue(world, node);
}

static void feed(struct world *world, uint32_t node, struct freeze_effects *effects);

void server_check_drained(struct world *world, uint32_t node)
{
    struct server *server = server_of(world, node);
    uint32_t active = server->active - (world->broken == BREAK_ACK_COMMITTING ? server->applying : 0);
    if (server->freeze.mode != FREEZE_DRAINING || (active > 0 && world->broken != BREAK_NO_DRAIN) || !bank_is_drained(world, node))
        return;
    struct freeze_effects effects;
    freeze_on_drained(&server->freeze, world_local_ns(world, node), &effects);
    feed(world, node, &effects);
}

static void write_step(struct world *world, const struct event *event)
{
    struct write *write = &world->write[event->a];
    uint32_t node = write->node;
    struct server *server = server_of(world, node);
    struct memory *memory = &world->node[node].memory;
    uint32_t at = write->at[write->step];
    memory_touch(world, memory, at, write->cut_round, write->capture_live);
    memory->page[at] = write->value[write->step];
    if (++write->step < write->count) {
        schedule_step(world, event->a);
        return;
    }
    struct redo *redo = &memory->redo[write->at[0]];
    ghost_commit(world, node, redo);
    redo->valid = false;
    for (uint32_t i = 0; i < write->count; i++)
        server->locked[write->at[i]] = false;
    server->active--;
    write->used = false;
    if (write->session_plus_one > 0) {
        server->applying--;
        bank_end_write(world, node, write->session_plus_one - 1, write->lane);
    } else {
        world->statistics.writes++;
        client_answer(world, write, true);
    }
    run_queue(world, node);
    server_check_drained(world, node);
}

/* ---- rounds ---- */

/** Writers are held no longer than the lease, except as the process itself is. */
static void check_hold(struct world *world, uint32_t node)
{
    const struct server *server = server_of(world, node);
    uint64_t held_ns = world->now_ns - server->closed_ns, stopped_ns = server->process.stopped_total - server->closed_stopped;
    uint64_t lease_ns = server->closed_lease_ns * 1000000 / (uint64_t)(1000000 + world->node[node].clock_ppm);
    if (held_ns > lease_ns + stopped_ns + 2 * TIMER_LATENESS_NS)
        world_find(world, VERDICT_WRONG, "writers of node %u were held for %.3f ms, the lease was for %.3f ms", node, (double)held_ns / 1e6,
                   (double)lease_ns / 1e6);
}

static void watch_gate(struct world *world, const struct event *event)
{
    const struct server *server = server_of(world, event->node);
    if (server->closed && server->closed_ns == event->message.ns)
        check_hold(world, event->node);
}

static void close_gate(struct world *world, uint32_t node, uint64_t lease_ns)
{
    struct server *server = server_of(world, node);
    server->closed = true;
    server->closed_ns = world->now_ns;
    server->closed_stopped = server->process.stopped_total;
    server->closed_lease_ns = lease_ns;
    world->hot_until_ns = world->now_ns + HOT_NS;
    bank_on_freeze(world, node);
    struct event watch = {.run = watch_gate, .role = ROLE_SERVER, .node = node, .life = server->process.life, .message.ns = world->now_ns};
    events_add(world, 4 * lease_ns, &watch);
}

static void open_gate(struct world *world, uint32_t node, bool cut)
{
    struct server *server = server_of(world, node);
    if (server->closed)
        check_hold(world, node);
    server->closed = false;
    if (world->broken == BREAK_QUEUE_LOST && !cut) {
        for (uint32_t i = 0; i < server->queued; i++)
            if (world->write[server->queue[i]].session_plus_one == 0)
                world->write[server->queue[i]].used = false;
        server->queued = 0;
    }
    run_queue(world, node);
}

static void answer(struct world *world, uint32_t node, uint32_t round, const struct freeze_effects *effects)
{
    const struct server *server = server_of(world, node);
    struct message message = {.from = node, .to = round_leader(round) % world->nodes, .round = round};
    switch (effects->answer) {
    case FREEZE_ANSWER_FROZEN:
        message.kind = MESSAGE_FROZEN;
        break;
    case FREEZE_ANSWER_OLD:
    case FREEZE_ANSWER_BUSY:
        message.kind = MESSAGE_REFUSED;
        message.flag = effects->answer == FREEZE_ANSWER_OLD;
        message.max_round = server->freeze.max_round;
        break;
    case FREEZE_ANSWER_CUT:
    case FREEZE_ANSWER_REFUSED:
        message.kind = MESSAGE_CUT_ANSWER;
        message.flag = effects->answer == FREEZE_ANSWER_CUT;
        message.ns = effects->pause_ns;
        break;
    default: return;
    }
    if (world->node[node].snapd.process.up) /* through which it goes */
        network_send(world, &message);
    if (effects->answer == FREEZE_ANSWER_FROZEN || effects->cut)
        faults_spite(world, node, ROLE_SERVER);
}

static event_fn server_timer;

static void set_timer(struct world *world, uint32_t node)
{
    uint64_t next_ns = freeze_next_ns(&server_of(world, node)->freeze);
    events_timer(world, node, ROLE_SERVER, world->broken == BREAK_NO_LEASE ? UINT64_MAX : next_ns, server_timer);
}

static void carry_out(struct world *world, uint32_t node, uint32_t round, uint64_t lease_ns, const struct freeze_effects *effects)
{
    struct server *server = server_of(world, node);
    struct memory *memory = &world->node[node].memory;
    uint32_t life = server->process.life;
    if (effects->store_max_round)
        memory->max_round = server->freeze.max_round;
    if (effects->close_gate)
        close_gate(world, node, lease_ns < FREEZE_LEASE_NS_MAX ? lease_ns : FREEZE_LEASE_NS_MAX);
    if (effects->end_capture && memory->cut_round == server->freeze.cut_round)
        memory->capture_live = false;
    if (effects->cut)
        memory_cut(memory, server->freeze.cut_round);
    if (effects->open_gate) {
        world->statistics.leases += !effects->cut;
        open_gate(world, node, effects->cut);
    }
    if (effects->answer != FREEZE_ANSWER_NONE)
        answer(world, node, round, effects);
    if (server->process.up && server->process.life == life)
        set_timer(world, node);
}

static void feed(struct world *world, uint32_t node, struct freeze_effects *effects)
{
    carry_out(world, node, server_of(world, node)->freeze.round, 0, effects);
}

static void server_timer(struct world *world, const struct event *event)
{
    struct freeze_effects effects;
    struct freeze *freeze = &server_of(world, event->node)->freeze;
    freeze_on_time(freeze, world_local_ns(world, event->node), &effects);
    if (effects.open_gate) {
        NOTE(world, event->node, "server: the lease of round %u ran out", freeze->round);
        faults_haunt(world, event->node, 50 * MS);
    }
    feed(world, event->node, &effects);
}

/** What a wrong server would make of its state before it looks at FREEZE or CUT. */
static void break_state(const struct world *world, struct freeze *freeze, const struct message *message, uint64_t now_ns)
{
    bool normal = freeze->mode == FREEZE_NORMAL;
    if (message->kind == MESSAGE_FREEZE && normal && world->broken == BREAK_REFREEZE && freeze->max_round == message->round &&
        freeze->cut_round != message->round) {
        freeze->max_round--;
        freeze->gap_end_ns = 0;
    }
    if (message->kind != MESSAGE_CUT)
        return;
    if (world->broken == BREAK_CUT_AFTER_LEASE && normal && freeze->max_round == message->round && freeze->cut_round != message->round) {
        freeze->mode = FREEZE_FROZEN;
        freeze->round = message->round;
    }
    if (world->broken == BREAK_CUT_AFTER_LEASE && freeze->mode == FREEZE_FROZEN)
        freeze->lease_end_ns = now_ns + 1;
    if (world->broken == BREAK_CUT_ANY_ROUND && freeze->mode == FREEZE_FROZEN)
        freeze->round = message->round;
}

static const char *name_of(const struct freeze_effects *effects)
{
    static const char *const names[] = {"nothing yet", "FROZEN", "OLD", "BUSY", "CUT", "REFUSED", "OK"};
    return names[effects->answer];
}

void server_message(struct world *world, uint32_t node, const struct message *message)
{
    struct freeze *freeze = &server_of(world, node)->freeze;
    struct freeze_effects effects;
    uint64_t now_ns = world_local_ns(world, node);
    break_state(world, freeze, message, now_ns);
    if (world->broken == BREAK_CAPTURE_STAYS)
        freeze->progress_ns = now_ns;
    if (message->kind == MESSAGE_FREEZE)
        freeze_on_freeze(freeze, message->round, message->ns, now_ns, &effects);
    else if (message->kind == MESSAGE_CUT)
        freeze_on_cut(freeze, message->round, now_ns, &effects);
    else
        freeze_on_end(freeze, message->round, now_ns, &effects);
    NOTE(world, node, "server: %s %u: %s%s", message->kind == MESSAGE_FREEZE ? "FREEZE" : message->kind == MESSAGE_CUT ? "CUT" : "END", message->round,
         name_of(&effects), effects.cut ? ", cuts" : effects.open_gate ? ", opens the gate" : effects.close_gate ? ", closes the gate" : "");
    world->statistics.refused_cuts += effects.answer == FREEZE_ANSWER_REFUSED;
    world->statistics.busy += effects.answer == FREEZE_ANSWER_BUSY;
    world->statistics.old += effects.answer == FREEZE_ANSWER_OLD;
    carry_out(world, node, message->round, message->ns, &effects);
    if (server_of(world, node)->process.up)
        server_check_drained(world, node);
}

void server_progress(struct world *world, uint32_t node, uint32_t round)
{
    freeze_on_progress(&server_of(world, node)->freeze, round, world_local_ns(world, node));
    set_timer(world, node);
}

/* ---- the process ---- */

static void finish_writes(struct world *world, uint32_t node)
{
    struct memory *memory = &world->node[node].memory;
    for (uint32_t i = 0; i < PAGES; i++) {
        struct redo *redo = &memory->redo[i];
        if (!redo->valid)
            continue;
        if (world->broken != BREAK_NO_REDO) {
            for (uint32_t j = 0; j < redo->count; j++) {
                memory_touch(world, memory, redo->at[j], memory->cut_round, memory->capture_live);
                memory->page[redo->at[j]] = redo->value[j];
            }
            ghost_commit(world, node, redo);
            world->statistics.redone++;
            if (redo->session_plus_one > 0)
                bank_redo(world, node, redo->session_plus_one - 1, redo->lane);
        }
        redo->valid = false;
    }
}

void server_start(struct world *world, uint32_t node)
{
    struct server *server = server_of(world, node);
    const struct memory *memory = &world->node[node].memory;
    struct process process = {.up = true, .life = server->process.life + 1, .timer_ns = UINT64_MAX, .timer = server->process.timer};
    *server = (struct server){.process = process};
    finish_writes(world, node);
    bank_server_start(world, node);
    freeze_init(&server->freeze, world->broken == BREAK_MAXR_VOLATILE ? 0 : memory->max_round, memory->cut_round, memory->capture_live,
                world_local_ns(world, node));
    set_timer(world, node);
    faults_haunt(world, node, 50 * MS);
    NOTE(world, node, "server: starts, max_round %u, cut_round %u%s", memory->max_round, memory->cut_round, memory->capture_live ? ", capture lives" : "");
}

void server_crash(struct world *world, uint32_t node)
{
    server_of(world, node)->process.up = false;
    for (uint32_t i = 0; i < WRITES_MAX; i++) {
        if (world->write[i].used && world->write[i].node == node) {
            if (world->write[i].session_plus_one == 0)
                client_answer(world, &world->write[i], false);
            world->write[i].used = false;
        }
    }
    NOTE(world, node, "server: dies");
}
