/* add_norm.h - the residual sum and the norm that follows it, in one pass. */
#ifndef HY_OPS_ADD_NORM_H
#define HY_OPS_ADD_NORM_H

#include "core/graph/graph.h"

/* *sum = a + b and returns rmsnorm(*sum) * w; a, b [rows, cols], w [1, cols]. The gradients of a
 * and b are equal. */
struct hy_tensor *hy_add_norm(struct hy_graph *g, struct hy_tensor *a, struct hy_tensor *b,
                              struct hy_tensor *w, double eps, struct hy_tensor **sum);

#endif
