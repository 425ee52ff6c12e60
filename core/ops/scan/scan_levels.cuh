/* scan_levels.cuh - the level scan (method: scan_levels.h) on a device.
 *
 * P, read, write and erase of a chunk depend neither on states nor on values. So forward has two
 * kernels: one prepares these matrices of every chunk of every head at once and leaves them in
 * scratch, the other walks the chunks of a head with the states of some columns of the values, a
 * tile, as the scans do. Backward prepares as forward does, walks back, which leaves what each
 * tile's columns contribute to the gradients of those matrices, and then, again for all chunks at
 * once, adds the tiles up and goes back through the matrices to q, k, beta, lambda and the decays.
 *
 * States lie in device memory: where training keeps those that enter each chunk, else in scratch.
 */
#ifndef HY_OPS_SUPPORT_SCAN_LEVELS_CUH
#define HY_OPS_SUPPORT_SCAN_LEVELS_CUH

#include "core/ops/scan/scan.cuh"

extern "C" {
#include "core/ops/scan/levels.h"
}

/* What is fixed for an op. */
struct hy_level_plan {
    struct hy_scan_plan scan;
    int C, lc;          /* rows of a chunk in whole tiles; floats from row to row of a [C, C] */
    int chunks;         /* of a sequence */
    int levels, within; /* levels of lambda; the highest within a chunk */
    int slots;          /* that the last chunk may have */
    int64_t kept;       /* states that training keeps of a head; 0: one of each slot, in scratch */
    int64_t state_rows; /* of one of these */
    struct hy_span lambda;
    struct hy_span states;
    struct hy_span dstates;  /* backward: scratch, of each slot */
    struct hy_span prepared; /* scratch: a row for each chunk of a head, see hy_level_matrices */
    struct hy_span shares; /* backward: scratch: a row for each tile of those, see hy_level_share */
    unsigned blocks;       /* of threads that take chunks */
    int64_t floats;        /* of the work of each */
    struct hy_span work;   /* a row for each of them; no data: shared memory */
};

/* ---- What lies in scratch ---- */

struct hy_level_matrices {
    float *read, *write; /* [C, kp] */
    float *erase;        /* [C, kp] delta */
    float *mixed;        /* [C, C] P * Lambda */
    float *through;      /* [kp] decay of the whole chunk */
};

/* Lays it out; returns how many floats it takes. */
__host__ __device__ static inline int64_t
hy_level_lay_out_matrices(const struct hy_level_plan &l, float *base, struct hy_level_matrices *m)
{
    const int64_t keys = (int64_t)l.C * l.scan.lk;
    struct hy_tile_room row = {base};
    m->read = row.take(keys);
    m->write = row.take(keys);
    m->erase = row.take(l.scan.delta ? keys : 0);
    m->mixed = row.take((int64_t)l.C * l.lc);
    m->through = row.take(l.scan.kp);
    return row.next - base;
}

/* What the columns of a tile contribute. */
struct hy_level_share {
    float *dread, *dwrite; /* [C, kp] */
    float *derase;         /* [C, kp] delta */
    float *dmixed;         /* [C, C] do v' */
    float *dlambda;        /* [slots, C] */
    float *carry;          /* <S, dS> of the states that leave the chunk */
};

__host__ __device__ static inline int64_t
hy_level_lay_out_share(const struct hy_level_plan &l, float *base, struct hy_level_share *s)
{
    const int64_t keys = (int64_t)l.C * l.scan.lk;
    struct hy_tile_room row = {base};
    s->dread = row.take(keys);
    s->dwrite = row.take(keys);
    s->derase = row.take(l.scan.delta ? keys : 0);
    s->dmixed = row.take((int64_t)l.C * l.lc);
    s->dlambda = row.take((int64_t)l.slots * l.C);
    s->carry = row.take(1);
    return row.next - base;
}

/* Of chunk number `index` of all heads; of one of its tiles. */
__device__ static inline struct hy_level_matrices
hy_level_matrices_of(const struct hy_level_plan &l, int64_t index)
{
    struct hy_level_matrices m;
    hy_level_lay_out_matrices(l, hy_row(l.prepared, index), &m);
    return m;
}

__device__ static inline struct hy_level_share hy_level_share_of(const struct hy_level_plan &l,
                                                                 int64_t index, int tile)
{
    struct hy_level_share s;
    hy_level_lay_out_share(l, hy_row(l.shares, index * l.scan.tiles + tile), &s);
    return s;
}

/* ---- Chunks ---- */

/* The live rows of a chunk. */
__device__ static inline struct hy_scan_rows
hy_level_rows(const struct hy_level_plan &l, const struct hy_scan_place &at, int64_t chunk)
{
    const int64_t first = chunk * l.scan.chunk, left = l.scan.tokens - first;
    return {at.sequence * l.scan.tokens + first, (int)min(left, l.scan.chunk)};
}

/* lambda of row i; 0 beyond the live rows. */
__device__ static inline float hy_level_lambda(const struct hy_level_plan &l,
                                               const struct hy_scan_place &at,
                                               struct hy_scan_rows rows, int i, int level)
{
    return i < rows.count ? hy_row(l.lambda, rows.row + i)[at.head * l.levels + level] : 0;
}

/* Lambda_ij. */
__device__ static inline float hy_level_spread(const struct hy_level_plan &l,
                                               const struct hy_scan_place &at,
                                               struct hy_scan_rows rows, int i, int j)
{
    return j > i ? 0 : hy_level_lambda(l, at, rows, i, 32 - __clz(i ^ j));
}

/* The work of a block of threads that takes chunks. Rows beyond the live ones are zero and decay
 * nothing. */
struct hy_level_space {
    float *q, *k;              /* [C, kp], q scaled */
    float *step, *into, *rest; /* [C] decay of each row; from the chunk's entry; to its end */
    float *beta;               /* [C] */
    float *between;            /* [C, C] L */
    float *pair_q;             /* [C, C] q k' * L */
    float *pair;               /* [C, C] P; gated: pair_q */
    float *pair_k, *inverse;   /* [C, C] delta: A, U */
    float *x;                  /* [C, C] delta: X */
    float *dpair, *dx;         /* backward: [C, C]; dx: delta */
    float *rates;              /* backward: [C] */
};

__host__ __device__ static inline int64_t hy_level_lay_out(const struct hy_level_plan &l,
                                                           float *base, struct hy_level_space *s)
{
    const int64_t keys = (int64_t)l.C * l.scan.lk, square = (int64_t)l.C * l.lc;
    struct hy_tile_room work = {base};
    s->q = work.take(keys);
    s->k = work.take(keys);
    s->step = work.take(l.C);
    s->into = work.take(l.C);
    s->rest = work.take(l.C);
    s->beta = work.take(l.C);
    s->between = work.take(square);
    s->pair = s->pair_q = work.take(square);
    if (l.scan.delta) {
        s->pair = work.take(square);
        s->pair_k = work.take(square);
        s->inverse = work.take(square);
        s->x = work.take(square);
    }
    if (l.scan.backward) {
        s->dpair = work.take(square);
        s->dx = work.take(l.scan.delta ? square : 0);
        s->rates = work.take(l.C);
    }
    return work.next - base;
}

__device__ static inline void hy_level_load(const struct hy_level_plan &l,
                                            const struct hy_scan_place &at, int64_t chunk,
                                            const struct hy_level_space &s)
{
    for (int block = 0; block * HY_TILE < l.C; block++) {
        struct hy_scan_space part = {};
        part.q = s.q + block * HY_TILE * l.scan.lk;
        part.k = s.k + block * HY_TILE * l.scan.lk;
        part.step = s.step + block * HY_TILE;
        part.beta = s.beta + block * HY_TILE;
        hy_scan_load_rows(l.scan, at, hy_scan_rows_of(l.scan, at, chunk, block), true, part);
    }
}

/* s.between, a thread by columns. */
__device__ static inline void hy_level_decays(const struct hy_level_plan &l,
                                              const struct hy_level_space &s)
{
    for (int j = (int)threadIdx.x; j < l.C; j += (int)blockDim.x) {
        float decay = 0;
        for (int i = 0; i < l.C; i++) {
            decay = i == j ? 1 : decay * s.step[i];
            s.between[i * l.lc + j] = decay;
        }
    }
}

/* The pairs from their products; delta: s.x takes -beta A. */
__device__ static inline void hy_level_pairs(const struct hy_level_plan &l,
                                             const struct hy_level_space &s)
{
    HY_SCAN_EACH(l.C, l.C, i, j)
    {
        const int e = i * l.lc + j;
        s.pair_q[e] = j <= i ? s.pair_q[e] * s.between[e] : 0;
        if (j == i) {
            s.into[i] = s.step[0] * s.between[i * l.lc];
            s.rest[i] = s.between[(l.C - 1) * l.lc + i];
        }
        if (!l.scan.delta)
            continue;
        s.pair_k[e] = j < i ? s.pair_k[e] * s.between[e] : 0;
        s.x[e] = -s.beta[i] * s.pair_k[e];
    }
}

/* s.inverse = (1 - n)^-1, n = s.x being 0 on and above the diagonal: tiles of rows by products with
 * those above, and within a tile by substitution, a thread taking a column. */
__device__ static inline void hy_level_invert(const struct hy_level_plan &l,
                                              const struct hy_level_space &s)
{
    for (int row = 0; row < l.C; row += HY_TILE) {
        const float *n = s.x + row * l.lc;
        float *to = s.inverse + row * l.lc;
        if (row)
            hy_tile_mul<false, false, false>(
                {HY_TILE, row, row, n, s.inverse, l.lc, l.lc, to, l.lc, false, NULL});
        __syncthreads();
        for (int c = (int)threadIdx.x; c < l.C; c += (int)blockDim.x) {
            float y[HY_TILE];
#pragma unroll
            for (int i = 0; i < HY_TILE; i++)
                y[i] = c < row ? to[i * l.lc + c] : c == row + i;
#pragma unroll
            for (int j = 0; j < HY_TILE; j++) {
                to[j * l.lc + c] = y[j];
#pragma unroll
                for (int i = j + 1; i < HY_TILE; i++)
                    y[i] += n[i * l.lc + row + j] * y[j];
            }
        }
        __syncthreads();
    }
}

/* What a chunk is before any state or value comes in: all of s but what is backward's. */
template <bool TENSOR>
__device__ static void hy_level_prepare(const struct hy_level_plan &l,
                                        const struct hy_scan_place &at, int64_t chunk,
                                        const struct hy_level_space &s)
{
    const int C = l.C, lc = l.lc, kp = l.scan.kp, lk = l.scan.lk;
    hy_level_load(l, at, chunk, s);
    __syncthreads();
    hy_level_decays(l, s);
    hy_tile_mul<TENSOR, false, true>({C, C, kp, s.q, s.k, lk, lk, s.pair_q, lc, false, NULL});
    if (l.scan.delta)
        hy_tile_mul<TENSOR, false, true>({C, C, kp, s.k, s.k, lk, lk, s.pair_k, lc, false, NULL});
    __syncthreads();
    hy_level_pairs(l, s);
    __syncthreads();
    if (!l.scan.delta)
        return;
    hy_level_invert(l, s);
    HY_SCAN_EACH(C, C, i, j)
    s.x[i * lc + j] = s.inverse[i * lc + j] * s.beta[j];
    __syncthreads();
    hy_tile_mul<false, false, false>({C, C, C, s.pair_q, s.x, lc, lc, s.pair, lc, false, NULL});
    __syncthreads();
}

/* ---- Walks ---- */

/* How slots merge after a chunk: the lowest bit of the next one's number. */
__device__ static inline int hy_level_merge(int chunk)
{
    return __ffs(chunk + 1) - 1;
}

/* The next chunk, whose states are made; 0: there is none. */
__device__ static inline int hy_level_next(const struct hy_level_plan &l, int chunk)
{
    return chunk + 1 < l.chunks ? chunk + 1 : 0;
}

/* The first row of the state of a slot that enters a chunk; before: hy_level_kept() of the chunk,
 * which grows by the bits of each. */
__device__ static inline int64_t hy_level_state_row(const struct hy_level_plan &l,
                                                    const struct hy_scan_place &at, int64_t before,
                                                    int chunk, int slot)
{
    const int64_t head = at.sequence * l.scan.heads + at.head;
    const int below = __popc((unsigned)chunk & ((1u << slot) - 1));
    return (l.kept ? head * l.kept + before + below : head * l.slots + slot) * l.state_rows;
}

/* Of the gradient of a slot's state. */
__device__ static inline int64_t hy_level_dstate_row(const struct hy_level_plan &l,
                                                     const struct hy_scan_place &at, int slot)
{
    return ((at.sequence * l.scan.heads + at.head) * l.slots + slot) * l.scan.k;
}

/* A chunk's rows of a tensor of values. */
__device__ static inline void hy_level_load_values(const struct hy_level_plan &l,
                                                   const struct hy_scan_place &at,
                                                   const struct hy_span &t, int64_t chunk,
                                                   float *to)
{
    for (int block = 0; block * HY_TILE < l.C; block++)
        hy_scan_load_values(l.scan, at, t, hy_scan_rows_of(l.scan, at, chunk, block),
                            to + block * HY_TILE * l.scan.lv);
}

/* total = [first: 0, else total] + state. */
__device__ static inline void hy_level_add_state(const struct hy_level_plan &l, bool first,
                                                 const float *state, float *total)
{
    HY_SCAN_EACH(l.scan.kp, l.scan.width, i, c)
    {
        const int e = i * l.scan.lv + c;
        total[e] = (first ? 0 : total[e]) + state[e];
    }
}

/* state = F state. */
__device__ static inline void hy_level_decay_state(const struct hy_level_plan &l,
                                                   const struct hy_level_matrices &m, float *state)
{
    HY_SCAN_EACH(l.scan.kp, l.scan.width, i, c)
    state[i * l.scan.lv + c] *= m.through[i];
}

/* ---- On the host ---- */

/* A plan for the device of the graph; scratch from float *used on. floats: of the work of a block
 * of threads that walks. */
struct hy_level_plan hy_level_plan_on_device(const struct hy_op *op,
                                             int64_t (*floats)(const struct hy_scan_plan *p),
                                             int64_t *used);
/* Launches a kernel whose blocks of threads take chunks. */
template <typename... P, typename... A>
static inline void hy_level_start(const struct hy_launch *at, const struct hy_level_plan &l,
                                  void (*kernel)(P...), A... args)
{
    const size_t bytes = l.work.data ? 0 : (size_t)l.floats * sizeof(float);
    hy_start_large(at, dim3(l.blocks, 1, (unsigned)at->replicas), dim3(HY_TILE_THREADS), bytes,
                   kernel, args...);
}
/* Prepares all chunks. */
void hy_level_launch_prepare(const struct hy_op *op, const struct hy_launch *at,
                             const struct hy_level_plan &l);

/* The passes over whole sequences. */
void hy_level_launch_forward(const struct hy_op *op, const struct hy_launch *at);
void hy_level_launch_backward(const struct hy_op *op, const struct hy_launch *at);
int64_t hy_level_forward_floats(const struct hy_op *op);
int64_t hy_level_backward_floats(const struct hy_op *op);

#endif
