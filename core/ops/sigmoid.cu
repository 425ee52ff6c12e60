/* sigmoid.cu - the twin of sigmoid.c. */
#include "core/ops/support/math.cuh"
#include "core/ops/support/pack.cuh"

template <int V> __global__ static void forward(struct hy_span x, struct hy_span y, float scale)
{
    HY_EACH_PACK(V, x.rows, x.cols, i, c)
    {
        hy_pack<V> v = hy_take<V>(x, i, c);
        for (int k = 0; k < V; k++)
            v.at[k] = scale * hy_sigmoid(v.at[k]);
        hy_give(y, i, c, v);
    }
}

template <int V>
__global__ static void backward(struct hy_span y, struct hy_span dy, struct hy_span dx, float share)
{
    HY_EACH_PACK(V, y.rows, y.cols, i, c)
    {
        const hy_pack<V> v = hy_take<V>(y, i, c);
        hy_pack<V> d = hy_take<V>(dy, i, c);
        for (int k = 0; k < V; k++)
            d.at[k] *= v.at[k] * (1 - v.at[k] * share);
        hy_give(dx, i, c, d);
    }
}

static float scale_of(const struct hy_op *op)
{
    return (float)*(const double *)op->attr;
}

static void sigmoid_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), y = hy_span_of(op->out[0]);
    const int four = hy_all_by_four(x, y);
    const struct hy_walk walk = hy_walk_of(at, x.rows, four ? x.cols / 4 : x.cols);
    hy_start(at, walk.grid, walk.block, 0, four ? forward<4> : forward<1>, x, y, scale_of(op));
}

static void sigmoid_backward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span y = hy_span_of(op->out[0]), dy = hy_span_of(op->dout[0]);
    const struct hy_span dx = hy_span_din(op, 0);
    const int four = hy_all_by_four(y, dy, dx);
    const struct hy_walk walk = hy_walk_of(at, y.rows, four ? y.cols / 4 : y.cols);
    hy_start(at, walk.grid, walk.block, 0, four ? backward<4> : backward<1>, y, dy, dx,
             1 / scale_of(op));
}

HY_CUDA_KIND(sigmoid) = {sigmoid_forward, sigmoid_backward, NULL};
