/* The gates between two branches: exact where they are 0 or 1, and gradients against finite
 * differences of expectations. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/ops/blend.h"
#include "core/ops/choice.h"
#include "core/ops/constant.h"

enum { ROWS = 6, COLS = 5, DRAWS = 20001 };

static double value(int64_t k, double x)
{
    (void)k;
    return x;
}

static void where_a_gate_is_0_or_1_it_copies(void **state)
{
    (void)state;
    static const hy_real odd[] = {INFINITY, -INFINITY, NAN, -0., 1e300};
    const struct hy_shape shape = {.replicas = 1, .batch = 1, .tokens = ROWS, .mode = HY_EVAL};
    struct hy_err e;
    struct hy_graph *g = hy_graph_new(&shape, NULL, NULL, NULL);
    struct hy_tensor *a = hy_graph_input(g, "a", HY_REAL, ROWS, COLS);
    struct hy_tensor *b = hy_graph_input(g, "b", HY_REAL, ROWS, COLS);
    struct hy_tensor *m = hy_graph_input(g, "m", HY_REAL, 1, 1), *y = hy_blend(g, a, b, m);
    hy_graph_keep(y);
    assert_int_equal(hy_graph_plan(g, &e), HY_OK);
    for (int gate = 0; gate <= 1; gate++) {
        hy_real *one = hy_input(a, 0), *other = hy_input(b, 0);
        for (int i = 0; i < ROWS * COLS; i++) {
            one[i] = gate ? (i % 2 ? -0. : i) : odd[i % 5];
            other[i] = gate ? odd[i % 5] : (i % 2 ? -0. : i);
        }
        *(hy_real *)hy_input(m, 0) = gate;
        hy_graph_run(g, NULL);
        assert_memory_equal(hy_real_data(y, 0), hy_real_data(gate ? a : b, 0),
                            ROWS * COLS * sizeof(hy_real));
    }
    hy_graph_free(g);
}

/* What was not taken gets a gradient of exactly 0, what was taken the whole; and the gate the sum
 * of what is lost by either, of which nothing reaches the columns beside it. */
static void where_a_gate_is_0_or_1_one_branch_has_the_gradient(void **state)
{
    (void)state;
    const struct hy_shape shape = {.replicas = 1, .batch = 1, .tokens = ROWS, .mode = HY_TRAIN};
    struct hy_err e;
    struct hy_graph *g = hy_graph_new(&shape, NULL, NULL, NULL);
    struct hy_tensor *ab = hy_graph_leaf(g, "ab", ROWS, 2 * COLS, -1, 1), *parts[2], *gates[3];
    struct hy_tensor *m = hy_graph_leaf(g, "m", 1, 3, 0, 1);
    struct hy_tensor *dy = hy_graph_input(g, "dy", HY_REAL, ROWS, COLS);
    hy_graph_split(g, ab, 2, (int64_t[]){COLS, COLS}, parts);
    hy_graph_split(g, m, 3, (int64_t[]){1, 1, 1}, gates);
    struct hy_tensor *y = hy_blend(g, parts[0], parts[1], gates[1]);
    assert_int_equal(hy_graph_backward(g, 1, &y, &dy, &e), HY_OK);
    assert_int_equal(hy_graph_plan(g, &e), HY_OK);
    for (int gate = 0; gate <= 1; gate++) {
        hy_real *x = hy_input(ab, 0), *given = hy_input(dy, 0), *share = hy_input(m, 0);
        double sum = 0;
        for (int i = 0; i < ROWS * COLS; i++) {
            hy_real *a = &x[i / COLS * 2 * COLS + i % COLS];
            given[i] = sin(3 * i);
            a[0] = cos(i);
            a[COLS] = 1e3 * sin(i);
            sum += given[i] * (a[0] - a[COLS]);
        }
        share[0] = share[2] = 0.5;
        share[1] = gate;
        hy_graph_run(g, NULL);
        const hy_real *d = hy_real_data(ab->grad, 0), *dm = hy_real_data(m->grad, 0);
        for (int i = 0; i < ROWS * COLS; i++) {
            const hy_real *da = &d[i / COLS * 2 * COLS + i % COLS];
            assert_true(da[0] == (gate ? given[i] : 0) && da[COLS] == (gate ? 0 : given[i]));
        }
        assert_true(fabs(dm[1] - sum) < 1e-9 && dm[0] == 0 && dm[2] == 0);
    }
    hy_graph_free(g);
}

/* f = m c1 + (1 - m) c0 of a gate that is drawn: its value, and its gradient to the logit. */
struct gate {
    struct hy_graph *graph;
    struct hy_tensor *logit, *noise, *temperature, *f, *df;
};
static const double c1 = 3, c0 = -0.5;

static void gate_init(struct gate *t, enum hy_choice_form form, double gain)
{
    const struct hy_shape shape = {.replicas = 1, .batch = 1, .tokens = 1, .mode = HY_TRAIN};
    struct hy_err e;
    struct hy_graph *g = t->graph = hy_graph_new(&shape, NULL, NULL, NULL);
    t->logit = hy_graph_leaf(g, "logit", 1, 1, -1, 1);
    t->noise = hy_graph_input(g, "noise", HY_REAL, 1, 1);
    t->temperature = hy_graph_input(g, "temperature", HY_REAL, 1, 1);
    t->f = hy_blend(g, hy_constant(g, 1, 1, value, c1), hy_constant(g, 1, 1, value, c0),
                    hy_choice(g, t->logit, t->noise, t->temperature, form, gain));
    t->df = hy_graph_input(g, "df", HY_REAL, 1, 1);
    hy_graph_keep(t->f);
    assert_int_equal(hy_graph_backward(g, 1, &t->f, &t->df, &e), HY_OK);
    assert_int_equal(hy_graph_plan(g, &e), HY_OK);
    *(hy_real *)hy_input(t->df, 0) = 1;
}

static double gate_run(struct gate *t, double logit, double noise, double temperature,
                       double *gradient)
{
    *(hy_real *)hy_input(t->logit, 0) = logit;
    *(hy_real *)hy_input(t->noise, 0) = noise;
    *(hy_real *)hy_input(t->temperature, 0) = temperature;
    hy_graph_run(t->graph, NULL);
    *gradient = hy_real_data(t->logit->grad, 0)[0];
    return hy_real_data(t->f, 0)[0];
}

/* Means over the quantiles of the noise. */
static double gate_mean(struct gate *t, double logit, double temperature, double *gradient)
{
    double sum = 0, slopes = 0;
    for (int i = 0; i < DRAWS; i++) {
        const double p = (i + .5) / DRAWS;
        double slope;
        sum += gate_run(t, logit, log(p / (1 - p)), temperature, &slope);
        slopes += slope;
    }
    *gradient = slopes / DRAWS;
    return sum / DRAWS;
}

static void the_soft_forms_gradient_is_that_of_its_expectation(void **state)
{
    (void)state;
    struct gate t;
    double slope, ignored;
    gate_init(&t, HY_CHOICE_SOFT, 2);
    for (double logit = -1; logit < 1; logit += .4) {
        const double step = 1e-5;
        const double above = gate_mean(&t, logit + step, .5, &ignored);
        const double below = gate_mean(&t, logit - step, .5, &ignored);
        gate_mean(&t, logit, .5, &slope);
        assert_true(fabs((above - below) / (2 * step) - slope) < 1e-6);
    }
    hy_graph_free(t.graph);
}

/* E f = c0 + (c1 - c0) P(1), P(1) = sigmoid(gain logit): towards that slope the hard form's goes as
 * the temperature falls, while its values keep that mean at any. */
static void the_hard_forms_gradient_is_that_of_its_expectation_when_cold(void **state)
{
    (void)state;
    const double gain = 2;
    struct gate t;
    gate_init(&t, HY_CHOICE_HARD, gain);
    for (double logit = -1; logit < 1; logit += .4) {
        const double p = 1 / (1 + exp(-gain * logit));
        double warm, cold;
        assert_true(fabs(gate_mean(&t, logit, 2, &warm) - (c0 + (c1 - c0) * p)) < 3e-4);
        gate_mean(&t, logit, .05, &cold);
        const double wanted = (c1 - c0) * gain * p * (1 - p);
        assert_true(fabs(cold - wanted) < 1e-2 * fabs(wanted));
        assert_true(fabs(warm - wanted) > 1e-2 * fabs(wanted)); /* the price of smoothness */
    }
    hy_graph_free(t.graph);
}

/* What is left of the difference is the curvature of the noise's density, smoothed over the
 * temperature: it falls with the square of that. */
static void the_hard_forms_gradient_converges_as_it_cools(void **state)
{
    (void)state;
    struct gate t;
    gate_init(&t, HY_CHOICE_HARD, 1);
    for (double logit = -2; logit <= 2; logit += 1) {
        const double step = 1e-4, p = 1 / (1 + exp(-logit));
        const double wanted =
            (1 / (1 + exp(-logit - step)) - 1 / (1 + exp(-logit + step))) / (2 * step);
        double at[3];
        gate_mean(&t, logit, .2, &at[0]);
        gate_mean(&t, logit, .1, &at[1]);
        gate_mean(&t, logit, .05, &at[2]);
        for (int i = 0; i < 3; i++)
            at[i] = at[i] / (c1 - c0) - wanted;
        assert_true(fabs(at[2]) < 1e-3);
        /* Where the curvature is 0, at p (1 - p) = 1/6, there is nothing to converge. */
        if (fabs(p * (1 - p) - 1. / 6) > .03)
            assert_true(fabs(at[2]) < .3 * fabs(at[1]) && fabs(at[1]) < .3 * fabs(at[0]));
    }
    hy_graph_free(t.graph);
}

static void forms_share_their_gradient(void **state)
{
    (void)state;
    struct gate hard, soft;
    gate_init(&hard, HY_CHOICE_HARD, 1);
    gate_init(&soft, HY_CHOICE_SOFT, 1);
    for (double u = -700; u <= 700; u += 12.5) {
        double slopes[2];
        const double f = gate_run(&hard, u, 0, .7, &slopes[0]);
        assert_true(f == (u > 0 ? c1 : c0));
        assert_true(isfinite(gate_run(&soft, u, 0, .7, &slopes[1])));
        assert_true(slopes[0] == slopes[1] && isfinite(slopes[0]));
    }
    hy_graph_free(hard.graph);
    hy_graph_free(soft.graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(where_a_gate_is_0_or_1_it_copies),
        cmocka_unit_test(where_a_gate_is_0_or_1_one_branch_has_the_gradient),
        cmocka_unit_test(the_soft_forms_gradient_is_that_of_its_expectation),
        cmocka_unit_test(the_hard_forms_gradient_is_that_of_its_expectation_when_cold),
        cmocka_unit_test(the_hard_forms_gradient_converges_as_it_cools),
        cmocka_unit_test(forms_share_their_gradient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
