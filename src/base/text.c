/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define ELLIPSIS "..."
#define ELLIPSIS_BYTES (sizeof ELLIPSIS - 1)
#define ESCAPE_BYTES_MAX 4u /* \xNN, and the longest UTF-8 character */

size_t text_char_bytes(const char *in, size_t left)
{
    const uint8_t *byte = (const uint8_t *)in;
    if (byte[0] < 0x80)
        return byte[0] >= 0x20 && byte[0] != 0x7f;
    size_t bytes = byte[0] >= 0xf0 ? 4 : byte[0] >= 0xe0 ? 3 : 2;
    if (byte[0] < 0xc2 || byte[0] > 0xf4 || left < bytes)
        return 0;
    uint32_t code = byte[0] & (0x7fu >> bytes);
    for (size_t i = 1; i < bytes; i++) {
        if ((byte[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (byte[i] & 0x3fu);
    }
    /* Too long a form, a surrogate, beyond Unicode, or one of the controls U+0080 … U+009F. */
    static const uint32_t smallest[] = {0, 0, 0xa0, 0x800, 0x10000};
    if (code < smallest[bytes] || (code >= 0xd800 && code <= 0xdfff) || code > 0x10ffff)
        return 0;
    return bytes;
}

/** One character or byte of in, escaped into out. Returns bytes taken and sets *written. */
static size_t escape_one(char out[ESCAPE_BYTES_MAX], size_t *written, const char *in, size_t left, bool quoted)
{
    static const char hex[] = "0123456789abcdef";
    static const char plain[] = "\"\\\n\r\t", letter[] = "\"\\nrt";
    const char *special = *in ? strchr(plain, *in) : NULL;
    if (special && (quoted || special >= plain + 2)) {
        out[0] = '\\';
        out[1] = letter[special - plain];
        *written = 2;
        return 1;
    }
    size_t bytes = text_char_bytes(in, left);
    if (bytes > 0) {
        memcpy(out, in, bytes);
        *written = bytes;
        return bytes;
    }
    out[0] = '\\';
    out[1] = 'x';
    out[2] = hex[(uint8_t)*in >> 4];
    out[3] = hex[(uint8_t)*in & 15];
    *written = 4;
    return 1;
}

static size_t escape(char *out, size_t room, const char *in, size_t in_bytes, bool quoted)
{
    size_t used = 0, taken = 0;
    size_t cut = 0; /* the last place where "..." still fits */
    while (taken < in_bytes) {
        char piece[ESCAPE_BYTES_MAX];
        size_t written;
        size_t step = escape_one(piece, &written, in + taken, in_bytes - taken, quoted);
        if (used + written + 1 > room)
            break;
        if (used + ELLIPSIS_BYTES + 1 <= room)
            cut = used;
        memcpy(out + used, piece, written);
        used += written;
        taken += step;
    }
    if (taken < in_bytes) {
        if (used + ELLIPSIS_BYTES + 1 <= room)
            cut = used;
        size_t dots = room - 1 - cut < ELLIPSIS_BYTES ? room - 1 - cut : ELLIPSIS_BYTES;
        memcpy(out + cut, ELLIPSIS, dots);
        used = cut + dots;
    }
    out[used] = 0;
    return used;
}

size_t text_escape(char *out, size_t room, const char *in, size_t in_bytes)
{
    return escape(out, room, in, in_bytes, true);
}

size_t text_show(char *out, size_t room, const char *in, size_t in_bytes)
{
    return escape(out, room, in, in_bytes, false);
}

const char *text_quote(const char *in, char buf[TEXT_QUOTE_BYTES])
{
    buf[0] = '"';
    size_t used = 1 + text_escape(buf + 1, TEXT_QUOTE_BYTES - 2, in, strlen(in));
    buf[used] = '"';
    buf[used + 1] = 0;
    return buf;
}
