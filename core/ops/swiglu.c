#include "core/ops/swiglu.h"

#include "core/ops/support/build.h"
#include "core/ops/support/rows.h"
#include "core/ops/support/vec.h"

static void swiglu_forward(const struct hy_op *op, int r)
{
    const struct hy_rows x = hy_rows_of(op->in[0], r), y = hy_rows_of(op->out[0], r);
    const int64_t width = op->out[0]->cols;
    for (int64_t i = 0; i < op->out[0]->rows; i++) {
        const hy_real *gate = hy_row(&x, i), *up = gate + width;
        hy_real *yi = hy_row(&y, i);
#pragma omp simd
        for (int64_t c = 0; c < width; c++)
            yi[c] = hy_silu(gate[c]) * up[c];
    }
}

static void swiglu_backward(const struct hy_op *op, int r)
{
    const struct hy_rows x = hy_rows_of(op->in[0], r), dy = hy_rows_of(op->dout[0], r);
    const struct hy_rows dx = hy_rows_din(op, 0, r, NULL);
    const int64_t width = op->out[0]->cols;
    for (int64_t i = 0; i < op->out[0]->rows; i++) {
        const hy_real *gate = hy_row(&x, i), *up = gate + width, *dyi = hy_row(&dy, i);
        hy_real *dgate = hy_row(&dx, i), *dup = dgate + width;
#pragma omp simd
        for (int64_t c = 0; c < width; c++) {
            const hy_real s = hy_sigmoid(gate[c]);
            const hy_real dg = dyi[c] * up[c] * hy_silu_slope(gate[c], s);
            const hy_real du = dyi[c] * gate[c] * s;
            dgate[c] = (dx.add ? dgate[c] : 0) + dg;
            dup[c] = (dx.add ? dup[c] : 0) + du;
        }
    }
}

static void swiglu_cost(const struct hy_op *op, struct hy_cost *cost)
{
    hy_cost_elementwise(op, 5, 12, cost);
}

static int swiglu_example(struct hy_graph *g, int index)
{
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    struct hy_tensor *views[2];
    if (index > 0)
        return 0;
    hy_graph_split(g, hy_graph_leaf(g, "x", rows, 9, -3, 3), 2, (int64_t[]){3, 6}, views);
    hy_swiglu(g, views[1]);
    return 1;
}

const struct hy_op_kind hy_op_swiglu = {
    .name = "swiglu",
    .forward = swiglu_forward,
    .backward = swiglu_backward,
    .cost = swiglu_cost,
    .backward_in = 1u << 0,
    .example = swiglu_example,
};

struct hy_tensor *hy_swiglu(struct hy_graph *g, struct hy_tensor *x)
{
    if (!x)
        return NULL;
    if (x->cols % 2)
        return hy_graph_fail(g, "swiglu: %lld columns have no halves", (long long)x->cols);
    return hy_record(g, &hy_op_swiglu, 1, &x, x->rows, x->cols / 2, NULL, 0);
}
