/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/crc32c.h"
#include "lib/wire_compare.h"
#include "wire/varint.h"

/* Values at which a varint grows by a byte, and the ends. */
static const uint64_t edges[] = {0, 1, 127, 128, 16383, 16384, UINT32_MAX, 1ull << 32, (1ull << 63) - 1, 1ull << 63, UINT64_MAX};
#define EDGES (sizeof edges / sizeof edges[0])

static struct arena arena;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_close(&arena);
    return 0;
}

/** The body of a frame that fills [frame, end) exactly. */
static const uint8_t *body_of(const uint8_t *frame, const uint8_t *end, size_t *bytes)
{
    size_t header;
    uint64_t body;
    assert_int_equal(wire_frame_peek(frame, (size_t)(end - frame), UINT32_MAX, &header, &body), WIRE_FRAME_WHOLE);
    assert_int_equal(header + body, end - frame);
    *bytes = body;
    return frame + header;
}

/** The frame is byte for byte what generated code makes of the same message. */
static void assert_canonical(const uint8_t *frame, const uint8_t *end, const ProtobufCMessage *message)
{
    uint8_t expected[1024];
    assert_true(wire_message_frame_bytes(message) <= sizeof expected);
    size_t bytes = (size_t)(wire_put_message(expected, message) - expected);
    assert_int_equal(end - frame, bytes);
    assert_memory_equal(frame, expected, bytes);
}

static void varints_round_trip(void **state)
{
    (void)state;
    for (size_t i = 0; i < EDGES; i++) {
        uint8_t bytes[VARINT_BYTES_MAX];
        const uint8_t *end = varint_put(bytes, edges[i]);
        assert_int_equal(end - bytes, varint_size(edges[i]));
        uint64_t value;
        int cut;
        assert_ptr_equal(varint_get(bytes, end, &value, &cut), end);
        assert_true(value == edges[i]);
        assert_null(varint_get(bytes, end - 1, &value, &cut));
        assert_int_equal(cut, 1);
    }
}

static void varint_beyond_64_bits_is_malformed(void **state)
{
    (void)state;
    const uint8_t over[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
    const uint8_t endless[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    uint64_t value;
    int cut = -1;
    assert_null(varint_get(over, over + sizeof over, &value, &cut));
    assert_int_equal(cut, 0);
    assert_null(varint_get(endless, endless + sizeof endless, &value, &cut));
    assert_int_equal(cut, 0);
}

static void frame_peek_tells_whole_part_and_bad(void **state)
{
    (void)state;
    size_t header;
    uint64_t body;
    const uint8_t three[] = {3, 'a', 'b', 'c', 9};
    assert_int_equal(wire_frame_peek(three, 0, 10, &header, &body), WIRE_FRAME_PART);
    assert_int_equal(header, 0);
    assert_int_equal(wire_frame_peek(three, 3, 10, &header, &body), WIRE_FRAME_PART);
    assert_int_equal(header, 1);
    assert_int_equal(body, 3);
    assert_int_equal(wire_frame_peek(three, 5, 10, &header, &body), WIRE_FRAME_WHOLE);
    assert_int_equal(wire_frame_peek(three, 5, 2, &header, &body), WIRE_FRAME_BAD);
    assert_int_equal(body, 3);
    const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01};
    assert_int_equal(wire_frame_peek(huge, sizeof huge, 1 << 20, &header, &body), WIRE_FRAME_BAD);
    assert_true(body == UINT64_MAX);
    const uint8_t malformed[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f};
    assert_int_equal(wire_frame_peek(malformed, sizeof malformed, UINT64_MAX, &header, &body), WIRE_FRAME_BAD);
    assert_true(body == 0);
}

/* Goal: our encoder writes what generated code writes, and our decoder reads it. Method: all pairs of edge values. */
static void reads_are_canonical(void **state)
{
    (void)state;
    for (size_t i = 0; i < EDGES * EDGES; i++) {
        uint64_t a = edges[i / EDGES], b = edges[i % EDGES];
        uint8_t frame[WIRE_HEADER_BYTES];
        const uint8_t *end = wire_put_read(frame, a, (uint32_t)b, b, a);
        Mcomp__V1__Request full = MCOMP__V1__REQUEST__INIT;
        Mcomp__V1__Read read = MCOMP__V1__READ__INIT;
        full.id = a;
        full.timeout_ms = (uint32_t)b;
        full.op_case = MCOMP__V1__REQUEST__OP_READ;
        full.read = &read;
        read.address = b;
        read.length = a;
        assert_canonical(frame, end, &full.base);
        size_t bytes;
        const uint8_t *body = body_of(frame, end, &bytes);
        wire_compare_request(body, bytes, &arena);
        struct wire_request request;
        assert_true(wire_request_decode(&request, body, bytes, &arena));
        assert_int_equal(request.op, WIRE_OP_READ);
        assert_true(request.id == a && request.address == b && request.length == a && request.timeout_ms == (uint32_t)b);
        arena_reset(&arena);
    }
}

static void writes_are_canonical(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 100, 127, 128, 500};
    for (size_t i = 0; i < EDGES * 6; i++) {
        uint64_t a = edges[i / 6];
        size_t data_bytes = sizes[i % 6];
        uint8_t frame[WIRE_HEADER_BYTES + 500];
        uint8_t *end = wire_put_write_header(frame, a, 7, a, data_bytes);
        memset(end, 0xa5, data_bytes);
        Mcomp__V1__Request full = MCOMP__V1__REQUEST__INIT;
        Mcomp__V1__Write write = MCOMP__V1__WRITE__INIT;
        full.id = a;
        full.timeout_ms = 7;
        full.op_case = MCOMP__V1__REQUEST__OP_WRITE;
        full.write = &write;
        write.address = a;
        write.data = (ProtobufCBinaryData){data_bytes, end};
        assert_canonical(frame, end + data_bytes, &full.base);
        size_t bytes;
        const uint8_t *body = body_of(frame, end + data_bytes, &bytes);
        wire_compare_request(body, bytes, &arena);
        arena_reset(&arena);
    }
}

static void adds_and_swaps_are_canonical(void **state)
{
    (void)state;
    for (size_t i = 0; i < EDGES * EDGES; i++) {
        uint64_t a = edges[i / EDGES], b = edges[i % EDGES];
        uint8_t frame[WIRE_HEADER_BYTES];
        size_t bytes;
        Mcomp__V1__Request full = MCOMP__V1__REQUEST__INIT;
        Mcomp__V1__FetchAdd add = MCOMP__V1__FETCH_ADD__INIT;
        full.id = a;
        full.op_case = MCOMP__V1__REQUEST__OP_FETCH_ADD;
        full.fetch_add = &add;
        add.address = a;
        add.delta = b;
        const uint8_t *end = wire_put_fetch_add(frame, a, 0, a, b);
        assert_canonical(frame, end, &full.base);
        const uint8_t *body = body_of(frame, end, &bytes);
        wire_compare_request(body, bytes, &arena);
        Mcomp__V1__CompareAndSwap swap = MCOMP__V1__COMPARE_AND_SWAP__INIT;
        full.op_case = MCOMP__V1__REQUEST__OP_COMPARE_AND_SWAP;
        full.compare_and_swap = &swap;
        swap.address = b;
        swap.expected = a;
        swap.desired = b;
        end = wire_put_compare_and_swap(frame, a, 0, b, a, b);
        assert_canonical(frame, end, &full.base);
        body = body_of(frame, end, &bytes);
        wire_compare_request(body, bytes, &arena);
        arena_reset(&arena);
    }
}

static void assert_restore_data(const struct wire_restore_data *restore, uint32_t timeout_ms, const uint8_t *data, size_t data_bytes)
{
    Mcomp__V1__RestoreData message = MCOMP__V1__RESTORE_DATA__INIT;
    Mcomp__V1__Request request = MCOMP__V1__REQUEST__INIT;
    uint8_t frame[512];
    message.restore_id = restore->restore_id;
    message.address = restore->address;
    message.zeros = restore->zeros;
    message.crc32c = restore->crc32c;
    message.data = (ProtobufCBinaryData){data_bytes, (uint8_t *)data};
    request.id = restore->address;
    request.timeout_ms = timeout_ms;
    request.op_case = MCOMP__V1__REQUEST__OP_RESTORE_DATA;
    request.restore_data = &message;
    uint8_t *end = wire_put_restore_data_header(frame, request.id, timeout_ms, restore, data_bytes);
    assert_true(end - frame <= WIRE_HEADER_BYTES);
    memcpy(end, data, data_bytes);
    end += data_bytes;
    assert_canonical(frame, end, &request.base);
    size_t bytes;
    const uint8_t *body = body_of(frame, end, &bytes);
    wire_compare_request(body, bytes, &arena);
    struct wire_request decoded;
    assert_true(wire_request_decode(&decoded, body, bytes, &arena));
    assert_int_equal(decoded.op, WIRE_OP_RESTORE_DATA);
    assert_true(decoded.id == request.id && decoded.timeout_ms == timeout_ms && decoded.address == restore->address);
    assert_true(decoded.operand == restore->restore_id && decoded.desired == restore->zeros && decoded.crc32c == restore->crc32c);
    assert_true(decoded.length == data_bytes);
    assert_true(data_bytes == 0 || (decoded.data >= body && memcmp(decoded.data, data, data_bytes) == 0)); /* where it was received: not copied */
    for (size_t cut = 0; cut < bytes; cut++)
        wire_compare_request(body, cut, &arena);
}

static void restore_data_is_canonical(void **state)
{
    (void)state;
    uint8_t data[200];
    memset(data, 0xa5, sizeof data);
    for (size_t i = 0; i < EDGES; i++) {
        for (size_t j = 0; j < EDGES; j++) {
            struct wire_restore_data restore = {
                .restore_id = edges[i], .address = edges[j], .zeros = edges[(i + j) % EDGES], .crc32c = (uint32_t)edges[(2 * i + j) % EDGES]};
            assert_restore_data(&restore, (uint32_t)edges[j], data, j == 0 ? 0 : i == 0 ? 1 : sizeof data);
        }
    }
}

static void restore_checksum_covers_place_and_data(void **state)
{
    (void)state;
    uint8_t data[32] = {1, 2, 3};
    uint32_t crc = wire_restore_crc(4096, 8192, data, sizeof data);
    /* as any other program computes it: the three parts one behind the other */
    const uint8_t whole[48] = {0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 1, 2, 3};
    assert_int_equal(crc, crc32c(0, whole, sizeof whole));
    assert_int_not_equal(crc, wire_restore_crc(8192, 4096, data, sizeof data));
    data[31] = 1;
    assert_int_not_equal(crc, wire_restore_crc(4096, 8192, data, sizeof data));
}

/** Steps without a codec of their own: whole messages by generated code, and what each decoder makes of them. */
static void begin_and_end_of_a_restore_are_decoded(void **state)
{
    (void)state;
    Mcomp__V1__RestoreBegin begin = MCOMP__V1__RESTORE_BEGIN__INIT;
    Mcomp__V1__RestoreEnd end = MCOMP__V1__RESTORE_END__INIT;
    Mcomp__V1__Request request = MCOMP__V1__REQUEST__INIT;
    struct wire_request decoded;
    uint8_t frame[128];
    size_t bytes;
    begin.restore_id = end.restore_id = UINT64_MAX;
    begin.file = 77;
    begin.round = 0x1200;
    end.phase = MCOMP__V1__RESTORE_END__PHASE__PHASE_SERVE;
    request.op_case = MCOMP__V1__REQUEST__OP_RESTORE_BEGIN;
    request.restore_begin = &begin;
    const uint8_t *body = body_of(frame, wire_put_message(frame, &request.base), &bytes);
    wire_compare_request(body, bytes, &arena);
    assert_true(wire_request_decode(&decoded, body, bytes, &arena));
    assert_int_equal(decoded.op, WIRE_OP_RESTORE_BEGIN);
    assert_true(decoded.full->restore_begin->restore_id == UINT64_MAX && decoded.full->restore_begin->file == 77);
    assert_int_equal(decoded.full->restore_begin->round, 0x1200);
    request.op_case = MCOMP__V1__REQUEST__OP_RESTORE_END;
    request.restore_end = &end;
    body = body_of(frame, wire_put_message(frame, &request.base), &bytes);
    wire_compare_request(body, bytes, &arena);
    assert_true(wire_request_decode(&decoded, body, bytes, &arena));
    assert_int_equal(decoded.op, WIRE_OP_RESTORE_END);
    assert_int_equal(decoded.full->restore_end->phase, MCOMP__V1__RESTORE_END__PHASE__PHASE_SERVE);
}

static void restore_results_are_decoded(void **state)
{
    (void)state;
    static const struct {
        Mcomp__V1__Response__ResultCase result;
        enum wire_op op;
    } all[] = {{MCOMP__V1__RESPONSE__RESULT_RESTORE_BEGIN, WIRE_OP_RESTORE_BEGIN},
               {MCOMP__V1__RESPONSE__RESULT_RESTORE_DATA, WIRE_OP_RESTORE_DATA},
               {MCOMP__V1__RESPONSE__RESULT_RESTORE_END, WIRE_OP_RESTORE_END}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        Mcomp__V1__RestoreDataResult empty = MCOMP__V1__RESTORE_DATA_RESULT__INIT;
        Mcomp__V1__RestoreBeginResult begun = MCOMP__V1__RESTORE_BEGIN_RESULT__INIT;
        Mcomp__V1__RestoreEndResult ended = MCOMP__V1__RESTORE_END_RESULT__INIT;
        Mcomp__V1__Response response = MCOMP__V1__RESPONSE__INIT;
        uint8_t frame[64];
        size_t bytes;
        response.id = 9;
        response.status = MCOMP__V1__STATUS__STATUS_OK;
        response.result_case = all[i].result;
        if (all[i].op == WIRE_OP_RESTORE_BEGIN)
            response.restore_begin = &begun;
        else if (all[i].op == WIRE_OP_RESTORE_DATA)
            response.restore_data = &empty;
        else
            response.restore_end = &ended;
        const uint8_t *body = body_of(frame, wire_put_message(frame, &response.base), &bytes);
        struct wire_response decoded;
        wire_compare_response(body, bytes, &arena);
        assert_true(wire_response_decode(&decoded, body, bytes, &arena));
        assert_int_equal(decoded.result, all[i].op);
        assert_true(decoded.id == 9 && decoded.status == MCOMP_OK);
    }
}

static void results_are_canonical(void **state)
{
    (void)state;
    for (size_t i = 0; i < EDGES; i++) {
        uint8_t frame[WIRE_HEADER_BYTES + 200];
        uint64_t a = edges[i];
        Mcomp__V1__Response full = MCOMP__V1__RESPONSE__INIT;
        full.id = a;
        full.status = MCOMP__V1__STATUS__STATUS_OK;
        Mcomp__V1__WriteResult written = MCOMP__V1__WRITE_RESULT__INIT;
        full.result_case = MCOMP__V1__RESPONSE__RESULT_WRITE;
        full.write = &written;
        assert_canonical(frame, wire_put_write_result(frame, a), &full.base);
        Mcomp__V1__FetchAddResult added = MCOMP__V1__FETCH_ADD_RESULT__INIT;
        added.before = a;
        full.result_case = MCOMP__V1__RESPONSE__RESULT_FETCH_ADD;
        full.fetch_add = &added;
        assert_canonical(frame, wire_put_fetch_add_result(frame, a, a), &full.base);
        Mcomp__V1__CompareAndSwapResult swapped = MCOMP__V1__COMPARE_AND_SWAP_RESULT__INIT;
        swapped.swapped = i & 1;
        swapped.found = a;
        full.result_case = MCOMP__V1__RESPONSE__RESULT_COMPARE_AND_SWAP;
        full.compare_and_swap = &swapped;
        const uint8_t *end = wire_put_compare_and_swap_result(frame, a, i & 1, a);
        assert_canonical(frame, end, &full.base);
        size_t bytes;
        const uint8_t *body = body_of(frame, end, &bytes);
        wire_compare_response(body, bytes, &arena);
        Mcomp__V1__ReadResult read = MCOMP__V1__READ_RESULT__INIT;
        full.result_case = MCOMP__V1__RESPONSE__RESULT_READ;
        full.read = &read;
        size_t data_bytes = i * 19;
        uint8_t *data = wire_put_read_result_header(frame, a, data_bytes);
        memset(data, 0x5a, data_bytes);
        read.data = (ProtobufCBinaryData){data_bytes, data};
        assert_canonical(frame, data + data_bytes, &full.base);
        arena_reset(&arena);
    }
}

/* Goal: the peek finds the data as soon as its header is there, never before, and never in another message. */
static void peek_finds_the_data_of_a_read(void **state)
{
    (void)state;
    uint8_t frame[WIRE_HEADER_BYTES + 300];
    uint8_t *data = wire_put_read_result_header(frame, 77, 300);
    size_t header, at, body_bytes;
    uint64_t body, id, data_bytes;
    assert_int_equal(wire_frame_peek(frame, (size_t)(data - frame), UINT32_MAX, &header, &body), WIRE_FRAME_PART);
    body_bytes = body;
    size_t prefix = (size_t)(data - frame) - header;
    for (size_t available = 0; available < prefix; available++)
        assert_false(wire_response_peek_read(frame + header, available, body_bytes, &id, &at, &data_bytes));
    assert_true(wire_response_peek_read(frame + header, prefix, body_bytes, &id, &at, &data_bytes));
    assert_true(id == 77 && at == prefix && data_bytes == 300);
    assert_false(wire_response_peek_read(frame + header, prefix, body_bytes + 1, &id, &at, &data_bytes));
    const uint8_t *end = wire_put_fetch_add_result(frame, 77, 1ull << 40);
    const uint8_t *other = body_of(frame, end, &body_bytes);
    assert_false(wire_response_peek_read(other, body_bytes, body_bytes, &id, &at, &data_bytes));
}

/* Goal: fields in any order, unknown fields, repeated operations and plain nonsense are judged as generated code judges them. */
static void odd_shapes_are_left_to_generated_code(void **state)
{
    (void)state;
    static const struct {
        size_t bytes;
        uint8_t body[16];
    } odd[] = {
        {0, {0}},
        {6, {0x4a, 2, 0x08, 5, 0x08, 9}},                   /* operation before id */
        {7, {0x08, 1, 0x98, 0x06, 4, 0x4a, 0}},             /* unknown field 99 */
        {8, {0x4a, 2, 0x08, 5, 0x4a, 2, 0x10, 6}},          /* Read twice: merged */
        {8, {0x4a, 2, 0x08, 5, 0x5a, 2, 0x08, 6}},          /* Read, then FetchAdd: the last one counts */
        {6, {0x4a, 4, 0x18, 5, 0x08, 6}},                   /* unknown field inside */
        {2, {0x08, 0x80}},                                  /* cut varint */
        {3, {0x4a, 5, 0x08}},                               /* cut operation */
        {4, {0x4a, 2, 0x0a, 0}},                            /* scalar with the wrong wire type */
        {4, {0x4b, 0x4c, 0, 0}},                            /* groups */
        {12, {0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x4a}}, /* time-out of 64 bits, then a cut */
        {13, {0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x4a, 0}},
    };
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        wire_compare_request(odd[i].body, odd[i].bytes, &arena);
        wire_compare_response(odd[i].body, odd[i].bytes, &arena);
    }
    struct wire_request request;
    assert_true(wire_request_decode(&request, odd[0].body, 0, &arena));
    assert_int_equal(request.op, WIRE_OP_NONE);
    const uint8_t nonsense[] = {0x08, 42, 0x4a, 200, 1};
    assert_false(wire_request_decode(&request, nonsense, sizeof nonsense, &arena));
    assert_int_equal(request.id, 42); /* the answer can still name it */
}

/** A request whose Multi is `count` times the same two bytes. */
static uint8_t *multi_of_tiny_parts(uint8_t first, uint8_t second, size_t count, size_t *bytes)
{
    uint8_t *body = malloc(count * 2 + 16), *at = body;
    assert_non_null(body);
    *at++ = 0x08; /* id 42 */
    *at++ = 42;
    *at++ = 0x6a;
    at = varint_put(at, count * 2);
    for (size_t i = 0; i < count; i++) {
        *at++ = first;
        *at++ = second;
    }
    *bytes = (size_t)(at - body);
    return body;
}

/* Goal: what a message takes when decoded is bounded by its size and a constant, and the bound refuses nothing that a client may send. */
static void tiny_parts_take_bounded_memory(void **state)
{
    (void)state;
    struct wire_request request;
    size_t bytes;
    static const uint8_t tags[] = {0x0a /* Read */, 0x12 /* Write */, 0x7a /* unknown */};
    for (size_t i = 0; i < sizeof tags; i++) {
        uint8_t *many = multi_of_tiny_parts(tags[i], 0, 2u << 20, &bytes);
        assert_false(wire_request_decode(&request, many, bytes, &arena));
        assert_int_equal(request.id, 42);
        free(many);
        arena_reset(&arena);
        uint8_t *allowed = multi_of_tiny_parts(tags[i], 0, FRAME_OVERHEAD_BYTES / 2 - 8, &bytes);
        assert_true(wire_request_decode(&request, allowed, bytes, &arena));
        free(allowed);
        arena_reset(&arena);
    }
}

static void statuses_map_one_to_one(void **state)
{
    (void)state;
    for (int code = MCOMP_OK; code <= MCOMP_WRONG_NODE; code++) {
        assert_int_equal(wire_status_get((uint64_t)wire_status_put((enum mcomp_status)code)), code);
        char name[64];
        snprintf(name, sizeof name, "STATUS_%s", status_name((enum mcomp_status)code));
        const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value_by_name(&mcomp__v1__status__descriptor, name);
        assert_non_null(value);
        assert_int_equal(value->value, wire_status_put((enum mcomp_status)code));
    }
    assert_int_equal(mcomp__v1__status__descriptor.n_values, MCOMP_WRONG_NODE + 2);
    assert_int_equal(wire_status_get(0), MCOMP_UNKNOWN);
    assert_int_equal(wire_status_get(1000), MCOMP_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(varints_round_trip),
        cmocka_unit_test(varint_beyond_64_bits_is_malformed),
        cmocka_unit_test(frame_peek_tells_whole_part_and_bad),
        cmocka_unit_test(reads_are_canonical),
        cmocka_unit_test(writes_are_canonical),
        cmocka_unit_test(adds_and_swaps_are_canonical),
        cmocka_unit_test(restore_data_is_canonical),
        cmocka_unit_test(restore_checksum_covers_place_and_data),
        cmocka_unit_test(begin_and_end_of_a_restore_are_decoded),
        cmocka_unit_test(restore_results_are_decoded),
        cmocka_unit_test(results_are_canonical),
        cmocka_unit_test(peek_finds_the_data_of_a_read),
        cmocka_unit_test(odd_shapes_are_left_to_generated_code),
        cmocka_unit_test(tiny_parts_take_bounded_memory),
        cmocka_unit_test(statuses_map_one_to_one),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
