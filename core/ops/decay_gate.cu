/* decay_gate.cu - the twin of decay_gate.c. */
#include "core/ops/support/math.cuh"
#include "core/ops/support/sums.cuh"

/* -exp(A_log) of a pack's columns. */
template <int V>
__device__ static inline hy_pack<V> rates_of(const struct hy_span &a_log, int64_t c, int64_t width)
{
    hy_pack<V> rates;
    for (int k = 0; k < V; k++)
        rates.at[k] = -expf(hy_row(a_log, 0)[(c + k) / width]);
    return rates;
}

template <int V>
__global__ static void forward(struct hy_span x, struct hy_span a_log, struct hy_span bias,
                               struct hy_span y, struct hy_span dt, int64_t width)
{
    const int64_t c = hy_strip_column<V>();
    if (c >= x.cols)
        return;
    const hy_pack<V> a = rates_of<V>(a_log, c, width), b = hy_take<V>(bias, 0, c);
    HY_STRIP(x.rows, i)
    {
        hy_pack<V> v = hy_take<V>(x, i, c), step;
        for (int k = 0; k < V; k++) {
            step.at[k] = hy_softplus(v.at[k] + b.at[k]);
            v.at[k] = a.at[k] * step.at[k];
        }
        hy_give(y, i, c, v);
        hy_give(dt, i, c, step);
    }
}

template <int V>
__global__ static void backward(struct hy_span x, struct hy_span a_log, struct hy_span bias,
                                struct hy_span dy, struct hy_span ddt, struct hy_span dx,
                                struct hy_span bias_parts, struct hy_span a_parts, int64_t width)
{
    const int64_t c = hy_strip_column<V>();
    hy_pack<V> bias_sum = {}, a_sum = {};
    if (c < x.cols) {
        const hy_pack<V> a = rates_of<V>(a_log, c, width), b = hy_take<V>(bias, 0, c);
        HY_STRIP(x.rows, i)
        {
            const hy_pack<V> v = hy_take<V>(x, i, c), d = hy_take<V>(dy, i, c);
            hy_pack<V> given = hy_take<V>(ddt, i, c);
            for (int k = 0; k < V; k++) {
                const float z = v.at[k] + b.at[k], scaled = d.at[k] * a.at[k];
                given.at[k] = (scaled + given.at[k]) * hy_sigmoid(z);
                bias_sum.at[k] += given.at[k];
                a_sum.at[k] += scaled * hy_softplus(z);
            }
            hy_give(dx, i, c, given);
        }
    }
    hy_strip_sum(bias_sum, c, bias_parts);
    hy_strip_sum(a_sum, c, a_parts);
}

static int64_t width_of(const struct hy_op *op)
{
    return op->in[0]->cols / op->in[1]->cols;
}

static size_t decay_gate_scratch(const struct hy_op *op)
{
    return op->pass == HY_BACKWARD ? 2 * hy_parts_bytes(op->in[0]->rows, op->in[0]->cols) : 0;
}

static void decay_gate_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), a_log = hy_span_of(op->in[1]);
    const struct hy_span bias = hy_span_of(op->in[2]);
    const struct hy_span y = hy_span_of(op->out[0]), dt = hy_span_of(op->out[1]);
    const int four = hy_all_by_four(x, bias, y, dt);
    const struct hy_walk walk = hy_strips_of(at, x.rows, x.cols, four ? 4 : 1);
    hy_start(at, walk.grid, walk.block, 0, four ? forward<4> : forward<1>, x, a_log, bias, y, dt,
             width_of(op));
}

static void decay_gate_backward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), a_log = hy_span_of(op->in[1]);
    const struct hy_span bias = hy_span_of(op->in[2]), dx = hy_span_din(op, 0);
    const struct hy_span dy = hy_span_of(op->dout[0]), ddt = hy_span_of(op->dout[1]);
    const struct hy_span da = hy_span_din(op, 1), dbias = hy_span_din(op, 2);
    const struct hy_span bias_parts = hy_span_parts(op, 0, x.rows, x.cols);
    const struct hy_span a_parts =
        hy_span_parts(op, bias_parts.rows * bias_parts.cols, x.rows, x.cols);
    const int four = hy_all_by_four(x, bias, dy, ddt, dx, bias_parts, a_parts);
    const struct hy_walk walk = hy_strips_of(at, x.rows, x.cols, four ? 4 : 1);
    const int64_t width = width_of(op);
    hy_start(at, walk.grid, walk.block, 0, four ? backward<4> : backward<1>, x, a_log, bias, dy,
             ddt, dx, bias_parts, a_parts, width);
    if (dbias.data)
        hy_fold_sums(at, bias_parts, dbias, 1, 1, 0);
    if (da.data)
        hy_fold_sums(at, a_parts, da, width, width, 1);
}

HY_CUDA_KIND(decay_gate) = {decay_gate_forward, decay_gate_backward, decay_gate_scratch};
