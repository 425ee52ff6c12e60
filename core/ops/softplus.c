#include "core/ops/softplus.h"

#include "core/ops/support/build.h"
#include "core/ops/support/tile.h"
#include "core/ops/support/vec.h"

static void softplus_forward(const struct hy_op *op, int r)
{
    const struct hy_rows x = hy_rows_of(op->in[0], r), y = hy_rows_of(op->out[0], r);
    const struct hy_rows weights = {.data = hy_real_data(op->in[1], r)};
    hy_real v[HY_TILE_SIZE], w[HY_TILE_SIZE];
    for (struct hy_tile t = {0}; hy_tile_next(&t, op->in[0]->rows, op->in[0]->cols);) {
        hy_tile_load(&t, &x, v);
        hy_tile_load(&t, &weights, w);
#pragma omp simd
        for (int64_t i = 0; i < hy_tile_size(&t); i++)
            v[i] = hy_softplus(w[i] * v[i]);
        hy_tile_store(&t, v, &y);
    }
}

static size_t softplus_scratch(const struct hy_op *op)
{
    return op->pass == HY_BACKWARD ? 2 * (size_t)op->in[0]->cols * sizeof(hy_real) : 0;
}

static void softplus_backward(const struct hy_op *op, int r)
{
    const int64_t cols = op->in[0]->cols;
    hy_real *sums = hy_real_data(op->scratch, r);
    const struct hy_rows x = hy_rows_of(op->in[0], r), dy = hy_rows_of(op->dout[0], r);
    const struct hy_rows dx = hy_rows_din(op, 0, r, sums + cols);
    const struct hy_rows weights = {.data = hy_real_data(op->in[1], r)};
    const struct hy_rows dw = {.data = sums, .add = 1};
    hy_real v[HY_TILE_SIZE], w[HY_TILE_SIZE], d[HY_TILE_SIZE];
    memset(sums, 0, (size_t)cols * sizeof *sums);
    for (struct hy_tile t = {0}; hy_tile_next(&t, op->in[0]->rows, cols);) {
        hy_tile_load(&t, &x, v);
        hy_tile_load(&t, &weights, w);
        hy_tile_load(&t, &dy, d);
#pragma omp simd
        for (int64_t i = 0; i < hy_tile_size(&t); i++) {
            d[i] *= hy_sigmoid(w[i] * v[i]);
            v[i] *= d[i];
            w[i] *= d[i];
        }
        hy_tile_store(&t, w, &dx);
        hy_tile_store(&t, v, &dw);
    }
    hy_fold_din(op, 1, r, sums);
}

static void softplus_cost(const struct hy_op *op, struct hy_cost *cost)
{
    hy_cost_elementwise(op, 6, 8, cost);
}

static int softplus_example(struct hy_graph *g, int index)
{
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    struct hy_tensor *views[2];
    if (index > 1)
        return 0;
    hy_graph_split(g, hy_graph_leaf(g, "x", rows, 8, -3, 3), 2, (int64_t[]){2, 6}, views);
    hy_softplus_of(g, views[1], hy_graph_leaf(g, "w", index ? 2 : 1, index ? 3 : 6, -1, 2));
    return 1;
}

const struct hy_op_kind hy_op_softplus = {
    .name = "softplus",
    .forward = softplus_forward,
    .backward = softplus_backward,
    .cost = softplus_cost,
    .scratch = softplus_scratch,
    .backward_in = 1u << 0 | 1u << 1,
    .example = softplus_example,
};

struct hy_tensor *hy_softplus_of(struct hy_graph *g, struct hy_tensor *x, struct hy_tensor *w)
{
    if (!x || !w)
        return NULL;
    if (w->rows * w->cols != x->cols)
        return hy_graph_fail(g, "softplus: %lld weights for %lld columns",
                             (long long)(w->rows * w->cols), (long long)x->cols);
    return hy_record(g, &hy_op_softplus, 2, (struct hy_tensor *[]){x, w}, x->rows, x->cols, NULL,
                     0);
}
