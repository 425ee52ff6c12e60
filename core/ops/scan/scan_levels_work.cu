/* scan_levels_work.cu - how the level scan is shared out over a device, and the matrices of its
 * chunks. */
#include "core/ops/scan/scan_levels.cuh"

/* Blocks of threads that take chunks where each of them needs work in scratch. */
static const int64_t wide_blocks = 256;

/* Where states and their gradients lie. */
static void take_states(const struct hy_op *op, struct hy_level_plan *l, int64_t *used)
{
    const struct hy_scan_plan *p = &l->scan;
    const int64_t heads = p->batch * p->heads, rows = heads * l->slots * p->k;
    l->states = p->out[HY_SCAN_STATES];
    l->state_rows = p->k;
    if (op->out[HY_SCAN_STATES]) {
        l->kept = hy_level_kept(l->chunks);
        l->state_rows = op->out[HY_SCAN_STATES]->rows / (heads * l->kept);
    } else {
        l->states = hy_scan_take_rows(op, rows, p->v, used);
    }
    if (p->backward)
        l->dstates = hy_scan_take_rows(op, rows, p->v, used);
}

struct hy_level_plan hy_level_plan_on_device(const struct hy_op *op,
                                             int64_t (*floats)(const struct hy_scan_plan *p),
                                             int64_t *used)
{
    static float origin[1];
    struct hy_level_space space;
    struct hy_level_matrices matrices;
    struct hy_level_share share;
    struct hy_level_plan l = {};
    l.scan = hy_scan_plan_begin(op);
    hy_scan_share_out(op, &l.scan, floats, used);
    const int64_t all = l.scan.batch * l.scan.heads * l.scan.chunks;
    l.C = (int)l.scan.blocks * HY_TILE;
    l.lc = hy_tile_ld(l.C);
    l.chunks = (int)l.scan.chunks;
    l.levels = ((const struct hy_level_scan *)op->attr)->levels;
    l.within = hy_bits_of(l.scan.chunk) - 1;
    l.slots = hy_bits_of(l.scan.chunks - 1);
    l.lambda = hy_span_of(op->in[HY_LEVEL_LAMBDA]);
    take_states(op, &l, used);
    l.prepared = hy_scan_take_rows(op, all, hy_level_lay_out_matrices(l, origin, &matrices), used);
    if (l.scan.backward)
        l.shares = hy_scan_take_rows(op, all * l.scan.tiles,
                                     hy_level_lay_out_share(l, origin, &share), used);
    l.floats = hy_level_lay_out(l, origin, &space);
    l.blocks = (unsigned)all;
    if (!hy_scan_fits(op, l.floats)) {
        l.blocks = (unsigned)(all < wide_blocks ? all : wide_blocks);
        l.work = hy_scan_take_rows(op, l.blocks, l.floats, used);
    }
    return l;
}

/* ---- The matrices of a chunk ---- */

/* m from s; q is done with. */
template <bool TENSOR>
__device__ static void give_matrices(const struct hy_level_plan &l, const struct hy_scan_place &at,
                                     struct hy_scan_rows rows, const struct hy_level_space &s,
                                     const struct hy_level_matrices &m)
{
    const int C = l.C, lc = l.lc, kp = l.scan.kp, lk = l.scan.lk;
    float *rested = l.scan.delta ? s.q : m.write;
    HY_SCAN_EACH(C, kp, i, c)
    {
        const int e = i * lk + c;
        m.read[e] = s.into[i] * s.q[e];
        rested[e] = s.rest[i] * s.k[e];
        if (l.scan.delta)
            m.erase[e] = -s.into[i] * s.k[e];
        if (i == C - 1)
            m.through[c] = s.into[i];
    }
    HY_SCAN_EACH(C, C, i, j)
    m.mixed[i * lc + j] = s.pair[i * lc + j] * hy_level_spread(l, at, rows, i, j);
    if (!l.scan.delta)
        return;
    __syncthreads();
    hy_tile_mul<TENSOR, false, false>({C, kp, C, s.pair, m.erase, lc, lk, m.read, lk, true, NULL});
    hy_tile_mul<TENSOR, true, false>({C, kp, C, s.x, rested, lc, lk, m.write, lk, false, NULL});
}

template <bool TENSOR, bool WIDE>
__global__ static void __launch_bounds__(HY_TILE_THREADS, 2) prepare(struct hy_level_plan l)
{
    HY_SHARED(float, shared);
    struct hy_level_space s = {};
    hy_level_lay_out(l, WIDE ? hy_row(l.work, blockIdx.x) : shared, &s);
    for (int64_t index = blockIdx.x; index < l.prepared.rows; index += gridDim.x) {
        const hy_scan_place at(l.scan, (unsigned)(index / l.chunks * l.scan.tiles));
        const int64_t chunk = index % l.chunks;
        hy_level_prepare<TENSOR>(l, at, chunk, s);
        give_matrices<TENSOR>(l, at, hy_level_rows(l, at, chunk), s,
                              hy_level_matrices_of(l, index));
        __syncthreads();
    }
}

void hy_level_launch_prepare(const struct hy_op *op, const struct hy_launch *at,
                             const struct hy_level_plan &l)
{
    const bool wide = l.work.data != NULL;
    hy_level_start(at, l,
                   hy_scan_on_tensor_cores(op) ? wide ? prepare<true, true> : prepare<true, false>
                   : wide ? prepare<false, true>
                                               : prepare<false, false>,
                   l);
}
