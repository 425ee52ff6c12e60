#include "core/ops/constant.h"

#include "core/ops/support/attr.h"

static void constant_forward(const struct hy_op *op, int r)
{
    const struct hy_constant_attr *s = op->attr;
    const struct hy_tensor *y = op->out[0];
    void *data = hy_data(y, r);
    for (int64_t k = 0; k < y->rows * y->cols; k++)
        if (y->dtype == HY_INT32)
            ((int32_t *)data)[k] = (int32_t)s->value(k, s->a);
        else
            ((hy_real *)data)[k] = (hy_real)s->value(k, s->a);
}

static void constant_cost(const struct hy_op *op, struct hy_cost *cost)
{
    const struct hy_tensor *y = op->out[0];
    cost->bytes = (double)(y->rows * y->cols) * (double)hy_element_bytes(y);
}

const struct hy_op_kind hy_op_constant = {
    .name = "constant",
    .forward = constant_forward,
    .cost = constant_cost,
};

static struct hy_tensor *record(struct hy_graph *g, enum hy_dtype dtype, int64_t rows, int64_t cols,
                                double (*value)(int64_t k, double a), double a)
{
    const struct hy_constant_attr attr = {value, a};
    struct hy_tensor *y = hy_graph_tensor_of(g, dtype, rows, cols);
    if (!y || !hy_graph_op(g, &hy_op_constant, 0, NULL, 1, &y, &attr, sizeof attr))
        return NULL;
    return y;
}

struct hy_tensor *hy_constant(struct hy_graph *g, int64_t rows, int64_t cols,
                              double (*value)(int64_t k, double a), double a)
{
    return record(g, HY_REAL, rows, cols, value, a);
}

struct hy_tensor *hy_constant_index(struct hy_graph *g, int64_t rows,
                                    double (*value)(int64_t k, double a), double a)
{
    return record(g, HY_INT32, rows, 1, value, a);
}
