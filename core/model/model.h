/* model.h - a language model of pre-norm blocks: x += mixer(norm x); x += MLP(norm x).
 *
 * Embedding, layers, final RMSNorm, untied head; the MLP is down(silu(gate x) * up x). Parameters
 * carry the names of the public reference's state dict (flash-linear-attention):
 * model.embeddings.weight, model.layers.{i}.{attn_norm, attn.*, mlp_norm, mlp.{gate,up,down}_proj},
 * model.norm, lm_head. A readout, which the reference does not have, is model.readout.{0,1}.{norm,
 * proj} and model.readout.norm. */
#ifndef HY_MODEL_MODEL_H
#define HY_MODEL_MODEL_H

#include "core/graph/graph.h"
#include "core/model/layout.h"
#include "core/mixers/variant.h"

struct hy_model_spec {
    int d_model, layers, heads, mlp, vocab; /* mlp: hidden width, 0: no MLP */
    /* Logits of all positions come from the last token's state: the output row of position t is
     * MLP(last + sinusoid(t)), two layers as wide as the model. In a cached graph that is the last
     * token so far. See hy_task.uses_readout. */
    int readout;
    double norm_eps, init_std;
    const struct hy_variant *linear, *full; /* NULL where the layout has no such layer */
    const struct hy_value *linear_options, *full_options;
    struct hy_layout layout;
};

/* The mixer context of a layer, and its variant. */
struct hy_mixer hy_model_mixer(const struct hy_model_spec *spec, int layer, struct hy_graph *g);
const struct hy_variant *hy_model_variant(const struct hy_model_spec *spec, int layer);

/* Elements that the declared states of all layers have for one sequence of `context` tokens. */
int64_t hy_model_state_elements(const struct hy_model_spec *spec, int64_t context);

/* The model's ends in one graph: int32 inputs to fill, outputs to read after a run. */
struct hy_model_ends {
    struct hy_tensor *tokens; /* [batch*tokens, 1] */
    struct hy_tensor *labels; /* [batch*tokens, 1], HY_NO_LABEL (-100) where unscored */
    struct hy_tensor *nll; /* [batch*tokens, 1] negative log likelihood in nats, 0 where unscored */
    struct hy_tensor *hit; /* [batch*tokens, 1] 1 where the label has the largest logit */
    struct hy_tensor *logits; /* [batch*tokens, vocab] */
};

/* Records the model on g. max_labels > 0: ends in labels, nll and hit, computed at the labelled
 * positions alone (at most max_labels of them); 0: ends in logits. Failures stick to g. */
void hy_model_build(const struct hy_model_spec *spec, struct hy_graph *g, int64_t max_labels,
                    struct hy_model_ends *ends);

#endif
