#include "core/model/gating.h"

#include <stdio.h>

#include "core/ops/blend.h"
#include "core/ops/choice.h"

void hy_gates_logit_name(const char *prefix, int layer, char name[HY_NAME_SIZE])
{
    snprintf(name, HY_NAME_SIZE, "%smodel.layers.%d.attn.gate.logit", prefix ? prefix : "", layer);
}

static struct hy_tensor *logit_of(struct hy_graph *g, const char *prefix, int layer)
{
    struct hy_entry entry = {.rank = 1, .dims = {1}, .init = {.law = HY_INIT_CONSTANT}};
    hy_gates_logit_name(prefix, layer, entry.name);
    return hy_graph_param(g, &entry);
}

void hy_gates_build(const struct hy_gating *how, struct hy_graph *g, const char *prefix, int layers,
                    struct hy_gates *out)
{
    *out = (struct hy_gates){.gain = how->gain};
    if (how->mode == HY_GATING_TWINS)
        return;
    if (how->mode == HY_GATING_GIVEN) {
        out->given = hy_graph_input(g, "gates", HY_REAL, 1, layers);
        hy_graph_split(g, out->given, layers, NULL, out->open);
        return;
    }
    struct hy_tensor *noise[HY_MAX_LAYERS];
    out->noise = hy_graph_input(g, "noise", HY_REAL, 1, layers);
    out->temperature = hy_graph_input(g, "temperature", HY_REAL, 1, 1);
    hy_graph_split(g, out->noise, layers, NULL, noise);
    for (int i = 0; i < layers; i++) {
        out->logit[i] = logit_of(g, prefix, i);
        out->open[i] =
            hy_choice(g, out->logit[i], noise[i], out->temperature,
                      how->mode == HY_GATING_HARD ? HY_CHOICE_HARD : HY_CHOICE_SOFT, how->gain);
    }
}

struct hy_tensor *hy_gates_layer(const struct hy_gating *how, const struct hy_kind *k,
                                 const struct hy_mixer *layer, struct hy_tensor *x,
                                 struct hy_gates *gates)
{
    struct hy_tensor *outs[HY_MAX_BRANCHES];
    hy_kind_build_branches(k, layer, x, outs);
    gates->linear[layer->layer] = outs[0];
    gates->full[layer->layer] = outs[1];
    return how->mode == HY_GATING_TWINS
               ? outs[1]
               : hy_blend(layer->graph, outs[0], outs[1], gates->open[layer->layer]);
}
