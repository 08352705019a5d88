/* SPDX-License-Identifier: Apache-2.0 */
/** Who knows what became of each transaction at each node, and what its client was told.
 *
 *  Strict serializability: each transaction that committed needs an instant between its beginning and the moment when its client was told (which may be
 *  never), such that each read shows what the last write before it left. Who wrote which version of an account, and who read it, says which instants must
 *  come before which; the earliest possible ones are computed. */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "simulation/bank.h"

#define SCALE (UINT64_C(1) << 24) /* instants within one event */

static const char *const fates[] = {"nothing", "committed", "aborted"};

static void check_told(struct world *world, uint32_t index, uint32_t part)
{
    const struct txn *txn = &world->bank->txn[index];
    enum fate fate = txn->part[part].fate;
    if ((txn->outcome == COORDINATOR_COMMITTED && fate == FATE_ABORTED) || (txn->outcome == COORDINATOR_ABORTED && fate == FATE_COMMITTED))
        world_find(world, VERDICT_WRONG, "transaction %u: its client was told %s, and node %u has %s it", index,
                   txn->outcome == COORDINATOR_COMMITTED ? "committed" : "aborted", txn->participant[part].node, fates[fate]);
}

static void check_parts(struct world *world, uint32_t index)
{
    const struct txn *txn = &world->bank->txn[index];
    for (uint32_t i = 0; i < txn->parts; i++) {
        for (uint32_t j = 0; j < txn->parts; j++)
            if (txn->part[i].fate == FATE_COMMITTED && txn->part[j].fate == FATE_ABORTED)
                world_find(world, VERDICT_WRONG, "transaction %u: node %u has committed it and node %u has aborted it", index, txn->participant[i].node,
                           txn->participant[j].node);
        check_told(world, index, i);
        if (txn->outcome == COORDINATOR_COMMITTED && txn->part[i].fate == FATE_COMMITTED && txn->part[i].has_told &&
            memcmp(txn->part[i].told, txn->part[i].seen, txn->part[i].items * sizeof txn->part[i].seen[0]) != 0)
            world_find(world, VERDICT_WRONG, "transaction %u: its client was told other bytes than were read at node %u", index, txn->participant[i].node);
    }
}

void bank_committed(struct world *world, uint32_t index, uint32_t p, const struct account *seen)
{
    struct txn *txn = &world->bank->txn[index];
    struct part *part = &txn->part[p];
    if (part->fate != FATE_OPEN)
        world_find(world, VERDICT_WRONG, "transaction %u: node %u commits it, and had %s it before", index, txn->participant[p].node, fates[part->fate]);
    NOTE(world, txn->participant[p].node, "server: has committed %u.%u", index, p);
    part->fate = FATE_COMMITTED;
    memcpy(part->seen, seen, sizeof part->seen);
    for (uint32_t i = 0; i < part->items && !txn->plain; i++) {
        const struct item *item = &part->item[i];
        uint32_t node = txn->participant[p].node;
        struct account now = *bank_account(world, node, item->line);
        if (item->kind != ITEM_READ && now.version != seen[i].version + 1)
            world_find(world, VERDICT_WRONG, "transaction %u makes version %u of account %u of node %u, and had read version %u", index, now.version,
                       item->line, node, seen[i].version);
    }
    check_parts(world, index);
}

void bank_aborted(struct world *world, uint32_t index, uint32_t p)
{
    struct txn *txn = &world->bank->txn[index];
    struct part *part = &txn->part[p];
    if (part->fate == FATE_COMMITTED)
        world_find(world, VERDICT_WRONG, "transaction %u: node %u aborts it, and had committed it before", index, txn->participant[p].node);
    NOTE(world, txn->participant[p].node, "server: has aborted %u.%u", index, p);
    part->fate = FATE_ABORTED;
    check_parts(world, index);
}

void bank_told(struct world *world, uint32_t index, enum coordinator_outcome outcome)
{
    struct txn *txn = &world->bank->txn[index];
    txn->outcome = outcome;
    txn->told_step = world->step;
    world->statistics.committed += outcome == COORDINATOR_COMMITTED;
    world->statistics.aborted += outcome == COORDINATOR_ABORTED;
    world->statistics.unknown += outcome == COORDINATOR_UNKNOWN;
    check_parts(world, index);
}

void bank_judge_images(struct world *world, uint32_t leader)
{
    if (!world->bank)
        return;
    int64_t sum = 0;
    for (uint32_t i = 0; i < world->nodes; i++)
        for (uint32_t p = 0; p < PAGES; p++)
            for (uint32_t a = 0; a < ACCOUNTS; a++)
                sum += world->node[leader].snapd.image[i][p].account[a].balance;
    if (sum != (int64_t)world->nodes * LINES * BALANCE)
        world_find(world, VERDICT_WRONG, "round %u: the snapshot has %lld in all accounts, not %lld", world->node[leader].snapd.round.number,
                   (long long)sum, (long long)world->nodes * LINES * BALANCE);
}

/* ---- at the end: everything is up, and nothing more begins ---- */

static void judge_fates(struct world *world)
{
    for (uint32_t index = 0; index < world->bank->txns; index++) {
        const struct txn *txn = &world->bank->txn[index];
        uint32_t committed = 0;
        for (uint32_t i = 0; i < txn->parts; i++)
            committed += txn->part[i].fate == FATE_COMMITTED;
        if ((txn->outcome == COORDINATOR_COMMITTED || committed > 0) && committed < txn->parts)
            world_find(world, VERDICT_WRONG, "transaction %u was committed by %u of %u nodes", index, committed, txn->parts);
    }
}

static void judge_rest(struct world *world)
{
    const struct bank *bank = world->bank;
    for (uint32_t n = 0; n < world->nodes; n++) {
        for (uint32_t s = 0; s < SESSIONS; s++) {
            for (uint32_t l = 0; l < SESSION_LANES; l++)
                if (bank->session[n][s].lane[l].state == LANE_PREPARED)
                    world_find(world, VERDICT_STUCK, "node %u: transaction %u is in doubt for ever", n, bank->session[n][s].lane[l].txn);
            if (bank->session[n][s].generation != 0)
                world_find(world, VERDICT_STUCK, "node %u: session %u is never given back", n, s);
        }
        for (uint32_t i = 0; i < LINES; i++)
            if (bank->teller[n].lock[i] != 0)
                world_find(world, VERDICT_STUCK, "node %u: account %u is locked for ever", n, i);
    }
    for (uint32_t c = 0; c < bank->clients; c++)
        for (uint32_t l = 0; l < SESSION_LANES; l++)
            if (bank->client[c].process.up && bank->client[c].lane[l].runs && !bank->client[c].lane[l].coordinator.finished)
                world_find(world, VERDICT_STUCK, "client %u: transaction %u never ends", c, bank->client[c].lane[l].txn);
}

struct use {
    uint32_t account, version; /* as it was seen */
    uint32_t txn;
    bool writes; /* the next version */
};

static int compare_uses(const void *a, const void *b)
{
    const struct use *x = a, *y = b;
    if (x->account != y->account)
        return x->account < y->account ? -1 : 1;
    if (x->version != y->version)
        return x->version < y->version ? -1 : 1;
    if (x->writes != y->writes)
        return x->writes ? 1 : -1;
    return x->txn < y->txn ? -1 : x->txn > y->txn;
}

static uint32_t collect_uses(const struct world *world, struct use *use)
{
    uint32_t count = 0;
    for (uint32_t index = 0; index < world->bank->txns; index++) {
        const struct txn *txn = &world->bank->txn[index];
        if (txn->part[0].fate != FATE_COMMITTED)
            continue;
        for (uint32_t p = 0; p < txn->parts; p++)
            for (uint32_t i = 0; i < txn->part[p].items; i++)
                use[count++] = (struct use){.account = txn->participant[p].node * LINES + txn->part[p].item[i].line,
                                            .version = txn->part[p].seen[i].version, .txn = index, .writes = txn->part[p].item[i].kind != ITEM_READ};
    }
    return count;
}

/** a before b. True: b's earliest instant moved. */
static bool put_before(const uint64_t *earliest, uint64_t *later, uint32_t a, uint32_t b)
{
    if (a == b || *later > earliest[a])
        return false;
    *later = earliest[a] + 1;
    return true;
}

/** One pass over all uses. True: something moved. */
static bool relax(struct world *world, const struct use *use, uint32_t count, uint64_t *earliest)
{
    bool moved = false;
    for (uint32_t i = 0; i < count;) {
        uint32_t end = i;
        while (end < count && use[end].account == use[i].account && use[end].version == use[i].version)
            end++;
        if (end - i > 1 && use[end - 2].writes)
            world_find(world, VERDICT_WRONG, "transactions %u and %u both follow version %u of account %u of node %u", use[end - 2].txn, use[end - 1].txn,
                       use[i].version, use[i].account % LINES, use[i].account / LINES);
        const struct use *writer = i > 0 && use[i - 1].account == use[i].account && use[i - 1].writes ? &use[i - 1] : NULL;
        if (use[i].version > 0 && (!writer || writer->version + 1 != use[i].version))
            world_find(world, VERDICT_WRONG, "transaction %u saw version %u of account %u of node %u, which nobody has committed", use[i].txn, use[i].version,
                       use[i].account % LINES, use[i].account / LINES);
        for (uint32_t j = i; j < end; j++)
            if (writer)
                moved = put_before(earliest, &earliest[use[j].txn], writer->txn, use[j].txn) || moved;
        for (uint32_t j = i; j + 1 < end && use[end - 1].writes; j++)
            moved = put_before(earliest, &earliest[use[end - 1].txn], use[j].txn, use[end - 1].txn) || moved;
        i = end;
    }
    return moved;
}

static void judge_order(struct world *world)
{
    const struct bank *bank = world->bank;
    struct use *use = calloc(bank->txns * PARTS_MAX * ITEMS_MAX + 1, sizeof *use);
    uint64_t *earliest = calloc(bank->txns + 1, sizeof *earliest);
    MC_ASSERT(use != NULL && earliest != NULL);
    uint32_t count = collect_uses(world, use), passes = 0;
    qsort(use, count, sizeof *use, compare_uses);
    for (uint32_t i = 0; i < bank->txns; i++)
        earliest[i] = bank->txn[i].begin_step * SCALE;
    while (relax(world, use, count, earliest) && world->verdict == VERDICT_SOUND)
        if (passes++ > bank->txns) {
            world_find(world, VERDICT_WRONG, "the committed transactions have no order: one of them comes before itself");
            break;
        }
    for (uint32_t i = 0; i < bank->txns && world->verdict == VERDICT_SOUND; i++)
        if (bank->txn[i].outcome == COORDINATOR_COMMITTED && earliest[i] >= (bank->txn[i].told_step + 1) * SCALE)
            world_find(world, VERDICT_WRONG, "transaction %u cannot have happened before its client was told that it had", i);
    free(earliest);
    free(use);
}

void bank_judge_end(struct world *world)
{
    if (!world->bank)
        return;
    judge_fates(world);
    judge_rest(world);
    if (world->verdict == VERDICT_SOUND)
        judge_order(world);
}
