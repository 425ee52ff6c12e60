/* softplus.h - y = log(1 + e^(w x)), a weight per column. */
#ifndef HY_OPS_SOFTPLUS_H
#define HY_OPS_SOFTPLUS_H

#include "core/graph/graph.h"

/* x [rows, cols]; w: a parameter of cols elements, whatever its rows. Returns y as x. The weights
 * of the levels of log-linear attention: positive, and equal where x is 0. */
struct hy_tensor *hy_softplus_of(struct hy_graph *g, struct hy_tensor *x, struct hy_tensor *w);

#endif
