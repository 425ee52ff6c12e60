/* forget_gate.cu - the twin of forget_gate.c. */
#include "core/ops/support/math.cuh"
#include "core/ops/support/sums.cuh"

/* 1 - b per column. */
template <int V> __device__ static inline hy_pack<V> room_of(const struct hy_span &bound, int64_t c)
{
    hy_pack<V> room = hy_take<V>(bound, 0, c);
    for (int k = 0; k < V; k++)
        room.at[k] = 1 - room.at[k];
    return room;
}

/* log(e^a + e^b), b finite. */
__device__ static inline float log_add(float a, float b)
{
    return fmaxf(a, b) + log1pf(expf(fminf(a, b) - fmaxf(a, b)));
}

template <int V>
__global__ static void forward(struct hy_span x, struct hy_span bound, struct hy_span keep,
                               struct hy_span input)
{
    const int64_t c = hy_strip_column<V>();
    if (c >= x.cols)
        return;
    const hy_pack<V> room = room_of<V>(bound, c);
    hy_pack<V> low = hy_take<V>(bound, 0, c), log_room;
    for (int k = 0; k < V; k++) {
        low.at[k] = logf(low.at[k]); /* without a bound -infinity */
        log_room.at[k] = logf(room.at[k]);
    }
    HY_STRIP(x.rows, i)
    {
        const hy_pack<V> v = hy_take<V>(x, i, c);
        hy_pack<V> f, rest;
        for (int k = 0; k < V; k++) {
            f.at[k] = log_add(low.at[k], log_room.at[k] + hy_log_sigmoid(v.at[k]));
            rest.at[k] = room.at[k] * hy_sigmoid(-v.at[k]);
        }
        hy_give(keep, i, c, f);
        hy_give(input, i, c, rest);
    }
}

template <int V>
__global__ static void backward(struct hy_span x, struct hy_span bound, struct hy_span keep,
                                struct hy_span input, struct hy_span dkeep, struct hy_span dinput,
                                struct hy_span dx, struct hy_span parts)
{
    const int64_t c = hy_strip_column<V>();
    hy_pack<V> sum = {};
    if (c < x.cols) {
        const hy_pack<V> room = room_of<V>(bound, c);
        HY_STRIP(x.rows, i)
        {
            const hy_pack<V> v = hy_take<V>(x, i, c), f = hy_take<V>(keep, i, c);
            const hy_pack<V> rest = hy_take<V>(input, i, c);
            const hy_pack<V> df = hy_take<V>(dkeep, i, c), drest = hy_take<V>(dinput, i, c);
            hy_pack<V> d;
            for (int k = 0; k < V; k++) {
                /* sigmoid / f as one exponential: both may underflow. */
                const float share = expf(hy_log_sigmoid(v.at[k]) - f.at[k]);
                d.at[k] = rest.at[k] * (df.at[k] * share - drest.at[k] * hy_sigmoid(v.at[k]));
                sum.at[k] += rest.at[k] / room.at[k] * (df.at[k] * expf(-f.at[k]) - drest.at[k]);
            }
            hy_give(dx, i, c, d);
        }
    }
    hy_strip_sum(sum, c, parts);
}

static size_t forget_gate_scratch(const struct hy_op *op)
{
    return op->din[1] ? hy_parts_bytes(op->in[0]->rows, op->in[0]->cols) : 0;
}

static void forget_gate_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), bound = hy_span_of(op->in[1]);
    const struct hy_span keep = hy_span_of(op->out[0]), input = hy_span_of(op->out[1]);
    const int four = hy_all_by_four(x, bound, keep, input);
    const struct hy_walk walk = hy_strips_of(at, x.rows, x.cols, four ? 4 : 1);
    hy_start(at, walk.grid, walk.block, 0, four ? forward<4> : forward<1>, x, bound, keep, input);
}

static void forget_gate_backward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), bound = hy_span_of(op->in[1]);
    const struct hy_span keep = hy_span_of(op->out[0]), input = hy_span_of(op->out[1]);
    const struct hy_span dkeep = hy_span_of(op->dout[0]), dinput = hy_span_of(op->dout[1]);
    const struct hy_span dx = hy_span_din(op, 0), dbound = hy_span_din(op, 1);
    struct hy_span parts = {};
    if (dbound.data)
        parts = hy_span_parts(op, 0, x.rows, x.cols);
    const int four = hy_all_by_four(x, bound, keep, input, dkeep, dinput, dx, parts);
    const struct hy_walk walk = hy_strips_of(at, x.rows, x.cols, four ? 4 : 1);
    hy_start(at, walk.grid, walk.block, 0, four ? backward<4> : backward<1>, x, bound, keep, input,
             dkeep, dinput, dx, parts);
    if (dbound.data)
        hy_fold_sums(at, parts, dbound, 1, 1, 0);
}

HY_CUDA_KIND(forget_gate) = {forget_gate_forward, forget_gate_backward, forget_gate_scratch};
