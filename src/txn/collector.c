/* SPDX-License-Identifier: Apache-2.0 */
#include "txn/collector.h"

#include "base/err.h"

void collector_start(struct collector *collector)
{
    *collector = (struct collector){.look = true, .look_ns = UINT64_MAX};
}

static void go_on(struct collector *collector)
{
    collector->pushes = false;
    collector->lane++;
    collector->look = collector->lane < LANES;
    collector->done = !collector->look;
}

void collector_on_lane(struct collector *collector, const struct lane_view *view, const struct lane_participant *participants, uint32_t count,
                       uint32_t self, uint64_t now_ns)
{
    MC_ASSERT(collector->look);
    collector->look = false;
    collector->look_ns = UINT64_MAX;
    switch (view->state) {
    case LANE_NONE:
    case LANE_ABORTED: go_on(collector); break;
    case LANE_PREPARED: /* its resolver is at work */
    case LANE_COMMITTING: collector->look_ns = now_ns + COLLECTOR_LOOK_NS; break;
    case LANE_COMMITTED:
        if (count <= 1 || (collector->pushes && collector->sequence == view->sequence && collector->asking.missing == 0)) {
            go_on(collector);
            break;
        }
        collector->pushes = true;
        collector->sequence = view->sequence;
        asking_start(&collector->asking, participants, count, self, now_ns);
        break;
    }
}

bool collector_next(struct collector *collector, uint64_t now_ns, uint32_t *index)
{
    return collector->pushes && asking_next(&collector->asking, now_ns, index);
}

void collector_on_answer(struct collector *collector, uint32_t lane, uint64_t sequence, uint32_t index, enum txn_says says)
{
    if (!collector->pushes || lane != collector->lane || sequence != collector->sequence || says == TXN_PREPARED)
        return;
    asking_answered(&collector->asking, index); /* misuse, too: a node where it is aborted, or was never prepared, is not in doubt */
    if (collector->asking.missing == 0)
        collector->look = true;
}

void collector_on_time(struct collector *collector, uint64_t now_ns)
{
    if (now_ns >= collector->look_ns)
        collector->look = true;
}

uint64_t collector_next_ns(const struct collector *collector)
{
    if (collector->look)
        return 0;
    if (collector->pushes)
        return asking_next_ns(&collector->asking);
    return collector->look_ns;
}
