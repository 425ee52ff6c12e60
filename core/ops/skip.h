/* skip.h - what passes a state by (Mamba-2, arXiv 2405.21060): y = o + D x, D a number per head. */
#ifndef HY_OPS_SKIP_H
#define HY_OPS_SKIP_H

#include "core/graph/graph.h"

/* o, x [rows, heads * width], d [1, heads]. */
struct hy_tensor *hy_skip(struct hy_graph *g, struct hy_tensor *o, struct hy_tensor *x,
                          struct hy_tensor *d);

#endif
