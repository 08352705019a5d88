/* SPDX-License-Identifier: Apache-2.0 */
/** Writers, cuts and captures at once, hundreds of rounds: every image that is said to be right shows the segment as it was at the cut.
 *
 *  Threads perform operations of all kinds. The main thread freezes, copies the bytes, cuts, thaws, and lets a process of its own capture. Some of
 *  those are killed in the middle; some are stopped before the next cut and go on after it, when their round is over. The segment's code is
 *  compiled into this program with pauses between its steps (SEGMENT_TEST_PAUSE), and, as programs of their own, with defects that
 *  this test must see: then it passes when an image is wrong. */
#include "fixture.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "segment/broken.h"

#define PAGES 24u /* few, so that all meet often */
#define SIZE ((uint64_t)PAGES * PAGE_BYTES)
#define IS_BROKEN (SEGMENT_BROKEN_CAS_ONCE || SEGMENT_BROKEN_NO_FINAL || SEGMENT_BROKEN_NO_DRAIN)
#define ROUNDS (IS_BROKEN ? 20000u : UNDER_TSAN ? 300u : 3000u)
#define TURNS_MAX 40u /* of half as many rounds each */
#define GHOSTS 4u /* copies of the last cuts */
#define WRITERS 3u
#define FIRST_ROUND 256u

/* Shared with the processes that capture. */
struct shared {
    _Atomic uint32_t right, given_up, wrong, too_late;
    _Atomic uint32_t lost; /* captures that missed a page although they were the only ones of their round */
    uint8_t ghost[GHOSTS][SIZE];
};

static struct shared *shared;
static struct segment *segment;
static _Atomic bool stop;
static _Thread_local uint64_t pause_random;

static void dawdle(uint64_t *random, uint64_t most)
{
    for (uint64_t turns = fixture_random(random) % most; turns > 0; turns--)
        if (turns % 16 == 0)
            sched_yield();
        else
            fixture_random(random);
}

void segment_test_pause(void)
{
    if (pause_random == 0)
        pause_random = (uint64_t)(uintptr_t)&pause_random ^ ((uint64_t)getpid() << 32) ^ 1;
    if (fixture_random(&pause_random) % 8 == 0)
        dawdle(&pause_random, 100);
}

/* ---- writers ---- */

/* Returns whether it was refused because the segment was frozen. */
static bool write_something(uint32_t writer, uint64_t *random, const uint8_t *data)
{
    uint64_t r = fixture_random(random) >> 8, word, pages = r % 3 == 0 ? (r >> 8) % 12 : 0;
    uint64_t length = 1 + (r >> 16) % 600 + pages * PAGE_BYTES, offset = (r >> 28) % (SIZE - length);
    struct segment_write_range many[PAGES / 3];
    enum segment_outcome outcome;
    switch (r % 7) {
    case 0:
    case 1:
        outcome = segment_write(segment, writer, offset, length, data + (r >> 40) % 1000);
        break;
    case 2:
        outcome = segment_write_try(segment, writer, offset, length, data + (r >> 40) % 1000);
        break;
    case 3:
        outcome = segment_write(segment, writer, offset / 8 * 8, 8, &r);
        break;
    case 4:
        outcome = segment_add(segment, writer, offset < SIZE - 8 ? offset : 0, r, &word);
        break;
    case 5:
        DONE(segment_read(segment, offset / 8 * 8, 8, &word));
        outcome = segment_cas(segment, writer, offset / 8 * 8, word, r, &word);
        break;
    default:
        for (uint64_t i = 0; i < PAGES / 3; i++)
            many[i] = (struct segment_write_range){(i * 3 + r % 3) * PAGE_BYTES + (r >> 9) % 4000, 1 + (r >> 21) % 90, data + i};
        outcome = segment_multi(segment, writer, NULL, 0, NULL, many, 1 + (r >> 30) % (PAGES / 3));
    }
    return outcome == SEGMENT_FROZEN;
}

static void *write_for_ever(void *arg)
{
    static uint8_t data[WRITERS][1000 + 600 + 12 * PAGE_BYTES];
    uint32_t writer = (uint32_t)(uintptr_t)arg;
    uint64_t random = writer + 11;
    for (uint64_t n = 0; !atomic_load_explicit(&stop, memory_order_relaxed); n++) {
        if (n % 64 == 0)
            memset(data[writer], (int)fixture_random(&random), sizeof data[writer]);
        if (write_something(writer, &random, data[writer]))
            sched_yield();
        if (n % 4 == 0)
            dawdle(&random, 1000);
    }
    return NULL;
}

/* ---- captures ---- */

static uint32_t last_cut(void)
{
    bool live;
    return segment_last_cut(segment, &live);
}

/* Capture, compare with the copy that was made at the cut, and count. In any process. is_first: no other has begun to capture this round. */
static void capture_and_compare(struct capture *capture, uint32_t round, bool is_first, uint8_t *image)
{
    struct err err;
    if (fixture_capture(capture, round, SIZE, image, &err) != MCOMP_OK) {
        atomic_fetch_add(&shared->given_up, 1);
        if (is_first && strstr(err.text, "did not finish"))
            atomic_fetch_add(&shared->lost, 1);
        return;
    }
    bool same = memcmp(image, shared->ghost[round % GHOSTS], SIZE) == 0;
    if (last_cut() >= round + GHOSTS - 1) /* the copy may have been overwritten meanwhile */
        atomic_fetch_add(&shared->too_late, 1);
    else
        atomic_fetch_add(same ? &shared->right : &shared->wrong, 1);
}

static void cut(struct fixture *fixture, uint32_t round)
{
    struct segment_command command;
    (void)segment_mailbox_wait(segment, 0, &command); /* memory for preserved pages */
    segment_freeze(fixture->segment);
    assert_true(segment_wait_drained(segment, SEGMENT_NO_TIMEOUT));
    DONE(segment_read(segment, 0, SIZE, shared->ghost[round % GHOSTS]));
    segment_cut(segment, round);
    segment_thaw(segment);
}

static pid_t fork_capture(struct capture *capture, uint32_t round, bool is_first)
{
    static uint8_t image[SIZE];
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        pause_random = 0;
        capture_and_compare(capture, round, is_first, image);
        _exit(0);
    }
    return child;
}

static void run_rounds(struct fixture *fixture, uint32_t *round, uint32_t count, uint64_t *random)
{
    static uint8_t image[SIZE];
    struct capture *capture = fixture_capture_open(fixture);
    for (uint32_t end = *round + count; *round < end && !(IS_BROKEN && atomic_load(&shared->wrong) > 0); (*round)++) {
        uint64_t fate = fixture_random(random) % 10;
        cut(fixture, *round);
        if (fate == 9) {
            capture_and_compare(capture, *round, true, image);
            continue;
        }
        pid_t child = fork_capture(capture, *round, true);
        dawdle(random, fate % 2 ? 4000 : 300);
        if (fate == 0) {
            kill(child, SIGKILL);
            waitpid(fork_capture(capture, *round, false), NULL, 0);
        } else if (fate <= 4) {
            kill(child, SIGSTOP);
            cut(fixture, ++*round);
            kill(child, SIGCONT); /* a process of the last round goes on in this one */
            dawdle(random, fate == 1 ? 2000 : 60); /* after it, or beside it */
            waitpid(fork_capture(capture, *round, true), NULL, 0);
        } else if (fate == 5) {
            capture_end(capture, *round);
        }
        if (fate != 6)
            waitpid(child, NULL, 0);
    }
    while (wait(NULL) > 0)
        ;
    capture_close(capture);
}

/* Enough of each kind for a verdict? How many there are of a number of rounds is up to the machine. */
static bool is_enough(void)
{
    if (IS_BROKEN || atomic_load(&shared->wrong) > 0)
        return atomic_load(&shared->wrong) > 0;
    return atomic_load(&shared->right) > ROUNDS / 8 && atomic_load(&shared->given_up) > ROUNDS / 32;
}

static void every_finished_capture_shows_its_cut(void **state)
{
    struct fixture *fixture = *state;
    pthread_t threads[WRITERS];
    uint32_t round = FIRST_ROUND;
    uint64_t random = 4711;
    if (IS_BROKEN)
        random += (uint64_t)getpid();
    for (unsigned turn = 0; turn < 2 || (!is_enough() && turn < TURNS_MAX); turn++) {
        uint64_t slots = turn % 2 ? PAGES / 3 : PAGES; /* enough of them, and too few now and then */
        fixture->options.preserve_limit = slots * PAGE_BYTES;
        fixture_open(fixture);
        segment = fixture->segment;
        atomic_store(&stop, false);
        for (uintptr_t i = 0; i < WRITERS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, write_for_ever, (void *)i), 0);
        run_rounds(fixture, &round, ROUNDS / 2, &random);
        atomic_store(&stop, true);
        for (unsigned i = 0; i < WRITERS; i++)
            pthread_join(threads[i], NULL);
        fixture_close(fixture);
    }
    print_message("%u cuts: images right %u, WRONG %u, given up %u, of them without reason %u; too late to compare %u\n", round - FIRST_ROUND,
                  atomic_load(&shared->right), atomic_load(&shared->wrong), atomic_load(&shared->given_up), atomic_load(&shared->lost),
                  atomic_load(&shared->too_late));
    if (IS_BROKEN) {
        assert_true(atomic_load(&shared->wrong) > 0);
        return;
    }
    assert_int_equal(atomic_load(&shared->wrong), 0);
    assert_int_equal(atomic_load(&shared->lost), 0);
    assert_true(is_enough());
}

static int setup(void **state)
{
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || fixture_setup(state) != 0)
        return -1;
    ((struct fixture *)*state)->options.size = SIZE;
    return 0;
}

static int teardown(void **state)
{
    munmap(shared, sizeof *shared);
    return fixture_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_finished_capture_shows_its_cut, setup, teardown),
    };
    return cmocka_run_group_tests_name("segment-capture-stress", tests, NULL, NULL);
}
