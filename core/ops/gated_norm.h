/* gated_norm.h - the norm and gate on the output of a linear-attention layer: per head,
 * y = x / sqrt(mean x^2 + eps) * w * gate. */
#ifndef HY_OPS_GATED_NORM_H
#define HY_OPS_GATED_NORM_H

#include "core/ops/gate.h"

/* x, gate [rows, heads * width], w [1, width]; the gate passes through its activation, SiLU or the
 * sigmoid. gate NULL: no gate, which is rmsnorm. */
struct hy_tensor *hy_gated_norm(struct hy_graph *g, struct hy_tensor *x, struct hy_tensor *gate,
                                struct hy_tensor *w, double eps, enum hy_gate activation);

#endif
