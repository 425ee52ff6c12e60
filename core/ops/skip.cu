/* skip.cu - the twin of skip.c. */
#include "core/ops/support/sums.cuh"

/* width: columns of a head. */
template <int V>
__global__ static void forward(struct hy_span o, struct hy_span x, struct hy_span d,
                               struct hy_span y, int64_t width)
{
    const int64_t c = hy_strip_column<V>();
    if (c >= x.cols)
        return;
    const float factor = hy_row(d, 0)[c / width];
    HY_STRIP(x.rows, i)
    {
        const hy_pack<V> v = hy_take<V>(x, i, c);
        hy_pack<V> sum = hy_take<V>(o, i, c);
        for (int k = 0; k < V; k++)
            sum.at[k] += factor * v.at[k];
        hy_give(y, i, c, sum);
    }
}

template <int V>
__global__ static void backward(struct hy_span x, struct hy_span d, struct hy_span dy,
                                struct hy_span d_o, struct hy_span dx, struct hy_span parts,
                                int64_t width)
{
    const int64_t c = hy_strip_column<V>();
    hy_pack<V> sum = {};
    if (c < x.cols) {
        const float factor = hy_row(d, 0)[c / width];
        HY_STRIP(x.rows, i)
        {
            const hy_pack<V> v = hy_take<V>(x, i, c), given = hy_take<V>(dy, i, c);
            hy_pack<V> scaled;
            for (int k = 0; k < V; k++) {
                scaled.at[k] = factor * given.at[k];
                sum.at[k] += given.at[k] * v.at[k];
            }
            hy_give(d_o, i, c, given);
            hy_give(dx, i, c, scaled);
        }
    }
    hy_strip_sum(sum, c, parts);
}

static int64_t width_of(const struct hy_op *op)
{
    return op->in[0]->cols / op->in[2]->cols;
}

static size_t skip_scratch(const struct hy_op *op)
{
    return op->din[2] ? hy_parts_bytes(op->in[0]->rows, op->in[0]->cols) : 0;
}

static void skip_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span o = hy_span_of(op->in[0]), x = hy_span_of(op->in[1]);
    const struct hy_span d = hy_span_of(op->in[2]), y = hy_span_of(op->out[0]);
    const int64_t width = width_of(op);
    const int four = hy_all_by_four(o, x, y) && width % 4 == 0;
    const struct hy_walk walk = hy_strips_of(at, x.rows, x.cols, four ? 4 : 1);
    hy_start(at, walk.grid, walk.block, 0, four ? forward<4> : forward<1>, o, x, d, y, width);
}

static void skip_backward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[1]), d = hy_span_of(op->in[2]);
    const struct hy_span dy = hy_span_of(op->dout[0]), d_o = hy_span_din(op, 0);
    const struct hy_span dx = hy_span_din(op, 1), dd = hy_span_din(op, 2);
    const int64_t width = width_of(op);
    struct hy_span parts = {};
    if (dd.data)
        parts = hy_span_parts(op, 0, x.rows, x.cols);
    const int four = hy_all_by_four(x, dy, d_o, dx, parts) && width % 4 == 0;
    const struct hy_walk walk = hy_strips_of(at, x.rows, x.cols, four ? 4 : 1);
    hy_start(at, walk.grid, walk.block, 0, four ? backward<4> : backward<1>, x, d, dy, d_o, dx,
             parts, width);
    if (dd.data)
        hy_fold_sums(at, parts, dd, width, width, 1);
}

HY_CUDA_KIND(skip) = {skip_forward, skip_backward, skip_scratch};
