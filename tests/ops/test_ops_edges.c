/* Operators where care is needed: sequences continued from a cache, ties, huge inputs, bad shapes.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/ops/add_norm.h"
#include "core/ops/attention.h"
#include "core/ops/conv_silu.h"
#include "core/ops/decay_gate.h"
#include "core/ops/gate.h"
#include "core/ops/gated_norm.h"
#include "core/ops/products/head_loss.h"
#include "core/ops/l2norm.h"
#include "core/ops/log_sigmoid.h"
#include "core/ops/rope.h"
#include "core/ops/sigmoid.h"
#include "core/ops/support/vec.h"
#include "tests/support/definition.h"

/* One row of logits: the identity picks them out of the table. */
static void score_row(const float *logits, int count, int label, float *nll, float *hit)
{
    struct hy_graph *g = test_graph(HY_EVAL, 1, 1, 0, NULL);
    struct hy_tensor *x = hy_graph_input(g, "x", HY_REAL, 1, 1), *hits;
    struct hy_tensor *table = hy_graph_input(g, "table", HY_REAL, count, 1);
    struct hy_tensor *labels = hy_graph_input(g, "labels", HY_INT32, 1, 1);
    struct hy_tensor *y = hy_head_loss(g, x, table, labels, 1, &hits);
    hy_graph_keep(y);
    hy_graph_keep(hits);
    test_plan(g);
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

/* ---- sequences in parts ---- */

enum { PART_B = 2, PART_T = 40, PART_Y = 8 + 2 };

struct window {
    int size, terraced;
};

/* A layer with a cache: what depends on position and state, in one chain. */
static struct hy_tensor *build_layer(struct hy_graph *g, const struct window *window,
                                     struct hy_tensor **x, struct hy_tensor **w,
                                     struct hy_tensor **excess)
{
    const struct hy_attention s = {.heads = 2,
                                   .kv_heads = 1,
                                   .key_width = 4,
                                   .value_width = 4,
                                   .scale = 0.5,
                                   .window = window->size,
                                   .terraced = window->terraced};
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    const int kept = window->size ? (1 + window->terraced) * window->size : PART_T;
    struct hy_tensor *conv = NULL, *keys = NULL, *values = NULL, *part[3];
    if (g->shape.mode == HY_CACHED) {
        conv = hy_graph_state(
            g, &(struct hy_entry){.name = "conv", .rank = 2, .dims = {3 * PART_B, 4 * 4}});
        keys = hy_graph_state(
            g, &(struct hy_entry){.name = "keys", .rank = 2, .dims = {kept * PART_B, 4}});
        values = hy_graph_state(
            g, &(struct hy_entry){.name = "values", .rank = 2, .dims = {kept * PART_B, 4}});
    }
    *x = hy_graph_input(g, "x", HY_REAL, rows, 16);
    *w = hy_graph_input(g, "w", HY_REAL, 16, 4);
    hy_graph_split(g, hy_conv_silu(g, *x, *w, NULL, conv), 3, (int64_t[]){8, 4, 4}, part);
    struct hy_tensor *y =
        hy_attention_excess(g, hy_rope(g, part[0], 2, 100), hy_rope(g, part[1], 1, 100), part[2],
                            &s, keys, values, excess);
    hy_graph_keep(y);
    hy_graph_keep(*excess);
    return y;
}

/* Runs tokens [from, from + count) of every sequence and puts the outputs where they belong. */
static void run_part(struct hy_slab *cache, const struct window *window, int from, int count,
                     const float *x, const float *w, float *y)
{
    struct hy_tensor *tx, *tw, *excess;
    struct hy_graph *g = test_graph(cache ? HY_CACHED : HY_EVAL, PART_B, count, PART_T, cache);
    struct hy_tensor *ty = build_layer(g, window, &tx, &tw, &excess);
    struct hy_err e = {0};
    if (cache && !cache->data)
        assert_int_equal(hy_slab_allocate(cache, &e), 0);
    test_plan(g);
    g->position = from;
    memcpy(tw->data, w, 16 * 4 * sizeof *w);
    for (int b = 0; b < PART_B; b++)
        memcpy((float *)tx->data + b * count * 16, x + (b * PART_T + from) * 16,
               (size_t)count * 16 * sizeof *x);
    hy_graph_run(g, NULL);
    for (int i = 0; i < PART_B * count; i++) {
        float *row = y + (i / count * PART_T + from + i % count) * PART_Y;
        memcpy(row, (float *)ty->data + i * 8, 8 * sizeof *y);
        memcpy(row + 8, (float *)excess->data + i * 2, 2 * sizeof *y);
    }
    hy_graph_free(g);
}

static void a_sequence_in_parts_equals_the_whole(void **state)
{
    (void)state;
    float x[PART_B * PART_T * 16], w[16 * 4], whole[PART_B * PART_T * PART_Y],
        parts[PART_B * PART_T * PART_Y];
    static const int cuts[][5] = {{26, 14}, {1, 1, 38}, {20, 18, 1, 1}, {1}}; /* 0: as before */
    for (size_t i = 0; i < sizeof x / sizeof *x; i++)
        x[i] = (float)test_draw(-2, 2);
    for (size_t i = 0; i < sizeof w / sizeof *w; i++)
        w[i] = (float)test_draw(-1, 1);
    static const struct window windows[] = {{0, 0}, {1, 0}, {7, 0}, {PART_T + 1, 0},
                                            {1, 1}, {6, 1}, {7, 1}, {PART_T + 1, 1}};
    for (size_t n = 0; n < sizeof windows / sizeof *windows; n++) {
        const struct window *window = &windows[n];
        run_part(NULL, window, 0, PART_T, x, w, whole);
        for (size_t cut = 0; cut < sizeof cuts / sizeof *cuts; cut++) {
            struct hy_slab cache;
            hy_slab_init(&cache, 1);
            memset(parts, 0, sizeof parts);
            for (int i = 0, from = 0, count = 0; from < PART_T; from += count) {
                count = i < 5 && cuts[cut][i] ? cuts[cut][i++] : count;
                run_part(&cache, window, from, count, x, w, parts);
            }
            for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
                test_close("output", parts[i], whole[i], 1, 2e-6);
            hy_slab_release(&cache);
        }
    }
}

static double true_sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}
static double true_softplus(double x)
{
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}
static double true_silu(double x)
{
    return x * true_sigmoid(x);
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
        {"sigmoid", hy_sigmoid, true_sigmoid, -80, 80},
        {"silu", hy_silu, true_silu, -80, 80},
        {"softplus", hy_softplus, true_softplus, -80, 80},
        {"log_sigmoid", hy_log_sigmoid, true_log_sigmoid, -80, 80},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int k = 0; k < 100000; k++) {
            const float x = (float)test_draw(cases[i].lo, cases[i].hi) * (k % 3 ? 1 : 0.05f);
            const double want = cases[i].want(x);
            test_close(cases[i].name, cases[i].got(x), want, fabs(want), 2 * 1.2e-7);
        }
        assert_true(isnan(cases[i].got(NAN)));
    }
    for (int k = 0; k < 300000; k++) {
        /* Of all sizes, and near 1, where a logarithm is small. */
        const float x = k % 3 ? (float)test_draw(0.4, 2.5) : expf((float)test_draw(-87, 88));
        test_close("log", hy_log(x), log((double)x), fabs(log((double)x)), 2 * 1.2e-7);
    }
    assert_true(hy_log(1) == 0 && hy_log(0) == hy_log(-1) && hy_log(0) == hy_log(HY_LEAST_NORMAL));
    assert_true(isnan(hy_log(NAN)) && isinf(hy_log(INFINITY)) && hy_log(INFINITY) > 0);
    assert_true(hy_exp(-1e30f) == 0 && hy_exp(-INFINITY) == 0 && isinf(hy_exp(1e30f)));
    assert_true(hy_softplus(1e30f) == 1e30f && hy_log_sigmoid(-1e30f) == -1e30f);
}

static int label_at(int64_t row)
{
    return (int)(row % 7);
}

static void build_extremes(struct built *b)
{
    struct hy_tensor *hit, *x = test_leaf(b, 0, N, 8, -1e4, 1e4);
    static const struct hy_attention s = {
        .heads = 2, .kv_heads = 2, .key_width = 4, .value_width = 4, .scale = 1};
    struct hy_tensor *o = hy_attention(b->g, x, x, x, &s, NULL, NULL);
    o = hy_add_norm(
        b->g, o,
        hy_decay_gate(b->g, x, test_leaf(b, 1, 1, 2, -1, 3), test_leaf(b, 2, 1, 8, 0, 1), NULL),
        test_leaf(b, 2, 1, 8, 0, 1), 1e-6, &b->y[1]);
    o = hy_gated_norm(b->g, o, hy_log_sigmoid_of(b->g, x, NULL, 1), test_leaf(b, 2, 1, 8, 0, 1),
                      1e-6, HY_GATE_SILU);
    o = hy_conv_silu(b->g, o, test_leaf(b, 3, 8, 4, -1e4, 1e4), NULL, NULL);
    b->y[0] = hy_head_loss(b->g, o, x, test_integers(b, label_at), N, &hit);
    b->outputs = 1;
}

static void extreme_inputs_stay_finite(void **state)
{
    (void)state;
    struct built b = {.g = test_graph(HY_TRAIN, B, T, 0, NULL)};
    struct hy_err e = {0};
    build_extremes(&b);
    struct hy_tensor *dy = hy_graph_input(b.g, "dy", HY_REAL, N, 1);
    hy_graph_keep(b.y[0]);
    if (hy_graph_backward(b.g, 1, b.y, &dy, &e))
        fail_msg("%s", e.text);
    test_plan(b.g);
    test_fill(&b);
    for (int64_t i = 0; i < N; i++)
        ((float *)dy->data)[i] = 1;
    hy_graph_run(b.g, NULL);
    for (int64_t i = 0; i < N; i++)
        assert_true(isfinite(((float *)b.y[0]->data)[i]));
    for (int i = 0; i < b.leaves; i++)
        for (int64_t k = 0; k < test_size(b.leaf[i]); k++)
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
    static const struct hy_attention s = {
        .heads = 4, .kv_heads = 2, .key_width = 4, .value_width = 4, .scale = 1};
    static const struct hy_attention odd = {.heads = 2,
                                            .kv_heads = 2,
                                            .key_width = 4,
                                            .value_width = 4,
                                            .scale = 1,
                                            .window = 3,
                                            .first = 2};
    struct hy_tensor *sum;
    for (int i = 0; i < 7; i++) {
        static const char *const says[] = {"[1, 5]",
                                           "3 heads",
                                           "even number of rotated channels",
                                           "17 taps",
                                           "[300, 8], not [300, 16]",
                                           "[300, 7]",
                                           "window 3, the first 2 tokens alone"};
        struct hy_graph *g = test_graph(HY_TRAIN, B, T, 0, NULL);
        struct hy_tensor *x = hy_graph_leaf(g, "x", N, 8, -1, 1), *y = x;
        if (i == 0)
            y = hy_add_norm(g, x, x, hy_graph_leaf(g, "w", 1, 5, -1, 1), 1e-6, &sum);
        else if (i == 1)
            y = hy_l2norm(g, x, 3, 1e-6);
        else if (i == 2)
            y = hy_rope(g, x, 8, 1e4);
        else if (i == 3)
            y = hy_conv_silu(g, x, hy_graph_leaf(g, "w", 8, 17, -1, 1), NULL, NULL);
        else if (i == 4)
            y = hy_attention(g, x, x, x, &s, NULL, NULL);
        else if (i == 6)
            y = hy_attention(g, x, x, x, &odd, NULL, NULL);
        else
            y = hy_gated(g, hy_graph_leaf(g, "x", N, 7, -1, 1), x, HY_GATE_SILU);
        assert_null(y);
        assert_non_null(strstr(g->err.text, says[i]));
        hy_graph_free(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hit_is_the_first_of_the_largest_logits),
        cmocka_unit_test(a_sequence_in_parts_equals_the_whole),
        cmocka_unit_test(exp_and_its_relatives_are_within_two_units),
        cmocka_unit_test(extreme_inputs_stay_finite),
        cmocka_unit_test(logits_of_ten_thousand_score_exactly),
        cmocka_unit_test(builders_refuse_shapes_that_do_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
