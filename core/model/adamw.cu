/* adamw.cu - the update of all parameters of all replicas: norm of the gradient and loss in two
 * stages, each in a fixed order, then one launch for AdamW. As optimizer.c does it on the CPU. */
#include "core/graph/cuda.cuh"

extern "C" {
#include "core/model/update.h"
}

/* PARTS: blocks that share out a replica's gradients, at most; EACH: of which one takes so many. */
enum { THREADS = 256, PARTS = 256, EACH = 4 * THREADS };

/* Adds up x of all threads of the block, in a fixed order; every thread gets the sum. */
__device__ static double block_sum(double x)
{
    __shared__ double sums[THREADS];
    sums[threadIdx.x] = x;
    __syncthreads();
    for (unsigned half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half)
            sums[threadIdx.x] += sums[threadIdx.x + half];
        __syncthreads();
    }
    const double sum = sums[0];
    __syncthreads();
    return sum;
}

/* The segment that element i of the moments belongs to, which is not before `segment`: most often
 * the same, else found by halving. */
__device__ static int64_t segment_of(struct hy_column segments, int64_t segment, int64_t i)
{
    if (i < hy_at(segments, HY_SEGMENT_COLUMNS * segment + HY_SEGMENT_END))
        return segment;
    int64_t last = segments.rows - 1;
    for (segment++; segment < last;) {
        const int64_t middle = (segment + last) / 2;
        if (i < hy_at(segments, HY_SEGMENT_COLUMNS * middle + HY_SEGMENT_END))
            last = middle;
        else
            segment = middle + 1;
    }
    return segment;
}

/* parts[blockIdx.x]: sum of squares of every gridDim.x-th run of THREADS gradients; count: of the
 * moments. */
__global__ static void square(struct hy_span grads, int64_t count, struct hy_column segments,
                              struct hy_span parts)
{
    const float *g = hy_row(grads, 0);
    double sum = 0;
    int64_t segment = 0;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < count;
         i += (int64_t)gridDim.x * THREADS) {
        segment = segment_of(segments, segment, i);
        const float slope = g[i + hy_at(segments, HY_SEGMENT_COLUMNS * segment + HY_SEGMENT_GRAD)];
        sum += (double)slope * (double)slope;
    }
    sum = block_sum(sum);
    if (!threadIdx.x)
        reinterpret_cast<double *>(hy_row(parts, 0))[blockIdx.x] = sum;
}

/* The sum of weight times loss over the block's threads; 0 where there is no loss. */
__device__ static inline double sum_of(struct hy_span loss, struct hy_span weights)
{
    double sum = 0;
    for (int64_t i = threadIdx.x; loss.data && i < loss.rows; i += THREADS)
        sum += (double)*hy_row(weights, i) * (double)*hy_row(loss, i);
    return block_sum(sum);
}

/* One block per replica: adds up norm and loss, notes them, freezes what diverged. Leaves behind
 * the parts the factor that clips the gradients, or NaN where nothing is to be updated. */
__global__ static void judge(struct hy_span parts, unsigned blocks, struct hy_span loss,
                             struct hy_span weights, struct hy_span token_loss,
                             struct hy_span token_weights, struct hy_span control,
                             struct hy_span log)
{
    double *part = reinterpret_cast<double *>(hy_row(parts, 0));
    const float *c = hy_row(control, 0);
    const double squares = block_sum(threadIdx.x < blocks ? part[threadIdx.x] : 0);
    const double all = sum_of(loss, weights) + sum_of(token_loss, token_weights);
    const double norm = sqrt(squares);
    if (threadIdx.x)
        return;
    float *own = hy_row(log, (int64_t)c[HY_CONTROL_SLOT]);
    float *diverged = hy_row(log, HY_TRAINER_BACKLOG);
    own[0] = (float)all;
    own[1] = (float)norm;
    if (!isfinite(own[0]) || !isfinite(own[1]))
        *diverged = 1;
    const double clip = (double)c[HY_CONTROL_CLIP];
    part[PARTS] = *diverged != 0 || c[HY_CONTROL_FROZEN] != 0 ? (double)NAN
                  : clip > 0 && norm > clip                   ? clip / norm
                                                              : 1;
}

/* The optimizer's constants. */
struct rates {
    float beta1, beta2, eps;
};

__global__ static void update(struct hy_span params, struct hy_span grads, struct hy_span m,
                              struct hy_span v, int64_t count, struct hy_span parts,
                              struct hy_span control, struct hy_column segments, struct rates o)
{
    const double factor = reinterpret_cast<const double *>(hy_row(parts, 0))[PARTS];
    if (isnan(factor))
        return;
    const float scale = (float)factor;
    const float *c = hy_row(control, 0);
    const float rate = c[HY_CONTROL_RATE], root = c[HY_CONTROL_ROOT], keep = c[HY_CONTROL_KEEP];
    float *w = hy_row(params, 0), *first = hy_row(m, 0), *second = hy_row(v, 0);
    const float *g = hy_row(grads, 0);
    int64_t segment = 0;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < count;
         i += (int64_t)gridDim.x * THREADS) {
        segment = segment_of(segments, segment, i);
        const int64_t row = HY_SEGMENT_COLUMNS * segment;
        const int64_t at = i + hy_at(segments, row + HY_SEGMENT_PARAM);
        const float slope = g[i + hy_at(segments, row + HY_SEGMENT_GRAD)] * scale;
        const float mean = o.beta1 * first[i] + (1 - o.beta1) * slope;
        const float square = o.beta2 * second[i] + (1 - o.beta2) * slope * slope;
        first[i] = mean;
        second[i] = square;
        w[at] = (hy_at(segments, row + HY_SEGMENT_DECAYS) ? keep : 1) * w[at] -
                rate * mean / (sqrtf(square) * root + o.eps);
    }
}

static struct hy_span all_of(const struct hy_slab *s)
{
    struct hy_span span = {};
    span.data = s->data;
    span.rows = 1;
    span.cols = span.ld = span.stride = s->count;
    return span;
}

static size_t adamw_scratch(const struct hy_op *op)
{
    (void)op;
    return (PARTS + 1) * sizeof(double);
}

static void adamw_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_update_attr *attr = (const struct hy_update_attr *)op->attr;
    const struct hy_adamw *o = attr->optimizer;
    const struct hy_span params = all_of(attr->params), grads = all_of(attr->grads);
    const struct hy_span m = all_of(&o->m), v = all_of(&o->v);
    const struct hy_span parts = hy_span_of(op->scratch);
    const struct hy_span control = hy_span_of(op->in[HY_UPDATE_CONTROL]);
    const struct hy_column segments = hy_column_of(op->in[HY_UPDATE_SEGMENTS]);
    const struct rates rates = {(float)o->beta1, (float)o->beta2, (float)o->eps};
    const int64_t count = o->m.count;
    const dim3 own(1, 1, (unsigned)at->replicas);
    dim3 shared = hy_grid(at, count, EACH);
    shared.x = shared.x < PARTS ? shared.x : (unsigned)PARTS;
    hy_start(at, shared, dim3(THREADS), 0, square, grads, count, segments, parts);
    hy_start(at, own, dim3(THREADS), 0, judge, parts, shared.x, hy_span_of(op->in[HY_UPDATE_LOSS]),
             hy_span_of(op->in[HY_UPDATE_WEIGHTS]), hy_span_of(op->in[HY_UPDATE_TOKEN_LOSS]),
             hy_span_of(op->in[HY_UPDATE_TOKEN_WEIGHTS]), control, hy_span_of(op->out[0]));
    /* Enough in a thread to keep the memory busy, few enough to walk the segments. */
    hy_start(at, hy_grid(at, count, EACH), dim3(THREADS), 0, update, params, grads, m, v, count,
             parts, control, segments, rates);
}

HY_CUDA_KIND(adamw) = {adamw_forward, NULL, adamw_scratch};
