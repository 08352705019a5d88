/* SPDX-License-Identifier: Apache-2.0 */
/** Line locks of prepared transactions, and the permits of running writes. */
#include "simulation/bank.h"

struct account *bank_account(struct world *world, uint32_t node, uint32_t line)
{
    return &world->node[node].memory.page[line / ACCOUNTS].account[line % ACCOUNTS];
}

static bool is_locked_by(const struct world *world, const struct item *item)
{
    return item->kind != ITEM_READ || world->broken != BREAK_READ_UNLOCKED;
}

static void release(struct world *world, uint32_t node, const struct part *part, uint32_t items)
{
    uint8_t *lock = world->bank->teller[node].lock;
    for (uint32_t i = 0; i < items; i++) {
        const struct item *item = &part->item[i];
        if (!is_locked_by(world, item))
            continue;
        if (item->kind == ITEM_READ)
            lock[item->line]--;
        else
            lock[item->line] = 0;
    }
}

bool bank_lock(struct world *world, uint32_t node, const struct part *part)
{
    uint8_t *lock = world->bank->teller[node].lock;
    for (uint32_t i = 0; i < part->items; i++) {
        const struct item *item = &part->item[i];
        if (!is_locked_by(world, item))
            continue;
        if (item->kind == ITEM_READ ? lock[item->line] == LOCK_EXCLUSIVE : lock[item->line] != 0) {
            release(world, node, part, i);
            return false;
        }
        if (item->kind == ITEM_READ)
            lock[item->line]++;
        else
            lock[item->line] = LOCK_EXCLUSIVE;
    }
    return true;
}

void bank_unlock(struct world *world, uint32_t node, const struct part *part)
{
    release(world, node, part, part->items);
}

bool bank_meets_lock(const struct world *world, uint32_t node, const struct part *part)
{
    const uint8_t *lock = world->bank->teller[node].lock;
    for (uint32_t i = 0; i < part->items; i++) {
        const struct item *item = &part->item[i];
        if (item->kind == ITEM_READ ? lock[item->line] == LOCK_EXCLUSIVE : lock[item->line] != 0)
            return true;
    }
    return false;
}

bool bank_meets_writer(const struct world *world, uint32_t node, const struct part *part)
{
    for (uint32_t i = 0; i < part->items; i++)
        if (world->node[node].server.locked[part->item[i].line / ACCOUNTS])
            return true;
    return false;
}
