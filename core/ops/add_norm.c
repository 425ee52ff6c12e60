#include "core/ops/add_norm.h"

#include "core/ops/support/build.h"
#include "core/ops/support/norm.h"
#include "core/ops/support/rows.h"

static hy_real eps_of(const struct hy_op *op)
{
    return (hy_real) * (const double *)op->attr;
}

static void add_norm_forward(const struct hy_op *op, int r)
{
    const struct hy_rows a = hy_rows_of(op->in[0], r), b = hy_rows_of(op->in[1], r);
    const struct hy_rows sum = hy_rows_of(op->out[0], r), y = hy_rows_of(op->out[1], r);
    const hy_real *w = hy_real_data(op->in[2], r);
    const int64_t cols = op->in[0]->cols;
    for (int64_t i = 0; i < op->in[0]->rows; i++) {
        const hy_real *ai = hy_row(&a, i), *bi = hy_row(&b, i);
        hy_real *si = hy_row(&sum, i);
#pragma omp simd
        for (int64_t c = 0; c < cols; c++)
            si[c] = ai[c] + bi[c];
        hy_norm_row(si, w, cols, eps_of(op), hy_row(&y, i));
    }
}

static size_t add_norm_scratch(const struct hy_op *op)
{
    return op->pass == HY_BACKWARD ? 3 * (size_t)op->in[0]->cols * sizeof(hy_real) : 0;
}

static void add_norm_backward(const struct hy_op *op, int r)
{
    const int64_t cols = op->in[0]->cols;
    hy_real *dw = hy_real_data(op->scratch, r), *total = dw + cols, *zeros = dw + 2 * cols;
    const struct hy_rows sum = hy_rows_of(op->out[0], r);
    const hy_real *w = hy_real_data(op->in[2], r);
    /* Both inputs get the row's gradient; the second only where autograd gave it its own tensor. */
    const int first = op->din[0] ? 0 : 1, both = op->din[0] && op->din[1];
    const struct hy_rows dx = hy_rows_din(op, first, r, total);
    const struct hy_rows other = hy_rows_din(op, 1, r, total);
    const struct hy_rows none = {.data = zeros};
    const struct hy_rows dy = op->dout[1] ? hy_rows_of(op->dout[1], r) : none;
    const struct hy_rows dsum = op->dout[0] ? hy_rows_of(op->dout[0], r) : none;
    memset(dw, 0, 3 * (size_t)cols * sizeof *dw);
    for (int64_t i = 0; i < op->in[0]->rows; i++) {
        if (!both) {
            hy_norm_row_backward(hy_row(&sum, i), w, hy_row(&dy, i), cols, eps_of(op),
                                 hy_row(&dsum, i), dx.add, hy_row(&dx, i), dw);
            continue;
        }
        hy_norm_row_backward(hy_row(&sum, i), w, hy_row(&dy, i), cols, eps_of(op), hy_row(&dsum, i),
                             0, total, dw);
        hy_real *da = hy_row(&dx, i), *db = hy_row(&other, i);
        for (int64_t c = 0; c < cols; c++)
            da[c] = (dx.add ? da[c] : 0) + total[c];
        for (int64_t c = 0; c < cols; c++)
            db[c] = (other.add ? db[c] : 0) + total[c];
    }
    hy_fold_din(op, 2, r, dw);
}

static void add_norm_cost(const struct hy_op *op, struct hy_cost *cost)
{
    hy_cost_elementwise(op, 5, 11, cost);
}

static int add_norm_example(struct hy_graph *g, int index)
{
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    struct hy_tensor *views[2], *sum;
    if (index > 1)
        return 0;
    struct hy_tensor *w = hy_graph_leaf(g, "w", 1, 5, -1, 1);
    struct hy_tensor *b = hy_graph_leaf(g, "b", rows, 5, -1, 1);
    hy_graph_split(g, hy_graph_leaf(g, "a", rows, 7, -1, 1), 2, (int64_t[]){2, 5}, views);
    hy_add_norm(g, index ? views[1] : hy_graph_leaf(g, "x", rows, 5, -1, 1), b, w, 1e-6, &sum);
    return 1;
}

const struct hy_op_kind hy_op_add_norm = {
    .name = "add_norm",
    .forward = add_norm_forward,
    .backward = add_norm_backward,
    .cost = add_norm_cost,
    .scratch = add_norm_scratch,
    .backward_in = 1u << 2,
    .backward_out = 1u << 0,
    .shares_grad = 1,
    .example = add_norm_example,
};

struct hy_tensor *hy_add_norm(struct hy_graph *g, struct hy_tensor *a, struct hy_tensor *b,
                              struct hy_tensor *w, double eps, struct hy_tensor **sum)
{
    *sum = NULL;
    if (!a || !b || !w || !hy_has_shape(g, "add_norm", "b", b, a->rows, a->cols) ||
        !hy_has_shape(g, "add_norm", "the weight", w, 1, a->cols))
        return NULL;
    struct hy_tensor *out[] = {hy_graph_tensor(g, a->rows, a->cols),
                               hy_graph_tensor(g, a->rows, a->cols)};
    if (!out[1] || !hy_graph_op(g, &hy_op_add_norm, 3, (struct hy_tensor *[]){a, b, w}, 2, out,
                                &eps, sizeof eps))
        return NULL;
    *sum = out[0];
    return out[1];
}
