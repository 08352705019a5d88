/* SPDX-License-Identifier: Apache-2.0 */
#include "client/split.h"

#include "base/err.h"

uint32_t split_nodes(uint64_t segment_size, uint64_t address, uint64_t length)
{
    if (length == 0)
        return 0;
    return split_node(segment_size, address + (length - 1)) - split_node(segment_size, address) + 1;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

bool split_walk_begin(struct split_walk *walk, const struct split_part *parts, const struct split_slice *slice)
{
    if (slice->length == 0)
        return false;
    const struct split_part *part = &parts[slice->first];
    MC_ASSERT(slice->skip < part->length);
    uint64_t length = smaller(part->length - slice->skip, slice->length);
    *walk = (struct split_walk){parts, slice->first, slice->skip, length, slice->length - length};
    return true;
}

bool split_walk_next(struct split_walk *walk)
{
    if (walk->left == 0)
        return false;
    walk->index = walk->parts[walk->index].next;
    MC_ASSERT(walk->index != SPLIT_END);
    walk->skip = 0;
    walk->length = smaller(walk->parts[walk->index].length, walk->left);
    walk->left -= walk->length;
    return true;
}

uint64_t split_slice_take(const struct split_part *parts, const struct split_slice *slice, uint64_t max_bytes, uint32_t max_ranges)
{
    struct split_walk walk;
    uint64_t taken = 0;
    uint32_t ranges = 0;
    for (bool more = split_walk_begin(&walk, parts, slice); more && ranges < max_ranges; more = split_walk_next(&walk)) {
        if (walk.length > max_bytes - taken)
            return ranges == 0 ? max_bytes : taken;
        taken += walk.length;
        ranges++;
    }
    return taken;
}

void split_slice_advance(const struct split_part *parts, struct split_slice *slice, uint64_t bytes)
{
    MC_ASSERT(bytes <= slice->length);
    slice->length -= bytes;
    while (bytes > 0) {
        uint64_t here = parts[slice->first].length - slice->skip;
        if (bytes < here) {
            slice->skip += bytes;
            return;
        }
        bytes -= here;
        slice->first = parts[slice->first].next;
        slice->skip = 0;
    }
}
