#include "core/ops/gate.h"

#include "core/ops/support/build.h"
#include "core/ops/support/rows.h"
#include "core/ops/support/vec.h"

static enum hy_gate kind_of(const struct hy_op *op)
{
    return *(const enum hy_gate *)op->attr;
}

/* These loops vectorise where kind is a constant, so each is made once per kind. */
static inline __attribute__((always_inline)) hy_real activate(enum hy_gate kind, hy_real x)
{
    if (kind == HY_GATE_PLAIN)
        return x;
    return kind == HY_GATE_SILU ? hy_silu(x) : hy_sigmoid(x);
}

static inline __attribute__((always_inline)) hy_real slope_of(enum hy_gate kind, hy_real x)
{
    if (kind == HY_GATE_PLAIN)
        return 1;
    const hy_real s = hy_sigmoid(x);
    return kind == HY_GATE_SILU ? hy_silu_slope(x, s) : s * (1 - s);
}

static inline __attribute__((always_inline)) void
forward_by_element(enum hy_gate kind, int64_t n, const hy_real *x, const hy_real *gate, hy_real *y)
{
#pragma omp simd
    for (int64_t c = 0; c < n; c++)
        y[c] = x[c] * activate(kind, gate[c]);
}

static inline __attribute__((always_inline)) void
backward_by_element(enum hy_gate kind, int64_t n, const hy_real *x, const hy_real *gate,
                    const hy_real *dy, int add_x, hy_real *dx, int add_gate, hy_real *dgate)
{
#pragma omp simd
    for (int64_t c = 0; c < n; c++) {
        const hy_real d = dy[c] * activate(kind, gate[c]);
        const hy_real dg = dy[c] * x[c] * slope_of(kind, gate[c]);
        dx[c] = (add_x ? dx[c] : 0) + d;
        dgate[c] = (add_gate ? dgate[c] : 0) + dg;
    }
}

static void gate_forward(const struct hy_op *op, int r)
{
    const struct hy_rows x = hy_rows_of(op->in[0], r), gate = hy_rows_of(op->in[1], r);
    const struct hy_rows y = hy_rows_of(op->out[0], r);
    const int64_t heads = op->in[1]->cols, width = op->in[0]->cols / heads;
    const enum hy_gate kind = kind_of(op);
    for (int64_t i = 0; i < op->in[0]->rows; i++) {
        const hy_real *xi = hy_row(&x, i), *gi = hy_row(&gate, i);
        hy_real *yi = hy_row(&y, i);
        hy_row_fetch(&x, i);
        hy_row_fetch(&gate, i);
        if (width == 1 && kind == HY_GATE_SILU)
            forward_by_element(HY_GATE_SILU, heads, xi, gi, yi);
        else if (width == 1 && kind == HY_GATE_SIGMOID)
            forward_by_element(HY_GATE_SIGMOID, heads, xi, gi, yi);
        else if (width == 1)
            forward_by_element(HY_GATE_PLAIN, heads, xi, gi, yi);
        for (int64_t h = 0; width > 1 && h < heads; h++) {
            const hy_real a = activate(kind, gi[h]);
#pragma omp simd
            for (int64_t c = h * width; c < (h + 1) * width; c++)
                yi[c] = xi[c] * a;
        }
    }
}

static size_t gate_scratch(const struct hy_op *op)
{
    return op->pass == HY_BACKWARD ? (size_t)op->in[0]->cols * sizeof(hy_real) : 0;
}

static void gate_backward(const struct hy_op *op, int r)
{
    hy_real *spare = hy_real_data(op->scratch, r);
    const struct hy_rows x = hy_rows_of(op->in[0], r), gate = hy_rows_of(op->in[1], r);
    const struct hy_rows dy = hy_rows_of(op->dout[0], r);
    const struct hy_rows dx = hy_rows_din(op, 0, r, spare), dgate = hy_rows_din(op, 1, r, spare);
    const int64_t heads = op->in[1]->cols, width = op->in[0]->cols / heads;
    const enum hy_gate kind = kind_of(op);
    for (int64_t i = 0; i < op->in[0]->rows; i++) {
        const hy_real *xi = hy_row(&x, i), *gi = hy_row(&gate, i), *dyi = hy_row(&dy, i);
        hy_real *dxi = hy_row(&dx, i), *dgi = hy_row(&dgate, i);
        hy_row_fetch(&x, i);
        hy_row_fetch(&gate, i);
        hy_row_fetch(&dx, i);
        hy_row_fetch(&dgate, i);
        if (width == 1 && kind == HY_GATE_SILU)
            backward_by_element(HY_GATE_SILU, heads, xi, gi, dyi, dx.add, dxi, dgate.add, dgi);
        else if (width == 1 && kind == HY_GATE_SIGMOID)
            backward_by_element(HY_GATE_SIGMOID, heads, xi, gi, dyi, dx.add, dxi, dgate.add, dgi);
        else if (width == 1)
            backward_by_element(HY_GATE_PLAIN, heads, xi, gi, dyi, dx.add, dxi, dgate.add, dgi);
        for (int64_t h = 0; width > 1 && h < heads; h++) {
            const hy_real a = activate(kind, gi[h]), slope = slope_of(kind, gi[h]);
            hy_real sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int64_t c = h * width; c < (h + 1) * width; c++) {
                sum += dyi[c] * xi[c];
                dxi[c] = (dx.add ? dxi[c] : 0) + dyi[c] * a;
            }
            dgi[h] = (dgate.add ? dgi[h] : 0) + sum * slope;
        }
    }
}

static void gate_cost(const struct hy_op *op, struct hy_cost *cost)
{
    hy_cost_elementwise(op, 5, 12, cost);
}

static int gate_example(struct hy_graph *g, int index)
{
    static const struct {
        int heads, width;
        enum hy_gate kind;
    } cases[] = {{3, 1, HY_GATE_SILU}, {2, 3, HY_GATE_SIGMOID}, {2, 3, HY_GATE_PLAIN}};
    if (index >= (int)(sizeof cases / sizeof *cases))
        return 0;
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    const int64_t heads = cases[index].heads, cols = heads * cases[index].width;
    struct hy_tensor *views[2];
    hy_graph_split(g, hy_graph_leaf(g, "x", rows, cols + heads, -3, 3), 2, (int64_t[]){heads, cols},
                   views);
    hy_gated(g, views[1], views[0], cases[index].kind);
    return 1;
}

const struct hy_op_kind hy_op_gate = {
    .name = "gate",
    .forward = gate_forward,
    .backward = gate_backward,
    .cost = gate_cost,
    .scratch = gate_scratch,
    .backward_in = 1u << 0 | 1u << 1,
    .example = gate_example,
};

struct hy_tensor *hy_gated(struct hy_graph *g, struct hy_tensor *x, struct hy_tensor *gate,
                           enum hy_gate activation)
{
    if (!x || !gate)
        return NULL;
    if (gate->rows != x->rows || x->cols % gate->cols)
        return hy_graph_fail(g, "gate: [%lld, %lld] has no head for each gate of [%lld, %lld]",
                             (long long)x->rows, (long long)x->cols, (long long)gate->rows,
                             (long long)gate->cols);
    return hy_record(g, &hy_op_gate, 2, (struct hy_tensor *[]){x, gate}, x->rows, x->cols,
                     &activation, sizeof activation);
}
