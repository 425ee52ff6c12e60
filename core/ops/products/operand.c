#include "core/ops/products/operand.h"

#include "core/graph/bf16.h"
#include "core/ops/products/micro.h"
#include "core/ops/support/tile.h"

/* A square of the transposition: two rows of bf16 to a row of words. COLUMNS are rounded, and then
 * turned, while they are in the first cache. */
enum { WORDS = 16, ROWS = 2 * WORDS, COLUMNS = 256 };

static void turn_edge(int64_t m, int64_t n, const hy_bf16 *y, int64_t ldy, hy_bf16 *turned,
                      int64_t ldt)
{
    for (int64_t c = 0; c < n; c++)
        for (int64_t i = 0; i < m; i++)
            turned[c * ldt + i] = y[i * ldy + c];
}

#ifdef HY_DOUBLE

static void turn_square(const hy_bf16 *y, int64_t ldy, hy_bf16 *turned, int64_t ldt)
{
    turn_edge(ROWS, WORDS, y, ldy, turned, ldt);
}

#else

/* Word (p, c) holds rows 2p and 2p + 1 of column c, so transposed words are columns of rows. */
static void turn_square(const hy_bf16 *y, int64_t ldy, hy_bf16 *turned, int64_t ldt)
{
    union {
        uint32_t words[WORDS][WORDS];
        float numbers[WORDS * WORDS];
    } from, to;
    for (int p = 0; p < WORDS; p++, y += 2 * ldy)
#pragma omp simd
        for (int c = 0; c < WORDS; c++)
            from.words[p][c] = (uint32_t)y[c] | (uint32_t)y[ldy + c] << 16;
    hy_micro_transpose(WORDS, WORDS, from.numbers, WORDS, to.numbers, WORDS);
    for (int c = 0; c < WORDS; c++)
        memcpy(turned + c * ldt, to.words[c], sizeof to.words[c]);
}

#endif

void hy_operand_round(int64_t m, int64_t n, const hy_real *x, int64_t ldx, hy_bf16 *y,
                      hy_bf16 *turned)
{
    const int64_t ldt = hy_turned_ld(m);
    for (int64_t i = 0; i < m; i += ROWS)
        for (int64_t c = 0; c < n; c += COLUMNS) {
            const int64_t rows = hy_min(ROWS, m - i), cols = hy_min(COLUMNS, n - c);
            for (int64_t k = i; k < i + rows; k++)
                hy_bf16_round(1, cols, x + k * ldx + c, ldx, y + k * n + c);
            if (!turned)
                continue;
            const int64_t whole = rows == ROWS ? cols / WORDS * WORDS : 0;
            for (int64_t k = c; k < c + whole; k += WORDS)
                turn_square(y + i * n + k, n, turned + k * ldt + i, ldt);
            turn_edge(rows, cols - whole, y + i * n + c + whole, n, turned + (c + whole) * ldt + i,
                      ldt);
        }
}
