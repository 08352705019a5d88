/* SPDX-License-Identifier: Apache-2.0 */
/** A fake grid of three nodes of 8 MiB with a handle on it, for the tests of the client. */
#ifndef TEST_CLIENT_FIXTURE_H
#define TEST_CLIENT_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/fake_server.h"
#include "mcomp.h"

#define NODES 3u
#define K ((uint64_t)8 << 20)         /* segment_size */
#define MAX_MESSAGE ((uint64_t)1 << 20)

/** A time-out that is to be seen. Whether a request leaves before is up to the machine: see fixture_stop_clock(). */
#define SHORT_MS 250u
/** One that is not, however slow the machine is. */
#define PATIENCE_MS 240000u

/** For a time-out that must be long enough for what is answered and has to pass for what is not: SHORT_MS, and longer ones until done. */
#define GROWING_TIME_OUT(ms, done) for (uint32_t ms = SHORT_MS; ms < PATIENCE_MS; ms = (done) ? PATIENCE_MS : 4 * ms)

struct fixture {
    struct fake_grid fake;
    struct mcomp *grid;
    struct mcomp_error error;
};

/** The only fixture, made anew for each test. */
extern struct fixture fixture;

int fixture_setup(void **state);

/** Of the fixture's handle: every time-out is PATIENCE_MS. */
extern const struct mcomp_options fixture_options;

/** For this thread time stands still until the server has seen so many more requests: a time-out after that is none of what has not been sent. */
void fixture_stop_clock(uint32_t node, unsigned requests);

/** Connect the first session to all nodes, so that a time-out of the next call is not one of connecting. */
void fixture_connect(void);

/** Another handle on the same servers, with other lines in its mcomp.cfg. The caller closes it. */
struct mcomp *fixture_open_with(const char *lines);

/** Also checks that the client never asked for what it must not. */
int fixture_teardown(void **state);

#define FIXTURE_TEST(function) cmocka_unit_test_setup_teardown(function, fixture_setup, fixture_teardown)

/** Script of one server, written as its steps. */
#define SCRIPT(node, ...)                                                                                           \
    fake_server_script(fixture.fake.servers[node], (const struct fake_step[]){__VA_ARGS__},                        \
                       sizeof((const struct fake_step[]){__VA_ARGS__}) / sizeof(struct fake_step))

/** Bytes that tell their position. */
void fixture_fill(uint8_t *bytes, size_t count, uint64_t seed);

/** What completions an operation has had. */
struct record {
    unsigned count;
    enum mcomp_status status;
    uint64_t value;
    struct mcomp_error error;
};

/** A callback whose arg is a struct record. */
void record_completion(void *arg, const struct mcomp_completion *completion);

/** Run until nothing is pending. */
void run_all(struct mcomp_queue *queue);

#define ASSERT_OK(call) assert_ok((call), #call)
void assert_ok(enum mcomp_status status, const char *call);

void assert_span(const struct mcomp_error *error, uint32_t index, uint64_t address, uint64_t length, enum mcomp_outcome outcome);

/** The error consists of one span. */
void assert_one_span(const struct mcomp_error *error, uint64_t address, uint64_t length, enum mcomp_outcome outcome);

/** text contains part. */
void assert_contains(const char *text, const char *part);

#endif
