/* attention.cu - the twin of attention.c. A block of threads takes a tile of queries of one head
 * and walks the keys in tiles, with a running maximum and sum of each query's exponentials (arXiv
 * 2205.14135); the scores of one tile exist at a time. Backward is two such walks: over the keys of
 * a tile of queries for dq, and over the queries of a tile of keys for dk and dv, which so are
 * summed in a fixed order. What attention_mma.cu takes goes there. */
#include "core/ops/support/attention.cuh"
#include "core/ops/support/tiles.cuh"

extern "C" {
#include "core/ops/support/window.h"
}

enum { Q, K, V, CACHE_K, CACHE_V };
enum { O, LSE, EXCESS };
/* ENOUGH: two blocks of threads should fit a multiprocessor, which has little more than twice it.
 */
enum { TILE_MOST = 64, ENOUGH = 100 << 10 };

/* What is fixed for an op; kp, vp are widths padded. */
struct plan {
    int64_t batch, heads, kv_heads, tokens;
    int64_t window; /* 0: none */
    bool terraced;
    int64_t first;      /* keys that are seen at all */
    int64_t kept, most; /* of a sequence in the cache: rows; positions that may be seen */
    const int *position;
    int k, v, kp, vp, lk, lv;
    int tile, ls;     /* queries and keys of a tile; floats between rows of scores */
    float scale, cap; /* cap 0: none */
    struct hy_span in[CACHE_V + 1], o, lse, excess;
    struct hy_span d_o, dq, dk, dv, dlse, dexcess; /* backward */
    struct hy_span delta; /* sum P dP - dlse - dexcess of each query and head */
    /* Where there is dexcess, a pair for each query and head: how many keys before the query's own
     * its largest score is, and what is taken from the gradient of that. */
    struct hy_span top;
    struct hy_span work; /* a row for each block; no data: shared memory */
};

/* The work of a block of threads. */
struct space {
    float *q, *k;              /* [tile, kp], q scaled */
    float *v, *o;              /* [tile, vp]; backward: o is do */
    float *p;                  /* [tile, tile] */
    float *dp;                 /* backward: [tile, tile] */
    float *dk;                 /* backward: [tile, kp] gradient of q, or of k */
    float *dv;                 /* backward: [tile, vp] */
    float *max, *sum, *factor; /* [tile]; backward: log sum exp, delta */
};

__host__ __device__ static inline int64_t lay_out(const struct plan &p, bool backward, float *base,
                                                  struct space *s)
{
    struct hy_tile_room room = {base};
    s->q = room.take(p.tile * p.lk);
    s->k = room.take(p.tile * p.lk);
    s->v = room.take(p.tile * p.lv);
    s->o = room.take(p.tile * p.lv);
    s->p = room.take(p.tile * p.ls);
    s->max = room.take(p.tile);
    s->sum = room.take(p.tile);
    s->factor = room.take(p.tile);
    if (backward) {
        s->dp = room.take(p.tile * p.ls);
        s->dk = room.take(p.tile * p.lk);
        s->dv = room.take(p.tile * p.lv);
    }
    return room.next - base;
}

#define EACH(rows, cols, i, c)                                              \
    for (int each = (int)threadIdx.x, i = each / (cols), c = each % (cols); \
         each < (rows) * (cols); each += (int)blockDim.x, i = each / (cols), c = each % (cols))

/* The first key that a query sees. */
__device__ static inline int64_t low_of(const struct plan &p, int64_t query)
{
    return p.window ? hy_window_first(p.window, p.terraced, query) : 0;
}

/* Keys are numbered from the first that a query of this run may see, where a terrace begins as
 * well: `before` from the cache, then this run's. */
__device__ static inline int64_t before_of(const struct plan &p)
{
    return p.most ? min(*p.position - low_of(p, *p.position), p.most) : 0;
}

/* Key or value j (i: K or V) of a sequence. */
__device__ static inline const float *row_of(const struct plan &p, int i, int64_t sequence,
                                             int64_t before, int64_t j)
{
    if (j >= before)
        return hy_row(p.in[i], sequence * p.tokens + j - before);
    return hy_row(p.in[i + 2], sequence * p.kept + (*p.position - before + j) % p.kept);
}

__device__ static inline void load_keys(const struct plan &p, int i, int64_t sequence,
                                        int64_t kv_head, int64_t before, int64_t first, int width,
                                        int padded, int ld, float *to)
{
    EACH(p.tile, padded, j, c)
    to[j * ld + c] = first + j < before + p.tokens && c < width
                         ? row_of(p, i, sequence, before, first + j)[kv_head * width + c]
                         : 0;
}

/* Rows of this run's tokens, from `first` on. */
__device__ static inline void load_rows(const struct plan &p, const struct hy_span &t,
                                        int64_t sequence, int64_t head, int64_t first, int width,
                                        int padded, int ld, float scale, float *to)
{
    EACH(p.tile, padded, i, c)
    to[i * ld + c] = t.data && first + i < p.tokens && c < width
                         ? scale * hy_row(t, sequence * p.tokens + first + i)[head * width + c]
                         : 0;
}

__device__ static inline bool sees(const struct plan &p, int64_t query, int64_t key)
{
    return key <= query && key >= low_of(p, query) && key < p.first;
}

/* The first tile's first key that queries from number `query` on see. */
__device__ static inline int64_t first_key(const struct plan &p, int64_t query)
{
    return low_of(p, query) / p.tile * p.tile;
}

/* One past the last query that sees any of the tile's keys. */
__device__ static inline int64_t end_of_queries(const struct plan &p, int64_t key)
{
    const int64_t last = key + p.tile - 1;
    if (key >= p.first)
        return key;
    if (!p.window)
        return p.tokens;
    return min(p.tokens, p.terraced ? (last / p.window + 2) * p.window : last + p.window);
}

/* A tile's scores are capped. All threads or none. */
__device__ static inline void cap_scores(const struct plan &p, const struct space &s)
{
    if (!(p.cap > 0))
        return;
    EACH(p.tile, p.tile, i, j)
    s.p[i * p.ls + j] = p.cap * tanhf(s.p[i * p.ls + j] / p.cap);
    __syncthreads();
}

/* A tile's scores become exponentials; o so far and the sums are brought to the new maximum. A warp
 * takes a row. */
__device__ static inline void soften(const struct plan &p, const struct space &s, int64_t query,
                                     int64_t key)
{
    const int lane = (int)threadIdx.x % 32;
    for (int i = (int)threadIdx.x / 32; i < p.tile; i += (int)blockDim.x / 32) {
        float *row = s.p + i * p.ls, most = s.max[i], sum = 0;
        for (int j = lane; j < p.tile; j += 32)
            if (sees(p, query + i, key + j))
                most = fmaxf(most, row[j]);
        for (int bit = 16; bit; bit /= 2)
            most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, bit));
        for (int j = lane; j < p.tile; j += 32) {
            row[j] = sees(p, query + i, key + j) ? expf(row[j] - most) : 0;
            sum += row[j];
        }
        sum = hy_warp_sum(sum);
        if (lane == 0) {
            s.factor[i] = s.max[i] == -INFINITY ? 0 : expf(s.max[i] - most);
            s.sum[i] = s.factor[i] * s.sum[i] + sum;
            s.max[i] = most;
        }
    }
}

template <bool TENSOR, bool WIDE>
__global__ static void __launch_bounds__(HY_TILE_THREADS, 2) forward(struct plan p)
{
    HY_SHARED(float, shared);
    const int64_t tiles = (p.tokens + p.tile - 1) / p.tile;
    const int64_t first = (tiles - 1 - blockIdx.x % tiles) * p.tile; /* long ones start first */
    const int64_t head = blockIdx.x / tiles % p.heads, sequence = blockIdx.x / tiles / p.heads;
    const int64_t kv_head = head / (p.heads / p.kv_heads), before = before_of(p);
    struct space s = {};
    lay_out(p, false, WIDE ? hy_row(p.work, blockIdx.x) : shared, &s);
    load_rows(p, p.in[Q], sequence, head, first, p.k, p.kp, p.lk, p.scale, s.q);
    EACH(p.tile, p.vp, i, c)
    s.o[i * p.lv + c] = 0;
    for (int i = (int)threadIdx.x; i < p.tile; i += (int)blockDim.x) {
        s.max[i] = -INFINITY;
        s.sum[i] = 0;
    }
    const int64_t query = before + first;
    const int64_t end = min(min(query + p.tile, before + p.tokens), p.first);
    for (int64_t key = first_key(p, query); key < end; key += p.tile) {
        load_keys(p, K, sequence, kv_head, before, key, p.k, p.kp, p.lk, s.k);
        load_keys(p, V, sequence, kv_head, before, key, p.v, p.vp, p.lv, s.v);
        __syncthreads();
        hy_tile_mul<TENSOR, false, true>(
            {p.tile, p.tile, p.kp, s.q, s.k, p.lk, p.lk, s.p, p.ls, false, NULL});
        __syncthreads();
        cap_scores(p, s);
        soften(p, s, query, key);
        __syncthreads();
        hy_tile_mul<TENSOR, false, false>(
            {p.tile, p.vp, p.tile, s.p, s.v, p.ls, p.lv, s.o, p.lv, true, s.factor});
        __syncthreads();
    }
    EACH(p.tile, p.vp, i, c)
    {
        const int64_t row = sequence * p.tokens + first + i;
        if (first + i >= p.tokens)
            continue;
        if (c < p.v)
            hy_row(p.o, row)[head * p.v + c] = s.o[i * p.lv + c] / s.sum[i];
        if (c == 0)
            hy_row(p.lse, row)[head] = s.max[i] + logf(s.sum[i]);
        if (c == 0 && p.excess.data)
            hy_row(p.excess, row)[head] = logf(s.sum[i]);
    }
}

/* Puts this run's last keys and values where the cache has them. */
__global__ static void append(struct plan p)
{
    const int64_t count = min(p.tokens, p.kept), first = p.tokens - count;
    for (int i = K; i <= V; i++)
        HY_EACH(p.batch * count, p.in[i].cols, n, c)
        {
            const int64_t sequence = n / count, t = first + n % count;
            hy_row(p.in[i + 2], sequence * p.kept + (*p.position + t) % p.kept)[c] =
                hy_row(p.in[i], sequence * p.tokens + t)[c];
        }
}

/* s.p and s.dp from scores and from do v': P = e^(score - lse), dS = P (dP - delta). */
__device__ static inline void differentiate(const struct plan &p, const struct space &s,
                                            int64_t query, int64_t key)
{
    EACH(p.tile, p.tile, i, j)
    {
        float *at = s.p + i * p.ls + j, *d = s.dp + i * p.ls + j;
        const bool seen = query + i < p.tokens && sees(p, query + i, key + j);
        const float share = p.cap > 0 ? *at / p.cap : 0;
        *at = seen ? expf(*at - s.max[i]) : 0;
        *d = seen ? *at * (*d - s.sum[i]) * (1 - share * share) : 0;
    }
}

/* The queries' side: q, do, log sum exp and delta of a tile. */
__device__ static inline void load_queries(const struct plan &p, const struct space &s,
                                           int64_t sequence, int64_t head, int64_t first,
                                           bool has_delta)
{
    load_rows(p, p.in[Q], sequence, head, first, p.k, p.kp, p.lk, p.scale, s.q);
    load_rows(p, p.d_o, sequence, head, first, p.v, p.vp, p.lv, 1, s.o);
    for (int i = (int)threadIdx.x; i < p.tile; i += (int)blockDim.x) {
        const int64_t row = sequence * p.tokens + first + i;
        const bool live = first + i < p.tokens;
        s.max[i] = live ? hy_row(p.lse, row)[head] : 0;
        s.sum[i] = !live                 ? 0
                   : has_delta           ? hy_row(p.delta, row)[head]
                   : p.dlse.data != NULL ? -hy_row(p.dlse, row)[head]
                                         : 0;
        s.factor[i] = -INFINITY;
        if (live && !has_delta && p.dexcess.data)
            s.sum[i] -= hy_row(p.dexcess, row)[head];
    }
}

/* s.p = scores and s.dp = dP of a tile of queries and one of keys, between barriers. */
template <bool TENSOR>
__device__ static inline void rescore(const struct plan &p, const struct space &s)
{
    __syncthreads();
    hy_tile_mul<TENSOR, false, true>(
        {p.tile, p.tile, p.kp, s.q, s.k, p.lk, p.lk, s.p, p.ls, false, NULL});
    hy_tile_mul<TENSOR, false, true>(
        {p.tile, p.tile, p.vp, s.o, s.v, p.lv, p.lv, s.dp, p.ls, false, NULL});
    __syncthreads();
    cap_scores(p, s);
}

/* The queries' sums of P dP grow by those over a tile of keys; a warp takes a row. */
__device__ static inline void add_delta(const struct plan &p, const struct space &s, int64_t query,
                                        int64_t key)
{
    const int lane = (int)threadIdx.x % 32;
    for (int i = (int)threadIdx.x / 32; i < p.tile; i += (int)blockDim.x / 32) {
        float sum = 0;
        for (int j = lane; j < p.tile; j += 32)
            if (sees(p, query + i, key + j))
                sum += expf(s.p[i * p.ls + j] - s.max[i]) * s.dp[i * p.ls + j];
        sum = hy_warp_sum(sum);
        if (lane == 0)
            s.sum[i] += sum;
    }
}

/* The queries' largest scores so far, in s.factor, and where they are, in p.top, by a tile of keys
 * behind those; a warp takes a row. */
__device__ static inline void find_top(const struct plan &p, const struct space &s,
                                       int64_t sequence, int64_t head, int64_t query, int64_t key)
{
    const int lane = (int)threadIdx.x % 32;
    for (int i = (int)threadIdx.x / 32; i < p.tile && query + i < p.tokens;
         i += (int)blockDim.x / 32) {
        float most = -INFINITY;
        int at = p.tile;
        for (int j = lane; j < p.tile; j += 32)
            if (sees(p, query + i, key + j) && s.p[i * p.ls + j] > most) {
                most = s.p[i * p.ls + j];
                at = j;
            }
        for (int bit = 16; bit; bit /= 2) {
            const float other = __shfl_xor_sync(0xffffffffu, most, bit);
            const int there = __shfl_xor_sync(0xffffffffu, at, bit);
            if (other > most || (other == most && there < at)) {
                most = other;
                at = there;
            }
        }
        if (lane == 0 && most > s.factor[i]) {
            const int64_t row = sequence * p.tokens + query + i;
            const float share = p.cap > 0 ? most / p.cap : 0;
            float *top = hy_row(p.top, row) + 2 * head;
            s.factor[i] = most;
            top[0] = (float)(query + i - key - at); /* exact for sequences below 2^24 */
            top[1] = hy_row(p.dexcess, row)[head] * (1 - share * share);
        }
    }
}

/* Takes what it loses from the gradient of each query's largest score, where that is in the tile.
 */
__device__ static inline void lower_top(const struct plan &p, const struct space &s,
                                        int64_t sequence, int64_t head, int64_t query, int64_t key)
{
    __syncthreads();
    for (int i = (int)threadIdx.x; i < p.tile && query + i < p.tokens; i += (int)blockDim.x) {
        const float *top = hy_row(p.top, sequence * p.tokens + query + i) + 2 * head;
        const int64_t j = query + i - (int64_t)top[0] - key;
        if (j >= 0 && j < p.tile)
            s.dp[i * p.ls + j] -= top[1];
    }
}

template <bool TENSOR, bool WIDE>
__global__ static void __launch_bounds__(HY_TILE_THREADS, 2) backward_queries(struct plan p)
{
    HY_SHARED(float, shared);
    const int64_t tiles = (p.tokens + p.tile - 1) / p.tile;
    const int64_t first = (tiles - 1 - blockIdx.x % tiles) * p.tile;
    const int64_t head = blockIdx.x / tiles % p.heads, sequence = blockIdx.x / tiles / p.heads;
    const int64_t kv_head = head / (p.heads / p.kv_heads);
    struct space s = {};
    lay_out(p, true, WIDE ? hy_row(p.work, blockIdx.x) : shared, &s);
    load_queries(p, s, sequence, head, first, false);
    EACH(p.tile, p.kp, i, c)
    s.dk[i * p.lk + c] = 0;
    /* o is not kept for backward, so a first walk finds what it would tell. */
    const int64_t end = min(min(first + p.tile, p.tokens), p.first);
    for (int walk = 0; walk < (p.dq.data ? 2 : 1); walk++)
        for (int64_t key = first_key(p, first); key < end; key += p.tile) {
            load_keys(p, K, sequence, kv_head, 0, key, p.k, p.kp, p.lk, s.k);
            load_keys(p, V, sequence, kv_head, 0, key, p.v, p.vp, p.lv, s.v);
            rescore<TENSOR>(p, s);
            if (walk == 0) {
                add_delta(p, s, first, key);
                if (p.dexcess.data)
                    find_top(p, s, sequence, head, first, key);
            } else {
                differentiate(p, s, first, key);
                if (p.dexcess.data)
                    lower_top(p, s, sequence, head, first, key);
                __syncthreads();
                hy_tile_mul<TENSOR, false, false>(
                    {p.tile, p.kp, p.tile, s.dp, s.k, p.ls, p.lk, s.dk, p.lk, true, NULL});
            }
            __syncthreads();
        }
    for (int i = (int)threadIdx.x; i < p.tile && first + i < p.tokens; i += (int)blockDim.x)
        hy_row(p.delta, sequence * p.tokens + first + i)[head] = s.sum[i];
    EACH(p.tile, p.kp, i, c)
    if (first + i < p.tokens && c < p.k)
        hy_give<1>(p.dq, sequence * p.tokens + first + i, head * p.k + c,
                   {{p.scale * s.dk[i * p.lk + c]}});
}

template <bool TENSOR, bool WIDE>
__global__ static void __launch_bounds__(HY_TILE_THREADS, 2) backward_keys(struct plan p)
{
    HY_SHARED(float, shared);
    const int64_t tiles = (p.tokens + p.tile - 1) / p.tile, group = p.heads / p.kv_heads;
    const int64_t key = blockIdx.x % tiles * p.tile;
    const int64_t kv_head = blockIdx.x / tiles % p.kv_heads;
    const int64_t sequence = blockIdx.x / tiles / p.kv_heads;
    struct space s = {};
    lay_out(p, true, WIDE ? hy_row(p.work, blockIdx.x) : shared, &s);
    load_keys(p, K, sequence, kv_head, 0, key, p.k, p.kp, p.lk, s.k);
    load_keys(p, V, sequence, kv_head, 0, key, p.v, p.vp, p.lv, s.v);
    EACH(p.tile, p.kp, i, c)
    s.dk[i * p.lk + c] = 0;
    EACH(p.tile, p.vp, i, c)
    s.dv[i * p.lv + c] = 0;
    const int64_t end = end_of_queries(p, key);
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; head++)
        for (int64_t query = key; query < end; query += p.tile) {
            load_queries(p, s, sequence, head, query, true);
            rescore<TENSOR>(p, s);
            differentiate(p, s, query, key);
            if (p.dexcess.data)
                lower_top(p, s, sequence, head, query, key);
            __syncthreads();
            hy_tile_mul<TENSOR, true, false>(
                {p.tile, p.kp, p.tile, s.dp, s.q, p.ls, p.lk, s.dk, p.lk, true, NULL});
            hy_tile_mul<TENSOR, true, false>(
                {p.tile, p.vp, p.tile, s.p, s.o, p.ls, p.lv, s.dv, p.lv, true, NULL});
            __syncthreads();
        }
    EACH(p.tile, p.kp, i, c)
    if (key + i < p.tokens && c < p.k)
        hy_give<1>(p.dk, sequence * p.tokens + key + i, kv_head * p.k + c, {{s.dk[i * p.lk + c]}});
    EACH(p.tile, p.vp, i, c)
    if (key + i < p.tokens && c < p.v)
        hy_give<1>(p.dv, sequence * p.tokens + key + i, kv_head * p.v + c, {{s.dv[i * p.lv + c]}});
}

/* ---- Launches ---- */

static int64_t floats_of(const struct hy_op *op, const struct plan *p)
{
    static float origin[1];
    struct space s = {};
    return lay_out(*p, op->pass == HY_BACKWARD, origin, &s);
}

static void size_tiles(struct plan *p, int tile)
{
    p->tile = tile;
    p->ls = hy_tile_ld(tile);
}

/* The plan on the graph's device; *used: floats of scratch. */
static struct plan plan_of(const struct hy_op *op, int64_t *used)
{
    const struct hy_attention *a = (const struct hy_attention *)op->attr;
    const struct hy_shape *shape = &op->graph->shape;
    const struct hy_device *device = op->graph->device;
    const size_t most = device ? (size_t)device->shared_most : 48 << 10;
    struct plan p = {};
    p.batch = shape->batch;
    p.heads = a->heads;
    p.kv_heads = a->kv_heads;
    p.tokens = shape->tokens;
    p.window = a->window;
    p.terraced = a->terraced;
    p.first = a->first ? a->first : INT64_MAX;
    p.kept = hy_window_kept(a, shape);
    p.most = op->in[CACHE_K] ? hy_window_before(a, shape) : 0;
    p.k = a->key_width;
    p.v = a->value_width;
    p.kp = hy_tile_up(p.k);
    p.vp = hy_tile_up(p.v);
    p.lk = hy_tile_ld(p.kp);
    p.lv = hy_tile_ld(p.vp);
    p.scale = (float)a->scale;
    p.cap = (float)a->cap;
    for (int i = Q; i <= CACHE_V; i++)
        p.in[i] = hy_span_of(op->in[i]);
    p.o = hy_span_of(op->out[O]);
    p.lse = hy_span_of(op->out[LSE]);
    p.excess = hy_span_of(op->out[EXCESS]);
    for (int tile = TILE_MOST; tile >= HY_TILE; tile /= 2) {
        size_tiles(&p, tile);
        const size_t bytes = (size_t)floats_of(op, &p) * sizeof(float);
        const bool fits = bytes <= most && bytes <= ENOUGH;
        if (fits && (tile == HY_TILE || tile / 2 < p.tokens))
            break;
    }
    if (op->pass == HY_BACKWARD) {
        p.d_o = hy_span_of(op->dout[O]);
        p.dlse = hy_span_of(op->dout[LSE]);
        p.dexcess = hy_span_of(op->dout[EXCESS]);
        p.dq = hy_span_din(op, Q);
        p.dk = hy_span_din(op, K);
        p.dv = hy_span_din(op, V);
        if (op->scratch)
            p.delta = hy_span_scratch(op, *used, p.batch * p.tokens, p.heads);
        *used += (p.batch * p.tokens * p.heads + 31) / 32 * 32;
        if (op->dout[EXCESS]) {
            if (op->scratch)
                p.top = hy_span_scratch(op, *used, p.batch * p.tokens, 2 * p.heads);
            *used += (p.batch * p.tokens * p.heads + 15) / 16 * 32;
        }
    }
    const int64_t floats = floats_of(op, &p);
    if ((size_t)floats * sizeof(float) > most) {
        const int64_t each = (floats + 31) / 32 * 32;
        const int64_t blocks = p.batch * p.heads * ((p.tokens + p.tile - 1) / p.tile);
        p.work.cols = p.work.ld = each;
        if (op->scratch)
            p.work = hy_span_scratch(op, *used, blocks, each);
        *used += blocks * each;
    }
    return p;
}

static size_t attention_scratch(const struct hy_op *op)
{
    int64_t used = 0;
    plan_of(op, &used);
    return (size_t)used * sizeof(float);
}

/* A kernel for the op's precision and where its work lies. */
#define KERNEL(op, p, kernel)                                                    \
    (tensor_cores(op) ? (p).work.data ? kernel<true, true> : kernel<true, false> \
     : (p).work.data ? kernel<false, true>                                       \
                      : kernel<false, false>)

static bool tensor_cores(const struct hy_op *op)
{
    const struct hy_shape *shape = &op->graph->shape;
    return shape->precision != HY_PRECISION_FLOAT32 && shape->mode != HY_CACHED;
}

static void launch(const struct hy_op *op, const struct hy_launch *at, const struct plan *p,
                   int64_t heads, void (*kernel)(struct plan))
{
    const int64_t blocks = p->batch * heads * ((p->tokens + p->tile - 1) / p->tile);
    const size_t bytes = p->work.data ? 0 : (size_t)floats_of(op, p) * sizeof(float);
    hy_start_large(at, dim3((unsigned)blocks, 1, (unsigned)at->replicas), dim3(HY_TILE_THREADS),
                   bytes, kernel, *p);
}

static void attention_forward(const struct hy_op *op, const struct hy_launch *at)
{
    int64_t used = 0;
    struct plan p = plan_of(op, &used);
    p.position = at->position;
    if (hy_attention_mma_takes(op)) {
        hy_attention_mma_forward(op, at);
        return;
    }
    launch(op, at, &p, p.heads, KERNEL(op, p, forward));
    if (!op->in[CACHE_K])
        return;
    const struct hy_walk walk = hy_walk_of(at, p.batch * p.tokens, p.in[K].cols);
    hy_start(at, walk.grid, walk.block, 0, append, p);
}

static void attention_backward(const struct hy_op *op, const struct hy_launch *at)
{
    int64_t used = 0;
    const struct plan p = plan_of(op, &used);
    if (hy_attention_mma_takes(op)) {
        hy_attention_mma_backward(op, at, p.delta, p.top);
        return;
    }
    launch(op, at, &p, p.heads, KERNEL(op, p, backward_queries));
    if (p.dk.data || p.dv.data)
        launch(op, at, &p, p.kv_heads, KERNEL(op, p, backward_keys));
}

HY_CUDA_KIND(attention) = {attention_forward, attention_backward, attention_scratch};
