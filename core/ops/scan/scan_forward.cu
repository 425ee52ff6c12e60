#include "core/ops/scan/scan_chunks.cuh"
#include "core/ops/scan/scan_rows.cuh"

/* y_i = v_i - what k reads - sum over j < i of pair_ij w_j, with w_j = beta_j y_j, which takes the
 * place of v; a thread takes a column. */
__device__ static inline void substitute(const struct hy_scan_plan &p,
                                         const struct hy_scan_place &at,
                                         const struct hy_scan_space &s, struct hy_scan_rows rows)
{
    const float *pair = s.pair + HY_TILE * HY_PAIR_LD, *from_k = s.values + HY_TILE * p.lv;
    const struct hy_span errors = p.out[HY_SCAN_ERRORS];
    const int64_t first = at.head * p.v + at.column;
    for (int c = (int)threadIdx.x; c < p.width; c += (int)blockDim.x) {
        float y[HY_TILE], w[HY_TILE];
#pragma unroll
        for (int i = 0; i < HY_TILE; i++)
            y[i] = s.w[i * p.lv + c] - from_k[i * p.lv + c];
#pragma unroll
        for (int i = 0; i < HY_TILE; i++) {
#pragma unroll
            for (int j = 0; j < i; j += 4) {
                float of_pair[4];
                hy_tile_read(pair + i * HY_PAIR_LD + j, of_pair);
#pragma unroll
                for (int l = 0; l < 4 && j + l < i; l++)
                    y[i] -= of_pair[l] * w[j + l];
            }
            w[i] = s.beta[i] * y[i];
            s.w[i * p.lv + c] = w[i];
            if (errors.data && i < rows.count && c < at.columns)
                hy_row(errors, rows.row + i)[first + c] = y[i];
        }
    }
}

/* `fetched` is this block's, and the next one's when it returns. The rows of o are stored while the
 * next block begins, which touches s.values only behind a barrier. */
template <bool TENSOR, int KIND, int THREADS>
__device__ static inline void
forward_block(const struct hy_scan_plan &p, const struct hy_scan_place &at,
              const struct hy_scan_space &s, struct hy_scan_rows rows, struct hy_scan_rows next,
              struct hy_scan_fetched *fetched)
{
    const struct hy_span v = p.in[HY_SCAN_V];
    hy_scan_store_rows<KIND, THREADS>(p, at, s, rows, true, *fetched);
    hy_scan_store_values<THREADS>(p, at, rows, v, fetched->values, s.w);
    hy_scan_fetch_rows<KIND, THREADS>(p, at, next, true, v, NULL, fetched);
    __syncthreads();
    if (hy_scan_by_channel<KIND>(p)) {
        hy_scan_factors<THREADS>(p, s, 0);
        hy_scan_scale<KIND, THREADS>(p, s, true);
        __syncthreads();
    }
    hy_tile_mul<TENSOR, false, false>({(hy_scan_is_delta<KIND>(p) ? 2 : 1) * HY_TILE, p.width, p.kp,
                                       s.read, s.state, p.lk, p.lv, s.values, p.lv, false, NULL});
    hy_scan_pairs<KIND, THREADS>(p, s);
    __syncthreads();
    if (hy_scan_is_delta<KIND>(p)) {
        substitute(p, at, s, rows);
        __syncthreads();
    }
    hy_tile_mul<TENSOR, false, false>(
        {HY_TILE, p.width, HY_TILE, s.pair, s.w, HY_PAIR_LD, p.lv, s.values, p.lv, true, NULL});
    hy_scan_advance<TENSOR>(p, s);
    __syncthreads();
    const int64_t first = at.head * p.v + at.column;
    HY_SCAN_EACH(rows.count, at.columns, i, c)
    hy_row(p.out[HY_SCAN_O], rows.row + i)[first + c] = s.values[i * p.lv + c];
}

template <bool TENSOR, bool WIDE, int KIND, int THREADS>
__global__ static void __launch_bounds__(THREADS, THREADS == HY_TILE_THREADS ? 2 : 5)
    forward(struct hy_scan_plan p)
{
    HY_SHARED(float, shared);
    const hy_scan_place at(p, blockIdx.x);
    struct hy_scan_space s = {};
    struct hy_scan_fetched fetched = {};
    struct hy_scan_rows rows = hy_scan_rows_of(p, at, 0, 0);
    hy_scan_fetch_rows<KIND, THREADS>(p, at, rows, true, p.in[HY_SCAN_V], NULL, &fetched);
    hy_scan_lay_out(p, WIDE ? hy_row(p.work, blockIdx.x) : shared, &s);
    hy_scan_load_state(p, at, p.in[HY_SCAN_H0], hy_scan_state_row(p, at), s.state);
    __syncthreads();
    for (int64_t chunk = 0; chunk < p.chunks; chunk++) {
        hy_scan_store_state(p, at, p.out[HY_SCAN_STATES], hy_scan_kept_row(p, at, chunk), s.state);
        for (int64_t block = 0; block < p.blocks && rows.count > 0; block++) {
            struct hy_scan_rows next = {};
            if (block + 1 < p.blocks)
                next = hy_scan_rows_of(p, at, chunk, block + 1);
            if (next.count <= 0 && chunk + 1 < p.chunks)
                next = hy_scan_rows_of(p, at, chunk + 1, 0);
            forward_block<TENSOR, KIND, THREADS>(p, at, s, rows, next, &fetched);
            rows = next;
        }
    }
    hy_scan_store_state(p, at, p.out[HY_SCAN_STATES], hy_scan_kept_row(p, at, p.chunks), s.state);
    hy_scan_store_state(p, at, p.out[HY_SCAN_HT], hy_scan_state_row(p, at), s.state);
}

typedef void kernel(struct hy_scan_plan);

template <bool TENSOR, int THREADS> static kernel *kernel_of(const struct hy_scan_plan &p)
{
    if (p.decay == HY_DECAY_CHANNEL)
        return p.delta ? forward<TENSOR, false, HY_SCAN_CHANNELS | HY_SCAN_DELTA, THREADS>
                       : forward<TENSOR, false, HY_SCAN_CHANNELS, THREADS>;
    return p.delta ? forward<TENSOR, false, HY_SCAN_DELTA, THREADS>
                   : forward<TENSOR, false, 0, THREADS>;
}

template <bool TENSOR> static kernel *kernel_for(const struct hy_scan_plan &p)
{
    if (p.work.data)
        return forward<TENSOR, true, HY_SCAN_ASK, HY_TILE_THREADS>;
    return p.threads == HY_TILE_THREADS ? kernel_of<TENSOR, HY_TILE_THREADS>(p)
                                        : kernel_of<TENSOR, HY_TILE_THREADS / 2>(p);
}

void hy_scan_launch_forward(const struct hy_op *op, const struct hy_launch *at)
{
    if (hy_scan_by_chunks(op)) {
        hy_scan_chunks_forward(op, at);
        return;
    }
    int64_t used = 0;
    const struct hy_scan_plan p = hy_scan_plan_on_device(op, &used);
    hy_start_large(at, hy_scan_grid(p, at), dim3((unsigned)p.threads), hy_scan_shared(p),
                   hy_scan_on_tensor_cores(op) ? kernel_for<true>(p) : kernel_for<false>(p), p);
}
