/* lower_bound.cu - the twin of lower_bound.c: a thread per column, in double as there. */
#include "core/graph/cuda.cuh"

enum { THREADS = 128 };

/* The softmax of a column: its largest logit, the sum of exponentials, the bound. */
struct column {
    double top, sum, bound;
};

__device__ static inline struct column column_of(const struct hy_span &x, int64_t c, int layer)
{
    struct column s = {hy_row(x, 0)[c], 0, 0};
    for (int64_t i = 1; i < x.rows; i++)
        s.top = fmax(s.top, (double)hy_row(x, i)[c]);
    for (int64_t i = 0; i < x.rows; i++) {
        const double e = exp((double)hy_row(x, i)[c] - s.top);
        s.sum += e;
        s.bound += i > 0 && i <= layer ? e : 0;
    }
    s.bound /= s.sum;
    return s;
}

__global__ static void forward(struct hy_span x, struct hy_span y, int layer)
{
    const int64_t c = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (c < x.cols)
        hy_row(y, 0)[c] = (float)column_of(x, c, layer).bound;
}

__global__ static void backward(struct hy_span x, struct hy_span dy, struct hy_span dx, int layer)
{
    const int64_t c = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (c >= x.cols)
        return;
    const struct column s = column_of(x, c, layer);
    for (int64_t i = 0; i < x.rows; i++) {
        const double p = exp((double)hy_row(x, i)[c] - s.top) / s.sum;
        const double counted = i > 0 && i <= layer;
        float *to = hy_row(dx, i) + c;
        *to = (dx.add ? *to : 0) + (float)((double)hy_row(dy, 0)[c] * p * (counted - s.bound));
    }
}

static int layer_of(const struct hy_op *op)
{
    return *(const int *)op->attr;
}

static void lower_bound_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), y = hy_span_of(op->out[0]);
    hy_start(at, hy_grid(at, x.cols, THREADS), dim3(THREADS), 0, forward, x, y, layer_of(op));
}

static void lower_bound_backward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span x = hy_span_of(op->in[0]), dy = hy_span_of(op->dout[0]);
    const struct hy_span dx = hy_span_din(op, 0);
    hy_start(at, hy_grid(at, x.cols, THREADS), dim3(THREADS), 0, backward, x, dy, dx, layer_of(op));
}

HY_CUDA_KIND(lower_bound) = {lower_bound_forward, lower_bound_backward, NULL};
