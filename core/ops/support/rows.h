/* rows.h - how kernels walk the rows of tensors: views, gradients that are added to, gradients that
 * nobody wants. */
#ifndef HY_OPS_SUPPORT_ROWS_H
#define HY_OPS_SUPPORT_ROWS_H

#include <string.h>

#include "core/graph/graph.h"

struct hy_rows {
    hy_real *data;
    int64_t ld;
    int64_t rows, cols;
    int add; /* results are added to what is there */
};

static inline hy_real *hy_row(const struct hy_rows *rows, int64_t i)
{
    return rows->data + i * rows->ld;
}

/* Asks for the row that is due after the next. Of a view, whose rows do not lie one behind the
 * other, the processor foresees neither the gaps nor the pages. */
static inline void hy_row_fetch(const struct hy_rows *rows, int64_t i)
{
    enum { AHEAD = 2, LINE = 64 / sizeof(hy_real) };
    if (rows->ld == rows->cols || i + AHEAD >= rows->rows)
        return;
    for (int64_t c = 0; c < rows->cols; c += LINE)
        __builtin_prefetch(hy_row(rows, i + AHEAD) + c);
}

static inline struct hy_rows hy_rows_of(const struct hy_tensor *t, int replica)
{
    return (struct hy_rows){hy_real_data(t, replica), t->ld, t->rows, t->cols, 0};
}

/* Where the gradient of in[i] goes: one row of `spare`, over and over, where nobody wants it. */
static inline struct hy_rows hy_rows_din(const struct hy_op *op, int i, int replica, hy_real *spare)
{
    const struct hy_tensor *t = op->din[i];
    return t ? (struct hy_rows){hy_real_data(t, replica), t->ld, t->rows, t->cols, hy_adds(op, i)}
             : (struct hy_rows){.data = spare};
}

/* Hands over the gradient of a parameter that was summed over the rows. */
static inline void hy_fold_din(const struct hy_op *op, int i, int replica, const hy_real *sums)
{
    hy_real *d = hy_real_data(op->din[i], replica);
    const int add = hy_adds(op, i);
    for (int64_t c = 0; d && c < op->din[i]->rows * op->din[i]->cols; c++)
        d[c] = (add ? d[c] : 0) + sums[c];
}

/* Clears a gradient that will be summed up in place, unless it is added to. */
static inline void hy_clear_din(const struct hy_op *op, int i, int replica)
{
    const struct hy_tensor *t = op->din[i];
    hy_real *d = hy_real_data(t, replica);
    for (int64_t row = 0; d && !hy_adds(op, i) && row < t->rows; row++)
        memset(d + row * t->ld, 0, (size_t)t->cols * sizeof *d);
}

#endif
