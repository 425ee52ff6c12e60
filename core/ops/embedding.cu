/* embedding.cu - the twin of embedding.c. The table's gradient is summed without atomics: a warp
 * owns a row of the table, looks through the tokens for it, and adds what it finds in their order.
 * Where the table is small, and so each token frequent, the rows of the batch are split among
 * several warps, whose sums are added up afterwards. */
#include "core/ops/support/sums.cuh"

enum {
    WARPS = 8, /* of a block */
    LANES = 32,
    LOOKS = 4,   /* times LANES tokens are looked through at once */
    FOUND = 64,  /* rows that a warp notes before it adds them */
    AHEAD = 8,   /* loads under way at a time */
    BUSY = 4096, /* warps that a small table is brought up to */
    MOST_PARTS = 16
};

template <int V>
__global__ static void forward(struct hy_column tokens, struct hy_span table, struct hy_span y)
{
    HY_EACH_PACK(V, y.rows, y.cols, i, c)
    {
        const int32_t token = hy_at(tokens, i);
        if (token < 0 || token >= table.rows)
            __trap(); /* the maker of the data is at fault */
        hy_give(y, i, c, hy_take<V>(table, token, c));
    }
}

/* Adds the noted rows of dy to the sum, in their order. */
template <int V>
__device__ static inline void add_found(const int32_t *found, int count, const struct hy_span &dy,
                                        int64_t c, hy_pack<V> *sum)
{
    for (int first = 0; first < count; first += AHEAD) {
        hy_pack<V> d[AHEAD];
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
            d[k] = hy_take<V>(dy, found[min(first + k, count - 1)], c);
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
            for (int j = 0; j < V; j++)
                sum->at[j] += first + k < count ? d[k].at[j] : 0;
    }
}

/* Warp threadIdx.y of block (x, y): row x * WARPS + threadIdx.y of the table, the y-th strip of
 * columns, one after the other its `parts` parts of the batch: sums[part] has the table's rows from
 * part * table's rows on. */
template <int V>
__global__ static void backward(struct hy_column tokens, struct hy_span dy, struct hy_span sums,
                                int64_t vocab, int64_t parts)
{
    __shared__ int32_t noted[WARPS][FOUND];
    int32_t *found = noted[threadIdx.y];
    const int64_t line = (int64_t)blockIdx.x * WARPS + threadIdx.y;
    const int64_t token = line % vocab, part = line / vocab;
    const int64_t c = ((int64_t)blockIdx.y * LANES + threadIdx.x) * V;
    const int64_t share = (tokens.rows + parts - 1) / parts, from = part * share;
    const int64_t end = min(from + share, tokens.rows);
    const unsigned all = 0xffffffffu, below = (1u << threadIdx.x) - 1;
    hy_pack<V> sum = {};
    int count = 0;
    if (line >= vocab * parts)
        return; /* a whole warp */
    for (int64_t first = from; first < end; first += LOOKS * LANES) {
        int hit[LOOKS], any = 0;
#pragma unroll
        for (int k = 0; k < LOOKS; k++) {
            const int64_t i = first + k * LANES + threadIdx.x;
            hit[k] = i < end && hy_at(tokens, i) == token;
            any |= hit[k];
        }
        if (!__any_sync(all, any))
            continue; /* most often, where the table is large */
#pragma unroll
        for (int k = 0; k < LOOKS; k++) {
            const unsigned hits = __ballot_sync(all, hit[k]);
            if (hit[k])
                found[count + __popc(hits & below)] = (int32_t)(first + k * LANES + threadIdx.x);
            count += __popc(hits);
            if (count + LANES <= FOUND)
                continue;
            __syncwarp();
            if (c < dy.cols)
                add_found(found, count, dy, c, &sum);
            __syncwarp();
            count = 0;
        }
    }
    __syncwarp();
    if (c >= dy.cols)
        return;
    add_found(found, count, dy, c, &sum);
    hy_give(sums, line, c, sum);
}

__global__ static void fold(struct hy_span sums, struct hy_span dtable, int64_t parts)
{
    HY_EACH(dtable.rows, dtable.cols, i, c)
    {
        float *to = hy_row(dtable, i) + c;
        float sum = dtable.add ? *to : 0;
        for (int64_t p = 0; p < parts; p++)
            sum += hy_row(sums, p * dtable.rows + i)[c];
        *to = sum;
    }
}

/* Of the batch, in the table's gradient. */
static int64_t parts_of(const struct hy_op *op)
{
    const int64_t parts = BUSY / op->in[1]->rows;
    return parts < 1 ? 1 : parts < MOST_PARTS ? parts : (int64_t)MOST_PARTS;
}

static size_t embedding_scratch(const struct hy_op *op)
{
    const int64_t parts = parts_of(op);
    return op->din[1] && parts > 1
               ? (size_t)(parts * op->in[1]->rows * op->in[1]->cols) * sizeof(float)
               : 0;
}

static void embedding_forward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_column tokens = hy_column_of(op->in[0]);
    const struct hy_span table = hy_span_of(op->in[1]), y = hy_span_of(op->out[0]);
    const int four = hy_all_by_four(table, y);
    const struct hy_walk walk = hy_walk_of(at, y.rows, four ? y.cols / 4 : y.cols);
    hy_start(at, walk.grid, walk.block, 0, four ? forward<4> : forward<1>, tokens, table, y);
}

static void embedding_backward(const struct hy_op *op, const struct hy_launch *at)
{
    const struct hy_column tokens = hy_column_of(op->in[0]);
    const struct hy_span dy = hy_span_of(op->dout[0]), dtable = hy_span_din(op, 1);
    const int64_t parts = parts_of(op), vocab = op->in[1]->rows;
    if (!dtable.data)
        return;
    const struct hy_span sums =
        parts > 1 ? hy_span_scratch(op, 0, parts * vocab, dtable.cols) : dtable;
    const int v = hy_all_by_four(dy, sums) ? 4 : 1;
    const dim3 grid((unsigned)((parts * vocab + WARPS - 1) / WARPS),
                    (unsigned)((dy.cols + LANES * v - 1) / (LANES * v)), (unsigned)at->replicas);
    hy_start(at, grid, dim3(LANES, WARPS), 0, v == 4 ? backward<4> : backward<1>, tokens, dy, sums,
             vocab, parts);
    const struct hy_walk walk = hy_walk_of(at, dtable.rows, dtable.cols);
    if (parts > 1)
        hy_start(at, walk.grid, walk.block, 0, fold, sums, dtable, parts);
}

HY_CUDA_KIND(embedding) = {embedding_forward, embedding_backward, embedding_scratch};
