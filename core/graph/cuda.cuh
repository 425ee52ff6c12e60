/* cuda.cuh - what the twins of operators are written with: the launch, matrices of all replicas,
 * products. The only header that includes CUDA's.
 *
 * docs/cuda.md tells how an operator's .cu is written. */
#ifndef HY_GRAPH_CUDA_CUH
#define HY_GRAPH_CUDA_CUH

#include <cublas_v2.h>
#include <cuda_runtime.h>

extern "C" {
#include "core/graph/device.h"
#include "core/graph/graph.h"
}

/* cuBLAS, loaded when a device is opened: a machine without a GPU need not have it. */
struct hy_cublas {
    char version[32];
    decltype(&cublasCreate_v2) create;
    decltype(&cublasDestroy_v2) destroy;
    decltype(&cublasGetVersion_v2) get_version;
    decltype(&cublasSetStream_v2) set_stream;
    decltype(&cublasSetWorkspace_v2) set_workspace;
    /* cublasGemmStridedBatchedEx, which C++ overloads. */
    cublasStatus_t (*gemm)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int m, int n,
                           int k, const void *alpha, const void *a, cudaDataType, int lda,
                           long long stride_a, const void *b, cudaDataType, int ldb,
                           long long stride_b, const void *beta, void *c, cudaDataType, int ldc,
                           long long stride_c, int batch, cublasComputeType_t, cublasGemmAlgo_t);
};
int hy_cublas_load(struct hy_cublas *b, struct hy_err *e);

struct hy_device {
    int ordinal;
    char name[288];
    int processors;      /* streaming multiprocessors */
    int shared_most;     /* bytes of shared memory that a block may opt in to */
    cudaStream_t stream; /* all work, in order */
    struct hy_cublas cublas;
    cublasHandle_t blas;
    void *workspace;   /* cuBLAS's: it must not allocate while a step is captured */
    size_t bytes;      /* of its memory */
    size_t used, peak; /* by this process */
};

/* Where a twin launches: borrowed for the call. */
struct hy_launch {
    struct hy_graph *graph;
    struct hy_device *device;
    cudaStream_t stream;
    int replicas;
    const int *position; /* on the device: graph->position, which changes under a captured launch */
};

/* Sets e from a CUDA error that came up in `doing`, naming the device; 0 where there is none. */
int hy_cuda_check(const struct hy_device *d, cudaError_t error, const char *doing,
                  struct hy_err *e);

/* Launches a kernel. All launches are written so; the executor notices a failure. (A call, not
 * <<<>>>, so that a C++ compiler can build kernels for the tests that run them on the CPU.) */
template <typename... P, typename... A>
static inline void hy_start(const struct hy_launch *at, dim3 grid, dim3 block, size_t shared_bytes,
                            void (*kernel)(P...), A... args)
{
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = at->stream;
    cudaLaunchKernelEx(&config, kernel, static_cast<P>(args)...);
}

/* The block's dynamic shared memory as an array of `type`. */
#define HY_SHARED(type, name)                                   \
    extern __shared__ __align__(128) unsigned char hy_shared[]; \
    type *const name = reinterpret_cast<type *>(hy_shared)

/* Blocks that cover `count` things, `each` per block, for all replicas: (x, 1, replica). Kernels
 * walk their things in strides of the grid, so x may be cut off. */
static inline dim3 hy_grid(const struct hy_launch *at, int64_t count, int64_t each)
{
    const int64_t blocks = (count + each - 1) / each, most = 1 << 20;
    return dim3((unsigned)(blocks < 1      ? 1
                           : blocks < most ? blocks
                                           : most),
                1, (unsigned)at->replicas);
}

/* A matrix of every replica, as kernels take it. data NULL: there is none. */
struct hy_span {
    float *data;
    int64_t rows, cols, ld;
    int64_t stride; /* elements between replicas; 0: shared */
    int add;        /* gradients: add to what is there */
};

static inline struct hy_span hy_span_of(const struct hy_tensor *t)
{
    struct hy_span s = {};
    if (t) {
        s.data = (float *)t->data;
        s.rows = t->rows;
        s.cols = t->cols;
        s.ld = t->ld;
        s.stride = (int64_t)t->replica_stride;
    }
    return s;
}

/* Where the gradient of in[i] goes. */
static inline struct hy_span hy_span_din(const struct hy_op *op, int i)
{
    struct hy_span s = hy_span_of(op->din[i]);
    s.add = hy_adds(op, i);
    return s;
}

/* A part of the op's scratch: rows x cols floats from float `first` on. */
static inline struct hy_span hy_span_scratch(const struct hy_op *op, int64_t first, int64_t rows,
                                             int64_t cols)
{
    struct hy_span s = {};
    s.data = (float *)op->scratch->data + first;
    s.rows = rows;
    s.cols = s.ld = cols;
    s.stride = (int64_t)op->scratch->replica_stride;
    return s;
}

/* Row i of the replica that this block works on. */
__device__ static inline float *hy_row(const struct hy_span &s, int64_t i)
{
    return s.data + (int64_t)blockIdx.z * s.stride + i * s.ld;
}

/* A column of int32 of every replica: tokens, labels. */
struct hy_column {
    const int32_t *data;
    int64_t rows, stride;
};

static inline struct hy_column hy_column_of(const struct hy_tensor *t)
{
    struct hy_column c = {(const int32_t *)t->data, t->rows, (int64_t)t->replica_stride};
    return c;
}

__device__ static inline int32_t hy_at(const struct hy_column &c, int64_t i)
{
    return c.data[(int64_t)blockIdx.z * c.stride + i];
}

/* How a block walks the elements of a matrix: threads lie along the columns first, so that
 * neighbours read neighbours, whatever the number of columns. */
struct hy_walk {
    dim3 grid, block;
};

static inline struct hy_walk hy_walk_of(const struct hy_launch *at, int64_t rows, int64_t cols)
{
    unsigned wide = 1;
    while (wide < 128 && wide < cols)
        wide *= 2;
    const unsigned tall = 256 / wide;
    return {hy_grid(at, rows, tall), dim3(wide, tall)};
}

/* All elements (row i, column c) of a matrix, shared out among the blocks of a hy_walk. */
#define HY_EACH(rows, cols, i, c)                                                \
    for (int64_t i = (int64_t)blockIdx.x * blockDim.y + threadIdx.y; i < (rows); \
         i += (int64_t)gridDim.x * blockDim.y)                                   \
        for (int64_t c = threadIdx.x; c < (cols); c += blockDim.x)

/* Can the span be read four floats at a time, every row of every replica? */
static inline int hy_by_four(const struct hy_span &s)
{
    return !s.data ||
           (s.cols % 4 == 0 && s.ld % 4 == 0 && s.stride % 4 == 0 && (uintptr_t)s.data % 16 == 0);
}

/* C = alpha op(A) op(B) + beta C in every replica, row-major, as hy_gemm: op(A) is [m, k], op(B)
 * [k, n], C [m, n]; of the spans only data, ld and stride are used. The graph's precision says what
 * multiplies; sums are float32. */
void hy_cuda_gemm(const struct hy_launch *at, int trans_a, int trans_b, int64_t m, int64_t n,
                  int64_t k, float alpha, struct hy_span a, struct hy_span b, float beta,
                  struct hy_span c);

/* A matrix of bfloat16 of every replica: ld and stride count its elements. */
struct hy_half_span {
    uint16_t *data;
    int64_t rows, cols, ld, stride;
};

/* The same product of operands that are bfloat16 already; C and its sums are float32. */
void hy_cuda_gemm_half(const struct hy_launch *at, int trans_a, int trans_b, int64_t m, int64_t n,
                       int64_t k, float alpha, struct hy_half_span a, struct hy_half_span b,
                       float beta, struct hy_span c);

/* Defines the twin of the operator `op`: HY_CUDA_KIND(silu) = {forward, backward, scratch}; at the
 * beginning of a line, where CMake looks for it. */
#define HY_CUDA_KIND(op)                               \
    extern "C" const struct hy_cuda_kind hy_cuda_##op; \
    const struct hy_cuda_kind hy_cuda_##op

#endif
