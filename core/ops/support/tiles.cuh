/* tiles.cuh - products of matrices that lie in memory of one block, by all its threads: on tensor
 * cores (tf32 operands, float32 sums) or with float32 operands.
 *
 * Matrices are row-major, their sides multiples of HY_TILE, what is beyond the data zero. A row has
 * hy_tile_ld() floats, so that rows meet different banks, and a matrix begins at a multiple of 8
 * floats, so that four may be read at once. */
#ifndef HY_OPS_SUPPORT_TILES_CUH
#define HY_OPS_SUPPORT_TILES_CUH

#include "core/ops/support/mma.cuh"
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

/* The work of a block of threads, handed out piece by piece; begins with a multiple of 8 floats. */
struct hy_tile_room {
    float *next;
    __host__ __device__ float *take(int64_t count)
    {
        float *part = next;
        next += (count + 7) / 8 * 8;
        return part;
    }
};

/* rows x cols floats of scratch behind *used; no data while it is not there yet. */
static inline struct hy_span hy_tile_scratch(const struct hy_op *op, int64_t rows, int64_t cols,
                                             int64_t *used)
{
    struct hy_span span = {};
    span.cols = span.ld = cols;
    if (op->scratch)
        span = hy_span_scratch(op, *used, rows, cols);
    *used += (rows * cols + 31) / 32 * 32;
    return span;
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

/* t / n and t % n; n is a power of two nearly always, and a division takes long. */
__device__ static inline void hy_tile_divide(int t, int n, int *quotient, int *rest)
{
    if (n & (n - 1))
        *quotient = (int)((unsigned)t / (unsigned)n);
    else
        *quotient = t >> (__ffs(n) - 1);
    *rest = t - *quotient * n;
}

/* A thread takes M x N elements of c. Along an operand's rows that are stored as rows they lie
 * apart, so that neighbouring threads read neighbouring rows. */
template <int M, int N, bool TA, bool TB>
__device__ static inline void hy_tile_mul_plain(const struct hy_product &p)
{
    const int down = p.m / M, across = p.n / N;
    for (int t = (int)threadIdx.x; t < down * across; t += (int)blockDim.x) {
        int i_tile, j_tile;
        hy_tile_divide(t, across, &i_tile, &j_tile);
        const int row = TA ? i_tile * M : i_tile, rows = TA ? 1 : down;
        const int col = TB ? j_tile : j_tile * N, cols = TB ? across : 1;
        float sum[M][N] = {};
        /* Products of many elements have enough to do while they load, and registers are short. */
#pragma unroll(M *N >= 8 ? 1 : 2)
        for (int k = 0; k < p.k; k += 4) {
            float a[4][4], b[4][4]; /* [row or k][k or row], [k or column][column or k] */
#pragma unroll
            for (int i = 0; i < (TA ? 4 : M); i++)
                if (!TA)
                    hy_tile_read(p.a + (row + i * rows) * p.lda + k, a[i]);
                else if (M == 4)
                    hy_tile_read(p.a + (k + i) * p.lda + row, a[i]);
                else
                    for (int l = 0; l < M; l++)
                        a[i][l] = p.a[(k + i) * p.lda + row + l];
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

/* A warp takes N times 16 x 8 elements of c, side by side. */
template <int N, bool TA, bool TB>
__device__ static inline void hy_tile_mul_tensor(const struct hy_product &p)
{
    enum { STEP = 8 };
    const int across = p.n / (STEP * N), tiles = p.m / HY_TILE * across;
    const int g = (int)threadIdx.x % 32 / 4, t = (int)threadIdx.x % 4;
    for (int tile = (int)threadIdx.x / 32; tile < tiles; tile += (int)blockDim.x / 32) {
        int row, col;
        hy_tile_divide(tile, across, &row, &col);
        row = row * HY_TILE + g;
        col *= STEP * N;
        float sum[N][4] = {};
        hy_pack<2> *c[N][2];
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                c[n][half] = reinterpret_cast<hy_pack<2> *>(p.c + (row + 8 * half) * p.ldc + col +
                                                            n * STEP + 2 * t);
                if (!p.add)
                    continue;
                const float factor = p.factor ? p.factor[row + 8 * half] : 1;
                const hy_pack<2> old = *c[n][half];
                sum[n][2 * half] = factor * old.at[0];
                sum[n][2 * half + 1] = factor * old.at[1];
            }
        const float *from_a = p.a + (TA ? t * p.lda + row : row * p.lda + t);
        const float *from_b = p.b + (TB ? (col + g) * p.ldb + t : t * p.ldb + col + g);
        const int a_down = TA ? 1 : p.lda, a_on = TA ? p.lda : 1;
        const int b_across = TB ? p.ldb : 1, b_on = TB ? 1 : p.ldb;
#pragma unroll 2
        for (int k = 0; k < p.k; k += STEP) {
            uint32_t a[4], b[N][2];
#pragma unroll
            for (int i = 0; i < 4; i++)
                a[i] = hy_mma_tf32_operand(from_a[i % 2 * 8 * a_down + i / 2 * 4 * a_on]);
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int i = 0; i < 2; i++)
                    b[n][i] = hy_mma_tf32_operand(from_b[i * 4 * b_on + n * STEP * b_across]);
            from_a += STEP * a_on;
            from_b += STEP * b_on;
#pragma unroll
            for (int n = 0; n < N; n++)
                hy_mma_tf32(sum[n], a, b[n]);
        }
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int half = 0; half < 2; half++)
                *c[n][half] = {{sum[n][2 * half], sum[n][2 * half + 1]}};
    }
}

/* For all threads of the block, between barriers. */
template <bool TENSOR, bool TA, bool TB>
__device__ static inline void hy_tile_mul(const struct hy_product &p)
{
    const int elements = p.m * p.n, threads = (int)blockDim.x;
    if (TENSOR) {
        /* A warp's lanes have four elements each of 16 x 8. */
        if (elements >= 16 * threads && p.n % 32 == 0)
            hy_tile_mul_tensor<4, TA, TB>(p);
        else if (elements >= 8 * threads)
            hy_tile_mul_tensor<2, TA, TB>(p);
        else
            hy_tile_mul_tensor<1, TA, TB>(p);
    } else if (elements >= 16 * threads) {
        hy_tile_mul_plain<4, 4, TA, TB>(p);
    } else if (elements >= 8 * threads) {
        hy_tile_mul_plain<2, 4, TA, TB>(p);
    } else if (elements >= 4 * threads) {
        hy_tile_mul_plain<1, 4, TA, TB>(p);
    } else {
        hy_tile_mul_plain<1, 1, TA, TB>(p);
    }
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
