/* feature_map.h - what linear attention sees of queries and keys: phi(x) >= 0, so that
 * phi(q)' phi(k) stands for exp(q'k).
 *
 *   z = x W + b (learned), or z = x
 *   HY_MAP_SOFTMAX   phi = [softmax(z), softmax(-z)]          2F   Hedgehog, arXiv 2402.04347
 *   HY_MAP_EXP       phi = [exp(z - max z), exp(min z - z)]   2F
 *   HY_MAP_RELU      phi = max(z, 0)                           F   T2R, arXiv 2103.13076
 *   HY_MAP_ELU1      phi = 1 + elu(z)                          F   arXiv 2006.16236
 * Softmax, max and min are over the F columns of z, per row and head. A feature is 1e-12 at least,
 * but of HY_MAP_RELU, whose zeros are zeros; where it is raised no gradient flows. */
#ifndef HY_OPS_FEATURES_FEATURE_MAP_H
#define HY_OPS_FEATURES_FEATURE_MAP_H

#include "core/graph/graph.h"

enum hy_map { HY_MAP_SOFTMAX, HY_MAP_EXP, HY_MAP_RELU, HY_MAP_ELU1 };

struct hy_feature_map {
    enum hy_map map;
    int heads;    /* of the result */
    int in_heads; /* of x: result's head h reads x's head h / (heads / in_heads) */
    int width;    /* of a head of x */
    int columns;  /* F: of a head of z; width where nothing is learned */
};

/* Features of a head of the result: 2F or F. */
int64_t hy_feature_map_width(const struct hy_feature_map *s);

/* x [rows, in_heads * width]; w [heads, width * columns], row-major [width, columns] for each head,
 * or NULL: z = x; b [heads, columns] or NULL: 0. Returns [rows, heads * features]. */
struct hy_tensor *hy_feature_map(struct hy_graph *g, struct hy_tensor *x, struct hy_tensor *w,
                                 struct hy_tensor *b, const struct hy_feature_map *s);

#endif
