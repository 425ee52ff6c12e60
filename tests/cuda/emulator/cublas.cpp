/* cublas.cpp - the part of cuBLAS that hylas uses, by plain loops; operands are rounded as the
 * type of computation says. */
#include "tests/cuda/emulator/cublas_v2.h"
#include "tests/cuda/emulator/dlfcn.h"

#include <vector>

struct hy_emulated_cublas {
    cudaStream_t stream;
};

cublasStatus_t cublasCreate_v2(cublasHandle_t *out)
{
    *out = new hy_emulated_cublas();
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy_v2(cublasHandle_t handle)
{
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetVersion_v2(cublasHandle_t, int *version)
{
    *version = 120000;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream)
{
    handle->stream = stream;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t, void *, size_t)
{
    return CUBLAS_STATUS_SUCCESS;
}

/* x with `bits` of its significand cut off, rounded to nearest even. */
static float rounded(float x, int bits)
{
    const unsigned u = __float_as_uint(x), half = (1u << bits) >> 1;
    if (!bits || (u & 0x7f800000u) == 0x7f800000u)
        return x;
    return __uint_as_float((u + half - 1 + (u >> bits & 1)) & ~((1u << bits) - 1));
}

/* A stack of matrices, by columns as cuBLAS has them. */
struct operand {
    const void *data;
    cudaDataType type;
    bool transposed;
    int ld;
    long long stride;
    int cut; /* bits of the significand */

    /* Matrix `batch` as rows x cols doubles, its rows or, if `by_columns`, its columns contiguous.
     */
    std::vector<double> matrix(int batch, int rows, int cols, bool by_columns) const
    {
        std::vector<double> out((size_t)rows * (size_t)cols);
        for (int row = 0; row < rows; row++)
            for (int col = 0; col < cols; col++) {
                const long long i = batch * stride + (transposed ? col + (long long)row * ld
                                                                 : row + (long long)col * ld);
                const size_t at = by_columns ? (size_t)col * (size_t)rows + (size_t)row
                                             : (size_t)row * (size_t)cols + (size_t)col;
                out[at] = type == CUDA_R_16BF
                              ? __uint_as_float((unsigned)((const uint16_t *)data)[i] << 16)
                              : rounded(((const float *)data)[i], cut);
            }
        return out;
    }
};

static cublasStatus_t gemm(cublasHandle_t handle, cublasOperation_t trans_a,
                           cublasOperation_t trans_b, int m, int n, int k, const void *alpha,
                           const void *a, cudaDataType type_a, int lda, long long stride_a,
                           const void *b, cudaDataType type_b, int ldb, long long stride_b,
                           const void *beta, void *c, cudaDataType type_c, int ldc,
                           long long stride_c, int batch, cublasComputeType_t compute,
                           cublasGemmAlgo_t)
{
    const int cut = compute == CUBLAS_COMPUTE_32F_FAST_16BF   ? 16
                    : compute == CUBLAS_COMPUTE_32F_FAST_TF32 ? 13
                                                              : 0;
    const operand x = {a, type_a, trans_a == CUBLAS_OP_T, lda, stride_a, cut};
    const operand y = {b, type_b, trans_b == CUBLAS_OP_T, ldb, stride_b, cut};
    const float scale = *(const float *)alpha, old = *(const float *)beta;
    if (lda < (x.transposed ? k : m) || ldb < (y.transposed ? n : k) || ldc < m || m < 1 || n < 1 ||
        k < 1 || batch < 1 || type_c != CUDA_R_32F || type_a != type_b)
        return CUBLAS_STATUS_INVALID_VALUE;
    hy_emulator::enqueue(handle->stream, [=] {
        for (int r = 0; r < batch; r++) {
            const std::vector<double> rows = x.matrix(r, m, k, false);
            const std::vector<double> cols = y.matrix(r, k, n, true);
            for (int col = 0; col < n; col++)
                for (int row = 0; row < m; row++) {
                    float *to = (float *)c + r * stride_c + row + (long long)col * ldc;
                    double sum = 0;
                    for (size_t i = 0; i < (size_t)k; i++)
                        sum +=
                            rows[(size_t)row * (size_t)k + i] * cols[(size_t)col * (size_t)k + i];
                    *to = scale * (float)sum + (old != 0 ? old * *to : 0);
                }
        }
    });
    return CUBLAS_STATUS_SUCCESS;
}

void *hy_emulated_symbol(const char *name)
{
    static const struct {
        const char *name;
        void *function;
    } symbols[] = {
        {"cublasCreate_v2", (void *)cublasCreate_v2},
        {"cublasDestroy_v2", (void *)cublasDestroy_v2},
        {"cublasGetVersion_v2", (void *)cublasGetVersion_v2},
        {"cublasSetStream_v2", (void *)cublasSetStream_v2},
        {"cublasSetWorkspace_v2", (void *)cublasSetWorkspace_v2},
        {"cublasGemmStridedBatchedEx", (void *)gemm},
    };
    for (const auto &s : symbols)
        if (!strcmp(s.name, name))
            return s.function;
    return nullptr;
}
