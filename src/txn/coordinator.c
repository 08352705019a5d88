/* SPDX-License-Identifier: Apache-2.0 */
#include "txn/coordinator.h"

#include "base/err.h"

void coordinator_start(struct coordinator *coordinator, struct coordinator_part *parts, uint32_t count, uint64_t vote_end_ns, uint64_t deadline_ns)
{
    MC_ASSERT(count >= 1 && count <= GRID_NODES_MAX);
    *coordinator = (struct coordinator){.part = parts, .count = count, .vote_end_ns = vote_end_ns, .deadline_ns = deadline_ns};
    if (vote_end_ns > deadline_ns)
        coordinator->vote_end_ns = deadline_ns;
    for (uint32_t i = 0; i < count; i++)
        parts[i] = (struct coordinator_part){.who = parts[i].who, .pause_ns = COORDINATOR_REPEAT_NS};
}

static bool is_decided(const struct coordinator *coordinator)
{
    return coordinator->phase == COORDINATOR_COMMITTING || coordinator->phase == COORDINATOR_ABORTING;
}

static bool any(const struct coordinator *coordinator, enum coordinator_part_state state)
{
    for (uint32_t i = 0; i < coordinator->count; i++)
        if (coordinator->part[i].state == state)
            return true;
    return false;
}

static void tell(struct coordinator *coordinator, enum coordinator_outcome outcome)
{
    if (coordinator->outcome == COORDINATOR_RUNS)
        coordinator->outcome = outcome;
}

static void enter(struct coordinator *coordinator, enum coordinator_phase phase)
{
    coordinator->phase = phase;
    for (uint32_t i = 0; i < coordinator->count; i++) {
        coordinator->part[i].due_ns = 0;
        coordinator->part[i].pause_ns = COORDINATOR_REPEAT_NS;
    }
}

static void abort_for(struct coordinator *coordinator, uint32_t index, enum lane_reason reason, uint32_t failed_compare)
{
    if (is_decided(coordinator))
        return;
    coordinator->part_aborted = index;
    coordinator->reason = reason;
    coordinator->failed_compare = failed_compare;
    enter(coordinator, COORDINATOR_ABORTING);
    tell(coordinator, COORDINATOR_ABORTED);
}

/** The votes that are missing will not be waited for. */
static void stop_voting(struct coordinator *coordinator)
{
    for (uint32_t i = 0; i < coordinator->count; i++) {
        struct coordinator_part *part = &coordinator->part[i];
        if (part->state != PART_ASKED || part->sends > 0)
            continue;
        part->state = PART_GONE; /* never asked, so it never votes */
        abort_for(coordinator, i, LANE_REASON_NONE, 0);
    }
    if (coordinator->phase == COORDINATOR_VOTING)
        enter(coordinator, COORDINATOR_ASKING);
}

/** What the states of the parts mean, once one has changed. */
static void judge(struct coordinator *coordinator)
{
    if (!is_decided(coordinator)) {
        bool asked = any(coordinator, PART_ASKED), voted = any(coordinator, PART_VOTED), gone = any(coordinator, PART_GONE);
        if (any(coordinator, PART_COMMITTED) || (!asked && !gone)) {
            enter(coordinator, COORDINATOR_COMMITTING);
        } else if (!asked && !voted) { /* nobody knows anything of it any more */
            tell(coordinator, COORDINATOR_UNKNOWN);
            coordinator->finished = true;
        } else if (gone && coordinator->phase == COORDINATOR_VOTING) {
            stop_voting(coordinator);
        }
    }
    if (!is_decided(coordinator))
        return;
    bool asked = any(coordinator, PART_ASKED), voted = any(coordinator, PART_VOTED);
    coordinator->finished = !asked && !voted;
    bool told_all = true;
    for (uint32_t i = 0; i < coordinator->count; i++)
        told_all = told_all && (coordinator->part[i].answered || coordinator->part[i].state == PART_GONE);
    if (coordinator->phase == COORDINATOR_COMMITTING && told_all)
        tell(coordinator, COORDINATOR_COMMITTED);
}

/** What the part is to be told in this phase, however often it was. */
static enum txn_message wanted(const struct coordinator *coordinator, const struct coordinator_part *part)
{
    bool asked = part->state == PART_ASKED, open = asked || part->state == PART_VOTED;
    if (coordinator->finished || !open)
        return TXN_NOTHING;
    switch (coordinator->phase) {
    case COORDINATOR_VOTING: return !asked ? TXN_NOTHING : coordinator->count == 1 ? TXN_EXECUTE : TXN_PREPARE;
    case COORDINATOR_ASKING: return asked || any(coordinator, PART_GONE) ? TXN_RESOLVE : TXN_NOTHING;
    case COORDINATOR_COMMITTING: return TXN_COMMIT;
    case COORDINATOR_ABORTING: return TXN_ABORT;
    }
    return TXN_NOTHING;
}

enum txn_message coordinator_next(struct coordinator *coordinator, uint64_t now_ns, uint32_t *index)
{
    for (uint32_t i = 0; i < coordinator->count; i++) {
        struct coordinator_part *part = &coordinator->part[i];
        enum txn_message message = wanted(coordinator, part);
        if (message == TXN_NOTHING || now_ns < part->due_ns)
            continue;
        part->due_ns = now_ns + part->pause_ns;
        part->pause_ns = 2 * part->pause_ns < COORDINATOR_REPEAT_LAST_NS ? 2 * part->pause_ns : COORDINATOR_REPEAT_LAST_NS;
        if (message == TXN_PREPARE || message == TXN_EXECUTE)
            part->sends++;
        *index = i;
        return message;
    }
    return TXN_NOTHING;
}

void coordinator_on_unsent(struct coordinator *coordinator, uint32_t index)
{
    MC_ASSERT(index < coordinator->count && coordinator->part[index].sends > 0);
    coordinator->part[index].sends--;
}

void coordinator_on_connected(struct coordinator *coordinator, uint32_t index)
{
    MC_ASSERT(index < coordinator->count);
    coordinator->part[index].due_ns = 0;
    coordinator->part[index].pause_ns = COORDINATOR_REPEAT_NS;
}

void coordinator_on_answer(struct coordinator *coordinator, uint32_t index, enum txn_message to, const struct txn_answer *answer)
{
    MC_ASSERT(index < coordinator->count);
    struct coordinator_part *part = &coordinator->part[index];
    if (coordinator->finished || (part->state != PART_ASKED && part->state != PART_VOTED))
        return;
    switch (answer->says) {
    case TXN_PREPARED:
        part->state = PART_VOTED;
        part->answered = true;
        break;
    case TXN_COMMITTED:
        part->state = PART_COMMITTED;
        part->answered = true;
        break;
    case TXN_ABORTED:
        part->state = PART_ABORTED;
        abort_for(coordinator, index, answer->reason, answer->failed_compare);
        break;
    case TXN_NO_SESSION:
    case TXN_STALE:
        part->state = PART_GONE;
        /* Sent once, and this is the answer: so it was never voted on. Otherwise the other copy may have been, and all of it forgotten since. */
        if ((to == TXN_PREPARE || to == TXN_EXECUTE) && part->sends == 1)
            abort_for(coordinator, index, LANE_REASON_NONE, 0);
        break;
    case TXN_MISUSE: /* as long as it is not decided, as good as no answer */
        if (is_decided(coordinator))
            part->state = PART_GONE;
        break;
    }
    judge(coordinator);
}

void coordinator_on_time(struct coordinator *coordinator, uint64_t now_ns)
{
    if (coordinator->phase == COORDINATOR_VOTING && !coordinator->finished && now_ns >= coordinator->vote_end_ns) {
        stop_voting(coordinator);
        judge(coordinator);
    }
    if (now_ns >= coordinator->deadline_ns)
        tell(coordinator, COORDINATOR_UNKNOWN);
}

uint64_t coordinator_next_ns(const struct coordinator *coordinator)
{
    if (coordinator->finished)
        return UINT64_MAX;
    uint64_t next_ns = coordinator->phase == COORDINATOR_VOTING ? coordinator->vote_end_ns : UINT64_MAX;
    if (coordinator->outcome == COORDINATOR_RUNS && coordinator->deadline_ns < next_ns)
        next_ns = coordinator->deadline_ns;
    for (uint32_t i = 0; i < coordinator->count; i++)
        if (wanted(coordinator, &coordinator->part[i]) != TXN_NOTHING && coordinator->part[i].due_ns < next_ns)
            next_ns = coordinator->part[i].due_ns;
    return next_ns;
}

bool coordinator_abandon(struct coordinator *coordinator)
{
    bool reusable = coordinator->finished;
    tell(coordinator, COORDINATOR_UNKNOWN);
    coordinator->finished = true;
    return reusable;
}

bool coordinator_may_retry(const struct coordinator *coordinator)
{
    return coordinator->outcome == COORDINATOR_ABORTED && coordinator->reason != LANE_COMPARE;
}

uint64_t coordinator_pause_ns(uint32_t attempt, uint64_t random)
{
    uint64_t pause_ns = COORDINATOR_PAUSE_NS;
    for (uint32_t i = 1; i < attempt && pause_ns < COORDINATOR_PAUSE_LAST_NS; i++)
        pause_ns *= 2;
    if (pause_ns > COORDINATOR_PAUSE_LAST_NS)
        pause_ns = COORDINATOR_PAUSE_LAST_NS;
    return pause_ns / 2 + random % (pause_ns / 2 + 1);
}
