/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/layout.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/crc32c.h"

static uint64_t round_up(uint64_t value, uint64_t unit)
{
    return (value + unit - 1) / unit * unit;
}

/* Append a section to a directory; returns where the next one can start. */
static uint64_t section_add(struct layout_section *sections, uint32_t *count, enum layout_kind kind, uint64_t offset, uint64_t bytes,
                            uint64_t element_bytes)
{
    sections[(*count)++] = (struct layout_section){.kind = kind, .offset = offset, .bytes = bytes, .element_bytes = element_bytes};
    return round_up(offset + bytes, PAGE_BYTES);
}

void layout_seal(struct layout_fixed *fixed)
{
    fixed->checksum = crc32c(0, fixed, offsetof(struct layout_fixed, checksum));
}

static void plan_fixed(struct layout_fixed *fixed, const struct segment_options *options)
{
    size_t name_bytes = strlen(options->grid);
    MC_ASSERT(name_bytes >= 1 && name_bytes <= GRID_NAME_BYTES_MAX);
    fixed->magic = LAYOUT_MAGIC;
    fixed->version = LAYOUT_VERSION;
    fixed->header_bytes = LAYOUT_HEADER_BYTES;
    memcpy(fixed->grid, options->grid, name_bytes);
    fixed->node = options->node;
    fixed->nodes = options->nodes;
    fixed->size = options->size;
    fixed->page_bytes = PAGE_BYTES;
    fixed->stripe_bytes = STRIPE_BYTES;

    uint64_t stripes = (options->size - 1) / STRIPE_BYTES + 1;
    uint64_t pages = options->size / PAGE_BYTES;
    struct layout_section *section = fixed->section;
    uint32_t *count = &fixed->section_count;
    uint64_t at = LAYOUT_HEADER_BYTES;
    at = section_add(section, count, LAYOUT_STRIPES, at, stripes * sizeof(struct stripe), sizeof(struct stripe));
    at = section_add(section, count, LAYOUT_SLOT_OF, at, pages * sizeof(uint64_t), sizeof(uint64_t));
    at = section_add(section, count, LAYOUT_PAGE_EPOCH, at, pages * sizeof(uint32_t), sizeof(uint32_t));
    at = section_add(section, count, LAYOUT_TRANSACTIONS, at, layout_transaction_bytes(options->size), sizeof(struct layout_session));
    at = round_up(at, options->size >= LAYOUT_HUGE_BYTES ? LAYOUT_HUGE_BYTES : PAGE_BYTES);
    section_add(section, count, LAYOUT_DATA, at, options->size, PAGE_BYTES);
    layout_seal(fixed);
}

uint64_t layout_transaction_bytes(uint64_t size)
{
    uint64_t bytes = size / LAYOUT_TRANSACTION_PART / LAYOUT_TRANSACTION_STEP * LAYOUT_TRANSACTION_STEP;
    if (bytes < LAYOUT_TRANSACTION_BYTES_MIN)
        return LAYOUT_TRANSACTION_BYTES_MIN;
    return bytes < LAYOUT_TRANSACTION_BYTES_MAX ? bytes : LAYOUT_TRANSACTION_BYTES_MAX;
}

uint32_t layout_sessions(uint64_t transaction_bytes)
{
    return (uint32_t)(transaction_bytes / 2 / sizeof(struct layout_session));
}

uint32_t layout_units(uint64_t transaction_bytes)
{
    return (uint32_t)(transaction_bytes / 2 / LAYOUT_UNIT_BYTES);
}

uint64_t layout_redo_stride(uint64_t redo_bytes)
{
    uint64_t ranges = (uint64_t)MULTI_RANGES_MAX * sizeof(struct redo_range);
    return round_up(sizeof(struct redo_record) + ranges + redo_bytes + sizeof(struct redo_lane), PAGE_BYTES);
}

static void tail_seal(struct layout_tail *tail)
{
    tail->checksum = crc32c(0, tail, offsetof(struct layout_tail, checksum));
}

void layout_plan_tail(struct layout_tail *tail, const struct layout_fixed *fixed, uint32_t writers, uint64_t redo_bytes)
{
    const struct layout_section *last = &fixed->section[fixed->section_count - 1];
    uint64_t stride = layout_redo_stride(redo_bytes);
    memset(tail, 0, sizeof *tail);
    section_add(tail->section, &tail->section_count, LAYOUT_REDO, round_up(last->offset + last->bytes, PAGE_BYTES), writers * stride, stride);
    tail_seal(tail);
}

void layout_plan(struct layout_header *header, const struct segment_options *options)
{
    memset(header, 0, sizeof *header);
    plan_fixed(&header->fixed, options);
    layout_plan_tail(&header->tail[0], &header->fixed, options->writers, options->redo_bytes);
}

static const struct layout_tail *current_tail(const struct layout_header *header)
{
    return &header->tail[atomic_load_explicit(&header->tail_current, memory_order_acquire) & 1u];
}

uint64_t layout_object_bytes(const struct layout_header *header)
{
    const struct layout_tail *tail = current_tail(header);
    const struct layout_section *last = &tail->section[tail->section_count - 1];
    return round_up(last->offset + last->bytes, PAGE_BYTES);
}

const struct layout_section *layout_section(const struct layout_section *sections, uint32_t count, enum layout_kind kind)
{
    for (uint32_t i = 0; i < count; i++)
        if (sections[i].kind == (uint32_t)kind)
            return &sections[i];
    mc_assert_failed("a checked header has the section", __FILE__, __LINE__);
}

const struct layout_section *layout_redo_section(const struct layout_header *header)
{
    const struct layout_tail *tail = current_tail(header);
    return layout_section(tail->section, tail->section_count, LAYOUT_REDO);
}

bool layout_is_unfinished(const struct layout_header *header, uint64_t object_bytes)
{
    if (object_bytes < LAYOUT_HEADER_BYTES)
        return object_bytes == 0;
    /* A damaged header of a segment that was in use is not taken for an unfinished one: its bytes may matter to somebody. */
    return atomic_load(&header->ready) == 0 && atomic_load(&header->attach_count) == 0;
}

/* ---- checks ---- */

#define REMEDY_FORMAT "to give its bytes up and start anew, run \"mcompd --reset --config FILE --node %" PRIu32 "\", which deletes them"

/* Refuse for a difference, with the remedy. */
static enum mcomp_status refuse(struct err *err, enum mcomp_status code, const struct segment_options *options, const char *object_name,
                                const char *format, ...) PRINTF_LIKE(5, 6);
static enum mcomp_status refuse(struct err *err, enum mcomp_status code, const struct segment_options *options, const char *object_name,
                                const char *format, ...)
{
    char what[ERR_TEXT_BYTES / 2];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return err_set(err, code, "segment %s %s; " REMEDY_FORMAT, object_name, what, options->node);
}

static enum mcomp_status check_identity(const struct layout_fixed *fixed, const struct segment_options *options, const char *object_name,
                                        struct err *err)
{
    if (strcmp(fixed->grid, options->grid) != 0)
        return refuse(err, MCOMP_FAILED_PRECONDITION, options, object_name, "belongs to grid \"%s\", the configuration says \"%s\"", fixed->grid,
                      options->grid);
    if (fixed->node != options->node)
        return refuse(err, MCOMP_FAILED_PRECONDITION, options, object_name, "belongs to node %" PRIu32 ", this is node %" PRIu32, fixed->node,
                      options->node);
    if (fixed->nodes != options->nodes)
        return refuse(err, MCOMP_FAILED_PRECONDITION, options, object_name,
                      "was made for a grid of %" PRIu32 " nodes, the configuration says nodes = %" PRIu32, fixed->nodes, options->nodes);
    if (fixed->size != options->size)
        return refuse(err, MCOMP_FAILED_PRECONDITION, options, object_name,
                      "has %" PRIu64 " bytes, the configuration says segment_size = %" PRIu64, fixed->size, options->size);
    return MCOMP_OK;
}

/* A tail that this version can use: one section of records behind the data, of a believable size. */
static bool tail_is_sound(const struct layout_tail *tail, const struct layout_fixed *fixed)
{
    if (tail->checksum != crc32c(0, tail, offsetof(struct layout_tail, checksum)) || tail->section_count != 1)
        return false;
    const struct layout_section *redo = &tail->section[0];
    const struct layout_section *last = &fixed->section[fixed->section_count - 1];
    return redo->kind == LAYOUT_REDO && redo->offset == round_up(last->offset + last->bytes, PAGE_BYTES) &&
           redo->element_bytes >= layout_redo_stride(0) && redo->element_bytes % PAGE_BYTES == 0 && redo->bytes >= redo->element_bytes &&
           redo->bytes % redo->element_bytes == 0 && redo->bytes <= INT64_MAX - redo->offset;
}

enum mcomp_status layout_check_fixed(const struct layout_header *header, const struct segment_options *options, uint64_t object_bytes,
                                     const char *object_name, struct err *err)
{
    const struct layout_fixed *fixed = &header->fixed;
    if (object_bytes < LAYOUT_HEADER_BYTES)
        return refuse(err, MCOMP_DATA_LOSS, options, object_name, "is cut short: it has %" PRIu64 " bytes, its header alone takes %u", object_bytes,
                      LAYOUT_HEADER_BYTES);
    if (fixed->magic != LAYOUT_MAGIC)
        return refuse(err, MCOMP_DATA_LOSS, options, object_name, "does not begin like one: 0x%016" PRIx64 " stands where 0x%016" PRIx64 " should",
                      fixed->magic, (uint64_t)LAYOUT_MAGIC);
    if (fixed->version != LAYOUT_VERSION)
        return refuse(err, MCOMP_FAILED_PRECONDITION, options, object_name, "has format version %" PRIu32 ", this program uses version %u",
                      fixed->version, LAYOUT_VERSION);
    uint32_t checksum = crc32c(0, fixed, offsetof(struct layout_fixed, checksum));
    if (fixed->checksum != checksum)
        return refuse(err, MCOMP_DATA_LOSS, options, object_name, "has a damaged header: its checksum is 0x%08" PRIx32 ", its bytes give 0x%08" PRIx32,
                      fixed->checksum, checksum);
    enum mcomp_status code = check_identity(fixed, options, object_name, err);
    if (code != MCOMP_OK)
        return code;

    struct layout_header plan;
    layout_plan(&plan, options);
    if (fixed->section_count != plan.fixed.section_count || memcmp(fixed->section, plan.fixed.section, sizeof plan.fixed.section) != 0 ||
        fixed->page_bytes != PAGE_BYTES || fixed->stripe_bytes != STRIPE_BYTES)
        return refuse(err, MCOMP_FAILED_PRECONDITION, options, object_name,
                      "has %" PRIu32 " sections in places where this program, which makes %" PRIu32 ", would not put them", fixed->section_count,
                      plan.fixed.section_count);
    return MCOMP_OK;
}

enum mcomp_status layout_check(const struct layout_header *header, const struct segment_options *options, uint64_t object_bytes,
                               const char *object_name, struct err *err)
{
    const struct layout_fixed *fixed = &header->fixed;
    enum mcomp_status code = layout_check_fixed(header, options, object_bytes, object_name, err);
    if (code != MCOMP_OK)
        return code;
    if (atomic_load(&header->ready) != LAYOUT_READY || atomic_load(&header->tail_current) > 1 || !tail_is_sound(current_tail(header), fixed))
        return refuse(err, MCOMP_DATA_LOSS, options, object_name, "has a damaged header: its directory of redo records makes no sense");
    if (object_bytes < layout_object_bytes(header))
        return refuse(err, MCOMP_DATA_LOSS, options, object_name, "is cut short: it has %" PRIu64 " bytes, its header says %" PRIu64, object_bytes,
                      layout_object_bytes(header));
    return MCOMP_OK;
}
