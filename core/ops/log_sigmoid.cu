/* log_sigmoid.cu - the twin of log_sigmoid.c. */
#include "core/ops/support/math.cuh"
#include "core/ops/support/sums.cuh"

template <int V>
__global__ static void forward(struct hy_span x, struct hy_span bias, struct hy_span y, float share)
{
    const int64_t c = hy_strip_column<V>();
    if (c >= x.cols)
        return;
    const hy_pack<V> b = hy_take<V>(bias, 0, c);
    HY_STRIP(x.rows, i)
    {
        hy_pack<V> v = hy_take<V>(x, i, c);
        for (int k = 0; k < V; k++)
            v.at[k] = share * hy_log_sigmoid(v.at[k] + b.at[k]);
        hy_give(y, i, c, v);
    }
}

template <int V>
__global__ static void backward(struct hy_span x, struct hy_span bias, struct hy_span dy,
                                struct hy_span dx, struct hy_span parts, float share)
{
    const int64_t c = hy_strip_column<V>();
    hy_pack<V> sum = {};
    if (c < x.cols) {
        const hy_pack<V> b = hy_take<V>(bias, 0, c);
        HY_STRIP(x.rows, i)
        {
            const hy_pack<V> v = hy_take<V>(x, i, c);
            hy_pack<V> d = hy_take<V>(dy, i, c);
            for (int k = 0; k < V; k++) {
                d.at[k] *= share * hy_sigmoid(-v.at[k] - b.at[k]);
                sum.at[k] += d.at[k];
            }
            hy_give(dx, i, c, d);
        }
    }
    hy_strip_sum(sum, c, parts);
}

static float share_of(const struct hy_op *op)
{
    return (float)(1 / *(const double *)op->attr);
}

static size_t log_sigmoid_scratch(const struct hy_op *op)
{
    return op->din[1] ? hy_parts_bytes(op->in[0]->rows, op->in[0]->cols) : 0;
}

static void log_sigmoid_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), bias = hy_span_of(op->in[1]);
    const struct hy_span y = hy_span_of(op->out[0]);
    const int four = hy_all_by_four(x, bias, y);
    const struct hy_walk walk = hy_strips_of(at, x.rows, x.cols, four ? 4 : 1);
    hy_start(at, walk.grid, walk.block, 0, four ? forward<4> : forward<1>, x, bias, y,
             share_of(op));
}

static void log_sigmoid_backward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), bias = hy_span_of(op->in[1]);
    const struct hy_span dy = hy_span_of(op->dout[0]);
    const struct hy_span dx = hy_span_din(op, 0), dbias = hy_span_din(op, 1);
    struct hy_span parts = {};
    if (dbias.data)
        parts = hy_span_parts(op, 0, x.rows, x.cols);
    const int four = hy_all_by_four(x, bias, dy, dx, parts);
    const struct hy_walk walk = hy_strips_of(at, x.rows, x.cols, four ? 4 : 1);
    hy_start(at, walk.grid, walk.block, 0, four ? backward<4> : backward<1>, x, bias, dy, dx, parts,
             share_of(op));
    if (dbias.data)
        hy_fold_sums(at, parts, dbias, 1, 1, 0);
}

HY_CUDA_KIND(log_sigmoid) = {log_sigmoid_forward, log_sigmoid_backward, log_sigmoid_scratch};
