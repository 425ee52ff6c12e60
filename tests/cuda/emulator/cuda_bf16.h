/* cuda_bf16.h - stands in for CUDA's header: the type, and conversion to nearest even. */
#ifndef HY_TESTS_EMULATOR_CUDA_BF16_H
#define HY_TESTS_EMULATOR_CUDA_BF16_H

#include "tests/cuda/emulator/cuda_runtime.h"

extern "C" {
#include "core/graph/bf16.h"
}

struct __nv_bfloat16 {
    uint16_t bits;
};
struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};

static inline __nv_bfloat16 __float2bfloat16(float x)
{
    return {hy_bf16_of(x)};
}
static inline __nv_bfloat16 __float2bfloat16_rn(float x)
{
    return {hy_bf16_of(x)};
}
static inline float __bfloat162float(__nv_bfloat16 x)
{
    return hy_bf16_value(x.bits);
}
static inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y)
{
    return {{hy_bf16_of(x)}, {hy_bf16_of(y)}};
}

#endif
