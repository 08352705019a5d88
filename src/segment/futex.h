/* SPDX-License-Identifier: Apache-2.0 */
/** Sleeping on a word of shared memory until somebody calls. */
#ifndef SEGMENT_FUTEX_H
#define SEGMENT_FUTEX_H

#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define FUTEX_NO_LIMIT UINT64_MAX

/** Sleep while *word == seen, at most limit_ns; may return without reason. Not PRIVATE: the words lie in memory that processes share. */
static inline void futex_sleep(_Atomic uint32_t *word, uint32_t seen, uint64_t limit_ns)
{
    struct timespec limit = {.tv_sec = (time_t)(limit_ns / 1000000000u), .tv_nsec = (long)(limit_ns % 1000000000u)};
    syscall(SYS_futex, word, FUTEX_WAIT, seen, limit_ns == FUTEX_NO_LIMIT ? NULL : &limit, NULL, 0);
}

/** Wake all that sleep on the word after changing it, so that nobody goes on sleeping on the value from before. */
static inline void futex_call(_Atomic uint32_t *word)
{
    atomic_fetch_add_explicit(word, 1, memory_order_seq_cst);
    syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

#endif
