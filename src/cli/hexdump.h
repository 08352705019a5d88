/* SPDX-License-Identifier: Apache-2.0 */
/** Bytes of the grid as people look at them:
 *
 *    03fffff0                                            68 65  |              he|
 *    -------- node 1 --------
 *    04000000  6c 6c 6f                                         |llo             |
 *    04000003
 *
 *  Addresses are grid addresses, lines begin at multiples of 16, lines like the one above are collapsed to one "*", and where the bytes of
 *  another node begin a line says so. The last line is the address behind the last byte. */
#ifndef CLI_HEXDUMP_H
#define CLI_HEXDUMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/out.h"

#define HEXDUMP_LINE 16u

struct hexdump {
    struct out *out;       /* borrowed */
    uint64_t address;      /* of the next byte */
    uint64_t segment_size; /* bytes; a multiple of HEXDUMP_LINE */
    int address_digits;
    bool colour;
    bool started;      /* a line is out */
    bool skipping;     /* the last line out is a "*" */
    bool has_previous; /* previous[] is the line above, which was whole */
    size_t first;      /* column of the first byte of line[] */
    size_t filled;     /* column behind its last */
    uint8_t line[HEXDUMP_LINE], previous[HEXDUMP_LINE];
};

/** Begin a dump at address; end is the address behind the last byte that may come (for the width of the address column). */
void hexdump_open(struct hexdump *dump, struct out *out, uint64_t address, uint64_t end, uint64_t segment_size, bool colour);

/** Any number of bytes at a time. */
void hexdump_feed(struct hexdump *dump, const uint8_t *bytes, size_t length);

/** The rest. The caller flushes out. */
void hexdump_close(struct hexdump *dump);

#endif
