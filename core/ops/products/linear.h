/* linear.h - y = x W' + bias: a projection. */
#ifndef HY_OPS_PRODUCTS_LINEAR_H
#define HY_OPS_PRODUCTS_LINEAR_H

#include "core/graph/graph.h"

/* x [rows, in], w [out, in] as stored in a state dict; returns [rows, out].
 * Backward: dx = dy W, dW = dy' x. */
struct hy_tensor *hy_linear(struct hy_graph *g, struct hy_tensor *x, struct hy_tensor *w);
/* bias [1, out]; its gradient sums dy over the rows. */
struct hy_tensor *hy_linear_biased(struct hy_graph *g, struct hy_tensor *x, struct hy_tensor *w,
                                   struct hy_tensor *bias);

#endif
