/* SPDX-License-Identifier: Apache-2.0 */
/** Which Pull is sent next, and to which node, while a round is collected. Pure.
 *
 *  All nodes side by side, each with up to two Pulls under way, so that it captures while its last answer travels. Memory stays bounded whatever N is:
 *  an answer takes a buffer while it is received, so with many nodes Pulls are smaller, and with still more the nodes take turns. */
#ifndef SNAPD_COLLECT_H
#define SNAPD_COLLECT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"

#define COLLECT_BUDGET_BYTES (32u << 20) /* of answers that are being received */

struct collect_node {
    uint64_t asked; /* bytes of the segment for which Pulls were sent */
    uint64_t got;   /* … that are here */
    uint32_t under_way;
};

struct collect {
    uint32_t nodes;
    uint64_t segment_size;
    uint32_t pull_bytes;  /* of addresses; a multiple of a chunk's */
    uint32_t pulls_max;   /* of one node, under way; 1 where nodes take turns */
    uint32_t busy_max;    /* nodes with Pulls under way at one time */
    uint32_t busy;
    uint32_t turn;        /* the node that is looked at first */
    struct collect_node node[GRID_NODES_MAX];
};

struct collect_pull {
    uint32_t node;
    uint64_t offset;
    uint32_t bytes; /* asked for; the segment may end before */
};

void collect_init(struct collect *collect, uint32_t nodes, uint64_t segment_size);

/** The next Pull to be sent; it counts as sent. false: wait for an answer. */
bool collect_next(struct collect *collect, struct collect_pull *pull);

/** Where the answer to the oldest Pull of the node begins, and where it must end. The node has one under way. */
void collect_expected(const struct collect *collect, uint32_t node, uint64_t *begin, uint64_t *end);

/** That answer came. */
void collect_on_answer(struct collect *collect, uint32_t node);

/** Is all of the node here? */
bool collect_is_complete(const struct collect *collect, uint32_t node);

#endif
