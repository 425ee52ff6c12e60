/* bf16.h - rounding to bfloat16, to nearest even; NaN stays NaN. */
#ifndef HY_GRAPH_BF16_H
#define HY_GRAPH_BF16_H

#include <string.h>

#include "core/graph/real.h"

/* x rounded, in the upper half of the result; what lies in the lower half is of no meaning. */
static inline uint32_t hy_bf16_bits(hy_real x)
{
    const float f = (float)x;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    const uint32_t rounded = bits + 0x7fff + (bits >> 16 & 1);
    return (bits & 0x7fffffff) > 0x7f800000 ? bits | 0x400000 : rounded;
}

static inline hy_bf16 hy_bf16_of(hy_real x)
{
    return (hy_bf16)(hy_bf16_bits(x) >> 16);
}

static inline float hy_bf16_value(hy_bf16 x)
{
    const uint32_t bits = (uint32_t)x << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* y [m, n], without gaps, = x [m, n] rounded. */
static inline void hy_bf16_round(int64_t m, int64_t n, const hy_real *x, int64_t ldx, hy_bf16 *y)
{
    for (int64_t i = 0; i < m; i++, x += ldx, y += n)
#pragma omp simd
        for (int64_t c = 0; c < n; c++)
            y[c] = hy_bf16_of(x[c]);
}

#endif
