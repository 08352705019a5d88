/* SPDX-License-Identifier: Apache-2.0 */
/** The messages that snapshot processes exchange (the second half of snapshot.proto) as frames.
 *
 *  Most go through the generated code. Answers to Pull, which carry the grid's bytes, are written and read here, since the generated code would copy the
 *  data once more on each side; unit tests hold the two against each other. */
#ifndef SNAPD_EXCHANGE_H
#define SNAPD_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "link/outgoing.h"
#include "snapshot.pb-c.h"
#include "snapshot/chunk.h"

#define EXCHANGE_REQUEST_BYTES_MAX 1024u /* no request of the exchange comes near */
#define EXCHANGE_TEXT_BYTES_MAX 512u     /* of Response.message */
#define EXCHANGE_PULL_CHUNKS 4u
#define EXCHANGE_PULL_BYTES (EXCHANGE_PULL_CHUNKS * SNAPSHOT_CHUNK_BYTES) /* of addresses that one Pull covers at most */
#define EXCHANGE_PULL_OVERHEAD_BYTES 1024u                                /* of a frame, besides the pages */

_Static_assert(EXCHANGE_PULL_CHUNKS + 2 <= OUTGOING_PARTS, "an answer to Pull has a part for each chunk and two more");

/** Numbers of both lists agree; what snapshot.proto does not have becomes its nearest. */
Mcomp__Snapshot__V1__Status exchange_status_put(enum mcomp_status status);
enum mcomp_status exchange_status_get(uint64_t number);

/** An answer without a result. NULL: out of memory. */
struct outgoing *exchange_answer(uint64_t id, enum mcomp_status status, const char *text);

/** An answer that consists of response, whose id and status are filled in here. NULL: out of memory. */
struct outgoing *exchange_result(uint64_t id, Mcomp__Snapshot__V1__Response *response);

/* ---- answers, read ---- */

struct exchange_response {
    uint64_t id;
    enum mcomp_status status;
    const char *text; /* borrowed, not terminated */
    size_t text_bytes;
    uint32_t result;  /* field number in Response.result; 0: none */
    const uint8_t *data; /* of the result; borrowed */
    size_t bytes;
};

/** false: not a Response. */
bool exchange_response_decode(struct exchange_response *response, const uint8_t *body, size_t bytes);

/* ---- PullResult ---- */

/** Begin an answer to a Pull of up to `windows` windows. NULL: out of memory. */
struct outgoing *exchange_pull_begin(uint32_t windows);
/** Where the pages of the next chunk go: SNAPSHOT_CHUNK_BYTES. */
uint8_t *exchange_pull_room(const struct outgoing *out);
/** The next chunk, whose data is in exchange_pull_room. */
void exchange_pull_add(struct outgoing *out, const Mcomp__Snapshot__V1__Chunk *chunk);

struct exchange_pull {
    uint64_t next_offset, pages_preserved;
    bool complete;
    uint32_t chunks;
    Mcomp__Snapshot__V1__Chunk chunk[EXCHANGE_PULL_CHUNKS]; /* data points into the frame */
};

/** The answer ends: chunks are in it already, the other members of pull are put to them. */
void exchange_pull_end(struct outgoing *out, uint64_t id, const struct exchange_pull *pull);

/** Read the result of a response. false: malformed. What chunks say is not checked: chunk_open does. */
bool exchange_pull_decode(struct exchange_pull *pull, const uint8_t *data, size_t bytes);

#endif
