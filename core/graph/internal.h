/* internal.h - what the files of core/graph share among themselves. */
#ifndef HY_GRAPH_INTERNAL_H
#define HY_GRAPH_INTERNAL_H

#include "core/graph/graph.h"

/* Zeroed memory that lives as long as the graph; NULL (and the graph fails) when memory is out. */
void *hy_graph_allocate(struct hy_graph *g, size_t size);
/* A new op at the end of the list, zeroed but for kind and pass. */
struct hy_op *hy_graph_append(struct hy_graph *g, const struct hy_op_kind *kind, enum hy_pass pass);
/* A view of cols columns of base from column `first`. */
struct hy_tensor *hy_graph_view(struct hy_graph *g, struct hy_tensor *base, int64_t first,
                                int64_t cols);
/* A tensor over [offset, offset + rows*cols) of a slab. */
struct hy_tensor *hy_graph_in_slab(struct hy_graph *g, struct hy_slab *slab, const char *name,
                                   int64_t offset, int64_t rows, int64_t cols);
/* Records the op that makes t->narrow. */
void hy_graph_narrow(struct hy_graph *g, struct hy_tensor *t);

/* On a device (run_cuda.cu): allocates a planned graph's arena and what running it takes; closed
 * also after a failure. */
int hy_cuda_open_run(struct hy_graph *g, struct hy_err *e);
void hy_cuda_close_run(struct hy_graph *g);
void hy_cuda_run_graph(struct hy_graph *g);
void *hy_cuda_staged(struct hy_tensor *t, int replica);

#endif
