/* Gates between two branches against the vectors of an independent reference
 * (tests/golden/gate_mix.*): a is the linear branch, b the full one, of L layers side by side. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/model/safetensors.h"
#include "core/ops/blend.h"
#include "core/ops/choice.h"
#include "core/ops/constant.h"
#include "core/ops/skip.h"
#include "core/ops/sum.h"

enum { MOST_LAYERS = 32 };

struct vectors {
    struct hy_st_file file;
    const char *name, *mode;
    int layers;
    int64_t rows, width;
    double cost, limits[2]; /* of results, of gradients */
};

static const struct hy_st_tensor *tensor(const struct vectors *v, const char *name)
{
    const struct hy_st_tensor *t = hy_st_find(&v->file, name);
    if (!t)
        fail_msg("%s has no %s", v->name, name);
    return t;
}

static double number(const struct vectors *v, const char *key)
{
    const char *text = hy_st_value(&v->file, key);
    return text ? strtod(text, NULL) : 0;
}

static void fill(struct hy_tensor *t, const struct vectors *v, const char *name)
{
    const struct hy_st_tensor *from = tensor(v, name);
    assert_int_equal(hy_st_count(from), t->rows * t->cols);
    memcpy(hy_input(t, 0), from->data, (size_t)hy_st_count(from) * sizeof(float));
}

/* have: as many as the reference has, `ld` apart in rows of `cols`. */
static void compare(const struct vectors *v, const char *name, const struct hy_tensor *t,
                    double limit)
{
    const struct hy_st_tensor *want = tensor(v, name);
    const float *w = want->data;
    double largest = 0, error = 0;
    assert_int_equal(hy_st_count(want), t->rows * t->cols);
    for (int64_t i = 0; i < t->rows; i++)
        for (int64_t c = 0; c < t->cols; c++) {
            const double x = (double)w[i * t->cols + c];
            const double apart = fabs((double)hy_real_data(t, 0)[i * t->ld + c] - x);
            largest = fmax(largest, fabs(x));
            error = fmax(error, apart);
            assert_true(isfinite(apart));
        }
    if (error > limit * largest && error > 1e-7)
        fail_msg("%s %s: off by %g of %g", v->name, name, error, largest);
}

static double value(int64_t k, double x)
{
    (void)k;
    return x;
}

/* cost/L times the layers that are not linear. */
static struct hy_tensor *penalty(struct hy_graph *g, const struct vectors *v,
                                 struct hy_tensor **gates)
{
    return hy_skip(g, hy_constant(g, 1, 1, value, v->cost), hy_constant(g, 1, 1, value, -v->cost),
                   hy_mean(g, v->layers, gates));
}

static void check(const struct vectors *v)
{
    const struct hy_shape shape = {
        .replicas = 1, .batch = 1, .tokens = (int)v->rows, .mode = HY_TRAIN};
    const int frozen = !strcmp(v->mode, "frozen");
    struct hy_err e;
    int64_t widths[MOST_LAYERS], ones[MOST_LAYERS];
    struct hy_tensor *a[MOST_LAYERS], *b[MOST_LAYERS], *y[MOST_LAYERS + 1], *dy[MOST_LAYERS + 1];
    struct hy_tensor *logits[MOST_LAYERS], *noises[MOST_LAYERS], *gates[MOST_LAYERS];
    for (int i = 0; i < v->layers; i++) {
        widths[i] = v->width;
        ones[i] = 1;
    }
    struct hy_graph *g = hy_graph_new(&shape, NULL, NULL, NULL);
    struct hy_tensor *all_a = hy_graph_leaf(g, "a", v->rows, v->layers * v->width, -1, 1);
    struct hy_tensor *all_b = hy_graph_leaf(g, "b", v->rows, v->layers * v->width, -1, 1);
    struct hy_tensor *phi = frozen ? hy_graph_input(g, "m", HY_REAL, 1, v->layers)
                                   : hy_graph_leaf(g, "phi", 1, v->layers, -1, 1);
    struct hy_tensor *noise = hy_graph_input(g, "noise", HY_REAL, 1, v->layers);
    struct hy_tensor *tau = hy_graph_input(g, "tau", HY_REAL, 1, 1);
    struct hy_tensor *all_dy = hy_graph_input(g, "dy", HY_REAL, v->rows, v->layers * v->width);
    hy_graph_split(g, all_a, v->layers, widths, a);
    hy_graph_split(g, all_b, v->layers, widths, b);
    hy_graph_split(g, all_dy, v->layers, widths, dy);
    hy_graph_split(g, phi, v->layers, ones, logits);
    hy_graph_split(g, noise, v->layers, ones, noises);
    for (int i = 0; i < v->layers; i++) {
        gates[i] = frozen ? logits[i]
                          : hy_choice(g, logits[i], noises[i], tau,
                                      strcmp(v->mode, "soft") ? HY_CHOICE_HARD : HY_CHOICE_SOFT, 1);
        y[i] = hy_blend(g, a[i], b[i], gates[i]);
        hy_graph_keep(y[i]);
        hy_graph_keep(gates[i]);
    }
    int count = v->layers;
    struct hy_tensor *price = penalty(g, v, gates);
    hy_graph_keep(price);
    if (!frozen) {
        y[count] = price;
        dy[count++] = hy_graph_input(g, "dprice", HY_REAL, 1, 1);
    }
    if (hy_graph_backward(g, count, y, dy, &e) || hy_graph_plan(g, &e))
        fail_msg("%s: %s", v->name, e.text);
    fill(all_a, v, "a");
    fill(all_b, v, "b");
    fill(all_dy, v, "grad_o");
    fill(phi, v, "phi");
    if (hy_st_find(&v->file, "noise"))
        fill(noise, v, "noise");
    hy_real *gate = hy_input(phi, 0);
    for (int i = 0; frozen && i < v->layers; i++)
        gate[i] = gate[i] > 0;
    *(hy_real *)hy_input(tau, 0) = frozen ? 1 : (hy_real)number(v, "tau");
    if (!frozen)
        *(hy_real *)hy_input(dy[count - 1], 0) = 1;
    hy_graph_run(g, NULL);
    struct hy_tensor seen = {.rows = v->rows, .cols = v->width};
    const float *want = tensor(v, "o")->data, *m = tensor(v, "m")->data;
    for (int l = 0; l < v->layers; l++) {
        assert_true(fabsf(*hy_real_data(gates[l], 0) - m[l]) <= 1e-6f);
        for (int64_t i = 0; i < seen.rows; i++)
            for (int64_t c = 0; c < v->width; c++) {
                const float x = want[(i * v->layers + l) * v->width + c];
                const float have = hy_real_data(y[l], 0)[i * y[l]->ld + c];
                assert_true(fabsf(have - x) <= (float)v->limits[0] * fmaxf(1, fabsf(x)));
            }
    }
    compare(v, "penalty", price, v->limits[0]);
    compare(v, "d_a", all_a->grad, v->limits[1]);
    compare(v, "d_b", all_b->grad, v->limits[1]);
    if (!frozen)
        compare(v, "d_phi", phi->grad, v->limits[1]);
    hy_graph_free(g);
}

static void gates_equal_the_reference(void **state)
{
    (void)state;
    static const char *const cases[] = {"cold", "frozen", "hard", "quiet", "soft", "x"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct vectors v = {.name = cases[i]};
        struct hy_err e;
        char path[4096];
        snprintf(path, sizeof path, "%s/tests/golden/gate_mix.%s.safetensors",
                 getenv("HYLAS_SOURCE"), cases[i]);
        if (hy_st_read(path, &v.file, &e))
            fail_msg("%s", e.text);
        const struct hy_st_tensor *a = tensor(&v, "a");
        const int extreme = !strcmp(hy_st_value(&v.file, "kind"), "extreme");
        v.mode = hy_st_value(&v.file, "mode");
        v.rows = a->dims[0] * a->dims[1];
        v.layers = (int)a->dims[2];
        v.width = a->dims[3];
        v.cost = number(&v, "cost");
        v.limits[0] = extreme ? 1e-4 : 1e-5;
        v.limits[1] = extreme ? 2e-4 : 2e-5;
        assert_true(v.layers <= MOST_LAYERS);
        check(&v);
        hy_st_release(&v.file);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(gates_equal_the_reference)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
