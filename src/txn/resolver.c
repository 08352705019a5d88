/* SPDX-License-Identifier: Apache-2.0 */
#include "txn/resolver.h"

void resolver_start(struct resolver *resolver, const struct lane_participant *participants, uint32_t count, uint32_t self, uint64_t doubt_ns)
{
    asking_start(&resolver->asking, participants, count, self, doubt_ns);
    resolver->conclusion = count == 1 ? RESOLVER_COMMIT : RESOLVER_IN_DOUBT;
    resolver->misused = false;
}

void resolver_hurry(struct resolver *resolver, uint64_t due_ns)
{
    asking_hurry(&resolver->asking, due_ns, RESOLVER_FROZEN_NS);
}

bool resolver_next(struct resolver *resolver, uint64_t now_ns, uint32_t *index)
{
    return resolver->conclusion == RESOLVER_IN_DOUBT && asking_next(&resolver->asking, now_ns, index);
}

void resolver_on_answer(struct resolver *resolver, uint32_t index, enum txn_says says)
{
    if (resolver->conclusion != RESOLVER_IN_DOUBT || index >= resolver->asking.count || index == resolver->asking.self)
        return;
    switch (says) {
    case TXN_COMMITTED: resolver->conclusion = RESOLVER_COMMIT; break;
    case TXN_ABORTED:
    case TXN_NO_SESSION: /* had it committed, it would have kept its record until this node had, too */
        resolver->conclusion = RESOLVER_ABORT;
        break;
    case TXN_STALE:  /* its client has gone on although this node has not finished */
    case TXN_MISUSE: /* or was never done with an earlier one there. To wait for that one's end would be to wait for ever if it waits for ours. */
        resolver->conclusion = RESOLVER_ABORT;
        resolver->misused = true;
        break;
    case TXN_PREPARED: /* a vote is never taken back */
        asking_answered(&resolver->asking, index);
        if (resolver->asking.missing == 0)
            resolver->conclusion = RESOLVER_COMMIT;
        break;
    }
}

uint64_t resolver_next_ns(const struct resolver *resolver)
{
    return resolver->conclusion == RESOLVER_IN_DOUBT ? asking_next_ns(&resolver->asking) : UINT64_MAX;
}
