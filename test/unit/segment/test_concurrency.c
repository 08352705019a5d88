/* SPDX-License-Identifier: Apache-2.0 */
/** Many threads, and processes, on one segment: nothing is ever seen half, counters are exact, and everybody gets on. */
#include "fixture.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/le.h"

#define BIG_BYTES (UINT64_C(1) << 20)
#define THREADS_MAX 8u
#define COUNT_SCALE (UNDER_TSAN ? 1u : 4u)

static int setup(void **state)
{
    if (fixture_setup(state) != 0)
        return -1;
    struct fixture *fixture = *state;
    struct err err;
    fixture->options.size = 2 * BIG_BYTES;
    fixture->options.writers = THREADS_MAX;
    fixture->options.redo_bytes = BIG_BYTES;
    return segment_open(&fixture->segment, &fixture->options, &err) == MCOMP_OK ? 0 : -1;
}

/* Threads of one test. failed: what went wrong first; checked by the test, since assertions belong to the main thread. */
struct crew {
    struct segment *segment;
    _Atomic bool stop;
    const char *_Atomic failed;
    pthread_t threads[THREADS_MAX];
    unsigned count;
};

struct member {
    struct crew *crew;
    uint32_t number; /* its writer */
    uint64_t offset, length;
    uint64_t rounds;
};

static void crew_fail(struct crew *crew, const char *what)
{
    atomic_store(&crew->failed, what);
    atomic_store(&crew->stop, true);
}

static void crew_start(struct crew *crew, void *(*main)(void *), struct member *member)
{
    member->crew = crew;
    assert_int_equal(pthread_create(&crew->threads[crew->count++], NULL, main, member), 0);
}

static void crew_join(struct crew *crew)
{
    for (unsigned i = 0; i < crew->count; i++)
        pthread_join(crew->threads[i], NULL);
    crew->count = 0;
    const char *failed = atomic_load(&crew->failed);
    if (failed)
        fail_msg("%s", failed);
}

/* ---- torn reads ---- */

/* Fill the range with one value again and again, by each kind of write that can, until told to stop. */
static void *fill(void *arg)
{
    struct member *member = arg;
    struct segment *segment = member->crew->segment;
    uint8_t *data = malloc(member->length);
    uint64_t random = member->number + 1, third = member->length / 3;
    while (data && !atomic_load_explicit(&member->crew->stop, memory_order_relaxed)) {
        uint64_t r = fixture_random(&random) >> 8;
        memset(data, (int)(r % 256), member->length);
        const struct segment_write_range thirds[] = {
            {member->offset + third, third, data}, {member->offset, third, data}, {member->offset + 2 * third, member->length - 2 * third, data}};
        switch ((r >> 8) % 3) {
        case 0:
            DONE(segment_write(segment, member->number, member->offset, member->length, data));
            break;
        case 1:
            if (segment_write_try(segment, member->number, member->offset, member->length, data) == SEGMENT_FROZEN)
                crew_fail(member->crew, "a segment that nobody froze is frozen");
            break;
        default:
            DONE(segment_multi(segment, member->number, NULL, 0, NULL, thirds, 3));
        }
    }
    free(data);
    return NULL;
}

static bool is_one_value(const uint8_t *bytes, uint64_t length)
{
    return length == 1 || memcmp(bytes, bytes + 1, length - 1) == 0;
}

/* Read the range in every way that there is, until it was seen often enough. */
static void *hunt(void *arg)
{
    struct member *member = arg;
    struct segment *segment = member->crew->segment;
    uint8_t *buf = malloc(member->length);
    uint64_t third = member->length / 3, tries = 0;
    for (uint64_t seen = 0; buf && seen < member->rounds && !atomic_load(&member->crew->stop);) {
        const uint8_t *bytes = buf;
        const void *held = NULL;
        switch (tries++ % 5) {
        case 0:
            DONE(segment_read(segment, member->offset, member->length, buf));
            break;
        case 1:
            if (segment_read_try(segment, member->offset, member->length, buf) != SEGMENT_DONE)
                continue;
            break;
        case 2:
            held = segment_hold_try(segment, member->offset, member->length);
            if (!held)
                continue;
            bytes = held;
            break;
        case 3: {
            const struct segment_range thirds[] = {
                {member->offset, third}, {member->offset + third, third}, {member->offset + 2 * third, member->length - 2 * third}};
            DONE(segment_multi(segment, member->number, thirds, 3, buf, NULL, 0));
            break;
        }
        default: {
            const struct segment_range whole = {member->offset, member->length};
            if (segment_multi_try(segment, member->number, &whole, 1, buf, NULL, 0) != SEGMENT_DONE)
                continue;
        }
        }
        if (!is_one_value(bytes, member->length))
            crew_fail(member->crew, "a read saw two writes at once");
        if (held)
            segment_release(segment, member->offset, member->length);
        seen++;
    }
    free(buf);
    return NULL;
}

static void hunt_torn_reads(struct fixture *fixture, uint64_t offset, uint64_t length, uint64_t rounds)
{
    struct crew crew = {.segment = fixture->segment}, writers = {.segment = fixture->segment};
    struct member members[4];
    uint8_t *zero = calloc(1, length);
    DONE(segment_write(fixture->segment, 0, offset, length, zero));
    free(zero);
    for (uint32_t i = 0; i < 4; i++)
        members[i] = (struct member){.number = i, .offset = offset, .length = length, .rounds = rounds * COUNT_SCALE};
    for (uint32_t i = 0; i < 2; i++) {
        crew_start(&writers, fill, &members[i]);
        crew_start(&crew, hunt, &members[2 + i]);
    }
    for (unsigned i = 0; i < crew.count; i++)
        pthread_join(crew.threads[i], NULL);
    atomic_store(&writers.stop, true);
    crew_join(&writers);
    crew.count = 0;
    crew_join(&crew);
}

static void no_read_is_torn(void **state)
{
    static const struct {
        uint64_t offset, length, rounds;
    } cases[] = {
        {4096, 8, 20000},                           /* one store */
        {4099, 64, 20000},                          /* inside a stripe */
        {STRIPE_BYTES - 3, 8, 20000},               /* a word on two stripes */
        {2 * STRIPE_BYTES - 4000, 8192, 3000},      /* the largest optimistic read, on two stripes */
        {2 * STRIPE_BYTES - 4000, 8193, 3000},      /* the smallest other */
        {10, 3 * STRIPE_BYTES + 7, 300},            /* four stripes */
        {STRIPE_BYTES / 2, BIG_BYTES, 40},          /* seventeen stripes */
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        hunt_torn_reads(fixture, cases[i].offset, cases[i].length, cases[i].rounds);
}

/* ---- counters ---- */

static const uint64_t counters[] = {1024, 2051, STRIPE_BYTES - 5, 2 * STRIPE_BYTES - 8};
#define COUNTERS (sizeof counters / sizeof counters[0])

/* Add 1 to each counter, `rounds` times each; the last by compare-and-swap. */
static bool count_up(struct segment *segment, uint32_t writer, uint64_t rounds)
{
    uint64_t last[COUNTERS] = {0};
    for (uint64_t n = 0; n < rounds; n++) {
        for (size_t i = 0; i < COUNTERS; i++) {
            uint64_t before = 0, expected;
            if (i == COUNTERS - 1) {
                do {
                    expected = before;
                    if (n % 2)
                        DONE(segment_cas(segment, writer, counters[i], expected, expected + 1, &before));
                    else if (segment_cas_try(segment, writer, counters[i], expected, expected + 1, &before) != SEGMENT_DONE)
                        DONE(segment_cas(segment, writer, counters[i], expected, expected + 1, &before));
                } while (before != expected);
            } else if (n % 2 || segment_add_try(segment, writer, counters[i], 1, &before) != SEGMENT_DONE) {
                DONE(segment_add(segment, writer, counters[i], 1, &before));
            }
            if (n > 0 && before <= last[i]) /* others only add */
                return false;
            last[i] = before;
        }
    }
    return true;
}

static void assert_counters(struct segment *segment, uint64_t expected)
{
    for (size_t i = 0; i < COUNTERS; i++) {
        uint8_t word[8];
        DONE(segment_read(segment, counters[i], 8, word));
        assert_int_equal(le64_get(word), expected);
    }
}

static void *count_thread(void *arg)
{
    struct member *member = arg;
    if (!count_up(member->crew->segment, member->number, member->rounds))
        crew_fail(member->crew, "a counter went backwards");
    return NULL;
}

static void counters_of_many_threads_are_exact(void **state)
{
    struct fixture *fixture = *state;
    struct crew crew = {.segment = fixture->segment};
    struct member members[THREADS_MAX];
    const uint64_t rounds = 3000 * COUNT_SCALE;
    for (uint32_t i = 0; i < THREADS_MAX; i++) {
        members[i] = (struct member){.number = i, .rounds = rounds};
        crew_start(&crew, count_thread, &members[i]);
    }
    crew_join(&crew);
    assert_counters(fixture->segment, THREADS_MAX * rounds);
}

static void counters_of_many_processes_are_exact(void **state)
{
    struct fixture *fixture = *state;
    const uint64_t rounds = 3000 * COUNT_SCALE;
    pid_t children[4];
    for (uint32_t i = 0; i < 4; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0)
            _exit(count_up(fixture->segment, i, rounds) ? 0 : 1);
    }
    for (uint32_t i = 0; i < 4; i++)
        fixture_child_passed(children[i]);
    assert_counters(fixture->segment, 4 * rounds);
}

/* ---- getting on: these end only if nobody is kept out for ever ---- */

/* Take read permits of the range again and again, always beside another reader who does. */
static void *read_for_ever(void *arg)
{
    struct member *member = arg;
    uint8_t *buf = malloc(member->length);
    while (buf && !atomic_load_explicit(&member->crew->stop, memory_order_relaxed))
        DONE(segment_read(member->crew->segment, member->offset, member->length, buf));
    free(buf);
    return NULL;
}

static void *write_for_ever(void *arg)
{
    struct member *member = arg;
    uint8_t *data = calloc(1, member->length);
    while (data && !atomic_load_explicit(&member->crew->stop, memory_order_relaxed))
        DONE(segment_write(member->crew->segment, member->number, member->offset, member->length, data));
    free(data);
    return NULL;
}

static void writer_gets_on_beside_readers(void **state)
{
    struct fixture *fixture = *state;
    struct crew crew = {.segment = fixture->segment};
    struct member members[4];
    uint8_t data[100] = {1};
    for (uint32_t i = 0; i < 4; i++) {
        members[i] = (struct member){.number = i, .length = 60000};
        crew_start(&crew, read_for_ever, &members[i]);
    }
    for (unsigned i = 0; i < 500 * COUNT_SCALE; i++)
        DONE(segment_write(fixture->segment, 7, 100, sizeof data, data));
    atomic_store(&crew.stop, true);
    crew_join(&crew);
}

static void reader_and_writer_get_on_beside_writers(void **state)
{
    struct fixture *fixture = *state;
    struct crew crew = {.segment = fixture->segment};
    struct member members[4];
    static uint8_t buf[3 * STRIPE_BYTES];
    for (uint32_t i = 0; i < 4; i++) {
        members[i] = (struct member){.number = i, .length = 100000};
        crew_start(&crew, write_for_ever, &members[i]);
    }
    for (unsigned i = 0; i < 200 * COUNT_SCALE; i++) {
        DONE(segment_read(fixture->segment, 50, sizeof buf, buf));
        DONE(segment_read(fixture->segment, 50, 64, buf));
        DONE(segment_write(fixture->segment, 7, 200, 33, buf));
    }
    atomic_store(&crew.stop, true);
    crew_join(&crew);
}

/* Multis that name their stripes in opposite orders must not wait for each other for ever. */
static void *multi_both_ways(void *arg)
{
    struct member *member = arg;
    uint8_t data[2] = {1, 2}, buf[2];
    for (uint64_t n = 0; n < member->rounds; n++) {
        uint64_t a = (n + member->number) % 5 * STRIPE_BYTES, b = (n * 3 + 1) % 5 * STRIPE_BYTES + 8;
        const struct segment_write_range writes[] = {{a + 16 * member->number, 1, data}, {b + 16 * member->number, 1, data + 1}};
        const struct segment_range reads[] = {{b, 1}, {4 * STRIPE_BYTES - a, 1}};
        DONE(segment_multi(member->crew->segment, member->number, reads, 2, buf, writes, 2));
    }
    return NULL;
}

static void multis_do_not_deadlock(void **state)
{
    struct fixture *fixture = *state;
    struct crew crew = {.segment = fixture->segment};
    struct member members[4];
    for (uint32_t i = 0; i < 4; i++) {
        members[i] = (struct member){.number = i, .rounds = 5000 * COUNT_SCALE};
        crew_start(&crew, multi_both_ways, &members[i]);
    }
    crew_join(&crew);
}

static void nothing_is_left_taken(void **state)
{
    struct fixture *fixture = *state;
    hunt_torn_reads(fixture, STRIPE_BYTES - 3, 300, 3000);
    multis_do_not_deadlock(state);
    fixture_map(fixture);
    for (uint64_t i = 0; i < 2 * BIG_BYTES / STRIPE_BYTES; i++) {
        const struct stripe *stripe = &fixture_stripes(fixture)[i];
        assert_true((atomic_load(&stripe->state) & ((UINT64_C(1) << 50) - 1)) == 0);
        assert_true(atomic_load(&stripe->sequence) % 2 == 0);
    }
    for (uint32_t i = 0; i < THREADS_MAX; i++)
        assert_int_equal(atomic_load(&fixture_record(fixture, i)->valid), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_read_is_torn),
        TEST(counters_of_many_threads_are_exact),
        TEST(counters_of_many_processes_are_exact),
        TEST(writer_gets_on_beside_readers),
        TEST(reader_and_writer_get_on_beside_writers),
        TEST(multis_do_not_deadlock),
        TEST(nothing_is_left_taken),
    };
    return cmocka_run_group_tests_name("segment-concurrency", tests, NULL, NULL);
}
