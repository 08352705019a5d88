/* SPDX-License-Identifier: Apache-2.0 */
/** A snapshot process: hands messages on to its server, and captures as it is asked. What it does as a leader is in leading.c. */
#include "simulation/world.h"

static event_fn hand_on, capture_end, report_progress;

static struct snapd *snapd_of(struct world *world, uint32_t node)
{
    return &world->node[node].snapd;
}

static void reply(struct world *world, uint32_t node, const struct message *to, enum message_kind kind)
{
    network_send(world, &(struct message){.kind = kind, .from = node, .to = to->from, .round = to->round});
}

/* ---- for the server ---- */

static void hand_on(struct world *world, const struct event *event)
{
    server_message(world, event->node, &event->message);
}

static void report_progress(struct world *world, const struct event *event)
{
    server_progress(world, event->node, event->a);
}

static void to_server(struct world *world, uint32_t node, const struct message *message)
{
    struct node *n = &world->node[node];
    if (n->server.process.up) {
        events_add(world, rng_between(&world->rng, 5 * US, 100 * US),
                   &(struct event){.run = hand_on, .role = ROLE_SERVER, .node = node, .message = *message});
    } else if (message->kind != MESSAGE_END) {
        if (rng_chance(&world->rng, 300))
            reply(world, node, message, MESSAGE_UNAVAILABLE);
    } else if (n->memory.cut_round == message->round) {
        n->memory.capture_live = false; /* through the shared memory */
    }
}

/* ---- capturing ---- */

static void fail_capture(struct world *world, uint32_t node, const struct message *pull)
{
    snapd_of(world, node)->capture.round = 0;
    NOTE(world, node, "snapd: the capture of round %u fails", pull->round);
    reply(world, node, pull, MESSAGE_PULL_FAILED);
}

static bool is_captured_now(const struct memory *memory, uint32_t round)
{
    return memory->cut_round == round && memory->capture_live;
}

static void capture_begin(struct world *world, uint32_t node, const struct message *pull)
{
    struct capture *capture = &snapd_of(world, node)->capture;
    capture->busy = true;
    memory_capture_begin(&world->node[node].memory, capture);
    events_add(world, rng_spread(&world->rng, 5 * US, world->copy_ns),
               &(struct event){.run = capture_end, .role = ROLE_SNAPD, .node = node, .life = snapd_of(world, node)->process.life, .message = *pull});
}

static void pulled(struct world *world, uint32_t node, const struct message *pull)
{
    struct capture *capture = &snapd_of(world, node)->capture;
    const struct memory *memory = &world->node[node].memory;
    if (pull->index == 0 && capture->round != pull->round && is_captured_now(memory, pull->round))
        *capture = (struct capture){.round = pull->round};
    if (capture->round != pull->round || pull->index > capture->next || pull->index == PAGES)
        fail_capture(world, node, pull);
    else if (pull->index == capture->next && !capture->busy)
        capture_begin(world, node, pull);
}

static void capture_end(struct world *world, const struct event *event)
{
    uint32_t node = event->node;
    const struct message *pull = &event->message;
    struct capture *capture = &snapd_of(world, node)->capture;
    struct memory *memory = &world->node[node].memory;
    if (capture->round != pull->round || capture->next != pull->index || !capture->busy)
        return;
    struct message answer = {.kind = MESSAGE_PULLED, .from = node, .to = pull->from, .round = pull->round, .index = pull->index};
    enum captured captured = memory_capture_end(world, memory, capture, &answer.page);
    if (captured == CAPTURE_AGAIN) {
        capture_begin(world, node, pull);
        return;
    }
    capture->busy = false;
    capture->next++;
    answer.flag = capture->next == PAGES;
    if (captured == CAPTURE_FAILED || (answer.flag && !is_captured_now(memory, pull->round) && world->broken != BREAK_NO_FINAL)) {
        fail_capture(world, node, pull);
        return;
    }
    events_add(world, 10 * US, &(struct event){.run = report_progress, .role = ROLE_SERVER, .node = node, .a = pull->round});
    faults_spite(world, node, ROLE_SNAPD);
    if (snapd_of(world, node)->process.up)
        network_send(world, &answer);
}

/* ---- messages and the process ---- */

void snapd_message(struct world *world, const struct event *event)
{
    uint32_t node = event->node;
    const struct message *message = &event->message;
    uint32_t life = snapd_of(world, node)->process.life;
    struct leader *leader = &snapd_of(world, node)->leader;
    if (message->kind != MESSAGE_LOST && !(world->broken == BREAK_STUBBORN && leader->leads))
        leader_on_heard(leader, message->from);
    switch (message->kind) {
    case MESSAGE_PING: reply(world, node, message, MESSAGE_PONG); break;
    case MESSAGE_PONG: break;
    case MESSAGE_END:
        if (snapd_of(world, node)->capture.round == message->round)
            snapd_of(world, node)->capture.round = 0;
        to_server(world, node, message);
        break;
    case MESSAGE_FREEZE:
    case MESSAGE_CUT: to_server(world, node, message); break;
    case MESSAGE_PULL: pulled(world, node, message); break;
    default: leading_answer(world, node, message); break;
    }
    if (snapd_of(world, node)->process.up && snapd_of(world, node)->process.life == life)
        leading_poll(world, node);
}

void snapd_start(struct world *world, uint32_t node)
{
    struct snapd *snapd = snapd_of(world, node);
    struct process process = {.up = true, .life = snapd->process.life + 1, .timer_ns = UINT64_MAX, .timer = snapd->process.timer};
    bool forced = snapd->forced;
    *snapd = (struct snapd){.process = process, .forced = forced};
    NOTE(world, node, "snapd: starts");
    leading_start(world, node);
    leading_poll(world, node);
}

void snapd_crash(struct world *world, uint32_t node)
{
    snapd_of(world, node)->process.up = false;
    network_break(world, node);
    NOTE(world, node, "snapd: dies%s", snapd_of(world, node)->round.phase != ROUND_IDLE ? ", and with it a running round" : "");
}
