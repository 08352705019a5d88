/* SPDX-License-Identifier: Apache-2.0 */
/* Comparing two files. Windows that neither has are skipped, what one of them has is compared byte by byte: equal checksums prove nothing. */
#include <stdlib.h>
#include <string.h>

#include "base/le.h"
#include "snapshot/file.h"

struct diff {
    struct snapshot_reader *left, *right;
    void (*range)(void *arg, uint64_t address, uint64_t length);
    void *arg;
    uint64_t begin, end; /* differing bytes that are not yet reported; none when equal */
    uint8_t *left_bytes, *right_bytes; /* SNAPSHOT_CHUNK_BYTES each */
};

static void report(struct diff *diff)
{
    if (diff->begin < diff->end)
        diff->range(diff->arg, diff->begin, diff->end - diff->begin);
}

/** Bytes [begin, end) differ. */
static void add(struct diff *diff, uint64_t begin, uint64_t end)
{
    if (begin != diff->end) {
        report(diff);
        diff->begin = begin;
    }
    diff->end = end;
}

/** Compare bytes that are in memory, eight at a time where they are equal. */
static void compare(struct diff *diff, uint64_t address, size_t bytes)
{
    const uint8_t *left = diff->left_bytes, *right = diff->right_bytes;
    size_t i = 0;
    while (i < bytes) {
        while (i + 8 <= bytes && le64_get(left + i) == le64_get(right + i))
            i += 8;
        while (i < bytes && left[i] == right[i])
            i++;
        size_t first = i;
        while (i < bytes && left[i] != right[i])
            i++;
        if (first < i)
            add(diff, address + first, address + i);
    }
}

/** The end of the window of the reader's file that address lies in. */
static uint64_t window_end(const struct snapshot_reader *reader, uint64_t address)
{
    uint64_t segment_size = snapshot_reader_header(reader)->segment_size;
    uint64_t window = chunk_window_of(segment_size, address);
    return window + chunk_window_bytes(segment_size, window);
}

static enum mcomp_status compare_files(struct diff *diff, uint64_t size, struct err *err)
{
    uint64_t address = 0;
    while (address < size) {
        uint64_t left, right;
        enum mcomp_status status = snapshot_reader_next(diff->left, address, &left, err);
        if (status == MCOMP_OK)
            status = snapshot_reader_next(diff->right, address, &right, err);
        if (status != MCOMP_OK)
            return status;
        uint64_t next = left < right ? left : right;
        address = next > address ? next : address;
        if (address >= size)
            break;
        uint64_t left_end = window_end(diff->left, address), right_end = window_end(diff->right, address);
        uint64_t end = left_end < right_end ? left_end : right_end; /* not beyond size: there the shorter one's last window ends */
        status = snapshot_reader_read(diff->left, address, end - address, diff->left_bytes, err);
        if (status == MCOMP_OK)
            status = snapshot_reader_read(diff->right, address, end - address, diff->right_bytes, err);
        if (status != MCOMP_OK)
            return status;
        if (memcmp(diff->left_bytes, diff->right_bytes, end - address) != 0)
            compare(diff, address, end - address);
        address = end;
    }
    report(diff);
    return MCOMP_OK;
}

enum mcomp_status snapshot_diff(struct snapshot_reader *left, struct snapshot_reader *right, void (*range)(void *arg, uint64_t address, uint64_t length),
                                void *arg, struct err *err)
{
    uint64_t left_size = snapshot_reader_grid_bytes(left), right_size = snapshot_reader_grid_bytes(right);
    struct diff diff = {.left = left, .right = right, .range = range, .arg = arg};
    diff.left_bytes = malloc(2 * SNAPSHOT_CHUNK_BYTES);
    if (!diff.left_bytes)
        return err_set(err, MCOMP_RESOURCE_EXHAUSTED, "no memory to compare snapshots");
    diff.right_bytes = diff.left_bytes + SNAPSHOT_CHUNK_BYTES;
    enum mcomp_status status = compare_files(&diff, left_size < right_size ? left_size : right_size, err);
    free(diff.left_bytes);
    return status;
}
