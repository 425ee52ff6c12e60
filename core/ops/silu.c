#include "core/ops/silu.h"

#include "core/ops/support/build.h"
#include "core/ops/support/rows.h"
#include "core/ops/support/vec.h"

static void silu_forward(const struct hy_op *op, int r)
{
    const struct hy_rows x = hy_rows_of(op->in[0], r), y = hy_rows_of(op->out[0], r);
    for (int64_t i = 0; i < op->in[0]->rows; i++) {
        const hy_real *xi = hy_row(&x, i);
        hy_real *yi = hy_row(&y, i);
#pragma omp simd
        for (int64_t c = 0; c < op->in[0]->cols; c++)
            yi[c] = hy_silu(xi[c]);
    }
}

static void silu_backward(const struct hy_op *op, int r)
{
    const struct hy_rows x = hy_rows_of(op->in[0], r), dy = hy_rows_of(op->dout[0], r);
    const struct hy_rows dx = hy_rows_din(op, 0, r, NULL);
    for (int64_t i = 0; i < op->in[0]->rows; i++) {
        const hy_real *xi = hy_row(&x, i), *dyi = hy_row(&dy, i);
        hy_real *dxi = hy_row(&dx, i);
#pragma omp simd
        for (int64_t c = 0; c < op->in[0]->cols; c++) {
            const hy_real d = dyi[c] * hy_silu_slope(xi[c], hy_sigmoid(xi[c]));
            dxi[c] = (dx.add ? dxi[c] : 0) + d;
        }
    }
}

static void silu_cost(const struct hy_op *op, struct hy_cost *cost)
{
    hy_cost_elementwise(op, 4, 8, cost);
}

static int silu_example(struct hy_graph *g, int index)
{
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    struct hy_tensor *views[2];
    if (index > 0)
        return 0;
    hy_graph_split(g, hy_graph_leaf(g, "x", rows, 5, -3, 3), 2, (int64_t[]){2, 3}, views);
    hy_silu_of(g, views[1]);
    return 1;
}

const struct hy_op_kind hy_op_silu = {
    .name = "silu",
    .forward = silu_forward,
    .backward = silu_backward,
    .cost = silu_cost,
    .backward_in = 1u << 0,
    .example = silu_example,
};

struct hy_tensor *hy_silu_of(struct hy_graph *g, struct hy_tensor *x)
{
    return x ? hy_record(g, &hy_op_silu, 1, &x, x->rows, x->cols, NULL, 0) : NULL;
}
