/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/base64.h"

#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void encode_group(const uint8_t group[3], char text[4])
{
    uint32_t bits = (uint32_t)group[0] << 16 | (uint32_t)group[1] << 8 | group[2];
    text[0] = alphabet[bits >> 18];
    text[1] = alphabet[bits >> 12 & 63];
    text[2] = alphabet[bits >> 6 & 63];
    text[3] = alphabet[bits & 63];
}

void base64_feed(struct base64 *state, struct out *out, const uint8_t *bytes, size_t length)
{
    char text[4096];
    size_t used = 0;
    for (size_t i = 0; i < length;) {
        const uint8_t *group = bytes + i;
        if (state->held == 0 && length - i >= 3) {
            i += 3;
        } else {
            state->group[state->held++] = bytes[i++];
            if (state->held < 3)
                continue;
            state->held = 0;
            group = state->group;
        }
        encode_group(group, text + used);
        used += 4;
        if (used == sizeof text) {
            out_put(out, text, used);
            used = 0;
        }
    }
    out_put(out, text, used);
}

void base64_close(struct base64 *state, struct out *out)
{
    if (state->held == 0)
        return;
    char text[4];
    memset(state->group + state->held, 0, sizeof state->group - state->held);
    encode_group(state->group, text);
    memset(text + 1 + state->held, '=', 3 - state->held);
    out_put(out, text, sizeof text);
    state->held = 0;
}
