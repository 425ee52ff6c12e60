/* model.h - a language model of blocks: x += mixer(norm x); x += MLP(norm x).
 *
 * Embedding, layers of any kinds, final RMSNorm, head; the MLP is down(silu(gate x) * up x).
 * Parameters carry the names of the public reference's state dict (flash-linear-attention):
 * model.embeddings.weight, model.layers.{i}.{attn_norm, attn.*, mlp_norm, mlp.{gate,up,down}_proj},
 * model.norm, lm_head. What the reference does not have: model.layers.{i}.{attn,mlp}_post_norm, and
 * of a readout model.readout.{0,1}.{norm, proj} and model.readout.norm. */
#ifndef HY_MODEL_MODEL_H
#define HY_MODEL_MODEL_H

#include "core/graph/graph.h"
#include "core/model/gating.h"

/* The prefix of the parameters of a frozen model that another one in the same graph learns from. */
#define HY_TEACHER_PREFIX "teacher."

/* Where a block's RMSNorms stand. */
enum hy_norms {
    HY_NORMS_PRE,     /* x += f(norm x) */
    HY_NORMS_POST,    /* x += norm f(x): OLMo 2, arXiv 2501.00656 */
    HY_NORMS_SANDWICH /* x += norm f(norm x): Gemma 2, arXiv 2408.00118 */
};
extern const char hy_norms_choices[]; /* "pre|post|sandwich": for the option table */

struct hy_model_ends;

struct hy_model_spec {
    const char
        *prefix; /* of all parameters' names, so that two models fit in a graph; NULL: none */
    int d_model, layers, heads, mlp, vocab; /* mlp: hidden width, 0: no MLP */
    /* Logits of all positions come from the last token's state: the output row of position t is
     * MLP(last + sinusoid(t)), two layers as wide as the model. In a cached graph that is the last
     * token so far. See hy_task.uses_readout. */
    int readout;
    const struct hy_lora *lora; /* what a stage of training adds to projections; NULL: nothing */
    double norm_eps, init_std;
    enum hy_norms norms;
    int tied; /* the head is the embedding */
    int kind_count;
    struct hy_kind kinds[HY_MAX_KINDS]; /* by the layout's indices */
    struct hy_layout layout;
    const struct hy_gating *gating; /* of a model whose layers are being selected; NULL: none is */
    enum hy_component component;    /* what its mixers with components use */
    int drops;                      /* ends get `dropped` to fill */
    /* The mixers read what those of this model do, layer by layer, in place of the model's own
     * stream (teacher forcing); NULL: they read their own. Borrowed; recorded before. */
    const struct hy_model_ends *forced;
};

/* The mixer context of a layer, options and branch apart, and its kind. */
struct hy_mixer hy_model_mixer(const struct hy_model_spec *spec, int layer, struct hy_graph *g);
const struct hy_kind *hy_model_kind(const struct hy_model_spec *spec, int layer);
/* The layout as people read it: a letter per layer, "LLLF". */
struct hy_layout_text {
    char text[HY_MAX_LAYERS + 1];
};
struct hy_layout_text hy_model_layout_text(const struct hy_kind *kinds, const struct hy_layout *l);

/* Whether a parameter in a slab is the model's own: no teacher's, and no low-rank addition. */
int hy_model_owns(const char *parameter);
/* Elements of the model's own parameters; of a layer's. */
int64_t hy_model_params(const struct hy_slab *params);
int64_t hy_model_layer_params(const struct hy_slab *params, const struct hy_model_spec *spec,
                              int layer);

/* Elements that the declared states of all layers have for one sequence of `context` tokens. */
int64_t hy_model_state_elements(const struct hy_model_spec *spec, int64_t context);

/* The model's ends in one graph: int32 inputs to fill, outputs to read after a run, and what others
 * may build on. */
struct hy_model_ends {
    struct hy_tensor *tokens; /* [batch*tokens, 1] */
    struct hy_tensor *labels; /* [batch*tokens, 1], HY_NO_LABEL (-100) where unscored */
    struct hy_tensor *nll; /* [batch*tokens, 1] negative log likelihood in nats, 0 where unscored */
    struct hy_tensor *hit; /* [batch*tokens, 1] 1 where the label has the largest logit */
    struct hy_tensor *logits;        /* [batch*tokens, vocab] */
    struct hy_tensor *hidden, *head; /* [batch*tokens, d_model], [vocab, d_model]: their product */
    struct hy_tensor *outputs[HY_MAX_LAYERS]; /* of the layers' mixers, as hidden; NULL: none */
    struct hy_tensor *inputs[HY_MAX_LAYERS];  /* what those read, likewise */
    struct hy_heads inside[HY_MAX_LAYERS];    /* of the layers of one mixer */
    struct hy_tensor *dropped; /* [1, layers] to fill: not 0: the layer's window is left out */
    struct hy_gates gates;     /* where the model has them */
};

/* Records the model up to its head, for the tokens that ends has, or for an input that it makes. */
void hy_model_body(const struct hy_model_spec *spec, struct hy_graph *g,
                   struct hy_model_ends *ends);

/* Records the whole model. max_labels > 0: ends in labels, nll and hit, computed at the labelled
 * positions alone (at most max_labels of them); 0: ends in logits. Failures stick to g. */
void hy_model_build(const struct hy_model_spec *spec, struct hy_graph *g, int64_t max_labels,
                    struct hy_model_ends *ends);

#endif
