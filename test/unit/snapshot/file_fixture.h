/* SPDX-License-Identifier: Apache-2.0 */
/** Snapshot files for tests: an array in memory, files made from it, files changed byte by byte. Every function asserts that it succeeds. */
#ifndef TEST_SNAPSHOT_FILE_FIXTURE_H
#define TEST_SNAPSHOT_FILE_FIXTURE_H

/* clang-format off: cmocka.h needs these before it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "snapshot/file.h"

#define FIXTURE_ROUND 0x1200u
#define FIXTURE_UTC_NS 1770113472000000000ull /* 2026-02-03T10:11:12Z */

#define assert_ok(call, err)                                                                         \
    do {                                                                                             \
        if ((call) != MCOMP_OK)                                                                      \
            fail_msg("%s: %s", #call, (err).text);                                                   \
    } while (0)

/** What a grid holds. */
struct array {
    uint64_t segment_size;
    uint32_t nodes;
    uint8_t *bytes;
};

struct array array_make(uint64_t segment_size, uint32_t nodes);
void array_free(struct array *array);
static inline uint64_t array_size(const struct array *array)
{
    return array->segment_size * array->nodes;
}

/** Pseudo-random numbers that are the same in every run. */
uint64_t random_next(uint64_t *seed);
/** Incompressible bytes, none of them zero. */
void fill_random(uint8_t *bytes, size_t count, uint64_t seed);

/** An empty directory of its own, removed with all that is in it by folder_end. For cmocka's setup and teardown, *state is its path. */
int folder_begin(void **state);
int folder_end(void **state);

/** "folder/name"; good for the next seven calls. */
const char *path_in(const char *folder, const char *name);

/** A header with everything that a leader fills in. */
void header_fill(Mcomp__Snapshot__V1__Header *header, const char *grid, uint32_t round);

/** Chunks of the array to an open writer, the nodes' windows in turn. */
void array_put(const struct array *array, struct snapshot_writer *writer, bool compress);
/** Write the array as directory/name. Returns the file's length. */
uint64_t array_save(const struct array *array, const char *directory, const char *name, bool compress);

/** Does the file hold exactly the array? Reads it in one piece. */
void assert_holds(const char *path, const struct array *array);

/** What verify said. */
struct problems {
    size_t count;
    struct snapshot_problem first[32];
    enum mcomp_status status;
    uint64_t chunks;
    struct err err;
};
void verify_file(const char *path, struct problems *problems);

/** A whole file in memory, malloc'ed. */
uint8_t *file_load(const char *path, size_t *bytes);
void file_store(const char *path, const void *data, size_t bytes);
/** Write over bytes of an existing file. */
void file_patch(const char *path, uint64_t offset, const void *data, size_t bytes);

/** Entries of a directory, "." and ".." aside. */
size_t folder_count(const char *folder);

/** Where the file's records stand, found by walking over the prefixes. kind: number in Record. */
struct place {
    uint64_t offset, bytes, address;
    unsigned kind;
};
size_t file_places(const char *path, struct place *place, size_t room);

#endif
