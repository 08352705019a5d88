/* SPDX-License-Identifier: Apache-2.0 */
/* usage: make_snapshot DIRECTORY NAME K NODES SEED COMPRESS
 *
 * Writes DIRECTORY/NAME, a snapshot of an array of pseudo-random pages (noise, text, zeros), and the array itself as DIRECTORY/NAME.array. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/file.h"

static uint64_t random_next(uint64_t *seed)
{
    uint64_t x = *seed;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *seed = x;
}

static void fill(uint8_t *bytes, uint64_t size, uint64_t seed)
{
    for (uint64_t at = 0; at < size; at += SNAPSHOT_PAGE_BYTES) {
        uint64_t kind = random_next(&seed) % 5, windowful = random_next(&seed) % 60;
        if (windowful == 0)
            at += SNAPSHOT_CHUNK_BYTES; /* a window without a chunk, now and then */
        for (uint64_t i = at; i < at + SNAPSHOT_PAGE_BYTES && i < size && kind < 3; i++)
            bytes[i] = kind < 2 ? (uint8_t)(random_next(&seed) >> 32) : (uint8_t)('a' + at / SNAPSHOT_PAGE_BYTES % 26);
    }
}

static enum mcomp_status save(const uint8_t *bytes, uint64_t k, uint32_t nodes, bool compress, struct snapshot_writer *writer, struct err *err)
{
    static uint8_t room[SNAPSHOT_CHUNK_BYTES];
    struct chunk_builder builder;
    enum mcomp_status status = chunk_builder_init(&builder, compress, err);
    for (uint64_t offset = 0; offset < k; offset += SNAPSHOT_CHUNK_BYTES) {
        for (uint32_t node = 0; node < nodes && status == MCOMP_OK; node++) {
            uint64_t address = node * k + offset;
            Mcomp__Snapshot__V1__Chunk chunk;
            chunk_begin(&builder, address, room);
            for (uint32_t page = 0; page < chunk_window_bytes(k, address) / SNAPSHOT_PAGE_BYTES; page++) {
                memcpy(chunk_page(&builder), bytes + address + page * SNAPSHOT_PAGE_BYTES, SNAPSHOT_PAGE_BYTES);
                (void)chunk_keep(&builder, page);
            }
            if (chunk_end(&builder, &chunk))
                status = snapshot_writer_put(writer, &chunk, err);
        }
    }
    chunk_builder_close(&builder);
    return status;
}

static bool store(const char *directory, const char *name, const uint8_t *bytes, uint64_t size)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.array", directory, name);
    FILE *file = fopen(path, "wb");
    bool written = file && fwrite(bytes, 1, size, file) == size;
    return file && fclose(file) == 0 && written;
}

int main(int argc, char **argv)
{
    if (argc != 7)
        return 2;
    uint64_t k = strtoull(argv[3], NULL, 0), seed = strtoull(argv[5], NULL, 0), written;
    uint32_t nodes = (uint32_t)strtoul(argv[4], NULL, 0);
    struct snapshot_writer *writer;
    struct err err;
    Mcomp__Snapshot__V1__Header header = MCOMP__SNAPSHOT__V1__HEADER__INIT;
    uint8_t *bytes = calloc(nodes, k);
    if (!bytes)
        return 1;
    fill(bytes, k * nodes, seed);
    header.grid = (char *)"demo";
    header.round = 0x100;
    header.cut_utc_ns = 1770113472000000000;
    header.written_by = (char *)"make_snapshot";
    enum mcomp_status status = snapshot_writer_open(&writer, argv[1], argv[2], k, nodes, &err);
    if (status == MCOMP_OK)
        status = save(bytes, k, nodes, argv[6][0] == '1', writer, &err);
    if (status == MCOMP_OK)
        status = snapshot_writer_commit(writer, &header, &written, &err);
    if (status != MCOMP_OK)
        fprintf(stderr, "make_snapshot: %s\n", err.text);
    bool stored = store(argv[1], argv[2], bytes, k * nodes);
    free(bytes);
    return status == MCOMP_OK && stored ? 0 : 1;
}
