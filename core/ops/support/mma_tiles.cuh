/* mma_tiles.cuh - tiles of bf16 in shared memory for products in registers (mma.cuh).
 *
 * A tile lies there as pairs, in one or both of two forms, by what a product sums over. `across`
 * sums over columns: a row of the tile is a row of words, and a lane takes four neighbouring
 * columns as its part of 16, in A and B alike. `down` sums over rows: a word has two neighbouring
 * rows of a column, and a lane takes columns 2g and 2g + 1 of 16, so that it ends up with four
 * neighbouring columns of the result. Either way a lane reads 8 bytes at a time, and rows are
 * padded so that the lanes meet all banks. W: columns, 16, 32, 64 or 128. */
#ifndef HY_OPS_SUPPORT_MMA_TILES_CUH
#define HY_OPS_SUPPORT_MMA_TILES_CUH

#include "core/ops/support/mma.cuh"
#include "core/ops/support/pack.cuh"

/* Words from one row, or pair of rows, to the next. */
template <int W> constexpr int hy_across_ld = W / 2 + (W > 16 ? 8 : 0);
template <int W> constexpr int hy_down_ld = W + 8;

__device__ static inline int hy_lane_group(void)
{
    return (int)threadIdx.x % 32 / 4;
}

__device__ static inline int hy_lane_part(void)
{
    return (int)threadIdx.x % 4;
}

/* What there is of a matrix to bring; what is asked for beyond it is zero. four: its columns can be
 * read four at a time. */
struct hy_part {
    const float *at;
    int64_t ld;
    int rows, width;
    bool four;
};

/* Four neighbours in a row; zeros where there is no row, or beyond as many columns as are left. */
template <bool FOUR>
__device__ static inline hy_pack<4> hy_read_four(const float *from, bool row, int columns)
{
    hy_pack<4> got = {};
    if (FOUR) {
        if (row && columns > 0)
            got = *reinterpret_cast<const hy_pack<4> *>(from);
    } else {
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (row && i < columns)
                got.at[i] = from[i];
    }
    return got;
}

template <int N> struct alignas(N * sizeof(uint32_t)) hy_words {
    uint32_t at[N];
};

template <int N> __device__ static inline hy_words<N> &hy_words_at(uint32_t *at)
{
    return *reinterpret_cast<hy_words<N> *>(at);
}

template <int N> __device__ static inline const hy_words<N> &hy_words_at(const uint32_t *at)
{
    return *reinterpret_cast<const hy_words<N> *>(at);
}

/* Pairs of rows that a thread brings: N of them, `apart` from each other, columns c to c + 3. */
template <int N, bool FOUR>
__device__ static inline void hy_fetch_pairs(const struct hy_part &x, int row, int apart, int c,
                                             hy_pack<4> (*to)[2])
{
    const float *from = x.at + row * x.ld + c;
#pragma unroll
    for (int i = 0; i < N; i++, from += apart * x.ld)
#pragma unroll
        for (int second = 0; second < 2; second++)
            to[i][second] = hy_read_four<FOUR>(from + second * x.ld,
                                               row + i * apart + second < x.rows, x.width - c);
}

/* Four columns of a row in the form for products across; of two rows in that for products down. */
__device__ static inline hy_words<2> hy_words_across(const hy_pack<4> &a)
{
    return {{hy_mma_pair(a.at[0], a.at[1]), hy_mma_pair(a.at[2], a.at[3])}};
}

__device__ static inline hy_words<4> hy_words_down(const hy_pack<4> &a, const hy_pack<4> &b)
{
    return {{hy_mma_pair(a.at[0], b.at[0]), hy_mma_pair(a.at[1], b.at[1]),
             hy_mma_pair(a.at[2], b.at[2]), hy_mma_pair(a.at[3], b.at[3])}};
}

/* Brings ROWS rows from row `first` on, times scale, by all THREADS of a block; across, down: NULL
 * where that form is not wanted. Loads come before stores, so that they are under way together. */
template <int W, int ROWS, int THREADS>
__device__ static inline void hy_bring(const struct hy_part &x, int first, float scale,
                                       uint32_t *across, uint32_t *down)
{
    enum { QUADS = W / 4, ABREAST = THREADS / QUADS, EACH = ROWS / 2 / ABREAST };
    enum { BATCH = EACH < 4 ? EACH : 4 };
    static_assert(EACH > 0 && EACH % BATCH == 0, "a tile is shared out evenly");
    const int c = (int)threadIdx.x % QUADS * 4;
#pragma unroll
    for (int done = 0; done < EACH; done += BATCH) {
        const int pair = (int)threadIdx.x / QUADS + done * ABREAST;
        hy_pack<4> got[BATCH][2];
        if (x.four)
            hy_fetch_pairs<BATCH, true>(x, first + 2 * pair, 2 * ABREAST, c, got);
        else
            hy_fetch_pairs<BATCH, false>(x, first + 2 * pair, 2 * ABREAST, c, got);
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            const int to = pair + i * ABREAST;
#pragma unroll
            for (int j = 0; j < 4; j++) {
                got[i][0].at[j] *= scale;
                got[i][1].at[j] *= scale;
            }
            if (across) {
                uint32_t *at = across + 2 * to * hy_across_ld<W> + c / 2;
                hy_words_at<2>(at) = hy_words_across(got[i][0]);
                hy_words_at<2>(at + hy_across_ld<W>) = hy_words_across(got[i][1]);
            }
            if (down)
                hy_words_at<4>(down + to * hy_down_ld<W> + c) = hy_words_down(got[i][0], got[i][1]);
        }
    }
}

template <int W, bool FOUR>
__device__ static inline void hy_read_operand(const struct hy_part &x, int row, float scale,
                                              uint32_t (*a)[4])
{
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int r = row + hy_lane_group() + 8 * half, c = 4 * hy_lane_part();
        const float *from = x.at + r * x.ld + c;
#pragma unroll
        for (int step = 0; step < W / 16; step++) {
            const hy_pack<4> got =
                hy_read_four<FOUR>(from + 16 * step, r < x.rows, x.width - c - 16 * step);
            a[step][half] = hy_mma_pair(scale * got.at[0], scale * got.at[1]);
            a[step][2 + half] = hy_mma_pair(scale * got.at[2], scale * got.at[3]);
        }
    }
}

/* The operand A of products across: 16 rows from `row` on, times scale. */
template <int W>
__device__ static inline void hy_operand(const struct hy_part &x, int row, float scale,
                                         uint32_t (*a)[4])
{
    if (x.four)
        hy_read_operand<W, true>(x, row, scale, a);
    else
        hy_read_operand<W, false>(x, row, scale, a);
}

/* s = A B' for N x 8 rows B of a tile; `tile`: the first of them. */
template <int W, int N>
__device__ static inline void hy_mul_across(const uint32_t (*a)[4], const uint32_t *tile,
                                            float (*s)[4])
{
    const uint32_t *at = tile + hy_lane_group() * hy_across_ld<W> + 2 * hy_lane_part();
#pragma unroll
    for (int step = 0; step < W / 16; step++)
#pragma unroll
        for (int n = 0; n < N; n++)
            hy_mma(s[n], a[step], hy_words_at<2>(at + 8 * n * hy_across_ld<W> + 8 * step).at);
}

/* The same with A in shared memory: 16 rows of a tile. */
template <int W, int N>
__device__ static inline void hy_mul_shared(const uint32_t *rows, const uint32_t *tile,
                                            float (*s)[4])
{
    const int lane = hy_lane_group() * hy_across_ld<W> + 2 * hy_lane_part();
#pragma unroll
    for (int step = 0; step < W / 16; step++) {
        const hy_words<2> top = hy_words_at<2>(rows + lane + 8 * step);
        const hy_words<2> bottom = hy_words_at<2>(rows + lane + 8 * hy_across_ld<W> + 8 * step);
        const uint32_t a[4] = {top.at[0], bottom.at[0], top.at[1], bottom.at[1]};
#pragma unroll
        for (int n = 0; n < N; n++)
            hy_mma(s[n], a, hy_words_at<2>(tile + lane + 8 * n * hy_across_ld<W> + 8 * step).at);
    }
}

/* sum += A B for 16 rows B of a tile, of which `tile` is the first pair; A is two neighbours among
 * the results of products across. */
template <int W>
__device__ static inline void hy_mul_down(const float (*s)[4], const uint32_t *tile,
                                          float (*sum)[4])
{
    const uint32_t a[4] = {hy_mma_pair(s[0][0], s[0][1]), hy_mma_pair(s[0][2], s[0][3]),
                           hy_mma_pair(s[1][0], s[1][1]), hy_mma_pair(s[1][2], s[1][3])};
    const uint32_t *at = tile + hy_lane_part() * hy_down_ld<W> + 2 * hy_lane_group();
#pragma unroll
    for (int n = 0; n < W / 8; n += 2) {
        const hy_words<2> top = hy_words_at<2>(at + 8 * n);
        const hy_words<2> bottom = hy_words_at<2>(at + 4 * hy_down_ld<W> + 8 * n);
        const uint32_t even[2] = {top.at[0], bottom.at[0]}, odd[2] = {top.at[1], bottom.at[1]};
        hy_mma(sum[n], a, even);
        hy_mma(sum[n + 1], a, odd);
    }
}

/* Over the lanes that share a row of a result. */
__device__ static inline float hy_row_sum(float x)
{
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

__device__ static inline float hy_row_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

#endif
