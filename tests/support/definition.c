#include "tests/support/definition.h"

#include <math.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

double test_draw(double lo, double hi)
{
    return lo + (hi - lo) * drand48();
}

struct hy_tensor *test_leaf(struct built *b, int i, int64_t rows, int64_t cols, double lo,
                            double hi)
{
    if (!b->leaf[i])
        b->leaf[i] = hy_graph_leaf(b->g, "leaf", rows, cols, lo, hi);
    b->leaves = i + 1 > b->leaves ? i + 1 : b->leaves;
    return b->leaf[i];
}

struct hy_tensor *test_integers(struct built *b, int (*integer_at)(int64_t row))
{
    if (!b->integers)
        b->integers = hy_graph_input(b->g, "integers", HY_INT32, N, 1);
    b->integer_at = integer_at;
    return b->integers;
}

struct hy_tensor *test_tail(struct built *b, int i, int64_t rows, int64_t first, int64_t cols,
                            double lo, double hi)
{
    struct hy_tensor *views[2];
    if (!b->tail[i]) {
        hy_graph_split(b->g, test_leaf(b, i, rows, cols, lo, hi), 2,
                       (int64_t[]){first, cols - first}, views);
        b->tail[i] = views[1];
    }
    return b->tail[i];
}

struct hy_graph *test_graph(enum hy_mode mode, int batch, int tokens, int context,
                            struct hy_slab *cache)
{
    const struct hy_shape shape = {
        .replicas = 1, .batch = batch, .tokens = tokens, .context = context, .mode = mode};
    struct hy_graph *g = hy_graph_new(&shape, NULL, NULL, cache);
    assert_non_null(g);
    return g;
}

void test_plan(struct hy_graph *g)
{
    struct hy_err e = {0};
    if (hy_graph_plan(g, &e))
        fail_msg("%s", e.text);
}

void test_fill(struct built *b)
{
    for (int i = 0; i < b->leaves; i++) {
        hy_real *x = b->leaf[i]->data;
        for (int64_t k = 0; k < b->leaf[i]->rows * b->leaf[i]->cols; k++)
            x[k] = (hy_real)test_draw(b->leaf[i]->lo, b->leaf[i]->hi);
    }
    for (int64_t k = 0; b->integers && k < N; k++)
        ((int32_t *)b->integers->data)[k] = b->integer_at(k);
}

int64_t test_size(const struct hy_tensor *t)
{
    return t->rows * t->cols;
}

static double *doubles_of(const struct hy_tensor *t)
{
    double *d = malloc((size_t)test_size(t) * sizeof *d);
    assert_non_null(d);
    for (int64_t r = 0; r < t->rows; r++)
        for (int64_t c = 0; c < t->cols; c++)
            d[r * t->cols + c] = hy_real_data(t, 0)[r * t->ld + c];
    return d;
}

void test_close(const char *what, double got, double want, double scale, double tolerance)
{
    if (!(fabs(got - want) <= tolerance * scale))
        fail_msg("%s: %.9g, not %.9g (scale %.3g)", what, got, want, scale);
}

static void check_values(const struct built *b, const double *want)
{
    for (int o = 0; o < b->outputs; o++) {
        double *got = doubles_of(b->y[o]), scale = 0;
        const int64_t n = test_size(b->y[o]);
        for (int64_t i = 0; i < n; i++)
            scale = fmax(scale, fabs(want[i]));
        for (int64_t i = 0; i < n; i++)
            test_close("value", got[i], want[i], scale, 4e-6);
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
        const int64_t size = test_size(b->leaf[i]);
        double *grad = doubles_of(b->leaf[i]->grad), *at = in[i];
        double *there = malloc((size_t)size * sizeof *there);
        double *way = malloc((size_t)size * sizeof *way);
        for (int trial = 0; trial < 3; trial++) {
            double got = 0, norm = 0;
            const double h = 1e-5;
            for (int64_t k = 0; k < size; k++) {
                way[k] = test_draw(-1, 1);
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
            test_close("gradient", got, want, sqrt(norm), 2e-5);
        }
        free(grad);
        free(there);
        free(way);
    }
}

static void check_copies(build_fn *build, definition_fn *definition, int copies)
{
    struct built b = {.g = test_graph(HY_TRAIN, B, T, 0, NULL)};
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
            n += copy == 0 ? test_size(b.y[o]) : 0;
            count++;
        }
    }
    if (hy_graph_backward(b.g, count, y, dy, &e))
        fail_msg("%s", e.text);
    test_plan(b.g);
    test_fill(&b);
    dys = malloc((size_t)n * sizeof *dys);
    want = malloc((size_t)n * sizeof *want);
    for (int o = 0; o < b.outputs; o++)
        for (int64_t k = 0; k < test_size(y[o]); k++, at++) {
            dys[at] = (float)test_draw(-1, 1);
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

void test_definition(build_fn *build, definition_fn *definition)
{
    check_copies(build, definition, 1);
    check_copies(build, definition, 2);
}
