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
    pthread_mutex_t lock;  /* guards: first, last, waiting, stopping */
    pthread_cond_t changed;
    struct job *first, *last;
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

static enum mcomp_status execute(struct worker *worker, struct job *job, const struct wire_request *request)
{
    const struct exec *exec = worker->jobs->exec;
    if (job->deadline_ns && clock_mono_ns() >= job->deadline_ns) {
        reply_error(exec, job, request, MCOMP_DEADLINE_EXCEEDED, "timeout_ms passed while the request waited for a worker");
        return MCOMP_DEADLINE_EXCEEDED;
    }
    job->reply = malloc(exec_reply_bytes(request));
    if (!job->reply) {
        reply_error(exec, job, request, MCOMP_RESOURCE_EXHAUSTED, "the node is out of memory");
        return MCOMP_RESOURCE_EXHAUSTED;
    }
    struct exec_caller caller = {.writer = worker->writer, .arena = &worker->arena, .hello_done = true, .may_wait = true};
    struct exec_result result = exec_run(exec, &caller, request, job->reply);
    MC_ASSERT(result.end != NULL);
    job->reply_bytes = (size_t)(result.end - job->reply);
    return result.status;
}

static void run_job(struct worker *worker, struct job *job)
{
    struct wire_request request;
    enum mcomp_status status;
    /* It was decoded and checked before it became a job: only memory can be missing now. */
    if (wire_request_decode(&request, job->body, job->body_bytes, &worker->arena)) {
        status = execute(worker, job, &request);
    } else {
        status = MCOMP_RESOURCE_EXHAUSTED;
        reply_error(worker->jobs->exec, job, &request, status, "the node is out of memory");
    }
    stats_count(&worker->stats, request.op, status, status == MCOMP_OK ? exec_payload(&request) : 0);
    if (worker->jobs->oplog)
        oplog_record(worker->jobs->oplog, worker->writer, &job->client, &request, status);
    arena_reset(&worker->arena);
    free(job->memory);
    job->memory = NULL;
    worker->jobs->done(job);
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
    job->next = NULL;
    pthread_mutex_lock(&jobs->lock);
    MC_ASSERT(!jobs->stopping);
    if (jobs->last)
        jobs->last->next = job;
    else
        jobs->first = job;
    jobs->last = job;
    jobs->waiting++;
    pthread_cond_signal(&jobs->changed);
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
