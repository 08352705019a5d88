/* SPDX-License-Identifier: Apache-2.0 */
/** Random numbers from one seed: the same on every machine. */
#ifndef SIMULATION_RNG_H
#define SIMULATION_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
    uint64_t state;
};

/** splitmix64 */
static inline uint64_t rng_next(struct rng *rng)
{
    uint64_t z = rng->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/** 0 … bound-1; bound > 0. */
static inline uint32_t rng_below(struct rng *rng, uint32_t bound)
{
    return (uint32_t)((rng_next(rng) >> 32) * bound >> 32);
}

/** low … high, both included. */
static inline uint64_t rng_between(struct rng *rng, uint64_t low, uint64_t high)
{
    return low + rng_next(rng) % (high - low + 1);
}

/** True in `permille` of 1000 cases. */
static inline bool rng_chance(struct rng *rng, uint32_t permille)
{
    return rng_below(rng, 1000) < permille;
}

/** low … high, each order of magnitude about as likely as any other; low > 0. */
static inline uint64_t rng_spread(struct rng *rng, uint64_t low, uint64_t high)
{
    uint64_t top = low;
    while (top <= high / 2 && rng_chance(rng, 800))
        top *= 2;
    return rng_between(rng, low, top < high / 2 ? top * 2 : high);
}

#endif
