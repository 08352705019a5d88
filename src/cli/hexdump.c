/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/hexdump.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "cli/output.h"

#define ADDRESS_DIGITS_MIN 8

void hexdump_open(struct hexdump *dump, struct out *out, uint64_t address, uint64_t end, uint64_t segment_size, bool colour)
{
    MC_ASSERT(segment_size % HEXDUMP_LINE == 0 && segment_size > 0);
    *dump = (struct hexdump){.out = out, .address = address, .segment_size = segment_size, .colour = colour};
    dump->address_digits = ADDRESS_DIGITS_MIN;
    while (dump->address_digits < 16 && end >> (4 * dump->address_digits) != 0)
        dump->address_digits += 2;
    dump->first = dump->filled = (size_t)(address % HEXDUMP_LINE);
}

static void put_address(struct hexdump *dump, uint64_t address)
{
    char text[40];
    int n = snprintf(text, sizeof text, "%s%0*" PRIx64 "%s", dump->colour ? COLOUR_DIM : "", dump->address_digits, address,
                     dump->colour ? COLOUR_OFF : "");
    out_put(dump->out, text, (size_t)n);
}

static void put_border(struct hexdump *dump, uint64_t address)
{
    char text[80];
    int n = snprintf(text, sizeof text, "%s-------- node %" PRIu64 " --------%s\n", dump->colour ? COLOUR_BOLD : "", address / dump->segment_size,
                     dump->colour ? COLOUR_OFF : "");
    out_put(dump->out, text, (size_t)n);
}

/** line[first … filled) as one line of text. */
static void put_line(struct hexdump *dump, uint64_t line_address)
{
    static const char digits[] = "0123456789abcdef";
    char text[2 + 3 * HEXDUMP_LINE + 2 + 1 + HEXDUMP_LINE + 2];
    size_t n = 0;
    text[n++] = ' ';
    for (size_t i = 0; i < HEXDUMP_LINE; i++) {
        bool there = i >= dump->first && i < dump->filled;
        if (i % 8 == 0)
            text[n++] = ' ';
        text[n++] = there ? digits[dump->line[i] >> 4] : ' ';
        text[n++] = there ? digits[dump->line[i] & 15] : ' ';
        text[n++] = ' ';
    }
    text[n++] = ' ';
    text[n++] = '|';
    for (size_t i = 0; i < HEXDUMP_LINE; i++) {
        bool there = i >= dump->first && i < dump->filled;
        char c = there ? (char)dump->line[i] : ' ';
        text[n++] = c >= ' ' && c <= '~' ? c : '.';
    }
    text[n++] = '|';
    text[n++] = '\n';
    put_address(dump, line_address + dump->first);
    out_put(dump->out, text, n);
}

/** Line is complete, or the last. */
static void end_line(struct hexdump *dump)
{
    uint64_t line_address = dump->address - dump->filled;
    bool whole = dump->first == 0 && dump->filled == HEXDUMP_LINE;
    if (dump->started && line_address % dump->segment_size == 0) {
        put_border(dump, line_address);
        dump->has_previous = false;
    }
    if (whole && dump->has_previous && memcmp(dump->line, dump->previous, HEXDUMP_LINE) == 0) {
        if (!dump->skipping)
            out_put(dump->out, "*\n", 2);
        dump->skipping = true;
    } else {
        put_line(dump, line_address);
        dump->skipping = false;
    }
    memcpy(dump->previous, dump->line, HEXDUMP_LINE);
    dump->has_previous = whole;
    dump->started = true;
    dump->first = dump->filled = 0;
}

void hexdump_feed(struct hexdump *dump, const uint8_t *bytes, size_t length)
{
    while (length > 0) {
        size_t n = HEXDUMP_LINE - dump->filled;
        if (n > length)
            n = length;
        memcpy(dump->line + dump->filled, bytes, n);
        dump->filled += n;
        dump->address += n;
        bytes += n;
        length -= n;
        if (dump->filled == HEXDUMP_LINE)
            end_line(dump);
    }
}

void hexdump_close(struct hexdump *dump)
{
    if (dump->filled > dump->first)
        end_line(dump);
    put_address(dump, dump->address);
    out_put(dump->out, "\n", 1);
}
