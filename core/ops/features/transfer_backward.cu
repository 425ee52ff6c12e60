/* transfer_backward.cu - the backward pass of transfer.cu: a walk over the keys of each tile of
 * queries for df and dq, and walks over the queries of each tile of keys for dg and for dk. Nothing
 * is added by two blocks of threads, so all is summed in a fixed order. */
#include "core/ops/features/transfer.cuh"

#include "core/ops/support/sums.cuh"

/* What forward told of a tile of queries, and the gradients of their y. */
__device__ static inline void load_told(const struct hy_transfer_plan &p,
                                        const struct hy_transfer_space &s,
                                        const struct hy_transfer_place &at)
{
    HY_TRANSFER_EACH(p, i)
    if (at.query + i < p.tokens) {
        const int64_t row = at.sequence * p.tokens + at.query + i;
        const float *told = hy_row(p.told, row) + at.head * HY_TOLD;
        s.lse[i] = told[HY_TOLD_LSE];
        s.log_sum[i] = told[HY_TOLD_LOG_SUM];
        s.mass[i] = told[HY_TOLD_MASS];
        s.pull[i] = told[HY_TOLD_PULL];
        s.dy[i] = hy_row(p.dy, row)[at.head];
    }
}

/* x: of u to dy d y / d u; 0 where there is no such term. */
__device__ static inline void differentiate_far(const struct hy_transfer_plan &p,
                                                const struct hy_transfer_space &s,
                                                const struct hy_transfer_mix &m,
                                                const struct hy_transfer_place &at)
{
    HY_TRANSFER_ROWS(p.tile, i)
    {
        const bool live = at.query + i < p.tokens;
        const int end = live ? hy_transfer_far(p, at.query + i, at.key).to : 0;
        const float log_sum = live ? s.log_sum[i] : 0, dy = live ? s.dy[i] : 0;
        const float lse = live ? s.lse[i] : 0, lowest = hy_transfer_floor(m, log_sum);
        const float even = live ? s.mass[i] * expf(m.log_lin - log_sum) : 0;
        HY_TRANSFER_COLS(p.tile, j)
        {
            float *u = s.x + i * p.ls + j;
            const float own = j < end && *u >= lowest ? expf(s.p[i * p.ls + j] - lse) / *u : 0;
            *u = j < end ? dy * (even - own) : 0;
        }
    }
    __syncthreads();
}

/* x: of l to dy d y / d l, likewise. */
__device__ static inline void differentiate_near(const struct hy_transfer_plan &p,
                                                 const struct hy_transfer_space &s,
                                                 const struct hy_transfer_mix &m,
                                                 const struct hy_transfer_place &at)
{
    HY_TRANSFER_ROWS(p.tile, i)
    {
        const bool live = at.query + i < p.tokens;
        const struct hy_transfer_range keys = hy_transfer_near(p, at.query + i, at.key);
        HY_TRANSFER_COLS(p.tile, j)
        {
            float *l = s.x + i * p.ls + j;
            if (!live || j < keys.from || j >= keys.to) {
                *l = 0;
                continue;
            }
            const float log_a = *l - s.max[i] + (m.log_gamma - s.log_sum[i]);
            const float own =
                log_a >= HY_TRANSFER_LOG_FLOOR ? expf(s.p[i * p.ls + j] - s.lse[i]) : 0;
            const float pull = at.key + j == (int64_t)s.max_key[i] ? s.pull[i] : 0;
            *l = s.dy[i] * (s.mass[i] * expf(log_a) - own - pull);
        }
    }
    __syncthreads();
}

/* A query's largest score so far, and the first key that has it, take in some scores. */
__device__ static inline void take_top(const float *scores, const struct hy_transfer_range &keys,
                                       int64_t first_key, float *max, float *max_key)
{
    float most = -INFINITY, before = -INFINITY;
    HY_TRANSFER_EACH_KEY(keys, j)
    most = fmaxf(most, scores[j]);
    most = hy_transfer_warp_max(most);
    HY_TRANSFER_EACH_KEY(keys, j)
    before = scores[j] == most ? fmaxf(before, -(float)j) : before;
    before = hy_transfer_warp_max(before);
    if (threadIdx.x % 32 == 0 && keys.from < keys.to && most > *max) {
        *max = most;
        *max_key = (float)first_key - before;
    }
}

template <bool TENSOR>
__device__ static inline void find_tops(const struct hy_transfer_plan &p,
                                        const struct hy_transfer_space &s,
                                        struct hy_transfer_place at)
{
    HY_TRANSFER_EACH(p, i)
    s.max[i] = -INFINITY;
    for (at.key = 0; at.key < hy_transfer_end_of(p, at.query); at.key += p.tile) {
        if (!hy_transfer_any_near(p, at))
            continue;
        hy_transfer_multiply<TENSOR>(p, s, HY_TRANSFER_Q, at, s.x);
        HY_TRANSFER_EACH_QUERY(p, at.query, i)
        take_top(s.x + i * p.ls, hy_transfer_near(p, at.query + i, at.key), at.key, s.max + i,
                 s.max_key + i);
    }
    __syncthreads();
    HY_TRANSFER_EACH(p, i)
    if (at.query + i < p.tokens) {
        float *top = hy_row(p.top, at.sequence * p.tokens + at.query + i) + 2 * at.head;
        top[0] = s.max[i];
        top[1] = s.max_key[i];
    }
}

__device__ static inline void load_tops(const struct hy_transfer_plan &p,
                                        const struct hy_transfer_space &s,
                                        const struct hy_transfer_place &at)
{
    HY_TRANSFER_EACH(p, i)
    if (at.query + i < p.tokens) {
        const float *top = hy_row(p.top, at.sequence * p.tokens + at.query + i) + 2 * at.head;
        s.max[i] = top[0];
        s.max_key[i] = top[1];
    }
}

__device__ static inline void clear(float *x, int rows, int cols, int ld)
{
    HY_TRANSFER_ROWS(rows, i)
    HY_TRANSFER_COLS(cols, c)
    x[i * ld + c] = 0;
}

/* Hands over a tile's rows of the gradient of the i-th input. */
__device__ static inline void give(const struct hy_transfer_plan &p, int i, int64_t sequence,
                                   int64_t head, int64_t first, const float *d)
{
    const bool features = hy_transfer_has_features(i);
    const int width = features ? p.f : p.k, ld = features ? p.lf : p.lk;
    const float scale = i == HY_TRANSFER_Q ? p.scale : 1;
    const int live = (int)min((int64_t)p.tile, p.tokens - first);
    HY_TRANSFER_ROWS(live, t)
    HY_TRANSFER_COLS(width, c)
    hy_give<1>(p.din[i], sequence * p.tokens + first + t, head * width + c,
               {{scale * d[t * ld + c]}});
}

/* The gradients of f and q, and the tops of windows. */
template <bool TENSOR>
__global__ static void __launch_bounds__(HY_TILE_THREADS, 2)
    backward_queries(struct hy_transfer_plan p)
{
    HY_SHARED(float, shared);
    struct hy_transfer_place at = hy_transfer_queries_of(p);
    const struct hy_transfer_mix m = hy_transfer_mix_of(p, at.head);
    struct hy_transfer_space s = {};
    hy_transfer_lay_out(p, p.work.data ? hy_row(p.work, blockIdx.x) : shared, &s);
    load_told(p, s, at);
    if (p.top.data)
        find_tops<TENSOR>(p, s, at);
    clear(s.d, p.tile, p.fp, p.lf);
    clear(s.e, p.tile, p.kp, p.lk);
    for (at.key = 0; at.key < hy_transfer_end_of(p, at.query); at.key += p.tile) {
        const bool far = p.din[HY_TRANSFER_F].data && hy_transfer_any_far(p, at);
        const bool near = p.din[HY_TRANSFER_Q].data && hy_transfer_any_near(p, at);
        if (far || near)
            hy_transfer_multiply<TENSOR>(p, s, HY_TRANSFER_TQ, at, s.p);
        if (near) {
            hy_transfer_score<TENSOR>(p, s, at);
            differentiate_near(p, s, m, at);
            hy_tile_mul<TENSOR, false, false>(
                {p.tile, p.kp, p.tile, s.x, s.b, p.ls, p.lk, s.e, p.lk, true, NULL});
        }
        if (far) {
            hy_transfer_multiply<TENSOR>(p, s, HY_TRANSFER_F, at, s.x);
            differentiate_far(p, s, m, at);
            hy_tile_mul<TENSOR, false, false>(
                {p.tile, p.fp, p.tile, s.x, s.b, p.ls, p.lf, s.d, p.lf, true, NULL});
        }
    }
    __syncthreads();
    give(p, HY_TRANSFER_F, at.sequence, at.head, at.query, s.d);
    give(p, HY_TRANSFER_Q, at.sequence, at.head, at.query, s.e);
}

/* The gradient of g, or (NEAR) of k, over the heads that share it. */
template <bool TENSOR, bool NEAR>
__global__ static void __launch_bounds__(HY_TILE_THREADS, 2)
    backward_keys(struct hy_transfer_plan p)
{
    HY_SHARED(float, shared);
    const int64_t tiles = (p.tokens + p.tile - 1) / p.tile;
    const int64_t heads = NEAR ? p.kv_heads : p.g_heads, group = p.heads / heads;
    const int64_t head = blockIdx.x / tiles % heads;
    const int padded = NEAR ? p.kp : p.fp, ld = NEAR ? p.lk : p.lf;
    struct hy_transfer_place at = {blockIdx.x / tiles / heads, 0, 0, blockIdx.x % tiles * p.tile};
    struct hy_transfer_space s = {};
    hy_transfer_lay_out(p, p.work.data ? hy_row(p.work, blockIdx.x) : shared, &s);
    float *d = NEAR ? s.e : s.d;
    clear(d, p.tile, padded, ld);
    for (at.head = head * group; at.head < (head + 1) * group; at.head++) {
        const struct hy_transfer_mix m = hy_transfer_mix_of(p, at.head);
        for (at.query = at.key; at.query < p.tokens; at.query += p.tile) {
            if (NEAR ? !hy_transfer_any_near(p, at) : !hy_transfer_any_far(p, at))
                continue;
            load_told(p, s, at);
            if (NEAR)
                load_tops(p, s, at);
            hy_transfer_multiply<TENSOR>(p, s, HY_TRANSFER_TQ, at, s.p);
            if (NEAR) {
                hy_transfer_score<TENSOR>(p, s, at);
                differentiate_near(p, s, m, at);
            } else {
                hy_transfer_multiply<TENSOR>(p, s, HY_TRANSFER_F, at, s.x);
                differentiate_far(p, s, m, at);
            }
            hy_tile_mul<TENSOR, true, false>(
                {p.tile, padded, p.tile, s.x, s.a, p.ls, ld, d, ld, true, NULL});
        }
    }
    __syncthreads();
    give(p, NEAR ? HY_TRANSFER_K : HY_TRANSFER_G, at.sequence, head, at.key, d);
}

/* Parts of the gradient of factor. */
__global__ static void pull_factors(struct hy_transfer_plan p)
{
    const int64_t head = hy_strip_column<1>();
    hy_pack<1> sum = {};
    if (head < p.heads) {
        /* Weights do not change when all raw ones are scaled, so lin pulls as much the other way.
         */
        const float by = p.affine ? 1 : hy_sigmoid(-hy_row(p.in[HY_TRANSFER_FACTOR], 0)[head]);
        HY_STRIP(p.dy.rows, i)
        sum.at[0] += hy_row(p.dy, i)[head] * by * hy_row(p.told, i)[head * HY_TOLD + HY_TOLD_PULL];
    }
    hy_strip_sum(sum, head, p.parts);
}

__global__ static void clear_span(struct hy_span d)
{
    HY_EACH(d.rows, d.cols, i, c)
    hy_row(d, i)[c] = 0;
}

static void launch_walks(const struct hy_launch *at, const struct hy_transfer_plan &p, bool tensor)
{
    if (p.din[HY_TRANSFER_F].data || p.top.data)
        hy_transfer_launch(at, p, p.heads,
                           tensor ? backward_queries<true> : backward_queries<false>);
    if (p.din[HY_TRANSFER_G].data)
        hy_transfer_launch(at, p, p.g_heads,
                           tensor ? backward_keys<true, false> : backward_keys<false, false>);
    if (p.din[HY_TRANSFER_K].data)
        hy_transfer_launch(at, p, p.kv_heads,
                           tensor ? backward_keys<true, true> : backward_keys<false, true>);
}

void hy_transfer_launch_backward(const struct hy_op *op, const struct hy_launch *at)
{
    int64_t floats;
    struct hy_transfer_plan p = hy_transfer_plan_of(op, &floats);
    /* Two inputs may be one tensor, whose gradient gets parts of both in an order of their own. */
    for (int i = HY_TRANSFER_TQ; i < HY_TRANSFER_FACTOR; i++) {
        const struct hy_walk walk = hy_walk_of(at, p.din[i].rows, p.din[i].cols);
        if (p.din[i].data && !p.din[i].add)
            hy_start(at, walk.grid, walk.block, 0, clear_span, p.din[i]);
        p.din[i].add = 1;
    }
    launch_walks(at, p, hy_transfer_uses_tensor_cores(op));
    if (!p.din[HY_TRANSFER_FACTOR].data)
        return;
    const struct hy_walk walk = hy_strips_of(at, p.dy.rows, p.heads, 1);
    hy_start(at, walk.grid, walk.block, 0, pull_factors, p);
    hy_fold_sums(at, p.parts, p.din[HY_TRANSFER_FACTOR], 1, 1, 0);
}
