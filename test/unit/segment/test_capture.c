/* SPDX-License-Identifier: Apache-2.0 */
/** Cuts, preserved pages and captures, step by step in one process; the mailbox, with a thread as the server's agent. */
#include "fixture.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "segment/object.h"
#include "segment/preserve.h"

#define SIZE FIXTURE_BYTES
#define PAGES (SIZE / PAGE_BYTES)

static uint8_t at_cut[SIZE], image[SIZE];

/* Fill with bytes that follow from a seed, but for every third page, which is zero. */
static void fill(struct fixture *fixture, uint64_t seed)
{
    static uint8_t page[PAGE_BYTES];
    for (uint64_t at = 0; at < SIZE; at += PAGE_BYTES) {
        for (size_t i = 0; i < PAGE_BYTES; i++)
            page[i] = at / PAGE_BYTES % 3 == 2 ? 0 : (uint8_t)fixture_random(&seed);
        DONE(segment_write(fixture->segment, 0, at, PAGE_BYTES, page));
    }
}

static void cut(struct fixture *fixture, uint32_t round)
{
    fixture_cut(fixture, round);
    DONE(segment_read(fixture->segment, 0, SIZE, at_cut));
}

static void tend(struct fixture *fixture)
{
    struct segment_command command;
    assert_false(segment_mailbox_wait(fixture->segment, 0, &command));
}

static void assert_captured(struct capture *capture, uint32_t round)
{
    struct err err = {.text = ""};
    memset(image, 0xee, sizeof image);
    enum mcomp_status code = fixture_capture(capture, round, SIZE, image, &err);
    if (code != MCOMP_OK)
        fail_msg("capture: %s", err.text);
    assert_int_equal(memcmp(image, at_cut, SIZE), 0);
}

static void assert_aborted(struct capture *capture, uint32_t round, const char *why)
{
    struct err err = {.text = ""};
    assert_int_equal(fixture_capture(capture, round, SIZE, image, &err), MCOMP_ABORTED);
    if (!strstr(err.text, why))
        fail_msg("\"%s\" is missing in: %s", why, err.text);
    assert_int_equal(capture_finish(capture, round, &err), MCOMP_ABORTED);
}

/* ---- cut and capture ---- */

static void capture_shows_the_state_at_the_cut(void **state)
{
    struct fixture *fixture = *state;
    struct segment *segment = fixture->segment;
    uint64_t word;
    tend(fixture);
    fill(fixture, 1);
    struct capture *capture = fixture_capture_open(fixture);
    for (uint32_t round = 256; round < 256 + 5; round++) {
        cut(fixture, round);
        assert_true(capture_is_live(capture, round));
        assert_int_equal(capture_preserved(capture), 0);
        fill(fixture, round); /* preserves all pages */
        assert_int_equal(capture_preserved(capture), PAGES);
        DONE(segment_add(segment, 1, 5 * PAGE_BYTES - 3, 77, &word));
        assert_int_equal(capture_preserved(capture), PAGES); /* once each */
        uint32_t progress = segment_capture_progress(segment);
        assert_captured(capture, round);
        assert_int_equal(segment_capture_progress(segment) - progress, (SIZE + CAPTURE_WINDOW_BYTES - 1) / CAPTURE_WINDOW_BYTES);
        capture_end(capture, round);
        assert_false(capture_is_live(capture, round));
    }
    capture_close(capture);
}

static void each_kind_of_write_preserves_what_it_changes(void **state)
{
    struct fixture *fixture = *state;
    struct segment *segment = fixture->segment;
    uint64_t word;
    const struct segment_write_range writes[] = {{50 * PAGE_BYTES - 1, 2, "xy"}, {40 * PAGE_BYTES, 0, NULL}, {30 * PAGE_BYTES, 3, "xyz"}};
    tend(fixture);
    fill(fixture, 2);
    struct capture *capture = fixture_capture_open(fixture);
    cut(fixture, 256);
    DONE(segment_write(segment, 0, 8, 8, "12345678"));                          /* page 0, one store */
    DONE(segment_write_try(segment, 0, 3 * PAGE_BYTES - 2, 4, "1234"));         /* pages 2, 3 */
    DONE(segment_write(segment, 0, 5 * PAGE_BYTES, 2 * PAGE_BYTES, at_cut));    /* pages 5, 6 and not 7 */
    DONE(segment_add(segment, 0, 8 * PAGE_BYTES, 1, &word));                    /* page 8, one store */
    DONE(segment_add(segment, 0, 10 * PAGE_BYTES - 4, 1, &word));               /* pages 9, 10 */
    DONE(segment_read(segment, 12 * PAGE_BYTES, 8, &word));
    DONE(segment_cas(segment, 0, 12 * PAGE_BYTES, word + 1, 1, &word));         /* changes nothing */
    assert_int_equal(capture_preserved(capture), 8);
    DONE(segment_cas(segment, 0, 12 * PAGE_BYTES, word, 1, &word));             /* page 12 */
    DONE(segment_multi(segment, 0, NULL, 0, NULL, writes, 3));                  /* pages 49, 50, 30 */
    assert_int_equal(capture_preserved(capture), 12);
    assert_captured(capture, 256);
    capture_close(capture);
}

static void page_is_not_preserved_once_it_is_captured(void **state)
{
    struct fixture *fixture = *state;
    static uint8_t data[CAPTURE_WINDOW_BYTES];
    struct capture_window window;
    struct err err;
    tend(fixture);
    fill(fixture, 3);
    struct capture *capture = fixture_capture_open(fixture);
    cut(fixture, 300);
    assert_int_equal(capture_window(capture, 300, 0, data, &window, &err), MCOMP_OK);
    assert_int_equal(window.data_bytes, 43 * PAGE_BYTES); /* each third of 64 is zero */
    assert_true(window.pages == UINT64_C(0xb6db6db6db6db6db));
    fill(fixture, 4);
    assert_int_equal(capture_preserved(capture), PAGES - 64);
    assert_int_equal(capture_window(capture, 300, CAPTURE_WINDOW_BYTES, data, &window, &err), MCOMP_OK);
    assert_int_equal(window.pages, 1); /* page 64 is the first of this window, and the last of all */
    assert_memory_equal(data, at_cut + CAPTURE_WINDOW_BYTES, PAGE_BYTES);
    assert_int_equal(capture_finish(capture, 300, &err), MCOMP_OK);
    capture_close(capture);
}

/* ---- captures that end before they are done ---- */

static void superseded_capture_is_refused(void **state)
{
    struct fixture *fixture = *state;
    tend(fixture);
    struct capture *capture = fixture_capture_open(fixture);
    fill(fixture, 5);
    cut(fixture, 256);
    cut(fixture, 512);
    assert_aborted(capture, 256, "cut for round 512");
    assert_captured(capture, 512);
    struct err err;
    assert_int_equal(fixture_capture(capture, 512, SIZE, image, &err), MCOMP_ABORTED); /* each window once */
    assert_non_null(strstr(err.text, "taken by a capture that did not finish"));
    capture_close(capture);
}

static void reopen_with_limit(struct fixture *fixture, uint64_t pages)
{
    fixture_close(fixture);
    fixture->options.preserve_limit = pages * PAGE_BYTES;
    fixture_open(fixture);
    tend(fixture);
}

static void capture_ends_at_the_limit_and_writers_go_on(void **state)
{
    struct fixture *fixture = *state;
    bool live;
    for (uint64_t limit = 0; limit < 3; limit++) {
        uint32_t round = 256 * (uint32_t)(limit + 1);
        reopen_with_limit(fixture, limit);
        struct capture *capture = fixture_capture_open(fixture);
        fill(fixture, 7);
        cut(fixture, round);
        for (uint64_t i = 0; i < limit; i++)
            DONE(segment_write(fixture->segment, 0, i * PAGE_BYTES, 3, "abc"));
        assert_int_equal(segment_last_cut(fixture->segment, &live), round);
        assert_true(live);
        DONE(segment_write(fixture->segment, 0, 10 * PAGE_BYTES - 2, 3, "abc"));
        assert_int_equal(segment_last_cut(fixture->segment, &live), round);
        assert_false(live);
        assert_aborted(capture, round, "preserve_limit");
        fill(fixture, 8);
        DONE(segment_read(fixture->segment, 0, SIZE, image));
        cut(fixture, round + 1);
        assert_int_equal(memcmp(image, at_cut, SIZE), 0);
        assert_captured(capture, round + 1); /* nobody writes meanwhile */
        capture_close(capture);
    }
}

/* ---- freezing ---- */

static void *write_once(void *arg)
{
    DONE(segment_write(arg, 2, STRIPE_BYTES + 9, 5, "later"));
    return NULL;
}

/* Let a thread begin a write that waits, inside the gate, for a reader of stripe 1. */
static pthread_t start_waiting_writer(struct fixture *fixture)
{
    pthread_t thread;
    assert_non_null(segment_hold_try(fixture->segment, STRIPE_BYTES, 1));
    assert_int_equal(pthread_create(&thread, NULL, write_once, fixture->segment), 0);
    fixture_map(fixture);
    while (!(atomic_load(&fixture_stripes(fixture)[1].state) >> 32 & 0xffff)) /* writers waiting */
        sched_yield();
    return thread;
}

static void frozen_segment_refuses_what_would_change_it(void **state)
{
    struct fixture *fixture = *state;
    struct segment *segment = fixture->segment;
    struct segment_command command;
    uint64_t word;
    uint8_t buf[64];
    const struct segment_range read = {10, 8};
    const struct segment_write_range write = {10, 3, "abc"}, nothing = {10, 0, NULL};
    fill(fixture, 9);
    DONE(segment_read(segment, 0, SIZE, at_cut));
    pthread_t thread = start_waiting_writer(fixture);
    segment_freeze(segment);
    assert_true(segment_is_frozen(segment));
    assert_int_equal(segment_write(segment, 0, 0, 3, "abc"), SEGMENT_FROZEN);
    assert_int_equal(segment_write_try(segment, 0, 8, 8, "12345678"), SEGMENT_FROZEN);
    assert_int_equal(segment_add(segment, 0, 8, 1, &word), SEGMENT_FROZEN);
    assert_int_equal(segment_add_try(segment, 0, 9, 1, &word), SEGMENT_FROZEN);
    assert_int_equal(segment_cas(segment, 0, 8, 1, 2, &word), SEGMENT_FROZEN);
    assert_int_equal(segment_cas_try(segment, 0, 9, 1, 2, &word), SEGMENT_FROZEN);
    assert_int_equal(segment_multi(segment, 0, &read, 1, buf, &write, 1), SEGMENT_FROZEN);
    assert_int_equal(segment_multi_try(segment, 0, &read, 1, buf, &write, 1), SEGMENT_FROZEN);
    DONE(segment_multi(segment, 0, &read, 1, buf, NULL, 0)); /* what changes nothing goes on */
    DONE(segment_multi_try(segment, 0, &read, 1, buf, &nothing, 1));
    DONE(segment_write(segment, 0, 8, 0, NULL));
    DONE(segment_read(segment, 0, 64, buf));
    DONE(segment_read_try(segment, 2 * STRIPE_BYTES, 64, buf));
    for (uint64_t at = 0; at < SIZE; at += PAGE_BYTES) /* short reads need no permits, for which they would wait behind the writer */
        DONE(segment_read(segment, at, PAGE_BYTES, image + at));
    assert_int_equal(memcmp(image, at_cut, SIZE), 0);

    assert_false(segment_wait_drained(segment, 0));
    assert_false(segment_wait_drained(segment, 1));
    segment_release(segment, STRIPE_BYTES, 1);
    assert_false(segment_mailbox_wait(segment, SEGMENT_NO_TIMEOUT, &command)); /* returns when the writer is out */
    assert_true(segment_wait_drained(segment, 0));
    pthread_join(thread, NULL);
    segment_thaw(segment);
    assert_false(segment_is_frozen(segment));
    DONE(segment_write(segment, 0, 0, 3, "abc"));
    DONE(segment_read(segment, STRIPE_BYTES + 9, 5, buf));
    assert_memory_equal(buf, "later", 5);
}

static void wait_for_drain_is_ended_by_the_last_writer(void **state)
{
    struct fixture *fixture = *state;
    pthread_t thread = start_waiting_writer(fixture);
    segment_freeze(fixture->segment);
    segment_release(fixture->segment, STRIPE_BYTES, 1);
    assert_true(segment_wait_drained(fixture->segment, SEGMENT_NO_TIMEOUT));
    pthread_join(thread, NULL);
    segment_thaw(fixture->segment);
}

/* ---- a writer in the middle of a copy ---- */

static struct {
    struct fixture *fixture;
    uint8_t *pages; /* room for a window, of which a part may not be written yet */
    size_t bytes;
    int faults;
} trap;

static void on_fault(int number)
{
    static const uint8_t changed[600] = "while it was being copied";
    (void)number;
    trap.faults++;
    mprotect(trap.pages, trap.bytes, PROT_READ | PROT_WRITE);
    for (uint64_t page = 0; page < 64; page += 3)
        DONE(segment_write(trap.fixture->segment, 3, page * PAGE_BYTES + 100, sizeof changed, changed));
}

static void writer_in_the_middle_of_a_copy_is_noticed(void **state)
{
    struct fixture *fixture = *state;
    struct sigaction action = {.sa_handler = on_fault};
    struct capture_window window;
    struct err err;
    trap.bytes = CAPTURE_WINDOW_BYTES + PAGE_BYTES;
    trap.pages = mmap(NULL, trap.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(trap.pages != MAP_FAILED);
    trap.fixture = fixture;
    assert_int_equal(sigaction(SIGSEGV, &action, NULL), 0);
    struct capture *capture = fixture_capture_open(fixture);
    for (uint32_t i = 0; i < 200; i++) {
        uint64_t seed = i + 77;
        fill(fixture, seed);
        cut(fixture, 256 + i);
        uint8_t *data = trap.pages + i * 61 % PAGE_BYTES / 8 * 8; /* so the border lies anywhere in a page */
        trap.faults = 0;
        size_t closed = i * 7 % (CAPTURE_WINDOW_BYTES / 3 * 2 / PAGE_BYTES - 1) * PAGE_BYTES;
        assert_int_equal(mprotect(trap.pages + closed, trap.bytes - closed, PROT_NONE), 0);
        assert_int_equal(capture_window(capture, 256 + i, 0, data, &window, &err), MCOMP_OK);
        assert_int_equal(trap.faults, 1);
        for (uint64_t page = 0, at = 0; page < 64; page++) {
            if (!(window.pages >> page & 1u))
                continue;
            assert_memory_equal(data + at, at_cut + page * PAGE_BYTES, PAGE_BYTES);
            at += PAGE_BYTES;
        }
    }
    munmap(trap.pages, trap.bytes);
    capture_close(capture);
}

/* ---- restarts ---- */

static void restart(struct fixture *fixture)
{
    fixture_close(fixture);
    fixture_open(fixture);
}

static void capture_goes_on_over_a_restart_and_without_a_server(void **state)
{
    struct fixture *fixture = *state;
    fixture_close(fixture);
    fixture->options.writers = FIXTURE_WRITERS + 3; /* the object grows */
    fixture_open(fixture);
    fill(fixture, 10);
    struct capture *capture = fixture_capture_open(fixture);
    cut(fixture, 256);
    DONE(segment_write(fixture->segment, 0, 100, 500, image));
    fixture->options.writers = FIXTURE_WRITERS;
    restart(fixture);
    DONE(segment_write(fixture->segment, 0, 20 * PAGE_BYTES + 100, 500, image));
    fixture_close(fixture);
    assert_captured(capture, 256);
    capture_end(capture, 256);
    fixture_open(fixture);
    bool live;
    assert_int_equal(segment_last_cut(fixture->segment, &live), 256);
    assert_false(live);
    cut(fixture, 257);
    fill(fixture, 11);
    assert_captured(capture, 257);
    capture_close(capture);
}

static void capture_whose_preserved_pages_are_gone_ends(void **state)
{
    struct fixture *fixture = *state;
    char path[128];
    struct capture *capture = fixture_capture_open(fixture);
    for (uint32_t round = 256; round < 262; round++) {
        fill(fixture, round);
        cut(fixture, round);
        fill(fixture, round + 1);
        fixture_close(fixture);
        snprintf(path, sizeof path, "/dev/shm/mcomp.%s.1" OBJECT_PRESERVED, fixture->grid);
        switch (round % 3) {
        case 0:
            assert_int_equal(unlink(path), 0);
            break;
        case 1:
            fixture->options.preserve_limit += PAGE_BYTES;
            break;
        default:
            fixture->options.preserve_limit = fixture->options.preserve_limit ? 0 : SIZE;
        }
        fixture_open(fixture);
        assert_aborted(capture, round, "had lost the preserved pages, or has another preserve_limit");
        fixture->options.preserve_limit = SIZE;
        restart(fixture);
        cut(fixture, round + 1000);
        fill(fixture, round + 2);
        assert_captured(capture, round + 1000); /* it finds the new ones */
        capture_end(capture, round + 1000);
        fixture_map(fixture);
        atomic_store(&((struct layout_header *)(void *)fixture->map)->cap_word, 0);
    }
    capture_close(capture);
}

static void removed_segment_is_not_current(void **state)
{
    struct fixture *fixture = *state;
    struct err err;
    char path[128];
    snprintf(path, sizeof path, "/dev/shm/mcomp.%s.1" OBJECT_PRESERVED, fixture->grid);
    struct capture *capture = fixture_capture_open(fixture);
    assert_true(capture_is_current(capture));
    fixture_close(fixture);
    assert_true(capture_is_current(capture));
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(segment_remove(fixture->grid, 1, &err), MCOMP_OK);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_false(capture_is_current(capture));
    fixture_open(fixture);
    assert_false(capture_is_current(capture));
    capture_close(capture);
    capture = fixture_capture_open(fixture);
    assert_true(capture_is_current(capture));
    capture_close(capture);
}

static void deleted_preserved_pages_cost_the_round_only(void **state)
{
    struct fixture *fixture = *state;
    struct err err;
    char path[128];
    snprintf(path, sizeof path, "/dev/shm/mcomp.%s.1" OBJECT_PRESERVED, fixture->grid);
    struct capture *capture = fixture_capture_open(fixture);
    cut(fixture, 256);
    fill(fixture, 12);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(fixture_capture(capture, 256, SIZE, image, &err), MCOMP_ABORTED);
    assert_non_null(strstr(err.text, "was deleted"));
    cut(fixture, 257);
    assert_captured(capture, 257); /* nothing is changed meanwhile */
    capture_close(capture);
}

/* ---- attaching ---- */

static void assert_no_capture(const struct segment_options *options, enum mcomp_status code, const char *text)
{
    struct capture *capture = (void *)(uintptr_t)options;
    struct err err = {.text = ""};
    enum mcomp_status got = capture_open(&capture, options->grid, options->node, options->nodes, options->size, &err);
    assert_string_equal(status_name(got), status_name(code));
    assert_null(capture);
    if (!strstr(err.text, text))
        fail_msg("\"%s\" is missing in: %s", text, err.text);
}

static void capture_of_another_segment_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct segment_options other = fixture->options;
    other.node = 2;
    assert_no_capture(&other, MCOMP_NOT_FOUND, "has not run");
    other = fixture->options;
    other.size *= 2;
    assert_no_capture(&other, MCOMP_FAILED_PRECONDITION, "segment_size");
    other = fixture->options;
    other.nodes++;
    assert_no_capture(&other, MCOMP_FAILED_PRECONDITION, "3 nodes");
    struct layout_header *header = fixture_map(fixture);
    header->fixed.unused[3] ^= 1;
    assert_no_capture(&fixture->options, MCOMP_DATA_LOSS, "checksum");
    header->fixed.unused[3] ^= 1;
    atomic_store(&header->ready, 0);
    atomic_store(&header->attach_count, 0);
    assert_no_capture(&fixture->options, MCOMP_NOT_FOUND, "is being made");
    atomic_store(&header->ready, LAYOUT_READY);
    capture_close(fixture_capture_open(fixture));
}

static void second_capture_is_refused_and_names_the_first(void **state)
{
    struct fixture *fixture = *state;
    int ready[2], done[2];
    char byte, text[32];
    assert_true(pipe(ready) == 0 && pipe(done) == 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct capture *capture;
        const struct segment_options *options = &fixture->options;
        close(done[1]);
        if (capture_open(&capture, options->grid, options->node, options->nodes, options->size, NULL) != MCOMP_OK || write(ready[1], "x", 1) != 1 ||
            read(done[0], &byte, 1) != 0)
            _exit(1);
        _exit(0); /* without closing it */
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    snprintf(text, sizeof text, "by process %ld;", (long)child);
    assert_no_capture(&fixture->options, MCOMP_FAILED_PRECONDITION, text);
    close(done[1]);
    fixture_child_passed(child);
    capture_close(fixture_capture_open(fixture));
    restart(fixture); /* a server is not kept out by a snapshot process, nor the other way round */
    struct capture *capture = fixture_capture_open(fixture);
    restart(fixture);
    capture_close(capture);
    close(ready[0]);
    close(ready[1]);
    close(done[0]);
}

/* ---- memory ---- */

#define LARGE_BYTES (UINT64_C(48) << 20)
#define KEPT_BYTES (LARGE_BYTES / POOL_KEPT_PART)   /* between rounds */

static uint64_t pool_bytes(const struct fixture *fixture)
{
    char path[128];
    struct stat st;
    snprintf(path, sizeof path, "/dev/shm/mcomp.%s.1" OBJECT_PRESERVED, fixture->grid);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, LARGE_BYTES);
    return (uint64_t)st.st_blocks * 512;
}

static void touch_pages(struct fixture *fixture, uint64_t from, uint64_t to)
{
    for (uint64_t at = from; at < to; at += PAGE_BYTES)
        DONE(segment_write(fixture->segment, 0, at, 5, "touch"));
}

static void memory_is_got_ahead_and_given_back(void **state)
{
    struct fixture *fixture = *state;
    struct segment_command command;
    fixture->options.size = fixture->options.preserve_limit = LARGE_BYTES;
    fixture_open(fixture);
    assert_int_equal(pool_bytes(fixture), 0);
    tend(fixture);
    assert_int_equal(pool_bytes(fixture), KEPT_BYTES);
    struct capture *capture = fixture_capture_open(fixture);
    for (uint32_t round = 256; round < 260; round++) {
        bool agent = round % 2;
        fixture_cut(fixture, round);
        touch_pages(fixture, 0, 8 << 20);
        if (agent)
            tend(fixture);
        if (agent)
            assert_in_range(pool_bytes(fixture), 2 * (8 << 20), 2 * (8 << 20) + POOL_STEP_SLOTS * PAGE_BYTES - 1); /* as much ahead as is used */
        else
            assert_int_equal(pool_bytes(fixture), 8 << 20);
        touch_pages(fixture, 8 << 20, LARGE_BYTES); /* without an agent writers get what is missing */
        assert_true(capture_is_live(capture, round));
        assert_int_equal(pool_bytes(fixture), LARGE_BYTES);
        if (round == 259) /* a round begins before anything is given back */
            fixture_cut(fixture, round + 1);
        capture_end(capture, round);
        for (int i = 0; i < 5; i++) /* the command, the end of the capture, then what is to be done about it */
            (void)segment_mailbox_wait(fixture->segment, 0, &command);
        assert_int_equal(pool_bytes(fixture), round == 259 ? LARGE_BYTES : KEPT_BYTES);
    }
    fixture_close(fixture); /* the new one has no round under way and gives back what it finds */
    atomic_store(&((struct layout_header *)(void *)(fixture_map(fixture)))->cap_word, 0);
    fixture_open(fixture);
    tend(fixture);
    assert_int_equal(pool_bytes(fixture), KEPT_BYTES);
    capture_close(capture);
}

static void memory_is_not_given_back_under_a_writer(void **state)
{
    struct fixture *fixture = *state;
    struct segment_command command;
    fixture->options.size = fixture->options.preserve_limit = LARGE_BYTES;
    fixture_open(fixture);
    fixture_cut(fixture, 256);
    touch_pages(fixture, 0, LARGE_BYTES - (1 << 20));
    pthread_t thread = start_waiting_writer(fixture);
    segment_capture_end(fixture->segment, 256);
    for (int i = 0; i < 20; i++)
        (void)segment_mailbox_wait(fixture->segment, 0, &command);
    assert_true(pool_bytes(fixture) >= LARGE_BYTES - (1 << 20)); /* it may be copying a page */
    segment_release(fixture->segment, STRIPE_BYTES, 1);
    pthread_join(thread, NULL);
    tend(fixture);
    assert_int_equal(pool_bytes(fixture), KEPT_BYTES);
}

/* In a mount name space with an 8 MiB /dev/shm. Exit code 77: this process may not make one. */
static int capture_in_small_shm(struct fixture *fixture)
{
    struct err err = {.text = ""};
    struct segment_command command;
    struct capture *capture;
    const struct segment_options *options = &fixture->options;
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=8m") != 0)
        return 77;
    fixture->options.size = fixture->options.preserve_limit = UINT64_C(4) << 20;
    if (segment_open(&fixture->segment, options, &err) != MCOMP_OK ||
        capture_open(&capture, options->grid, options->node, options->nodes, options->size, &err) != MCOMP_OK)
        return 1;
    for (uint32_t round = 256; round < 260; round++) {
        bool live;
        if (round % 2)
            (void)segment_mailbox_wait(fixture->segment, 0, &command);
        fixture_cut(fixture, round);
        touch_pages(fixture, 0, 1 << 18);
        segment_last_cut(fixture->segment, &live);
        if (!live)
            return 2; /* there is memory for some */
        touch_pages(fixture, 1 << 18, options->size);
        segment_last_cut(fixture->segment, &live);
        if (live || capture_finish(capture, round, &err) != MCOMP_ABORTED || !strstr(err.text, "no memory"))
            return 3;
    }
    return 0;
}

static void capture_ends_when_memory_does_and_writers_go_on(void **state)
{
    struct fixture *fixture = *state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(capture_in_small_shm(fixture));
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup_open, fixture_teardown)
#define TEST_CLOSED(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(capture_shows_the_state_at_the_cut),
        TEST(each_kind_of_write_preserves_what_it_changes),
        TEST(page_is_not_preserved_once_it_is_captured),
        TEST(superseded_capture_is_refused),
        TEST(capture_ends_at_the_limit_and_writers_go_on),
        TEST(frozen_segment_refuses_what_would_change_it),
        TEST(wait_for_drain_is_ended_by_the_last_writer),
        TEST(writer_in_the_middle_of_a_copy_is_noticed),
        TEST(capture_goes_on_over_a_restart_and_without_a_server),
        TEST(capture_whose_preserved_pages_are_gone_ends),
        TEST(deleted_preserved_pages_cost_the_round_only),
        TEST(removed_segment_is_not_current),
        TEST(capture_of_another_segment_is_refused),
        TEST(second_capture_is_refused_and_names_the_first),
        TEST_CLOSED(memory_is_got_ahead_and_given_back),
        TEST_CLOSED(memory_is_not_given_back_under_a_writer),
        TEST_CLOSED(capture_ends_when_memory_does_and_writers_go_on),
    };
    return cmocka_run_group_tests_name("segment-capture", tests, NULL, NULL);
}
