/* device_cuda.cu - devices and their memory, by the CUDA runtime. */
#include "core/graph/cuda.cuh"

#include <stdio.h>
#include <stdlib.h>

/* What cuBLAS recommends for its largest devices. */
enum { WORKSPACE = 32 << 20 };

int hy_cuda_check(const struct hy_device *d, cudaError_t error, const char *doing, struct hy_err *e)
{
    if (error == cudaSuccess)
        return HY_OK;
    return hy_fail(e, HY_E_RUN, "%s: %s: %s (%s)", d->name, doing, cudaGetErrorString(error),
                   cudaGetErrorName(error));
}

int hy_device_count(struct hy_err *why)
{
    int count = 0, driver = 0, runtime = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaSuccess && count > 0)
        return count;
    (void)cudaGetLastError();
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (error == cudaErrorNoDevice || error == cudaSuccess) {
        hy_fail(why, HY_E_ENV, "this machine has no CUDA device");
        return 0;
    }
    if (error == cudaErrorInsufficientDriver && !driver) {
        hy_fail(why, HY_E_ENV, "this machine has no CUDA driver");
        return 0;
    }
    if (error == cudaErrorInsufficientDriver)
        hy_fail(why, HY_E_ENV,
                "the driver serves CUDA up to %d.%d, but hylas was built with CUDA %d.%d",
                driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    else
        hy_fail(why, HY_E_ENV, "CUDA does not start: %s", cudaGetErrorString(error));
    return -1;
}

__global__ static void probe(void)
{
}

/* Everything that opening can fail in once the device is known by name. */
static int start(struct hy_device *d, struct hy_err *e)
{
    int rc;
    cudaFuncAttributes attributes;
    if ((rc = hy_cuda_check(d, cudaSetDevice(d->ordinal), "opening it", e)) ||
        (rc = hy_cuda_check(d, cudaFuncGetAttributes(&attributes, probe),
                            "looking for kernels that this hylas has for it", e)) ||
        (rc = hy_cuda_check(d, cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking),
                            "opening a stream", e)) ||
        (rc = hy_cublas_load(&d->cublas, e)) ||
        (rc = hy_device_alloc(d, WORKSPACE, "the workspace of cuBLAS", &d->workspace, e)))
        return rc;
    if (d->cublas.create(&d->blas) != CUBLAS_STATUS_SUCCESS)
        return hy_fail(e, HY_E_ENV, "%s: cuBLAS does not start", d->name);
    if (d->cublas.set_stream(d->blas, d->stream) != CUBLAS_STATUS_SUCCESS ||
        d->cublas.set_workspace(d->blas, d->workspace, WORKSPACE) != CUBLAS_STATUS_SUCCESS)
        return hy_fail(e, HY_E_ENV, "%s: cuBLAS refuses its stream or its workspace", d->name);
    return HY_OK;
}

int hy_device_open(int ordinal, int dry, struct hy_device **out, struct hy_err *e)
{
    const int count = hy_device_count(e);
    cudaDeviceProp properties;
    if (count < 1)
        return HY_E_ENV;
    if (ordinal < 0 || ordinal >= count)
        return hy_fail(e, HY_E_ENV, "there is no cuda:%d; this machine has %d, from cuda:0",
                       ordinal, count);
    struct hy_device *d = (struct hy_device *)calloc(1, sizeof *d);
    if (!d)
        return hy_fail_memory(e);
    d->ordinal = ordinal;
    snprintf(d->name, sizeof d->name, "cuda:%d", ordinal);
    int rc = hy_cuda_check(d, cudaGetDeviceProperties(&properties, ordinal), "asking its name", e);
    if (!rc) {
        snprintf(d->name, sizeof d->name, "cuda:%d %s", ordinal, properties.name);
        d->bytes = properties.totalGlobalMem;
        d->processors = properties.multiProcessorCount;
        d->shared_most = (int)properties.sharedMemPerBlockOptin;
        rc = dry ? HY_OK : start(d, e);
    }
    if (rc)
        hy_device_close(d);
    else
        *out = d;
    return rc;
}

void hy_device_close(struct hy_device *d)
{
    if (!d)
        return;
    if (d->stream)
        cudaStreamSynchronize(d->stream);
    if (d->blas)
        d->cublas.destroy(d->blas);
    hy_device_free(d, d->workspace, WORKSPACE);
    if (d->stream)
        cudaStreamDestroy(d->stream);
    free(d);
}

const char *hy_device_name(const struct hy_device *d)
{
    return d->name;
}

size_t hy_device_bytes(const struct hy_device *d)
{
    return d->bytes;
}

const char *hy_device_library(const struct hy_device *d)
{
    return d->cublas.version;
}

int hy_device_memory(const struct hy_device *d, struct hy_device_memory *out, struct hy_err *e)
{
    size_t free_bytes, total;
    const int rc = hy_cuda_check(d, cudaMemGetInfo(&free_bytes, &total), "asking its memory", e);
    if (!rc)
        *out = {total, free_bytes, d->used, d->peak};
    return rc;
}

int hy_device_alloc(struct hy_device *d, size_t bytes, const char *what, void **out,
                    struct hy_err *e)
{
    void *p = NULL;
    cudaError_t error = cudaMalloc(&p, bytes);
    if (error == cudaErrorMemoryAllocation) {
        struct hy_device_memory m = {};
        (void)cudaGetLastError();
        hy_device_memory(d, &m, NULL);
        return hy_fail(e, HY_E_ENV,
                       "%s: out of memory: %s need %zu bytes, and %zu of its %zu are free", d->name,
                       what, bytes, m.free, m.total);
    }
    if (error == cudaSuccess)
        error = cudaMemsetAsync(p, 0, bytes, d->stream);
    const int rc = hy_cuda_check(d, error, what, e);
    if (rc) {
        cudaFree(p);
        return rc;
    }
    d->used += bytes;
    d->peak = d->used > d->peak ? d->used : d->peak;
    *out = p;
    return HY_OK;
}

void hy_device_free(struct hy_device *d, void *p, size_t bytes)
{
    if (!p)
        return;
    cudaStreamSynchronize(d->stream);
    cudaFree(p);
    d->used -= bytes;
}

int hy_device_wait(struct hy_device *d, struct hy_err *e)
{
    return hy_cuda_check(d, cudaStreamSynchronize(d->stream), "waiting for it", e);
}

/* Copies and waits: whatever failed before on the stream is reported here too. */
static int copy(struct hy_device *d, void *to, const void *from, size_t bytes, cudaMemcpyKind way,
                const char *doing, struct hy_err *e)
{
    const int rc = hy_cuda_check(d, cudaMemcpyAsync(to, from, bytes, way, d->stream), doing, e);
    return rc ? rc : hy_cuda_check(d, cudaStreamSynchronize(d->stream), doing, e);
}

int hy_device_write(struct hy_device *d, void *to, const void *from, size_t bytes, struct hy_err *e)
{
    return copy(d, to, from, bytes, cudaMemcpyHostToDevice, "copying to it", e);
}

int hy_device_read(struct hy_device *d, void *to, const void *from, size_t bytes, struct hy_err *e)
{
    return copy(d, to, from, bytes, cudaMemcpyDeviceToHost, "reading from it", e);
}
