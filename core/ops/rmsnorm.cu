/* rmsnorm.cu - the twin of rmsnorm.c. */
#include "core/ops/support/norm.cuh"

template <int V>
__global__ static void forward(struct hy_norm n, struct hy_span x, struct hy_span w,
                               struct hy_span y)
{
    HY_EACH_UNIT(x.rows, n, i, c)
    {
        hy_weighted_norm<V>(n, x, w, i, c, y);
    }
}

template <int V>
__global__ static void backward(struct hy_norm n, struct hy_span x, struct hy_span w,
                                struct hy_span dy, struct hy_span dx, struct hy_span parts)
{
    HY_SHARED(float, sums);
    hy_weight_clear<V>(sums, n);
    HY_EACH_UNIT(x.rows, n, i, c)
    {
        float f;
        const float back = hy_weighted_back<V>(n, x, w, dy, i, c, &f);
        HY_EACH_LANE(V, n.width, k)
        {
            const hy_pack<V> v = hy_take<V>(x, i, c + k), given = hy_take<V>(dy, i, c + k);
            const hy_pack<V> weight = hy_take<V>(w, 0, k);
            hy_pack<V> d, dw;
            for (int j = 0; j < V; j++) {
                d.at[j] = f * weight.at[j] * given.at[j] - back * v.at[j];
                dw.at[j] = f * v.at[j] * given.at[j];
            }
            hy_give(dx, i, c + k, d);
            hy_weight_add(sums, n, k, dw);
        }
    }
    hy_weight_part(sums, n, parts);
}

static struct hy_norm norm_of(const struct hy_op *op)
{
    const int64_t width = op->in[1]->cols;
    return {width, op->in[0]->cols / width, 1 / (float)width, (float)*(const double *)op->attr};
}

static size_t rmsnorm_scratch(const struct hy_op *op)
{
    return hy_weight_bytes(op, 1, norm_of(op));
}

static void rmsnorm_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), w = hy_span_of(op->in[1]);
    const struct hy_span y = hy_span_of(op->out[0]);
    const struct hy_norm n = norm_of(op);
    const int four = hy_all_by_four(x, w, y);
    const struct hy_walk walk = hy_units_of(at, x.rows, n, four ? 4 : 1);
    hy_start(at, walk.grid, walk.block, 0, four ? forward<4> : forward<1>, n, x, w, y);
}

static void rmsnorm_backward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), w = hy_span_of(op->in[1]);
    const struct hy_span dy = hy_span_of(op->dout[0]), dx = hy_span_din(op, 0);
    const struct hy_norm n = norm_of(op);
    const struct hy_span parts = hy_weight_parts(op, 1, n);
    const int four = hy_all_by_four(x, w, dy, dx);
    size_t bytes;
    const struct hy_walk walk = hy_unit_parts_of(at, x.rows, n, four ? 4 : 1, &bytes);
    hy_start(at, walk.grid, walk.block, bytes, four ? backward<4> : backward<1>, n, x, w, dy, dx,
             parts);
    hy_weight_fold(op, at, 1, parts);
}

HY_CUDA_KIND(rmsnorm) = {rmsnorm_forward, rmsnorm_backward, rmsnorm_scratch};
