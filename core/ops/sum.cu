/* sum.cu - the twin of sum.c: a launch for each of the summands. */
#include "core/ops/support/pack.cuh"

template <int V> __global__ static void scaled(struct hy_span x, struct hy_span y, float scale)
{
    HY_EACH_PACK(V, x.rows, x.cols, i, c)
    {
        hy_pack<V> v = hy_take<V>(x, i, c);
        for (int k = 0; k < V; k++)
            v.at[k] *= scale;
        hy_give(y, i, c, v);
    }
}

static void launch(const struct hy_op *op, const struct hy_launch *at, struct hy_span x,
                   struct hy_span y)
{
    const int four = hy_all_by_four(x, y);
    const struct hy_walk walk = hy_walk_of(at, x.rows, four ? x.cols / 4 : x.cols);
    hy_start(at, walk.grid, walk.block, 0, four ? scaled<4> : scaled<1>, x, y,
             (float)*(const double *)op->attr);
}

static void sum_forward(const struct hy_op *op, const struct hy_launch *at)
{
    struct hy_span y = hy_span_of(op->out[0]);
    for (int k = 0; k < op->inputs; k++) {
        y.add = k > 0;
        launch(op, at, hy_span_of(op->in[k]), y);
    }
}

static void sum_backward(const struct hy_op *op, const struct hy_launch *at)
{
    for (int k = 0; k < op->inputs; k++)
        if (op->din[k])
            launch(op, at, hy_span_of(op->dout[0]), hy_span_din(op, k));
}

HY_CUDA_KIND(sum) = {sum_forward, sum_backward, NULL};
