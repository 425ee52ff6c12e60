#include "core/ops/conv_silu.h"

#include "core/ops/support/build.h"
#include "core/ops/support/rows.h"
#include "core/ops/support/vec.h"

enum { X, W, BIAS, STATE, INPUTS };

/* Where the inputs of one sequence are: x from its first token on, before it the state or zeros. */
struct sequence {
    const hy_real *x, *state, *zeros;
    int64_t ld, state_ld;
};

static const hy_real *input_row(const struct sequence *s, int64_t t, int64_t n)
{
    if (t >= 0)
        return s->x + t * s->ld;
    return s->state ? s->state + (t + n - 1) * s->state_ld : s->zeros;
}

static struct sequence sequence_of(const struct hy_op *op, int r, int64_t b, const hy_real *zeros)
{
    const struct hy_tensor *x = op->in[X], *state = op->in[STATE];
    struct sequence s = {
        .x = hy_real_data(x, r) + b * op->graph->shape.tokens * x->ld, .zeros = zeros, .ld = x->ld};
    if (state) {
        s.state = hy_real_data(state, r) + b * (op->in[W]->cols - 1) * state->ld;
        s.state_ld = state->ld;
    }
    return s;
}

/* Weights by tap, [n, channels], so that loops over channels read them in order. */
static void transpose_weights(const struct hy_op *op, int r, hy_real *taps)
{
    const struct hy_tensor *w = op->in[W];
    const hy_real *data = hy_real_data(w, r);
    for (int64_t c = 0; c < w->rows; c++)
        for (int64_t j = 0; j < w->cols; j++)
            taps[j * w->rows + c] = data[c * w->ld + j];
}

/* Inlined where n is a constant, the taps unroll. */
static inline __attribute__((always_inline)) void
forward_row(int64_t n, int64_t channels, const hy_real *const *in, const hy_real *restrict taps,
            const hy_real *restrict bias, hy_real *restrict y)
{
#pragma omp simd
    for (int64_t c = 0; c < channels; c++) {
        hy_real sum = bias[c];
        for (int64_t j = 0; j < n; j++)
            sum += taps[j * channels + c] * in[j][c];
        y[c] = hy_silu(sum);
    }
}

/* Gradient d of the sums of one token; adds to that of the taps. */
static inline __attribute__((always_inline)) void
backward_sums(int64_t n, int64_t channels, const hy_real *const *in, const hy_real *restrict taps,
              const hy_real *restrict bias, const hy_real *dy, hy_real *restrict d,
              hy_real *restrict dtaps)
{
#pragma omp simd
    for (int64_t c = 0; c < channels; c++) {
        hy_real sum = bias[c];
        for (int64_t j = 0; j < n; j++)
            sum += taps[j * channels + c] * in[j][c];
        d[c] = dy[c] * hy_silu_slope(sum, hy_sigmoid(sum));
        for (int64_t j = 0; j < n; j++)
            dtaps[j * channels + c] += d[c] * in[j][c];
    }
}

/* dx of a token from d of the n tokens that saw it, itself first. */
static inline __attribute__((always_inline)) void backward_input(int64_t n, int64_t channels,
                                                                 const hy_real *const *d,
                                                                 const hy_real *restrict taps,
                                                                 int add, hy_real *restrict dx)
{
#pragma omp simd
    for (int64_t c = 0; c < channels; c++) {
        hy_real sum = add ? dx[c] : 0;
        for (int64_t k = 0; k < n; k++)
            sum += taps[(n - 1 - k) * channels + c] * d[k][c];
        dx[c] = sum;
    }
}

static void keep_last_inputs(const struct hy_op *op, int r, const struct sequence *s, int64_t b)
{
    const struct hy_tensor *state = op->in[STATE];
    const int64_t kept = op->in[W]->cols - 1, tokens = op->graph->shape.tokens;
    hy_real *rows = hy_real_data(state, r) + b * kept * state->ld;
    /* Oldest first: a row that moves up within the state is read before it is replaced. */
    for (int64_t i = 0; i < kept; i++)
        memcpy(rows + i * state->ld, input_row(s, tokens - kept + i, kept + 1),
               (size_t)state->cols * sizeof *rows);
}

/* Zeros where there is no bias. */
static const hy_real *bias_of(const struct hy_op *op, int r, const hy_real *zeros)
{
    return op->in[BIAS] ? hy_real_data(op->in[BIAS], r) : zeros;
}

static void conv_silu_forward(const struct hy_op *op, int r)
{
    const struct hy_shape *shape = &op->graph->shape;
    const int64_t channels = op->in[W]->rows, n = op->in[W]->cols;
    hy_real *taps = hy_real_data(op->scratch, r), *zeros = taps + n * channels;
    const struct hy_rows x = hy_rows_of(op->in[X], r), y = hy_rows_of(op->out[0], r);
    const hy_real *in[HY_MAX_KERNEL], *bias = bias_of(op, r, zeros);
    transpose_weights(op, r, taps);
    memset(zeros, 0, (size_t)channels * sizeof *zeros);
    for (int64_t b = 0; b < shape->batch; b++) {
        const struct sequence s = sequence_of(op, r, b, zeros);
        for (int64_t t = 0; t < shape->tokens; t++) {
            for (int64_t j = 0; j < n; j++)
                in[j] = input_row(&s, t - (n - 1) + j, n);
            hy_row_fetch(&x, b * shape->tokens + t);
            if (n == 4)
                forward_row(4, channels, in, taps, bias, hy_row(&y, b * shape->tokens + t));
            else
                forward_row(n, channels, in, taps, bias, hy_row(&y, b * shape->tokens + t));
        }
        if (op->in[STATE])
            keep_last_inputs(op, r, &s, b);
    }
}

static size_t conv_silu_scratch(const struct hy_op *op)
{
    /* Taps, zeros; backward: gradients of taps and bias, a ring of n rows, a row nobody wants. */
    const int64_t n = op->in[W]->cols;
    const int64_t rows = op->pass == HY_FORWARD ? n + 1 : 3 * n + 3;
    return (size_t)(rows * op->in[W]->rows) * sizeof(hy_real);
}

static void backward_sequence(const struct hy_op *op, int r, int64_t b, hy_real *scratch)
{
    const int64_t tokens = op->graph->shape.tokens, channels = op->in[W]->rows;
    const int64_t n = op->in[W]->cols;
    hy_real *taps = scratch, *zeros = taps + n * channels, *dtaps = zeros + channels;
    hy_real *dbias = dtaps + n * channels, *ring = dbias + channels, *spare = ring + n * channels;
    const struct hy_rows dy = hy_rows_of(op->dout[0], r), dx = hy_rows_din(op, 0, r, spare);
    const struct hy_rows x = hy_rows_of(op->in[X], r);
    const struct sequence s = sequence_of(op, r, b, zeros);
    const hy_real *in[HY_MAX_KERNEL], *bias = bias_of(op, r, zeros);
    /* The input n-1 tokens back gets its gradient as soon as the last token that saw it has. */
    for (int64_t t = 0; t < tokens + n - 1; t++) {
        if (t < tokens) {
            const hy_real *dyt = hy_row(&dy, b * tokens + t);
            hy_real *d = ring + t % n * channels;
            for (int64_t j = 0; j < n; j++)
                in[j] = input_row(&s, t - (n - 1) + j, n);
            hy_row_fetch(&x, b * tokens + t);
            if (n == 4)
                backward_sums(4, channels, in, taps, bias, dyt, d, dtaps);
            else
                backward_sums(n, channels, in, taps, bias, dyt, d, dtaps);
            if (op->din[BIAS])
#pragma omp simd
                for (int64_t c = 0; c < channels; c++)
                    dbias[c] += d[c];
        }
        const int64_t u = t - (n - 1);
        if (u < 0)
            continue;
        hy_row_fetch(&dx, b * tokens + u);
        for (int64_t k = 0; k < n; k++)
            in[k] = u + k < tokens ? ring + (u + k) % n * channels : zeros;
        if (n == 4)
            backward_input(4, channels, in, taps, dx.add, hy_row(&dx, b * tokens + u));
        else
            backward_input(n, channels, in, taps, dx.add, hy_row(&dx, b * tokens + u));
    }
}

static void conv_silu_backward(const struct hy_op *op, int r)
{
    const int64_t channels = op->in[W]->rows, n = op->in[W]->cols;
    hy_real *taps = hy_real_data(op->scratch, r), *zeros = taps + n * channels;
    hy_real *dtaps = zeros + channels, *dbias = dtaps + n * channels,
            *dw = hy_real_data(op->din[W], r);
    transpose_weights(op, r, taps);
    memset(zeros, 0, (size_t)((n + 2) * channels) * sizeof *zeros);
    for (int64_t b = 0; b < op->graph->shape.batch; b++)
        backward_sequence(op, r, b, taps);
    for (int64_t c = 0; dw && c < channels; c++)
        for (int64_t j = 0; j < n; j++) {
            hy_real *to = &dw[c * op->din[W]->ld + j];
            *to = (hy_adds(op, W) ? *to : 0) + dtaps[j * channels + c];
        }
    if (op->din[BIAS])
        hy_fold_din(op, BIAS, r, dbias);
}

static void conv_silu_cost(const struct hy_op *op, struct hy_cost *cost)
{
    const double n = (double)op->in[W]->cols;
    hy_cost_elementwise(op, 2 * n + 4, 4 * n + 6, cost);
}

static int conv_silu_example(struct hy_graph *g, int index)
{
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens, n = index ? 3 : 4;
    struct hy_tensor *views[2];
    if (index > 1)
        return 0;
    hy_graph_split(g, hy_graph_leaf(g, "x", rows, 8, -2, 2), 2, (int64_t[]){3, 5}, views);
    hy_conv_silu(g, views[1], hy_graph_leaf(g, "w", 5, n, -1, 1),
                 index ? hy_graph_leaf(g, "bias", 1, 5, -1, 1) : NULL, NULL);
    return 1;
}

const struct hy_op_kind hy_op_conv_silu = {
    .name = "conv_silu",
    .forward = conv_silu_forward,
    .backward = conv_silu_backward,
    .cost = conv_silu_cost,
    .scratch = conv_silu_scratch,
    .backward_in = 1u << X | 1u << W | 1u << BIAS,
    .example = conv_silu_example,
};

struct hy_tensor *hy_conv_silu(struct hy_graph *g, struct hy_tensor *x, struct hy_tensor *w,
                               struct hy_tensor *bias, struct hy_tensor *state)
{
    if (!x || !w)
        return NULL;
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    if (w->cols > HY_MAX_KERNEL)
        return hy_graph_fail(g, "conv_silu: a kernel of %lld taps, more than %d",
                             (long long)w->cols, HY_MAX_KERNEL);
    if (!hy_has_shape(g, "conv_silu", "x", x, rows, x->cols) ||
        !hy_has_shape(g, "conv_silu", "the weight", w, x->cols, w->cols) ||
        (bias && !hy_has_shape(g, "conv_silu", "the bias", bias, 1, x->cols)))
        return NULL;
    if (state && w->cols > 1 &&
        !hy_has_shape(g, "conv_silu", "the state", state, g->shape.batch * (w->cols - 1), x->cols))
        return NULL;
    return hy_record(g, &hy_op_conv_silu, INPUTS, (struct hy_tensor *[]){x, w, bias, state},
                     x->rows, x->cols, NULL, 0);
}
