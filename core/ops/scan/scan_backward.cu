#include "core/ops/scan/scan_chunks.cuh"
#include "core/ops/scan/scan_rows.cuh"

/* What backward has beside the plan. dq, dk, dbeta, ddecay: the gradients themselves, or shares of
 * them: of tile t the rows from t * (rows of all tokens) on, a column for every head. */
struct gradients {
    struct hy_span d_o, dht, dv, dh0;
    struct hy_span dq, dk, dbeta, ddecay;
    struct hy_span states; /* scratch: those that enter the blocks of a chunk, a row for each */
};

/* dw_j -= sum over i > j of pair_ij dz_i, with dz_i = beta_i dw_i; -dz goes below do. */
__device__ static inline void substitute_back(const struct hy_scan_plan &p,
                                              const struct hy_scan_space &s)
{
    const float *pair = s.pair + HY_TILE * HY_PAIR_LD;
    float *minus_dz = s.values + HY_TILE * p.lv;
    for (int c = (int)threadIdx.x; c < p.width; c += (int)blockDim.x) {
        float d[HY_TILE];
#pragma unroll
        for (int i = 0; i < HY_TILE; i++)
            d[i] = s.dw[i * p.lv + c];
#pragma unroll
        for (int i = HY_TILE - 1; i >= 0; i--) {
            const float passed = -s.beta[i] * d[i];
            s.dw[i * p.lv + c] = d[i];
            minus_dz[i * p.lv + c] = passed;
#pragma unroll
            for (int j = 0; j < i; j += 4) {
                float of_pair[4];
                hy_tile_read(pair + i * HY_PAIR_LD + j, of_pair);
#pragma unroll
                for (int l = 0; l < 4 && j + l < i; l++)
                    d[j + l] += of_pair[l] * passed;
            }
        }
    }
}

/* dbeta, and dv: dw for the gated scan, dz for the delta scan. */
template <int KIND>
__device__ static inline void
give_values(const struct hy_scan_plan &p, const struct hy_scan_place &at,
            const struct hy_scan_space &s, struct hy_scan_rows rows, const struct gradients &d)
{
    const int64_t first = at.head * p.v + at.column;
    HY_SCAN_EACH(rows.count, at.columns, i, c)
    {
        const int e = i * p.lv + c;
        hy_give<1>(d.dv, rows.row + i, first + c,
                   {{hy_scan_is_delta<KIND>(p) ? -s.values[HY_TILE * p.lv + e] : s.dw[e]}});
    }
    if (!hy_scan_is_delta<KIND>(p))
        return;
    const int lane = (int)threadIdx.x % 32;
    for (int i = (int)threadIdx.x / 32; i < rows.count; i += (int)blockDim.x / 32) {
        float sum = 0;
        for (int c = lane; c < p.width; c += 32)
            sum += s.y[i * p.lv + c] * s.dw[i * p.lv + c];
        sum = hy_warp_sum(sum);
        if (lane == 0)
            hy_give<1>(d.dbeta, at.tile * p.batch * p.tokens + rows.row + i, at.head, {{sum}});
    }
}

/* Four neighbours of x times those of y. */
__device__ static inline void scale_four(float *x, const float *y)
{
    float by[4];
    hy_tile_read(y, by);
#pragma unroll
    for (int l = 0; l < 4; l++)
        x[l] *= by[l];
}

__device__ static inline void write_four(float *to, const float *x)
{
    hy_pack<4> pack;
#pragma unroll
    for (int l = 0; l < 4; l++)
        pack.at[l] = x[l];
    *reinterpret_cast<hy_pack<4> *>(to) = pack;
}

/* give_pairs() for a reader, row i, with a decay by channel: channels c to c + 3, which in the
 * slice are `in` to `in` + 3. */
template <int KIND>
__device__ static inline void give_reader(const struct hy_scan_plan &p,
                                          const struct hy_scan_space &s, int i, int c, int in)
{
    const int ld = hy_tile_ld(hy_scan_slice(p)), e = i * p.lk + c;
    const float *by_q = s.pair + i * HY_PAIR_LD, *by_k = by_q + HY_TILE * HY_PAIR_LD;
    const bool delta = hy_scan_is_delta<KIND>(p);
    float dq[4], dk[4] = {}, into[4], own[4];
    hy_tile_read(s.step + c, into);
    if (i > 0) {
        /* From row 1 to the end of the first run, and on to row i. */
        scale_four(into, s.factors + hy_scan_factor_row(i, 0, 0) * ld + in);
        scale_four(into, s.factors + hy_scan_factor_row(i, 0, i) * ld + in);
    }
    hy_tile_read(s.dread + e, dq);
    if (delta)
        hy_tile_read(s.dread + HY_TILE * p.lk + e, dk);
    hy_tile_read(s.k + e, own);
#pragma unroll
    for (int l = 0; l < 4; l++) {
        dq[l] = into[l] * dq[l] + by_q[i] * own[l];
        dk[l] *= into[l];
    }
#pragma unroll
    for (int half = HY_TILE / 2; half; half /= 2) {
        if (!(i & half))
            continue;
        const int first = i & ~(2 * half - 1);
        float of_q[4] = {}, of_k[4] = {}, factor[4];
#pragma unroll 2
        for (int j = first, n = 0; n < half; n++, j++) {
            float k[4];
            hy_tile_read(s.k + j * p.lk + c, k);
            scale_four(k, s.factors + hy_scan_factor_row(first + half, first, j) * ld + in);
            const float q_takes = by_q[j], k_takes = delta ? by_k[j] : 0;
#pragma unroll
            for (int l = 0; l < 4; l++) {
                of_q[l] += q_takes * k[l];
                of_k[l] += k_takes * k[l];
            }
        }
        hy_tile_read(s.factors + hy_scan_factor_row(first + half, first, i) * ld + in, factor);
#pragma unroll
        for (int l = 0; l < 4; l++) {
            dq[l] += factor[l] * of_q[l];
            dk[l] += factor[l] * of_k[l];
        }
    }
    write_four(s.dread + e, dq);
    if (delta)
        write_four(s.dread + HY_TILE * p.lk + e, dk);
}

/* And for a writer, row j. */
template <int KIND>
__device__ static inline void give_writer(const struct hy_scan_plan &p,
                                          const struct hy_scan_space &s, int j, int c, int in)
{
    const int ld = hy_tile_ld(hy_scan_slice(p)), e = j * p.lk + c, end = HY_TILE - 1;
    const float *by_q = s.pair + j, *by_k = by_q + HY_TILE * HY_PAIR_LD;
    const bool delta = hy_scan_is_delta<KIND>(p);
    float dk[4], own[4];
    hy_tile_read(s.write + e, dk);
    if (j < end) {
        /* From row j to the end of its run, and on to the last row. */
        scale_four(dk, s.factors + hy_scan_factor_row(end, j, j) * ld + in);
        scale_four(dk, s.factors + hy_scan_factor_row(end, j, end) * ld + in);
    }
    hy_tile_read(s.q + e, own);
#pragma unroll
    for (int l = 0; l < 4; l++)
        dk[l] += by_q[j * HY_PAIR_LD] * own[l];
#pragma unroll
    for (int half = HY_TILE / 2; half; half /= 2) {
        if (j & half)
            continue;
        const int first = (j & ~(2 * half - 1)) + half;
        float sum[4] = {}, factor[4];
#pragma unroll 2
        for (int i = first, n = 0; n < half; n++, i++) {
            float x[4], k[4];
            hy_tile_read(s.q + i * p.lk + c, x);
            if (delta)
                hy_tile_read(s.k + i * p.lk + c, k);
            const float of_q = by_q[i * HY_PAIR_LD], of_k = delta ? by_k[i * HY_PAIR_LD] : 0;
#pragma unroll
            for (int l = 0; l < 4; l++)
                x[l] = delta ? of_q * x[l] + of_k * k[l] : of_q * x[l];
            scale_four(x, s.factors + hy_scan_factor_row(first, first - half, i) * ld + in);
#pragma unroll
            for (int l = 0; l < 4; l++)
                sum[l] += x[l];
        }
        hy_tile_read(s.factors + hy_scan_factor_row(first, first - half, j) * ld + in, factor);
#pragma unroll
        for (int l = 0; l < 4; l++)
            dk[l] += factor[l] * sum[l];
    }
    write_four(s.write + e, dk);
}

/* s.dread and s.write, which hold the products with the states, become the gradients of q and k as
 * readers and of k as writer. With a decay by channel s.factors hold the last slice of channels. */
template <bool TENSOR, int KIND, int THREADS>
__device__ static inline void give_pairs(const struct hy_scan_plan &p,
                                         const struct hy_scan_space &s)
{
    if (!hy_scan_by_channel<KIND>(p)) {
        /* Rows of q and k lie one after another, as the two halves of s.pair do. */
        const int read = (hy_scan_is_delta<KIND>(p) ? 2 : 1) * HY_TILE;
        hy_tile_mul<TENSOR, false, false>(
            {read, p.kp, HY_TILE, s.pair, s.k, HY_PAIR_LD, p.lk, s.dread, p.lk, true, s.into});
        hy_tile_mul<TENSOR, true, false>(
            {HY_TILE, p.kp, read, s.pair, s.q, HY_PAIR_LD, p.lk, s.write, p.lk, true, s.rest});
        return;
    }
    const int last = (p.kp - 1) / HY_SCAN_SLICE * HY_SCAN_SLICE;
    for (int from = last; from >= 0; from -= HY_SCAN_SLICE) {
        if (from < last) {
            __syncthreads();
            hy_scan_factors<THREADS>(p, s, from);
            __syncthreads();
        }
        /* 64 threads take a row each and four of 16 channels, as readers or as writers. */
        const int groups = min(p.kp - from, hy_scan_slice(p)) / HY_TILE * 2;
        for (int g = (int)threadIdx.x / 64; g < groups; g += THREADS / 64) {
            const int in = g / 2 * HY_TILE + (int)threadIdx.x % 4 * 4;
            const int row = (int)threadIdx.x / 4 % HY_TILE;
            if (g % 2 == 0)
                give_reader<KIND>(p, s, row, from + in, in);
            else
                give_writer<KIND>(p, s, HY_TILE - 1 - row, from + in, in);
        }
    }
}

/* q dq + k dk as reader - k dk as writer. */
template <int KIND>
__device__ static inline float decay_term(const struct hy_scan_plan &p,
                                          const struct hy_scan_space &s, int e)
{
    const float dk =
        hy_scan_is_delta<KIND>(p) ? s.dread[HY_TILE * p.lk + e] - s.write[e] : -s.write[e];
    return s.q[e] * s.dread[e] + s.k[e] * dk;
}

/* s.carry gains the rows' terms, from the last to the first; the gradient of a row's log decay is
 * what it is there. *constant: a thread's sum of these. */
template <int KIND>
__device__ static inline void give_decays(const struct hy_scan_plan &p,
                                          const struct hy_scan_place &at,
                                          const struct hy_scan_space &s, struct hy_scan_rows rows,
                                          const struct gradients &d, double *constant)
{
    const int64_t row = at.tile * p.batch * p.tokens + rows.row;
    if (hy_scan_by_channel<KIND>(p)) {
        /* The last threads, as the first have most to do in give_keys(). */
        for (int c = (int)(blockDim.x - 1 - threadIdx.x); c < p.k; c += (int)blockDim.x) {
            float term[HY_TILE], carry = s.carry[c];
#pragma unroll
            for (int i = 0; i < HY_TILE; i++)
                term[i] = decay_term<KIND>(p, s, i * p.lk + c);
#pragma unroll
            for (int i = HY_TILE - 1; i >= 0; i--) {
                if (i >= rows.count)
                    continue;
                carry += term[i];
                hy_give<1>(d.ddecay, row + i, at.head * p.k + c, {{carry}});
            }
            s.carry[c] = carry;
        }
        return;
    }
    const int lane = (int)threadIdx.x % HY_TILE;
    for (int i = (int)threadIdx.x / HY_TILE; i < HY_TILE; i += (int)blockDim.x / HY_TILE) {
        float sum = 0;
        for (int c = lane; c < p.kp; c += HY_TILE)
            sum += decay_term<KIND>(p, s, i * p.lk + c);
#pragma unroll
        for (int bit = HY_TILE / 2; bit; bit /= 2)
            sum += __shfl_xor_sync(0xffffffffu, sum, bit);
        if (lane == 0)
            s.sums[i] = sum;
    }
    __syncthreads();
    if (threadIdx.x > 0)
        return;
    float term[HY_TILE], carry = s.carry[0];
#pragma unroll
    for (int i = 0; i < HY_TILE; i++)
        term[i] = s.sums[i];
#pragma unroll
    for (int i = HY_TILE - 1; i >= 0; i--) {
        if (i >= rows.count)
            continue;
        carry += term[i];
        *constant += carry;
        if (p.decay == HY_DECAY_HEAD)
            hy_give<1>(d.ddecay, row + i, at.head, {{carry}});
    }
    s.carry[0] = carry;
}

template <int KIND>
__device__ static inline void
give_keys(const struct hy_scan_plan &p, const struct hy_scan_place &at,
          const struct hy_scan_space &s, struct hy_scan_rows rows, const struct gradients &d)
{
    const int64_t row = at.tile * p.batch * p.tokens + rows.row, first = at.head * p.k;
    HY_SCAN_EACH(rows.count, p.k, i, c)
    {
        const int e = i * p.lk + c;
        const float read = hy_scan_is_delta<KIND>(p) ? s.dread[HY_TILE * p.lk + e] : 0;
        hy_give<1>(d.dq, row + i, first + c, {{p.scale * s.dread[e]}});
        hy_give<1>(d.dk, row + i, first + c, {{s.write[e] + read}});
    }
}

/* What tells what the rows write to the state: for the delta rule their errors, else v. */
template <int KIND>
__device__ static inline const struct hy_span &written_by(const struct hy_scan_plan &p)
{
    return hy_scan_is_delta<KIND>(p) ? p.out[HY_SCAN_ERRORS] : p.in[HY_SCAN_V];
}

/* What the rows write to the state, and for the delta rule their errors, of which the first columns
 * were fetched. */
template <int KIND, int THREADS>
__device__ static inline void store_written(const struct hy_scan_plan &p,
                                            const struct hy_scan_place &at,
                                            const struct hy_scan_space &s, struct hy_scan_rows rows,
                                            const struct hy_scan_fetched &fetched)
{
    typedef hy_scan_slots<THREADS> slots;
    const struct hy_span &written = written_by<KIND>(p);
    if (!hy_scan_is_delta<KIND>(p)) {
        hy_scan_store_values<THREADS>(p, at, rows, written, fetched.values, s.w);
        return;
    }
    hy_scan_store_values<THREADS>(p, at, rows, written, fetched.values, s.y);
    float beta[slots::ROWS];
#pragma unroll
    for (int r = 0; r < slots::ROWS; r++)
        beta[r] = __shfl_sync(0xffffffffu, fetched.beta, slots::row(r), HY_TILE);
    for (int from = 0; from < p.width; from += slots::SPAN)
#pragma unroll
        for (int n = 0; n < slots::EACH; n++) {
            const int c = from + slots::column(n), e = slots::row(n) * p.lv + c;
            if (c < p.width)
                s.w[e] = beta[n % slots::ROWS] * s.y[e];
        }
}

/* `fetched` is this block's, and that before it when it returns. */
template <bool TENSOR, int KIND, int THREADS>
__device__ static inline void
backward_block(const struct hy_scan_plan &p, const struct hy_scan_place &at,
               const struct hy_scan_space &s, struct hy_scan_rows rows, struct hy_scan_rows next,
               const struct gradients &d, struct hy_scan_fetched *fetched, double *constant)
{
    const bool delta = hy_scan_is_delta<KIND>(p);
    const int read = (delta ? 2 : 1) * HY_TILE;
    hy_scan_store_rows<KIND, THREADS>(p, at, s, rows, true, *fetched);
    hy_scan_store_values<THREADS>(p, at, rows, d.d_o, fetched->given, s.values);
    store_written<KIND, THREADS>(p, at, s, rows, *fetched);
    hy_scan_fetch_rows<KIND, THREADS>(p, at, next, true, written_by<KIND>(p), &d.d_o, fetched);
    __syncthreads();
    if (hy_scan_by_channel<KIND>(p)) {
        hy_scan_factors<THREADS>(p, s, 0);
        hy_scan_scale<KIND, THREADS>(p, s, true);
        __syncthreads();
    }
    hy_tile_mul<TENSOR, false, false>(
        {HY_TILE, p.width, p.kp, s.write, s.dstate, p.lk, p.lv, s.dw, p.lv, false, NULL});
    hy_scan_pairs<KIND, THREADS>(p, s);
    __syncthreads();
    hy_tile_mul<TENSOR, true, false>(
        {HY_TILE, p.width, HY_TILE, s.pair, s.values, HY_PAIR_LD, p.lv, s.dw, p.lv, true, NULL});
    __syncthreads();
    if (delta) {
        substitute_back(p, s);
        __syncthreads();
    }
    give_values<KIND>(p, at, s, rows, d);
    hy_tile_mul<TENSOR, false, true>(
        {read, p.kp, p.width, s.values, s.state, p.lv, p.lv, s.dread, p.lk, false, NULL});
    hy_tile_mul<TENSOR, false, true>(
        {HY_TILE, p.kp, p.width, s.w, s.dstate, p.lv, p.lv, s.write, p.lk, false, NULL});
    const struct hy_scan_pairing w = {
        s.values, delta ? s.values + HY_TILE * p.lv : NULL, s.w, p.width, p.lv, 0, 0};
    if (hy_scan_by_channel<KIND>(p))
        hy_scan_dots<THREADS, HY_BY_NOTHING>(s, w);
    else
        hy_scan_dots<THREADS, HY_BY_BETWEEN>(s, w);
    __syncthreads();
    give_pairs<TENSOR, KIND, THREADS>(p, s);
    hy_tile_mul<TENSOR, true, false>({p.kp, p.width, read, s.read, s.values, p.lk, p.lv, s.dstate,
                                      p.lv, true, p.decay ? s.through : NULL});
    __syncthreads();
    give_keys<KIND>(p, at, s, rows, d);
    if (d.ddecay.data)
        give_decays<KIND>(p, at, s, rows, d, constant);
    __syncthreads();
}

/* Leaves the states that enter a chunk's blocks, but the first, in scratch; returns the number of
 * blocks. */
template <bool TENSOR, int KIND, int THREADS>
__device__ static inline int64_t
rebuild_chunk(const struct hy_scan_plan &p, const struct hy_scan_place &at,
              const struct hy_scan_space &s, const struct gradients &d, int64_t chunk)
{
    const struct hy_span &written = written_by<KIND>(p);
    struct hy_scan_fetched fetched = {};
    struct hy_scan_rows rows = hy_scan_rows_of(p, at, chunk, 0);
    hy_scan_fetch_rows<KIND, THREADS>(p, at, rows, false, written, NULL, &fetched);
    hy_scan_load_state(p, at, p.out[HY_SCAN_STATES], hy_scan_kept_row(p, at, chunk), s.state);
    for (int64_t block = 0;; block++) {
        struct hy_scan_rows next = {};
        if (block + 1 < p.blocks)
            next = hy_scan_rows_of(p, at, chunk, block + 1);
        if (next.count <= 0)
            return block + 1;
        hy_scan_store_rows<KIND, THREADS>(p, at, s, rows, false, fetched);
        store_written<KIND, THREADS>(p, at, s, rows, fetched);
        hy_scan_fetch_rows<KIND, THREADS>(p, at, next, false, written, NULL, &fetched);
        __syncthreads();
        if (hy_scan_by_channel<KIND>(p)) {
            hy_scan_scale<KIND, THREADS>(p, s, false);
            __syncthreads();
        }
        hy_scan_advance<TENSOR>(p, s);
        __syncthreads();
        float *to = hy_row(d.states, blockIdx.x * (p.blocks - 1) + block);
        HY_SCAN_EACH(p.kp, p.width, i, c)
        to[i * p.width + c] = s.state[i * p.lv + c];
        rows = next;
    }
}

/* carry = <S, dS> at the chunk's end, by channel, or in carry[0] their sum. */
__device__ static inline void start_carry(const struct hy_scan_plan &p,
                                          const struct hy_scan_place &at,
                                          const struct hy_scan_space &s, int64_t chunk)
{
    hy_scan_load_state(p, at, p.out[HY_SCAN_STATES], hy_scan_kept_row(p, at, chunk + 1), s.state);
    __syncthreads();
    const int lane = (int)threadIdx.x % 32;
    for (int i = (int)threadIdx.x / 32; i < p.kp; i += (int)blockDim.x / 32) {
        float sum = 0;
        for (int c = lane; c < p.width; c += 32)
            sum += s.state[i * p.lv + c] * s.dstate[i * p.lv + c];
        sum = hy_warp_sum(sum);
        if (lane == 0)
            s.carry[i] = sum;
    }
    __syncthreads();
    if (p.decay == HY_DECAY_CHANNEL || threadIdx.x >= 32)
        return;
    float sum = 0;
    for (int i = lane; i < p.kp; i += 32)
        sum += s.carry[i];
    sum = hy_warp_sum(sum);
    if (lane == 0)
        s.carry[0] = sum;
}

/* The state that enters a block: kept for the first one of a chunk, rebuilt for the others. */
__device__ static inline void load_entering(const struct hy_scan_plan &p,
                                            const struct hy_scan_place &at,
                                            const struct hy_scan_space &s,
                                            const struct gradients &d, int64_t chunk, int64_t block)
{
    if (block == 0) {
        hy_scan_load_state(p, at, p.out[HY_SCAN_STATES], hy_scan_kept_row(p, at, chunk), s.state);
        return;
    }
    hy_scan_copy_state(p, hy_row(d.states, blockIdx.x * (p.blocks - 1) + block - 1), p.width, p.kp,
                       p.width, s.state);
}

template <bool TENSOR, bool WIDE, int KIND, int THREADS>
__global__ static void __launch_bounds__(THREADS, 2 * HY_TILE_THREADS / THREADS)
    backward(struct hy_scan_plan p, struct gradients d)
{
    HY_SHARED(float, shared);
    const hy_scan_place at(p, blockIdx.x);
    struct hy_scan_space s = {};
    double constant = 0;
    hy_scan_lay_out(p, WIDE ? hy_row(p.work, blockIdx.x) : shared, &s);
    hy_scan_load_state(p, at, d.dht, hy_scan_state_row(p, at), s.dstate);
    for (int64_t chunk = p.chunks - 1; chunk >= 0; chunk--) {
        const int64_t blocks = rebuild_chunk<TENSOR, KIND, THREADS>(p, at, s, d, chunk);
        struct hy_scan_fetched fetched = {};
        struct hy_scan_rows rows = hy_scan_rows_of(p, at, chunk, blocks - 1);
        hy_scan_fetch_rows<KIND, THREADS>(p, at, rows, true, written_by<KIND>(p), &d.d_o, &fetched);
        __syncthreads();
        if (d.ddecay.data)
            start_carry(p, at, s, chunk);
        __syncthreads();
        for (int64_t block = blocks - 1; block >= 0; block--) {
            struct hy_scan_rows next = {};
            if (block > 0)
                next = hy_scan_rows_of(p, at, chunk, block - 1);
            load_entering(p, at, s, d, chunk, block);
            backward_block<TENSOR, KIND, THREADS>(p, at, s, rows, next, d, &fetched, &constant);
            rows = next;
        }
    }
    hy_scan_store_state(p, at, d.dh0, hy_scan_state_row(p, at), s.dstate);
    if (d.ddecay.data && p.decay == HY_DECAY_CONSTANT && threadIdx.x == 0)
        hy_row(d.ddecay, at.tile * p.batch + at.sequence)[at.head] = (float)constant;
}

/* Fills in all that backward writes; counts scratch. */
static struct gradients gradients_of(const struct hy_op *op, const struct hy_scan_plan *p,
                                     int64_t *used)
{
    const int64_t keys = p->heads * p->k;
    const int64_t states = p->batch * p->heads * p->tiles * (p->blocks - 1);
    struct gradients d = {};
    d.d_o = hy_span_of(op->dout[HY_SCAN_O]);
    d.dht = hy_span_of(op->dout[HY_SCAN_HT]);
    d.dv = hy_span_din(op, HY_SCAN_V);
    d.dh0 = hy_span_din(op, HY_SCAN_H0);
    d.dq = hy_scan_shares_of(op, p, HY_SCAN_Q, keys, p->tiles, used);
    d.dk = hy_scan_shares_of(op, p, HY_SCAN_K, keys, p->tiles, used);
    d.dbeta = hy_scan_shares_of(op, p, HY_SCAN_BETA, p->heads, p->tiles, used);
    d.ddecay = hy_scan_shares_of(op, p, HY_SCAN_DECAY,
                                 p->decay == HY_DECAY_CHANNEL ? keys : p->heads, p->tiles, used);
    if (op->scratch)
        d.states = hy_span_scratch(op, *used, states, p->kp * p->width);
    *used += states * p->kp * p->width;
    return d;
}

typedef void kernel(struct hy_scan_plan, struct gradients);

template <bool TENSOR, int THREADS> static kernel *kernel_of(const struct hy_scan_plan &p)
{
    if (p.decay == HY_DECAY_CHANNEL)
        return p.delta ? backward<TENSOR, false, HY_SCAN_CHANNELS | HY_SCAN_DELTA, THREADS>
                       : backward<TENSOR, false, HY_SCAN_CHANNELS, THREADS>;
    return p.delta ? backward<TENSOR, false, HY_SCAN_DELTA, THREADS>
                   : backward<TENSOR, false, 0, THREADS>;
}

template <bool TENSOR> static kernel *kernel_for(const struct hy_scan_plan &p)
{
    if (p.work.data)
        return backward<TENSOR, true, HY_SCAN_ASK, HY_TILE_THREADS>;
    return p.threads == HY_TILE_THREADS ? kernel_of<TENSOR, HY_TILE_THREADS>(p)
                                        : kernel_of<TENSOR, HY_TILE_THREADS / 2>(p);
}

void hy_scan_launch_backward(const struct hy_op *op, const struct hy_launch *at)
{
    if (hy_scan_by_chunks(op)) {
        hy_scan_chunks_backward(op, at);
        return;
    }
    int64_t used = 0;
    const struct hy_scan_plan p = hy_scan_plan_on_device(op, &used);
    const struct gradients d = gradients_of(op, &p, &used);
    hy_start_large(at, hy_scan_grid(p, at), dim3((unsigned)p.threads), hy_scan_shared(p),
                   hy_scan_on_tensor_cores(op) ? kernel_for<true>(p) : kernel_for<false>(p), p, d);
    hy_scan_hand_over(op, at, &p, HY_SCAN_Q, d.dq, p.k, p.sharing);
    hy_scan_hand_over(op, at, &p, HY_SCAN_K, d.dk, p.k, p.sharing);
    hy_scan_hand_over(op, at, &p, HY_SCAN_BETA, d.dbeta, 1, 1);
    hy_scan_hand_over(op, at, &p, HY_SCAN_DECAY, d.ddecay, 1, 1);
}

size_t hy_scan_device_scratch(const struct hy_op *op)
{
    if (hy_scan_by_chunks(op))
        return hy_scan_chunks_scratch(op);
    int64_t used = 0;
    const struct hy_scan_plan p = hy_scan_plan_on_device(op, &used);
    if (p.backward)
        gradients_of(op, &p, &used);
    return (size_t)used * sizeof(float);
}
