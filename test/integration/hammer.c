/* SPDX-License-Identifier: Apache-2.0 */
#include "hammer.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct load {
    const char *name, *arguments;
    int argument_count;
    void (*run)(struct mcomp *grid, char **arguments);
} loads[] = {
    {"records", "BASE THREADS SEED TIMEOUT_MS", 4, hammer_records},
    {"torn", "ADDRESS LENGTH WRITERS READERS OPERATIONS", 5, hammer_torn},
    {"pair", "ADDRESS1 ADDRESS2 LENGTH WRITERS READERS OPERATIONS", 6, hammer_pair},
    {"overlap", "ADDRESS LENGTH WRITERS READERS OPERATIONS", 5, hammer_overlap},
    {"count", "ADDRESS THREADS OPERATIONS DELTA", 4, hammer_count},
    {"count-async", "ADDRESS THREADS OPERATIONS DELTA", 4, hammer_count_async},
    {"count-cas", "ADDRESS THREADS OPERATIONS DELTA", 4, hammer_count_cas},
};

void hammer_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("hammer: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    _Exit(1);
}

void hammer_check(enum mcomp_status status, const struct mcomp_error *error, const char *what)
{
    if (status != MCOMP_OK)
        hammer_fail("%s: %s: %s", what, mcomp_status_name(status), error->text);
}

uint64_t hammer_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545f4914f6cdd1du;
}

void hammer_fill(uint8_t *bytes, size_t length, uint64_t token)
{
    uint8_t word[8];
    for (unsigned i = 0; i < 8; i++)
        word[i] = (uint8_t)(token >> 8 * i);
    size_t at = 0;
    for (; length - at >= 8; at += 8)
        memcpy(bytes + at, word, 8);
    memcpy(bytes + at, word, length - at);
}

bool hammer_uniform(const uint8_t *bytes, size_t length)
{
    return length <= 8 || memcmp(bytes, bytes + 8, length - 8) == 0;
}

void hammer_threads(void *(*body)(void *), void *arg, size_t arg_bytes, unsigned count)
{
    pthread_t thread[HAMMER_THREADS_MAX];
    if (count > HAMMER_THREADS_MAX)
        hammer_fail("%u threads are more than %u", count, HAMMER_THREADS_MAX);
    for (unsigned i = 0; i < count; i++)
        if (pthread_create(&thread[i], NULL, body, (uint8_t *)arg + i * arg_bytes) != 0)
            hammer_fail("cannot start thread %u", i);
    for (unsigned i = 0; i < count; i++)
        pthread_join(thread[i], NULL);
}

int main(int argc, char **argv)
{
    for (size_t i = 0; argc >= 3 && i < sizeof loads / sizeof loads[0]; i++) {
        if (strcmp(argv[1], loads[i].name) != 0 || argc != 3 + loads[i].argument_count)
            continue;
        struct mcomp *grid;
        struct mcomp_error error;
        hammer_check(mcomp_open(&grid, argv[2], &(struct mcomp_options){.client_name = "hammer", .timeout_ms = 240000}, &error), &error, "open");
        loads[i].run(grid, argv + 3);
        mcomp_close(grid);
        return 0;
    }
    for (size_t i = 0; i < sizeof loads / sizeof loads[0]; i++)
        fprintf(stderr, "usage: hammer %s CONFIG %s\n", loads[i].name, loads[i].arguments);
    return 2;
}
