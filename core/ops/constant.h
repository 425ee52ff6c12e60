/* constant.h - a matrix whose elements are known when the graph is built. */
#ifndef HY_OPS_CONSTANT_H
#define HY_OPS_CONSTANT_H

#include "core/graph/graph.h"

/* [rows, cols]; element k (row-major) is value(k, a). No gradient passes. */
struct hy_tensor *hy_constant(struct hy_graph *g, int64_t rows, int64_t cols,
                              double (*value)(int64_t k, double a), double a);

#endif
