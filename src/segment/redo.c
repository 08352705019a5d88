/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/redo.h"

#include <inttypes.h>

void redo_fill_ranges(struct redo_record *redo, const struct segment_write_range *writes, size_t count)
{
    copy_compiler_barrier();
    uint32_t used = 0;
    uint64_t data_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        if (writes[i].length == 0)
            continue;
        redo->range[used].offset = writes[i].offset;
        redo->range[used].length = writes[i].length;
        data_bytes += writes[i].length;
        used++;
    }
    redo->range_count = used;
    redo->data_bytes = data_bytes;
    uint8_t *to = redo_data(redo);
    for (size_t i = 0; i < count; i++) {
        if (writes[i].length == 0)
            continue;
        memcpy(to, writes[i].data, writes[i].length);
        to += writes[i].length;
    }
}

void redo_apply_ranges(struct redo_record *redo, uint8_t *bytes)
{
    const uint8_t *from = redo_data(redo);
    for (uint32_t i = 0; i < redo->range_count; i++) {
        copy_in(bytes + redo->range[i].offset, from, redo->range[i].length);
        from += redo->range[i].length;
    }
}

/* Would applying a record stay inside the segment and the record? */
static bool is_sane(const struct redo_record *redo, uint64_t record_bytes, uint64_t segment_bytes)
{
    if (redo->range_count == 0 || redo->range_count > MULTI_RANGES_MAX)
        return false;
    uint64_t room = record_bytes - sizeof *redo - redo->range_count * sizeof redo->range[0];
    uint64_t sum = 0;
    for (uint32_t i = 0; i < redo->range_count; i++) {
        const struct redo_range *range = &redo->range[i];
        if (range->offset > segment_bytes || range->length > segment_bytes - range->offset || range->length > room - sum)
            return false;
        sum += range->length;
    }
    return sum == redo->data_bytes;
}

enum mcomp_status redo_finish_all(struct preserve *preserve, uint8_t *base, uint64_t *finished, struct err *err)
{
    const struct layout_header *header = preserve->header;
    const struct layout_section *section = layout_redo_section(header);
    const struct layout_section *data = layout_section(header->fixed.section, header->fixed.section_count, LAYOUT_DATA);
    uint64_t count = section->bytes / section->element_bytes;
    *finished = 0;
    for (uint64_t i = 0; i < count; i++) {
        struct redo_record *redo = (void *)(base + section->offset + i * section->element_bytes);
        uint32_t valid = atomic_load_explicit(&redo->valid, memory_order_acquire);
        if (valid > 1 || (valid && !is_sane(redo, section->element_bytes, data->bytes)))
            return err_set(err, MCOMP_DATA_LOSS,
                           "the record of the write that writer %" PRIu64 " of the last process was in is damaged; run "
                           "\"mcompd --reset --config FILE --node %" PRIu32 "\", which deletes the segment's bytes",
                           i, header->fixed.node);
    }
    for (uint64_t i = 0; i < count; i++) {
        struct redo_record *redo = (void *)(base + section->offset + i * section->element_bytes);
        if (!atomic_load_explicit(&redo->valid, memory_order_acquire))
            continue;
        redo_store_locked(preserve, redo);
        (*finished)++;
    }
    return MCOMP_OK;
}
