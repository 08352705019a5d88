/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bank.h"
#include "snapshot/file.h"

/** Read a snapshot's array into malloc'ed memory; NULL: it cannot be read. */
static uint8_t *read_array(const struct bank *bank, const char *path, Mcomp__Snapshot__V1__Header *header)
{
    struct snapshot_reader *reader;
    struct err err;
    if (snapshot_reader_open(&reader, path, &err) != MCOMP_OK) {
        fprintf(stderr, "bank: %s\n", err.text);
        return NULL;
    }
    uint64_t bytes = bank->segment_size * bank->nodes;
    uint8_t *array = snapshot_reader_grid_bytes(reader) == bytes ? malloc(bytes) : NULL;
    if (array && snapshot_reader_read(reader, 0, bytes, array, &err) != MCOMP_OK) {
        free(array);
        array = NULL;
    }
    header->round = snapshot_reader_header(reader)->round;
    header->cut_utc_ns = snapshot_reader_header(reader)->cut_utc_ns;
    snapshot_reader_close(reader);
    return array;
}

static enum mcomp_status put_windows(struct snapshot_writer *writer, const struct bank *bank, const uint8_t *array, struct err *err)
{
    static uint8_t room[SNAPSHOT_CHUNK_BYTES];
    struct chunk_builder builder;
    enum mcomp_status status = chunk_builder_init(&builder, false, err);
    uint64_t bytes = bank->segment_size * bank->nodes;
    for (uint64_t address = 0, length; address < bytes && status == MCOMP_OK; address += length) {
        Mcomp__Snapshot__V1__Chunk chunk;
        length = chunk_window_bytes(bank->segment_size, address);
        chunk_begin(&builder, address, room);
        for (uint32_t page = 0; page < length / SNAPSHOT_PAGE_BYTES; page++) {
            memcpy(chunk_page(&builder), array + address + (uint64_t)page * SNAPSHOT_PAGE_BYTES, SNAPSHOT_PAGE_BYTES);
            (void)chunk_keep(&builder, page);
        }
        if (chunk_end(&builder, &chunk))
            status = snapshot_writer_put(writer, &chunk, err);
    }
    chunk_builder_close(&builder);
    return status;
}

static bool write_array(const struct bank *bank, const char *out, const uint8_t *array, const Mcomp__Snapshot__V1__Header *header)
{
    struct snapshot_writer *writer;
    struct err err;
    uint64_t bytes;
    enum mcomp_status status = snapshot_writer_open(&writer, ".", out, bank->segment_size, bank->nodes, &err);
    if (status == MCOMP_OK) {
        status = put_windows(writer, bank, array, &err);
        if (status == MCOMP_OK)
            status = snapshot_writer_commit(writer, header, &bytes, &err);
        if (status != MCOMP_OK)
            snapshot_writer_discard(writer);
    }
    if (status != MCOMP_OK)
        fprintf(stderr, "bank: %s\n", err.text);
    return status == MCOMP_OK;
}

bool bank_splice(const struct bank *bank, const char *out, const char *left, const char *right, uint32_t node, uint32_t client)
{
    Mcomp__Snapshot__V1__Header header = MCOMP__SNAPSHOT__V1__HEADER__INIT;
    header.grid = (char *)"spliced";
    header.written_by = (char *)"bank";
    uint8_t *other = read_array(bank, right, &header), *array = read_array(bank, left, &header);
    bool done = array && other;
    if (done && node < bank->nodes)
        memcpy(array + node * bank->segment_size, other + node * bank->segment_size, bank->segment_size);
    for (uint32_t i = 0; done && client < bank->clients && i < bank_cells(bank); i++) {
        uint64_t address = bank_address(bank, client, i);
        memcpy(array + address, other + address, bank_cell_bytes(bank));
    }
    done = done && write_array(bank, out, array, &header);
    free(array);
    free(other);
    return done;
}
