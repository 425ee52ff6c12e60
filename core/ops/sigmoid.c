#include "core/ops/sigmoid.h"

#include "core/ops/support/build.h"
#include "core/ops/support/tile.h"
#include "core/ops/support/vec.h"

static hy_real scale_of(const struct hy_op *op)
{
    return (hy_real) * (const double *)op->attr;
}

static void sigmoid_forward(const struct hy_op *op, int r)
{
    const struct hy_rows x = hy_rows_of(op->in[0], r), y = hy_rows_of(op->out[0], r);
    const hy_real scale = scale_of(op);
    hy_real v[HY_TILE_SIZE];
    for (struct hy_tile t = {0}; hy_tile_next(&t, op->in[0]->rows, op->in[0]->cols);) {
        hy_tile_load(&t, &x, v);
#pragma omp simd
        for (int64_t i = 0; i < hy_tile_size(&t); i++)
            v[i] = scale * hy_sigmoid(v[i]);
        hy_tile_store(&t, v, &y);
    }
}

static void sigmoid_backward(const struct hy_op *op, int r)
{
    const struct hy_rows y = hy_rows_of(op->out[0], r), dy = hy_rows_of(op->dout[0], r);
    const struct hy_rows dx = hy_rows_din(op, 0, r, NULL);
    const hy_real share = 1 / scale_of(op);
    hy_real v[HY_TILE_SIZE], d[HY_TILE_SIZE];
    for (struct hy_tile t = {0}; hy_tile_next(&t, op->in[0]->rows, op->in[0]->cols);) {
        hy_tile_load(&t, &y, v);
        hy_tile_load(&t, &dy, d);
#pragma omp simd
        for (int64_t i = 0; i < hy_tile_size(&t); i++)
            d[i] *= v[i] * (1 - v[i] * share);
        hy_tile_store(&t, d, &dx);
    }
}

static void sigmoid_cost(const struct hy_op *op, struct hy_cost *cost)
{
    hy_cost_elementwise(op, 4, 4, cost);
}

static int sigmoid_example(struct hy_graph *g, int index)
{
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    struct hy_tensor *views[2];
    if (index > 0)
        return 0;
    hy_graph_split(g, hy_graph_leaf(g, "x", rows, 5, -3, 3), 2, (int64_t[]){2, 3}, views);
    hy_sigmoid_of(g, views[1], 2);
    return 1;
}

const struct hy_op_kind hy_op_sigmoid = {
    .name = "sigmoid",
    .forward = sigmoid_forward,
    .backward = sigmoid_backward,
    .cost = sigmoid_cost,
    .backward_out = 1u << 0,
    .example = sigmoid_example,
};

struct hy_tensor *hy_sigmoid_of(struct hy_graph *g, struct hy_tensor *x, double scale)
{
    if (!x)
        return NULL;
    return hy_record(g, &hy_op_sigmoid, 1, &x, x->rows, x->cols, &scale, sizeof scale);
}
