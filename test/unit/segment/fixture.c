/* SPDX-License-Identifier: Apache-2.0 */
#include "fixture.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "segment/object.h"

int fixture_setup(void **state)
{
    static unsigned number;
    struct fixture *fixture = calloc(1, sizeof *fixture);
    if (!fixture)
        return -1;
    snprintf(fixture->grid, sizeof fixture->grid, "unit-%ld-%u", (long)getpid(), number++);
    snprintf(fixture->other_grid, sizeof fixture->other_grid, "%s-b", fixture->grid);
    fixture->options = (struct segment_options){.grid = fixture->grid,
                                                .node = 1,
                                                .nodes = 3,
                                                .size = FIXTURE_BYTES,
                                                .writers = FIXTURE_WRITERS,
                                                .redo_bytes = FIXTURE_REDO_BYTES,
                                                .preserve_limit = FIXTURE_BYTES};
    fixture->map_fd = -1;
    *state = fixture;
    return 0;
}

int fixture_setup_open(void **state)
{
    struct err err;
    if (fixture_setup(state) != 0)
        return -1;
    struct fixture *fixture = *state;
    return segment_open(&fixture->segment, &fixture->options, &err) == MCOMP_OK ? 0 : -1;
}

int fixture_teardown(void **state)
{
    struct fixture *fixture = *state;
    char path[128];
    fixture_unmap(fixture);
    segment_close(fixture->segment);
    for (uint32_t node = 0; node < 3; node++) {
        unlink(fixture_path(fixture, node, path));
        snprintf(path, sizeof path, "/dev/shm/mcomp.%s.%" PRIu32 OBJECT_PRESERVED, fixture->grid, node);
        unlink(path);
    }
    snprintf(path, sizeof path, "/dev/shm/mcomp.%s.1", fixture->other_grid);
    unlink(path);
    snprintf(path, sizeof path, "/dev/shm/mcomp.%s.1" OBJECT_PRESERVED, fixture->other_grid);
    unlink(path);
    free(fixture);
    return 0;
}

void fixture_open(struct fixture *fixture)
{
    struct err err = {.text = ""};
    assert_null(fixture->segment);
    enum mcomp_status code = segment_open(&fixture->segment, &fixture->options, &err);
    if (code != MCOMP_OK)
        fail_msg("segment_open: %s: %s", status_name(code), err.text);
    assert_non_null(fixture->segment);
}

void fixture_close(struct fixture *fixture)
{
    segment_close(fixture->segment);
    fixture->segment = NULL;
}

void fixture_open_fails(struct fixture *fixture, enum mcomp_status code, ...)
{
    struct err err = {.text = ""};
    struct segment *segment = (void *)fixture;
    enum mcomp_status got = segment_open(&segment, &fixture->options, &err);
    if (got == MCOMP_OK)
        segment_close(segment);
    assert_string_equal(status_name(got), status_name(code));
    assert_int_equal(err.code, code);
    assert_null(segment);
    va_list parts;
    va_start(parts, code);
    for (const char *part; (part = va_arg(parts, const char *)) != NULL;)
        if (!strstr(err.text, part))
            fail_msg("\"%s\" is missing in: %s", part, err.text);
    va_end(parts);
}

const char *fixture_path(const struct fixture *fixture, uint32_t node, char path[128])
{
    snprintf(path, 128, "/dev/shm/mcomp.%s.%" PRIu32, fixture->grid, node);
    return path;
}

struct layout_header *fixture_map(struct fixture *fixture)
{
    char path[128];
    struct stat st;
    fixture_unmap(fixture);
    fixture->map_fd = open(fixture_path(fixture, fixture->options.node, path), O_RDWR | O_CLOEXEC);
    assert_true(fixture->map_fd >= 0);
    assert_int_equal(fstat(fixture->map_fd, &st), 0);
    fixture->map_bytes = (uint64_t)st.st_size;
    fixture->map = mmap(NULL, fixture->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fixture->map_fd, 0);
    assert_true(fixture->map != MAP_FAILED);
    return (void *)fixture->map;
}

void fixture_unmap(struct fixture *fixture)
{
    if (fixture->map)
        munmap(fixture->map, fixture->map_bytes);
    if (fixture->map_fd >= 0)
        close(fixture->map_fd);
    fixture->map = NULL;
    fixture->map_fd = -1;
}

static uint8_t *section_start(const struct fixture *fixture, enum layout_kind kind)
{
    const struct layout_header *header = (void *)fixture->map;
    return fixture->map + layout_section(header->fixed.section, header->fixed.section_count, kind)->offset;
}

uint8_t *fixture_data(const struct fixture *fixture)
{
    return section_start(fixture, LAYOUT_DATA);
}

struct stripe *fixture_stripes(const struct fixture *fixture)
{
    return (void *)section_start(fixture, LAYOUT_STRIPES);
}

struct redo_record *fixture_record(const struct fixture *fixture, uint32_t writer)
{
    const struct layout_section *redo = layout_redo_section((void *)fixture->map);
    return (void *)(fixture->map + redo->offset + writer * redo->element_bytes);
}

uint64_t fixture_object_bytes(const struct fixture *fixture)
{
    char path[128];
    struct stat st;
    assert_int_equal(stat(fixture_path(fixture, fixture->options.node, path), &st), 0);
    return (uint64_t)st.st_size;
}

struct capture *fixture_capture_open(const struct fixture *fixture)
{
    struct capture *capture = NULL;
    struct err err = {.text = ""};
    const struct segment_options *options = &fixture->options;
    enum mcomp_status code = capture_open(&capture, options->grid, options->node, options->nodes, options->size, &err);
    if (code != MCOMP_OK)
        fail_msg("capture_open: %s: %s", status_name(code), err.text);
    return capture;
}

void fixture_cut(struct fixture *fixture, uint32_t round)
{
    segment_freeze(fixture->segment);
    assert_true(segment_wait_drained(fixture->segment, SEGMENT_NO_TIMEOUT));
    segment_cut(fixture->segment, round);
    segment_thaw(fixture->segment);
}

enum mcomp_status fixture_capture(struct capture *capture, uint32_t round, uint64_t size, uint8_t *image, struct err *err)
{
    static _Thread_local uint8_t data[CAPTURE_WINDOW_BYTES];
    struct capture_window window;
    for (uint64_t offset = 0; offset < size; offset += CAPTURE_WINDOW_BYTES) {
        enum mcomp_status code = capture_window(capture, round, offset, data, &window, err);
        if (code != MCOMP_OK)
            return code;
        const uint8_t *from = data;
        for (uint64_t i = 0; i < CAPTURE_WINDOW_PAGES && offset + i * PAGE_BYTES < size; i++) {
            bool in_data = window.pages >> i & 1u;
            memset(image + offset + i * PAGE_BYTES, 0, PAGE_BYTES);
            if (in_data)
                memcpy(image + offset + i * PAGE_BYTES, from, PAGE_BYTES);
            from += in_data ? PAGE_BYTES : 0;
        }
        MC_ASSERT(from == data + window.data_bytes && crc32c(0, data, window.data_bytes) == window.crc32c);
    }
    return capture_finish(capture, round, err);
}

static uint32_t agent_obey(struct segment *segment, const struct segment_command *command)
{
    bool frozen = segment_is_frozen(segment), is_round = command->round == segment_max_round(segment);
    switch (command->kind) {
    case SEGMENT_COMMAND_FREEZE:
        if (frozen && !is_round)
            return SEGMENT_ANSWER_BUSY;
        if (!frozen && command->round <= segment_max_round(segment))
            return SEGMENT_ANSWER_OLD;
        segment_set_max_round(segment, command->round);
        if (!frozen)
            segment_freeze(segment);
        MC_ASSERT(segment_wait_drained(segment, SEGMENT_NO_TIMEOUT));
        return SEGMENT_ANSWER_FROZEN;
    case SEGMENT_COMMAND_CUT:
        if (!frozen || !is_round)
            return SEGMENT_ANSWER_REFUSED;
        segment_cut(segment, command->round);
        segment_thaw(segment);
        return SEGMENT_ANSWER_CUT;
    default:
        if (frozen && is_round)
            segment_thaw(segment);
        return SEGMENT_ANSWER_OK;
    }
}

static void *agent_main(void *arg)
{
    struct fixture *fixture = arg;
    struct segment_command command;
    while (!atomic_load(&fixture->agent_stop)) {
        if (!segment_mailbox_wait(fixture->segment, SEGMENT_NO_TIMEOUT, &command))
            continue;
        struct segment_answer answer = {.result = agent_obey(fixture->segment, &command), .pause_ns = command.round + UINT64_C(5000000000)};
        answer.max_round = segment_max_round(fixture->segment);
        if (command.kind != SEGMENT_COMMAND_END)
            segment_mailbox_answer(fixture->segment, &command, &answer);
    }
    if (segment_is_frozen(fixture->segment))
        segment_thaw(fixture->segment);
    return NULL;
}

void fixture_agent_start(struct fixture *fixture)
{
    atomic_store(&fixture->agent_stop, false);
    assert_int_equal(pthread_create(&fixture->agent, NULL, agent_main, fixture), 0);
}

void fixture_agent_stop(struct fixture *fixture)
{
    atomic_store(&fixture->agent_stop, true);
    segment_mailbox_interrupt(fixture->segment);
    pthread_join(fixture->agent, NULL);
}

void fixture_child_passed(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("child ended with wait status 0x%x", (unsigned)status);
}

uint64_t fixture_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545f4914f6cdd1d);
}
