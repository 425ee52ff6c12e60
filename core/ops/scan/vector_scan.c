#include "core/ops/scan/vector_scan.h"

#include "core/ops/support/build.h"
#include "core/ops/support/rows.h"
#include "core/ops/support/vec.h"

enum { X, DECAY, H0, INPUTS };
enum { H, HT, OUTPUTS };

/* scratch: a row of zeros, a row that nobody wants, and in backward the gradient that comes from
 * later tokens. */
static size_t vector_scan_scratch(const struct hy_op *op)
{
    return 3 * (size_t)op->in[X]->cols * sizeof(hy_real);
}

static const hy_real *state_before(const struct hy_op *op, int r, int64_t sequence, int64_t token,
                                   hy_real *zeros)
{
    const struct hy_rows h = hy_rows_of(op->out[H], r);
    if (token > 0)
        return hy_row(&h, sequence * op->graph->shape.tokens + token - 1);
    if (op->in[H0]) {
        const struct hy_rows h0 = hy_rows_of(op->in[H0], r);
        return hy_row(&h0, sequence);
    }
    memset(zeros, 0, (size_t)op->in[X]->cols * sizeof *zeros);
    return zeros;
}

static void vector_scan_forward(const struct hy_op *op, int r)
{
    const struct hy_rows x = hy_rows_of(op->in[X], r), g = hy_rows_of(op->in[DECAY], r);
    const struct hy_rows h = hy_rows_of(op->out[H], r);
    const int64_t tokens = op->graph->shape.tokens, cols = op->in[X]->cols;
    hy_real *zeros = hy_real_data(op->scratch, r);
    for (int64_t row = 0; row < op->in[X]->rows; row++) {
        const hy_real *before = state_before(op, r, row / tokens, row % tokens, zeros);
        const hy_real *in = hy_row(&x, row), *decay = hy_row(&g, row);
        hy_real *out = hy_row(&h, row);
#pragma omp simd
        for (int64_t c = 0; c < cols; c++)
            out[c] = hy_exp(decay[c]) * before[c] + in[c];
        if (op->out[HT] && row % tokens == tokens - 1) {
            const struct hy_rows ht = hy_rows_of(op->out[HT], r);
            memcpy(hy_row(&ht, row / tokens), out, (size_t)cols * sizeof *out);
        }
    }
}

static void vector_scan_backward(const struct hy_op *op, int r)
{
    const struct hy_rows g = hy_rows_of(op->in[DECAY], r);
    const int64_t tokens = op->graph->shape.tokens, cols = op->in[X]->cols;
    hy_real *zeros = hy_real_data(op->scratch, r), *spare = zeros + cols, *later = spare + cols;
    const struct hy_rows dx = hy_rows_din(op, X, r, spare);
    const struct hy_rows dg = hy_rows_din(op, DECAY, r, spare);
    for (int64_t row = op->in[X]->rows - 1; row >= 0; row--) {
        const hy_real *decay = hy_row(&g, row);
        const hy_real *before = state_before(op, r, row / tokens, row % tokens, zeros);
        hy_real *to_x = hy_row(&dx, row), *to_g = hy_row(&dg, row);
        if (row % tokens == tokens - 1) {
            memset(later, 0, (size_t)cols * sizeof *later);
            if (op->dout[HT]) {
                const struct hy_rows dht = hy_rows_of(op->dout[HT], r);
                memcpy(later, hy_row(&dht, row / tokens), (size_t)cols * sizeof *later);
            }
        }
        if (op->dout[H]) {
            const struct hy_rows dh = hy_rows_of(op->dout[H], r);
            for (int64_t c = 0; c < cols; c++)
                later[c] += hy_row(&dh, row)[c];
        }
        for (int64_t c = 0; c < cols; c++)
            to_x[c] = (dx.add ? to_x[c] : 0) + later[c];
#pragma omp simd
        for (int64_t c = 0; c < cols; c++) {
            later[c] *= hy_exp(decay[c]);
            to_g[c] = (dg.add ? to_g[c] : 0) + before[c] * later[c];
        }
        if (row % tokens == 0 && op->din[H0]) {
            const struct hy_rows dh0 = hy_rows_din(op, H0, r, spare);
            hy_real *to_h0 = hy_row(&dh0, row / tokens);
            for (int64_t c = 0; c < cols; c++)
                to_h0[c] = (dh0.add ? to_h0[c] : 0) + later[c];
        }
    }
}

static void vector_scan_cost(const struct hy_op *op, struct hy_cost *cost)
{
    hy_cost_elementwise(op, 3, 5, cost);
}

static int vector_scan_example(struct hy_graph *g, int index)
{
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    struct hy_tensor *views[2], *ht = NULL;
    if (index > 1)
        return 0;
    hy_graph_split(g, hy_graph_leaf(g, "xg", rows, 6, -1.5, 0), 2, (int64_t[]){3, 3}, views);
    hy_vector_scan(g, views[0], views[1],
                   index ? hy_graph_leaf(g, "h0", g->shape.batch, 3, -1, 1) : NULL,
                   index ? &ht : NULL);
    return 1;
}

const struct hy_op_kind hy_op_vector_scan = {
    .name = "vector_scan",
    .forward = vector_scan_forward,
    .backward = vector_scan_backward,
    .cost = vector_scan_cost,
    .scratch = vector_scan_scratch,
    .backward_in = 1u << DECAY | 1u << H0,
    .backward_out = 1u << H,
    .example = vector_scan_example,
};

struct hy_tensor *hy_vector_scan(struct hy_graph *g, struct hy_tensor *x, struct hy_tensor *decay,
                                 struct hy_tensor *h0, struct hy_tensor **ht)
{
    if (!x || !decay || !hy_has_shape(g, "vector_scan", "decay", decay, x->rows, x->cols) ||
        (h0 && !hy_has_shape(g, "vector_scan", "h0", h0, g->shape.batch, x->cols)))
        return NULL;
    if (ht && !*ht)
        *ht = hy_graph_tensor(g, g->shape.batch, x->cols);
    struct hy_tensor *out[OUTPUTS] = {hy_graph_tensor(g, x->rows, x->cols), ht ? *ht : NULL};
    if (!out[H] ||
        (ht && (!*ht || !hy_has_shape(g, "vector_scan", "ht", *ht, g->shape.batch, x->cols))) ||
        !hy_graph_op(g, &hy_op_vector_scan, INPUTS, (struct hy_tensor *[]){x, decay, h0}, OUTPUTS,
                     out, NULL, 0))
        return NULL;
    return out[H];
}
