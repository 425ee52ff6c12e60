/* zero.cu - the twin of autograd's clearing of a gradient that nothing writes. */
#include "core/graph/cuda.cuh"

__global__ static void zero(struct hy_span t)
{
    HY_EACH(t.rows, t.cols, i, c)
    hy_row(t, i)[c] = 0;
}

static void zero_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span t = hy_span_of(op->out[0]);
    const struct hy_walk walk = hy_walk_of(at, t.rows, t.cols);
    hy_start(at, walk.grid, walk.block, 0, zero, t);
}

HY_CUDA_KIND(zero) = {zero_forward, NULL, NULL};
