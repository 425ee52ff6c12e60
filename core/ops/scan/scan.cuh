/* scan.cuh - the scan kernel (scan.h) on a device: what its two passes share.
 *
 * A block of threads takes a head of a sequence and some columns of the values, a tile; it walks
 * the tokens in blocks of HY_TILE rows with the state of its columns in shared memory. The columns
 * of the state do not depend on each other, so forward needs nothing more. Backward leaves each
 * tile's share of the gradients of q, k, beta and the decays in scratch, where there is more than
 * one tile or head to sum over, and a second kernel adds them up.
 *
 * Where shared memory is too small for the widths of a head, the same kernel works in scratch. */
#ifndef HY_OPS_SUPPORT_SCAN_CUH
#define HY_OPS_SUPPORT_SCAN_CUH

#include "core/ops/support/tiles.cuh"

extern "C" {
#include "core/ops/scan/scan.h"
}

enum hy_scan_decay { HY_DECAY_NONE, HY_DECAY_CONSTANT, HY_DECAY_HEAD, HY_DECAY_CHANNEL };

enum { HY_PAIR_LD = HY_TILE + 4 };

/* What a kernel knows of its op when it is compiled: the bits below, or that it has to ask the
 * plan. */
enum { HY_SCAN_CHANNELS = 1, HY_SCAN_DELTA = 2, HY_SCAN_ASK = -1 };

/* Factors of a decay by channel are kept for so many channels at a time, of so many rows: of every
 * row on each of HY_SCAN_HALVINGS levels, and a row of ones. */
enum { HY_SCAN_SLICE = 32, HY_SCAN_HALVINGS = 4, HY_SCAN_ONES = HY_SCAN_HALVINGS * HY_TILE };

/* What is fixed for an op. */
struct hy_scan_plan {
    enum hy_scan_decay decay;
    bool delta, backward;
    int64_t batch, heads, sharing, tokens; /* sharing: heads that read the same q and k */
    int64_t chunk, chunks;                 /* tokens of a chunk, chunks of a sequence */
    int64_t blocks;                        /* of a chunk */
    int64_t kept_rows;                     /* of a state that training keeps */
    int k, v, kp;                          /* kp: padded */
    int width, tiles;                      /* columns of a tile, padded; tiles of a head */
    int threads;                           /* of a block: HY_TILE_THREADS, or half of them */
    int lk, lv;                            /* floats from row to row */
    float scale;
    struct hy_span in[HY_SCAN_INPUTS], out[HY_SCAN_OUTPUTS];
    int64_t floats;      /* of the work of a block of threads */
    struct hy_span work; /* a row for each of them; no data: shared memory */
};

/* The work of a block of threads. Rows beyond the tokens' end are zero and decay nothing. */
struct hy_scan_space {
    float *state;   /* [kp, width] */
    float *q, *k;   /* [TILE, kp], q scaled */
    float *read;    /* [2 TILE, kp] q and, delta: k, as they read the entering state */
    float *write;   /* [TILE, kp] k as it writes to the leaving state */
    float *step;    /* [TILE, kp] decay of each row, by channel; [TILE] if channels agree */
    float *through; /* [kp] decay of the whole block */
    float
        *between; /* [TILE, PAIR] decay from row j to row i; 0 above the diagonal. Channels: none */
    float *into;  /* [2 TILE] decay from the entry to each row, twice. Channels: none */
    float *rest;  /* [TILE] from each row to the end. Channels: none */
    float *factors; /* channels: [HY_SCAN_ONES + 1, slice], see hy_scan_factors() */
    float *beta;    /* [TILE] */
    float *values;  /* [2 TILE, width] forward: o, what k reads; backward: do, -dz */
    float *w;       /* [TILE, width] what is written to the state */
    float *pair;    /* [2 TILE, PAIR] q with k; k with k */
    float *dstate;  /* backward: [kp, width] */
    float *y, *dw;  /* backward: [TILE, width]; y: delta */
    float *dread;   /* backward: [2 TILE, kp] */
    float *carry;   /* backward: [kp] */
    float *sums;    /* backward: [TILE] */
};

/* Channels of a slice. */
__host__ __device__ static inline int hy_scan_slice(const struct hy_scan_plan &p)
{
    return p.kp < HY_SCAN_SLICE ? p.kp : (int)HY_SCAN_SLICE;
}

template <int KIND> __device__ static inline bool hy_scan_by_channel(const struct hy_scan_plan &p)
{
    return KIND == HY_SCAN_ASK ? p.decay == HY_DECAY_CHANNEL : (KIND & HY_SCAN_CHANNELS) != 0;
}

template <int KIND> __device__ static inline bool hy_scan_is_delta(const struct hy_scan_plan &p)
{
    return KIND == HY_SCAN_ASK ? p.delta : (KIND & HY_SCAN_DELTA) != 0;
}

/* Lays out the work of a block of threads; returns how many floats it takes. */
__host__ __device__ static inline int64_t hy_scan_lay_out(const struct hy_scan_plan &p, float *base,
                                                          struct hy_scan_space *s)
{
    const int sides = p.delta ? 2 : 1;
    const int64_t keys = HY_TILE * p.lk, values = HY_TILE * p.lv, state = (int64_t)p.kp * p.lv;
    struct hy_tile_room work = {base};
    s->state = work.take(state);
    s->q = work.take(keys);
    s->k = work.take(keys);
    s->read = work.take(sides * keys);
    s->write = work.take(keys);
    s->through = work.take(p.kp);
    if (p.decay == HY_DECAY_CHANNEL) {
        s->step = work.take(keys);
        s->factors = work.take((HY_SCAN_ONES + 1) * hy_tile_ld(hy_scan_slice(p)));
    } else {
        s->between = work.take(HY_TILE * HY_PAIR_LD);
        s->into = work.take(2 * HY_TILE);
        s->rest = work.take(HY_TILE);
    }
    s->beta = work.take(HY_TILE);
    s->values = work.take(sides * values);
    s->w = work.take(values);
    s->pair = work.take(2 * HY_TILE * HY_PAIR_LD);
    if (p.backward) {
        s->dstate = work.take(state);
        s->y = work.take(p.delta ? values : 0);
        s->dw = work.take(values);
        s->dread = work.take(sides * keys);
        s->carry = work.take(p.kp);
        s->sums = work.take(HY_TILE);
    }
    return work.next - base;
}

/* Where a block of threads works. */
struct hy_scan_place {
    int64_t sequence, head;
    int64_t keys;              /* column: of q and k, the head's first */
    int tile, column, columns; /* column: of the values, its first; columns: live ones */

    __device__ hy_scan_place(const struct hy_scan_plan &p, unsigned block)
    {
        tile = (int)(block % (unsigned)p.tiles);
        head = block / (unsigned)p.tiles % (unsigned)p.heads;
        sequence = block / (unsigned)p.tiles / (unsigned)p.heads;
        keys = (unsigned)head / (unsigned)p.sharing * (int64_t)p.k;
        column = tile * p.width;
        columns = min(p.width, p.v - column);
    }
};

/* Some rows of one block of tokens. */
struct hy_scan_rows {
    int64_t row; /* of the tensors: the first */
    int count;
};

/* Block `block` of a chunk; count <= 0 beyond the end of the chunk or of the sequence. */
__device__ static inline struct hy_scan_rows hy_scan_rows_of(const struct hy_scan_plan &p,
                                                             const struct hy_scan_place &at,
                                                             int64_t chunk, int64_t block)
{
    const int64_t first = chunk * p.chunk + block * HY_TILE;
    const int64_t left = min((chunk + 1) * p.chunk, p.tokens) - first;
    return {at.sequence * p.tokens + first, (int)min(left, (int64_t)HY_TILE)};
}

__device__ static inline int64_t hy_scan_kept_row(const struct hy_scan_plan &p,
                                                  const struct hy_scan_place &at, int64_t chunk)
{
    return ((at.sequence * p.heads + at.head) * (p.chunks + 1) + chunk) * p.kept_rows;
}

__device__ static inline int64_t hy_scan_state_row(const struct hy_scan_plan &p,
                                                   const struct hy_scan_place &at)
{
    return (at.sequence * p.heads + at.head) * p.k;
}

/* All elements (i, c) of `rows` rows of `cols` columns, by the threads of a block: 16 along each
 * row, so that no thread divides. */
#define HY_SCAN_EACH(rows, cols, i, c)                                                   \
    for (int i = (int)threadIdx.x / HY_TILE; i < (rows); i += (int)blockDim.x / HY_TILE) \
        for (int c = (int)threadIdx.x % HY_TILE; c < (cols); c += HY_TILE)

/* A state of `rows` rows of `columns` columns, zero beyond them, from rows that are ld floats
 * apart; from NULL: zero. A thread has loads of several rows under way at once. */
__device__ static inline void hy_scan_copy_state(const struct hy_scan_plan &p, const float *from,
                                                 int64_t ld, int rows, int columns, float *state)
{
    enum { ROWS = 4 };
    const int step = (int)blockDim.x / HY_TILE;
    if (!from)
        rows = 0;
    for (int first = (int)threadIdx.x / HY_TILE; first < p.kp; first += ROWS * step)
        for (int c = (int)threadIdx.x % HY_TILE; c < p.width; c += HY_TILE) {
            float x[ROWS];
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                const int i = first + r * step;
                x[r] = i < rows && c < columns ? from[i * ld + c] : 0;
            }
#pragma unroll
            for (int r = 0; r < ROWS; r++)
                if (first + r * step < p.kp)
                    state[(first + r * step) * p.lv + c] = x[r];
        }
}

/* A state from the rows of t from `row` on; zero where there is no t. */
__device__ static inline void hy_scan_load_state(const struct hy_scan_plan &p,
                                                 const struct hy_scan_place &at,
                                                 const struct hy_span &t, int64_t row, float *state)
{
    hy_scan_copy_state(p, t.data ? hy_row(t, row) + at.column : NULL, t.ld, p.k, at.columns, state);
}

__device__ static inline void hy_scan_store_state(const struct hy_scan_plan &p,
                                                  const struct hy_scan_place &at,
                                                  const struct hy_span &t, int64_t row,
                                                  const float *state)
{
    HY_SCAN_EACH(p.k, p.width, i, c)
    if (c < at.columns)
        hy_give<1>(t, row + i, at.column + c, {{state[i * p.lv + c]}});
}

/* The head's columns of a tensor of values, zero beyond the live rows or where there is none. */
__device__ static inline void hy_scan_load_values(const struct hy_scan_plan &p,
                                                  const struct hy_scan_place &at,
                                                  const struct hy_span &t, struct hy_scan_rows rows,
                                                  float *to)
{
    const int64_t first = at.head * p.v + at.column;
    HY_SCAN_EACH(HY_TILE, p.width, i, c)
    to[i * p.lv + c] =
        t.data && i < rows.count && c < at.columns ? hy_row(t, rows.row + i)[first + c] : 0;
}

/* Loads q (where wanted), k, beta and the decay of each row, for the level scan. A barrier is due
 * before they are used.
 */
__device__ static inline void hy_scan_load_rows(const struct hy_scan_plan &p,
                                                const struct hy_scan_place &at,
                                                struct hy_scan_rows rows, bool reads,
                                                const struct hy_scan_space &s)
{
    const int64_t first = at.keys;
    HY_SCAN_EACH(HY_TILE, p.kp, i, c)
    {
        const bool live = i < rows.count && c < p.k;
        s.k[i * p.lk + c] = live ? hy_row(p.in[HY_SCAN_K], rows.row + i)[first + c] : 0;
        if (reads)
            s.q[i * p.lk + c] =
                live ? p.scale * hy_row(p.in[HY_SCAN_Q], rows.row + i)[first + c] : 0;
        if (p.decay == HY_DECAY_CHANNEL)
            s.step[i * p.lk + c] =
                live ? expf(hy_row(p.in[HY_SCAN_DECAY], rows.row + i)[at.head * p.k + c]) : 1;
    }
    const int i = (int)threadIdx.x;
    if (i >= HY_TILE)
        return;
    const bool live = i < rows.count;
    if (p.delta)
        s.beta[i] = live ? hy_row(p.in[HY_SCAN_BETA], rows.row + i)[at.head] : 0;
    if (p.decay == HY_DECAY_HEAD || p.decay == HY_DECAY_CONSTANT) {
        const int64_t row = p.decay == HY_DECAY_HEAD ? rows.row + i : 0;
        s.step[i] = live ? expf(hy_row(p.in[HY_SCAN_DECAY], row)[at.head]) : 1;
    } else if (p.decay == HY_DECAY_NONE) {
        s.step[i] = 1;
    }
}

/* ---- On the host: scratch is laid out from float *used on, which moves along ---- */

/* A plan for the device of the graph. */
struct hy_scan_plan hy_scan_plan_on_device(const struct hy_op *op, int64_t *used);
/* Its two halves: all but tiles and work; and these, where the work of a block of threads takes
 * floats(p) floats. */
struct hy_scan_plan hy_scan_plan_begin(const struct hy_op *op);
void hy_scan_share_out(const struct hy_op *op, struct hy_scan_plan *p,
                       int64_t (*floats)(const struct hy_scan_plan *p), int64_t *used);
/* Rows of scratch, aligned. */
struct hy_span hy_scan_take_rows(const struct hy_op *op, int64_t rows, int64_t floats,
                                 int64_t *used);
/* Does the work of a block of threads fit shared memory? */
bool hy_scan_fits(const struct hy_op *op, int64_t floats);

bool hy_scan_on_tensor_cores(const struct hy_op *op);
/* Bytes of shared memory that a launch takes, and its grid. */
size_t hy_scan_shared(const struct hy_scan_plan &p);
dim3 hy_scan_grid(const struct hy_scan_plan &p, const struct hy_launch *at);

/* Where a kernel leaves the gradient of in[i], `cols` columns: there, or in scratch, if heads share
 * it or there are several shares of it, of one the rows of all tokens; a constant decay's are of
 * one the rows of all sequences. And what adds the shares up: width of a head's columns, `sharing`
 * heads that have them in common. */
struct hy_span hy_scan_shares_of(const struct hy_op *op, const struct hy_scan_plan *p, int i,
                                 int64_t cols, int64_t shares, int64_t *used);
void hy_scan_hand_over(const struct hy_op *op, const struct hy_launch *at,
                       const struct hy_scan_plan *p, int i, const struct hy_span &shares,
                       int64_t width, int64_t sharing);

/* The passes of both ops. */
void hy_scan_launch_forward(const struct hy_op *op, const struct hy_launch *at);
void hy_scan_launch_backward(const struct hy_op *op, const struct hy_launch *at);
size_t hy_scan_device_scratch(const struct hy_op *op);

#endif
