/* SPDX-License-Identifier: Apache-2.0 */
/** Arbitrary bytes as a stream of frames, as a request and as a response: no crash, no read out of bounds, and both codecs agree.
 *  The first byte chooses how many bytes of each message the peek for direct receives may see. */
#include "lib/wire_compare.h"

#define LIMIT 65536u

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static void peek(const uint8_t *body, size_t bytes, size_t available, struct arena *arena)
{
    uint64_t id, data_bytes;
    size_t data_at;
    if (!wire_response_peek_read(body, available, bytes, &id, &data_at, &data_bytes))
        return;
    WIRE_SAME(data_at <= available && data_bytes == bytes - data_at, 1);
    struct wire_response response;
    WIRE_SAME(wire_response_decode(&response, body, bytes, arena), true);
    WIRE_SAME(response.id == id && response.result == WIRE_OP_READ && response.status == MCOMP_OK, 1);
    WIRE_SAME(response.data == body + data_at && response.data_bytes == data_bytes, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    struct arena arena;
    arena_init(&arena);
    size_t share = count ? *bytes++ : 0;
    count -= count ? 1 : 0;
    for (size_t at = 0; at < count;) {
        size_t header;
        uint64_t body;
        if (wire_frame_peek(bytes + at, count - at, LIMIT, &header, &body) != WIRE_FRAME_WHOLE)
            break;
        wire_compare_request(bytes + at + header, body, &arena);
        wire_compare_response(bytes + at + header, body, &arena);
        at += header + body;
    }
    wire_compare_request(bytes, count, &arena);
    wire_compare_response(bytes, count, &arena);
    peek(bytes, count, count * share / 255, &arena);
    arena_close(&arena);
    return 0;
}
