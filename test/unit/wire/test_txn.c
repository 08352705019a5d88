/* SPDX-License-Identifier: Apache-2.0 */
/** The codec of messages about minitransactions, held against generated code. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/wire_compare.h"

#define FRAME_BYTES 65536u
#define MANY 3u /* items of each kind */

/* Values at which a varint grows by a byte, and the ends. */
static const uint64_t edges[] = {0, 1, 127, 128, 16383, 16384, UINT32_MAX, 1ull << 32, (1ull << 63) - 1, 1ull << 63, UINT64_MAX};
#define EDGES (sizeof edges / sizeof edges[0])
static const size_t sizes[] = {0, 1, 8, 127, 128, 500};

static struct arena arena;
static uint8_t bytes_of_items[512];

static int setup(void **state)
{
    (void)state;
    arena_init(&arena);
    for (size_t i = 0; i < sizeof bytes_of_items; i++)
        bytes_of_items[i] = (uint8_t)(i * 7 + 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_close(&arena);
    return 0;
}

static const uint8_t *body_of(const uint8_t *frame, size_t frame_bytes, size_t *bytes)
{
    size_t header;
    uint64_t body;
    assert_int_equal(wire_frame_peek(frame, frame_bytes, UINT32_MAX, &header, &body), WIRE_FRAME_WHOLE);
    assert_int_equal(header + body, frame_bytes);
    *bytes = body;
    return frame + header;
}

static void assert_canonical(const uint8_t *frame, size_t frame_bytes, const ProtobufCMessage *message)
{
    static uint8_t expected[FRAME_BYTES];
    assert_true(wire_message_frame_bytes(message) <= sizeof expected);
    size_t bytes = (size_t)(wire_put_message(expected, message) - expected);
    assert_int_equal(frame_bytes, bytes);
    assert_memory_equal(frame, expected, bytes);
}

/* ---- requests ---- */

/** One request in both forms. */
struct both {
    struct wire_txn txn;
    struct wire_bytes compares[MANY], writes[MANY];
    struct wire_range reads[MANY];
    struct wire_add adds[MANY];
    struct wire_participant participants[MANY];
    Mcomp__V1__Request full;
    Mcomp__V1__TransactionId id, participant_id[MANY];
    Mcomp__V1__Items items;
    Mcomp__V1__Compare compare[MANY], *compare_list[MANY];
    Mcomp__V1__Read read[MANY], *read_list[MANY];
    Mcomp__V1__Write write[MANY], *write_list[MANY];
    Mcomp__V1__FetchAdd add[MANY], *add_list[MANY];
    Mcomp__V1__Participant participant[MANY], *participant_list[MANY];
    Mcomp__V1__Execute execute;
    Mcomp__V1__Prepare prepare;
    Mcomp__V1__Decide decide;
    Mcomp__V1__Resolve resolve;
};

static uint64_t edge(size_t number)
{
    return edges[number % EDGES];
}

static struct wire_txn_id make_id(size_t seed)
{
    return (struct wire_txn_id){(uint32_t)edge(seed), (uint32_t)edge(seed / 2 + 1), edge(seed + 2), edge(seed + 3)};
}

static Mcomp__V1__TransactionId full_id(const struct wire_txn_id *id)
{
    Mcomp__V1__TransactionId full = MCOMP__V1__TRANSACTION_ID__INIT;
    full.session = id->session;
    full.lane = id->lane;
    full.generation = id->generation;
    full.sequence = id->sequence;
    return full;
}

static void make_items(struct both *both, size_t seed, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        size_t length = sizes[(seed + i) % 6];
        both->compares[i] = (struct wire_bytes){edge(seed + i), length, bytes_of_items};
        both->writes[i] = (struct wire_bytes){edge(seed + i + 1), sizes[(seed + i + 1) % 6], bytes_of_items};
        both->reads[i] = (struct wire_range){edge(seed + i + 2), edge(seed + i + 3)};
        both->adds[i] = (struct wire_add){edge(seed + i + 4), edge(seed + i + 5)};
        both->compare[i] = (Mcomp__V1__Compare)MCOMP__V1__COMPARE__INIT;
        both->compare[i].address = both->compares[i].address;
        both->compare[i].expected = (ProtobufCBinaryData){length, bytes_of_items};
        both->write[i] = (Mcomp__V1__Write)MCOMP__V1__WRITE__INIT;
        both->write[i].address = both->writes[i].address;
        both->write[i].data = (ProtobufCBinaryData){both->writes[i].length, bytes_of_items};
        both->read[i] = (Mcomp__V1__Read)MCOMP__V1__READ__INIT;
        both->read[i].address = both->reads[i].address;
        both->read[i].length = both->reads[i].length;
        both->add[i] = (Mcomp__V1__FetchAdd)MCOMP__V1__FETCH_ADD__INIT;
        both->add[i].address = both->adds[i].address;
        both->add[i].delta = both->adds[i].delta;
        both->compare_list[i] = &both->compare[i];
        both->write_list[i] = &both->write[i];
        both->read_list[i] = &both->read[i];
        both->add_list[i] = &both->add[i];
    }
    struct wire_txn *txn = &both->txn;
    txn->compares = both->compares;
    txn->writes = both->writes;
    txn->reads = both->reads;
    txn->adds = both->adds;
    txn->compare_count = txn->read_count = txn->write_count = txn->add_count = count;
    Mcomp__V1__Items *items = &both->items;
    *items = (Mcomp__V1__Items)MCOMP__V1__ITEMS__INIT;
    items->n_compares = items->n_reads = items->n_writes = items->n_adds = count;
    items->compares = both->compare_list;
    items->writes = both->write_list;
    items->reads = both->read_list;
    items->adds = both->add_list;
}

static void make_participants(struct both *both, size_t seed, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        bool has_id = (seed + i) % 3 != 0;
        both->participants[i] = (struct wire_participant){.node = (uint32_t)edge(seed + i), .has_id = has_id};
        both->participant[i] = (Mcomp__V1__Participant)MCOMP__V1__PARTICIPANT__INIT;
        both->participant[i].node = both->participants[i].node;
        both->participant_list[i] = &both->participant[i];
        if (!has_id)
            continue;
        both->participants[i].id = make_id(seed + i);
        both->participant_id[i] = full_id(&both->participants[i].id);
        both->participant[i].id = &both->participant_id[i];
    }
    both->txn.participants = both->participants;
    both->txn.participant_count = count;
    both->prepare.n_participants = count;
    both->prepare.participants = both->participant_list;
}

static void make_both(struct both *both, enum wire_op op, size_t seed)
{
    *both = (struct both){.full = MCOMP__V1__REQUEST__INIT,
                          .execute = MCOMP__V1__EXECUTE__INIT,
                          .prepare = MCOMP__V1__PREPARE__INIT,
                          .decide = MCOMP__V1__DECIDE__INIT,
                          .resolve = MCOMP__V1__RESOLVE__INIT};
    both->full.id = edge(seed);
    both->full.timeout_ms = (uint32_t)edge(seed + 1);
    both->txn.has_id = seed % 4 != 0;
    if (both->txn.has_id) {
        both->txn.id = make_id(seed);
        both->id = full_id(&both->txn.id);
        both->execute.id = both->prepare.id = both->decide.id = both->resolve.id = &both->id;
    }
    if (op == WIRE_OP_EXECUTE || op == WIRE_OP_PREPARE)
        make_items(both, seed, seed % (MANY + 1));
    if (op == WIRE_OP_PREPARE)
        make_participants(both, seed, (seed + 1) % (MANY + 1));
    both->execute.items = both->prepare.items = &both->items;
    both->txn.commit = op == WIRE_OP_DECIDE && seed % 2;
    both->decide.commit = both->txn.commit;
    both->txn.want_answer = (op == WIRE_OP_DECIDE || op == WIRE_OP_RESOLVE) && seed % 3 == 0;
    both->decide.want_answer = both->resolve.want_answer = both->txn.want_answer;
    switch (op) {
    case WIRE_OP_EXECUTE:
        both->full.op_case = MCOMP__V1__REQUEST__OP_EXECUTE;
        both->full.execute = &both->execute;
        break;
    case WIRE_OP_PREPARE:
        both->full.op_case = MCOMP__V1__REQUEST__OP_PREPARE;
        both->full.prepare = &both->prepare;
        break;
    case WIRE_OP_DECIDE:
        both->full.op_case = MCOMP__V1__REQUEST__OP_DECIDE;
        both->full.decide = &both->decide;
        break;
    default:
        both->full.op_case = MCOMP__V1__REQUEST__OP_RESOLVE;
        both->full.resolve = &both->resolve;
        break;
    }
}

static size_t encode(const struct both *both, enum wire_op op, uint8_t *frame)
{
    size_t bytes = wire_txn_frame_bytes(both->full.id, both->full.timeout_ms, op, &both->txn);
    assert_true(bytes <= FRAME_BYTES);
    assert_ptr_equal(wire_put_txn(frame, both->full.id, both->full.timeout_ms, op, &both->txn), frame + bytes);
    return bytes;
}

/* Goal: our encoder writes what generated code writes, and our decoder, alone, reads it. */
static void requests_are_canonical(void **state)
{
    (void)state;
    static uint8_t frame[FRAME_BYTES];
    for (enum wire_op op = WIRE_OP_EXECUTE; op <= WIRE_OP_RESOLVE; op++)
        for (size_t seed = 0; seed < 200; seed++) {
            struct both both;
            make_both(&both, op, seed);
            size_t frame_bytes = encode(&both, op, frame), bytes;
            assert_canonical(frame, frame_bytes, &both.full.base);
            const uint8_t *body = body_of(frame, frame_bytes, &bytes);
            wire_compare_request(body, bytes, &arena);
            struct wire_request request;
            assert_true(wire_request_decode(&request, body, bytes, &arena));
            assert_int_equal(request.op, op);
            assert_true(request.id == both.full.id && request.timeout_ms == both.full.timeout_ms);
            assert_null(request.full);
            wire_same_txn(request.txn, &both.txn);
            for (uint32_t i = 0; i < both.txn.write_count; i++) /* not copied, so generated code had no part in it */
                assert_true(!both.writes[i].length || (request.txn->writes[i].data > body && request.txn->writes[i].data < body + bytes));
            arena_reset(&arena);
        }
}

/* ---- results ---- */

static size_t make_result(uint8_t *frame, size_t seed, struct wire_txn_result *result, Mcomp__V1__Response *full)
{
    static uint32_t failed[MANY];
    static struct wire_blob found[MANY];
    static ProtobufCBinaryData full_found[MANY];
    static Mcomp__V1__TransactionResult transaction;
    uint32_t count = seed % (MANY + 1);
    for (uint32_t i = 0; i < count; i++) {
        failed[i] = (uint32_t)edge(seed + i);
        found[i] = (struct wire_blob){sizes[(seed + i) % 6], bytes_of_items};
        full_found[i] = (ProtobufCBinaryData){found[i].bytes, bytes_of_items};
    }
    *result = (struct wire_txn_result){.outcome = (int)(seed % 7),
                                       .reason = (int)(seed / 2 % 7),
                                       .failed_count = count,
                                       .failed = failed,
                                       .found_count = count,
                                       .found = found,
                                       .answer = {sizes[(seed + 1) % 6], bytes_of_items}};
    transaction = (Mcomp__V1__TransactionResult)MCOMP__V1__TRANSACTION_RESULT__INIT;
    transaction.outcome = (Mcomp__V1__TransactionResult__Outcome)result->outcome;
    transaction.reason = (Mcomp__V1__TransactionResult__Reason)result->reason;
    transaction.n_failed_compares = transaction.n_found = count;
    transaction.failed_compares = failed;
    transaction.found = full_found;
    transaction.answer = (ProtobufCBinaryData){result->answer.bytes, bytes_of_items};
    *full = (Mcomp__V1__Response)MCOMP__V1__RESPONSE__INIT;
    full->id = edge(seed);
    full->status = MCOMP__V1__STATUS__STATUS_OK;
    full->result_case = MCOMP__V1__RESPONSE__RESULT_TRANSACTION;
    full->transaction = &transaction;
    size_t bytes = wire_txn_result_frame_bytes(full->id, result);
    uint8_t *end = wire_put_txn_result_header(frame, full->id, result);
    memcpy(end, result->answer.data, result->answer.bytes);
    assert_ptr_equal(end + result->answer.bytes, frame + bytes);
    return bytes;
}

static void results_are_canonical(void **state)
{
    (void)state;
    static uint8_t frame[FRAME_BYTES];
    for (size_t seed = 0; seed < 200; seed++) {
        struct wire_txn_result result;
        Mcomp__V1__Response full;
        size_t frame_bytes = make_result(frame, seed, &result, &full), bytes;
        assert_canonical(frame, frame_bytes, &full.base);
        const uint8_t *body = body_of(frame, frame_bytes, &bytes);
        wire_compare_response(body, bytes, &arena);
        struct wire_response response;
        assert_true(wire_response_decode(&response, body, bytes, &arena));
        assert_int_equal(response.result, WIRE_OP_EXECUTE);
        assert_int_equal(response.status, MCOMP_OK);
        assert_true(response.id == full.id && !response.full);
        wire_same_txn_result(response.txn, &result);
        assert_true(!result.answer.bytes || (response.txn->answer.data > body && response.txn->answer.data < body + bytes));
        arena_reset(&arena);
    }
}

/* ---- other shapes ---- */

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* Goal: whatever is cut, changed, left out or doubled, both codecs judge alike. Method: each prefix, and many random changes of one or two bytes. */
static void damaged_messages_are_judged_alike(void **state)
{
    (void)state;
    static uint8_t frame[FRAME_BYTES];
    uint32_t random = 1;
    for (size_t seed = 0; seed < 40; seed++) {
        size_t bytes, frame_bytes;
        struct both both;
        struct wire_txn_result result;
        Mcomp__V1__Response full;
        enum wire_op op = WIRE_OP_EXECUTE + seed % 5;
        if (op <= WIRE_OP_RESOLVE) {
            make_both(&both, op, seed);
            frame_bytes = encode(&both, op, frame);
        } else {
            frame_bytes = make_result(frame, seed, &result, &full);
        }
        uint8_t *body = frame + (body_of(frame, frame_bytes, &bytes) - frame);
        for (size_t cut = 0; cut < bytes; cut++) {
            wire_compare_request(body, cut, &arena);
            wire_compare_response(body, cut, &arena);
            arena_reset(&arena);
        }
        for (uint32_t i = 0; i < 3000; i++) {
            size_t first = next_random(&random) % bytes, second = next_random(&random) % bytes;
            uint8_t was_first = body[first], was_second = body[second];
            body[first] = (uint8_t)next_random(&random);
            if (i & 1)
                body[second] = (uint8_t)next_random(&random);
            wire_compare_request(body, bytes, &arena);
            wire_compare_response(body, bytes, &arena);
            body[second] = was_second;
            body[first] = was_first;
            arena_reset(&arena);
        }
    }
}

/* Goal: shapes that proto3 allows and nobody's generated code writes. */
static void odd_shapes_are_left_to_generated_code(void **state)
{
    (void)state;
    static const struct {
        size_t bytes;
        uint8_t body[24];
    } odd[] = {
        {3, {0xd2, 1, 0}},                                        /* Execute of nothing */
        {9, {0xd2, 1, 6, 0x12, 2, 0x0a, 0, 0x0a, 0}},             /* items before id */
        {9, {0xd2, 1, 6, 0x0a, 0, 0x0a, 2, 0x08, 7}},             /* id twice: merged */
        {15, {0xd2, 1, 12, 0x12, 4, 0x0a, 2, 0x08, 1, 0x12, 4, 0x0a, 2, 0x08, 2}}, /* items twice: merged */
        {8, {0xd2, 1, 2, 0x0a, 0, 0xda, 1, 0}},                   /* Execute, then Prepare: the last one counts */
        {8, {0xd2, 1, 2, 0x0a, 0, 0xd2, 1, 0}},                   /* Execute twice: merged */
        {5, {0xe2, 1, 2, 0x10, 0}},                               /* an explicit false */
        {6, {0xe2, 1, 3, 0x10, 0x80, 0}},                         /* … in two bytes */
        {6, {0xe2, 1, 3, 0x10, 0x80, 1}},                         /* true as 128 */
        {7, {0xd2, 1, 4, 0x0a, 2, 0x18, 1}},                      /* generation as a varint */
        {8, {0xd2, 1, 5, 0x0a, 3, 0x19, 1, 2}},                   /* half a generation */
        {7, {0xd2, 1, 4, 0x18, 1, 0x18, 2}},                      /* failed compares that are not packed */
        {10, {0xd2, 1, 7, 0x1a, 1, 5, 0x18, 1, 0x1a, 0}},         /* … and some that are */
        {6, {0xd2, 1, 3, 0x1a, 1, 0x85}},                         /* a packed one that is cut */
        {14, {0xd2, 1, 11, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}}, /* outcome -1 */
        {5, {0xd2, 1, 2, 0x08, 99}},                              /* an outcome that nobody knows */
        {6, {0xd2, 1, 3, 0x98, 0x06, 4}},                         /* unknown field 99 */
        {7, {0xd2, 1, 4, 0x12, 2, 0x2a, 0}},                      /* an unknown kind of item */
    };
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        wire_compare_request(odd[i].body, odd[i].bytes, &arena);
        wire_compare_response(odd[i].body, odd[i].bytes, &arena);
    }
    struct wire_request request;
    assert_true(wire_request_decode(&request, odd[2].body, odd[2].bytes, &arena));
    assert_true(request.op == WIRE_OP_EXECUTE && request.txn->has_id && request.txn->id.session == 7);
    assert_true(wire_request_decode(&request, odd[3].body, odd[3].bytes, &arena));
    assert_int_equal(request.txn->compare_count, 2);
    arena_reset(&arena);
}

/** An Execute of `count` times the same two bytes. */
static uint8_t *execute_of_tiny_parts(uint8_t tag, size_t count, size_t *bytes)
{
    uint8_t *items = malloc(count * 2 + 1), *body = malloc(count * 2 + 64);
    assert_true(items && body);
    for (size_t i = 0; i < count; i++) {
        items[2 * i] = tag;
        items[2 * i + 1] = 0;
    }
    Mcomp__V1__Request full = MCOMP__V1__REQUEST__INIT;
    Mcomp__V1__Execute execute = MCOMP__V1__EXECUTE__INIT;
    Mcomp__V1__Items wrapped = MCOMP__V1__ITEMS__INIT;
    ProtobufCMessageUnknownField unknown = {.tag = tag >> 3, .wire_type = PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED, .len = count * 2 - 1, .data = items + 1};
    wrapped.base.n_unknown_fields = 1;
    wrapped.base.unknown_fields = &unknown;
    execute.items = &wrapped;
    full.id = 42;
    full.op_case = MCOMP__V1__REQUEST__OP_EXECUTE;
    full.execute = &execute;
    *bytes = mcomp__v1__request__pack(&full, body);
    free(items);
    return body;
}

/* Goal: the largest transaction that the protocol allows is decoded, larger ones are left to the checks, and far too large ones take no memory. */
static void numbers_of_items_are_bounded(void **state)
{
    (void)state;
    static const uint8_t tags[] = {0x0a, 0x12, 0x1a, 0x22};
    static const size_t counts[] = {MULTI_RANGES_MAX, MULTI_RANGES_MAX + 1, FRAME_OVERHEAD_BYTES / 2 - 16};
    struct wire_request request;
    size_t bytes;
    for (size_t i = 0; i < sizeof tags; i++) {
        for (size_t j = 0; j < sizeof counts / sizeof counts[0]; j++) {
            uint8_t *body = execute_of_tiny_parts(tags[i], counts[j], &bytes);
            wire_compare_request(body, bytes, &arena);
            assert_true(wire_request_decode(&request, body, bytes, &arena));
            const struct wire_txn *txn = request.txn;
            assert_int_equal(txn->compare_count + txn->read_count + txn->write_count + txn->add_count, counts[j]);
            free(body);
            arena_reset(&arena);
        }
        uint8_t *body = execute_of_tiny_parts(tags[i], 2u << 20, &bytes);
        assert_false(wire_request_decode(&request, body, bytes, &arena));
        assert_int_equal(request.id, 42);
        free(body);
        arena_reset(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_canonical),
        cmocka_unit_test(results_are_canonical),
        cmocka_unit_test(damaged_messages_are_judged_alike),
        cmocka_unit_test(odd_shapes_are_left_to_generated_code),
        cmocka_unit_test(numbers_of_items_are_bounded),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
