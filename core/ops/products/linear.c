#include "core/ops/products/linear.h"

#include "core/ops/support/build.h"
#include "core/ops/products/gemm.h"
#include "core/ops/products/operand.h"
#include "core/ops/support/rows.h"

static void linear_forward(const struct hy_op *op, int r)
{
    const struct hy_tensor *x = hy_operand(op, 0), *w = hy_operand(op, 1), *y = op->out[0];
    const struct hy_rows to = hy_rows_of(y, r);
    const hy_real *bias = hy_real_data(op->in[2], r);
    for (int64_t i = 0; bias && i < y->rows; i++)
        memcpy(hy_row(&to, i), bias, (size_t)y->cols * sizeof *bias);
    if (x->dtype == HY_BF16)
        hy_gemm_bf16(0, 1, x->rows, w->rows, x->cols, hy_bf16_data(x, r), x->ld, hy_bf16_data(w, r),
                     w->ld, bias != NULL, to.data, y->ld);
    else
        hy_gemm(0, 1, x->rows, w->rows, x->cols, 1, hy_real_data(x, r), x->ld, hy_real_data(w, r),
                w->ld, bias != NULL, to.data, y->ld);
}

static void backward_bias(const struct hy_op *op, int r)
{
    const struct hy_rows dy = hy_rows_of(op->dout[0], r);
    hy_real *sums = hy_real_data(op->din[2], r);
    hy_clear_din(op, 2, r);
    for (int64_t i = 0; i < op->dout[0]->rows; i++)
        for (int64_t c = 0; c < op->dout[0]->cols; c++)
            sums[c] += hy_row(&dy, i)[c];
}

/* In bf16, backward's scratch: dy rounded, and transposed where dw is wanted. */
static size_t linear_scratch(const struct hy_op *op)
{
    const struct hy_tensor *dy = op->dout[0];
    if (op->pass == HY_FORWARD || hy_operand(op, 0)->dtype != HY_BF16)
        return 0;
    const int64_t turned = op->din[1] ? dy->cols * hy_turned_ld(dy->rows) : 0;
    return (size_t)(dy->rows * dy->cols + turned) * sizeof(hy_bf16);
}

static void backward_bf16(const struct hy_op *op, int r)
{
    const struct hy_tensor *x = hy_operand(op, 0), *w = hy_operand(op, 1), *dy = op->dout[0];
    const struct hy_tensor *dx = op->din[0], *dw = op->din[1];
    hy_bf16 *given = hy_data(op->scratch, r), *turned = given + dy->rows * dy->cols;
    hy_operand_round(dy->rows, dy->cols, hy_real_data(dy, r), dy->ld, given, dw ? turned : NULL);
    if (dx)
        hy_gemm_bf16(0, 0, x->rows, x->cols, w->rows, given, dy->cols, hy_bf16_data(w, r), w->ld,
                     hy_adds(op, 0), hy_real_data(dx, r), dx->ld);
    if (dw)
        hy_gemm_bf16(0, 0, w->rows, x->cols, x->rows, turned, hy_turned_ld(dy->rows),
                     hy_bf16_data(x, r), x->ld, hy_adds(op, 1), hy_real_data(dw, r), dw->ld);
}

static void backward_real(const struct hy_op *op, int r)
{
    const struct hy_tensor *x = op->in[0], *w = op->in[1], *dy = op->dout[0];
    const struct hy_tensor *dx = op->din[0], *dw = op->din[1];
    if (dx)
        hy_gemm(0, 0, x->rows, x->cols, w->rows, 1, hy_real_data(dy, r), dy->ld, hy_real_data(w, r),
                w->ld, (hy_real)hy_adds(op, 0), hy_real_data(dx, r), dx->ld);
    if (dw)
        hy_gemm(1, 0, w->rows, x->cols, x->rows, 1, hy_real_data(dy, r), dy->ld, hy_real_data(x, r),
                x->ld, (hy_real)hy_adds(op, 1), hy_real_data(dw, r), dw->ld);
}

static void linear_backward(const struct hy_op *op, int r)
{
    if (hy_operand(op, 0)->dtype == HY_BF16)
        backward_bf16(op, r);
    else
        backward_real(op, r);
    if (op->din[2])
        backward_bias(op, r);
}

static void linear_cost(const struct hy_op *op, struct hy_cost *cost)
{
    const double n = (double)op->in[0]->rows, in = (double)op->in[0]->cols;
    const double out = (double)op->in[1]->rows;
    const int products = op->pass == HY_FORWARD ? 1 : (op->din[0] != NULL) + (op->din[1] != NULL);
    cost->flops = products * 2 * n * in * out;
    cost->bytes = products * (n * in + n * out + in * out) * sizeof(hy_real);
}

static int linear_example(struct hy_graph *g, int index)
{
    if (index > 1)
        return 0;
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    hy_linear_biased(g, hy_graph_leaf(g, "x", rows, 5, -1, 1), hy_graph_leaf(g, "w", 3, 5, -1, 1),
                     index ? hy_graph_leaf(g, "bias", 1, 3, -1, 1) : NULL);
    return 1;
}

const struct hy_op_kind hy_op_linear = {
    .name = "linear",
    .forward = linear_forward,
    .backward = linear_backward,
    .cost = linear_cost,
    .scratch = linear_scratch,
    .backward_in = 1u << 0 | 1u << 1,
    .operands = 1u << 0 | 1u << 1,
    .example = linear_example,
};

struct hy_tensor *hy_linear(struct hy_graph *g, struct hy_tensor *x, struct hy_tensor *w)
{
    return hy_linear_biased(g, x, w, NULL);
}

struct hy_tensor *hy_linear_biased(struct hy_graph *g, struct hy_tensor *x, struct hy_tensor *w,
                                   struct hy_tensor *bias)
{
    if (!x || !w)
        return NULL;
    if (x->cols != w->cols)
        return hy_graph_fail(g, "linear: %lld inputs meet a weight for %lld", (long long)x->cols,
                             (long long)w->cols);
    if (bias && !hy_has_shape(g, "linear", "the bias", bias, 1, w->rows))
        return NULL;
    return hy_record(g, &hy_op_linear, 3, (struct hy_tensor *[]){x, w, bias}, x->rows, w->rows,
                     NULL, 0);
}
