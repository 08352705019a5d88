/* SPDX-License-Identifier: Apache-2.0 */
#include "txn/asking.h"

#include "base/err.h"

void asking_start(struct asking *asking, const struct lane_participant *participants, uint32_t count, uint32_t self, uint64_t due_ns)
{
    MC_ASSERT(self < count && count <= GRID_NODES_MAX);
    *asking = (struct asking){.participant = participants, .count = count, .self = self, .missing = count - 1, .cursor = count, .due_ns = due_ns,
                              .pause_ns = ASKING_FIRST_NS};
}

static bool has_answered(const struct asking *asking, uint32_t index)
{
    return index == asking->self || (asking->answered[index / 64] >> (index % 64) & 1);
}

void asking_hurry(struct asking *asking, uint64_t due_ns, uint64_t pause_ns)
{
    if (due_ns < asking->due_ns)
        asking->due_ns = due_ns;
    if (pause_ns < asking->pause_ns)
        asking->pause_ns = pause_ns;
}

bool asking_next(struct asking *asking, uint64_t now_ns, uint32_t *index)
{
    if (asking->missing == 0)
        return false;
    if (asking->cursor == asking->count && now_ns >= asking->due_ns) {
        asking->cursor = 0;
        asking->due_ns = now_ns + asking->pause_ns;
        asking->pause_ns = 2 * asking->pause_ns < ASKING_LAST_NS ? 2 * asking->pause_ns : ASKING_LAST_NS;
    }
    while (asking->cursor < asking->count && has_answered(asking, asking->cursor))
        asking->cursor++;
    if (asking->cursor == asking->count)
        return false;
    *index = asking->cursor++;
    return true;
}

void asking_answered(struct asking *asking, uint32_t index)
{
    if (index >= asking->count || has_answered(asking, index))
        return;
    asking->answered[index / 64] |= UINT64_C(1) << (index % 64);
    asking->missing--;
}

uint64_t asking_next_ns(const struct asking *asking)
{
    if (asking->missing == 0)
        return UINT64_MAX;
    return asking->cursor < asking->count ? 0 : asking->due_ns;
}
