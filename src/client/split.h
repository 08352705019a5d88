/* SPDX-License-Identifier: Apache-2.0 */
/** Where a range of the grid lies. Pure. */
#ifndef CLIENT_SPLIT_H
#define CLIENT_SPLIT_H

#include <stdbool.h>
#include <stdint.h>

/** [address, address+length) lies in a grid of grid_bytes. A range of no length may begin at the very end. */
static inline bool split_in_grid(uint64_t grid_bytes, uint64_t address, uint64_t length)
{
    return address <= grid_bytes && length <= grid_bytes - address;
}

/** Node that owns the byte at address. */
static inline uint32_t split_node(uint64_t segment_size, uint64_t address)
{
    return (uint32_t)(address / segment_size);
}

/** How many of the bytes [address, address+length) lie on the node that owns the first one. */
static inline uint64_t split_on_node(uint64_t segment_size, uint64_t address, uint64_t length)
{
    uint64_t left = segment_size - address % segment_size;
    return length < left ? length : left;
}

/** Nodes that [address, address+length) touches; 0 for no length. The range lies in the grid. */
uint32_t split_nodes(uint64_t segment_size, uint64_t address, uint64_t length);

/* ---- several ranges in one call ---- */

/** A part of one of the call's ranges that lies on one node. Parts of one node form a chain, in the order of the call. */
struct split_part {
    uint64_t address, length; /* bytes; length > 0 */
    uint64_t at;              /* position of the first byte in the call, counted through all its ranges */
    uint8_t *buffer;          /* caller's */
    uint32_t next;            /* index of the next part on the same node; SPLIT_END: none */
    bool write;
};

#define SPLIT_END UINT32_MAX

/** `length` bytes of a chain, from byte `skip` of part `first` on. */
struct split_slice {
    uint32_t first;
    uint64_t skip, length;
};

/** A walk through the parts of a slice. */
struct split_walk {
    const struct split_part *parts;
    uint32_t index;        /* of the current part */
    uint64_t skip, length; /* of the current part: bytes left out before, bytes taken */
    uint64_t left;         /* bytes of the slice after the current part */
};

/** Begin a walk; false when the slice is empty. Then for (…; more; more = split_walk_next(&walk)). */
bool split_walk_begin(struct split_walk *walk, const struct split_part *parts, const struct split_slice *slice);
bool split_walk_next(struct split_walk *walk);

/** How much of a slice goes into one request of at most max_bytes and max_ranges (both > 0): whole parts while they fit; of a part
 *  that is too long by itself, what fits. Returns bytes, more than 0 unless the slice is empty. */
uint64_t split_slice_take(const struct split_part *parts, const struct split_slice *slice, uint64_t max_bytes, uint32_t max_ranges);

/** Leave out the first `bytes` bytes (at most its length). */
void split_slice_advance(const struct split_part *parts, struct split_slice *slice, uint64_t bytes);

#endif
