/* head_loss.h - the output head and its cross entropy, at the labelled positions only. */
#ifndef HY_OPS_PRODUCTS_HEAD_LOSS_H
#define HY_OPS_PRODUCTS_HEAD_LOSS_H

#include "core/graph/graph.h"

/* x [rows, width], table [V, width], labels [rows, 1] int32, each in [0, V) or negative (not
 * scored). Returns nll [rows, 1]: -log softmax(x table')[label], 0 where not scored; *hit [rows,
 * 1]: 1 where the label is the first of the largest logits, else 0. max_labels: how many rows are
 * scored at most, for planning. In a training graph the gradient of nll is the loss weight of each
 * row, and backward computes nll and hit too, so that the logits are made once. */
struct hy_tensor *hy_head_loss(struct hy_graph *g, struct hy_tensor *x, struct hy_tensor *table,
                               struct hy_tensor *labels, int64_t max_labels,
                               struct hy_tensor **hit);

#endif
