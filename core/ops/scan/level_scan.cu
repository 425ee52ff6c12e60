/* level_scan.cu - the twin of level_scan.c, and what goes on token by token from a cache. */
#include "core/ops/scan/scan_levels.cuh"

/* A thread takes a column of the values and every HEIGHT-th row of the states. */
enum { WIDTH = 32, HEIGHT = 8 };

/* The sum of x over the threads of a column; all of them get it. */
__device__ static inline float column_sum(float x)
{
    __shared__ float all[HEIGHT][WIDTH];
    float sum = 0;
    all[threadIdx.y][threadIdx.x] = x;
    __syncthreads();
    for (int i = 0; i < HEIGHT; i++)
        sum += all[i][threadIdx.x];
    __syncthreads();
    return sum;
}

/* What a column of a head has in the cache. */
struct cached {
    struct hy_span states;
    int64_t row, column; /* of level 0 */
    int width;           /* rows of a level */
    bool live;           /* is there such a column? */

    __device__ float *at(int level, int c) const
    {
        return hy_row(states, row + (int64_t)level * width + c) + column;
    }
};

/* The token before left levels 0 to n of it; now they are one, level n + 1. */
__device__ static void merge_levels(const struct cached &s, int n)
{
    for (int c = (int)threadIdx.y; s.live && c < s.width; c += HEIGHT)
        for (int level = 0; level <= n; level++) {
            *s.at(n + 1, c) += *s.at(level, c);
            *s.at(level, c) = 0;
        }
}

/* A token as one head sees it: q is not scaled. */
struct token {
    const float *q, *k;
    float step, beta;
    bool delta;
};

/* A state decays, and loses what k recalls of it; returns the thread's part of state' q. */
__device__ static float recall(const struct token &x, const struct cached &s, int level)
{
    float recalled = 0, seen = 0;
    for (int c = (int)threadIdx.y; s.live && x.delta && c < s.width; c += HEIGHT)
        recalled += x.k[c] * x.step * *s.at(level, c);
    if (x.delta)
        recalled = x.beta * column_sum(recalled);
    for (int c = (int)threadIdx.y; s.live && c < s.width; c += HEIGHT) {
        const float kept = x.step * *s.at(level, c) - x.k[c] * recalled;
        *s.at(level, c) = kept;
        seen += x.q[c] * kept;
    }
    return seen;
}

__device__ static void continue_token(const struct hy_level_plan &l, const struct hy_scan_place &at,
                                      const struct cached &s, int64_t row, int position)
{
    const struct hy_scan_plan &p = l.scan;
    const int64_t keys = at.head / p.sharing * p.k, column = at.head * p.v + s.column;
    const float *lambda = hy_row(l.lambda, row) + at.head * l.levels;
    const float v = s.live ? hy_row(p.in[HY_SCAN_V], row)[column] : 0;
    struct token x = {hy_row(p.in[HY_SCAN_Q], row) + keys, hy_row(p.in[HY_SCAN_K], row) + keys, 1,
                      1, p.delta};
    if (p.decay)
        x.step = expf(hy_row(p.in[HY_SCAN_DECAY], p.decay == HY_DECAY_HEAD ? row : 0)[at.head]);
    if (p.delta)
        x.beta = hy_row(p.in[HY_SCAN_BETA], row)[at.head];
    if (position)
        merge_levels(s, __ffs(position) - 1);
    float o = 0;
    for (int c = (int)threadIdx.y; s.live && c < p.k; c += HEIGHT) {
        const float written = x.beta * x.k[c] * v;
        *s.at(0, c) = written;
        o += x.q[c] * written;
    }
    o *= lambda[0];
    for (int bit = 0; position >> bit; bit++)
        if (position >> bit & 1)
            o += lambda[bit + 1] * recall(x, s, bit + 1);
    o = column_sum(o);
    if (s.live && threadIdx.y == 0)
        hy_row(p.out[HY_SCAN_O], row)[column] = p.scale * o;
}

__global__ static void continue_sequences(struct hy_level_plan l, const int *position)
{
    const hy_scan_place at(l.scan, blockIdx.x);
    const int64_t head = at.sequence * l.scan.heads + at.head;
    const struct cached s = {l.states, head * l.state_rows, at.column + threadIdx.x, l.scan.k,
                             (int)threadIdx.x < at.columns};
    for (int64_t t = 0; t < l.scan.tokens; t++)
        continue_token(l, at, s, at.sequence * l.scan.tokens + t, *position + (int)t);
}

static void continue_from_cache(const struct hy_op *op, const struct hy_launch *at)
{
    struct hy_level_plan l = {};
    l.scan = hy_scan_plan_begin(op);
    l.scan.width = WIDTH;
    l.scan.tiles = (l.scan.v + WIDTH - 1) / WIDTH;
    l.levels = ((const struct hy_level_scan *)op->attr)->levels;
    l.lambda = hy_span_of(op->in[HY_LEVEL_LAMBDA]);
    l.states = l.scan.out[HY_SCAN_HT];
    l.state_rows = l.states.rows / (l.scan.batch * l.scan.heads); /* of a head */
    hy_start(at, hy_scan_grid(l.scan, at), dim3(WIDTH, HEIGHT), 0, continue_sequences, l,
             at->position);
}

static void level_scan_forward(const struct hy_op *op, const struct hy_launch *at)
{
    if (op->graph->shape.mode == HY_CACHED)
        continue_from_cache(op, at);
    else
        hy_level_launch_forward(op, at);
}

static size_t level_scan_scratch(const struct hy_op *op)
{
    if (op->graph->shape.mode == HY_CACHED)
        return 0;
    const int64_t floats =
        op->pass == HY_BACKWARD ? hy_level_backward_floats(op) : hy_level_forward_floats(op);
    return (size_t)floats * sizeof(float);
}

HY_CUDA_KIND(level_scan) = {level_scan_forward, hy_level_launch_backward, level_scan_scratch};
