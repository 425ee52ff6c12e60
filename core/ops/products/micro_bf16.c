/* micro_bf16.c - hy_micro_mul with both operands rounded to bf16, by the processor's product of
 * pairs: c += a0 b0 + a1 b1 in each lane, at twice the rate of float32. A word holds two neighbours
 * along k.
 *
 * Compiled for the instructions it needs whatever the build is for: a graph in bf16 exists only
 * where the processor has them (hy_gemm_check). */
#include "core/ops/products/micro.h"

#if defined(__x86_64__) && !defined(HY_DOUBLE)

#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))
#define INLINE static inline __attribute__((always_inline)) TARGET

/* Rows, columns and depth of operands that are packed at a time: they stay in the first cache. */
enum { ROWS = 128, COLS = 2 * HY_LANES, DEPTH = 128, WORDS = DEPTH / 2 };

struct words {
    _Alignas(64) uint32_t word[ROWS * WORDS];
    int64_t row, pair; /* word (i, p) lies at i * row + p * pair */
};

/* to[16] = two rows of 16, number by number side by side. */
INLINE void interleave(const float *even, const float *odd, uint32_t *to)
{
    const __m512i order =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const __m512bh both = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(odd), _mm512_loadu_ps(even));
    _mm512_storeu_si512(to, _mm512_permutexvar_epi16(order, (__m512i)both));
}

INLINE void pack_left(struct words *w, int64_t m, int64_t k, struct hy_left a)
{
    if (a.row == 1) {
        w->row = 1;
        w->pair = ROWS;
        for (int64_t p = 0; p < k / 2; p++)
            for (int64_t i = 0; i < m; i += HY_LANES)
                interleave(a.data + 2 * p * a.col + i, a.data + (2 * p + 1) * a.col + i,
                           w->word + p * ROWS + i);
        return;
    }
    w->row = WORDS;
    w->pair = 1;
    for (int64_t i = 0; i < m; i++)
        for (int64_t p = 0; p < k; p += HY_LANES)
            _mm256_storeu_si256(
                (__m256i *)(w->word + i * WORDS + p / 2),
                (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(a.data + i * a.row + p)));
}

INLINE void pack_right(uint32_t *to, int64_t k, const int vecs, const float *b, int64_t ldb)
{
#pragma GCC unroll 4
    for (int64_t p = 0; p < k / 2; p++, b += 2 * ldb, to += COLS)
#pragma GCC unroll 2
        for (int j = 0; j < vecs; j++)
            interleave(b + j * HY_LANES, b + ldb + j * HY_LANES, to + j * HY_LANES);
}

/* As the kernel of micro.c. */
INLINE void kernel(const int rows, const int vecs, int64_t pairs, const uint32_t *a, int64_t row,
                   int64_t pair, const uint32_t *b, const float *from, const float *keep, float *c,
                   int64_t ldc)
{
    __m512 sum[16][2];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < vecs; j++) {
            sum[i][j] = from ? _mm512_loadu_ps(from + i * ldc + j * HY_LANES) : _mm512_setzero_ps();
            if (keep)
                sum[i][j] = _mm512_mul_ps(sum[i][j], _mm512_set1_ps(keep[i]));
        }
    const uint32_t *four[4];
#pragma GCC unroll 4
    for (int i = 0; i < rows / 4; i++)
        four[i] = a + 4 * i * row;
    for (int64_t p = 0; p < pairs; p++) {
        __m512bh right[2];
#pragma GCC unroll 2
        for (int j = 0; j < vecs; j++)
            right[j] = (__m512bh)_mm512_loadu_si512(b + p * COLS + j * HY_LANES);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            const __m512bh left = (__m512bh)_mm512_set1_epi32((int)four[i / 4][i % 4 * row]);
#pragma GCC unroll 2
            for (int j = 0; j < vecs; j++)
                sum[i][j] = _mm512_dpbf16_ps(sum[i][j], left, right[j]);
        }
#pragma GCC unroll 4
        for (int i = 0; i < rows / 4; i++)
            four[i] += pair;
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int j = 0; j < vecs; j++)
            _mm512_storeu_ps(c + i * ldc + j * HY_LANES, sum[i][j]);
}

/* At most ROWS rows and DEPTH deep. */
TARGET static void multiply(int64_t m, int64_t n, int64_t k, struct hy_left a, const float *b,
                            int64_t ldb, const float *from, const float *keep, float *c,
                            int64_t ldc)
{
    struct words left;
    _Alignas(64) uint32_t right[WORDS * COLS];
    pack_left(&left, m, k, a);
    int64_t j = 0;
    for (; j + COLS <= n; j += COLS) {
        pack_right(right, k, 2, b + j, ldb);
        for (int64_t i = 0; i < m; i += 8)
            kernel(8, 2, k / 2, left.word + i * left.row, left.row, left.pair, right,
                   from ? from + i * ldc + j : 0, keep ? keep + i : 0, c + i * ldc + j, ldc);
    }
    if (j < n)
        pack_right(right, k, 1, b + j, ldb);
    for (int64_t i = 0; j < n && i < m; i += HY_LANES)
        kernel(HY_LANES, 1, k / 2, left.word + i * left.row, left.row, left.pair, right,
               from ? from + i * ldc + j : 0, keep ? keep + i : 0, c + i * ldc + j, ldc);
}

void hy_micro_mul_bf16(int64_t m, int64_t n, int64_t k, struct hy_left a, const hy_real *b,
                       int64_t ldb, const hy_real *from, const hy_real *keep, hy_real *c,
                       int64_t ldc)
{
    for (int64_t i = 0; i < m; i += ROWS)
        for (int64_t p = 0; p < k; p += DEPTH) {
            const struct hy_left part = {a.data + i * a.row + p * a.col, a.row, a.col};
            const hy_real *start = p ? c : from;
            multiply(m - i < ROWS ? m - i : ROWS, n, k - p < DEPTH ? k - p : DEPTH, part,
                     b + p * ldb, ldb, start ? start + i * ldc : 0, keep && !p ? keep + i : 0,
                     c + i * ldc, ldc);
        }
}

#else

void hy_micro_mul_bf16(int64_t m, int64_t n, int64_t k, struct hy_left a, const hy_real *b,
                       int64_t ldb, const hy_real *from, const hy_real *keep, hy_real *c,
                       int64_t ldc)
{
    hy_micro_mul(HY_PRECISION_FLOAT32, m, n, k, a, b, ldb, from, keep, c, ldc);
}

#endif
