/* SPDX-License-Identifier: Apache-2.0 */
/** Base64 (RFC 4648) of a stream, for bytes inside JSON. */
#ifndef CLI_BASE64_H
#define CLI_BASE64_H

#include <stddef.h>
#include <stdint.h>

#include "cli/out.h"

/** Zero-initialised is the beginning of a stream. */
struct base64 {
    size_t held; /* bytes that wait for their group of three */
    uint8_t group[3];
};

void base64_feed(struct base64 *state, struct out *out, const uint8_t *bytes, size_t length);

/** The last group, padded. */
void base64_close(struct base64 *state, struct out *out);

#endif
