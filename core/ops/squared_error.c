#include "core/ops/squared_error.h"

#include "core/ops/support/build.h"
#include "core/ops/support/rows.h"

static void squared_error_forward(const struct hy_op *op, int r)
{
    const struct hy_rows a = hy_rows_of(op->in[0], r), b = hy_rows_of(op->in[1], r);
    const struct hy_rows y = hy_rows_of(op->out[0], r);
    for (int64_t i = 0; i < a.rows; i++) {
        const hy_real *ai = hy_row(&a, i), *bi = hy_row(&b, i);
        hy_real sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t c = 0; c < a.cols; c++)
            sum += (ai[c] - bi[c]) * (ai[c] - bi[c]);
        *hy_row(&y, i) = sum / (hy_real)a.cols;
    }
}

/* d y_i / d a_ic = 2/cols (a_ic - b_ic), and of b the opposite. */
static void squared_error_backward(const struct hy_op *op, int r)
{
    const struct hy_rows a = hy_rows_of(op->in[0], r), b = hy_rows_of(op->in[1], r);
    const struct hy_rows dy = hy_rows_of(op->dout[0], r);
    for (int k = 0; k < 2; k++) {
        const struct hy_rows d = hy_rows_din(op, k, r, NULL);
        for (int64_t i = 0; d.data && i < a.rows; i++) {
            const hy_real *ai = hy_row(&a, i), *bi = hy_row(&b, i);
            const hy_real slope = (k ? -2 : 2) / (hy_real)a.cols * *hy_row(&dy, i);
            hy_real *di = hy_row(&d, i);
#pragma omp simd
            for (int64_t c = 0; c < a.cols; c++)
                di[c] = (d.add ? di[c] : 0) + slope * (ai[c] - bi[c]);
        }
    }
}

static void squared_error_cost(const struct hy_op *op, struct hy_cost *cost)
{
    const double elements = (double)(op->in[0]->rows * op->in[0]->cols);
    cost->flops = 3 * elements;
    cost->bytes = hy_op_bytes(op);
}

static int squared_error_example(struct hy_graph *g, int index)
{
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    const int64_t cols = index ? 8 : 5;
    struct hy_tensor *views[2];
    if (index > 1)
        return 0;
    hy_graph_split(g, hy_graph_leaf(g, "ab", rows, 2 * cols, -1, 1), 2, (int64_t[]){cols, cols},
                   views);
    hy_squared_error(g, views[0], views[1]);
    return 1;
}

const struct hy_op_kind hy_op_squared_error = {
    .name = "squared_error",
    .forward = squared_error_forward,
    .backward = squared_error_backward,
    .cost = squared_error_cost,
    .backward_in = 1u << 0 | 1u << 1,
    .example = squared_error_example,
};

struct hy_tensor *hy_squared_error(struct hy_graph *g, struct hy_tensor *a, struct hy_tensor *b)
{
    if (!a || !b || !hy_has_shape(g, "squared_error", "b", b, a->rows, a->cols))
        return NULL;
    return hy_record(g, &hy_op_squared_error, 2, (struct hy_tensor *[]){a, b}, a->rows, 1, NULL, 0);
}
