/* operand.h - gradients as operands of products in bf16. */
#ifndef HY_OPS_PRODUCTS_OPERAND_H
#define HY_OPS_PRODUCTS_OPERAND_H

#include "core/graph/real.h"

/* Elements between the rows of a transposed operand of `rows` columns: more than it needs, so that
 * its rows meet different cache sets. */
static inline int64_t hy_turned_ld(int64_t rows)
{
    return (rows + 31) / 32 * 32 + 32;
}

/* y [m, n], without gaps, = x [m, n] rounded to bf16; turned [n, m], its rows hy_turned_ld(m)
 * apart, is y transposed: a library's product with a transposed left operand runs at three quarters
 * of the speed. turned may be NULL. */
void hy_operand_round(int64_t m, int64_t n, const hy_real *x, int64_t ldx, hy_bf16 *y,
                      hy_bf16 *turned);

#endif
