/* SPDX-License-Identifier: Apache-2.0 */
#include "base/histogram.h"

#include <string.h>

#define SUB_BUCKETS (1u << HISTOGRAM_SUB_BITS)
#define VALUE_MAX ((UINT64_C(1) << HISTOGRAM_MAX_BITS) - 1)

/* Values below SUB_BUCKETS have a bucket each. A larger one is shifted right until SUB_BITS + 1 bits are left; the shift
 * chooses the group of SUB_BUCKETS buckets, and the bits below the leading one choose the bucket in it. */
static size_t bucket_of(uint64_t value)
{
    if (value < SUB_BUCKETS)
        return (size_t)value;
    unsigned top_bit = 63u - (unsigned)__builtin_clzll(value);
    unsigned shift = top_bit - HISTOGRAM_SUB_BITS;
    return ((size_t)shift << HISTOGRAM_SUB_BITS) + (size_t)(value >> shift);
}

static uint64_t middle_of(size_t bucket)
{
    if (bucket < 2 * SUB_BUCKETS)
        return bucket;
    unsigned shift = (unsigned)(bucket >> HISTOGRAM_SUB_BITS) - 1;
    uint64_t lowest = (uint64_t)(SUB_BUCKETS + (bucket & (SUB_BUCKETS - 1))) << shift;
    return lowest + ((UINT64_C(1) << shift) >> 1);
}

static uint64_t add_saturated(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

void histogram_reset(struct histogram *h)
{
    memset(h, 0, sizeof *h);
}

void histogram_record(struct histogram *h, uint64_t value)
{
    if (value > VALUE_MAX)
        value = VALUE_MAX;
    if (h->count == 0 || value < h->min)
        h->min = value;
    if (value > h->max)
        h->max = value;
    h->count++;
    h->sum = add_saturated(h->sum, value);
    h->buckets[bucket_of(value)]++;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    if (from->count == 0)
        return;
    if (into->count == 0 || from->min < into->min)
        into->min = from->min;
    if (from->max > into->max)
        into->max = from->max;
    into->count += from->count;
    into->sum = add_saturated(into->sum, from->sum);
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->buckets[i] += from->buckets[i];
}

/** How many values, in rising order, make up percent % of count: 1 … count. */
static uint64_t rank_of(uint64_t count, double percent)
{
    if (!(percent > 0))
        return 1;
    if (percent >= 100)
        return count;
    /* 99.9 is not exact in binary: without the slack, 99.9 % of 1000 values would be 1000 of them. */
    double exact = (double)count * (percent / 100) * (1 - 1e-12);
    uint64_t rank = (uint64_t)exact;
    if ((double)rank < exact)
        rank++;
    return rank == 0 ? 1 : rank;
}

uint64_t histogram_percentile(const struct histogram *h, double percent)
{
    if (h->count == 0)
        return 0;
    uint64_t rank = rank_of(h->count, percent);
    if (rank == 1)
        return h->min;
    if (rank >= h->count)
        return h->max;
    uint64_t seen = 0;
    size_t bucket = 0;
    for (; bucket < HISTOGRAM_BUCKETS; bucket++) {
        seen += h->buckets[bucket];
        if (seen >= rank)
            break;
    }
    uint64_t value = middle_of(bucket);
    if (value < h->min)
        return h->min;
    return value > h->max ? h->max : value;
}
