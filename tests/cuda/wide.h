/* wide.h - examples of operators in sizes that kernels treat apart from the small ones of
 * hy_op_kind.example: whole packs of columns, several of them, vocabularies of several blocks. */
#ifndef HY_TESTS_WIDE_H
#define HY_TESTS_WIDE_H

#include "core/graph/graph.h"

/* Builds the index-th wide example of an operator; 0 where there is no such example. */
int wide_example(struct hy_graph *g, const struct hy_op_kind *kind, int index);
/* The same for operators that have kernels of their own for bf16: shapes that these treat apart.
 * Not compared in float32. */
int half_example(struct hy_graph *g, const struct hy_op_kind *kind, int index);
/* The same for HY_CACHED graphs; its states are to be allocated. */
int cached_example(struct hy_graph *g, const struct hy_op_kind *kind, int index);

#endif
