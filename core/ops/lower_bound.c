#include "core/ops/lower_bound.h"

#include <math.h>

#include "core/ops/support/build.h"
#include "core/ops/support/rows.h"

static int layer_of(const struct hy_op *op)
{
    return *(const int *)op->attr;
}

/* The softmax of a column, whose elements lie ld apart. */
static void softmax_column(const hy_real *x, int64_t ld, int64_t count, double *p)
{
    double max = (double)x[0], sum = 0;
    for (int64_t i = 1; i < count; i++)
        max = fmax(max, (double)x[i * ld]);
    for (int64_t i = 0; i < count; i++)
        sum += p[i] = exp((double)x[i * ld] - max);
    for (int64_t i = 0; i < count; i++)
        p[i] /= sum;
}

static double bound_of(const struct hy_op *op, const double *p)
{
    double sum = 0;
    for (int i = 1; i <= layer_of(op); i++)
        sum += p[i];
    return sum;
}

static size_t lower_bound_scratch(const struct hy_op *op)
{
    return (size_t)op->in[0]->rows * sizeof(double);
}

static void lower_bound_forward(const struct hy_op *op, int r)
{
    const struct hy_tensor *logits = op->in[0];
    const hy_real *x = hy_real_data(logits, r);
    hy_real *y = hy_real_data(op->out[0], r);
    double *p = hy_data(op->scratch, r);
    for (int64_t c = 0; c < logits->cols; c++) {
        softmax_column(x + c, logits->ld, logits->rows, p);
        y[c] = (hy_real)bound_of(op, p);
    }
}

static void lower_bound_backward(const struct hy_op *op, int r)
{
    const struct hy_tensor *logits = op->in[0];
    const struct hy_rows dx = hy_rows_din(op, 0, r, NULL);
    const hy_real *x = hy_real_data(logits, r), *dy = hy_real_data(op->dout[0], r);
    double *p = hy_data(op->scratch, r);
    for (int64_t c = 0; c < logits->cols; c++) {
        softmax_column(x + c, logits->ld, logits->rows, p);
        const double bound = bound_of(op, p);
        for (int64_t i = 0; i < logits->rows; i++) {
            const double counted = i > 0 && i <= layer_of(op);
            hy_real *to = hy_row(&dx, i) + c;
            *to = (dx.add ? *to : 0) + (hy_real)((double)dy[c] * p[i] * (counted - bound));
        }
    }
}

static void lower_bound_cost(const struct hy_op *op, struct hy_cost *cost)
{
    const double layers = (double)op->in[0]->rows;
    hy_cost_elementwise(op, 3 * layers, 6 * layers, cost);
}

static int lower_bound_example(struct hy_graph *g, int index)
{
    if (index > 2)
        return 0;
    hy_lower_bound(g, hy_graph_leaf(g, "logits", 3, 4, -2, 2), index);
    return 1;
}

const struct hy_op_kind hy_op_lower_bound = {
    .name = "lower_bound",
    .forward = lower_bound_forward,
    .backward = lower_bound_backward,
    .cost = lower_bound_cost,
    .scratch = lower_bound_scratch,
    .backward_in = 1u << 0,
    .example = lower_bound_example,
};

struct hy_tensor *hy_lower_bound(struct hy_graph *g, struct hy_tensor *logits, int layer)
{
    if (!logits)
        return NULL;
    if (layer < 0 || layer >= logits->rows)
        return hy_graph_fail(g, "lower_bound: layer %d of %lld", layer, (long long)logits->rows);
    return hy_record(g, &hy_op_lower_bound, 1, &logits, 1, logits->cols, &layer, sizeof layer);
}
