/* gate.h - one tensor lets through another: y = x * activation(gate). The MLP's SwiGLU (arXiv
 * 2002.05202), gates on the output of a mixer, step sizes. */
#ifndef HY_OPS_GATE_H
#define HY_OPS_GATE_H

#include "core/graph/graph.h"

enum hy_gate { HY_GATE_SILU, HY_GATE_SIGMOID, HY_GATE_PLAIN };

/* x [rows, heads * width], gate [rows, heads]: a gate for each head; width 1 is a gate for each
 * element. */
struct hy_tensor *hy_gated(struct hy_graph *g, struct hy_tensor *x, struct hy_tensor *gate,
                           enum hy_gate activation);

#endif
