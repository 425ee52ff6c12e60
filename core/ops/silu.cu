/* silu.cu - the twin of silu.c. */
#include "core/ops/support/math.cuh"
#include "core/ops/support/pack.cuh"

template <int V> __global__ static void forward(struct hy_span x, struct hy_span y)
{
    HY_EACH_PACK(V, x.rows, x.cols, i, c)
    {
        hy_pack<V> v = hy_take<V>(x, i, c);
        for (int k = 0; k < V; k++)
            v.at[k] = hy_silu(v.at[k]);
        hy_give(y, i, c, v);
    }
}

template <int V>
__global__ static void backward(struct hy_span x, struct hy_span dy, struct hy_span dx)
{
    HY_EACH_PACK(V, x.rows, x.cols, i, c)
    {
        const hy_pack<V> v = hy_take<V>(x, i, c);
        hy_pack<V> d = hy_take<V>(dy, i, c);
        for (int k = 0; k < V; k++)
            d.at[k] *= hy_silu_slope(v.at[k], hy_sigmoid(v.at[k]));
        hy_give(dx, i, c, d);
    }
}

static void silu_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), y = hy_span_of(op->out[0]);
    const int four = hy_all_by_four(x, y);
    const struct hy_walk walk = hy_walk_of(at, x.rows, four ? x.cols / 4 : x.cols);
    hy_start(at, walk.grid, walk.block, 0, four ? forward<4> : forward<1>, x, y);
}

static void silu_backward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), dy = hy_span_of(op->dout[0]);
    const struct hy_span dx = hy_span_din(op, 0);
    const int four = hy_all_by_four(x, dy, dx);
    const struct hy_walk walk = hy_walk_of(at, x.rows, four ? x.cols / 4 : x.cols);
    hy_start(at, walk.grid, walk.block, 0, four ? backward<4> : backward<1>, x, dy, dx);
}

HY_CUDA_KIND(silu) = {silu_forward, silu_backward, NULL};
