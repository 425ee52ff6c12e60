/* gated_norm.cu - the twin of gated_norm.c. */
#include "core/ops/support/math.cuh"
#include "core/ops/support/norm.cuh"

extern "C" {
#include "core/ops/support/attr.h"
}

template <int V>
__global__ static void forward(struct hy_norm n, int silu, struct hy_span x, struct hy_span gate,
                               struct hy_span w, struct hy_span y)
{
    HY_EACH_UNIT(x.rows, n, i, c)
    {
        const float f = hy_norm_factor<V>(n, x, i, c);
        HY_EACH_LANE(V, n.width, k)
        {
            hy_pack<V> v = hy_take<V>(x, i, c + k);
            const hy_pack<V> g = hy_take<V>(gate, i, c + k), weight = hy_take<V>(w, 0, k);
            for (int j = 0; j < V; j++)
                v.at[j] *= f * weight.at[j] * (silu ? g.at[j] : 1) * hy_sigmoid(g.at[j]);
            hy_give(y, i, c + k, v);
        }
    }
}

/* The gradient of what comes out of the norm. */
__device__ static inline float normed_gradient(int silu, float dy, float gate)
{
    return dy * (silu ? gate : 1) * hy_sigmoid(gate);
}

template <int V>
__global__ static void backward(struct hy_norm n, int silu, struct hy_span x, struct hy_span gate,
                                struct hy_span w, struct hy_span dy, struct hy_span dx,
                                struct hy_span dgate, struct hy_span parts)
{
    HY_SHARED(float, sums);
    hy_weight_clear<V>(sums, n);
    HY_EACH_UNIT(x.rows, n, i, c)
    {
        float squares = 0, dot = 0, f;
        HY_EACH_LANE(V, n.width, k)
        {
            const hy_pack<V> v = hy_take<V>(x, i, c + k), g = hy_take<V>(gate, i, c + k);
            const hy_pack<V> given = hy_take<V>(dy, i, c + k), weight = hy_take<V>(w, 0, k);
            for (int j = 0; j < V; j++) {
                squares += v.at[j] * v.at[j];
                dot += v.at[j] * weight.at[j] * normed_gradient(silu, given.at[j], g.at[j]);
            }
        }
        const float back = hy_norm_back(n, squares, dot, &f);
        HY_EACH_LANE(V, n.width, k)
        {
            const hy_pack<V> v = hy_take<V>(x, i, c + k), g = hy_take<V>(gate, i, c + k);
            const hy_pack<V> given = hy_take<V>(dy, i, c + k), weight = hy_take<V>(w, 0, k);
            hy_pack<V> d, dg, dw;
            for (int j = 0; j < V; j++) {
                const float s = hy_sigmoid(g.at[j]);
                const float slope = silu ? hy_silu_slope(g.at[j], s) : s * (1 - s);
                const float u = normed_gradient(silu, given.at[j], g.at[j]);
                dg.at[j] = given.at[j] * v.at[j] * f * weight.at[j] * slope;
                d.at[j] = f * weight.at[j] * u - back * v.at[j];
                dw.at[j] = f * v.at[j] * u;
            }
            hy_give(dgate, i, c + k, dg);
            hy_give(dx, i, c + k, d);
            hy_weight_add(sums, n, k, dw);
        }
    }
    hy_weight_part(sums, n, parts);
}

static struct hy_norm norm_of(const struct hy_op *op)
{
    const struct hy_gated_norm_attr *s = (const struct hy_gated_norm_attr *)op->attr;
    const int64_t width = op->in[2]->cols;
    return {width, op->in[0]->cols / width, 1 / (float)width, (float)s->eps};
}

static int is_silu(const struct hy_op *op)
{
    return ((const struct hy_gated_norm_attr *)op->attr)->activation == HY_GATE_SILU;
}

static size_t gated_norm_scratch(const struct hy_op *op)
{
    return hy_weight_bytes(op, 2, norm_of(op));
}

static void gated_norm_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), gate = hy_span_of(op->in[1]);
    const struct hy_span w = hy_span_of(op->in[2]), y = hy_span_of(op->out[0]);
    const struct hy_norm n = norm_of(op);
    const int four = hy_all_by_four(x, gate, w, y);
    const struct hy_walk walk = hy_units_of(at, x.rows, n, four ? 4 : 1);
    hy_start(at, walk.grid, walk.block, 0, four ? forward<4> : forward<1>, n, is_silu(op), x, gate,
             w, y);
}

static void gated_norm_backward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), gate = hy_span_of(op->in[1]);
    const struct hy_span w = hy_span_of(op->in[2]), dy = hy_span_of(op->dout[0]);
    const struct hy_span dx = hy_span_din(op, 0), dgate = hy_span_din(op, 1);
    const struct hy_norm n = norm_of(op);
    const struct hy_span parts = hy_weight_parts(op, 2, n);
    const int four = hy_all_by_four(x, gate, w, dy, dx, dgate);
    size_t bytes;
    const struct hy_walk walk = hy_unit_parts_of(at, x.rows, n, four ? 4 : 1, &bytes);
    hy_start(at, walk.grid, walk.block, bytes, four ? backward<4> : backward<1>, n, is_silu(op), x,
             gate, w, dy, dx, dgate, parts);
    hy_weight_fold(op, at, 2, parts);
}

HY_CUDA_KIND(gated_norm) = {gated_norm_forward, gated_norm_backward, gated_norm_scratch};
