/* linear_attention.h - the sums of linear attention over features (arXiv 2006.16236):
 *
 *   n_t = sum_s (f_t' g_s) v_s,   d_t = sum_s f_t' g_s
 *
 * over the keys that query t sees: s <= t - lag; or, in blocks of `lag` tokens that count from the
 * first one, all blocks but t's own and the one before it (the window that is left out is
 * terraced). With lag 0: s <= t. n / d is normalised linear attention; hy_joint divides, beside
 * softmax terms in a window.
 *
 * Chunkwise and linear in the number of tokens: a chunk of queries reads the state of the keys that
 * all of them see, [features, value_width] and the features' sum, and the few others one by one. */
#ifndef HY_OPS_FEATURES_LINEAR_ATTENTION_H
#define HY_OPS_FEATURES_LINEAR_ATTENTION_H

#include "core/graph/graph.h"

struct hy_linear_attention {
    int heads;       /* of queries, and of the results */
    int key_heads;   /* of g: head h reads g's head h / (heads / key_heads) */
    int value_heads; /* of v, likewise */
    int features, value_width;
    int lag;
    int terraced; /* lag counts whole blocks */
};

/* f, g and v are three tensors: their gradients are written in an order of their own. */
struct hy_linear_attention_in {
    struct hy_tensor *f; /* [rows, heads * features] */
    struct hy_tensor *g; /* [rows, key_heads * features] */
    struct hy_tensor *v; /* [rows, value_heads * value_width] */
    /* [1, 1]: where it is not 0, lag counts as 0; no gradient flows to it. NULL: 0. */
    struct hy_tensor *dropped;
    /* [batch * heads * features, value_width + 1]: the state before the first token, g v' and in
     * the last column g; of a terraced lag two such blocks of rows per sequence, [batch * 2 * heads
     * * features, ...]: what is seen now, and what will be from the next block on. NULL: zero.
     *
     * In a cached graph with a lag, g and v are of the tokens `lag` before the run's
     * (hy_delayed), and those from before the first token are left out. */
    struct hy_tensor *h0;
};

/* Returns n [rows, heads * value_width] and *d [rows, heads]. ht NULL: the state behind the last
 * token is not wanted; *ht NULL: a new tensor is made; else it is written to *ht, which may be h0
 * (decoding). Gradients flow to f, g, v and h0, from n, d and ht. Outside cached graphs states go
 * with lag 0 alone. */
struct hy_tensor *hy_linear_attention(struct hy_graph *g, const struct hy_linear_attention_in *in,
                                      const struct hy_linear_attention *s, struct hy_tensor **d,
                                      struct hy_tensor **ht);

#endif
