/* linear.cu - the twin of linear.c: cuBLAS, and kernels for the bias and for the gradient of a
 * small weight. */
#include "core/ops/support/sums.cuh"

/* The gradient of a weight of few elements is a sum over many rows, which the float32 products of a
 * gang walk with a block of threads or two for each replica, thousands of rows one after the other.
 * So the rows are parted here: SIDE x SIDE elements to a block, whose threads take 2 x 2 of them,
 * ROWS rows at a time. */
enum { SIDE = 32, ROWS = 64, SMALL = 1 << 14, LONG = 256, SHARES = 16 };

__global__ static void __launch_bounds__(HY_BLOCK)
    share_weight(struct hy_span dy, struct hy_span x, struct hy_span shares)
{
    __shared__ float of_dy[ROWS][SIDE], of_x[ROWS][SIDE];
    const int across = (int)((x.cols + SIDE - 1) / SIDE);
    const int row = (int)blockIdx.x / across * SIDE, col = (int)blockIdx.x % across * SIDE;
    const int lane = (int)threadIdx.x % SIDE, first = (int)threadIdx.x / SIDE;
    const int down = (int)threadIdx.x / (SIDE / 2) * 2, right = (int)threadIdx.x % (SIDE / 2) * 2;
    const int64_t each = (dy.rows + gridDim.y - 1) / gridDim.y;
    const int64_t end = min((blockIdx.y + 1) * each, dy.rows);
    float sum[2][2] = {};
    for (int64_t from = blockIdx.y * each; from < end; from += ROWS) {
        float a[ROWS * SIDE / HY_BLOCK], b[ROWS * SIDE / HY_BLOCK];
#pragma unroll
        for (int k = 0; k < ROWS * SIDE / HY_BLOCK; k++) {
            const int64_t i = from + first + k * (HY_BLOCK / SIDE);
            a[k] = i < end && row + lane < dy.cols ? hy_row(dy, i)[row + lane] : 0;
            b[k] = i < end && col + lane < x.cols ? hy_row(x, i)[col + lane] : 0;
        }
#pragma unroll
        for (int k = 0; k < ROWS * SIDE / HY_BLOCK; k++) {
            of_dy[first + k * (HY_BLOCK / SIDE)][lane] = a[k];
            of_x[first + k * (HY_BLOCK / SIDE)][lane] = b[k];
        }
        __syncthreads();
#pragma unroll 8
        for (int i = 0; i < ROWS; i++)
#pragma unroll
            for (int k = 0; k < 2; k++)
#pragma unroll
                for (int l = 0; l < 2; l++)
                    sum[k][l] += of_dy[i][down + k] * of_x[i][right + l];
        __syncthreads();
    }
    float *to = hy_row(shares, blockIdx.y);
    for (int k = 0; k < 2; k++)
        for (int l = 0; l < 2; l++)
            if (row + down + k < dy.cols && col + right + l < x.cols)
                to[(row + down + k) * x.cols + col + right + l] = sum[k][l];
}

/* Into how many shares the rows are parted; 0: the gradient is cuBLAS's work. */
static int64_t shares_of(const struct hy_op *op)
{
    const struct hy_tensor *dw = op->din[1];
    const int64_t rows = op->in[0]->rows;
    if (!dw || op->graph->shape.precision != HY_PRECISION_FLOAT32 || dw->rows * dw->cols > SMALL ||
        rows < LONG)
        return 0;
    return rows / ROWS < SHARES ? rows / ROWS : (int64_t)SHARES;
}

template <int V> __global__ static void spread_bias(struct hy_span bias, struct hy_span y)
{
    HY_EACH_PACK(V, y.rows, y.cols, i, c)
    hy_give(y, i, c, hy_take<V>(bias, 0, c));
}

static size_t linear_scratch(const struct hy_op *op)
{
    const int64_t shares = shares_of(op);
    const size_t bias = op->din[2] ? hy_parts_bytes(op->dout[0]->rows, op->dout[0]->cols) : 0;
    const size_t weight =
        shares ? (size_t)(shares * op->din[1]->rows * op->din[1]->cols) * sizeof(float) : 0;
    return bias > weight ? bias : weight; /* one after the other */
}

static void backward_weight(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), dy = hy_span_of(op->dout[0]);
    const struct hy_span dw = hy_span_din(op, 1);
    const int64_t shares = shares_of(op);
    if (!shares) {
        hy_cuda_gemm(at, 1, 0, dw.rows, x.cols, x.rows, 1, dy, x, (float)dw.add, dw);
        return;
    }
    const struct hy_span parts = hy_span_scratch(op, 0, shares, dw.rows * dw.cols);
    const int64_t tiles = (dw.rows + SIDE - 1) / SIDE * ((dw.cols + SIDE - 1) / SIDE);
    hy_start(at, dim3((unsigned)tiles, (unsigned)shares, (unsigned)at->replicas), dim3(HY_BLOCK), 0,
             share_weight, dy, x, parts);
    hy_fold_sums(at, parts, dw, 1, 1, 0);
}

static void backward_bias(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span dy = hy_span_of(op->dout[0]);
    const struct hy_span parts = hy_span_parts(op, 0, dy.rows, dy.cols);
    hy_sum_columns(at, dy, parts);
    hy_fold_sums(at, parts, hy_span_din(op, 2), 1, 1, 0);
}

static void linear_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), w = hy_span_of(op->in[1]);
    const struct hy_span bias = hy_span_of(op->in[2]), y = hy_span_of(op->out[0]);
    const int four = hy_all_by_four(bias, y);
    const struct hy_walk walk = hy_walk_of(at, y.rows, four ? y.cols / 4 : y.cols);
    if (bias.data)
        hy_start(at, walk.grid, walk.block, 0, four ? spread_bias<4> : spread_bias<1>, bias, y);
    hy_cuda_gemm(at, 0, 1, y.rows, y.cols, x.cols, 1, x, w, bias.data ? 1 : 0, y);
}

static void linear_backward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), w = hy_span_of(op->in[1]);
    const struct hy_span dy = hy_span_of(op->dout[0]);
    const struct hy_span dx = hy_span_din(op, 0);
    if (dx.data)
        hy_cuda_gemm(at, 0, 0, x.rows, x.cols, w.rows, 1, dy, w, (float)dx.add, dx);
    if (op->din[1])
        backward_weight(op, at);
    if (op->din[2])
        backward_bias(op, at);
}

HY_CUDA_KIND(linear) = {linear_forward, linear_backward, linear_scratch};
