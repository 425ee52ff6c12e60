#include "core/ops/scan/scan.cuh"
#include "core/ops/scan/scan_chunks.cuh"

/* y_i -= sum over j < i of pair_ij w_j, with w_j = beta_j y_j; a thread takes a column. */
__device__ static inline void substitute(const struct hy_scan_plan &p,
                                         const struct hy_scan_place &at,
                                         const struct hy_scan_space &s, struct hy_scan_rows rows)
{
    const float *pair = s.pair + HY_TILE * HY_PAIR_LD, *from_k = s.values + HY_TILE * p.lv;
    const struct hy_span v = p.in[HY_SCAN_V], errors = p.out[HY_SCAN_ERRORS];
    const int64_t first = at.head * p.v + at.column;
    for (int c = (int)threadIdx.x; c < p.width; c += (int)blockDim.x) {
        float y[HY_TILE];
#pragma unroll
        for (int i = 0; i < HY_TILE; i++)
            y[i] = i < rows.count && c < at.columns
                       ? hy_row(v, rows.row + i)[first + c] - from_k[i * p.lv + c]
                       : 0;
#pragma unroll
        for (int j = 0; j < HY_TILE; j++) {
            const float written = s.beta[j] * y[j];
            s.w[j * p.lv + c] = written;
            if (errors.data && j < rows.count && c < at.columns)
                hy_row(errors, rows.row + j)[first + c] = y[j];
#pragma unroll
            for (int i = j + 1; i < HY_TILE; i++)
                y[i] -= pair[i * HY_PAIR_LD + j] * written;
        }
    }
}

template <bool TENSOR>
__device__ static void forward_block(const struct hy_scan_plan &p, const struct hy_scan_place &at,
                                     const struct hy_scan_space &s, struct hy_scan_rows rows)
{
    hy_scan_load_rows(p, at, rows, true, s);
    if (!p.delta)
        hy_scan_load_values(p, at, p.in[HY_SCAN_V], rows, s.w);
    __syncthreads();
    hy_scan_decays(p, s);
    __syncthreads();
    hy_scan_pairs(p, s);
    hy_tile_mul<TENSOR, false, false>({(p.delta ? 2 : 1) * HY_TILE, p.width, p.kp, s.read, s.state,
                                       p.lk, p.lv, s.values, p.lv, false, NULL});
    __syncthreads();
    if (p.delta) {
        substitute(p, at, s, rows);
        __syncthreads();
    }
    hy_tile_mul<TENSOR, false, false>(
        {HY_TILE, p.width, HY_TILE, s.pair, s.w, HY_PAIR_LD, p.lv, s.values, p.lv, true, NULL});
    hy_scan_advance<TENSOR>(p, s);
    __syncthreads();
    const int64_t first = at.head * p.v + at.column;
    HY_SCAN_EACH(rows.count, p.width, i, c)
    if (c < at.columns)
        hy_row(p.out[HY_SCAN_O], rows.row + i)[first + c] = s.values[i * p.lv + c];
    __syncthreads();
}

template <bool TENSOR, bool WIDE>
__global__ static void __launch_bounds__(HY_TILE_THREADS, 2) forward(struct hy_scan_plan p)
{
    HY_SHARED(float, shared);
    const hy_scan_place at(p, blockIdx.x);
    struct hy_scan_space s = {};
    hy_scan_lay_out(p, WIDE ? hy_row(p.work, blockIdx.x) : shared, &s);
    hy_scan_load_state(p, at, p.in[HY_SCAN_H0], hy_scan_state_row(p, at), s.state);
    __syncthreads();
    for (int64_t chunk = 0; chunk < p.chunks; chunk++) {
        hy_scan_store_state(p, at, p.out[HY_SCAN_STATES], hy_scan_kept_row(p, at, chunk), s.state);
        for (int64_t block = 0; block < p.blocks; block++) {
            const struct hy_scan_rows rows = hy_scan_rows_of(p, at, chunk, block);
            if (rows.count > 0)
                forward_block<TENSOR>(p, at, s, rows);
        }
    }
    hy_scan_store_state(p, at, p.out[HY_SCAN_STATES], hy_scan_kept_row(p, at, p.chunks), s.state);
    hy_scan_store_state(p, at, p.out[HY_SCAN_HT], hy_scan_state_row(p, at), s.state);
}

void hy_scan_launch_forward(const struct hy_op *op, const struct hy_launch *at)
{
    if (hy_scan_by_chunks(op)) {
        hy_scan_chunks_forward(op, at);
        return;
    }
    int64_t used = 0;
    const struct hy_scan_plan p = hy_scan_plan_on_device(op, &used);
    const bool wide = p.work.data != NULL;
    hy_start_large(at, hy_scan_grid(p, at), dim3(HY_TILE_THREADS), hy_scan_shared(p),
                   hy_scan_on_tensor_cores(op) ? wide ? forward<true, true> : forward<true, false>
                   : wide ? forward<false, true>
                                               : forward<false, false>,
                   p);
}
