/* log_sigmoid.h - data-dependent log decay of gated linear attention (arXiv 2312.06635,
 * section 4.4): y = log(sigmoid(x + bias)) / divisor. */
#ifndef HY_OPS_LOG_SIGMOID_H
#define HY_OPS_LOG_SIGMOID_H

#include "core/graph/graph.h"

/* x [rows, cols], bias [1, cols] or NULL. */
struct hy_tensor *hy_log_sigmoid_of(struct hy_graph *g, struct hy_tensor *x, struct hy_tensor *bias,
                                    double divisor);

#endif
