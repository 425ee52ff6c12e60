/* head_loss.cu - the twin of head_loss.c. How many rows are scored is known on the device alone, so
 * all work is sized for max_labels: the scored rows are gathered in their order, and rows of zeros
 * follow them, whose gradients are zeros too. Their logits exist for a block of rows at a time.
 *
 * Logits are what most bytes are moved for. So where products are in bfloat16 their operands, the
 * gradients of the logits among them, are stored so, and a long row of logits is read once. */
#include <cuda_bf16.h>

#include "core/ops/support/pack.cuh"
#include "core/ops/support/sums.cuh"

extern "C" {
#include "core/ops/support/attr.h"
}

enum { X, TABLE, LABELS };
enum {
    SCAN = 256,       /* threads that look for labels */
    LOGITS = 1 << 22, /* logits of a replica that exist at a time, if they make MIN_ROWS rows */
    MIN_ROWS = 256,   /* of a block */
    ONE_WARP = 1024,  /* a vocabulary up to this size is one warp's work */
    PACK = 4,         /* logits that a thread reads at once */
    ALIGN = 64
};

/* The op's scratch, in floats: lengths are multiples of ALIGN. */
struct room {
    int64_t rows, block;  /* max_labels; rows of a block of logits */
    int64_t places, list; /* int32: where each row's gathered copy is, or -1; its inverse */
    int64_t x, dx, logits;
    int64_t table, slopes; /* bfloat16: the table; gradients of a block of logits */
    int64_t end;
};

static bool in_half(const struct hy_op *op)
{
    return op->graph->shape.precision == HY_PRECISION_BF16;
}

static int64_t aligned(int64_t count)
{
    return (count + ALIGN - 1) / ALIGN * ALIGN;
}

static struct room room_of(const struct hy_op *op)
{
    const int64_t width = op->in[X]->cols, vocab = op->in[TABLE]->rows;
    const int64_t most = LOGITS / vocab;
    struct room m = {};
    m.rows = ((const struct hy_head_loss_attr *)op->attr)->max_labels;
    m.block = most < MIN_ROWS ? (int64_t)MIN_ROWS : most;
    m.block = m.block < m.rows ? m.block : m.rows;
    m.list = m.places + aligned(op->in[X]->rows);
    m.x = m.list + aligned(m.rows);
    m.dx = m.x + aligned(m.rows * width);
    m.logits = m.dx + (op->pass == HY_BACKWARD ? aligned(m.rows * width) : 0);
    m.table = m.logits + aligned(m.block * vocab);
    m.slopes = m.table + (in_half(op) ? aligned((vocab * width + 1) / 2) : 0);
    m.end = m.slopes +
            (in_half(op) && op->pass == HY_BACKWARD ? aligned((m.block * vocab + 1) / 2) : 0);
    return m;
}

static size_t head_loss_scratch(const struct hy_op *op)
{
    return (size_t)room_of(op).end * sizeof(float);
}

/* A block per replica: numbers the scored rows in their order; the others score 0. */
__global__ static void number_rows(struct hy_column labels, int64_t vocab, struct hy_span places,
                                   struct hy_span list, struct hy_span nll, struct hy_span hit)
{
    __shared__ int counts[SCAN / 32];
    int32_t *place = reinterpret_cast<int32_t *>(hy_row(places, 0));
    int32_t *row = reinterpret_cast<int32_t *>(hy_row(list, 0));
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int64_t total = 0;
    for (int64_t first = 0; first < labels.rows; first += SCAN) {
        const int64_t i = first + threadIdx.x;
        const int32_t label = i < labels.rows ? hy_at(labels, i) : -1;
        if (label >= vocab)
            __trap(); /* the maker of the data is at fault */
        const unsigned scored = __ballot_sync(0xffffffffu, label >= 0);
        if (!lane)
            counts[warp] = __popc(scored);
        __syncthreads();
        int64_t at = total;
        for (unsigned k = 0; k < SCAN / 32; k++) {
            at += k < warp ? counts[k] : 0;
            total += counts[k];
        }
        __syncthreads(); /* the next round writes the counts */
        at += __popc(scored & ((1u << lane) - 1));
        if (label >= 0 && at >= list.cols)
            __trap(); /* more than max_labels */
        if (i >= labels.rows)
            continue;
        place[i] = label < 0 ? -1 : (int32_t)at;
        if (label >= 0) {
            row[at] = (int32_t)i;
        } else {
            *hy_row(nll, i) = 0;
            *hy_row(hit, i) = 0;
        }
    }
    for (int64_t at = total + threadIdx.x; at < list.cols; at += SCAN)
        row[at] = -1;
}

/* to [max_labels, width] = the scored rows of x, and zeros below. */
template <int V>
__global__ static void gather(struct hy_span list, struct hy_span x, struct hy_span to)
{
    const int32_t *row = reinterpret_cast<const int32_t *>(hy_row(list, 0));
    HY_EACH_PACK(V, to.rows, to.cols, i, c)
    {
        hy_pack<V> v = {};
        if (row[i] >= 0)
            v = hy_take<V>(x, row[i], c);
        hy_give(to, i, c, v);
    }
}

__device__ static inline __nv_bfloat16 *half_row(const struct hy_half_span &s, int64_t i)
{
    return reinterpret_cast<__nv_bfloat16 *>(s.data + (int64_t)blockIdx.z * s.stride + i * s.ld);
}

/* The same in bfloat16; without a list, all rows as they are. */
__global__ static void gather_half(struct hy_span list, struct hy_span x, struct hy_half_span to)
{
    const int32_t *row = list.data ? reinterpret_cast<const int32_t *>(hy_row(list, 0)) : NULL;
    HY_EACH(to.rows, to.cols, i, c)
    {
        const int64_t from = row ? row[i] : i;
        half_row(to, i)[c] = __float2bfloat16_rn(from < 0 ? 0 : hy_row(x, from)[c]);
    }
}

/* dx = [dx.add: dx +] the gradient of a row's gathered copy, if it has one. */
template <int V>
__global__ static void scatter(struct hy_span places, struct hy_span from, struct hy_span dx)
{
    const int32_t *place = reinterpret_cast<const int32_t *>(hy_row(places, 0));
    HY_EACH_PACK(V, dx.rows, dx.cols, i, c)
    {
        hy_pack<V> v = {};
        if (place[i] >= 0)
            v = hy_take<V>(from, place[i], c);
        if (place[i] >= 0 || !dx.add)
            hy_give(dx, i, c, v);
    }
}

/* The largest logit so far, and the sum of e^(z - top). */
struct tops {
    float top, sum;
};

__device__ static inline struct tops join(struct tops a, struct tops b)
{
    const float top = fmaxf(a.top, b.top);
    /* Equal ones may both be -infinity. */
    const float share_a = a.top == top ? 1 : expf(a.top - top);
    const float share_b = b.top == top ? 1 : expf(b.top - top);
    return {top, a.sum * share_a + b.sum * share_b};
}

/* Joins over the threads of a row, blockDim.x of them; all of them get it. */
__device__ static inline struct tops join_row(struct tops own)
{
    __shared__ struct tops warps[HY_BLOCK / 32];
    for (int bit = 16; bit; bit /= 2) {
        const struct tops other = {__shfl_xor_sync(0xffffffffu, own.top, bit),
                                   __shfl_xor_sync(0xffffffffu, own.sum, bit)};
        own = threadIdx.x & (unsigned)bit ? join(other, own) : join(own, other);
    }
    if (blockDim.x == 32)
        return own;
    if (threadIdx.x % 32 == 0)
        warps[threadIdx.x / 32] = own;
    __syncthreads();
    own = warps[0];
    for (unsigned k = 1; k < blockDim.x / 32; k++)
        own = join(own, warps[k]);
    return own;
}

/* What a row of logits is scored by. */
struct scoring {
    struct hy_span list;
    int64_t first; /* of the gathered rows: the first of the block */
    struct hy_column labels;
    struct hy_span nll, hit;
    struct hy_span weights;     /* no data: gradients are not wanted */
    struct hy_half_span slopes; /* gradients of the logits; no data: they replace the logits */
};

/* d loss / d logit i of row k of the block. */
__device__ static inline void give_slope(const struct scoring &s, float *logits, int64_t k,
                                         int64_t i, float slope)
{
    if (s.slopes.data)
        half_row(s.slopes, k)[i] = __float2bfloat16_rn(slope);
    else
        logits[i] = slope;
}

/* Logits z of the gathered rows from s.first on: nll and hit; and where there are weights, d loss /
 * d logits. Rows go to blockDim.y groups of blockDim.x threads; a group of more than a warp has the
 * block to itself. */
__global__ static void score(struct hy_span z, struct scoring s)
{
    const int64_t k = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
    if (k >= z.rows)
        return; /* a whole warp, or the whole block */
    const int64_t row = reinterpret_cast<const int32_t *>(hy_row(s.list, 0))[s.first + k];
    const int64_t label = row < 0 ? 0 : hy_at(s.labels, row);
    float *logits = hy_row(z, k);
    const float own = logits[label];
    struct tops all = {-INFINITY, 0};
    int beaten = !(own > -INFINITY);
    for (int64_t i = threadIdx.x; i < z.cols; i += blockDim.x) {
        const struct tops one = {logits[i], 1};
        all = join(all, one);
        beaten |= i < label ? one.top >= own : one.top > own;
    }
    all = join_row(all);
    beaten = blockDim.x == 32 ? __any_sync(0xffffffffu, beaten) : __syncthreads_or(beaten);
    if (row >= 0 && !threadIdx.x) {
        *hy_row(s.nll, row) = logf(all.sum) - (own - all.top);
        *hy_row(s.hit, row) = !beaten;
    }
    if (!s.weights.data)
        return;
    const float weight = row < 0 ? 0 : *hy_row(s.weights, row), share = weight / all.sum;
    for (int64_t i = threadIdx.x; i < z.cols; i += blockDim.x)
        give_slope(s, logits, k, i,
                   row < 0 ? 0 : share * expf(logits[i] - all.top) - (i == label ? weight : 0));
}

/* Over the threads of a block; all of them get it. */
__device__ static inline float block_most(float x, float *warps)
{
    for (int bit = 16; bit; bit /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, bit));
    if (threadIdx.x % 32 == 0)
        warps[threadIdx.x / 32] = x;
    __syncthreads();
    for (unsigned k = 0; k < HY_BLOCK / 32; k++)
        x = fmaxf(x, warps[k]);
    return x;
}

__device__ static inline float block_sum(float x, float *warps)
{
    for (int bit = 16; bit; bit /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, bit);
    if (threadIdx.x % 32 == 0)
        warps[threadIdx.x / 32] = x;
    __syncthreads();
    x = 0;
    for (unsigned k = 0; k < HY_BLOCK / 32; k++)
        x += warps[k];
    return x;
}

/* The same for a row of up to N packs in every thread of a block: it is read once and lies in
 * registers from then on. */
template <int N>
__global__ static void __launch_bounds__(HY_BLOCK, N > 8 ? 1 : 2)
    score_once(struct hy_span z, struct scoring s)
{
    __shared__ float tops[HY_BLOCK / 32], sums[HY_BLOCK / 32];
    const int64_t k = blockIdx.x;
    const int64_t row = reinterpret_cast<const int32_t *>(hy_row(s.list, 0))[s.first + k];
    const int label = row < 0 ? 0 : hy_at(s.labels, row), cols = (int)z.cols;
    float *logits = hy_row(z, k);
    const float own = logits[label];
    hy_pack<PACK> own_part[N];
    float top = -INFINITY, sum = 0;
    int beaten = !(own > -INFINITY);
#pragma unroll
    for (int n = 0; n < N; n++) {
        const int i = (n * HY_BLOCK + (int)threadIdx.x) * PACK;
        if (i < cols)
            own_part[n] = hy_take<PACK>(z, k, i);
        else
            for (int j = 0; j < PACK; j++)
                own_part[n].at[j] = -INFINITY;
    }
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int j = 0; j < PACK; j++) {
            const int i = (n * HY_BLOCK + (int)threadIdx.x) * PACK + j;
            const float x = own_part[n].at[j];
            top = fmaxf(top, x);
            beaten |= i < label ? x >= own : x > own;
        }
    top = block_most(top, tops);
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int j = 0; j < PACK; j++) {
            own_part[n].at[j] = expf(own_part[n].at[j] - top);
            sum += own_part[n].at[j];
        }
    sum = block_sum(sum, sums);
    beaten = __syncthreads_or(beaten);
    if (row >= 0 && !threadIdx.x) {
        *hy_row(s.nll, row) = logf(sum) - (own - top);
        *hy_row(s.hit, row) = !beaten;
    }
    if (!s.weights.data)
        return;
    const float weight = row < 0 ? 0 : *hy_row(s.weights, row), share = weight / sum;
#pragma unroll
    for (int n = 0; n < N; n++) {
        const int i = (n * HY_BLOCK + (int)threadIdx.x) * PACK;
        if (i >= cols)
            break;
        for (int j = 0; j < PACK; j++)
            own_part[n].at[j] =
                row < 0 ? 0 : share * own_part[n].at[j] - (i + j == label ? weight : 0);
        if (s.slopes.data) {
            __nv_bfloat162 *to = reinterpret_cast<__nv_bfloat162 *>(half_row(s.slopes, k) + i);
            to[0] = __floats2bfloat162_rn(own_part[n].at[0], own_part[n].at[1]);
            to[1] = __floats2bfloat162_rn(own_part[n].at[2], own_part[n].at[3]);
        } else {
            hy_give(z, k, i, own_part[n]);
        }
    }
}

static void launch_score(const struct hy_launch *at, const struct hy_span &z,
                         const struct scoring &s)
{
    static void (*const once[])(struct hy_span, struct scoring) = {score_once<2>, score_once<4>,
                                                                   score_once<8>, score_once<16>};
    const dim3 rows((unsigned)z.rows, 1, (unsigned)at->replicas);
    int packs = 2;
    for (size_t i = 0; i < sizeof once / sizeof *once; i++, packs *= 2)
        if (z.cols > ONE_WARP && z.cols <= (int64_t)packs * HY_BLOCK * PACK && hy_by_four(z)) {
            hy_start(at, rows, dim3(HY_BLOCK), 0, once[i], z, s);
            return;
        }
    const unsigned lanes = z.cols > ONE_WARP ? HY_BLOCK : 32, tall = HY_BLOCK / lanes;
    hy_start(at, hy_grid(at, z.rows, tall), dim3(lanes, tall), 0, score, z, s);
}

/* A part of a replica's rows. */
template <typename S> static S rows_from(S s, int64_t first, int64_t count)
{
    s.data += first * s.ld;
    s.rows = count;
    return s;
}

/* A part of the op's scratch as bfloat16; its floats begin at `first`. */
static struct hy_half_span half_scratch(const struct hy_op *op, int64_t first, int64_t rows,
                                        int64_t cols)
{
    const struct hy_span s = hy_span_scratch(op, first, rows, cols);
    return {reinterpret_cast<uint16_t *>(s.data), rows, cols, cols, 2 * s.stride};
}

/* Everything that a run works with. */
struct work {
    struct room m;
    struct hy_span x, table, dx, dtable;
    struct hy_span places, list, gathered, back;
    struct hy_half_span half_table, half_x;
    struct scoring scoring;
};

static void gather_rows(const struct hy_launch *at, const struct work &w, bool half)
{
    const struct hy_walk all = hy_walk_of(at, w.m.rows, w.x.cols);
    hy_start(at, dim3(1, 1, (unsigned)at->replicas), dim3(SCAN), 0, number_rows, w.scoring.labels,
             w.table.rows, w.places, w.list, w.scoring.nll, w.scoring.hit);
    if (half) {
        const struct hy_walk rows = hy_walk_of(at, w.table.rows, w.table.cols);
        const struct hy_span none = {};
        hy_start(at, rows.grid, rows.block, 0, gather_half, none, w.table, w.half_table);
        hy_start(at, all.grid, all.block, 0, gather_half, w.list, w.x, w.half_x);
        return;
    }
    const int four = hy_all_by_four(w.x, w.gathered);
    const struct hy_walk packs = hy_walk_of(at, w.m.rows, four ? w.x.cols / 4 : w.x.cols);
    hy_start(at, packs.grid, packs.block, 0, four ? gather<4> : gather<1>, w.list, w.x, w.gathered);
}

/* Scores `count` gathered rows from s.first on, with the gradients where these are wanted. */
static void run_block(const struct hy_op *op, const struct hy_launch *at, const struct work &w,
                      int64_t first, int64_t count)
{
    const bool half = in_half(op);
    const int64_t vocab = w.table.rows, width = w.x.cols;
    const struct hy_span z = hy_span_scratch(op, w.m.logits, count, vocab);
    const struct hy_span part = rows_from(w.gathered, first, count);
    const struct hy_half_span half_part = rows_from(w.half_x, first, count);
    struct scoring s = w.scoring;
    s.first = first;
    if (half)
        hy_cuda_gemm_half(at, 0, 1, count, vocab, width, 1, half_part, w.half_table, 0, z);
    else
        hy_cuda_gemm(at, 0, 1, count, vocab, width, 1, part, w.table, 0, z);
    launch_score(at, z, s);
    if (!s.weights.data)
        return;
    const struct hy_span dx = rows_from(w.back, first, count);
    const float add = first || w.dtable.add ? 1 : 0;
    if (w.dx.data && half)
        hy_cuda_gemm_half(at, 0, 0, count, width, vocab, 1, s.slopes, w.half_table, 0, dx);
    else if (w.dx.data)
        hy_cuda_gemm(at, 0, 0, count, width, vocab, 1, z, w.table, 0, dx);
    if (w.dtable.data && half)
        hy_cuda_gemm_half(at, 1, 0, vocab, width, count, 1, s.slopes, half_part, add, w.dtable);
    else if (w.dtable.data)
        hy_cuda_gemm(at, 1, 0, vocab, width, count, 1, z, part, add, w.dtable);
}

/* Gathers, then scores block by block; backward: with the gradients of the blocks. */
static void run(const struct hy_op *op, const struct hy_launch *at, const struct hy_span &weights)
{
    struct work w = {};
    w.m = room_of(op);
    w.x = hy_span_of(op->in[X]);
    w.table = hy_span_of(op->in[TABLE]);
    w.dx = hy_span_din(op, X);
    w.dtable = hy_span_din(op, TABLE);
    w.places = hy_span_scratch(op, w.m.places, 1, w.x.rows);
    w.list = hy_span_scratch(op, w.m.list, 1, w.m.rows);
    w.gathered = hy_span_scratch(op, w.m.x, w.m.rows, w.x.cols);
    w.back = hy_span_scratch(op, w.m.dx, w.m.rows, w.x.cols);
    w.scoring.list = w.list;
    w.scoring.labels = hy_column_of(op->in[LABELS]);
    w.scoring.nll = hy_span_of(op->out[0]);
    w.scoring.hit = hy_span_of(op->out[1]);
    w.scoring.weights = weights;
    if (in_half(op)) {
        w.half_x = half_scratch(op, w.m.x, w.m.rows, w.x.cols);
        w.half_table = half_scratch(op, w.m.table, w.table.rows, w.table.cols);
        if (weights.data)
            w.scoring.slopes = half_scratch(op, w.m.slopes, w.m.block, w.table.rows);
    }
    gather_rows(at, w, in_half(op));
    for (int64_t first = 0; first < w.m.rows; first += w.m.block)
        run_block(op, at, w, first, w.m.rows - first < w.m.block ? w.m.rows - first : w.m.block);
    if (!weights.data || !w.dx.data)
        return;
    const int four = hy_all_by_four(w.back, w.dx);
    const struct hy_walk walk = hy_walk_of(at, w.dx.rows, four ? w.dx.cols / 4 : w.dx.cols);
    hy_start(at, walk.grid, walk.block, 0, four ? scatter<4> : scatter<1>, w.places, w.back, w.dx);
}

static void head_loss_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_span none = {};
    run(op, at, none);
}

static void head_loss_backward(const struct hy_op *op, const struct hy_launch *at)
{
    run(op, at, hy_span_of(op->dout[0]));
}

HY_CUDA_KIND(head_loss) = {head_loss_forward, head_loss_backward, head_loss_scratch};
