/* transfer.h - how far linearised attention is from softmax attention (attention transfer:
 * Hedgehog, arXiv 2402.04347; LoLCATs, arXiv 2410.10254): the cross entropy of their weights, per
 * query and head,
 *
 *   y_t = - sum_{s <= t} p_ts log max(a_ts, 1e-12)
 *
 * p: softmax of scale <tq_t, tk_s> over all s <= t, a constant: no gradient goes through it. a: the
 * weights that hy_joint uses, normalised over all terms: in the window gamma exp(l_s - max l), l_s
 * = scale <q_t, k_s>, outside it lin f_t' g_s. Without a window a_ts = f_t' g_s / sum f_t' g_s over
 * all s <= t.
 *
 * Work is quadratic in the number of tokens, memory is not: weights exist for a block of queries at
 * a time, and are made again in backward. */
#ifndef HY_OPS_FEATURES_TRANSFER_H
#define HY_OPS_FEATURES_TRANSFER_H

#include "core/graph/graph.h"

struct hy_transfer {
    int heads;    /* of tq, q, f */
    int kv_heads; /* of tk and k: head h reads head h / (heads / kv_heads) */
    int g_heads;  /* of g, likewise */
    int key_width, features;
    double scale;
    int window;   /* 0: none; q, k and factor are not read, and may be NULL */
    int terraced; /* the window is t's own block of `window` tokens, and the one before it */
    int affine;   /* lin = 1 - gamma, else 1 */
};

struct hy_transfer_in {
    struct hy_tensor *tq, *tk; /* [rows, heads * key_width], [rows, kv_heads * key_width] */
    struct hy_tensor *q, *k;   /* likewise; may be tq and tk */
    struct hy_tensor *f, *g;   /* [rows, heads * features], [rows, g_heads * features] */
    struct hy_tensor *factor;  /* [1, heads], gamma = sigmoid(factor); NULL: gamma = 1, lin = 1 */
};

/* Returns y [rows, heads]. Gradients flow to q, k, f, g and factor. */
struct hy_tensor *hy_transfer(struct hy_graph *g, const struct hy_transfer_in *in,
                              const struct hy_transfer *s);

#endif
