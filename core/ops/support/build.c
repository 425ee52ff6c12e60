#include "core/ops/support/build.h"

#include <stdio.h>
#include <stdlib.h>

int hy_has_shape(struct hy_graph *g, const char *op, const char *what, const struct hy_tensor *t,
                 int64_t rows, int64_t cols)
{
    if (t->rows == rows && t->cols == cols)
        return 1;
    hy_graph_fail(g, "%s: %s is [%lld, %lld], not [%lld, %lld]", op, what, (long long)t->rows,
                  (long long)t->cols, (long long)rows, (long long)cols);
    return 0;
}

struct hy_tensor *hy_record(struct hy_graph *g, const struct hy_op_kind *kind, int inputs,
                            struct hy_tensor *const *in, int64_t rows, int64_t cols,
                            const void *attr, size_t size)
{
    struct hy_tensor *y = hy_graph_tensor(g, rows, cols);
    return y && hy_graph_op(g, kind, inputs, in, 1, &y, attr, size) ? y : NULL;
}

static double bytes_of(const struct hy_tensor *t)
{
    return t ? (double)(t->rows * t->cols) * (double)hy_element_bytes(t) : 0;
}

double hy_op_bytes(const struct hy_op *op)
{
    const int backward = op->pass == HY_BACKWARD;
    const struct hy_op_kind *kind = op->kind;
    double sum = 0;
    for (int i = 0; i < op->inputs; i++) {
        if (!backward || kind->backward_in >> i & 1)
            sum += bytes_of(hy_operand(op, i));
        sum += bytes_of(op->din[i]) * (1 + hy_adds(op, i));
    }
    for (int i = 0; i < op->outputs; i++) {
        if (!backward || kind->backward_is_forward || kind->backward_out >> i & 1)
            sum += bytes_of(op->out[i]);
        sum += bytes_of(op->dout[i]);
    }
    return sum;
}

void hy_cost_elementwise(const struct hy_op *op, double forward, double backward,
                         struct hy_cost *cost)
{
    const double elements = (double)(op->out[0]->rows * op->out[0]->cols);
    cost->flops = elements * (op->pass == HY_FORWARD ? forward : backward);
    cost->bytes = hy_op_bytes(op);
}

void hy_check_index(const char *op, int64_t index, int64_t count)
{
    if (index >= 0 && index < count)
        return;
    fprintf(stderr, "%s: index %lld is not in [0, %lld)\n", op, (long long)index, (long long)count);
    abort();
}
