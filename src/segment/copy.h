/* SPDX-License-Identifier: Apache-2.0 */
/** Copies to and from bytes that another thread may be writing or reading at the same time.
 *
 *  A reader that works by sequence numbers (operations.c) copies first and finds out afterwards whether a writer was there; then it throws
 *  the copy away. C11 calls such plain accesses a data race. The two ways out:
 *  - Under ThreadSanitizer every access to the segment's bytes here is an atomic load (acquire) or store (release) of a byte or an aligned
 *    word. That is a program without races by the letter of C11, with the orders that a sequence lock needs (H.-J. Boehm, "Can seqlocks get
 *    along with programming language memory models?", 2012), so ThreadSanitizer checks everything round it.
 *  - Otherwise memcpy, which is several times faster. The compilers we use (gcc, clang) treat a memcpy of variable length as a call that
 *    reads one block and writes the other, they neither repeat nor invent reads of its source afterwards, and they move it across
 *    neither the fences below nor the atomics beside them, which are compiler barriers. What it copied is used only once the sequence
 *    numbers have been found unchanged. The C library's memcpy ends with a store fence where it used non-temporal stores. */
#ifndef SEGMENT_COPY_H
#define SEGMENT_COPY_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SANITIZE_THREAD__)
#define COPY_ATOMICALLY 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define COPY_ATOMICALLY 1
#endif
#endif
#ifndef COPY_ATOMICALLY
#define COPY_ATOMICALLY 0
#endif

/** Between the store that makes a sequence odd (or a redo record valid) and the first store into the segment's bytes. */
static inline void copy_fence_before_stores(void)
{
#if !COPY_ATOMICALLY
    atomic_thread_fence(memory_order_release);
#endif
}

/** Between the last load of the segment's bytes and the load that checks the sequence. */
static inline void copy_fence_after_loads(void)
{
#if !COPY_ATOMICALLY
    atomic_thread_fence(memory_order_acquire);
#endif
}

/** Keep the compiler from moving stores across. Enough where only a crash of this thread could tell the difference: a killed thread
 *  has performed the stores up to some instruction, all of them, and none after it. */
static inline void copy_compiler_barrier(void)
{
    atomic_signal_fence(memory_order_seq_cst);
}

#if COPY_ATOMICALLY

static inline void copy_in(void *shared, const void *from, size_t bytes)
{
    uint8_t *to = shared;
    const uint8_t *at = from;
    for (; bytes > 0 && ((uintptr_t)to % 8 != 0 || bytes < 8); bytes--)
        __atomic_store_n(to++, *at++, __ATOMIC_RELEASE);
    for (; bytes >= 8; bytes -= 8, to += 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        __atomic_store_n((uint64_t *)(void *)to, word, __ATOMIC_RELEASE);
    }
    for (; bytes > 0; bytes--)
        __atomic_store_n(to++, *at++, __ATOMIC_RELEASE);
}

static inline void copy_out(void *to, const void *shared, size_t bytes)
{
    uint8_t *at = to;
    const uint8_t *from = shared;
    for (; bytes > 0 && ((uintptr_t)from % 8 != 0 || bytes < 8); bytes--)
        *at++ = __atomic_load_n(from++, __ATOMIC_ACQUIRE);
    for (; bytes >= 8; bytes -= 8, from += 8, at += 8) {
        uint64_t word = __atomic_load_n((const uint64_t *)(const void *)from, __ATOMIC_ACQUIRE);
        memcpy(at, &word, sizeof word);
    }
    for (; bytes > 0; bytes--)
        *at++ = __atomic_load_n(from++, __ATOMIC_ACQUIRE);
}

static inline void copy_zeros(void *shared, size_t bytes)
{
    uint8_t *to = shared;
    for (; bytes > 0; bytes--)
        __atomic_store_n(to++, 0, __ATOMIC_RELEASE);
}

#define COPY_STORE_ORDER __ATOMIC_RELEASE
#define COPY_LOAD_ORDER __ATOMIC_ACQUIRE

#else

/** Store `bytes` bytes into the segment. */
static inline void copy_in(void *shared, const void *from, size_t bytes)
{
    memcpy(shared, from, bytes);
}

/** Copy `bytes` bytes out of the segment. */
static inline void copy_out(void *to, const void *shared, size_t bytes)
{
    memcpy(to, shared, bytes);
}

/** Store that many zeros into the segment. */
static inline void copy_zeros(void *shared, size_t bytes)
{
    memset(shared, 0, bytes);
}

#define COPY_STORE_ORDER __ATOMIC_RELAXED
#define COPY_LOAD_ORDER __ATOMIC_RELAXED

#endif

/** Copy a page out of the segment by atomic loads of words. A capture uses its copy if a compare-and-swap with release order says afterwards that no
 *  writer came meanwhile, which is right by the letter of C11; for whole pages that costs 4 % of a capture against memcpy. */
static inline void copy_page_out(void *to, const void *shared, size_t page_bytes)
{
    const uint64_t *from = shared;
    uint8_t *at = to;
    for (size_t i = 0; i < page_bytes / 8; i++) {
        uint64_t word = __atomic_load_n(&from[i], COPY_LOAD_ORDER);
        memcpy(at + 8 * i, &word, sizeof word);
    }
}

/** Can a store of length bytes at offset be one instruction that nothing can interrupt in the middle? */
static inline int copy_is_one_store(uint64_t offset, uint64_t length)
{
    return length <= 8 && (length & (length - 1)) == 0 && (offset & (length - 1)) == 0;
}

/** Store 1, 2, 4 or 8 bytes at a multiple of that with one instruction. */
static inline void copy_in_one_store(void *shared, const void *from, uint64_t length)
{
    uint64_t word = 0;
    memcpy(&word, from, length);
    switch (length) {
    case 1:
        __atomic_store_n((uint8_t *)shared, (uint8_t)word, COPY_STORE_ORDER);
        break;
    case 2:
        __atomic_store_n((uint16_t *)shared, (uint16_t)word, COPY_STORE_ORDER);
        break;
    case 4:
        __atomic_store_n((uint32_t *)shared, (uint32_t)word, COPY_STORE_ORDER);
        break;
    default:
        __atomic_store_n((uint64_t *)shared, word, COPY_STORE_ORDER);
    }
}

#endif
