/* SPDX-License-Identifier: Apache-2.0 */
/** A writer comes in the middle of a reader's copy, at every place.
 *
 *  The reader's buffer ends in a page that may not be written yet. Its copy runs into that page after a chosen number of bytes; the handler of
 *  the fault writes to the segment, as another thread would just then, and allows the page. */
#include "fixture.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Bytes on two stripes, copied without permits: as many as there can be, and few. */
#define LARGE_BYTES 8192u
#define SMALL_BYTES 600u
/* On five stripes: too long to be copied without permits. */
#define LONG_BYTES (3u * STRIPE_BYTES + 1000)

enum kind { READ, READ_TRY, MULTI };

static struct {
    uint8_t *pages;    /* three times as much as the longest read, the last third is closed */
    size_t half_bytes; /* where it begins */
    struct segment *segment;
    struct segment_write_range write; /* what comes between */
    int faults;
    bool written;
} trap;

static void on_fault(int number)
{
    (void)number;
    trap.faults++;
    trap.written = segment_write_try(trap.segment, 0, trap.write.offset, trap.write.length, trap.write.data) == SEGMENT_DONE;
    mprotect(trap.pages + trap.half_bytes, trap.half_bytes, PROT_READ | PROT_WRITE);
}

static int setup(void **state)
{
    memset(&trap, 0, sizeof trap);
    trap.half_bytes = 4 * (size_t)STRIPE_BYTES;
    trap.pages = mmap(NULL, 2 * trap.half_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (trap.pages == MAP_FAILED || fixture_setup_open(state) != 0)
        return -1;
    trap.segment = ((struct fixture *)*state)->segment;
    return 0;
}

static int teardown(void **state)
{
    munmap(trap.pages, 2 * trap.half_bytes);
    return fixture_teardown(state);
}

static bool perform(enum kind kind, uint64_t offset, uint64_t length, uint8_t *buf)
{
    const struct segment_range halves[] = {{offset, length / 2}, {offset + length / 2, length - length / 2}};
    switch (kind) {
    case READ:
        DONE(segment_read(trap.segment, offset, length, buf));
        return true;
    case READ_TRY:
        return segment_read_try(trap.segment, offset, length, buf) == SEGMENT_DONE;
    default:
        DONE(segment_multi(trap.segment, 1, halves, 2, buf, NULL, 0));
        return true;
    }
}

static uint8_t x[LONG_BYTES], y[LONG_BYTES], expected[LONG_BYTES];

/* Interrupt reads after `step`, 2·step, … bytes by a write of y; before it all bytes are x. can_write: the reader has no permits. */
static void interrupt_everywhere(enum kind kind, uint64_t offset, uint64_t length, uint64_t step, uint64_t write_offset, uint64_t write_length,
                                 bool can_write)
{
    int faults = 0;
    for (uint64_t after = step; after < length; after += step) {
        for (uint64_t at = 0; at < length; at += FIXTURE_REDO_BYTES / 2)
            DONE(segment_write(trap.segment, 0, offset + at, length - at < FIXTURE_REDO_BYTES / 2 ? length - at : FIXTURE_REDO_BYTES / 2, x));
        uint8_t *buf = trap.pages + trap.half_bytes - after;
        memset(buf, 0, after);
        trap.write = (struct segment_write_range){write_offset, write_length, y};
        trap.faults = 0;
        trap.written = false;
        assert_int_equal(mprotect(trap.pages + trap.half_bytes, trap.half_bytes, PROT_NONE), 0);
        assert_true(perform(kind, offset, length, buf));
        assert_int_equal(trap.faults, 1);
        assert_int_equal(trap.written, can_write);
        memcpy(expected, x, length);
        if (can_write) /* it came before the copy was taken for good, and stays */
            memcpy(expected + (write_offset - offset), y, write_length);
        assert_int_equal(memcmp(buf, expected, length), 0);
        faults++;
    }
    assert_true(faults >= 5);
}

/* In the test itself: cmocka sets handlers of its own between setup and test, and takes them back after it. */
static void begin(void)
{
    struct sigaction action = {.sa_handler = on_fault};
    assert_int_equal(sigaction(SIGSEGV, &action, NULL), 0);
    memset(x, 'x', sizeof x);
    memset(y, 'y', sizeof y);
}

static void copy_without_permits_is_repeated(void **state)
{
    (void)state;
    begin();
    const uint64_t lengths[] = {SMALL_BYTES, LARGE_BYTES};
    for (size_t i = 0; i < 2; i++) {
        uint64_t length = lengths[i], half = length / 2, offset = STRIPE_BYTES - half, step = length / 100;
        for (int kind = READ; kind <= READ_TRY; kind++) {
            interrupt_everywhere((enum kind)kind, offset, length, step, offset, length, true);
            interrupt_everywhere((enum kind)kind, offset, length, step, STRIPE_BYTES, half, true);     /* only the second stripe */
            interrupt_everywhere((enum kind)kind, offset, length, step, offset, half, true);           /* only the first */
            interrupt_everywhere((enum kind)kind, offset, length, step, offset + 8 - offset % 8, 8, true); /* one word, by one store */
        }
    }
}

static void copy_with_permits_keeps_the_writer_out(void **state)
{
    (void)state;
    begin();
    const uint64_t offset = STRIPE_BYTES / 2;
    for (int kind = READ; kind <= MULTI; kind++)
        interrupt_everywhere((enum kind)kind, offset, LONG_BYTES, 4999, offset + 3 * STRIPE_BYTES, 100, false);
    interrupt_everywhere(MULTI, STRIPE_BYTES - 300, SMALL_BYTES, 7, STRIPE_BYTES, 100, false);
}

static void reader_gives_up_optimism_when_writers_keep_coming(void **state)
{
    struct fixture *fixture = *state;
    uint8_t buf[64];
    fixture_map(fixture);
    struct stripe *stripe = &fixture_stripes(fixture)[0];
    atomic_store(&stripe->sequence, 1); /* as if a writer were there all the time, but without permits */
    DONE(segment_read(fixture->segment, 100, sizeof buf, buf));
    assert_int_equal(segment_read_try(fixture->segment, 100, sizeof buf, buf), SEGMENT_BUSY);
    assert_int_equal(atomic_load(&stripe->state), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(copy_without_permits_is_repeated),
        TEST(copy_with_permits_keeps_the_writer_out),
        TEST(reader_gives_up_optimism_when_writers_keep_coming),
    };
    return cmocka_run_group_tests_name("segment-interrupt", tests, NULL, NULL);
}
