/* swiglu.h - the gated activation of an MLP (arXiv 2002.05202): y = silu(gate) * up. */
#ifndef HY_OPS_SWIGLU_H
#define HY_OPS_SWIGLU_H

#include "core/graph/graph.h"

/* x [rows, 2 * width]: gate and up side by side; returns [rows, width]. */
struct hy_tensor *hy_swiglu(struct hy_graph *g, struct hy_tensor *x);

#endif
