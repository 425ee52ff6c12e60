#include "core/base/rng.h"

#include <math.h>

static void philox(struct hy_rng *r)
{
    uint32_t c0 = r->counter[0], c1 = r->counter[1], c2 = r->counter[2], c3 = r->counter[3];
    uint32_t k0 = r->key[0], k1 = r->key[1];
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        const uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1, c3 = (uint32_t)p0;
        c0 = n0, c2 = n2;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    r->block[0] = c0, r->block[1] = c1, r->block[2] = c2, r->block[3] = c3;
    r->counter[0]++;
    r->used = 0;
}

struct hy_rng hy_rng_start(uint64_t seed, enum hy_purpose purpose, uint32_t step, uint32_t index)
{
    return (struct hy_rng){
        .key = {(uint32_t)seed, (uint32_t)(seed >> 32)},
        .counter = {0, index, step, purpose},
        .used = 4,
    };
}

uint32_t hy_rng_u32(struct hy_rng *r)
{
    if (r->used == 4)
        philox(r);
    return r->block[r->used++];
}

uint32_t hy_rng_below(struct hy_rng *r, uint32_t bound)
{
    /* Lemire's method: the high word of a product, redrawn in the few cases that would bias it. */
    uint64_t product = (uint64_t)hy_rng_u32(r) * bound;
    if ((uint32_t)product < bound) {
        const uint32_t threshold = -bound % bound;
        while ((uint32_t)product < threshold)
            product = (uint64_t)hy_rng_u32(r) * bound;
    }
    return (uint32_t)(product >> 32);
}

double hy_rng_uniform(struct hy_rng *r)
{
    const uint64_t high = hy_rng_u32(r) >> 6, low = hy_rng_u32(r) >> 6;
    return ((double)(high << 26 | low) + 0.5) * 0x1p-52;
}

double hy_rng_normal(struct hy_rng *r)
{
    const double radius = sqrt(-2 * log(hy_rng_uniform(r)));
    return radius * cos(6.283185307179586476925 * hy_rng_uniform(r));
}
