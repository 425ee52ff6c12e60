#include "core/ops/conv_silu.h"

#include "core/ops/support/build.h"
#include "core/ops/support/rows.h"
#include "core/ops/support/vec.h"

enum { X, W, BIAS, STATE, INPUTS };

/* Channels that backward works on at a time, all tokens of them: what it needs at a token, of the
 * rows around it and of the taps' gradients, then stays in the first cache. */
enum { STRIP = 512 };

struct strip {
    int64_t first, width;
};

static int64_t widest(const struct hy_op *op)
{
    const int64_t channels = op->in[W]->rows;
    return op->pass == HY_BACKWARD && channels > STRIP ? STRIP : channels;
}

/* Steps through the channels, beginning with a zeroed strip. */
static int next_strip(const struct hy_op *op, struct strip *s)
{
    const int64_t channels = op->in[W]->rows, most = widest(op);
    s->first += s->width;
    s->width = channels - s->first < most ? channels - s->first : most;
    return s->width > 0;
}

/* The strip's columns of a tensor. */
static struct hy_rows columns(struct hy_rows all, const struct strip *s)
{
    if (all.ld)
        all.data += s->first;
    all.cols = s->width;
    return all;
}

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

static struct sequence sequence_of(const struct hy_op *op, int r, int64_t b, const struct strip *c,
                                   const hy_real *zeros)
{
    const struct hy_tensor *x = op->in[X], *state = op->in[STATE];
    struct sequence s = {.x = hy_real_data(x, r) + b * op->graph->shape.tokens * x->ld + c->first,
                         .zeros = zeros,
                         .ld = x->ld};
    if (state) {
        s.state = hy_real_data(state, r) + b * (op->in[W]->cols - 1) * state->ld + c->first;
        s.state_ld = state->ld;
    }
    return s;
}

/* Weights by tap, [n, width], so that loops over channels read them in order. */
static void transpose_weights(const struct hy_op *op, int r, const struct strip *s, hy_real *taps)
{
    const struct hy_tensor *w = op->in[W];
    const hy_real *data = hy_real_data(w, r) + s->first * w->ld;
    for (int64_t c = 0; c < s->width; c++)
        for (int64_t j = 0; j < w->cols; j++)
            taps[j * s->width + c] = data[c * w->ld + j];
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

static void keep_last_inputs(const struct hy_op *op, int r, const struct sequence *s,
                             const struct strip *c, int64_t b)
{
    const struct hy_tensor *state = op->in[STATE];
    const int64_t kept = op->in[W]->cols - 1, tokens = op->graph->shape.tokens;
    hy_real *rows = hy_real_data(state, r) + b * kept * state->ld + c->first;
    /* Oldest first: a row that moves up within the state is read before it is replaced. */
    for (int64_t i = 0; i < kept; i++)
        memcpy(rows + i * state->ld, input_row(s, tokens - kept + i, kept + 1),
               (size_t)c->width * sizeof *rows);
}

/* Zeros where there is no bias. */
static const hy_real *bias_of(const struct hy_op *op, int r, const struct strip *s,
                              const hy_real *zeros)
{
    return op->in[BIAS] ? hy_real_data(op->in[BIAS], r) + s->first : zeros;
}

static void forward_strip(const struct hy_op *op, int r, const struct strip *c)
{
    const struct hy_shape *shape = &op->graph->shape;
    const int64_t n = op->in[W]->cols;
    hy_real *taps = hy_real_data(op->scratch, r), *zeros = taps + n * c->width;
    const struct hy_rows x = columns(hy_rows_of(op->in[X], r), c);
    const struct hy_rows y = columns(hy_rows_of(op->out[0], r), c);
    const hy_real *in[HY_MAX_KERNEL], *bias = bias_of(op, r, c, zeros);
    transpose_weights(op, r, c, taps);
    memset(zeros, 0, (size_t)c->width * sizeof *zeros);
    for (int64_t b = 0; b < shape->batch; b++) {
        const struct sequence s = sequence_of(op, r, b, c, zeros);
        for (int64_t t = 0; t < shape->tokens; t++) {
            const int64_t row = b * shape->tokens + t;
            for (int64_t j = 0; j < n; j++)
                in[j] = input_row(&s, t - (n - 1) + j, n);
            hy_row_fetch(&x, row);
            hy_row_fetch(&y, row);
            if (n == 4)
                forward_row(4, c->width, in, taps, bias, hy_row(&y, row));
            else
                forward_row(n, c->width, in, taps, bias, hy_row(&y, row));
        }
        if (op->in[STATE])
            keep_last_inputs(op, r, &s, c, b);
    }
}

static void conv_silu_forward(const struct hy_op *op, int r)
{
    for (struct strip c = {0}; next_strip(op, &c);)
        forward_strip(op, r, &c);
}

static size_t conv_silu_scratch(const struct hy_op *op)
{
    /* Taps, zeros; backward: gradients of taps and bias, a ring of n rows, a row nobody wants. */
    const int64_t n = op->in[W]->cols;
    const int64_t rows = op->pass == HY_FORWARD ? n + 1 : 3 * n + 3;
    return (size_t)(rows * widest(op)) * sizeof(hy_real);
}

static void backward_sequence(const struct hy_op *op, int r, int64_t b, const struct strip *c,
                              hy_real *scratch)
{
    const int64_t tokens = op->graph->shape.tokens, channels = c->width;
    const int64_t n = op->in[W]->cols;
    hy_real *taps = scratch, *zeros = taps + n * channels, *dtaps = zeros + channels;
    hy_real *dbias = dtaps + n * channels, *ring = dbias + channels, *spare = ring + n * channels;
    const struct hy_rows x = columns(hy_rows_of(op->in[X], r), c);
    const struct hy_rows dy = columns(hy_rows_of(op->dout[0], r), c);
    const struct hy_rows dx = columns(hy_rows_din(op, 0, r, spare), c);
    const struct sequence s = sequence_of(op, r, b, c, zeros);
    const hy_real *in[HY_MAX_KERNEL], *bias = bias_of(op, r, c, zeros);
    /* The input n-1 tokens back gets its gradient as soon as the last token that saw it has. */
    for (int64_t t = 0; t < tokens + n - 1; t++) {
        if (t < tokens) {
            const hy_real *dyt = hy_row(&dy, b * tokens + t);
            hy_real *d = ring + t % n * channels;
            for (int64_t j = 0; j < n; j++)
                in[j] = input_row(&s, t - (n - 1) + j, n);
            hy_row_fetch(&x, b * tokens + t);
            hy_row_fetch(&dy, b * tokens + t);
            if (n == 4)
                backward_sums(4, channels, in, taps, bias, dyt, d, dtaps);
            else
                backward_sums(n, channels, in, taps, bias, dyt, d, dtaps);
            if (op->din[BIAS])
#pragma omp simd
                for (int64_t i = 0; i < channels; i++)
                    dbias[i] += d[i];
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

static void backward_strip(const struct hy_op *op, int r, const struct strip *s)
{
    const int64_t n = op->in[W]->cols;
    hy_real *taps = hy_real_data(op->scratch, r), *zeros = taps + n * s->width;
    hy_real *dtaps = zeros + s->width, *dbias = dtaps + n * s->width;
    hy_real *dw = hy_real_data(op->din[W], r), *db = hy_real_data(op->din[BIAS], r);
    transpose_weights(op, r, s, taps);
    memset(zeros, 0, (size_t)((n + 2) * s->width) * sizeof *zeros);
    for (int64_t b = 0; b < op->graph->shape.batch; b++)
        backward_sequence(op, r, b, s, taps);
    for (int64_t c = 0; dw && c < s->width; c++)
        for (int64_t j = 0; j < n; j++) {
            hy_real *to = &dw[(s->first + c) * op->din[W]->ld + j];
            *to = (hy_adds(op, W) ? *to : 0) + dtaps[j * s->width + c];
        }
    for (int64_t c = 0; db && c < s->width; c++)
        db[s->first + c] = (hy_adds(op, BIAS) ? db[s->first + c] : 0) + dbias[c];
}

static void conv_silu_backward(const struct hy_op *op, int r)
{
    for (struct strip s = {0}; next_strip(op, &s);)
        backward_strip(op, r, &s);
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
