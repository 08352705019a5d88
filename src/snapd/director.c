/* SPDX-License-Identifier: Apache-2.0 */
#include "snapd/director.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/units.h"
#include "snapd/exchange.h"
#include "snapd/listing.h"
#include "snapd/runner.h"
#include "snapd/snapd.h"
#include "snapshot/leader.h"
#include "snapshot/schedule.h"

#define REQUEST_ROUNDS 3u   /* a request is tried in so many rounds, if nodes are only unwilling at that moment */
#define STOP_NS 1000000000u /* how long the last messages to the nodes may take */

struct director {
    struct snapd *snapd;         /* borrowed */
    const struct config *config; /* borrowed */
    pthread_t thread;
    struct inbox inbox;

    /* the thread's own, once it runs */
    struct ev_loop *loop;        /* owned */
    ev_timer due;                /* the next thing that time brings */
    struct leader leader;
    bool led;                    /* as far as it was logged */
    struct schedule schedule;
    struct peers peers;
    struct runner runner;
    struct task_list waiting;    /* TAKE_SNAPSHOT */
    struct task_list lists;      /* LIST */
    struct board_state board;
    bool stopping;
    uint64_t stop_ns;            /* when it ends at the latest */
};

/* ---- the board ---- */

static Mcomp__Snapshot__V1__RoundStatus__Phase phase_of(enum round_phase phase)
{
    switch (phase) {
    case ROUND_FREEZING: return MCOMP__SNAPSHOT__V1__ROUND_STATUS__PHASE__PHASE_FREEZE;
    case ROUND_CUTTING: return MCOMP__SNAPSHOT__V1__ROUND_STATUS__PHASE__PHASE_CUT;
    case ROUND_COLLECTING: return MCOMP__SNAPSHOT__V1__ROUND_STATUS__PHASE__PHASE_COLLECT;
    case ROUND_COMMITTING: return MCOMP__SNAPSHOT__V1__ROUND_STATUS__PHASE__PHASE_COMMIT;
    default: return MCOMP__SNAPSHOT__V1__ROUND_STATUS__PHASE__PHASE_IDLE;
    }
}

static void post(void *arg)
{
    struct director *director = arg;
    struct board_state *board = &director->board;
    const struct runner *runner = &director->runner;
    board->leader = leader_node(&director->leader);
    board->phase = phase_of(runner->round.phase);
    if (runner_is_running(runner)) {
        bool collected = runner->round.phase == ROUND_COLLECTING || runner->round.phase == ROUND_COMMITTING;
        board->round = runner->round.number;
        board->started_ns = runner->round.started_ns;
        board->bytes_written = runner->file_bytes;
        for (uint32_t i = 0; i < runner->round.nodes; i++)
            board->node_bytes[i] = collected ? runner->collect.node[i].got : 0;
    }
    board_post(&director->snapd->board, board);
}

/* ---- requests ---- */

static void answer_taken(struct task *task, const struct runner_result *result, uint32_t node)
{
    Mcomp__Snapshot__V1__TakeSnapshotResult taken = MCOMP__SNAPSHOT__V1__TAKE_SNAPSHOT_RESULT__INIT;
    taken.file = (char *)result->file;
    taken.header = (Mcomp__Snapshot__V1__Header *)result->header;
    taken.leader = node;
    Mcomp__Snapshot__V1__Response response = MCOMP__SNAPSHOT__V1__RESPONSE__INIT;
    response.result_case = MCOMP__SNAPSHOT__V1__RESPONSE__RESULT_TAKE_SNAPSHOT;
    response.take_snapshot = &taken;
    task->reply = exchange_result(task->id, &response);
}

/** Another node leads: the client is told which. */
static void answer_elsewhere(struct task *task, uint32_t leader)
{
    char text[64];
    snprintf(text, sizeof text, "node %" PRIu32 " leads: ask that one", leader);
    Mcomp__Snapshot__V1__TakeSnapshotResult taken = MCOMP__SNAPSHOT__V1__TAKE_SNAPSHOT_RESULT__INIT;
    taken.leader = leader;
    Mcomp__Snapshot__V1__Response response = MCOMP__SNAPSHOT__V1__RESPONSE__INIT;
    response.id = task->id;
    response.status = MCOMP__SNAPSHOT__V1__STATUS__STATUS_ABORTED;
    response.message = text;
    response.result_case = MCOMP__SNAPSHOT__V1__RESPONSE__RESULT_TAKE_SNAPSHOT;
    response.take_snapshot = &taken;
    task->reply = outgoing_message(&response.base);
}

/** Go through those who wait for a snapshot; keep says whether they wait on, after having answered them if not. */
static void visit_waiting(struct director *director, bool (*keep)(struct director *director, struct task *task, const void *arg), const void *arg)
{
    struct task_list list = director->waiting;
    director->waiting = (struct task_list){0};
    for (struct task *task; (task = task_list_take(&list));) {
        if (keep(director, task, arg))
            task_list_put(&director->waiting, task);
        else
            snapd_return(director->snapd, task);
    }
    if (!director->waiting.first)
        schedule_on_cancel(&director->schedule);
}

static bool keep_unless_abandoned(struct director *director, struct task *task, const void *arg)
{
    (void)director;
    (void)arg;
    if (!atomic_load(&task->abandoned))
        return true;
    task_answer(task, MCOMP_ABORTED, "");
    return false;
}

static bool keep_none(struct director *director, struct task *task, const void *text)
{
    if (text)
        task_answer(task, MCOMP_UNAVAILABLE, text);
    else
        answer_elsewhere(task, leader_node(&director->leader));
    return false;
}

static bool keep_unless_served(struct director *director, struct task *task, const void *arg)
{
    const struct runner_result *result = arg;
    if (!task->started)
        return true;
    task->started = false;
    if (result->err.code == MCOMP_OK) {
        answer_taken(task, result, director->snapd->node);
        return false;
    }
    if (result->again && ++task->failures < REQUEST_ROUNDS)
        return true;
    task_answer(task, result->err.code, result->err.text);
    return false;
}

static void take_request(struct director *director, struct task *task)
{
    bool before_cut = director->runner.round.phase == ROUND_FREEZING;
    if (director->stopping || !director->leader.leads) {
        keep_none(director, task, director->stopping ? "the snapshot process is being stopped" : NULL);
        snapd_return(director->snapd, task);
        return;
    }
    task->started = before_cut;
    schedule_on_request(&director->schedule, before_cut);
    task_list_put(&director->waiting, task);
}

/* ---- rounds ---- */

static uint64_t rate_of(const Mcomp__Snapshot__V1__Header *header)
{
    uint64_t collecting_ns = header->collect_ns - header->cut_ns;
    return collecting_ns ? (uint64_t)((double)header->segment_size * header->nodes * 1e9 / (double)collecting_ns) : 0;
}

static void log_done(const struct director *director, const struct runner_result *result, bool recovered)
{
    const Mcomp__Snapshot__V1__Header *header = result->header;
    char keys[400], pause[UNITS_TEXT_BYTES], duration[UNITS_TEXT_BYTES], bytes[UNITS_TEXT_BYTES];
    snprintf(keys, sizeof keys,
             "round=%" PRIu32 " freeze_ns=%" PRIu64 " cut_ns=%" PRIu64 " collect_ns=%" PRIu64 " commit_ns=%" PRIu64 " longest_pause_ns=%" PRIu64
             " pages=%" PRIu64 " pages_preserved=%" PRIu64 " bytes_preserved=%" PRIu64 " bytes=%" PRIu64 " collect_bytes_per_s=%" PRIu64,
             header->round, header->freeze_ns, header->cut_ns - header->freeze_ns, header->collect_ns - header->cut_ns,
             director->board.last_commit_ns, header->longest_pause_ns, header->pages_stored, header->pages_preserved,
             header->pages_preserved * SNAPSHOT_PAGE_BYTES, result->file_bytes, rate_of(header));
    log_line(LOG_INFO, "round", "done", keys, "%s: %s in %s, writers paused for %s%s", result->file, units_format_bytes(result->file_bytes, bytes),
             units_format_duration(header->duration_ns, duration), units_format_duration(header->longest_pause_ns, pause),
             recovered ? "; the rounds before had failed" : "");
}

static void log_failed(const struct director *director, const struct runner_result *result, enum schedule_log due)
{
    char keys[128];
    snprintf(keys, sizeof keys, "round=%" PRIu32 " code=%s failures=%" PRIu32, director->runner.round.number, status_name(result->err.code),
             director->schedule.failures);
    log_line(due == SCHEDULE_LOG_FAILURE ? LOG_WARN : LOG_DEBUG, "round", "failed", keys, "no snapshot: %s", result->err.text);
}

static uint64_t random_u64(void)
{
    uint64_t value = 0;
    if (getrandom(&value, sizeof value, GRND_NONBLOCK) != (ssize_t)sizeof value)
        value = clock_mono_ns();
    return value;
}

/** The runner's call. */
static void round_ended(void *arg, const struct runner_result *result)
{
    struct director *director = arg;
    struct board_state *board = &director->board;
    uint64_t now_ns = clock_mono_ns();
    if (result->err.code == MCOMP_OK) {
        board->last_bytes = result->file_bytes;
        board->last_commit_ns = now_ns - director->runner.round.collected_ns;
        log_done(director, result, schedule_on_done(&director->schedule, now_ns) == SCHEDULE_LOG_RECOVERY);
        board->rounds_done++;
        board->last_error[0] = '\0';
        snprintf(board->last_file, sizeof board->last_file, "%s", result->file);
        board->last = *result->header;
        board->has_last = true;
    } else {
        log_failed(director, result, schedule_on_failed(&director->schedule, random_u64(), now_ns));
        board->rounds_failed++;
        snprintf(board->last_error, sizeof board->last_error, "%s", result->err.text);
    }
    post(director);
    visit_waiting(director, keep_unless_served, result);
}

static void start_round(struct director *director, uint64_t now_ns)
{
    schedule_on_started(&director->schedule);
    for (struct task *task = director->waiting.first; task; task = task->next)
        task->started = true;
    runner_start(&director->runner, now_ns);
    if (!runner_is_running(&director->runner))
        return;
    char keys[64];
    snprintf(keys, sizeof keys, "round=%" PRIu32, director->runner.round.number);
    log_line(LOG_DEBUG, "round", "begin", keys, "freezing %" PRIu32 " nodes", director->config->nodes);
}

/* ---- leading ---- */

static void ping(struct director *director)
{
    struct peer_call call = {.op = PEER_PING};
    for (uint32_t i = 0; i < director->snapd->node; i++) {
        if (peers_await(&director->peers, i, PEER_PING, 0)) /* nothing for a whole interval */
            peers_reset(&director->peers, i, "it does not answer");
        (void)peers_send(&director->peers, i, &call);
    }
}

static void note_leadership(struct director *director)
{
    if (director->leader.leads == director->led)
        return;
    director->led = director->leader.leads;
    if (!director->led)
        log_line(LOG_INFO, "leader", "yield", "", "node %" PRIu32 " is there: it leads", leader_node(&director->leader));
    else if (director->snapd->node > 0)
        log_line(LOG_WARN, "leader", "takeover", "", "all nodes before this one are silent: it leads from now on");
}

/* ---- the loop ---- */

static uint64_t earliest(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void arm(struct director *director, uint64_t now_ns)
{
    uint64_t next_ns = runner_next_ns(&director->runner);
    if (director->stopping)
        next_ns = earliest(next_ns, now_ns + STOP_NS / 50);
    else
        next_ns = earliest(next_ns, earliest(leader_next_ns(&director->leader), schedule_next_ns(&director->schedule)));
    if (next_ns == UINT64_MAX) {
        ev_timer_stop(director->loop, &director->due);
        return;
    }
    ev_now_update(director->loop);
    director->due.repeat = next_ns > now_ns ? (double)(next_ns - now_ns) / 1e9 : 1e-6;
    ev_timer_again(director->loop, &director->due);
}

/** Is there nothing left to be said? */
static bool may_end(const struct director *director, uint64_t now_ns)
{
    return director->stopping && (now_ns >= director->stop_ns || peers_are_drained(&director->peers));
}

/** Whatever is due now is done, and the timer set for what is due next. Every event ends here, but not at once: all that has arrived comes before what is
 *  late, so that a leader that could not run for a while does not take its own absence for the nodes' silence. */
static void due_cb(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    struct director *director = watcher->data;
    uint64_t now_ns = clock_mono_ns();
    runner_on_time(&director->runner, now_ns);
    if (may_end(director, now_ns))
        ev_break(director->loop, EVBREAK_ALL);
    if (!director->stopping) {
        if (leader_on_time(&director->leader, now_ns))
            ping(director);
        note_leadership(director);
        bool leads = director->leader.leads;
        if (schedule_due(&director->schedule, leads, now_ns))
            start_round(director, now_ns);
        if (!leads && director->waiting.first && !runner_is_running(&director->runner))
            visit_waiting(director, keep_none, NULL);
    }
    /* Not while writers are held: a directory may be slow. */
    bool quick = director->runner.round.phase == ROUND_FREEZING || director->runner.round.phase == ROUND_CUTTING;
    struct task *list = quick ? NULL : task_list_take(&director->lists);
    if (list) {
        list->reply = listing_answer(director->config, list->id);
        snapd_return(director->snapd, list);
    }
    if (director->lists.first && !quick)
        inbox_wake(&director->inbox);
    post(director);
    arm(director, now_ns);
}

static void settle_soon(struct director *director)
{
    ev_feed_event(director->loop, &director->due, EV_TIMER);
}

static void begin_stop(struct director *director)
{
    uint64_t now_ns = clock_mono_ns();
    if (director->stopping)
        return;
    director->stopping = true;
    director->stop_ns = now_ns + STOP_NS;
    runner_fail(&director->runner, MCOMP_UNAVAILABLE, "the leading snapshot process is being stopped", now_ns);
    visit_waiting(director, keep_none, "the snapshot process is being stopped");
}

static void wake_cb(struct ev_loop *loop, ev_async *watcher, int events)
{
    (void)loop;
    (void)events;
    struct director *director = watcher->data;
    bool stop;
    struct task_list list = inbox_take(&director->inbox, &stop);
    for (struct task *task; (task = task_list_take(&list));) {
        if (task->op == TASK_LIST)
            task_list_put(&director->lists, task);
        else
            take_request(director, task);
    }
    visit_waiting(director, keep_unless_abandoned, NULL);
    if (stop)
        begin_stop(director);
    settle_soon(director);
}

static void answer_cb(void *arg, uint32_t node, const struct peer_call *call, const struct exchange_response *response)
{
    struct director *director = arg;
    leader_on_heard(&director->leader, node);
    runner_on_answer(&director->runner, node, call, response, clock_mono_ns());
    settle_soon(director);
}

static void lost_cb(void *arg, uint32_t node, const struct err *err)
{
    struct director *director = arg;
    runner_on_lost(&director->runner, node, err, clock_mono_ns());
    settle_soon(director);
}

static void *director_main(void *arg)
{
    struct director *director = arg;
    settle_soon(director);
    ev_run(director->loop, 0);
    for (struct task *task; (task = task_list_take(&director->lists));) {
        task_answer(task, MCOMP_UNAVAILABLE, "the snapshot process is being stopped");
        snapd_return(director->snapd, task);
    }
    atomic_store(&director->snapd->director_ended, true);
    inbox_wake(&director->snapd->answers);
    return NULL;
}

/* ---- called by other threads ---- */

void director_put(struct director *director, struct task *task)
{
    inbox_put(&director->inbox, task);
}

void director_wake(struct director *director)
{
    inbox_wake(&director->inbox);
}

void director_begin_stop(struct director *director)
{
    inbox_stop(&director->inbox);
}

/* ---- life ---- */

/** Remove leftovers of a crash, and see which numbers were used. A directory that cannot be read costs no more than rounds that fail. */
static uint32_t look_at_directory(const struct config *config)
{
    const char *directory = config->snapshot.directory;
    struct err err;
    uint32_t removed = 0, highest = 0;
    if (snapshot_highest_round(directory, config->grid, &highest, &err) != MCOMP_OK)
        log_err(LOG_WARN, "director", "sweep", "", &err);
    if (snapshot_sweep(directory, config->grid, &removed, &err) != MCOMP_OK)
        log_err(LOG_WARN, "director", "sweep", "", &err);
    if (removed > 0)
        log_line(LOG_INFO, "director", "sweep", "", "removed %" PRIu32 " file(s) that were left incomplete in %s", removed, directory);
    return highest;
}

static void destroy(struct director *director)
{
    peers_close(&director->peers);
    inbox_close(&director->inbox);
    ev_loop_destroy(director->loop);
    free(director);
}

enum mcomp_status director_start(struct director **out, struct snapd *snapd, struct err *err)
{
    const struct config *config = snapd->config;
    struct director *director = calloc(1, sizeof *director);
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    if (!director || !loop) {
        free(director);
        if (loop)
            ev_loop_destroy(loop);
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "cannot make the director's event loop");
    }
    uint64_t now_ns = clock_mono_ns();
    director->snapd = snapd;
    director->config = config;
    director->loop = loop;
    inbox_open(&director->inbox, loop, wake_cb, director);
    ev_init(&director->due, due_cb);
    ev_set_priority(&director->due, EV_MINPRI);
    director->due.data = director;
    leader_init(&director->leader, snapd->node, config->nodes, config->snapshot.takeover_ns, now_ns);
    director->led = director->leader.leads;
    schedule_init(&director->schedule, config->snapshot.interval_ns, now_ns);
    runner_init(&director->runner, snapd, &director->peers, look_at_directory(config));
    director->runner.ended = round_ended;
    director->runner.changed = post;
    director->runner.arg = director;
    struct peers_calls calls = {.answer = answer_cb, .lost = lost_cb, .arg = director};
    enum mcomp_status code = peers_open(&director->peers, config, loop, &calls, err);
    if (code == MCOMP_OK) {
        int rc = pthread_create(&director->thread, NULL, director_main, director);
        if (rc != 0)
            code = err_sys(err, rc, "start the director thread");
    }
    if (code != MCOMP_OK) {
        destroy(director);
        return code;
    }
    *out = director;
    return MCOMP_OK;
}

void director_stop(struct director *director)
{
    if (!director)
        return;
    director_begin_stop(director);
    pthread_join(director->thread, NULL);
    destroy(director);
}
