/* build.h - what the builders of ops have in common: checking shapes, recording, counting bytes. */
#ifndef HY_OPS_SUPPORT_BUILD_H
#define HY_OPS_SUPPORT_BUILD_H

#include "core/graph/graph.h"

/* Does t, called `what` in messages, have this shape? If not, the graph fails and 0 is returned. */
int hy_has_shape(struct hy_graph *g, const char *op, const char *what, const struct hy_tensor *t,
                 int64_t rows, int64_t cols);

/* Records an op of one output [rows, cols] and returns that. */
struct hy_tensor *hy_record(struct hy_graph *g, const struct hy_op_kind *kind, int inputs,
                            struct hy_tensor *const *in, int64_t rows, int64_t cols,
                            const void *attr, size_t size);

/* Bytes that one pass over every tensor of op->pass moves. */
double hy_op_bytes(const struct hy_op *op);

/* cost() of an elementwise op: FLOPs per element of out[0] in either pass. */
void hy_cost_elementwise(const struct hy_op *op, double forward, double backward,
                         struct hy_cost *cost);

/* Aborts where index, read from data, is not in [0, count): the data's maker is at fault. */
void hy_check_index(const char *op, int64_t index, int64_t count);

#endif
