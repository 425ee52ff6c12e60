/* attention_mma.cu - attention with bf16 operands, for attention.cu: the same walks over tiles, but
 * a warp keeps 16 rows of everything that it works on in registers (arXiv 2307.08691). Forward it
 * has 16 queries, their scores against the keys of a tile, their output; the scores' exponentials
 * are an operand of the next product where they are. Backward a warp has 16 queries for dq and 16
 * keys for dk and dv. What a block walks over lies in shared memory
 * (core/ops/support/mma_tiles.cuh). */
#include "core/ops/support/attention.cuh"

#include <limits.h>

#include "core/ops/support/mma_tiles.cuh"
#include "core/ops/support/tiles.cuh"

extern "C" {
#include "core/ops/attention.h"
}

enum { Q, K, V };
enum { O, LSE, EXCESS };
/* A block of threads has ROWS queries, or keys, and walks over tiles of ROWS (`walked<W>` in
 * backward over queries); what it does in backward it does for CHUNK of them at a time. */
enum { WARPS = 4, THREADS = 32 * WARPS, ROWS = 16 * WARPS, CHUNK = 32 };

/* Words of a tile of ROWS rows. */
template <int W> static constexpr int across_words = hy_across_ld<W> *ROWS;
template <int W> static constexpr int down_words = hy_down_ld<W> *ROWS / 2;

/* Wide heads leave no registers for a block's keys and values while it walks over queries, so these
 * lie in shared memory, and fewer queries beside them. */
template <int W> static constexpr bool keeps = W <= 32;
template <int W> static constexpr int walked = W <= 64 ? ROWS : ROWS / 2;

/* Bytes of shared memory. */
template <int W> static constexpr size_t forward_bytes = 4 * (across_words<W> + down_words<W>);
template <int W> static constexpr size_t queries_bytes = 4 * (2 * across_words<W> + down_words<W>);
template <int W, bool TOP>
static constexpr size_t keys_bytes = 4 * (2 * (across_words<W> + down_words<W>)*walked<W> / ROWS +
                                          (TOP ? 4 : 2) * walked<W> +
                                          (keeps<W> ? 0 : 2 * across_words<W>));

static const float LOG2E = 1.4426950408889634f;

/* Heads side by side in a matrix. */
struct heads {
    struct hy_span all;
    int width;
    bool four; /* whose columns can be taken four at a time */
};

/* What is fixed for an op. (Not `plan`: launches are templates over the types of a kernel's
 * arguments, and the linker takes those of one name for one.) */
struct mma_plan {
    int batch, heads, kv_heads, tokens;
    int window;                    /* INT_MAX: none */
    float scale, cap, inverse_cap; /* cap 0: none */
    struct heads q, k, v, o;
    struct hy_span lse, excess;
    struct heads d_o, dq, dk, dv; /* backward */
    struct hy_span dlse, dexcess, delta, top;
};

/* Where a block works; kv_head: whose keys it has. */
struct place {
    int tile, head, kv_head;
    int64_t row; /* its sequence's first */
};

__device__ static inline struct place place_of(const struct mma_plan &p, int heads)
{
    const unsigned tiles = (unsigned)(p.tokens + ROWS - 1) / ROWS, rest = blockIdx.x / tiles;
    struct place at;
    at.tile = (int)(blockIdx.x % tiles);
    at.head = (int)(rest % (unsigned)heads);
    at.kv_head = at.head / (heads / p.kv_heads);
    at.row = (int64_t)(rest / (unsigned)heads) * p.tokens;
    return at;
}

/* The first of the 16 rows of the block's ROWS that are this warp's. */
__device__ static inline int warp_row(void)
{
    return (int)threadIdx.x / 32 * 16;
}

__device__ static inline struct hy_part part_of(const struct mma_plan &p, const struct heads &x,
                                                int64_t row, int head)
{
    return {hy_row(x.all, row) + head * x.width, x.all.ld, x.all.data ? p.tokens : 0, x.width,
            x.four};
}

/* One of the lane's two rows of a result that products down left in sum, times factor. */
template <int W>
__device__ static inline void give(const struct heads &to, int64_t row, int head,
                                   const float (*sum)[4], int half, float factor)
{
#pragma unroll
    for (int n = 0; n < W / 8; n += 2) {
        const int c = 8 * n + 4 * hy_lane_part(), at = head * to.width + c;
        const hy_pack<4> four = {{factor * sum[n][2 * half], factor * sum[n + 1][2 * half],
                                  factor * sum[n][2 * half + 1],
                                  factor * sum[n + 1][2 * half + 1]}};
        if (to.four && c < to.width)
            hy_give<4>(to.all, row, at, four);
        for (int i = 0; !to.four && i < 4 && c + i < to.width; i++)
            hy_give<1>(to.all, row, at + i, {{four.at[i]}});
    }
}

/* Scores are capped. gradient: multiplied by the slope that this has, to the part `sloped`, 0 or 1;
 * NULL: there is none. */
template <int N>
__device__ static inline void cap_scores(const struct mma_plan &p, float (*s)[4],
                                         float (*gradient)[4], float sloped)
{
    if (!(p.cap > 0))
        return;
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const float share = tanhf(p.inverse_cap * s[n][e]);
            s[n][e] = p.cap * share;
            if (gradient)
                gradient[n][e] *= 1 - sloped * share * share;
        }
}

/* ---- Forward ---- */

/* The number of the first tile that queries from number `query` on see. */
__device__ static inline int first_tile(const struct mma_plan &p, int query)
{
    return query >= p.window ? (query - p.window + 1) / ROWS : 0;
}

/* The last of a warp's 16 rows that there is; none: so low that nothing is seen. */
__device__ static inline int last_row(const struct mma_plan &p, int first)
{
    return first < p.tokens ? min(15, p.tokens - 1 - first) : INT_MIN / 2;
}

/* Scores of a warp's queries become exponentials over the running maximum; sum and o are brought to
 * the new one. ahead: of the tile's first key before the warp's first query. */
template <int W>
__device__ static inline void soften(const struct mma_plan &p, int ahead, float (*s)[4],
                                     float *most, float *sum, float (*o)[4])
{
    const bool whole = ahead + ROWS - 1 <= 0 && ahead - 15 > -p.window;
    const int lane = ahead + 2 * hy_lane_part() - hy_lane_group();
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
        high[half] = hy_row_max(high[half]);
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
__global__ static void __launch_bounds__(THREADS, W > 64 ? 2 : 4) forward(struct mma_plan p)
{
    HY_SHARED(uint32_t, k);
    uint32_t *const v = k + across_words<W>;
    struct place at = place_of(p, p.heads);
    at.tile = (p.tokens - 1) / ROWS - at.tile; /* long ones start first */
    const int query = at.tile * ROWS + warp_row(), last = last_row(p, query);
    const struct hy_part keys = part_of(p, p.k, at.row, at.kv_head);
    const struct hy_part values = part_of(p, p.v, at.row, at.kv_head);
    uint32_t q[W / 16][4];
    float o[W / 8][4] = {}, most[2] = {-INFINITY, -INFINITY}, sum[2] = {};
    hy_operand<W>(part_of(p, p.q, at.row, at.head), query, p.scale, q);
    for (int tile = first_tile(p, at.tile * ROWS); tile <= at.tile; tile++) {
        const int ahead = tile * ROWS - query;
        hy_bring<W, ROWS, THREADS>(keys, tile * ROWS, 1, k, NULL);
        hy_bring<W, ROWS, THREADS>(values, tile * ROWS, 1, NULL, v);
        __syncthreads();
        if (ahead <= last && ahead + ROWS - 1 > -p.window) {
            float s[ROWS / 8][4] = {};
#pragma unroll
            for (int n = 0; n < ROWS / 8; n += CHUNK / 8)
                if (ahead + 8 * n <= last)
                    hy_mul_across<W, CHUNK / 8>(q, k + 8 * n * hy_across_ld<W>, s + n);
            cap_scores<ROWS / 8>(p, s, NULL, 0);
            soften<W>(p, ahead, s, most, sum, o);
#pragma unroll
            for (int n = 0; n < ROWS / 8; n += 2)
                if (ahead + 8 * n <= last)
                    hy_mul_down<W>(s + n, v + 4 * n * hy_down_ld<W>, o);
        }
        __syncthreads();
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int row = query + hy_lane_group() + 8 * half;
        const float total = hy_row_sum(sum[half]);
        if (row >= p.tokens)
            continue;
        give<W>(p.o, at.row + row, at.head, o, half, 1 / total);
        if (hy_lane_part() == 0)
            hy_row(p.lse, at.row + row)[at.head] = most[half] + logf(total);
        if (hy_lane_part() == 0 && p.excess.data)
            hy_row(p.excess, at.row + row)[at.head] = logf(total);
    }
}

/* ---- Backward ---- */

/* Of the lane's two rows: the largest score so far, how many keys before the query it is, and what
 * is taken from its gradient. */
struct top {
    float most[2], before[2], loss[2];
};

/* s: the capped scores of a chunk of keys; ahead: as for soften. The lane meets keys in order. */
__device__ static inline void find_top(const struct mma_plan &p, int ahead, const float (*s)[4],
                                       struct top *top)
{
    const int lane = ahead + 2 * hy_lane_part() - hy_lane_group();
#pragma unroll
    for (int n = 0; n < CHUNK / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const int half = e / 2, to = lane + 8 * n + e % 2 - 8 * half;
            if (to <= 0 && to > -p.window && s[n][e] > top->most[half]) {
                top->most[half] = s[n][e];
                top->before[half] = (float)-to; /* exact for sequences below 2^24 */
            }
        }
}

/* The lanes of a row agree on the first of its largest scores, and note it in p.top. */
__device__ static inline void agree_on_top(const struct mma_plan &p, int64_t row, int head,
                                           bool live, int half, struct top *top)
{
    const float most = hy_row_max(top->most[half]), share = p.inverse_cap * most;
    top->before[half] = hy_row_max(top->most[half] == most ? top->before[half] : -1);
    if (!live)
        return;
    top->loss[half] = hy_row(p.dexcess, row)[head] * (1 - share * share);
    if (hy_lane_part() > 0)
        return;
    hy_row(p.top, row)[2 * head] = top->before[half];
    hy_row(p.top, row)[2 * head + 1] = top->loss[half];
}

/* dp becomes dS = P (dP - delta) for a chunk of keys, or P dP while delta is not found; ahead: as
 * for soften. */
template <bool TOP>
__device__ static inline void
differentiate_rows(const struct mma_plan &p, int ahead, const float *lse, const float *delta,
                   const struct top &top, bool found, float (*s)[4], float (*dp)[4])
{
    const bool whole = ahead + CHUNK - 1 <= 0 && ahead - 15 > -p.window;
    const int lane = ahead + 2 * hy_lane_part() - hy_lane_group();
    const float less[2] = {found ? delta[0] : 0, found ? delta[1] : 0};
#pragma unroll
    for (int n = 0; n < CHUNK / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            dp[n][e] -= less[e / 2];
    cap_scores<CHUNK / 8>(p, s, dp, found ? 1 : 0);
#pragma unroll
    for (int n = 0; n < CHUNK / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const int to = lane + 8 * n + e % 2 - 8 * (e / 2);
            const bool seen = whole || (to <= 0 && to > -p.window);
            dp[n][e] *= seen ? exp2f(fmaf(LOG2E, s[n][e], -lse[e / 2])) : 0;
            if (TOP && found && (float)-to == top.before[e / 2])
                dp[n][e] -= top.loss[e / 2];
        }
}

/* The lane's part of sums over a chunk's columns. */
__device__ static inline void add_up(const float (*x)[4], float *sum)
{
#pragma unroll
    for (int n = 0; n < CHUNK / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            sum[e / 2] += x[n][e];
}

/* dq, and delta = sum P dP - dlse - dexcess. The output is not kept for backward, so a first walk
 * finds delta; the second goes the other way and finds the last tile where it is. */
template <int W, bool TOP>
__global__ static void __launch_bounds__(THREADS, W > 64 ? 2 : 3)
    backward_queries(struct mma_plan p)
{
    HY_SHARED(uint32_t, k);
    uint32_t *const v = k + across_words<W>, *const k_down = v + across_words<W>;
    struct place at = place_of(p, p.heads);
    at.tile = (p.tokens - 1) / ROWS - at.tile;
    const int query = at.tile * ROWS + warp_row(), last = last_row(p, query);
    const struct hy_part keys = part_of(p, p.k, at.row, at.kv_head);
    const struct hy_part values = part_of(p, p.v, at.row, at.kv_head);
    uint32_t q[W / 16][4], d_o[W / 16][4];
    float dq[W / 8][4] = {}, lse[2] = {}, delta[2] = {};
    struct top top = {{-INFINITY, -INFINITY}, {}, {}};
    hy_operand<W>(part_of(p, p.q, at.row, at.head), query, p.scale, q);
    hy_operand<W>(part_of(p, p.d_o, at.row, at.head), query, 1, d_o);
#pragma unroll
    for (int half = 0; half < 2; half++)
        if (hy_lane_group() + 8 * half <= last)
            lse[half] = LOG2E * hy_row(p.lse, at.row + query + hy_lane_group() + 8 * half)[at.head];
    const int first = first_tile(p, at.tile * ROWS), tiles = at.tile + 1 - first;
    for (int step = 0; step < (p.dq.all.data ? 2 : 1) * tiles; step++) {
        const int tile = first + (step < tiles ? step : 2 * tiles - 1 - step);
        if (step != tiles) {
            __syncthreads();
            hy_bring<W, ROWS, THREADS>(keys, tile * ROWS, 1, k, k_down);
            hy_bring<W, ROWS, THREADS>(values, tile * ROWS, 1, v, NULL);
            __syncthreads();
        }
#pragma unroll 1
        for (int key = 0; key < ROWS; key += CHUNK) {
            const int ahead = tile * ROWS + key - query;
            if (ahead > last || ahead + CHUNK - 1 <= -p.window)
                continue;
            float s[CHUNK / 8][4] = {}, dp[CHUNK / 8][4] = {};
            hy_mul_across<W, CHUNK / 8>(q, k + key * hy_across_ld<W>, s);
            hy_mul_across<W, CHUNK / 8>(d_o, v + key * hy_across_ld<W>, dp);
            differentiate_rows<TOP>(p, ahead, lse, delta, top, step >= tiles, s, dp);
            if (step < tiles) {
                if (TOP)
                    find_top(p, ahead, s, &top);
                add_up(dp, delta);
                continue;
            }
#pragma unroll
            for (int n = 0; n < CHUNK / 8; n += 2)
                hy_mul_down<W>(dp + n, k_down + (key / 2 + 4 * n) * hy_down_ld<W>, dq);
        }
        if (step != tiles - 1)
            continue;
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int row = query + hy_lane_group() + 8 * half;
            delta[half] = hy_row_sum(delta[half]);
            if (TOP)
                agree_on_top(p, at.row + row, at.head, row < p.tokens, half, &top);
            if (row >= p.tokens)
                continue;
            if (p.dlse.data)
                delta[half] -= hy_row(p.dlse, at.row + row)[at.head];
            if (TOP)
                delta[half] -= hy_row(p.dexcess, at.row + row)[at.head];
            if (hy_lane_part() == 0)
                hy_row(p.delta, at.row + row)[at.head] = delta[half];
        }
    }
#pragma unroll
    for (int half = 0; half < 2; half++)
        if (hy_lane_group() + 8 * half <= last)
            give<W>(p.dq, at.row + query + hy_lane_group() + 8 * half, at.head, dq, half, p.scale);
}

/* s, dp become P and dS of a chunk of queries, which are columns here; below: of the warp's first
 * key behind the first of them. lse, delta, before, loss: the queries'. */
template <bool TOP>
__device__ static inline void
differentiate_columns(const struct mma_plan &p, int below, const float *lse, const float *delta,
                      const float *before, const float *loss, float (*s)[4], float (*dp)[4])
{
    const bool whole = below + 15 <= 0 && below - (CHUNK - 1) > -p.window;
    const int lane = below + hy_lane_group() - 2 * hy_lane_part();
    lse += 2 * hy_lane_part();
    delta += 2 * hy_lane_part();
    before += 2 * hy_lane_part();
    loss += 2 * hy_lane_part();
#pragma unroll
    for (int n = 0; n < CHUNK / 8; n++) {
        const hy_pack<2> less = *reinterpret_cast<const hy_pack<2> *>(delta + 8 * n);
#pragma unroll
        for (int e = 0; e < 4; e++)
            dp[n][e] -= less.at[e % 2];
    }
    cap_scores<CHUNK / 8>(p, s, dp, 1);
#pragma unroll
    for (int n = 0; n < CHUNK / 8; n++) {
        const hy_pack<2> sums = *reinterpret_cast<const hy_pack<2> *>(lse + 8 * n);
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const int to = lane - 8 * n - e % 2 + 8 * (e / 2);
            const bool seen = whole || (to <= 0 && to > -p.window);
            s[n][e] = seen ? exp2f(fmaf(LOG2E, s[n][e], -sums.at[e % 2])) : 0;
            dp[n][e] *= s[n][e];
            if (TOP && (float)-to == before[8 * n + e % 2])
                dp[n][e] -= loss[8 * n + e % 2];
        }
    }
}

/* dk and dv, over the queries of all heads that share the keys, one head after another. */
template <int W, bool TOP>
__global__ static void __launch_bounds__(THREADS, W > 64 ? 2 : 3) backward_keys(struct mma_plan p)
{
    enum { TILE = walked<W> };
    HY_SHARED(uint32_t, q);
    uint32_t *const d_o = q + TILE * hy_across_ld<W>, *const q_down = d_o + TILE * hy_across_ld<W>;
    uint32_t *const d_o_down = q_down + TILE / 2 * hy_down_ld<W>;
    float *const lse = reinterpret_cast<float *>(d_o_down + TILE / 2 * hy_down_ld<W>);
    float *const delta = lse + TILE, *const before = delta + TILE, *const loss = before + TILE;
    uint32_t *const shared_k = reinterpret_cast<uint32_t *>(TOP ? loss + TILE : before);
    uint32_t *const shared_v = shared_k + across_words<W>;
    const struct place at = place_of(p, p.kv_heads);
    const int first = at.tile * ROWS, key = first + warp_row(), group = p.heads / p.kv_heads;
    const struct hy_part keys = part_of(p, p.k, at.row, at.head);
    const struct hy_part values = part_of(p, p.v, at.row, at.head);
    uint32_t k[keeps<W> ? W / 16 : 1][4], v[keeps<W> ? W / 16 : 1][4];
    float dk[W / 8][4] = {}, dv[W / 8][4] = {};
    if (keeps<W>) {
        hy_operand<W>(keys, key, 1, k);
        hy_operand<W>(values, key, 1, v);
    } else {
        hy_bring<W, ROWS, THREADS>(keys, first, 1, shared_k, NULL);
        hy_bring<W, ROWS, THREADS>(values, first, 1, shared_v, NULL);
    }
    /* The last query that sees any of these keys sees the last one. */
    const int end = p.window < p.tokens ? min(p.tokens, first + ROWS - 1 + p.window) : p.tokens;
    for (int head = at.head * group; head < (at.head + 1) * group; head++)
        for (int query = first; query < end; query += TILE) {
            __syncthreads();
            hy_bring<W, TILE, THREADS>(part_of(p, p.q, at.row, head), query, p.scale, q, q_down);
            hy_bring<W, TILE, THREADS>(part_of(p, p.d_o, at.row, head), query, 1, d_o, d_o_down);
            if (threadIdx.x < TILE) {
                const int row = query + (int)threadIdx.x;
                const bool live = row < p.tokens;
                lse[threadIdx.x] = live ? LOG2E * hy_row(p.lse, at.row + row)[head] : 0;
                delta[threadIdx.x] = live ? hy_row(p.delta, at.row + row)[head] : 0;
                if (TOP) {
                    before[threadIdx.x] = live ? hy_row(p.top, at.row + row)[2 * head] : 0;
                    loss[threadIdx.x] = live ? hy_row(p.top, at.row + row)[2 * head + 1] : 0;
                }
            }
            __syncthreads();
#pragma unroll 1
            for (int row = 0; row < TILE; row += CHUNK) {
                const int below = key - query - row;
                if (below > CHUNK - 1 || below + 15 <= -p.window || key >= p.tokens ||
                    query + row >= p.tokens)
                    continue;
                float s[CHUNK / 8][4] = {}, dp[CHUNK / 8][4] = {};
                const uint32_t *q_row = q + row * hy_across_ld<W>,
                               *d_o_row = d_o + row * hy_across_ld<W>;
                if (keeps<W>) {
                    hy_mul_across<W, CHUNK / 8>(k, q_row, s);
                    hy_mul_across<W, CHUNK / 8>(v, d_o_row, dp);
                } else {
                    hy_mul_shared<W, CHUNK / 8>(shared_k + warp_row() * hy_across_ld<W>, q_row, s);
                    hy_mul_shared<W, CHUNK / 8>(shared_v + warp_row() * hy_across_ld<W>, d_o_row,
                                                dp);
                }
                differentiate_columns<TOP>(p, below, lse + row, delta + row, before + row,
                                           loss + row, s, dp);
#pragma unroll
                for (int n = 0; n < CHUNK / 8; n += 2) {
                    hy_mul_down<W>(s + n, d_o_down + (row / 2 + 4 * n) * hy_down_ld<W>, dv);
                    hy_mul_down<W>(dp + n, q_down + (row / 2 + 4 * n) * hy_down_ld<W>, dk);
                }
            }
        }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int row = key + hy_lane_group() + 8 * half;
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
           !a->terraced && !a->first;
}

static struct heads heads_of(struct hy_span all, int width)
{
    return {all, width, width % 4 == 0 && hy_by_four(all)};
}

static struct mma_plan plan_of(const struct hy_op *op)
{
    const struct hy_attention *a = (const struct hy_attention *)op->attr;
    const struct hy_shape *shape = &op->graph->shape;
    struct mma_plan p = {};
    p.batch = shape->batch;
    p.heads = a->heads;
    p.kv_heads = a->kv_heads;
    p.tokens = shape->tokens;
    p.window = a->window ? a->window : INT_MAX;
    p.scale = (float)a->scale;
    p.cap = (float)a->cap;
    p.inverse_cap = a->cap > 0 ? (float)(1 / a->cap) : 0;
    p.q = heads_of(hy_span_of(op->in[Q]), a->key_width);
    p.k = heads_of(hy_span_of(op->in[K]), a->key_width);
    p.v = heads_of(hy_span_of(op->in[V]), a->value_width);
    p.o = heads_of(hy_span_of(op->out[O]), a->value_width);
    p.lse = hy_span_of(op->out[LSE]);
    p.excess = hy_span_of(op->out[EXCESS]);
    if (op->pass == HY_BACKWARD) {
        p.d_o = heads_of(hy_span_of(op->dout[O]), a->value_width);
        p.dq = heads_of(hy_span_din(op, Q), a->key_width);
        p.dk = heads_of(hy_span_din(op, K), a->key_width);
        p.dv = heads_of(hy_span_din(op, V), a->value_width);
        p.dlse = hy_span_of(op->dout[LSE]);
        p.dexcess = hy_span_of(op->dout[EXCESS]);
    }
    return p;
}

static void launch(const struct hy_launch *at, const struct mma_plan &p, int heads, size_t bytes,
                   void (*kernel)(struct mma_plan))
{
    const int64_t blocks = (int64_t)p.batch * heads * ((p.tokens + ROWS - 1) / ROWS);
    hy_start_large(at, dim3((unsigned)blocks, 1, (unsigned)at->replicas), dim3(THREADS), bytes,
                   kernel, p);
}

template <int W> static void launch_forward(const struct hy_launch *at, const struct mma_plan &p)
{
    launch(at, p, p.heads, forward_bytes<W>, forward<W>);
}

template <int W, bool TOP>
static void launch_walks(const struct hy_launch *at, const struct mma_plan &p)
{
    launch(at, p, p.heads, queries_bytes<W>, backward_queries<W, TOP>);
    if (p.dk.all.data || p.dv.all.data)
        launch(at, p, p.kv_heads, keys_bytes<W, TOP>, backward_keys<W, TOP>);
}

template <int W> static void launch_backward(const struct hy_launch *at, const struct mma_plan &p)
{
    if (p.dexcess.data)
        launch_walks<W, true>(at, p);
    else
        launch_walks<W, false>(at, p);
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
                               struct hy_span delta, struct hy_span top)
{
    struct mma_plan p = plan_of(op);
    p.delta = delta;
    p.top = top;
    BY_WIDTH(op, launch_backward)(at, p);
}
