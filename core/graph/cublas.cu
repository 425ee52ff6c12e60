/* cublas.cu - cuBLAS, found when it is needed, and the products of all replicas in one call. */
#include "core/graph/cuda.cuh"

#include <cuda_bf16.h>
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>

static cublasComputeType_t compute_type(const struct hy_launch *at)
{
    switch (at->graph->shape.precision) {
    case HY_PRECISION_TF32:
        return CUBLAS_COMPUTE_32F_FAST_TF32;
    case HY_PRECISION_BF16:
        return CUBLAS_COMPUTE_32F_FAST_16BF;
    default:
        return CUBLAS_COMPUTE_32F;
    }
}

/* Opens one of the versions whose calls are those of the header, that of the toolkit that hylas was
 * built with before others, since a driver need not serve what is newer; by the loader's own
 * search, then from that toolkit. It is never closed: what it registered with the driver stays. */
static void *open_library(struct hy_err *e)
{
    static const int majors[] = {CUDART_VERSION / 1000, 13, 12};
    static const char *const folders[] = {"", HY_CUDA_LIBRARIES "/"};
    char name[sizeof HY_CUDA_LIBRARIES + 32], why[256] = "";
    for (const char *folder : folders)
        for (int major : majors) {
            snprintf(name, sizeof name, "%slibcublas.so.%d", folder, major);
            if (void *library = dlopen(name, RTLD_NOW))
                return library;
            if (!*why)
                snprintf(why, sizeof why, "%s", dlerror());
        }
    hy_fail(
        e, HY_E_ENV,
        "cuBLAS is not found: neither libcublas.so.13 nor libcublas.so.12 is in the loader's path "
        "(LD_LIBRARY_PATH): %s",
        why);
    return NULL;
}

template <typename F> static int find(void *library, const char *name, F *out, struct hy_err *e)
{
    *out = (F)dlsym(library, name);
    return *out ? HY_OK : hy_fail(e, HY_E_ENV, "this cuBLAS lacks %s", name);
}

int hy_cublas_load(struct hy_cublas *b, struct hy_err *e)
{
    int rc, version = 0;
    void *library = open_library(e);
    if (!library)
        return HY_E_ENV;
    if ((rc = find(library, "cublasCreate_v2", &b->create, e)) ||
        (rc = find(library, "cublasDestroy_v2", &b->destroy, e)) ||
        (rc = find(library, "cublasGetVersion_v2", &b->get_version, e)) ||
        (rc = find(library, "cublasSetStream_v2", &b->set_stream, e)) ||
        (rc = find(library, "cublasSetWorkspace_v2", &b->set_workspace, e)) ||
        (rc = find(library, "cublasGemmStridedBatchedEx", &b->gemm, e)))
        return rc;
    b->get_version(NULL, &version);
    snprintf(b->version, sizeof b->version, "cuBLAS %d.%d.%d", version / 10000, version / 100 % 100,
             version % 100);
    return HY_OK;
}

/* Random bf16 numbers in (-1, 1): on zeros a device runs faster than on any real data. */
__global__ static void randomise(__nv_bfloat16 *x, int64_t count)
{
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count;
         i += (int64_t)gridDim.x * blockDim.x) {
        uint32_t h = (uint32_t)i * 2654435761u + 1;
        h = (h ^ h >> 15) * 2246822519u;
        h ^= h >> 13;
        x[i] = __float2bfloat16((float)(int32_t)h * (1.0f / 2147483648.0f));
    }
}

double hy_device_peak(struct hy_device *d)
{
    enum { SIDE = 8192, TRIES = 3, PRODUCTS = 5 };
    const int64_t count = (int64_t)SIDE * SIDE;
    const size_t bytes = 3 * (size_t)count * sizeof(__nv_bfloat16);
    const float one = 1, zero = 0;
    struct hy_launch at = {NULL, d, d->stream, 1, NULL};
    cudaEvent_t start = NULL, end = NULL;
    void *memory = NULL;
    double best = 0;
    int bad = hy_device_alloc(d, bytes, "the measurement of products", &memory, NULL) ||
              cudaEventCreate(&start) || cudaEventCreate(&end);
    __nv_bfloat16 *a = (__nv_bfloat16 *)memory, *b = a + count, *c = b + count;
    if (!bad)
        hy_start(&at, dim3(4096), dim3(256), 0, randomise, a, 2 * count);
    for (int round = 0; round <= TRIES && !bad; round++) { /* the first only warms up */
        float milliseconds = 0;
        bad |= cudaEventRecord(start, d->stream) != cudaSuccess;
        for (int i = 0; i < PRODUCTS; i++)
            bad |= d->cublas.gemm(d->blas, CUBLAS_OP_N, CUBLAS_OP_N, SIDE, SIDE, SIDE, &one, a,
                                  CUDA_R_16BF, SIDE, 0, b, CUDA_R_16BF, SIDE, 0, &zero, c,
                                  CUDA_R_16BF, SIDE, 0, 1, CUBLAS_COMPUTE_32F,
                                  CUBLAS_GEMM_DEFAULT) != CUBLAS_STATUS_SUCCESS;
        bad |= cudaEventRecord(end, d->stream) != cudaSuccess ||
               cudaEventSynchronize(end) != cudaSuccess ||
               cudaEventElapsedTime(&milliseconds, start, end) != cudaSuccess;
        const double rate = 2.0 * PRODUCTS * SIDE * (double)count / (milliseconds * 1e-3);
        if (!bad && round && rate > best)
            best = rate;
    }
    if (start)
        cudaEventDestroy(start);
    if (end)
        cudaEventDestroy(end);
    hy_device_free(d, memory, bytes);
    return bad ? 0 : best;
}

/* A stack of matrices as cuBLAS takes it. */
struct operand {
    const void *data;
    int64_t ld, stride;
    int turned;
};

/* cuBLAS counts by columns: row-major C = A B is C' = B' A' to it, every matrix as it lies. */
static void multiply(const struct hy_launch *at, int64_t m, int64_t n, int64_t k, float alpha,
                     struct operand a, struct operand b, cudaDataType type,
                     cublasComputeType_t compute, float beta, const struct hy_span &c)
{
    struct hy_err *e = &at->graph->err;
    if (e->code)
        return;
    if (m > INT_MAX || n > INT_MAX || k > INT_MAX || a.ld > INT_MAX || b.ld > INT_MAX ||
        c.ld > INT_MAX) {
        hy_fail(e, HY_E_USAGE, "a product of [%lld, %lld] by [%lld, %lld] is too large for cuBLAS",
                (long long)m, (long long)k, (long long)k, (long long)n);
        return;
    }
    const cublasStatus_t status = at->device->cublas.gemm(
        at->device->blas, b.turned ? CUBLAS_OP_T : CUBLAS_OP_N,
        a.turned ? CUBLAS_OP_T : CUBLAS_OP_N, (int)n, (int)m, (int)k, &alpha, b.data, type,
        (int)b.ld, b.stride, a.data, type, (int)a.ld, a.stride, &beta, c.data, CUDA_R_32F,
        (int)c.ld, c.stride, at->replicas, compute, CUBLAS_GEMM_DEFAULT);
    if (status != CUBLAS_STATUS_SUCCESS)
        hy_fail(e, HY_E_RUN, "%s: cuBLAS refused a product of [%lld, %lld] by [%lld, %lld]: %d",
                at->device->name, (long long)m, (long long)k, (long long)k, (long long)n,
                (int)status);
}

void hy_cuda_gemm(const struct hy_launch *at, int trans_a, int trans_b, int64_t m, int64_t n,
                  int64_t k, float alpha, struct hy_span a, struct hy_span b, float beta,
                  struct hy_span c)
{
    multiply(at, m, n, k, alpha, {a.data, a.ld, a.stride, trans_a},
             {b.data, b.ld, b.stride, trans_b}, CUDA_R_32F, compute_type(at), beta, c);
}

void hy_cuda_gemm_half(const struct hy_launch *at, int trans_a, int trans_b, int64_t m, int64_t n,
                       int64_t k, float alpha, struct hy_half_span a, struct hy_half_span b,
                       float beta, struct hy_span c)
{
    multiply(at, m, n, k, alpha, {a.data, a.ld, a.stride, trans_a},
             {b.data, b.ld, b.stride, trans_b}, CUDA_R_16BF, CUBLAS_COMPUTE_32F, beta, c);
}
