/* runtime.cpp - CUDA's runtime on the CPU: a stream keeps its work until somebody waits for it, as
 * late as a device may do it, so that who reads or overwrites too early is seen. */
#include "tests/cuda/emulator/cuda_runtime.h"

#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <iterator>
#include <map>
#include <vector>

enum { SHARED_PLAIN = 48 << 10, SHARED_OPTIN = 227 << 10, OLD_DRIVER = 11040, LASTS = 20 };
static const size_t memory_bytes = (size_t)1 << 30, memory_left = (size_t)40 << 20;

typedef std::vector<std::function<void()>> works;

struct hy_emulated_stream {
    std::deque<std::function<void()>> waiting; /* to be done, in order */
    works *captured;                           /* NULL: nothing is captured */
};
struct hy_emulated_graph {
    works list;
};
struct hy_emulated_event {
    double seconds;
    hy_emulated_stream *stream; /* where it was recorded last */
    int ahead;                  /* records that the stream has not come to */
};

static cudaError_t last_error;
static std::map<const void *, size_t> allowed; /* kernels' dynamic shared memory beyond 48 KiB */
static std::map<const unsigned char *, size_t> pinned;
static std::map<const void *, size_t> held; /* of the device's memory */
static size_t held_bytes;
static std::vector<hy_emulated_stream *> streams;
static hy_emulated_stream *capturing;

static cudaError_t note(cudaError_t error)
{
    if (error != cudaSuccess)
        last_error = error;
    return error;
}

/* HYLAS_EMULATED=... none: there is no device; old: its driver is older than the runtime; full:
 * others hold most of its memory; lost: it is gone after a few replays; gone: the next process does
 * not find it, as a file of that name says. */
static bool has_fault(const char *name)
{
    const char *fault = getenv("HYLAS_EMULATED");
    return fault && !strcmp(fault, name);
}

static size_t free_memory(void)
{
    return (has_fault("full") ? memory_left : memory_bytes) - held_bytes;
}

/* What may not be done while a stream is captured. */
static cudaError_t outside_capture(void)
{
    return note(capturing ? cudaErrorStreamCaptureUnsupported : cudaSuccess);
}

/* Does the stream's work until an event, if one is given, is over. */
static void work_off(hy_emulated_stream *stream, const hy_emulated_event *until)
{
    while (!stream->waiting.empty() && (!until || until->ahead)) {
        const std::function<void()> work = std::move(stream->waiting.front());
        stream->waiting.pop_front();
        work();
    }
}

static void work_off_all(void)
{
    for (hy_emulated_stream *stream : streams)
        work_off(stream, nullptr);
}

/* Is it memory that a copy may leave to the device, and come back to later? */
static bool is_pinned(const void *p)
{
    const unsigned char *at = (const unsigned char *)p;
    const auto next = pinned.upper_bound(at);
    if (next == pinned.begin())
        return false;
    const auto block = std::prev(next);
    return at < block->first + block->second;
}

static void check_shared(const void *kernel, size_t bytes)
{
    const auto most = allowed.find(kernel);
    if (bytes > (most == allowed.end() ? (size_t)SHARED_PLAIN : most->second))
        hy_emulator::stop("a captured kernel's shared memory is not allowed any more");
}

namespace hy_emulator
{

void enqueue(cudaStream_t stream, std::function<void()> work)
{
    if (stream->captured)
        stream->captured->push_back(std::move(work));
    else
        stream->waiting.push_back(std::move(work));
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
    /* What a later launch takes away from the kernel, a replay of this one does not have. */
    enqueue(config.stream, [grid, block, shared_bytes, body, kernel] {
        check_shared(kernel, shared_bytes);
        run_grid(grid, block, shared_bytes, body);
    });
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
    case cudaErrorNoDevice:
        return "no CUDA-capable device is detected";
    case cudaErrorUnknown:
        return "unknown error";
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
    *version = has_fault("old") ? (int)OLD_DRIVER : CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    if (has_fault("none") || (has_fault("gone") && access("gone", F_OK) == 0))
        return note(cudaErrorNoDevice);
    if (has_fault("old"))
        return note(cudaErrorInsufficientDriver);
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int)
{
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int)
{
    *properties = {"(emulated)", 4, 9, 0, SHARED_OPTIN, memory_bytes};
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    *free_bytes = free_memory();
    *total = memory_bytes;
    return cudaSuccess;
}

static cudaError_t allocate(void **out, size_t bytes)
{
    void *p;
    if (outside_capture() != cudaSuccess)
        return cudaErrorStreamCaptureUnsupported;
    if (!bytes)
        return note(cudaErrorInvalidValue); /* what a device gives for nothing is no memory */
    if (posix_memalign(&p, 256, bytes))
        return note(cudaErrorMemoryAllocation);
    memset(p, 0xff, bytes);
    *out = p;
    return cudaSuccess;
}

static cudaError_t release(void *p)
{
    work_off_all();
    free(p);
    return outside_capture();
}

cudaError_t cudaMalloc(void **out, size_t bytes)
{
    if (bytes > free_memory())
        return note(cudaErrorMemoryAllocation);
    const cudaError_t error = allocate(out, bytes);
    if (error != cudaSuccess)
        return error;
    held[*out] = bytes;
    held_bytes += bytes;
    return cudaSuccess;
}

cudaError_t cudaFree(void *p)
{
    const auto block = held.find(p);
    if (p && block == held.end())
        hy_emulator::stop("cudaFree of %p, which is none of the device's", p);
    if (p) {
        held_bytes -= block->second;
        held.erase(block);
    }
    return release(p);
}

cudaError_t cudaMallocHost(void **out, size_t bytes)
{
    const cudaError_t error = allocate(out, bytes);
    if (error == cudaSuccess)
        pinned[(unsigned char *)*out] = bytes;
    return error;
}

cudaError_t cudaFreeHost(void *p)
{
    pinned.erase((unsigned char *)p);
    return release(p);
}

cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t stream)
{
    hy_emulator::enqueue(stream, [=] { memset(p, value, bytes); });
    return cudaSuccess;
}

/* What is not pinned is read before the call returns, or written. */
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind way,
                            cudaStream_t stream)
{
    if (way != cudaMemcpyDeviceToDevice && !is_pinned(way == cudaMemcpyHostToDevice ? from : to)) {
        if (outside_capture() != cudaSuccess)
            return cudaErrorStreamCaptureUnsupported;
        work_off(stream, nullptr);
        memcpy(to, from, bytes);
        return cudaSuccess;
    }
    hy_emulator::enqueue(stream, [=] { memcpy(to, from, bytes); });
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned)
{
    if (has_fault("gone"))
        close(creat("gone", 0600));
    *out = new hy_emulated_stream();
    streams.push_back(*out);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    work_off(stream, nullptr);
    streams.erase(std::find(streams.begin(), streams.end(), stream));
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    if (outside_capture() != cudaSuccess)
        return cudaErrorStreamCaptureUnsupported;
    work_off(stream, nullptr);
    return cudaSuccess;
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
    if (event->ahead)
        work_off(event->stream, event);
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    event->stream = stream;
    event->ahead++;
    hy_emulator::enqueue(stream, [event] {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        event->seconds = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
        event->ahead--;
    });
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    if (outside_capture() != cudaSuccess)
        return cudaErrorStreamCaptureUnsupported;
    if (event->ahead)
        work_off(event->stream, event);
    return cudaSuccess;
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
    static int launches;
    if (++launches > LASTS && has_fault("lost"))
        return note(cudaErrorUnknown);
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
