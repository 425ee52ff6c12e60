/* kl.cu - the twin of kl.c: a warp takes a row, and reads its logits as often as it needs them. */
#include "core/ops/support/sums.cuh"

enum { STUDENT, TEACHER, LABELS };
enum { LANES = 32, ROWS = HY_BLOCK / LANES };

__device__ static inline float lanes_max(float x)
{
    for (int bit = LANES / 2; bit; bit /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, bit));
    return x;
}

/* log sum_c e^(z_c / T). */
__device__ static inline float log_sum(const float *z, int64_t count, float cool)
{
    float top = -INFINITY, sum = 0;
    for (int64_t c = threadIdx.x; c < count; c += LANES)
        top = fmaxf(top, z[c]);
    top = lanes_max(top);
    for (int64_t c = threadIdx.x; c < count; c += LANES)
        sum += expf((z[c] - top) * cool);
    return top * cool + logf(hy_lanes_sum(sum));
}

struct row {
    const float *s, *t;
    float cool, shift_s, shift_t;
    int64_t count;
};

__device__ static inline struct row row_of(const struct hy_span &student,
                                           const struct hy_span &teacher, int64_t i, float cool)
{
    struct row w = {hy_row(student, i), hy_row(teacher, i), cool, 0, 0, student.cols};
    w.shift_s = log_sum(w.s, w.count, cool);
    w.shift_t = log_sum(w.t, w.count, cool);
    return w;
}

__device__ static inline float divergence(const struct row &w)
{
    float sum = 0;
    for (int64_t c = threadIdx.x; c < w.count; c += LANES) {
        const float teacher = w.t[c] * w.cool - w.shift_t;
        sum += expf(teacher) * (teacher - (w.s[c] * w.cool - w.shift_s));
    }
    return hy_lanes_sum(sum);
}

__global__ static void forward(struct hy_span student, struct hy_span teacher,
                               struct hy_column labels, struct hy_span y, float cool)
{
    for (int64_t i = (int64_t)blockIdx.x * ROWS + threadIdx.y; i < y.rows;
         i += (int64_t)gridDim.x * ROWS) {
        float all = 0;
        if (hy_at(labels, i) >= 0) {
            const struct row w = row_of(student, teacher, i, cool);
            all = divergence(w) / (cool * cool);
        }
        if (!threadIdx.x)
            *hy_row(y, i) = all;
    }
}

__device__ static inline void give(const struct hy_span &d, int64_t i, int64_t c, float x)
{
    if (d.data)
        hy_row(d, i)[c] = (d.add ? hy_row(d, i)[c] : 0) + x;
}

__global__ static void backward(struct hy_span student, struct hy_span teacher,
                                struct hy_column labels, struct hy_span dy, struct hy_span ds,
                                struct hy_span dt, float cool)
{
    for (int64_t i = (int64_t)blockIdx.x * ROWS + threadIdx.y; i < dy.rows;
         i += (int64_t)gridDim.x * ROWS) {
        if (hy_at(labels, i) < 0) {
            for (int64_t c = threadIdx.x; c < student.cols; c += LANES) {
                give(ds, i, c, 0);
                give(dt, i, c, 0);
            }
            continue;
        }
        const struct row w = row_of(student, teacher, i, cool);
        const float scale = *hy_row(dy, i) / cool, mean = dt.data ? divergence(w) : 0;
        for (int64_t c = threadIdx.x; c < w.count; c += LANES) {
            const float s = w.s[c] * w.cool - w.shift_s, t = w.t[c] * w.cool - w.shift_t;
            const float q = expf(t);
            give(ds, i, c, scale * (expf(s) - q));
            give(dt, i, c, scale * q * (t - s - mean));
        }
    }
}

static void kl_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span y = hy_span_of(op->out[0]);
    hy_start(at, hy_grid(at, y.rows, ROWS), dim3(LANES, ROWS), 0, forward,
             hy_span_of(op->in[STUDENT]), hy_span_of(op->in[TEACHER]), hy_column_of(op->in[LABELS]),
             y, (float)(1 / *(const double *)op->attr));
}

static void kl_backward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span dy = hy_span_of(op->dout[0]);
    hy_start(at, hy_grid(at, dy.rows, ROWS), dim3(LANES, ROWS), 0, backward,
             hy_span_of(op->in[STUDENT]), hy_span_of(op->in[TEACHER]), hy_column_of(op->in[LABELS]),
             dy, hy_span_din(op, STUDENT), hy_span_din(op, TEACHER),
             (float)(1 / *(const double *)op->attr));
}

HY_CUDA_KIND(kl) = {kl_forward, kl_backward, NULL};
