/* vector_scan.cu - the twin of vector_scan.c. A block takes 32 channels of one sequence; its rows
 * of threads share out the tokens. Each first folds its own tokens into one step h -> decay h +
 * sum, these are chained up to where it begins, then it walks its tokens again with what came
 * before. */
#include "core/ops/support/pack.cuh"

extern "C" {
#include "core/ops/scan/vector_scan.h"
}

enum { X, DECAY, H0 };
enum { H, HT };
enum {
    CHANNELS = 32,
    MOST_PARTS = 8,
    PART = 32
}; /* PART: tokens that are worth a row of threads */

struct scan {
    int64_t tokens, each; /* each: of a row of threads */
    struct hy_span x, decay, h, h0;
};

/* The thread's channel and tokens. */
struct place {
    int64_t sequence, c, first, start, stop; /* first: row of the sequence */
    bool live;

    __device__ place(const struct scan &s)
    {
        const int64_t strips = (s.x.cols + CHANNELS - 1) / CHANNELS;
        sequence = blockIdx.x / strips;
        c = blockIdx.x % strips * CHANNELS + threadIdx.x;
        first = sequence * s.tokens;
        start = min(threadIdx.y * s.each, s.tokens);
        stop = min(start + s.each, s.tokens);
        live = c < s.x.cols;
    }
};

/* What enters the thread's tokens, given the step of each row of threads and what enters the row
 * `from`; rows follow each other by `next`. For all threads of the block. */
__device__ static inline float chain(float decay, float sum, float carry, int from, int next)
{
    __shared__ float decays[MOST_PARTS][CHANNELS], sums[MOST_PARTS][CHANNELS];
    decays[threadIdx.y][threadIdx.x] = decay;
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    for (int y = from; y != (int)threadIdx.y; y += next)
        carry = decays[y][threadIdx.x] * carry + sums[y][threadIdx.x];
    return carry;
}

__global__ static void forward(struct scan s, struct hy_span ht)
{
    const place at(s);
    float decay = 1, sum = 0;
    for (int64_t t = at.start; at.live && t < at.stop; t++) {
        const float step = expf(hy_row(s.decay, at.first + t)[at.c]);
        decay *= step;
        sum = step * sum + hy_row(s.x, at.first + t)[at.c];
    }
    float h = at.live ? hy_take<1>(s.h0, at.sequence, at.c).at[0] : 0;
    h = chain(decay, sum, h, 0, 1);
    for (int64_t t = at.start; at.live && t < at.stop; t++) {
        h = expf(hy_row(s.decay, at.first + t)[at.c]) * h + hy_row(s.x, at.first + t)[at.c];
        hy_row(s.h, at.first + t)[at.c] = h;
    }
    if (at.live && at.start < at.stop && at.stop == s.tokens)
        hy_give<1>(ht, at.sequence, at.c, {{h}});
}

struct gradients {
    struct hy_span dh, dht, dx, ddecay, dh0;
};

/* From the last token to the first, what later tokens give to h_t is decayed on its way to h_{t-1}.
 */
__global__ static void backward(struct scan s, struct gradients d)
{
    const place at(s);
    float decay = 1, sum = 0;
    for (int64_t t = at.stop - 1; at.live && t >= at.start; t--) {
        const float step = expf(hy_row(s.decay, at.first + t)[at.c]);
        decay *= step;
        sum = step * (sum + hy_take<1>(d.dh, at.first + t, at.c).at[0]);
    }
    float later = at.live ? hy_take<1>(d.dht, at.sequence, at.c).at[0] : 0;
    later = chain(decay, sum, later, (int)blockDim.y - 1, -1);
    for (int64_t t = at.stop - 1; at.live && t >= at.start; t--) {
        const int64_t row = at.first + t;
        const float before =
            t > 0 ? hy_row(s.h, row - 1)[at.c] : hy_take<1>(s.h0, at.sequence, at.c).at[0];
        later += hy_take<1>(d.dh, row, at.c).at[0];
        hy_give<1>(d.dx, row, at.c, {{later}});
        later *= expf(hy_row(s.decay, row)[at.c]);
        hy_give<1>(d.ddecay, row, at.c, {{before * later}});
    }
    if (at.live && threadIdx.y == 0)
        hy_give<1>(d.dh0, at.sequence, at.c, {{later}});
}

static struct scan scan_of(const struct hy_op *op, const struct hy_launch *at, struct hy_walk *walk)
{
    const struct hy_shape *shape = &op->graph->shape;
    const int64_t parts = (shape->tokens + PART - 1) / PART;
    struct scan s = {};
    s.tokens = shape->tokens;
    s.x = hy_span_of(op->in[X]);
    s.decay = hy_span_of(op->in[DECAY]);
    s.h = hy_span_of(op->out[H]);
    s.h0 = hy_span_of(op->in[H0]);
    const int64_t strips = (s.x.cols + CHANNELS - 1) / CHANNELS;
    const int64_t tall = parts < MOST_PARTS ? parts : (int64_t)MOST_PARTS;
    walk->block = dim3(CHANNELS, (unsigned)tall);
    walk->grid = dim3((unsigned)(shape->batch * strips), 1, (unsigned)at->replicas);
    s.each = (s.tokens + tall - 1) / tall;
    return s;
}

static void vector_scan_forward(const struct hy_op *op, const struct hy_launch *at)
{
    struct hy_walk walk;
    const struct scan s = scan_of(op, at, &walk);
    hy_start(at, walk.grid, walk.block, 0, forward, s, hy_span_of(op->out[HT]));
}

static void vector_scan_backward(const struct hy_op *op, const struct hy_launch *at)
{
    struct hy_walk walk;
    const struct scan s = scan_of(op, at, &walk);
    const struct gradients d = {hy_span_of(op->dout[H]), hy_span_of(op->dout[HT]),
                                hy_span_din(op, X), hy_span_din(op, DECAY), hy_span_din(op, H0)};
    hy_start(at, walk.grid, walk.block, 0, backward, s, d);
}

HY_CUDA_KIND(vector_scan) = {vector_scan_forward, vector_scan_backward, NULL};
