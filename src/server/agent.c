/* SPDX-License-Identifier: Apache-2.0 */
#include "server/agent.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/priority.h"
#include "segment/segment.h"
#include "server/jobs.h"
#include "server/restoring.h"
#include "snapshot/freeze.h"

/** All but stopping is the thread's own once it runs. */
struct agent {
    struct segment *segment; /* borrowed */
    struct jobs *jobs;       /* borrowed */
    struct restoring *restoring; /* borrowed */
    struct freeze freeze;
    struct segment_command asked; /* the FREEZE that is answered when the segment is drained */
    uint32_t progress;            /* of the capture, when it was last looked at */
    _Atomic bool stopping;
    pthread_t thread;
};

static void answer(struct agent *agent, const struct segment_command *command, const struct freeze_effects *effects)
{
    static const uint32_t results[] = {[FREEZE_ANSWER_FROZEN] = SEGMENT_ANSWER_FROZEN, [FREEZE_ANSWER_OLD] = SEGMENT_ANSWER_OLD,
                                       [FREEZE_ANSWER_BUSY] = SEGMENT_ANSWER_BUSY,     [FREEZE_ANSWER_CUT] = SEGMENT_ANSWER_CUT,
                                       [FREEZE_ANSWER_REFUSED] = SEGMENT_ANSWER_REFUSED, [FREEZE_ANSWER_OK] = SEGMENT_ANSWER_OK};
    if (effects->answer == FREEZE_ANSWER_NONE || command->kind == SEGMENT_COMMAND_END)
        return;
    struct segment_answer said = {.result = results[effects->answer], .max_round = agent->freeze.max_round, .pause_ns = effects->pause_ns};
    segment_mailbox_answer(agent->segment, command, &said);
}

/** There is nothing to take a snapshot of. */
static void refuse_restoring(struct agent *agent, const struct segment_command *command)
{
    struct segment_answer said = {.result = SEGMENT_ANSWER_RESTORING, .max_round = agent->freeze.max_round};
    segment_mailbox_answer(agent->segment, command, &said);
}

/** Writers first, then the answer: when the snapshot process reads it, what it says is so. */
static void carry_out(struct agent *agent, const struct segment_command *command, const struct freeze_effects *effects)
{
    if (effects->store_max_round)
        segment_set_max_round(agent->segment, agent->freeze.max_round);
    if (effects->close_gate)
        segment_freeze(agent->segment);
    if (effects->end_capture)
        segment_capture_end(agent->segment, agent->freeze.cut_round);
    if (effects->cut)
        segment_cut(agent->segment, agent->freeze.cut_round);
    if (effects->open_gate) {
        segment_thaw(agent->segment);
        jobs_release_held(agent->jobs);
    }
    answer(agent, command, effects);
}

/** Writers and the snapshot process may have ended the capture without us, and the latter may have gone on with it. */
static void look_at_capture(struct agent *agent)
{
    bool live;
    uint32_t progress = segment_capture_progress(agent->segment);
    if (progress != agent->progress)
        freeze_on_progress(&agent->freeze, agent->freeze.cut_round, clock_mono_ns());
    agent->progress = progress;
    if (segment_last_cut(agent->segment, &live) == agent->freeze.cut_round && !live)
        agent->freeze.capture_live = false;
}

static void obey_freeze(struct agent *agent, const struct segment_command *command, uint64_t now_ns)
{
    struct freeze_effects effects;
    if (!restoring_freeze_begin(agent->restoring)) {
        refuse_restoring(agent, command);
        return;
    }
    freeze_on_freeze(&agent->freeze, command->round, (uint64_t)command->lease_ms * 1000000u, now_ns, &effects);
    if (effects.answer == FREEZE_ANSWER_NONE) /* and not what another round was refused by */
        agent->asked = *command;
    carry_out(agent, command, &effects);
    restoring_freeze_end(agent->restoring);
}

static void obey(struct agent *agent, const struct segment_command *command)
{
    struct freeze_effects effects;
    uint64_t now_ns = clock_mono_ns();
    look_at_capture(agent);
    switch (command->kind) {
    case SEGMENT_COMMAND_FREEZE:
        obey_freeze(agent, command, now_ns);
        return;
    case SEGMENT_COMMAND_CUT:
        freeze_on_cut(&agent->freeze, command->round, now_ns, &effects);
        break;
    case SEGMENT_COMMAND_UNFREEZE:
        freeze_on_unfreeze(&agent->freeze, command->round, now_ns, &effects);
        break;
    case SEGMENT_COMMAND_END:
        freeze_on_end(&agent->freeze, command->round, now_ns, &effects);
        break;
    default: /* the mailbox lets nothing else through */
        return;
    }
    carry_out(agent, command, &effects);
}

static void look_at_drain(struct agent *agent)
{
    struct freeze_effects effects;
    if (agent->freeze.mode != FREEZE_DRAINING || !segment_wait_drained(agent->segment, 0))
        return;
    freeze_on_drained(&agent->freeze, clock_mono_ns(), &effects);
    carry_out(agent, &agent->asked, &effects);
}

static void look_at_time(struct agent *agent)
{
    struct freeze_effects effects;
    bool held = agent->freeze.mode != FREEZE_NORMAL;
    look_at_capture(agent);
    freeze_on_time(&agent->freeze, clock_mono_ns(), &effects);
    if (held && effects.open_gate) {
        char keys[48];
        snprintf(keys, sizeof keys, "round=%" PRIu32, agent->freeze.round);
        log_line(LOG_WARN, "agent", "lease", keys, "the snapshot's leader did not cut before its lease ran out: writers go on");
    }
    carry_out(agent, &agent->asked, &effects);
}

static uint32_t wait_ms(const struct agent *agent)
{
    uint64_t next_ns = freeze_next_ns(&agent->freeze), now_ns = clock_mono_ns();
    if (next_ns == UINT64_MAX)
        return SEGMENT_NO_TIMEOUT;
    return next_ns <= now_ns ? 0 : (uint32_t)((next_ns - now_ns) / 1000000u + 1);
}

static void *agent_main(void *arg)
{
    struct agent *agent = arg;
    priority_prompt(); /* writers wait for it between freeze and cut */
    while (!atomic_load(&agent->stopping)) {
        struct segment_command command;
        bool asked = segment_mailbox_wait(agent->segment, wait_ms(agent), &command);
        look_at_drain(agent);
        if (asked)
            obey(agent, &command);
        look_at_drain(agent); /* where nobody was inside when the gate closed, nobody will call */
        look_at_time(agent);
    }
    if (agent->freeze.mode != FREEZE_NORMAL) {
        segment_thaw(agent->segment);
        jobs_release_held(agent->jobs);
    }
    return NULL;
}

enum mcomp_status agent_start(struct agent **out, struct segment *segment, struct jobs *jobs, struct restoring *restoring, struct err *err)
{
    struct agent *agent = calloc(1, sizeof *agent);
    if (!agent)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "out of memory for the snapshot agent");
    bool live;
    uint32_t cut_round = segment_last_cut(segment, &live);
    agent->segment = segment;
    agent->jobs = jobs;
    agent->restoring = restoring;
    agent->progress = segment_capture_progress(segment);
    freeze_init(&agent->freeze, segment_max_round(segment), cut_round, live, clock_mono_ns());
    int rc = pthread_create(&agent->thread, NULL, agent_main, agent);
    if (rc != 0) {
        free(agent);
        return err_sys(err, rc, "start the snapshot agent's thread");
    }
    *out = agent;
    return MCOMP_OK;
}

void agent_stop(struct agent *agent)
{
    if (!agent)
        return;
    atomic_store(&agent->stopping, true);
    segment_mailbox_interrupt(agent->segment);
    pthread_join(agent->thread, NULL);
    free(agent);
}
