/* gating.h - which of two branches each layer follows while a run selects its layers.
 *
 * A layer of such a model is a kind of two branches, the linear one first and the full one second
 * (HY_COMBINE_SELECT), and a gate m between them: y = m linear + (1 - m) full, with the bits of
 * the branch where m is 0 or 1 (core/ops/blend.h). How m comes about is the graph's, not the
 * kind's: one set of weights is aligned, trained with gates, and evaluated as any layout. */
#ifndef HY_MODEL_GATING_H
#define HY_MODEL_GATING_H

#include "core/model/kind.h"

enum hy_gating_mode {
    HY_GATING_TWINS, /* the stream follows the full branches, the linear ones stand beside it */
    HY_GATING_GIVEN, /* m is an input: any layout, without another graph */
    HY_GATING_HARD,  /* m is drawn from the layer's logit, 0 or 1 (core/ops/choice.h) */
    HY_GATING_SOFT   /* likewise, between 0 and 1 */
};

struct hy_gating {
    enum hy_gating_mode mode;
    double gain; /* of the logits: the optimizer moves gain * logit by gain times its rate */
};

/* The gates of one graph. */
struct hy_gates {
    struct hy_tensor *given;                /* [1, layers] to fill: 1 linear, 0 full; GIVEN alone */
    struct hy_tensor *noise;                /* [1, layers] to fill: logistic; HARD and SOFT */
    struct hy_tensor *temperature;          /* [1, 1] to fill; HARD and SOFT */
    struct hy_tensor *logit[HY_MAX_LAYERS]; /* [1, 1] parameters; HARD and SOFT */
    struct hy_tensor *open[HY_MAX_LAYERS];  /* [1, 1] m; NULL in a graph of twins */
    struct hy_tensor *linear[HY_MAX_LAYERS], *full[HY_MAX_LAYERS]; /* the branches' outputs */
    double gain;
};

/* The name of a layer's logit in the slab of parameters. */
void hy_gates_logit_name(const char *prefix, int layer, char name[HY_NAME_SIZE]);

/* Records the inputs and the gates of all layers. Failures stick to the graph. */
void hy_gates_build(const struct hy_gating *how, struct hy_graph *g, const char *prefix, int layers,
                    struct hy_gates *out);
/* Records a layer's branches on its normed input x, and what of them the stream gets. */
struct hy_tensor *hy_gates_layer(const struct hy_gating *how, const struct hy_kind *k,
                                 const struct hy_mixer *layer, struct hy_tensor *x,
                                 struct hy_gates *gates);

#endif
