/* tile.h - elementwise work on narrow tensors: a few columns (one per head) of many rows are packed
 * into a block, which then is long enough to vectorise. */
#ifndef HY_OPS_SUPPORT_TILE_H
#define HY_OPS_SUPPORT_TILE_H

#include "core/ops/support/rows.h"

enum { HY_TILE_SIZE = 1024 };

struct hy_tile {
    int64_t row, col, rows, cols; /* rows * cols <= HY_TILE_SIZE */
};

static inline int64_t hy_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Steps through a [rows, cols] tensor, beginning with a zeroed tile. */
static inline int hy_tile_next(struct hy_tile *t, int64_t rows, int64_t cols)
{
    t->col += t->cols;
    if (t->col == cols) {
        t->col = 0;
        t->row += t->rows;
    }
    if (t->row == rows)
        return 0;
    t->cols = hy_min(cols - t->col, HY_TILE_SIZE);
    t->rows = hy_min(rows - t->row, t->cols == cols ? HY_TILE_SIZE / cols : 1);
    return 1;
}

static inline int64_t hy_tile_size(const struct hy_tile *t)
{
    return t->rows * t->cols;
}

/* A row that every row of the tensor meets (a bias) has ld 0. */
static inline void hy_tile_load(const struct hy_tile *t, const struct hy_rows *from, hy_real *block)
{
    for (int64_t i = 0; i < t->rows; i++) {
        const hy_real *row = hy_row(from, t->row + i) + t->col;
        for (int64_t c = 0; c < t->cols; c++)
            block[i * t->cols + c] = row[c];
    }
}

static inline void hy_tile_store(const struct hy_tile *t, const hy_real *block,
                                 const struct hy_rows *to)
{
    for (int64_t i = 0; i < t->rows; i++) {
        hy_real *row = hy_row(to, t->row + i) + t->col;
        for (int64_t c = 0; c < t->cols; c++)
            row[c] = (to->add ? row[c] : 0) + block[i * t->cols + c];
    }
}

#endif
