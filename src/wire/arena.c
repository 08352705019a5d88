/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/arena.h"

#include <stdint.h>
#include <stdlib.h>

#define ARENA_BLOCK_BYTES 16384u /* a batch of small messages fits; larger requests get a block of their own size */
#define ARENA_PIECE_BYTES_MAX ((size_t)2 << 30) /* protobuf messages end there */
#define ARENA_ALIGN 16u

struct arena_block {
    struct arena_block *next;
    size_t capacity;
    _Alignas(ARENA_ALIGN) uint8_t bytes[];
};

static void *allocator_alloc(void *self, size_t bytes)
{
    return arena_alloc(self, bytes);
}

static void allocator_free(void *self, void *memory)
{
    (void)self;
    (void)memory;
}

void arena_init(struct arena *arena)
{
    *arena = (struct arena){.left = SIZE_MAX, .allocator = {allocator_alloc, allocator_free, arena}};
}

void arena_limit(struct arena *arena, size_t bytes)
{
    arena->left = bytes;
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
    if (bytes > ARENA_PIECE_BYTES_MAX)
        return NULL;
    bytes = (bytes + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    if (bytes > arena->left)
        return NULL;
    struct arena_block *block = arena->current;
    if (!block || block->capacity - arena->used < bytes) {
        size_t capacity = bytes > ARENA_BLOCK_BYTES ? bytes : ARENA_BLOCK_BYTES;
        block = malloc(sizeof *block + capacity);
        if (!block)
            return NULL;
        *block = (struct arena_block){.capacity = capacity};
        if (arena->current)
            arena->current->next = block;
        else
            arena->first = block;
        arena->current = block;
        arena->used = 0;
    }
    void *memory = block->bytes + arena->used;
    arena->used += bytes;
    if (arena->left != SIZE_MAX)
        arena->left -= bytes;
    return memory;
}

static void free_chain(struct arena_block *block)
{
    while (block) {
        struct arena_block *next = block->next;
        free(block);
        block = next;
    }
}

void arena_reset(struct arena *arena)
{
    struct arena_block *keep = arena->first;
    arena->current = NULL;
    arena->used = 0;
    if (!keep)
        return;
    free_chain(keep->next);
    keep->next = NULL;
    if (keep->capacity > ARENA_BLOCK_BYTES) { /* one large message must not pin its memory for ever */
        free(keep);
        keep = NULL;
    }
    arena->first = arena->current = keep;
}

void arena_close(struct arena *arena)
{
    free_chain(arena->first);
    arena->first = arena->current = NULL;
    arena->used = 0;
}
