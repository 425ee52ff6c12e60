#include "core/ops/l2norm.h"

#include "core/ops/support/attr.h"
#include "core/ops/support/build.h"
#include "core/ops/support/norm.h"
#include "core/ops/support/rows.h"

static void l2norm_forward(const struct hy_op *op, int r)
{
    const struct hy_l2norm_attr *s = op->attr;
    const struct hy_rows x = hy_rows_of(op->in[0], r), y = hy_rows_of(op->out[0], r);
    for (int64_t i = 0; i < op->in[0]->rows; i++) {
        hy_row_fetch(&x, i);
        for (int64_t c = 0; c < op->in[0]->cols; c += s->width) {
            const hy_real *xi = hy_row(&x, i) + c;
            hy_real *yi = hy_row(&y, i) + c;
            const hy_real f = hy_norm_factor(xi, s->width, 1, (hy_real)s->eps);
#pragma omp simd
            for (int64_t k = 0; k < s->width; k++)
                yi[k] = xi[k] * f;
        }
    }
}

static void l2norm_backward(const struct hy_op *op, int r)
{
    const struct hy_l2norm_attr *s = op->attr;
    const struct hy_rows x = hy_rows_of(op->in[0], r), dy = hy_rows_of(op->dout[0], r);
    const struct hy_rows dx = hy_rows_din(op, 0, r, NULL);
    for (int64_t i = 0; i < op->in[0]->rows; i++) {
        hy_row_fetch(&x, i);
        hy_row_fetch(&dx, i);
        for (int64_t c = 0; c < op->in[0]->cols; c += s->width) {
            const hy_real *xi = hy_row(&x, i) + c, *dyi = hy_row(&dy, i) + c;
            hy_real *dxi = hy_row(&dx, i) + c;
            hy_real squares = 0, dot = 0;
#pragma omp simd reduction(+ : squares, dot)
            for (int64_t k = 0; k < s->width; k++) {
                squares += xi[k] * xi[k];
                dot += xi[k] * dyi[k];
            }
            const hy_real f = 1 / hy_sqrt(squares + (hy_real)s->eps), back = f * f * f * dot;
#pragma omp simd
            for (int64_t k = 0; k < s->width; k++)
                dxi[k] = (dx.add ? dxi[k] : 0) + f * dyi[k] - back * xi[k];
        }
    }
}

static void l2norm_cost(const struct hy_op *op, struct hy_cost *cost)
{
    hy_cost_elementwise(op, 3, 7, cost);
}

static int l2norm_example(struct hy_graph *g, int index)
{
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    struct hy_tensor *views[2];
    if (index > 1)
        return 0;
    hy_graph_split(g, hy_graph_leaf(g, "x", rows, 10, -1, 1), 2, (int64_t[]){4, 6}, views);
    hy_l2norm(g, views[1], index + 1, 1e-6);
    return 1;
}

const struct hy_op_kind hy_op_l2norm = {
    .name = "l2norm",
    .forward = l2norm_forward,
    .backward = l2norm_backward,
    .cost = l2norm_cost,
    .backward_in = 1u << 0,
    .example = l2norm_example,
};

struct hy_tensor *hy_l2norm(struct hy_graph *g, struct hy_tensor *x, int heads, double eps)
{
    if (!x)
        return NULL;
    if (heads < 1 || x->cols % heads)
        return hy_graph_fail(g, "l2norm: %lld columns do not divide into %d heads",
                             (long long)x->cols, heads);
    const struct hy_l2norm_attr s = {x->cols / heads, eps};
    return hy_record(g, &hy_op_l2norm, 1, &x, x->rows, x->cols, &s, sizeof s);
}
