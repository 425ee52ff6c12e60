/* embedding.h - rows of a table, chosen by tokens. */
#ifndef HY_OPS_EMBEDDING_H
#define HY_OPS_EMBEDDING_H

#include "core/graph/graph.h"

/* tokens [rows, 1] int32, each in [0, V); table [V, width]; returns [rows, width]. The gradient of
 * the table sums in the order of rows. */
struct hy_tensor *hy_embedding(struct hy_graph *g, struct hy_tensor *tokens,
                               struct hy_tensor *table);

#endif
