/* head_loss.cu - the twin of head_loss.c. How many rows are scored is known on the device alone, so
 * all work is sized for max_labels: the scored rows are gathered in their order, and rows of zeros
 * follow them, whose gradients are zeros too. Their logits exist for a block of rows at a time. */
#include "core/ops/support/pack.cuh"
#include "core/ops/support/sums.cuh"

extern "C" {
#include "core/ops/support/attr.h"
}

enum { X, TABLE, LABELS };
enum {
    SCAN = 256,       /* threads that look for labels */
    LOGITS = 1 << 20, /* logits of a replica that exist at a time, if they make MIN_ROWS rows */
    MIN_ROWS = 256,   /* of a block */
    ONE_WARP = 1024,  /* a vocabulary up to this size is one warp's work */
    ALIGN = 64
};

/* The op's scratch, in floats: lengths are multiples of ALIGN. */
struct room {
    int64_t rows, block;  /* max_labels; rows of a block of logits */
    int64_t places, list; /* int32: where each row's gathered copy is, or -1; its inverse */
    int64_t x, dx, logits, end;
};

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
    m.end = m.logits + aligned(m.block * vocab);
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

/* Logits z of the gathered rows from `first` on: nll and hit; and where there are weights, d loss /
 * d logits in their place. Rows go to blockDim.y groups of blockDim.x threads; a group of more than
 * a warp has the block to itself. */
__global__ static void score(struct hy_span z, struct hy_span list, int64_t first,
                             struct hy_column labels, struct hy_span nll, struct hy_span hit,
                             struct hy_span weights)
{
    const int64_t k = (int64_t)blockIdx.x * blockDim.y + threadIdx.y;
    if (k >= z.rows)
        return; /* a whole warp, or the whole block */
    const int64_t row = reinterpret_cast<const int32_t *>(hy_row(list, 0))[first + k];
    const int64_t label = row < 0 ? 0 : hy_at(labels, row);
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
        *hy_row(nll, row) = logf(all.sum) - (own - all.top);
        *hy_row(hit, row) = !beaten;
    }
    if (!weights.data)
        return;
    const float weight = row < 0 ? 0 : *hy_row(weights, row), share = weight / all.sum;
    for (int64_t i = threadIdx.x; i < z.cols; i += blockDim.x)
        logits[i] = row < 0 ? 0 : share * expf(logits[i] - all.top) - (i == label ? weight : 0);
}

/* A part of a replica's rows. */
static struct hy_span rows_from(struct hy_span s, int64_t first, int64_t count)
{
    s.data += first * s.ld;
    s.rows = count;
    return s;
}

/* Gathers, then scores block by block; backward: with the gradients of the blocks. */
static void run(const struct hy_op *op, const struct hy_launch *at, const struct hy_span &weights)
{
    const struct room m = room_of(op);
    const struct hy_span x = hy_span_of(op->in[X]), table = hy_span_of(op->in[TABLE]);
    const struct hy_column labels = hy_column_of(op->in[LABELS]);
    const struct hy_span nll = hy_span_of(op->out[0]), hit = hy_span_of(op->out[1]);
    const int backward = weights.data != NULL;
    const struct hy_span dx = hy_span_din(op, X), dtable = hy_span_din(op, TABLE);
    const struct hy_span places = hy_span_scratch(op, m.places, 1, x.rows);
    const struct hy_span list = hy_span_scratch(op, m.list, 1, m.rows);
    const struct hy_span gathered = hy_span_scratch(op, m.x, m.rows, x.cols);
    const struct hy_span back = hy_span_scratch(op, m.dx, m.rows, x.cols);
    hy_start(at, dim3(1, 1, (unsigned)at->replicas), dim3(SCAN), 0, number_rows, labels, table.rows,
             places, list, nll, hit);
    int four = hy_all_by_four(x, gathered);
    struct hy_walk walk = hy_walk_of(at, m.rows, four ? x.cols / 4 : x.cols);
    hy_start(at, walk.grid, walk.block, 0, four ? gather<4> : gather<1>, list, x, gathered);
    const unsigned lanes = table.rows > ONE_WARP ? HY_BLOCK : 32, tall = HY_BLOCK / lanes;
    for (int64_t first = 0; first < m.rows; first += m.block) {
        const int64_t count = m.rows - first < m.block ? m.rows - first : m.block;
        const struct hy_span part = rows_from(gathered, first, count);
        const struct hy_span z = hy_span_scratch(op, m.logits, count, table.rows);
        hy_cuda_gemm(at, 0, 1, count, table.rows, x.cols, 1, part, table, 0, z);
        hy_start(at, hy_grid(at, count, tall), dim3(lanes, tall), 0, score, z, list, first, labels,
                 nll, hit, weights);
        if (backward && dx.data)
            hy_cuda_gemm(at, 0, 0, count, x.cols, table.rows, 1, z, table, 0,
                         rows_from(back, first, count));
        if (backward && dtable.data)
            hy_cuda_gemm(at, 1, 0, table.rows, x.cols, count, 1, z, part,
                         first || dtable.add ? 1 : 0, dtable);
    }
    if (!backward || !dx.data)
        return;
    four = hy_all_by_four(back, dx);
    walk = hy_walk_of(at, dx.rows, four ? dx.cols / 4 : dx.cols);
    hy_start(at, walk.grid, walk.block, 0, four ? scatter<4> : scatter<1>, places, back, dx);
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
