/* gemm_peak.c - what a share of this machine's speed is a share of. */
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/ops/products/gemm.h"

enum { TRIES = 6 };

/* Zeros are the same in either precision. */
static void multiply(enum hy_precision p, int64_t m, int64_t n, int64_t k, const void *a,
                     const void *b, hy_real *c)
{
    if (p == HY_PRECISION_BF16)
        hy_gemm_bf16(0, 0, m, n, k, a, k, b, n, 0, c, n);
    else
        hy_gemm(0, 0, m, n, k, 1, a, k, b, n, 0, c, n);
}

double hy_gemm_peak(enum hy_precision p)
{
    static const int64_t shapes[][3] = {{1024, 1024, 1024}, {4096, 256, 256}, {2048, 1024, 512}};
    double best = 0;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        const int64_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
        hy_real *a = calloc((size_t)(m * k), sizeof *a), *b = calloc((size_t)(k * n), sizeof *b);
        hy_real *c = calloc((size_t)(m * n), sizeof *c);
        /* The first try also sets the library up; being the slowest, it does not count. */
        for (int i = 0; a && b && c && i < TRIES; i++) {
            const double start = hy_now();
            multiply(p, m, n, k, a, b, c);
            const double rate = 2.0 * (double)m * (double)n * (double)k / (hy_now() - start);
            if (rate > best)
                best = rate;
        }
        free(a);
        free(b);
        free(c);
    }
    return best;
}
