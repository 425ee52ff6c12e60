/* Laws of bf16: rounding, products and operators within what rounding the operands allows. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/base/rng.h"
#include "core/graph/bf16.h"
#include "core/ops/attention.h"
#include "core/ops/scan/delta_scan.h"
#include "core/ops/scan/gated_scan.h"
#include "core/ops/products/head_loss.h"
#include "core/ops/l2norm.h"
#include "core/ops/products/linear.h"
#include "core/ops/log_sigmoid.h"
#include "core/ops/sigmoid.h"
#include "core/ops/products/gemm.h"
#include "core/ops/products/micro.h"
#include "core/ops/products/operand.h"

/* Rounding moves a number by 2^-9 of itself at most, so a product of two by 2^-8 and a little; the
 * sum in float32 adds far less. */
static const double unit = 0x1p-8 * 1.02;

static void need_bf16(void)
{
    struct hy_err e;
    if (hy_gemm_check(HY_PRECISION_BF16, &e))
        skip();
}

static void draw(hy_real *x, int64_t count, uint32_t index)
{
    struct hy_rng rng = hy_rng_start(3, HY_RNG_CHECK, 0, index);
    for (int64_t i = 0; i < count; i++)
        x[i] = (hy_real)(2 * hy_rng_uniform(&rng) - 1);
}

static void *claim(size_t bytes)
{
    void *p = malloc(bytes);
    assert_non_null(p);
    return p;
}

static void rounds_to_nearest_even(void **state)
{
    (void)state;
    static const struct {
        float x, y;
    } cases[] = {
        {0, 0},
        {-1.5f, -1.5f},
        {1 + 0x1p-8f, 1},                   /* a tie, to even */
        {1 + 3 * 0x1p-8f, 1 + 4 * 0x1p-8f}, /* a tie, to even */
        {1 + 0x1.02p-8f, 1 + 0x1p-7f},
        {-1 - 0x1.fep-9f, -1},
        {0x1p-133f, 0x1p-133f}, /* subnormal */
        {FLT_MAX, INFINITY},
        {-INFINITY, -INFINITY},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_float_equal(hy_bf16_value(hy_bf16_of(cases[i].x)), cases[i].y, 0);
    uint32_t nans[] = {0x7f800001, 0x7fffffff, 0xffffffff, 0xff800001};
    for (size_t i = 0; i < sizeof nans / sizeof *nans; i++) {
        float x;
        memcpy(&x, &nans[i], sizeof x);
        assert_true(isnan(hy_bf16_value(hy_bf16_of(x))));
    }
}

static void an_operand_and_its_transpose_are_the_rounded_matrix(void **state)
{
    (void)state;
    static const int64_t shapes[][2] = {{1, 1}, {32, 16}, {33, 17}, {64, 300}, {31, 40}, {97, 5}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        const int64_t m = shapes[s][0], n = shapes[s][1], ld = n + 3, ldt = hy_turned_ld(m);
        hy_real *x = claim((size_t)(m * ld) * sizeof *x);
        hy_bf16 *y = claim((size_t)(m * n) * sizeof *y);
        hy_bf16 *turned = claim((size_t)(n * ldt) * sizeof *turned);
        draw(x, m * ld, (uint32_t)s);
        hy_operand_round(m, n, x, ld, y, turned);
        for (int64_t i = 0; i < m; i++)
            for (int64_t c = 0; c < n; c++) {
                assert_int_equal(y[i * n + c], hy_bf16_of(x[i * ld + c]));
                assert_int_equal(turned[c * ldt + i], y[i * n + c]);
            }
        free(turned);
        free(y);
        free(x);
    }
}

static double element(const hy_bf16 *x, int trans, int64_t ld, int64_t i, int64_t j)
{
    return (double)hy_bf16_value(trans ? x[j * ld + i] : x[i * ld + j]);
}

static void check_product(int trans_a, int trans_b, int add, int64_t m, int64_t n, int64_t k)
{
    const int64_t lda = (trans_a ? m : k) + 2, ldb = (trans_b ? k : n) + 5, ldc = n + 1;
    const int64_t as = (trans_a ? k : m) * lda, bs = (trans_b ? n : k) * ldb;
    hy_real *x = claim((size_t)(as + bs + 2 * m * ldc) * sizeof *x), *c = x + as + bs;
    hy_real *before = c + m * ldc;
    hy_bf16 *a = claim((size_t)(as + bs) * sizeof *a), *b = a + as;
    draw(x, as + bs + m * ldc, 1);
    hy_bf16_round(1, as + bs, x, 0, a);
    memcpy(before, c, (size_t)(m * ldc) * sizeof *c);
    hy_gemm_bf16(trans_a, trans_b, m, n, k, a, lda, b, ldb, add, c, ldc);
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            double sum = add ? (double)before[i * ldc + j] : 0;
            for (int64_t p = 0; p < k; p++)
                sum += element(a, trans_a, lda, i, p) * element(b, trans_b, ldb, p, j);
            assert_float_equal(c[i * ldc + j], sum, 1e-5);
        }
        assert_true(c[i * ldc + n] == before[i * ldc + n]); /* between the rows */
    }
    free(a);
    free(x);
}

static void products_are_those_of_the_rounded_operands(void **state)
{
    (void)state;
    static const int64_t shapes[][3] = {{1, 1, 1}, {32, 48, 64}, {17, 33, 5}, {130, 4, 71}};
    need_bf16();
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int way = 0; way < 8; way++)
            check_product(way & 1, way >> 1 & 1, way >> 2, shapes[s][0], shapes[s][1],
                          shapes[s][2]);
}

/* a [m, k] from its rows or, turned, its columns; c = keep from + a b of the rounded operands. */
static void check_micro(int turned, int adds, int64_t m, int64_t n, int64_t k)
{
    const int64_t lda = (turned ? m : k) + 7, ldb = n + 9, ldc = n + 5;
    const int64_t as = (turned ? k : m) * lda, bs = k * ldb, cs = m * ldc;
    hy_real *a = claim((size_t)(as + bs + 2 * cs + m) * sizeof *a), *b = a + as;
    hy_real *from = b + bs, *c = from + cs, *keep = c + cs;
    draw(a, as + bs + 2 * cs + m, 5);
    const struct hy_left left = {a, turned ? 1 : lda, turned ? lda : 1};
    hy_micro_mul_bf16(m, n, k, left, b, ldb, adds ? from : NULL, adds ? keep : NULL, c, ldc);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = adds ? (double)keep[i] * (double)from[i * ldc + j] : 0;
            for (int64_t p = 0; p < k; p++)
                sum += (double)hy_bf16_value(hy_bf16_of(a[i * left.row + p * left.col])) *
                       (double)hy_bf16_value(hy_bf16_of(b[p * ldb + j]));
            assert_float_equal(c[i * ldc + j], sum, 1e-5 * sqrt((double)k));
        }
    free(a);
}

static void small_products_are_those_of_the_rounded_operands(void **state)
{
    (void)state;
    static const int64_t shapes[][3] = {{16, 16, 16}, {16, 48, 64},   {64, 64, 32},
                                        {80, 32, 16}, {144, 16, 272}, {16, 80, 560}};
    need_bf16();
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int way = 0; way < 4; way++)
            check_micro(way & 1, way >> 1, shapes[s][0], shapes[s][1], shapes[s][2]);
}

/* One graph, in float32 or bf16, with random numbers in its leaves. */
struct example {
    struct hy_graph *g;
    struct hy_tensor *leaves[4], *y, *dy, *labels;
};

enum { ROWS = 45, IN = 37, OUT = 29 };

static void open_example(struct example *x, enum hy_precision precision)
{
    const struct hy_shape shape = {
        .replicas = 1, .batch = 1, .tokens = ROWS, .mode = HY_TRAIN, .precision = precision};
    *x = (struct example){.g = hy_graph_new(&shape, NULL, NULL, NULL)};
    assert_non_null(x->g);
}

static void run_example(struct example *x)
{
    struct hy_err e;
    hy_graph_keep(x->y);
    x->dy = hy_graph_input(x->g, "dy", HY_REAL, x->y->rows, x->y->cols);
    if (hy_graph_backward(x->g, 1, &x->y, &x->dy, &e) || hy_graph_plan(x->g, &e))
        fail_msg("%s", e.text);
    for (uint32_t i = 0; i < 4 && x->leaves[i]; i++)
        draw(hy_real_data(x->leaves[i], 0), x->leaves[i]->rows * x->leaves[i]->cols, i);
    draw(hy_real_data(x->dy, 0), x->dy->rows * x->dy->cols, 9);
    for (int64_t i = 0; x->labels && i < ROWS; i++)
        ((int32_t *)hy_data(x->labels, 0))[i] = i % 3 ? (int32_t)(i % OUT) : -100;
    hy_graph_run(x->g, NULL);
}

/* y = x w' + b of some columns of a leaf, that is read twice. */
static void build_linear(struct example *x)
{
    struct hy_tensor *views[2];
    x->leaves[0] = hy_graph_leaf(x->g, "x", ROWS, IN + 3, -1, 1);
    x->leaves[1] = hy_graph_leaf(x->g, "w", OUT, IN, -1, 1);
    x->leaves[2] = hy_graph_leaf(x->g, "bias", 1, OUT, -1, 1);
    x->leaves[3] = hy_graph_leaf(x->g, "v", IN, OUT, -1, 1);
    hy_graph_split(x->g, x->leaves[0], 2, (int64_t[]){3, IN}, views);
    struct hy_tensor *hidden = hy_linear_biased(x->g, views[1], x->leaves[1], x->leaves[2]);
    x->y = hy_linear(x->g, hidden, x->leaves[3]);
}

static double sum_of_sizes(const hy_real *a, int64_t a_step, const hy_real *b, int64_t b_step,
                           int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += fabs((double)a[i * a_step] * (double)b[i * b_step]);
    return sum;
}

/* A single linear operator against float32, element by element. */
static void a_linear_operator_errs_as_rounding_allows(void **state)
{
    (void)state;
    need_bf16();
    struct example exact, rounded, *both[] = {&exact, &rounded};
    for (int i = 0; i < 2; i++) {
        struct example *x = both[i];
        open_example(x, i ? HY_PRECISION_BF16 : HY_PRECISION_FLOAT32);
        x->leaves[0] = hy_graph_leaf(x->g, "x", ROWS, IN, -1, 1);
        x->leaves[1] = hy_graph_leaf(x->g, "w", OUT, IN, -1, 1);
        x->y = hy_linear(x->g, x->leaves[0], x->leaves[1]);
        run_example(x);
    }
    const hy_real *x = hy_real_data(exact.leaves[0], 0), *w = hy_real_data(exact.leaves[1], 0);
    const hy_real *dy = hy_real_data(exact.dy, 0);
    int same = 0;
    for (int64_t i = 0; i < ROWS; i++)
        for (int64_t o = 0; o < OUT; o++) {
            const hy_real a = hy_real_data(exact.y, 0)[i * OUT + o];
            const hy_real b = hy_real_data(rounded.y, 0)[i * OUT + o];
            assert_float_equal(b, a, unit * sum_of_sizes(x + i * IN, 1, w + o * IN, 1, IN));
            same += a == b;
        }
    assert_true(same < ROWS * OUT / 2); /* it was rounded */
    for (int64_t i = 0; i < ROWS; i++)
        for (int64_t c = 0; c < IN; c++)
            assert_float_equal(hy_real_data(rounded.leaves[0]->grad, 0)[i * IN + c],
                               hy_real_data(exact.leaves[0]->grad, 0)[i * IN + c],
                               unit * sum_of_sizes(dy + i * OUT, 1, w + c, IN, OUT));
    for (int64_t o = 0; o < OUT; o++)
        for (int64_t c = 0; c < IN; c++)
            assert_float_equal(hy_real_data(rounded.leaves[1]->grad, 0)[o * IN + c],
                               hy_real_data(exact.leaves[1]->grad, 0)[o * IN + c],
                               unit * sum_of_sizes(dy + o, OUT, x + c, IN, ROWS));
    hy_graph_free(exact.g);
    hy_graph_free(rounded.g);
}

/* Largest deviation of b from a, relative to the largest element. */
static double deviation(const struct hy_tensor *a, const struct hy_tensor *b)
{
    double worst = 0, largest = 0;
    for (int64_t i = 0; i < a->rows; i++)
        for (int64_t c = 0; c < a->cols; c++) {
            const double p = (double)hy_real_data(a, 0)[i * a->ld + c];
            const double q = (double)hy_real_data(b, 0)[i * b->ld + c];
            worst = fmax(worst, isnan(q) ? INFINITY : fabs(p - q));
            largest = fmax(largest, fabs(p));
        }
    return worst / largest;
}

static void build_head(struct example *x)
{
    struct hy_tensor *hit;
    x->leaves[0] = hy_graph_leaf(x->g, "x", ROWS, IN, -1, 1);
    x->leaves[1] = hy_graph_leaf(x->g, "table", OUT, IN, -1, 1);
    x->labels = hy_graph_input(x->g, "labels", HY_INT32, ROWS, 1);
    x->y = hy_head_loss(x->g, x->leaves[0], x->leaves[1], x->labels, ROWS, &hit);
}

enum { HEADS = 2, WIDTH = 64 };

static struct hy_tensor *tokens_of(struct example *x, int i, const char *name, int64_t cols)
{
    return x->leaves[i] = hy_graph_leaf(x->g, name, ROWS, cols, -1, 1);
}

static void build_attention(struct example *x)
{
    const struct hy_attention s = {
        .heads = HEADS, .kv_heads = HEADS, .key_width = WIDTH, .value_width = WIDTH, .scale = .125};
    x->y =
        hy_attention(x->g, tokens_of(x, 0, "q", HEADS * WIDTH), tokens_of(x, 1, "k", HEADS * WIDTH),
                     tokens_of(x, 2, "v", HEADS * WIDTH), &s, NULL, NULL);
}

static const struct hy_scan scan = {
    .heads = HEADS, .key_width = WIDTH, .value_width = WIDTH, .scale = .125};

static void build_gated_scan(struct example *x)
{
    struct hy_tensor *decay = tokens_of(x, 3, "decay", HEADS);
    x->y = hy_gated_scan(x->g, tokens_of(x, 0, "q", HEADS * WIDTH),
                         tokens_of(x, 1, "k", HEADS * WIDTH), tokens_of(x, 2, "v", HEADS * WIDTH),
                         hy_log_sigmoid_of(x->g, decay, NULL, 1), &scan, NULL, NULL);
}

static void build_delta_scan(struct example *x)
{
    struct hy_tensor *keys = tokens_of(x, 1, "k", HEADS * WIDTH);
    x->y = hy_delta_scan(x->g, tokens_of(x, 0, "q", HEADS * WIDTH),
                         hy_l2norm(x->g, keys, HEADS, 1e-6), tokens_of(x, 2, "v", HEADS * WIDTH),
                         hy_sigmoid_of(x->g, tokens_of(x, 3, "beta", HEADS), 1), NULL, &scan, NULL,
                         NULL);
}

/* Values and gradients of whole examples against float32, relative to the largest element. The
 * bound is three times the largest deviation. */
static void operators_stay_near_float32(void **state)
{
    (void)state;
    static void (*const builds[])(struct example * x) = {build_linear, build_head, build_attention,
                                                         build_gated_scan, build_delta_scan};
    need_bf16();
    for (size_t k = 0; k < sizeof builds / sizeof *builds; k++) {
        struct example exact, rounded;
        open_example(&exact, HY_PRECISION_FLOAT32);
        open_example(&rounded, HY_PRECISION_BF16);
        builds[k](&exact);
        builds[k](&rounded);
        run_example(&exact);
        run_example(&rounded);
        const double bound = .0125;
        double worst = deviation(exact.y, rounded.y);
        for (int i = 0; i < 4 && exact.leaves[i]; i++)
            worst = fmax(worst, deviation(exact.leaves[i]->grad, rounded.leaves[i]->grad));
        if (!(worst > 1e-5 && worst < bound))
            fail_msg("example %zu deviates by %g", k, worst);
        hy_graph_free(exact.g);
        hy_graph_free(rounded.g);
    }
}

static void operands_are_rounded_once_and_need_not_stay(void **state)
{
    (void)state;
    struct example x;
    open_example(&x, HY_PRECISION_BF16);
    x.leaves[0] = hy_graph_leaf(x.g, "x", ROWS, IN, -1, 1);
    x.leaves[1] = hy_graph_leaf(x.g, "w", OUT, IN, -1, 1);
    hy_linear(x.g, x.leaves[0], x.leaves[1]);
    hy_linear(x.g, x.leaves[0], x.leaves[1]);
    assert_int_equal(x.g->op_count, 4); /* two roundings, two products */
    const struct hy_op *op = x.g->ops[3];
    assert_ptr_equal(hy_operand(op, 0), x.leaves[0]->narrow);
    assert_int_equal(hy_operand(op, 0)->dtype, HY_BF16);
    hy_graph_free(x.g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounds_to_nearest_even),
        cmocka_unit_test(an_operand_and_its_transpose_are_the_rounded_matrix),
        cmocka_unit_test(products_are_those_of_the_rounded_operands),
        cmocka_unit_test(small_products_are_those_of_the_rounded_operands),
        cmocka_unit_test(a_linear_operator_errs_as_rounding_allows),
        cmocka_unit_test(operators_stay_near_float32),
        cmocka_unit_test(operands_are_rounded_once_and_need_not_stay),
    };
    return cmocka_run_group_tests_name("precision", tests, NULL, NULL);
}
