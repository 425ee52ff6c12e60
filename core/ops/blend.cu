/* blend.cu - the twin of blend.c. */
#include "core/ops/support/sums.cuh"

template <int V>
__global__ static void forward(struct hy_span a, struct hy_span b, struct hy_span m,
                               struct hy_span y)
{
    HY_EACH_PACK(V, a.rows, a.cols, i, c)
    {
        const hy_pack<V> one = hy_take<V>(a, i, c), other = hy_take<V>(b, i, c);
        const float share = *hy_row(m, 0);
        hy_pack<V> v;
        for (int k = 0; k < V; k++)
            v.at[k] = share == 1   ? one.at[k]
                      : share == 0 ? other.at[k]
                                   : share * one.at[k] + (1 - share) * other.at[k];
        hy_give(y, i, c, v);
    }
}

template <int V>
__global__ static void backward(struct hy_span a, struct hy_span b, struct hy_span m,
                                struct hy_span dy, struct hy_span da, struct hy_span db,
                                struct hy_span parts)
{
    const int64_t c = hy_strip_column<V>();
    hy_pack<V> sum = {};
    if (c < a.cols) {
        const float share = *hy_row(m, 0);
        HY_STRIP(a.rows, i)
        {
            const hy_pack<V> one = hy_take<V>(a, i, c), other = hy_take<V>(b, i, c);
            const hy_pack<V> given = hy_take<V>(dy, i, c);
            hy_pack<V> first, second;
            for (int k = 0; k < V; k++) {
                first.at[k] = share * given.at[k];
                second.at[k] = (1 - share) * given.at[k];
                sum.at[k] += given.at[k] * (one.at[k] - other.at[k]);
            }
            hy_give(da, i, c, first);
            hy_give(db, i, c, second);
        }
    }
    hy_strip_sum(sum, c, parts);
}

static size_t blend_scratch(const struct hy_op *op)
{
    return op->din[2] ? hy_parts_bytes(op->in[0]->rows, op->in[0]->cols) : 0;
}

static void blend_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span a = hy_span_of(op->in[0]), b = hy_span_of(op->in[1]);
    const struct hy_span y = hy_span_of(op->out[0]);
    const int four = hy_all_by_four(a, b, y);
    const struct hy_walk walk = hy_walk_of(at, a.rows, four ? a.cols / 4 : a.cols);
    hy_start(at, walk.grid, walk.block, 0, four ? forward<4> : forward<1>, a, b,
             hy_span_of(op->in[2]), y);
}

static void blend_backward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span a = hy_span_of(op->in[0]), b = hy_span_of(op->in[1]);
    const struct hy_span dy = hy_span_of(op->dout[0]), da = hy_span_din(op, 0);
    const struct hy_span db = hy_span_din(op, 1), dm = hy_span_din(op, 2);
    struct hy_span parts = {};
    if (dm.data)
        parts = hy_span_parts(op, 0, a.rows, a.cols);
    const int four = hy_all_by_four(a, b, dy, da, db, parts);
    const struct hy_walk walk = hy_strips_of(at, a.rows, a.cols, four ? 4 : 1);
    hy_start(at, walk.grid, walk.block, 0, four ? backward<4> : backward<1>, a, b,
             hy_span_of(op->in[2]), dy, da, db, parts);
    if (dm.data)
        hy_fold_sums(at, parts, dm, a.cols, a.cols, 1);
}

HY_CUDA_KIND(blend) = {blend_forward, blend_backward, blend_scratch};
