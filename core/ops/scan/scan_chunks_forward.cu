/* scan_chunks_forward.cu - the output of the scan by chunks, of all chunks at once. */
#include "core/ops/scan/scan_chunks.cuh"

enum { THREADS = 256 };

/* A block of threads takes a chunk of a group of heads that read the same q and k, of which it
 * keeps the products in registers, unless a head is ALONE. Two warps take the same rows and every
 * second strip each. */
template <bool ALONE>
__global__ static void __launch_bounds__(THREADS, ALONE ? 3 : 2) read(struct hy_chunk_plan p)
{
    HY_SHARED(uint32_t, shared);
    uint32_t *q = shared, *k = q + HY_CHUNK * HY_CHUNK_LD, *v = k + HY_CHUNK * HY_CHUNK_LD;
    uint32_t *state = v + HY_CHUNK * HY_CHUNK_LD;
    float *sums = reinterpret_cast<float *>(state + p.kp * HY_CHUNK_LD);

    const int warp = (int)threadIdx.x / 32, band = warp % HY_CHUNK_BANDS;
    const hy_chunk_lane l;
    const unsigned groups = (unsigned)p.groups, chunks = (unsigned)p.chunks;
    const int group = (int)(blockIdx.x % groups), chunk = (int)(blockIdx.x / groups % chunks);
    const int sequence = (int)(blockIdx.x / groups / chunks);
    const int key = group * p.group / (int)p.sharing * p.k;
    const struct hy_chunk_rows rows = hy_chunk_rows_of(p, sequence, chunk);
    const bool entered = chunk > 0 || !p.from_zero;
    float dots[ALONE ? 1 : HY_CHUNK_BANDS][2][4];

    hy_chunk_load(hy_chunk_part_of(p.in[HY_SCAN_Q], rows.row, key, rows.count, p.k), HY_CHUNK, p.kp,
                  q);
    hy_chunk_load(hy_chunk_part_of(p.in[HY_SCAN_K], rows.row, key, rows.count, p.k), HY_CHUNK, p.kp,
                  k);
    for (int n = 0; n < (ALONE ? 1 : p.group); n++) {
        const int head = group * p.group + n;
        if (n > 0)
            __syncthreads();
        hy_chunk_load(hy_chunk_part_of(p.in[HY_SCAN_V], rows.row, head * p.v, rows.count, p.v),
                      HY_CHUNK, p.vp, v);
        if (entered)
            hy_chunk_load(
                hy_chunk_part_of(p.states,
                                 ((sequence * p.heads + head) * p.slots + chunk) * p.kept_rows, 0,
                                 p.k, p.v),
                p.kp, p.vp, state);
        if (warp == 0)
            hy_chunk_sum_decays(hy_chunk_take_decays(p, rows, head), sums);
        __syncthreads();

        const float own[2] = {sums[band * HY_CHUNK_BAND + l.g],
                              sums[band * HY_CHUNK_BAND + l.g + 8]};
        uint32_t pairs[HY_CHUNK_BANDS][4];
#pragma unroll
        for (int j = 0; j < HY_CHUNK_BANDS; j++) {
            if (j > band)
                continue;
            float(*of)[4] = dots[ALONE ? 0 : j];
            if (n == 0)
                hy_chunk_dots(of, q, band * HY_CHUNK_BAND, k, j * HY_CHUNK_BAND, p.kp, l);
            float c[2][4];
#pragma unroll
            for (int i = 0; i < 8; i++) {
                const int column = i / 4 * 8 + 2 * l.t + i % 2;
                const float decay = exp2f(own[i / 2 % 2] - sums[j * HY_CHUNK_BAND + column]);
                const bool seen = j < band || column <= l.g + i / 2 % 2 * 8;
                c[i / 4][i % 4] = seen ? p.scale * decay * of[i / 4][i % 4] : 0;
            }
            hy_chunk_turn(c, pairs[j]);
        }
        const float into[2] = {p.scale * exp2f(own[0]), p.scale * exp2f(own[1])};
        for (int column = warp / HY_CHUNK_BANDS * HY_CHUNK_STRIP; column < p.vp;
             column += THREADS / 32 / HY_CHUNK_BANDS * HY_CHUNK_STRIP) {
            float o[4][4] = {};
            if (entered)
                hy_chunk_mul<true>(o, q, band * HY_CHUNK_BAND, p.kp, state, column, l);
#pragma unroll
            for (int i = 0; i < 16; i++)
                o[i / 4][i % 4] *= into[i / 2 % 2];
#pragma unroll
            for (int j = 0; j < HY_CHUNK_BANDS; j++)
                if (j <= band)
                    hy_chunk_strip<true>(o, pairs[j], v, j * HY_CHUNK_BAND, column, l);
            hy_chunk_give(p.out[HY_SCAN_O], rows, band, head * p.v, column, p.v, o, l);
        }
    }
}

void hy_scan_chunks_forward(const struct hy_op *op, const struct hy_launch *at)
{
    int64_t used = 0;
    const struct hy_chunk_plan p = hy_chunk_plan_of(op, &used);
    if (p.chunks > 1 || !p.from_zero || p.out[HY_SCAN_HT].data || p.out[HY_SCAN_STATES].data)
        hy_chunk_start_walk(at, p, false,
                            {p.in[HY_SCAN_K], p.in[HY_SCAN_V], p.in[HY_SCAN_H0], p.out[HY_SCAN_HT],
                             p.states, p.slots, p.kept_rows});
    const int words = (3 * HY_CHUNK + p.kp) * HY_CHUNK_LD + HY_CHUNK;
    const int64_t blocks = p.batch * p.chunks * p.groups;
    hy_start_large(at, dim3((unsigned)blocks, 1, (unsigned)at->replicas), dim3(THREADS),
                   sizeof(uint32_t) * (size_t)words, p.group == 1 ? read<true> : read<false>, p);
}
