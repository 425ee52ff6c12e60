/* squared_error.cu - the twin of squared_error.c: a row is the work of one group of threads. */
#include "core/ops/support/sums.cuh"

__global__ static void error(struct hy_span a, struct hy_span b, struct hy_span y)
{
    for (int64_t i = (int64_t)blockIdx.x * blockDim.y + threadIdx.y; i < a.rows;
         i += (int64_t)gridDim.x * blockDim.y) {
        float sum = 0;
        for (int64_t c = threadIdx.x; c < a.cols; c += blockDim.x) {
            const float apart = hy_row(a, i)[c] - hy_row(b, i)[c];
            sum += apart * apart;
        }
        sum = hy_lanes_sum(sum);
        if (!threadIdx.x)
            *hy_row(y, i) = sum / (float)a.cols;
    }
}

template <int V>
__global__ static void slopes(struct hy_span a, struct hy_span b, struct hy_span dy,
                              struct hy_span d, float scale)
{
    HY_EACH_PACK(V, a.rows, a.cols, i, c)
    {
        const hy_pack<V> one = hy_take<V>(a, i, c), other = hy_take<V>(b, i, c);
        hy_pack<V> v;
        for (int k = 0; k < V; k++)
            v.at[k] = scale * *hy_row(dy, i) * (one.at[k] - other.at[k]);
        hy_give(d, i, c, v);
    }
}

static void squared_error_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span a = hy_span_of(op->in[0]);
    const unsigned lanes = hy_lanes_of(a.cols, 32), tall = HY_BLOCK / lanes;
    hy_start(at, hy_grid(at, a.rows, tall), dim3(lanes, tall), 0, error, a, hy_span_of(op->in[1]),
             hy_span_of(op->out[0]));
}

static void squared_error_backward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span a = hy_span_of(op->in[0]), b = hy_span_of(op->in[1]);
    for (int k = 0; k < 2; k++) {
        const struct hy_span d = hy_span_din(op, k);
        const int four = hy_all_by_four(a, b, d);
        const struct hy_walk walk = hy_walk_of(at, a.rows, four ? a.cols / 4 : a.cols);
        if (d.data)
            hy_start(at, walk.grid, walk.block, 0, four ? slopes<4> : slopes<1>, a, b,
                     hy_span_of(op->dout[0]), d, (k ? -2.f : 2.f) / (float)a.cols);
    }
}

HY_CUDA_KIND(squared_error) = {squared_error_forward, squared_error_backward, NULL};
