/* SPDX-License-Identifier: Apache-2.0 */
/** Who leads: the first node of the map; when all nodes before it have been unreachable for a configured time, the next one.
 *
 *  Pure, as freeze.h. Each node but the first pings those before it. Two leaders at once are harmless: a round needs every node's consent. */
#ifndef SNAPSHOT_LEADER_H
#define SNAPSHOT_LEADER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"

/** Pings in a row that a node must leave unanswered. Counted in pings, not in time, so that a process that was stopped for long does not believe
 *  that all the others were. */
#define LEADER_PINGS 4u

struct leader {
    uint32_t self, nodes;
    bool leads;                         /* may start rounds; a round that runs when this ends is finished */
    uint64_t interval_ns;               /* from one ping to the next */
    uint64_t ping_ns;                   /* when the next is due */
    uint8_t unanswered[GRID_NODES_MAX]; /* pings since the node was heard; of nodes before self */
};

/** takeover_ns: silence of all nodes before this one after which it leads. The first node leads at once. */
void leader_init(struct leader *leader, uint32_t self, uint32_t nodes, uint64_t takeover_ns, uint64_t now_ns);
/** Anything came from the node, an answer to a ping or not. */
void leader_on_heard(struct leader *leader, uint32_t node);
/** Time has passed. Returns true when all nodes before this one are to be pinged now. */
bool leader_on_time(struct leader *leader, uint64_t now_ns);
/** When leader_on_time has something to do; UINT64_MAX: never. */
uint64_t leader_next_ns(const struct leader *leader);
/** The node that leads as far as this one knows. */
uint32_t leader_node(const struct leader *leader);

#endif
