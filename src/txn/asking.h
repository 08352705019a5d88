/* SPDX-License-Identifier: Apache-2.0 */
/** One participant asks all the others something, again and again, with pauses that double, until each has answered. */
#ifndef TXN_ASKING_H
#define TXN_ASKING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"
#include "segment/lane.h"

#define ASKING_FIRST_NS 100000000ull /* first pause */
#define ASKING_LAST_NS 2000000000ull /* longest */

struct asking {
    const struct lane_participant *participant; /* the caller's; stays where it is until the end */
    uint32_t count, self;
    uint32_t missing; /* of the others */
    uint32_t cursor;  /* count: no round of questions is under way */
    uint64_t due_ns;  /* when the next begins */
    uint64_t pause_ns;
    uint64_t answered[GRID_NODES_MAX / 64]; /* by index */
};

/** self: index of the one that asks, and is not asked. The first round is at due_ns. */
void asking_start(struct asking *asking, const struct lane_participant *participants, uint32_t count, uint32_t self, uint64_t due_ns);
/** The next round is at due_ns at the latest, and the pauses begin at pause_ns again. */
void asking_hurry(struct asking *asking, uint64_t due_ns, uint64_t pause_ns);
/** True: participant *index is to be asked now; call again until false. */
bool asking_next(struct asking *asking, uint64_t now_ns, uint32_t *index);
/** The participant need not be asked any more. Repeated answers do no harm, nor do those of an index that is not asked. */
void asking_answered(struct asking *asking, uint32_t index);
/** When asking_next has something to say; UINT64_MAX: never. */
uint64_t asking_next_ns(const struct asking *asking);

#endif
