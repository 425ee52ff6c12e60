/* layout.h - which kind each layer of a model has. */
#ifndef HY_MODEL_LAYOUT_H
#define HY_MODEL_LAYOUT_H

#include "core/base/err.h"

enum { HY_MAX_LAYERS = 128 };

/* The two kinds that a ratio mixes; further ones follow. */
enum { HY_LINEAR, HY_FULL, HY_FURTHER };

enum hy_placement {
    HY_PLACE_INTERLEAVE, /* n:1 - layer i is full where (i+1) mod (n+1) = 0: after n linear ones */
    HY_PLACE_EVERY,      /* n:1 - layer i is full where (i+1) mod n = 0: released checkpoints */
    HY_PLACE_FIRST,      /* as many full layers as interleave has, at the bottom */
    HY_PLACE_MIDDLE,
    HY_PLACE_LAST
};

struct hy_layout {
    int layers;
    unsigned char kinds[HY_MAX_LAYERS]; /* of each layer: an index into the model's kinds */
};

/* ratio: "pure", "full" or "n:1" (n >= 1). A ratio that the depth cannot hold is an error that says
 * the depth it needs. */
int hy_layout_from_ratio(const char *ratio, enum hy_placement placement, int layers,
                         struct hy_layout *out, struct hy_err *e);
/* full_layers: distinct indices in [0, layers); the other layers are linear. */
int hy_layout_from_list(const int *full_layers, int count, int layers, struct hy_layout *out,
                        struct hy_err *e);

/* Layers of that kind. */
int hy_layout_count(const struct hy_layout *l, int kind);

/* "interleave|every|first|middle|last": for the option table. */
extern const char hy_placement_choices[];
int hy_placement_parse(const char *name); /* -1 where unknown */

#endif
