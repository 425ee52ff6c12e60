/* Laws of autograd on shapes of graphs that single operators do not show: shared, split and added
 * tensors. Each gradient is compared with finite differences. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "core/ops/add_norm.h"
#include "core/ops/products/linear.h"
#include "core/ops/rmsnorm.h"
#include "core/ops/sigmoid.h"

enum { ROWS = 6, COLS = 4 };

struct fixture {
    struct hy_slab params, grads;
    struct hy_graph *g;
    struct hy_tensor *x[3], *y, *dy;
};

static struct hy_tensor *leaf(struct fixture *f, int i, int64_t rows)
{
    return f->x[i] = hy_graph_leaf(f->g, "x", rows, COLS, -1, 1);
}

static void begin(struct fixture *f)
{
    const struct hy_shape shape = {.replicas = 1, .batch = 2, .tokens = 3, .mode = HY_TRAIN};
    *f = (struct fixture){0};
    hy_slab_init(&f->params, 1);
    hy_slab_init(&f->grads, 1);
    f->g = hy_graph_new(&shape, &f->params, &f->grads, NULL);
    assert_non_null(f->g);
}

static void end(struct fixture *f)
{
    hy_graph_free(f->g);
    hy_slab_release(&f->grads);
    hy_slab_release(&f->params);
}

static double loss(const struct fixture *f)
{
    double sum = 0;
    hy_graph_run(f->g, NULL);
    for (int64_t i = 0; i < f->y->rows * f->y->cols; i++)
        sum += hy_real_data(f->y, 0)[i] * hy_real_data(f->dy, 0)[i];
    return sum;
}

static void check(struct fixture *f, struct hy_tensor *y)
{
    struct hy_err e = {0};
    f->y = y;
    f->dy = hy_graph_input(f->g, "dy", HY_REAL, ROWS, COLS);
    if (f->g->err.code)
        fail_msg("%s", f->g->err.text);
    hy_graph_keep(y);
    assert_int_equal(hy_graph_backward(f->g, 1, &f->y, &f->dy, &e), HY_OK);
    assert_int_equal(hy_graph_plan(f->g, &e), HY_OK);
    struct hy_rng rng = hy_rng_start(1, HY_RNG_CHECK, 0, 0);
    for (int k = -1; k < 3; k++) {
        struct hy_tensor *t = k < 0 ? f->dy : f->x[k];
        for (int64_t i = 0; t && i < t->rows * t->cols; i++)
            hy_real_data(t, 0)[i] = 2 * hy_rng_uniform(&rng) - 1;
    }
    for (int k = 0; k < 3 && f->x[k]; k++)
        for (int64_t i = 0; i < f->x[k]->rows * COLS; i++) {
            hy_real *at = hy_real_data(f->x[k], 0) + i;
            const double value = *at, step = 1e-5;
            loss(f);
            const double slope = hy_real_data(f->x[k]->grad, 0)[i];
            *at = value + step;
            const double above = loss(f);
            *at = value - step;
            const double below = loss(f);
            *at = value;
            assert_true(fabs((above - below) / (2 * step) - slope) < 1e-8);
        }
}

/* The residual stream's tensor is read again after the sum that may share its gradient. */
static void test_a_residual_that_is_read_again(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    struct hy_tensor *w = leaf(&f, 2, 1), *sum, *again;
    struct hy_tensor *a = hy_sigmoid_of(f.g, leaf(&f, 0, ROWS), 1);
    struct hy_tensor *b = hy_sigmoid_of(f.g, leaf(&f, 1, ROWS), 1);
    struct hy_tensor *n = hy_add_norm(f.g, a, b, w, 1e-6, &sum);
    struct hy_tensor *late = hy_add_norm(f.g, a, hy_sigmoid_of(f.g, n, 1), w, 1e-6, &again);
    check(&f, late);
    end(&f);
}

/* A split view that is split again, one part of which nobody reads. */
static void test_splits_of_splits(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    struct hy_tensor *halves[2], *quarters[2];
    hy_graph_split(f.g, hy_sigmoid_of(f.g, leaf(&f, 0, ROWS), 2), 2, (int64_t[]){2, 2}, halves);
    hy_graph_split(f.g, halves[0], 2, (int64_t[]){1, 1}, quarters);
    struct hy_tensor *w =
        leaf(&f, 1, ROWS); /* [ROWS, COLS] as the weight of a projection to COLS */
    struct hy_tensor *narrow[2];
    hy_graph_split(f.g, hy_sigmoid_of(f.g, w, 1), 2, (int64_t[]){1, 3}, narrow);
    struct hy_tensor *y = hy_linear(f.g, quarters[1], narrow[0]);
    struct hy_tensor *parts[2];
    hy_graph_split(f.g, y, 2, (int64_t[]){COLS, ROWS - COLS}, parts);
    check(&f, hy_sigmoid_of(f.g, parts[0], 3));
    end(&f);
}

static void test_what_is_split_is_not_read(void **state)
{
    (void)state;
    struct fixture f;
    struct hy_tensor *views[2];
    begin(&f);
    struct hy_tensor *y = hy_sigmoid_of(f.g, leaf(&f, 0, ROWS), 1);
    hy_graph_split(f.g, y, 2, (int64_t[]){2, 2}, views);
    assert_null(hy_sigmoid_of(f.g, y, 1));
    assert_int_not_equal(f.g->err.code, HY_OK);
    end(&f);
    begin(&f);
    y = hy_sigmoid_of(f.g, leaf(&f, 0, ROWS), 1);
    hy_graph_split(f.g, y, 2, (int64_t[]){2, 2}, views);
    hy_graph_split(f.g, y, 2, (int64_t[]){1, 3}, views);
    assert_int_not_equal(f.g->err.code, HY_OK);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_residual_that_is_read_again),
        cmocka_unit_test(test_splits_of_splits),
        cmocka_unit_test(test_what_is_split_is_not_read),
    };
    return cmocka_run_group_tests_name("autograd", tests, NULL, NULL);
}
