/* SPDX-License-Identifier: Apache-2.0 */
#include "client/engine.h"

#include <stdlib.h>
#include <string.h>

#define GENERATION_MASK ((1u << ID_GENERATION_BITS) - 1)
#define CHUNKS_MAX ((1u << 28) / SLOTS_CHUNK) /* ids stay below 2^32, so that they are short on the wire */

static bool grow(struct slots *slots)
{
    if (slots->chunk_count == slots->chunk_capacity) {
        uint32_t capacity = slots->chunk_capacity ? slots->chunk_capacity * 2 : 4;
        union slot **grown = capacity > CHUNKS_MAX ? NULL : reallocarray(slots->chunks, capacity, sizeof(union slot *));
        if (!grown)
            return false;
        slots->chunks = grown;
        slots->chunk_capacity = capacity;
    }
    union slot *chunk = aligned_alloc(PIECE_ALIGN, SLOTS_CHUNK * sizeof *chunk);
    if (!chunk)
        return false;
    memset(chunk, 0, SLOTS_CHUNK * sizeof *chunk);
    uint32_t base = slots->chunk_count * SLOTS_CHUNK;
    /* The lowest is taken first. The very first is never used: its ids are those of Hello and of answers without one. */
    for (uint32_t i = SLOTS_CHUNK; i-- > (base == 0 ? 1u : 0u);) {
        struct piece *piece = &chunk[i].piece;
        piece->id = (uint64_t)(base + i) << ID_GENERATION_BITS;
        piece->next = slots->free;
        slots->free = piece;
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
    if (piece_has_frame(piece))
        piece_drop_frame(piece);
    piece->state = PIECE_FREE;
    piece->id = (piece->id & ~(uint64_t)GENERATION_MASK) | ((piece->id + 1) & GENERATION_MASK);
    piece->next = slots->free;
    slots->free = piece;
}

void slots_close(struct slots *slots)
{
    for (uint32_t i = 0; i < slots->chunk_count * SLOTS_CHUNK; i++) {
        struct piece *piece = slots_at(slots, i);
        if (piece->state != PIECE_FREE && piece_has_frame(piece))
            piece_drop_frame(piece);
    }
    for (uint32_t i = 0; i < slots->chunk_count; i++)
        free(slots->chunks[i]);
    free(slots->chunks);
    *slots = (struct slots){0};
}

void piece_drop_frame(struct piece *piece)
{
    free(piece->frame);
    piece->frame = NULL;
}
