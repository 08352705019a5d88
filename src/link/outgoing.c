/* SPDX-License-Identifier: Apache-2.0 */
#include "link/outgoing.h"

#include <stdlib.h>

#include "base/err.h"
#include "wire/wire.h"

struct outgoing *outgoing_make(size_t bytes)
{
    struct outgoing *out = malloc(sizeof *out + bytes);
    if (!out)
        return NULL;
    out->next = NULL;
    out->bytes = 0;
    out->parts = 0;
    return out;
}

void outgoing_add(struct outgoing *out, uint8_t *at, size_t bytes)
{
    MC_ASSERT(out->parts < OUTGOING_PARTS);
    out->part[out->parts++] = (struct iovec){.iov_base = at, .iov_len = bytes};
    out->bytes += bytes;
}

struct outgoing *outgoing_message(const ProtobufCMessage *message)
{
    size_t bytes = wire_message_frame_bytes(message);
    struct outgoing *out = outgoing_make(bytes);
    if (!out)
        return NULL;
    wire_put_message(out->memory, message);
    outgoing_add(out, out->memory, bytes);
    return out;
}
