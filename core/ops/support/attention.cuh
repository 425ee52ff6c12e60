/* attention.cuh - attention by products in registers (core/ops/attention_mma.cu), for the twin in
 * core/ops/attention.cu, which has kernels for everything else. */
#ifndef HY_OPS_SUPPORT_ATTENTION_CUH
#define HY_OPS_SUPPORT_ATTENTION_CUH

#include "core/graph/cuda.cuh"

/* Does the op compute what these kernels do, in the precision that they have? */
bool hy_attention_mma_takes(const struct hy_op *op);

void hy_attention_mma_forward(const struct hy_op *op, const struct hy_launch *at);

/* delta: scratch, a row for each token and a column for each head. top: the same, with two columns
 * for each head; where the excess of log sum exp has no gradient there is none. */
void hy_attention_mma_backward(const struct hy_op *op, const struct hy_launch *at,
                               struct hy_span delta, struct hy_span top);

#endif
