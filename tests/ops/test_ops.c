/* Every operator against its definition; inputs are views where rows may be apart. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/ops/add_norm.h"
#include "core/ops/conv_silu.h"
#include "core/ops/decay_gate.h"
#include "core/ops/embedding.h"
#include "core/ops/forget_gate.h"
#include "core/ops/gate.h"
#include "core/ops/gated_norm.h"
#include "core/ops/products/head_loss.h"
#include "core/ops/l2norm.h"
#include "core/ops/log_sigmoid.h"
#include "core/ops/lower_bound.h"
#include "core/ops/rmsnorm.h"
#include "core/ops/rope.h"
#include "core/ops/sigmoid.h"
#include "core/ops/silu.h"
#include "core/ops/skip.h"
#include "tests/support/definition.h"

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
    b->y[0] =
        hy_rmsnorm(b->g, test_tail(b, 0, N, 3, 40, -2, 2), test_leaf(b, 1, 1, 37, -1, 1), 1e-3);
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
    struct hy_tensor *a = test_leaf(b, 0, N, 37, -2, 2), *x = test_tail(b, 1, N, 2, 39, -2, 2);
    b->y[1] = hy_add_norm(b->g, a, x, test_leaf(b, 2, 1, 37, -1, 1), 1e-3, &b->y[0]);
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

/* b is an activation that only this op reads: a and b share a gradient. */
static void build_shared_add_norm(struct built *b)
{
    struct hy_tensor *x = hy_sigmoid_of(b->g, test_leaf(b, 1, N, 37, -2, 2), 1);
    struct hy_tensor *a = hy_sigmoid_of(b->g, test_leaf(b, 0, N, 37, -2, 2), 3);
    b->y[1] = hy_add_norm(b->g, a, x, test_leaf(b, 2, 1, 37, -1, 1), 1e-3, &b->y[0]);
    b->outputs = 2;
}
static void define_shared_add_norm(const double *const *in, double *y)
{
    for (int64_t i = 0; i < N; i++) {
        double *sum = y + i * 37;
        for (int64_t c = 0; c < 37; c++)
            sum[c] = 3 * sigmoid(in[0][i * 37 + c]) + sigmoid(in[1][i * 37 + c]);
        const double f = 1 / sqrt(mean_square(sum, 37) + 1e-3);
        for (int64_t c = 0; c < 37; c++)
            y[N * 37 + i * 37 + c] = sum[c] * f * in[2][c];
    }
}

static void build_l2norm(struct built *b)
{
    b->y[0] = hy_l2norm(b->g, test_tail(b, 0, N, 5, 43, -1, 1), 2, 1e-6);
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
    b->y[0] =
        hy_gated_norm(b->g, test_tail(b, 0, N, 1, 39, -2, 2), test_tail(b, 1, N, 4, 42, -4, 4),
                      test_leaf(b, 2, 1, 19, -1, 1), 1e-6, activation);
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
    test_definition(build_rmsnorm, define_rmsnorm);
    test_definition(build_add_norm, define_add_norm);
    test_definition(build_shared_add_norm, define_shared_add_norm);
    test_definition(build_l2norm, define_l2norm);
    test_definition(build_silu_norm, define_silu_norm);
    test_definition(build_sigmoid_norm, define_sigmoid_norm);
}

/* ---- gates ---- */

static void build_gate(struct built *b, int gates, enum hy_gate activation)
{
    b->y[0] = hy_gated(b->g, test_tail(b, 0, N, 3, 39, -2, 2),
                       test_tail(b, 1, N, 1, 1 + gates, -6, 6), activation);
    b->outputs = 1;
}
static void define_gate(const double *const *in, double *y, int gates, enum hy_gate activation)
{
    for (int64_t i = 0; i < N; i++)
        for (int64_t c = 0; c < 36; c++) {
            const double gate = in[1][i * (1 + gates) + 1 + c / (36 / gates)];
            const double through = activation == HY_GATE_SILU      ? gate * sigmoid(gate)
                                   : activation == HY_GATE_SIGMOID ? sigmoid(gate)
                                                                   : gate;
            *y++ = in[0][i * 39 + 3 + c] * through;
        }
}
static void build_silu_gate(struct built *b)
{
    build_gate(b, 36, HY_GATE_SILU);
}
static void define_silu_gate(const double *const *in, double *y)
{
    define_gate(in, y, 36, HY_GATE_SILU);
}
static void build_sigmoid_gate(struct built *b)
{
    build_gate(b, 2, HY_GATE_SIGMOID);
}
static void define_sigmoid_gate(const double *const *in, double *y)
{
    define_gate(in, y, 2, HY_GATE_SIGMOID);
}
static void build_plain_gate(struct built *b)
{
    build_gate(b, 2, HY_GATE_PLAIN);
}
static void define_plain_gate(const double *const *in, double *y)
{
    define_gate(in, y, 2, HY_GATE_PLAIN);
}

static void build_silu(struct built *b)
{
    b->y[0] = hy_silu_of(b->g, test_tail(b, 0, N, 3, 40, -6, 6));
    b->outputs = 1;
}
static void define_silu(const double *const *in, double *y)
{
    for (int64_t i = 0; i < N; i++)
        for (int64_t c = 3; c < 40; c++)
            *y++ = in[0][i * 40 + c] * sigmoid(in[0][i * 40 + c]);
}

static void build_skip(struct built *b)
{
    b->y[0] = hy_skip(b->g, test_tail(b, 0, N, 3, 39, -1, 1), test_tail(b, 1, N, 1, 37, -1, 1),
                      test_leaf(b, 2, 1, 2, -1, 1));
    b->outputs = 1;
}
static void define_skip(const double *const *in, double *y)
{
    for (int64_t i = 0; i < N; i++)
        for (int64_t c = 0; c < 36; c++)
            *y++ = in[0][i * 39 + 3 + c] + in[2][c / 18] * in[1][i * 37 + 1 + c];
}

/* The outputs in turn: all of log f, then all of 1 - f. */
static void define_forget(const double *const *in, double *y, const double *bound)
{
    for (int64_t i = 0; i < N; i++)
        for (int64_t c = 0; c < 37; c++, y++) {
            const double b = bound ? bound[c] : 0, s = sigmoid(in[0][i * 40 + 3 + c]);
            y[0] = log(b + (1 - b) * s);
            y[N * 37] = (1 - b) * (1 - s);
        }
}
static void build_forget_gate(struct built *b)
{
    b->y[0] = hy_forget_gate(b->g, test_tail(b, 0, N, 3, 40, -6, 6), NULL, &b->y[1]);
    b->outputs = 2;
}
static void define_forget_gate(const double *const *in, double *y)
{
    define_forget(in, y, NULL);
}
static void build_bounded_gate(struct built *b)
{
    b->y[0] = hy_forget_gate(b->g, test_tail(b, 0, N, 3, 40, -6, 6), test_leaf(b, 1, 1, 37, .1, .9),
                             &b->y[1]);
    b->outputs = 2;
}
static void define_bounded_gate(const double *const *in, double *y)
{
    define_forget(in, y, in[1]);
}

static void build_lower_bound(struct built *b)
{
    b->y[0] = hy_lower_bound(b->g, test_leaf(b, 0, 4, 37, -2, 2), 2);
    b->outputs = 1;
}
static void define_lower_bound(const double *const *in, double *y)
{
    for (int64_t c = 0; c < 37; c++) {
        double sum = 0;
        for (int64_t l = 0; l < 4; l++)
            sum += exp(in[0][l * 37 + c]);
        y[c] = (exp(in[0][37 + c]) + exp(in[0][2 * 37 + c])) / sum;
    }
}

static void build_sigmoid(struct built *b)
{
    b->y[0] = hy_sigmoid_of(b->g, test_tail(b, 0, N, 3, 8, -6, 6), 2);
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
    b->y[0] =
        hy_log_sigmoid_of(b->g, test_tail(b, 0, N, 3, 8, -6, 6), test_leaf(b, 1, 1, 5, -1, 1), 16);
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
    b->y[0] = hy_log_sigmoid_of(b->g, test_leaf(b, 0, 5, 1500, -6, 6),
                                test_leaf(b, 1, 1, 1500, -1, 1), 4);
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
    b->y[0] = hy_decay_gate(b->g, test_tail(b, 0, N, 3, 9, -6, 6), test_leaf(b, 1, 1, 2, -2, 2),
                            test_leaf(b, 2, 1, 6, -1, 1), &b->y[1]);
    b->outputs = 2;
}
static void define_decay_gate(const double *const *in, double *y)
{
    for (int64_t i = 0; i < N; i++)
        for (int64_t c = 0; c < 6; c++, y++) {
            y[N * 6] = log1p(exp(in[0][i * 9 + 3 + c] + in[2][c]));
            y[0] = -exp(in[1][c / 3]) * y[N * 6];
        }
}

static void gates_follow_their_definitions(void **state)
{
    (void)state;
    test_definition(build_silu_gate, define_silu_gate);
    test_definition(build_sigmoid_gate, define_sigmoid_gate);
    test_definition(build_plain_gate, define_plain_gate);
    test_definition(build_silu, define_silu);
    test_definition(build_skip, define_skip);
    test_definition(build_forget_gate, define_forget_gate);
    test_definition(build_bounded_gate, define_bounded_gate);
    test_definition(build_lower_bound, define_lower_bound);
    test_definition(build_sigmoid, define_sigmoid);
    test_definition(build_log_sigmoid, define_log_sigmoid);
    test_definition(build_wide_log_sigmoid, define_wide_log_sigmoid);
    test_definition(build_decay_gate, define_decay_gate);
}

/* ---- convolution, positions, tables ---- */

static void define_conv(const double *const *in, double *y, int64_t n, int64_t channels)
{
    for (int64_t i = 0; i < N; i++)
        for (int64_t c = 0; c < channels; c++) {
            double sum = n == 3 ? in[2][c] : 0;
            for (int64_t j = 0; j < n; j++)
                if (i % T - (n - 1) + j >= 0)
                    sum += in[1][c * n + j] * in[0][(i - (n - 1) + j) * (channels + 3) + 3 + c];
            *y++ = sum * sigmoid(sum);
        }
}
static void build_conv(struct built *b)
{
    b->y[0] = hy_conv_silu(b->g, test_tail(b, 0, N, 3, 40, -2, 2), test_leaf(b, 1, 37, 4, -1, 1),
                           NULL, NULL);
    b->outputs = 1;
}
static void define_conv4(const double *const *in, double *y)
{
    define_conv(in, y, 4, 37);
}
static void build_conv3(struct built *b)
{
    b->y[0] = hy_conv_silu(b->g, test_tail(b, 0, N, 3, 603, -2, 2), test_leaf(b, 1, 600, 3, -1, 1),
                           test_leaf(b, 2, 1, 600, -1, 1), NULL);
    b->outputs = 1;
}
static void define_conv3(const double *const *in, double *y)
{
    define_conv(in, y, 3, 600);
}

static void build_rope(struct built *b)
{
    b->y[0] = hy_rope(b->g, test_tail(b, 0, N, 3, 43, -1, 1), 2, 1e4);
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
    b->y[0] = hy_embedding(b->g, test_integers(b, token_at), test_leaf(b, 0, 7, 37, -1, 1));
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
    test_definition(build_conv, define_conv4);
    test_definition(build_conv3, define_conv3);
    test_definition(build_rope, define_rope);
    test_definition(build_embedding, define_embedding);
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
    b->y[0] =
        hy_head_loss(b->g, test_tail(b, 0, N, 2, 2 + WIDTH, -2, 2),
                     test_leaf(b, 1, VOCAB, WIDTH, -2, 2), test_integers(b, label_at), N, &hit);
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
    test_definition(build_head_loss, define_head_loss);
}

static void training_and_evaluation_score_alike(void **state)
{
    (void)state;
    float *nll[2];
    for (int pass = 0; pass < 2; pass++) {
        struct built b = {.g = test_graph(pass ? HY_TRAIN : HY_EVAL, B, T, 0, NULL)};
        struct hy_err e = {0};
        build_head_loss(&b);
        hy_graph_keep(b.y[0]);
        struct hy_tensor *dy = hy_graph_input(b.g, "dy", HY_REAL, N, 1);
        if (pass)
            assert_int_equal(hy_graph_backward(b.g, 1, b.y, &dy, &e), 0);
        test_plan(b.g);
        srand48(3);
        test_fill(&b);
        hy_graph_run(b.g, NULL);
        nll[pass] = malloc(N * sizeof(float));
        memcpy(nll[pass], b.y[0]->data, N * sizeof(float));
        hy_graph_free(b.g);
    }
    assert_memory_equal(nll[0], nll[1], N * sizeof(float));
    free(nll[0]);
    free(nll[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms_follow_their_definitions),
        cmocka_unit_test(gates_follow_their_definitions),
        cmocka_unit_test(positions_and_tables_follow_their_definitions),
        cmocka_unit_test(head_loss_follows_its_definition),
        cmocka_unit_test(training_and_evaluation_score_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
