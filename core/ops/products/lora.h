/* lora.h - low-rank additions to a product (LoRA, arXiv 2106.09685):
 *   y = y0, and in the columns of addition i: y0 + scale h_i b_i'
 * where h_i = x a_i' are columns of one matrix. */
#ifndef HY_OPS_PRODUCTS_LORA_H
#define HY_OPS_PRODUCTS_LORA_H

#include "core/graph/graph.h"

enum { HY_MAX_LORA = 8 };

/* y0 [rows, N]; h [rows, count * rank], the additions' parts side by side; b[i] [width i, rank], at
 * most HY_MAX_LORA of them; first[i]: of its width i columns of y0, which no two have in common.
 * Returns [rows, N]. */
struct hy_tensor *hy_lora(struct hy_graph *g, struct hy_tensor *y0, struct hy_tensor *h, int count,
                          struct hy_tensor *const *b, const int64_t *first, double scale);

#endif
