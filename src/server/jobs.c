/* SPDX-License-Identifier: Apache-2.0 */
#include "server/jobs.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

struct worker {
    struct jobs *jobs; /* borrowed */
    uint32_t writer;
    pthread_t thread;
    struct arena arena;
    struct stats stats;
};

struct jobs {
    const struct exec *exec;
    struct oplog *oplog;
    jobs_done_callback done;
    jobs_grow_callback grow;
    uint32_t workers, started;
    struct worker *worker; /* owned */
    pthread_mutex_t lock;  /* guards: first, last, held, held_until_ns, waiting, stopping */
    pthread_cond_t changed;
    struct job *first, *last;
    struct job *held[JOB_HOLDS]; /* in no order */
    uint64_t held_until_ns; /* the first deadline of those that are held, or before it; UINT64_MAX: none has one */
    uint32_t waiting;
    bool stopping;
    _Alignas(64) _Atomic uint64_t releases; /* how often locks were released */
    _Atomic uint32_t locked;                /* jobs in held[JOB_HELD_LOCKED] */
    _Atomic bool ending;                    /* jobs_end_locked */
};

/** Put a response of a few bytes in place of the result. */
static void reply_error(const struct exec *exec, struct job *job, const struct wire_request *request, enum mcomp_status status,
                        const char *text)
{
    job->reply = malloc(EXEC_SMALL_REPLY_BYTES);
    job->reply_bytes = job->reply ? (size_t)(exec_put_error(exec, job->reply, request, status, text) - job->reply) : 0;
}

/** Run the request until there is room for its response. False: nothing was done, and caller->met is in the way. */
static bool run(struct worker *worker, struct job *job, const struct wire_request *request, struct exec_caller *caller, enum mcomp_status *status)
{
    const struct exec *exec = worker->jobs->exec;
    uint64_t room = exec_reply_bytes(request);
    struct exec_result result;
    do {
        if (caller->room && caller->room > room && !worker->jobs->grow(job, caller->room - room)) {
            *status = MCOMP_RESOURCE_EXHAUSTED;
            reply_error(exec, job, request, *status, JOBS_BUFFERS_FULL_TEXT);
            return true;
        }
        room = caller->room ? caller->room : room;
        job->reply = malloc(room);
        if (!job->reply) {
            *status = MCOMP_RESOURCE_EXHAUSTED;
            reply_error(exec, job, request, *status, "the node is out of memory");
            return true;
        }
        result = exec_run(exec, caller, request, job->reply);
        if (!result.end) {
            free(job->reply);
            job->reply = NULL;
        }
    } while (!result.end && caller->room);
    if (!result.end)
        return false;
    *status = result.status;
    job->logged = result.logged;
    job->reply_bytes = (size_t)(result.end - job->reply);
    return true;
}

/** The request will not be executed any more. Of a transaction that must be on record before it is said. */
static void give_up(struct worker *worker, struct job *job, const struct wire_request *request, struct exec_caller *caller, enum mcomp_status *status)
{
    const struct exec *exec = worker->jobs->exec;
    caller->give_up = atomic_load(&worker->jobs->ending) ? MCOMP_UNAVAILABLE : MCOMP_DEADLINE_EXCEEDED;
    if (request->op == WIRE_OP_EXECUTE || request->op == WIRE_OP_PREPARE) {
        bool done = run(worker, job, request, caller, status);
        MC_ASSERT(done); /* recording that needs no lock that anybody waits for */
        return;
    }
    *status = caller->give_up;
    reply_error(exec, job, request, *status, exec_give_up_text(*status));
}

/** Returns false when something is in the way, which is *met: nothing was done, and there is no reply. */
static bool execute(struct worker *worker, struct job *job, const struct wire_request *request, enum mcomp_status *status, enum segment_outcome *met)
{
    const struct exec *exec = worker->jobs->exec;
    struct exec_caller caller = {.writer = worker->writer, .arena = &worker->arena, .hello_done = true, .may_wait = true, .conn = job->number};
    bool data = exec_is_data(request), done = true;
    uint32_t ticket = data ? exec_enter(exec, worker->writer) : 0;
    *status = MCOMP_OK;
    if (data && !ticket) {
        char text[RESTORING_TEXT_BYTES];
        *status = MCOMP_UNAVAILABLE;
        reply_error(exec, job, request, *status, restoring_text(exec->restoring, text));
        return true;
    }
    if (job->deadline_ns && clock_mono_ns() >= job->deadline_ns) {
        give_up(worker, job, request, &caller, status);
    } else {
        done = run(worker, job, request, &caller, status);
        if (!done && caller.met == SEGMENT_LOCKED && atomic_load(&worker->jobs->ending)) {
            give_up(worker, job, request, &caller, status);
            done = true;
        }
    }
    if (data)
        exec_leave(exec, worker->writer, ticket);
    *met = caller.met;
    return done;
}

/** To the end of the queue. The caller holds the lock. */
static void put_locked(struct jobs *jobs, struct job *job)
{
    job->next = NULL;
    if (jobs->last)
        jobs->last->next = job;
    else
        jobs->first = job;
    jobs->last = job;
}

/** Let all of a list run. */
static void release_locked(struct jobs *jobs, enum job_hold hold)
{
    while (jobs->held[hold]) {
        struct job *job = jobs->held[hold];
        jobs->held[hold] = job->next;
        put_locked(jobs, job);
    }
    if (hold == JOB_HELD_LOCKED)
        atomic_store(&jobs->locked, 0);
}

/** Let those run, to be given up, whose deadlines have come. */
static void release_overdue_locked(struct jobs *jobs, uint64_t now_ns)
{
    if (now_ns < jobs->held_until_ns)
        return;
    jobs->held_until_ns = UINT64_MAX;
    for (int hold = 0; hold < JOB_HOLDS; hold++) {
        struct job **link = &jobs->held[hold];
        while (*link) {
            struct job *job = *link;
            if (job->deadline_ns == 0 || now_ns < job->deadline_ns) {
                if (job->deadline_ns && job->deadline_ns < jobs->held_until_ns)
                    jobs->held_until_ns = job->deadline_ns;
                link = &job->next;
                continue;
            }
            *link = job->next;
            if (hold == JOB_HELD_LOCKED)
                atomic_fetch_sub(&jobs->locked, 1);
            put_locked(jobs, job);
        }
    }
}

/** Keep a job until what it met is over. If that is so already, whoever ended it may have looked at the list before we came. releases: as it was
 *  before the job met a lock. */
static void hold(struct jobs *jobs, struct job *job, enum segment_outcome met, uint64_t releases)
{
    enum job_hold list = met == SEGMENT_FROZEN ? JOB_HELD_FROZEN : JOB_HELD_LOCKED;
    pthread_mutex_lock(&jobs->lock);
    jobs->waiting++;
    job->next = jobs->held[list];
    jobs->held[list] = job;
    if (list == JOB_HELD_LOCKED)
        atomic_fetch_add(&jobs->locked, 1); /* before `releases` is looked at: jobs_release_locked does it the other way round */
    bool over = list == JOB_HELD_FROZEN ? !segment_is_frozen(jobs->exec->segment)
                                        : atomic_load(&jobs->releases) != releases || atomic_load(&jobs->ending);
    if (over) {
        release_locked(jobs, list);
    } else if (job->deadline_ns && job->deadline_ns < jobs->held_until_ns) {
        jobs->held_until_ns = job->deadline_ns;
        pthread_cond_signal(&jobs->changed); /* somebody who waits has to wake earlier */
    }
    pthread_mutex_unlock(&jobs->lock);
}

static void run_job(struct worker *worker, struct job *job)
{
    struct jobs *jobs = worker->jobs;
    if (job->run) {
        job->run(job, worker->writer);
        return;
    }
    struct wire_request request;
    enum mcomp_status status;
    enum segment_outcome met = SEGMENT_DONE;
    bool done = true;
    uint64_t releases = atomic_load(&jobs->releases);
    /* It was decoded and checked before it became a job: only memory can be missing now. */
    if (wire_request_decode(&request, job->body, job->body_bytes, &worker->arena)) {
        done = execute(worker, job, &request, &status, &met);
    } else {
        status = MCOMP_RESOURCE_EXHAUSTED;
        reply_error(jobs->exec, job, &request, status, "the node is out of memory");
    }
    if (done) {
        stats_count(&worker->stats, request.op, status, status == MCOMP_OK ? exec_payload(&request) : 0);
        if (jobs->oplog)
            oplog_record(jobs->oplog, worker->writer, &job->client, &request, status == MCOMP_OK ? job->logged : status);
    }
    arena_reset(&worker->arena);
    if (!done) {
        hold(jobs, job, met, releases);
        return;
    }
    free(job->memory);
    job->memory = NULL;
    jobs->done(job);
}

/** Until something has changed, or a deadline has come. */
static void wait_locked(struct jobs *jobs)
{
    if (jobs->held_until_ns == UINT64_MAX) {
        pthread_cond_wait(&jobs->changed, &jobs->lock);
        return;
    }
    struct timespec until = {.tv_sec = (time_t)(jobs->held_until_ns / 1000000000u), .tv_nsec = (long)(jobs->held_until_ns % 1000000000u)};
    (void)pthread_cond_timedwait(&jobs->changed, &jobs->lock, &until);
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    struct jobs *jobs = worker->jobs;
    pthread_mutex_lock(&jobs->lock);
    for (;;) {
        if (jobs->held_until_ns != UINT64_MAX)
            release_overdue_locked(jobs, clock_mono_ns());
        if (!jobs->first && !jobs->stopping) {
            wait_locked(jobs);
            continue;
        }
        struct job *job = jobs->first;
        if (!job)
            break;
        jobs->first = job->next;
        if (!jobs->first)
            jobs->last = NULL;
        jobs->waiting--;
        pthread_mutex_unlock(&jobs->lock);
        run_job(worker, job);
        pthread_mutex_lock(&jobs->lock);
    }
    pthread_mutex_unlock(&jobs->lock);
    return NULL;
}

enum mcomp_status jobs_start(struct jobs **out, const struct jobs_options *options, struct err *err)
{
    struct jobs *jobs = aligned_alloc(_Alignof(struct jobs), sizeof *jobs);
    if (jobs)
        memset(jobs, 0, sizeof *jobs);
    if (jobs)
        jobs->worker = aligned_alloc(_Alignof(struct worker), options->workers * sizeof *jobs->worker);
    if (!jobs || !jobs->worker) {
        free(jobs);
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "out of memory for %u workers", options->workers);
    }
    memset(jobs->worker, 0, options->workers * sizeof *jobs->worker);
    jobs->exec = options->exec;
    jobs->oplog = options->oplog;
    jobs->done = options->done;
    jobs->grow = options->grow;
    jobs->workers = options->workers;
    pthread_mutex_init(&jobs->lock, NULL);
    jobs->held_until_ns = UINT64_MAX;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&jobs->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    for (uint32_t i = 0; i < options->workers; i++) {
        struct worker *worker = &jobs->worker[i];
        worker->jobs = jobs;
        worker->writer = options->first_writer + i;
        arena_init(&worker->arena);
        int rc = pthread_create(&worker->thread, NULL, worker_main, worker);
        if (rc != 0) {
            jobs_stop(jobs);
            return err_sys(err, rc, "start worker thread %u", i);
        }
        jobs->started++;
    }
    *out = jobs;
    return MCOMP_OK;
}

void jobs_put(struct jobs *jobs, struct job *job)
{
    pthread_mutex_lock(&jobs->lock);
    MC_ASSERT(!jobs->stopping);
    put_locked(jobs, job);
    jobs->waiting++;
    pthread_cond_signal(&jobs->changed);
    pthread_mutex_unlock(&jobs->lock);
}

static void release(struct jobs *jobs, enum job_hold hold)
{
    pthread_mutex_lock(&jobs->lock);
    release_locked(jobs, hold);
    pthread_cond_broadcast(&jobs->changed);
    pthread_mutex_unlock(&jobs->lock);
}

void jobs_release_held(struct jobs *jobs)
{
    release(jobs, JOB_HELD_FROZEN);
}

void jobs_release_locked(struct jobs *jobs)
{
    atomic_fetch_add(&jobs->releases, 1);
    if (atomic_load(&jobs->locked) > 0)
        release(jobs, JOB_HELD_LOCKED);
}

void jobs_end_locked(struct jobs *jobs)
{
    atomic_store(&jobs->ending, true);
    release(jobs, JOB_HELD_LOCKED);
}

uint32_t jobs_waiting(struct jobs *jobs)
{
    pthread_mutex_lock(&jobs->lock);
    uint32_t waiting = jobs->waiting;
    pthread_mutex_unlock(&jobs->lock);
    return waiting;
}

const struct stats *jobs_stats(const struct jobs *jobs, uint32_t worker)
{
    return &jobs->worker[worker].stats;
}

void jobs_stop(struct jobs *jobs)
{
    if (!jobs)
        return;
    pthread_mutex_lock(&jobs->lock);
    jobs->stopping = true;
    pthread_cond_broadcast(&jobs->changed);
    pthread_mutex_unlock(&jobs->lock);
    for (uint32_t i = 0; i < jobs->started; i++) {
        pthread_join(jobs->worker[i].thread, NULL);
        arena_close(&jobs->worker[i].arena);
    }
    pthread_cond_destroy(&jobs->changed);
    pthread_mutex_destroy(&jobs->lock);
    free(jobs->worker);
    free(jobs);
}
