/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/leader.h"

#include "base/err.h"

void leader_init(struct leader *leader, uint32_t self, uint32_t nodes, uint64_t takeover_ns, uint64_t now_ns)
{
    MC_ASSERT(nodes <= GRID_NODES_MAX && self < nodes);
    uint64_t interval_ns = takeover_ns / LEADER_PINGS;
    *leader = (struct leader){.self = self, .nodes = nodes, .leads = self == 0, .interval_ns = interval_ns > 0 ? interval_ns : 1, .ping_ns = now_ns};
}

void leader_on_heard(struct leader *leader, uint32_t node)
{
    MC_ASSERT(node < leader->nodes);
    if (node >= leader->self)
        return;
    leader->unanswered[node] = 0;
    leader->leads = false;
}

bool leader_on_time(struct leader *leader, uint64_t now_ns)
{
    if (leader->self == 0 || now_ns < leader->ping_ns)
        return false;
    bool alone = true;
    for (uint32_t i = 0; i < leader->self; i++) {
        if (leader->unanswered[i] == LEADER_PINGS)
            continue;
        alone = false;
        leader->unanswered[i]++;
    }
    leader->leads = alone;
    leader->ping_ns = now_ns + leader->interval_ns;
    return true;
}

uint64_t leader_next_ns(const struct leader *leader)
{
    return leader->self == 0 ? UINT64_MAX : leader->ping_ns;
}

uint32_t leader_node(const struct leader *leader)
{
    if (leader->leads)
        return leader->self;
    for (uint32_t i = 0; i < leader->self; i++)
        if (leader->unanswered[i] < LEADER_PINGS)
            return i;
    return leader->self - 1; /* silent as the others; this node is about to find that out */
}
