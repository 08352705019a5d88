/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct fixture fixture;
const struct mcomp_options fixture_options = {.timeout_ms = PATIENCE_MS, .connect_timeout_ms = PATIENCE_MS};

/* ---- the clock ---- */

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);

static _Thread_local struct {
    struct fake_server *server; /* NULL: the clock goes */
    unsigned requests;
    struct timespec now;
} stopped;

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    int rc = __real_clock_gettime(clock, now);
    if (!stopped.server || (clock != CLOCK_MONOTONIC && clock != CLOCK_MONOTONIC_COARSE))
        return rc;
    bool too_long = now->tv_sec - stopped.now.tv_sec > (time_t)PATIENCE_MS / 1000;
    if (too_long || fake_server_requests(stopped.server) >= stopped.requests)
        stopped.server = NULL;
    else
        *now = stopped.now;
    return rc;
}

void fixture_stop_clock(uint32_t node, unsigned requests)
{
    __real_clock_gettime(CLOCK_MONOTONIC, &stopped.now);
    stopped.requests = fake_server_requests(fixture.fake.servers[node]) + requests;
    stopped.server = fixture.fake.servers[node];
}

/* ---- setup and teardown ---- */

int fixture_setup(void **state)
{
    (void)state;
    if (!fake_grid_open(&fixture.fake, NODES, K, "server { max_message = \"1MiB\" }"))
        return -1;
    enum mcomp_status status = mcomp_open(&fixture.grid, fixture.fake.config_path, &fixture_options, &fixture.error);
    if (status != MCOMP_OK)
        fprintf(stderr, "mcomp_open: %s\n", fixture.error.text);
    return status == MCOMP_OK ? 0 : -1;
}

void fixture_connect(void)
{
    uint8_t byte;
    for (uint32_t i = 0; i < NODES; i++)
        ASSERT_OK(mcomp_read(fixture.grid, i * K, &byte, 1, 0, &fixture.error));
}

struct mcomp *fixture_open_with(const char *lines)
{
    char path[128];
    struct mcomp *grid;
    snprintf(path, sizeof path, "%s/other.cfg", fixture.fake.directory);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "grid = \"fake\"\nsegment_size = %llu\nnodes = %u\n%s\n", (unsigned long long)K, NODES, lines);
    for (uint32_t i = 0; i < NODES; i++)
        fprintf(file, "node %u { address = \"%s\" }\n", i, mcomp_node_address(fixture.grid, i));
    assert_int_equal(fclose(file), 0);
    ASSERT_OK(mcomp_open(&grid, path, &fixture_options, &fixture.error));
    unlink(path);
    return grid;
}

int fixture_teardown(void **state)
{
    int faults = 0;
    (void)state;
    stopped.server = NULL;
    mcomp_close(fixture.grid);
    for (uint32_t i = 0; i < NODES; i++)
        faults += (int)fake_server_client_faults(fixture.fake.servers[i]);
    fake_grid_close(&fixture.fake);
    if (faults)
        fprintf(stderr, "the client sent %d requests that it must not send\n", faults);
    return faults ? -1 : 0;
}

void fixture_fill(uint8_t *bytes, size_t count, uint64_t seed)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)((i + seed) * 31 + (i + seed) / 251);
}

void record_completion(void *arg, const struct mcomp_completion *completion)
{
    struct record *record = arg;
    record->count++;
    record->status = completion->status;
    record->value = completion->value;
    if (completion->error)
        record->error = *completion->error;
}

void run_all(struct mcomp_queue *queue)
{
    while (mcomp_queue_pending(queue) > 0)
        mcomp_queue_run(queue, -1);
}

void assert_ok(enum mcomp_status status, const char *call)
{
    if (status != MCOMP_OK)
        print_error("%s: %s: %s\n", call, mcomp_status_name(status), fixture.error.text);
    assert_int_equal(status, MCOMP_OK);
}

void assert_span(const struct mcomp_error *error, uint32_t index, uint64_t address, uint64_t length, enum mcomp_outcome outcome)
{
    assert_true(index < error->span_count);
    assert_int_equal(error->spans[index].address, address);
    assert_int_equal(error->spans[index].length, length);
    assert_int_equal(error->spans[index].outcome, outcome);
}

void assert_one_span(const struct mcomp_error *error, uint64_t address, uint64_t length, enum mcomp_outcome outcome)
{
    assert_int_equal(error->span_count, 1);
    assert_span(error, 0, address, length, outcome);
}

void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        print_error("\"%s\" does not contain \"%s\"\n", text, part);
    assert_non_null(strstr(text, part));
}
