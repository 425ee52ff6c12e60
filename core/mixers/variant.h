/* variant.h - the contract of a token mixer: a composition of ops that knows no device.
 *
 * A variant is one file under variants/ that defines `const struct hy_variant hy_variant_<name>`;
 * CMake generates the table from the file names. Its build function serves training, evaluation and
 * decoding. What it may use is in core/mixers/mixer.h. */
#ifndef HY_MIXERS_VARIANT_H
#define HY_MIXERS_VARIANT_H

#include "core/base/option.h"
#include "core/graph/graph.h"
#include "core/mixers/lora.h"

/* The layer that is being built. */
struct hy_mixer {
    struct hy_graph *graph;
    const struct hy_value *options; /* resolved against the variant's table */
    int d_model, heads;
    int layer, layers; /* its index among all layers, and how many there are */
    double norm_eps, init_std;
    const struct hy_lora *lora; /* what is added to its projections; NULL: nothing */
    const char *prefix;         /* of the names of all the model's parameters; NULL: none */
    /* Beside other mixers: what its parameters' and states' names have in front of them; NULL: it
     * is alone. */
    const char *branch;
    /* q_proj, k_proj, v_proj and o_proj belong to the layer, not to the branch: which of them it
     * has asked for, a bit each, goes here. NULL: they are its own. */
    unsigned *shared;
};

struct hy_variant {
    const char *name, *summary;
    const struct hy_option *options;
    int full;   /* attends to the whole context: a full layer under any ratio */
    int no_mlp; /* its block is the mixer alone */

    /* x: the layer's normed input [batch*tokens, d_model]; returns the same shape (o_proj's
     * output). */
    struct hy_tensor *(*build)(struct hy_mixer *m, struct hy_tensor *x);
    /* Elements of the cache of one layer and sequence that holds `context` tokens: exactly what
     * build() asks for by hy_mixer_state(). */
    int64_t (*state_elements)(const struct hy_mixer *m, int64_t context);
    /* Optional: refuses option values that do not fit d_model and heads. */
    int (*check)(const struct hy_mixer *m, struct hy_err *e);
};

/* The generated table, sorted by name, ended by NULL. */
extern const struct hy_variant *const hy_variants[];
const struct hy_variant *hy_variant_find(const char *name); /* NULL where absent */

#endif
