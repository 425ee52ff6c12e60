/* sigmoid.h - y = scale / (1 + e^-x): the write strengths (beta) of the delta rule. */
#ifndef HY_OPS_SIGMOID_H
#define HY_OPS_SIGMOID_H

#include "core/graph/graph.h"

struct hy_tensor *hy_sigmoid_of(struct hy_graph *g, struct hy_tensor *x, double scale);

#endif
