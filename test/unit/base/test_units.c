/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/units.h"

typedef enum mcomp_status parse_fn(const char *text, uint64_t *value, struct err *err);

struct good {
    const char *text;
    uint64_t value;
};

struct bad {
    const char *text;
    const char *word; /* in the message */
};

static void check_good(parse_fn *parse, const struct good *table, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t value = 77;
        struct err err = {.text = ""};
        if (parse(table[i].text, &value, &err) != MCOMP_OK)
            fail_msg("%s: %s", table[i].text, err.text);
        if (value != table[i].value)
            fail_msg("%s gave %llu", table[i].text, (unsigned long long)value);
    }
}

static void check_bad(parse_fn *parse, const struct bad *table, size_t count, const char *forms)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t value = 77;
        struct err err = {.text = ""};
        if (parse(table[i].text, &value, &err) != MCOMP_INVALID_ARGUMENT)
            fail_msg("accepted: %s", table[i].text);
        assert_int_equal(value, 77);
        assert_int_equal(err.text[0], '"'); /* quotes the input */
        if (!strstr(err.text, table[i].word) || !strstr(err.text, forms))
            fail_msg("%s: the message lacks \"%s\" or \"%s\": %s", table[i].text, table[i].word, forms, err.text);
        assert_int_equal(parse(table[i].text, &value, NULL), MCOMP_INVALID_ARGUMENT);
    }
}

#define CHECK_GOOD(parse, table) check_good(parse, table, sizeof table / sizeof *table)
#define CHECK_BAD(parse, table, forms) check_bad(parse, table, sizeof table / sizeof *table, forms)

static void bytes_accepted(void **state)
{
    (void)state;
    static const struct good table[] = {
        {"0", 0},
        {"4096", 4096},
        {"0x1000", 4096},
        {"0XFFFFFFFFFFFFFFFF", UINT64_MAX},
        {"0x10KiB", 16384},
        {"0x10B", 0x10b}, /* B is a digit here */
        {"0x10 B", 16},
        {"18446744073709551615", UINT64_MAX},
        {"18446744073709551615B", UINT64_MAX},
        {"00012", 12},
        {"64KiB", 65536},
        {"64kib", 65536},
        {"64 KiB", 65536},
        {"64\tKIB", 65536},
        {"64K", 65536},
        {"64k", 65536},
        {"64kB", 64000},
        {"64KB", 64000},
        {"1M", 1048576},
        {"1MB", 1000000},
        {"1MiB", 1048576},
        {"1GiB", UINT64_C(1) << 30},
        {"1gb", 1000000000},
        {"3TiB", UINT64_C(3) << 40},
        {"3TB", UINT64_C(3000000000000)},
        {"1PiB", UINT64_C(1) << 50},
        {"15EiB", UINT64_C(15) << 60},
        {"18EB", UINT64_C(18000000000000000000)},
        {"1.5GiB", UINT64_C(3) << 29},
        {"1.50000000000000000000000000000000000000000000000000000000KiB", 1536},
        {"0.5KiB", 512},
        {"4096.0", 4096},
        {"0.000001MB", 1},
        {"15.9375EiB", UINT64_C(255) << 56},
        {"0.0000000000009094947017729282379150390625TiB", 1},
        {"16777215.9999999999990905052982270717620849609375TiB", UINT64_MAX},
        {"18.446744073709551615EB", UINT64_MAX},
    };
    CHECK_GOOD(units_parse_bytes, table);
}

static void bytes_refused(void **state)
{
    (void)state;
    static const struct bad table[] = {
        {"", "not a size"},          {" 1", "not a size"},         {"1 ", "not a size"},        {"-1", "not a size"},
        {"+1", "not a size"},        {"KiB", "not a size"},        {"1.", "not a size"},        {".5KiB", "not a size"},
        {"1..5KiB", "not a size"},   {"1.5.5KiB", "not a size"},   {"1,5KiB", "not a size"},    {"1e3", "not a size"},
        {"0x", "not a size"},        {"0xg", "not a size"},        {"0x1.8KiB", "not a size"},  {"1 K iB", "not a size"},
        {"1KiBs", "not a size"},     {"1Ki", "not a size"},        {"1\n", "not a size"},       {"1 kb x", "not a size"},
        {"\xc3\xa9", "\xc3\xa9"},    {"a\"b", "a\\\"b"},           {"1\x01", "1\\x01"},         {"inf", "not a size"},
        {"1.5", "not a whole number"},
        {"1.5B", "not a whole number"},
        {"0.3KiB", "not a whole number"},
        {"0.00000000000090949470177292823791503906251TiB", "not a whole number"},
        {"0.00000000000000000000000000000000000000000000000000001EiB", "not a whole number"},
        {"18446744073709551616", "too large"},
        {"99999999999999999999999999999999", "too large"},
        {"0x10000000000000000", "too large"},
        {"16EiB", "too large"},
        {"16777216TiB", "too large"},
        {"18446744073709552kB", "too large"},
        {"18.446744073709551616EB", "too large"},
    };
    CHECK_BAD(units_parse_bytes, table, "64KiB");
}

static void durations_accepted(void **state)
{
    (void)state;
    static const struct good table[] = {
        {"0", 0},
        {"0.0", 0},
        {"0s", 0},
        {"0h", 0},
        {"1ns", 1},
        {"850ns", 850},
        {"12.3us", 12300},
        {"1.5 ms", 1500000},
        {"30s", UINT64_C(30000000000)},
        {"30 S", UINT64_C(30000000000)},
        {"0.000000001s", 1},
        {"2min", UINT64_C(120000000000)},
        {"1.5h", UINT64_C(5400000000000)},
        {"18446744073709551615ns", UINT64_MAX},
        {"18446744073.709551615s", UINT64_MAX},
        {"5124095h", UINT64_C(5124095) * 3600 * 1000000000},
    };
    CHECK_GOOD(units_parse_duration, table);
}

static void durations_refused(void **state)
{
    (void)state;
    static const struct bad table[] = {
        {"", "not a time"},      {"1", "not a time"},      {"0.1", "not a time"},  {"s", "not a time"},     {"-1s", "not a time"},
        {"0x10s", "not a time"}, {"1m", "not a time"},     {"1d", "not a time"},   {"1 s s", "not a time"}, {"1s ", "not a time"},
        {"1.s", "not a time"},   {"00x", "not a time"},    {"1e3s", "not a time"}, {"0..0", "not a time"},
        {"0.5ns", "not a whole number"},
        {"0.0000000001s", "not a whole number"},
        {"18446744073709551616ns", "too large"},
        {"18446744073.709551616s", "too large"},
        {"5124096h", "too large"},
    };
    CHECK_BAD(units_parse_duration, table, "500ms");
}

static void integers(void **state)
{
    (void)state;
    static const struct good table[] = {
        {"0", 0},          {"42", 42},      {"+42", 42},
        {"-1", UINT64_MAX}, {"0x2a", 42},   {"0xFFFFFFFFFFFFFFFF", UINT64_MAX},
        {"-0", 0},         {"007", 7},      {"18446744073709551615", UINT64_MAX},
        {"-9223372036854775808", UINT64_C(1) << 63},
    };
    CHECK_GOOD(units_parse_integer, table);
    static const struct bad wrong[] = {
        {"", "not an integer"},     {"-", "not an integer"},     {"+", "not an integer"},   {"--1", "not an integer"},
        {"1.0", "not an integer"},  {"1 ", "not an integer"},    {" 1", "not an integer"},  {"1KiB", "not an integer"},
        {"-0x1", "not an integer"}, {"0x", "not an integer"},    {"ten", "not an integer"},
        {"18446744073709551616", "64 bits"},
        {"-9223372036854775809", "64 bits"},
        {"-18446744073709551615", "64 bits"},
    };
    CHECK_BAD(units_parse_integer, wrong, "0x2a");
}

static uint64_t random_state = 4711;

static uint64_t random_u64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* Goal: fractions are exact. Method: against 128-bit arithmetic, which holds 9 digits times 2^40 easily. */
static void fractions_equal_wide_arithmetic(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t size;
    } units[] = {{"B", 1}, {"KiB", 1024}, {"MB", 1000000}, {"GiB", UINT64_C(1) << 30}, {"TiB", UINT64_C(1) << 40}};
    unsigned accepted = 0;
    for (unsigned i = 0; i < 20000; i++) {
        size_t u = random_u64() % (sizeof units / sizeof *units);
        unsigned digits = 1 + (unsigned)(random_u64() % 9);
        uint64_t ten = 1;
        for (unsigned d = 0; d < digits; d++)
            ten *= 10;
        uint64_t whole = random_u64() % 100000;
        /* Half of them a multiple of 5^digits, which is whole in large binary units. */
        uint64_t five = ten >> digits;
        uint64_t fraction = i % 2 ? random_u64() % ten : random_u64() % (ten / five) * five;
        char text[64];
        snprintf(text, sizeof text, "%llu.%0*llu%s", (unsigned long long)whole, (int)digits, (unsigned long long)fraction, units[u].name);
        unsigned __int128 scaled = ((unsigned __int128)whole * ten + fraction) * units[u].size;
        bool exact = scaled % ten == 0;
        uint64_t value;
        enum mcomp_status status = units_parse_bytes(text, &value, NULL);
        if ((status == MCOMP_OK) != exact)
            fail_msg("%s: status %d", text, (int)status);
        if (exact && value != (uint64_t)(scaled / ten))
            fail_msg("%s gave %llu", text, (unsigned long long)value);
        accepted += exact;
    }
    assert_in_range(accepted, 1000, 19000); /* both kinds were there */
}

static void bytes_formatted(void **state)
{
    (void)state;
    static const struct good table[] = {
        {"0 B", 0},
        {"1 B", 1},
        {"1023 B", 1023},
        {"1 KiB", 1024},
        {"1.5 KiB", 1536},
        {"4097 B", 4097},
        {"9999 B", 9999},
        {"9.767 KiB", 10001},
        {"64 MiB", UINT64_C(64) << 20},
        {"1.5 GiB", UINT64_C(3) << 29},
        {"192 MiB", UINT64_C(192) << 20},
        {"1.25 TiB", UINT64_C(5) << 38},
        {"4097 KiB", UINT64_C(4097) << 10},
        {"1.000 MiB", (1 << 20) - 1},
        {"1.000 MiB", (1 << 20) + 1},
        {"0.9996 MiB", 1048166}, /* 1023.6 KiB: four digits without a fraction would look exact */
        {"10.00 KiB", 10241},
        {"999.9 KiB", 1023898},
        {"15 EiB", UINT64_C(15) << 60},
        {"16.00 EiB", UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char text[UNITS_TEXT_BYTES];
        assert_string_equal(units_format_bytes(table[i].value, text), table[i].text);
    }
}

/* Goal: a text is exact, and parses back to the same number, or shows a fraction and is off by less than 5 of its last digits. */
static void formatted_bytes_parse_back(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 50000; i++) {
        uint64_t bytes = random_u64() >> random_u64() % 64;
        if (i % 2)
            bytes &= ~UINT64_C(0) << random_u64() % 64;
        char text[UNITS_TEXT_BYTES];
        units_format_bytes(bytes, text);
        assert_in_range(strspn(text, "0123456789."), 1, 6);
        uint64_t back;
        if (units_parse_bytes(text, &back, NULL) == MCOMP_OK && back == bytes)
            continue;
        if (!strchr(text, '.'))
            fail_msg("%llu became %s", (unsigned long long)bytes, text);
        static const char names[] = "BKMGTPE";
        const char *unit = strchr(names, strchr(text, ' ')[1]);
        double shown = strtod(text, NULL) * (double)(UINT64_C(1) << (10 * (unit - names)));
        double off = shown / (double)bytes - 1;
        if (off > 0.00051 || off < -0.00051)
            fail_msg("%llu became %s", (unsigned long long)bytes, text);
    }
}

static void durations_formatted(void **state)
{
    (void)state;
    static const struct good table[] = {
        {"0 ns", 0},
        {"850 ns", 850},
        {"999 ns", 999},
        {"1 us", 1000},
        {"12.3 us", 12300},
        {"12.3 us", 12345},
        {"123 us", 123456},
        {"4.56 ms", 4560000},
        {"1.00 ms", 999600},
        {"1.00 ms", 999999},
        {"7.89 s", UINT64_C(7890000000)},
        {"30 s", UINT64_C(30000000000)},
        {"59.9 s", UINT64_C(59900000000)},
        {"1 min", UINT64_C(59960000000)},
        {"1 min", UINT64_C(60000000000)},
        {"3 min 4 s", UINT64_C(184000000000)},
        {"59 min 59 s", UINT64_C(3599400000000)},
        {"1 h", UINT64_C(3599500000000)},
        {"2 h 5 min", UINT64_C(7500000000000)},
        {"2 h", UINT64_C(7199000000000)},
        {"5124095 h 35 min", UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char text[UNITS_TEXT_BYTES];
        assert_string_equal(units_format_duration(table[i].value, text), table[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_accepted),
        cmocka_unit_test(bytes_refused),
        cmocka_unit_test(durations_accepted),
        cmocka_unit_test(durations_refused),
        cmocka_unit_test(integers),
        cmocka_unit_test(fractions_equal_wide_arithmetic),
        cmocka_unit_test(bytes_formatted),
        cmocka_unit_test(formatted_bytes_parse_back),
        cmocka_unit_test(durations_formatted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
