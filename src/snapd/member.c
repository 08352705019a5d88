/* SPDX-License-Identifier: Apache-2.0 */
#include "snapd/member.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/priority.h"
#include "segment/capture.h"
#include "snapd/exchange.h"
#include "snapd/pace.h"
#include "snapd/snapd.h"

_Static_assert(CAPTURE_WINDOW_BYTES == SNAPSHOT_CHUNK_BYTES, "what is captured at once becomes one chunk");

#define SERVER_MS 250u /* how long the server may take to answer to anything but Freeze */

/** This node's part in a round: from FROZEN to the end. */
struct part {
    uint32_t round;    /* 0: none */
    uint64_t client;   /* the connection that the leader froze us over: the round ends with it */
    bool cut;
    uint64_t position; /* captured up to here, bytes of the segment */
};

struct member {
    struct snapd *snapd; /* borrowed */
    pthread_t thread;
    pthread_mutex_t lock; /* guards: control, pulls, stop */
    pthread_cond_t wake;  /* on the monotonic clock */
    struct task_list control, pulls;
    bool stop;
    _Atomic uint32_t max_round;

    /* the thread's own */
    struct capture *capture; /* owned; NULL: no segment was found yet */
    struct chunk_builder builder;
    struct pace pace;
    struct part part;
    uint64_t cut_ns;         /* when the part's segment was cut, monotonic */
    struct board_part figures; /* of the part, as they were posted last */
    struct task *pull;       /* owned: under way, its reply begun */
    uint64_t pull_end;       /* where it ends, bytes of the segment */
};

/* ---- attaching ---- */

static void note_max_round(struct member *member, uint32_t round)
{
    if (round > atomic_load(&member->max_round))
        atomic_store(&member->max_round, round);
}

/** Attach to the segment, or again if another has taken its place. */
static enum mcomp_status attach(struct member *member, struct err *err)
{
    const struct config *config = member->snapd->config;
    if (member->capture && capture_is_current(member->capture))
        return MCOMP_OK;
    if (member->capture)
        log_line(LOG_INFO, "member", "attach", "", "the segment was deleted; looking for the new one");
    capture_close(member->capture);
    member->capture = NULL;
    member->part.round = 0;
    enum mcomp_status code = capture_open(&member->capture, config->grid, member->snapd->node, config->nodes, config->segment_size, err);
    if (code != MCOMP_OK)
        return code;
    note_max_round(member, capture_max_round(member->capture));
    log_line(LOG_INFO, "member", "attach", "", "attached to the segment of node %" PRIu32, member->snapd->node);
    return MCOMP_OK;
}

/* ---- answers ---- */

static void finish(struct member *member, struct task *task)
{
    snapd_return(member->snapd, task);
}

static void answer_err(struct member *member, struct task *task, const struct err *err)
{
    /* That there is nothing to freeze yet is like a server that does not run: it may come. */
    task_answer(task, err->code == MCOMP_NOT_FOUND ? MCOMP_UNAVAILABLE : err->code, err->text);
    finish(member, task);
}

static void answer_result(struct member *member, struct task *task, Mcomp__Snapshot__V1__Response *response)
{
    task->reply = exchange_result(task->id, response);
    finish(member, task);
}

/* ---- what others may know ---- */

static void begin_figures(struct member *member, uint64_t pause_ns)
{
    member->cut_ns = clock_mono_ns();
    member->figures = (struct board_part){.round = member->part.round, .pause_ns = pause_ns};
    board_post_part(&member->snapd->board, &member->figures);
}

/** At the end of each Pull: often enough to look at. */
static void post_figures(struct member *member, bool complete)
{
    member->figures.pages_preserved = capture_preserved(member->capture);
    member->figures.bytes_captured = member->part.position;
    member->figures.capture_ns = clock_mono_ns() - member->cut_ns;
    member->figures.complete = complete;
    board_post_part(&member->snapd->board, &member->figures);
}

/* ---- the round ---- */

/** The node's part in its round is over, for whatever reason: nothing must be held or preserved for it any longer. */
static void leave(struct member *member)
{
    struct part *part = &member->part;
    struct err err;
    if (!part->round)
        return;
    if (!part->cut && capture_unfreeze(member->capture, part->round, SERVER_MS, &err) != MCOMP_OK)
        log_err(LOG_DEBUG, "member", "unfreeze", "", &err); /* its lease runs out */
    capture_end(member->capture, part->round);
    part->round = 0;
}

static void run_freeze(struct member *member, struct task *task)
{
    struct err err;
    enum capture_freeze outcome;
    uint32_t max_round = 0, patience_ms = task->lease_ms > 1 ? task->lease_ms / 2 : 1; /* so that the other half is left for the cut */
    enum mcomp_status code = attach(member, &err);
    if (code == MCOMP_OK)
        code = capture_freeze(member->capture, task->round, task->lease_ms, patience_ms, &outcome, &max_round, &err);
    if (code != MCOMP_OK) {
        answer_err(member, task, &err);
        return;
    }
    note_max_round(member, max_round);
    if (outcome == CAPTURE_FROZEN)
        member->part = (struct part){.round = task->round, .client = task->client};
    Mcomp__Snapshot__V1__FreezeResult result = MCOMP__SNAPSHOT__V1__FREEZE_RESULT__INIT;
    result.outcome = outcome == CAPTURE_FROZEN ? MCOMP__SNAPSHOT__V1__FREEZE_RESULT__OUTCOME__OUTCOME_FROZEN
                     : outcome == CAPTURE_OLD  ? MCOMP__SNAPSHOT__V1__FREEZE_RESULT__OUTCOME__OUTCOME_OLD
                                               : MCOMP__SNAPSHOT__V1__FREEZE_RESULT__OUTCOME__OUTCOME_BUSY;
    result.max_round = max_round;
    Mcomp__Snapshot__V1__Response response = MCOMP__SNAPSHOT__V1__RESPONSE__INIT;
    response.result_case = MCOMP__SNAPSHOT__V1__RESPONSE__RESULT_FREEZE;
    response.freeze = &result;
    answer_result(member, task, &response);
}

static void run_cut(struct member *member, struct task *task)
{
    struct part *part = &member->part;
    Mcomp__Snapshot__V1__CutResult result = MCOMP__SNAPSHOT__V1__CUT_RESULT__INIT;
    struct err err;
    bool done = false;
    if (part->round == task->round && capture_cut(member->capture, task->round, SERVER_MS, &done, &result.pause_ns, &err) != MCOMP_OK) {
        answer_err(member, task, &err);
        return;
    }
    result.done = done;
    if (done && !part->cut)
        begin_figures(member, result.pause_ns);
    if (done)
        part->cut = true;
    Mcomp__Snapshot__V1__Response response = MCOMP__SNAPSHOT__V1__RESPONSE__INIT;
    response.result_case = MCOMP__SNAPSHOT__V1__RESPONSE__RESULT_CUT;
    response.cut = &result;
    answer_result(member, task, &response);
}

static void run_unfreeze(struct member *member, struct task *task)
{
    struct err err;
    if (member->part.round == task->round && !member->part.cut)
        member->part.round = 0;
    if (member->capture && capture_unfreeze(member->capture, task->round, SERVER_MS, &err) != MCOMP_OK) {
        answer_err(member, task, &err);
        return;
    }
    task_answer(task, MCOMP_OK, "");
    finish(member, task);
}

static void run_end(struct member *member, struct task *task)
{
    if (member->part.round == task->round)
        leave(member);
    else if (member->capture)
        capture_end(member->capture, task->round);
    task_answer(task, MCOMP_OK, "");
    finish(member, task);
}

static void run_gone(struct member *member, struct task *task)
{
    if (member->part.round && member->part.client == task->client) {
        char keys[64];
        snprintf(keys, sizeof keys, "round=%" PRIu32, member->part.round);
        log_line(LOG_DEBUG, "member", "gone", keys, "the leader's connection ended within the round");
        leave(member);
    }
    free(task);
}

static void run_control(struct member *member, struct task *task)
{
    switch (task->op) {
    case TASK_FREEZE:
        run_freeze(member, task);
        return;
    case TASK_CUT:
        run_cut(member, task);
        return;
    case TASK_UNFREEZE:
        run_unfreeze(member, task);
        return;
    case TASK_END:
        run_end(member, task);
        return;
    default:
        MC_ASSERT(task->op == TASK_GONE);
        run_gone(member, task);
    }
}

/* ---- capture ---- */

/** The Pull under way cannot be completed; nor can any later one of the round. */
static void fail_pull(struct member *member, const struct err *err)
{
    struct task *task = member->pull;
    member->pull = NULL;
    if (member->part.round == task->round)
        leave(member);
    answer_err(member, task, err);
}

/** Whether the next part of the round may be asked for as this task does. */
static enum mcomp_status check_pull(const struct member *member, const struct task *task, struct err *err)
{
    const struct part *part = &member->part;
    if (task->offset >= member->snapd->config->segment_size)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "offset %" PRIu64 " is outside a segment of %" PRIu64 " bytes", task->offset,
                       member->snapd->config->segment_size);
    if (part->round != task->round || !part->cut)
        return err_set(err, MCOMP_ABORTED, "the node takes no part in round %" PRIu32 " (any more)", task->round);
    if (task->offset != part->position)
        return err_set(err, MCOMP_ABORTED, "pages are captured once, in order: the next offset is %" PRIu64 ", not %" PRIu64, part->position,
                       task->offset);
    return MCOMP_OK;
}

static void begin_pull(struct member *member, struct task *task)
{
    struct err err;
    enum mcomp_status code = check_pull(member, task, &err);
    uint64_t left = member->snapd->config->segment_size - task->offset;
    uint64_t bytes = task->bytes < left ? task->bytes : left;
    if (code == MCOMP_OK) {
        task->reply = exchange_pull_begin((uint32_t)((bytes + SNAPSHOT_CHUNK_BYTES - 1) / SNAPSHOT_CHUNK_BYTES));
        if (!task->reply)
            err_set(&err, MCOMP_RESOURCE_EXHAUSTED, "out of memory for captured pages");
    }
    if (!task->reply) {
        answer_err(member, task, &err);
        return;
    }
    member->pull = task;
    member->pull_end = task->offset + bytes;
}

/** All windows of the Pull are captured. */
static void end_pull(struct member *member)
{
    struct task *task = member->pull;
    struct part *part = &member->part;
    struct err err;
    struct exchange_pull pull = {.next_offset = part->position, .pages_preserved = capture_preserved(member->capture)};
    if (part->position == member->snapd->config->segment_size) {
        if (capture_finish(member->capture, part->round, &err) != MCOMP_OK) {
            fail_pull(member, &err);
            return;
        }
        pull.complete = true;
    }
    post_figures(member, pull.complete);
    exchange_pull_end(task->reply, task->id, &pull);
    member->pull = NULL;
    finish(member, task);
}

/** Capture the next window of the Pull under way. */
static void step_pull(struct member *member)
{
    struct task *task = member->pull;
    struct part *part = &member->part;
    struct capture_window window;
    Mcomp__Snapshot__V1__Chunk chunk;
    struct err err;
    priority_background(true);
    if (part->round != task->round || atomic_load(&task->abandoned)) {
        err_set(&err, MCOMP_ABORTED, "round %" PRIu32 " ended while its pages were being captured", task->round);
        fail_pull(member, &err);
        return;
    }
    uint64_t k = member->snapd->config->segment_size, address = k * member->snapd->node + part->position;
    chunk_begin(&member->builder, address, exchange_pull_room(task->reply));
    if (capture_window(member->capture, part->round, part->position, chunk_page(&member->builder), &window, &err) != MCOMP_OK) {
        fail_pull(member, &err);
        return;
    }
    chunk_take(&member->builder, window.pages, window.crc32c);
    if (chunk_end(&member->builder, &chunk))
        exchange_pull_add(task->reply, &chunk);
    uint32_t bytes = chunk_window_bytes(k, address);
    pace_take(&member->pace, bytes, clock_mono_ns());
    part->position += bytes;
    if (part->position == member->pull_end)
        end_pull(member);
}

/* ---- the thread ---- */

static void wait_ns(struct member *member, uint64_t ns)
{
    uint64_t until = clock_mono_ns() + ns;
    struct timespec time = {.tv_sec = (time_t)(until / 1000000000u), .tv_nsec = (long)(until % 1000000000u)};
    (void)pthread_cond_timedwait(&member->wake, &member->lock, &time);
}

/** Wait for something to do: *control is a task to run, or NULL and a window is to be captured. false: stop. */
static bool next_work(struct member *member, struct task **control)
{
    bool work = false;
    pthread_mutex_lock(&member->lock);
    while (!work && !member->stop) {
        *control = task_list_take(&member->control);
        if (*control) {
            work = true;
        } else if (!member->pull && !member->pulls.first) {
            priority_background(false); /* who wakes us next may be in a hurry */
            pthread_cond_wait(&member->wake, &member->lock);
        } else {
            uint64_t pause_ns = pace_wait_ns(&member->pace, clock_mono_ns());
            work = pause_ns == 0;
            if (!work)
                wait_ns(member, pause_ns);
        }
    }
    struct task *pull = work && !*control && !member->pull ? task_list_take(&member->pulls) : NULL;
    pthread_mutex_unlock(&member->lock);
    if (pull)
        begin_pull(member, pull);
    return work;
}

static void *member_main(void *arg)
{
    struct member *member = arg;
    struct task *control = NULL;
    while (next_work(member, &control)) {
        if (control)
            run_control(member, control);
        else if (member->pull)
            step_pull(member);
    }
    leave(member);
    return NULL;
}

/* ---- called by other threads ---- */

void member_put(struct member *member, struct task *task)
{
    pthread_mutex_lock(&member->lock);
    task_list_put(task->op == TASK_PULL ? &member->pulls : &member->control, task);
    pthread_cond_signal(&member->wake);
    pthread_mutex_unlock(&member->lock);
}

uint32_t member_max_round(const struct member *member)
{
    return atomic_load(&member->max_round);
}

static void destroy(struct member *member)
{
    capture_close(member->capture);
    chunk_builder_close(&member->builder);
    pthread_cond_destroy(&member->wake);
    pthread_mutex_destroy(&member->lock);
    free(member);
}

enum mcomp_status member_start(struct member **out, struct snapd *snapd, struct err *err)
{
    struct member *member = calloc(1, sizeof *member);
    if (!member)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "out of memory for the member thread");
    member->snapd = snapd;
    pace_init(&member->pace, snapd->config->snapshot.rate_limit);
    pthread_mutex_init(&member->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&member->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    enum mcomp_status code = chunk_builder_init(&member->builder, snapd->config->snapshot.compression == CONFIG_COMPRESSION_ZSTD, err);
    if (code == MCOMP_OK) {
        struct err none;
        if (attach(member, &none) != MCOMP_OK) /* no harm: each Freeze looks again */
            log_line(LOG_INFO, "member", "attach", "", "%s", none.text);
        int rc = pthread_create(&member->thread, NULL, member_main, member);
        if (rc != 0)
            code = err_sys(err, rc, "start the member thread");
    }
    if (code != MCOMP_OK) {
        destroy(member);
        return code;
    }
    *out = member;
    return MCOMP_OK;
}

void member_stop(struct member *member)
{
    if (!member)
        return;
    pthread_mutex_lock(&member->lock);
    member->stop = true;
    pthread_cond_signal(&member->wake);
    pthread_mutex_unlock(&member->lock);
    pthread_join(member->thread, NULL);
    if (member->pull)
        task_list_put(&member->pulls, member->pull);
    for (struct task *task; (task = task_list_take(&member->control)) || (task = task_list_take(&member->pulls));) {
        if (task->op == TASK_GONE)
            free(task);
        else
            snapd_return(member->snapd, task);
    }
    destroy(member);
}
