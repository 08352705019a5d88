/* SPDX-License-Identifier: Apache-2.0 */
#include "snapd/collect.h"

#include <string.h>

#include "base/err.h"
#include "snapd/exchange.h"

void collect_init(struct collect *collect, uint32_t nodes, uint64_t segment_size)
{
    MC_ASSERT(nodes >= 1 && nodes <= GRID_NODES_MAX);
    memset(collect, 0, sizeof *collect);
    collect->nodes = nodes;
    collect->segment_size = segment_size;
    uint32_t chunks = COLLECT_BUDGET_BYTES / nodes / SNAPSHOT_CHUNK_BYTES;
    if (chunks < 1)
        chunks = 1;
    if (chunks > EXCHANGE_PULL_CHUNKS)
        chunks = EXCHANGE_PULL_CHUNKS;
    collect->pull_bytes = chunks * SNAPSHOT_CHUNK_BYTES;
    collect->busy_max = COLLECT_BUDGET_BYTES / collect->pull_bytes;
    collect->pulls_max = nodes > collect->busy_max ? 1 : 2;
}

static uint64_t end_of(const struct collect *collect, uint64_t begin)
{
    uint64_t left = collect->segment_size - begin;
    return begin + (left < collect->pull_bytes ? left : collect->pull_bytes);
}

static bool may_ask(const struct collect *collect, const struct collect_node *node)
{
    return node->asked < collect->segment_size && node->under_way < collect->pulls_max && (node->under_way > 0 || collect->busy < collect->busy_max);
}

bool collect_next(struct collect *collect, struct collect_pull *pull)
{
    for (uint32_t i = 0; i < collect->nodes; i++) {
        uint32_t at = (collect->turn + i) % collect->nodes;
        struct collect_node *node = &collect->node[at];
        if (!may_ask(collect, node))
            continue;
        *pull = (struct collect_pull){.node = at, .offset = node->asked, .bytes = collect->pull_bytes};
        node->asked = end_of(collect, node->asked);
        if (node->under_way++ == 0)
            collect->busy++;
        collect->turn = (at + 1) % collect->nodes;
        return true;
    }
    return false;
}

void collect_expected(const struct collect *collect, uint32_t node, uint64_t *begin, uint64_t *end)
{
    MC_ASSERT(node < collect->nodes && collect->node[node].under_way > 0);
    *begin = collect->node[node].got;
    *end = end_of(collect, *begin);
}

void collect_on_answer(struct collect *collect, uint32_t node)
{
    uint64_t begin;
    struct collect_node *state = &collect->node[node];
    collect_expected(collect, node, &begin, &state->got);
    if (--state->under_way == 0)
        collect->busy--;
}

bool collect_is_complete(const struct collect *collect, uint32_t node)
{
    return collect->node[node].got == collect->segment_size;
}
