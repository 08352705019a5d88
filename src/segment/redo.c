/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/redo.h"

#include <inttypes.h>

void redo_apply_ranges(struct redo_record *redo, uint8_t *bytes)
{
    const uint8_t *from = redo_data(redo);
    for (uint32_t i = 0; i < redo->range_count; i++) {
        copy_in(bytes + redo->range[i].offset, from, redo->range[i].length);
        from += redo->range[i].length;
    }
}

bool redo_is_sane(const struct redo_record *redo, uint64_t record_bytes, uint64_t segment_bytes)
{
    if (redo->range_count == 0 || redo->range_count > MULTI_RANGES_MAX || record_bytes < sizeof *redo + redo->range_count * sizeof redo->range[0])
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

struct redo_record *redo_at(const struct layout_header *header, uint8_t *base, uint64_t i)
{
    const struct layout_section *section = layout_redo_section(header);
    return i < section->bytes / section->element_bytes ? (void *)(base + section->offset + i * section->element_bytes) : NULL;
}

enum mcomp_status redo_check_all(const struct layout_header *header, uint8_t *base, struct err *err)
{
    uint64_t record_bytes = layout_redo_section(header)->element_bytes - sizeof(struct redo_lane);
    struct redo_record *redo;
    for (uint64_t i = 0; (redo = redo_at(header, base, i)) != NULL; i++) {
        uint32_t valid = atomic_load_explicit(&redo->valid, memory_order_acquire);
        if (valid > REDO_VALID_LANE || (valid && !redo_is_sane(redo, record_bytes, header->fixed.size)))
            return err_set(err, MCOMP_DATA_LOSS,
                           "the record of the write that writer %" PRIu64 " of the last process was in is damaged; run "
                           "\"mcompd --reset --config FILE --node %" PRIu32 "\", which deletes the segment's bytes",
                           i, header->fixed.node);
    }
    return MCOMP_OK;
}

uint64_t redo_finish_all(struct preserve *preserve, uint8_t *base, struct layout_session *sessions)
{
    uint64_t finished = 0;
    struct redo_record *redo;
    for (uint64_t i = 0; (redo = redo_at(preserve->header, base, i)) != NULL; i++) {
        uint32_t valid = atomic_load_explicit(&redo->valid, memory_order_acquire);
        if (valid == REDO_INVALID)
            continue;
        const struct redo_lane *named = redo_lane(redo, layout_redo_section(preserve->header)->element_bytes);
        if (valid == REDO_VALID_LANE)
            redo_store_lane_locked(preserve, redo, &sessions[named->lane / LANES].lane[named->lane % LANES], named->word);
        else
            redo_store_locked(preserve, redo);
        finished++;
    }
    return finished;
}
