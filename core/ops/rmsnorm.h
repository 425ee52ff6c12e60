/* rmsnorm.h - root mean square norm (arXiv 1910.07467): y = x / sqrt(mean x^2 + eps) * w. */
#ifndef HY_OPS_RMSNORM_H
#define HY_OPS_RMSNORM_H

#include "core/graph/graph.h"

/* x [rows, groups * width], w [1, width]: each group of width columns (a head) is normed by itself;
 * one group is the plain norm. */
struct hy_tensor *hy_rmsnorm(struct hy_graph *g, struct hy_tensor *x, struct hy_tensor *w,
                             double eps);

#endif
