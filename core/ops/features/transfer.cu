/* transfer.cu - the twin of transfer.c: plans, and the forward pass. A block of threads walks the
 * keys of its tile of queries twice: once for all that normalises weights, once for the loss. */
#include "core/ops/features/transfer.cuh"

#include "core/ops/support/sums.cuh"

enum { Y, KEPT };

/* ENOUGH: bytes of shared memory with which two blocks of threads fit a multiprocessor. */
enum { TILE_MOST = 64, ENOUGH = 112 << 10 };

/* ---- What normalises weights ---- */

/* A query's running maximum and sum of exponentials take in some scores. */
__device__ static inline void take_in(const float *scores, const struct hy_transfer_range &keys,
                                      float *top, float *total)
{
    float most = *top, sum = 0;
    HY_TRANSFER_EACH_KEY(keys, j)
    most = fmaxf(most, scores[j]);
    most = hy_transfer_warp_max(most);
    HY_TRANSFER_EACH_KEY(keys, j)
    sum += expf(scores[j] - most);
    sum = hy_warp_sum(sum);
    if (threadIdx.x % 32 == 0 && keys.from < keys.to) {
        *total = (*top == -INFINITY ? 0 : expf(*top - most) * *total) + sum;
        *top = most;
    }
    __syncwarp();
}

__device__ static inline void take_in_far(const struct hy_transfer_plan &p,
                                          const struct hy_transfer_space &s,
                                          const struct hy_transfer_place &at)
{
    HY_TRANSFER_EACH_QUERY(p, at.query, i)
    {
        const struct hy_transfer_range keys = hy_transfer_far(p, at.query + i, at.key);
        float sum = 0;
        HY_TRANSFER_EACH_KEY(keys, j)
        sum += s.x[i * p.ls + j];
        sum = hy_warp_sum(sum);
        if (threadIdx.x % 32 == 0)
            s.far[i] += sum;
    }
}

template <bool TENSOR>
__device__ static inline void normalise(const struct hy_transfer_plan &p,
                                        const struct hy_transfer_space &s,
                                        struct hy_transfer_place at)
{
    HY_TRANSFER_EACH(p, i)
    {
        s.top[i] = s.max[i] = -INFINITY;
        s.total[i] = s.within[i] = s.far[i] = 0;
    }
    for (at.key = 0; at.key < hy_transfer_end_of(p, at.query); at.key += p.tile) {
        hy_transfer_multiply<TENSOR>(p, s, HY_TRANSFER_TQ, at, s.p);
        HY_TRANSFER_EACH_QUERY(p, at.query, i)
        take_in(s.p + i * p.ls, hy_transfer_seen(p, at.query + i, at.key), s.top + i, s.total + i);
        if (hy_transfer_any_near(p, at)) {
            hy_transfer_score<TENSOR>(p, s, at);
            HY_TRANSFER_EACH_QUERY(p, at.query, i)
            take_in(s.x + i * p.ls, hy_transfer_near(p, at.query + i, at.key), s.max + i,
                    s.within + i);
        }
        if (hy_transfer_any_far(p, at)) {
            hy_transfer_multiply<TENSOR>(p, s, HY_TRANSFER_F, at, s.x);
            take_in_far(p, s, at);
        }
    }
    __syncthreads();
}

/* ---- The loss ---- */

/* Sums over one query's terms of a tile, by the lanes of a warp: p log a, and p where a is above
 * the floor; times the sum of the teacher's exponentials. */
struct share_sums {
    float loss, mass;
};

__device__ static inline struct share_sums far_terms(const struct hy_transfer_plan &p,
                                                     const struct hy_transfer_space &s, int i,
                                                     const struct hy_transfer_mix &m,
                                                     const struct hy_transfer_range &keys)
{
    const float log_scale = m.log_lin - s.log_sum[i], lowest = hy_transfer_floor(m, s.log_sum[i]);
    const float top = s.top[i];
    struct share_sums sum = {0, 0};
    HY_TRANSFER_EACH_KEY(keys, j)
    {
        const float share = expf(s.p[i * p.ls + j] - top), u = s.x[i * p.ls + j];
        sum.loss += share * (u >= lowest ? logf(u) + log_scale : HY_TRANSFER_LOG_FLOOR);
        sum.mass += u >= lowest ? share : 0;
    }
    return sum;
}

__device__ static inline struct share_sums near_terms(const struct hy_transfer_plan &p,
                                                      const struct hy_transfer_space &s, int i,
                                                      const struct hy_transfer_mix &m,
                                                      const struct hy_transfer_range &keys)
{
    const float log_scale = m.log_gamma - s.log_sum[i], max = s.max[i], top = s.top[i];
    struct share_sums sum = {0, 0};
    HY_TRANSFER_EACH_KEY(keys, j)
    {
        const float share = expf(s.p[i * p.ls + j] - top);
        const float log_a = s.x[i * p.ls + j] - max + log_scale;
        sum.loss += share * fmaxf(log_a, HY_TRANSFER_LOG_FLOOR);
        sum.mass += log_a >= HY_TRANSFER_LOG_FLOOR ? share : 0;
    }
    return sum;
}

/* A query's sums take in those of the lanes. */
__device__ static inline void gather(const struct share_sums &sum, float *loss, float *mass)
{
    const float all = hy_warp_sum(sum.loss), above = hy_warp_sum(sum.mass);
    if (threadIdx.x % 32 == 0) {
        *loss += all;
        *mass += above;
    }
}

template <bool TENSOR>
__device__ static inline void sum_up(const struct hy_transfer_plan &p,
                                     const struct hy_transfer_space &s,
                                     const struct hy_transfer_mix &m, struct hy_transfer_place at)
{
    for (at.key = 0; at.key < hy_transfer_end_of(p, at.query); at.key += p.tile) {
        hy_transfer_multiply<TENSOR>(p, s, HY_TRANSFER_TQ, at, s.p);
        if (hy_transfer_any_near(p, at)) {
            hy_transfer_score<TENSOR>(p, s, at);
            HY_TRANSFER_EACH_QUERY(p, at.query, i)
            gather(near_terms(p, s, i, m, hy_transfer_near(p, at.query + i, at.key)), s.loss + i,
                   s.near_mass + i);
        }
        if (hy_transfer_any_far(p, at)) {
            hy_transfer_multiply<TENSOR>(p, s, HY_TRANSFER_F, at, s.x);
            HY_TRANSFER_EACH_QUERY(p, at.query, i)
            gather(far_terms(p, s, i, m, hy_transfer_far(p, at.query + i, at.key)), s.loss + i,
                   s.far_mass + i);
        }
    }
    __syncthreads();
}

/* y of a query, and what backward is told of it. */
__device__ static inline void tell(const struct hy_transfer_plan &p,
                                   const struct hy_transfer_space &s,
                                   const struct hy_transfer_mix &m,
                                   const struct hy_transfer_place &at, int i)
{
    const int64_t row = at.sequence * p.tokens + at.query + i;
    const float share = 1 / s.total[i], near = m.gamma * s.within[i], far = m.lin * s.far[i];
    const float sum = fmaxf(near + far, FLT_MIN), mass = share * (s.near_mass[i] + s.far_mass[i]);
    float *told = hy_row(p.told, row) + at.head * HY_TOLD;
    hy_row(p.y, row)[at.head] = -share * s.loss[i];
    told[HY_TOLD_LSE] = s.top[i] + logf(s.total[i]);
    told[HY_TOLD_LOG_SUM] = s.log_sum[i];
    told[HY_TOLD_MASS] = mass;
    /* Of two equal differences the one with the smaller terms. */
    told[HY_TOLD_PULL] = near < far ? mass * (near / sum) - share * s.near_mass[i]
                                    : share * s.far_mass[i] - mass * (far / sum);
}

template <bool TENSOR>
__global__ static void __launch_bounds__(HY_TILE_THREADS, 2) forward(struct hy_transfer_plan p)
{
    HY_SHARED(float, shared);
    const struct hy_transfer_place at = hy_transfer_queries_of(p);
    const struct hy_transfer_mix m = hy_transfer_mix_of(p, at.head);
    struct hy_transfer_space s = {};
    hy_transfer_lay_out(p, p.work.data ? hy_row(p.work, blockIdx.x) : shared, &s);
    normalise<TENSOR>(p, s, at);
    HY_TRANSFER_EACH(p, i)
    {
        /* Alone, the window's terms are what they are however small gamma is. */
        s.log_sum[i] = hy_transfer_window(p, at.query + i) == 0
                           ? m.log_gamma + logf(s.within[i])
                           : logf(fmaxf(m.gamma * s.within[i] + m.lin * s.far[i], FLT_MIN));
        s.loss[i] = s.near_mass[i] = s.far_mass[i] = 0;
    }
    sum_up<TENSOR>(p, s, m, at);
    HY_TRANSFER_EACH(p, i)
    if (at.query + i < p.tokens)
        tell(p, s, m, at, i);
}

/* ---- Plans ---- */

static void size_tiles(struct hy_transfer_plan *p, size_t most)
{
    static float origin[1];
    for (int tile = TILE_MOST; tile >= HY_TILE; tile /= 2) {
        struct hy_transfer_space s = {};
        p->tile = tile;
        p->ls = hy_tile_ld(tile);
        p->floats = hy_transfer_lay_out(*p, origin, &s);
        const size_t bytes = (size_t)p->floats * sizeof(float);
        if (bytes <= most && bytes <= ENOUGH && tile / 2 < p->tokens)
            break;
        if (tile == HY_TILE)
            break;
    }
}

static void plan_backward(const struct hy_op *op, struct hy_transfer_plan *p, int64_t *used)
{
    const int64_t rows = p->batch * p->tokens;
    p->dy = hy_span_of(op->dout[Y]);
    for (int i = 0; i < HY_TRANSFER_INPUTS; i++)
        p->din[i] = hy_span_din(op, i);
    if (p->window && (op->din[HY_TRANSFER_Q] || op->din[HY_TRANSFER_K]))
        p->top = hy_tile_scratch(op, rows, 2 * p->heads, used);
    if (op->din[HY_TRANSFER_FACTOR])
        p->parts = hy_tile_scratch(op, hy_parts_of(rows), p->heads, used);
}

struct hy_transfer_plan hy_transfer_plan_of(const struct hy_op *op, int64_t *floats)
{
    const struct hy_transfer *a = (const struct hy_transfer *)op->attr;
    const struct hy_shape *shape = &op->graph->shape;
    const struct hy_device *device = op->graph->device;
    const size_t most = device ? (size_t)device->shared_most : 48 << 10;
    struct hy_transfer_plan p = {};
    p.batch = shape->batch;
    p.heads = a->heads;
    p.kv_heads = a->kv_heads;
    p.g_heads = a->g_heads;
    p.tokens = shape->tokens;
    p.window = a->window;
    p.terraced = a->terraced != 0;
    p.affine = a->affine != 0;
    p.backward = op->pass == HY_BACKWARD;
    p.same = op->in[HY_TRANSFER_TQ] == op->in[HY_TRANSFER_Q] &&
             op->in[HY_TRANSFER_TK] == op->in[HY_TRANSFER_K];
    p.k = a->key_width;
    p.f = a->features;
    p.kp = hy_tile_up(p.k);
    p.fp = hy_tile_up(p.f);
    p.lk = hy_tile_ld(p.kp);
    p.lf = hy_tile_ld(p.fp);
    p.scale = (float)a->scale;
    for (int i = 0; i < HY_TRANSFER_INPUTS; i++)
        p.in[i] = hy_span_of(op->in[i]);
    p.y = hy_span_of(op->out[Y]);
    p.told = hy_span_of(op->out[KEPT]);
    size_tiles(&p, most);
    *floats = 0;
    if (p.backward)
        plan_backward(op, &p, floats);
    if ((size_t)p.floats * sizeof(float) > most)
        p.work = hy_tile_scratch(op, p.batch * p.heads * ((p.tokens + p.tile - 1) / p.tile),
                                 (p.floats + 31) / 32 * 32, floats);
    return p;
}

static size_t transfer_scratch(const struct hy_op *op)
{
    int64_t floats;
    hy_transfer_plan_of(op, &floats);
    return (size_t)floats * sizeof(float);
}

static void transfer_forward(const struct hy_op *op, const struct hy_launch *at)
{
    int64_t floats;
    const struct hy_transfer_plan p = hy_transfer_plan_of(op, &floats);
    hy_transfer_launch(at, p, p.heads,
                       hy_transfer_uses_tensor_cores(op) ? forward<true> : forward<false>);
}

HY_CUDA_KIND(transfer) = {transfer_forward, hy_transfer_launch_backward, transfer_scratch};
