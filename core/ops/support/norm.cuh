/* norm.cuh - the arithmetic of core/ops/support/norm.h on a device: a block holds blockDim.y groups
 * of blockDim.x lanes; a group works on one unit at a time, `width` neighbouring columns of a row.
 *
 * The gradient of the weight, which all units share, is summed in shared memory, a row of it per
 * group; then, as sums.cuh has it, in parts over the blocks. */
#ifndef HY_OPS_SUPPORT_NORM_CUH
#define HY_OPS_SUPPORT_NORM_CUH

#include "core/ops/support/sums.cuh"

struct hy_norm {
    int64_t width, groups; /* columns of a unit; units of a row */
    float share, eps;      /* f = 1 / sqrt(share * sum x^2 + eps) */
};

/* The units of the thread's group: row i, first column c. */
#define HY_EACH_UNIT(rows, norm, i, c)                                                \
    for (int64_t unit = (int64_t)blockIdx.x * blockDim.y + threadIdx.y, i = 0, c = 0; \
         unit < (rows) * (norm).groups &&                                             \
         (i = unit / (norm).groups, c = unit % (norm).groups * (norm).width, true);   \
         unit += (int64_t)gridDim.x * blockDim.y)

/* The lane's packs of a unit: columns k to k + V - 1 of it. */
#define HY_EACH_LANE(V, width, k) \
    for (int64_t k = (int64_t)threadIdx.x * (V); k < (width); k += (int64_t)blockDim.x * (V))

/* The shape of blocks and of the grid. */
static inline struct hy_walk hy_units_of(const struct hy_launch *at, int64_t rows,
                                         const struct hy_norm &n, int v)
{
    const unsigned lanes = hy_lanes_of((n.width + v - 1) / v, 32);
    return {hy_grid(at, rows * n.groups, HY_BLOCK / lanes), dim3(lanes, HY_BLOCK / lanes)};
}

template <int V>
__device__ static inline float hy_norm_factor(const struct hy_norm &n, const struct hy_span &x,
                                              int64_t i, int64_t c)
{
    float squares = 0;
    HY_EACH_LANE(V, n.width, k)
    {
        const hy_pack<V> v = hy_take<V>(x, i, c + k);
        for (int j = 0; j < V; j++)
            squares += v.at[j] * v.at[j];
    }
    return 1 / sqrtf(n.share * hy_lanes_sum(squares) + n.eps);
}

/* f, and what x is multiplied with in dx: share f^3 sum u x. Both from sums over the unit. */
__device__ static inline float hy_norm_back(const struct hy_norm &n, float squares, float dot,
                                            float *f)
{
    *f = 1 / sqrtf(n.share * hy_lanes_sum(squares) + n.eps);
    return n.share * *f * *f * *f * hy_lanes_sum(dot);
}

/* ---- Norms with a weight ---- */

/* y = f w x, over one unit. */
template <int V>
__device__ static inline void hy_weighted_norm(const struct hy_norm &n, const struct hy_span &x,
                                               const struct hy_span &w, int64_t i, int64_t c,
                                               const struct hy_span &y)
{
    const float f = hy_norm_factor<V>(n, x, i, c);
    HY_EACH_LANE(V, n.width, k)
    {
        hy_pack<V> v = hy_take<V>(x, i, c + k);
        const hy_pack<V> weight = hy_take<V>(w, 0, k);
        for (int j = 0; j < V; j++)
            v.at[j] *= f * weight.at[j];
        hy_give(y, i, c + k, v);
    }
}

/* hy_norm_back() of it. */
template <int V>
__device__ static inline float hy_weighted_back(const struct hy_norm &n, const struct hy_span &x,
                                                const struct hy_span &w, const struct hy_span &dy,
                                                int64_t i, int64_t c, float *f)
{
    float squares = 0, dot = 0;
    HY_EACH_LANE(V, n.width, k)
    {
        const hy_pack<V> v = hy_take<V>(x, i, c + k), given = hy_take<V>(dy, i, c + k);
        const hy_pack<V> weight = hy_take<V>(w, 0, k);
        for (int j = 0; j < V; j++) {
            squares += v.at[j] * v.at[j];
            dot += v.at[j] * weight.at[j] * given.at[j];
        }
    }
    return hy_norm_back(n, squares, dot, f);
}

/* ---- The weight's gradient ---- */

/* As hy_units_of, but with a grid of hy_parts_of() blocks, and no more groups in a block than
 * shared memory holds rows of sums; *shared_bytes: what these take. */
static inline struct hy_walk hy_unit_parts_of(const struct hy_launch *at, int64_t rows,
                                              const struct hy_norm &n, int v, size_t *shared_bytes)
{
    const int64_t most = (48 << 10) / sizeof(float);
    const unsigned lanes = hy_lanes_of((n.width + v - 1) / v, 32);
    unsigned tall = HY_BLOCK / lanes;
    while (tall > 32 / lanes && tall * n.width > most)
        tall /= 2;
    if (tall * n.width > most && !at->graph->err.code)
        hy_fail(&at->graph->err, HY_E_USAGE, "a norm over %lld columns; on a device at most %lld",
                (long long)n.width, (long long)most);
    *shared_bytes = (size_t)(tall * n.width) * sizeof(float);
    return {dim3((unsigned)hy_parts_of(rows * n.groups), 1, (unsigned)at->replicas),
            dim3(lanes, tall)};
}

/* Zeroes the group's sums. No barrier is needed after it: a lane adds to columns that it has zeroed
 * itself. */
template <int V> __device__ static inline void hy_weight_clear(float *sums, const struct hy_norm &n)
{
    HY_EACH_LANE(V, n.width, k)
    for (int j = 0; j < V; j++)
        sums[threadIdx.y * n.width + k + j] = 0;
}

template <int V>
__device__ static inline void hy_weight_add(float *sums, const struct hy_norm &n, int64_t k,
                                            const hy_pack<V> &d)
{
    for (int j = 0; j < V; j++)
        sums[threadIdx.y * n.width + k + j] += d.at[j];
}

/* Adds up the sums of the block's groups as one row of parts; nothing where that has no data. For
 * all threads of the block. */
__device__ static inline void hy_weight_part(const float *sums, const struct hy_norm &n,
                                             const struct hy_span &parts)
{
    __syncthreads();
    for (int64_t c = threadIdx.y * blockDim.x + threadIdx.x; parts.data && c < n.width;
         c += blockDim.x * blockDim.y) {
        float sum = 0;
        for (unsigned y = 0; y < blockDim.y; y++)
            sum += sums[y * n.width + c];
        hy_row(parts, blockIdx.x)[c] = sum;
    }
}

/* Scratch for the parts; 0 where no gradient is wanted. */
static inline size_t hy_weight_bytes(const struct hy_op *op, int i, const struct hy_norm &n)
{
    return op->din[i] ? hy_parts_bytes(op->in[0]->rows * n.groups, n.width) : 0;
}

static inline struct hy_span hy_weight_parts(const struct hy_op *op, int i, const struct hy_norm &n)
{
    const struct hy_span none = {};
    return op->din[i] ? hy_span_parts(op, 0, op->in[0]->rows * n.groups, n.width) : none;
}

/* Hands over the gradient of in[i]. */
static inline void hy_weight_fold(const struct hy_op *op, const struct hy_launch *at, int i,
                                  const struct hy_span &parts)
{
    if (op->din[i])
        hy_fold_sums(at, parts, hy_span_din(op, i), 1, 1, 0);
}

#endif
