/* add_norm.cu - the twin of add_norm.c. */
#include "core/ops/support/norm.cuh"

template <int V>
__global__ static void forward(struct hy_norm n, struct hy_span a, struct hy_span b,
                               struct hy_span w, struct hy_span sum, struct hy_span y)
{
    HY_EACH_UNIT(a.rows, n, i, c)
    {
        HY_EACH_LANE(V, n.width, k)
        {
            hy_pack<V> v = hy_take<V>(a, i, k);
            const hy_pack<V> more = hy_take<V>(b, i, k);
            for (int j = 0; j < V; j++)
                v.at[j] += more.at[j];
            hy_give(sum, i, k, v);
        }
        /* A lane reads what it has written itself. */
        hy_weighted_norm<V>(n, sum, w, i, c, y);
    }
}

/* Both inputs get the row's gradient; b only where autograd gave it its own tensor. */
template <int V>
__global__ static void backward(struct hy_norm n, struct hy_span sum, struct hy_span w,
                                struct hy_span dsum, struct hy_span dy, struct hy_span da,
                                struct hy_span db, struct hy_span parts)
{
    HY_SHARED(float, sums);
    hy_weight_clear<V>(sums, n);
    HY_EACH_UNIT(sum.rows, n, i, c)
    {
        float f;
        const float back = hy_weighted_back<V>(n, sum, w, dy, i, c, &f);
        HY_EACH_LANE(V, n.width, k)
        {
            const hy_pack<V> v = hy_take<V>(sum, i, c + k), given = hy_take<V>(dy, i, c + k);
            const hy_pack<V> weight = hy_take<V>(w, 0, k);
            hy_pack<V> d = hy_take<V>(dsum, i, c + k), dw;
            for (int j = 0; j < V; j++) {
                d.at[j] += f * weight.at[j] * given.at[j] - back * v.at[j];
                dw.at[j] = f * v.at[j] * given.at[j];
            }
            hy_give(da, i, c + k, d);
            hy_give(db, i, c + k, d);
            hy_weight_add(sums, n, k, dw);
        }
    }
    hy_weight_part(sums, n, parts);
}

static struct hy_norm norm_of(const struct hy_op *op)
{
    const int64_t width = op->in[0]->cols;
    return {width, 1, 1 / (float)width, (float)*(const double *)op->attr};
}

static size_t add_norm_scratch(const struct hy_op *op)
{
    return hy_weight_bytes(op, 2, norm_of(op));
}

static void add_norm_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span a = hy_span_of(op->in[0]), b = hy_span_of(op->in[1]);
    const struct hy_span w = hy_span_of(op->in[2]);
    const struct hy_span sum = hy_span_of(op->out[0]), y = hy_span_of(op->out[1]);
    const struct hy_norm n = norm_of(op);
    const int four = hy_all_by_four(a, b, w, sum, y);
    const struct hy_walk walk = hy_units_of(at, a.rows, n, four ? 4 : 1);
    hy_start(at, walk.grid, walk.block, 0, four ? forward<4> : forward<1>, n, a, b, w, sum, y);
}

static void add_norm_backward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span sum = hy_span_of(op->out[0]), w = hy_span_of(op->in[2]);
    const struct hy_span dsum = hy_span_of(op->dout[0]), dy = hy_span_of(op->dout[1]);
    const struct hy_span da = hy_span_din(op, 0), db = hy_span_din(op, 1);
    const struct hy_norm n = norm_of(op);
    const struct hy_span parts = hy_weight_parts(op, 2, n);
    const int four = hy_all_by_four(sum, w, dsum, dy, da, db);
    size_t bytes;
    const struct hy_walk walk = hy_unit_parts_of(at, sum.rows, n, four ? 4 : 1, &bytes);
    hy_start(at, walk.grid, walk.block, bytes, four ? backward<4> : backward<1>, n, sum, w, dsum,
             dy, da, db, parts);
    hy_weight_fold(op, at, 2, parts);
}

HY_CUDA_KIND(add_norm) = {add_norm_forward, add_norm_backward, add_norm_scratch};
