/* SPDX-License-Identifier: Apache-2.0 */
/** Several ranges in one call. */
#include "client/engine.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- from the call to one chain of parts for each node ---- */

void multi_free(struct multi *multi)
{
    if (!multi)
        return;
    free(multi->ranges);
    free(multi->parts);
    free(multi->chains);
    free(multi);
}

static int compare(const void *left, const void *right)
{
    const struct span_range *a = left, *b = right;
    return a->address < b->address ? -1 : a->address > b->address;
}

/** Two written ranges overlap; no memory counts as RESOURCE_EXHAUSTED. */
static enum mcomp_status check_overlap(const struct mcomp_range *ranges, size_t count, struct mcomp_error *error)
{
    struct span_range *writes = count ? calloc(count, sizeof *writes) : NULL;
    size_t n = 0;
    enum mcomp_status status = MCOMP_OK;
    if (count && !writes)
        return error_memory(error);
    for (size_t i = 0; i < count; i++) {
        if (ranges[i].kind == MCOMP_RANGE_WRITE && ranges[i].length > 0)
            writes[n++] = (struct span_range){ranges[i].address, ranges[i].length};
    }
    if (n > 1)
        qsort(writes, n, sizeof *writes, compare);
    for (size_t i = 1; i < n && status == MCOMP_OK; i++) {
        if (writes[i].address - writes[i - 1].address < writes[i - 1].length)
            status = error_set(error, MCOMP_INVALID_ARGUMENT, 0, MCOMP_NO_NODE, "two written ranges overlap at 0x%" PRIx64,
                               writes[i].address);
    }
    free(writes);
    return status;
}

static enum mcomp_status check_ranges(const struct mcomp *grid, const struct mcomp_range *ranges, size_t count, size_t *parts,
                                      struct mcomp_error *error)
{
    uint64_t total = 0;
    *parts = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t address = ranges[i].address, length = ranges[i].length;
        if (ranges[i].kind != MCOMP_RANGE_READ && ranges[i].kind != MCOMP_RANGE_WRITE)
            return error_set(error, MCOMP_INVALID_ARGUMENT, 0, MCOMP_NO_NODE, "range %zu is neither a read nor a write: kind %d", i,
                             (int)ranges[i].kind);
        if (!split_in_grid(grid->bytes, address, length))
            return error_set(error, MCOMP_OUT_OF_RANGE, 0, MCOMP_NO_NODE,
                             "range %zu, %" PRIu64 " bytes at 0x%" PRIx64 ", does not lie in the grid, which has %" PRIu64 " bytes", i,
                             length, address, grid->bytes);
        if (__builtin_add_overflow(total, length, &total))
            return error_set(error, MCOMP_INVALID_ARGUMENT, 0, MCOMP_NO_NODE, "the ranges together are longer than 2^64 bytes");
        *parts += split_nodes(grid->config.segment_size, address, length);
    }
    if (*parts >= SPLIT_END)
        return error_set(error, MCOMP_INVALID_ARGUMENT, 0, MCOMP_NO_NODE, "%zu parts are too many for one call", *parts);
    return check_overlap(ranges, count, error);
}

struct chain_ends {
    size_t chain;  /* plus one; 0: the node has none yet */
    uint32_t last; /* part */
};

static void append_part(struct multi *multi, struct chain_ends *ends, uint32_t index)
{
    const struct split_part *part = &multi->parts[index];
    if (ends->chain == 0) {
        multi->chains[multi->chain_count] = (struct split_slice){.first = index};
        ends->chain = ++multi->chain_count;
    } else {
        multi->parts[ends->last].next = index;
    }
    multi->chains[ends->chain - 1].length += part->length;
    ends->last = index;
}

static void fill(struct multi *multi, const struct mcomp *grid, const struct mcomp_range *ranges, struct chain_ends *ends)
{
    uint64_t segment_size = grid->config.segment_size, at = 0;
    uint32_t index = 0;
    for (size_t i = 0; i < multi->range_count; i++) {
        uint64_t done = 0;
        while (done < ranges[i].length) {
            uint64_t address = ranges[i].address + done;
            uint64_t here = split_on_node(segment_size, address, ranges[i].length - done);
            multi->parts[index] = (struct split_part){.address = address,
                                                      .length = here,
                                                      .at = at,
                                                      .buffer = (uint8_t *)ranges[i].buffer + done,
                                                      .next = SPLIT_END,
                                                      .write = ranges[i].kind == MCOMP_RANGE_WRITE};
            append_part(multi, &ends[split_node(segment_size, address)], index++);
            at += here;
            done += here;
        }
    }
}

enum mcomp_status multi_new(const struct mcomp *grid, struct multi **multi, const struct mcomp_range *ranges, size_t count,
                            struct mcomp_error *error)
{
    struct multi *made = calloc(1, sizeof *made);
    if (!made || !(made->ranges = calloc(count + 1, sizeof *made->ranges))) {
        multi_free(made);
        return error_memory(error);
    }
    made->range_count = count;
    for (size_t i = 0; i < count; i++)
        made->ranges[i] = (struct span_range){ranges[i].address, ranges[i].length};
    size_t parts;
    enum mcomp_status status = check_ranges(grid, ranges, count, &parts, error);
    if (status == MCOMP_OK) {
        struct chain_ends ends[GRID_NODES_MAX] = {{0}};
        made->parts = calloc(parts + 1, sizeof *made->parts);
        made->chains = calloc(grid->config.nodes, sizeof *made->chains);
        if (made->parts && made->chains)
            fill(made, grid, ranges, ends);
        else
            status = error_memory(error);
    }
    if (status != MCOMP_OK) {
        struct submission refused = {.multi = made};
        op_refuse(&refused, status, error);
        multi_free(made);
        return status;
    }
    *multi = made;
    return MCOMP_OK;
}

/* ---- requests and answers ---- */

static void count_kinds(const struct split_part *parts, const struct split_slice *slice, size_t *reads, size_t *writes)
{
    struct split_walk walk;
    *reads = *writes = 0;
    for (bool more = split_walk_begin(&walk, parts, slice); more; more = split_walk_next(&walk))
        ++*(parts[walk.index].write ? writes : reads);
}

/** The messages of all parts of a slice. false: no memory. */
static bool build(Mcomp__V1__Multi *multi, const struct split_part *parts, const struct split_slice *slice, struct arena *arena)
{
    struct split_walk walk;
    size_t reads, writes;
    count_kinds(parts, slice, &reads, &writes);
    Mcomp__V1__Read *read = arena_alloc(arena, reads * sizeof *read);
    Mcomp__V1__Write *write = arena_alloc(arena, writes * sizeof *write);
    multi->reads = arena_alloc(arena, reads * sizeof(Mcomp__V1__Read *));
    multi->writes = arena_alloc(arena, writes * sizeof(Mcomp__V1__Write *));
    if (!read || !write || !multi->reads || !multi->writes)
        return false;
    for (bool more = split_walk_begin(&walk, parts, slice); more; more = split_walk_next(&walk)) {
        const struct split_part *part = &parts[walk.index];
        if (part->write) {
            mcomp__v1__write__init(write);
            write->address = part->address + walk.skip;
            write->data = (ProtobufCBinaryData){walk.length, part->buffer + walk.skip};
            multi->writes[multi->n_writes++] = write++;
        } else {
            mcomp__v1__read__init(read);
            read->address = part->address + walk.skip;
            read->length = walk.length;
            multi->reads[multi->n_reads++] = read++;
        }
    }
    return true;
}

bool multi_encode(struct piece *piece, uint32_t timeout_ms, struct arena *arena)
{
    Mcomp__V1__Multi multi = MCOMP__V1__MULTI__INIT;
    Mcomp__V1__Request request = MCOMP__V1__REQUEST__INIT;
    struct split_slice slice = piece_slice(piece);
    request.id = piece->id;
    request.timeout_ms = timeout_ms;
    request.op_case = MCOMP__V1__REQUEST__OP_MULTI;
    request.multi = &multi;
    bool built = build(&multi, piece->op->multi->parts, &slice, arena);
    if (built) {
        piece->writes = multi.n_writes > 0;
        piece->frame_bytes = wire_message_frame_bytes(&request.base);
        piece->frame = malloc(piece->frame_bytes);
        if (piece->frame)
            wire_put_message(piece->frame, &request.base);
    }
    arena_reset(arena);
    return built && piece->frame;
}

bool multi_take_result(const struct piece *piece, const Mcomp__V1__MultiResult *result)
{
    const struct split_part *parts = piece->op->multi->parts;
    struct split_slice slice = piece_slice(piece);
    struct split_walk walk;
    size_t n = 0;
    for (bool more = split_walk_begin(&walk, parts, &slice); more; more = split_walk_next(&walk)) {
        if (parts[walk.index].write)
            continue;
        if (n == result->n_data || result->data[n].len != walk.length)
            return false;
        n++;
    }
    if (n != result->n_data)
        return false;
    n = 0;
    for (bool more = split_walk_begin(&walk, parts, &slice); more; more = split_walk_next(&walk)) {
        if (!parts[walk.index].write)
            memcpy(parts[walk.index].buffer + walk.skip, result->data[n++].data, walk.length);
    }
    return true;
}
