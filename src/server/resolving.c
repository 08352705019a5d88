/* SPDX-License-Identifier: Apache-2.0 */
#include "server/resolving.h"

#include <ev.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/exec.h"
#include "server/jobs.h"
#include "server/peers.h"
#include "txn/collector.h"
#include "txn/participant.h"
#include "txn/resolver.h"

#define TICK_BUSY_S 0.02
#define TICK_IDLE_S 1.

/** A prepared transaction whose outcome is being found out. */
struct doubt {
    struct doubt *next;
    struct lane_id id;
    bool seen; /* by the look at all prepared ones that is under way */
    struct resolver resolver;
    uint32_t count;
    struct lane_participant participants[];
};

/** A session that is being given back. */
struct collecting {
    struct collecting *next;
    uint32_t session;
    uint64_t generation; /* 0: not looked at yet */
    uint64_t heard_ns;   /* of its client, when this began */
    struct collector collector;
    struct lane_participant participants[GRID_NODES_MAX]; /* of what is being told */
};

struct resolving {
    const struct exec *exec; /* borrowed */
    struct jobs *jobs;       /* borrowed */
    uint32_t actor;
    uint32_t sessions;
    struct ev_loop *loop;    /* owned */
    ev_async wake;
    ev_timer tick;
    pthread_t thread;
    struct peers peers;

    pthread_mutex_t lock; /* guards: lost, lost_count, lost_room, stop */
    uint64_t *lost;       /* owned: numbers of connections */
    size_t lost_count, lost_room;
    bool stop;

    struct doubt **doubt_of;           /* owned: by session * LANES + lane */
    struct doubt *doubts;
    struct collecting **collecting_of; /* owned: by session */
    struct collecting *collectings;
    uint64_t look_ns;                  /* when forsaken sessions are looked for again */
    uint64_t oldest_found_ns;          /* by the look that is under way */
    _Atomic uint32_t in_doubt;
    _Atomic uint64_t oldest_ns;        /* when the oldest prepared one was prepared; UINT64_MAX: there is none */
};

/* ---- transactions in doubt ---- */

static uint64_t number_of(const struct lane_id *id)
{
    return (uint64_t)id->session * LANES + id->lane;
}

static bool same_id(const struct lane_id *a, const struct lane_id *b)
{
    return a->session == b->session && a->lane == b->lane && a->generation == b->generation && a->sequence == b->sequence;
}

/** Forget it; it is the one that *link points to. */
static void drop_doubt(struct resolving *resolving, struct doubt **link)
{
    struct doubt *doubt = *link;
    *link = doubt->next;
    if (resolving->doubt_of[number_of(&doubt->id)] == doubt)
        resolving->doubt_of[number_of(&doubt->id)] = NULL;
    atomic_fetch_sub_explicit(&resolving->in_doubt, 1, memory_order_relaxed);
    free(doubt);
}

static void log_txn(const struct lane_id *id, const char *what)
{
    char keys[128];
    snprintf(keys, sizeof keys, "session=%" PRIu32 " lane=%" PRIu32 " sequence=%" PRIu64, id->session, id->lane, id->sequence);
    log_line(LOG_WARN, "txn", "resolve", keys, "%s", what);
}

/** Begin to find out what becomes of a prepared transaction; its session is locked. When memory is short, later. */
static void make_doubt(struct resolving *resolving, const struct lane_id *id, uint64_t now_ns)
{
    const struct exec *exec = resolving->exec;
    struct err err;
    uint32_t count, self;
    const struct lane_participant *participants = segment_lane_participants(exec->segment, id->session, id->lane, &count);
    if (participant_check(participants, count, exec->node, exec->config->nodes, id, &self, &err) != MCOMP_OK) {
        log_txn(id, "the record of its participants is damaged: it cannot be resolved");
        return;
    }
    struct doubt *doubt = calloc(1, sizeof *doubt + count * sizeof *participants);
    if (!doubt)
        return;
    doubt->id = *id;
    doubt->seen = true;
    doubt->count = count;
    memcpy(doubt->participants, participants, count * sizeof *participants);
    resolver_start(&doubt->resolver, doubt->participants, count, self, now_ns);
    doubt->next = resolving->doubts;
    resolving->doubts = doubt;
    resolving->doubt_of[number_of(id)] = doubt;
    atomic_fetch_add_explicit(&resolving->in_doubt, 1, memory_order_relaxed);
}

/** One prepared lane, whose session is locked. */
static void look_at_lane(struct resolving *resolving, uint32_t session, uint32_t lane, bool frozen, uint64_t now_ns)
{
    struct segment *segment = resolving->exec->segment;
    struct lane_view view;
    segment_lane_view(segment, session, lane, &view);
    if (view.state != LANE_PREPARED)
        return;
    const struct lane_id id = {session, lane, view.generation, view.sequence};
    uint64_t prepared_ns = segment_lane_prepared_ns(segment, session, lane);
    if (prepared_ns < resolving->oldest_found_ns)
        resolving->oldest_found_ns = prepared_ns;
    struct doubt *doubt = resolving->doubt_of[number_of(&id)];
    if (doubt && same_id(&doubt->id, &id)) {
        doubt->seen = true;
        if (frozen)
            resolver_hurry(&doubt->resolver, now_ns);
        return;
    }
    if (now_ns >= prepared_ns + (frozen ? RESOLVER_FROZEN_NS : RESOLVER_DOUBT_NS) || txns_is_lost(resolving->exec->txns, session))
        make_doubt(resolving, &id, now_ns);
}

/** Find what is in doubt by now, and what is not any more. */
static void look_at_prepared(struct resolving *resolving, uint64_t now_ns)
{
    struct segment *segment = resolving->exec->segment;
    bool frozen = segment_is_frozen(segment);
    uint32_t session = 0, lane = 0;
    resolving->oldest_found_ns = UINT64_MAX;
    for (; segment_next_prepared(segment, &session, &lane); lane++) {
        if (!segment_session_lock_try(segment, session)) {
            struct doubt *doubt = resolving->doubt_of[(uint64_t)session * LANES + lane];
            if (doubt)
                doubt->seen = true; /* somebody acts on it: the next look will tell */
            continue;
        }
        look_at_lane(resolving, session, lane, frozen, now_ns);
        segment_session_unlock(segment, session);
    }
    atomic_store_explicit(&resolving->oldest_ns, resolving->oldest_found_ns, memory_order_relaxed);
    for (struct doubt **link = &resolving->doubts; *link;) {
        if (!(*link)->seen) {
            drop_doubt(resolving, link);
            continue;
        }
        (*link)->seen = false;
        link = &(*link)->next;
    }
}

/** What was found out, on its way to a worker. */
struct conclusion {
    struct job job;
    const struct exec *exec; /* borrowed */
    struct lane_id id;
    bool commit, misused;
};

/** On a worker. Where the node is being restored nothing is done: all sessions end. */
static void carry_out(struct job *job, uint32_t writer)
{
    struct conclusion *conclusion = (struct conclusion *)job;
    const struct exec *exec = conclusion->exec;
    struct txn_work work = {.message = conclusion->commit ? TXN_COMMIT : TXN_ABORT, .id = conclusion->id};
    struct txn_said said;
    uint32_t ticket = exec_enter(exec, writer);
    if (ticket) {
        segment_session_lock(exec->segment, conclusion->id.session);
        enum segment_outcome outcome = txns_act(exec->txns, writer, true, &work, &said);
        segment_session_unlock(exec->segment, conclusion->id.session);
        exec_leave(exec, writer, ticket);
        MC_ASSERT(outcome == SEGMENT_DONE);
        if (said.fresh)
            txns_count_resolved(exec->txns, writer);
        if (conclusion->misused)
            log_txn(&conclusion->id, "its client did not keep to the protocol: another participant has gone on, or was never told");
    }
    free(conclusion);
}

/** Let what was found out be carried out. When memory is short, it is found out again. */
static void conclude(struct resolving *resolving, const struct doubt *doubt)
{
    struct conclusion *conclusion = calloc(1, sizeof *conclusion);
    if (!conclusion)
        return;
    conclusion->job.run = carry_out;
    conclusion->exec = resolving->exec;
    conclusion->id = doubt->id;
    conclusion->commit = doubt->resolver.conclusion == RESOLVER_COMMIT;
    conclusion->misused = doubt->resolver.misused;
    jobs_put(resolving->jobs, &conclusion->job);
}

static void ask(struct resolving *resolving, uint64_t now_ns)
{
    for (struct doubt **link = &resolving->doubts; *link;) {
        struct doubt *doubt = *link;
        uint32_t index;
        while (resolver_next(&doubt->resolver, now_ns, &index)) {
            const struct peer_call call = {.message = TXN_RESOLVE, .own = doubt->id, .index = index};
            (void)peers_send(&resolving->peers, doubt->participants[index].node, &call, &doubt->participants[index].id, now_ns); /* or the next time */
        }
        if (doubt->resolver.conclusion == RESOLVER_IN_DOUBT) {
            link = &doubt->next;
            continue;
        }
        conclude(resolving, doubt);
        drop_doubt(resolving, link);
    }
}

/* ---- sessions that nobody uses ---- */

static void drop_collecting(struct resolving *resolving, struct collecting **link)
{
    struct collecting *collecting = *link;
    *link = collecting->next;
    resolving->collecting_of[collecting->session] = NULL;
    free(collecting);
}

static void look_for_forsaken(struct resolving *resolving, uint64_t now_ns)
{
    struct txns *txns = resolving->exec->txns;
    for (uint32_t i = 0; i < resolving->sessions; i++) {
        if (resolving->collecting_of[i] || !txns_is_forsaken(txns, i, now_ns))
            continue;
        struct collecting *collecting = calloc(1, sizeof *collecting);
        if (!collecting)
            return; /* the next look finds them */
        collecting->session = i;
        collecting->heard_ns = txns_contact_ns(txns, i);
        collector_start(&collecting->collector);
        collecting->next = resolving->collectings;
        resolving->collectings = collecting;
        resolving->collecting_of[i] = collecting;
    }
}

/** The lane that the collector wants to see; its session is locked. */
static void show_lane(struct resolving *resolving, struct collecting *collecting, const struct lane_view *view, uint64_t now_ns)
{
    const struct exec *exec = resolving->exec;
    uint32_t lane = collecting->collector.lane, count = 0, self = 0;
    struct err err;
    if (view->state == LANE_COMMITTED) {
        const struct lane_id id = {collecting->session, lane, view->generation, view->sequence};
        const struct lane_participant *participants = segment_lane_participants(exec->segment, collecting->session, lane, &count);
        if (count > 1 && participant_check(participants, count, exec->node, exec->config->nodes, &id, &self, &err) != MCOMP_OK) {
            log_txn(&id, "the record of its participants is damaged: they are not told of it");
            count = 0;
        }
        if (count) /* memcpy takes no null pointer */
            memcpy(collecting->participants, participants, count * sizeof *participants);
    }
    collector_on_lane(&collecting->collector, view, collecting->participants, count, self, now_ns);
}

/** Go on as far as it goes without others. False: it is over, one way or the other. */
static bool collect(struct resolving *resolving, struct collecting *collecting, uint64_t now_ns)
{
    const struct exec *exec = resolving->exec;
    struct collector *collector = &collecting->collector;
    bool over = false;
    collector_on_time(collector, now_ns);
    while (collector->look && !over) {
        struct lane_view view;
        struct err err;
        segment_session_lock(exec->segment, collecting->session);
        segment_lane_view(exec->segment, collecting->session, collector->lane, &view);
        if (!collecting->generation)
            collecting->generation = view.generation;
        over = view.generation == 0 || view.generation != collecting->generation ||
               txns_contact_ns(exec->txns, collecting->session) != collecting->heard_ns;
        if (!over) {
            show_lane(resolving, collecting, &view, now_ns);
            over = collector->done;
            if (over && txns_close_session(exec->txns, collecting->session, view.generation, &err) == MCOMP_OK)
                txns_count_collected(exec->txns, resolving->actor);
        }
        segment_session_unlock(exec->segment, collecting->session);
    }
    uint32_t index;
    while (!over && collector_next(collector, now_ns, &index)) {
        const struct peer_call call = {.message = TXN_COMMIT,
                                       .own = {collecting->session, collector->lane, collecting->generation, collector->sequence},
                                       .index = index};
        const struct lane_participant *to = &collecting->participants[index];
        (void)peers_send(&resolving->peers, to->node, &call, &to->id, now_ns);
    }
    return !over;
}

static void collect_all(struct resolving *resolving, uint64_t now_ns)
{
    if (now_ns >= resolving->look_ns) {
        look_for_forsaken(resolving, now_ns);
        resolving->look_ns = now_ns + (uint64_t)(TICK_IDLE_S * 1e9);
    }
    for (struct collecting **link = &resolving->collectings; *link;) {
        if (collect(resolving, *link, now_ns))
            link = &(*link)->next;
        else
            drop_collecting(resolving, link);
    }
}

/* ---- the loop ---- */

static void answer_cb(void *arg, const struct peer_call *call, enum txn_says says)
{
    struct resolving *resolving = arg;
    if (call->message == TXN_COMMIT) {
        struct collecting *collecting = resolving->collecting_of[call->own.session];
        if (collecting && collecting->generation == call->own.generation)
            collector_on_answer(&collecting->collector, call->own.lane, call->own.sequence, call->index, says);
        return;
    }
    struct doubt *doubt = resolving->doubt_of[number_of(&call->own)];
    if (!doubt || !same_id(&doubt->id, &call->own))
        return;
    resolver_on_answer(&doubt->resolver, call->index, says);
    if (doubt->resolver.conclusion == RESOLVER_IN_DOUBT)
        return;
    struct doubt **link = &resolving->doubts;
    while (*link != doubt)
        link = &(*link)->next;
    conclude(resolving, doubt);
    drop_doubt(resolving, link);
}

static void set_pace(struct resolving *resolving, bool busy)
{
    double pause_s = busy ? TICK_BUSY_S : TICK_IDLE_S;
    if (resolving->tick.repeat == pause_s)
        return;
    resolving->tick.repeat = pause_s;
    ev_timer_again(resolving->loop, &resolving->tick);
}

static void look(struct resolving *resolving)
{
    uint64_t now_ns = clock_mono_ns();
    uint32_t ticket = exec_enter(resolving->exec, resolving->actor);
    if (ticket) { /* else the node is being restored, and all sessions end */
        look_at_prepared(resolving, now_ns);
        ask(resolving, now_ns);
        collect_all(resolving, now_ns);
        set_pace(resolving, resolving->doubts || resolving->collectings || !txns_unwatch(resolving->exec->txns));
        exec_leave(resolving->exec, resolving->actor, ticket);
    }
    peers_tick(&resolving->peers, now_ns);
}

static void tick_cb(struct ev_loop *loop, ev_timer *watcher, int events)
{
    (void)loop;
    (void)events;
    look(watcher->data);
}

static void wake_cb(struct ev_loop *loop, ev_async *watcher, int events)
{
    (void)events;
    struct resolving *resolving = watcher->data;
    pthread_mutex_lock(&resolving->lock);
    uint64_t *lost = resolving->lost;
    size_t lost_count = resolving->lost_count;
    bool stop = resolving->stop;
    resolving->lost = NULL;
    resolving->lost_count = resolving->lost_room = 0;
    pthread_mutex_unlock(&resolving->lock);
    if (stop)
        ev_break(loop, EVBREAK_ALL);
    if (lost_count)
        txns_lose(resolving->exec->txns, lost, lost_count, clock_mono_ns());
    free(lost);
    if (lost_count)
        look(resolving); /* their transactions are in doubt at once */
    else
        set_pace(resolving, true);
}

static void *resolving_main(void *arg)
{
    struct resolving *resolving = arg;
    look(resolving); /* at what an earlier server left prepared */
    ev_run(resolving->loop, 0);
    return NULL;
}

/* ---- called by others ---- */

void resolving_wake(struct resolving *resolving)
{
    ev_async_send(resolving->loop, &resolving->wake);
}

void resolving_lost(struct resolving *resolving, uint64_t conn)
{
    pthread_mutex_lock(&resolving->lock);
    if (resolving->lost_count == resolving->lost_room) {
        size_t room = resolving->lost_room ? 2 * resolving->lost_room : 64;
        uint64_t *larger = realloc(resolving->lost, room * sizeof *larger);
        if (larger) {
            resolving->lost = larger;
            resolving->lost_room = room;
        }
    }
    if (resolving->lost_count < resolving->lost_room) /* else the session's idle time decides */
        resolving->lost[resolving->lost_count++] = conn;
    pthread_mutex_unlock(&resolving->lock);
    ev_async_send(resolving->loop, &resolving->wake);
}

void resolving_fill_status(const struct resolving *resolving, Mcomp__V1__StatusResult *result)
{
    uint64_t oldest_ns = atomic_load_explicit(&resolving->oldest_ns, memory_order_relaxed), now_ns = clock_mono_ns();
    result->in_doubt = atomic_load_explicit(&resolving->in_doubt, memory_order_relaxed);
    result->prepared_oldest_ms = result->prepared && oldest_ns < now_ns ? (now_ns - oldest_ns) / 1000000u : 0;
}

/* ---- life ---- */

void resolving_stop(struct resolving *resolving)
{
    if (!resolving)
        return;
    pthread_mutex_lock(&resolving->lock);
    resolving->stop = true;
    pthread_mutex_unlock(&resolving->lock);
    ev_async_send(resolving->loop, &resolving->wake);
    pthread_join(resolving->thread, NULL);
}

void resolving_free(struct resolving *resolving)
{
    if (!resolving)
        return;
    while (resolving->doubts)
        drop_doubt(resolving, &resolving->doubts);
    while (resolving->collectings)
        drop_collecting(resolving, &resolving->collectings);
    peers_close(&resolving->peers);
    if (resolving->loop)
        ev_loop_destroy(resolving->loop);
    pthread_mutex_destroy(&resolving->lock);
    free(resolving->lost);
    free(resolving->doubt_of);
    free(resolving->collecting_of);
    free(resolving);
}

enum mcomp_status resolving_start(struct resolving **out, const struct resolving_options *options, struct err *err)
{
    const struct exec *exec = options->exec;
    struct resolving *resolving = calloc(1, sizeof *resolving);
    if (!resolving)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "out of memory for the thread that resolves transactions");
    pthread_mutex_init(&resolving->lock, NULL);
    atomic_init(&resolving->oldest_ns, UINT64_MAX);
    resolving->exec = exec;
    resolving->jobs = options->jobs;
    resolving->actor = options->actor;
    resolving->sessions = segment_session_limit(exec->segment);
    resolving->doubt_of = calloc((size_t)resolving->sessions * LANES, sizeof(struct doubt *));
    resolving->collecting_of = calloc(resolving->sessions, sizeof(struct collecting *));
    resolving->loop = ev_loop_new(EVFLAG_AUTO);
    if (!resolving->doubt_of || !resolving->collecting_of || !resolving->loop) {
        resolving_free(resolving);
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "cannot make the loop of the thread that resolves transactions");
    }
    const struct peers_calls calls = {.answer = answer_cb, .arg = resolving};
    enum mcomp_status code = peers_open(&resolving->peers, exec->config, exec->node, resolving->loop, &calls, err);
    if (code != MCOMP_OK) {
        resolving_free(resolving);
        return code;
    }
    ev_async_init(&resolving->wake, wake_cb);
    ev_timer_init(&resolving->tick, tick_cb, TICK_IDLE_S, TICK_IDLE_S);
    resolving->wake.data = resolving->tick.data = resolving;
    ev_async_start(resolving->loop, &resolving->wake);
    ev_timer_start(resolving->loop, &resolving->tick);
    int rc = pthread_create(&resolving->thread, NULL, resolving_main, resolving);
    if (rc != 0) {
        resolving_free(resolving);
        return err_sys(err, rc, "start the thread that resolves transactions");
    }
    *out = resolving;
    return MCOMP_OK;
}
