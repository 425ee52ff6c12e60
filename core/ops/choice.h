/* choice.h - gates between two branches, drawn from a logit: u = gain logit + noise, and y = 1
 * where u > 0, else 0, which has the derivative of sigmoid(u / temperature); or y = sigmoid(u /
 * temperature) itself.
 *
 * With logistic noise, log(p / (1 - p)) of a uniform p, this is the straight-through Gumbel-softmax
 * of two classes (arXiv 1611.01144), whose two Gumbel draws differ by logistic noise: 1 has the
 * probability sigmoid(gain logit) at any temperature. Layers are selected so in OpenReview
 * 4cP69sGjiG. */
#ifndef HY_OPS_CHOICE_H
#define HY_OPS_CHOICE_H

#include "core/graph/graph.h"

enum hy_choice_form { HY_CHOICE_HARD, HY_CHOICE_SOFT };

/* logit, noise: of one shape; temperature [1, 1]. A gradient flows to the logit alone. */
struct hy_tensor *hy_choice(struct hy_graph *g, struct hy_tensor *logit, struct hy_tensor *noise,
                            struct hy_tensor *temperature, enum hy_choice_form form, double gain);

/* The op's attribute. */
struct hy_choice {
    int is_soft;
    double gain;
};

#endif
