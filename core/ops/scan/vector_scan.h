/* vector_scan.h - a gated recurrence of vectors, channel by channel: h_t = e^{g_t} h_{t-1} + x_t.
 */
#ifndef HY_OPS_SCAN_VECTOR_SCAN_H
#define HY_OPS_SCAN_VECTOR_SCAN_H

#include "core/graph/graph.h"

/* x, decay [rows, n], decay the log decay g <= 0; returns h [rows, n]. h0 [batch, n] or NULL: zero.
 * ht: as for hy_gated_scan. Backward: dx_t = dh_t + e^{g_{t+1}} dx_{t+1}, dg_t = h_{t-1} e^{g_t}
 * dx_t. HGRN (arXiv 2311.04823), whose factor 1 - e^g the caller has put into x. */
struct hy_tensor *hy_vector_scan(struct hy_graph *g, struct hy_tensor *x, struct hy_tensor *decay,
                                 struct hy_tensor *h0, struct hy_tensor **ht);

#endif
