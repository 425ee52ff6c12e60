/* gemm_peak.c - what a share of this machine's speed is a share of. */
#include <stdlib.h>

#include "core/base/clock.h"
#include "core/ops/support/gemm.h"

enum { TRIES = 6 };

double hy_gemm_peak(void)
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
            hy_gemm(0, 0, m, n, k, 1, a, k, b, n, 0, c, n);
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
