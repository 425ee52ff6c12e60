/* norm.h - the row arithmetic that the norms share.
 *
 * f = 1 / sqrt(share * sum x^2 + eps), y = f x w. With u = dy w:
 * dx = f u - share f^3 (sum u x) x, dw = sum over rows of f x dy. */
#ifndef HY_OPS_SUPPORT_NORM_H
#define HY_OPS_SUPPORT_NORM_H

#include "core/ops/support/vec.h"

static inline hy_real hy_norm_factor(const hy_real *x, int64_t n, hy_real share, hy_real eps)
{
    hy_real squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < n; i++)
        squares += x[i] * x[i];
    return 1 / hy_sqrt(share * squares + eps);
}

static inline void hy_norm_row(const hy_real *x, const hy_real *w, int64_t n, hy_real eps,
                               hy_real *y)
{
    const hy_real f = hy_norm_factor(x, n, 1 / (hy_real)n, eps);
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * f * w[i];
}

/* dx = [add: dx +] carry + the norm's; carry may be NULL. dw is added to. */
static inline void hy_norm_row_backward(const hy_real *x, const hy_real *w, const hy_real *dy,
                                        int64_t n, hy_real eps, const hy_real *carry, int add,
                                        hy_real *dx, hy_real *dw)
{
    const hy_real share = 1 / (hy_real)n;
    hy_real squares = 0, dot = 0;
#pragma omp simd reduction(+ : squares, dot)
    for (int64_t i = 0; i < n; i++) {
        squares += x[i] * x[i];
        dot += x[i] * w[i] * dy[i];
    }
    const hy_real f = 1 / hy_sqrt(share * squares + eps), c = share * f * f * f * dot;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const hy_real d = f * w[i] * dy[i] - c * x[i];
        dw[i] += f * x[i] * dy[i];
        dx[i] = (add ? dx[i] : 0) + (carry ? carry[i] : 0) + d;
    }
}

#endif
