#include "core/ops/forget_gate.h"

#include "core/ops/support/build.h"
#include "core/ops/support/rows.h"
#include "core/ops/support/vec.h"

/* Per column: log b, 1 - b and its logarithm. */
struct bounds {
    hy_real *low, *room, *log_room;
};

static struct bounds bounds_of(const struct hy_op *op, int r)
{
    const hy_real *bound = hy_real_data(op->in[1], r);
    const int64_t cols = op->in[0]->cols;
    hy_real *scratch = hy_real_data(op->scratch, r);
    struct bounds b = {scratch, scratch + cols, scratch + 2 * cols};
    for (int64_t c = 0; c < cols; c++) {
        b.low[c] = bound ? (hy_real)log((double)bound[c]) : -INFINITY;
        b.room[c] = bound ? 1 - bound[c] : 1;
        b.log_room[c] = (hy_real)log((double)b.room[c]);
    }
    return b;
}

/* log(e^a + e^b), b finite. */
static inline hy_real log_add(hy_real a, hy_real b)
{
    const hy_real high = a > b ? a : b, low = a > b ? b : a;
    return high + hy_log1p_unit(hy_exp(low - high));
}

static void forget_gate_forward(const struct hy_op *op, int r)
{
    const struct hy_rows x = hy_rows_of(op->in[0], r);
    const struct hy_rows keep = hy_rows_of(op->out[0], r), input = hy_rows_of(op->out[1], r);
    const struct bounds b = bounds_of(op, r);
    for (int64_t i = 0; i < op->in[0]->rows; i++) {
        const hy_real *xi = hy_row(&x, i);
        hy_real *ki = hy_row(&keep, i), *ii = hy_row(&input, i);
#pragma omp simd
        for (int64_t c = 0; c < op->in[0]->cols; c++) {
            ki[c] = log_add(b.low[c], b.log_room[c] + hy_log_sigmoid(xi[c]));
            ii[c] = b.room[c] * hy_sigmoid(-xi[c]);
        }
    }
}

static size_t forget_gate_scratch(const struct hy_op *op)
{
    /* Bounds; backward: the bound's gradient, a row that nobody wants, a row of zeros. */
    return (op->pass == HY_BACKWARD ? 6 : 3) * (size_t)op->in[0]->cols * sizeof(hy_real);
}

static struct hy_rows gradient_of(const struct hy_op *op, int i, int r, hy_real *zeros)
{
    return op->dout[i] ? hy_rows_of(op->dout[i], r) : (struct hy_rows){.data = zeros};
}

static void forget_gate_backward(const struct hy_op *op, int r)
{
    const int64_t cols = op->in[0]->cols;
    hy_real *sums = hy_real_data(op->scratch, r) + 3 * cols, *spare = sums + cols;
    hy_real *zeros = spare + cols;
    const struct hy_rows x = hy_rows_of(op->in[0], r), dx = hy_rows_din(op, 0, r, spare);
    const struct hy_rows keep = hy_rows_of(op->out[0], r), input = hy_rows_of(op->out[1], r);
    const struct hy_rows dkeep = gradient_of(op, 0, r, zeros);
    const struct hy_rows dinput = gradient_of(op, 1, r, zeros);
    const struct bounds b = bounds_of(op, r);
    memset(sums, 0, (size_t)cols * sizeof *sums);
    memset(zeros, 0, (size_t)cols * sizeof *zeros);
    for (int64_t i = 0; i < op->in[0]->rows; i++) {
        const hy_real *xi = hy_row(&x, i), *ki = hy_row(&keep, i), *ii = hy_row(&input, i);
        const hy_real *dki = hy_row(&dkeep, i), *dii = hy_row(&dinput, i);
        hy_real *dxi = hy_row(&dx, i);
#pragma omp simd
        for (int64_t c = 0; c < cols; c++) {
            /* sigmoid / f as one exponential: both may underflow. */
            const hy_real share = hy_exp(hy_log_sigmoid(xi[c]) - ki[c]);
            const hy_real d = dki[c] * share - dii[c] * hy_sigmoid(xi[c]);
            dxi[c] = (dx.add ? dxi[c] : 0) + ii[c] * d;
            sums[c] += ii[c] / b.room[c] * (dki[c] * hy_exp(-ki[c]) - dii[c]);
        }
    }
    if (op->in[1])
        hy_fold_din(op, 1, r, sums);
}

static void forget_gate_cost(const struct hy_op *op, struct hy_cost *cost)
{
    hy_cost_elementwise(op, 12, 24, cost);
}

static int forget_gate_example(struct hy_graph *g, int index)
{
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    struct hy_tensor *views[2], *input;
    if (index > 1)
        return 0;
    hy_graph_split(g, hy_graph_leaf(g, "x", rows, 5, -3, 3), 2, (int64_t[]){2, 3}, views);
    hy_forget_gate(g, views[1], index ? hy_graph_leaf(g, "bound", 1, 3, 0.1, 0.9) : NULL, &input);
    return 1;
}

const struct hy_op_kind hy_op_forget_gate = {
    .name = "forget_gate",
    .forward = forget_gate_forward,
    .backward = forget_gate_backward,
    .cost = forget_gate_cost,
    .scratch = forget_gate_scratch,
    .backward_in = 1u << 0 | 1u << 1,
    .backward_out = 1u << 0 | 1u << 1,
    .example = forget_gate_example,
};

struct hy_tensor *hy_forget_gate(struct hy_graph *g, struct hy_tensor *x, struct hy_tensor *bound,
                                 struct hy_tensor **input)
{
    *input = NULL;
    if (!x || (bound && !hy_has_shape(g, "forget_gate", "the bound", bound, 1, x->cols)))
        return NULL;
    struct hy_tensor *out[] = {hy_graph_tensor(g, x->rows, x->cols),
                               hy_graph_tensor(g, x->rows, x->cols)};
    if (!out[1] ||
        !hy_graph_op(g, &hy_op_forget_gate, 2, (struct hy_tensor *[]){x, bound}, 2, out, NULL, 0))
        return NULL;
    *input = out[1];
    return out[0];
}
