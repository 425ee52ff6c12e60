/* forget_gate.h - the gate of HGRN (arXiv 2311.04823) and HGRN-2 (2404.07904): f = b + (1 - b)
 * sigmoid(x) of what there was is kept, 1 - f of what comes is let in. */
#ifndef HY_OPS_FORGET_GATE_H
#define HY_OPS_FORGET_GATE_H

#include "core/graph/graph.h"

/* x [rows, cols], bound [1, cols] the least kept, b in [0, 1), or NULL: 0. Returns log f; *input:
 * 1 - f, exact where f rounds to 1. */
struct hy_tensor *hy_forget_gate(struct hy_graph *g, struct hy_tensor *x, struct hy_tensor *bound,
                                 struct hy_tensor **input);

#endif
