/* l2norm.h - heads of unit length: y = x / sqrt(sum x^2 + eps). */
#ifndef HY_OPS_L2NORM_H
#define HY_OPS_L2NORM_H

#include "core/graph/graph.h"

/* x [rows, heads * width]: each head by itself. */
struct hy_tensor *hy_l2norm(struct hy_graph *g, struct hy_tensor *x, int heads, double eps);

#endif
