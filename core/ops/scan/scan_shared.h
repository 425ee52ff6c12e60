/* scan_shared.h - the other kernel of the gated scan: for heads that share q and k. */
#ifndef HY_OPS_SCAN_SCAN_SHARED_H
#define HY_OPS_SCAN_SCAN_SHARED_H

#include "core/ops/scan/scan_work.h"

/* For plans that say so (hy_scan_plan.by_chunk). */
void hy_scan_shared_forward(const struct hy_scan_plan *p);
void hy_scan_shared_backward(const struct hy_scan_plan *p);
/* Of the op's scratch. */
int64_t hy_scan_shared_elements(const struct hy_scan_plan *p);

#endif
