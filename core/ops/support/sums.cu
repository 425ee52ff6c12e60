#include "core/ops/support/sums.cuh"

template <int V> __global__ static void sum_columns(struct hy_span x, struct hy_span parts)
{
    const int64_t c = hy_strip_column<V>();
    hy_pack<V> sum = {};
    if (c < x.cols)
        HY_STRIP(x.rows, i)
        {
            const hy_pack<V> v = hy_take<V>(x, i, c);
            for (int k = 0; k < V; k++)
                sum.at[k] += v.at[k];
        }
    hy_strip_sum(sum, c, parts);
}

void hy_sum_columns(const struct hy_launch *at, struct hy_span x, struct hy_span parts)
{
    const int four = hy_all_by_four(x, parts);
    const struct hy_walk walk = hy_strips_of(at, x.rows, x.cols, four ? 4 : 1);
    hy_start(at, walk.grid, walk.block, 0, four ? sum_columns<4> : sum_columns<1>, x, parts);
}

__global__ static void fold(struct hy_span parts, struct hy_span out, int64_t step, int64_t groups,
                            int64_t apart)
{
    __shared__ float all[HY_BLOCK];
    const unsigned own = threadIdx.y * blockDim.x + threadIdx.x;
    const int64_t k = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    const bool inside = k < out.rows * out.cols;
    float sum = 0;
    for (int64_t q = threadIdx.y; inside && q < parts.rows * groups; q += blockDim.y)
        sum += hy_row(parts, q / groups)[k * step + q % groups * apart];
    all[own] = sum;
    __syncthreads();
    for (unsigned half = blockDim.y / 2; half; half /= 2) {
        if (threadIdx.y < half)
            all[own] += all[own + half * blockDim.x];
        __syncthreads();
    }
    if (threadIdx.y || !inside)
        return;
    float *to = hy_row(out, k / out.cols) + k % out.cols;
    *to = (out.add ? *to : 0) + all[own];
}

void hy_fold_sums(const struct hy_launch *at, struct hy_span parts, struct hy_span out,
                  int64_t step, int64_t groups, int64_t apart)
{
    const int64_t count = out.rows * out.cols;
    const unsigned wide = hy_lanes_of(count, 32);
    hy_start(at, dim3((unsigned)((count + wide - 1) / wide), 1, (unsigned)at->replicas),
             dim3(wide, HY_BLOCK / wide), 0, fold, parts, out, step, groups, apart);
}
