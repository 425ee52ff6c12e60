/* transfer.cuh - what both passes of transfer.cu share.
 *
 * A block of threads takes a tile of queries (or keys) of one head and walks the keys (queries) in
 * tiles as large, with the products of a pair of tiles in shared memory, or where that is too small
 * in scratch. A tile of terms is never kept: whoever needs it again makes it again. */
#ifndef HY_OPS_FEATURES_TRANSFER_CUH
#define HY_OPS_FEATURES_TRANSFER_CUH

#include <cfloat>

#include "core/ops/support/math.cuh"
#include "core/ops/support/tiles.cuh"

extern "C" {
#include "core/ops/features/transfer.h"
#include "core/ops/features/transfer_query.h"
#include "core/ops/support/window.h"
}

/* log 1e-12 */
#define HY_TRANSFER_LOG_FLOOR -27.631021115928547f

enum hy_transfer_input {
    HY_TRANSFER_TQ,
    HY_TRANSFER_TK,
    HY_TRANSFER_Q,
    HY_TRANSFER_K,
    HY_TRANSFER_F,
    HY_TRANSFER_G,
    HY_TRANSFER_FACTOR,
    HY_TRANSFER_INPUTS
};

/* What is fixed for an op; kp, fp: widths padded. */
struct hy_transfer_plan {
    int64_t batch, heads, kv_heads, g_heads, tokens, window;
    bool terraced, affine, backward;
    bool same; /* the student's scores are the teacher's */
    int k, f, kp, fp, lk, lf;
    int tile, ls; /* queries and keys of a tile; floats from row to row of terms */
    float scale;
    struct hy_span in[HY_TRANSFER_INPUTS], y, told;
    struct hy_span dy, din[HY_TRANSFER_INPUTS]; /* backward */
    struct hy_span top;   /* backward: a window's largest score, and its key, by heads */
    struct hy_span parts; /* backward: of the gradient of factor */
    int64_t floats;       /* of the work of a block of threads */
    struct hy_span work;  /* a row for each of them; no data: shared memory */
};

/* The work of a block of threads. */
struct hy_transfer_space {
    float *a, *b;                       /* [tile, lk or lf] factors of a product: queries, keys */
    float *p, *x;                       /* [tile, ls] teacher's scores; the student's, or f g' */
    float *d, *e;                       /* backward: [tile, lf], [tile, lk] gradients */
    float *log_sum;                     /* this and all below: a number for each query */
    float *max, *within;                /* of the student's scores in the window: sum exp */
    float *top, *total, *far;           /* forward: of the teacher's scores; the sum of f g' */
    float *loss, *near_mass, *far_mass; /* forward: sums over all terms */
    float *lse, *mass, *pull, *dy, *max_key; /* backward */
};

/* What a block works on: queries from `query` on and keys from `key` on, of one head. */
struct hy_transfer_place {
    int64_t sequence, head, query, key;
};

/* Keys of a tile, from its first one. */
struct hy_transfer_range {
    int from, to;
};

/* The plan on the graph's device; *floats: of scratch. */
struct hy_transfer_plan hy_transfer_plan_of(const struct hy_op *op, int64_t *floats);

void hy_transfer_launch_backward(const struct hy_op *op, const struct hy_launch *at);

/* Lays out the work of a block of threads; returns how many floats it takes. */
__host__ __device__ static inline int64_t
hy_transfer_lay_out(const struct hy_transfer_plan &p, float *base, struct hy_transfer_space *s)
{
    const int ld = p.lk > p.lf ? p.lk : p.lf;
    struct hy_tile_room room = {base};
    s->a = room.take(p.tile * ld);
    s->b = room.take(p.tile * ld);
    s->p = room.take(p.tile * p.ls);
    s->x = room.take(p.tile * p.ls);
    s->log_sum = room.take(p.tile);
    s->max = room.take(p.tile);
    if (!p.backward) {
        s->within = room.take(p.tile);
        s->top = room.take(p.tile);
        s->total = room.take(p.tile);
        s->far = room.take(p.tile);
        s->loss = room.take(p.tile);
        s->near_mass = room.take(p.tile);
        s->far_mass = room.take(p.tile);
        return room.next - base;
    }
    s->lse = room.take(p.tile);
    s->mass = room.take(p.tile);
    s->pull = room.take(p.tile);
    s->dy = room.take(p.tile);
    s->max_key = room.take(p.tile);
    s->d = room.take(p.tile * p.lf);
    s->e = room.take(p.tile * p.lk);
    return room.next - base;
}

/* Launches a kernel whose blocks of threads take the tiles of so many heads of all sequences. */
static inline void hy_transfer_launch(const struct hy_launch *at, const struct hy_transfer_plan &p,
                                      int64_t heads, void (*kernel)(struct hy_transfer_plan))
{
    const int64_t blocks = p.batch * heads * ((p.tokens + p.tile - 1) / p.tile);
    const size_t bytes = p.work.data ? 0 : (size_t)p.floats * sizeof(float);
    hy_start_large(at, dim3((unsigned)blocks, 1, (unsigned)at->replicas), dim3(HY_TILE_THREADS),
                   bytes, kernel, p);
}

static inline bool hy_transfer_uses_tensor_cores(const struct hy_op *op)
{
    return op->graph->shape.precision != HY_PRECISION_FLOAT32;
}

/* Rows i of a tile and columns c, by the threads of a block: 16 along each row, so that no thread
 * divides. */
#define HY_TRANSFER_ROWS(rows, i) \
    for (int i = (int)threadIdx.x / HY_TILE; i < (rows); i += (int)blockDim.x / HY_TILE)
#define HY_TRANSFER_COLS(cols, c) for (int c = (int)threadIdx.x % HY_TILE; c < (cols); c += HY_TILE)

/* A thread takes the number of a query i of the tile. */
#define HY_TRANSFER_EACH(p, i) for (int i = (int)threadIdx.x; i < (p).tile; i += (int)blockDim.x)

/* A warp takes a query i of the tile whose first is `query`, always the same ones. */
#define HY_TRANSFER_EACH_QUERY(p, query, i)                                       \
    for (int i = (int)threadIdx.x / 32; i < (p).tile && (query) + i < (p).tokens; \
         i += (int)blockDim.x / 32)

/* A lane takes every 32nd key j of a range. */
#define HY_TRANSFER_EACH_KEY(keys, j) \
    for (int j = (keys).from + (int)threadIdx.x % 32; j < (keys).to; j += 32)

__device__ static inline struct hy_transfer_mix hy_transfer_mix_of(const struct hy_transfer_plan &p,
                                                                   int64_t head)
{
    struct hy_transfer_mix m = {1, 0, 1, 0};
    if (p.in[HY_TRANSFER_FACTOR].data) {
        const float factor = hy_row(p.in[HY_TRANSFER_FACTOR], 0)[head];
        m.gamma = hy_sigmoid(factor);
        m.log_gamma = hy_log_sigmoid(factor);
        m.lin = p.affine ? hy_sigmoid(-factor) : 1;
        m.log_lin = p.affine ? hy_log_sigmoid(-factor) : 0;
    }
    return m;
}

/* The block's tile of queries of one of all heads; the last ones see most and start first. */
__device__ static inline struct hy_transfer_place
hy_transfer_queries_of(const struct hy_transfer_plan &p)
{
    const int64_t tiles = (p.tokens + p.tile - 1) / p.tile, head = blockIdx.x / tiles;
    return {head / p.heads, head % p.heads, (tiles - 1 - blockIdx.x % tiles) * p.tile, 0};
}

/* The first key that no query of the tile sees. */
__device__ static inline int64_t hy_transfer_end_of(const struct hy_transfer_plan &p, int64_t query)
{
    return min(query + p.tile, p.tokens);
}

/* ---- Which keys ---- */

/* The first key of the window of token t; behind t where there is none. */
__device__ static inline int64_t hy_transfer_window(const struct hy_transfer_plan &p, int64_t t)
{
    return p.window ? hy_window_first(p.window, p.terraced, t) : t + 1;
}

/* How many keys of the tile are below n. */
__device__ static inline int hy_transfer_below(const struct hy_transfer_plan &p, int64_t key,
                                               int64_t n)
{
    return (int)min(max(n - key, (int64_t)0), (int64_t)p.tile);
}

__device__ static inline struct hy_transfer_range hy_transfer_seen(const struct hy_transfer_plan &p,
                                                                   int64_t t, int64_t key)
{
    return {0, hy_transfer_below(p, key, t + 1)};
}

__device__ static inline struct hy_transfer_range hy_transfer_far(const struct hy_transfer_plan &p,
                                                                  int64_t t, int64_t key)
{
    return {0, hy_transfer_below(p, key, hy_transfer_window(p, t))};
}

__device__ static inline struct hy_transfer_range hy_transfer_near(const struct hy_transfer_plan &p,
                                                                   int64_t t, int64_t key)
{
    return {hy_transfer_below(p, key, hy_transfer_window(p, t)), hy_transfer_below(p, key, t + 1)};
}

/* Does a query of the tile have terms outside its window, or in it, in the tile of keys? Such keys
 * are not behind the queries. */
__device__ static inline bool hy_transfer_any_far(const struct hy_transfer_plan &p,
                                                  const struct hy_transfer_place &at)
{
    return at.key < hy_transfer_window(p, hy_transfer_end_of(p, at.query) - 1);
}

__device__ static inline bool hy_transfer_any_near(const struct hy_transfer_plan &p,
                                                   const struct hy_transfer_place &at)
{
    return p.window && at.key + p.tile > hy_transfer_window(p, at.query);
}

/* ---- Products ---- */

/* Of the i-th input: is it one of features? */
__host__ __device__ static inline bool hy_transfer_has_features(int i)
{
    return i == HY_TRANSFER_F || i == HY_TRANSFER_G;
}

/* A tile's rows of a head, zero beyond the tokens and the width; queries times scale. */
__device__ static inline void hy_transfer_load(const struct hy_transfer_plan &p, int i,
                                               int64_t sequence, int64_t head, int64_t first,
                                               float *to)
{
    const bool features = hy_transfer_has_features(i);
    const int width = features ? p.f : p.k, padded = features ? p.fp : p.kp;
    const int ld = features ? p.lf : p.lk;
    const float scale = i == HY_TRANSFER_TQ || i == HY_TRANSFER_Q ? p.scale : 1;
    HY_TRANSFER_ROWS(p.tile, t)
    {
        const bool live = first + t < p.tokens;
        const float *row =
            hy_row(p.in[i], sequence * p.tokens + (live ? first + t : first)) + head * width;
        HY_TRANSFER_COLS(padded, c)
        to[t * ld + c] = live && c < width ? scale * row[c] : 0;
    }
}

/* out = the i-th input's tile of queries by the (i + 1)-th's tile of keys; they stay in a and b.
 * For all threads, behind whatever they did with these. */
template <bool TENSOR>
__device__ static inline void hy_transfer_multiply(const struct hy_transfer_plan &p,
                                                   const struct hy_transfer_space &s, int i,
                                                   const struct hy_transfer_place &at, float *out)
{
    const bool features = hy_transfer_has_features(i);
    const int64_t group = p.heads / (features ? p.g_heads : p.kv_heads);
    const int padded = features ? p.fp : p.kp, ld = features ? p.lf : p.lk;
    __syncthreads();
    hy_transfer_load(p, i, at.sequence, at.head, at.query, s.a);
    hy_transfer_load(p, i + 1, at.sequence, at.head / group, at.key, s.b);
    __syncthreads();
    hy_tile_mul<TENSOR, false, true>(
        {p.tile, p.tile, padded, s.a, s.b, ld, ld, out, p.ls, false, NULL});
    __syncthreads();
}

/* x = the student's scores, right behind the product of the teacher's. */
template <bool TENSOR>
__device__ static inline void hy_transfer_score(const struct hy_transfer_plan &p,
                                                const struct hy_transfer_space &s,
                                                const struct hy_transfer_place &at)
{
    if (!p.same) {
        hy_transfer_multiply<TENSOR>(p, s, HY_TRANSFER_Q, at, s.x);
        return;
    }
    HY_TRANSFER_ROWS(p.tile, i)
    HY_TRANSFER_COLS(p.tile, j)
    s.x[i * p.ls + j] = s.p[i * p.ls + j];
    __syncthreads();
}

/* What u is where a is at the floor; never 0, lest u be divided by. */
__device__ static inline float hy_transfer_floor(const struct hy_transfer_mix &m, float log_sum)
{
    return fmaxf(expf(HY_TRANSFER_LOG_FLOOR + log_sum - m.log_lin), FLT_MIN);
}

/* The largest x of a warp's lanes; all of them get it. */
__device__ static inline float hy_transfer_warp_max(float x)
{
#pragma unroll
    for (int bit = 16; bit; bit /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, bit));
    return x;
}

#endif
