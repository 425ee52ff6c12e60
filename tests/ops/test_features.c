/* Feature maps, the joint normaliser and delayed rows: their definitions, and where care is needed.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/ops/attention.h"
#include "core/ops/constant.h"
#include "core/ops/features/delayed.h"
#include "core/ops/features/feature_map.h"
#include "core/ops/features/joint.h"
#include "tests/support/definition.h"

/* ---- Feature maps ---- */

/* Widths and columns that are no whole vectors; two heads read one of x. */
static const struct hy_feature_map shared_heads = {HY_MAP_SOFTMAX, 4, 2, 20, 13};

static struct hy_feature_map shape_of(enum hy_map map)
{
    struct hy_feature_map s = shared_heads;
    s.map = map;
    return s;
}

static void build_map(struct built *b, enum hy_map map)
{
    const struct hy_feature_map s = shape_of(map);
    b->y[0] = hy_feature_map(b->g, test_tail(b, 0, N, 3, 43, -1, 1),
                             test_leaf(b, 1, s.heads, s.width * s.columns, -.5, .5),
                             test_leaf(b, 2, s.heads, s.columns, -1, 1), &s);
    b->outputs = 1;
}

static void define_row(enum hy_map map, const double *z, int n, double *phi)
{
    double high = z[0], low = z[0], sum = 0, other = 0;
    for (int c = 0; c < n; c++) {
        high = fmax(high, z[c]);
        low = fmin(low, z[c]);
    }
    for (int c = 0; c < n; c++) {
        sum += exp(z[c] - high);
        other += exp(low - z[c]);
    }
    for (int c = 0; c < n; c++)
        if (map == HY_MAP_RELU) {
            phi[c] = fmax(z[c], 0);
        } else if (map == HY_MAP_ELU1) {
            phi[c] = z[c] > 0 ? 1 + z[c] : exp(z[c]);
        } else {
            phi[c] = exp(z[c] - high) / (map == HY_MAP_EXP ? 1 : sum);
            phi[n + c] = exp(low - z[c]) / (map == HY_MAP_EXP ? 1 : other);
        }
}

static void define_map(const double *const *in, double *y, enum hy_map map)
{
    const struct hy_feature_map s = shape_of(map);
    const int64_t features = hy_feature_map_width(&s);
    for (int64_t i = 0; i < N; i++)
        for (int h = 0; h < s.heads; h++, y += features) {
            double z[13];
            for (int c = 0; c < s.columns; c++) {
                z[c] = in[2][h * s.columns + c];
                for (int k = 0; k < s.width; k++)
                    z[c] += in[0][i * 43 + 3 + h / 2 * s.width + k] *
                            in[1][(h * s.width + k) * s.columns + c];
            }
            define_row(map, z, s.columns, y);
        }
}

#define MAP(name, map)                                            \
    static void build_##name(struct built *b)                     \
    {                                                             \
        build_map(b, map);                                        \
    }                                                             \
    static void define_##name(const double *const *in, double *y) \
    {                                                             \
        define_map(in, y, map);                                   \
    }
MAP(softmax, HY_MAP_SOFTMAX)
MAP(exp, HY_MAP_EXP)
MAP(relu, HY_MAP_RELU)
MAP(elu1, HY_MAP_ELU1)

static void maps_follow_their_definitions(void **state)
{
    (void)state;
    test_definition(build_softmax, define_softmax);
    test_definition(build_exp, define_exp);
    test_definition(build_relu, define_relu);
    test_definition(build_elu1, define_elu1);
}

/* A map of x alone, and the gradient that dy = 1 has. */
struct mapped {
    struct hy_graph *g;
    struct hy_tensor *x, *y, *dy;
};

static struct mapped map_rows(enum hy_map map, int rows, int columns, const float *x)
{
    const struct hy_feature_map s = {map, 1, 1, columns, columns};
    struct mapped m = {.g = test_graph(HY_TRAIN, 1, rows, 0, NULL)};
    struct hy_err e;
    m.x = hy_graph_leaf(m.g, "x", rows, columns, -1, 1);
    m.y = hy_feature_map(m.g, m.x, NULL, NULL, &s);
    m.dy = hy_graph_input(m.g, "dy", HY_REAL, m.y->rows, m.y->cols);
    hy_graph_keep(m.y);
    assert_int_equal(hy_graph_backward(m.g, 1, &m.y, &m.dy, &e), HY_OK);
    test_plan(m.g);
    memcpy(hy_input(m.x, 0), x, (size_t)(rows * columns) * sizeof *x);
    for (int64_t i = 0; i < test_size(m.dy); i++)
        ((hy_real *)hy_input(m.dy, 0))[i] = 1;
    hy_graph_run(m.g, NULL);
    return m;
}

static void features_of_a_softmax_map_sum_to_2(void **state)
{
    (void)state;
    enum { ROWS = 40, COLS = 32 };
    float x[ROWS * COLS];
    for (int i = 0; i < ROWS * COLS; i++)
        x[i] = (float)test_draw(-8, 8);
    struct mapped m = map_rows(HY_MAP_SOFTMAX, ROWS, COLS, x);
    for (int i = 0; i < ROWS; i++) {
        double sum = 0;
        for (int c = 0; c < 2 * COLS; c++)
            sum += hy_real_data(m.y, 0)[i * 2 * COLS + c];
        test_close("sum", sum, 2, 1, 1e-6);
    }
    hy_graph_free(m.g);
}

/* However far apart the columns are; no feature is below its floor. */
static void saturated_maps_stay_finite(void **state)
{
    (void)state;
    static const float x[] = {1e4f, -1e4f, 0,    1e4f, 3e38f, -3e38f, 0,      1,
                              -500, -600,  -700, -800, 90,    -90,    1e-30f, 0};
    static const enum hy_map maps[] = {HY_MAP_SOFTMAX, HY_MAP_EXP, HY_MAP_ELU1};
    for (size_t k = 0; k < sizeof maps / sizeof *maps; k++) {
        struct mapped m = map_rows(maps[k], 4, 4, x);
        for (int64_t i = 0; i < test_size(m.y); i++) {
            const float phi = hy_real_data(m.y, 0)[i];
            assert_true(isfinite(phi) && phi >= 1e-12f);
        }
        for (int64_t i = 0; i < test_size(m.x); i++)
            assert_true(isfinite(hy_real_data(m.x->grad, 0)[i]));
        hy_graph_free(m.g);
    }
}

static void where_a_feature_is_raised_no_gradient_flows(void **state)
{
    (void)state;
    static const float x[] = {-27, -28, -1, 5};
    struct mapped m = map_rows(HY_MAP_ELU1, 1, 4, x);
    const hy_real *y = hy_real_data(m.y, 0), *dx = hy_real_data(m.x->grad, 0);
    assert_true(y[0] > 1e-12f && y[1] == 1e-12f && y[3] == 6);
    assert_true(dx[0] == y[0] && dx[1] == 0 && dx[2] == y[2] && dx[3] == 1);
    hy_graph_free(m.g);
}

/* A zero of rectified features is none that is raised. */
static void rectified_features_keep_their_zeros(void **state)
{
    (void)state;
    static const float x[] = {-1, 0, 1e-20f, 2};
    struct mapped m = map_rows(HY_MAP_RELU, 1, 4, x);
    const hy_real *y = hy_real_data(m.y, 0), *dx = hy_real_data(m.x->grad, 0);
    assert_true(y[0] == 0 && y[1] == 0 && y[2] == 1e-20f && y[3] == 2);
    assert_true(dx[0] == 0 && dx[1] == 0 && dx[2] == 1 && dx[3] == 1);
    hy_graph_free(m.g);
}

/* phi of the others falls as the largest column rises: on ties the first one has that gradient. */
static void of_equal_columns_the_first_is_the_largest(void **state)
{
    (void)state;
    static const float x[] = {2, 1, 2, 1};
    struct mapped m = map_rows(HY_MAP_EXP, 1, 4, x);
    const double e = exp(-1), all = 2 + 2 * e;
    const double want[] = {1 - e - all, e - 1 + all, 1 - e, e - 1};
    for (int c = 0; c < 4; c++)
        test_close("gradient", hy_real_data(m.x->grad, 0)[c], want[c], 4, 1e-6);
    hy_graph_free(m.g);
}

/* A token alone, as in decoding, goes another way. */
static void a_few_rows_have_the_features_of_many(void **state)
{
    (void)state;
    enum { MANY = 100 };
    const struct hy_feature_map s = shared_heads;
    const int64_t cols = (int64_t)s.in_heads * s.width, features = 4 * hy_feature_map_width(&s);
    struct built all[2] = {{.g = test_graph(HY_EVAL, 1, MANY, 0, NULL)},
                           {.g = test_graph(HY_EVAL, 1, 1, 0, NULL)}};
    for (int i = 0; i < 2; i++) {
        struct built *b = &all[i];
        b->y[0] = hy_feature_map(b->g, test_leaf(b, 0, i ? 1 : MANY, cols, -2, 2),
                                 test_leaf(b, 1, s.heads, s.width * s.columns, -1, 1),
                                 test_leaf(b, 2, s.heads, s.columns, -1, 1), &s);
        hy_graph_keep(b->y[0]);
        test_plan(b->g);
    }
    test_fill(&all[0]);
    hy_graph_run(all[0].g, NULL);
    for (int leaf = 1; leaf < 3; leaf++)
        memcpy(all[1].leaf[leaf]->data, all[0].leaf[leaf]->data,
               (size_t)test_size(all[0].leaf[leaf]) * sizeof(hy_real));
    for (int i = 0; i < MANY; i++) {
        memcpy(all[1].leaf[0]->data, hy_real_data(all[0].leaf[0], 0) + i * cols,
               (size_t)cols * sizeof(hy_real));
        hy_graph_run(all[1].g, NULL);
        for (int64_t c = 0; c < features; c++)
            test_close("feature", hy_real_data(all[1].y[0], 0)[c],
                       hy_real_data(all[0].y[0], 0)[i * features + c], 1, 1e-6);
    }
    hy_graph_free(all[0].g);
    hy_graph_free(all[1].g);
}

/* ---- The joint normaliser ---- */

enum { HEADS = 3, WIDTH = 7, COLS = HEADS * WIDTH };

static void build_joint(struct built *b, int affine)
{
    const struct hy_joint s = {HEADS, WIDTH, affine};
    const struct hy_joint_in in = {.w = test_tail(b, 0, N, 2, COLS + 2, -1, 1),
                                   .x = test_leaf(b, 1, N, HEADS, 0, 4),
                                   .n = test_tail(b, 2, N, 1, COLS + 1, -1, 1),
                                   .d = test_leaf(b, 3, N, HEADS, 0, 3),
                                   .factor = test_leaf(b, 4, 1, HEADS, -3, 3)};
    b->y[0] = hy_joint(b->g, &in, &s, NULL);
    b->outputs = 1;
}
static void define_joint(const double *const *in, double *y, int affine)
{
    for (int64_t i = 0; i < N; i++)
        for (int c = 0; c < COLS; c++) {
            const int h = c / WIDTH;
            const double gamma = 1 / (1 + exp(-in[4][h])), lin = affine ? 1 - gamma : 1;
            const double a = gamma * exp(in[1][i * HEADS + h]), d = in[3][i * HEADS + h];
            *y++ = (a * in[0][i * (COLS + 2) + 2 + c] + lin * in[2][i * (COLS + 1) + 1 + c]) /
                   (a + lin * d);
        }
}
static void build_plain(struct built *b)
{
    build_joint(b, 0);
}
static void define_plain(const double *const *in, double *y)
{
    define_joint(in, y, 0);
}
static void build_affine(struct built *b)
{
    build_joint(b, 1);
}
static void define_affine(const double *const *in, double *y)
{
    define_joint(in, y, 1);
}

static void the_joint_normaliser_follows_its_definition(void **state)
{
    (void)state;
    test_definition(build_plain, define_plain);
    test_definition(build_affine, define_affine);
}

static double value(int64_t k, double x)
{
    (void)k;
    return x;
}

/* drops: whether there is something to say that the window is dropped, and, if so, what (less 1).
 */
static void open_joint(struct built *b, int window, int drops, struct hy_tensor **far)
{
    const struct hy_joint s = {HEADS, WIDTH, 1};
    struct hy_err e;
    *b = (struct built){.g = test_graph(HY_TRAIN, 1, N, 0, NULL)};
    struct hy_joint_in in = {.n = test_leaf(b, 0, N, COLS, -1, 1),
                             .d = test_leaf(b, 1, N, HEADS, .1, 1)};
    if (window) {
        in.w = test_leaf(b, 2, N, COLS, -1, 1);
        in.x = test_leaf(b, 3, N, HEADS, 0, 4);
        in.factor = test_leaf(b, 4, 1, HEADS, -3, 3);
    }
    if (drops)
        in.dropped = hy_constant(b->g, 1, 1, value, drops - 1);
    b->y[0] = hy_joint(b->g, &in, &s, far);
    struct hy_tensor *dy = hy_graph_input(b->g, "dy", HY_REAL, N, COLS);
    hy_graph_keep(b->y[0]);
    hy_graph_keep(*far);
    assert_int_equal(hy_graph_backward(b->g, 1, b->y, &dy, &e), HY_OK);
    test_plan(b->g);
    srand48(11);
    test_fill(b);
    for (int64_t i = 0; i < N * COLS; i++)
        ((hy_real *)hy_input(dy, 0))[i] = sinf((float)i);
}

static void without_a_window_it_divides(void **state)
{
    (void)state;
    struct built b;
    struct hy_tensor *far;
    open_joint(&b, 0, 0, &far);
    hy_real *n = hy_input(b.leaf[0], 0), *d = hy_input(b.leaf[1], 0);
    for (int c = 0; c < WIDTH; c++)
        n[c] = d[0] = 0; /* the first token sees nothing */
    hy_graph_run(b.g, NULL);
    for (int64_t i = 0; i < N * COLS; i++) {
        const double want = n[i] / (d[i / WIDTH] + 1e-12);
        test_close("y", hy_real_data(b.y[0], 0)[i], want, fabs(want), 1e-6);
    }
    for (int64_t i = 0; i < N * HEADS; i++)
        assert_true(hy_real_data(far, 0)[i] == 1);
    hy_graph_free(b.g);
}

static int same_bits(const struct hy_tensor *a, const struct hy_tensor *b)
{
    return !memcmp(a->data, b->data, (size_t)test_size(a) * sizeof(hy_real));
}

static void a_dropped_window_is_none_to_the_bit(void **state)
{
    (void)state;
    struct built none, dropped, kept;
    struct hy_tensor *far[3];
    open_joint(&none, 0, 0, &far[0]);
    open_joint(&dropped, 1, 2, &far[1]);
    open_joint(&kept, 1, 1, &far[2]);
    ((hy_real *)hy_input(dropped.leaf[2], 0))[0] = NAN;
    hy_graph_run(none.g, NULL);
    hy_graph_run(dropped.g, NULL);
    hy_graph_run(kept.g, NULL);
    assert_true(same_bits(none.y[0], dropped.y[0]) && same_bits(far[0], far[1]));
    for (int i = 0; i < 2; i++)
        assert_true(same_bits(none.leaf[i]->grad, dropped.leaf[i]->grad));
    for (int i = 2; i < 5; i++)
        for (int64_t k = 0; k < test_size(dropped.leaf[i]); k++)
            assert_true(hy_real_data(dropped.leaf[i]->grad, 0)[k] == 0);
    assert_false(same_bits(none.y[0], kept.y[0]) || same_bits(far[0], far[2]));
    hy_graph_free(none.g);
    hy_graph_free(dropped.g);
    hy_graph_free(kept.g);
}

/* Then the window's weights cancel: y = w, and nothing moves the shares. */
static void where_nothing_is_outside_the_window_is_all(void **state)
{
    (void)state;
    struct built b;
    struct hy_tensor *far;
    open_joint(&b, 1, 0, &far);
    memset(hy_input(b.leaf[0], 0), 0, N * COLS * sizeof(hy_real));
    memset(hy_input(b.leaf[1], 0), 0, N * HEADS * sizeof(hy_real));
    hy_graph_run(b.g, NULL);
    for (int64_t i = 0; i < N * COLS; i++)
        test_close("y", hy_real_data(b.y[0], 0)[i], hy_real_data(b.leaf[2], 0)[i], 1, 3e-7);
    for (int i = 3; i < 5; i++)
        for (int64_t k = 0; k < test_size(b.leaf[i]); k++)
            assert_true(hy_real_data(b.leaf[i]->grad, 0)[k] == 0);
    for (int64_t i = 0; i < N * HEADS; i++)
        assert_true(hy_real_data(far, 0)[i] == 0);
    hy_graph_free(b.g);
}

/* ---- Delayed rows ---- */

enum { BATCH = 2, LENGTH = 40, WINDOW = 6, LAG = 5, KEYS = 4 };

static double entry_of(int64_t sequence, int64_t t, int64_t c)
{
    return (double)(sequence * 1000 + t * 10 + c + 1);
}

/* Runs tokens [from, from + count): keys go to the ring that attention keeps. */
static void run_delayed(struct hy_slab *cache, int from, int count)
{
    static const char *const names[] = {"keys", "values"};
    const struct hy_attention s = {.heads = 1,
                                   .kv_heads = 1,
                                   .key_width = KEYS,
                                   .value_width = KEYS,
                                   .scale = 1,
                                   .window = WINDOW};
    struct hy_graph *g = test_graph(HY_CACHED, BATCH, count, LENGTH, cache);
    struct hy_tensor *x = hy_graph_input(g, "x", HY_REAL, BATCH * count, KEYS), *ring[2];
    struct hy_err e = {0};
    for (int i = 0; i < 2; i++) {
        struct hy_entry entry = {.rank = 2, .dims = {BATCH * WINDOW, KEYS}};
        snprintf(entry.name, sizeof entry.name, "%s", names[i]);
        ring[i] = hy_graph_state(g, &entry);
    }
    struct hy_tensor *y = hy_delayed(g, x, ring[0], LAG);
    hy_attention(g, x, x, x, &s, ring[0], ring[1]);
    hy_graph_keep(y);
    if (!cache->data)
        assert_int_equal(hy_slab_allocate(cache, &e), 0);
    test_plan(g);
    g->position = from;
    for (int64_t i = 0; i < test_size(x); i++)
        ((hy_real *)hy_input(x, 0))[i] =
            (hy_real)entry_of(i / KEYS / count, from + i / KEYS % count, i % KEYS);
    hy_graph_run(g, NULL);
    for (int64_t i = 0; i < test_size(y); i++) {
        const int64_t t = from + i / KEYS % count - LAG;
        const double want = t < 0 ? 0 : entry_of(i / KEYS / count, t, i % KEYS);
        assert_true(hy_real_data(y, 0)[i] == want);
    }
    hy_graph_free(g);
}

static void rows_come_a_lag_later_however_a_sequence_is_cut(void **state)
{
    (void)state;
    static const int cuts[][6] = {
        {40}, {26, 14}, {1, 1, 38}, {3, 2, 1, 4, 30}, {5, 1, 6, 7, 20, 1}, {20, 18, 1, 1}};
    for (size_t cut = 0; cut < sizeof cuts / sizeof *cuts; cut++) {
        struct hy_slab cache;
        hy_slab_init(&cache, 1);
        for (int i = 0, from = 0; from < LENGTH; from += cuts[cut][i++])
            run_delayed(&cache, from, cuts[cut][i]);
        hy_slab_release(&cache);
    }
}

/* ---- What cannot be ---- */

static void fails_with(struct hy_graph *g, const struct hy_tensor *y, const char *text)
{
    assert_null(y);
    if (!strstr(g->err.text, text))
        fail_msg("\"%s\" does not say \"%s\"", g->err.text, text);
    hy_graph_free(g);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    struct hy_graph *g = test_graph(HY_TRAIN, 1, 4, 0, NULL);
    struct hy_tensor *x = hy_graph_leaf(g, "x", 4, 6, -1, 1);
    const struct hy_feature_map uneven = {HY_MAP_RELU, 3, 2, 3, 3};
    const struct hy_feature_map wide = {HY_MAP_RELU, 2, 2, 3, 4};
    fails_with(g, hy_feature_map(g, x, NULL, NULL, &uneven), "3 heads of 2");
    g = test_graph(HY_TRAIN, 1, 4, 0, NULL);
    x = hy_graph_leaf(g, "x", 4, 6, -1, 1);
    fails_with(g, hy_feature_map(g, x, NULL, NULL, &wide), "width 3, 4 columns");
    g = test_graph(HY_TRAIN, 1, 4, 0, NULL);
    x = hy_graph_leaf(g, "x", 4, 6, -1, 1);
    fails_with(
        g, hy_joint(g, &(struct hy_joint_in){.n = x, .d = x}, &(struct hy_joint){2, 3, 0}, NULL),
        "joint: d is [4, 6], not [4, 2]");
    g = test_graph(HY_TRAIN, 1, 4, 0, NULL);
    x = hy_graph_leaf(g, "x", 4, 6, -1, 1);
    fails_with(g, hy_delayed(g, x, x, 2), "outside cached graphs");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_follow_their_definitions),
        cmocka_unit_test(features_of_a_softmax_map_sum_to_2),
        cmocka_unit_test(saturated_maps_stay_finite),
        cmocka_unit_test(where_a_feature_is_raised_no_gradient_flows),
        cmocka_unit_test(rectified_features_keep_their_zeros),
        cmocka_unit_test(of_equal_columns_the_first_is_the_largest),
        cmocka_unit_test(a_few_rows_have_the_features_of_many),
        cmocka_unit_test(the_joint_normaliser_follows_its_definition),
        cmocka_unit_test(without_a_window_it_divides),
        cmocka_unit_test(a_dropped_window_is_none_to_the_bit),
        cmocka_unit_test(where_nothing_is_outside_the_window_is_all),
        cmocka_unit_test(rows_come_a_lag_later_however_a_sequence_is_cut),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
