/* SPDX-License-Identifier: Apache-2.0 */
/* Hunters of torn reads, and counters that must come out exact. */
#include "hammer.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum hunt { HUNT_TORN, HUNT_PAIR, HUNT_OVERLAP };

struct ground {
    struct mcomp *grid;
    enum hunt hunt;
    uint64_t address[2];
    size_t length;
    unsigned writers;
    uint64_t operations; /* of each writer */
    _Atomic unsigned writers_left;
    _Atomic uint64_t reads;
};

struct hunter {
    struct ground *ground;
    unsigned number;
};

static void ground_write(struct ground *ground, unsigned writer, uint64_t sequence, uint8_t *data)
{
    struct mcomp_error error;
    uint64_t token = (uint64_t)getpid() << 40 | (uint64_t)writer << 32 | sequence;
    hammer_fill(data, ground->length, token);
    if (ground->hunt == HUNT_PAIR) {
        struct mcomp_range ranges[2];
        for (unsigned i = 0; i < 2; i++)
            ranges[i] = (struct mcomp_range){MCOMP_RANGE_WRITE, ground->address[i], ground->length, data};
        hammer_check(mcomp_multi(ground->grid, ranges, 2, MCOMP_TIMEOUT_DEFAULT, &error), &error, "multi write");
        return;
    }
    uint64_t shift = ground->hunt == HUNT_OVERLAP && writer % 2 == 1 ? ground->length / 2 : 0;
    hammer_check(mcomp_write(ground->grid, ground->address[0] + shift, data, ground->length, MCOMP_TIMEOUT_DEFAULT, &error), &error, "write");
}

/* Even writers write [0, length), odd ones [length/2, length/2 + length): three parts, each of one writer's hand, the middle one equal to a neighbour. */
static bool overlap_sound(const uint8_t *data, size_t length)
{
    size_t half = length / 2;
    const uint8_t *middle = data + half, *end = data + length;
    return hammer_uniform(data, half) && hammer_uniform(middle, half) && hammer_uniform(end, half) &&
           (memcmp(middle, data, 8) == 0 || memcmp(middle, end, 8) == 0);
}

static void ground_read(struct ground *ground, uint8_t *data)
{
    struct mcomp_error error;
    size_t length = ground->length;
    bool sound;
    if (ground->hunt == HUNT_PAIR) {
        struct mcomp_range ranges[2];
        for (unsigned i = 0; i < 2; i++)
            ranges[i] = (struct mcomp_range){MCOMP_RANGE_READ, ground->address[i], length, data + i * length};
        hammer_check(mcomp_multi(ground->grid, ranges, 2, MCOMP_TIMEOUT_DEFAULT, &error), &error, "multi read");
        sound = hammer_uniform(data, length) && memcmp(data, data + length, length) == 0;
    } else {
        size_t bytes = ground->hunt == HUNT_OVERLAP ? length / 2 + length : length;
        hammer_check(mcomp_read(ground->grid, ground->address[0], data, bytes, MCOMP_TIMEOUT_DEFAULT, &error), &error, "read");
        sound = ground->hunt == HUNT_OVERLAP ? overlap_sound(data, length) : hammer_uniform(data, length);
    }
    if (!sound)
        hammer_fail("torn read of %zu bytes at %llu", length, (unsigned long long)ground->address[0]);
    atomic_fetch_add(&ground->reads, 1);
}

/* The first threads write, the others read until the last writer is done, and once more after that. */
static void *hunter_run(void *arg)
{
    struct hunter *hunter = arg;
    struct ground *ground = hunter->ground;
    uint8_t *data = malloc(2 * ground->length + 16);
    if (data == NULL)
        hammer_fail("out of memory");
    if (hunter->number < ground->writers) {
        for (uint64_t i = 0; i < ground->operations; i++)
            ground_write(ground, hunter->number, i, data);
        atomic_fetch_sub(&ground->writers_left, 1);
    } else {
        while (atomic_load(&ground->writers_left) > 0)
            ground_read(ground, data);
        ground_read(ground, data);
    }
    free(data);
    return NULL;
}

static void ground_run(struct ground *ground, unsigned readers)
{
    struct hunter hunter[HAMMER_THREADS_MAX];
    unsigned count = ground->writers + readers;
    if (count > HAMMER_THREADS_MAX)
        hammer_fail("more than %u threads", HAMMER_THREADS_MAX);
    uint8_t *data = malloc(ground->length);
    if (data == NULL)
        hammer_fail("out of memory");
    for (unsigned i = 0; i < 2; i++) /* whatever stood there before is nobody's sound write */
        ground_write(ground, i, UINT32_MAX, data);
    free(data);
    for (unsigned i = 0; i < count; i++)
        hunter[i] = (struct hunter){ground, i};
    atomic_store(&ground->writers_left, ground->writers);
    hammer_threads(hunter_run, hunter, sizeof hunter[0], count);
    printf("reads=%llu writes=%llu\n", (unsigned long long)atomic_load(&ground->reads), (unsigned long long)(ground->writers * ground->operations));
}

static void hunt_from(struct mcomp *grid, enum hunt hunt, char **arguments)
{
    struct ground ground = {.grid = grid, .hunt = hunt};
    ground.address[0] = strtoull(*arguments++, NULL, 0);
    if (hunt == HUNT_PAIR)
        ground.address[1] = strtoull(*arguments++, NULL, 0);
    ground.length = strtoul(arguments[0], NULL, 0);
    ground.writers = (unsigned)strtoul(arguments[1], NULL, 0);
    ground.operations = strtoull(arguments[3], NULL, 0);
    ground_run(&ground, (unsigned)strtoul(arguments[2], NULL, 0));
}

void hammer_torn(struct mcomp *grid, char **arguments)
{
    hunt_from(grid, HUNT_TORN, arguments);
}

void hammer_pair(struct mcomp *grid, char **arguments)
{
    hunt_from(grid, HUNT_PAIR, arguments);
}

void hammer_overlap(struct mcomp *grid, char **arguments)
{
    hunt_from(grid, HUNT_OVERLAP, arguments);
}

/* ---- counters ---- */

struct counter {
    struct mcomp *grid;
    uint64_t address, delta, operations;
    uint64_t submitted, completed; /* count-async */
};

static void *counter_add(void *arg)
{
    struct counter *counter = arg;
    struct mcomp_error error;
    uint64_t before;
    for (uint64_t i = 0; i < counter->operations; i++)
        hammer_check(mcomp_fetch_add(counter->grid, counter->address, counter->delta, &before, MCOMP_TIMEOUT_DEFAULT, &error), &error, "add");
    return NULL;
}

static void *counter_swap(void *arg)
{
    struct counter *counter = arg;
    struct mcomp_error error;
    uint64_t seen = 0, found;
    for (uint64_t done = 0; done < counter->operations; seen = found) {
        hammer_check(mcomp_compare_and_swap(counter->grid, counter->address, seen, seen + counter->delta, &found, MCOMP_TIMEOUT_DEFAULT, &error),
                     &error, "compare and swap");
        if (found == seen) {
            done++;
            found = seen + counter->delta;
        }
    }
    return NULL;
}

static void counter_completed(void *arg, const struct mcomp_completion *completion)
{
    struct counter *counter = arg;
    hammer_check(completion->status, completion->error, "asynchronous add");
    counter->completed++;
}

static void *counter_add_async(void *arg)
{
    enum { DEPTH = 64 };
    struct counter *counter = arg;
    struct mcomp_error error;
    struct mcomp_queue *queue;
    hammer_check(mcomp_queue_open(counter->grid, &queue, &error), &error, "open a queue");
    while (counter->completed < counter->operations) {
        while (counter->submitted < counter->operations && counter->submitted - counter->completed < DEPTH) {
            hammer_check(mcomp_queue_fetch_add(queue, counter->address, counter->delta, MCOMP_TIMEOUT_DEFAULT, counter_completed, counter, &error), &error,
                         "submit an add");
            counter->submitted++;
        }
        mcomp_queue_run(queue, -1);
    }
    if (mcomp_queue_pending(queue) != 0)
        hammer_fail("all is done and %zu are pending", mcomp_queue_pending(queue));
    mcomp_queue_close(queue);
    return NULL;
}

static void count_with(struct mcomp *grid, char **arguments, void *(*body)(void *))
{
    struct counter counter[HAMMER_THREADS_MAX];
    unsigned threads = (unsigned)strtoul(arguments[1], NULL, 0);
    for (unsigned i = 0; i < threads && i < HAMMER_THREADS_MAX; i++)
        counter[i] = (struct counter){.grid = grid, .address = strtoull(arguments[0], NULL, 0), .operations = strtoull(arguments[2], NULL, 0),
                                      .delta = strtoull(arguments[3], NULL, 0)};
    hammer_threads(body, counter, sizeof counter[0], threads);
}

void hammer_count(struct mcomp *grid, char **arguments)
{
    count_with(grid, arguments, counter_add);
}

void hammer_count_async(struct mcomp *grid, char **arguments)
{
    count_with(grid, arguments, counter_add_async);
}

void hammer_count_cas(struct mcomp *grid, char **arguments)
{
    count_with(grid, arguments, counter_swap);
}
