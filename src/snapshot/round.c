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
    return round->phase == ROUND_FREEZING ? !state->frozen : round->phase == ROUND_CUTTING && !state->cut;
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

void round_start(struct round *round, uint32_t number, uint32_t nodes, uint64_t now_ns, struct round_effects *effects)
{
    MC_ASSERT(round->phase == ROUND_IDLE && number > round->seen && nodes >= 1 && nodes <= GRID_NODES_MAX);
    clear(effects);
    *round = (struct round){.number = number, .nodes = nodes, .seen = number, .started_ns = now_ns};
    enter(round, ROUND_FREEZING, now_ns);
    send_phase(round, now_ns, effects);
}

void round_on_frozen(struct round *round, uint32_t node, uint64_t now_ns, struct round_effects *effects)
{
    MC_ASSERT(node < round->nodes);
    clear(effects);
    if (round->phase != ROUND_FREEZING)
        return;
    round->node[node].frozen = true;
    for (uint32_t i = 0; i < round->nodes; i++)
        if (!round->node[i].frozen)
            return;
    round->frozen_ns = now_ns;
    enter(round, ROUND_CUTTING, now_ns);
    send_phase(round, now_ns, effects);
}

void round_on_refused(struct round *round, uint32_t node, bool old, uint32_t max_round, uint64_t now_ns, struct round_effects *effects)
{
    (void)now_ns;
    clear(effects);
    if (max_round > round->seen)
        round->seen = max_round;
    /* A node that is frozen already refuses nothing: this is an echo of a repeated FREEZE. */
    if (round->phase != ROUND_FREEZING || round->node[node].frozen)
        return;
    discard(round, node, old ? "a later round has frozen it already" : "another round holds it, or has only just ended", effects);
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
    round->node[node].cut = true;
    if (pause_ns > round->longest_pause_ns)
        round->longest_pause_ns = pause_ns;
    for (uint32_t i = 0; i < round->nodes; i++)
        if (!round->node[i].cut)
            return;
    round->cut_ns = now_ns;
    enter(round, ROUND_COLLECTING, now_ns);
    effects->outcome = ROUND_COLLECT;
}

void round_on_captured(struct round *round, uint32_t node, uint64_t now_ns, struct round_effects *effects)
{
    MC_ASSERT(node < round->nodes);
    clear(effects);
    if (round->phase != ROUND_COLLECTING)
        return;
    round->node[node].captured = true;
    for (uint32_t i = 0; i < round->nodes; i++)
        if (!round->node[i].captured)
            return;
    round->collected_ns = now_ns;
    enter(round, ROUND_COMMITTING, now_ns);
    effects->outcome = ROUND_COMMIT;
}

void round_on_failed(struct round *round, uint32_t node, const char *why, uint64_t now_ns, struct round_effects *effects)
{
    (void)now_ns;
    clear(effects);
    if (round->phase != ROUND_IDLE)
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

void round_on_time(struct round *round, uint64_t now_ns, struct round_effects *effects)
{
    clear(effects);
    if (round->phase != ROUND_FREEZING && round->phase != ROUND_CUTTING)
        return;
    uint64_t limit_ns = round->phase == ROUND_FREEZING ? ROUND_FREEZE_NS : ROUND_CUT_NS;
    if (now_ns >= round->phase_ns + limit_ns) {
        uint32_t silent = 0;
        while (!waits_for(round, silent))
            silent++;
        discard(round, silent, round->phase == ROUND_FREEZING ? "it was not frozen in time: it does not answer, or a write lasts too long"
                                                              : "it did not answer to the cut in time", effects);
        return;
    }
    if (now_ns >= round->repeat_ns)
        send_phase(round, now_ns, effects);
}

uint64_t round_next_ns(const struct round *round)
{
    if (round->phase != ROUND_FREEZING && round->phase != ROUND_CUTTING)
        return UINT64_MAX;
    uint64_t end_ns = round->phase_ns + (round->phase == ROUND_FREEZING ? ROUND_FREEZE_NS : ROUND_CUT_NS);
    return end_ns < round->repeat_ns ? end_ns : round->repeat_ns;
}
