/* SPDX-License-Identifier: Apache-2.0 */
/** Base-128 varints of the protobuf encoding. */
#ifndef WIRE_VARINT_H
#define WIRE_VARINT_H

#include <stddef.h>
#include <stdint.h>

#define VARINT_BYTES_MAX 10u

static inline size_t varint_size(uint64_t value)
{
    return value ? (size_t)(63 - __builtin_clzll(value)) / 7 + 1 : 1;
}

/** Write value at out (room for VARINT_BYTES_MAX); returns the end. */
static inline uint8_t *varint_put(uint8_t *out, uint64_t value)
{
    while (value >= 0x80) {
        *out++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *out++ = (uint8_t)value;
    return out;
}

/** Read a varint from [at, end). Returns the byte after it; NULL when it is not all there or is longer than 64 bits allow (*cut tells:
 *  1 more bytes may complete it, 0 it is malformed; cut may not be NULL). */
static inline const uint8_t *varint_get(const uint8_t *at, const uint8_t *end, uint64_t *value, int *cut)
{
    uint64_t result = 0;
    for (unsigned shift = 0; at < end; shift += 7) {
        uint8_t byte = *at++;
        if (shift == 63 && byte > 1) {
            *cut = 0;
            return NULL;
        }
        result |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *value = result;
            return at;
        }
    }
    *cut = 1;
    return NULL;
}

#endif
