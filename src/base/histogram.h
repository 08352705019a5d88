/* SPDX-License-Identifier: Apache-2.0 */
/** Histogram of high dynamic range: counts of 64-bit values with a relative error below 1/256.
 *  Buckets are linear within each power of two, after G. Tene, HdrHistogram; written here because the
 *  distribution that mcomp builds on ships no C library of it. */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 7u /* 128 buckets for each power of two: the midpoint is within 1/256 */
#define HISTOGRAM_MAX_BITS 44u /* values from 2^44 on (4.8 hours in nanoseconds) count as 2^44 - 1 */
#define HISTOGRAM_BUCKETS ((HISTOGRAM_MAX_BITS - HISTOGRAM_SUB_BITS + 1u) << HISTOGRAM_SUB_BITS)

/** One writer at a time; zero-initialised is empty. */
struct histogram {
    uint64_t count, sum, min, max; /* min is meaningless while count is 0 */
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_reset(struct histogram *h);

/** Count value once. Constant time, no allocation. */
void histogram_record(struct histogram *h, uint64_t value);

/** Add all counts of from to into. */
void histogram_merge(struct histogram *into, const struct histogram *from);

/** Smallest recorded value v (to the bucket's precision, at most max) such that percent % of all values are ≤ v. 0 if empty. */
uint64_t histogram_percentile(const struct histogram *h, double percent);

#endif
