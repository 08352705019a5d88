/* SPDX-License-Identifier: Apache-2.0 */
/** Little-endian integers at any alignment. */
#ifndef BASE_LE_H
#define BASE_LE_H

#include <stdint.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "mcomp runs on little-endian machines");

static inline uint64_t le64_get(const void *from)
{
    uint64_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

static inline void le64_put(void *to, uint64_t value)
{
    memcpy(to, &value, sizeof value);
}

#endif
