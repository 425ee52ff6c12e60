/* run_cuda.cu - runs graphs on a device. Inputs are filled in pinned memory, of which there are a
 * few copies, so that the host prepares the next run while the device works. The first run launches
 * every operator and looks for errors; the second is captured; from then on one launch replays it.
 */
#include "core/graph/cuda.cuh"

#include <stdlib.h>

extern "C" {
#include "core/graph/internal.h"
}

enum { SLOTS = 4, ALIGN = 256 };

struct hy_cuda_run {
    struct hy_launch launch;
    unsigned char *staging; /* SLOTS times `bytes`, pinned */
    size_t bytes;           /* the position, then the inputs */
    cudaEvent_t sent[SLOTS];
    int slot; /* that the host fills now */
    int *position;
    int64_t runs;
    cudaGraphExec_t replay;
};

static size_t input_bytes(const struct hy_tensor *t)
{
    return t->replica_stride * hy_element_bytes(t) * (size_t)t->graph->shape.replicas;
}

int hy_cuda_open_run(struct hy_graph *g, struct hy_err *e)
{
    struct hy_device *d = g->device;
    void *memory;
    int rc = hy_device_alloc(d, g->arena_bytes, "activations", &memory, e);
    if (rc)
        return rc;
    g->arena = (unsigned char *)memory;
    struct hy_cuda_run *run = (struct hy_cuda_run *)calloc(1, sizeof *run);
    if (!run)
        return hy_fail_memory(e);
    g->cuda = run;
    if ((rc = hy_device_alloc(d, sizeof(int), "positions", &memory, e)))
        return rc;
    run->position = (int *)memory;
    run->launch = {g, d, d->stream, g->shape.replicas, run->position};
    run->bytes = ALIGN;
    for (int i = 0; i < g->tensor_count; i++) {
        struct hy_tensor *t = g->tensors[i];
        if (!t->input)
            continue;
        t->staged = run->bytes;
        run->bytes += (input_bytes(t) + ALIGN - 1) / ALIGN * ALIGN;
    }
    rc = hy_cuda_check(d, cudaMallocHost((void **)&run->staging, SLOTS * run->bytes),
                       "pinning memory for inputs", e);
    for (int i = 0; !rc && i < SLOTS; i++)
        rc = hy_cuda_check(
            d,
            cudaEventCreateWithFlags(&run->sent[i], cudaEventDisableTiming | cudaEventBlockingSync),
            "making an event", e);
    return rc;
}

void hy_cuda_close_run(struct hy_graph *g)
{
    struct hy_cuda_run *run = g->cuda;
    if (run) {
        cudaStreamSynchronize(g->device->stream);
        if (run->replay)
            cudaGraphExecDestroy(run->replay);
        for (int i = 0; i < SLOTS; i++)
            if (run->sent[i])
                cudaEventDestroy(run->sent[i]);
        cudaFreeHost(run->staging);
        hy_device_free(g->device, run->position, sizeof(int));
    }
    hy_device_free(g->device, g->arena, g->arena_bytes);
    free(run);
    g->arena = NULL;
    g->cuda = NULL;
}

void *hy_cuda_staged(struct hy_tensor *t, int replica)
{
    struct hy_cuda_run *run = t->graph->cuda;
    t->filled = 1;
    return run->staging + (size_t)run->slot * run->bytes + t->staged +
           (size_t)replica * t->replica_stride * hy_element_bytes(t);
}

/* Notes the first failure; the runs that follow do nothing. */
static int failed(struct hy_graph *g, cudaError_t error, const char *doing)
{
    if (!g->err.code)
        hy_cuda_check(g->device, error, doing, &g->err);
    return g->err.code;
}

/* Sends the position and every input that was filled since the last run. */
static void send_inputs(struct hy_graph *g)
{
    struct hy_cuda_run *run = g->cuda;
    unsigned char *slot = run->staging + (size_t)run->slot * run->bytes;
    *(int *)slot = g->position;
    cudaError_t error = cudaMemcpyAsync(run->position, slot, sizeof(int), cudaMemcpyHostToDevice,
                                        g->device->stream);
    for (int i = 0; error == cudaSuccess && i < g->tensor_count; i++) {
        struct hy_tensor *t = g->tensors[i];
        if (!t->filled)
            continue;
        t->filled = 0;
        error = cudaMemcpyAsync(t->data, slot + t->staged, input_bytes(t), cudaMemcpyHostToDevice,
                                g->device->stream);
    }
    if (error == cudaSuccess)
        error = cudaEventRecord(run->sent[run->slot], g->device->stream);
    run->slot = (run->slot + 1) % SLOTS;
    /* The next slot may be filled once its last copy has left it: here the host waits for most of a
     * training, asleep, since its processor has other runs. */
    if (error == cudaSuccess)
        error = cudaEventSynchronize(run->sent[run->slot]);
    failed(g, error, "copying inputs to it");
}

static void launch_op(const struct hy_op *op, const struct hy_launch *at)
{
    (op->pass == HY_FORWARD ? op->cuda->forward : op->cuda->backward)(op, at);
}

/* Launches all operators, each followed by a look for errors; timed: each is waited for. */
static void launch_checked(struct hy_graph *g)
{
    const struct hy_launch *at = &g->cuda->launch;
    cudaEvent_t start = NULL, end = NULL;
    if (g->timed && (failed(g, cudaEventCreate(&start), "making an event") ||
                     failed(g, cudaEventCreate(&end), "making an event")))
        return;
    for (int i = 0; i < g->op_count && !g->err.code; i++) {
        struct hy_op *op = g->ops[i];
        float milliseconds = 0;
        if (op->replaced)
            continue;
        if (g->timed)
            cudaEventRecord(start, at->stream);
        launch_op(op, at);
        if (failed(g, cudaGetLastError(), op->kind->name) || !g->timed)
            continue;
        cudaEventRecord(end, at->stream);
        if (failed(g, cudaEventSynchronize(end), op->kind->name))
            break;
        cudaEventElapsedTime(&milliseconds, start, end);
        op->seconds += milliseconds * 1e-3;
        op->calls++;
    }
    if (g->timed) {
        cudaEventDestroy(start);
        cudaEventDestroy(end);
    }
}

static void capture(struct hy_graph *g)
{
    struct hy_cuda_run *run = g->cuda;
    cudaGraph_t graph = NULL;
    if (failed(g, cudaStreamBeginCapture(g->device->stream, cudaStreamCaptureModeThreadLocal),
               "capturing a run"))
        return;
    for (int i = 0; i < g->op_count; i++)
        if (!g->ops[i]->replaced)
            launch_op(g->ops[i], &run->launch);
    const cudaError_t launched = cudaGetLastError();
    if (!failed(g, cudaStreamEndCapture(g->device->stream, &graph), "capturing a run") &&
        !failed(g, launched, "capturing a run"))
        failed(g, cudaGraphInstantiate(&run->replay, graph, 0), "preparing a captured run");
    if (graph)
        cudaGraphDestroy(graph);
}

void hy_cuda_run_graph(struct hy_graph *g)
{
    struct hy_cuda_run *run = g->cuda;
    if (g->err.code)
        return;
    send_inputs(g);
    const int eager = g->timed || g->eager || run->runs++ == 0;
    if (!eager && !run->replay && !g->err.code)
        capture(g);
    if (g->err.code)
        return;
    if (eager)
        launch_checked(g);
    else
        failed(g, cudaGraphLaunch(run->replay, g->device->stream), "replaying a run");
}
