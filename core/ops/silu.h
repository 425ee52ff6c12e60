/* silu.h - y = x / (1 + e^-x): the activation of queries and keys (arXiv 1702.03118). */
#ifndef HY_OPS_SILU_H
#define HY_OPS_SILU_H

#include "core/graph/graph.h"

struct hy_tensor *hy_silu_of(struct hy_graph *g, struct hy_tensor *x);

#endif
