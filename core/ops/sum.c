#include "core/ops/sum.h"

#include "core/ops/support/build.h"
#include "core/ops/support/rows.h"

static void sum_forward(const struct hy_op *op, int r)
{
    const hy_real scale = (hy_real) * (const double *)op->attr;
    const struct hy_rows y = hy_rows_of(op->out[0], r);
    for (int k = 0; k < op->inputs; k++) {
        const struct hy_rows x = hy_rows_of(op->in[k], r);
        for (int64_t i = 0; i < x.rows; i++) {
            const hy_real *xi = hy_row(&x, i);
            hy_real *yi = hy_row(&y, i);
#pragma omp simd
            for (int64_t c = 0; c < x.cols; c++)
                yi[c] = (k ? yi[c] : 0) + scale * xi[c];
        }
    }
}

static void sum_backward(const struct hy_op *op, int r)
{
    const hy_real scale = (hy_real) * (const double *)op->attr;
    const struct hy_rows dy = hy_rows_of(op->dout[0], r);
    for (int k = 0; k < op->inputs; k++) {
        const struct hy_rows dx = hy_rows_din(op, k, r, NULL);
        for (int64_t i = 0; dx.data && i < dx.rows; i++) {
            const hy_real *dyi = hy_row(&dy, i);
            hy_real *dxi = hy_row(&dx, i);
#pragma omp simd
            for (int64_t c = 0; c < dx.cols; c++)
                dxi[c] = (dx.add ? dxi[c] : 0) + scale * dyi[c];
        }
    }
}

static void sum_cost(const struct hy_op *op, struct hy_cost *cost)
{
    hy_cost_elementwise(op, op->inputs, op->inputs, cost);
}

static int sum_example(struct hy_graph *g, int index)
{
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    struct hy_tensor *views[3];
    if (index > 1)
        return 0;
    hy_graph_split(g, hy_graph_leaf(g, "x", rows, 9, -1, 1), 3, (int64_t[]){3, 3, 3}, views);
    hy_sum(g, index ? 3 : 2, views, index ? 1. / 3 : 1);
    return 1;
}

const struct hy_op_kind hy_op_sum = {
    .name = "sum",
    .forward = sum_forward,
    .backward = sum_backward,
    .cost = sum_cost,
    .example = sum_example,
};

struct hy_tensor *hy_sum(struct hy_graph *g, int count, struct hy_tensor *const *x, double scale)
{
    for (int k = 0; k < count; k++)
        if (!x[k] || !hy_has_shape(g, "sum", "x", x[k], x[0]->rows, x[0]->cols))
            return NULL;
    return hy_record(g, &hy_op_sum, count, x, x[0]->rows, x[0]->cols, &scale, sizeof scale);
}

struct hy_tensor *hy_mean(struct hy_graph *g, int count, struct hy_tensor *const *x)
{
    struct hy_tensor *sum = NULL;
    for (int first = 0; first < count; first += HY_MAX_INPUTS - 1) {
        struct hy_tensor *part[HY_MAX_INPUTS];
        int parts = 0;
        if (first)
            part[parts++] = sum;
        for (int i = first; i < count && i < first + HY_MAX_INPUTS - 1; i++)
            part[parts++] = x[i];
        sum = hy_sum(g, parts, part, 1);
    }
    return sum ? hy_sum(g, 1, &sum, 1. / count) : NULL;
}
