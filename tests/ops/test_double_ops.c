/* The gradients of every operator equal finite differences, on every example it gives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "core/ops/registry.h"

enum { TOKENS = 19, BATCH = 2, MAX_LOSSES = HY_MAX_OUTPUTS };

/* An example made into a scalar function: loss = sum over outputs of <output, weight>. */
struct trial {
    struct hy_graph *graph;
    int losses;
    struct hy_tensor *y[MAX_LOSSES], *dy[MAX_LOSSES];
};

static void fill(struct hy_tensor *t, double lo, double hi, uint32_t index)
{
    struct hy_rng rng = hy_rng_start(7, HY_RNG_CHECK, 0, index);
    for (int64_t i = 0; i < t->rows * t->cols; i++) {
        if (t->dtype == HY_REAL)
            ((hy_real *)t->data)[i] = lo + (hi - lo) * hy_rng_uniform(&rng);
        else if (strcmp(t->name, "labels") == 0 && i % 2)
            ((int32_t *)t->data)[i] = -100; /* not scored */
        else
            ((int32_t *)t->data)[i] = (int32_t)hy_rng_below(&rng, 3);
    }
}

/* Returns 0 where kind has no such example. */
static int open_trial(const struct hy_op_kind *kind, int index, struct trial *trial)
{
    const struct hy_shape shape = {
        .replicas = 1, .batch = BATCH, .tokens = TOKENS, .mode = HY_TRAIN};
    struct hy_err e;
    *trial = (struct trial){.graph = hy_graph_new(&shape, NULL, NULL, NULL)};
    struct hy_graph *g = trial->graph;
    assert_non_null(g);
    if (!kind->example(g, index)) {
        hy_graph_free(g);
        return 0;
    }
    if (g->err.code)
        fail_msg("example %d of %s: %s", index, kind->name, g->err.text);
    const struct hy_op *op = g->ops[g->forward_ops - 1];
    assert_string_equal(op->kind->name, kind->name);
    for (int i = 0; i < op->outputs; i++) {
        struct hy_tensor *y = op->out[i];
        if (!y || !y->differentiable)
            continue;
        hy_graph_keep(y);
        trial->y[trial->losses] = y;
        trial->dy[trial->losses++] = hy_graph_input(g, "dy", HY_REAL, y->rows, y->cols);
    }
    if (hy_graph_backward(g, trial->losses, trial->y, trial->dy, &e) || hy_graph_plan(g, &e))
        fail_msg("example %d of %s: %s", index, kind->name, e.text);
    for (int i = 0; i < g->tensor_count; i++) {
        struct hy_tensor *t = g->tensors[i];
        if (t->pinned && t->name[0])
            fill(t, t->lo < t->hi ? t->lo : -1, t->lo < t->hi ? t->hi : 1, (uint32_t)i);
    }
    return 1;
}

static double loss_of(const struct trial *trial)
{
    double sum = 0;
    hy_graph_run(trial->graph, NULL);
    for (int i = 0; i < trial->losses; i++) {
        const hy_real *y = trial->y[i]->data, *dy = trial->dy[i]->data;
        for (int64_t k = 0; k < trial->y[i]->rows * trial->y[i]->cols; k++)
            sum += y[k] * dy[k];
    }
    return sum;
}

/* Largest deviation of a leaf's gradient (none: zero) from central differences, relative to its
 * largest element.
 */
static double worst_error(const struct trial *trial, const struct hy_tensor *leaf)
{
    const double step = 1e-5;
    const int64_t count = leaf->rows * leaf->cols;
    hy_real *x = leaf->data, *grad = calloc((size_t)count, sizeof *grad);
    double worst = 0, largest = 1e-3;
    assert_non_null(grad);
    loss_of(trial);
    if (leaf->grad)
        memcpy(grad, leaf->grad->data, (size_t)count * sizeof *grad);
    for (int64_t i = 0; i < count; i++) {
        const hy_real old = x[i];
        x[i] = old + step;
        const double above = loss_of(trial);
        x[i] = old - step;
        const double below = loss_of(trial);
        x[i] = old;
        const double error = fabs((above - below) / (2 * step) - grad[i]);
        worst = error > worst || isnan(error) ? error : worst;
        largest = fmax(largest, fabs(grad[i]));
    }
    free(grad);
    return worst / largest;
}

static void check_example(const struct hy_op_kind *kind, int index, struct trial *trial)
{
    const struct hy_graph *g = trial->graph;
    int leaves = 0;
    for (int i = 0; i < g->tensor_count; i++) {
        const struct hy_tensor *t = g->tensors[i];
        if (!t->differentiable || !t->pinned || !t->name[0])
            continue;
        const double error = worst_error(trial, t);
        if (!(error <= 1e-6))
            fail_msg("example %d of %s: the gradient of %s is off by %.1e", index, kind->name,
                     t->name, error);
        leaves++;
    }
    assert_true(leaves > 0);
}

static void test_gradients_equal_finite_differences(void **state)
{
    (void)state;
    int kinds = 0;
    for (int i = 0; hy_ops[i]; i++) {
        const struct hy_op_kind *kind = hy_ops[i];
        struct trial trial;
        if (!kind->backward)
            continue;
        if (!kind->example)
            fail_msg("%s has no example", kind->name);
        int index = 0;
        for (; open_trial(kind, index, &trial); index++) {
            check_example(kind, index, &trial);
            hy_graph_free(trial.graph);
        }
        assert_true(index > 0);
        kinds++;
    }
    assert_true(kinds > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gradients_equal_finite_differences)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
