#include "core/ops/scan/scan_levels.cuh"

/* The work of a block of threads. */
struct space {
    float *state, *total;  /* [kp, width]; total: of the slots that merge */
    float *v, *o;          /* [C, width] */
    float *seen, *written; /* [C, width] what is read of a state; delta: written to it */
};

__host__ __device__ static int64_t lay_out(const struct hy_scan_plan &p, float *base,
                                           struct space *s)
{
    const int64_t values = p.blocks * HY_TILE * p.lv, state = (int64_t)p.kp * p.lv;
    struct hy_tile_room work = {base};
    s->state = work.take(state);
    s->total = work.take(state);
    s->v = work.take(values);
    s->o = work.take(values);
    s->seen = work.take(values);
    s->written = work.take(p.delta ? values : 0);
    return work.next - base;
}

static int64_t floats_of(const struct hy_scan_plan *p)
{
    static float origin[1];
    struct space s;
    return lay_out(*p, origin, &s);
}

/* o += lambda * (read S). */
__device__ static void add_seen(const struct hy_level_plan &l, const struct hy_scan_place &at,
                                const struct space &s, struct hy_scan_rows rows, int slot)
{
    HY_SCAN_EACH(l.C, l.scan.width, i, c)
    {
        const int e = i * l.scan.lv + c;
        s.o[e] += hy_level_lambda(l, at, rows, i, l.within + 1 + slot) * s.seen[e];
    }
}

/* What the chunk reads of a slot; where it goes on, state <- F state + write' (erase state); gated:
 * F state. */
template <bool TENSOR>
__device__ static void read_slot(const struct hy_level_plan &l, const struct hy_scan_place &at,
                                 const struct space &s, const struct hy_level_matrices &m,
                                 struct hy_scan_rows rows, int slot, bool goes_on)
{
    const struct hy_scan_plan &p = l.scan;
    hy_tile_mul<TENSOR, false, false>(
        {l.C, p.width, p.kp, m.read, s.state, p.lk, p.lv, s.seen, p.lv, false, NULL});
    if (goes_on && p.delta)
        hy_tile_mul<TENSOR, false, false>(
            {l.C, p.width, p.kp, m.erase, s.state, p.lk, p.lv, s.written, p.lv, false, NULL});
    __syncthreads();
    add_seen(l, at, s, rows, slot);
    if (!goes_on)
        return;
    if (p.delta)
        hy_tile_mul<TENSOR, true, false>(
            {p.kp, p.width, l.C, m.write, s.written, p.lk, p.lv, s.state, p.lv, true, m.through});
    else
        hy_level_decay_state(l, m, s.state);
    __syncthreads();
}

/* total <- F total + write' (v + erase total), without what has total where nothing merges; v is
 * done with. */
template <bool TENSOR>
__device__ static void advance_merged(const struct hy_level_plan &l, const struct space &s,
                                      const struct hy_level_matrices &m, bool merges)
{
    const struct hy_scan_plan &p = l.scan;
    if (p.delta && merges)
        hy_tile_mul<TENSOR, false, false>(
            {l.C, p.width, p.kp, m.erase, s.total, p.lk, p.lv, s.v, p.lv, true, NULL});
    __syncthreads();
    hy_tile_mul<TENSOR, true, false>(
        {p.kp, p.width, l.C, m.write, s.v, p.lk, p.lv, s.total, p.lv, merges, m.through});
}

/* before: states of the chunks before. */
template <bool TENSOR>
__device__ static void forward_chunk(const struct hy_level_plan &l, const struct hy_scan_place &at,
                                     const struct space &s, const struct hy_level_matrices &m,
                                     int chunk, int64_t before)
{
    const struct hy_scan_plan &p = l.scan;
    const struct hy_scan_rows rows = hy_level_rows(l, at, chunk);
    const int next = hy_level_next(l, chunk), merge = hy_level_merge(chunk);
    const int64_t after = before + __popc((unsigned)chunk);
    hy_level_load_values(l, at, p.in[HY_SCAN_V], chunk, s.v);
    __syncthreads();
    hy_tile_mul<TENSOR, false, false>(
        {l.C, p.width, l.C, m.mixed, s.v, l.lc, p.lv, s.o, p.lv, false, NULL});
    for (int slot = 0; chunk >> slot; slot++) {
        const bool merges = next && slot < merge, goes_on = next && !merges;
        if (!(chunk >> slot & 1))
            continue;
        hy_scan_load_state(p, at, l.states, hy_level_state_row(l, at, before, chunk, slot),
                           s.state);
        __syncthreads();
        read_slot<TENSOR>(l, at, s, m, rows, slot, goes_on);
        if (merges)
            hy_level_add_state(l, slot == 0, s.state, s.total);
        if (goes_on)
            hy_scan_store_state(p, at, l.states, hy_level_state_row(l, at, after, next, slot),
                                s.state);
    }
    __syncthreads();
    if (next) {
        advance_merged<TENSOR>(l, s, m, merge > 0);
        __syncthreads();
        hy_scan_store_state(p, at, l.states, hy_level_state_row(l, at, after, next, merge),
                            s.total);
    }
    const int64_t first = at.head * p.v + at.column;
    HY_SCAN_EACH(rows.count, p.width, i, c)
    if (c < at.columns)
        hy_row(p.out[HY_SCAN_O], rows.row + i)[first + c] = s.o[i * p.lv + c];
    __syncthreads();
}

template <bool TENSOR, bool WIDE>
__global__ static void __launch_bounds__(HY_TILE_THREADS, 2) forward(struct hy_level_plan l)
{
    HY_SHARED(float, shared);
    const hy_scan_place at(l.scan, blockIdx.x);
    const int64_t first = (at.sequence * l.scan.heads + at.head) * l.chunks;
    struct space s = {};
    lay_out(l.scan, WIDE ? hy_row(l.scan.work, blockIdx.x) : shared, &s);
    int64_t before = 0;
    for (int chunk = 0; chunk < l.chunks; chunk++) {
        forward_chunk<TENSOR>(l, at, s, hy_level_matrices_of(l, first + chunk), chunk, before);
        before += __popc((unsigned)chunk);
    }
}

void hy_level_launch_forward(const struct hy_op *op, const struct hy_launch *at)
{
    int64_t used = 0;
    const struct hy_level_plan l = hy_level_plan_on_device(op, floats_of, &used);
    const bool wide = l.scan.work.data != NULL;
    hy_level_launch_prepare(op, at, l);
    hy_start_large(at, hy_scan_grid(l.scan, at), dim3(HY_TILE_THREADS), hy_scan_shared(l.scan),
                   hy_scan_on_tensor_cores(op) ? wide ? forward<true, true> : forward<true, false>
                   : wide ? forward<false, true>
                                               : forward<false, false>,
                   l);
}

int64_t hy_level_forward_floats(const struct hy_op *op)
{
    int64_t used = 0;
    hy_level_plan_on_device(op, floats_of, &used);
    return used;
}
