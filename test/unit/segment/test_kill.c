/* SPDX-License-Identifier: Apache-2.0 */
/** SIGKILL at random instants of a process whose threads write, hundreds of times on one segment.
 *
 *  Each thread owns an area, and performs operations that follow from a seed, its number and the operation's number alone; areas of neighbours
 *  share stripes. It notes in memory that survives which operation it has begun and which has returned. After the kill the
 *  parent attaches and compares each area with the model: all operations that had returned, and the one under way wholly or not at all.
 *  All threads also add to two shared counters. Before each process a cut is made, and captured after its end and the parent's attach. */
#include "fixture.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/le.h"

#define THREADS 3u
#define AREA_BYTES UINT64_C(88000) /* not a multiple of anything, so that neighbours meet inside stripes */
#define COUNTER_ALIGNED UINT64_C(264008)
#define COUNTER_UNALIGNED UINT64_C(264021)
#define MULTI_WRITES 6u
#define ROUNDS (UNDER_TSAN ? 60u : 300u)
#define FIRST_ROUND 256u
#define OPERATIONS_PER_BYTE 8u /* between signs of life */

_Static_assert(THREADS * AREA_BYTES <= COUNTER_ALIGNED && COUNTER_UNALIGNED + 8 <= FIXTURE_BYTES, "areas and counters do not meet");

enum kind { WRITE, ADD, CAS, MULTI, COUNT_ALIGNED, COUNT_UNALIGNED };

struct operation {
    enum kind kind;
    uint64_t offset, length, operand; /* offset in the area */
    const uint8_t *data;
    struct segment_write_range writes[MULTI_WRITES];
    size_t write_count;
};

struct progress {
    _Atomic uint64_t begun[THREADS], returned[THREADS];
};

static struct progress *progress; /* shared with the children */
static uint8_t random_bytes[200000];
static uint8_t model[THREADS][AREA_BYTES];

/* The n-th operation of a thread. */
static void make_operation(uint32_t thread, uint64_t n, struct operation *operation)
{
    uint64_t random = (n + 1) * 0x9e3779b97f4a7c15u + thread * 0xd1b54a32d192ed03u + 1;
    fixture_random(&random);
    uint64_t r = fixture_random(&random) >> 8;
    static const uint64_t most[] = {9, 64, 64, 300, 5000, 60000};
    operation->kind = (enum kind)(r % 8 < 6 ? r % 8 : WRITE);
    operation->length = 1 + (r >> 8) % most[(r >> 4) % 6];
    operation->offset = fixture_random(&random) % (AREA_BYTES - operation->length + 1);
    operation->operand = fixture_random(&random);
    operation->data = random_bytes + r % 100000;
    operation->write_count = 0;
    if (operation->kind == ADD || operation->kind == CAS)
        operation->offset = fixture_random(&random) % (AREA_BYTES - 8 + 1);
    for (size_t i = 0; operation->kind == MULTI && i < MULTI_WRITES; i++) {
        uint64_t part = AREA_BYTES / MULTI_WRITES; /* one range in each part of the area: they do not overlap */
        uint64_t length = 1 + fixture_random(&random) % most[i];
        length = length < part ? length : part;
        uint64_t offset = i * part + fixture_random(&random) % (part - length + 1);
        operation->writes[operation->write_count++] = (struct segment_write_range){offset, length, operation->data + i};
    }
}

/* What it does to an area. */
static void apply_operation(const struct operation *operation, uint8_t *area)
{
    switch (operation->kind) {
    case WRITE:
        memcpy(area + operation->offset, operation->data, operation->length);
        break;
    case ADD:
        le64_put(area + operation->offset, le64_get(area + operation->offset) + operation->operand);
        break;
    case CAS: /* of the value that is there */
        le64_put(area + operation->offset, operation->operand);
        break;
    case MULTI:
        for (size_t i = 0; i < operation->write_count; i++)
            memcpy(area + operation->writes[i].offset, operation->writes[i].data, operation->writes[i].length);
        break;
    case COUNT_ALIGNED:
    case COUNT_UNALIGNED:
        break;
    }
}

static void perform_operation(struct segment *segment, uint32_t thread, const struct operation *operation)
{
    uint64_t base = thread * AREA_BYTES, word;
    switch (operation->kind) {
    case WRITE:
        DONE(segment_write(segment, thread, base + operation->offset, operation->length, operation->data));
        break;
    case ADD:
        DONE(segment_add(segment, thread, base + operation->offset, operation->operand, &word));
        break;
    case CAS: {
        uint8_t bytes[8];
        DONE(segment_read(segment, base + operation->offset, 8, bytes));
        DONE(segment_cas(segment, thread, base + operation->offset, le64_get(bytes), operation->operand, &word));
        break;
    }
    case MULTI: {
        struct segment_write_range writes[MULTI_WRITES];
        for (size_t i = 0; i < operation->write_count; i++)
            writes[i] = (struct segment_write_range){base + operation->writes[i].offset, operation->writes[i].length, operation->writes[i].data};
        DONE(segment_multi(segment, thread, NULL, 0, NULL, writes, operation->write_count));
        break;
    }
    case COUNT_ALIGNED:
        DONE(segment_add(segment, thread, COUNTER_ALIGNED, 1, &word));
        break;
    case COUNT_UNALIGNED:
        DONE(segment_add(segment, thread, COUNTER_UNALIGNED, 1, &word));
    }
}

/* ---- the process that is killed ---- */

struct worker {
    struct segment *segment;
    uint32_t thread;
    int signs; /* pipe */
};

static void *work_for_ever(void *arg)
{
    struct worker *worker = arg;
    struct operation operation;
    for (uint64_t n = atomic_load(&progress->returned[worker->thread]);; n++) {
        make_operation(worker->thread, n, &operation);
        atomic_store(&progress->begun[worker->thread], n + 1);
        perform_operation(worker->segment, worker->thread, &operation);
        atomic_store(&progress->returned[worker->thread], n + 1);
        if (n % OPERATIONS_PER_BYTE == 0 && write(worker->signs, "x", 1) != 1)
            _exit(1);
    }
}

static void child_main(struct fixture *fixture, int signs)
{
    struct worker workers[THREADS];
    pthread_t thread;
    struct err err;
    if (segment_open(&fixture->segment, &fixture->options, &err) != MCOMP_OK) {
        fprintf(stderr, "%s\n", err.text);
        _exit(1);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){fixture->segment, i, signs};
        if (i < THREADS - 1 && pthread_create(&thread, NULL, work_for_ever, &workers[i]) != 0)
            _exit(1);
    }
    work_for_ever(&workers[THREADS - 1]);
}

/* ---- the parent ---- */

/* Let a child write for a random while, kill it. */
static void kill_one(struct fixture *fixture, uint64_t *random)
{
    int signs[2];
    assert_int_equal(pipe(signs), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(signs[0]);
        child_main(fixture, signs[1]);
    }
    close(signs[1]);
    uint64_t bytes = fixture_random(random) % 30 + 1, spins = (fixture_random(random) >> 8) % 20000;
    for (uint64_t i = 0; i < bytes; i++) {
        char byte;
        assert_int_equal(read(signs[0], &byte, 1), 1);
    }
    for (uint64_t i = 0; i < spins; i++)
        fixture_random(random);
    kill(child, SIGKILL);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    close(signs[0]);
}

struct tally {
    uint64_t operations, under_way, there, finished;
    uint64_t counted[2]; /* aligned, unaligned: what the counters held last */
    uint64_t applied[THREADS];
    uint64_t preserved, redone;
};

static void assert_area(struct fixture *fixture, uint32_t thread, struct tally *tally, uint64_t sure[2], uint64_t maybe[2])
{
    static uint8_t area[AREA_BYTES];
    struct operation operation;
    uint64_t returned = atomic_load(&progress->returned[thread]), begun = atomic_load(&progress->begun[thread]);
    assert_true(begun == returned || begun == returned + 1);
    for (uint64_t n = tally->applied[thread]; n < returned; n++) {
        make_operation(thread, n, &operation);
        apply_operation(&operation, model[thread]);
        sure[0] += operation.kind == COUNT_ALIGNED;
        sure[1] += operation.kind == COUNT_UNALIGNED;
    }
    tally->operations += returned - tally->applied[thread];
    tally->applied[thread] = returned;
    DONE(segment_read(fixture->segment, thread * AREA_BYTES, AREA_BYTES, area));
    bool absent = memcmp(area, model[thread], AREA_BYTES) == 0;
    if (begun == returned) {
        assert_true(absent);
        return;
    }
    make_operation(thread, returned, &operation);
    if (!absent) {
        apply_operation(&operation, model[thread]);
        if (memcmp(area, model[thread], AREA_BYTES) != 0)
            fail_msg("thread %u, operation %llu of kind %d: torn, or an acknowledged one is lost", thread, (unsigned long long)returned,
                     (int)operation.kind);
    }
    /* It counts as returned: done again it would find another state than the model assumes. */
    atomic_store(&progress->returned[thread], returned + 1);
    tally->applied[thread] = returned + 1;
    maybe[0] += operation.kind == COUNT_ALIGNED;
    maybe[1] += operation.kind == COUNT_UNALIGNED;
    tally->under_way++;
    tally->there += !absent;
}

/* What the killed process left of the capture of the cut before it shows that cut. */
static void assert_capture(struct capture *capture, uint32_t round, const uint8_t *at_cut)
{
    static uint8_t image[FIXTURE_BYTES];
    struct err err;
    if (fixture_capture(capture, round, FIXTURE_BYTES, image, &err) != MCOMP_OK)
        fail_msg("round %u: %s", round, err.text);
    assert_int_equal(memcmp(image, at_cut, FIXTURE_BYTES), 0);
}

/* Has enough been under way? How much of it there is in a number of rounds is up to the machine. */
static bool is_enough(const struct tally *tally)
{
    return tally->operations > (uint64_t)ROUNDS && tally->under_way > ROUNDS / 4 && tally->preserved > ROUNDS;
}

static void acknowledged_writes_survive_and_none_is_torn(void **state)
{
    static uint8_t at_cut[FIXTURE_BYTES];
    struct fixture *fixture = *state;
    uint64_t random = (uint64_t)getpid() * 2654435761u + 1;
    struct tally tally = {0};
    print_message("seed %llu\n", (unsigned long long)random);
    memset(model, 0, sizeof model);
    for (size_t i = 0; i < sizeof random_bytes; i++)
        random_bytes[i] = (uint8_t)fixture_random(&random);
    fixture->options.preserve_limit += 100 * PAGE_BYTES; /* killed writers leave slots unused */
    fixture_open(fixture);
    struct capture *capture = fixture_capture_open(fixture);
    uint32_t round = 0;
    for (; round < ROUNDS || (!is_enough(&tally) && round < 20 * ROUNDS); round++) {
        uint64_t sure[2] = {0}, maybe[2] = {0}, preserved;
        fixture_cut(fixture, FIRST_ROUND + round);
        DONE(segment_read(fixture->segment, 0, FIXTURE_BYTES, at_cut));
        fixture_close(fixture);
        kill_one(fixture, &random);
        preserved = capture_preserved(capture);
        fixture_open(fixture);
        assert_capture(capture, FIRST_ROUND + round, at_cut);
        tally.preserved += preserved;
        tally.redone += capture_preserved(capture) - preserved;
        struct segment_info info;
        segment_get_info(fixture->segment, &info);
        tally.finished += info.writes_finished;
        for (uint32_t thread = 0; thread < THREADS; thread++)
            assert_area(fixture, thread, &tally, sure, maybe);
        for (int i = 0; i < 2; i++) {
            uint8_t bytes[8];
            DONE(segment_read(fixture->segment, i == 0 ? COUNTER_ALIGNED : COUNTER_UNALIGNED, 8, bytes));
            uint64_t counted = le64_get(bytes) - tally.counted[i];
            assert_in_range(counted, sure[i], sure[i] + maybe[i]);
            tally.counted[i] = le64_get(bytes);
        }
    }
    capture_close(capture);
    print_message("%u kills: %llu operations returned; %llu were under way, %llu of them there, %llu finished by their record\n", round,
                  (unsigned long long)tally.operations, (unsigned long long)tally.under_way, (unsigned long long)tally.there,
                  (unsigned long long)tally.finished);
    print_message("%llu pages preserved, and %llu by attaching\n", (unsigned long long)tally.preserved, (unsigned long long)tally.redone);
    assert_true(is_enough(&tally));
}

static int setup(void **state)
{
    progress = mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return progress == MAP_FAILED ? -1 : fixture_setup(state);
}

static int teardown(void **state)
{
    munmap(progress, sizeof *progress);
    return fixture_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(acknowledged_writes_survive_and_none_is_torn, setup, teardown),
    };
    return cmocka_run_group_tests_name("segment-kill", tests, NULL, NULL);
}
