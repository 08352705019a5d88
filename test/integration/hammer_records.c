/* SPDX-License-Identifier: Apache-2.0 */
/* Numbered records under the death of the server. Each thread has a lane of its own in the grid and a copy of what must stand there. It writes
 * until a call fails; what the failed call did is then unknown, and everything else is known to the byte.
 *
 * On standard input, one command a line, each answered by one line:
 *   round ACKS PID   write; after ACKS acknowledgements of all threads together send SIGKILL to PID (0: to nobody)
 *   verify           compare the grid with what must stand there; a record whose fate is unknown must be there wholly or not at all */
#include "hammer.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#define LANE_BYTES (4u << 20)
#define COUNTER_OFFSET (LANE_BYTES - 8u) /* the last word of a lane counts, records stand before it */
#define RECORD_BYTES_MIN 8u
#define RECORD_BITS_MAX 20u
#define RANGES_MAX 4u

enum record_kind { RECORD_WRITE, RECORD_MULTI, RECORD_ADD };

struct record {
    enum record_kind kind;
    unsigned count; /* ranges */
    struct {
        uint32_t offset, length; /* within the lane */
    } range[RANGES_MAX];
    uint64_t token; /* content, or what is added */
};

struct lane {
    struct session *session;
    unsigned number;
    uint64_t address, random, sequence;
    uint8_t *expected, *actual, *data; /* LANE_BYTES each */
    struct record last;                /* begun last */
    bool open;                         /* last was not acknowledged */
    enum mcomp_outcome outcome;        /* of last, when open */
};

struct session {
    struct mcomp *grid;
    unsigned lanes;
    uint32_t timeout_ms;
    uint64_t kill_after;
    pid_t victim;
    _Atomic uint64_t acknowledged;
    struct lane lane[HAMMER_THREADS_MAX];
};

static uint64_t word_get(const uint8_t *bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < 8; i++)
        value |= (uint64_t)bytes[i] << 8 * i;
    return value;
}

/* At any byte. Lengths of even lanes are spread over the powers of two from 8 bytes to 1 MiB; odd lanes write 64 KiB and more, so that a server is
 * seldom out of the middle of a write. */
static void record_choose(struct lane *lane, struct record *record)
{
    uint64_t dice = hammer_random(&lane->random) >> 33;
    record->kind = dice % 8 == 0 ? RECORD_ADD : dice % 8 <= 2 ? RECORD_MULTI : RECORD_WRITE;
    record->token = (uint64_t)lane->number << 48 | ++lane->sequence;
    record->count = record->kind == RECORD_MULTI ? 2 + (unsigned)(dice / 8 % (RANGES_MAX - 1)) : 1;
    if (record->kind == RECORD_ADD) {
        record->range[0].offset = COUNTER_OFFSET;
        record->range[0].length = 8;
        return;
    }
    uint32_t share = COUNTER_OFFSET / record->count; /* ranges of one record do not overlap */
    for (unsigned i = 0; i < record->count; i++) {
        uint32_t bits = lane->number % 2 == 1 ? RECORD_BITS_MAX : 3 + (uint32_t)(hammer_random(&lane->random) >> 40) % (RECORD_BITS_MAX - 2);
        uint32_t least = lane->number % 2 == 1 ? 65536u : RECORD_BYTES_MIN;
        uint32_t length = least + (uint32_t)(hammer_random(&lane->random) >> 20) % ((1u << bits) - least + 1);
        if (length > share / 2)
            length = share / 2;
        record->range[i].length = length;
        record->range[i].offset = i * share + (uint32_t)(hammer_random(&lane->random) >> 20) % (share - length + 1);
    }
}

static void record_apply(const struct record *record, uint8_t *bytes)
{
    for (unsigned i = 0; i < record->count; i++) {
        uint8_t *at = bytes + record->range[i].offset;
        hammer_fill(at, record->range[i].length, record->kind == RECORD_ADD ? word_get(at) + record->token : record->token);
    }
}

static enum mcomp_status record_send(struct lane *lane, const struct record *record, struct mcomp_error *error)
{
    struct mcomp *grid = lane->session->grid;
    uint32_t timeout_ms = lane->session->timeout_ms;
    uint64_t first = lane->address + record->range[0].offset, before = 0;
    struct mcomp_range ranges[RANGES_MAX];
    switch (record->kind) {
    case RECORD_ADD: {
        uint64_t expected = word_get(lane->expected + COUNTER_OFFSET);
        enum mcomp_status status = mcomp_fetch_add(grid, first, record->token, &before, timeout_ms, error);
        if (status == MCOMP_OK && before != expected)
            hammer_fail("lane %u: the counter was %llu, must have been %llu", lane->number, (unsigned long long)before, (unsigned long long)expected);
        return status;
    }
    case RECORD_WRITE:
        hammer_fill(lane->data, record->range[0].length, record->token);
        return mcomp_write(grid, first, lane->data, record->range[0].length, timeout_ms, error);
    case RECORD_MULTI:
        break;
    }
    for (unsigned i = 0; i < record->count; i++) {
        uint8_t *data = lane->data + record->range[i].offset;
        hammer_fill(data, record->range[i].length, record->token);
        ranges[i] = (struct mcomp_range){MCOMP_RANGE_WRITE, lane->address + record->range[i].offset, record->range[i].length, data};
    }
    return mcomp_multi(grid, ranges, record->count, timeout_ms, error);
}

/* What the library says about a failed call. One request is one atomic operation, so all its ranges share one fate. */
static enum mcomp_outcome record_outcome(const struct lane *lane, const struct mcomp_error *error)
{
    if (error->span_count == 0)
        hammer_fail("lane %u: %s (%s) without a word on what was done", lane->number, mcomp_status_name(error->status), error->text);
    for (uint32_t i = 1; i < error->span_count; i++)
        if (error->spans[i].outcome != error->spans[0].outcome)
            hammer_fail("lane %u: one request has several outcomes: %s", lane->number, error->text);
    return error->spans[0].outcome;
}

static void *lane_round(void *arg)
{
    struct lane *lane = arg;
    struct session *session = lane->session;
    for (;;) {
        struct mcomp_error error;
        record_choose(lane, &lane->last);
        enum mcomp_status status = record_send(lane, &lane->last, &error);
        if (status != MCOMP_OK) {
            if (status != MCOMP_UNAVAILABLE && status != MCOMP_DEADLINE_EXCEEDED)
                hammer_fail("lane %u: %s: %s", lane->number, mcomp_status_name(status), error.text);
            lane->open = true;
            lane->outcome = record_outcome(lane, &error);
            return NULL;
        }
        record_apply(&lane->last, lane->expected);
        if (atomic_fetch_add(&session->acknowledged, 1) + 1 == session->kill_after && session->victim > 0)
            if (kill(session->victim, SIGKILL) != 0)
                hammer_fail("cannot kill %ld: %s", (long)session->victim, strerror(errno));
    }
}

static void lane_differs(const struct lane *lane)
{
    size_t first = 0, last = LANE_BYTES - 1;
    while (lane->actual[first] == lane->expected[first])
        first++;
    while (lane->actual[last] == lane->expected[last])
        last--;
    const struct record *r = &lane->last;
    hammer_fail("lane %u (address %llu): bytes %zu to %zu of the lane are neither old nor new; record begun last: kind %d at %u, %u bytes, %u range(s), "
                "outcome %d (0: acknowledged)", lane->number, (unsigned long long)lane->address, first, last, (int)r->kind, r->range[0].offset,
                r->range[0].length, r->count, lane->open ? (int)lane->outcome : 0);
}

/* Old or new, never between; then what is unknown is known. Returns 1 if the unknown record turned out to be there. */
static unsigned lane_verify(struct lane *lane)
{
    struct mcomp_error error;
    hammer_check(mcomp_read(lane->session->grid, lane->address, lane->actual, LANE_BYTES, MCOMP_TIMEOUT_DEFAULT, &error), &error, "read for verification");
    unsigned there = 0;
    if (lane->open && lane->outcome == MCOMP_DONE) {
        record_apply(&lane->last, lane->expected);
    } else if (lane->open && lane->outcome == MCOMP_MAYBE && memcmp(lane->expected, lane->actual, LANE_BYTES) != 0) {
        record_apply(&lane->last, lane->expected);
        there = 1;
    }
    if (memcmp(lane->expected, lane->actual, LANE_BYTES) != 0)
        lane_differs(lane);
    lane->open = false;
    return there;
}

static void session_round(struct session *session, unsigned long long kill_after, long victim)
{
    unsigned open = 0, maybe = 0;
    session->kill_after = kill_after;
    session->victim = (pid_t)victim;
    atomic_store(&session->acknowledged, 0);
    hammer_threads(lane_round, session->lane, sizeof session->lane[0], session->lanes);
    for (unsigned i = 0; i < session->lanes; i++) {
        open += session->lane[i].open;
        maybe += session->lane[i].open && session->lane[i].outcome == MCOMP_MAYBE;
    }
    printf("round acknowledged=%llu open=%u maybe=%u\n", (unsigned long long)atomic_load(&session->acknowledged), open, maybe);
}

void hammer_records(struct mcomp *grid, char **arguments)
{
    static struct session session;
    uint64_t base = strtoull(arguments[0], NULL, 0);
    session.grid = grid;
    session.lanes = (unsigned)strtoul(arguments[1], NULL, 10);
    session.timeout_ms = (uint32_t)strtoul(arguments[3], NULL, 10);
    if (session.lanes > HAMMER_THREADS_MAX)
        hammer_fail("more than %u threads", HAMMER_THREADS_MAX);
    for (unsigned i = 0; i < session.lanes; i++) {
        struct lane *lane = &session.lane[i];
        *lane = (struct lane){.session = &session, .number = i, .address = base + (uint64_t)i * LANE_BYTES,
                              .random = strtoull(arguments[2], NULL, 0) * HAMMER_THREADS_MAX + i + 1, .expected = calloc(3, LANE_BYTES)};
        if (lane->expected == NULL)
            hammer_fail("out of memory");
        lane->actual = lane->expected + LANE_BYTES;
        lane->data = lane->actual + LANE_BYTES;
    }
    char line[256];
    while (fgets(line, sizeof line, stdin) != NULL) {
        unsigned long long kill_after;
        long victim;
        unsigned there = 0;
        if (sscanf(line, "round %llu %ld", &kill_after, &victim) == 2) {
            session_round(&session, kill_after, victim);
        } else if (strcmp(line, "verify\n") == 0) {
            for (unsigned i = 0; i < session.lanes; i++)
                there += lane_verify(&session.lane[i]);
            printf("verified there=%u\n", there);
        } else {
            hammer_fail("unknown command: %s", line);
        }
        fflush(stdout);
    }
    for (unsigned i = 0; i < session.lanes; i++)
        free(session.lane[i].expected);
}
