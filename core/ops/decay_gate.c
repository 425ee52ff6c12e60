#include "core/ops/decay_gate.h"

#include "core/ops/support/build.h"
#include "core/ops/support/tile.h"
#include "core/ops/support/vec.h"

/* -exp(A_log), per column. */
static void fill_rates(const struct hy_op *op, int r, hy_real *rates)
{
    const hy_real *a_log = hy_real_data(op->in[1], r);
    const int64_t width = op->in[0]->cols / op->in[1]->cols;
    for (int64_t c = 0; c < op->in[0]->cols; c++)
        rates[c] = -hy_exp(a_log[c / width]);
}

static size_t decay_gate_scratch(const struct hy_op *op)
{
    return (op->pass == HY_BACKWARD ? 4 : 1) * (size_t)op->in[0]->cols * sizeof(hy_real);
}

static void decay_gate_forward(const struct hy_op *op, int r)
{
    const struct hy_rows x = hy_rows_of(op->in[0], r), y = hy_rows_of(op->out[0], r);
    const struct hy_rows bias = {.data = hy_real_data(op->in[2], r)};
    const struct hy_rows rates = {.data = hy_real_data(op->scratch, r)};
    hy_real v[HY_TILE_SIZE], b[HY_TILE_SIZE], a[HY_TILE_SIZE], dt[HY_TILE_SIZE];
    fill_rates(op, r, rates.data);
    for (struct hy_tile t = {0}; hy_tile_next(&t, op->in[0]->rows, op->in[0]->cols);) {
        hy_tile_load(&t, &x, v);
        hy_tile_load(&t, &bias, b);
        hy_tile_load(&t, &rates, a);
#pragma omp simd
        for (int64_t i = 0; i < hy_tile_size(&t); i++) {
            dt[i] = hy_softplus(v[i] + b[i]);
            v[i] = a[i] * dt[i];
        }
        hy_tile_store(&t, v, &y);
        if (op->out[1]) {
            const struct hy_rows step = hy_rows_of(op->out[1], r);
            hy_tile_store(&t, dt, &step);
        }
    }
}

static void load_gradient(const struct hy_op *op, int r, int i, const struct hy_tile *t,
                          hy_real *block)
{
    if (op->dout[i]) {
        const struct hy_rows from = hy_rows_of(op->dout[i], r);
        hy_tile_load(t, &from, block);
    } else {
        memset(block, 0, (size_t)hy_tile_size(t) * sizeof *block);
    }
}

static void decay_gate_backward(const struct hy_op *op, int r)
{
    const int64_t cols = op->in[0]->cols, width = cols / op->in[1]->cols;
    hy_real *scratch = hy_real_data(op->scratch, r);
    const struct hy_rows x = hy_rows_of(op->in[0], r);
    const struct hy_rows dx = hy_rows_din(op, 0, r, scratch + 3 * cols);
    const struct hy_rows bias = {.data = hy_real_data(op->in[2], r)}, rates = {.data = scratch};
    const struct hy_rows dbias = {.data = scratch + cols, .add = 1};
    const struct hy_rows da = {.data = scratch + 2 * cols, .add = 1};
    hy_real v[HY_TILE_SIZE], b[HY_TILE_SIZE], a[HY_TILE_SIZE], d[HY_TILE_SIZE], ddt[HY_TILE_SIZE];
    fill_rates(op, r, rates.data);
    memset(dbias.data, 0, 2 * (size_t)cols * sizeof *scratch);
    for (struct hy_tile t = {0}; hy_tile_next(&t, op->in[0]->rows, cols);) {
        hy_tile_load(&t, &x, v);
        hy_tile_load(&t, &bias, b);
        hy_tile_load(&t, &rates, a);
        load_gradient(op, r, 0, &t, d);
        load_gradient(op, r, 1, &t, ddt);
#pragma omp simd
        for (int64_t i = 0; i < hy_tile_size(&t); i++) {
            const hy_real z = v[i] + b[i];
            v[i] = (d[i] * a[i] + ddt[i]) * hy_sigmoid(z);
            a[i] = d[i] * a[i] * hy_softplus(z);
        }
        hy_tile_store(&t, v, &dx);
        hy_tile_store(&t, v, &dbias);
        hy_tile_store(&t, a, &da);
    }
    hy_fold_din(op, 2, r, dbias.data);
    for (int64_t h = 0; h < op->in[1]->cols; h++) {
        hy_real sum = 0;
        for (int64_t c = 0; c < width; c++)
            sum += da.data[h * width + c];
        da.data[h] = sum;
    }
    hy_fold_din(op, 1, r, da.data);
}

static void decay_gate_cost(const struct hy_op *op, struct hy_cost *cost)
{
    hy_cost_elementwise(op, 6, 14, cost);
}

static int decay_gate_example(struct hy_graph *g, int index)
{
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    struct hy_tensor *views[2], *dt;
    if (index > 1)
        return 0;
    hy_graph_split(g, hy_graph_leaf(g, "x", rows, 8, -3, 3), 2, (int64_t[]){2, 6}, views);
    hy_decay_gate(g, views[1], hy_graph_leaf(g, "a_log", 1, index ? 2 : 6, -1, 1),
                  hy_graph_leaf(g, "dt_bias", 1, 6, -1, 1), index ? &dt : NULL);
    return 1;
}

const struct hy_op_kind hy_op_decay_gate = {
    .name = "decay_gate",
    .forward = decay_gate_forward,
    .backward = decay_gate_backward,
    .cost = decay_gate_cost,
    .scratch = decay_gate_scratch,
    .backward_in = 1u << 0 | 1u << 1 | 1u << 2,
    .example = decay_gate_example,
};

struct hy_tensor *hy_decay_gate(struct hy_graph *g, struct hy_tensor *x, struct hy_tensor *a_log,
                                struct hy_tensor *dt_bias, struct hy_tensor **dt)
{
    if (dt)
        *dt = NULL;
    if (!x || !a_log || !dt_bias || !hy_has_shape(g, "decay_gate", "dt_bias", dt_bias, 1, x->cols))
        return NULL;
    if (a_log->rows != 1 || x->cols % a_log->cols)
        return hy_graph_fail(g, "decay_gate: %lld columns are no heads of A_log [%lld, %lld]",
                             (long long)x->cols, (long long)a_log->rows, (long long)a_log->cols);
    struct hy_tensor *out[] = {hy_graph_tensor(g, x->rows, x->cols),
                               dt ? hy_graph_tensor(g, x->rows, x->cols) : NULL};
    if (!out[0] || (dt && !out[1]) ||
        !hy_graph_op(g, &hy_op_decay_gate, 3, (struct hy_tensor *[]){x, a_log, dt_bias}, 2, out,
                     NULL, 0))
        return NULL;
    if (dt)
        *dt = out[1];
    return out[0];
}
