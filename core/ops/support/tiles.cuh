/* tiles.cuh - products of matrices that lie in memory of one block, by all its threads: on tensor
 * cores (tf32 operands, float32 sums) or with float32 operands.
 *
 * Matrices are row-major, their sides multiples of HY_TILE, what is beyond the data zero. A row has
 * hy_tile_ld() floats, so that rows meet different banks, and a matrix begins at a multiple of 8
 * floats: both as fragments ask for. */
#ifndef HY_OPS_SUPPORT_TILES_CUH
#define HY_OPS_SUPPORT_TILES_CUH

#include <mma.h>

#include "core/ops/support/pack.cuh"

enum { HY_TILE = 16, HY_TILE_THREADS = 256 };

__host__ __device__ static inline int hy_tile_up(int64_t n)
{
    return (int)((n + HY_TILE - 1) / HY_TILE * HY_TILE);
}

__host__ __device__ static inline int hy_tile_ld(int width)
{
    return width + 4;
}

/* One that a block takes part in: c = [add: factor * c +] op(a) op(b), op(a) [m, k], op(b) [k, n];
 * factor: of each row of c, NULL: 1. */
struct hy_product {
    int m, n, k;
    const float *a, *b;
    int lda, ldb;
    float *c;
    int ldc;
    bool add;
    const float *factor;
};

/* Four neighbours in a row. */
__device__ static inline void hy_tile_read(const float *from, float *to)
{
    const hy_pack<4> p = *reinterpret_cast<const hy_pack<4> *>(from);
#pragma unroll
    for (int i = 0; i < 4; i++)
        to[i] = p.at[i];
}

/* A thread takes M x N elements of c. Along an operand's rows that are stored as rows they lie
 * apart, so that neighbouring threads read neighbouring rows. */
template <int M, int N, bool TA, bool TB>
__device__ static inline void hy_tile_mul_plain(const struct hy_product &p)
{
    const int down = p.m / M, across = p.n / N;
    for (int t = (int)threadIdx.x; t < down * across; t += (int)blockDim.x) {
        const int row = TA ? t / across * M : t / across, rows = TA ? 1 : down;
        const int col = TB ? t % across : t % across * N, cols = TB ? across : 1;
        float sum[M][N] = {};
        for (int k = 0; k < p.k; k += 4) {
            float a[4][4], b[4][4]; /* [row or k][k or row], [k or column][column or k] */
#pragma unroll
            for (int i = 0; i < (TA ? 4 : M); i++)
                if (!TA)
                    hy_tile_read(p.a + (row + i * rows) * p.lda + k, a[i]);
                else if (M == 4)
                    hy_tile_read(p.a + (k + i) * p.lda + row, a[i]);
                else
                    a[i][0] = p.a[(k + i) * p.lda + row];
#pragma unroll
            for (int j = 0; j < (TB ? N : 4); j++)
                if (TB)
                    hy_tile_read(p.b + (col + j * cols) * p.ldb + k, b[j]);
                else if (N == 4)
                    hy_tile_read(p.b + (k + j) * p.ldb + col, b[j]);
                else
                    b[j][0] = p.b[(k + j) * p.ldb + col];
#pragma unroll
            for (int l = 0; l < 4; l++)
#pragma unroll
                for (int i = 0; i < M; i++)
#pragma unroll
                    for (int j = 0; j < N; j++)
                        sum[i][j] += (TA ? a[l][i] : a[i][l]) * (TB ? b[j][l] : b[l][j]);
        }
#pragma unroll
        for (int i = 0; i < M; i++)
#pragma unroll
            for (int j = 0; j < N; j++) {
                float *c = p.c + (row + i * rows) * p.ldc + col + j * cols;
                const float factor = p.factor ? p.factor[row + i * rows] : 1;
                *c = p.add ? factor * *c + sum[i][j] : sum[i][j];
            }
    }
}

template <bool TURNED> struct hy_layout {
    typedef nvcuda::wmma::row_major type;
};
template <> struct hy_layout<true> {
    typedef nvcuda::wmma::col_major type;
};

template <typename F> __device__ static inline void hy_tile_to_tf32(F &f)
{
#pragma unroll
    for (int i = 0; i < F::num_elements; i++)
        f.x[i] = nvcuda::wmma::__float_to_tf32(f.x[i]);
}

/* A warp takes 16 x 16 elements of c. */
template <bool TA, bool TB>
__device__ static inline void hy_tile_mul_tensor(const struct hy_product &p)
{
    using namespace nvcuda::wmma;
    enum { STEP = 8 };
    const int across = p.n / HY_TILE, tiles = p.m / HY_TILE * across;
    for (int t = (int)threadIdx.x / 32; t < tiles; t += (int)blockDim.x / 32) {
        const int row = t / across * HY_TILE, col = t % across * HY_TILE;
        float *c = p.c + row * p.ldc + col;
        fragment<accumulator, HY_TILE, HY_TILE, STEP, float> sum;
        if (p.add && p.factor) {
            for (int i = (int)threadIdx.x % 32; i < HY_TILE * HY_TILE; i += 32)
                c[i / HY_TILE * p.ldc + i % HY_TILE] *= p.factor[row + i / HY_TILE];
            __syncwarp();
        }
        if (p.add)
            load_matrix_sync(sum, c, (unsigned)p.ldc, mem_row_major);
        else
            fill_fragment(sum, 0.0f);
        for (int k = 0; k < p.k; k += STEP) {
            fragment<matrix_a, HY_TILE, HY_TILE, STEP, precision::tf32,
                     typename hy_layout<TA>::type>
                a;
            fragment<matrix_b, HY_TILE, HY_TILE, STEP, precision::tf32,
                     typename hy_layout<TB>::type>
                b;
            load_matrix_sync(a, TA ? p.a + k * p.lda + row : p.a + row * p.lda + k,
                             (unsigned)p.lda);
            load_matrix_sync(b, TB ? p.b + col * p.ldb + k : p.b + k * p.ldb + col,
                             (unsigned)p.ldb);
            hy_tile_to_tf32(a);
            hy_tile_to_tf32(b);
            mma_sync(sum, a, b, sum);
        }
        store_matrix_sync(c, sum, (unsigned)p.ldc, mem_row_major);
    }
}

/* For all threads of the block, between barriers. */
template <bool TENSOR, bool TA, bool TB>
__device__ static inline void hy_tile_mul(const struct hy_product &p)
{
    if (TENSOR)
        hy_tile_mul_tensor<TA, TB>(p);
    else if (p.m * p.n >= 16 * (int)blockDim.x)
        hy_tile_mul_plain<4, 4, TA, TB>(p);
    else if (p.m * p.n >= 4 * (int)blockDim.x)
        hy_tile_mul_plain<1, 4, TA, TB>(p);
    else
        hy_tile_mul_plain<1, 1, TA, TB>(p);
}

/* The sum of x over a whole warp; all lanes get it. */
__device__ static inline float hy_warp_sum(float x)
{
#pragma unroll
    for (int bit = 16; bit; bit /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, bit);
    return x;
}

/* As hy_start, with more shared memory than a kernel has without asking; it has none of its own
 * beside that. It is allowed all that there is, lest a smaller launch take away what a captured one
 * replays with. */
template <typename... P, typename... A>
static inline void hy_start_large(const struct hy_launch *at, dim3 grid, dim3 block, size_t bytes,
                                  void (*kernel)(P...), A... args)
{
    if (bytes > 48 << 10)
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             at->device->shared_most);
    hy_start(at, grid, block, bytes, kernel, args...);
}

#endif
