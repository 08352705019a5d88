/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/round.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"

static void clear(struct round_effects *effects)
{
    memset(effects, 0, sizeof *effects);
    effects->node = UINT32_MAX;
}

static bool waits_for(const struct round *round, uint32_t node)
{
    const struct round_node *state = &round->node[node];
    switch (round->phase) {
    case ROUND_FREEZING: return !state->frozen;
    case ROUND_CUTTING: return !state->cut;
    case ROUND_COLLECTING: return !state->captured;
    default: return false;
    }
}

/** The first node that the phase waits for; nodes: none. */
static uint32_t first_missing(const struct round *round)
{
    uint32_t node = 0;
    while (node < round->nodes && !waits_for(round, node))
        node++;
    return node;
}

/** Send to those that the phase still waits for. */
static void send_phase(struct round *round, uint64_t now_ns, struct round_effects *effects)
{
    effects->send = round->phase == ROUND_FREEZING ? ROUND_SEND_FREEZE : ROUND_SEND_CUT;
    for (uint32_t i = 0; i < round->nodes; i++)
        effects->to[i] = waits_for(round, i);
    round->repeat_ns = now_ns + ROUND_REPEAT_NS;
}

static void send_end(const struct round *round, struct round_effects *effects)
{
    effects->send = ROUND_SEND_END;
    for (uint32_t i = 0; i < round->nodes; i++)
        effects->to[i] = true;
}

static void enter(struct round *round, enum round_phase phase, uint64_t now_ns)
{
    round->phase = phase;
    round->phase_ns = now_ns;
}

static void discard(struct round *round, uint32_t node, const char *why, struct round_effects *effects)
{
    effects->outcome = ROUND_DISCARDED;
    effects->node = node;
    snprintf(effects->why, sizeof effects->why, "%s", why);
    send_end(round, effects);
    round->phase = ROUND_IDLE;
}

void round_init(struct round *round, uint32_t seen)
{
    memset(round, 0, sizeof *round);
    round->seen = seen;
}

void round_start(struct round *round, uint32_t number, uint32_t nodes, uint64_t now_ns, struct round_effects *effects)
{
    MC_ASSERT(round->phase == ROUND_IDLE && number > round->seen && nodes >= 1 && nodes <= GRID_NODES_MAX);
    clear(effects);
    *round = (struct round){.number = number, .nodes = nodes, .seen = number, .started_ns = now_ns};
    enter(round, ROUND_FREEZING, now_ns);
    send_phase(round, now_ns, effects);
}

void round_see(struct round *round, uint32_t number)
{
    if (number > round->seen)
        round->seen = number;
}

static bool freezing_is_over(const struct round *round, uint64_t now_ns)
{
    return round->phase == ROUND_FREEZING && now_ns >= round->phase_ns + ROUND_FREEZE_NS;
}

void round_on_frozen(struct round *round, uint32_t node, uint64_t now_ns, struct round_effects *effects)
{
    MC_ASSERT(node < round->nodes);
    if (freezing_is_over(round, now_ns)) { /* the timer is late: leases run out, and nodes would only refuse the cut */
        round_on_time(round, now_ns, effects);
        return;
    }
    clear(effects);
    if (round->phase != ROUND_FREEZING)
        return;
    round->node[node].frozen = true;
    if (first_missing(round) < round->nodes)
        return;
    round->frozen_ns = now_ns;
    enter(round, ROUND_CUTTING, now_ns);
    send_phase(round, now_ns, effects);
}

void round_on_refused(struct round *round, uint32_t node, bool old, uint32_t max_round, uint64_t now_ns, struct round_effects *effects)
{
    (void)now_ns;
    MC_ASSERT(node < round->nodes);
    clear(effects);
    round_see(round, max_round);
    /* A node that is frozen already refuses nothing: this is an echo of a repeated FREEZE. */
    if (round->phase != ROUND_FREEZING || round->node[node].frozen)
        return;
    discard(round, node, old ? "it has taken part in this round, or a later one, before" : "another round holds it, or has only just ended", effects);
}

void round_on_cut(struct round *round, uint32_t node, bool done, uint64_t pause_ns, uint64_t now_ns, struct round_effects *effects)
{
    MC_ASSERT(node < round->nodes);
    clear(effects);
    if (round->phase != ROUND_CUTTING || round->node[node].cut)
        return;
    if (!done) {
        discard(round, node, "it did not stay frozen until the cut: its lease ran out, or its server was restarted", effects);
        return;
    }
    round->node[node].cut = true; /* late or not: it would have refused, had its lease run out */
    if (pause_ns > round->longest_pause_ns)
        round->longest_pause_ns = pause_ns;
    if (first_missing(round) < round->nodes)
        return;
    round->cut_ns = now_ns;
    enter(round, ROUND_COLLECTING, now_ns);
    for (uint32_t i = 0; i < round->nodes; i++)
        round->node[i].heard_ns = now_ns;
    effects->outcome = ROUND_COLLECT;
}

void round_on_progress(struct round *round, uint32_t node, uint64_t now_ns)
{
    MC_ASSERT(node < round->nodes);
    if (now_ns > round->node[node].heard_ns)
        round->node[node].heard_ns = now_ns;
}

void round_on_captured(struct round *round, uint32_t node, uint64_t now_ns, struct round_effects *effects)
{
    MC_ASSERT(node < round->nodes);
    clear(effects);
    if (round->phase != ROUND_COLLECTING)
        return;
    round->node[node].captured = true;
    if (first_missing(round) < round->nodes)
        return;
    round->collected_ns = now_ns;
    enter(round, ROUND_COMMITTING, now_ns);
    effects->outcome = ROUND_COMMIT;
}

void round_on_failed(struct round *round, uint32_t node, const char *why, uint64_t now_ns, struct round_effects *effects)
{
    (void)now_ns;
    MC_ASSERT(node == UINT32_MAX || node < round->nodes);
    clear(effects);
    bool needed = node == UINT32_MAX || !round->node[node].captured;
    if (round->phase != ROUND_IDLE && needed)
        discard(round, node, why, effects);
}

void round_on_committed(struct round *round, uint64_t now_ns, struct round_effects *effects)
{
    (void)now_ns;
    MC_ASSERT(round->phase == ROUND_COMMITTING);
    clear(effects);
    round->phase = ROUND_IDLE;
    effects->outcome = ROUND_DONE;
    send_end(round, effects);
}

/** When the round has waited long enough for this node; UINT64_MAX: it does not wait for it. */
static uint64_t limit_of(const struct round *round, uint32_t node)
{
    if (!waits_for(round, node))
        return UINT64_MAX;
    switch (round->phase) {
    case ROUND_FREEZING: return round->phase_ns + ROUND_FREEZE_NS;
    case ROUND_CUTTING: return round->phase_ns + ROUND_CUT_NS;
    default: return round->node[node].heard_ns + ROUND_SILENCE_NS;
    }
}

static const char *why_late(enum round_phase phase)
{
    switch (phase) {
    case ROUND_FREEZING: return "it was not frozen in time: it does not answer, or a write lasts too long";
    case ROUND_CUTTING: return "it did not answer to the cut in time";
    default: return "it stopped sending its part";
    }
}

void round_on_time(struct round *round, uint64_t now_ns, struct round_effects *effects)
{
    clear(effects);
    for (uint32_t i = 0; i < round->nodes; i++) {
        if (now_ns >= limit_of(round, i)) {
            discard(round, i, why_late(round->phase), effects);
            return;
        }
    }
    if ((round->phase == ROUND_FREEZING || round->phase == ROUND_CUTTING) && now_ns >= round->repeat_ns)
        send_phase(round, now_ns, effects);
}

uint64_t round_next_ns(const struct round *round)
{
    uint64_t next_ns = round->phase == ROUND_FREEZING || round->phase == ROUND_CUTTING ? round->repeat_ns : UINT64_MAX;
    for (uint32_t i = 0; i < round->nodes; i++)
        if (limit_of(round, i) < next_ns)
            next_ns = limit_of(round, i);
    return next_ns;
}
