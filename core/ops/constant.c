#include "core/ops/constant.h"

#include "core/ops/support/attr.h"

static void constant_forward(const struct hy_op *op, int r)
{
    const struct hy_constant_attr *s = op->attr;
    const struct hy_tensor *y = op->out[0];
    hy_real *data = hy_real_data(y, r);
    for (int64_t k = 0; k < y->rows * y->cols; k++)
        data[k] = (hy_real)s->value(k, s->a);
}

static void constant_cost(const struct hy_op *op, struct hy_cost *cost)
{
    cost->bytes = (double)(op->out[0]->rows * op->out[0]->cols) * sizeof(hy_real);
}

const struct hy_op_kind hy_op_constant = {
    .name = "constant",
    .forward = constant_forward,
    .cost = constant_cost,
};

struct hy_tensor *hy_constant(struct hy_graph *g, int64_t rows, int64_t cols,
                              double (*value)(int64_t k, double a), double a)
{
    const struct hy_constant_attr attr = {value, a};
    struct hy_tensor *y = hy_graph_tensor(g, rows, cols);
    if (!y || !hy_graph_op(g, &hy_op_constant, 0, NULL, 1, &y, &attr, sizeof attr))
        return NULL;
    return y;
}
