/* SPDX-License-Identifier: Apache-2.0 */
/** Memory for one batch of messages: taken by moving a pointer, given back all at once. */
#ifndef WIRE_ARENA_H
#define WIRE_ARENA_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

struct arena_block;

/** One thread at a time. Made in place by arena_init; arena_close is allowed on a zeroed one. */
struct arena {
    struct arena_block *first, *current; /* owned chain */
    size_t used;                         /* bytes of current */
    size_t left;                         /* bytes that it may still hand out */
    ProtobufCAllocator allocator;        /* hands out this arena's memory; free does nothing */
};

void arena_init(struct arena *arena);

/** bytes of memory, 16-byte aligned, valid until arena_reset; NULL when the machine has none left, or the arena's limit is reached. */
void *arena_alloc(struct arena *arena, size_t bytes);

/** Let the arena hand out at most so many bytes from now on, SIZE_MAX: any number. For messages of others: a few bytes of them may stand for a
 *  structure of many. */
void arena_limit(struct arena *arena, size_t bytes);

/** Give all memory back to the arena; one block is kept, so that a steady state allocates nothing. */
void arena_reset(struct arena *arena);

void arena_close(struct arena *arena);

#endif
