/* SPDX-License-Identifier: Apache-2.0 */
/** Clients of the bank: each lane of a client makes one transaction after the other. */
#include <string.h>

#include "base/err.h"
#include "simulation/bank.h"

static event_fn client_begin, client_timer;

static struct bank_client *client_of(struct world *world, uint32_t client)
{
    return &world->bank->client[client];
}

static void begin_later(struct world *world, uint32_t client, uint32_t lane, uint64_t delay_ns)
{
    events_add(world, delay_ns, &(struct event){.run = client_begin, .role = ROLE_CLIENT, .node = client, .life = client_of(world, client)->process.life,
                                                .a = lane});
}

static void pause_lane(struct world *world, uint32_t client, uint32_t lane)
{
    uint64_t think_ns = world->now_ns < world->hot_until_ns ? 2 * MS : world->bank->think_ns;
    begin_later(world, client, lane, rng_between(&world->rng, 10 * US, think_ns));
}

void bank_client_start(struct world *world, uint32_t client)
{
    struct bank_client *self = client_of(world, client);
    struct process process = {.up = true, .life = self->process.life + 1, .stopped_until = self->process.stopped_until};
    memset(self, 0, sizeof *self);
    self->process = process;
    self->number = ++world->bank->lives;
    for (uint32_t i = 0; i < SESSION_LANES; i++)
        pause_lane(world, client, i);
}

void bank_client_crash(struct world *world, uint32_t client)
{
    NOTE(world, 0, "client %u: dies", client);
    client_of(world, client)->process.up = false;
}

/* ---- what it wants ---- */

static uint32_t any_line(struct world *world)
{
    return rng_below(&world->rng, rng_chance(&world->rng, 600) ? 3 : LINES);
}

/** The part at the node, with one item more; NULL if there is no room, or the line is in it already. */
static struct item *add_item(struct txn *txn, uint32_t node, uint32_t line)
{
    uint32_t p = 0;
    while (p < txn->parts && txn->participant[p].node != node)
        p++;
    if (p == PARTS_MAX)
        return NULL;
    struct part *part = &txn->part[p];
    if (p == txn->parts) {
        txn->participant[p].node = node;
        txn->parts++;
    }
    for (uint32_t i = 0; i < part->items; i++)
        if (part->item[i].line == line)
            return NULL;
    if (part->items == ITEMS_MAX)
        return NULL;
    part->item[part->items].line = line;
    return &part->item[part->items++];
}

static void want_change(struct world *world, uint32_t node, struct item *item, enum item_kind kind, int32_t amount)
{
    item->kind = kind;
    item->amount = amount;
    if (kind != ITEM_CHANGE)
        return;
    item->expected = *bank_account(world, node, item->line); /* a guess, as after a plain read: others may be faster */
    item->amount = item->expected.balance + amount;
}

static void choose(struct world *world, struct txn *txn)
{
    struct rng *rng = &world->rng;
    bool local = rng_chance(rng, 250);
    uint32_t home = rng_below(rng, world->nodes);
    uint32_t kind = rng_below(rng, 10), from = rng_below(rng, world->nodes), to = local ? from : rng_below(rng, world->nodes);
    if (kind < 7) { /* a transfer */
        enum item_kind how = kind < 4 ? ITEM_ADD : ITEM_CHANGE;
        int32_t amount = (int32_t)rng_between(rng, 1, 20);
        struct item *item = add_item(txn, from, any_line(world));
        want_change(world, from, item, how, -amount);
        do
            item = add_item(txn, to, any_line(world));
        while (!item);
        want_change(world, to, item, how, amount);
    }
    txn->plain = kind == 9;
    if (kind >= 7 || rng_chance(rng, 300)) {
        for (uint32_t i = 0; i < 4; i++)
            (void)add_item(txn, txn->plain || (kind < 7 && local) ? (kind < 7 ? from : home) : rng_below(rng, world->nodes), any_line(world));
    }
}

/** Sessions for all participants; false: some are not open yet, but have been asked for. */
static bool has_sessions(struct world *world, uint32_t client, uint32_t lane, struct txn *txn)
{
    struct bank_client *self = client_of(world, client);
    bool all = true;
    for (uint32_t i = 0; i < txn->parts; i++) {
        struct lane_participant *participant = &txn->participant[i];
        uint32_t node = participant->node;
        if (!self->session[node].known) {
            all = false;
            bank_send(world, &(struct packet){.kind = PACKET_OPEN, .of_client = true, .from = client, .to = node, .client = self->number}, false);
            continue;
        }
        participant->id = (struct lane_id){.session = self->session[node].session, .lane = lane, .generation = self->session[node].generation,
                                           .sequence = self->lane[lane].sequence[node] + 1};
    }
    return all;
}

static void pump(struct world *world, uint32_t client, uint32_t lane);

static void client_begin(struct world *world, const struct event *event)
{
    uint32_t client = event->node;
    struct bank *bank = world->bank;
    struct bank_client *self = client_of(world, client);
    struct client_lane *lane = &self->lane[event->a];
    if (world->closing || bank->txns == TXNS_MAX || lane->runs)
        return;
    struct txn *txn = &bank->txn[bank->txns];
    memset(txn, 0, sizeof *txn);
    txn->client = self->number;
    choose(world, txn);
    txn->begin_step = world->step;
    if (txn->plain) {
        struct packet packet = {.kind = PACKET_READ, .of_client = true, .from = client, .to = txn->participant[0].node, .txn = bank->txns++};
        bank_send(world, &packet, true);
        pause_lane(world, client, event->a);
        return;
    }
    if (!has_sessions(world, client, event->a, txn)) {
        begin_later(world, client, event->a, rng_between(&world->rng, MS, 30 * MS));
        return;
    }
    lane->runs = true;
    lane->told = false;
    lane->txn = bank->txns++;
    for (uint32_t i = 0; i < txn->parts; i++) {
        lane->part[i].who = txn->participant[i];
        lane->sequence[txn->participant[i].node]++;
    }
    NOTE(world, client, "client: begins %u with %u participants", lane->txn, txn->parts);
    coordinator_start(&lane->coordinator, lane->part, txn->parts, world->now_ns + bank->vote_ns, world->now_ns + bank->deadline_ns);
    pump(world, client, event->a);
}

/* ---- how it goes ---- */

static void send(struct world *world, uint32_t client, struct client_lane *lane, enum txn_message message, uint32_t index)
{
    uint32_t node = lane->part[index].who.node;
    bool first = message == TXN_PREPARE || message == TXN_EXECUTE;
    if (first && !world->node[node].server.process.up && rng_chance(&world->rng, 500)) {
        coordinator_on_unsent(&lane->coordinator, index);
        return;
    }
    struct packet packet = {.kind = PACKET_ASK, .of_client = true, .from = client, .to = node, .txn = lane->txn, .part = index, .message = message};
    bank_send(world, &packet, first && lane->part[index].sends == 1);
}

static void tell(struct world *world, uint32_t client, struct client_lane *lane)
{
    const struct coordinator *coordinator = &lane->coordinator;
    if (lane->told || coordinator->outcome == COORDINATOR_RUNS)
        return;
    static const char *const names[] = {"", "committed", "aborted", "unknown"};
    NOTE(world, client, "client: %u is %s", lane->txn, names[coordinator->outcome]);
    lane->told = true;
    bank_told(world, lane->txn, coordinator->outcome);
}

static void pump(struct world *world, uint32_t client, uint32_t index)
{
    struct client_lane *lane = &client_of(world, client)->lane[index];
    struct coordinator *coordinator = &lane->coordinator;
    enum txn_message message;
    uint32_t part;
    if (!lane->runs)
        return;
    coordinator_on_time(coordinator, world->now_ns);
    while ((message = coordinator_next(coordinator, world->now_ns, &part)) != TXN_NOTHING)
        send(world, client, lane, message, part);
    tell(world, client, lane);
    if (coordinator->finished || (world->broken == BREAK_NO_WAIT_ACKS && lane->told && coordinator->outcome != COORDINATOR_UNKNOWN)) {
        lane->runs = false;
        lane->timer++;
        pause_lane(world, client, index);
        return;
    }
    uint64_t next_ns = coordinator_next_ns(coordinator);
    MC_ASSERT(next_ns != UINT64_MAX || coordinator->phase == COORDINATOR_ASKING);
    if (next_ns == UINT64_MAX)
        return;
    events_add(world, next_ns > world->now_ns ? next_ns - world->now_ns : 0,
               &(struct event){.run = client_timer, .role = ROLE_CLIENT, .node = client, .life = client_of(world, client)->process.life, .a = index,
                               .b = ++lane->timer});
}

static void client_timer(struct world *world, const struct event *event)
{
    struct client_lane *lane = &client_of(world, event->node)->lane[event->a];
    struct coordinator *coordinator = &lane->coordinator;
    if (lane->timer != event->b)
        return;
    if (world->broken == BREAK_UNILATERAL_ABORT && world->now_ns >= coordinator->vote_end_ns && coordinator->phase == COORDINATOR_VOTING) {
        for (uint32_t i = 0; i < coordinator->count; i++)
            if (lane->part[i].state == PART_ASKED)
                coordinator_on_answer(coordinator, i, TXN_PREPARE, &(struct txn_answer){.says = TXN_ABORTED});
    }
    pump(world, event->node, event->a);
}

void bank_client_connected(struct world *world, uint32_t client, uint32_t node)
{
    for (uint32_t i = 0; i < SESSION_LANES; i++) {
        struct client_lane *lane = &client_of(world, client)->lane[i];
        for (uint32_t p = 0; lane->runs && p < lane->coordinator.count; p++)
            if (lane->part[p].who.node == node)
                coordinator_on_connected(&lane->coordinator, p);
        pump(world, client, i);
    }
}

static void keep_data(struct world *world, const struct packet *packet)
{
    struct part *part = &world->bank->txn[packet->txn].part[packet->part];
    if (packet->answer.says != TXN_PREPARED && packet->answer.says != TXN_COMMITTED)
        return;
    part->has_told = true;
    memcpy(part->told, packet->seen, sizeof part->told);
}

static void answered(struct world *world, uint32_t client, const struct packet *packet)
{
    struct bank_client *self = client_of(world, client);
    const struct txn *txn = &world->bank->txn[packet->txn];
    const struct lane_participant *participant = &txn->participant[packet->part];
    uint32_t node = participant->node;
    bool lost = packet->answer.says == TXN_NO_SESSION;
    if (txn->client != self->number)
        return;
    if (lost && self->session[node].known && self->session[node].generation == participant->id.generation)
        self->session[node].known = false;
    struct client_lane *lane = &self->lane[participant->id.lane];
    if (!lane->runs || lane->txn != packet->txn)
        return;
    if (!lane->told)
        keep_data(world, packet);
    struct txn_answer answer = packet->answer;
    if (lost && world->broken == BREAK_NOSESSION_IS_ABORT)
        answer.says = TXN_ABORTED;
    coordinator_on_answer(&lane->coordinator, packet->part, packet->message, &answer);
    pump(world, client, participant->id.lane);
}

static void opened(struct world *world, uint32_t client, const struct packet *packet)
{
    struct bank_client *self = client_of(world, client);
    uint32_t node = packet->from;
    if (packet->client != self->number || self->session[node].generation >= packet->generation) {
        if (packet->client == self->number && self->session[node].generation == packet->generation)
            self->session[node].known = true;
        return;
    }
    self->session[node].known = true;
    self->session[node].session = packet->session;
    self->session[node].generation = packet->generation;
    for (uint32_t i = 0; i < SESSION_LANES; i++)
        self->lane[i].sequence[node] = 0;
}

void bank_client_packet(struct world *world, uint32_t client, const struct packet *packet)
{
    switch (packet->kind) {
    case PACKET_OPENED: opened(world, client, packet); break;
    case PACKET_ANSWER: answered(world, client, packet); break;
    case PACKET_READ_DONE: {
        struct txn *txn = &world->bank->txn[packet->txn];
        if (txn->client != client_of(world, client)->number || txn->outcome != COORDINATOR_RUNS)
            break;
        bank_committed(world, packet->txn, 0, packet->seen);
        bank_told(world, packet->txn, COORDINATOR_COMMITTED);
        break;
    }
    default: break;
    }
}
