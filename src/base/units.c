/* SPDX-License-Identifier: Apache-2.0 */
#include "base/units.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

struct unit {
    const char *name; /* in small letters */
    uint64_t size;    /* at most 2^60, so that ten of it fit 64 bits */
};

static const struct unit byte_units[] = {
    {"", 1},
    {"b", 1},
    {"k", UINT64_C(1) << 10}, {"kib", UINT64_C(1) << 10}, {"kb", UINT64_C(1000)},
    {"m", UINT64_C(1) << 20}, {"mib", UINT64_C(1) << 20}, {"mb", UINT64_C(1000000)},
    {"g", UINT64_C(1) << 30}, {"gib", UINT64_C(1) << 30}, {"gb", UINT64_C(1000000000)},
    {"t", UINT64_C(1) << 40}, {"tib", UINT64_C(1) << 40}, {"tb", UINT64_C(1000000000000)},
    {"p", UINT64_C(1) << 50}, {"pib", UINT64_C(1) << 50}, {"pb", UINT64_C(1000000000000000)},
    {"e", UINT64_C(1) << 60}, {"eib", UINT64_C(1) << 60}, {"eb", UINT64_C(1000000000000000000)},
    {NULL, 0},
};

static const struct unit time_units[] = {
    {"ns", 1},
    {"us", UINT64_C(1000)},
    {"ms", UINT64_C(1000000)},
    {"s", UINT64_C(1000000000)},
    {"min", UINT64_C(60000000000)},
    {"h", UINT64_C(3600000000000)},
    {NULL, 0},
};

#define BYTES_FORMS "write bytes as 4096 or 0x1000, or with a unit: 64KiB, 1.5GiB (B KiB MiB GiB TiB PiB EiB, or kB MB GB TB PB EB)"
#define TIME_FORMS "write a number and a unit: 500ms, 30s, 1.5h (ns us ms s min h)"
#define INTEGER_FORMS "write an integer as 42, -1 or 0x2a, from -2^63 to 2^64-1"

/** A number as written: digits, and a fraction that is still text. */
struct number {
    uint64_t whole;
    const char *fraction; /* first digit behind the point */
    size_t fraction_digits;
    bool overflow; /* whole does not fit 64 bits */
};

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return 99;
}

static bool is_hex(const char *text)
{
    return text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
}

/** Digits of the base from text on; returns their end, text itself if there is none. */
static const char *read_digits(const char *text, unsigned base, struct number *number)
{
    for (; digit_of(*text) < (int)base; text++) {
        if (__builtin_mul_overflow(number->whole, base, &number->whole) ||
            __builtin_add_overflow(number->whole, (uint64_t)digit_of(*text), &number->whole))
            number->overflow = true;
    }
    return text;
}

/** Read "12", "1.5" or, with hex, "0x1f". Returns the end of the number, NULL when there is no number. */
static const char *read_number(const char *text, bool hex, struct number *number)
{
    *number = (struct number){0};
    if (hex && is_hex(text)) {
        const char *end = read_digits(text + 2, 16, number);
        return end == text + 2 ? NULL : end;
    }
    const char *end = read_digits(text, 10, number);
    if (end == text)
        return NULL;
    if (*end != '.')
        return end;
    number->fraction = end + 1;
    for (end++; digit_of(*end) < 10; end++)
        number->fraction_digits++;
    return number->fraction_digits == 0 ? NULL : end;
}

static bool name_equal(const char *name, const char *text)
{
    for (; *name; name++, text++) {
        char c = *text >= 'A' && *text <= 'Z' ? (char)(*text - 'A' + 'a') : *text;
        if (c != *name)
            return false;
    }
    return *text == 0;
}

/** Size of the unit that stands, perhaps behind spaces, at text; 0 if there is none of that name. */
static uint64_t find_unit(const struct unit *units, const char *text)
{
    const char *name = text;
    while (*name == ' ' || *name == '\t')
        name++;
    if (*name == 0 && name != text)
        return 0;
    for (; units->name; units++) {
        if (name_equal(units->name, name))
            return units->size;
    }
    return 0;
}

#define NOT_WHOLE "not a whole number of"
#define TOO_LARGE "too large, at most 2^64-1"

/** number · unit in *result; NULL, or what is wrong. Exact: the fraction is multiplied digit by digit, from the last to the
 *  first, as on paper, and each digit left behind the point must be 0. */
static const char *multiply(const struct number *number, uint64_t unit, uint64_t *result)
{
    uint64_t carry = 0; /* < unit */
    for (size_t i = number->fraction_digits; i > 0; i--) {
        uint64_t product = (uint64_t)digit_of(number->fraction[i - 1]) * unit + carry;
        if (product % 10 != 0)
            return NOT_WHOLE;
        carry = product / 10;
    }
    if (number->overflow || __builtin_mul_overflow(number->whole, unit, result) || __builtin_add_overflow(*result, carry, result))
        return TOO_LARGE;
    return NULL;
}

enum mcomp_status units_parse_bytes(const char *text, uint64_t *bytes, struct err *err)
{
    char quoted[TEXT_QUOTE_BYTES];
    struct number number;
    const char *end = read_number(text, true, &number);
    uint64_t unit = end ? find_unit(byte_units, end) : 0;
    if (unit == 0)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "%s is not a size: " BYTES_FORMS, text_quote(text, quoted));
    uint64_t result;
    const char *wrong = multiply(&number, unit, &result);
    if (wrong)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "%s is %s bytes: " BYTES_FORMS, text_quote(text, quoted), wrong);
    *bytes = result;
    return MCOMP_OK;
}

static bool is_zero(const struct number *number)
{
    for (size_t i = 0; i < number->fraction_digits; i++) {
        if (number->fraction[i] != '0')
            return false;
    }
    return number->whole == 0 && !number->overflow;
}

enum mcomp_status units_parse_duration(const char *text, uint64_t *nanoseconds, struct err *err)
{
    char quoted[TEXT_QUOTE_BYTES];
    struct number number;
    const char *end = read_number(text, false, &number);
    uint64_t unit = 0;
    if (end)
        unit = *end == 0 && is_zero(&number) ? 1 : find_unit(time_units, end);
    if (unit == 0)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "%s is not a time: " TIME_FORMS, text_quote(text, quoted));
    uint64_t result;
    const char *wrong = multiply(&number, unit, &result);
    if (wrong)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "%s is %s nanoseconds: " TIME_FORMS, text_quote(text, quoted), wrong);
    *nanoseconds = result;
    return MCOMP_OK;
}

enum mcomp_status units_parse_integer(const char *text, uint64_t *value, struct err *err)
{
    char quoted[TEXT_QUOTE_BYTES];
    bool negative = *text == '-';
    const char *digits = *text == '-' || *text == '+' ? text + 1 : text;
    struct number number;
    const char *end = read_number(digits, digits == text, &number);
    if (!end || *end != 0 || number.fraction)
        return err_set(err, MCOMP_INVALID_ARGUMENT, "%s is not an integer: " INTEGER_FORMS, text_quote(text, quoted));
    if (number.overflow || (negative && number.whole > UINT64_C(1) << 63))
        return err_set(err, MCOMP_INVALID_ARGUMENT, "%s does not fit 64 bits: " INTEGER_FORMS, text_quote(text, quoted));
    *value = negative ? 0 - number.whole : number.whole;
    return MCOMP_OK;
}

/** value / unit with the given number of decimals, rounded half up, as an integer. */
static uint64_t scale(uint64_t value, uint64_t unit, unsigned decimals, bool *exact)
{
    unsigned __int128 scaled = value;
    for (unsigned i = 0; i < decimals; i++)
        scaled *= 10;
    *exact = scaled % unit == 0;
    return (uint64_t)((scaled + unit / 2) / unit);
}

/** "12.30 name": scaled is 1230 and decimals 2. trim drops zeros at the end of the fraction. */
static void print_scaled(char buf[UNITS_TEXT_BYTES], uint64_t scaled, unsigned decimals, bool trim, const char *name)
{
    while (trim && decimals > 0 && scaled % 10 == 0) {
        scaled /= 10;
        decimals--;
    }
    uint64_t point = 1;
    for (unsigned i = 0; i < decimals; i++)
        point *= 10;
    if (decimals > 0)
        snprintf(buf, UNITS_TEXT_BYTES, "%llu.%0*llu %s", (unsigned long long)(scaled / point), (int)decimals,
                 (unsigned long long)(scaled % point), name);
    else
        snprintf(buf, UNITS_TEXT_BYTES, "%llu %s", (unsigned long long)scaled, name);
}

static unsigned digits_of(uint64_t value)
{
    unsigned digits = 1;
    for (; value >= 10; value /= 10)
        digits++;
    return digits;
}

#define BYTES_DIGITS 4u
#define TIME_DIGITS 3u

const char *units_format_bytes(uint64_t bytes, char buf[UNITS_TEXT_BYTES])
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    unsigned power = bytes == 0 ? 0 : (63u - (unsigned)__builtin_clzll(bytes)) / 10;
    bool exact;
    /* Exact in the largest unit, with a fraction ("1.5 GiB"), or in a smaller one without ("4097 B"). */
    for (unsigned p = power + 1; p-- > 0;) {
        uint64_t unit = UINT64_C(1) << (10 * p);
        unsigned whole_digits = digits_of(bytes / unit);
        if (whole_digits > BYTES_DIGITS)
            break;
        unsigned decimals = p == power ? BYTES_DIGITS - whole_digits : 0;
        uint64_t scaled = scale(bytes, unit, decimals, &exact);
        if (exact) {
            print_scaled(buf, scaled, decimals, true, names[p]);
            return buf;
        }
    }
    /* Rounded; a fraction always shows, zeros and all, to tell it from an exact value: 1023.7 KiB is 0.9997 MiB. */
    if (digits_of(scale(bytes, UINT64_C(1) << (10 * power), 1, &exact)) > BYTES_DIGITS)
        power++;
    uint64_t unit = UINT64_C(1) << (10 * power);
    unsigned decimals = bytes < unit ? BYTES_DIGITS : BYTES_DIGITS - digits_of(bytes / unit);
    uint64_t scaled = scale(bytes, unit, decimals, &exact);
    if (digits_of(scaled) > BYTES_DIGITS)
        scaled = scale(bytes, unit, --decimals, &exact);
    print_scaled(buf, scaled, decimals, false, names[power]);
    return buf;
}

const char *units_format_duration(uint64_t nanoseconds, char buf[UNITS_TEXT_BYTES])
{
    static const char *const names[] = {"ns", "us", "ms", "s"};
    static const uint64_t limits[] = {1000, 1000, 1000, 60};
    uint64_t unit = 1;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++, unit *= 1000) {
        unsigned whole_digits = digits_of(nanoseconds / unit);
        if (whole_digits > TIME_DIGITS)
            continue;
        unsigned decimals = TIME_DIGITS - whole_digits;
        bool exact;
        uint64_t scaled = scale(nanoseconds, unit, decimals, &exact);
        if (digits_of(scaled) > TIME_DIGITS && decimals > 0)
            scaled = scale(nanoseconds, unit, --decimals, &exact);
        uint64_t limit = limits[i];
        for (unsigned d = 0; d < decimals; d++)
            limit *= 10;
        if (scaled < limit) {
            print_scaled(buf, scaled, decimals, exact, names[i]);
            return buf;
        }
    }
    uint64_t seconds = nanoseconds / UINT64_C(1000000000) + (nanoseconds % UINT64_C(1000000000) >= UINT64_C(500000000));
    uint64_t minutes = seconds < 3600 ? seconds / 60 : (seconds + 30) / 60;
    unsigned long long large = seconds < 3600 ? minutes : minutes / 60;
    unsigned small = (unsigned)(seconds < 3600 ? seconds % 60 : minutes % 60);
    const char *large_name = seconds < 3600 ? "min" : "h", *small_name = seconds < 3600 ? "s" : "min";
    if (small)
        snprintf(buf, UNITS_TEXT_BYTES, "%llu %s %u %s", large, large_name, small, small_name);
    else
        snprintf(buf, UNITS_TEXT_BYTES, "%llu %s", large, large_name);
    return buf;
}
