/* cublas.cpp - the part of cuBLAS that hylas uses, by plain loops; operands are rounded as the
 * type of computation says. */
#include "tests/emulator/cublas_v2.h"
#include "tests/emulator/dlfcn.h"

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

struct operand {
    const void *data;
    cudaDataType type;
    int transposed, ld;
    long long stride;
    int cut; /* bits of the significand */

    float at(int batch, int row, int col) const
    {
        const long long i =
            batch * stride + (transposed ? col + (long long)row * ld : row + (long long)col * ld);
        if (type == CUDA_R_16BF)
            return __uint_as_float((unsigned)((const uint16_t *)data)[i] << 16);
        return rounded(((const float *)data)[i], cut);
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
        for (int r = 0; r < batch; r++)
            for (int col = 0; col < n; col++)
                for (int row = 0; row < m; row++) {
                    float *to = (float *)c + r * stride_c + row + (long long)col * ldc;
                    double sum = 0;
                    for (int i = 0; i < k; i++)
                        sum += (double)x.at(r, row, i) * (double)y.at(r, i, col);
                    *to = scale * (float)sum + (old != 0 ? old * *to : 0);
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
