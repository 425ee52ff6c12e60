/* joint.cu - the twin of joint.c: a group of lanes takes a row and head. */
#include "core/ops/support/math.cuh"
#include "core/ops/support/norm.cuh"

extern "C" {
#include "core/ops/features/joint.h"
}

enum { W, X, N, D, FACTOR, DROPPED };
enum { Y, FAR };

struct inputs {
    struct hy_span w, x, n, d, factor, dropped;
    int affine;
};

__device__ static inline bool has_window(const struct inputs &in)
{
    return in.w.data && !(in.dropped.data && *hy_row(in.dropped, 0) != 0);
}

/* y = near w + far n; see joint.c. */
struct shares {
    float near, far, one, lin, rest;
};

__device__ static inline struct shares shares_of(const struct inputs &in, bool window, int64_t i,
                                                 int64_t h)
{
    const float d = hy_row(in.d, i)[h];
    if (!window) {
        const float one = 1 / (d + 1e-12f);
        return {0, one, one, 1, 0};
    }
    const bool learned = in.factor.data != NULL;
    const float factor = learned ? hy_row(in.factor, 0)[h] : 0;
    const float gamma = learned ? hy_sigmoid(factor) : 1, rest = learned ? hy_sigmoid(-factor) : 0;
    const float lin = learned && in.affine ? rest : 1;
    const float a = gamma * expf(hy_row(in.x, i)[h]), one = 1 / (a + lin * d);
    return {a * one, lin * one, one, lin, rest};
}

template <int V>
__global__ static void forward(struct hy_norm n, struct inputs in, struct hy_span y,
                               struct hy_span far)
{
    const bool window = has_window(in);
    const struct hy_span &w = window ? in.w : in.n; /* which counts for nothing */
    HY_EACH_UNIT(y.rows, n, i, c)
    {
        const int64_t h = c / n.width;
        const struct shares s = shares_of(in, window, i, h);
        HY_EACH_LANE(V, n.width, k)
        {
            const hy_pack<V> wi = hy_take<V>(w, i, c + k), ni = hy_take<V>(in.n, i, c + k);
            hy_pack<V> v;
            for (int j = 0; j < V; j++)
                v.at[j] = s.near * wi.at[j] + s.far * ni.at[j];
            hy_give(y, i, c + k, v);
        }
        if (far.data && !threadIdx.x)
            hy_row(far, i)[h] = window ? s.far * hy_row(in.d, i)[h] : 1;
    }
}

struct outputs {
    struct hy_span dw, dx, dn, dd;
    struct hy_span dfactor; /* of each row, to be summed */
};

template <int V>
__global__ static void backward(struct hy_norm n, struct inputs in, struct hy_span dy,
                                struct outputs to)
{
    const bool window = has_window(in);
    const struct hy_span &w = window ? in.w : in.n;
    HY_EACH_UNIT(dy.rows, n, i, c)
    {
        const int64_t h = c / n.width;
        const struct shares s = shares_of(in, window, i, h);
        const float d = hy_row(in.d, i)[h];
        float apart = 0, along = 0;
        HY_EACH_LANE(V, n.width, k)
        {
            const hy_pack<V> wi = hy_take<V>(w, i, c + k), ni = hy_take<V>(in.n, i, c + k);
            const hy_pack<V> given = hy_take<V>(dy, i, c + k);
            hy_pack<V> dw, dn;
            for (int j = 0; j < V; j++) {
                apart += given.at[j] * (d * wi.at[j] - ni.at[j]);
                along += given.at[j] * (s.near * wi.at[j] + s.far * ni.at[j]);
                dw.at[j] = s.near * given.at[j];
                dn.at[j] = s.far * given.at[j];
            }
            hy_give(to.dw, i, c + k, dw);
            hy_give(to.dn, i, c + k, dn);
        }
        apart = hy_lanes_sum(apart) * s.near * s.one;
        along = hy_lanes_sum(along);
        if (threadIdx.x)
            continue;
        hy_give<1>(to.dx, i, h, {{s.lin * apart}});
        hy_give<1>(to.dd, i, h, {{-s.far * along}});
        hy_give<1>(to.dfactor, i, h, {{s.rest * apart}});
    }
}

static struct inputs inputs_of(const struct hy_op *op)
{
    return {hy_span_of(op->in[W]),
            hy_span_of(op->in[X]),
            hy_span_of(op->in[N]),
            hy_span_of(op->in[D]),
            hy_span_of(op->in[FACTOR]),
            hy_span_of(op->in[DROPPED]),
            ((const struct hy_joint *)op->attr)->affine};
}

static struct hy_norm units_of(const struct hy_op *op)
{
    const struct hy_joint *s = (const struct hy_joint *)op->attr;
    return {s->value_width, s->heads, 0, 0};
}

/* The factor's gradient of each row and head, then their sums by parts. */
static size_t joint_scratch(const struct hy_op *op)
{
    const int64_t rows = op->in[N]->rows, heads = ((const struct hy_joint *)op->attr)->heads;
    return op->din[FACTOR] ? (size_t)(rows * heads) * sizeof(float) + hy_parts_bytes(rows, heads)
                           : 0;
}

static void joint_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct inputs in = inputs_of(op);
    const struct hy_span y = hy_span_of(op->out[Y]), far = hy_span_of(op->out[FAR]);
    const struct hy_norm n = units_of(op);
    const int four = hy_all_by_four(in.w, in.n, y) && n.width % 4 == 0;
    const struct hy_walk walk = hy_units_of(at, y.rows, n, four ? 4 : 1);
    hy_start(at, walk.grid, walk.block, 0, four ? forward<4> : forward<1>, n, in, y, far);
}

static void joint_backward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct inputs in = inputs_of(op);
    const struct hy_span dy = hy_span_of(op->dout[Y]);
    const struct hy_norm n = units_of(op);
    struct outputs to = {
        hy_span_din(op, W), hy_span_din(op, X), hy_span_din(op, N), hy_span_din(op, D), {}};
    if (op->din[FACTOR])
        to.dfactor = hy_span_scratch(op, 0, dy.rows, n.groups);
    const int four = hy_all_by_four(in.w, in.n, dy, to.dw, to.dn) && n.width % 4 == 0;
    const struct hy_walk walk = hy_units_of(at, dy.rows, n, four ? 4 : 1);
    hy_start(at, walk.grid, walk.block, 0, four ? backward<4> : backward<1>, n, in, dy, to);
    if (op->din[FACTOR]) {
        const struct hy_span parts = hy_span_parts(op, dy.rows * n.groups, dy.rows, n.groups);
        hy_sum_columns(at, to.dfactor, parts);
        hy_fold_sums(at, parts, hy_span_din(op, FACTOR), 1, 1, 0);
    }
}

HY_CUDA_KIND(joint) = {joint_forward, joint_backward, joint_scratch};
