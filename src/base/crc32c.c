/* SPDX-License-Identifier: Apache-2.0 */
#include "base/crc32c.h"

#include <pthread.h>

#include "base/le.h"

#define POLYNOMIAL 0x82f63b78u /* Castagnoli's, lowest bit first */

/* table[0] advances the checksum by one byte; table[n] by that byte and n zero bytes after it, so that eight bytes take eight
 * independent look-ups. */
static uint32_t table[8][256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void table_fill(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ ((crc & 1u) ? POLYNOMIAL : 0u);
        table[0][byte] = crc;
    }
    for (uint32_t byte = 0; byte < 256; byte++) {
        for (int n = 1; n < 8; n++) {
            uint32_t before = table[n - 1][byte];
            table[n][byte] = (before >> 8) ^ table[0][before & 0xffu];
        }
    }
}

uint32_t crc32c_tables(uint32_t crc, const void *data, size_t bytes)
{
    pthread_once(&table_once, table_fill);
    const uint8_t *at = data;
    crc = ~crc;
    for (; bytes >= 8; bytes -= 8, at += 8) {
        uint64_t word = le64_get(at) ^ crc;
        crc = table[7][word & 0xffu] ^ table[6][word >> 8 & 0xffu] ^ table[5][word >> 16 & 0xffu] ^ table[4][word >> 24 & 0xffu] ^
              table[3][word >> 32 & 0xffu] ^ table[2][word >> 40 & 0xffu] ^ table[1][word >> 48 & 0xffu] ^ table[0][word >> 56];
    }
    for (; bytes > 0; bytes--, at++)
        crc = (crc >> 8) ^ table[0][(crc ^ *at) & 0xffu];
    return ~crc;
}

/* ---- joining: checksums are polynomials over GF(2), the coefficient of x^0 in the highest bit ---- */

/** a · b modulo the polynomial. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;
    for (uint32_t bit = 1u << 31; bit; bit >>= 1) {
        product ^= a & bit ? b : 0u;
        b = (b >> 1) ^ (b & 1u ? POLYNOMIAL : 0u);
    }
    return product;
}

/** x^(8·bytes): what the checksum of bytes that stand before so many others is multiplied by. */
static uint32_t power_of(uint64_t bytes)
{
    uint32_t result = 1u << 31, power = 1u << 23; /* x^0, x^8 */
    for (; bytes; bytes >>= 1) {
        if (bytes & 1u)
            result = multiply(power, result);
        power = multiply(power, power);
    }
    return result;
}

uint32_t crc32c_join(uint32_t first, uint32_t second, uint64_t bytes)
{
    return multiply(power_of(bytes), first) ^ second;
}

#if defined(__x86_64__)
#include <nmmintrin.h>

/* An instruction waits three cycles for the one before it, so that three checksums side by side take no longer than one. Joining them costs
 * two multiplications, little for strands of this length. */
#define STRAND_BYTES 8192u

static uint32_t strand_power;
static pthread_once_t strand_once = PTHREAD_ONCE_INIT;

static void strand_fill(void)
{
    strand_power = power_of(STRAND_BYTES);
}

/** The checksum (not inverted) after three strands. */
__attribute__((target("sse4.2"))) static uint32_t three_strands(uint32_t crc, const uint8_t *at)
{
    uint64_t a = crc, b = 0, c = 0;
    for (const uint8_t *end = at + STRAND_BYTES; at < end; at += 8) {
        a = _mm_crc32_u64(a, le64_get(at));
        b = _mm_crc32_u64(b, le64_get(at + STRAND_BYTES));
        c = _mm_crc32_u64(c, le64_get(at + 2 * STRAND_BYTES));
    }
    return multiply(strand_power, multiply(strand_power, (uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)c;
}

__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t crc, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    uint64_t wide = (uint32_t)~crc;
    if (bytes >= 3 * STRAND_BYTES)
        pthread_once(&strand_once, strand_fill);
    for (; bytes >= 3 * STRAND_BYTES; bytes -= 3 * STRAND_BYTES, at += 3 * STRAND_BYTES)
        wide = three_strands((uint32_t)wide, at);
    for (; bytes >= 8; bytes -= 8, at += 8)
        wide = _mm_crc32_u64(wide, le64_get(at));
    uint32_t narrow = (uint32_t)wide;
    for (; bytes > 0; bytes--, at++)
        narrow = _mm_crc32_u8(narrow, *at);
    return ~narrow;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t bytes)
{
    return __builtin_cpu_supports("sse4.2") ? crc32c_sse42(crc, data, bytes) : crc32c_tables(crc, data, bytes);
}
#else
uint32_t crc32c(uint32_t crc, const void *data, size_t bytes)
{
    return crc32c_tables(crc, data, bytes);
}
#endif
