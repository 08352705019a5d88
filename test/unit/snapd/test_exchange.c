/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off: cmocka.h needs these before it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <stdlib.h>
#include <string.h>

#include "snapd/exchange.h"
#include "wire/wire.h"

typedef Mcomp__Snapshot__V1__Chunk Chunk;
typedef Mcomp__Snapshot__V1__Response Response;

/** The frame in one piece, prefix checked and left out; the caller frees. */
static uint8_t *body_of(const struct outgoing *out, size_t *bytes)
{
    uint8_t *all = malloc(out->bytes ? out->bytes : 1), *at = all;
    for (uint32_t i = 0; i < out->parts; i++) {
        memcpy(at, out->part[i].iov_base, out->part[i].iov_len);
        at += out->part[i].iov_len;
    }
    size_t header;
    uint64_t body;
    assert_int_equal(at - all, out->bytes);
    assert_int_equal(wire_frame_peek(all, out->bytes, UINT64_MAX, &header, &body), WIRE_FRAME_WHOLE);
    assert_int_equal(header + body, out->bytes);
    memmove(all, all + header, (size_t)body);
    *bytes = (size_t)body;
    return all;
}

/** A chunk with so many pages of data, made up in room. */
static Chunk make_chunk(uint8_t *room, uint64_t address, uint64_t pages, size_t bytes, bool zstd)
{
    Chunk chunk = MCOMP__SNAPSHOT__V1__CHUNK__INIT;
    for (size_t i = 0; i < bytes; i++)
        room[i] = (uint8_t)(i * 7 + address / 4096 + (i >> 9));
    chunk.address = address;
    chunk.pages = pages;
    chunk.crc32c = (uint32_t)(0x9abcdef0u + address);
    chunk.compression = zstd ? MCOMP__SNAPSHOT__V1__COMPRESSION__COMPRESSION_ZSTD : MCOMP__SNAPSHOT__V1__COMPRESSION__COMPRESSION_NONE;
    chunk.data_crc32c = zstd ? 0x12345678u : 0;
    chunk.data = (ProtobufCBinaryData){.len = bytes, .data = room};
    return chunk;
}

static void assert_same_chunk(const Chunk *a, const Chunk *b)
{
    assert_int_equal(a->address, b->address);
    assert_int_equal(a->pages, b->pages);
    assert_int_equal(a->crc32c, b->crc32c);
    assert_int_equal(a->compression, b->compression);
    assert_int_equal(a->data_crc32c, b->data_crc32c);
    assert_int_equal(a->data.len, b->data.len);
    assert_memory_equal(a->data.data, b->data.data, a->data.len);
}

struct shape {
    uint64_t id, next_offset, preserved;
    bool complete;
    uint32_t chunks;
    size_t bytes[EXCHANGE_PULL_CHUNKS];
};

static const struct shape shapes[] = {
    {.id = 1, .next_offset = 1 << 20},
    {.id = UINT64_MAX, .next_offset = UINT64_MAX, .preserved = UINT64_MAX, .complete = true},
    {.id = 7, .next_offset = 4096, .complete = true, .chunks = 1, .bytes = {4096}},
    {.id = 300, .next_offset = 1 << 20, .preserved = 3, .chunks = 4, .bytes = {262144, 262144, 262144, 262144}},
    {.id = 0, .next_offset = 0, .chunks = 4, .bytes = {1, 262144, 4096, 127}},
    {.id = 9, .next_offset = (uint64_t)1 << 40, .chunks = 3, .bytes = {131072, 128, 8192}},
};
#define SHAPES (sizeof shapes / sizeof *shapes)

/** The answer that a shape describes; chunk: copies of what is in it, data pointing into it. */
static struct outgoing *make_answer(const struct shape *shape, Chunk chunk[EXCHANGE_PULL_CHUNKS])
{
    struct exchange_pull pull = {.next_offset = shape->next_offset, .pages_preserved = shape->preserved, .complete = shape->complete};
    struct outgoing *out = exchange_pull_begin(shape->chunks ? shape->chunks : 1);
    assert_non_null(out);
    for (uint32_t i = 0; i < shape->chunks; i++) {
        chunk[i] = make_chunk(exchange_pull_room(out), (uint64_t)i << (i * 20), UINT64_MAX >> i, shape->bytes[i], i % 2);
        exchange_pull_add(out, &chunk[i]);
    }
    exchange_pull_end(out, shape->id, &pull);
    return out;
}

/* Goal: what is written here is what protobuf understands. */
static void answers_to_pull_are_read_by_generated_code(void **state)
{
    (void)state;
    for (size_t s = 0; s < SHAPES; s++) {
        Chunk chunk[EXCHANGE_PULL_CHUNKS];
        struct outgoing *out = make_answer(&shapes[s], chunk);
        size_t bytes;
        uint8_t *body = body_of(out, &bytes);
        Response *response = mcomp__snapshot__v1__response__unpack(NULL, bytes, body);
        assert_non_null(response);
        assert_int_equal(response->id, shapes[s].id);
        assert_int_equal(response->status, MCOMP__SNAPSHOT__V1__STATUS__STATUS_OK);
        assert_int_equal(response->result_case, MCOMP__SNAPSHOT__V1__RESPONSE__RESULT_PULL);
        assert_int_equal(response->pull->next_offset, shapes[s].next_offset);
        assert_int_equal(response->pull->complete, shapes[s].complete);
        assert_int_equal(response->pull->pages_preserved, shapes[s].preserved);
        assert_int_equal(response->pull->n_chunk, shapes[s].chunks);
        for (uint32_t i = 0; i < shapes[s].chunks; i++)
            assert_same_chunk(response->pull->chunk[i], &chunk[i]);
        /* and it is just as long: nothing is written in a roundabout way */
        assert_int_equal(mcomp__snapshot__v1__response__get_packed_size(response), bytes);
        mcomp__snapshot__v1__response__free_unpacked(response, NULL);
        free(body);
        free(out);
    }
}

/* Goal: what protobuf writes is understood here. */
static void answers_of_generated_code_are_read(void **state)
{
    (void)state;
    uint8_t *room = malloc(EXCHANGE_PULL_BYTES);
    for (size_t s = 0; s < SHAPES; s++) {
        Chunk chunk[EXCHANGE_PULL_CHUNKS], *pointer[EXCHANGE_PULL_CHUNKS];
        Mcomp__Snapshot__V1__PullResult result = MCOMP__SNAPSHOT__V1__PULL_RESULT__INIT;
        Response response = MCOMP__SNAPSHOT__V1__RESPONSE__INIT;
        size_t used = 0;
        for (uint32_t i = 0; i < shapes[s].chunks; i++) {
            chunk[i] = make_chunk(room + used, (uint64_t)i << (i * 20), i, shapes[s].bytes[i], i % 2 == 0);
            used += shapes[s].bytes[i];
            pointer[i] = &chunk[i];
        }
        result.next_offset = shapes[s].next_offset;
        result.complete = shapes[s].complete;
        result.pages_preserved = shapes[s].preserved;
        result.n_chunk = shapes[s].chunks;
        result.chunk = pointer;
        response.result_case = MCOMP__SNAPSHOT__V1__RESPONSE__RESULT_PULL;
        response.pull = &result;
        struct outgoing *out = exchange_result(shapes[s].id, &response);
        size_t bytes;
        uint8_t *body = body_of(out, &bytes);
        struct exchange_response read;
        struct exchange_pull pull;
        assert_true(exchange_response_decode(&read, body, bytes));
        assert_int_equal(read.id, shapes[s].id);
        assert_int_equal(read.status, MCOMP_OK);
        assert_int_equal(read.result, MCOMP__SNAPSHOT__V1__RESPONSE__RESULT_PULL);
        assert_true(exchange_pull_decode(&pull, read.data, read.bytes));
        assert_int_equal(pull.next_offset, shapes[s].next_offset);
        assert_int_equal(pull.complete, shapes[s].complete);
        assert_int_equal(pull.pages_preserved, shapes[s].preserved);
        assert_int_equal(pull.chunks, shapes[s].chunks);
        for (uint32_t i = 0; i < pull.chunks; i++)
            assert_same_chunk(&pull.chunk[i], &chunk[i]);
        free(body);
        free(out);
    }
    free(room);
}

/* Goal: nothing that comes from outside leads out of its frame. Method: every cut and every changed byte of a small answer, under a sanitizer. */
static void damaged_answers(void **state)
{
    (void)state;
    const struct shape shape = {.id = 5, .next_offset = 8192, .preserved = 2, .complete = true, .chunks = 2, .bytes = {20, 30}};
    Chunk chunk[EXCHANGE_PULL_CHUNKS];
    struct outgoing *out = make_answer(&shape, chunk);
    size_t bytes;
    uint8_t *body = body_of(out, &bytes);
    for (size_t at = 0; at <= bytes; at++) {
        for (unsigned change = 0; change < 256; change++) {
            if (at == bytes && change > 0)
                break;
            uint8_t *copy = malloc(change ? bytes : at + 1); /* exactly as long, so that one byte too far is found */
            memcpy(copy, body, change ? bytes : at);
            if (change)
                copy[at] ^= (uint8_t)change;
            struct exchange_response response;
            struct exchange_pull pull;
            if (!exchange_response_decode(&response, copy, change ? bytes : at) || !exchange_pull_decode(&pull, response.data, response.bytes)) {
                free(copy);
                continue;
            }
            for (uint32_t i = 0; i < pull.chunks; i++) {
                assert_true(pull.chunk[i].data.len <= bytes);
                assert_true(!pull.chunk[i].data.data || (pull.chunk[i].data.data >= copy && pull.chunk[i].data.data + pull.chunk[i].data.len <= copy + bytes));
            }
            free(copy);
        }
    }
    free(body);
    free(out);
}

static void too_many_chunks(void **state)
{
    (void)state;
    uint8_t five[2 * (EXCHANGE_PULL_CHUNKS + 1)];
    for (size_t i = 0; i < sizeof five; i += 2) {
        five[i] = 2 << 3 | 2; /* an empty chunk */
        five[i + 1] = 0;
    }
    struct exchange_pull pull;
    assert_true(exchange_pull_decode(&pull, five, sizeof five - 2));
    assert_int_equal(pull.chunks, EXCHANGE_PULL_CHUNKS);
    assert_false(exchange_pull_decode(&pull, five, sizeof five));
}

static void errors_travel_with_their_text(void **state)
{
    (void)state;
    static const struct {
        enum mcomp_status given, arrives;
    } table[] = {
        {MCOMP_OK, MCOMP_OK},
        {MCOMP_ABORTED, MCOMP_ABORTED},
        {MCOMP_DATA_LOSS, MCOMP_DATA_LOSS},
        {MCOMP_UNAVAILABLE, MCOMP_UNAVAILABLE},
        {MCOMP_DEADLINE_EXCEEDED, MCOMP_UNAVAILABLE},
        {MCOMP_ALREADY_EXISTS, MCOMP_FAILED_PRECONDITION},
        {MCOMP_WRONG_NODE, MCOMP_INTERNAL},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct outgoing *out = exchange_answer(11, table[i].given, "why it is so");
        size_t bytes;
        uint8_t *body = body_of(out, &bytes);
        struct exchange_response response;
        assert_true(exchange_response_decode(&response, body, bytes));
        assert_int_equal(response.id, 11);
        assert_int_equal(response.status, table[i].arrives);
        assert_int_equal(response.text_bytes, strlen("why it is so"));
        assert_memory_equal(response.text, "why it is so", response.text_bytes);
        assert_int_equal(response.result, 0);
        free(body);
        free(out);
    }
    assert_int_equal(exchange_status_get(0), MCOMP_UNKNOWN);
    assert_int_equal(exchange_status_get(UINT64_MAX), MCOMP_UNKNOWN);
}

static void a_long_text_is_cut_between_characters(void **state)
{
    (void)state;
    for (size_t shift = 0; shift < 3; shift++) {
        char text[600];
        memset(text, 'x', sizeof text);
        for (size_t i = EXCHANGE_TEXT_BYTES_MAX - 12 + shift; i + 3 <= 590; i += 3)
            memcpy(text + i, "\xe2\x82\xac", 3); /* the euro sign */
        text[596] = '\0';
        struct outgoing *out = exchange_answer(1, MCOMP_INTERNAL, text);
        size_t bytes;
        uint8_t *body = body_of(out, &bytes);
        struct exchange_response response;
        assert_true(exchange_response_decode(&response, body, bytes));
        assert_true(response.text_bytes <= EXCHANGE_TEXT_BYTES_MAX && response.text_bytes > EXCHANGE_TEXT_BYTES_MAX - 3);
        assert_int_equal((response.text_bytes - (EXCHANGE_TEXT_BYTES_MAX - 12 + shift)) % 3, 0);
        free(body);
        free(out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_to_pull_are_read_by_generated_code), cmocka_unit_test(answers_of_generated_code_are_read),
        cmocka_unit_test(damaged_answers),                            cmocka_unit_test(too_many_chunks),
        cmocka_unit_test(errors_travel_with_their_text),              cmocka_unit_test(a_long_text_is_cut_between_characters),
    };
    return cmocka_run_group_tests_name("exchange", tests, NULL, NULL);
}
