/* pack.h - a head's columns of a tensor, copied to rows that are padded to whole vectors, and back:
 * what fused kernels do before and after they multiply (core/ops/products/micro.h). */
#ifndef HY_OPS_SUPPORT_PACK_H
#define HY_OPS_SUPPORT_PACK_H

#include <string.h>

#include "core/graph/graph.h"
#include "core/ops/products/micro.h"

/* The next count numbers of scratch. */
static inline hy_real *hy_carve(hy_real **next, int64_t count)
{
    hy_real *part = *next;
    *next += count;
    return part;
}

/* Columns of one head, of that width, from a row on; NULL where there is no tensor. */
static inline hy_real *hy_head_of(const struct hy_tensor *t, int replica, int64_t row, int64_t head,
                                  int width)
{
    return t ? hy_real_data(t, replica) + row * t->ld + head * width : NULL;
}

/* to[padded_rows, padded_width] = factor * from[rows, width], zero beyond it. */
static inline void hy_pack(const hy_real *from, int64_t ld, int64_t rows, int64_t width,
                           hy_real factor, int64_t padded_rows, int64_t padded_width, hy_real *to)
{
    enum { AHEAD = 8 }; /* rows */
    for (int64_t i = 0; i < rows; i++, from += ld, to += padded_width) {
        /* A head's piece of a row is too short for the hardware to see a stream in. */
        for (int64_t c = 0; c < width; c += HY_LANES)
            __builtin_prefetch(from + AHEAD * ld + c);
#pragma omp simd
        for (int64_t c = 0; c < width; c++)
            to[c] = factor * from[c];
        for (int64_t c = width; c < padded_width; c++)
            to[c] = 0;
    }
    memset(to, 0, (size_t)((padded_rows - rows) * padded_width) * sizeof *to);
}

/* to[rows, width] = factor * from, or grows by that. */
static inline void hy_unpack(const hy_real *from, int64_t padded_width, hy_real factor,
                             int64_t rows, int64_t width, int add, hy_real *to, int64_t ld)
{
    for (int64_t i = 0; i < rows; i++, from += padded_width, to += ld)
#pragma omp simd
        for (int64_t c = 0; c < width; c++)
            to[c] = (add ? to[c] : 0) + factor * from[c];
}

#endif
