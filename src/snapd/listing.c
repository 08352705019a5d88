/* SPDX-License-Identifier: Apache-2.0 */
#include "snapd/listing.h"

#include <stdlib.h>

#include "snapd/exchange.h"
#include "snapshot/file.h"

static void fill_file(Mcomp__Snapshot__V1__ListResult__File *file, Mcomp__Snapshot__V1__Header *header, struct snapshot_entry *entry, const char *grid)
{
    mcomp__snapshot__v1__list_result__file__init(file);
    file->name = entry->name;
    file->bytes = entry->bytes;
    if (!entry->sound) {
        file->problem = entry->problem;
        return;
    }
    mcomp__snapshot__v1__header__init(header);
    header->grid = (char *)grid;
    header->round = entry->round;
    header->cut_utc_ns = entry->cut_utc_ns;
    header->segment_size = entry->segment_size;
    header->nodes = entry->nodes;
    header->duration_ns = entry->duration_ns;
    header->longest_pause_ns = entry->longest_pause_ns;
    header->pages_stored = entry->pages_stored;
    header->page_bytes = SNAPSHOT_PAGE_BYTES;
    header->chunk_bytes = SNAPSHOT_CHUNK_BYTES;
    file->header = header;
}

struct listed {
    Mcomp__Snapshot__V1__ListResult__File file;
    Mcomp__Snapshot__V1__Header header;
};

/** NULL: out of memory. */
static struct outgoing *make_list(uint64_t id, struct snapshot_entry *entries, size_t count, const char *grid)
{
    Mcomp__Snapshot__V1__ListResult list = MCOMP__SNAPSHOT__V1__LIST_RESULT__INIT;
    Mcomp__Snapshot__V1__Response response = MCOMP__SNAPSHOT__V1__RESPONSE__INIT;
    struct listed *listed = calloc(count + 1, sizeof *listed);
    list.file = calloc(count + 1, sizeof *list.file);
    struct outgoing *out = NULL;
    if (listed && list.file) {
        for (size_t i = 0; i < count; i++) {
            fill_file(&listed[i].file, &listed[i].header, &entries[i], grid);
            list.file[i] = &listed[i].file;
        }
        list.n_file = count;
        response.result_case = MCOMP__SNAPSHOT__V1__RESPONSE__RESULT_LIST;
        response.list = &list;
        out = exchange_result(id, &response);
    }
    free(list.file);
    free(listed);
    return out;
}

struct outgoing *listing_answer(const struct config *config, uint64_t id)
{
    struct snapshot_entry *entries = NULL;
    size_t count = 0;
    struct err err;
    if (snapshot_list(config->snapshot.directory, config->grid, &entries, &count, &err) != MCOMP_OK)
        return exchange_answer(id, err.code, err.text);
    struct outgoing *out = make_list(id, entries, count < LISTING_FILES_MAX ? count : LISTING_FILES_MAX, config->grid);
    free(entries);
    return out;
}
