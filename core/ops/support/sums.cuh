/* sums.cuh - sums over the rows of a matrix, and over the columns of a row, always in the same
 * order: the gradients of parameters, and norms.
 *
 * Sums over rows take two stages. A kernel whose grid is hy_strips_of() gives every thread columns
 * of its own and a part of the rows; hy_strip_sum() leaves the sums of its parts in scratch, and
 * hy_fold_sums() adds these up. How rows are parted depends on their number alone, so that a
 * replica's sums are the same in any gang. */
#ifndef HY_OPS_SUPPORT_SUMS_CUH
#define HY_OPS_SUPPORT_SUMS_CUH

#include "core/ops/support/pack.cuh"

enum { HY_BLOCK = 256 }; /* threads of a block that sums */

/* Into how many parts this number of rows is split. */
static inline int64_t hy_parts_of(int64_t rows)
{
    const int64_t parts = (rows + 31) / 32;
    return parts < 128 ? parts : 128;
}

/* Scratch for sums of `cols` columns over the parts: [parts, cols], from float `first` on. */
static inline struct hy_span hy_span_parts(const struct hy_op *op, int64_t first, int64_t rows,
                                           int64_t cols)
{
    return hy_span_scratch(op, first, hy_parts_of(rows), cols);
}

static inline size_t hy_parts_bytes(int64_t rows, int64_t cols)
{
    return (size_t)(hy_parts_of(rows) * cols) * sizeof(float);
}

/* The largest power of two that is at most `most` and not twice what `count` needs. */
static inline unsigned hy_lanes_of(int64_t count, unsigned most)
{
    unsigned lanes = 1;
    while (lanes < most && lanes < count)
        lanes *= 2;
    return lanes;
}

/* The grid in which a thread keeps to its V columns: blockIdx.y is the strip of columns, blockIdx.x
 * the part of the rows. */
static inline struct hy_walk hy_strips_of(const struct hy_launch *at, int64_t rows, int64_t cols,
                                          int v)
{
    const int64_t packs = (cols + v - 1) / v;
    const unsigned wide = hy_lanes_of(packs, 32);
    return {dim3((unsigned)hy_parts_of(rows), (unsigned)((packs + wide - 1) / wide),
                 (unsigned)at->replicas),
            dim3(wide, HY_BLOCK / wide)};
}

/* The first of the thread's columns; may lie beyond the last one. */
template <int V> __device__ static inline int64_t hy_strip_column(void)
{
    return ((int64_t)blockIdx.y * blockDim.x + threadIdx.x) * V;
}

/* The rows i of the thread. */
#define HY_STRIP(rows, i)                                                        \
    for (int64_t i = (int64_t)blockIdx.x * blockDim.y + threadIdx.y; i < (rows); \
         i += (int64_t)gridDim.x * blockDim.y)

/* Adds up `sum` over the threads of the block that share columns c to c + V - 1, as one row of
 * `parts`; nothing where that has no data. For all threads of the block. */
template <int V>
__device__ static inline void hy_strip_sum(const hy_pack<V> &sum, int64_t c,
                                           const struct hy_span &parts)
{
    __shared__ hy_pack<V> all[HY_BLOCK];
    if (!parts.data)
        return;
    const unsigned own = threadIdx.y * blockDim.x + threadIdx.x;
    all[own] = sum;
    __syncthreads();
    for (unsigned half = blockDim.y / 2; half; half /= 2) {
        for (int k = 0; threadIdx.y < half && k < V; k++)
            all[own].at[k] += all[own + half * blockDim.x].at[k];
        __syncthreads();
    }
    if (!threadIdx.y && c < parts.cols)
        hy_give(parts, blockIdx.x, c, all[own]);
    __syncthreads(); /* the next sum uses `all` again */
}

/* Leaves the sums of x's columns in `parts`, which has as many: all of the first stage where x
 * itself is summed. */
void hy_sum_columns(const struct hy_launch *at, struct hy_span x, struct hy_span parts);

/* Element k (row-major) of out = [out.add: +] sum over the parts and over g < groups of column
 * k * step + g * apart. */
void hy_fold_sums(const struct hy_launch *at, struct hy_span parts, struct hy_span out,
                  int64_t step, int64_t groups, int64_t apart);

/* The lanes that hy_lanes_sum() adds up: blockDim.x of them, a power of two up to 32. */
__device__ static inline unsigned hy_lanes_mask(void)
{
    const unsigned first = threadIdx.y * blockDim.x % 32;
    return blockDim.x == 32 ? 0xffffffffu : ((1u << blockDim.x) - 1) << first;
}

/* The sum of x over the threads of equal threadIdx.y; all of them get it. */
__device__ static inline float hy_lanes_sum(float x)
{
    const unsigned mask = hy_lanes_mask();
    for (unsigned bit = blockDim.x / 2; bit; bit /= 2)
        x += __shfl_xor_sync(mask, x, (int)bit);
    return x;
}

#endif
