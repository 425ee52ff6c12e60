/* constant.h - a matrix whose elements are known when the graph is built. */
#ifndef HY_OPS_CONSTANT_H
#define HY_OPS_CONSTANT_H

#include "core/graph/graph.h"

/* [rows, cols]; element k (row-major) is value(k, a). No gradient passes. */
struct hy_tensor *hy_constant(struct hy_graph *g, int64_t rows, int64_t cols,
                              double (*value)(int64_t k, double a), double a);
/* Likewise integers, [rows, 1] int32: rows of a table, for hy_embedding(). */
struct hy_tensor *hy_constant_index(struct hy_graph *g, int64_t rows,
                                    double (*value)(int64_t k, double a), double a);

#endif
