/* device.h - a CUDA device: its memory, and the twins of the operators that run on it.
 *
 * A slab or a graph whose `device` is NULL lives on the CPU, which is the ordinary case. On a
 * device all work goes to one stream in the order of the calls, and the host does not wait for it
 * but in hy_device_wait() and where it reads: there an error of earlier work comes to light. In a
 * build without CUDA there is no device to open, and the rest is never called.
 *
 * No CUDA type stands here; core/graph/cuda.cuh has them. */
#ifndef HY_GRAPH_DEVICE_H
#define HY_GRAPH_DEVICE_H

#include <stddef.h>

#include "core/base/err.h"

struct hy_device;
struct hy_launch; /* where a twin launches its kernels: core/graph/cuda.cuh */
struct hy_op;

/* The CUDA twin of an operator: same tensors, same attributes, same results within rounding. One
 * call launches the kernels of all replicas and returns; nothing in it waits for the device, and
 * its launches do not depend on data, so that they can be captured once and replayed. */
struct hy_cuda_kind {
    void (*forward)(const struct hy_op *op, const struct hy_launch *at);
    void (*backward)(const struct hy_op *op, const struct hy_launch *at); /* as hy_op_kind's */
    /* Optional: bytes of scratch of one replica for op->pass, in place of hy_op_kind's. */
    size_t (*scratch)(const struct hy_op *op);
};

struct hy_cuda_op {
    const char *name; /* hy_op_kind's */
    const struct hy_cuda_kind *kind;
};
/* Generated from the .cu files beside the operators; ended by a NULL name. Empty in a CPU build. */
extern const struct hy_cuda_op hy_cuda_ops[];

/* How many devices there are; 0: none, and *why (may be NULL) says whether the build or the machine
 * lacks them; -1: there is a driver, but it does not serve us, and *why says why. */
int hy_device_count(struct hy_err *why);

/* Opens device `ordinal` and cuBLAS. HY_E_ENV: no such device, no driver, no cuBLAS. dry: only asks
 * what it is, for dry graphs and estimates. Everything that lives on a device is released before it
 * is closed. */
int hy_device_open(int ordinal, int dry, struct hy_device **out, struct hy_err *e);
void hy_device_close(struct hy_device *d); /* accepts NULL */

/* Is text a device's name: "auto", "cpu", "cuda", "cuda:K"? */
int hy_is_device(const char *text);
/* Opens the device of that name; *out NULL: the CPU. "cuda" is one of the machine's devices, dealt
 * out by local_rank, the number of this process among those on its machine; "auto" is the same
 * where there is one, else the CPU. note (may be NULL): set where auto takes the CPU although the
 * machine has a device, which does not open. dry: as for hy_device_open. */
int hy_device_choose(const char *name, int local_rank, int dry, struct hy_device **out,
                     struct hy_err *note, struct hy_err *e);

/* "cuda:0 NVIDIA H100 80GB HBM3" */
const char *hy_device_name(const struct hy_device *d);
/* Bytes of its memory. */
size_t hy_device_bytes(const struct hy_device *d);
/* "cuBLAS 13.0.2" */
const char *hy_device_library(const struct hy_device *d);

struct hy_device_memory {
    size_t total, free; /* of the device, whoever uses it */
    size_t used, peak; /* what this process holds now, and held at most: slabs, arenas, workspace */
};
int hy_device_memory(const struct hy_device *d, struct hy_device_memory *out, struct hy_err *e);

/* Zeroed memory for `what`, aligned to 256 bytes. HY_E_ENV names device, bytes wanted and free. */
int hy_device_alloc(struct hy_device *d, size_t bytes, const char *what, void **out,
                    struct hy_err *e);
void hy_device_free(struct hy_device *d, void *p, size_t bytes); /* accepts NULL */

/* FLOP/s of large matrix products in bf16, of random numbers: what shares of its speed are shares
 * of. 0: it could not be measured. */
double hy_device_peak(struct hy_device *d);

/* Waits for all work given to the device. */
int hy_device_wait(struct hy_device *d, struct hy_err *e);

/* Copies between host and device, after all work given to the device before; both wait. */
int hy_device_write(struct hy_device *d, void *to, const void *from, size_t bytes,
                    struct hy_err *e);
int hy_device_read(struct hy_device *d, void *to, const void *from, size_t bytes, struct hy_err *e);

#endif
