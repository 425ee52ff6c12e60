/* gemm.h - matrix products: the one place that knows the library. oneDNN in float; in the double
 * build, and where oneDNN is absent, plain loops. */
#ifndef HY_OPS_PRODUCTS_GEMM_H
#define HY_OPS_PRODUCTS_GEMM_H

#include <stdint.h>

#include "core/base/err.h"
#include "core/graph/real.h"

/* C = alpha op(A) op(B) + beta C, row-major; op(A) is [m, k], op(B) [k, n], C [m, n]; op transposes
 * where trans is not 0. lda, ldb, ldc: elements between rows as stored. With beta 0, C may hold
 * anything. Aborts on a failure of the library, which no valid argument causes. */
void hy_gemm(int trans_a, int trans_b, int64_t m, int64_t n, int64_t k, hy_real alpha,
             const hy_real *a, int64_t lda, const hy_real *b, int64_t ldb, hy_real beta, hy_real *c,
             int64_t ldc);

/* HY_E_USAGE, and why, where this machine has no fast products in p. The library heeds
 * DNNL_MAX_CPU_ISA, so this does too. */
int hy_gemm_check(enum hy_precision p, struct hy_err *e);

/* C = op(A) op(B), added to C where add is not 0: operands in bf16, products and sums in float32.
 * The first product of a shape compiles its kernel, the later ones allocate nothing of ours. */
void hy_gemm_bf16(int trans_a, int trans_b, int64_t m, int64_t n, int64_t k, const hy_bf16 *a,
                  int64_t lda, const hy_bf16 *b, int64_t ldb, int add, hy_real *c, int64_t ldc);

/* How many threads a product may use, from now on; without a call the library decides. */
void hy_gemm_set_threads(int threads);

/* FLOP/s of this machine's products in p (as hy_gemm_check allows) at sizes that models have: the
 * best of several tries, half a second at most. 0 when memory is out. */
double hy_gemm_peak(enum hy_precision p);

/* Name and version of the library in use: recorded with every run. */
const char *hy_gemm_library(void);

#endif
