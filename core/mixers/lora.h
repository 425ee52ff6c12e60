/* lora.h - products with a model's weights, to which a stage of training may add low-rank parts
 * (LoRA, arXiv 2106.09685): W + alpha/rank B A for chosen weights W. */
#ifndef HY_MIXERS_LORA_H
#define HY_MIXERS_LORA_H

#include "core/base/value.h"
#include "core/graph/graph.h"

struct hy_lora {
    int rank;
    double alpha;
    const struct hy_value *on; /* names of projections, as q_proj, with '*' for any text */
};

/* x W' + bias, W the entries' weights one below the other (at most HY_MAX_LORA); lora, bias: NULL
 * for none. The additions are parameters <name>.lora_A.weight [rank, in], drawn, and
 * <name>.lora_B.weight [out, rank], zero, for each <name>.weight that is chosen. */
struct hy_tensor *hy_lora_linear(struct hy_graph *g, const struct hy_lora *lora,
                                 struct hy_tensor *x, int count, const struct hy_entry *entries,
                                 struct hy_tensor *bias);

/* Adds the additions of a replica to its weights and clears B, so that the model with them and the
 * one without compute the same. */
int hy_lora_merge(struct hy_slab *params, int replica, const struct hy_lora *lora,
                  struct hy_err *e);

#endif
