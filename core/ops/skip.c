#include "core/ops/skip.h"

#include "core/ops/support/build.h"
#include "core/ops/support/rows.h"

static void skip_forward(const struct hy_op *op, int r)
{
    const struct hy_rows o = hy_rows_of(op->in[0], r), x = hy_rows_of(op->in[1], r);
    const struct hy_rows y = hy_rows_of(op->out[0], r);
    const hy_real *d = hy_real_data(op->in[2], r);
    const int64_t heads = op->in[2]->cols, width = op->in[0]->cols / heads;
    for (int64_t i = 0; i < op->in[0]->rows; i++) {
        hy_row_fetch(&x, i);
        for (int64_t h = 0; h < heads; h++) {
            const hy_real *oi = hy_row(&o, i) + h * width, *xi = hy_row(&x, i) + h * width;
            hy_real *yi = hy_row(&y, i) + h * width;
#pragma omp simd
            for (int64_t c = 0; c < width; c++)
                yi[c] = oi[c] + d[h] * xi[c];
        }
    }
}

static size_t skip_scratch(const struct hy_op *op)
{
    return op->pass == HY_BACKWARD
               ? (size_t)(op->in[2]->cols + 2 * op->in[0]->cols) * sizeof(hy_real)
               : 0;
}

/* The gradients of a head's columns in one row, inlined where it is known what is added to; returns
 * D's. */
static inline __attribute__((always_inline)) hy_real
head_backward(int64_t width, hy_real d, const hy_real *restrict x, const hy_real *restrict dy,
              int add_o, hy_real *restrict d_o, int add_x, hy_real *restrict dx)
{
    hy_real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < width; c++) {
        d_o[c] = (add_o ? d_o[c] : 0) + dy[c];
        dx[c] = (add_x ? dx[c] : 0) + d * dy[c];
        sum += dy[c] * x[c];
    }
    return sum;
}

static void skip_backward(const struct hy_op *op, int r)
{
    const int64_t heads = op->in[2]->cols, width = op->in[0]->cols / heads;
    hy_real *sums = hy_real_data(op->scratch, r), *spare = sums + heads;
    const struct hy_rows x = hy_rows_of(op->in[1], r), dy = hy_rows_of(op->dout[0], r);
    const struct hy_rows d_o = hy_rows_din(op, 0, r, spare);
    const struct hy_rows dx = hy_rows_din(op, 1, r, spare + op->in[0]->cols);
    const hy_real *d = hy_real_data(op->in[2], r);
    memset(sums, 0, (size_t)heads * sizeof *sums);
    for (int64_t i = 0; i < op->in[0]->rows; i++) {
        hy_row_fetch(&x, i);
        hy_row_fetch(&dx, i);
        for (int64_t h = 0; h < heads; h++) {
            const hy_real *xi = hy_row(&x, i) + h * width, *dyi = hy_row(&dy, i) + h * width;
            hy_real *doi = hy_row(&d_o, i) + h * width, *dxi = hy_row(&dx, i) + h * width;
            if (!d_o.add && !dx.add)
                sums[h] += head_backward(width, d[h], xi, dyi, 0, doi, 0, dxi);
            else
                sums[h] += head_backward(width, d[h], xi, dyi, d_o.add, doi, dx.add, dxi);
        }
    }
    hy_fold_din(op, 2, r, sums);
}

static void skip_cost(const struct hy_op *op, struct hy_cost *cost)
{
    hy_cost_elementwise(op, 2, 3, cost);
}

static int skip_example(struct hy_graph *g, int index)
{
    const int64_t rows = (int64_t)g->shape.batch * g->shape.tokens;
    struct hy_tensor *views[2];
    if (index > 0)
        return 0;
    hy_graph_split(g, hy_graph_leaf(g, "ox", rows, 12, -1, 1), 2, (int64_t[]){6, 6}, views);
    hy_skip(g, views[0], views[1], hy_graph_leaf(g, "d", 1, 2, -1, 1));
    return 1;
}

const struct hy_op_kind hy_op_skip = {
    .name = "skip",
    .forward = skip_forward,
    .backward = skip_backward,
    .cost = skip_cost,
    .scratch = skip_scratch,
    .backward_in = 1u << 1 | 1u << 2,
    .example = skip_example,
};

struct hy_tensor *hy_skip(struct hy_graph *g, struct hy_tensor *o, struct hy_tensor *x,
                          struct hy_tensor *d)
{
    if (!o || !x || !d || !hy_has_shape(g, "skip", "x", x, o->rows, o->cols))
        return NULL;
    if (d->rows != 1 || o->cols % d->cols)
        return hy_graph_fail(g, "skip: %lld columns are no heads of D [%lld, %lld]",
                             (long long)o->cols, (long long)d->rows, (long long)d->cols);
    return hy_record(g, &hy_op_skip, 3, (struct hy_tensor *[]){o, x, d}, o->rows, o->cols, NULL, 0);
}
