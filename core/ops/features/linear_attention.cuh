/* linear_attention.cuh - linear attention on a device: what its two passes share.
 *
 * One kernel walks along the chunks of a head with some columns of its state, and leaves in memory
 * what each period reads; a second one takes all chunks at once. Backward is the same twice: a walk
 * from the end for the gradients of the states, then all else by chunk. Where heads share g or v,
 * each leaves its share of the gradient in scratch, and a last kernel adds these up in order. From
 * a cache a block of threads takes a head and some columns, and goes on token by token.
 *
 * As on the CPU, a column of ones stands beside v: the state has value_width + 1 columns. */
#ifndef HY_OPS_FEATURES_LINEAR_ATTENTION_CUH
#define HY_OPS_FEATURES_LINEAR_ATTENTION_CUH

#include "core/ops/support/tiles.cuh"

extern "C" {
#include "core/ops/features/linear_chunks.h"
}

struct hy_linear_plan {
    struct hy_linear_chunks cut[2]; /* how tokens are cut: as s says, or with no lag */
    int64_t batch, heads, tokens;
    int64_t key_group, value_group; /* heads that share a head of g, of v */
    int64_t chunks, periods;        /* of a sequence, at most */
    int64_t lag;                    /* of a cached graph, whose keys are delayed already */
    int features, values;           /* values: without the column of ones */
    int kp, wp;                     /* of a state, padded */
    int rows, width, tiles;         /* of a chunk; columns of a tile of a state; tiles */
    int lk, lw, la;                 /* floats between rows: of features, of a tile, of pairs */
    struct hy_span in[HY_LINEAR_INPUTS], n, d, ht;
    struct hy_span states; /* what periods read: a row for each feature */
    struct hy_span dn, dd, dht, df, dh0;
    struct hy_span dg, dv;  /* of each head: the gradient, or shares of it */
    struct hy_span dstates; /* gradients of the states that leave the chunks */
    const int *position;
    int64_t floats;      /* of the work of a block of threads */
    struct hy_span work; /* a row for each of them; no data: shared memory */
};

/* The work of a block of threads. */
struct hy_linear_space {
    float *f, *g, *df, *dg; /* [rows, kp] */
    float *pairs, *dpairs;  /* [rows, rows] */
    float *v, *o, *dv;      /* [rows, width] backward: o is the gradient of n and d */
    float *state, *dstate;  /* [kp, width] */
};

__host__ __device__ static inline int64_t hy_linear_lay_out(const struct hy_linear_plan &p,
                                                            bool backward, float *base,
                                                            struct hy_linear_space *s)
{
    struct hy_tile_room room = {base};
    s->f = room.take(p.rows * p.lk);
    s->g = room.take(p.rows * p.lk);
    s->pairs = room.take(p.rows * p.la);
    s->v = room.take(p.rows * p.lw);
    s->o = room.take(p.rows * p.lw);
    s->state = room.take(p.kp * p.lw);
    if (backward) {
        s->df = room.take(p.rows * p.lk);
        s->dg = room.take(p.rows * p.lk);
        s->dpairs = room.take(p.rows * p.la);
        s->dv = room.take(p.rows * p.lw);
        s->dstate = room.take(p.kp * p.lw);
    }
    return room.next - base;
}

/* All elements (i, c) of a matrix: 16 threads along each row. */
#define HY_LINEAR_EACH(rows, cols, i, c)                                                 \
    for (int i = (int)threadIdx.x / HY_TILE; i < (rows); i += (int)blockDim.x / HY_TILE) \
        for (int c = (int)threadIdx.x % HY_TILE; c < (cols); c += HY_TILE)

/* ---- Where a block of threads works ---- */

struct hy_linear_place {
    int64_t sequence, head;
    int64_t within; /* which chunk, or which tile */
};

__device__ static inline struct hy_linear_place hy_linear_place_of(const struct hy_linear_plan &p,
                                                                   int64_t each)
{
    return {blockIdx.x / each / p.heads, blockIdx.x / each % p.heads, blockIdx.x % each};
}

__device__ static inline struct hy_linear_chunks hy_linear_cut_of(const struct hy_linear_plan &p)
{
    const struct hy_span &dropped = p.in[HY_LINEAR_DROPPED];
    return p.cut[dropped.data && *hy_row(dropped, 0) != 0];
}

/* count 0: there is no such chunk. */
struct hy_linear_chunk {
    int64_t first, period;
    int count;
    bool opens; /* begins its period */
};

__device__ static inline struct hy_linear_chunk hy_linear_chunk_of(const struct hy_linear_chunks &c,
                                                                   int64_t index)
{
    const int64_t period = index / c.each, within = index % c.each;
    const int64_t first = period * c.period + within * c.size;
    const int64_t end = min(min(first + c.size, (period + 1) * c.period), c.tokens);
    return {first, period, (int)max(end - first, (int64_t)0), within == 0};
}

__device__ static inline int64_t hy_linear_period_row(const struct hy_linear_plan &p,
                                                      const struct hy_linear_place &at,
                                                      int64_t period)
{
    return ((at.sequence * p.heads + at.head) * p.periods + period) * p.kp;
}

__device__ static inline int64_t
hy_linear_chunk_row(const struct hy_linear_plan &p, const struct hy_linear_place &at, int64_t chunk)
{
    return ((at.sequence * p.heads + at.head) * p.chunks + chunk) * p.kp;
}

/* ---- In and out ---- */

/* The features of a chunk's rows, which begin at token `first`; those before token 0 are zero. */
__device__ static inline void hy_linear_load_features(const struct hy_linear_plan &p,
                                                      const struct hy_span &t,
                                                      const struct hy_linear_place &at,
                                                      int64_t head, int64_t first, int count,
                                                      float *to)
{
    HY_LINEAR_EACH(p.rows, p.kp, i, c)
    to[i * p.lk + c] = i < count && first + i >= 0 && c < p.features
                           ? hy_row(t, at.sequence * p.tokens + first + i)[head * p.features + c]
                           : 0;
}

/* A tile of the columns of values, and of the one behind them: that of last, or ones. */
__device__ static inline void
hy_linear_load_values(const struct hy_linear_plan &p, const struct hy_span &t,
                      const struct hy_span *last, const struct hy_linear_place &at, int64_t head,
                      int64_t tile, int64_t first, int count, float *to)
{
    HY_LINEAR_EACH(p.rows, p.width, i, c)
    {
        const int64_t k = tile * p.width + c, row = at.sequence * p.tokens + first + i;
        float x = 0;
        if (i < count && first + i >= 0) {
            if (k < p.values && t.data)
                x = hy_row(t, row)[head * p.values + k];
            else if (k == p.values)
                x = !last ? 1 : last->data ? hy_row(*last, row)[at.head] : 0;
        }
        to[i * p.lw + c] = x;
    }
}

/* A tile of a state of so many rows and columns, from row `row` of t on; zero where there is none.
 */
__device__ static inline void hy_linear_load_state(const struct hy_linear_plan &p,
                                                   const struct hy_span &t, int64_t row,
                                                   int64_t tile, int rows, int cols, float *to)
{
    HY_LINEAR_EACH(p.kp, p.width, i, c)
    {
        const int64_t k = tile * p.width + c;
        to[i * p.lw + c] = t.data && i < rows && k < cols ? hy_row(t, row + i)[k] : 0;
    }
}

__device__ static inline void hy_linear_store_state(const struct hy_linear_plan &p,
                                                    const float *state, int64_t tile, int rows,
                                                    int cols, const struct hy_span &t, int64_t row)
{
    HY_LINEAR_EACH(rows, p.width, i, c)
    if (tile * p.width + c < cols)
        hy_give<1>(t, row + i, tile * p.width + c, {{state[i * p.lw + c]}});
}

__device__ static inline void hy_linear_load_keys(const struct hy_linear_plan &p,
                                                  const struct hy_linear_place &at,
                                                  const struct hy_linear_chunks &cut,
                                                  const struct hy_linear_chunk &c, float *g)
{
    hy_linear_load_features(p, p.in[HY_LINEAR_G], at, at.head / p.key_group, c.first - cut.lag,
                            c.count, g);
}

__device__ static inline void hy_linear_load_own_values(const struct hy_linear_plan &p,
                                                        const struct hy_linear_place &at,
                                                        const struct hy_linear_chunks &cut,
                                                        const struct hy_linear_chunk &c,
                                                        int64_t tile, float *v)
{
    hy_linear_load_values(p, p.in[HY_LINEAR_V], NULL, at, at.head / p.value_group, tile,
                          c.first - cut.lag, c.count, v);
}

/* ---- Kernels ---- */

template <bool WIDE>
__device__ static inline float *hy_linear_work_of(const struct hy_linear_plan &p, float *shared)
{
    return WIDE ? hy_row(p.work, blockIdx.x) : shared;
}

/* Clears the pairs of queries and keys that they do not see. */
__device__ static inline void hy_linear_mask(const struct hy_linear_plan &p,
                                             const struct hy_linear_chunks &cut, float *x)
{
    HY_LINEAR_EACH(p.rows, p.rows, i, j)
    if (j >= (cut.terraced ? i / cut.lag * cut.lag : i + 1))
        x[i * p.la + j] = 0;
}

/* s.pairs = f g', between barriers. */
template <bool TENSOR>
__device__ static inline void hy_linear_pair(const struct hy_linear_plan &p,
                                             const struct hy_linear_chunks &cut,
                                             const struct hy_linear_space &s)
{
    __syncthreads();
    hy_tile_mul<TENSOR, false, true>(
        {p.rows, p.rows, p.kp, s.f, s.g, p.lk, p.lk, s.pairs, p.la, false, NULL});
    __syncthreads();
    hy_linear_mask(p, cut, s.pairs);
}

/* A kernel for the op's precision and where its work lies. */
#define HY_LINEAR_KERNEL(op, p, kernel)                                                    \
    (hy_linear_tensor_cores(op) ? (p).work.data ? kernel<true, true> : kernel<true, false> \
     : (p).work.data ? kernel<false, true>                                                 \
                                : kernel<false, false>)

static inline bool hy_linear_tensor_cores(const struct hy_op *op)
{
    return op->graph->shape.precision != HY_PRECISION_FLOAT32;
}

static inline void hy_linear_launch(const struct hy_launch *at, const struct hy_linear_plan &p,
                                    int64_t each, void (*kernel)(struct hy_linear_plan))
{
    const size_t bytes = p.work.data ? 0 : (size_t)p.floats * sizeof(float);
    hy_start_large(at, dim3((unsigned)(p.batch * p.heads * each), 1, (unsigned)at->replicas),
                   dim3(HY_TILE_THREADS), bytes, kernel, p);
}

void hy_linear_launch_backward(const struct hy_op *op, const struct hy_launch *at,
                               const struct hy_linear_plan &p);

#endif
