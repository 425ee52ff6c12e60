#include "core/ops/softplus.h"

#include "core/ops/support/build.h"
#include "core/ops/support/rows.h"
#include "core/ops/support/vec.h"

static void softplus_forward(const struct hy_op *op, int r)
{
    const struct hy_rows x = hy_rows_of(op->in[0], r), y = hy_rows_of(op->out[0], r);
    const hy_real *restrict w = hy_real_data(op->in[1], r);
    for (int64_t i = 0; i < x.rows; i++) {
        const hy_real *restrict from = hy_row(&x, i);
        hy_real *restrict to = hy_row(&y, i);
        hy_row_fetch(&x, i);
#pragma omp simd
        for (int64_t c = 0; c < x.cols; c++)
            to[c] = hy_softplus(w[c] * from[c]);
    }
}

static size_t softplus_scratch(const struct hy_op *op)
{
    return op->pass == HY_BACKWARD ? 2 * (size_t)op->in[0]->cols * sizeof(hy_real) : 0;
}

static void softplus_backward(const struct hy_op *op, int r)
{
    const int64_t cols = op->in[0]->cols;
    hy_real *restrict sums = hy_real_data(op->scratch, r);
    const struct hy_rows x = hy_rows_of(op->in[0], r), dy = hy_rows_of(op->dout[0], r);
    const struct hy_rows dx = hy_rows_din(op, 0, r, sums + cols);
    const hy_real *restrict w = hy_real_data(op->in[1], r);
    memset(sums, 0, (size_t)cols * sizeof *sums);
    for (int64_t i = 0; i < x.rows; i++) {
        const hy_real *restrict from = hy_row(&x, i), *restrict given = hy_row(&dy, i);
        hy_real *restrict to = hy_row(&dx, i);
        hy_row_fetch(&x, i);
        hy_row_fetch(&dx, i);
#pragma omp simd
        for (int64_t c = 0; c < cols; c++) {
            const hy_real d = given[c] * hy_sigmoid(w[c] * from[c]);
            sums[c] += d * from[c];
            to[c] = (dx.add ? to[c] : 0) + d * w[c];
        }
    }
    hy_fold_din(op, 1, r, sums);
}

static void softplus_cost(const struct hy_op *op, struct hy_cost *cost)
{
    hy_cost_elementwise(op, 6, 8, cost);
}

static int softplus_example(struct hy_graph *g, int index)
{
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    struct hy_tensor *views[2];
    if (index > 1)
        return 0;
    hy_graph_split(g, hy_graph_leaf(g, "x", rows, 8, -3, 3), 2, (int64_t[]){2, 6}, views);
    hy_softplus_of(g, views[1], hy_graph_leaf(g, "w", index ? 2 : 1, index ? 3 : 6, -1, 2));
    return 1;
}

const struct hy_op_kind hy_op_softplus = {
    .name = "softplus",
    .forward = softplus_forward,
    .backward = softplus_backward,
    .cost = softplus_cost,
    .scratch = softplus_scratch,
    .backward_in = 1u << 0 | 1u << 1,
    .example = softplus_example,
};

struct hy_tensor *hy_softplus_of(struct hy_graph *g, struct hy_tensor *x, struct hy_tensor *w)
{
    if (!x || !w)
        return NULL;
    if (w->rows * w->cols != x->cols)
        return hy_graph_fail(g, "softplus: %lld weights for %lld columns",
                             (long long)(w->rows * w->cols), (long long)x->cols);
    return hy_record(g, &hy_op_softplus, 2, (struct hy_tensor *[]){x, w}, x->rows, x->cols, NULL,
                     0);
}
