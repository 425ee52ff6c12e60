/* silu.cu - the twin of silu.c. */
#include "core/graph/cuda.cuh"

__device__ static inline float sigmoid(float x)
{
    return 1 / (1 + expf(-x));
}

__global__ static void forward(struct hy_span x, struct hy_span y)
{
    HY_EACH(x.rows, x.cols, i, c)
    {
        const float v = hy_row(x, i)[c];
        hy_row(y, i)[c] = v * sigmoid(v);
    }
}

__global__ static void backward(struct hy_span x, struct hy_span dy, struct hy_span dx)
{
    HY_EACH(x.rows, x.cols, i, c)
    {
        const float v = hy_row(x, i)[c], s = sigmoid(v);
        const float d = hy_row(dy, i)[c] * s * (1 + v * (1 - s));
        float *to = hy_row(dx, i) + c;
        *to = (dx.add ? *to : 0) + d;
    }
}

static void silu_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), y = hy_span_of(op->out[0]);
    const struct hy_walk walk = hy_walk_of(at, x.rows, x.cols);
    hy_start(at, walk.grid, walk.block, 0, forward, x, y);
}

static void silu_backward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), dy = hy_span_of(op->dout[0]);
    const struct hy_span dx = hy_span_din(op, 0);
    const struct hy_walk walk = hy_walk_of(at, x.rows, x.cols);
    hy_start(at, walk.grid, walk.block, 0, backward, x, dy, dx);
}

HY_CUDA_KIND(silu) = {silu_forward, silu_backward, NULL};
