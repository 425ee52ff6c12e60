/* conv_silu.cu - the twin of conv_silu.c. A thread takes a run of tokens of one channel: it loads
 * what their taps see into registers at once, and computes from there. The arrays are made for N
 * taps, 4 or HY_MAX_KERNEL, of which the last n are used. */
#include "core/ops/support/math.cuh"
#include "core/ops/support/sums.cuh"

extern "C" {
#include "core/ops/conv_silu.h"
}

enum { X, W, BIAS, STATE };
enum { RUN = 8 }; /* tokens: more would leave registers for few threads */

struct conv {
    int64_t batch, tokens, n;
    int64_t units, each; /* of a sequence: units, one after another in a thread; their tokens */
    struct hy_span x, w, bias, state;
};

/* The unit k of a thread. */
struct unit {
    int64_t b, start, stop;

    __device__ unit(const struct conv &s, int64_t k)
        : b(k / s.units), start(k % s.units * s.each), stop(min(start + s.each, s.tokens))
    {
    }
};

template <int N> struct channel {
    int64_t c, n;
    float taps[N], bias;

    __device__ channel(const struct conv &s, int64_t column) : c(column), n(s.n)
    {
        bias = s.bias.data ? hy_row(s.bias, 0)[c] : 0;
#pragma unroll
        for (int j = 0; j < N; j++)
            taps[j] = j >= N - n ? hy_row(s.w, c)[j - (N - n)] : 0;
    }

    /* The sum whose first tap sees in[0]. */
    __device__ float sum(const float *in) const
    {
        float sum = bias;
#pragma unroll
        for (int j = 0; j < N; j++)
            sum += j >= N - n ? taps[j] * in[j] : 0;
        return sum;
    }

    /* The gradient of the input whose own token's sum has the gradient d[0]. */
    __device__ float gradient(const float *d) const
    {
        float sum = 0;
#pragma unroll
        for (int k = 0; k < N; k++)
            sum += k < n ? taps[N - 1 - k] * d[k] : 0;
        return sum;
    }
};

/* The input of token t of sequence b: before the first one the state, or 0. */
__device__ static inline float input_at(const struct conv &s, int64_t b, int64_t t, int64_t c)
{
    if (t >= 0)
        return t < s.tokens ? hy_row(s.x, b * s.tokens + t)[c] : 0;
    const int64_t kept = s.n - 1;
    return s.state.data && t >= -kept ? hy_row(s.state, b * kept + kept + t)[c] : 0;
}

/* The state becomes the last n - 1 inputs, oldest first: a row that moves up within the state is
 * read before it is replaced. */
__device__ static inline void keep_last(const struct conv &s, int64_t b, int64_t c)
{
    const int64_t kept = s.n - 1;
    for (int64_t i = 0; i < kept; i++)
        hy_row(s.state, b * kept + i)[c] = input_at(s, b, s.tokens - kept + i, c);
}

template <int N> __global__ static void forward(struct conv s, struct hy_span y)
{
    const int64_t c = hy_strip_column<1>();
    if (c >= s.x.cols)
        return;
    const channel<N> own(s, c);
    HY_STRIP(s.batch * s.units, k)
    {
        const unit u(s, k);
        for (int64_t from = u.start; from < u.stop; from += RUN) {
            float in[RUN + N - 1];
#pragma unroll
            for (int i = 0; i < RUN + N - 1; i++)
                in[i] = input_at(s, u.b, from - (N - 1) + i, c);
#pragma unroll
            for (int i = 0; i < RUN; i++)
                if (from + i < u.stop)
                    hy_row(y, u.b * s.tokens + from + i)[c] = hy_silu(own.sum(in + i));
        }
        if (s.state.data)
            keep_last(s, u.b, c);
    }
}

/* A row of parts: the gradient of the taps [channels, n], then that of the bias. */
template <int N>
__global__ static void backward(struct conv s, struct hy_span dy, struct hy_span dx,
                                struct hy_span parts)
{
    const int64_t c = hy_strip_column<1>();
    hy_pack<1> dtaps[N] = {}, dbias = {};
    if (c < s.x.cols) {
        const channel<N> own(s, c);
        HY_STRIP(s.batch * s.units, k)
        {
            const unit u(s, k);
            /* The next N - 1 tokens see the last inputs of the run, so they are computed too. */
            float in[RUN + 2 * (N - 1)], d[RUN + N - 1];
#pragma unroll
            for (int i = 0; i < RUN + 2 * (N - 1); i++)
                in[i] = input_at(s, u.b, u.start - (N - 1) + i, c);
#pragma unroll
            for (int i = 0; i < RUN + N - 1; i++) {
                const int64_t t = u.start + i;
                const float sum = own.sum(in + i), slope = hy_silu_slope(sum, hy_sigmoid(sum));
                d[i] = t < s.tokens ? hy_row(dy, u.b * s.tokens + t)[c] * slope : 0;
            }
#pragma unroll
            for (int i = 0; i < RUN; i++) {
                const hy_pack<1> given = {{own.gradient(d + i)}};
                if (u.start + i < u.stop)
                    hy_give(dx, u.b * s.tokens + u.start + i, c, given);
                dbias.at[0] += d[i];
#pragma unroll
                for (int j = 0; j < N; j++)
                    dtaps[j].at[0] += d[i] * in[i + j];
            }
        }
    }
#pragma unroll
    for (int j = 0; j < N; j++)
        if (j >= N - s.n)
            hy_strip_sum(dtaps[j], c < s.x.cols ? c * s.n + j - (N - s.n) : parts.cols, parts);
    hy_strip_sum(dbias, c < s.x.cols ? s.x.cols * s.n + c : parts.cols, parts);
}

static struct conv conv_of(const struct hy_op *op)
{
    const struct hy_shape *shape = &op->graph->shape;
    struct conv s = {};
    s.batch = shape->batch;
    s.tokens = shape->tokens;
    s.n = op->in[W]->cols;
    s.x = hy_span_of(op->in[X]);
    s.w = hy_span_of(op->in[W]);
    s.bias = hy_span_of(op->in[BIAS]);
    s.state = hy_span_of(op->in[STATE]);
    /* Who replaces the state has read it for the whole sequence. */
    s.each = op->in[STATE] ? s.tokens : (int64_t)RUN;
    s.units = (s.tokens + s.each - 1) / s.each;
    return s;
}

/* What the sums over the units are parted by: a part for every eight of them. */
static int64_t rows_of(const struct conv *s)
{
    return 4 * s->batch * s->units;
}

static int64_t sums_of(const struct conv *s)
{
    return s->x.cols * (s->n + 1);
}

static size_t conv_silu_scratch(const struct hy_op *op)
{
    const struct conv s = conv_of(op);
    return op->din[W] || op->din[BIAS] ? hy_parts_bytes(rows_of(&s), sums_of(&s)) : 0;
}

static void conv_silu_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct conv s = conv_of(op);
    const struct hy_walk walk = hy_strips_of(at, rows_of(&s), s.x.cols, 1);
    hy_start(at, walk.grid, walk.block, 0, s.n == 4 ? forward<4> : forward<HY_MAX_KERNEL>, s,
             hy_span_of(op->out[0]));
}

static void conv_silu_backward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct conv s = conv_of(op);
    const struct hy_span dw = hy_span_din(op, W), dbias = hy_span_din(op, BIAS);
    struct hy_span parts = {};
    if (dw.data || dbias.data)
        parts = hy_span_parts(op, 0, rows_of(&s), sums_of(&s));
    const struct hy_walk walk = hy_strips_of(at, rows_of(&s), s.x.cols, 1);
    hy_start(at, walk.grid, walk.block, 0, s.n == 4 ? backward<4> : backward<HY_MAX_KERNEL>, s,
             hy_span_of(op->dout[0]), hy_span_din(op, X), parts);
    if (dw.data)
        hy_fold_sums(at, parts, dw, 1, 1, 0);
    parts.data += dbias.data ? s.x.cols * s.n : 0;
    if (dbias.data)
        hy_fold_sums(at, parts, dbias, 1, 1, 0);
}

HY_CUDA_KIND(conv_silu) = {conv_silu_forward, conv_silu_backward, conv_silu_scratch};
