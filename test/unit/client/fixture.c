/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct fixture fixture;

int fixture_setup(void **state)
{
    (void)state;
    if (!fake_grid_open(&fixture.fake, NODES, K, "server { max_message = \"1MiB\" }"))
        return -1;
    enum mcomp_status status = mcomp_open(&fixture.grid, fixture.fake.config_path, NULL, &fixture.error);
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
    ASSERT_OK(mcomp_open(&grid, path, NULL, &fixture.error));
    unlink(path);
    return grid;
}

int fixture_teardown(void **state)
{
    int faults = 0;
    (void)state;
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
