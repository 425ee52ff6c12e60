/* gated_scan.h - linear attention with decay: S_t = a_t S_{t-1} + k_t v_t', o_t = scale S_t' q_t.
 */
#ifndef HY_OPS_SCAN_GATED_SCAN_H
#define HY_OPS_SCAN_GATED_SCAN_H

#include "core/ops/scan/scan.h"

/* q, k [rows, key_heads*key_width], v [rows, heads*value_width]; returns o as v.
 * decay: log a <= 0; its shape says what it is: [1, heads] a constant per head, [rows, heads] per
 * head and token, [rows, heads*key_width] per key channel (where key_width is 1 the two are the
 * same). h0: [batch*heads*key_width, value_width] the state before the first token, NULL: zero. ht:
 * NULL: the state after the last token is not wanted; *ht NULL: a new tensor is made; else it is
 * written to *ht, which may be h0 itself (decoding from a cache).
 * Retention, GLA (arXiv 2312.06635), HGRN-2, Mamba-2, Lightning. */
struct hy_tensor *hy_gated_scan(struct hy_graph *g, struct hy_tensor *q, struct hy_tensor *k,
                                struct hy_tensor *v, struct hy_tensor *decay,
                                const struct hy_scan *s, struct hy_tensor *h0,
                                struct hy_tensor **ht);

#endif
