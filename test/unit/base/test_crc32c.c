/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off: cmocka.h needs these before it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <string.h>

#include "base/crc32c.h"

/* RFC 3720, B.4, and the check value of the CRC catalogues. */
static void known_values(void **state)
{
    (void)state;
    uint8_t data[32];
    assert_int_equal(crc32c(0, "", 0), 0);
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c_tables(0, "123456789", 9), 0xe3069283);
    memset(data, 0, sizeof data);
    assert_int_equal(crc32c(0, data, sizeof data), 0x8a9136aa);
    memset(data, 0xff, sizeof data);
    assert_int_equal(crc32c(0, data, sizeof data), 0x62a8ab43);
    for (uint8_t i = 0; i < sizeof data; i++)
        data[i] = i;
    assert_int_equal(crc32c(0, data, sizeof data), 0x46dd794e);
    assert_int_equal(crc32c_tables(0, data, sizeof data), 0x46dd794e);
}

static void both_ways_agree_at_every_length_alignment_and_cut(void **state)
{
    (void)state;
    uint8_t data[200];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * i + 3 * i);
    for (size_t start = 0; start < 9; start++) {
        for (size_t bytes = 0; bytes <= 150; bytes++) {
            uint32_t whole = crc32c(0, data + start, bytes);
            assert_int_equal(crc32c_tables(0, data + start, bytes), whole);
            for (size_t cut = 0; cut <= bytes; cut += 7) {
                uint32_t first = crc32c_tables(0, data + start, cut);
                assert_int_equal(crc32c(first, data + start + cut, bytes - cut), whole);
            }
        }
    }
}

/* Long ones are computed in another way. */
static void both_ways_agree_on_long_data(void **state)
{
    (void)state;
    static uint8_t data[80000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * i * 7 + (i >> 8) * 13);
    for (size_t start = 0; start < 9; start++) {
        static const size_t lengths[] = {24575, 24576, 24577, 24583, 24584, 49151, 49152, 49160, 73728, 79990};
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
            assert_int_equal(crc32c((uint32_t)start * 99, data + start, lengths[i]), crc32c_tables((uint32_t)start * 99, data + start, lengths[i]));
    }
}

static void joined_checksums_are_those_of_the_whole(void **state)
{
    (void)state;
    static uint8_t data[70000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * i >> 3 ^ i);
    static const size_t lengths[] = {0, 1, 2, 3, 15, 16, 255, 4096, 65536, 69999, sizeof data};
    uint32_t whole = crc32c(0, data, sizeof data);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        size_t cut = sizeof data - lengths[i];
        assert_int_equal(crc32c_join(crc32c(0, data, cut), crc32c(0, data + cut, lengths[i]), lengths[i]), whole);
    }
    /* 3 · 2^33 zero bytes do no harm to nothing, and turn into the same checksum whether they come at once or one half after the other. */
    uint64_t half = UINT64_C(3) << 32;
    assert_int_equal(crc32c_join(0, 77, half), 77);
    assert_int_equal(crc32c_join(crc32c_join(whole, 0, half), 0, half), crc32c_join(whole, 0, 2 * half));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_values),
        cmocka_unit_test(both_ways_agree_at_every_length_alignment_and_cut),
        cmocka_unit_test(both_ways_agree_on_long_data),
        cmocka_unit_test(joined_checksums_are_those_of_the_whole),
    };
    return cmocka_run_group_tests_name("crc32c", tests, NULL, NULL);
}
