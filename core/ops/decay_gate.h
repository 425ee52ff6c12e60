/* decay_gate.h - log decay of Mamba-2 (arXiv 2405.21060), gated DeltaNet (2412.06464) and KDA:
 * y = -exp(A_log) softplus(x + dt_bias). */
#ifndef HY_OPS_DECAY_GATE_H
#define HY_OPS_DECAY_GATE_H

#include "core/graph/graph.h"

/* x [rows, heads * width], a_log [1, heads], dt_bias [1, heads * width]: width 1 is a decay per
 * head, the key width a decay per key channel. dt: NULL, or receives the step softplus(x + dt_bias)
 * as x's shape. */
struct hy_tensor *hy_decay_gate(struct hy_graph *g, struct hy_tensor *x, struct hy_tensor *a_log,
                                struct hy_tensor *dt_bias, struct hy_tensor **dt);

#endif
