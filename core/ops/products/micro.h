/* micro.h - products of small matrices that stay in cache, for kernels that fuse a block's work.
 *
 * A vector of HY_LANES numbers is the unit: widths are padded to multiples of it, so that no kernel
 * has edges. One call costs tens of cycles, where a library's costs hundreds. */
#ifndef HY_OPS_PRODUCTS_MICRO_H
#define HY_OPS_PRODUCTS_MICRO_H

#include <stdint.h>

#include "core/graph/real.h"

enum { HY_VECTOR_BYTES = 64, HY_LANES = HY_VECTOR_BYTES / (int)sizeof(hy_real) };

/* Loads and stores need no more than the alignment of a number. */
typedef hy_real hy_vec
    __attribute__((vector_size(HY_VECTOR_BYTES), aligned(sizeof(hy_real)), may_alias));

#ifdef HY_DOUBLE
typedef int64_t hy_lane_index __attribute__((vector_size(HY_VECTOR_BYTES)));
static const hy_lane_index hy_lane_numbers = {0, 1, 2, 3, 4, 5, 6, 7};
#else
typedef int32_t hy_lane_index __attribute__((vector_size(HY_VECTOR_BYTES)));
static const hy_lane_index hy_lane_numbers = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#endif

/* Without AVX-512 the compiler splits vectors, and warns of a calling convention that no call here
 * uses: vectors are only passed to functions that are inlined. */
#pragma GCC diagnostic ignored "-Wpsabi"

static inline int64_t hy_lanes_up(int64_t width)
{
    return (width + HY_LANES - 1) / HY_LANES * HY_LANES;
}
static inline hy_vec hy_vec_load(const hy_real *p)
{
    return *(const hy_vec *)p;
}
static inline void hy_vec_store(hy_real *p, hy_vec x)
{
    *(hy_vec *)p = x;
}
static inline hy_vec hy_vec_all(hy_real x)
{
    return x - (hy_vec){0};
}
/* Lane i: element from[i] of a and b, one behind the other. */
static inline hy_vec hy_vec_shuffle(hy_vec a, hy_vec b, hy_lane_index from)
{
#ifdef __clang__ /* has shuffles by constants alone; it builds what is fuzzed, not what is fast */
    hy_vec out = a;
    for (int i = 0; i < HY_LANES; i++)
        out[i] = from[i] < HY_LANES ? a[from[i]] : b[from[i] - HY_LANES];
    return out;
#else
    return __builtin_shuffle(a, b, from);
#endif
}
/* x in lane i, 0 in the others; all 0 where there is no lane i. */
static inline hy_vec hy_vec_only(hy_vec x, int i)
{
    return (hy_vec)((hy_lane_index)x & (hy_lane_numbers == i));
}
static inline hy_real hy_vec_sum(hy_vec x)
{
#pragma GCC unroll 4
    for (int apart = HY_LANES / 2; apart > 0; apart /= 2)
        x += hy_vec_shuffle(x, x, hy_lane_numbers ^ apart);
    return x[0];
}

/* The left operand of a product: element (i, p) at data[i * row + p * col], so either way round. */
struct hy_left {
    const hy_real *data;
    int64_t row, col;
};

/* c[m, n] = keep[i] * from[i, :] + a[m, k] b[k, n]. from NULL: zero; it may be c, and has c's ld.
 * keep NULL: 1. m and n are multiples of HY_LANES; b and c are row-major. In bf16 a and b are
 * rounded, and k is a multiple of HY_LANES too. */
void hy_micro_mul(enum hy_precision precision, int64_t m, int64_t n, int64_t k, struct hy_left a,
                  const hy_real *b, int64_t ldb, const hy_real *from, const hy_real *keep,
                  hy_real *c, int64_t ldc);
/* hy_micro_mul in bf16, for operands of any size; hy_micro_mul knows when it pays. */
void hy_micro_mul_bf16(int64_t m, int64_t n, int64_t k, struct hy_left a, const hy_real *b,
                       int64_t ldb, const hy_real *from, const hy_real *keep, hy_real *c,
                       int64_t ldc);

/* y[n, m] = x[m, n] transposed; m and n are multiples of HY_LANES. */
void hy_micro_transpose(int64_t m, int64_t n, const hy_real *x, int64_t ldx, hy_real *y,
                        int64_t ldy);

#endif
