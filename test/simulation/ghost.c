/* SPDX-License-Identifier: Apache-2.0 */
/** Who knows what really happened: every state that each node had, and from which event to which.
 *
 *  A snapshot is right if there is one instant, between the beginning and the end of its round, at which all nodes had the states that it shows. A write
 *  happens at the instant when the last of its pages is changed (the first ones are locked until then). */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "simulation/bank.h"
#include "simulation/world.h"

struct version {
    uint64_t since; /* number of the event */
    struct page page[PAGES];
};

struct history {
    struct version *version;
    uint32_t count, room;
};

struct ghost {
    struct history history[NODES_MAX];
    uint8_t *committed; /* by number of the write */
    uint32_t committed_room;
};

static void *grown(void *memory, size_t count, size_t bytes)
{
    void *more = realloc(memory, count * bytes);
    MC_ASSERT(more != NULL);
    return more;
}

static struct version *add_version(struct history *history, uint64_t since)
{
    if (history->count == history->room) {
        history->room = history->room > 0 ? 2 * history->room : 256;
        history->version = grown(history->version, history->room, sizeof *history->version);
    }
    struct version *version = &history->version[history->count++];
    if (history->count > 1)
        *version = version[-1];
    else
        memset(version, 0, sizeof *version);
    version->since = since;
    return version;
}

void ghost_reset(struct world *world)
{
    if (!world->ghost) {
        world->ghost = calloc(1, sizeof *world->ghost);
        MC_ASSERT(world->ghost != NULL);
    }
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        world->ghost->history[i].count = 0;
        struct version *version = add_version(&world->ghost->history[i], 0);
        memcpy(version->page, world->node[i].memory.page, sizeof version->page);
    }
    if (world->ghost->committed)
        memset(world->ghost->committed, 0, world->ghost->committed_room);
}

void ghost_free(struct ghost *ghost)
{
    if (!ghost)
        return;
    for (uint32_t i = 0; i < NODES_MAX; i++)
        free(ghost->history[i].version);
    free(ghost->committed);
    free(ghost);
}

void ghost_commit(struct world *world, uint32_t node, const struct redo *redo)
{
    struct ghost *ghost = world->ghost;
    struct version *version = add_version(&ghost->history[node], world->step);
    uint32_t id = redo->value[0].write;
    for (uint32_t i = 0; i < redo->count; i++) {
        uint32_t count = version->page[redo->at[i]].count + 1;
        version->page[redo->at[i]] = redo->value[i];
        if (redo->session_plus_one == 0)
            version->page[redo->at[i]].count = count; /* counted, not believed */
    }
    if (redo->session_plus_one > 0)
        return;
    if (id >= ghost->committed_room) {
        uint32_t room = 2 * id + 1024;
        ghost->committed = grown(ghost->committed, room, 1);
        memset(ghost->committed + ghost->committed_room, 0, room - ghost->committed_room);
        ghost->committed_room = room;
    }
    ghost->committed[id] = 1;
}

bool ghost_committed(const struct world *world, uint32_t write)
{
    return write < world->ghost->committed_room && world->ghost->committed[write];
}

static const struct version *find_version(const struct history *history, const struct page *image)
{
    for (uint32_t i = history->count; i > 0; i--)
        if (memcmp(history->version[i - 1].page, image, sizeof history->version[i - 1].page) == 0)
            return &history->version[i - 1];
    return NULL;
}

/** No effect without its cause; this from the images alone. */
static void judge_causes(struct world *world, const struct snapd *leader)
{
    for (uint32_t i = 0; i < world->nodes; i++) {
        for (uint32_t p = 0; p < PAGES; p++) {
            const struct page *page = &leader->image[i][p];
            if (page->count == 0 || page->cause_node == NO_NODE)
                continue;
            uint32_t there = leader->image[page->cause_node][page->cause_page].count;
            if (there < page->cause_count)
                world_find(world, VERDICT_WRONG, "round %u: page %u of node %u has write %u, an effect of write %u to page %u of node %u; there are only %u",
                           leader->round.number, p, i, page->write, page->cause_count, page->cause_page, page->cause_node, there);
        }
    }
}

void ghost_judge(struct world *world, uint32_t leader_node)
{
    const struct snapd *leader = &world->node[leader_node].snapd;
    uint64_t low = leader->begin_step, high = world->step;
    uint32_t low_node = NO_NODE, high_node = NO_NODE;
    judge_causes(world, leader);
    bank_judge_images(world, leader_node);
    for (uint32_t i = 0; i < world->nodes; i++) {
        const struct history *history = &world->ghost->history[i];
        const struct version *version = find_version(history, leader->image[i]);
        if (!version) {
            world_find(world, VERDICT_WRONG, "round %u: node %u never had the state that the snapshot shows", leader->round.number, i);
            return;
        }
        NOTE(world, leader_node, "ghost: node %u is shown as after %u writes of %u", i, (uint32_t)(version - history->version), history->count - 1);
        uint64_t last = version + 1 < history->version + history->count ? version[1].since - 1 : UINT64_MAX;
        if (version->since > low) {
            low = version->since;
            low_node = i;
        }
        if (last < high) {
            high = last;
            high_node = i;
        }
    }
    if (low <= high)
        return;
    if (low_node == NO_NODE || high_node == NO_NODE)
        world_find(world, VERDICT_WRONG, "round %u: node %u is shown in a state from %s the round", leader->round.number,
                   low_node == NO_NODE ? high_node : low_node, low_node == NO_NODE ? "before" : "after");
    else
        world_find(world, VERDICT_WRONG, "round %u: nodes %u and %u never had at one instant the states that the snapshot shows (events %llu, %llu)",
                   leader->round.number, low_node, high_node, (unsigned long long)low, (unsigned long long)high);
}

void ghost_compare(struct world *world)
{
    for (uint32_t i = 0; i < world->nodes; i++) {
        const struct history *history = &world->ghost->history[i];
        if (memcmp(history->version[history->count - 1].page, world->node[i].memory.page, sizeof world->node[i].memory.page) != 0)
            world_find(world, VERDICT_WRONG, "node %u does not hold what was written to it", i);
    }
}
