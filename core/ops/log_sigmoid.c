#include "core/ops/log_sigmoid.h"

#include "core/ops/support/build.h"
#include "core/ops/support/tile.h"
#include "core/ops/support/vec.h"

static hy_real share_of(const struct hy_op *op)
{
    return (hy_real)(1 / *(const double *)op->attr);
}

/* A tile of x + bias. */
static void load_biased(const struct hy_op *op, int r, const struct hy_tile *t, hy_real *v)
{
    const struct hy_rows x = hy_rows_of(op->in[0], r);
    hy_tile_load(t, &x, v);
    const hy_real *bias = hy_real_data(op->in[1], r);
    for (int64_t i = 0; bias && i < t->rows; i++)
        for (int64_t c = 0; c < t->cols; c++)
            v[i * t->cols + c] += bias[t->col + c];
}

static void log_sigmoid_forward(const struct hy_op *op, int r)
{
    const struct hy_rows y = hy_rows_of(op->out[0], r);
    const hy_real share = share_of(op);
    hy_real v[HY_TILE_SIZE];
    for (struct hy_tile t = {0}; hy_tile_next(&t, op->in[0]->rows, op->in[0]->cols);) {
        load_biased(op, r, &t, v);
#pragma omp simd
        for (int64_t i = 0; i < hy_tile_size(&t); i++)
            v[i] = share * hy_log_sigmoid(v[i]);
        hy_tile_store(&t, v, &y);
    }
}

static size_t log_sigmoid_scratch(const struct hy_op *op)
{
    return op->pass == HY_BACKWARD ? 2 * (size_t)op->in[0]->cols * sizeof(hy_real) : 0;
}

static void log_sigmoid_backward(const struct hy_op *op, int r)
{
    const int64_t cols = op->in[0]->cols;
    hy_real *sums = hy_real_data(op->scratch, r);
    const struct hy_rows dy = hy_rows_of(op->dout[0], r);
    const struct hy_rows dx = hy_rows_din(op, 0, r, sums + cols);
    const struct hy_rows dbias = {.data = sums, .add = 1};
    const hy_real share = share_of(op);
    hy_real v[HY_TILE_SIZE], d[HY_TILE_SIZE];
    memset(sums, 0, (size_t)cols * sizeof *sums);
    for (struct hy_tile t = {0}; hy_tile_next(&t, op->in[0]->rows, cols);) {
        load_biased(op, r, &t, v);
        hy_tile_load(&t, &dy, d);
#pragma omp simd
        for (int64_t i = 0; i < hy_tile_size(&t); i++)
            d[i] *= share * hy_sigmoid(-v[i]);
        hy_tile_store(&t, d, &dx);
        if (op->in[1])
            hy_tile_store(&t, d, &dbias);
    }
    if (op->in[1])
        hy_fold_din(op, 1, r, sums);
}

static void log_sigmoid_cost(const struct hy_op *op, struct hy_cost *cost)
{
    hy_cost_elementwise(op, 6, 7, cost);
}

static int log_sigmoid_example(struct hy_graph *g, int index)
{
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    struct hy_tensor *views[2];
    if (index > 1)
        return 0;
    hy_graph_split(g, hy_graph_leaf(g, "x", rows, 5, -3, 3), 2, (int64_t[]){2, 3}, views);
    hy_log_sigmoid_of(g, views[1], index ? NULL : hy_graph_leaf(g, "bias", 1, 3, -1, 1), 16);
    return 1;
}

const struct hy_op_kind hy_op_log_sigmoid = {
    .name = "log_sigmoid",
    .forward = log_sigmoid_forward,
    .backward = log_sigmoid_backward,
    .cost = log_sigmoid_cost,
    .scratch = log_sigmoid_scratch,
    .backward_in = 1u << 0 | 1u << 1,
    .example = log_sigmoid_example,
};

struct hy_tensor *hy_log_sigmoid_of(struct hy_graph *g, struct hy_tensor *x, struct hy_tensor *bias,
                                    double divisor)
{
    if (!x || (bias && !hy_has_shape(g, "log_sigmoid", "the bias", bias, 1, x->cols)))
        return NULL;
    return hy_record(g, &hy_op_log_sigmoid, 2, (struct hy_tensor *[]){x, bias}, x->rows, x->cols,
                     &divisor, sizeof divisor);
}
