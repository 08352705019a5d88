/* SPDX-License-Identifier: Apache-2.0 */
/** Arbitrary bytes as a Response of snapshot.proto: no crash, no read out of bounds; and what the generated code makes of them, packed again, is read by the
 *  codec of our own with the same result. */
#include <stdlib.h>
#include <string.h>

#include "snapd/exchange.h"

typedef Mcomp__Snapshot__V1__Response Response;

#define SAME(a, b) MC_ASSERT((a) == (b))

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static void compare_pull(const Mcomp__Snapshot__V1__PullResult *right, const struct exchange_response *response)
{
    struct exchange_pull pull;
    bool decoded = exchange_pull_decode(&pull, response->data, response->bytes);
    SAME(decoded, right->n_chunk <= EXCHANGE_PULL_CHUNKS);
    if (!decoded)
        return;
    SAME(pull.next_offset, right->next_offset);
    SAME(pull.complete, right->complete);
    SAME(pull.pages_preserved, right->pages_preserved);
    SAME(pull.chunks, right->n_chunk);
    for (size_t i = 0; i < right->n_chunk; i++) {
        const Mcomp__Snapshot__V1__Chunk *a = &pull.chunk[i], *b = right->chunk[i];
        SAME(a->address, b->address);
        SAME(a->pages, b->pages);
        SAME(a->crc32c, b->crc32c);
        SAME(a->data_crc32c, b->data_crc32c);
        SAME((int)b->compression < 0 || a->compression == b->compression, true);
        SAME(a->data.len, b->data.len);
        SAME(a->data.len == 0 || memcmp(a->data.data, b->data.data, a->data.len) == 0, true);
    }
}

/** Unknown fields are kept as they came, malformed numbers included, which our codec refuses. */
static bool has_unknown(const Response *right)
{
    unsigned unknown = right->base.n_unknown_fields;
    if (right->result_case == MCOMP__SNAPSHOT__V1__RESPONSE__RESULT_PULL) {
        unknown += right->pull->base.n_unknown_fields;
        for (size_t i = 0; i < right->pull->n_chunk; i++)
            unknown += right->pull->chunk[i]->base.n_unknown_fields;
    }
    return unknown > 0;
}

static void compare(const Response *right, const uint8_t *body, size_t count)
{
    struct exchange_response response;
    SAME(exchange_response_decode(&response, body, count), true);
    SAME(response.id, right->id);
    SAME(response.status, exchange_status_get((uint64_t)(int64_t)right->status));
    SAME(response.text_bytes, strlen(right->message));
    SAME(memcmp(response.text, right->message, response.text_bytes), 0);
    SAME(response.result, (uint32_t)right->result_case);
    if (right->result_case == MCOMP__SNAPSHOT__V1__RESPONSE__RESULT_PULL)
        compare_pull(right->pull, &response);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    struct exchange_response response;
    struct exchange_pull pull;
    if (exchange_response_decode(&response, bytes, count) && response.result == MCOMP__SNAPSHOT__V1__RESPONSE__RESULT_PULL)
        (void)exchange_pull_decode(&pull, response.data, response.bytes);
    Response *right = mcomp__snapshot__v1__response__unpack(NULL, count, bytes);
    if (!right)
        return 0;
    size_t packed_bytes = mcomp__snapshot__v1__response__get_packed_size(right);
    uint8_t *packed = malloc(packed_bytes ? packed_bytes : 1);
    mcomp__snapshot__v1__response__pack(right, packed);
    if (!has_unknown(right))
        compare(right, packed, packed_bytes);
    free(packed);
    mcomp__snapshot__v1__response__free_unpacked(right, NULL);
    return 0;
}
