/* variant.h - the contract of a token mixer: a composition of ops that knows no device.
 *
 * A variant is one file under variants/ that defines `const struct hy_variant hy_variant_<name>`;
 * CMake generates the table from the file names. Its build function serves training, evaluation and
 * decoding. What it may use is in core/mixers/mixer.h. */
#ifndef HY_MIXERS_VARIANT_H
#define HY_MIXERS_VARIANT_H

#include "core/base/option.h"
#include "core/graph/graph.h"
#include "core/mixers/component.h"
#include "core/mixers/lora.h"

enum { HY_MAX_HEADS = 1024 };

/* What is inside a mixer of attention, for objectives that compare it and for reports of what it
 * uses. A mixer that is no attention leaves it all zeros. */
struct hy_heads {
    int heads, kv_heads, width; /* width: of a head's keys and of its values */
    double scale;               /* of scores */
    int window, terraced;       /* window 0: none. As in hy_attention */
    struct hy_tensor *q, *k;    /* [rows, heads * width], [rows, kv_heads * width], rotated */
    struct hy_tensor *o;        /* [rows, heads * width], in front of gates and o_proj */
    /* Of attention over features: */
    int features, feature_heads; /* a head's, and heads of keys' features */
    struct hy_tensor *f, *g;     /* features of queries and keys */
    struct hy_tensor *factor;    /* [1, heads] of the window, in front of the sigmoid */
    int affine;                  /* as in hy_joint */
    struct hy_tensor *far;       /* [rows, heads] share of weights outside the window; HY_EVAL */
};

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
    enum hy_component component; /* what a mixer with components uses */
    /* [1, 1]: where it is not 0, a mixer with a window is HY_COMPONENT_DROPPED in this run of the
     * graph; NULL: never. */
    struct hy_tensor *dropped;
    struct hy_heads *inside; /* where it tells what it has inside; NULL: nobody asks */
};

struct hy_variant {
    const char *name, *summary;
    const struct hy_option *options;
    int full;       /* attends to the whole context: a full layer under any ratio */
    int no_mlp;     /* its block is the mixer alone */
    int components; /* its build looks at hy_mixer.component */

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
