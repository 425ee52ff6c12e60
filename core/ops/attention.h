/* attention.h - causal softmax attention: o_t = sum_s softmax_s(scale <q_t, k_s>) v_s over s <= t,
 * with a window over t - window < s <= t. Probabilities exist for a block of queries at a time and
 * are made again in backward (arXiv 2205.14135). */
#ifndef HY_OPS_ATTENTION_H
#define HY_OPS_ATTENTION_H

#include "core/graph/graph.h"

struct hy_attention {
    int heads, kv_heads; /* query head h reads key head h / (heads / kv_heads) */
    int key_width, value_width;
    double scale;
    int window; /* 0: none */
    double cap; /* scores become cap * tanh(score / cap) (Gemma 2, arXiv 2408.00118); 0: none */
    /* The window is terraced: the block of `window` tokens that t lies in, counted from the first,
     * up to t, and the whole block before it (LoLCATs, arXiv 2410.10254). */
    int terraced;
    int first; /* queries see the first so many tokens alone: s < first, s <= t; 0: all. No window,
                  no cache. */
};

/* q [rows, heads * key_width], k [rows, kv_heads * key_width], v [rows, kv_heads * value_width];
 * returns [rows, heads * value_width]. Caches: NULL, or in a cached graph [batch * n, columns of k]
 * and [batch * n, columns of v]: the queries see what they hold from before the graph's position,
 * then this run's keys and values are written there. n is the context, or with a window its size
 * (twice that where it is terraced): the position p of sequence b lies in row b * n + p mod n. */
struct hy_tensor *hy_attention(struct hy_graph *g, struct hy_tensor *q, struct hy_tensor *k,
                               struct hy_tensor *v, const struct hy_attention *s,
                               struct hy_tensor *cache_k, struct hy_tensor *cache_v);

/* The same; *lse: [rows, heads], log sum_s exp of each query's scores, from which gradients flow
 * back as well. */
struct hy_tensor *hy_attention_lse(struct hy_graph *g, struct hy_tensor *q, struct hy_tensor *k,
                                   struct hy_tensor *v, const struct hy_attention *s,
                                   struct hy_tensor *cache_k, struct hy_tensor *cache_v,
                                   struct hy_tensor **lse);

/* The same; *excess: [rows, heads], log sum_s exp(l_s - max l): what log sum exp exceeds a query's
 * largest score by. Gradients flow back from it as well: its derivative by l_s is the probability
 * of s, less 1 where l_s is the largest. */
struct hy_tensor *hy_attention_excess(struct hy_graph *g, struct hy_tensor *q, struct hy_tensor *k,
                                      struct hy_tensor *v, const struct hy_attention *s,
                                      struct hy_tensor *cache_k, struct hy_tensor *cache_v,
                                      struct hy_tensor **excess);

#endif
