/* window.h - which keys a query of hy_attention sees, and what a cache holds of them. Keys are
 * counted from the first of the sequence, or from the first that a run's first query sees: a
 * terrace begins there as well. */
#ifndef HY_OPS_SUPPORT_WINDOW_H
#define HY_OPS_SUPPORT_WINDOW_H

#include "core/ops/attention.h"

/* Also of kernels for devices. */
#ifdef __cplusplus
#define HY_WINDOW_FUNCTION __host__ __device__ static inline
#else
#define HY_WINDOW_FUNCTION static inline
#endif

/* The first key of the window of query t; window: at least 1. */
HY_WINDOW_FUNCTION int64_t hy_window_first(int64_t window, int terraced, int64_t t)
{
    return t < window ? 0 : terraced ? (t / window - 1) * window : t - window + 1;
}

/* The first key that query t sees. */
static inline int64_t hy_window_low(const struct hy_attention *a, int64_t t)
{
    return a->window ? hy_window_first(a->window, a->terraced, t) : 0;
}

/* One past the last. */
static inline int64_t hy_window_high(const struct hy_attention *a, int64_t t)
{
    return a->first && a->first <= t ? a->first : t + 1;
}

/* Positions that a cache holds of a sequence. */
static inline int64_t hy_window_kept(const struct hy_attention *a, const struct hy_shape *shape)
{
    return !a->window ? shape->context : a->terraced ? 2 * (int64_t)a->window : a->window;
}

/* Keys from before a run that its queries may see, at most. */
static inline int64_t hy_window_before(const struct hy_attention *a, const struct hy_shape *shape)
{
    return a->window ? hy_window_kept(a, shape) - 1 : shape->context - shape->tokens;
}

#endif
