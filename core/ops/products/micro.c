#include "core/ops/products/micro.h"

#ifdef HY_DOUBLE
static const hy_lane_index low_half = {0, 8, 1, 9, 2, 10, 3, 11};
static const hy_lane_index high_half = {4, 12, 5, 13, 6, 14, 7, 15};
#else
static const hy_lane_index low_half = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23};
static const hy_lane_index high_half = {8,  24, 9,  25, 10, 26, 11, 27,
                                        12, 28, 13, 29, 14, 30, 15, 31};
#endif

/* rows x vecs accumulators stay in registers: 16 of the 32 that AVX-512 has. Both are constants
 * where this is inlined. */
static inline __attribute__((always_inline)) void
kernel(const int rows, const int vecs, int64_t k, struct hy_left a, const hy_real *b, int64_t ldb,
       const hy_real *from, const hy_real *keep, hy_real *c, int64_t ldc)
{
    hy_vec sum[16][2];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < vecs; j++) {
            sum[i][j] = (hy_vec){0};
            if (from)
                sum[i][j] = hy_vec_load(from + i * ldc + j * HY_LANES);
            if (keep)
                sum[i][j] *= keep[i];
        }
    /* Four rows to a pointer: a pointer or an offset for each would not fit the registers. */
    const hy_real *four[4];
#pragma GCC unroll 4
    for (int i = 0; i < rows / 4; i++)
        four[i] = a.data + 4 * i * a.row;
    for (int64_t p = 0; p < k; p++) {
        hy_vec right[2];
#pragma GCC unroll 2
        for (int j = 0; j < vecs; j++)
            right[j] = hy_vec_load(b + p * ldb + j * HY_LANES);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            const hy_real left = four[i / 4][i % 4 * a.row];
#pragma GCC unroll 2
            for (int j = 0; j < vecs; j++)
                sum[i][j] += left * right[j];
        }
#pragma GCC unroll 4
        for (int i = 0; i < rows / 4; i++)
            four[i] += a.col;
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < vecs; j++)
            hy_vec_store(c + i * ldc + j * HY_LANES, sum[i][j]);
}

void hy_micro_mul(enum hy_precision precision, int64_t m, int64_t n, int64_t k, struct hy_left a,
                  const hy_real *b, int64_t ldb, const hy_real *from, const hy_real *keep,
                  hy_real *c, int64_t ldc)
{
    enum { WIDE = 2 * HY_LANES };
    /* Rounding costs more than it saves where an element is then multiplied a few times only. */
    if (precision == HY_PRECISION_BF16 && (m >= 4 * HY_LANES || k >= 2 * HY_LANES)) {
        hy_micro_mul_bf16(m, n, k, a, b, ldb, from, keep, c, ldc);
        return;
    }
    int64_t j = 0;
    for (; j + WIDE <= n; j += WIDE) {
        for (int64_t i = 0; i < m; i += 8) {
            const struct hy_left part = {a.data + i * a.row, a.row, a.col};
            kernel(8, 2, k, part, b + j, ldb, from ? from + i * ldc + j : 0, keep ? keep + i : 0,
                   c + i * ldc + j, ldc);
        }
    }
    for (int64_t i = 0; j < n && i < m; i += HY_LANES) {
        const struct hy_left part = {a.data + i * a.row, a.row, a.col};
        kernel(HY_LANES, 1, k, part, b + j, ldb, from ? from + i * ldc + j : 0, keep ? keep + i : 0,
               c + i * ldc + j, ldc);
    }
}

/* log2(lanes) rounds of perfect shuffles transpose a square. */
static void transpose_square(const hy_real *x, int64_t ldx, hy_real *y, int64_t ldy)
{
    hy_vec now[HY_LANES], next[HY_LANES];
#pragma GCC unroll 16
    for (int i = 0; i < HY_LANES; i++)
        now[i] = hy_vec_load(x + i * ldx);
#pragma GCC unroll 4
    for (int round = 1; round < HY_LANES; round *= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < HY_LANES / 2; i++) {
            next[2 * i] = hy_vec_shuffle(now[i], now[i + HY_LANES / 2], low_half);
            next[2 * i + 1] = hy_vec_shuffle(now[i], now[i + HY_LANES / 2], high_half);
        }
#pragma GCC unroll 16
        for (int i = 0; i < HY_LANES; i++)
            now[i] = next[i];
    }
#pragma GCC unroll 16
    for (int i = 0; i < HY_LANES; i++)
        hy_vec_store(y + i * ldy, now[i]);
}

void hy_micro_transpose(int64_t m, int64_t n, const hy_real *x, int64_t ldx, hy_real *y,
                        int64_t ldy)
{
    for (int64_t i = 0; i < m; i += HY_LANES)
        for (int64_t j = 0; j < n; j += HY_LANES)
            transpose_square(x + i * ldx + j, ldx, y + j * ldy + i, ldy);
}
