/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/varint.h"
#include "wire/wire.h"

enum wire_frame wire_frame_peek(const uint8_t *bytes, size_t available, uint64_t limit, size_t *header, uint64_t *body)
{
    *header = 0;
    *body = 0;
    uint64_t length;
    int cut = 0;
    const uint8_t *at = varint_get(bytes, bytes + available, &length, &cut);
    if (!at)
        return cut ? WIRE_FRAME_PART : WIRE_FRAME_BAD;
    *body = length;
    if (length > limit)
        return WIRE_FRAME_BAD;
    *header = (size_t)(at - bytes);
    return available - *header >= length ? WIRE_FRAME_WHOLE : WIRE_FRAME_PART;
}

size_t wire_message_frame_bytes(const ProtobufCMessage *message)
{
    size_t bytes = protobuf_c_message_get_packed_size(message);
    return varint_size(bytes) + bytes;
}

uint8_t *wire_put_message(uint8_t *out, const ProtobufCMessage *message)
{
    out = varint_put(out, protobuf_c_message_get_packed_size(message));
    return out + protobuf_c_message_pack(message, out);
}

enum mcomp_status wire_status_get(uint64_t number)
{
    if (number == 0 || number > (uint64_t)MCOMP_WRONG_NODE + 1)
        return MCOMP_UNKNOWN;
    return (enum mcomp_status)(number - 1);
}
