/* conv_silu.h - short causal convolution per channel, and SiLU:
 * y[t] = silu(bias + sum_j w[:, j] * x[t - (n-1) + j]), with zeros before the first token. */
#ifndef HY_OPS_CONV_SILU_H
#define HY_OPS_CONV_SILU_H

#include "core/graph/graph.h"

enum { HY_MAX_KERNEL = 16 };

/* x [rows, channels], w [channels, n] (public dims [channels, 1, n]), bias [1, channels] or
 * NULL. state: NULL, or in a cached
 * graph [batch * (n-1), channels]: the n-1 inputs before this run, oldest first, which the op
 * replaces by the last n-1 inputs. */
struct hy_tensor *hy_conv_silu(struct hy_graph *g, struct hy_tensor *x, struct hy_tensor *w,
                               struct hy_tensor *bias, struct hy_tensor *state);

#endif
