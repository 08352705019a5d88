/* SPDX-License-Identifier: Apache-2.0 */
/** Sizes, addresses and times as people write them. */
#ifndef BASE_UNITS_H
#define BASE_UNITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/** Parse a number of bytes: decimal or 0x… hexadecimal, then an optional unit without or after spaces: B, KiB, MiB, GiB, TiB, PiB, EiB
 *  (1024) or kB, MB, GB, TB, PB, EB (1000); K, M, G, T mean KiB …; case does not matter except that "kB" ≠ "KiB".
 *  A fraction ("1.5GiB") is accepted when the result is a whole number of bytes.
 *  Errors: INVALID_ARGUMENT, with a text that quotes the input and says what is accepted; also on overflow of 64 bits. */
MUST_CHECK enum mcomp_status units_parse_bytes(const char *text, uint64_t *bytes, struct err *err);

/** Parse a time: number and unit ns, us, ms, s, min, h (a bare 0 needs none). Result in nanoseconds. Errors as above. */
MUST_CHECK enum mcomp_status units_parse_duration(const char *text, uint64_t *nanoseconds, struct err *err);

/** Parse a 64-bit integer, decimal (with optional sign) or 0x…; negative values give their two's complement. Errors as above. */
MUST_CHECK enum mcomp_status units_parse_integer(const char *text, uint64_t *value, struct err *err);

#define UNITS_TEXT_BYTES 32u

/** "64 MiB", "1.5 GiB", "4097 B": at most four significant digits, exact when no fraction is shown. Returns buf. */
const char *units_format_bytes(uint64_t bytes, char buf[UNITS_TEXT_BYTES]);

/** "850 ns", "12.3 us", "4.56 ms", "7.89 s", "3 min 4 s", "2 h 5 min". Returns buf. */
const char *units_format_duration(uint64_t nanoseconds, char buf[UNITS_TEXT_BYTES]);

#endif
