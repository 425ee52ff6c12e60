/* pair.h - decayed products of the rows of one block: what a token takes from another in its block.
 *
 * For a block of HY_LANES rows with decay factors step[i, c] = e^{g_ic} in (0, 1]:
 *     pair(x, y)_ij = sum_c x_ic y_jc step_{j+1,c} ... step_{i,c}   (i >= j, else 0)
 * The products of factors are built up row by row, so nothing is ever divided and no exponent can
 * overflow, whatever the decay. */
#ifndef HY_OPS_SCAN_PAIR_H
#define HY_OPS_SCAN_PAIR_H

#include "core/ops/products/micro.h"

struct hy_pair {
    int64_t width; /* of a row, a multiple of HY_LANES */
    /* Where each channel has its own decay: [HY_LANES, width]; else NULL. */
    const hy_real *step;
    /* Else: [HY_LANES, HY_LANES] the decay from row j to row i, 0 above the diagonal. */
    const hy_real *between;
};

/* Fills between from the rows' decay factors step[HY_LANES]. */
void hy_pair_between(const hy_real *step, hy_real *between);

/* out[HY_LANES, HY_LANES] = pair(x, y); y_turned [width, HY_LANES] is y transposed. */
void hy_pair_forward(const struct hy_pair *p, const hy_real *x, const hy_real *y_turned,
                     hy_real *out);
/* dx += d pair / dx, dy += d pair / dy. grad [HY_LANES, HY_LANES] is read on and below the diagonal
 * and overwritten. */
void hy_pair_backward(const struct hy_pair *p, hy_real *grad, const hy_real *x, const hy_real *y,
                      hy_real *dx, hy_real *dy);

#endif
