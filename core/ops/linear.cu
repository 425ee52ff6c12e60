/* linear.cu - the twin of linear.c: cuBLAS, and kernels for the bias. */
#include "core/graph/cuda.cuh"

enum { COLUMNS = 32, ROWS = 8 }; /* of a block that sums columns */

__global__ static void spread_bias(struct hy_span bias, struct hy_span y)
{
    HY_EACH(y.rows, y.cols, i, c)
    hy_row(y, i)[c] = hy_row(bias, 0)[c];
}

/* Each block sums COLUMNS columns over all rows: always in the same order. */
__global__ static void sum_columns(struct hy_span dy, struct hy_span dbias)
{
    __shared__ float parts[ROWS][COLUMNS + 1];
    const int64_t c = (int64_t)blockIdx.x * COLUMNS + threadIdx.x;
    float sum = 0;
    for (int64_t i = threadIdx.y; c < dy.cols && i < dy.rows; i += ROWS)
        sum += hy_row(dy, i)[c];
    parts[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y || c >= dy.cols)
        return;
    sum = dbias.add ? hy_row(dbias, 0)[c] : 0;
    for (int k = 0; k < ROWS; k++)
        sum += parts[k][threadIdx.x];
    hy_row(dbias, 0)[c] = sum;
}

static void linear_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), w = hy_span_of(op->in[1]);
    const struct hy_span bias = hy_span_of(op->in[2]), y = hy_span_of(op->out[0]);
    const struct hy_walk walk = hy_walk_of(at, y.rows, y.cols);
    if (bias.data)
        hy_start(at, walk.grid, walk.block, 0, spread_bias, bias, y);
    hy_cuda_gemm(at, 0, 1, y.rows, y.cols, x.cols, 1, x, w, bias.data ? 1 : 0, y);
}

static void linear_backward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), w = hy_span_of(op->in[1]);
    const struct hy_span dy = hy_span_of(op->dout[0]);
    const struct hy_span dx = hy_span_din(op, 0), dw = hy_span_din(op, 1);
    const struct hy_span dbias = hy_span_din(op, 2);
    if (dx.data)
        hy_cuda_gemm(at, 0, 0, x.rows, x.cols, w.rows, 1, dy, w, (float)dx.add, dx);
    if (dw.data)
        hy_cuda_gemm(at, 1, 0, w.rows, x.cols, x.rows, 1, dy, x, (float)dw.add, dw);
    if (dbias.data)
        hy_start(at, hy_grid(at, dy.cols, COLUMNS), dim3(COLUMNS, ROWS), 0, sum_columns, dy, dbias);
}

HY_CUDA_KIND(linear) = {linear_forward, linear_backward, NULL};
