/* SPDX-License-Identifier: Apache-2.0 */
/** Nanoseconds that the codec of wire/ takes for the hot messages, beside generated code with the same arena. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "wire/wire.h"

#define ROUNDS 2000000u
#define BATCH 64u /* messages between two resets of the arena, as in a server under load */
#define DATA_BYTES 64u

static struct arena arena;
static uint8_t frame[4096], data[DATA_BYTES];
static uint64_t sink;

static const uint8_t *body_of(const uint8_t *end, size_t *bytes)
{
    size_t header;
    uint64_t body;
    if (wire_frame_peek(frame, (size_t)(end - frame), 1 << 20, &header, &body) != WIRE_FRAME_WHOLE)
        abort();
    *bytes = body;
    return frame + header;
}

static void report(const char *what, uint64_t begin_ns)
{
    printf("%-44s %7.1f ns\n", what, (double)(clock_mono_ns() - begin_ns) / ROUNDS);
}

typedef bool (*request_decoder)(struct wire_request *, const uint8_t *, size_t, struct arena *);
typedef bool (*response_decoder)(struct wire_response *, const uint8_t *, size_t, struct arena *);

static void time_request(const char *what, request_decoder decode, const uint8_t *end)
{
    size_t bytes;
    const uint8_t *body = body_of(end, &bytes);
    uint64_t begin = clock_mono_ns();
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct wire_request request;
        if (!decode(&request, body, bytes, &arena))
            abort();
        sink += request.address;
        if (i % BATCH == BATCH - 1)
            arena_reset(&arena);
    }
    report(what, begin);
    arena_reset(&arena);
}

static void time_response(const char *what, response_decoder decode, const uint8_t *end)
{
    size_t bytes;
    const uint8_t *body = body_of(end, &bytes);
    uint64_t begin = clock_mono_ns();
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct wire_response response;
        if (!decode(&response, body, bytes, &arena))
            abort();
        sink += response.data_bytes;
        if (i % BATCH == BATCH - 1)
            arena_reset(&arena);
    }
    report(what, begin);
    arena_reset(&arena);
}

static void time_encoders(void)
{
    uint64_t begin = clock_mono_ns();
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint8_t *end = wire_put_read_result_header(frame, i, DATA_BYTES);
        memcpy(end, data, DATA_BYTES);
        sink += frame[i % 16];
    }
    report("encode ReadResult of 64 B, ours", begin);
    begin = clock_mono_ns();
    for (unsigned i = 0; i < ROUNDS; i++) {
        Mcomp__V1__Response full = MCOMP__V1__RESPONSE__INIT;
        Mcomp__V1__ReadResult read = MCOMP__V1__READ_RESULT__INIT;
        read.data = (ProtobufCBinaryData){DATA_BYTES, data};
        full.id = i;
        full.status = MCOMP__V1__STATUS__STATUS_OK;
        full.result_case = MCOMP__V1__RESPONSE__RESULT_READ;
        full.read = &read;
        wire_put_message(frame, &full.base);
        sink += frame[i % 16];
    }
    report("encode ReadResult of 64 B, generated", begin);
}

int main(void)
{
    arena_init(&arena);
    time_request("decode Read, ours", wire_request_decode, wire_put_read(frame, 123456, 10000, 1 << 25, DATA_BYTES));
    time_request("decode Read, generated", wire_request_decode_generated, wire_put_read(frame, 123456, 10000, 1 << 25, DATA_BYTES));
    uint8_t *end = wire_put_write_header(frame, 123456, 10000, 1 << 25, DATA_BYTES);
    memcpy(end, data, DATA_BYTES);
    time_request("decode Write of 64 B, ours", wire_request_decode, end + DATA_BYTES);
    time_request("decode Write of 64 B, generated", wire_request_decode_generated, end + DATA_BYTES);
    end = wire_put_read_result_header(frame, 123456, DATA_BYTES);
    memcpy(end, data, DATA_BYTES);
    time_response("decode ReadResult of 64 B, ours", wire_response_decode, end + DATA_BYTES);
    time_response("decode ReadResult of 64 B, generated", wire_response_decode_generated, end + DATA_BYTES);
    time_encoders();
    arena_close(&arena);
    return sink == 0;
}
