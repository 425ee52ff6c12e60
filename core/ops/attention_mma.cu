/* attention_mma.cu - attention with bf16 operands, for attention.cu: the same walks over tiles, but
 * a warp keeps 16 rows of everything that it works on in registers (arXiv 2307.08691). Forward it
 * has 16 queries, their scores against the keys of a tile, their output; the scores' exponentials
 * are an operand of the next product where they are. Backward a warp has 16 queries for dq and 16
 * keys for dk and dv.
 *
 * Shared memory holds the tile that is walked over, as pairs of bf16, in one or both of two forms,
 * by what a product sums over. `across` sums over columns: a row of the tile is a row of words, and
 * a lane takes four neighbouring columns as its part of 16, in A and B alike. `down` sums over
 * rows: a word has two neighbouring rows of a column, and a lane takes columns 2g and 2g + 1 of 16,
 * so that it ends up with four neighbouring columns of the result. Either way a lane reads 8 bytes
 * at a time, and rows are padded so that the lanes meet all banks. */
#include "core/ops/support/attention.cuh"

#include <limits.h>

#include "core/ops/support/mma.cuh"
#include "core/ops/support/tiles.cuh"

extern "C" {
#include "core/ops/attention.h"
}

enum { Q, K, V };
enum { O, LSE };
/* A block of threads has ROWS queries, or keys, and walks over tiles of ROWS (`walked<W>` in
 * backward over queries); what it does in backward it does for CHUNK of them at a time. */
enum { WARPS = 4, THREADS = 32 * WARPS, ROWS = 16 * WARPS, CHUNK = 32 };

/* Words from one row to the next, in either form. */
template <int W> constexpr int across_ld = W / 2 + (W > 16 ? 8 : 0);
template <int W> constexpr int down_ld = W + 8;
template <int W> constexpr int across_words = ROWS *across_ld<W>;
template <int W> constexpr int down_words = ROWS / 2 * down_ld<W>;

/* Wide heads leave no registers for a block's keys and values while it walks over queries, so these
 * lie in shared memory, and fewer queries beside them. */
template <int W> constexpr bool keeps = W <= 64;
template <int W> constexpr int walked = keeps<W> ? ROWS : ROWS / 2;

/* Bytes of shared memory. */
template <int W> constexpr size_t forward_bytes = 4 * (across_words<W> + down_words<W>);
template <int W> constexpr size_t queries_bytes = 4 * (2 * across_words<W> + down_words<W>);
template <int W>
constexpr size_t keys_bytes = 4 * (2 * (across_words<W> + down_words<W>)*walked<W> / ROWS +
                                   2 * walked<W> + (keeps<W> ? 0 : 2 * across_words<W>));

static const float LOG2E = 1.4426950408889634f;

/* Heads side by side in a matrix. */
struct heads {
    struct hy_span all;
    int width;
    bool four; /* whose columns can be taken four at a time */
};

struct plan {
    int batch, heads, kv_heads, tokens;
    int window; /* INT_MAX: none */
    float scale;
    struct heads q, k, v, o;
    struct hy_span lse;
    struct heads d_o, dq, dk, dv; /* backward */
    struct hy_span dlse, delta;
};

/* Where a block works; kv_head: whose keys it has. */
struct place {
    int tile, head, kv_head;
    int64_t row; /* its sequence's first */
};

__device__ static inline struct place place_of(const struct plan &p, int heads)
{
    const unsigned tiles = (unsigned)(p.tokens + ROWS - 1) / ROWS, rest = blockIdx.x / tiles;
    struct place at;
    at.tile = (int)(blockIdx.x % tiles);
    at.head = (int)(rest % (unsigned)heads);
    at.kv_head = at.head / (heads / p.kv_heads);
    at.row = (int64_t)(rest / (unsigned)heads) * p.tokens;
    return at;
}

__device__ static inline int lane_group(void)
{
    return (int)threadIdx.x % 32 / 4;
}

__device__ static inline int lane_part(void)
{
    return (int)threadIdx.x % 4;
}

/* The first of the 16 rows of the block's ROWS that are this warp's. */
__device__ static inline int warp_row(void)
{
    return (int)threadIdx.x / 32 * 16;
}

/* ---- Moving ---- */

/* One head of one sequence; rows: that there are. */
struct part {
    const float *at;
    int64_t ld;
    int rows, width;
    bool four;
};

__device__ static inline struct part part_of(const struct plan &p, const struct heads &x,
                                             int64_t row, int head)
{
    return {hy_row(x.all, row) + head * x.width, x.all.ld, x.all.data ? p.tokens : 0, x.width,
            x.four};
}

/* Columns c to c + 3 of a row, c a multiple of 4; zeros beyond the matrix. */
template <bool FOUR> __device__ static inline hy_pack<4> read(const struct part &x, int row, int c)
{
    hy_pack<4> got = {};
    const float *from = x.at + row * x.ld + c;
    if (FOUR) {
        if (row < x.rows && c < x.width)
            got = *reinterpret_cast<const hy_pack<4> *>(from);
    } else {
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (row < x.rows && c + i < x.width)
                got.at[i] = from[i];
    }
    return got;
}

template <int N> struct alignas(N * sizeof(uint32_t)) words {
    uint32_t at[N];
};

template <int N> __device__ static inline words<N> &words_at(uint32_t *at)
{
    return *reinterpret_cast<words<N> *>(at);
}

template <int N> __device__ static inline const words<N> &words_at(const uint32_t *at)
{
    return *reinterpret_cast<const words<N> *>(at);
}

/* Pairs of rows that a thread brings: N of them, `apart` from each other, columns c to c + 3. */
template <int N, bool FOUR>
__device__ static inline void fetch(const struct part &x, int row, int apart, int c,
                                    hy_pack<4> (*to)[2])
{
#pragma unroll
    for (int i = 0; i < N; i++)
#pragma unroll
        for (int second = 0; second < 2; second++)
            to[i][second] = read<FOUR>(x, row + i * apart + second, c);
}

/* Brings COUNT rows from row `first` on, times scale, by all threads; across, down: NULL where that
 * form is not wanted. Loads come before stores, so that they are under way together. */
template <int W, int COUNT>
__device__ static inline void stage(const struct part &x, int first, float scale, uint32_t *across,
                                    uint32_t *down)
{
    enum { QUADS = W / 4, ABREAST = THREADS / QUADS, EACH = COUNT / 2 / ABREAST };
    enum { BATCH = EACH < 4 ? EACH : 4 };
    static_assert(EACH > 0 && EACH % BATCH == 0, "a tile is shared out evenly");
    const int c = (int)threadIdx.x % QUADS * 4;
#pragma unroll
    for (int done = 0; done < EACH; done += BATCH) {
        const int pair = (int)threadIdx.x / QUADS + done * ABREAST;
        hy_pack<4> got[BATCH][2];
        if (x.four)
            fetch<BATCH, true>(x, first + 2 * pair, 2 * ABREAST, c, got);
        else
            fetch<BATCH, false>(x, first + 2 * pair, 2 * ABREAST, c, got);
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            const int to = pair + i * ABREAST;
            const hy_pack<4> &a = got[i][0], &b = got[i][1];
            if (across) {
                words_at<2>(across + 2 * to * across_ld<W> +
                            c / 2) = {{hy_mma_pair(scale * a.at[0], scale * a.at[1]),
                                       hy_mma_pair(scale * a.at[2], scale * a.at[3])}};
                words_at<2>(across + (2 * to + 1) * across_ld<W> +
                            c / 2) = {{hy_mma_pair(scale * b.at[0], scale * b.at[1]),
                                       hy_mma_pair(scale * b.at[2], scale * b.at[3])}};
            }
            if (down)
                words_at<4>(down + to * down_ld<W> +
                            c) = {{hy_mma_pair(scale * a.at[0], scale * b.at[0]),
                                   hy_mma_pair(scale * a.at[1], scale * b.at[1]),
                                   hy_mma_pair(scale * a.at[2], scale * b.at[2]),
                                   hy_mma_pair(scale * a.at[3], scale * b.at[3])}};
        }
    }
}

template <int W, bool FOUR>
__device__ static inline void read_operand(const struct part &x, int row, float scale,
                                           uint32_t (*a)[4])
{
#pragma unroll
    for (int step = 0; step < W / 16; step++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const hy_pack<4> got =
                read<FOUR>(x, row + lane_group() + 8 * half, 16 * step + 4 * lane_part());
            a[step][half] = hy_mma_pair(scale * got.at[0], scale * got.at[1]);
            a[step][2 + half] = hy_mma_pair(scale * got.at[2], scale * got.at[3]);
        }
}

/* The operand A of products across: 16 rows from `row` on, times scale. */
template <int W>
__device__ static inline void operand(const struct part &x, int row, float scale, uint32_t (*a)[4])
{
    if (x.four)
        read_operand<W, true>(x, row, scale, a);
    else
        read_operand<W, false>(x, row, scale, a);
}

/* One of the lane's two rows of a result that products down left in sum, times factor. */
template <int W>
__device__ static inline void give(const struct heads &to, int64_t row, int head,
                                   const float (*sum)[4], int half, float factor)
{
#pragma unroll
    for (int n = 0; n < W / 8; n += 2) {
        const int c = 8 * n + 4 * lane_part(), at = head * to.width + c;
        const hy_pack<4> four = {{factor * sum[n][2 * half], factor * sum[n + 1][2 * half],
                                  factor * sum[n][2 * half + 1],
                                  factor * sum[n + 1][2 * half + 1]}};
        if (to.four && c < to.width)
            hy_give<4>(to.all, row, at, four);
        for (int i = 0; !to.four && i < 4 && c + i < to.width; i++)
            hy_give<1>(to.all, row, at + i, {{four.at[i]}});
    }
}

/* ---- Products ---- */

/* s = A B' for N x 8 rows B of a tile; `tile`: the first of them. */
template <int W, int N>
__device__ static inline void mul_across(const uint32_t (*a)[4], const uint32_t *tile,
                                         float (*s)[4])
{
    const uint32_t *at = tile + lane_group() * across_ld<W> + 2 * lane_part();
#pragma unroll
    for (int step = 0; step < W / 16; step++)
#pragma unroll
        for (int n = 0; n < N; n++)
            hy_mma(s[n], a[step], words_at<2>(at + 8 * n * across_ld<W> + 8 * step).at);
}

/* The same with A in shared memory: 16 rows of a tile. */
template <int W, int N>
__device__ static inline void mul_shared(const uint32_t *rows, const uint32_t *tile, float (*s)[4])
{
    const int lane = lane_group() * across_ld<W> + 2 * lane_part();
#pragma unroll
    for (int step = 0; step < W / 16; step++) {
        const words<2> top = words_at<2>(rows + lane + 8 * step);
        const words<2> bottom = words_at<2>(rows + lane + 8 * across_ld<W> + 8 * step);
        const uint32_t a[4] = {top.at[0], bottom.at[0], top.at[1], bottom.at[1]};
#pragma unroll
        for (int n = 0; n < N; n++)
            hy_mma(s[n], a, words_at<2>(tile + lane + 8 * n * across_ld<W> + 8 * step).at);
    }
}

/* sum += A B for 16 rows B of a tile, of which `tile` is the first pair; A is two neighbours among
 * the results of products across. */
template <int W>
__device__ static inline void mul_down(const float (*s)[4], const uint32_t *tile, float (*sum)[4])
{
    const uint32_t a[4] = {hy_mma_pair(s[0][0], s[0][1]), hy_mma_pair(s[0][2], s[0][3]),
                           hy_mma_pair(s[1][0], s[1][1]), hy_mma_pair(s[1][2], s[1][3])};
    const uint32_t *at = tile + lane_part() * down_ld<W> + 2 * lane_group();
#pragma unroll
    for (int n = 0; n < W / 8; n += 2) {
        const words<2> top = words_at<2>(at + 8 * n);
        const words<2> bottom = words_at<2>(at + 4 * down_ld<W> + 8 * n);
        const uint32_t even[2] = {top.at[0], bottom.at[0]}, odd[2] = {top.at[1], bottom.at[1]};
        hy_mma(sum[n], a, even);
        hy_mma(sum[n + 1], a, odd);
    }
}

/* Over the lanes that share a row of a result. */
__device__ static inline float row_sum(float x)
{
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

__device__ static inline float row_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

/* ---- Forward ---- */

/* The number of the first tile that queries from number `query` on see. */
__device__ static inline int first_tile(const struct plan &p, int query)
{
    return query >= p.window ? (query - p.window + 1) / ROWS : 0;
}

/* The last of a warp's 16 rows that there is; none: so low that nothing is seen. */
__device__ static inline int last_row(const struct plan &p, int first)
{
    return first < p.tokens ? min(15, p.tokens - 1 - first) : INT_MIN / 2;
}

/* Scores of a warp's queries become exponentials over the running maximum; sum and o are brought to
 * the new one. ahead: of the tile's first key before the warp's first query. */
template <int W>
__device__ static inline void soften(const struct plan &p, int ahead, float (*s)[4], float *most,
                                     float *sum, float (*o)[4])
{
    const bool whole = ahead + ROWS - 1 <= 0 && ahead - 15 > -p.window;
    const int lane = ahead + 2 * lane_part() - lane_group();
    float high[2] = {most[0], most[1]}, base[2];
#pragma unroll
    for (int n = 0; n < ROWS / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const int at = lane + 8 * n + e % 2 - 8 * (e / 2);
            if (!whole && (at > 0 || at <= -p.window))
                s[n][e] = -INFINITY;
            high[e / 2] = fmaxf(high[e / 2], s[n][e]);
        }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        high[half] = row_max(high[half]);
        base[half] = high[half] == -INFINITY ? 0 : LOG2E * high[half]; /* nothing seen so far */
        const float factor = exp2f(LOG2E * most[half] - base[half]);
        most[half] = high[half];
        sum[half] *= factor;
#pragma unroll
        for (int n = 0; n < W / 8; n++) {
            o[n][2 * half] *= factor;
            o[n][2 * half + 1] *= factor;
        }
    }
#pragma unroll
    for (int n = 0; n < ROWS / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            s[n][e] = exp2f(fmaf(LOG2E, s[n][e], -base[e / 2]));
            sum[e / 2] += s[n][e];
        }
}

template <int W>
__global__ static void __launch_bounds__(THREADS, W > 64 ? 2 : 4) forward(struct plan p)
{
    HY_SHARED(uint32_t, k);
    uint32_t *const v = k + across_words<W>;
    struct place at = place_of(p, p.heads);
    at.tile = (p.tokens - 1) / ROWS - at.tile; /* long ones start first */
    const int query = at.tile * ROWS + warp_row(), last = last_row(p, query);
    const struct part keys = part_of(p, p.k, at.row, at.kv_head);
    const struct part values = part_of(p, p.v, at.row, at.kv_head);
    uint32_t q[W / 16][4];
    float o[W / 8][4] = {}, most[2] = {-INFINITY, -INFINITY}, sum[2] = {};
    operand<W>(part_of(p, p.q, at.row, at.head), query, p.scale, q);
    for (int tile = first_tile(p, at.tile * ROWS); tile <= at.tile; tile++) {
        const int ahead = tile * ROWS - query;
        stage<W, ROWS>(keys, tile * ROWS, 1, k, NULL);
        stage<W, ROWS>(values, tile * ROWS, 1, NULL, v);
        __syncthreads();
        if (ahead <= last && ahead + ROWS - 1 > -p.window) {
            float s[ROWS / 8][4] = {};
#pragma unroll
            for (int n = 0; n < ROWS / 8; n += 2)
                if (ahead + 8 * n <= last)
                    mul_across<W, 2>(q, k + 8 * n * across_ld<W>, s + n);
            soften<W>(p, ahead, s, most, sum, o);
#pragma unroll
            for (int n = 0; n < ROWS / 8; n += 2)
                if (ahead + 8 * n <= last)
                    mul_down<W>(s + n, v + 4 * n * down_ld<W>, o);
        }
        __syncthreads();
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int row = query + lane_group() + 8 * half;
        const float total = row_sum(sum[half]);
        if (row >= p.tokens)
            continue;
        give<W>(p.o, at.row + row, at.head, o, half, 1 / total);
        if (lane_part() == 0)
            hy_row(p.lse, at.row + row)[at.head] = most[half] + logf(total);
    }
}

/* ---- Backward ---- */

/* dq, and delta = sum P dP - dlse. The output is not kept for backward, so a first walk finds
 * delta; the second goes the other way and finds the last tile where it is. */
template <int W>
__global__ static void __launch_bounds__(THREADS, W > 64 ? 2 : 3) backward_queries(struct plan p)
{
    HY_SHARED(uint32_t, k);
    uint32_t *const v = k + across_words<W>, *const k_down = v + across_words<W>;
    struct place at = place_of(p, p.heads);
    at.tile = (p.tokens - 1) / ROWS - at.tile;
    const int query = at.tile * ROWS + warp_row(), last = last_row(p, query);
    const struct part keys = part_of(p, p.k, at.row, at.kv_head);
    const struct part values = part_of(p, p.v, at.row, at.kv_head);
    uint32_t q[W / 16][4], d_o[W / 16][4];
    float dq[W / 8][4] = {}, lse[2] = {}, delta[2] = {};
    operand<W>(part_of(p, p.q, at.row, at.head), query, p.scale, q);
    operand<W>(part_of(p, p.d_o, at.row, at.head), query, 1, d_o);
#pragma unroll
    for (int half = 0; half < 2; half++)
        if (lane_group() + 8 * half <= last)
            lse[half] = LOG2E * hy_row(p.lse, at.row + query + lane_group() + 8 * half)[at.head];
    const int first = first_tile(p, at.tile * ROWS), tiles = at.tile + 1 - first;
    for (int step = 0; step < (p.dq.all.data ? 2 : 1) * tiles; step++) {
        const int tile = first + (step < tiles ? step : 2 * tiles - 1 - step);
        if (step != tiles) {
            __syncthreads();
            stage<W, ROWS>(keys, tile * ROWS, 1, k, k_down);
            stage<W, ROWS>(values, tile * ROWS, 1, v, NULL);
            __syncthreads();
        }
#pragma unroll 1
        for (int key = 0; key < ROWS; key += CHUNK) {
            const int ahead = tile * ROWS + key - query;
            if (ahead > last || ahead + CHUNK - 1 <= -p.window)
                continue;
            const bool whole = ahead + CHUNK - 1 <= 0 && ahead - 15 > -p.window;
            const int lane = ahead + 2 * lane_part() - lane_group();
            float s[CHUNK / 8][4] = {}, dp[CHUNK / 8][4] = {};
            mul_across<W, CHUNK / 8>(q, k + key * across_ld<W>, s);
            mul_across<W, CHUNK / 8>(d_o, v + key * across_ld<W>, dp);
#pragma unroll
            for (int n = 0; n < CHUNK / 8; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    const int to = lane + 8 * n + e % 2 - 8 * (e / 2);
                    const bool seen = whole || (to <= 0 && to > -p.window);
                    s[n][e] = seen ? exp2f(fmaf(LOG2E, s[n][e], -lse[e / 2])) : 0;
                    if (step < tiles)
                        delta[e / 2] += s[n][e] * dp[n][e];
                    else
                        s[n][e] *= dp[n][e] - delta[e / 2];
                }
            if (step >= tiles)
#pragma unroll
                for (int n = 0; n < CHUNK / 8; n += 2)
                    mul_down<W>(s + n, k_down + (key / 2 + 4 * n) * down_ld<W>, dq);
        }
        if (step != tiles - 1)
            continue;
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int row = query + lane_group() + 8 * half;
            delta[half] = row_sum(delta[half]);
            if (row >= p.tokens)
                continue;
            if (p.dlse.data)
                delta[half] -= hy_row(p.dlse, at.row + row)[at.head];
            if (lane_part() == 0)
                hy_row(p.delta, at.row + row)[at.head] = delta[half];
        }
    }
#pragma unroll
    for (int half = 0; half < 2; half++)
        if (lane_group() + 8 * half <= last)
            give<W>(p.dq, at.row + query + lane_group() + 8 * half, at.head, dq, half, p.scale);
}

/* P and dS of a chunk of queries, as columns; below: of the warp's first key behind the first of
 * them. lse, delta: the queries'. */
__device__ static inline void differentiate(const struct plan &p, int below, const float *lse,
                                            const float *delta, float (*s)[4], float (*dp)[4])
{
    const bool whole = below + 15 <= 0 && below - (CHUNK - 1) > -p.window;
    const int lane = below + lane_group() - 2 * lane_part();
#pragma unroll
    for (int n = 0; n < CHUNK / 8; n++) {
        const int column = 8 * n + 2 * lane_part();
        const hy_pack<2> sums = *reinterpret_cast<const hy_pack<2> *>(lse + column);
        const hy_pack<2> less = *reinterpret_cast<const hy_pack<2> *>(delta + column);
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const int to = lane - 8 * n - e % 2 + 8 * (e / 2);
            const bool seen = whole || (to <= 0 && to > -p.window);
            s[n][e] = seen ? exp2f(fmaf(LOG2E, s[n][e], -sums.at[e % 2])) : 0;
            dp[n][e] = s[n][e] * (dp[n][e] - less.at[e % 2]);
        }
    }
}

/* dk and dv, over the queries of all heads that share the keys, one head after another. */
template <int W>
__global__ static void __launch_bounds__(THREADS, W > 64 ? 2 : 3) backward_keys(struct plan p)
{
    enum { TILE = walked<W> };
    HY_SHARED(uint32_t, q);
    uint32_t *const d_o = q + TILE * across_ld<W>, *const q_down = d_o + TILE * across_ld<W>;
    uint32_t *const d_o_down = q_down + TILE / 2 * down_ld<W>;
    float *const lse = reinterpret_cast<float *>(d_o_down + TILE / 2 * down_ld<W>);
    float *const delta = lse + TILE;
    uint32_t *const shared_k = reinterpret_cast<uint32_t *>(delta + TILE);
    uint32_t *const shared_v = shared_k + across_words<W>;
    const struct place at = place_of(p, p.kv_heads);
    const int first = at.tile * ROWS, key = first + warp_row(), group = p.heads / p.kv_heads;
    const struct part keys = part_of(p, p.k, at.row, at.head);
    const struct part values = part_of(p, p.v, at.row, at.head);
    uint32_t k[keeps<W> ? W / 16 : 1][4], v[keeps<W> ? W / 16 : 1][4];
    float dk[W / 8][4] = {}, dv[W / 8][4] = {};
    if (keeps<W>) {
        operand<W>(keys, key, 1, k);
        operand<W>(values, key, 1, v);
    } else {
        stage<W, ROWS>(keys, first, 1, shared_k, NULL);
        stage<W, ROWS>(values, first, 1, shared_v, NULL);
    }
    /* The last query that sees any of these keys sees the last one. */
    const int end = p.window < p.tokens ? min(p.tokens, first + ROWS - 1 + p.window) : p.tokens;
    for (int head = at.head * group; head < (at.head + 1) * group; head++)
        for (int query = first; query < end; query += TILE) {
            __syncthreads();
            stage<W, TILE>(part_of(p, p.q, at.row, head), query, p.scale, q, q_down);
            stage<W, TILE>(part_of(p, p.d_o, at.row, head), query, 1, d_o, d_o_down);
            if (threadIdx.x < TILE) {
                const int row = query + (int)threadIdx.x;
                const bool live = row < p.tokens;
                lse[threadIdx.x] = live ? LOG2E * hy_row(p.lse, at.row + row)[head] : 0;
                delta[threadIdx.x] = live ? hy_row(p.delta, at.row + row)[head] : 0;
            }
            __syncthreads();
#pragma unroll 1
            for (int row = 0; row < TILE; row += CHUNK) {
                const int below = key - query - row;
                if (below > CHUNK - 1 || below + 15 <= -p.window || key >= p.tokens ||
                    query + row >= p.tokens)
                    continue;
                float s[CHUNK / 8][4] = {}, dp[CHUNK / 8][4] = {};
                const uint32_t *q_row = q + row * across_ld<W>, *d_o_row = d_o + row * across_ld<W>;
                if (keeps<W>) {
                    mul_across<W, CHUNK / 8>(k, q_row, s);
                    mul_across<W, CHUNK / 8>(v, d_o_row, dp);
                } else {
                    mul_shared<W, CHUNK / 8>(shared_k + warp_row() * across_ld<W>, q_row, s);
                    mul_shared<W, CHUNK / 8>(shared_v + warp_row() * across_ld<W>, d_o_row, dp);
                }
                differentiate(p, below, lse + row, delta + row, s, dp);
#pragma unroll
                for (int n = 0; n < CHUNK / 8; n += 2) {
                    mul_down<W>(s + n, d_o_down + (row / 2 + 4 * n) * down_ld<W>, dv);
                    mul_down<W>(dp + n, q_down + (row / 2 + 4 * n) * down_ld<W>, dk);
                }
            }
        }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int row = key + lane_group() + 8 * half;
        if (row >= p.tokens)
            continue;
        give<W>(p.dk, at.row + row, at.head, dk, half, 1);
        give<W>(p.dv, at.row + row, at.head, dv, half, 1);
    }
}

/* ---- Launches ---- */

/* The width that heads are padded to; 0: they are too wide. */
static int padded_width(const struct hy_attention *a)
{
    const int width = a->key_width > a->value_width ? a->key_width : a->value_width;
    return width <= 16 ? 16 : width <= 32 ? 32 : width <= 64 ? 64 : width <= 128 ? 128 : 0;
}

bool hy_attention_mma_takes(const struct hy_op *op)
{
    const struct hy_attention *a = (const struct hy_attention *)op->attr;
    const struct hy_shape *shape = &op->graph->shape;
    return shape->precision == HY_PRECISION_BF16 && shape->mode != HY_CACHED && padded_width(a) &&
           !(a->cap > 0);
}

static struct heads heads_of(struct hy_span all, int width)
{
    return {all, width, width % 4 == 0 && hy_by_four(all)};
}

static struct plan plan_of(const struct hy_op *op)
{
    const struct hy_attention *a = (const struct hy_attention *)op->attr;
    const struct hy_shape *shape = &op->graph->shape;
    struct plan p = {};
    p.batch = shape->batch;
    p.heads = a->heads;
    p.kv_heads = a->kv_heads;
    p.tokens = shape->tokens;
    p.window = a->window ? a->window : INT_MAX;
    p.scale = (float)a->scale;
    p.q = heads_of(hy_span_of(op->in[Q]), a->key_width);
    p.k = heads_of(hy_span_of(op->in[K]), a->key_width);
    p.v = heads_of(hy_span_of(op->in[V]), a->value_width);
    p.o = heads_of(hy_span_of(op->out[O]), a->value_width);
    p.lse = hy_span_of(op->out[LSE]);
    if (op->pass == HY_BACKWARD) {
        p.d_o = heads_of(hy_span_of(op->dout[O]), a->value_width);
        p.dq = heads_of(hy_span_din(op, Q), a->key_width);
        p.dk = heads_of(hy_span_din(op, K), a->key_width);
        p.dv = heads_of(hy_span_din(op, V), a->value_width);
        p.dlse = hy_span_of(op->dout[LSE]);
    }
    return p;
}

static void launch(const struct hy_launch *at, const struct plan &p, int heads, size_t bytes,
                   void (*kernel)(struct plan))
{
    const int64_t blocks = (int64_t)p.batch * heads * ((p.tokens + ROWS - 1) / ROWS);
    hy_start_large(at, dim3((unsigned)blocks, 1, (unsigned)at->replicas), dim3(THREADS), bytes,
                   kernel, p);
}

template <int W> static void launch_forward(const struct hy_launch *at, const struct plan &p)
{
    launch(at, p, p.heads, forward_bytes<W>, forward<W>);
}

template <int W> static void launch_backward(const struct hy_launch *at, const struct plan &p)
{
    launch(at, p, p.heads, queries_bytes<W>, backward_queries<W>);
    if (p.dk.all.data || p.dv.all.data)
        launch(at, p, p.kv_heads, keys_bytes<W>, backward_keys<W>);
}

#define BY_WIDTH(op, launch_pass)                                                    \
    (padded_width((const struct hy_attention *)(op)->attr) == 16   ? launch_pass<16> \
     : padded_width((const struct hy_attention *)(op)->attr) == 32 ? launch_pass<32> \
     : padded_width((const struct hy_attention *)(op)->attr) == 64 ? launch_pass<64> \
                                                                   : launch_pass<128>)

void hy_attention_mma_forward(const struct hy_op *op, const struct hy_launch *at)
{
    BY_WIDTH(op, launch_forward)(at, plan_of(op));
}

void hy_attention_mma_backward(const struct hy_op *op, const struct hy_launch *at,
                               struct hy_span delta)
{
    struct plan p = plan_of(op);
    p.delta = delta;
    BY_WIDTH(op, launch_backward)(at, p);
}
