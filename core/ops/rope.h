/* rope.h - rotary position embedding (arXiv 2104.09864), rotating channel i with channel i +
 * width/2 of each head by the angle position * base^(-2i/width). */
#ifndef HY_OPS_ROPE_H
#define HY_OPS_ROPE_H

#include "core/graph/graph.h"

/* x [rows, heads * width], width even. The position of token t is t + the graph's position. */
struct hy_tensor *hy_rope(struct hy_graph *g, struct hy_tensor *x, int heads, double base);
/* Rotates the first `rotated` channels of each head alone, as if they were the head (GPT-NeoX,
 * arXiv 2204.06745); rotated even. */
struct hy_tensor *hy_rope_part(struct hy_graph *g, struct hy_tensor *x, int heads, int64_t rotated,
                               double base);

#endif
