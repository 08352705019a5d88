/* SPDX-License-Identifier: Apache-2.0 */
/** A node as a participant: questions come, records change. */
#include <string.h>

#include "base/err.h"
#include "simulation/bank.h"

static event_fn record_late, apply_late;

static struct record *record_of(struct world *world, uint32_t node, const struct lane_id *id)
{
    return &world->bank->session[node][id->session].lane[id->lane];
}

static struct desk *desk_of(struct world *world, uint32_t node, const struct lane_id *id)
{
    return &world->bank->teller[node].desk[id->session][id->lane];
}

static const struct lane_id *id_of(const struct world *world, const struct packet *packet)
{
    return &world->bank->txn[packet->txn].participant[packet->part].id;
}

static struct part *part_of(struct world *world, const struct record *record)
{
    return &world->bank->txn[record->txn].part[record->part];
}

/** Clients keep the rules. Of a mistake that makes them look otherwise, the harm is to be found; in one case that is all of the harm. */
static bool minds_misuse(const struct world *world)
{
    return world->broken == BREAK_NOTHING || world->broken == BREAK_ABORT_NOT_RECORDED;
}

/* ---- answers ---- */

static void answer(struct world *world, const struct packet *question, struct txn_answer says, const struct account *seen)
{
    struct packet packet = *question;
    packet.kind = PACKET_ANSWER;
    packet.from = question->to;
    packet.to = question->from;
    packet.answer = says;
    if (seen && (says.says == TXN_PREPARED || says.says == TXN_COMMITTED))
        memcpy(packet.seen, seen, sizeof packet.seen);
    bank_send(world, &packet, false);
    faults_spite_soon(world, question->to, ROLE_SERVER);
}

static void answer_record(struct world *world, uint32_t node, const struct packet *question)
{
    const struct lane_id *id = id_of(world, question);
    struct lane_view view = bank_view(world, node, id->session, id->lane);
    answer(world, question, participant_answer(&view), record_of(world, node, id)->seen);
}

/* ---- records ---- */

static void record(struct world *world, uint32_t node, const struct packet *question, enum lane_state state, enum lane_reason reason)
{
    const struct lane_id *id = id_of(world, question);
    struct record *record = record_of(world, node, id);
    if (record->sequence != id->sequence)
        memset(record->seen, 0, sizeof record->seen);
    record->sequence = id->sequence;
    record->state = state;
    record->reason = reason;
    record->failed_compare = 0;
    record->txn = question->txn;
    record->part = question->part;
    if (state == LANE_ABORTED)
        bank_aborted(world, question->txn, question->part);
}

static void give_back(struct world *world, uint32_t node, const struct lane_id *id)
{
    struct desk *desk = desk_of(world, node, id);
    if (desk->held)
        bank_unlock(world, node, part_of(world, record_of(world, node, id)));
    desk->held = false;
}

void bank_start_resolver(struct world *world, uint32_t node, const struct lane_id *id, uint64_t doubt_ns)
{
    struct desk *desk = desk_of(world, node, id);
    const struct record *record = record_of(world, node, id);
    const struct txn *txn = &world->bank->txn[record->txn];
    desk->prepared_ns = world->now_ns;
    resolver_start(&desk->resolver, txn->participant, txn->parts, record->part, world->now_ns + doubt_ns);
    if (world->node[node].server.closed)
        resolver_hurry(&desk->resolver, world->now_ns + RESOLVER_FROZEN_NS);
    if (world->bank->teller[node].guard[id->session].lost)
        resolver_hurry(&desk->resolver, world->now_ns);
}

/** Reads what the part wants. Returns the number of the first compare that fails, or `items`. */
static uint32_t look(struct world *world, uint32_t node, const struct part *part, struct account *seen)
{
    uint32_t failed = part->items;
    for (uint32_t i = 0; i < part->items; i++) {
        const struct item *item = &part->item[i];
        seen[i] = *bank_account(world, node, item->line);
        if (item->kind == ITEM_CHANGE && memcmp(&seen[i], &item->expected, sizeof seen[i]) != 0 && failed == part->items)
            failed = i;
    }
    return failed;
}

static enum lane_reason try_prepare(struct world *world, uint32_t node, const struct part *part, struct account *seen, uint32_t *failed)
{
    if (world->node[node].server.closed && world->broken != BREAK_VOTE_FROZEN)
        return LANE_FROZEN;
    if (!bank_lock(world, node, part))
        return LANE_BUSY;
    *failed = look(world, node, part, seen);
    if (*failed == part->items)
        return LANE_REASON_NONE;
    bank_unlock(world, node, part);
    return LANE_COMPARE;
}

/** The server may die right after it has begun a record, which is to say ABORTED until it is complete. */
static bool dies_in_record(struct world *world, uint32_t node, const struct packet *question)
{
    if (world->calm || !rng_chance(&world->rng, world->spite / 4))
        return false;
    record(world, node, question, LANE_ABORTED, LANE_REASON_NONE);
    faults_kill(world, node);
    return true;
}

static void prepare(struct world *world, uint32_t node, const struct packet *question)
{
    const struct lane_id *id = id_of(world, question);
    const struct part *part = &world->bank->txn[question->txn].part[question->part];
    struct account seen[ITEMS_MAX] = {{0}};
    uint32_t failed = 0;
    if (bank_meets_writer(world, node, part)) {
        bank_again(world, node, question);
        return;
    }
    if (dies_in_record(world, node, question))
        return;
    enum lane_reason reason = try_prepare(world, node, part, seen, &failed);
    if (reason == LANE_FROZEN && world->broken == BREAK_RETRY_NOT_RECORDED) {
        answer(world, question, (struct txn_answer){.says = TXN_ABORTED, .reason = reason}, NULL);
        return;
    }
    NOTE(world, node, "server: PREPARE %u.%u: %s", question->txn, question->part, reason == LANE_REASON_NONE ? "votes to commit" : "votes to abort");
    if (reason != LANE_REASON_NONE) {
        record(world, node, question, LANE_ABORTED, reason);
        record_of(world, node, id)->failed_compare = failed;
        answer_record(world, node, question);
        return;
    }
    struct record *record_now = record_of(world, node, id);
    struct desk *desk = desk_of(world, node, id);
    desk->held = true;
    if (world->broken == BREAK_VOTE_BEFORE_RECORD) {
        desk->busy = true;
        events_add(world, rng_spread(&world->rng, 100 * US, 50 * MS),
                   &(struct event){.run = record_late, .role = ROLE_SERVER, .node = node, .life = world->node[node].server.process.life, .packet = *question});
        answer(world, question, (struct txn_answer){.says = TXN_PREPARED}, seen);
        return;
    }
    record(world, node, question, LANE_PREPARED, LANE_REASON_NONE);
    memcpy(record_now->seen, seen, sizeof seen);
    bank_start_resolver(world, node, id, world->bank->doubt_ns);
    answer_record(world, node, question);
}

static void record_late(struct world *world, const struct event *event)
{
    const struct packet *question = &event->packet;
    const struct lane_id *id = id_of(world, question);
    struct desk *desk = desk_of(world, event->node, id);
    record(world, event->node, question, LANE_PREPARED, LANE_REASON_NONE);
    look(world, event->node, &world->bank->txn[question->txn].part[question->part], record_of(world, event->node, id)->seen);
    desk->busy = false;
    bank_start_resolver(world, event->node, id, world->bank->doubt_ns);
    bank_poll(world, event->node);
}

/* ---- applying ---- */

/** The writes of the lane's transaction go to the gate. False: not now. */
static bool start_write(struct world *world, uint32_t node, const struct lane_id *id, bool decided)
{
    uint32_t index = 0;
    while (index < WRITES_MAX && world->write[index].used)
        index++;
    if (index == WRITES_MAX)
        return false;
    struct write *write = &world->write[index];
    const struct part *part = part_of(world, record_of(world, node, id));
    *write = (struct write){.used = true, .decided = decided, .session_plus_one = id->session + 1, .lane = id->lane, .node = node};
    for (uint32_t i = 0; i < part->items; i++) {
        uint32_t page = part->item[i].line / ACCOUNTS, j = 0;
        while (j < write->count && write->at[j] != page)
            j++;
        if (part->item[i].kind != ITEM_READ && j == write->count)
            write->at[write->count++] = page;
    }
    desk_of(world, node, id)->busy = true;
    server_write(world, index);
    return true;
}

void bank_begin_write(struct world *world, struct write *write)
{
    struct record *record_now = &world->bank->session[write->node][write->session_plus_one - 1].lane[write->lane];
    const struct part *part = part_of(world, record_now);
    if (write->decided)
        record_now->state = LANE_COMMITTING;
    for (uint32_t i = 0; i < part->items; i++) {
        const struct item *item = &part->item[i];
        for (uint32_t j = 0; j < write->count; j++) {
            if (item->kind == ITEM_READ || write->at[j] != item->line / ACCOUNTS)
                continue;
            struct account *account = &write->value[j].account[item->line % ACCOUNTS];
            account->balance = item->kind == ITEM_ADD ? record_now->seen[i].balance + item->amount : item->amount;
            account->version++;
        }
    }
}

static void committed(struct world *world, uint32_t node, const struct lane_id *id)
{
    struct record *record_now = record_of(world, node, id);
    record_now->state = LANE_COMMITTED;
    bank_committed(world, record_now->txn, record_now->part, record_now->seen);
    if (world->broken == BREAK_EXECUTE_UNRECORDED && world->bank->txn[record_now->txn].parts == 1)
        record_now->sequence--; /* as if nothing had come */
}

void bank_end_write(struct world *world, uint32_t node, uint32_t session, uint32_t lane)
{
    struct lane_id id = {.session = session, .lane = lane};
    struct desk *desk = desk_of(world, node, &id);
    give_back(world, node, &id);
    committed(world, node, &id);
    desk->busy = false;
    if (desk->has_reply)
        answer(world, &desk->reply, (struct txn_answer){.says = TXN_COMMITTED}, record_of(world, node, &id)->seen);
    desk->has_reply = false;
    if (world->node[node].server.process.up)
        bank_poll(world, node);
}

void bank_redo(struct world *world, uint32_t node, uint32_t session, uint32_t lane)
{
    struct lane_id id = {.session = session, .lane = lane};
    if (world->broken == BREAK_REDO_WITHOUT_LANE && world->bank->txn[record_of(world, node, &id)->txn].parts == 1) {
        const struct record *record_now = record_of(world, node, &id);
        bank_committed(world, record_now->txn, record_now->part, record_now->seen);
        return;
    }
    committed(world, node, &id);
}

static void execute(struct world *world, uint32_t node, const struct packet *question)
{
    const struct lane_id *id = id_of(world, question);
    const struct part *part = &world->bank->txn[question->txn].part[question->part];
    struct account seen[ITEMS_MAX] = {{0}};
    struct desk *desk = desk_of(world, node, id);
    if (world->node[node].server.closed || bank_meets_lock(world, node, part) || bank_meets_writer(world, node, part)) {
        bank_again(world, node, question);
        return;
    }
    uint32_t failed = look(world, node, part, seen);
    struct record *record_now = record_of(world, node, id);
    if (failed < part->items) {
        record(world, node, question, LANE_ABORTED, LANE_COMPARE);
        record_now->failed_compare = failed;
        answer_record(world, node, question);
        return;
    }
    if (dies_in_record(world, node, question))
        return;
    record_now->sequence = id->sequence; /* ABORTED until it is done: the redo record names the lane */
    record_now->state = LANE_ABORTED;
    record_now->reason = LANE_FORCED;
    record_now->txn = question->txn;
    record_now->part = question->part;
    memcpy(record_now->seen, seen, sizeof seen);
    bool writes = false;
    for (uint32_t i = 0; i < part->items; i++)
        writes = writes || part->item[i].kind != ITEM_READ;
    desk->has_reply = true;
    desk->reply = *question;
    if (!writes)
        bank_end_write(world, node, id->session, id->lane);
    else
        MC_ASSERT(start_write(world, node, id, false));
}

/** question: NULL if nobody waits for an answer. */
static void commit(struct world *world, uint32_t node, const struct lane_id *id, const struct packet *question)
{
    struct desk *desk = desk_of(world, node, id);
    const struct part *part = part_of(world, record_of(world, node, id));
    bool writes = false;
    for (uint32_t i = 0; i < part->items; i++)
        writes = writes || part->item[i].kind != ITEM_READ;
    desk->has_reply = question != NULL;
    if (question)
        desk->reply = *question;
    if (!writes) {
        bank_end_write(world, node, id->session, id->lane);
        return;
    }
    if (world->broken == BREAK_RELEASE_EARLY) {
        give_back(world, node, id);
        desk->busy = true;
        events_add(world, rng_spread(&world->rng, 10 * US, 5 * MS),
                   &(struct event){.run = apply_late, .role = ROLE_SERVER, .node = node, .life = world->node[node].server.process.life,
                                   .a = id->session, .b = id->lane});
        return;
    }
    if (!start_write(world, node, id, true))
        desk->has_reply = false; /* asked again */
}

static void apply_late(struct world *world, const struct event *event)
{
    struct lane_id id = {.session = event->a, .lane = event->b};
    if (!start_write(world, event->node, &id, true))
        events_add(world, MS, event);
}

static void abort_prepared(struct world *world, uint32_t node, const struct lane_id *id, enum lane_reason reason)
{
    struct record *record_now = record_of(world, node, id);
    record_now->state = LANE_ABORTED;
    record_now->reason = reason;
    bank_aborted(world, record_now->txn, record_now->part);
    give_back(world, node, id);
}

void bank_conclude(struct world *world, uint32_t node, uint32_t session, uint32_t lane)
{
    struct lane_id id = {.session = session, .lane = lane};
    struct desk *desk = desk_of(world, node, &id);
    const struct record *record_now = record_of(world, node, &id);
    NOTE(world, node, "server: resolves %u.%u: %s", record_now->txn, record_now->part, desk->resolver.conclusion == RESOLVER_COMMIT ? "commit" : "abort");
    if (desk->resolver.misused && minds_misuse(world))
        world_find(world, VERDICT_WRONG, "a resolver of node %u takes an honest client for one that breaks rules", node);
    world->statistics.resolved++;
    if (desk->resolver.conclusion == RESOLVER_COMMIT)
        commit(world, node, &id, NULL);
    else
        abort_prepared(world, node, &id, LANE_TOLD);
}

/* ---- what comes ---- */

static void force(struct world *world, uint32_t node, const struct packet *question, enum lane_reason reason)
{
    enum broken mistake = question->message == TXN_RESOLVE ? BREAK_NO_FORCED_ABORT : BREAK_ABORT_NOT_RECORDED;
    if (world->broken == mistake) {
        answer(world, question, (struct txn_answer){.says = TXN_ABORTED, .reason = reason}, NULL);
        return;
    }
    record(world, node, question, LANE_ABORTED, reason);
    answer_record(world, node, question);
}

static void asked(struct world *world, uint32_t node, const struct packet *question)
{
    const struct lane_id *id = id_of(world, question);
    bool is_its = world->bank->session[node][id->session].generation == id->generation;
    if (is_its && question->of_client)
        bank_contact(world, node, id->session);
    if (is_its && desk_of(world, node, id)->busy) {
        bank_again(world, node, question);
        return;
    }
    struct lane_view view = bank_view(world, node, id->session, id->lane);
    struct participant_decision decision = participant_decide(&view, id, question->message);
    switch (decision.action) {
    case PARTICIPANT_ANSWER:
        if (decision.answer.says == TXN_MISUSE && minds_misuse(world))
            world_find(world, VERDICT_WRONG, "node %u: message %d for transaction %u, part %u, is against the rules: record (%llu, %d)", node,
                       (int)question->message, question->txn, question->part, (unsigned long long)view.sequence, (int)view.state);
        answer(world, question, decision.answer, record_of(world, node, id)->seen);
        break;
    case PARTICIPANT_PREPARE: prepare(world, node, question); break;
    case PARTICIPANT_EXECUTE: execute(world, node, question); break;
    case PARTICIPANT_COMMIT: commit(world, node, id, question); break;
    case PARTICIPANT_ABORT:
        abort_prepared(world, node, id, decision.reason);
        answer_record(world, node, question);
        break;
    case PARTICIPANT_FORCE: force(world, node, question, decision.reason); break;
    case PARTICIPANT_WAIT: bank_again(world, node, question); break;
    }
}

static void answered(struct world *world, uint32_t node, const struct packet *packet)
{
    const struct txn *txn = &world->bank->txn[packet->txn];
    const struct lane_id *mine = &txn->participant[packet->asker].id;
    if (packet->message == TXN_COMMIT) {
        bank_collector_answer(world, node, mine, packet);
        return;
    }
    struct lane_view view = bank_view(world, node, mine->session, mine->lane);
    if (view.generation != mine->generation || view.sequence != mine->sequence || view.state != LANE_PREPARED)
        return;
    struct resolver *resolver = &desk_of(world, node, mine)->resolver;
    if (desk_of(world, node, mine)->busy)
        return; /* decided meanwhile */
    if (world->broken == BREAK_NOSESSION_NO_ABORT && packet->answer.says == TXN_NO_SESSION)
        return;
    resolver_on_answer(resolver, packet->part, packet->answer.says);
    if (world->broken == BREAK_RESOLVE_PARTIAL && packet->answer.says == TXN_PREPARED)
        resolver->conclusion = RESOLVER_COMMIT;
    if (resolver->conclusion != RESOLVER_IN_DOUBT)
        bank_conclude(world, node, mine->session, mine->lane);
}

static void opened(struct world *world, uint32_t node, const struct packet *question)
{
    struct bank *bank = world->bank;
    uint32_t session = SESSIONS;
    for (uint32_t i = SESSIONS; i > 0; i--) {
        if (bank->session[node][i - 1].generation == 0 && session == SESSIONS)
            session = i - 1;
        if (bank->session[node][i - 1].generation != 0 && bank->session[node][i - 1].client == question->client) {
            session = i - 1;
            break;
        }
    }
    if (session == SESSIONS)
        return;
    struct session *found = &bank->session[node][session];
    if (found->generation == 0) {
        bank->generation[node]++;
        *found = (struct session){.generation = world->broken == BREAK_GENERATION_REUSED ? session + 1 : bank->generation[node],
                                  .client = question->client};
    }
    bank_contact(world, node, session);
    struct packet packet = *question;
    packet.kind = PACKET_OPENED;
    packet.from = node;
    packet.to = question->from;
    packet.session = session;
    packet.generation = found->generation;
    bank_send(world, &packet, false);
}

static void plain_read(struct world *world, uint32_t node, const struct packet *question)
{
    const struct part *part = &world->bank->txn[question->txn].part[0];
    if (bank_meets_writer(world, node, part) || (bank_meets_lock(world, node, part) && world->broken != BREAK_READ_THROUGH)) {
        bank_again(world, node, question);
        return;
    }
    struct packet packet = *question;
    packet.kind = PACKET_READ_DONE;
    packet.from = node;
    packet.to = question->from;
    look(world, node, part, packet.seen);
    bank_send(world, &packet, false);
}

void bank_server_packet(struct world *world, uint32_t node, const struct packet *packet)
{
    uint32_t life = world->node[node].server.process.life;
    switch (packet->kind) {
    case PACKET_OPEN: opened(world, node, packet); break;
    case PACKET_READ: plain_read(world, node, packet); break;
    case PACKET_ASK: asked(world, node, packet); break;
    case PACKET_ANSWER: answered(world, node, packet); break;
    default: break;
    }
    if (world->node[node].server.process.up && world->node[node].server.process.life == life) {
        bank_poll(world, node);
        server_check_drained(world, node);
    }
}
