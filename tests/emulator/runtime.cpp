/* runtime.cpp - CUDA's runtime on the CPU: a stream does its work at once, or keeps it while it is
 * captured. */
#include "tests/emulator/cuda_runtime.h"

#include <stdlib.h>
#include <time.h>

#include <map>
#include <vector>

enum { SHARED_PLAIN = 48 << 10, SHARED_OPTIN = 227 << 10 };

typedef std::vector<std::function<void()>> works;

struct hy_emulated_stream {
    works *captured; /* NULL: work is done at once */
};
struct hy_emulated_graph {
    works list;
};
struct hy_emulated_event {
    double seconds;
};

static cudaError_t last_error;
static std::map<const void *, size_t> allowed; /* kernels' dynamic shared memory beyond 48 KiB */
static hy_emulated_stream *capturing;

static cudaError_t note(cudaError_t error)
{
    if (error != cudaSuccess)
        last_error = error;
    return error;
}

/* What may not be done while a stream is captured. */
static cudaError_t outside_capture(void)
{
    return note(capturing ? cudaErrorStreamCaptureUnsupported : cudaSuccess);
}

namespace hy_emulator
{

void enqueue(cudaStream_t stream, std::function<void()> work)
{
    if (stream->captured)
        stream->captured->push_back(std::move(work));
    else
        work();
}

cudaError_t allow_shared(const void *kernel, cudaFuncAttribute, int bytes)
{
    if (bytes < 0 || bytes > SHARED_OPTIN)
        return note(cudaErrorInvalidValue);
    allowed[kernel] = (size_t)bytes;
    return cudaSuccess;
}

cudaError_t launch(const cudaLaunchConfig_t &config, const void *kernel, std::function<void()> body)
{
    const dim3 grid = config.gridDim, block = config.blockDim;
    const size_t shared_bytes = config.dynamicSmemBytes;
    const auto most = allowed.find(kernel);
    if (!grid.x || !grid.y || !grid.z || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535 ||
        !block.x || !block.y || !block.z || block.z > 64 ||
        (uint64_t)block.x * block.y * block.z > 1024)
        return note(cudaErrorInvalidConfiguration);
    if (shared_bytes > (most == allowed.end() ? (size_t)SHARED_PLAIN : most->second))
        return note(cudaErrorInvalidValue);
    enqueue(config.stream,
            [grid, block, shared_bytes, body] { run_grid(grid, block, shared_bytes, body); });
    return cudaSuccess;
}

} // namespace hy_emulator

const char *cudaGetErrorString(cudaError_t error)
{
    switch (error) {
    case cudaSuccess:
        return "no error";
    case cudaErrorInvalidValue:
        return "invalid argument";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorInvalidConfiguration:
        return "invalid configuration argument";
    case cudaErrorStreamCaptureUnsupported:
        return "not permitted when the stream is capturing";
    default:
        return "another error";
    }
}

const char *cudaGetErrorName(cudaError_t error)
{
    return error == cudaSuccess ? "cudaSuccess" : "cudaError";
}

cudaError_t cudaGetLastError(void)
{
    return std::exchange(last_error, cudaSuccess);
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = 12000;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    return cudaDriverGetVersion(version);
}

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int)
{
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int)
{
    *properties = {"(emulated)", 4, 9, 0, SHARED_OPTIN, (size_t)1 << 30};
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    *free_bytes = *total = (size_t)1 << 30;
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **out, size_t bytes)
{
    void *p;
    if (outside_capture() != cudaSuccess)
        return cudaErrorStreamCaptureUnsupported;
    if (posix_memalign(&p, 256, bytes ? bytes : 1))
        return note(cudaErrorMemoryAllocation);
    memset(p, 0xff, bytes);
    *out = p;
    return cudaSuccess;
}

cudaError_t cudaFree(void *p)
{
    free(p);
    return outside_capture();
}

cudaError_t cudaMallocHost(void **out, size_t bytes)
{
    return cudaMalloc(out, bytes);
}

cudaError_t cudaFreeHost(void *p)
{
    return cudaFree(p);
}

cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t stream)
{
    hy_emulator::enqueue(stream, [=] { memset(p, value, bytes); });
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream)
{
    hy_emulator::enqueue(stream, [=] { memcpy(to, from, bytes); });
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned)
{
    *out = new hy_emulated_stream();
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t)
{
    return outside_capture();
}

cudaError_t cudaEventCreate(cudaEvent_t *out)
{
    *out = new hy_emulated_event();
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned)
{
    return cudaEventCreate(out);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    event->seconds = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t)
{
    return outside_capture();
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end)
{
    *milliseconds = (float)(1e3 * (end->seconds - start->seconds));
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode)
{
    if (outside_capture() != cudaSuccess)
        return cudaErrorStreamCaptureUnsupported;
    stream->captured = new works();
    capturing = stream;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *out)
{
    *out = new hy_emulated_graph{*stream->captured};
    delete stream->captured;
    stream->captured = nullptr;
    capturing = nullptr;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long)
{
    *out = new hy_emulated_graph(*graph);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream)
{
    for (const std::function<void()> &work : graph->list)
        hy_emulator::enqueue(stream, work);
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph)
{
    delete graph;
    return cudaSuccess;
}
