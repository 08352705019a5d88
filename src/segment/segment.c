/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/segment.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "segment/internal.h"
#include "segment/recovery.h"
#include "segment/redo.h"
#include "segment/semaphore.h"

#define WRITERS_MAX 4096u /* far above the threads of a server, far below what a semaphore counts */

static struct layout_header *mapped_header(const struct object *object)
{
    return (struct layout_header *)(void *)object->base;
}

static enum mcomp_status random_id(uint64_t *id, struct err *err)
{
    do {
        if (getrandom(id, sizeof *id, 0) != (ssize_t)sizeof *id)
            return err_sys(err, errno, "get random bytes");
    } while (*id == 0);
    return MCOMP_OK;
}

/* Set what points into the mapping. */
static void find_sections(struct segment *segment)
{
    uint8_t *base = segment->object.base;
    struct layout_header *header = mapped_header(&segment->object);
    const struct layout_section *sections = header->fixed.section;
    uint32_t count = header->fixed.section_count;
    segment->header = header;
    segment->bytes = base + layout_section(sections, count, LAYOUT_DATA)->offset;
    segment->stripes = (void *)(base + layout_section(sections, count, LAYOUT_STRIPES)->offset);
    const struct layout_section *transactions = layout_section(sections, count, LAYOUT_TRANSACTIONS);
    sessions_place(&segment->sessions, base + transactions->offset, transactions->bytes);
    segment->preserve.header = header;
    segment->preserve.cap_word = &header->cap_word;
    segment->preserve.bytes = segment->bytes;
    segment->preserve.slot_of = (void *)(base + layout_section(sections, count, LAYOUT_SLOT_OF)->offset);
    segment->preserve.page_epoch = (void *)(base + layout_section(sections, count, LAYOUT_PAGE_EPOCH)->offset);
}

/* What the process keeps of transactions, as if there were none. */
static enum mcomp_status init_transactions(struct segment *segment, uint64_t size, struct err *err)
{
    enum mcomp_status code = sessions_init(&segment->sessions, layout_transaction_bytes(size), err);
    return code == MCOMP_OK ? lines_init(&segment->lines, size, err) : code;
}

/* Make the object's content from nothing, or from what a process left that was killed in here. */
static enum mcomp_status create(struct segment *segment, const struct segment_options *options, struct err *err)
{
    struct layout_header plan;
    layout_plan(&plan, options);
    enum mcomp_status code = random_id(&plan.fixed.id, err);
    if (code == MCOMP_OK)
        code = object_resize(&segment->object, 0, err);
    if (code == MCOMP_OK)
        code = object_map(&segment->object, layout_object_bytes(&plan), err);
    if (code == MCOMP_OK)
        code = init_transactions(segment, options->size, err);
    if (code != MCOMP_OK)
        return code;
    layout_seal(&plan.fixed);
    /* Sessions of a segment that was deleted are not taken for sessions of this one. */
    atomic_store(&plan.transaction_generation, plan.fixed.id >> 16);
    struct layout_header *header = mapped_header(&segment->object);
    memcpy(header, &plan, sizeof plan);
    find_sections(segment);
    code = pool_open(&segment->preserve, options->grid, options->node, options->preserve_limit, true, err);
    if (code != MCOMP_OK)
        return code;
    atomic_store_explicit(&header->ready, LAYOUT_READY, memory_order_release);
    segment->info.created = true;
    return MCOMP_OK;
}

/* Give the records the number and size that options ask for. All of them must be invalid. May be interrupted by a crash anywhere: until
 * tail_current changes the old directory counts, and its records stay invalid since nothing but zeros is stored where they may lie. */
static enum mcomp_status change_records(struct segment *segment, const struct segment_options *options, struct err *err)
{
    struct layout_header *header = mapped_header(&segment->object);
    struct layout_tail wanted;
    layout_plan_tail(&wanted, &header->fixed, options->writers, options->redo_bytes);
    const struct layout_section *now = layout_redo_section(header), *then = &wanted.section[0];
    if (now->bytes == then->bytes && now->element_bytes == then->element_bytes)
        return MCOMP_OK;

    enum mcomp_status code = object_map(&segment->object, then->offset + then->bytes > segment->object.mapped_bytes
                                                              ? then->offset + then->bytes
                                                              : segment->object.mapped_bytes, err);
    if (code != MCOMP_OK)
        return err_wrap(err, code, "change the records to %" PRIu32 " of %" PRIu64 " bytes", options->writers, then->element_bytes);
    header = mapped_header(&segment->object);
    for (uint64_t at = 0; at < then->bytes; at += then->element_bytes) {
        struct redo_record *redo = (void *)(segment->object.base + then->offset + at);
        atomic_store_explicit(&redo->valid, 0, memory_order_relaxed);
    }
    uint32_t other = 1 - atomic_load(&header->tail_current);
    header->tail[other] = wanted;
    atomic_store_explicit(&header->tail_current, other, memory_order_release);
    return MCOMP_OK;
}

/* Drop bytes behind the last section: they are left when records become fewer. */
static enum mcomp_status trim(struct segment *segment, struct err *err)
{
    uint64_t bytes, wanted = layout_object_bytes(mapped_header(&segment->object));
    enum mcomp_status code = object_size(&segment->object, &bytes, err);
    if (code == MCOMP_OK && bytes > wanted)
        code = object_resize(&segment->object, wanted, err);
    return code;
}

static enum mcomp_status attach(struct segment *segment, const struct layout_header *peeked, uint64_t object_bytes,
                                const struct segment_options *options, struct err *err)
{
    enum mcomp_status code = layout_check(peeked, options, object_bytes, segment->object.name, err);
    if (code == MCOMP_OK)
        code = object_map(&segment->object, layout_object_bytes(peeked), err);
    if (code == MCOMP_OK)
        code = init_transactions(segment, options->size, err);
    if (code != MCOMP_OK)
        return code;
    struct layout_header *header = mapped_header(&segment->object);
    atomic_store(&header->owner_pid, (uint32_t)getpid());
    find_sections(segment);
    code = pool_open(&segment->preserve, options->grid, options->node, options->preserve_limit, false, err);
    if (code == MCOMP_OK) /* with slots: what it changes is preserved first, as in any write */
        code = recovery_run(segment, &segment->info.writes_finished, err);
    if (code == MCOMP_OK)
        code = change_records(segment, options, err);
    if (code == MCOMP_OK)
        code = trim(segment, err);
    return code;
}

/* ---- restoring ----
 * Killed between two of the stores, the segment is one that may not be served, with what is known of the last restore or the next. */

static void begin_restore(struct layout_header *header, const struct segment_restore *restore)
{
    atomic_store(&header->restoring, SEGMENT_RESTORE_PART);
    atomic_store(&header->restore_id, restore->id);
    atomic_store(&header->restore_file, restore->file);
    atomic_store(&header->restore_round, restore->round);
}

/* No transaction outlives the bytes that it was about. */
static void end_transactions(struct segment *segment)
{
    sessions_clear(&segment->sessions);
    lines_clear(&segment->lines, segment->stripes);
}

void segment_restore_begin(struct segment *segment, const struct segment_restore *restore)
{
    begin_restore(segment->header, restore);
    end_transactions(segment);
}

void segment_restore_complete(struct segment *segment)
{
    atomic_store(&segment->header->restoring, SEGMENT_RESTORE_COMPLETE);
}

void segment_restored(struct segment *segment)
{
    atomic_store(&segment->header->restoring, SEGMENT_RESTORE_NONE);
}

enum segment_restore_state segment_restore_get(const struct segment *segment, struct segment_restore *restore)
{
    struct layout_header *header = segment->header;
    *restore = (struct segment_restore){.id = atomic_load(&header->restore_id),
                                        .file = atomic_load(&header->restore_file),
                                        .round = atomic_load(&header->restore_round)};
    switch (atomic_load(&header->restoring)) {
    case SEGMENT_RESTORE_NONE:
        return SEGMENT_RESTORE_NONE;
    case SEGMENT_RESTORE_COMPLETE:
        return SEGMENT_RESTORE_COMPLETE;
    default: /* whatever stands there instead: nothing that may be served */
        return SEGMENT_RESTORE_PART;
    }
}

/* Take over a mapped and finished object. */
static enum mcomp_status adopt(struct segment *segment, const struct segment_options *options, struct err *err)
{
    find_sections(segment); /* again: changing the records may have moved the mapping */
    struct layout_header *header = segment->header;
    const struct layout_section *redo = layout_redo_section(header);
    enum mcomp_status code = gate_init(&segment->gate, options->writers, &header->mailbox.calls, true, err);
    if (code != MCOMP_OK)
        return code;
    segment->size = header->fixed.size;
    segment->redo = segment->object.base + redo->offset;
    segment->redo_stride = redo->element_bytes;
    segment->redo_bytes = options->redo_bytes;
    segment->writers = options->writers;
    segment->served = atomic_load(&header->mailbox.sequence); /* a command from before was meant for the former server */
    for (uint64_t i = 0; i < (segment->size - 1) / STRIPE_BYTES + 1; i++)
        semaphore_reset(&segment->stripes[i]);
    recovery_count_locks(segment);
    atomic_store(&header->owner_pid, (uint32_t)getpid());
    segment->info.id = header->fixed.id;
    segment->info.attach_count = atomic_fetch_add(&header->attach_count, 1) + 1;
    return MCOMP_OK;
}

static enum mcomp_status open_object(struct segment *segment, const struct segment_options *options, struct err *err)
{
    struct layout_header peeked;
    uint64_t object_bytes;
    enum mcomp_status code = object_size(&segment->object, &object_bytes, err);
    if (code == MCOMP_OK)
        code = object_peek(&segment->object, &peeked, sizeof peeked, err);
    if (code != MCOMP_OK)
        return code;
    if (layout_is_unfinished(&peeked, object_bytes)) {
        code = create(segment, options, err);
        if (code != MCOMP_OK) {
            pool_remove(options->grid, options->node);
            object_unlink(&segment->object);
        }
    } else {
        code = attach(segment, &peeked, object_bytes, options, err);
    }
    if (code == MCOMP_OK && options->restore) {
        find_sections(segment);
        begin_restore(mapped_header(&segment->object), &(struct segment_restore){0});
        end_transactions(segment);
    }
    if (code == MCOMP_OK)
        code = adopt(segment, options, err);
    return code;
}

enum mcomp_status segment_open(struct segment **out, const struct segment_options *options, struct err *err)
{
    MC_ASSERT(options->size > 0 && options->size % PAGE_BYTES == 0);
    MC_ASSERT(options->nodes >= 1 && options->nodes <= GRID_NODES_MAX && options->node < options->nodes);
    MC_ASSERT(options->writers >= 1 && options->writers <= WRITERS_MAX);
    MC_ASSERT(options->preserve_limit % PAGE_BYTES == 0);
    MC_ASSERT(options->redo_bytes >= ATOMIC_WORD_BYTES && options->redo_bytes <= 2 * (uint64_t)MESSAGE_BYTES_MAX);
    *out = NULL;
    struct segment *segment = aligned_alloc(_Alignof(struct segment), sizeof *segment);
    struct range_item *items = malloc((size_t)options->writers * MULTI_RANGES_MAX * sizeof *items);
    struct layout_lock *locks = malloc((size_t)options->writers * LAYOUT_LOCKS_MAX * sizeof *locks);
    if (!segment || !items || !locks) {
        free(segment);
        free(items);
        free(locks);
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "no memory for the scratch space of %" PRIu32 " writers", options->writers);
    }
    memset(segment, 0, sizeof *segment);
    segment->items = items;
    segment->locks = locks;
    segment->preserve.fd = -1;
    enum mcomp_status code = object_open(&segment->object, options->grid, options->node, true,
                                         offsetof(struct layout_header, owner_pid), err);
    if (code == MCOMP_OK)
        code = open_object(segment, options, err);
    if (code != MCOMP_OK) {
        segment_close(segment);
        return code;
    }
    *out = segment;
    return MCOMP_OK;
}

void segment_close(struct segment *segment)
{
    if (!segment)
        return;
    if (segment->object.base)
        atomic_store(&mapped_header(&segment->object)->owner_pid, 0);
    pool_close(&segment->preserve);
    object_close(&segment->object);
    gate_free(&segment->gate);
    lines_free(&segment->lines);
    sessions_free(&segment->sessions);
    free(segment->locks);
    free(segment->items);
    free(segment);
}

enum mcomp_status segment_remove(const char *grid, uint32_t node, struct err *err)
{
    struct object object;
    struct err why;
    enum mcomp_status code = object_open(&object, grid, node, false, offsetof(struct layout_header, owner_pid), &why);
    if (code == MCOMP_NOT_FOUND)
        return MCOMP_OK;
    if (code != MCOMP_OK) {
        if (err)
            *err = why;
        return code;
    }
    pool_remove(grid, node); /* first: killed in between, the segment still owns what is left */
    object_unlink(&object);
    object_close(&object);
    return MCOMP_OK;
}

void segment_get_info(const struct segment *segment, struct segment_info *info)
{
    *info = segment->info;
}

uint64_t segment_size(const struct segment *segment)
{
    return segment->size;
}
