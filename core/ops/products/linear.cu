/* linear.cu - the twin of linear.c: cuBLAS, and kernels for the bias. */
#include "core/ops/support/sums.cuh"

template <int V> __global__ static void spread_bias(struct hy_span bias, struct hy_span y)
{
    HY_EACH_PACK(V, y.rows, y.cols, i, c)
    hy_give(y, i, c, hy_take<V>(bias, 0, c));
}

template <int V> __global__ static void sum_columns(struct hy_span dy, struct hy_span parts)
{
    const int64_t c = hy_strip_column<V>();
    hy_pack<V> sum = {};
    if (c < dy.cols)
        HY_STRIP(dy.rows, i)
        {
            const hy_pack<V> d = hy_take<V>(dy, i, c);
            for (int k = 0; k < V; k++)
                sum.at[k] += d.at[k];
        }
    hy_strip_sum(sum, c, parts);
}

static size_t linear_scratch(const struct hy_op *op)
{
    return op->din[2] ? hy_parts_bytes(op->dout[0]->rows, op->dout[0]->cols) : 0;
}

static void backward_bias(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span dy = hy_span_of(op->dout[0]);
    const struct hy_span parts = hy_span_parts(op, 0, dy.rows, dy.cols);
    const int four = hy_all_by_four(dy, parts);
    const struct hy_walk walk = hy_strips_of(at, dy.rows, dy.cols, four ? 4 : 1);
    hy_start(at, walk.grid, walk.block, 0, four ? sum_columns<4> : sum_columns<1>, dy, parts);
    hy_fold_sums(at, parts, hy_span_din(op, 2), 1, 1, 0);
}

static void linear_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), w = hy_span_of(op->in[1]);
    const struct hy_span bias = hy_span_of(op->in[2]), y = hy_span_of(op->out[0]);
    const int four = hy_all_by_four(bias, y);
    const struct hy_walk walk = hy_walk_of(at, y.rows, four ? y.cols / 4 : y.cols);
    if (bias.data)
        hy_start(at, walk.grid, walk.block, 0, four ? spread_bias<4> : spread_bias<1>, bias, y);
    hy_cuda_gemm(at, 0, 1, y.rows, y.cols, x.cols, 1, x, w, bias.data ? 1 : 0, y);
}

static void linear_backward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), w = hy_span_of(op->in[1]);
    const struct hy_span dy = hy_span_of(op->dout[0]);
    const struct hy_span dx = hy_span_din(op, 0), dw = hy_span_din(op, 1);
    if (dx.data)
        hy_cuda_gemm(at, 0, 0, x.rows, x.cols, w.rows, 1, dy, w, (float)dx.add, dx);
    if (dw.data)
        hy_cuda_gemm(at, 1, 0, w.rows, x.cols, x.rows, 1, dy, x, (float)dw.add, dw);
    if (op->din[2])
        backward_bias(op, at);
}

HY_CUDA_KIND(linear) = {linear_forward, linear_backward, linear_scratch};
