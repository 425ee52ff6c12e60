/* blend.h - between two branches: y = m a + (1 - m) b, with the bits of a where m is 1, and those
 * of b where it is 0, whatever the other one holds. */
#ifndef HY_OPS_BLEND_H
#define HY_OPS_BLEND_H

#include "core/graph/graph.h"

/* a, b [rows, cols], m [1, 1]. Gradients: da = m dy, db = (1 - m) dy, dm = sum of dy (a - b). */
struct hy_tensor *hy_blend(struct hy_graph *g, struct hy_tensor *a, struct hy_tensor *b,
                           struct hy_tensor *m);

#endif
