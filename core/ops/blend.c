#include "core/ops/blend.h"

#include <string.h>

#include "core/ops/support/build.h"
#include "core/ops/support/rows.h"

static void blend_forward(const struct hy_op *op, int r)
{
    const struct hy_rows a = hy_rows_of(op->in[0], r), b = hy_rows_of(op->in[1], r);
    const struct hy_rows y = hy_rows_of(op->out[0], r);
    const hy_real m = *hy_real_data(op->in[2], r), rest = 1 - m;
    const struct hy_rows *chosen = m == 1 ? &a : m == 0 ? &b : NULL;
    for (int64_t i = 0; i < a.rows; i++) {
        const hy_real *ai = hy_row(&a, i), *bi = hy_row(&b, i);
        hy_real *yi = hy_row(&y, i);
        if (chosen) {
            memcpy(yi, hy_row(chosen, i), (size_t)a.cols * sizeof *yi);
            continue;
        }
#pragma omp simd
        for (int64_t c = 0; c < a.cols; c++)
            yi[c] = m * ai[c] + rest * bi[c];
    }
}

static size_t blend_scratch(const struct hy_op *op)
{
    return op->pass == HY_BACKWARD ? (size_t)(2 * op->in[0]->cols + 1) * sizeof(hy_real) : 0;
}

static void blend_backward(const struct hy_op *op, int r)
{
    hy_real *sum = hy_real_data(op->scratch, r), *spare = sum + 1;
    const struct hy_rows a = hy_rows_of(op->in[0], r), b = hy_rows_of(op->in[1], r);
    const struct hy_rows dy = hy_rows_of(op->dout[0], r);
    const struct hy_rows da = hy_rows_din(op, 0, r, spare);
    const struct hy_rows db = hy_rows_din(op, 1, r, spare + a.cols);
    const hy_real m = *hy_real_data(op->in[2], r), rest = 1 - m;
    *sum = 0;
    for (int64_t i = 0; i < a.rows; i++) {
        const hy_real *ai = hy_row(&a, i), *bi = hy_row(&b, i), *dyi = hy_row(&dy, i);
        hy_real *dai = hy_row(&da, i), *dbi = hy_row(&db, i), part = 0;
#pragma omp simd reduction(+ : part)
        for (int64_t c = 0; c < a.cols; c++) {
            dai[c] = (da.add ? dai[c] : 0) + m * dyi[c];
            dbi[c] = (db.add ? dbi[c] : 0) + rest * dyi[c];
            part += dyi[c] * (ai[c] - bi[c]);
        }
        *sum += part;
    }
    hy_fold_din(op, 2, r, sum);
}

static void blend_cost(const struct hy_op *op, struct hy_cost *cost)
{
    hy_cost_elementwise(op, 3, 5, cost);
}

static int blend_example(struct hy_graph *g, int index)
{
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens, cols = index ? 8 : 5;
    struct hy_tensor *views[2], *gates[3];
    if (index > 1)
        return 0;
    hy_graph_split(g, hy_graph_leaf(g, "ab", rows, 2 * cols, -1, 1), 2, (int64_t[]){cols, cols},
                   views);
    hy_graph_split(g, hy_graph_leaf(g, "m", 1, 3, 0.1, 0.9), 3, (int64_t[]){1, 1, 1}, gates);
    hy_blend(g, views[0], views[1], gates[1]);
    return 1;
}

const struct hy_op_kind hy_op_blend = {
    .name = "blend",
    .forward = blend_forward,
    .backward = blend_backward,
    .cost = blend_cost,
    .scratch = blend_scratch,
    .backward_in = 1u << 0 | 1u << 1 | 1u << 2,
    .example = blend_example,
};

struct hy_tensor *hy_blend(struct hy_graph *g, struct hy_tensor *a, struct hy_tensor *b,
                           struct hy_tensor *m)
{
    if (!a || !b || !m || !hy_has_shape(g, "blend", "b", b, a->rows, a->cols) ||
        !hy_has_shape(g, "blend", "m", m, 1, 1))
        return NULL;
    return hy_record(g, &hy_op_blend, 3, (struct hy_tensor *[]){a, b, m}, a->rows, a->cols, NULL,
                     0);
}
