/* scan.h - the kernel that the gated scan and the delta scan share.
 *
 * Per head, with a state S [key_width, value_width] and decays a_t = e^{g_t} in (0, 1]:
 *     o_t = scale S_t' q_t
 *     gated:  S_t = a_t S_{t-1} + k_t v_t'
 *     delta:  S_t = a_t S_{t-1} + k_t w_t',  w_t = beta_t y_t,  y_t = v_t - (a_t S_{t-1})' k_t
 * so the delta scan is the gated scan of w, and in the gated scan w is v.
 *
 * Method: blocks of HY_LANES tokens, one after another, with S in cache. I is the decay from a
 * block's entry to each of its rows, R from each row to its end, F across it; pair() as in pair.h,
 * strict: without its diagonal.
 *     delta:  y = v - (I k) S - strict pair(k, k) w,  w = beta y        (forward substitution)
 *     o = (I q) S + pair(q, k) w
 *     S <- F S + (R k)' w
 *
 * Backward, given do and the gradient dS of the state that leaves the block:
 *     dw = pair(q, k)' do + (R k) dS
 *     delta:  dw -= strict pair(k, k)' dz,  dz = beta dw                (backward substitution)
 *     dbeta = rowsum(y dw),  dv = dz;  gated: dv = dw, and dz = 0 below
 *     dq = I (do S') + pair's share of do w'
 *     dk = dk as writer + dk as reader
 *     dk as writer = R (w dS') + pair's shares of do w' and of -dz w'
 *     dk as reader = -I (dz S') + pair's share of -dz w'
 *     dS <- F dS + (I q)' do - (I k)' dz
 * dg_t is the sum of q dq + k (dk as reader) - k (dk as writer) over the rows from t to the end of
 * its chunk, plus <S, dS> there. Training keeps S where each chunk starts; backward rebuilds the
 * states between.
 *
 * Decays are only ever multiplied up from factors <= 1, so a strong one underflows to 0 and never
 * gives inf or NaN. This is the chunkwise form of arXiv 2312.06635 and 2412.06464, with the
 * inverse of the latter replaced by substitutions, which walking in order permits. */
#ifndef HY_OPS_SCAN_SCAN_H
#define HY_OPS_SCAN_SCAN_H

#include "core/graph/graph.h"

struct hy_scan {
    int heads, key_width, value_width;
    double scale;  /* of the queries */
    int chunk;     /* tokens between the states that training keeps for backward; 0: 64 */
    int key_heads; /* of q and k: head h reads the h / (heads / key_heads)-th; 0: as many as heads
                    */
};

/* in[] and out[] of both ops; optional ones are NULL. */
enum { HY_SCAN_Q, HY_SCAN_K, HY_SCAN_V, HY_SCAN_DECAY, HY_SCAN_BETA, HY_SCAN_H0, HY_SCAN_INPUTS };
enum {
    HY_SCAN_O,
    HY_SCAN_HT,
    HY_SCAN_STATES, /* training: S where each chunk starts, and the last, padded to whole lanes */
    HY_SCAN_ERRORS, /* training, delta: y */
    HY_SCAN_OUTPUTS
};

/* Do the inputs (HY_SCAN_INPUTS, where NULL: q, k or v missing fails silently, others are optional)
 * fit s, whose chunk and key_heads are not 0? If not, the graph fails. */
int hy_scan_check(struct hy_graph *g, const char *op, const struct hy_scan *s,
                  struct hy_tensor *const *in);

/* Checks shapes and records an op of `kind`; returns o. in: HY_SCAN_INPUTS tensors. */
struct hy_tensor *hy_scan_build(struct hy_graph *g, const struct hy_op_kind *kind,
                                const struct hy_scan *s, struct hy_tensor *const *in,
                                struct hy_tensor **ht);

void hy_scan_forward(const struct hy_op *op, int replica);
void hy_scan_backward(const struct hy_op *op, int replica);
void hy_scan_cost(const struct hy_op *op, struct hy_cost *cost);
size_t hy_scan_scratch(const struct hy_op *op);

#endif
