#include "core/ops/scan/scan_levels.cuh"

/* What backward has beside the plan. dq, dk, ddecay: the gradients themselves, or shares of them.
 */
struct gradients {
    struct hy_span d_o, dv, dq, dk, dbeta, ddecay, dlambda;
};

/* ---- The walk back ---- */

/* The work of a block of threads. */
struct space {
    float *state, *total, *dstate; /* [kp, width]; total: of the slots that merge */
    float *v, *d_o, *dv;           /* [C, width] */
    float *scaled;                 /* [C, width] lambda * do */
    float *recalled, *written;     /* [C, width] write dS; delta: what is written to a state */
    float *seen;                   /* [C, kp] do S' */
    float *sums;                   /* of each warp */
};

__host__ __device__ static int64_t lay_out(const struct hy_scan_plan &p, float *base,
                                           struct space *s)
{
    const int64_t values = p.blocks * HY_TILE * p.lv, state = (int64_t)p.kp * p.lv;
    struct hy_tile_room work = {base};
    s->state = work.take(state);
    s->total = work.take(state);
    s->dstate = work.take(state);
    s->v = work.take(values);
    s->d_o = work.take(values);
    s->dv = work.take(values);
    s->scaled = work.take(values);
    s->recalled = work.take(values);
    s->written = work.take(p.delta ? values : 0);
    s->seen = work.take(p.blocks * HY_TILE * p.lk);
    s->sums = work.take(HY_TILE_THREADS / 32);
    return work.next - base;
}

static int64_t floats_of(const struct hy_scan_plan *p)
{
    static float origin[1];
    struct space s;
    return lay_out(*p, origin, &s);
}

/* A chunk of a walk. */
struct step {
    int chunk, next, merge;
    int64_t before, after; /* states of the chunks before; of these and of the chunk itself */
    struct hy_scan_rows rows;
    struct hy_level_matrices m;
    struct hy_level_share share;
};

/* carry = <S, dS> of all states that leave the chunk. */
__device__ static void give_carry(const struct hy_level_plan &l, const struct hy_scan_place &at,
                                  const struct space &s, const struct step &c)
{
    const struct hy_scan_plan &p = l.scan;
    float sum = 0;
    for (int slot = 0; c.next >> slot; slot++) {
        if (!(c.next >> slot & 1))
            continue;
        const int64_t state = hy_level_state_row(l, at, c.after, c.next, slot);
        const int64_t dstate = hy_level_dstate_row(l, at, slot);
        HY_SCAN_EACH(p.k, at.columns, i, v)
        sum += hy_row(l.states, state + i)[at.column + v] *
               hy_row(l.dstates, dstate + i)[at.column + v];
    }
    sum = hy_warp_sum(sum);
    if (threadIdx.x % 32 == 0)
        s.sums[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x > 0)
        return;
    for (int warp = 1; warp < HY_TILE_THREADS / 32; warp++)
        sum += s.sums[warp];
    *c.share.carry = sum;
}

/* Starts the sums over slots. */
__device__ static void clear_share(const struct hy_level_plan &l, const struct step &c)
{
    HY_SCAN_EACH(l.C, l.scan.kp, i, k)
    {
        const int e = i * l.scan.lk + k;
        c.share.dread[e] = c.share.dwrite[e] = 0;
        if (l.scan.delta)
            c.share.derase[e] = 0;
    }
}

/* s.scaled, for a slot. */
__device__ static void scale_values(const struct hy_level_plan &l, const struct hy_scan_place &at,
                                    const struct space &s, const struct step &c, int slot)
{
    HY_SCAN_EACH(l.C, l.scan.width, i, v)
    {
        const int e = i * l.scan.lv + v;
        s.scaled[e] = hy_level_lambda(l, at, c.rows, i, l.within + 1 + slot) * s.d_o[e];
    }
}

/* From s.seen of a slot: dlambda, and its share of dread. */
__device__ static void give_seen(const struct hy_level_plan &l, const struct hy_scan_place &at,
                                 const struct space &s, const struct step &c, int slot)
{
    const int lane = (int)threadIdx.x % 32;
    for (int i = (int)threadIdx.x / 32; i < l.C; i += (int)blockDim.x / 32) {
        const float lambda = hy_level_lambda(l, at, c.rows, i, l.within + 1 + slot);
        float sum = 0;
        for (int k = lane; k < l.scan.kp; k += 32) {
            const int e = i * l.scan.lk + k;
            sum += c.m.read[e] * s.seen[e];
            c.share.dread[e] += lambda * s.seen[e];
        }
        sum = hy_warp_sum(sum);
        if (lane == 0)
            c.share.dlambda[slot * l.C + i] = sum;
    }
}

/* What a state that leaves has of the one that it came from. */
struct origin {
    const float *source; /* [kp, width] */
    float *written;      /* [C, width] what was written to it; own: holds v */
    bool own, came;      /* does it take what the chunk writes; is there a source? */
};

/* s.recalled and o.written, where wanted; a barrier is due after it. */
template <bool TENSOR>
__device__ static void recall(const struct hy_level_plan &l, const struct space &s,
                              const struct step &c, const struct origin &o)
{
    const struct hy_scan_plan &p = l.scan;
    if (p.delta && o.came)
        hy_tile_mul<TENSOR, false, false>(
            {l.C, p.width, p.kp, c.m.erase, o.source, p.lk, p.lv, o.written, p.lv, o.own, NULL});
    if (p.delta || o.own)
        hy_tile_mul<TENSOR, false, false>(
            {l.C, p.width, p.kp, c.m.write, s.dstate, p.lk, p.lv, s.recalled, p.lv, false, NULL});
}

/* dwrite and derase; s.dstate, the gradient of a state that leaves, becomes that of its source, but
 * for what the chunk itself reads of it. */
template <bool TENSOR>
__device__ static void advance_back(const struct hy_level_plan &l, const struct space &s,
                                    const struct step &c, const struct origin &o)
{
    const struct hy_scan_plan &p = l.scan;
    if (p.delta || o.own)
        hy_tile_mul<TENSOR, false, true>({l.C, p.kp, p.width, o.written, s.dstate, p.lv, p.lv,
                                          c.share.dwrite, p.lk, true, NULL});
    if (p.delta && o.came)
        hy_tile_mul<TENSOR, false, true>({l.C, p.kp, p.width, s.recalled, o.source, p.lv, p.lv,
                                          c.share.derase, p.lk, true, NULL});
    __syncthreads();
    if (p.delta && o.came)
        hy_tile_mul<TENSOR, true, false>({p.kp, p.width, l.C, c.m.erase, s.recalled, p.lk, p.lv,
                                          s.dstate, p.lv, true, c.m.through});
    else
        hy_level_decay_state(l, c.m, s.dstate);
    __syncthreads();
}

/* to [c.next: += , else =] what the chunk reads of a slot, whose gradient it is then. */
template <bool TENSOR>
__device__ static void give_dstate(const struct hy_level_plan &l, const struct hy_scan_place &at,
                                   const struct space &s, const struct step &c, int slot, float *to)
{
    const struct hy_scan_plan &p = l.scan;
    hy_tile_mul<TENSOR, true, false>(
        {p.kp, p.width, l.C, c.m.read, s.scaled, p.lk, p.lv, to, p.lv, c.next != 0, NULL});
    __syncthreads();
    hy_scan_store_state(p, at, l.dstates, hy_level_dstate_row(l, at, slot), to);
}

/* A slot of the chunk; where it merges, s.total gains its state. */
template <bool TENSOR>
__device__ static void slot_back(const struct hy_level_plan &l, const struct hy_scan_place &at,
                                 const struct space &s, const struct step &c, int slot)
{
    const struct hy_scan_plan &p = l.scan;
    const struct origin o = {s.state, s.written, false, true};
    const bool merges = c.next && slot < c.merge, goes_on = c.next && !merges;
    hy_scan_load_state(p, at, l.states, hy_level_state_row(l, at, c.before, c.chunk, slot),
                       s.state);
    if (goes_on)
        hy_scan_load_state(p, at, l.dstates, hy_level_dstate_row(l, at, slot), s.dstate);
    __syncthreads();
    scale_values(l, at, s, c, slot);
    hy_tile_mul<TENSOR, false, true>(
        {l.C, p.kp, p.width, s.d_o, s.state, p.lv, p.lv, s.seen, p.lk, false, NULL});
    if (goes_on)
        recall<TENSOR>(l, s, c, o);
    __syncthreads();
    give_seen(l, at, s, c, slot);
    if (merges) {
        hy_level_add_state(l, slot == 0, s.state, s.total);
        return;
    }
    if (goes_on)
        advance_back<TENSOR>(l, s, c, o);
    give_dstate<TENSOR>(l, at, s, c, slot, s.dstate);
}

/* The slots that merge after the chunk, and what it writes of its own: v is done with. */
template <bool TENSOR>
__device__ static void merge_back(const struct hy_level_plan &l, const struct hy_scan_place &at,
                                  const struct space &s, const struct step &c)
{
    const struct hy_scan_plan &p = l.scan;
    const struct origin o = {s.total, s.v, true, c.merge > 0};
    hy_scan_load_state(p, at, l.dstates, hy_level_dstate_row(l, at, c.merge), s.dstate);
    __syncthreads();
    recall<TENSOR>(l, s, c, o);
    __syncthreads();
    advance_back<TENSOR>(l, s, c, o);
    HY_SCAN_EACH(l.C, p.width, i, v)
    s.dv[i * p.lv + v] += s.recalled[i * p.lv + v];
    for (int slot = 0; slot < c.merge; slot++) {
        scale_values(l, at, s, c, slot);
        hy_level_add_state(l, true, s.dstate, s.state);
        __syncthreads();
        give_dstate<TENSOR>(l, at, s, c, slot, s.state);
    }
}

template <bool TENSOR>
__device__ static void walk_chunk(const struct hy_level_plan &l, const struct hy_scan_place &at,
                                  const struct space &s, const struct step &c,
                                  const struct gradients &d)
{
    const struct hy_scan_plan &p = l.scan;
    if (d.ddecay.data)
        give_carry(l, at, s, c);
    clear_share(l, c);
    hy_level_load_values(l, at, p.in[HY_SCAN_V], c.chunk, s.v);
    hy_level_load_values(l, at, d.d_o, c.chunk, s.d_o);
    __syncthreads();
    hy_tile_mul<TENSOR, false, true>(
        {l.C, l.C, p.width, s.d_o, s.v, p.lv, p.lv, c.share.dmixed, l.lc, false, NULL});
    hy_tile_mul<TENSOR, true, false>(
        {l.C, p.width, l.C, c.m.mixed, s.d_o, l.lc, p.lv, s.dv, p.lv, false, NULL});
    for (int slot = 0; c.chunk >> slot; slot++)
        if (c.chunk >> slot & 1)
            slot_back<TENSOR>(l, at, s, c, slot);
    __syncthreads();
    if (c.next)
        merge_back<TENSOR>(l, at, s, c);
    const int64_t first = at.head * p.v + at.column;
    HY_SCAN_EACH(c.rows.count, p.width, i, v)
    if (v < at.columns)
        hy_give<1>(d.dv, c.rows.row + i, first + v, {{s.dv[i * p.lv + v]}});
    __syncthreads();
}

template <bool TENSOR, bool WIDE>
__global__ static void __launch_bounds__(HY_TILE_THREADS, 2)
    walk(struct hy_level_plan l, struct gradients d)
{
    HY_SHARED(float, shared);
    const hy_scan_place at(l.scan, blockIdx.x);
    const int64_t first = (at.sequence * l.scan.heads + at.head) * l.chunks;
    struct space s = {};
    struct step c = {};
    lay_out(l.scan, WIDE ? hy_row(l.scan.work, blockIdx.x) : shared, &s);
    c.before = l.kept;
    for (c.chunk = l.chunks - 1; c.chunk >= 0; c.chunk--) {
        c.next = hy_level_next(l, c.chunk);
        c.merge = hy_level_merge(c.chunk);
        c.after = c.before;
        c.before -= __popc((unsigned)c.chunk);
        c.rows = hy_level_rows(l, at, c.chunk);
        c.m = hy_level_matrices_of(l, first + c.chunk);
        c.share = hy_level_share_of(l, first + c.chunk, at.tile);
        walk_chunk<TENSOR>(l, at, s, c, d);
    }
}

/* ---- Back through a chunk's matrices ---- */

/* Share 0 of a chunk gains those of all other tiles. */
__device__ static void add_tiles(const struct hy_level_plan &l, int64_t index)
{
    float *sum = hy_row(l.shares, index * l.scan.tiles);
    for (int64_t e = threadIdx.x; e < l.shares.cols && l.scan.tiles > 1; e += blockDim.x)
        for (int tile = 1; tile < l.scan.tiles; tile++)
            sum[e] += hy_row(l.shares, index * l.scan.tiles + tile)[e];
}

/* dlambda of row i: of a level within the chunk, or of a slot. */
__device__ static float dlambda_of(const struct hy_level_plan &l, const struct hy_level_space &s,
                                   const struct hy_level_share &sum, int64_t chunk, int i,
                                   int level)
{
    const int slot = level - l.within - 1;
    if (slot >= 0)
        return slot < l.slots && chunk >> slot & 1 ? sum.dlambda[slot * l.C + i] : 0;
    const int half = level ? 1 << (level - 1) : 0, first = level ? i >> level << level : i;
    const int end = level == 0 ? i + 1 : i & half ? first + half : first;
    float total = 0;
    for (int j = first; j < end; j++)
        total += sum.dmixed[i * l.lc + j] * s.pair[i * l.lc + j];
    return total;
}

/* dlambda; s.dpair, the gradient of P so far. */
__device__ static void give_lambda(const struct hy_level_plan &l, const struct hy_scan_place &at,
                                   int64_t chunk, const struct hy_level_space &s,
                                   const struct hy_level_share &sum, const struct gradients &d)
{
    const struct hy_scan_rows rows = hy_level_rows(l, at, chunk);
    if (d.dlambda.data)
        HY_SCAN_EACH(rows.count, l.levels, i, level)
    hy_give<1>(d.dlambda, rows.row + i, at.head * l.levels + level,
               {{dlambda_of(l, s, sum, chunk, i, level)}});
    HY_SCAN_EACH(l.C, l.C, i, j)
    s.dpair[i * l.lc + j] = hy_level_spread(l, at, rows, i, j) * sum.dmixed[i * l.lc + j];
}

/* dbeta_i = <Z_i, (1 - A X)_i>; s.dpair holds Z, s.dx A X. */
__device__ static void give_beta(const struct hy_level_plan &l, const struct hy_scan_place &at,
                                 struct hy_scan_rows rows, const struct hy_level_space &s,
                                 const struct gradients &d)
{
    const int lane = (int)threadIdx.x % 32;
    for (int i = (int)threadIdx.x / 32; i < rows.count; i += (int)blockDim.x / 32) {
        float sum = 0;
        for (int j = lane; j <= i; j += 32)
            sum += s.dpair[i * l.lc + j] * ((j == i) - s.dx[i * l.lc + j]);
        sum = hy_warp_sum(sum);
        if (lane == 0)
            hy_give<1>(d.dbeta, rows.row + i, at.head, {{sum}});
    }
}

/* What goes back through P, read, write and erase to the pairs and the keys. Nothing above the
 * diagonal of dpair_q and dpair_k is of use. */
struct passed {
    float *dpair_q, *dpair_k; /* [C, C]; dpair_k: delta */
    float *dread, *drested;   /* [C, kp] */
    float *erase, *derase;    /* [C, kp] delta */
};

/* For the delta rule. What is done with takes what comes next: P dpair_q, dpair Z, dx A X, U
 * dpair_k, and read drested. */
template <bool TENSOR>
__device__ static struct passed
pass_delta(const struct hy_level_plan &l, const struct hy_scan_place &at, struct hy_scan_rows rows,
           const struct hy_level_space &s, const struct hy_level_matrices &m,
           const struct hy_level_share &sum, const struct gradients &d)
{
    const int C = l.C, lc = l.lc, kp = l.scan.kp, lk = l.scan.lk;
    hy_tile_mul<TENSOR, false, true>(
        {C, C, kp, sum.dread, m.erase, lk, lk, s.dpair, lc, true, NULL});
    hy_tile_mul<TENSOR, true, false>(
        {C, kp, C, s.pair, sum.dread, lc, lk, sum.derase, lk, true, NULL});
    hy_tile_mul<TENSOR, false, false>({C, kp, C, s.x, sum.dwrite, lc, lk, m.read, lk, false, NULL});
    hy_tile_mul<TENSOR, false, true>({C, C, kp, s.k, sum.dwrite, lk, lk, s.dx, lc, false, NULL});
    __syncthreads();
    hy_tile_mul<false, false, true>({C, C, C, s.dpair, s.x, lc, lc, s.pair, lc, false, NULL});
    hy_tile_mul<false, true, false>({C, C, C, s.pair_q, s.dpair, lc, lc, s.dx, lc, true, s.rest});
    __syncthreads();
    hy_tile_mul<false, true, false>({C, C, C, s.inverse, s.dx, lc, lc, s.dpair, lc, false, NULL});
    __syncthreads();
    hy_tile_mul<false, false, false>({C, C, C, s.pair_k, s.x, lc, lc, s.dx, lc, false, NULL});
    hy_tile_mul<false, false, true>({C, C, C, s.dpair, s.x, lc, lc, s.inverse, lc, false, NULL});
    __syncthreads();
    give_beta(l, at, rows, s, d);
    HY_SCAN_EACH(C, C, i, j)
    s.inverse[i * lc + j] = j < i ? -s.beta[i] * s.inverse[i * lc + j] : 0;
    return {s.pair, s.inverse, sum.dread, m.read, m.erase, sum.derase};
}

/* The lane's part of row i of d * pair less its column i. */
__device__ static inline float rate_of(const float *d, const float *pair, int ld, int size, int i)
{
    float sum = 0;
    for (int j = (int)threadIdx.x % 32; j < size; j += 32) {
        sum += j <= i ? d[i * ld + j] * pair[i * ld + j] : 0;
        sum -= j >= i ? d[j * ld + i] * pair[j * ld + i] : 0;
    }
    return sum;
}

/* s.rates: what a row takes from the loss by its decay as reader, less what it does as writer. */
__device__ static void find_rates(const struct hy_level_plan &l, const struct hy_level_space &s,
                                  const struct passed &d)
{
    const int lane = (int)threadIdx.x % 32;
    for (int i = (int)threadIdx.x / 32; i < l.C; i += (int)blockDim.x / 32) {
        float sum = rate_of(d.dpair_q, s.pair_q, l.lc, l.C, i);
        if (l.scan.delta)
            sum += rate_of(d.dpair_k, s.pair_k, l.lc, l.C, i);
        for (int c = lane; c < l.scan.kp; c += 32) {
            const int e = i * l.scan.lk + c;
            sum += s.into[i] * s.q[e] * d.dread[e] - s.rest[i] * s.k[e] * d.drested[e];
            if (l.scan.delta)
                sum += d.erase[e] * d.derase[e];
        }
        sum = hy_warp_sum(sum);
        if (lane == 0)
            s.rates[i] = sum;
    }
}

/* A gradient of a row's log decay is the carry and all rates from there to the chunk's end. */
__device__ static void give_decays(const struct hy_level_plan &l, const struct hy_scan_place &at,
                                   int64_t chunk, const struct hy_level_space &s, float carry,
                                   const struct gradients &d)
{
    const struct hy_scan_rows rows = hy_level_rows(l, at, chunk);
    double constant = 0;
    if (threadIdx.x > 0)
        return;
    for (int i = rows.count - 1; i >= 0; i--) {
        carry += s.rates[i];
        constant += carry;
        if (l.scan.decay == HY_DECAY_HEAD)
            hy_give<1>(d.ddecay, rows.row + i, at.head, {{carry}});
    }
    if (l.scan.decay == HY_DECAY_CONSTANT)
        hy_row(d.ddecay, chunk * l.scan.batch + at.sequence)[at.head] = (float)constant;
}

/* From the pairs on to q and k; dread and drested take the gradients. */
template <bool TENSOR>
__device__ static void give_keys(const struct hy_level_plan &l, const struct hy_scan_place &at,
                                 struct hy_scan_rows rows, const struct hy_level_space &s,
                                 const struct passed &p, const struct gradients &d)
{
    const int C = l.C, lc = l.lc, kp = l.scan.kp, lk = l.scan.lk;
    HY_SCAN_EACH(C, C, i, j)
    {
        const int e = i * lc + j;
        p.dpair_q[e] = j <= i ? p.dpair_q[e] * s.between[e] : 0;
        if (l.scan.delta && j < i) /* k is on both sides */
            p.dpair_k[j * lc + i] = p.dpair_k[e] *= s.between[e];
    }
    __syncthreads();
    hy_tile_mul<TENSOR, false, false>(
        {C, kp, C, p.dpair_q, s.k, lc, lk, p.dread, lk, true, s.into});
    hy_tile_mul<TENSOR, true, false>(
        {C, kp, C, p.dpair_q, s.q, lc, lk, p.drested, lk, true, s.rest});
    __syncthreads();
    if (l.scan.delta)
        hy_tile_mul<TENSOR, false, false>(
            {C, kp, C, p.dpair_k, s.k, lc, lk, p.drested, lk, true, NULL});
    __syncthreads();
    const int64_t first = at.head * l.scan.k;
    HY_SCAN_EACH(rows.count, l.scan.k, i, c)
    {
        const int e = i * lk + c;
        const float erased = l.scan.delta ? s.into[i] * p.derase[e] : 0;
        hy_give<1>(d.dq, rows.row + i, first + c, {{l.scan.scale * p.dread[e]}});
        hy_give<1>(d.dk, rows.row + i, first + c, {{p.drested[e] - erased}});
    }
}

template <bool TENSOR>
__device__ static void finish_chunk(const struct hy_level_plan &l, int64_t index,
                                    const struct hy_level_space &s, const struct gradients &d)
{
    const hy_scan_place at(l.scan, (unsigned)(index / l.chunks * l.scan.tiles));
    const int64_t chunk = index % l.chunks;
    const struct hy_scan_rows rows = hy_level_rows(l, at, chunk);
    const struct hy_level_share sum = hy_level_share_of(l, index, 0);
    struct passed passed = {s.dpair, NULL, sum.dread, sum.dwrite, NULL, NULL};
    add_tiles(l, index);
    hy_level_prepare<TENSOR>(l, at, chunk, s);
    give_lambda(l, at, chunk, s, sum, d);
    __syncthreads();
    if (l.scan.delta)
        passed = pass_delta<TENSOR>(l, at, rows, s, hy_level_matrices_of(l, index), sum, d);
    __syncthreads();
    if (d.ddecay.data) {
        find_rates(l, s, passed);
        __syncthreads();
        give_decays(l, at, chunk, s, *sum.carry, d);
    }
    give_keys<TENSOR>(l, at, rows, s, passed, d);
    __syncthreads();
}

template <bool TENSOR, bool WIDE>
__global__ static void __launch_bounds__(HY_TILE_THREADS, 2)
    finish(struct hy_level_plan l, struct gradients d)
{
    HY_SHARED(float, shared);
    struct hy_level_space s = {};
    hy_level_lay_out(l, WIDE ? hy_row(l.work, blockIdx.x) : shared, &s);
    for (int64_t index = blockIdx.x; index < l.prepared.rows; index += gridDim.x)
        finish_chunk<TENSOR>(l, index, s, d);
}

/* ---- On the host ---- */

/* Fills in all that backward writes; counts scratch. Tiles are added up already. */
static struct gradients gradients_of(const struct hy_op *op, const struct hy_level_plan *l,
                                     int64_t *used)
{
    const struct hy_scan_plan *p = &l->scan;
    const int64_t shares = p->decay == HY_DECAY_CONSTANT ? p->chunks : 1;
    struct gradients d = {};
    d.d_o = hy_span_of(op->dout[HY_SCAN_O]);
    d.dv = hy_span_din(op, HY_SCAN_V);
    d.dbeta = hy_span_din(op, HY_SCAN_BETA);
    d.dlambda = hy_span_din(op, HY_LEVEL_LAMBDA);
    d.dq = hy_scan_shares_of(op, p, HY_SCAN_Q, p->heads * p->k, 1, used);
    d.dk = hy_scan_shares_of(op, p, HY_SCAN_K, p->heads * p->k, 1, used);
    d.ddecay = hy_scan_shares_of(op, p, HY_SCAN_DECAY, p->heads, shares, used);
    return d;
}

void hy_level_launch_backward(const struct hy_op *op, const struct hy_launch *at)
{
    int64_t used = 0;
    const struct hy_level_plan l = hy_level_plan_on_device(op, floats_of, &used);
    const struct gradients d = gradients_of(op, &l, &used);
    const bool tensor = hy_scan_on_tensor_cores(op);
    const bool wide_walk = l.scan.work.data != NULL, wide = l.work.data != NULL;
    hy_level_launch_prepare(op, at, l);
    hy_start_large(at, hy_scan_grid(l.scan, at), dim3(HY_TILE_THREADS), hy_scan_shared(l.scan),
                   tensor      ? wide_walk ? walk<true, true> : walk<true, false>
                        : wide_walk ? walk<false, true>
                               : walk<false, false>,
                   l, d);
    hy_level_start(at, l,
                   tensor ? wide ? finish<true, true> : finish<true, false>
                   : wide ? finish<false, true>
                          : finish<false, false>,
                   l, d);
    hy_scan_hand_over(op, at, &l.scan, HY_SCAN_Q, d.dq, l.scan.k, l.scan.sharing);
    hy_scan_hand_over(op, at, &l.scan, HY_SCAN_K, d.dk, l.scan.k, l.scan.sharing);
    hy_scan_hand_over(op, at, &l.scan, HY_SCAN_DECAY, d.ddecay, 1, 1);
}

int64_t hy_level_backward_floats(const struct hy_op *op)
{
    int64_t used = 0;
    const struct hy_level_plan l = hy_level_plan_on_device(op, floats_of, &used);
    gradients_of(op, &l, &used);
    return used;
}
