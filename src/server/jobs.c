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
    uint32_t workers, started;
    struct worker *worker; /* owned */
    pthread_mutex_t lock;  /* guards: first, last, held, waiting, stopping */
    pthread_cond_t changed;
    struct job *first, *last;
    struct job *held;      /* met a frozen segment; in no order */
    uint32_t waiting;
    bool stopping;
};

/** Put a response of a few bytes in place of the result. */
static void reply_error(const struct exec *exec, struct job *job, const struct wire_request *request, enum mcomp_status status,
                        const char *text)
{
    job->reply = malloc(EXEC_SMALL_REPLY_BYTES);
    job->reply_bytes = job->reply ? (size_t)(exec_put_error(exec, job->reply, request, status, text) - job->reply) : 0;
}

/** Returns false when the segment is frozen: nothing was done, and there is no reply. */
static bool execute(struct worker *worker, struct job *job, const struct wire_request *request, enum mcomp_status *status)
{
    const struct exec *exec = worker->jobs->exec;
    *status = MCOMP_OK;
    if (job->deadline_ns && clock_mono_ns() >= job->deadline_ns) {
        *status = MCOMP_DEADLINE_EXCEEDED;
        reply_error(exec, job, request, *status, "timeout_ms passed while the request waited for its turn");
        return true;
    }
    job->reply = malloc(exec_reply_bytes(request));
    if (!job->reply) {
        *status = MCOMP_RESOURCE_EXHAUSTED;
        reply_error(exec, job, request, *status, "the node is out of memory");
        return true;
    }
    struct exec_caller caller = {.writer = worker->writer, .arena = &worker->arena, .hello_done = true, .may_wait = true};
    bool data = exec_is_data(request);
    uint32_t ticket = data ? exec_enter(exec, worker->writer) : 0;
    if (data && !ticket) {
        char text[RESTORING_TEXT_BYTES];
        free(job->reply);
        *status = MCOMP_UNAVAILABLE;
        reply_error(exec, job, request, *status, restoring_text(exec->restoring, text));
        return true;
    }
    struct exec_result result = exec_run(exec, &caller, request, job->reply);
    if (data)
        exec_leave(exec, worker->writer, ticket);
    if (!result.end) {
        free(job->reply);
        job->reply = NULL;
        return false;
    }
    *status = result.status;
    job->reply_bytes = (size_t)(result.end - job->reply);
    return true;
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

/** Keep a job until the segment takes writes again. If it does so already, whoever thawed it may have looked at the list before we came. */
static void hold(struct jobs *jobs, struct job *job)
{
    pthread_mutex_lock(&jobs->lock);
    jobs->waiting++;
    if (segment_is_frozen(jobs->exec->segment)) {
        job->next = jobs->held;
        jobs->held = job;
    } else {
        put_locked(jobs, job);
    }
    pthread_mutex_unlock(&jobs->lock);
}

static void run_job(struct worker *worker, struct job *job)
{
    struct jobs *jobs = worker->jobs;
    struct wire_request request;
    enum mcomp_status status;
    bool done = true;
    /* It was decoded and checked before it became a job: only memory can be missing now. */
    if (wire_request_decode(&request, job->body, job->body_bytes, &worker->arena)) {
        done = execute(worker, job, &request, &status);
    } else {
        status = MCOMP_RESOURCE_EXHAUSTED;
        reply_error(jobs->exec, job, &request, status, "the node is out of memory");
    }
    if (done) {
        stats_count(&worker->stats, request.op, status, status == MCOMP_OK ? exec_payload(&request) : 0);
        if (jobs->oplog)
            oplog_record(jobs->oplog, worker->writer, &job->client, &request, status);
    }
    arena_reset(&worker->arena);
    if (!done) {
        hold(jobs, job);
        return;
    }
    free(job->memory);
    job->memory = NULL;
    jobs->done(job);
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    struct jobs *jobs = worker->jobs;
    pthread_mutex_lock(&jobs->lock);
    for (;;) {
        while (!jobs->first && !jobs->stopping)
            pthread_cond_wait(&jobs->changed, &jobs->lock);
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
    struct jobs *jobs = calloc(1, sizeof *jobs);
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
    jobs->workers = options->workers;
    pthread_mutex_init(&jobs->lock, NULL);
    pthread_cond_init(&jobs->changed, NULL);
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

void jobs_release_held(struct jobs *jobs)
{
    pthread_mutex_lock(&jobs->lock);
    while (jobs->held) {
        struct job *job = jobs->held;
        jobs->held = job->next;
        put_locked(jobs, job);
    }
    pthread_cond_broadcast(&jobs->changed);
    pthread_mutex_unlock(&jobs->lock);
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
