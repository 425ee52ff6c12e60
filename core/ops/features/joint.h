/* joint.h - one normaliser over softmax terms in a window and linear terms outside it (LoLCATs,
 * arXiv 2410.10254). Per row and head:
 *
 *   A = gamma exp(x),   gamma = sigmoid(factor),   x = log sum_window exp(l_s - max l)
 *   y = (A w + lin n) / (A + lin d),   far = lin d / (A + lin d)
 *
 * w is softmax attention over the window alone, x what its log sum exp exceeds its largest score
 * by (hy_attention_excess), n and d the sums of hy_linear_attention. lin = 1, or 1 - gamma. Without
 * the window y = n / (d + 1e-12), far = 1. The largest score is part of the value, since
 * linear terms are not divided by its exponential; its gradient goes through x. */
#ifndef HY_OPS_FEATURES_JOINT_H
#define HY_OPS_FEATURES_JOINT_H

#include "core/graph/graph.h"

struct hy_joint {
    int heads, value_width;
    int affine; /* lin = 1 - gamma */
};

struct hy_joint_in {
    struct hy_tensor *w, *x;  /* [rows, heads * value_width], [rows, heads]; NULL: no window */
    struct hy_tensor *n, *d;  /* likewise */
    struct hy_tensor *factor; /* [1, heads]; NULL: gamma = 1, and lin = 1 */
    /* [1, 1]: where it is not 0 the window counts for nothing, as if w were NULL, and takes no
     * gradient. NULL: 0. */
    struct hy_tensor *dropped;
};

/* Returns y [rows, heads * value_width]; *far: NULL where not wanted, else [rows, heads], without
 * gradient. */
struct hy_tensor *hy_joint(struct hy_graph *g, const struct hy_joint_in *in,
                           const struct hy_joint *s, struct hy_tensor **far);

#endif
