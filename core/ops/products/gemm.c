#include "core/ops/products/gemm.h"

#include <stdio.h>
#include <stdlib.h>

#if defined(HY_DOUBLE) || defined(HY_WITHOUT_DNNL)

const char *hy_gemm_library(void)
{
    return "loops";
}

void hy_gemm_set_threads(int threads)
{
    (void)threads;
}

void hy_gemm(int trans_a, int trans_b, int64_t m, int64_t n, int64_t k, hy_real alpha,
             const hy_real *a, int64_t lda, const hy_real *b, int64_t ldb, hy_real beta, hy_real *c,
             int64_t ldc)
{
    for (int64_t i = 0; i < m; i++) {
        hy_real *row = c + i * ldc;
        for (int64_t j = 0; j < n; j++)
            row[j] = beta == 0 ? 0 : beta * row[j];
        for (int64_t p = 0; p < k; p++) {
            const hy_real x = alpha * (trans_a ? a[p * lda + i] : a[i * lda + p]);
            if (trans_b) {
                for (int64_t j = 0; j < n; j++)
                    row[j] += x * b[j * ldb + p];
            } else {
                const hy_real *from = b + p * ldb;
                for (int64_t j = 0; j < n; j++)
                    row[j] += x * from[j];
            }
        }
    }
}

#else

#include <dnnl.h>
#include <omp.h>

/* oneDNN takes its threads from the OpenMP runtime that it shares with us. */
void hy_gemm_set_threads(int threads)
{
    omp_set_num_threads(threads);
}

const char *hy_gemm_library(void)
{
    static char text[48];
    if (!text[0]) {
        const dnnl_version_t *v = dnnl_version();
        snprintf(text, sizeof text, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
    }
    return text;
}

void hy_gemm(int trans_a, int trans_b, int64_t m, int64_t n, int64_t k, hy_real alpha,
             const hy_real *a, int64_t lda, const hy_real *b, int64_t ldb, hy_real beta, hy_real *c,
             int64_t ldc)
{
    if (dnnl_sgemm(trans_a ? 'T' : 'N', trans_b ? 'T' : 'N', m, n, k, alpha, a, lda, b, ldb, beta,
                   c, ldc) != dnnl_success) {
        fprintf(stderr, "hylas: oneDNN refused a product of [%lld, %lld] by [%lld, %lld]\n",
                (long long)m, (long long)k, (long long)k, (long long)n);
        abort();
    }
}

#endif
