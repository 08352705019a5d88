/* SPDX-License-Identifier: Apache-2.0 */
#include "unit/snapshot/file_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wire/varint.h"

struct array array_make(uint64_t segment_size, uint32_t nodes)
{
    struct array array = {.segment_size = segment_size, .nodes = nodes, .bytes = calloc(1, segment_size * nodes)};
    assert_non_null(array.bytes);
    return array;
}

void array_free(struct array *array)
{
    free(array->bytes);
    array->bytes = NULL;
}

uint64_t random_next(uint64_t *seed)
{
    uint64_t x = *seed;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *seed = x;
}

void fill_random(uint8_t *bytes, size_t count, uint64_t seed)
{
    seed += 88172645463325252ull;
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)(random_next(&seed) >> 24) | 1;
}

int folder_begin(void **state)
{
    char *folder = strdup("/tmp/mcomp-test-XXXXXX");
    *state = folder;
    return folder && mkdtemp(folder) ? 0 : -1;
}

int folder_end(void **state)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", (char *)*state);
    free(*state);
    return system(command);
}

const char *path_in(const char *folder, const char *name)
{
    static char paths[8][400];
    static unsigned turn;
    char *path = paths[turn++ % 8];
    assert_true((size_t)snprintf(path, sizeof paths[0], "%s/%s", folder, name) < sizeof paths[0]);
    return path;
}

void header_fill(Mcomp__Snapshot__V1__Header *header, const char *grid, uint32_t round)
{
    mcomp__snapshot__v1__header__init(header);
    header->grid = (char *)grid;
    header->round = round;
    header->cut_utc_ns = FIXTURE_UTC_NS;
    header->longest_pause_ns = 1200000;
    header->duration_ns = 9000000000;
    header->freeze_ns = 300000;
    header->cut_ns = 900000;
    header->collect_ns = 8998800000;
    header->pages_preserved = 17;
    header->written_by = (char *)"mcomp test";
}

void array_put(const struct array *array, struct snapshot_writer *writer, bool compress)
{
    struct chunk_builder builder;
    struct err err;
    uint8_t *room = malloc(SNAPSHOT_CHUNK_BYTES);
    assert_non_null(room);
    assert_ok(chunk_builder_init(&builder, compress, &err), err);
    for (uint64_t offset = 0; offset < array->segment_size; offset += SNAPSHOT_CHUNK_BYTES) {
        for (uint32_t node = 0; node < array->nodes; node++) {
            uint64_t address = node * array->segment_size + offset;
            uint32_t pages = chunk_window_bytes(array->segment_size, address) / SNAPSHOT_PAGE_BYTES;
            Mcomp__Snapshot__V1__Chunk chunk;
            chunk_begin(&builder, address, room);
            for (uint32_t page = 0; page < pages; page++) {
                memcpy(chunk_page(&builder), array->bytes + address + page * SNAPSHOT_PAGE_BYTES, SNAPSHOT_PAGE_BYTES);
                (void)chunk_keep(&builder, page);
            }
            if (chunk_end(&builder, &chunk))
                assert_ok(snapshot_writer_put(writer, &chunk, &err), err);
        }
    }
    chunk_builder_close(&builder);
    free(room);
}

uint64_t array_save(const struct array *array, const char *directory, const char *name, bool compress)
{
    struct snapshot_writer *writer;
    struct err err;
    Mcomp__Snapshot__V1__Header header;
    uint64_t bytes;
    struct stat st;
    header_fill(&header, "demo", FIXTURE_ROUND);
    assert_ok(snapshot_writer_open(&writer, directory, name, array->segment_size, array->nodes, &err), err);
    array_put(array, writer, compress);
    assert_ok(snapshot_writer_commit(writer, &header, &bytes, &err), err);
    assert_int_equal(stat(path_in(directory, name), &st), 0);
    assert_int_equal(st.st_size, bytes);
    return bytes;
}

void assert_holds(const char *path, const struct array *array)
{
    struct snapshot_reader *reader;
    struct err err;
    uint64_t size = array_size(array);
    uint8_t *read = malloc(size);
    assert_non_null(read);
    memset(read, 0xa5, size);
    assert_ok(snapshot_reader_open(&reader, path, &err), err);
    assert_int_equal(snapshot_reader_grid_bytes(reader), size);
    assert_ok(snapshot_reader_read(reader, 0, size, read, &err), err);
    assert_int_equal(memcmp(read, array->bytes, size), 0);
    snapshot_reader_close(reader);
    free(read);
}

static void note_problem(void *arg, const struct snapshot_problem *problem)
{
    struct problems *problems = arg;
    if (problems->count < sizeof problems->first / sizeof problems->first[0])
        problems->first[problems->count] = *problem;
    problems->count++;
}

void verify_file(const char *path, struct problems *problems)
{
    *problems = (struct problems){0};
    problems->status = snapshot_verify(path, note_problem, NULL, problems, &problems->chunks, &problems->err);
    assert_true((problems->status == MCOMP_DATA_LOSS) == (problems->count > 0));
}

uint8_t *file_load(const char *path, size_t *bytes)
{
    struct stat st;
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    uint8_t *data = malloc((size_t)st.st_size + 1);
    assert_non_null(data);
    assert_int_equal(read(fd, data, (size_t)st.st_size), st.st_size);
    close(fd);
    *bytes = (size_t)st.st_size;
    return data;
}

void file_store(const char *path, const void *data, size_t bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, bytes), bytes);
    close(fd);
}

void file_patch(const char *path, uint64_t offset, const void *data, size_t bytes)
{
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, bytes, (off_t)offset), bytes);
    close(fd);
}

size_t folder_count(const char *folder)
{
    DIR *dir = opendir(folder);
    size_t count = 0;
    assert_non_null(dir);
    for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir))
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(dir);
    return count;
}

size_t file_places(const char *path, struct place *place, size_t room)
{
    size_t bytes, count = 0;
    uint8_t *data = file_load(path, &bytes);
    for (size_t at = 8; at < bytes - SNAPSHOT_TRAILER_BYTES;) {
        uint64_t length = 0;
        int cut;
        const uint8_t *record = varint_get(data + at, data + bytes, &length, &cut);
        assert_non_null(record);
        Mcomp__Snapshot__V1__Record *unpacked = mcomp__snapshot__v1__record__unpack(NULL, length, record);
        assert_non_null(unpacked);
        assert_true(count < room);
        place[count++] = (struct place){.offset = at,
                                        .bytes = (uint64_t)(record + length - data) - at,
                                        .kind = unpacked->kind_case,
                                        .address = unpacked->kind_case == MCOMP__SNAPSHOT__V1__RECORD__KIND_CHUNK ? unpacked->chunk->address : 0};
        at = (size_t)(record - data) + length;
        mcomp__snapshot__v1__record__free_unpacked(unpacked, NULL);
    }
    free(data);
    return count;
}
