/* lower_bound.h - the least that a layer of HGRN keeps (arXiv 2311.04823, section 3.2): later
 * layers keep more. With p the softmax over layers of the logits, layer l's bound is p_1 + ... +
 * p_l. */
#ifndef HY_OPS_LOWER_BOUND_H
#define HY_OPS_LOWER_BOUND_H

#include "core/graph/graph.h"

/* logits [layers, cols]; returns [1, cols], each in [0, 1): layer 0's is 0. */
struct hy_tensor *hy_lower_bound(struct hy_graph *g, struct hy_tensor *logits, int layer);

#endif
