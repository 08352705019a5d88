/* SPDX-License-Identifier: Apache-2.0 */
/** The operations of one thread against a plain array of bytes. */
#include "fixture.h"

#include <stdlib.h>
#include <string.h>

#include "base/le.h"

#define SIZE FIXTURE_BYTES

static uint8_t model[SIZE]; /* what the segment must hold */

static int setup(void **state)
{
    memset(model, 0, sizeof model);
    return fixture_setup_open(state);
}

static void assert_model(struct segment *segment)
{
    static uint8_t buf[SIZE];
    DONE(segment_read(segment, 0, SIZE, buf));
    assert_int_equal(memcmp(buf, model, SIZE), 0);
}

/* ---- single cases ---- */

static void write_then_read_at_the_edges(void **state)
{
    struct fixture *fixture = *state;
    const uint64_t lengths[] = {1, 2, 3, 4, 7, 8, 9, 63, 64, 65, 4095, 4096, 4097, 8192, 8193, STRIPE_BYTES, STRIPE_BYTES + 1, 3 * STRIPE_BYTES};
    static uint8_t data[SIZE], back[SIZE];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7 + i / 251 + 1);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        uint64_t length = lengths[i];
        const uint64_t offsets[] = {0, 1, 4, STRIPE_BYTES - length / 2, SIZE - length};
        for (size_t j = 0; j < sizeof offsets / sizeof offsets[0]; j++) {
            if (offsets[j] > SIZE - length)
                continue;
            if (length <= FIXTURE_REDO_BYTES) {
                DONE(segment_write(fixture->segment, 0, offsets[j], length, data));
                memcpy(model + offsets[j], data, length);
            }
            DONE(segment_read(fixture->segment, offsets[j], length, back));
            assert_memory_equal(back, model + offsets[j], length);
        }
        assert_model(fixture->segment);
    }
}

static void zero_length_touches_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct segment *segment = fixture->segment;
    const uint64_t offsets[] = {0, 5, STRIPE_BYTES, SIZE};
    for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
        DONE(segment_read(segment, offsets[i], 0, NULL));
        DONE(segment_read_try(segment, offsets[i], 0, NULL));
        DONE(segment_write(segment, 0, offsets[i], 0, NULL));
        DONE(segment_write_try(segment, 0, offsets[i], 0, NULL));
        assert_non_null(segment_hold_try(segment, offsets[i], 0));
        segment_release(segment, offsets[i], 0);
        struct segment_range read = {offsets[i], 0};
        struct segment_write_range write = {offsets[i], 0, NULL};
        DONE(segment_multi(segment, 0, &read, 1, NULL, &write, 1));
    }
    DONE(segment_multi(segment, 0, NULL, 0, NULL, NULL, 0));
    fixture_map(fixture);
    for (uint32_t i = 0; i < FIXTURE_STRIPES + 1; i++) {
        assert_int_equal(fixture_stripes(fixture)[i].state, 0);
        assert_int_equal(fixture_stripes(fixture)[i].sequence, 0);
    }
    assert_model(segment);
}

static void add_and_cas_at_every_alignment(void **state)
{
    struct fixture *fixture = *state;
    struct segment *segment = fixture->segment;
    uint64_t found;
    for (uint64_t offset = STRIPE_BYTES - 16; offset <= STRIPE_BYTES + 16; offset++) {
        DONE(segment_write(segment, 0, offset, 8, "\xff\xff\xff\xff\xff\xff\xff\xff"));
        DONE(segment_add(segment, 0, offset, 3, &found));
        assert_true(found == UINT64_MAX);
        DONE(segment_cas(segment, 0, offset, 7, 100, &found)); /* differs: stays */
        assert_int_equal(found, 2);
        DONE(segment_cas(segment, 0, offset, 2, 100, &found));
        assert_int_equal(found, 2);
        DONE(segment_add_try(segment, 0, offset, (uint64_t)-1, &found));
        assert_int_equal(found, 100);
        DONE(segment_cas_try(segment, 0, offset, 99, UINT64_C(0x1122334455667788), &found));
        assert_int_equal(found, 99);
        uint8_t bytes[8];
        DONE(segment_read(segment, offset, 8, bytes));
        assert_memory_equal(bytes, "\x88\x77\x66\x55\x44\x33\x22\x11", 8);
    }
}

static void multi_reads_show_the_state_before_its_writes(void **state)
{
    struct fixture *fixture = *state;
    struct segment *segment = fixture->segment;
    DONE(segment_write(segment, 0, STRIPE_BYTES - 4, 8, "abcdefgh"));
    DONE(segment_write(segment, 0, 10, 3, "xyz"));
    const struct segment_range reads[] = {{STRIPE_BYTES - 4, 8}, {10, 3}, {STRIPE_BYTES - 2, 4}, {SIZE, 0}, {10, 1}};
    const struct segment_write_range writes[] = {{STRIPE_BYTES - 1, 2, "DE"}, {10, 3, "XYZ"}, {STRIPE_BYTES - 1, 0, NULL}};
    char before[21] = "", after[12] = "";
    DONE(segment_multi(segment, 0, reads, 5, before, writes, 3));
    assert_string_equal(before, "abcdefghxyzcdefx");
    DONE(segment_multi(segment, 0, reads, 2, after, NULL, 0));
    assert_string_equal(after, "abcDEfghXYZ");
}

static void multi_of_the_most_ranges(void **state)
{
    struct fixture *fixture = *state;
    struct segment_write_range writes[MULTI_RANGES_MAX];
    struct segment_range reads[MULTI_RANGES_MAX];
    static uint8_t back[MULTI_RANGES_MAX * 5];
    for (size_t i = 0; i < MULTI_RANGES_MAX; i++) {
        /* every order the sort could stumble over: rising, falling, interleaved */
        size_t place = i % 3 == 0 ? i : i % 3 == 1 ? MULTI_RANGES_MAX + 1 - i : i;
        uint64_t offset = (uint64_t)place * 255 + (i % 3 == 1 ? 100 : 0);
        memset(model + offset, (int)(i % 255) + 1, 5);
        writes[i] = (struct segment_write_range){offset, 5, model + offset};
        reads[i] = (struct segment_range){offset, 5};
    }
    DONE(segment_multi(fixture->segment, 0, NULL, 0, NULL, writes, MULTI_RANGES_MAX));
    assert_model(fixture->segment);
    DONE(segment_multi(fixture->segment, 0, reads, MULTI_RANGES_MAX, back, NULL, 0));
    for (size_t i = 0; i < MULTI_RANGES_MAX; i++)
        assert_memory_equal(back + i * 5, writes[i].data, 5);
}

/* ---- try, against a stripe that is taken ---- */

static void assert_all_free(const struct fixture *fixture, uint32_t except)
{
    for (uint32_t i = 0; i < FIXTURE_STRIPES + 1; i++)
        if (i != except)
            assert_int_equal(fixture_stripes(fixture)[i].state, 0);
}

static void try_fails_at_a_held_stripe_with_nothing_done(void **state)
{
    struct fixture *fixture = *state;
    struct segment *segment = fixture->segment;
    static uint8_t data[3 * STRIPE_BYTES] = {1, 2, 3};
    uint64_t word;
    const uint64_t held = 2 * STRIPE_BYTES; /* a reader in stripe 2 */
    fixture_map(fixture);
    assert_non_null(segment_hold_try(segment, held, 10));
    assert_int_equal(segment_write_try(segment, 0, held + 100, 64, data), SEGMENT_BUSY);
    assert_int_equal(segment_write_try(segment, 0, held + 96, 8, data), SEGMENT_BUSY);
    assert_int_equal(segment_write_try(segment, 0, 10, 3 * STRIPE_BYTES - 10, data), SEGMENT_BUSY); /* gets stripes 0 and 1 first */
    assert_int_equal(segment_add_try(segment, 0, held - 4, 1, &word), SEGMENT_BUSY);
    assert_int_equal(segment_cas_try(segment, 0, held + 8, 0, 1, &word), SEGMENT_BUSY);
    const struct segment_range reads[] = {{0, 8}, {held, 8}, {3 * STRIPE_BYTES, 8}};
    const struct segment_write_range writes[] = {{STRIPE_BYTES, 9, data}, {held + 8, 3, data}};
    uint64_t three[3];
    assert_int_equal(segment_multi_try(segment, 0, reads, 3, three, writes, 2), SEGMENT_BUSY);
    assert_all_free(fixture, 2);
    /* Readers do not exclude readers. */
    DONE(segment_read_try(segment, held, 64, data));
    DONE(segment_read_try(segment, 0, 3 * STRIPE_BYTES, data));
    assert_non_null(segment_hold_try(segment, held - 10, 100));
    segment_release(segment, held - 10, 100);
    DONE(segment_multi_try(segment, 0, reads, 3, three, writes, 1)); /* writes stripe 1 only */
    memcpy(model + STRIPE_BYTES, writes[0].data, 9);
    segment_release(segment, held, 10);
    assert_model(segment);
    assert_all_free(fixture, UINT32_MAX);
}

static void try_fails_while_a_writer_is_in_the_stripe(void **state)
{
    struct fixture *fixture = *state;
    struct segment *segment = fixture->segment;
    uint8_t buf[200];
    fixture_map(fixture);
    struct stripe *stripe = &fixture_stripes(fixture)[1];
    atomic_store(&stripe->state, UINT64_C(1) << 48); /* a writer has all permits */
    DONE(segment_read_try(segment, STRIPE_BYTES, 100, buf)); /* and has not begun to store */
    atomic_store(&stripe->sequence, 1);                             /* now it has */
    assert_int_equal(segment_read_try(segment, STRIPE_BYTES, 100, buf), SEGMENT_BUSY);
    assert_int_equal(segment_read_try(segment, STRIPE_BYTES - 50, 100, buf), SEGMENT_BUSY);
    DONE(segment_read_try(segment, STRIPE_BYTES - 100, 100, buf));
    assert_null(segment_hold_try(segment, STRIPE_BYTES - 50, 100));
    assert_int_equal(segment_read_try(segment, 0, SIZE, model), SEGMENT_BUSY);
    assert_all_free(fixture, 1);
    atomic_store(&stripe->sequence, 4);
    atomic_store(&stripe->state, 0);
    DONE(segment_read_try(segment, STRIPE_BYTES, 100, buf));
}

static void small_read_changes_nothing_in_shared_memory(void **state)
{
    struct fixture *fixture = *state;
    uint8_t buf[8192];
    fixture_map(fixture);
    uint8_t *before = malloc(fixture->map_bytes);
    assert_non_null(before);
    memcpy(before, fixture->map, fixture->map_bytes);
    DONE(segment_read(fixture->segment, 3, 64, buf));
    DONE(segment_read(fixture->segment, STRIPE_BYTES - 4000, 8192, buf));
    DONE(segment_read_try(fixture->segment, 2 * STRIPE_BYTES - 1, 2, buf));
    int same = memcmp(before, fixture->map, fixture->map_bytes) == 0;
    free(before);
    assert_true(same);
}

/* ---- random operations ---- */

static uint64_t random_offset(uint64_t *random, uint64_t length)
{
    uint64_t r = fixture_random(random);
    switch (r % 4) {
    case 0: { /* near a border of stripes */
        uint64_t border = (1 + (r >> 8) % FIXTURE_STRIPES) * (uint64_t)STRIPE_BYTES;
        uint64_t before = (r >> 16) % (length + 9);
        uint64_t offset = border > before ? border - before : 0;
        return offset <= SIZE - length ? offset : SIZE - length;
    }
    case 1: /* aligned */
        return (r >> 8) % (SIZE - length + 1) / 8 * 8;
    case 2: /* the end */
        return SIZE - length;
    default:
        return (r >> 8) % (SIZE - length + 1);
    }
}

static uint64_t random_length(uint64_t *random)
{
    uint64_t r = fixture_random(random);
    const uint64_t most[] = {0, 1, 8, 16, 64, 300, 5000, 20000, 150000};
    return (r >> 8) % (most[r % 9] + 1);
}

static void random_multi(struct segment *segment, uint64_t *random, const uint8_t *data, bool wait)
{
    struct segment_range reads[20];
    struct segment_write_range writes[20];
    size_t read_count = fixture_random(random) % 20, write_count = 0, wanted = fixture_random(random) % 20;
    static uint8_t got[20 * 8192], expected[20 * 8192];
    size_t bytes = 0;
    for (size_t i = 0; i < read_count; i++) {
        uint64_t length = random_length(random) % 8192;
        reads[i] = (struct segment_range){random_offset(random, length), length};
        memcpy(expected + bytes, model + reads[i].offset, length);
        bytes += length;
    }
    for (size_t i = 0; i < wanted; i++) {
        uint64_t length = random_length(random) % 8192, offset = random_offset(random, length);
        bool overlaps = false;
        for (size_t j = 0; j < write_count; j++)
            overlaps |= offset < writes[j].offset + writes[j].length && writes[j].offset < offset + length;
        if (!overlaps)
            writes[write_count++] = (struct segment_write_range){offset, length, data + i * 100};
    }
    if (wait)
        DONE(segment_multi(segment, 1, reads, read_count, got, writes, write_count));
    else
        DONE(segment_multi_try(segment, 1, reads, read_count, got, writes, write_count));
    assert_int_equal(memcmp(got, expected, bytes), 0);
    for (size_t i = 0; i < write_count; i++)
        memcpy(model + writes[i].offset, writes[i].data, writes[i].length);
}

static void random_word(struct segment *segment, uint64_t *random, uint64_t r, bool wait)
{
    uint64_t offset = random_offset(random, 8), found = 0;
    uint64_t word = le64_get(model + offset), operand = fixture_random(random);
    if (r % 2) {
        if (wait)
            DONE(segment_add(segment, 2, offset, operand, &found));
        else
            DONE(segment_add_try(segment, 2, offset, operand, &found));
        le64_put(model + offset, word + operand);
    } else {
        uint64_t expected = r % 4 ? word : word + 1;
        if (wait)
            DONE(segment_cas(segment, 2, offset, expected, operand, &found));
        else
            DONE(segment_cas_try(segment, 2, offset, expected, operand, &found));
        if (expected == word)
            le64_put(model + offset, operand);
    }
    assert_true(found == word);
}

static void random_operations_agree_with_an_array(void **state)
{
    struct fixture *fixture = *state;
    struct segment *segment = fixture->segment;
    static uint8_t data[300000], buf[SIZE];
    uint64_t random = 42;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)fixture_random(&random);
    for (int i = 0; i < 20000; i++) {
        uint64_t r = fixture_random(&random) >> 8;
        uint64_t length = random_length(&random), offset = random_offset(&random, length);
        bool wait = r % 2;
        const uint8_t *from = data + r % 100000;
        switch (r / 2 % 5) {
        case 0:
            if (wait)
                DONE(segment_read(segment, offset, length, buf));
            else
                DONE(segment_read_try(segment, offset, length, buf));
            assert_int_equal(memcmp(buf, model + offset, length), 0);
            break;
        case 1:
            if (wait)
                DONE(segment_write(segment, 0, offset, length, from));
            else
                DONE(segment_write_try(segment, 0, offset, length, from));
            memcpy(model + offset, from, length);
            break;
        case 2:
            random_word(segment, &random, r / 10, wait);
            break;
        case 3:
            random_multi(segment, &random, from, wait);
            break;
        default: {
            const void *held = segment_hold_try(segment, offset, length);
            assert_non_null(held);
            assert_int_equal(memcmp(held, model + offset, length), 0);
            segment_release(segment, offset, length);
        }
        }
        if (i % 500 == 0)
            assert_model(segment);
    }
    assert_model(segment);
    fixture_close(fixture);
    fixture_open(fixture);
    assert_model(fixture->segment);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(write_then_read_at_the_edges),
        TEST(zero_length_touches_nothing),
        TEST(add_and_cas_at_every_alignment),
        TEST(multi_reads_show_the_state_before_its_writes),
        TEST(multi_of_the_most_ranges),
        TEST(try_fails_at_a_held_stripe_with_nothing_done),
        TEST(try_fails_while_a_writer_is_in_the_stripe),
        TEST(small_read_changes_nothing_in_shared_memory),
        TEST(random_operations_agree_with_an_array),
    };
    return cmocka_run_group_tests_name("segment-operations", tests, NULL, NULL);
}
