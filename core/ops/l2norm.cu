/* l2norm.cu - the twin of l2norm.c. */
#include "core/ops/support/norm.cuh"

extern "C" {
#include "core/ops/support/attr.h"
}

template <int V>
__global__ static void forward(struct hy_norm n, struct hy_span x, struct hy_span y)
{
    HY_EACH_UNIT(x.rows, n, i, c)
    {
        const float f = hy_norm_factor<V>(n, x, i, c);
        HY_EACH_LANE(V, n.width, k)
        {
            hy_pack<V> v = hy_take<V>(x, i, c + k);
            for (int j = 0; j < V; j++)
                v.at[j] *= f;
            hy_give(y, i, c + k, v);
        }
    }
}

template <int V>
__global__ static void backward(struct hy_norm n, struct hy_span x, struct hy_span dy,
                                struct hy_span dx)
{
    HY_EACH_UNIT(x.rows, n, i, c)
    {
        float squares = 0, dot = 0, f;
        HY_EACH_LANE(V, n.width, k)
        {
            const hy_pack<V> v = hy_take<V>(x, i, c + k), given = hy_take<V>(dy, i, c + k);
            for (int j = 0; j < V; j++) {
                squares += v.at[j] * v.at[j];
                dot += v.at[j] * given.at[j];
            }
        }
        const float back = hy_norm_back(n, squares, dot, &f);
        HY_EACH_LANE(V, n.width, k)
        {
            const hy_pack<V> v = hy_take<V>(x, i, c + k);
            hy_pack<V> d = hy_take<V>(dy, i, c + k);
            for (int j = 0; j < V; j++)
                d.at[j] = f * d.at[j] - back * v.at[j];
            hy_give(dx, i, c + k, d);
        }
    }
}

static struct hy_norm norm_of(const struct hy_op *op)
{
    const struct hy_l2norm_attr *s = (const struct hy_l2norm_attr *)op->attr;
    return {s->width, op->in[0]->cols / s->width, 1, (float)s->eps};
}

static void l2norm_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), y = hy_span_of(op->out[0]);
    const struct hy_norm n = norm_of(op);
    const int four = hy_all_by_four(x, y) && n.width % 4 == 0;
    const struct hy_walk walk = hy_units_of(at, x.rows, n, four ? 4 : 1);
    hy_start(at, walk.grid, walk.block, 0, four ? forward<4> : forward<1>, n, x, y);
}

static void l2norm_backward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), dy = hy_span_of(op->dout[0]);
    const struct hy_span dx = hy_span_din(op, 0);
    const struct hy_norm n = norm_of(op);
    const int four = hy_all_by_four(x, dy, dx) && n.width % 4 == 0;
    const struct hy_walk walk = hy_units_of(at, x.rows, n, four ? 4 : 1);
    hy_start(at, walk.grid, walk.block, 0, four ? backward<4> : backward<1>, n, x, dy, dx);
}

HY_CUDA_KIND(l2norm) = {l2norm_forward, l2norm_backward, NULL};
