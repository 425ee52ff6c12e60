#include "core/ops/gated_norm.h"

#include "core/ops/rmsnorm.h"
#include "core/ops/support/attr.h"
#include "core/ops/support/build.h"
#include "core/ops/support/norm.h"
#include "core/ops/support/rows.h"

static void gated_norm_forward(const struct hy_op *op, int r)
{
    const struct hy_gated_norm_attr *s = op->attr;
    const struct hy_rows x = hy_rows_of(op->in[0], r), gate = hy_rows_of(op->in[1], r);
    const struct hy_rows y = hy_rows_of(op->out[0], r);
    const hy_real *w = hy_real_data(op->in[2], r);
    const int64_t width = op->in[2]->cols;
    const int silu = s->activation == HY_GATE_SILU;
    for (int64_t i = 0; i < op->in[0]->rows; i++) {
        hy_row_fetch(&gate, i);
        for (int64_t c = 0; c < op->in[0]->cols; c += width) {
            const hy_real *xi = hy_row(&x, i) + c, *gi = hy_row(&gate, i) + c;
            hy_real *yi = hy_row(&y, i) + c;
            const hy_real f = hy_norm_factor(xi, width, 1 / (hy_real)width, (hy_real)s->eps);
#pragma omp simd
            for (int64_t k = 0; k < width; k++)
                yi[k] = xi[k] * f * w[k] * (silu ? gi[k] : 1) * hy_sigmoid(gi[k]);
        }
    }
}

static size_t gated_norm_scratch(const struct hy_op *op)
{
    return op->pass == HY_BACKWARD
               ? (size_t)(2 * op->in[2]->cols + op->in[0]->cols) * sizeof(hy_real)
               : 0;
}

static void gated_norm_backward(const struct hy_op *op, int r)
{
    const struct hy_gated_norm_attr *s = op->attr;
    const int64_t width = op->in[2]->cols;
    hy_real *dw = hy_real_data(op->scratch, r), *u = dw + width, *spare = u + width;
    const struct hy_rows x = hy_rows_of(op->in[0], r), gate = hy_rows_of(op->in[1], r);
    const struct hy_rows dy = hy_rows_of(op->dout[0], r);
    const struct hy_rows dx = hy_rows_din(op, 0, r, spare), dgate = hy_rows_din(op, 1, r, spare);
    const hy_real *w = hy_real_data(op->in[2], r);
    const int silu = s->activation == HY_GATE_SILU;
    memset(dw, 0, (size_t)width * sizeof *dw);
    for (int64_t i = 0; i < op->in[0]->rows; i++) {
        hy_row_fetch(&gate, i);
        hy_row_fetch(&dgate, i);
        for (int64_t c = 0; c < op->in[0]->cols; c += width) {
            const hy_real *xi = hy_row(&x, i) + c, *gi = hy_row(&gate, i) + c;
            const hy_real *dyi = hy_row(&dy, i) + c;
            hy_real *dgi = hy_row(&dgate, i) + c;
            const hy_real f = hy_norm_factor(xi, width, 1 / (hy_real)width, (hy_real)s->eps);
#pragma omp simd
            for (int64_t k = 0; k < width; k++) {
                const hy_real a = hy_sigmoid(gi[k]);
                const hy_real slope = silu ? hy_silu_slope(gi[k], a) : a * (1 - a);
                u[k] = dyi[k] * (silu ? gi[k] : 1) * a;
                dgi[k] = (dgate.add ? dgi[k] : 0) + dyi[k] * xi[k] * f * w[k] * slope;
            }
            hy_norm_row_backward(xi, w, u, width, (hy_real)s->eps, NULL, dx.add, hy_row(&dx, i) + c,
                                 dw);
        }
    }
    hy_fold_din(op, 2, r, dw);
}

static void gated_norm_cost(const struct hy_op *op, struct hy_cost *cost)
{
    hy_cost_elementwise(op, 8, 20, cost);
}

static int gated_norm_example(struct hy_graph *g, int index)
{
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    struct hy_tensor *views[2];
    if (index > 1)
        return 0;
    hy_graph_split(g, hy_graph_leaf(g, "x", rows, 12, -1, 1), 2, (int64_t[]){6, 6}, views);
    hy_gated_norm(g, index ? hy_graph_leaf(g, "plain", rows, 6, -1, 1) : views[0], views[1],
                  hy_graph_leaf(g, "w", 1, 3, -1, 1), 1e-6, index ? HY_GATE_SIGMOID : HY_GATE_SILU);
    return 1;
}

const struct hy_op_kind hy_op_gated_norm = {
    .name = "gated_norm",
    .forward = gated_norm_forward,
    .backward = gated_norm_backward,
    .cost = gated_norm_cost,
    .scratch = gated_norm_scratch,
    .backward_in = 1u << 0 | 1u << 1 | 1u << 2,
    .example = gated_norm_example,
};

struct hy_tensor *hy_gated_norm(struct hy_graph *g, struct hy_tensor *x, struct hy_tensor *gate,
                                struct hy_tensor *w, double eps, enum hy_gate activation)
{
    if (!gate)
        return hy_rmsnorm(g, x, w, eps);
    if (!x || !w || !hy_has_shape(g, "gated_norm", "the gate", gate, x->rows, x->cols))
        return NULL;
    if (w->rows != 1 || x->cols % w->cols)
        return hy_graph_fail(g, "gated_norm: %lld columns are no heads of a weight [%lld, %lld]",
                             (long long)x->cols, (long long)w->rows, (long long)w->cols);
    if (activation == HY_GATE_PLAIN)
        return hy_graph_fail(g, "gated_norm: a gate without activation");
    const struct hy_gated_norm_attr s = {eps, activation};
    return hy_record(g, &hy_op_gated_norm, 3, (struct hy_tensor *[]){x, gate, w}, x->rows, x->cols,
                     &s, sizeof s);
}
