/* constant.cu - the twin of constant.c: the values travel as arguments of launches, which a
 * captured run keeps. */
#include "core/graph/cuda.cuh"

#include <string.h>

extern "C" {
#include "core/ops/support/attr.h"
}

enum { VALUES = 256 }; /* of one launch, whose arguments take 4 KiB at most */

/* Floats or integers: 32 bits each. */
struct values {
    uint32_t at[VALUES];
};

__global__ static void spread(struct values v, int64_t first, struct hy_span y)
{
    const int64_t k = first + threadIdx.x;
    if (k < y.rows * y.cols)
        ((uint32_t *)hy_row(y, k / y.cols))[k % y.cols] = v.at[threadIdx.x];
}

static uint32_t bits_of(const struct hy_tensor *y, double value)
{
    const float real = (float)value;
    uint32_t bits;
    if (y->dtype == HY_INT32)
        return (uint32_t)(int32_t)value;
    memcpy(&bits, &real, sizeof bits);
    return bits;
}

static void constant_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_constant_attr *s = (const struct hy_constant_attr *)op->attr;
    const struct hy_span y = hy_span_of(op->out[0]);
    for (int64_t first = 0; first < y.rows * y.cols; first += VALUES) {
        struct values v = {};
        for (int64_t k = 0; k < VALUES && first + k < y.rows * y.cols; k++)
            v.at[k] = bits_of(op->out[0], s->value(first + k, s->a));
        hy_start(at, dim3(1, 1, (unsigned)at->replicas), dim3(VALUES), 0, spread, v, first, y);
    }
}

HY_CUDA_KIND(constant) = {constant_forward, NULL, NULL};
