/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/freeze.h"

#include "base/err.h"
#include "snapshot/number.h"

void freeze_init(struct freeze *freeze, uint32_t max_round, uint32_t cut_round, bool capture_live, uint64_t now_ns)
{
    *freeze = (struct freeze){.mode = FREEZE_NORMAL,
                              .max_round = max_round > cut_round ? max_round : cut_round,
                              .cut_round = cut_round,
                              .capture_live = capture_live,
                              .progress_ns = now_ns};
}

static bool is_held(const struct freeze *freeze)
{
    return freeze->mode != FREEZE_NORMAL;
}

static void let_go(struct freeze *freeze, uint64_t now_ns, struct freeze_effects *effects)
{
    freeze->mode = FREEZE_NORMAL;
    freeze->gap_end_ns = now_ns + FREEZE_GAP_NS;
    effects->open_gate = true;
}

/** Every event begins here, so that a lease that ran out counts even when the timer is late. */
static void begin(struct freeze *freeze, uint64_t now_ns, struct freeze_effects *effects)
{
    *effects = (struct freeze_effects){0};
    if (is_held(freeze) && now_ns >= freeze->lease_end_ns)
        let_go(freeze, now_ns, effects);
}

/** The capture is not given up for this round. A leader has one round at a time: its newer one says that its older one is over. */
static bool capture_goes_on(const struct freeze *freeze, uint32_t round, uint64_t now_ns)
{
    return freeze->capture_live && round_leader(round) != round_leader(freeze->cut_round) && now_ns < freeze->progress_ns + FREEZE_IDLE_NS;
}

void freeze_on_freeze(struct freeze *freeze, uint32_t round, uint64_t lease_ns, uint64_t now_ns, struct freeze_effects *effects)
{
    begin(freeze, now_ns, effects);
    if (is_held(freeze) && freeze->round == round) { /* a duplicate: the lease stays as it is */
        effects->answer = freeze->mode == FREEZE_FROZEN ? FREEZE_ANSWER_FROZEN : FREEZE_ANSWER_NONE;
        return;
    }
    if (round <= freeze->max_round || round_counter(round) > ROUND_COUNTER_MAX) {
        effects->answer = FREEZE_ANSWER_OLD;
        return;
    }
    if (is_held(freeze) || now_ns < freeze->gap_end_ns || capture_goes_on(freeze, round, now_ns)) {
        effects->answer = FREEZE_ANSWER_BUSY;
        return;
    }
    freeze->max_round = freeze->round = round;
    freeze->mode = FREEZE_DRAINING;
    freeze->held_since_ns = now_ns;
    freeze->lease_end_ns = now_ns + (lease_ns < FREEZE_LEASE_NS_MAX ? lease_ns : FREEZE_LEASE_NS_MAX);
    effects->store_max_round = effects->close_gate = true;
}

void freeze_on_drained(struct freeze *freeze, uint64_t now_ns, struct freeze_effects *effects)
{
    MC_ASSERT(freeze->mode == FREEZE_DRAINING);
    begin(freeze, now_ns, effects);
    if (!is_held(freeze))
        return;
    freeze->mode = FREEZE_FROZEN;
    effects->answer = FREEZE_ANSWER_FROZEN;
}

void freeze_on_cut(struct freeze *freeze, uint32_t round, uint64_t now_ns, struct freeze_effects *effects)
{
    begin(freeze, now_ns, effects);
    if (freeze->mode == FREEZE_FROZEN && freeze->round == round) {
        freeze->mode = FREEZE_NORMAL;
        freeze->cut_round = round;
        freeze->capture_live = true;
        freeze->progress_ns = now_ns;
        freeze->pause_ns = now_ns > freeze->held_since_ns ? now_ns - freeze->held_since_ns : 0;
        effects->cut = effects->open_gate = true;
    }
    bool done = round != 0 && freeze->cut_round == round;
    effects->answer = done ? FREEZE_ANSWER_CUT : FREEZE_ANSWER_REFUSED;
    effects->pause_ns = done ? freeze->pause_ns : 0;
}

void freeze_on_unfreeze(struct freeze *freeze, uint32_t round, uint64_t now_ns, struct freeze_effects *effects)
{
    begin(freeze, now_ns, effects);
    effects->answer = FREEZE_ANSWER_OK;
    if (is_held(freeze) && freeze->round == round)
        let_go(freeze, now_ns, effects);
}

void freeze_on_end(struct freeze *freeze, uint32_t round, uint64_t now_ns, struct freeze_effects *effects)
{
    freeze_on_unfreeze(freeze, round, now_ns, effects);
    if (freeze->capture_live && freeze->cut_round == round) {
        freeze->capture_live = false;
        effects->end_capture = true;
    }
}

void freeze_on_progress(struct freeze *freeze, uint32_t round, uint64_t now_ns)
{
    if (freeze->capture_live && freeze->cut_round == round && now_ns > freeze->progress_ns)
        freeze->progress_ns = now_ns;
}

void freeze_on_time(struct freeze *freeze, uint64_t now_ns, struct freeze_effects *effects)
{
    begin(freeze, now_ns, effects);
    if (freeze->capture_live && now_ns >= freeze->progress_ns + FREEZE_CAPTURE_NS) {
        freeze->capture_live = false;
        effects->end_capture = true;
    }
}

uint64_t freeze_next_ns(const struct freeze *freeze)
{
    uint64_t next = is_held(freeze) ? freeze->lease_end_ns : UINT64_MAX;
    if (freeze->capture_live && freeze->progress_ns + FREEZE_CAPTURE_NS < next)
        next = freeze->progress_ns + FREEZE_CAPTURE_NS;
    return next;
}
