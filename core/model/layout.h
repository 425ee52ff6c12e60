/* layout.h - which layers of a hybrid are linear (L) and which are full attention (F). */
#ifndef HY_MODEL_LAYOUT_H
#define HY_MODEL_LAYOUT_H

#include "core/base/err.h"

enum { HY_MAX_LAYERS = 128 };

enum hy_placement {
    HY_PLACE_INTERLEAVE, /* n:1 - layer i is full where (i+1) mod (n+1) = 0: after n linear ones */
    HY_PLACE_EVERY,      /* n:1 - layer i is full where (i+1) mod n = 0: released checkpoints */
    HY_PLACE_FIRST,      /* as many full layers as interleave has, at the bottom */
    HY_PLACE_MIDDLE,
    HY_PLACE_LAST
};

struct hy_layout {
    char kinds[HY_MAX_LAYERS + 1]; /* "LLLFLLLF" */
    int layers, full, linear;
};

/* ratio: "pure", "full" or "n:1" (n >= 1). A ratio that the depth cannot hold is an error that says
 * the depth it needs. */
int hy_layout_from_ratio(const char *ratio, enum hy_placement placement, int layers,
                         struct hy_layout *out, struct hy_err *e);
/* full_layers: distinct indices in [0, layers). */
int hy_layout_from_list(const int *full_layers, int count, int layers, struct hy_layout *out,
                        struct hy_err *e);

/* "interleave|every|first|middle|last": for the option table. */
extern const char hy_placement_choices[];
int hy_placement_parse(const char *name); /* -1 where unknown */

#endif
