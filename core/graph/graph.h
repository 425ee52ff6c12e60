/* graph.h - tensors, the static graph of coarse operators, its autograd, memory plan and executor.
 *
 * Life of a graph: hy_graph_new -> op builders (core/ops) record ops -> hy_graph_backward appends
 * the backward ops -> hy_graph_plan lays all activations out in one arena -> hy_graph_run,
 * thousands of times, allocating nothing. A graph is built for one shape: batch sequences of
 * `tokens` tokens each.
 *
 * Tensors are matrices [rows, cols] of hy_real or int32, row-major, rows `ld` elements apart (a
 * view of some columns has a larger ld). An activation has one row per token: rows = batch*tokens,
 * row b*tokens + t; heads lie side by side in the columns. Parameters also carry their public dims.
 *
 * The outermost axis of every tensor is the replica r: `replicas` models of one architecture that
 * differ in seed, rate, decay or data. No op crosses it. On the CPU a kernel is called for one
 * replica at a time (activations are shared by all of them), so a replica's numbers cannot depend
 * on others. On a device (`device`, core/graph/device.h) one launch serves all replicas, and
 * activations have a copy for each.
 *
 * Errors while building stick to the graph: a builder that fails, or is given NULL, returns NULL,
 * and hy_graph_plan reports the first failure. So models are written as plain compositions. */
#ifndef HY_GRAPH_GRAPH_H
#define HY_GRAPH_GRAPH_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/err.h"
#include "core/graph/device.h"
#include "core/graph/real.h"
#include "core/graph/slab.h"

enum { HY_MAX_INPUTS = 12, HY_MAX_OUTPUTS = 8 };

enum hy_dtype { HY_REAL, HY_INT32, HY_BF16 };

enum hy_mode {
    HY_TRAIN, /* whole sequences, backward follows */
    HY_EVAL,  /* whole sequences, forward only */
    HY_CACHED /* sequences continued from states in a cache: decoding (tokens = 1), prefill */
};

struct hy_shape {
    int replicas, batch, tokens;
    int context; /* HY_CACHED: tokens that a cache of keys and values can hold */
    enum hy_mode mode;
    enum hy_precision precision; /* asked for: see hy_precision_of */
};

struct hy_tensor {
    const char *name; /* parameters, states, inputs; "" for activations */
    enum hy_dtype dtype;
    int64_t rows, cols, ld;
    struct hy_graph *graph;
    struct hy_tensor *base; /* a view: the tensor whose columns it shows */
    int64_t offset;         /* a view: its first element within base; in a slab: within a replica */
    struct hy_tensor *grad; /* d loss / d this, once autograd has made it */
    struct hy_slab *slab;   /* parameters and states: where the data lives */
    int differentiable;     /* autograd computes its gradient */
    int grad_written;       /* autograd: a backward op writes grad already, the next one adds */
    int first_op, last_op;  /* life in op indices, for the planner */
    int split;              /* only its views are read */
    int is_read;            /* by an op that is run: autograd's, when all are recorded */
    int pinned;             /* lives as long as the graph (inputs, outputs that are read later) */
    int input;              /* filled by hy_input() */
    int filled;             /* on a device: since the last run */
    size_t staged;          /* on a device: byte offset among the inputs that are sent to it */
    int64_t consumers;      /* forward ops that read it */
    double lo, hi;          /* leaves: the range that law tests draw from */
    int64_t place;          /* byte offset in the arena, -1 before planning */
    void *data;             /* replica 0, NULL before planning; the device's if there is one */
    size_t replica_stride;  /* elements between replicas; 0: shared by all */
    /* Its bf16 copy, where ops multiply it in bf16; else NULL. */
    struct hy_tensor *narrow;
};

struct hy_op;

/* FLOPs that the method needs (recomputation not counted) and bytes of memory traffic. */
struct hy_cost {
    double flops, bytes;
};

/* One operator: a table of functions. Kernels see one replica, through hy_data(). */
struct hy_op_kind {
    const char *name;
    void (*forward)(const struct hy_op *op, int replica);
    /* Reads dout (some may be NULL: no gradient flows there), writes each din that is not NULL:
     * adds to it where hy_adds(op, i), else overwrites it. NULL: no gradient passes this op. */
    void (*backward)(const struct hy_op *op, int replica);
    void (*cost)(const struct hy_op *op, struct hy_cost *cost); /* of op->pass */
    /* Optional: bytes of scratch for op->pass. */
    size_t (*scratch)(const struct hy_op *op);
    uint32_t backward_in, backward_out; /* bit i: backward reads in[i], out[i] */
    /* Bit i: in[i] is the operand of a product and read for nothing else. Where the graph's
     * precision is bf16 the kernel reads in[i]->narrow instead, in either pass. */
    uint32_t operands;
    /* Backward also computes the outputs: in a training graph forward is not run, unless other ops
     * read them. */
    int backward_is_forward;
    /* The gradients of in[0] and in[1] are equal (y = a + b), so autograd may use one tensor: then
     * din[1] is NULL in the backward op. */
    int shares_grad;
    /* For the law tests: builds the index-th small example on g (batch 2, a few tokens) with inputs
     * from hy_graph_leaf(), its last op being of this kind; 0 where there is no such example. */
    int (*example)(struct hy_graph *g, int index);
};

enum hy_pass { HY_FORWARD, HY_BACKWARD };

struct hy_op {
    const struct hy_op_kind *kind;
    enum hy_pass pass;
    struct hy_graph *graph;
    int inputs, outputs;
    struct hy_tensor *in[HY_MAX_INPUTS]; /* optional inputs may be NULL */
    struct hy_tensor *out[HY_MAX_OUTPUTS];
    struct hy_tensor *dout[HY_MAX_OUTPUTS]; /* backward: given */
    struct hy_tensor *din[HY_MAX_INPUTS];   /* backward: wanted, NULL where not */
    uint32_t adds;                          /* backward: bit i: add to din[i] */
    const void *attr;                       /* the op's own struct, copied into the graph */
    struct hy_tensor *scratch;
    const struct hy_cuda_kind *cuda; /* on a device: the kind's twin */
    /* A forward op that is not run: backward computes its outputs, or nobody reads them. */
    int replaced;
    int section;    /* the graph's when it was recorded */
    double seconds; /* time spent, when the graph is timed */
    int64_t calls;
};

/* What hy_graph_new allocates; the fields are read by kernels and tools. */
struct hy_graph {
    struct hy_shape shape;
    struct hy_slab *params, *grads; /* borrowed; grads NULL unless HY_TRAIN */
    struct hy_slab *cache;          /* borrowed; HY_CACHED only */
    int position;                   /* HY_CACHED: tokens already in the cache before this run */
    int dry;                        /* plan without allocating: for estimates; cannot run */
    int timed;                      /* measure seconds per op */
    int section; /* of the model, that ops are recorded for: for costs by section; 0 at first */
    /* Borrowed; where slabs and activations lie, NULL: the CPU. Set before anything is built. */
    struct hy_device *device;
    int eager;                /* on a device: launch op by op, replay nothing */
    struct hy_cuda_run *cuda; /* on a device: what runs the graph there */
    struct hy_op **ops;
    int op_count, op_room, forward_ops;
    struct hy_tensor **tensors;
    int tensor_count, tensor_room;
    struct hy_chunk *memory; /* of tensors, ops and attributes */
    unsigned char *arena;
    size_t arena_bytes; /* of activations, known after hy_graph_plan */
    struct hy_err err;  /* the first failure while building; on a device also while running */
};

/* params, grads and cache are borrowed and must outlive the graph. NULL when memory is out. */
struct hy_graph *hy_graph_new(const struct hy_shape *shape, struct hy_slab *params,
                              struct hy_slab *grads, struct hy_slab *cache);
void hy_graph_free(struct hy_graph *g);

/* ---- For those who compose ops ---- */

/* Data from outside, filled through hy_input(); has one copy per replica. */
struct hy_tensor *hy_graph_input(struct hy_graph *g, const char *name, enum hy_dtype dtype,
                                 int64_t rows, int64_t cols);
/* An input that gradients are taken of (tests, golden vectors). lo, hi: range that law tests draw
 * from. */
struct hy_tensor *hy_graph_leaf(struct hy_graph *g, const char *name, int64_t rows, int64_t cols,
                                double lo, double hi);
/* A parameter: found in, or added to, the slab of parameters. The matrix has dims[0] rows (1 where
 * rank is 1) and the product of the other dims as columns. */
struct hy_tensor *hy_graph_param(struct hy_graph *g, const struct hy_entry *entry);
/* Adjacent parameters of equal columns, one below the other, as one matrix: each entry is found or
 * added in turn. */
struct hy_tensor *hy_graph_params(struct hy_graph *g, int count, const struct hy_entry *entries);
/* HY_CACHED: a state that outlives the run: found in, or added to, the cache. dims: rows, cols. */
struct hy_tensor *hy_graph_state(struct hy_graph *g, const struct hy_entry *entry);
/* Splits x's columns into count views, of equal width where widths is NULL, that together cover it:
 * from then on ops read the views, not x, and x is not split again (a view may be). */
void hy_graph_split(struct hy_graph *g, struct hy_tensor *x, int count, const int64_t *widths,
                    struct hy_tensor **views);
/* Keeps t's data valid after the run, so that the caller may read it. */
void hy_graph_keep(struct hy_tensor *t);

/* ---- For op builders ---- */

/* A new activation; NULL once the graph has failed. */
struct hy_tensor *hy_graph_tensor(struct hy_graph *g, int64_t rows, int64_t cols);
struct hy_tensor *hy_graph_tensor_of(struct hy_graph *g, enum hy_dtype dtype, int64_t rows,
                                     int64_t cols);
/* Records an op; in and out are copied (in may hold NULLs where optional), attr (size bytes) too.
 */
struct hy_op *hy_graph_op(struct hy_graph *g, const struct hy_op_kind *kind, int inputs,
                          struct hy_tensor *const *in, int outputs, struct hy_tensor *const *out,
                          const void *attr, size_t size);
/* Notes the first failure; always returns NULL. */
void *hy_graph_fail(struct hy_graph *g, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- For kernels ---- */

static inline size_t hy_element_bytes(const struct hy_tensor *t)
{
    return t->dtype == HY_REAL   ? sizeof(hy_real)
           : t->dtype == HY_BF16 ? sizeof(hy_bf16)
                                 : sizeof(int32_t);
}
static inline void *hy_data(const struct hy_tensor *t, int replica)
{
    return (char *)t->data + (size_t)replica * t->replica_stride * hy_element_bytes(t);
}
static inline hy_real *hy_real_data(const struct hy_tensor *t, int replica)
{
    return t ? (hy_real *)hy_data(t, replica) : NULL;
}
/* How kernels compute: HY_CACHED graphs in float32, since a token's products wait for the weights.
 * A device's library sees to the precision itself. */
static inline enum hy_precision hy_precision_of(const struct hy_graph *g)
{
    return g->shape.mode == HY_CACHED || g->device ? HY_PRECISION_FLOAT32 : g->shape.precision;
}
static inline hy_bf16 *hy_bf16_data(const struct hy_tensor *t, int replica)
{
    return t ? (hy_bf16 *)hy_data(t, replica) : NULL;
}
/* What a pass of op reads of in[i]. */
static inline struct hy_tensor *hy_operand(const struct hy_op *op, int i)
{
    struct hy_tensor *t = op->in[i];
    return t && t->narrow && op->kind->operands >> i & 1 ? t->narrow : t;
}
static inline int hy_adds(const struct hy_op *op, int i)
{
    return (int)(op->adds >> i & 1);
}

/* ---- For those who run graphs ---- */

/* Appends the backward ops of count outputs y[i] with given gradients dy[i] (inputs of the graph,
 * same shape as y[i]). Afterwards leaf->grad and the slab grads hold the gradients after each run.
 * The slab grads holds entries, in the parameters' order, of all parameters; where their slab has a
 * filter, of those that a gradient is computed of: what is trained and y depends on, and what lies
 * in one matrix with that. They are added here; an allocated slab must have them. */
int hy_graph_backward(struct hy_graph *g, int count, struct hy_tensor *const *y,
                      struct hy_tensor *const *dy, struct hy_err *e);
/* Lays out and allocates the arena. Reports what went wrong while building; on a device also an op
 * without a CUDA twin. */
int hy_graph_plan(struct hy_graph *g, struct hy_err *e);
/* Where the host fills an input of a replica: valid until the next run. What is not filled again
 * keeps its value; on a device, filling one replica means filling all of them. */
void *hy_input(struct hy_tensor *t, int replica);
/* Runs all ops for each replica r with active[r] != 0 (active NULL: all). On a device all replicas
 * run, and the call returns before they have; a failure stays in g->err, later runs do nothing, and
 * hy_graph_read() reports it. */
void hy_graph_run(struct hy_graph *g, const unsigned char *active);
/* Waits until all runs before are done; reports a failure of theirs. */
int hy_graph_wait(const struct hy_graph *g, struct hy_err *e);
/* Copies a replica's rows of t (a parameter, an input's or kept output's data or gradient), without
 * gaps, once all runs before are done. */
int hy_graph_read(const struct hy_tensor *t, int replica, void *out, struct hy_err *e);
/* Sums the costs of all ops; of those of a section. */
struct hy_cost hy_graph_cost(const struct hy_graph *g);
struct hy_cost hy_graph_section_cost(const struct hy_graph *g, int section);

#endif
