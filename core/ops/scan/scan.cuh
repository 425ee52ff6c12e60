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
    int lk, lv;                            /* floats from row to row */
    float scale;
    struct hy_span in[HY_SCAN_INPUTS], out[HY_SCAN_OUTPUTS];
    int64_t floats;      /* of the work of a block of threads */
    struct hy_span work; /* a row for each of them; no data: shared memory */
};

/* Hands out parts of the work of a block of threads. */
struct hy_scan_taker {
    float *next;

    __host__ __device__ float *take(int64_t count)
    {
        float *part = next;
        next += (count + 7) / 8 * 8;
        return part;
    }
};

/* The work of a block of threads. Rows beyond the tokens' end are zero and decay nothing. */
struct hy_scan_space {
    float *state;   /* [kp, width] */
    float *q, *k;   /* [TILE, kp], q scaled */
    float *read;    /* [2 TILE, kp] q and, delta: k, as they read the entering state */
    float *write;   /* [TILE, kp] k as it writes to the leaving state */
    float *step;    /* [TILE, kp] decay of each row, by channel; [TILE] if channels agree */
    float *through; /* [kp] decay of the whole block */
    float *between; /* [TILE, PAIR] decay from row j to row i; 0 above the diagonal */
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

/* Lays out the work of a block of threads; returns how many floats it takes. */
__host__ __device__ static inline int64_t hy_scan_lay_out(const struct hy_scan_plan &p, float *base,
                                                          struct hy_scan_space *s)
{
    const int sides = p.delta ? 2 : 1;
    const int64_t keys = HY_TILE * p.lk, values = HY_TILE * p.lv, state = (int64_t)p.kp * p.lv;
    struct hy_scan_taker work = {base};
    s->state = work.take(state);
    s->q = work.take(keys);
    s->k = work.take(keys);
    s->read = work.take(sides * keys);
    s->write = work.take(keys);
    s->step = work.take(p.decay == HY_DECAY_CHANNEL ? keys : (int64_t)HY_TILE);
    s->through = work.take(p.kp);
    s->between = work.take(HY_TILE * HY_PAIR_LD);
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
    int tile, column, columns; /* column: of the values, its first; columns: live ones */

    __device__ hy_scan_place(const struct hy_scan_plan &p, unsigned block)
    {
        tile = (int)(block % (unsigned)p.tiles);
        head = block / (unsigned)p.tiles % p.heads;
        sequence = block / (unsigned)p.tiles / p.heads;
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

/* All elements (i, c) of `rows` rows of `cols` columns, by the threads of a block. */
#define HY_SCAN_EACH(rows, cols, i, c)                                      \
    for (int each = (int)threadIdx.x, i = each / (cols), c = each % (cols); \
         each < (rows) * (cols); each += (int)blockDim.x, i = each / (cols), c = each % (cols))

/* A state from the rows of t from `row` on; zero where there is no t. */
__device__ static inline void hy_scan_load_state(const struct hy_scan_plan &p,
                                                 const struct hy_scan_place &at,
                                                 const struct hy_span &t, int64_t row, float *state)
{
    HY_SCAN_EACH(p.kp, p.width, i, c)
    state[i * p.lv + c] =
        t.data && i < p.k && c < at.columns ? hy_row(t, row + i)[at.column + c] : 0;
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

/* Loads q (where wanted), k, beta and the factors of decay. A barrier is due before they are used.
 */
__device__ static inline void hy_scan_load_rows(const struct hy_scan_plan &p,
                                                const struct hy_scan_place &at,
                                                struct hy_scan_rows rows, bool reads,
                                                const struct hy_scan_space &s)
{
    const int64_t first = at.head / p.sharing * p.k;
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

/* s.read, s.write, s.through and s.between from what was loaded; a barrier is due after it. */
__device__ static inline void hy_scan_decays(const struct hy_scan_plan &p,
                                             const struct hy_scan_space &s)
{
    if (p.decay == HY_DECAY_CHANNEL) {
        for (int c = (int)threadIdx.x; c < p.kp; c += (int)blockDim.x) {
            float into = 1, rest = 1;
            for (int i = 0; i < HY_TILE; i++) {
                const int e = i * p.lk + c;
                into *= s.step[e];
                s.read[e] = into * s.q[e];
                if (p.delta)
                    s.read[HY_TILE * p.lk + e] = into * s.k[e];
            }
            s.through[c] = into;
            for (int i = HY_TILE - 1; i >= 0; i--) {
                s.write[i * p.lk + c] = rest * s.k[i * p.lk + c];
                rest *= s.step[i * p.lk + c];
            }
        }
        HY_SCAN_EACH(HY_TILE, HY_TILE, i, j)
        s.between[i * HY_PAIR_LD + j] = j <= i;
        return;
    }
    HY_SCAN_EACH(HY_TILE, HY_TILE, i, j)
    {
        float factor = j <= i;
        for (int l = j + 1; l <= i; l++)
            factor *= s.step[l];
        s.between[i * HY_PAIR_LD + j] = factor;
    }
    __syncthreads();
    HY_SCAN_EACH(HY_TILE, p.kp, i, c)
    {
        const int e = i * p.lk + c;
        const float into = s.step[0] * s.between[i * HY_PAIR_LD];
        s.read[e] = into * s.q[e];
        if (p.delta)
            s.read[HY_TILE * p.lk + e] = into * s.k[e];
        s.write[e] = s.between[(HY_TILE - 1) * HY_PAIR_LD + i] * s.k[e];
        if (i == HY_TILE - 1)
            s.through[c] = into;
    }
}

/* pair_ij = between_ij <a_i, y_j> and, where there is b, below it the same of b_i, without the
 * diagonal. Rows are n long and ld apart. */
__device__ static inline void hy_scan_dots(const struct hy_scan_space &s, const float *a,
                                           const float *b, const float *y, int n, int ld)
{
    HY_SCAN_EACH(HY_TILE, HY_TILE, i, j)
    {
        float first = 0, second = 0;
        for (int c = 0; c < n && j <= i; c += 4) {
            float of_a[4], of_b[4], of_y[4];
            hy_tile_read(a + i * ld + c, of_a);
            hy_tile_read((b ? b : a) + i * ld + c, of_b);
            hy_tile_read(y + j * ld + c, of_y);
#pragma unroll
            for (int l = 0; l < 4; l++) {
                first += of_a[l] * of_y[l];
                second += of_b[l] * of_y[l];
            }
        }
        const int e = i * HY_PAIR_LD + j;
        s.pair[e] = s.between[e] * first;
        s.pair[HY_TILE * HY_PAIR_LD + e] = j < i ? s.between[e] * second : 0;
    }
}

/* s.pair: what each row of q, and of k, takes of what the rows up to it write. */
__device__ static inline void hy_scan_pairs(const struct hy_scan_plan &p,
                                            const struct hy_scan_space &s)
{
    if (p.decay != HY_DECAY_CHANNEL) {
        hy_scan_dots(s, s.q, p.delta ? s.k : NULL, s.k, p.kp, p.lk);
        return;
    }
    /* A warp takes column j, a lane every 32nd channel. */
    const int lane = (int)threadIdx.x % 32;
    for (int j = (int)threadIdx.x / 32; j < HY_TILE; j += (int)blockDim.x / 32) {
        float by_q[HY_TILE] = {}, by_k[HY_TILE] = {};
        for (int c = lane; c < p.kp; c += 32) {
            float written = s.k[j * p.lk + c];
#pragma unroll
            for (int i = 0; i < HY_TILE; i++) {
                if (i < j)
                    continue;
                if (i > j)
                    written *= s.step[i * p.lk + c];
                by_q[i] += s.q[i * p.lk + c] * written;
                by_k[i] += s.k[i * p.lk + c] * written;
            }
        }
#pragma unroll
        for (int i = 0; i < HY_TILE; i++) {
            const float of_q = j <= i ? hy_warp_sum(by_q[i]) : 0;
            const float of_k = j < i && p.delta ? hy_warp_sum(by_k[i]) : 0;
            if (lane == 0) {
                s.pair[i * HY_PAIR_LD + j] = of_q;
                s.pair[(HY_TILE + i) * HY_PAIR_LD + j] = of_k;
            }
        }
    }
}

/* after = through * state + write' w. */
template <bool TENSOR>
__device__ static inline void hy_scan_advance(const struct hy_scan_plan &p,
                                              const struct hy_scan_space &s)
{
    hy_tile_mul<TENSOR, true, false>({p.kp, p.width, HY_TILE, s.write, s.w, p.lk, p.lv, s.state,
                                      p.lv, true, p.decay ? s.through : NULL});
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
