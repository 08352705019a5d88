/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"
#include "cli/bench_txn.h"
#include "cli/interrupt.h"

#define EVENTS_MAX 64
#define NS_PER_S UINT64_C(1000000000)
#define SHOW_TIME_MS 1000

/** All of one run. Owner: bench_run(). */
struct bench {
    struct mcomp *grid; /* borrowed */
    const struct bench_plan *plan;
    uint64_t begin_ns, end_ns; /* what is counted; set before the threads start */
    atomic_bool stop;          /* submit no more */
    atomic_uint running;       /* threads */
    int ended_fd;              /* eventfd: a thread has ended */
};

/** One operation under way, again and again. */
struct slot {
    struct lane *lane;
    uint64_t begin_ns;
    uint8_t *buffer;
    struct mcomp_txn *txn; /* owned; where the operations are transactions */
};

/** One queue and its operations; belongs to one thread. */
struct lane {
    struct worker *worker;
    struct mcomp_queue *queue; /* owned */
    struct slot *slots;        /* owned */
};

/** One thread. */
struct worker {
    struct bench *bench;
    struct lane *lanes; /* owned */
    uint32_t lane_count;
    uint8_t *memory; /* owned; the buffers of all slots */
    struct mcomp_txn *txn; /* owned; of synchronous transactions */
    int epoll_fd;    /* owned */
    pthread_t thread;
    bool started;
    uint64_t random;
    uint64_t now_ns; /* when the callbacks of this run began; 0: none yet */
    enum mcomp_status failure; /* OK, or why the thread ended early */
    struct mcomp_error error;
    struct bench_report report;
};

/* splitmix64 of G. Steele, D. Lea and C. Flood */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t random_address(const struct bench_plan *plan, uint64_t random)
{
    return plan->address + plan->size * (uint64_t)(((unsigned __int128)random * plan->places) >> 64);
}

/** Reads or writes? The low half of the random number, which hardly moves the address. */
static bool choose_read(const struct bench_plan *plan, uint64_t random)
{
    if (plan->op != BENCH_MIXED)
        return plan->op == BENCH_READ;
    return ((random & UINT32_MAX) * 100) >> 32 < BENCH_MIXED_READ_PERCENT;
}

static void count(struct worker *worker, enum mcomp_status status, uint64_t begin_ns, uint64_t end_ns)
{
    const struct bench *bench = worker->bench;
    if (end_ns - bench->begin_ns >= bench->end_ns - bench->begin_ns)
        return; /* before the beginning, too: the difference is huge then */
    if (status == MCOMP_OK) {
        worker->report.operations++;
        histogram_record(&worker->report.latency, end_ns - begin_ns);
    } else {
        worker->report.errors++;
        worker->report.errors_by_status[(unsigned)status < BENCH_STATUSES ? (unsigned)status : (unsigned)MCOMP_UNKNOWN]++;
    }
}

static bool is_over(struct bench *bench, uint64_t now_ns)
{
    return now_ns >= bench->end_ns || atomic_load_explicit(&bench->stop, memory_order_relaxed);
}

/* ---- asynchronous ---- */

static void slot_done(void *arg, const struct mcomp_completion *completion);

static void slot_submit(struct slot *slot)
{
    struct worker *worker = slot->lane->worker;
    const struct bench_plan *plan = worker->bench->plan;
    uint64_t random = next_random(&worker->random);
    uint64_t address = random_address(plan, random);
    struct mcomp_queue *queue = slot->lane->queue;
    enum mcomp_status status;
    slot->begin_ns = worker->now_ns;
    if (bench_is_txn(plan->op)) {
        status = bench_txn_build(slot->txn, plan, mcomp_segment_size(worker->bench->grid), address, slot->buffer, &worker->error);
        if (status == MCOMP_OK)
            status = mcomp_queue_txn(queue, slot->txn, plan->timeout_ms, slot_done, slot, &worker->error);
    } else if (plan->op == BENCH_ADD)
        status = mcomp_queue_fetch_add(queue, address, 1, plan->timeout_ms, slot_done, slot, &worker->error);
    else if (choose_read(plan, random))
        status = mcomp_queue_read(queue, address, slot->buffer, (size_t)plan->size, plan->timeout_ms, slot_done, slot, &worker->error);
    else
        status = mcomp_queue_write(queue, address, slot->buffer, (size_t)plan->size, plan->timeout_ms, slot_done, slot, &worker->error);
    if (status != MCOMP_OK) {
        worker->failure = status;
        atomic_store(&worker->bench->stop, true);
    }
}

static void slot_done(void *arg, const struct mcomp_completion *completion)
{
    struct slot *slot = arg;
    struct worker *worker = slot->lane->worker;
    /* One look at the clock for all callbacks of a run: one for each cost 10 % of all time at the highest rates. The time of a run is lost from
     * the latency of the operations that it ends, and added to those that it begins, so that no time is counted twice or never. */
    if (worker->now_ns == 0)
        worker->now_ns = clock_mono_ns();
    count(worker, completion->status, slot->begin_ns, worker->now_ns);
    if (!is_over(worker->bench, worker->now_ns))
        slot_submit(slot);
}

static void lane_run(struct lane *lane, int wait_ms)
{
    lane->worker->now_ns = 0;
    (void)mcomp_queue_run(lane->queue, wait_ms);
    mcomp_queue_flush(lane->queue); /* what the callbacks submitted */
}

static bool all_idle(const struct worker *worker)
{
    for (uint32_t i = 0; i < worker->lane_count; i++) {
        if (mcomp_queue_pending(worker->lanes[i].queue) > 0)
            return false;
    }
    return true;
}

static void run_lanes(struct worker *worker)
{
    struct epoll_event events[EVENTS_MAX];
    worker->now_ns = clock_mono_ns();
    for (uint32_t i = 0; i < worker->lane_count; i++) {
        for (uint32_t d = 0; d < worker->bench->plan->depth; d++)
            slot_submit(&worker->lanes[i].slots[d]);
        mcomp_queue_flush(worker->lanes[i].queue);
    }
    /* Each callback submits the next operation until the end has come, so something is under way as long as there is something to do. */
    while (!all_idle(worker)) {
        if (worker->lane_count == 1) {
            lane_run(&worker->lanes[0], -1);
            continue;
        }
        int n = epoll_wait(worker->epoll_fd, events, EVENTS_MAX, -1);
        for (int i = 0; i < n; i++)
            lane_run(events[i].data.ptr, 0);
    }
}

/* ---- synchronous ---- */

static enum mcomp_status call_txn(struct worker *worker, uint64_t address, uint8_t *buffer)
{
    const struct bench_plan *plan = worker->bench->plan;
    enum mcomp_status status = bench_txn_build(worker->txn, plan, mcomp_segment_size(worker->bench->grid), address, buffer, NULL);
    return status == MCOMP_OK ? mcomp_txn_commit(worker->txn, plan->timeout_ms, NULL, NULL) : status;
}

static void run_calls(struct worker *worker)
{
    struct bench *bench = worker->bench;
    const struct bench_plan *plan = bench->plan;
    uint8_t *buffer = worker->memory;
    uint64_t now_ns = clock_mono_ns(), before;
    while (!is_over(bench, now_ns)) {
        uint64_t random = next_random(&worker->random);
        uint64_t address = random_address(plan, random), begin_ns = now_ns;
        enum mcomp_status status;
        if (bench_is_txn(plan->op))
            status = call_txn(worker, address, buffer);
        else if (plan->op == BENCH_ADD)
            status = mcomp_fetch_add(bench->grid, address, 1, &before, plan->timeout_ms, NULL);
        else if (choose_read(plan, random))
            status = mcomp_read(bench->grid, address, buffer, (size_t)plan->size, plan->timeout_ms, NULL);
        else
            status = mcomp_write(bench->grid, address, buffer, (size_t)plan->size, plan->timeout_ms, NULL);
        now_ns = clock_mono_ns();
        count(worker, status, begin_ns, now_ns);
    }
}

/* ---- beginning and end ---- */

static void touched(void *arg, const struct mcomp_completion *completion)
{
    struct worker *worker = arg;
    if (completion->status != MCOMP_OK && worker->failure == MCOMP_OK) {
        worker->failure = completion->status;
        if (completion->error)
            worker->error = *completion->error;
    }
}

/** Read a byte of each node in the range, so that all connections stand before the clock starts. */
static enum mcomp_status touch_nodes(struct worker *worker, struct lane *lane)
{
    const struct bench_plan *plan = worker->bench->plan;
    uint64_t segment = mcomp_segment_size(worker->bench->grid), last = plan->address + plan->size * plan->places - 1;
    uint8_t bytes[1];
    if (plan->op == BENCH_TXN2)
        last += segment;
    for (uint64_t node = plan->address / segment; node <= last / segment && worker->failure == MCOMP_OK; node++) {
        uint64_t address = node * segment > plan->address ? node * segment : plan->address;
        if (!lane) {
            worker->failure = mcomp_read(worker->bench->grid, address, bytes, 1, plan->timeout_ms, &worker->error);
            continue;
        }
        worker->failure = mcomp_queue_read(lane->queue, address, bytes, 1, plan->timeout_ms, touched, worker, &worker->error);
        while (mcomp_queue_pending(lane->queue) > 0)
            (void)mcomp_queue_run(lane->queue, -1);
    }
    return worker->failure;
}

static enum mcomp_status lane_open(struct worker *worker, struct lane *lane, uint8_t *memory)
{
    const struct bench_plan *plan = worker->bench->plan;
    lane->worker = worker;
    lane->slots = calloc(plan->depth, sizeof *lane->slots);
    if (!lane->slots) {
        snprintf(worker->error.text, sizeof worker->error.text, "out of memory");
        return worker->failure = MCOMP_RESOURCE_EXHAUSTED;
    }
    for (uint32_t d = 0; d < plan->depth; d++) {
        lane->slots[d].lane = lane;
        lane->slots[d].buffer = memory + d * plan->size;
        if (bench_is_txn(plan->op) && worker->failure == MCOMP_OK)
            worker->failure = mcomp_txn_begin(worker->bench->grid, &lane->slots[d].txn, &worker->error);
    }
    if (worker->failure == MCOMP_OK)
        worker->failure = mcomp_queue_open(worker->bench->grid, &lane->queue, &worker->error);
    if (worker->failure != MCOMP_OK)
        return worker->failure;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = lane};
    if (epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, mcomp_queue_fd(lane->queue), &event) != 0) {
        snprintf(worker->error.text, sizeof worker->error.text, "cannot watch a connection: %s", strerror(errno));
        return worker->failure = MCOMP_RESOURCE_EXHAUSTED;
    }
    return touch_nodes(worker, lane);
}

static enum mcomp_status worker_open(struct worker *worker, struct bench *bench, uint32_t number, uint32_t lanes)
{
    const struct bench_plan *plan = bench->plan;
    size_t bytes = (size_t)(plan->size * plan->depth * lanes);
    worker->bench = bench;
    worker->random = number;
    worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    worker->memory = malloc(bytes);
    worker->lanes = calloc(lanes, sizeof *worker->lanes);
    if (!worker->memory || !worker->lanes || worker->epoll_fd < 0) {
        snprintf(worker->error.text, sizeof worker->error.text, "out of memory or descriptors: %zu bytes for buffers are needed", bytes);
        return worker->failure = MCOMP_RESOURCE_EXHAUSTED;
    }
    for (size_t i = 0; i < bytes; i++)
        worker->memory[i] = bench_is_txn(plan->op) ? 0 : (uint8_t)(i * 131 + 7);
    if (bench_is_txn(plan->op) && plan->synchronous)
        worker->failure = mcomp_txn_begin(bench->grid, &worker->txn, &worker->error);
    if (worker->failure != MCOMP_OK)
        return worker->failure;
    if (plan->synchronous)
        return touch_nodes(worker, NULL);
    for (; worker->lane_count < lanes && worker->failure == MCOMP_OK; worker->lane_count++)
        (void)lane_open(worker, &worker->lanes[worker->lane_count], worker->memory + plan->size * plan->depth * worker->lane_count);
    return worker->failure;
}

static void worker_close(struct worker *worker)
{
    for (uint32_t i = 0; i < worker->lane_count; i++) {
        mcomp_queue_close(worker->lanes[i].queue);
        for (uint32_t d = 0; d < worker->bench->plan->depth && worker->lanes[i].slots; d++)
            mcomp_txn_end(worker->lanes[i].slots[d].txn);
        free(worker->lanes[i].slots);
    }
    if (worker->epoll_fd >= 0)
        close(worker->epoll_fd);
    mcomp_txn_end(worker->txn);
    free(worker->lanes);
    free(worker->memory);
}

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    struct bench *bench = worker->bench;
    uint64_t one = 1;
    if (bench->plan->synchronous)
        run_calls(worker);
    else
        run_lanes(worker);
    atomic_fetch_sub(&bench->running, 1);
    while (write(bench->ended_fd, &one, sizeof one) < 0 && errno == EINTR)
        continue;
    return NULL;
}

static void show_time_left(const struct bench *bench)
{
    char text[UNITS_TEXT_BYTES];
    uint64_t now_ns = clock_mono_ns(), left_s = now_ns < bench->end_ns ? (bench->end_ns - now_ns) / NS_PER_S + 1 : 0;
    fprintf(stderr, "\rbench  %s left\033[K", units_format_duration(left_s * NS_PER_S, text));
    fflush(stderr);
}

/** Until all threads have ended. The second signal ends the process: a node that does not answer must not hold us. */
static void wait_for_workers(struct bench *bench, struct interrupt *interrupt, struct bench_report *report)
{
    struct pollfd fds[] = {{.fd = bench->ended_fd, .events = POLLIN}, {.fd = interrupt->fd, .events = POLLIN}};
    uint64_t ended;
    bool show_time = bench->plan->show_time;
    while (atomic_load(&bench->running) > 0) {
        if (show_time)
            show_time_left(bench);
        if (poll(fds, 2, show_time ? SHOW_TIME_MS : -1) < 0 && errno != EINTR)
            break;
        if ((fds[0].revents & POLLIN) && read(bench->ended_fd, &ended, sizeof ended) < 0 && errno != EAGAIN)
            break;
        if (!interrupt_take(interrupt))
            continue;
        if (report->interrupted)
            _exit(CLI_INTERRUPTED);
        report->interrupted = true;
        atomic_store(&bench->stop, true);
    }
    if (show_time)
        fputs("\r\033[K", stderr);
}

static void add_up(struct bench_report *report, const struct bench_report *part, uint64_t size)
{
    report->operations += part->operations;
    report->bytes += part->operations * size;
    report->errors += part->errors;
    for (unsigned i = 0; i < BENCH_STATUSES; i++)
        report->errors_by_status[i] += part->errors_by_status[i];
    histogram_merge(&report->latency, &part->latency);
}

static enum mcomp_status run_workers(struct bench *bench, struct worker *workers, struct interrupt *interrupt, struct bench_report *report,
                                     struct mcomp_error *error)
{
    const struct bench_plan *plan = bench->plan;
    bench->begin_ns = clock_mono_ns() + BENCH_WARM_UP_NS;
    bench->end_ns = bench->begin_ns + plan->duration_ns;
    atomic_store(&bench->running, plan->threads);
    for (uint32_t i = 0; i < plan->threads; i++) {
        workers[i].started = pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]) == 0;
        if (workers[i].started)
            continue;
        atomic_store(&bench->stop, true);
        atomic_fetch_sub(&bench->running, 1);
        workers[i].failure = MCOMP_RESOURCE_EXHAUSTED;
        snprintf(workers[i].error.text, sizeof workers[i].error.text, "cannot start thread %u of %u", i + 1, plan->threads);
    }
    wait_for_workers(bench, interrupt, report);
    uint64_t now_ns = clock_mono_ns(), end_ns = now_ns < bench->end_ns ? now_ns : bench->end_ns;
    report->elapsed_ns = end_ns > bench->begin_ns ? end_ns - bench->begin_ns : 0;
    enum mcomp_status status = MCOMP_OK;
    for (uint32_t i = 0; i < plan->threads; i++) {
        if (workers[i].started)
            pthread_join(workers[i].thread, NULL);
        add_up(report, &workers[i].report, plan->size);
        if (workers[i].failure != MCOMP_OK && status == MCOMP_OK) {
            status = workers[i].failure;
            *error = workers[i].error;
            error->status = status;
        }
    }
    return status;
}

static enum mcomp_status open_and_run(struct bench *bench, struct worker *workers, struct bench_report *report, struct mcomp_error *error)
{
    const struct bench_plan *plan = bench->plan;
    struct interrupt interrupt;
    struct err err;
    for (uint32_t i = 0; i < plan->threads; i++)
        workers[i].epoll_fd = -1;
    if (bench_is_txn(plan->op) && bench_txn_zero(bench->grid, plan, error) != MCOMP_OK)
        return error->status;
    for (uint32_t i = 0; i < plan->threads; i++) {
        uint32_t lanes = plan->connections / plan->threads + (i < plan->connections % plan->threads);
        enum mcomp_status status = worker_open(&workers[i], bench, i, lanes);
        if (status != MCOMP_OK) {
            *error = workers[i].error;
            error->status = status;
            return status;
        }
    }
    enum mcomp_status status = interrupt_open(&interrupt, &err);
    if (status != MCOMP_OK) {
        error->status = status;
        snprintf(error->text, sizeof error->text, "%s", err.text);
        return status;
    }
    status = run_workers(bench, workers, &interrupt, report, error);
    interrupt_close(&interrupt);
    return status;
}

enum mcomp_status bench_run(struct mcomp *grid, const struct bench_plan *plan, struct bench_report *report, struct mcomp_error *error)
{
    struct bench bench = {.grid = grid, .plan = plan};
    *report = (struct bench_report){0};
    *error = (struct mcomp_error){.node = MCOMP_NO_NODE};
    struct worker *workers = calloc(plan->threads, sizeof *workers);
    bench.ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    enum mcomp_status status = MCOMP_RESOURCE_EXHAUSTED;
    if (workers && bench.ended_fd >= 0) {
        status = open_and_run(&bench, workers, report, error);
        for (uint32_t i = 0; i < plan->threads; i++)
            worker_close(&workers[i]);
    } else {
        error->status = status;
        snprintf(error->text, sizeof error->text, "out of memory or descriptors");
    }
    if (bench.ended_fd >= 0)
        close(bench.ended_fd);
    free(workers);
    return status;
}
