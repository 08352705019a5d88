/* SPDX-License-Identifier: Apache-2.0 */
#include "client/engine.h"

#include <stdlib.h>

#define GENERATION_MASK ((1u << ID_GENERATION_BITS) - 1)
#define CHUNKS_MAX ((1u << 28) / SLOTS_CHUNK) /* ids stay below 2^32, so that they are short on the wire */

static bool grow(struct slots *slots)
{
    if (slots->chunk_count == slots->chunk_capacity) {
        uint32_t capacity = slots->chunk_capacity ? slots->chunk_capacity * 2 : 4;
        struct piece **grown = capacity > CHUNKS_MAX ? NULL : reallocarray(slots->chunks, capacity, sizeof(struct piece *));
        if (!grown)
            return false;
        slots->chunks = grown;
        slots->chunk_capacity = capacity;
    }
    struct piece *chunk = calloc(SLOTS_CHUNK, sizeof *chunk);
    if (!chunk)
        return false;
    uint32_t base = slots->chunk_count * SLOTS_CHUNK;
    /* The lowest is taken first. The very first is never used: its ids are those of Hello and of answers without one. */
    for (uint32_t i = SLOTS_CHUNK; i-- > (base == 0 ? 1u : 0u);) {
        chunk[i].id = (uint64_t)(base + i) << ID_GENERATION_BITS;
        chunk[i].next = slots->free;
        slots->free = &chunk[i];
    }
    slots->chunks[slots->chunk_count++] = chunk;
    return true;
}

struct piece *slots_take(struct slots *slots)
{
    if (!slots->free && !grow(slots))
        return NULL;
    struct piece *piece = slots->free;
    slots->free = piece->next;
    *piece = (struct piece){.id = piece->id, .state = PIECE_WAITING};
    return piece;
}

void slots_give(struct slots *slots, struct piece *piece)
{
    MC_ASSERT(piece->state != PIECE_FREE);
    free(piece->frame);
    piece->frame = NULL;
    piece->state = PIECE_FREE;
    piece->op = NULL;
    piece->id = (piece->id & ~(uint64_t)GENERATION_MASK) | ((piece->id + 1) & GENERATION_MASK);
    piece->next = slots->free;
    slots->free = piece;
}

void slots_close(struct slots *slots)
{
    for (uint32_t i = 0; i < slots->chunk_count; i++) {
        for (uint32_t j = 0; j < SLOTS_CHUNK; j++)
            free(slots->chunks[i][j].frame);
        free(slots->chunks[i]);
    }
    free(slots->chunks);
    *slots = (struct slots){0};
}
