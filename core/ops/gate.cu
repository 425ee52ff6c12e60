/* gate.cu - the twin of gate.c. A gate per element goes by packs; a gate per head by units of a
 * head's width, whose sums are the gates' gradients. */
#include "core/ops/support/math.cuh"
#include "core/ops/support/norm.cuh"

extern "C" {
#include "core/ops/gate.h"
}

__device__ static inline float activate(enum hy_gate kind, float x)
{
    return kind == HY_GATE_PLAIN ? x : kind == HY_GATE_SILU ? hy_silu(x) : hy_sigmoid(x);
}

__device__ static inline float slope_of(enum hy_gate kind, float x)
{
    const float s = hy_sigmoid(x);
    return kind == HY_GATE_PLAIN ? 1 : kind == HY_GATE_SILU ? hy_silu_slope(x, s) : s * (1 - s);
}

template <int V>
__global__ static void forward(enum hy_gate kind, struct hy_span x, struct hy_span gate,
                               struct hy_span y)
{
    HY_EACH_PACK(V, x.rows, x.cols, i, c)
    {
        hy_pack<V> v = hy_take<V>(x, i, c);
        const hy_pack<V> g = hy_take<V>(gate, i, c);
        for (int k = 0; k < V; k++)
            v.at[k] *= activate(kind, g.at[k]);
        hy_give(y, i, c, v);
    }
}

template <int V>
__global__ static void backward(enum hy_gate kind, struct hy_span x, struct hy_span gate,
                                struct hy_span dy, struct hy_span dx, struct hy_span dgate)
{
    HY_EACH_PACK(V, x.rows, x.cols, i, c)
    {
        const hy_pack<V> v = hy_take<V>(x, i, c), g = hy_take<V>(gate, i, c);
        const hy_pack<V> given = hy_take<V>(dy, i, c);
        hy_pack<V> d, dg;
        for (int k = 0; k < V; k++) {
            d.at[k] = given.at[k] * activate(kind, g.at[k]);
            dg.at[k] = given.at[k] * v.at[k] * slope_of(kind, g.at[k]);
        }
        hy_give(dx, i, c, d);
        hy_give(dgate, i, c, dg);
    }
}

template <int V>
__global__ static void heads_forward(enum hy_gate kind, struct hy_norm n, struct hy_span x,
                                     struct hy_span gate, struct hy_span y)
{
    HY_EACH_UNIT(x.rows, n, i, c)
    {
        const float a = activate(kind, hy_row(gate, i)[c / n.width]);
        HY_EACH_LANE(V, n.width, k)
        {
            hy_pack<V> v = hy_take<V>(x, i, c + k);
            for (int j = 0; j < V; j++)
                v.at[j] *= a;
            hy_give(y, i, c + k, v);
        }
    }
}

template <int V>
__global__ static void heads_backward(enum hy_gate kind, struct hy_norm n, struct hy_span x,
                                      struct hy_span gate, struct hy_span dy, struct hy_span dx,
                                      struct hy_span dgate)
{
    HY_EACH_UNIT(x.rows, n, i, c)
    {
        const float g = hy_row(gate, i)[c / n.width], a = activate(kind, g);
        float sum = 0;
        HY_EACH_LANE(V, n.width, k)
        {
            const hy_pack<V> v = hy_take<V>(x, i, c + k);
            hy_pack<V> d = hy_take<V>(dy, i, c + k);
            for (int j = 0; j < V; j++) {
                sum += d.at[j] * v.at[j];
                d.at[j] *= a;
            }
            hy_give(dx, i, c + k, d);
        }
        const hy_pack<1> dg = {{hy_lanes_sum(sum) * slope_of(kind, g)}};
        if (!threadIdx.x)
            hy_give(dgate, i, c / n.width, dg);
    }
}

static enum hy_gate kind_of(const struct hy_op *op)
{
    return *(const enum hy_gate *)op->attr;
}

/* The heads as units. */
static struct hy_norm units_of(const struct hy_op *op)
{
    const int64_t heads = op->in[1]->cols;
    return {op->in[0]->cols / heads, heads, 0, 0};
}

static void gate_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), gate = hy_span_of(op->in[1]);
    const struct hy_span y = hy_span_of(op->out[0]);
    const struct hy_norm n = units_of(op);
    if (n.width == 1) {
        const int four = hy_all_by_four(x, gate, y);
        const struct hy_walk walk = hy_walk_of(at, x.rows, four ? x.cols / 4 : x.cols);
        hy_start(at, walk.grid, walk.block, 0, four ? forward<4> : forward<1>, kind_of(op), x, gate,
                 y);
    } else {
        const int four = hy_all_by_four(x, y) && n.width % 4 == 0;
        const struct hy_walk walk = hy_units_of(at, x.rows, n, four ? 4 : 1);
        hy_start(at, walk.grid, walk.block, 0, four ? heads_forward<4> : heads_forward<1>,
                 kind_of(op), n, x, gate, y);
    }
}

static void gate_backward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), gate = hy_span_of(op->in[1]);
    const struct hy_span dy = hy_span_of(op->dout[0]);
    const struct hy_span dx = hy_span_din(op, 0), dgate = hy_span_din(op, 1);
    const struct hy_norm n = units_of(op);
    if (n.width == 1) {
        const int four = hy_all_by_four(x, gate, dy, dx, dgate);
        const struct hy_walk walk = hy_walk_of(at, x.rows, four ? x.cols / 4 : x.cols);
        hy_start(at, walk.grid, walk.block, 0, four ? backward<4> : backward<1>, kind_of(op), x,
                 gate, dy, dx, dgate);
    } else {
        const int four = hy_all_by_four(x, dy, dx) && n.width % 4 == 0;
        const struct hy_walk walk = hy_units_of(at, x.rows, n, four ? 4 : 1);
        hy_start(at, walk.grid, walk.block, 0, four ? heads_backward<4> : heads_backward<1>,
                 kind_of(op), n, x, gate, dy, dx, dgate);
    }
}

HY_CUDA_KIND(gate) = {gate_forward, gate_backward, NULL};
