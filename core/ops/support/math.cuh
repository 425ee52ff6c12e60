/* math.cuh - the functions of core/ops/support/vec.h on a device. */
#ifndef HY_OPS_SUPPORT_MATH_CUH
#define HY_OPS_SUPPORT_MATH_CUH

#include "core/graph/cuda.cuh"

__device__ static inline float hy_sigmoid(float x)
{
    return 1 / (1 + expf(-x));
}

__device__ static inline float hy_silu(float x)
{
    return x / (1 + expf(-x));
}

/* d silu / dx, given s = sigmoid(x). */
__device__ static inline float hy_silu_slope(float x, float s)
{
    return s + s * x * (1 - s);
}

/* log(1 + e^x) */
__device__ static inline float hy_softplus(float x)
{
    return fmaxf(x, 0) + log1pf(expf(-fabsf(x)));
}

__device__ static inline float hy_log_sigmoid(float x)
{
    return -hy_softplus(-x);
}

#endif
