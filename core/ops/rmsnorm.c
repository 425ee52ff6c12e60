#include "core/ops/rmsnorm.h"

#include "core/ops/support/build.h"
#include "core/ops/support/norm.h"
#include "core/ops/support/rows.h"

static hy_real eps_of(const struct hy_op *op)
{
    return (hy_real) * (const double *)op->attr;
}

static void rmsnorm_forward(const struct hy_op *op, int r)
{
    const struct hy_rows x = hy_rows_of(op->in[0], r), y = hy_rows_of(op->out[0], r);
    const hy_real *w = hy_real_data(op->in[1], r);
    const int64_t width = op->in[1]->cols;
    for (int64_t i = 0; i < op->in[0]->rows; i++)
        for (int64_t c = 0; c < op->in[0]->cols; c += width)
            hy_norm_row(hy_row(&x, i) + c, w, width, eps_of(op), hy_row(&y, i) + c);
}

static size_t rmsnorm_scratch(const struct hy_op *op)
{
    return op->pass == HY_BACKWARD ? (size_t)(op->in[0]->cols + op->in[1]->cols) * sizeof(hy_real)
                                   : 0;
}

static void rmsnorm_backward(const struct hy_op *op, int r)
{
    const int64_t width = op->in[1]->cols;
    hy_real *dw = hy_real_data(op->scratch, r), *spare = dw + width;
    const struct hy_rows x = hy_rows_of(op->in[0], r), dy = hy_rows_of(op->dout[0], r);
    const struct hy_rows dx = hy_rows_din(op, 0, r, spare);
    const hy_real *w = hy_real_data(op->in[1], r);
    memset(dw, 0, (size_t)width * sizeof *dw);
    for (int64_t i = 0; i < op->in[0]->rows; i++)
        for (int64_t c = 0; c < op->in[0]->cols; c += width)
            hy_norm_row_backward(hy_row(&x, i) + c, w, hy_row(&dy, i) + c, width, eps_of(op), NULL,
                                 dx.add, hy_row(&dx, i) + c, dw);
    hy_fold_din(op, 1, r, dw);
}

static void rmsnorm_cost(const struct hy_op *op, struct hy_cost *cost)
{
    hy_cost_elementwise(op, 4, 10, cost);
}

static int rmsnorm_example(struct hy_graph *g, int index)
{
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    if (index == 0) {
        hy_rmsnorm(g, hy_graph_leaf(g, "x", rows, 5, -1, 1), hy_graph_leaf(g, "w", 1, 5, -1, 1),
                   1e-6);
    } else if (index == 1) {
        struct hy_tensor *views[2];
        hy_graph_split(g, hy_graph_leaf(g, "x", rows, 11, -1, 1), 2, (int64_t[]){5, 6}, views);
        hy_rmsnorm(g, views[1], hy_graph_leaf(g, "w", 1, 3, -1, 1), 1e-2);
    } else {
        return 0;
    }
    return 1;
}

const struct hy_op_kind hy_op_rmsnorm = {
    .name = "rmsnorm",
    .forward = rmsnorm_forward,
    .backward = rmsnorm_backward,
    .cost = rmsnorm_cost,
    .scratch = rmsnorm_scratch,
    .backward_in = 1u << 0 | 1u << 1,
    .example = rmsnorm_example,
};

struct hy_tensor *hy_rmsnorm(struct hy_graph *g, struct hy_tensor *x, struct hy_tensor *w,
                             double eps)
{
    if (!x || !w)
        return NULL;
    if (w->rows != 1 || x->cols % w->cols)
        return hy_graph_fail(g, "rmsnorm: %lld columns are no groups of a weight [%lld, %lld]",
                             (long long)x->cols, (long long)w->rows, (long long)w->cols);
    return hy_record(g, &hy_op_rmsnorm, 2, (struct hy_tensor *[]){x, w}, x->rows, x->cols, &eps,
                     sizeof eps);
}
