/* Every operator against its definition, written as plain loops in double: values, gradients (by
 * differences of the definition along random directions), gradients that are added to, views. */
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/ops/add_norm.h"
#include "core/ops/attention.h"
#include "core/ops/conv_silu.h"
#include "core/ops/decay_gate.h"
#include "core/ops/embedding.h"
#include "core/ops/gated_norm.h"
#include "core/ops/head_loss.h"
#include "core/ops/l2norm.h"
#include "core/ops/log_sigmoid.h"
#include "core/ops/rmsnorm.h"
#include "core/ops/rope.h"
#include "core/ops/sigmoid.h"
#include "core/ops/support/vec.h"
#include "core/ops/swiglu.h"

enum { B = 2, T = 150, N = B * T, MAX_LEAVES = 4 };

/* A graph whose leaves are filled; y are the outputs that the definition is compared with. */
struct built {
    struct hy_graph *g;
    int leaves, outputs;
    struct hy_tensor *leaf[MAX_LEAVES], *tail[MAX_LEAVES], *y[2];
    struct hy_tensor *integers; /* [N, 1], filled by integer_at() */
    int (*integer_at)(int64_t row);
};

/* An operator's definition: leaves as contiguous doubles in, all outputs one after the other out.
 */
typedef void definition_fn(const double *const *in, double *y);
typedef void build_fn(struct built *b);

static double draw(double lo, double hi)
{
    return lo + (hi - lo) * drand48();
}

static struct hy_tensor *leaf(struct built *b, int i, int64_t rows, int64_t cols, double lo,
                              double hi)
{
    if (!b->leaf[i])
        b->leaf[i] = hy_graph_leaf(b->g, "leaf", rows, cols, lo, hi);
    b->leaves = i + 1 > b->leaves ? i + 1 : b->leaves;
    return b->leaf[i];
}

static struct hy_tensor *integers(struct built *b, int (*integer_at)(int64_t row))
{
    if (!b->integers)
        b->integers = hy_graph_input(b->g, "integers", HY_INT32, N, 1);
    b->integer_at = integer_at;
    return b->integers;
}

/* Columns [first, cols) of leaf i. */
static struct hy_tensor *tail(struct built *b, int i, int64_t rows, int64_t first, int64_t cols,
                              double lo, double hi)
{
    struct hy_tensor *views[2];
    if (!b->tail[i]) {
        hy_graph_split(b->g, leaf(b, i, rows, cols, lo, hi), 2, (int64_t[]){first, cols - first},
                       views);
        b->tail[i] = views[1];
    }
    return b->tail[i];
}

static struct hy_graph *graph_of(enum hy_mode mode, int batch, int tokens, int context,
                                 struct hy_slab *cache)
{
    const struct hy_shape shape = {
        .replicas = 1, .batch = batch, .tokens = tokens, .context = context, .mode = mode};
    struct hy_graph *g = hy_graph_new(&shape, NULL, NULL, cache);
    assert_non_null(g);
    return g;
}

static void plan(struct hy_graph *g)
{
    struct hy_err e = {0};
    if (hy_graph_plan(g, &e))
        fail_msg("%s", e.text);
}

static void fill_leaves(struct built *b)
{
    for (int i = 0; i < b->leaves; i++) {
        hy_real *x = b->leaf[i]->data;
        for (int64_t k = 0; k < b->leaf[i]->rows * b->leaf[i]->cols; k++)
            x[k] = (hy_real)draw(b->leaf[i]->lo, b->leaf[i]->hi);
    }
    for (int64_t k = 0; b->integers && k < N; k++)
        ((int32_t *)b->integers->data)[k] = b->integer_at(k);
}

static int64_t size_of(const struct hy_tensor *t)
{
    return t->rows * t->cols;
}

static double *doubles_of(const struct hy_tensor *t)
{
    double *d = malloc((size_t)size_of(t) * sizeof *d);
    assert_non_null(d);
    for (int64_t r = 0; r < t->rows; r++)
        for (int64_t c = 0; c < t->cols; c++)
            d[r * t->cols + c] = hy_real_data(t, 0)[r * t->ld + c];
    return d;
}

static void assert_close(const char *what, double got, double want, double scale, double tolerance)
{
    if (!(fabs(got - want) <= tolerance * scale))
        fail_msg("%s: %.9g, not %.9g (scale %.3g)", what, got, want, scale);
}

static void check_values(const struct built *b, const double *want)
{
    for (int o = 0; o < b->outputs; o++) {
        double *got = doubles_of(b->y[o]), scale = 0;
        const int64_t n = size_of(b->y[o]);
        for (int64_t i = 0; i < n; i++)
            scale = fmax(scale, fabs(want[i]));
        for (int64_t i = 0; i < n; i++)
            assert_close("value", got[i], want[i], scale, 4e-6);
        want += n;
        free(got);
    }
}

static double loss_of(definition_fn *definition, const double *const *in, double *y,
                      const double *dy, int64_t n)
{
    double loss = 0;
    definition(in, y);
    for (int64_t i = 0; i < n; i++)
        loss += dy[i] * y[i];
    return loss;
}

/* `copies`: how many times the op stands in the graph, each adding its gradient. */
static void check_gradients(const struct built *b, definition_fn *definition, double **in,
                            double *y, const double *dy, int64_t n, int copies)
{
    for (int i = 0; i < b->leaves; i++) {
        const int64_t size = size_of(b->leaf[i]);
        double *grad = doubles_of(b->leaf[i]->grad), *at = in[i];
        double *there = malloc((size_t)size * sizeof *there);
        double *way = malloc((size_t)size * sizeof *way);
        for (int trial = 0; trial < 3; trial++) {
            double got = 0, norm = 0;
            const double h = 1e-5;
            for (int64_t k = 0; k < size; k++) {
                way[k] = draw(-1, 1);
                got += grad[k] * way[k];
                norm += grad[k] * grad[k];
            }
            in[i] = there;
            for (int64_t k = 0; k < size; k++)
                there[k] = at[k] + h * way[k];
            double want = loss_of(definition, (const double *const *)in, y, dy, n);
            for (int64_t k = 0; k < size; k++)
                there[k] = at[k] - h * way[k];
            want = copies * (want - loss_of(definition, (const double *const *)in, y, dy, n)) /
                   (2 * h);
            in[i] = at;
            assert_close("gradient", got, want, sqrt(norm), 2e-5);
        }
        free(grad);
        free(there);
        free(way);
    }
}

static void check_copies(build_fn *build, definition_fn *definition, int copies)
{
    struct built b = {.g = graph_of(HY_TRAIN, B, T, 0, NULL)};
    struct hy_tensor *y[4], *dy[4];
    double *in[MAX_LEAVES], *dys, *want;
    struct hy_err e = {0};
    int count = 0;
    int64_t n = 0, at = 0;
    srand48(7);
    for (int copy = 0; copy < copies; copy++) {
        build(&b);
        for (int o = 0; o < b.outputs; o++) {
            assert_false(b.g->err.code);
            y[count] = b.y[o];
            hy_graph_keep(y[count]);
            dy[count] = hy_graph_input(b.g, "dy", HY_REAL, b.y[o]->rows, b.y[o]->cols);
            n += copy == 0 ? size_of(b.y[o]) : 0;
            count++;
        }
    }
    if (hy_graph_backward(b.g, count, y, dy, &e))
        fail_msg("%s", e.text);
    plan(b.g);
    fill_leaves(&b);
    dys = malloc((size_t)n * sizeof *dys);
    want = malloc((size_t)n * sizeof *want);
    for (int o = 0; o < b.outputs; o++)
        for (int64_t k = 0; k < size_of(y[o]); k++, at++) {
            dys[at] = (float)draw(-1, 1);
            for (int copy = 0; copy < copies; copy++)
                hy_real_data(dy[copy * b.outputs + o], 0)[k] = (hy_real)dys[at];
        }
    hy_graph_run(b.g, NULL);
    for (int i = 0; i < b.leaves; i++)
        in[i] = doubles_of(b.leaf[i]);
    definition((const double *const *)in, want);
    check_values(&b, want);
    check_gradients(&b, definition, in, want, dys, n, copies);
    for (int i = 0; i < b.leaves; i++)
        free(in[i]);
    free(dys);
    free(want);
    hy_graph_free(b.g);
}

static void check(build_fn *build, definition_fn *definition)
{
    check_copies(build, definition, 1);
    check_copies(build, definition, 2);
}

/* ---- norms ---- */

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double mean_square(const double *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sum / (double)n;
}

static void build_rmsnorm(struct built *b)
{
    b->y[0] = hy_rmsnorm(b->g, tail(b, 0, N, 3, 40, -2, 2), leaf(b, 1, 1, 37, -1, 1), 1e-3);
    b->outputs = 1;
}
static void define_rmsnorm(const double *const *in, double *y)
{
    for (int64_t i = 0; i < N; i++) {
        const double *x = in[0] + i * 40 + 3, f = 1 / sqrt(mean_square(x, 37) + 1e-3);
        for (int64_t c = 0; c < 37; c++)
            *y++ = x[c] * f * in[1][c];
    }
}

static void build_add_norm(struct built *b)
{
    struct hy_tensor *a = leaf(b, 0, N, 37, -2, 2), *x = tail(b, 1, N, 2, 39, -2, 2);
    b->y[1] = hy_add_norm(b->g, a, x, leaf(b, 2, 1, 37, -1, 1), 1e-3, &b->y[0]);
    b->outputs = 2;
}
static void define_add_norm(const double *const *in, double *y)
{
    for (int64_t i = 0; i < N; i++) {
        double *sum = y + i * 37;
        for (int64_t c = 0; c < 37; c++)
            sum[c] = in[0][i * 37 + c] + in[1][i * 39 + 2 + c];
        const double f = 1 / sqrt(mean_square(sum, 37) + 1e-3);
        for (int64_t c = 0; c < 37; c++)
            y[N * 37 + i * 37 + c] = sum[c] * f * in[2][c];
    }
}

static void build_l2norm(struct built *b)
{
    b->y[0] = hy_l2norm(b->g, tail(b, 0, N, 5, 43, -1, 1), 2, 1e-6);
    b->outputs = 1;
}
static void define_l2norm(const double *const *in, double *y)
{
    for (int64_t i = 0; i < N; i++)
        for (int h = 0; h < 2; h++) {
            const double *x = in[0] + i * 43 + 5 + h * 19;
            const double f = 1 / sqrt(19 * mean_square(x, 19) + 1e-6);
            for (int64_t c = 0; c < 19; c++)
                *y++ = x[c] * f;
        }
}

static void build_gated_norm(struct built *b, enum hy_gate activation)
{
    b->y[0] = hy_gated_norm(b->g, tail(b, 0, N, 1, 39, -2, 2), tail(b, 1, N, 4, 42, -4, 4),
                            leaf(b, 2, 1, 19, -1, 1), 1e-6, activation);
    b->outputs = 1;
}
static void define_gated(const double *const *in, double *y, int silu)
{
    for (int64_t i = 0; i < N; i++)
        for (int h = 0; h < 2; h++) {
            const double *x = in[0] + i * 39 + 1 + h * 19, *gate = in[1] + i * 42 + 4 + h * 19;
            const double f = 1 / sqrt(mean_square(x, 19) + 1e-6);
            for (int64_t c = 0; c < 19; c++)
                *y++ = x[c] * f * in[2][c] * sigmoid(gate[c]) * (silu ? gate[c] : 1);
        }
}
static void build_silu_norm(struct built *b)
{
    build_gated_norm(b, HY_GATE_SILU);
}
static void define_silu_norm(const double *const *in, double *y)
{
    define_gated(in, y, 1);
}
static void build_sigmoid_norm(struct built *b)
{
    build_gated_norm(b, HY_GATE_SIGMOID);
}
static void define_sigmoid_norm(const double *const *in, double *y)
{
    define_gated(in, y, 0);
}

static void norms_follow_their_definitions(void **state)
{
    (void)state;
    check(build_rmsnorm, define_rmsnorm);
    check(build_add_norm, define_add_norm);
    check(build_l2norm, define_l2norm);
    check(build_silu_norm, define_silu_norm);
    check(build_sigmoid_norm, define_sigmoid_norm);
}

/* ---- gates ---- */

static void build_swiglu(struct built *b)
{
    b->y[0] = hy_swiglu(b->g, tail(b, 0, N, 3, 77, -6, 6));
    b->outputs = 1;
}
static void define_swiglu(const double *const *in, double *y)
{
    for (int64_t i = 0; i < N; i++)
        for (int64_t c = 0; c < 37; c++) {
            const double gate = in[0][i * 77 + 3 + c], up = in[0][i * 77 + 40 + c];
            *y++ = gate * sigmoid(gate) * up;
        }
}

static void build_sigmoid(struct built *b)
{
    b->y[0] = hy_sigmoid_of(b->g, tail(b, 0, N, 3, 8, -6, 6), 2);
    b->outputs = 1;
}
static void define_sigmoid(const double *const *in, double *y)
{
    for (int64_t i = 0; i < N; i++)
        for (int64_t c = 3; c < 8; c++)
            *y++ = 2 * sigmoid(in[0][i * 8 + c]);
}

static void build_log_sigmoid(struct built *b)
{
    b->y[0] = hy_log_sigmoid_of(b->g, tail(b, 0, N, 3, 8, -6, 6), leaf(b, 1, 1, 5, -1, 1), 16);
    b->outputs = 1;
}
static void define_log_sigmoid(const double *const *in, double *y)
{
    for (int64_t i = 0; i < N; i++)
        for (int64_t c = 0; c < 5; c++)
            *y++ = log(sigmoid(in[0][i * 8 + 3 + c] + in[1][c])) / 16;
}

/* Wider than a tile, so that a row takes several. */
static void build_wide_log_sigmoid(struct built *b)
{
    b->y[0] = hy_log_sigmoid_of(b->g, leaf(b, 0, 5, 1500, -6, 6), leaf(b, 1, 1, 1500, -1, 1), 4);
    b->outputs = 1;
}
static void define_wide_log_sigmoid(const double *const *in, double *y)
{
    for (int64_t i = 0; i < 5; i++)
        for (int64_t c = 0; c < 1500; c++)
            *y++ = log(sigmoid(in[0][i * 1500 + c] + in[1][c])) / 4;
}

static void build_decay_gate(struct built *b)
{
    b->y[0] = hy_decay_gate(b->g, tail(b, 0, N, 3, 9, -6, 6), leaf(b, 1, 1, 2, -2, 2),
                            leaf(b, 2, 1, 6, -1, 1));
    b->outputs = 1;
}
static void define_decay_gate(const double *const *in, double *y)
{
    for (int64_t i = 0; i < N; i++)
        for (int64_t c = 0; c < 6; c++)
            *y++ = -exp(in[1][c / 3]) * log1p(exp(in[0][i * 9 + 3 + c] + in[2][c]));
}

static void gates_follow_their_definitions(void **state)
{
    (void)state;
    check(build_swiglu, define_swiglu);
    check(build_sigmoid, define_sigmoid);
    check(build_log_sigmoid, define_log_sigmoid);
    check(build_wide_log_sigmoid, define_wide_log_sigmoid);
    check(build_decay_gate, define_decay_gate);
}

/* ---- convolution, positions, tables ---- */

static void define_conv(const double *const *in, double *y, int64_t n)
{
    for (int64_t i = 0; i < N; i++)
        for (int64_t c = 0; c < 37; c++) {
            double sum = 0;
            for (int64_t j = 0; j < n; j++)
                if (i % T - (n - 1) + j >= 0)
                    sum += in[1][c * n + j] * in[0][(i - (n - 1) + j) * 40 + 3 + c];
            *y++ = sum * sigmoid(sum);
        }
}
static void build_conv(struct built *b)
{
    b->y[0] = hy_conv_silu(b->g, tail(b, 0, N, 3, 40, -2, 2), leaf(b, 1, 37, 4, -1, 1), NULL);
    b->outputs = 1;
}
static void define_conv4(const double *const *in, double *y)
{
    define_conv(in, y, 4);
}
static void build_conv3(struct built *b)
{
    b->y[0] = hy_conv_silu(b->g, tail(b, 0, N, 3, 40, -2, 2), leaf(b, 1, 37, 3, -1, 1), NULL);
    b->outputs = 1;
}
static void define_conv3(const double *const *in, double *y)
{
    define_conv(in, y, 3);
}

static void build_rope(struct built *b)
{
    b->y[0] = hy_rope(b->g, tail(b, 0, N, 3, 43, -1, 1), 2, 1e4);
    b->outputs = 1;
}
static void define_rope(const double *const *in, double *y)
{
    for (int64_t i = 0; i < N; i++)
        for (int h = 0; h < 2; h++, y += 20)
            for (int64_t c = 0; c < 10; c++) {
                const double *x = in[0] + i * 43 + 3 + h * 20;
                const double angle = (double)(i % T) * pow(1e4, -2.0 * (double)c / 20);
                y[c] = x[c] * cos(angle) - x[10 + c] * sin(angle);
                y[10 + c] = x[10 + c] * cos(angle) + x[c] * sin(angle);
            }
}

static int token_at(int64_t i)
{
    return (int)(i * 5 % 7);
}

static void build_embedding(struct built *b)
{
    b->y[0] = hy_embedding(b->g, integers(b, token_at), leaf(b, 0, 7, 37, -1, 1));
    b->outputs = 1;
}
static void define_embedding(const double *const *in, double *y)
{
    for (int64_t i = 0; i < N; i++, y += 37)
        memcpy(y, in[0] + token_at(i) * 37, 37 * sizeof *y);
}

static void positions_and_tables_follow_their_definitions(void **state)
{
    (void)state;
    check(build_conv, define_conv4);
    check(build_conv3, define_conv3);
    check(build_rope, define_rope);
    check(build_embedding, define_embedding);
}

/* ---- attention ---- */

static const struct hy_attention full = {4, 2, 20, 12, 0.3, 0}, windowed = {2, 2, 20, 12, 1, 70};

static void build_attention(struct built *b, const struct hy_attention *s)
{
    struct hy_tensor *q = tail(b, 0, N, 3, 3 + s->heads * s->key_width, -2, 2);
    struct hy_tensor *k = leaf(b, 1, N, s->kv_heads * s->key_width, -2, 2);
    struct hy_tensor *v = tail(b, 2, N, 1, 1 + s->kv_heads * s->value_width, -2, 2);
    b->y[0] = hy_attention(b->g, q, k, v, s, NULL, NULL);
    b->outputs = 1;
}

/* o [value_width] of one query at token t, whose sequence's keys and values begin at k and v. */
static void attend(const struct hy_attention *s, const double *q, const double *k, int64_t ldk,
                   const double *v, int64_t ldv, int64_t t, double *o)
{
    double p[T], sum = 0, max = -INFINITY;
    const int64_t first = s->window && t >= s->window ? t - s->window + 1 : 0;
    for (int64_t j = first; j <= t; j++) {
        p[j] = 0;
        for (int c = 0; c < s->key_width; c++)
            p[j] += s->scale * q[c] * k[j * ldk + c];
        max = fmax(max, p[j]);
    }
    for (int64_t j = first; j <= t; j++)
        sum += p[j] = exp(p[j] - max);
    for (int c = 0; c < s->value_width; c++) {
        o[c] = 0;
        for (int64_t j = first; j <= t; j++)
            o[c] += p[j] / sum * v[j * ldv + c];
    }
}
static void define_attention(const struct hy_attention *s, const double *const *in, double *y)
{
    const int64_t ldq = 3 + s->heads * s->key_width, ldk = s->kv_heads * s->key_width;
    const int64_t ldv = 1 + s->kv_heads * s->value_width;
    for (int64_t i = 0; i < N; i++)
        for (int h = 0; h < s->heads; h++, y += s->value_width) {
            const int kv = h / (s->heads / s->kv_heads);
            const int64_t start = i / T * T;
            attend(s, in[0] + i * ldq + 3 + h * s->key_width,
                   in[1] + start * ldk + kv * s->key_width, ldk,
                   in[2] + start * ldv + 1 + kv * s->value_width, ldv, i % T, y);
        }
}
static void build_full(struct built *b)
{
    build_attention(b, &full);
}
static void define_full(const double *const *in, double *y)
{
    define_attention(&full, in, y);
}
static void build_windowed(struct built *b)
{
    build_attention(b, &windowed);
}
static void define_windowed(const double *const *in, double *y)
{
    define_attention(&windowed, in, y);
}

static void attention_follows_its_definition(void **state)
{
    (void)state;
    check(build_full, define_full);
    check(build_windowed, define_windowed);
}

/* ---- the head's loss ---- */

enum { VOCAB = 53, WIDTH = 11 };

static int label_at(int64_t i)
{
    return i % 4 == 1 ? -100 : (int)(i * 17 % VOCAB);
}

static void build_head_loss(struct built *b)
{
    struct hy_tensor *hit;
    b->y[0] = hy_head_loss(b->g, tail(b, 0, N, 2, 2 + WIDTH, -2, 2),
                           leaf(b, 1, VOCAB, WIDTH, -2, 2), integers(b, label_at), N, &hit);
    b->outputs = 1;
}
static void define_head_loss(const double *const *in, double *y)
{
    for (int64_t i = 0; i < N; i++) {
        double z[VOCAB], sum = 0;
        for (int k = 0; k < VOCAB; k++) {
            z[k] = 0;
            for (int c = 0; c < WIDTH; c++)
                z[k] += in[0][i * (2 + WIDTH) + 2 + c] * in[1][k * WIDTH + c];
            sum += exp(z[k]);
        }
        y[i] = label_at(i) < 0 ? 0 : log(sum) - z[label_at(i)];
    }
}

static void head_loss_follows_its_definition(void **state)
{
    (void)state;
    check(build_head_loss, define_head_loss);
}

/* One row of logits: the identity picks them out of the table. */
static void score_row(const float *logits, int count, int label, float *nll, float *hit)
{
    struct hy_graph *g = graph_of(HY_EVAL, 1, 1, 0, NULL);
    struct hy_tensor *x = hy_graph_input(g, "x", HY_REAL, 1, 1), *hits;
    struct hy_tensor *table = hy_graph_input(g, "table", HY_REAL, count, 1);
    struct hy_tensor *labels = hy_graph_input(g, "labels", HY_INT32, 1, 1);
    struct hy_tensor *y = hy_head_loss(g, x, table, labels, 1, &hits);
    hy_graph_keep(y);
    hy_graph_keep(hits);
    plan(g);
    *(hy_real *)x->data = 1;
    *(int32_t *)labels->data = label;
    memcpy(table->data, logits, (size_t)count * sizeof *logits);
    hy_graph_run(g, NULL);
    *nll = *(float *)y->data;
    *hit = *(float *)hits->data;
    hy_graph_free(g);
}

static void a_hit_is_the_first_of_the_largest_logits(void **state)
{
    (void)state;
    const float logits[] = {1, 3, 2, 3};
    const float hits[] = {0, 1, 0, 0};
    for (int label = 0; label < 4; label++) {
        float nll, hit;
        score_row(logits, 4, label, &nll, &hit);
        assert_true(hit == hits[label]);
    }
}

static void training_and_evaluation_score_alike(void **state)
{
    (void)state;
    float *nll[2];
    for (int pass = 0; pass < 2; pass++) {
        struct built b = {.g = graph_of(pass ? HY_TRAIN : HY_EVAL, B, T, 0, NULL)};
        struct hy_err e = {0};
        build_head_loss(&b);
        hy_graph_keep(b.y[0]);
        struct hy_tensor *dy = hy_graph_input(b.g, "dy", HY_REAL, N, 1);
        if (pass)
            assert_int_equal(hy_graph_backward(b.g, 1, b.y, &dy, &e), 0);
        plan(b.g);
        srand48(3);
        fill_leaves(&b);
        hy_graph_run(b.g, NULL);
        nll[pass] = malloc(N * sizeof(float));
        memcpy(nll[pass], b.y[0]->data, N * sizeof(float));
        hy_graph_free(b.g);
    }
    assert_memory_equal(nll[0], nll[1], N * sizeof(float));
    free(nll[0]);
    free(nll[1]);
}

/* ---- sequences in parts ---- */

enum { PART_B = 2, PART_T = 10 };

/* A layer with a cache: what depends on position and state, in one chain. */
static struct hy_tensor *build_layer(struct hy_graph *g, struct hy_tensor **x, struct hy_tensor **w)
{
    static const struct hy_attention s = {2, 1, 4, 4, 0.5, 0};
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    struct hy_tensor *conv = NULL, *keys = NULL, *values = NULL, *part[3];
    if (g->shape.mode == HY_CACHED) {
        conv = hy_graph_state(
            g, &(struct hy_entry){.name = "conv", .rank = 2, .dims = {3 * PART_B, 4 * 4}});
        keys = hy_graph_state(
            g, &(struct hy_entry){.name = "keys", .rank = 2, .dims = {PART_T * PART_B, 4}});
        values = hy_graph_state(
            g, &(struct hy_entry){.name = "values", .rank = 2, .dims = {PART_T * PART_B, 4}});
    }
    *x = hy_graph_input(g, "x", HY_REAL, rows, 16);
    *w = hy_graph_input(g, "w", HY_REAL, 16, 4);
    hy_graph_split(g, hy_conv_silu(g, *x, *w, conv), 3, (int64_t[]){8, 4, 4}, part);
    struct hy_tensor *y = hy_attention(g, hy_rope(g, part[0], 2, 100), hy_rope(g, part[1], 1, 100),
                                       part[2], &s, keys, values);
    hy_graph_keep(y);
    return y;
}

/* Runs tokens [from, from + count) of every sequence and puts the outputs where they belong. */
static void run_part(struct hy_slab *cache, int from, int count, const float *x, const float *w,
                     float *y)
{
    struct hy_tensor *tx, *tw;
    struct hy_graph *g = graph_of(cache ? HY_CACHED : HY_EVAL, PART_B, count, PART_T, cache);
    struct hy_tensor *ty = build_layer(g, &tx, &tw);
    struct hy_err e = {0};
    if (cache && !cache->data)
        assert_int_equal(hy_slab_allocate(cache, &e), 0);
    plan(g);
    g->position = from;
    memcpy(tw->data, w, 16 * 4 * sizeof *w);
    for (int b = 0; b < PART_B; b++)
        memcpy((float *)tx->data + b * count * 16, x + (b * PART_T + from) * 16,
               (size_t)count * 16 * sizeof *x);
    hy_graph_run(g, NULL);
    for (int b = 0; b < PART_B; b++)
        memcpy(y + (b * PART_T + from) * 8, (float *)ty->data + b * count * 8,
               (size_t)count * 8 * sizeof *y);
    hy_graph_free(g);
}

static void a_sequence_in_parts_equals_the_whole(void **state)
{
    (void)state;
    float x[PART_B * PART_T * 16], w[16 * 4], whole[PART_B * PART_T * 8],
        parts[PART_B * PART_T * 8];
    static const int cuts[][5] = {{6, 4}, {1, 1, 8}, {5, 2, 1, 1, 1}};
    for (size_t i = 0; i < sizeof x / sizeof *x; i++)
        x[i] = (float)draw(-2, 2);
    for (size_t i = 0; i < sizeof w / sizeof *w; i++)
        w[i] = (float)draw(-1, 1);
    run_part(NULL, 0, PART_T, x, w, whole);
    for (size_t cut = 0; cut < sizeof cuts / sizeof *cuts; cut++) {
        struct hy_slab cache;
        hy_slab_init(&cache, 1);
        memset(parts, 0, sizeof parts);
        for (int i = 0, from = 0; from < PART_T; from += cuts[cut][i++])
            run_part(&cache, from, cuts[cut][i], x, w, parts);
        for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
            assert_close("output", parts[i], whole[i], 1, 2e-6);
        hy_slab_release(&cache);
    }
}

/* ---- edges ---- */

static double true_softplus(double x)
{
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}
static double true_silu(double x)
{
    return x * sigmoid(x);
}
static double true_log_sigmoid(double x)
{
    return -true_softplus(-x);
}

static void exp_and_its_relatives_are_within_two_units(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        hy_real (*got)(hy_real);
        double (*want)(double);
        double lo, hi;
    } cases[] = {
        {"exp", hy_exp, exp, -87, 88},
        {"sigmoid", hy_sigmoid, sigmoid, -80, 80},
        {"silu", hy_silu, true_silu, -80, 80},
        {"softplus", hy_softplus, true_softplus, -80, 80},
        {"log_sigmoid", hy_log_sigmoid, true_log_sigmoid, -80, 80},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int k = 0; k < 100000; k++) {
            const float x = (float)draw(cases[i].lo, cases[i].hi) * (k % 3 ? 1 : 0.05f);
            const double want = cases[i].want(x);
            assert_close(cases[i].name, cases[i].got(x), want, fabs(want), 2 * 1.2e-7);
        }
        assert_true(isnan(cases[i].got(NAN)));
    }
    assert_true(hy_exp(-1e30f) == 0 && hy_exp(-INFINITY) == 0 && isinf(hy_exp(1e30f)));
    assert_true(hy_softplus(1e30f) == 1e30f && hy_log_sigmoid(-1e30f) == -1e30f);
}

static void build_extremes(struct built *b)
{
    struct hy_tensor *hit, *x = leaf(b, 0, N, 8, -1e4, 1e4);
    static const struct hy_attention s = {2, 2, 4, 4, 1, 0};
    struct hy_tensor *o = hy_attention(b->g, x, x, x, &s, NULL, NULL);
    o = hy_add_norm(b->g, o,
                    hy_decay_gate(b->g, x, leaf(b, 1, 1, 2, -1, 3), leaf(b, 2, 1, 8, 0, 1)),
                    leaf(b, 2, 1, 8, 0, 1), 1e-6, &b->y[1]);
    o = hy_gated_norm(b->g, o, hy_log_sigmoid_of(b->g, x, NULL, 1), leaf(b, 2, 1, 8, 0, 1), 1e-6,
                      HY_GATE_SILU);
    o = hy_conv_silu(b->g, o, leaf(b, 3, 8, 4, -1e4, 1e4), NULL);
    b->y[0] = hy_head_loss(b->g, o, x, integers(b, token_at), N, &hit);
    b->outputs = 1;
}

static void extreme_inputs_stay_finite(void **state)
{
    (void)state;
    struct built b = {.g = graph_of(HY_TRAIN, B, T, 0, NULL)};
    struct hy_err e = {0};
    build_extremes(&b);
    struct hy_tensor *dy = hy_graph_input(b.g, "dy", HY_REAL, N, 1);
    hy_graph_keep(b.y[0]);
    if (hy_graph_backward(b.g, 1, b.y, &dy, &e))
        fail_msg("%s", e.text);
    plan(b.g);
    fill_leaves(&b);
    for (int64_t i = 0; i < N; i++)
        ((float *)dy->data)[i] = 1;
    hy_graph_run(b.g, NULL);
    for (int64_t i = 0; i < N; i++)
        assert_true(isfinite(((float *)b.y[0]->data)[i]));
    for (int i = 0; i < b.leaves; i++)
        for (int64_t k = 0; k < size_of(b.leaf[i]); k++)
            assert_true(isfinite(((float *)b.leaf[i]->grad->data)[k]));
    hy_graph_free(b.g);
}

static void logits_of_ten_thousand_score_exactly(void **state)
{
    (void)state;
    const float logits[] = {-1e4f, 1e4f, 0};
    const float want[] = {2e4f, 0, 1e4f};
    for (int label = 0; label < 3; label++) {
        float nll, hit;
        score_row(logits, 3, label, &nll, &hit);
        assert_true(nll == want[label]);
    }
}

static void builders_refuse_shapes_that_do_not_fit(void **state)
{
    (void)state;
    static const struct hy_attention s = {4, 2, 4, 4, 1, 0};
    struct hy_tensor *sum;
    for (int i = 0; i < 6; i++) {
        static const char *const says[] = {
            "[1, 5]", "3 heads", "even width", "17 taps", "[300, 8], not [300, 16]", "7 columns"};
        struct hy_graph *g = graph_of(HY_TRAIN, B, T, 0, NULL);
        struct hy_tensor *x = hy_graph_leaf(g, "x", N, 8, -1, 1), *y = x;
        if (i == 0)
            y = hy_add_norm(g, x, x, hy_graph_leaf(g, "w", 1, 5, -1, 1), 1e-6, &sum);
        else if (i == 1)
            y = hy_l2norm(g, x, 3, 1e-6);
        else if (i == 2)
            y = hy_rope(g, x, 8, 1e4);
        else if (i == 3)
            y = hy_conv_silu(g, x, hy_graph_leaf(g, "w", 8, 17, -1, 1), NULL);
        else if (i == 4)
            y = hy_attention(g, x, x, x, &s, NULL, NULL);
        else
            y = hy_swiglu(g, hy_graph_leaf(g, "odd", N, 7, -1, 1));
        assert_null(y);
        assert_non_null(strstr(g->err.text, says[i]));
        hy_graph_free(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms_follow_their_definitions),
        cmocka_unit_test(gates_follow_their_definitions),
        cmocka_unit_test(positions_and_tables_follow_their_definitions),
        cmocka_unit_test(attention_follows_its_definition),
        cmocka_unit_test(head_loss_follows_its_definition),
        cmocka_unit_test(a_hit_is_the_first_of_the_largest_logits),
        cmocka_unit_test(training_and_evaluation_score_alike),
        cmocka_unit_test(a_sequence_in_parts_equals_the_whole),
        cmocka_unit_test(exp_and_its_relatives_are_within_two_units),
        cmocka_unit_test(extreme_inputs_stay_finite),
        cmocka_unit_test(logits_of_ten_thousand_score_exactly),
        cmocka_unit_test(builders_refuse_shapes_that_do_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
