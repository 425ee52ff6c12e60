/* delta_scan.h - the delta rule: decay the state, then move what k_t reads from it towards v_t. */
#ifndef HY_OPS_SCAN_DELTA_SCAN_H
#define HY_OPS_SCAN_DELTA_SCAN_H

#include "core/ops/scan/scan.h"

/* As hy_gated_scan, with beta [rows, heads] the rate of the move (0 to 1; up to 2 is stable where
 * k has length 1), and decay NULL for none.
 * DeltaNet (arXiv 2406.06484), Gated DeltaNet (2412.06464), KDA (2510.26692: decay per channel). */
struct hy_tensor *hy_delta_scan(struct hy_graph *g, struct hy_tensor *q, struct hy_tensor *k,
                                struct hy_tensor *v, struct hy_tensor *beta,
                                struct hy_tensor *decay, const struct hy_scan *s,
                                struct hy_tensor *h0, struct hy_tensor **ht);

#endif
