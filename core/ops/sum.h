/* sum.h - y = scale * (x_0 + ... + x_{n-1}): what mixers side by side add to the stream. */
#ifndef HY_OPS_SUM_H
#define HY_OPS_SUM_H

#include "core/graph/graph.h"

/* x: 1 to HY_MAX_INPUTS tensors of one shape. */
struct hy_tensor *hy_sum(struct hy_graph *g, int count, struct hy_tensor *const *x, double scale);
/* The mean of any number of tensors of one shape, as sums of sums. */
struct hy_tensor *hy_mean(struct hy_graph *g, int count, struct hy_tensor *const *x);

#endif
