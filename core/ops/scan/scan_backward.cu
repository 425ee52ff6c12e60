#include "core/ops/scan/scan.cuh"
#include "core/ops/scan/scan_chunks.cuh"
#include "core/ops/support/sums.cuh"

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
            for (int j = 0; j < i; j++)
                d[j] += pair[i * HY_PAIR_LD + j] * passed;
        }
    }
}

/* dbeta, and dv: dw for the gated scan, dz for the delta scan. */
__device__ static inline void give_values(const struct hy_scan_plan &p,
                                          const struct hy_scan_place &at,
                                          const struct hy_scan_space &s, struct hy_scan_rows rows,
                                          const struct gradients &d)
{
    const int64_t first = at.head * p.v + at.column;
    HY_SCAN_EACH(rows.count, p.width, i, c)
    {
        const int e = i * p.lv + c;
        if (c < at.columns)
            hy_give<1>(d.dv, rows.row + i, first + c,
                       {{p.delta ? -s.values[HY_TILE * p.lv + e] : s.dw[e]}});
    }
    if (!p.delta)
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

/* s.dread and s.write, which hold the products with the states, become the gradients of q and k as
 * readers and of k as writer. */
__device__ static inline void give_pairs(const struct hy_scan_plan &p,
                                         const struct hy_scan_space &s)
{
    const bool channels = p.decay == HY_DECAY_CHANNEL;
    const float *by_q = s.pair, *by_k = s.pair + HY_TILE * HY_PAIR_LD;
    HY_SCAN_EACH(HY_TILE, p.kp, i, c)
    {
        float decay = 1, dq = 0, dk = 0, written = 0;
        for (int j = i; j >= 0; j--) {
            const float k = decay * s.k[j * p.lk + c];
            dq += by_q[i * HY_PAIR_LD + j] * k;
            dk += by_k[i * HY_PAIR_LD + j] * k;
            if (channels)
                decay *= s.step[j * p.lk + c];
        }
        const float into = channels ? decay : s.step[0] * s.between[i * HY_PAIR_LD];
        const int e = i * p.lk + c;
        s.dread[e] = into * s.dread[e] + dq;
        if (p.delta)
            s.dread[HY_TILE * p.lk + e] = into * s.dread[HY_TILE * p.lk + e] + dk;
        decay = 1;
        for (int j = i; j < HY_TILE; j++) {
            if (channels && j > i)
                decay *= s.step[j * p.lk + c];
            float read = by_q[j * HY_PAIR_LD + i] * s.q[j * p.lk + c];
            if (p.delta)
                read += by_k[j * HY_PAIR_LD + i] * s.k[j * p.lk + c];
            written += decay * read;
        }
        const float rest = channels ? decay : s.between[(HY_TILE - 1) * HY_PAIR_LD + i];
        s.write[e] = rest * s.write[e] + written;
    }
}

/* q dq + k dk as reader - k dk as writer. */
__device__ static inline float decay_term(const struct hy_scan_plan &p,
                                          const struct hy_scan_space &s, int e)
{
    const float dk = p.delta ? s.dread[HY_TILE * p.lk + e] - s.write[e] : -s.write[e];
    return s.q[e] * s.dread[e] + s.k[e] * dk;
}

/* s.carry gains the rows' terms, from the last to the first; the gradient of a row's log decay is
 * what it is there. *constant: a thread's sum of these. */
__device__ static inline void give_decays(const struct hy_scan_plan &p,
                                          const struct hy_scan_place &at,
                                          const struct hy_scan_space &s, struct hy_scan_rows rows,
                                          const struct gradients &d, double *constant)
{
    const int64_t row = at.tile * p.batch * p.tokens + rows.row;
    if (p.decay == HY_DECAY_CHANNEL) {
        for (int c = (int)threadIdx.x; c < p.k; c += (int)blockDim.x)
            for (int i = rows.count - 1; i >= 0; i--) {
                s.carry[c] += decay_term(p, s, i * p.lk + c);
                hy_give<1>(d.ddecay, row + i, at.head * p.k + c, {{s.carry[c]}});
            }
        return;
    }
    const int lane = (int)threadIdx.x % 32;
    for (int i = (int)threadIdx.x / 32; i < HY_TILE; i += (int)blockDim.x / 32) {
        float sum = 0;
        for (int c = lane; c < p.kp; c += 32)
            sum += decay_term(p, s, i * p.lk + c);
        sum = hy_warp_sum(sum);
        if (lane == 0)
            s.sums[i] = sum;
    }
    __syncthreads();
    if (threadIdx.x > 0)
        return;
    for (int i = rows.count - 1; i >= 0; i--) {
        s.carry[0] += s.sums[i];
        *constant += s.carry[0];
        if (p.decay == HY_DECAY_HEAD)
            hy_give<1>(d.ddecay, row + i, at.head, {{s.carry[0]}});
    }
}

__device__ static inline void give_keys(const struct hy_scan_plan &p,
                                        const struct hy_scan_place &at,
                                        const struct hy_scan_space &s, struct hy_scan_rows rows,
                                        const struct gradients &d)
{
    const int64_t row = at.tile * p.batch * p.tokens + rows.row, first = at.head * p.k;
    HY_SCAN_EACH(rows.count, p.kp, i, c)
    {
        const int e = i * p.lk + c;
        if (c >= p.k)
            continue;
        hy_give<1>(d.dq, row + i, first + c, {{p.scale * s.dread[e]}});
        hy_give<1>(d.dk, row + i, first + c,
                   {{s.write[e] + (p.delta ? s.dread[HY_TILE * p.lk + e] : 0)}});
    }
}

/* What the rows write to the state, and for the delta rule their errors. */
__device__ static inline void load_written(const struct hy_scan_plan &p,
                                           const struct hy_scan_place &at,
                                           const struct hy_scan_space &s, struct hy_scan_rows rows)
{
    if (!p.delta) {
        hy_scan_load_values(p, at, p.in[HY_SCAN_V], rows, s.w);
        return;
    }
    hy_scan_load_values(p, at, p.out[HY_SCAN_ERRORS], rows, s.y);
    __syncthreads(); /* beta is there too */
    HY_SCAN_EACH(HY_TILE, p.width, i, c)
    s.w[i * p.lv + c] = s.beta[i] * s.y[i * p.lv + c];
}

template <bool TENSOR>
__device__ static void backward_block(const struct hy_scan_plan &p, const struct hy_scan_place &at,
                                      const struct hy_scan_space &s, struct hy_scan_rows rows,
                                      const struct gradients &d, double *constant)
{
    const int read = (p.delta ? 2 : 1) * HY_TILE;
    hy_scan_load_rows(p, at, rows, true, s);
    hy_scan_load_values(p, at, d.d_o, rows, s.values);
    load_written(p, at, s, rows);
    __syncthreads();
    hy_scan_decays(p, s);
    __syncthreads();
    hy_scan_pairs(p, s);
    hy_tile_mul<TENSOR, false, false>(
        {HY_TILE, p.width, p.kp, s.write, s.dstate, p.lk, p.lv, s.dw, p.lv, false, NULL});
    __syncthreads();
    hy_tile_mul<TENSOR, true, false>(
        {HY_TILE, p.width, HY_TILE, s.pair, s.values, HY_PAIR_LD, p.lv, s.dw, p.lv, true, NULL});
    __syncthreads();
    if (p.delta) {
        substitute_back(p, s);
        __syncthreads();
    }
    give_values(p, at, s, rows, d);
    hy_scan_dots(s, s.values, p.delta ? s.values + HY_TILE * p.lv : NULL, s.w, p.width, p.lv);
    hy_tile_mul<TENSOR, false, true>(
        {read, p.kp, p.width, s.values, s.state, p.lv, p.lv, s.dread, p.lk, false, NULL});
    hy_tile_mul<TENSOR, false, true>(
        {HY_TILE, p.kp, p.width, s.w, s.dstate, p.lv, p.lv, s.write, p.lk, false, NULL});
    __syncthreads();
    give_pairs(p, s);
    hy_tile_mul<TENSOR, true, false>({p.kp, p.width, read, s.read, s.values, p.lk, p.lv, s.dstate,
                                      p.lv, true, p.decay ? s.through : NULL});
    __syncthreads();
    give_keys(p, at, s, rows, d);
    if (d.ddecay.data)
        give_decays(p, at, s, rows, d, constant);
    __syncthreads();
}

/* Leaves the states that enter a chunk's blocks, but the first, in scratch; returns the number of
 * blocks. */
template <bool TENSOR>
__device__ static int64_t
rebuild_chunk(const struct hy_scan_plan &p, const struct hy_scan_place &at,
              const struct hy_scan_space &s, const struct gradients &d, int64_t chunk)
{
    int64_t block = 0;
    hy_scan_load_state(p, at, p.out[HY_SCAN_STATES], hy_scan_kept_row(p, at, chunk), s.state);
    for (;; block++) {
        const struct hy_scan_rows rows = hy_scan_rows_of(p, at, chunk, block);
        if (block + 1 >= p.blocks || hy_scan_rows_of(p, at, chunk, block + 1).count <= 0)
            return block + 1;
        hy_scan_load_rows(p, at, rows, false, s);
        load_written(p, at, s, rows);
        __syncthreads();
        hy_scan_decays(p, s);
        __syncthreads();
        hy_scan_advance<TENSOR>(p, s);
        __syncthreads();
        float *to = hy_row(d.states, blockIdx.x * (p.blocks - 1) + block);
        HY_SCAN_EACH(p.kp, p.width, i, c)
        to[i * p.width + c] = s.state[i * p.lv + c];
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
    if (p.decay != HY_DECAY_CHANNEL && threadIdx.x == 0)
        for (int i = 1; i < p.kp; i++)
            s.carry[0] += s.carry[i];
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
    const float *from = hy_row(d.states, blockIdx.x * (p.blocks - 1) + block - 1);
    HY_SCAN_EACH(p.kp, p.width, i, c)
    s.state[i * p.lv + c] = from[i * p.width + c];
}

template <bool TENSOR, bool WIDE>
__global__ static void __launch_bounds__(HY_TILE_THREADS, 2)
    backward(struct hy_scan_plan p, struct gradients d)
{
    HY_SHARED(float, shared);
    const hy_scan_place at(p, blockIdx.x);
    struct hy_scan_space s = {};
    double constant = 0;
    hy_scan_lay_out(p, WIDE ? hy_row(p.work, blockIdx.x) : shared, &s);
    hy_scan_load_state(p, at, d.dht, hy_scan_state_row(p, at), s.dstate);
    for (int64_t chunk = p.chunks - 1; chunk >= 0; chunk--) {
        const int64_t blocks = rebuild_chunk<TENSOR>(p, at, s, d, chunk);
        __syncthreads();
        if (d.ddecay.data)
            start_carry(p, at, s, chunk);
        __syncthreads();
        for (int64_t block = blocks - 1; block >= 0; block--) {
            load_entering(p, at, s, d, chunk, block);
            backward_block<TENSOR>(p, at, s, hy_scan_rows_of(p, at, chunk, block), d, &constant);
        }
    }
    hy_scan_store_state(p, at, d.dh0, hy_scan_state_row(p, at), s.dstate);
    if (d.ddecay.data && p.decay == HY_DECAY_CONSTANT && threadIdx.x == 0)
        hy_row(d.ddecay, at.tile * p.batch + at.sequence)[at.head] = (float)constant;
}

/* out[row][g * width + c] = [out.add: +] the shares of it of all tiles and of the `sharing` heads
 * that read g. */
__global__ static void fold(struct hy_span shares, struct hy_span out, int64_t width,
                            int64_t sharing)
{
    HY_EACH(out.rows, out.cols, i, c)
    {
        const int64_t first = c / width * sharing * width + c % width;
        float sum = 0;
        for (int64_t row = i; row < shares.rows; row += out.rows)
            for (int64_t h = 0; h < sharing; h++)
                sum += hy_row(shares, row)[first + h * width];
        hy_give<1>(out, i, c, {{sum}});
    }
}

/* Is in[i] a decay that all tokens share? */
static bool sums_constant(const struct hy_scan_plan *p, int i)
{
    return i == HY_SCAN_DECAY && p->decay == HY_DECAY_CONSTANT;
}

struct hy_span hy_scan_shares_of(const struct hy_op *op, const struct hy_scan_plan *p, int i,
                                 int64_t cols, int64_t shares, int64_t *used)
{
    struct hy_span to = hy_span_din(op, i);
    const bool constant = sums_constant(p, i);
    if (!op->din[i] || (shares == 1 && !constant && to.cols == cols))
        return to;
    const int64_t rows = shares * p->batch * (constant ? 1 : p->tokens);
    if (op->scratch)
        to = hy_span_scratch(op, *used, rows, cols);
    *used += rows * cols;
    return to;
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

void hy_scan_hand_over(const struct hy_op *op, const struct hy_launch *at,
                       const struct hy_scan_plan *p, int i, const struct hy_span &shares,
                       int64_t width, int64_t sharing)
{
    const struct hy_span out = hy_span_din(op, i);
    if (!out.data || shares.data == out.data)
        return;
    if (sums_constant(p, i)) {
        hy_fold_sums(at, shares, out, 1, 1, 0);
        return;
    }
    const struct hy_walk walk = hy_walk_of(at, out.rows, out.cols);
    hy_start(at, walk.grid, walk.block, 0, fold, shares, out, width, sharing);
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
    const bool wide = p.work.data != NULL;
    hy_start_large(at, hy_scan_grid(p, at), dim3(HY_TILE_THREADS), hy_scan_shared(p),
                   hy_scan_on_tensor_cores(op) ? wide ? backward<true, true> : backward<true, false>
                   : wide ? backward<false, true>
                                               : backward<false, false>,
                   p, d);
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
