/* SPDX-License-Identifier: Apache-2.0 */
/** Nanoseconds for each operation of the segment, without a server: what the memory itself costs.
 *
 *      segment_bench [MILLISECONDS [WORD]]      only rows whose name contains WORD
 *
 *  Each figure is the best of several runs of MILLISECONDS (default 20) each: what is left when nothing disturbs. Columns: one
 *  thread; two threads on halves of their own; two threads on the same bytes (time for each operation of one thread). "spread" rows
 *  walk over the whole segment, the others stay in 64 KiB, which the processor's caches hold. Then, for one thread, what a snapshot costs:
 *  writes while a capture is live, and captures. */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "segment/capture.h"
#include "segment/segment.h"
#include "segment/transaction.h"

#define SEGMENT_BYTES (UINT64_C(64) << 20)
#define RUNS 9
#define THREADS 2
#define CHECK_EVERY 64 /* operations between looks at the clock */

enum op { OP_READ, OP_READ_TRY, OP_HOLD, OP_WRITE, OP_WRITE_TRY, OP_ADD, OP_CAS, OP_MULTI, OP_EXECUTE, OP_EXECUTE_LANE, OP_PREPARE };

static const uint8_t ones[64] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                                   1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

struct row {
    const char *name;
    enum op op;
    uint64_t bytes;
    uint64_t alignment; /* of addresses */
    uint64_t reach;     /* addresses lie in the first `reach` bytes of the thread's part */
};

struct task {
    struct segment *segment;
    const struct row *row;
    uint32_t writer;
    uint64_t base;
    uint64_t run_ns;
    pthread_barrier_t *start;
    uint64_t operations, ns;
    uint8_t *buffer;
    struct lane_id id; /* of the thread's own session */
};

/* A compare, a read and a write of `bytes` each, on this node alone, or as on one of two nodes. */
static void run_transaction(struct task *task, uint64_t offset)
{
    struct segment *segment = task->segment;
    uint64_t bytes = task->row->bytes;
    struct segment_compare compare = {.offset = offset, .length = bytes, .expected = ones};
    struct segment_range read = {offset + bytes, bytes};
    struct segment_write_range write = {offset, bytes, ones};
    struct segment_items items = {.compares = &compare, .compare_count = 1, .reads = &read, .read_count = 1, .writes = &write, .write_count = 1,
                                  .answer = task->buffer};
    struct lane_view view;
    if (task->row->op == OP_EXECUTE) {
        MC_ASSERT(segment_execute(segment, task->writer, NULL, &items, &view) == SEGMENT_DONE);
        return;
    }
    segment_session_lock(segment, task->id.session);
    task->id.sequence++;
    if (task->row->op == OP_EXECUTE_LANE) {
        MC_ASSERT(segment_execute(segment, task->writer, &task->id, &items, &view) == SEGMENT_DONE);
    } else {
        struct lane_participant participants[2] = {{.node = 0, .id = task->id}, {.node = 1, .id = task->id}};
        MC_ASSERT(segment_prepare(segment, task->writer, &task->id, &items, participants, 2, &view) == SEGMENT_DONE);
        if (view.state == LANE_PREPARED)
            MC_ASSERT(segment_commit(segment, task->writer, &task->id) == SEGMENT_DONE);
    }
    segment_session_unlock(segment, task->id.session);
}

static void run_once(struct task *task, uint64_t offset)
{
    struct segment *segment = task->segment;
    uint64_t bytes = task->row->bytes, value;
    switch (task->row->op) {
    case OP_READ:
        MC_ASSERT(segment_read(segment, offset, bytes, task->buffer) == SEGMENT_DONE);
        break;
    case OP_READ_TRY:
        MC_ASSERT(segment_read_try(segment, offset, bytes, task->buffer) != SEGMENT_LOCKED);
        break;
    case OP_HOLD:
        if (segment_hold_try(segment, offset, bytes))
            segment_release(segment, offset, bytes);
        break;
    case OP_WRITE:
        MC_ASSERT(segment_write(segment, task->writer, offset, bytes, task->buffer) == SEGMENT_DONE);
        break;
    case OP_WRITE_TRY:
        MC_ASSERT(segment_write_try(segment, task->writer, offset, bytes, task->buffer) != SEGMENT_FROZEN);
        break;
    case OP_ADD:
        MC_ASSERT(segment_add(segment, task->writer, offset, 1, &value) == SEGMENT_DONE);
        break;
    case OP_CAS:
        MC_ASSERT(segment_cas(segment, task->writer, offset, 0, 0, &value) == SEGMENT_DONE);
        break;
    case OP_MULTI: {
        struct segment_range reads[2] = {{offset, bytes}, {offset + 2 * bytes, bytes}};
        struct segment_write_range writes[2] = {{offset + bytes, bytes, task->buffer}, {offset + 3 * bytes, bytes, task->buffer}};
        MC_ASSERT(segment_multi(segment, task->writer, reads, 2, task->buffer + 4 * bytes, writes, 2) == SEGMENT_DONE);
        break;
    }
    case OP_EXECUTE:
    case OP_EXECUTE_LANE:
    case OP_PREPARE:
        run_transaction(task, offset);
    }
}

static void *run_task(void *arg)
{
    struct task *task = arg;
    const struct row *row = task->row;
    uint64_t places = (row->reach - 4 * row->bytes) / row->alignment + 1, place = 0, count = 0;
    pthread_barrier_wait(task->start);
    uint64_t began = clock_mono_ns(), now = began;
    while (now - began < task->run_ns) {
        for (int i = 0; i < CHECK_EVERY; i++) {
            run_once(task, task->base + place * row->alignment);
            place = (place * 5 + 12345) % places;
        }
        count += CHECK_EVERY;
        now = clock_mono_ns();
    }
    task->operations = count;
    task->ns = now - began;
    return NULL;
}

/* Mean nanoseconds for an operation of one thread, when `threads` run. */
static double run_threads(struct segment *segment, const struct row *row, uint32_t threads, uint64_t distance, uint64_t run_ns, uint8_t **buffers)
{
    struct task task[THREADS];
    pthread_t thread[THREADS];
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, threads);
    for (uint32_t i = 0; i < threads; i++) {
        task[i] = (struct task){.segment = segment, .row = row, .writer = i, .base = i * distance, .run_ns = run_ns, .start = &start,
                                .buffer = buffers[i]};
        uint8_t client[SEGMENT_CLIENT_BYTES] = {(uint8_t)i};
        struct lane_view view;
        MC_ASSERT(segment_session_open(segment, client, &task[i].id.session, &task[i].id.generation, NULL) == MCOMP_OK);
        segment_lane_view(segment, task[i].id.session, 0, &view);
        task[i].id.sequence = view.sequence;
        if (pthread_create(&thread[i], NULL, run_task, &task[i]) != 0)
            abort();
    }
    double sum = 0;
    for (uint32_t i = 0; i < threads; i++) {
        pthread_join(thread[i], NULL);
        sum += (double)task[i].ns / (double)task[i].operations;
    }
    pthread_barrier_destroy(&start);
    return sum / threads;
}

static double best(struct segment *segment, const struct row *row, uint32_t threads, uint64_t distance, uint64_t run_ns, uint8_t **buffers)
{
    double result = run_threads(segment, row, threads, distance, run_ns, buffers);
    for (int i = 1; i < RUNS; i++) {
        double again = run_threads(segment, row, threads, distance, run_ns, buffers);
        result = again < result ? again : result;
    }
    return result;
}

#define KIB UINT64_C(1024)
#define NEAR (64 * KIB)
#define FAR (SEGMENT_BYTES / THREADS)

static const struct row rows[] = {
    {"read 8 B", OP_READ, 8, 8, NEAR},
    {"read 64 B", OP_READ, 64, 64, NEAR},
    {"read_try 64 B", OP_READ_TRY, 64, 64, NEAR},
    {"read 64 B unaligned", OP_READ, 64, 67, NEAR},
    {"read 64 B spread", OP_READ, 64, 64, FAR},
    {"read 4 KiB", OP_READ, 4 * KIB, 4 * KIB, NEAR},
    {"read 64 KiB", OP_READ, 64 * KIB, 64 * KIB, 1024 * KIB},
    {"read 1 MiB", OP_READ, 1024 * KIB, 64 * KIB, FAR},
    {"hold 4 KiB", OP_HOLD, 4 * KIB, 4 * KIB, NEAR},
    {"write 8 B", OP_WRITE, 8, 8, NEAR},
    {"write 64 B", OP_WRITE, 64, 64, NEAR},
    {"write_try 64 B", OP_WRITE_TRY, 64, 64, NEAR},
    {"write 64 B unaligned", OP_WRITE, 64, 67, NEAR},
    {"write 64 B spread", OP_WRITE, 64, 64, FAR},
    {"write 4 KiB", OP_WRITE, 4 * KIB, 4 * KIB, NEAR},
    {"write 64 KiB", OP_WRITE, 64 * KIB, 64 * KIB, 1024 * KIB},
    {"write 1 MiB", OP_WRITE, 1024 * KIB, 64 * KIB, FAR},
    {"add", OP_ADD, 8, 8, NEAR},
    {"add unaligned", OP_ADD, 8, 11, NEAR},
    {"cas", OP_CAS, 8, 8, NEAR},
    {"multi 2+2 x 64 B", OP_MULTI, 64, 64, NEAR},
    {"execute 3 x 8 B", OP_EXECUTE, 8, 8, NEAR},
    {"execute recorded", OP_EXECUTE_LANE, 8, 8, NEAR},
    {"prepare and commit", OP_PREPARE, 8, 8, NEAR},
};

/* ---- snapshots ---- */

static _Atomic bool stop;

/* Gets memory for preserved pages, as the server's agent does. */
static void *tend(void *arg)
{
    struct segment_command command;
    while (!atomic_load(&stop))
        (void)segment_mailbox_wait(arg, SEGMENT_NO_TIMEOUT, &command);
    return NULL;
}

static void cut(struct segment *segment, uint32_t round)
{
    segment_freeze(segment);
    MC_ASSERT(segment_wait_drained(segment, SEGMENT_NO_TIMEOUT));
    segment_cut(segment, round);
    segment_thaw(segment);
}

/* Nanoseconds that a capture of the whole segment takes. */
static uint64_t capture_all(struct capture *capture, uint32_t round, uint8_t *data)
{
    struct capture_window window;
    struct err err;
    uint64_t began = clock_mono_ns();
    for (uint64_t offset = 0; offset < SEGMENT_BYTES; offset += CAPTURE_WINDOW_BYTES)
        if (capture_window(capture, round, offset, data, &window, &err) != MCOMP_OK) {
            fprintf(stderr, "segment_bench: %s\n", err.text);
            exit(1);
        }
    return clock_mono_ns() - began;
}

/* Write 64 bytes to each page; nanoseconds for each. */
static double write_pages(struct segment *segment, const uint8_t *data)
{
    uint64_t began = clock_mono_ns();
    for (uint64_t at = 0; at < SEGMENT_BYTES; at += PAGE_BYTES)
        MC_ASSERT(segment_write(segment, 0, at + at / 64 % 4032, 64, data) == SEGMENT_DONE);
    return (double)(clock_mono_ns() - began) / (SEGMENT_BYTES / PAGE_BYTES);
}

static void keep_least(double *least, double value)
{
    if (*least == 0 || value < *least)
        *least = value;
}

static void bench_snapshots(struct segment *segment, const char *grid, uint64_t run_ns, uint8_t **buffers)
{
    static const struct row near = {"", OP_WRITE, 64, 64, NEAR}, spread = {"", OP_WRITE, 64, 64, FAR};
    struct capture *capture;
    pthread_t agent;
    double zero = 0, full = 0, preserved = 0, idle = 0, first = 0, again = 0, again_near = 0, again_spread = 0;
    uint32_t round = 256;
    MC_ASSERT(capture_open(&capture, grid, 0, 1, SEGMENT_BYTES, NULL) == MCOMP_OK);
    MC_ASSERT(pthread_create(&agent, NULL, tend, segment) == 0);
    for (uint64_t at = 0; at < SEGMENT_BYTES; at += 4 << 20) {
        memset(buffers[0], 0, 4 << 20);
        MC_ASSERT(segment_write(segment, 0, at, 4 << 20, buffers[0]) == SEGMENT_DONE);
    }
    for (int i = 0; i < RUNS; i++) {
        cut(segment, round);
        keep_least(&zero, (double)capture_all(capture, round++, buffers[1]));
    }
    for (uint64_t at = 0, value = 1; at < SEGMENT_BYTES; at += 4 << 20) {
        for (uint64_t i = 0; i < 4 << 20; i++)
            buffers[0][i] = (uint8_t)((value = value * 6364136223846793005u + 1) >> 56);
        MC_ASSERT(segment_write(segment, 0, at, 4 << 20, buffers[0]) == SEGMENT_DONE);
    }
    for (int i = 0; i < RUNS; i++) {
        keep_least(&idle, write_pages(segment, buffers[0]));
        cut(segment, round);
        keep_least(&full, (double)capture_all(capture, round++, buffers[1]));
        cut(segment, round);
        keep_least(&first, write_pages(segment, buffers[0]));
        keep_least(&again, write_pages(segment, buffers[0]));
        keep_least(&again_near, run_threads(segment, &near, 1, 0, run_ns, buffers));
        keep_least(&again_spread, run_threads(segment, &spread, 1, 0, run_ns, buffers));
        keep_least(&preserved, (double)capture_all(capture, round, buffers[1]));
        capture_end(capture, round++);
    }
    printf("\nwrite 64 B while a capture is live, all pages preserved: %.1f ns, spread %.1f ns\n", again_near, again_spread);
    printf("write 64 B to each page: %.0f ns; for the first time after a cut %.0f ns, then %.0f ns\n", idle, first, again);
    printf("capture: %.1f GB/s of random bytes, %.1f GB/s of zeros, %.1f GB/s where all is preserved\n", (double)SEGMENT_BYTES / full,
           (double)SEGMENT_BYTES / zero, (double)SEGMENT_BYTES / preserved);
    atomic_store(&stop, true);
    segment_mailbox_interrupt(segment);
    pthread_join(agent, NULL);
    capture_close(capture);
}

int main(int argc, char **argv)
{
    uint64_t run_ns = (argc > 1 ? strtoull(argv[1], NULL, 10) : 20) * 1000000;
    const char *word = argc > 2 ? argv[2] : "";
    char grid[32];
    snprintf(grid, sizeof grid, "bench-%ld", (long)getpid());
    struct segment_options options = {.grid = grid, .node = 0, .nodes = 1, .size = SEGMENT_BYTES, .writers = THREADS, .redo_bytes = 4 << 20,
                                      .preserve_limit = SEGMENT_BYTES};
    struct segment *segment;
    struct err err;
    if (segment_open(&segment, &options, &err) != MCOMP_OK) {
        fprintf(stderr, "segment_bench: %s\n", err.text);
        return 1;
    }
    uint8_t *memory[THREADS], *buffers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        memory[i] = malloc((8 << 20) + PAGE_BYTES);
        if (!memory[i])
            abort();
        buffers[i] = memory[i] + PAGE_BYTES / 2; /* else the processor takes it for a redo record, which begins a page: it looks at the lower bits first */
        memset(buffers[i], 1, 8 << 20);
    }
    printf("%-22s %14s %14s %14s   ns/op\n", "", "1 thread", "2 apart", "2 on one place");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!strstr(rows[i].name, word))
            continue;
        double one = best(segment, &rows[i], 1, 0, run_ns, buffers);
        double apart = best(segment, &rows[i], 2, FAR, run_ns, buffers);
        double together = best(segment, &rows[i], 2, 0, run_ns, buffers);
        printf("%-22s %14.1f %14.1f %14.1f\n", rows[i].name, one, apart, together);
    }
    bench_snapshots(segment, grid, run_ns, buffers);
    for (int i = 0; i < THREADS; i++)
        free(memory[i]);
    segment_close(segment);
    return segment_remove(grid, 0, &err) == MCOMP_OK ? 0 : 1;
}
