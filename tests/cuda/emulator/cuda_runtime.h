/* cuda_runtime.h - stands in for CUDA's header of that name, so that a C++ compiler builds the .cu
 * files for the CPU and tests run their kernels where there is no GPU.
 *
 * One thread of the host runs everything. Blocks run one after another, the threads of a block as
 * fibers that change at barriers and exchanges within a warp. The order of threads changes from
 * block to block, so that a missing barrier shows as a result that changes. Misuse that hardware
 * lets pass ends the program with a message: a barrier that not all reach, a lane that takes part
 * in an exchange without being in its mask, a launch out of the device's limits.
 *
 * Only what the project's kernels use is here. There are no atomic additions of floats: kernels
 * may not depend on the order of threads. */
#ifndef HY_TESTS_EMULATOR_CUDA_RUNTIME_H
#define HY_TESTS_EMULATOR_CUDA_RUNTIME_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <functional>
#include <tuple>
#include <utility>

/* ---- The language ---- */

#define __global__
#define __device__
#define __host__
#define __constant__
#define __shared__ thread_local /* one thread of the host runs a block: memory of its own */
#define __forceinline__ inline
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c)
    {
    }
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
static inline float2 make_float2(float x, float y)
{
    return {x, y};
}
static inline float4 make_float4(float x, float y, float z, float w)
{
    return {x, y, z, w};
}

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

namespace hy_emulator
{

[[noreturn]] void stop(const char *format, ...) __attribute__((format(printf, 1, 2)));

int lane(void);
void sync_block(void);
bool vote_block(bool value); /* a barrier */
void sync_warp(unsigned mask);
/* What lane `source` hands in (8 bytes at most), once all lanes of the mask have. */
uint64_t take(unsigned mask, uint64_t value, int source);
/* The lanes of the mask that handed in something other than 0. */
unsigned vote(unsigned mask, bool value);
/* A place for each lane of the caller's warp, to show things to the others. */
void **board(void);

template <typename T> T take_as(unsigned mask, T value, int source)
{
    static_assert(sizeof(T) <= 8, "an exchange of more than 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    bits = take(mask, bits, source);
    memcpy(&value, &bits, sizeof value);
    return value;
}

} // namespace hy_emulator

static const int warpSize = 32;

static inline void __syncthreads(void)
{
    hy_emulator::sync_block();
}
/* Not 0 where any thread of the block hands in something other than 0. */
static inline int __syncthreads_or(int value)
{
    return hy_emulator::vote_block(value);
}
static inline void __syncwarp(unsigned mask = 0xffffffffu)
{
    hy_emulator::sync_warp(mask);
}
static inline void __threadfence(void)
{
}
static inline void __threadfence_block(void)
{
}
static inline unsigned __ballot_sync(unsigned mask, int value)
{
    return hy_emulator::vote(mask, value);
}
static inline int __any_sync(unsigned mask, int value)
{
    return hy_emulator::vote(mask, value) != 0;
}
static inline int __all_sync(unsigned mask, int value)
{
    return hy_emulator::vote(mask, value) == mask;
}
template <typename T> T __shfl_sync(unsigned mask, T value, int source, int width = 32)
{
    const int first = hy_emulator::lane() / width * width;
    return hy_emulator::take_as(mask, value, first + (source & (width - 1)));
}
/* Out of the group of `width` lanes a lane gets its own value. */
template <typename T> T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32)
{
    const int lane = hy_emulator::lane(), source = lane ^ bits;
    return hy_emulator::take_as(mask, value, source / width > lane / width ? lane : source);
}
template <typename T> T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32)
{
    const int lane = hy_emulator::lane(), source = lane + (int)by;
    return hy_emulator::take_as(mask, value, source / width != lane / width ? lane : source);
}
template <typename T> T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32)
{
    const int lane = hy_emulator::lane(), source = lane - (int)by;
    return hy_emulator::take_as(mask, value,
                                source < 0 || source / width != lane / width ? lane : source);
}

static inline int atomicAdd(int *to, int value)
{
    const int before = *to;
    *to += value;
    return before;
}
static inline unsigned atomicAdd(unsigned *to, unsigned value)
{
    const unsigned before = *to;
    *to += value;
    return before;
}
static inline int atomicOr(int *to, int value)
{
    const int before = *to;
    *to |= value;
    return before;
}
static inline int atomicMax(int *to, int value)
{
    const int before = *to;
    *to = value > before ? value : before;
    return before;
}

static inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}
static inline int __ffs(int x)
{
    return __builtin_ffs(x);
}
static inline int __clz(int x)
{
    return x ? __builtin_clz((unsigned)x) : 32;
}
static inline unsigned __float_as_uint(float x)
{
    unsigned bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
static inline float __uint_as_float(unsigned bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
[[noreturn]] static inline void __trap(void)
{
    hy_emulator::stop("a kernel traps");
}
template <typename T> T __ldg(const T *p)
{
    return *p;
}
static inline float rsqrtf(float x)
{
    return 1 / sqrtf(x);
}
template <typename T> T min(T a, T b)
{
    return b < a ? b : a;
}
template <typename T> T max(T a, T b)
{
    return a < b ? b : a;
}

/* ---- The runtime ---- */

#define CUDART_VERSION 12000

enum cudaError_t {
    cudaSuccess,
    cudaErrorInvalidValue,
    cudaErrorMemoryAllocation,
    cudaErrorInsufficientDriver = 35,
    cudaErrorNoDevice = 100,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorStreamCaptureUnsupported = 900,
    cudaErrorUnknown = 999
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum { cudaStreamNonBlocking = 1, cudaEventBlockingSync = 1, cudaEventDisableTiming = 2 };

using cudaStream_t = struct hy_emulated_stream *;
using cudaEvent_t = struct hy_emulated_event *;
using cudaGraph_t = struct hy_emulated_graph *;
using cudaGraphExec_t = struct hy_emulated_graph *;

struct cudaDeviceProp {
    char name[256];
    int multiProcessorCount, major, minor;
    size_t sharedMemPerBlockOptin, totalGlobalMem;
};
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
};

const char *cudaGetErrorString(cudaError_t error);
const char *cudaGetErrorName(cudaError_t error);
cudaError_t cudaGetLastError(void);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaSetDevice(int ordinal);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int ordinal);
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total);
/* Memory begins as NaN. */
cudaError_t cudaMalloc(void **out, size_t bytes);
cudaError_t cudaFree(void *p);
cudaError_t cudaMallocHost(void **out, size_t bytes);
cudaError_t cudaFreeHost(void *p);
cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind way,
                            cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaEventCreate(cudaEvent_t *out);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *out);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph);

namespace hy_emulator
{

cudaError_t allow_shared(const void *kernel, cudaFuncAttribute attribute, int bytes);
cudaError_t launch(const cudaLaunchConfig_t &config, const void *kernel,
                   std::function<void()> body);
/* Work for when somebody waits for the stream or, while it is captured, for launches of the graph.
 */
void enqueue(cudaStream_t stream, std::function<void()> work);
void run_grid(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()> &body);

} // namespace hy_emulator

template <typename... P>
cudaError_t cudaFuncSetAttribute(void (*kernel)(P...), cudaFuncAttribute attribute, int value)
{
    return hy_emulator::allow_shared((const void *)kernel, attribute, value);
}

struct cudaFuncAttributes {
    int binaryVersion;
};
template <typename... P>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, void (*)(P...))
{
    *attributes = {90};
    return cudaSuccess;
}

/* Static, as CUDA's is: twins may give the same name to different structs that their kernels take.
 */
template <typename... P, typename... A>
static inline cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *config, void (*kernel)(P...),
                                             A &&...args)
{
    std::tuple<P...> held(std::forward<A>(args)...);
    return hy_emulator::launch(*config, (const void *)kernel,
                               [kernel, held] { std::apply(kernel, held); });
}

#endif
