/* delayed.h - what came `lag` tokens before: y_t = x_{t - lag}, in graphs that continue sequences
 * from a cache; 0 where there is none. */
#ifndef HY_OPS_FEATURES_DELAYED_H
#define HY_OPS_FEATURES_DELAYED_H

#include "core/graph/graph.h"

/* x [batch * tokens, cols]; cache [batch * n, cols]: hy_attention's ring of keys or values, n >=
 * lag >= 1, position p of sequence b in row b * n + p mod n. It is read as it is before this run's
 * tokens are put there, so this is recorded in front of the attention that does that. No gradient
 * passes. */
struct hy_tensor *hy_delayed(struct hy_graph *g, struct hy_tensor *x, struct hy_tensor *cache,
                             int lag);

#endif
