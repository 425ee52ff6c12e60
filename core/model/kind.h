/* kind.h - what a layer is: a mixer with its options, or several mixers side by side on one input.
 *
 * An ordinary layer is a kind of one branch. Several branches are a composition (Hymba, arXiv
 * 2411.13676; Falcon-H1, arXiv 2507.22448): their outputs are combined, their states and FLOPs add
 * up. A kind without a branch is an MLP alone (Nemotron-H, arXiv 2504.03624).
 *
 * Parameters of a composition carry the branch's name, "attn.mamba2.in_proj.weight", but for
 * projections that its branches share: "attn.q_proj.weight". */
#ifndef HY_MODEL_KIND_H
#define HY_MODEL_KIND_H

#include "core/mixers/variant.h"
#include "core/model/layout.h"

enum { HY_MAX_BRANCHES = 4, HY_MAX_KINDS = 16, HY_KIND_NAME_SIZE = 32 };

/* How the outputs a_i of n branches become the layer's. */
enum hy_combine {
    HY_COMBINE_SUM,
    HY_COMBINE_MEAN,  /* of RMSNorm(a_i), each with a weight of its own: out_norm.weight */
    HY_COMBINE_GATE,  /* of two: s a_0 + (1 - s) a_1, s = sigmoid of the layer's logit gate.logit */
    HY_COMBINE_SELECT /* of two: the gates of a run that selects (core/model/gating.h) */
};
extern const char hy_combine_choices[]; /* "sum|mean|gate": for the option table */

struct hy_branch {
    char name[HY_KIND_NAME_SIZE]; /* in a composition: its variant's, numbered where it recurs */
    const struct hy_variant *variant;
    const struct hy_value *options; /* borrowed; resolved against the variant's table */
};

struct hy_kind {
    char name[HY_KIND_NAME_SIZE]; /* "linear", "full", or as the sweep file calls it */
    char letter;                  /* in layouts as people read them: 'L', 'F', another one */
    int has_mlp;                  /* after the mixer comes the MLP, where the model has one */
    int branch_count;
    struct hy_branch branches[HY_MAX_BRANCHES];
    enum hy_combine combine;
    int shares; /* its branches have one q_proj, k_proj, v_proj and o_proj */
};

/* The ordinary layer of a variant; HY_LINEAR and HY_FULL have their names and letters. */
struct hy_kind hy_kind_of(int index, const struct hy_variant *variant,
                          const struct hy_value *options);
/* Appends a branch; the kind has room for it. */
void hy_kind_add_branch(struct hy_kind *k, const struct hy_variant *variant,
                        const struct hy_value *options);

/* "gla"; of a composition "mamba2+softmax"; "mlp" where there is no mixer. */
void hy_kind_title(const struct hy_kind *k, char *text, size_t size);
/* Attends to the whole context, in one of its branches: its cache grows with the context. */
int hy_kind_is_full(const struct hy_kind *k);
/* Whether one of its branches has parts that can be switched off (core/mixers/component.h). */
int hy_kind_has_components(const struct hy_kind *k);

/* layer: the context of the layer, options and branch apart; the graph may be NULL. */
int64_t hy_kind_state_elements(const struct hy_kind *k, const struct hy_mixer *layer,
                               int64_t context);
/* Refuses options that do not fit d_model and heads, and projections that cannot be shared. */
int hy_kind_check(const struct hy_kind *k, const struct hy_mixer *layer, struct hy_err *e);
/* The outputs of the branches, on their own. Failures stick to the graph. */
void hy_kind_build_branches(const struct hy_kind *k, const struct hy_mixer *layer,
                            struct hy_tensor *x, struct hy_tensor *outs[HY_MAX_BRANCHES]);
/* x: the layer's normed input. NULL for a kind without a mixer. Failures stick to the graph. */
struct hy_tensor *hy_kind_build(const struct hy_kind *k, const struct hy_mixer *layer,
                                struct hy_tensor *x);

#endif
