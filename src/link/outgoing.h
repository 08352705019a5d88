/* SPDX-License-Identifier: Apache-2.0 */
/** One frame on its way out, in one piece of memory. One owner at a time; moves by pointer from the thread that made it to the one that sends it. */
#ifndef LINK_OUTGOING_H
#define LINK_OUTGOING_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define OUTGOING_PARTS 6u /* an answer to Pull: what stands before its chunks, four of them, what stands behind */

struct outgoing {
    struct outgoing *next; /* of whichever list holds it */
    size_t bytes;          /* of all parts */
    uint32_t parts;
    struct iovec part[OUTGOING_PARTS]; /* into memory */
    uint8_t memory[];
};

/** Room for `bytes` bytes of memory, no parts yet. Free with free(). NULL: out of memory. */
struct outgoing *outgoing_make(size_t bytes);

/** Append what stands at [at, at+bytes) of its memory. */
void outgoing_add(struct outgoing *out, uint8_t *at, size_t bytes);

/** A message as a frame. NULL: out of memory. */
struct outgoing *outgoing_message(const ProtobufCMessage *message);

#endif
