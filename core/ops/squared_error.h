/* squared_error.h - how far apart two matrices are, row by row: y_i = mean_c (a_ic - b_ic)^2. */
#ifndef HY_OPS_SQUARED_ERROR_H
#define HY_OPS_SQUARED_ERROR_H

#include "core/graph/graph.h"

/* a, b: of one shape [rows, cols]. Returns [rows, 1]. */
struct hy_tensor *hy_squared_error(struct hy_graph *g, struct hy_tensor *a, struct hy_tensor *b);

#endif
