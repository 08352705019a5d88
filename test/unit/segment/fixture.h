/* SPDX-License-Identifier: Apache-2.0 */
/** A segment of its own for each test of this folder; its object is removed at teardown, also when the test failed. */
#ifndef TEST_SEGMENT_FIXTURE_H
#define TEST_SEGMENT_FIXTURE_H

/* clang-format off: cmocka.h needs these before it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

#include "segment/capture.h"
#include "segment/layout.h"
#include "segment/segment.h"

#define FIXTURE_STRIPES 4u
#define FIXTURE_BYTES (FIXTURE_STRIPES * (uint64_t)STRIPE_BYTES + PAGE_BYTES) /* the last stripe is a short one */
#define FIXTURE_WRITERS 4u
#define FIXTURE_REDO_BYTES (UINT64_C(256) << 10)

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

/** For an operation that must not be refused; any thread. */
#define DONE(operation) MC_ASSERT((operation) == SEGMENT_DONE)

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN 1
#endif
#endif
#ifndef UNDER_ASAN
#define UNDER_ASAN 0
#endif

struct fixture {
    char grid[48];                  /* unique to the process and the test */
    char other_grid[56];            /* another name; its node 1 is removed at teardown as well */
    struct segment_options options; /* for node 1 of 3 */
    struct segment *segment;        /* NULL while closed */
    /* the object as fixture_map() maps it */
    int map_fd;
    uint8_t *map;
    uint64_t map_bytes;
    pthread_t agent;
    _Atomic bool agent_stop;
};

/** cmocka setup: names and options, nothing open. */
int fixture_setup(void **state);
/** cmocka setup: with an open segment. */
int fixture_setup_open(void **state);
int fixture_teardown(void **state);

/** Open or close, asserting success. */
void fixture_open(struct fixture *fixture);
void fixture_close(struct fixture *fixture);

/** Assert that opening fails with code and a text that contains each of the strings (NULL ends them). */
void fixture_open_fails(struct fixture *fixture, enum mcomp_status code, ...);

/** Path of the object of a node in the file system. */
const char *fixture_path(const struct fixture *fixture, uint32_t node, char path[128]);

/** Map the object as it is, behind the back of segment.h; returns its header. */
struct layout_header *fixture_map(struct fixture *fixture);
void fixture_unmap(struct fixture *fixture);

/** In a mapped object: the k bytes, the stripes, the record of a writer. */
uint8_t *fixture_data(const struct fixture *fixture);
struct stripe *fixture_stripes(const struct fixture *fixture);
struct redo_record *fixture_record(const struct fixture *fixture, uint32_t writer);

/** Bytes of the object, from the file system. */
uint64_t fixture_object_bytes(const struct fixture *fixture);

/** Attach as the snapshot process does, asserting success. */
struct capture *fixture_capture_open(const struct fixture *fixture);

/** Freeze, wait until drained, cut, thaw. */
void fixture_cut(struct fixture *fixture, uint32_t round);

/** Capture all windows to image (as many bytes as the segment has), checking each window's sums, and finish. May be called by any process. */
enum mcomp_status fixture_capture(struct capture *capture, uint32_t round, uint64_t size, uint8_t *image, struct err *err);

/** A thread as the server's agent, with the simplest rules: freezes for any round above the highest, cuts what is frozen for the round. */
void fixture_agent_start(struct fixture *fixture);
void fixture_agent_stop(struct fixture *fixture);

/** Wait for a child and assert that it ended with exit code 0. */
void fixture_child_passed(pid_t child);

/** xorshift64*: the same numbers for the same seed, everywhere. *state must not be 0. */
uint64_t fixture_random(uint64_t *state);

#endif
